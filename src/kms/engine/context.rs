//! What a ciphertext is bound to: pairs of text that must be given again to decrypt it.

use std::collections::BTreeMap;

use super::error::{ErrorKind, KmsError};

/// The pairs in the order of their keys, whatever the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// The most that all keys and values together may have, in bytes
    /// (Alibaba Cloud KMS, "EncryptionContext"; AWS KMS has the same limit).
    pub const LEN_MAX: usize = 8192;

    /// # Errors
    ///
    /// `InvalidParameter` when the pairs are longer than [`Self::LEN_MAX`].
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self, KmsError> {
        let len: usize = pairs
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if len > Self::LEN_MAX {
            return Err(KmsError::new(
                ErrorKind::InvalidParameter("EncryptionContext"),
                format!(
                    "The encryption context has {len} bytes; the most is {}.",
                    Self::LEN_MAX
                ),
            ));
        }
        Ok(Self(pairs))
    }

    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte string for each set of pairs, and no other: each text after its length (u32,
    /// big-endian), in the order of the keys' bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

//! The keys of one file, all from its data key (DEK) and its id:
//!
//! ```text
//! content = HKDF-SHA-256(DEK, salt = file id, info = "envelopefs/v1/content")   chunks
//! header  = HKDF-SHA-256(DEK, salt = file id, info = "envelopefs/v1/header")    header tag
//! commit  = HKDF-SHA-256(DEK, salt = file id, info = "envelopefs/v1/commit")    public
//! ```

use subtle::ConstantTimeEq;

use crate::crypto::derive::{self, Label, MacKey};
use crate::crypto::secret::{LockedMemoryError, SecretKey};
use crate::crypto::xaes::XaesKey;
use crate::units::FileId;

/// What one data key opens of its file.
#[derive(Debug)]
pub struct FileKeys {
    content: XaesKey,
    header: MacKey,
}

impl FileKeys {
    /// The keys of the file `file_id` under `dek`, whose commitment the caller has compared
    /// ([`commitment_matches`]).
    ///
    /// # Errors
    ///
    /// [`LockedMemoryError`] where no locked memory is left for them.
    pub fn derive(dek: &SecretKey, file_id: &FileId) -> Result<Self, LockedMemoryError> {
        let content = derive::derive(dek, &file_id.0, Label::Content)?;
        let header = derive::derive(dek, &file_id.0, Label::Header)?;
        Ok(Self {
            content: XaesKey::new(&content),
            header: MacKey::new(header),
        })
    }

    /// Seals and opens the chunks of this key's epoch.
    pub fn content(&self) -> &XaesKey {
        &self.content
    }

    /// Tags and verifies the header, if this is the newest epoch's key.
    pub fn header(&self) -> &MacKey {
        &self.header
    }
}

/// The public value that binds `dek` to the file: no second key has the same.
pub fn commitment(dek: &SecretKey, file_id: &FileId) -> [u8; 32] {
    derive::derive_commitment(dek, &file_id.0)
}

/// Whether `dek` is the key that the file committed to, in constant time. Due before anything is
/// opened with a key that a slot unwrapped to.
pub fn commitment_matches(dek: &SecretKey, file_id: &FileId, expected: &[u8; 32]) -> bool {
    commitment(dek, file_id).ct_eq(expected).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId([7; 16]);
    const OTHER_FILE: FileId = FileId([8; 16]);

    fn dek(byte: u8) -> SecretKey {
        SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_commitment_is_of_one_key_and_one_file() {
        let expected = commitment(&dek(1), &FILE);
        assert!(commitment_matches(&dek(1), &FILE, &expected));
        assert!(!commitment_matches(&dek(2), &FILE, &expected));
        assert!(!commitment_matches(&dek(1), &OTHER_FILE, &expected));
        assert!(!commitment_matches(&dek(1), &FILE, &[0; 32]));
    }

    #[test]
    fn one_flipped_bit_is_another_commitment() {
        for bit in 0..256 {
            let mut changed = commitment(&dek(1), &FILE);
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!commitment_matches(&dek(1), &FILE, &changed), "{bit}");
        }
    }

    #[test]
    fn the_same_data_key_gives_another_file_other_keys() {
        let keys = FileKeys::derive(&dek(1), &FILE).unwrap();
        let other = FileKeys::derive(&dek(1), &OTHER_FILE).unwrap();
        let tag = keys.header().tag(&[b"header"]);
        assert!(!other.header().verify(&[b"header"], &tag));
        let sealed = keys.content().seal(b"", b"content");
        assert!(keys.content().open(b"", &sealed).is_ok());
        assert!(other.content().open(b"", &sealed).is_err());
    }

    #[test]
    fn the_header_key_is_neither_the_commitment_nor_the_data_key() {
        let keys = FileKeys::derive(&dek(1), &FILE).unwrap();
        let tag = keys.header().tag(&[b"header"]);
        for other in [commitment(&dek(1), &FILE), [1; 32]] {
            let other = MacKey::new(SecretKey::from_bytes(&other).unwrap());
            assert!(!other.verify(&[b"header"], &tag));
        }
    }
}

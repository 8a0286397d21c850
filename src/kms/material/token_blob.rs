//! The ciphertext blob of keys in an HSM.
//!
//! ```text
//! at  length
//!  0   1   format: 2
//!  1  16   key id (the bytes of its UUID)
//! 17  16   key version id
//! 33  12   salt: random
//! 45  16   check of the context
//! 61   n   what the HSM made
//! ```
//!
//! The first 61 bytes and the canonical encryption context after them are the associated data of what the HSM made: it
//! is the HSM that binds both.
//!
//! The *check* only tells a wrong context from a changed blob, without asking the HSM. It is a MAC of what stands
//! before it and of the context, under a key that comes of the root key; nobody else learns a context by it, nor
//! whether two blobs have the same.

use subtle::ConstantTimeEq as _;

use super::address::Address;
use super::blob::PLAINTEXT_LEN_MAX;
use super::errors;
use crate::crypto::random;
use crate::kms::engine::error::ErrorKind;
use crate::kms::engine::{EncryptionContext, KmsError};

/// The first byte.
pub(super) const FORMAT: u8 = 2;

const SALT_LEN: usize = 12;
const CHECK_LEN: usize = 16;
const START_LEN: usize = 1 + 2 * Address::ID_LEN + SALT_LEN;

/// Of what an HSM makes of one byte by AES-GCM: IV, ciphertext, tag.
const SEALED_LEN_MIN: usize = 12 + 1 + 16;
/// Of a key in between that AES wraps, and what XAES-256-GCM seals under it.
const SEALED_LEN_MAX: usize = 40 + 24 + PLAINTEXT_LEN_MAX + 16;

/// A MAC of some bytes, under a key of the root's.
type Mac<'a> = &'a dyn Fn(&[&[u8]]) -> [u8; 32];

/// A blob that has the form of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBlob<'a> {
    address: Address,
    head: &'a [u8],
    sealed: &'a [u8],
}

/// Associated data for the HSM, and the head of the blob that it is for.
#[derive(Debug)]
pub struct Head(Vec<u8>);

impl Head {
    /// Of a new blob.
    #[must_use]
    pub fn new(address: Address, context: &EncryptionContext, mac: Mac<'_>) -> Self {
        let mut head = vec![FORMAT];
        head.extend_from_slice(address.key_bytes());
        head.extend_from_slice(address.version_bytes());
        head.extend_from_slice(&random::array::<SALT_LEN>());
        let check = check(&head, context, mac);
        head.extend_from_slice(&check);
        Self(head)
    }

    /// What the HSM binds.
    #[must_use]
    pub fn associated(&self, context: &EncryptionContext) -> Vec<u8> {
        [&self.0[..], &context.canonical()].concat()
    }

    /// The blob.
    #[must_use]
    pub fn with(self, sealed: &[u8]) -> Vec<u8> {
        let mut blob = self.0;
        blob.extend_from_slice(sealed);
        blob
    }
}

impl<'a> TokenBlob<'a> {
    /// Its parts; `None` for what is none.
    pub(super) fn split(bytes: &'a [u8]) -> Option<Self> {
        let (head, sealed) = bytes.split_at_checked(START_LEN + CHECK_LEN)?;
        if !(SEALED_LEN_MIN..=SEALED_LEN_MAX).contains(&sealed.len()) {
            return None;
        }
        let (&[format], fields) = head.split_first_chunk()?;
        let (key, fields) = fields.split_first_chunk()?;
        let (version, _fields) = fields.split_first_chunk()?;
        (format == FORMAT).then(|| Self {
            address: Address::from_bytes(*key, *version),
            head,
            sealed,
        })
    }

    /// Which version of which key it says that it is under.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// What the HSM made.
    #[must_use]
    pub fn sealed(&self) -> &[u8] {
        self.sealed
    }

    /// What the HSM bound, if this is the context.
    ///
    /// # Errors
    /// `WrongContext` where it is another; for a changed blob too.
    pub fn associated(
        &self,
        context: &EncryptionContext,
        mac: Mac<'_>,
    ) -> Result<Vec<u8>, KmsError> {
        let (start, own) = self
            .head
            .split_at_checked(START_LEN)
            .ok_or_else(errors::ciphertext)?;
        if bool::from(own.ct_eq(&check(start, context, mac))) {
            return Ok([self.head, &context.canonical()].concat());
        }
        Err(KmsError::new(
            ErrorKind::WrongContext,
            "The encryption context is not the one that the ciphertext was made under: give exactly the same pairs. Or \
             the ciphertext was changed.",
        ))
    }
}

fn check(start: &[u8], context: &EncryptionContext, mac: Mac<'_>) -> [u8; CHECK_LEN] {
    let mac = mac(&[start, &context.canonical()]);
    std::array::from_fn(|at| mac.get(at).copied().unwrap_or_default())
}

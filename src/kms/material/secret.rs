//! The bytes of a key, in memory that is locked where they fit a slot, and wiped in any case.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::crypto::SecretKey;
use crate::kms::engine::KmsError;
use crate::kms::material::errors;

/// Secret bytes of any length.
pub(super) struct Secret(Place);

enum Place {
    /// At most [`SecretKey::LEN`] bytes: every symmetric key.
    Locked { slot: SecretKey, len: usize },
    /// Private keys and long HMAC keys: ordinary memory.
    Wiped(Zeroizing<Box<[u8]>>),
}

impl Secret {
    /// A copy of `bytes`; the caller wipes his own.
    ///
    /// # Errors
    /// `Internal` where no locked memory is left.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, KmsError> {
        if bytes.len() > SecretKey::LEN {
            return Ok(Self(Place::Wiped(Zeroizing::new(bytes.into()))));
        }
        let slot = SecretKey::init(|slot| {
            slot.iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = *from);
        })
        .map_err(|_no_memory| errors::internal("There is no locked memory left for a key."))?;
        let len = bytes.len();
        Ok(Self(Place::Locked { slot, len }))
    }

    pub(super) fn expose(&self) -> &[u8] {
        match &self.0 {
            Place::Locked { slot, len } => slot.expose().get(..*len).unwrap_or_default(),
            Place::Wiped(bytes) => bytes,
        }
    }

    /// Takes the same time for all secrets of one length.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_come_back() {
        for len in [0, 1, 16, 24, 31, 32, 33, 64, 2400] {
            let bytes = vec![0xa5; len];
            assert_eq!(Secret::new(&bytes).unwrap().expose(), bytes);
        }
    }

    #[test]
    fn secrets_are_the_same_only_if_every_byte_and_the_length_are() {
        let secret = |bytes: &[u8]| Secret::new(bytes).unwrap();
        assert!(secret(&[7; 16]).same(&secret(&[7; 16])));
        assert!(!secret(&[7; 16]).same(&secret(&[8; 16])));
        assert!(!secret(&[0; 16]).same(&secret(&[0; 24])));
        assert!(!secret(&[0; 32]).same(&secret(&[0; 33])));
        assert!(!secret(b"").same(&secret(&[0])));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(&[7; 16])), "Ok(Secret(..))");
        assert_eq!(format!("{:?}", Secret::new(&[7; 99])), "Ok(Secret(..))");
    }
}

//! A data key bound to its context by this program, for services that wrap bytes and bind nothing to
//! them: the service wraps a fresh key, under which the data key is sealed with XAES-256-GCM and the
//! context as associated data.

use zeroize::Zeroizing;

use crate::crypto::secret::{LockedMemoryError, SecretKey};
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};
use crate::keys::error::KeyError;

/// The length of what [`seal`] makes: nonce ‖ tag ‖ the sealed data key.
pub(super) const SEALED_LEN: usize = NONCE_LEN + TAG_LEN + SecretKey::LEN;

/// Seals `dek` under `between`, the fresh key that the service wraps.
pub(super) fn seal(between: &SecretKey, aad: &[u8], dek: &SecretKey) -> Vec<u8> {
    XaesKey::new(between).seal(aad, dek.expose())
}

/// Opens what [`seal`] made; `None` where it is not authentic: altered, or sealed under another key
/// or for another context.
///
/// # Errors
/// Where no locked memory is left.
pub(super) fn open(
    between: &SecretKey,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Option<SecretKey>, LockedMemoryError> {
    let Ok(dek) = XaesKey::new(between).open(aad, sealed).map(Zeroizing::new) else {
        return Ok(None);
    };
    match <&[u8; SecretKey::LEN]>::try_from(dek.as_slice()) {
        Ok(dek) => SecretKey::from_bytes(dek).map(Some),
        Err(_length) => Ok(None),
    }
}

/// What is said of a wrapped key that does not open.
pub(super) fn does_not_open() -> KeyError {
    KeyError::corrupt(
        "the wrapped key does not open: altered, or made for another file or by another key",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_for_the_context_opens() {
        let [between, other, dek] = [(); 3].map(|()| SecretKey::random().unwrap());
        let sealed = seal(&between, b"context", &dek);
        assert_eq!(sealed.len(), SEALED_LEN);
        assert_eq!(open(&between, b"context", &sealed).unwrap(), Some(dek));
        assert_eq!(open(&between, b"Context", &sealed).unwrap(), None);
        assert_eq!(open(&other, b"context", &sealed).unwrap(), None);
        for len in 0..sealed.len() {
            assert_eq!(open(&between, b"context", &sealed[..len]).unwrap(), None);
        }
    }

    #[test]
    fn what_is_no_data_key_is_refused_even_where_it_is_authentic() {
        let between = SecretKey::random().unwrap();
        for len in [0, 31, 33] {
            let sealed = XaesKey::new(&between).seal(b"context", &vec![7; len]);
            assert_eq!(open(&between, b"context", &sealed).unwrap(), None);
        }
    }
}

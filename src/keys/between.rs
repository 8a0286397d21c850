//! A key in between: for ways of wrapping that bind no associated data, and for those that say nothing
//! of who wrapped. The provider wraps a fresh key of 32 bytes, and that one seals the data key by
//! XAES-256-GCM, with what it is bound to as associated data.

use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};
use crate::keys::error::KeyError;
use crate::keys::provider::EncryptionContext;

/// The length of a data key that is sealed under a key in between.
pub(super) const SEALED_LEN: usize = NONCE_LEN + TAG_LEN + SecretKey::LEN;

/// What `wrap` made of a fresh key, and the data key sealed under it.
///
/// # Errors
/// Those of `wrap`; `Unavailable` where there is no locked memory.
pub(super) fn seal<T, E: From<KeyError>>(
    dek: &SecretKey,
    aad: &[u8],
    wrap: impl FnOnce(&[u8; SecretKey::LEN]) -> Result<T, E>,
) -> Result<(T, Vec<u8>), E> {
    let between = SecretKey::random().map_err(KeyError::from)?;
    let wrapped = wrap(between.expose())?;
    Ok((wrapped, seal_under(&between, dek, aad)))
}

/// A data key sealed under `between`, the fresh key that the provider wraps.
pub(super) fn seal_under(between: &SecretKey, dek: &SecretKey, aad: &[u8]) -> Vec<u8> {
    XaesKey::new(between).seal(aad, dek.expose())
}

/// The data key, by what the provider unwrapped.
///
/// # Errors
/// `Corrupt` where that is not the key which sealed it, or it was sealed with other associated data.
pub(super) fn open(between: &[u8], aad: &[u8], sealed: &[u8]) -> Result<SecretKey, KeyError> {
    open_under(&key(between)?, aad, sealed)
}

/// As [`open`], where the key in between is at hand as one.
///
/// # Errors
/// As [`open`].
pub(super) fn open_under(
    between: &SecretKey,
    aad: &[u8],
    sealed: &[u8],
) -> Result<SecretKey, KeyError> {
    let dek = XaesKey::new(between).open(aad, sealed);
    key(&Zeroizing::new(dek.map_err(|_error| does_not_open())?))
}

/// A key of what was unwrapped.
///
/// # Errors
/// `Corrupt` where it is not 32 bytes.
pub(super) fn key(unwrapped: &[u8]) -> Result<SecretKey, KeyError> {
    if unwrapped.len() == SecretKey::LEN {
        Ok(SecretKey::from_slice(unwrapped)?)
    } else {
        Err(does_not_open())
    }
}

/// The one answer to every wrapped key that does not open: it tells a forger nothing.
pub(super) fn does_not_open() -> KeyError {
    KeyError::corrupt(
        "the wrapped key does not open: altered, or made for another file or by another key",
    )
}

/// A wrapped key of a service, as it stands in a slot (docs/FORMAT.md §4.6):
/// `1 ‖ how ‖ the sealed data key ‖ by the service`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrap<'a> {
    /// How the service wraps, where it has several ways.
    pub(super) how: u8,
    pub(super) sealed: &'a [u8],
    pub(super) by_service: &'a [u8],
}

const FORMAT: u8 = 1;

impl<'a> Wrap<'a> {
    /// Its parts; `None` where it is no such wrap, or the service's part cannot hold a key.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[format, how], rest) = bytes.split_first_chunk()?;
        let (sealed, by_service) = rest.split_at_checked(SEALED_LEN)?;
        let fits = format == FORMAT && by_service.len() > SecretKey::LEN;
        fits.then_some(Self {
            how,
            sealed,
            by_service,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&[FORMAT, self.how][..], self.sealed, self.by_service].concat()
    }

    /// What the sealed data key is bound to: how the service wraps and with which version of its
    /// key, and the context.
    pub(super) fn aad(
        scheme: &str,
        how: u8,
        key_version: &str,
        context: &EncryptionContext,
    ) -> Vec<u8> {
        let bound = [&[FORMAT, how][..], key_version.as_bytes()].concat();
        context.aad(scheme, &bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::conformance::CONTEXT;
    use crate::keys::error::KeyErrorKind;

    #[test]
    fn only_its_own_key_and_data_open_it() {
        let dek = SecretKey::random().unwrap();
        let sealed = seal::<_, KeyError>(&dek, b"bound", |between| Ok(between.to_vec()));
        let (mut between, sealed) = sealed.unwrap();
        assert_eq!(sealed.len(), SEALED_LEN);
        assert!(open(&between, b"bound", &sealed).unwrap() == dek);
        let refused = |between: &[u8], aad: &[u8], sealed: &[u8]| {
            open(between, aad, sealed).unwrap_err().kind() == KeyErrorKind::Corrupt
        };
        assert!(refused(&between, b"other", &sealed));
        assert!(refused(&between, b"bound", &sealed[1..]));
        assert!(refused(&between[1..], b"bound", &sealed));
        assert!(refused(&[], b"bound", &sealed));
        between[0] ^= 1;
        assert!(refused(&between, b"bound", &sealed));
    }

    #[test]
    fn a_wrap_has_its_parts_and_its_lengths() {
        let wrap = Wrap {
            how: 2,
            sealed: &[7; SEALED_LEN],
            by_service: &[8; 40],
        };
        let bytes = wrap.encode();
        assert_eq!(Wrap::parse(&bytes), Some(wrap));
        for len in 0..2 + SEALED_LEN + 33 {
            assert_eq!(Wrap::parse(&bytes[..len]), None, "{len}");
        }
        for format in [0, 2, 255] {
            let other = [&[format], &bytes[1..]].concat();
            assert_eq!(Wrap::parse(&other), None, "{format}");
        }
    }

    #[test]
    fn what_a_wrap_is_bound_to_cannot_slide_between_fields() {
        let aads = [
            Wrap::aad("a", 1, "1", &CONTEXT),
            Wrap::aad("a", 1, "11", &CONTEXT),
            Wrap::aad("a", 2, "1", &CONTEXT),
            Wrap::aad("a1", 1, "", &CONTEXT),
        ];
        for (i, a) in aads.iter().enumerate() {
            assert!(aads.iter().skip(i + 1).all(|b| a != b));
        }
    }
}

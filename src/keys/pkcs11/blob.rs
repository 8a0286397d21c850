//! The wrapped key as it stands in a slot (docs/FORMAT.md §4.2); `rsa:` has it too.
//!
//! `1 ‖ mechanism ‖ by the token`; the mechanisms that bind no associated data wrap a key of their own,
//! and the data key follows, sealed under that one.

use super::cipher::Mechanism;
use crate::crypto::secret::SecretKey;
use crate::keys::between::SEALED_LEN;
use crate::keys::provider::EncryptionContext;

const FORMAT: u8 = 1;

/// The longest RSA modulus in bytes: 7296 bits, which is what a slot holds.
pub(in crate::keys) const MODULUS_MAX: usize = 912;

/// A wrapped key in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::keys) struct Blob<'a> {
    pub(in crate::keys) mechanism: Mechanism,
    /// What the token made.
    pub(in crate::keys) by_token: &'a [u8],
    /// The data key under the key that the token wrapped; empty where it wrapped the data key itself.
    pub(in crate::keys) sealed: &'a [u8],
}

impl<'a> Blob<'a> {
    /// The parts of a wrapped key; `None` where it has none of the lengths that this mechanism gives.
    pub(in crate::keys) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[format, number], parts) = bytes.split_first_chunk()?;
        let mechanism = Mechanism::of_number(number).filter(|_known| format == FORMAT)?;
        let sealed = if mechanism.binds() { 0 } else { SEALED_LEN };
        let (by_token, sealed) = parts.split_at_checked(parts.len().checked_sub(sealed)?)?;
        let fits = match mechanism {
            Mechanism::AesGcm => by_token.len() == 12 + SecretKey::LEN + 16,
            Mechanism::AesKwp | Mechanism::AesKw => by_token.len() == SecretKey::LEN + 8,
            // As long as the modulus.
            Mechanism::OaepSha256 | Mechanism::OaepSha1 => {
                (128..=MODULUS_MAX).contains(&by_token.len())
            }
        };
        fits.then_some(Self {
            mechanism,
            by_token,
            sealed,
        })
    }

    pub(in crate::keys) fn encode(&self) -> Vec<u8> {
        let head = [FORMAT, self.mechanism.number()];
        [&head[..], self.by_token, self.sealed].concat()
    }
}

/// What a wrap is bound to: the provider's scheme, format, mechanism and key version as well as the
/// context.
pub(in crate::keys) fn aad(
    scheme: &str,
    mechanism: Mechanism,
    id: &[u8],
    context: &EncryptionContext,
) -> Vec<u8> {
    let bound = [&[FORMAT, mechanism.number()][..], id].concat();
    context.aad(scheme, &bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: u8, len: usize) -> Vec<u8> {
        [&[FORMAT, number][..], &vec![7; len]].concat()
    }

    #[test]
    fn each_mechanism_has_its_lengths() {
        for (number, fits) in [(1, 60), (2, 112), (3, 112), (4, 328), (5, 584)] {
            let bytes = blob(number, fits);
            assert_eq!(Blob::parse(&bytes).unwrap().encode(), bytes);
        }
        for number in 1..=3 {
            let fitting: Vec<_> = (0..700)
                .filter(|len| Blob::parse(&blob(number, *len)).is_some())
                .collect();
            assert_eq!(fitting, [if number == 1 { 60 } else { 112 }]);
        }
        for (number, len) in [(4, 199), (5, 199), (4, 985), (5, 985)] {
            assert_eq!(Blob::parse(&blob(number, len)), None);
        }
    }

    #[test]
    fn other_formats_and_mechanisms_are_refused() {
        for bytes in [&[][..], &[1], &[1, 1]] {
            assert_eq!(Blob::parse(bytes), None);
        }
        for number in [0, 6, 255] {
            assert_eq!(Blob::parse(&blob(number, 112)), None);
        }
        for format in [0, 2, 255] {
            let mut bytes = blob(1, 60);
            bytes[0] = format;
            assert_eq!(Blob::parse(&bytes), None);
        }
    }

    #[test]
    fn numbers_are_fixed() {
        let numbers: Vec<_> = (0..=255).filter_map(Mechanism::of_number).collect();
        assert_eq!(numbers.len(), 5);
        assert!(
            numbers
                .iter()
                .all(|one| Mechanism::of_number(one.number()) == Some(*one))
        );
    }
}

//! As much of DER (X.690) as it takes to find the parts of a public key.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Modulus and exponent, big-endian without leading zeros, of a SubjectPublicKeyInfo (RFC 5280 §4.1)
/// with an RSAPublicKey (RFC 8017 §A.1.1). The algorithm is not looked at.
pub(super) fn rsa_components(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, _rest) = element(SEQUENCE, spki)?;
    let (_algorithm, info) = element(SEQUENCE, info)?;
    let (bits, _rest) = element(BIT_STRING, info)?;
    let (key, _rest) = element(SEQUENCE, bits.strip_prefix(&[0])?)?;
    let (modulus, key) = element(INTEGER, key)?;
    let (exponent, _rest) = element(INTEGER, key)?;
    Some((positive(modulus)?, positive(exponent)?))
}

/// The contents of the element of this tag that `bytes` begin with, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    let (&first, bytes) = bytes.split_first()?;
    let (len, bytes) = match first {
        0..=0x7F => (usize::from(first), bytes),
        0x81..=0x84 => {
            let (digits, bytes) = bytes.split_at_checked(usize::from(first & 0x7F))?;
            let append = |len: usize, digit: &u8| (len << 8) | usize::from(*digit);
            (digits.iter().fold(0, append), bytes)
        }
        _ => return None,
    };
    (found == tag).then(|| bytes.split_at_checked(len))?
}

fn positive(integer: &[u8]) -> Option<&[u8]> {
    let is_negative = integer.first()? & 0x80 != 0;
    let digits = integer.strip_prefix(&[0]).unwrap_or(integer);
    (!is_negative && !digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key of a modulus of two bytes.
    const SMALL: [u8; 20] = [
        0x30, 18, 0x30, 2, 0x05, 0, 0x03, 12, 0, 0x30, 9, 0x02, 3, 0, 0x81, 0x01, 0x02, 2, 0x01,
        0x03,
    ];

    #[test]
    fn modulus_and_exponent_are_found() {
        let expected = Some((&[0x81, 0x01][..], &[0x01, 0x03][..]));
        assert_eq!(rsa_components(&SMALL), expected);
    }

    #[test]
    fn cut_keys_and_other_tags_have_none() {
        for len in 0..SMALL.len() {
            assert_eq!(rsa_components(&SMALL[..len]), None, "{len}");
        }
        for at in [0, 2, 6, 8, 9, 11, 16] {
            let mut other = SMALL;
            other[at] ^= 0x40;
            assert_eq!(rsa_components(&other), None, "{at}");
        }
        let mut negative = SMALL;
        negative[13] = 0x80;
        assert_eq!(rsa_components(&negative), None);
    }

    #[test]
    fn endless_lengths_are_refused() {
        for len in [
            &[0x80][..],
            &[0x85, 1, 1, 1, 1, 1],
            &[0x84, 255, 255, 255, 255],
            &[0xFF],
        ] {
            let bytes = [&[SEQUENCE], len, &[0; 40]].concat();
            assert_eq!(element(SEQUENCE, &bytes), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..SMALL.len(), byte: u8) {
            rsa_components(&bytes);
            let mut altered = SMALL;
            altered[at] = byte;
            rsa_components(&altered);
        }
    }
}

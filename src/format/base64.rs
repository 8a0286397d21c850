//! The one text form of bytes in names, symlink targets and volume.json: base64url (RFC 4648 §5)
//! without padding, canonical: bits after the last byte must be zero, so that no two texts
//! decode to the same bytes.

use data_encoding::BASE64URL_NOPAD;

/// `bytes` as text.
pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    BASE64URL_NOPAD.encode(bytes).into_bytes()
}

/// The bytes of `text`; `None` for any other alphabet, padding, length or set trailing bits.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text).ok()
}

/// How many bytes a text of `text_len` characters holds.
pub(super) const fn decoded_len(text_len: u64) -> u64 {
    let quads = text_len / 4;
    let rest = text_len % 4;
    quads
        .saturating_mul(3)
        .saturating_add(rest.saturating_mul(3) / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_are_not_canonical_are_refused() {
        for text in [
            "A", "AAAAA", "AB", "AAF", "AA==", "AA\n", "A+AA", "A/AA", "AA.A", " AAA",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(bytes: Vec<u8>) {
            let text = encode(&bytes);
            prop_assert_eq!(decoded_len(text.len() as u64), bytes.len() as u64);
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn what_decodes_has_one_text(text: Vec<u8>) {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}

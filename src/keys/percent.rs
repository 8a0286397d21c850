//! Percent-encoding (RFC 3986), as key URIs and signed requests have it.

use std::fmt::Write;

/// The characters that a URL never needs encoded (RFC 3986 §2.3).
pub(crate) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The bytes with those that are not `plain` as `%XX`. The text is made with room for all of it: of a
/// secret, growing would leave copies behind.
pub(crate) fn encode(bytes: &[u8], plain: fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(3));
    for &byte in bytes {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ok = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes that `text` stands for; `None` where a `%` is not followed by two hexadecimal digits,
/// or a byte that is not `plain` stands there as it is.
pub(crate) fn decode(text: &str, plain: fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => bytes.push((hex_digit(rest.next()?)? << 4) | hex_digit(rest.next()?)?),
            _ if plain(byte) => bytes.push(byte),
            _ => return None,
        }
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(byte: u8) -> bool {
        byte.is_ascii_lowercase()
    }

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&bytes, plain), plain), Some(bytes));
    }

    #[test]
    fn half_an_escape_and_bytes_that_must_be_escaped_are_refused() {
        for text in ["%", "%4", "%zz", "%4g", "%+1", "a b", "A", "a%", "é"] {
            assert_eq!(decode(text, plain), None, "{text}");
        }
        assert_eq!(decode("a%41%e9", plain), Some(b"aA\xe9".to_vec()));
    }
}

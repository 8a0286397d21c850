//! Public keys as text.

use data_encoding::BASE64;

/// PEM (RFC 7468) of a SubjectPublicKeyInfo.
pub(super) fn pem(der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / 64 + 64);
    text.push_str("-----BEGIN PUBLIC KEY-----\n");
    for (nth, character) in base64.chars().enumerate() {
        if nth > 0 && nth % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PUBLIC KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_lines_of_64_characters() {
        let lines = |len| pem(&vec![0; len]).lines().map(str::len).collect::<Vec<_>>();
        assert_eq!(lines(48), [26, 64, 24]);
        assert_eq!(lines(49), [26, 64, 4, 24]);
        assert_eq!(lines(96), [26, 64, 64, 24]);
    }
}

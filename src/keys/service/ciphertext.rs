//! What a service made of a data key, in base64 (RFC 4648 §4) as services send and take it.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::keys::error::KeyError;

/// The longest ciphertext that is sent, in bytes: more than a slot in a header holds.
const LEN_MAX: usize = 6144;

/// A ciphertext in base64.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Ciphertext(String);

impl Ciphertext {
    /// # Errors
    /// `Corrupt` for a length that no ciphertext has.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        if (1..=LEN_MAX).contains(&bytes.len()) {
            Ok(Self(BASE64.encode(bytes)))
        } else {
            Err(KeyError::corrupt(
                "the wrapped key is empty, or longer than the service makes any",
            ))
        }
    }

    pub(crate) fn as_text(&self) -> &str {
        &self.0
    }

    /// # Errors
    /// `Unavailable` for what is no base64, or of nothing: something else than the service answered.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, KeyError> {
        let bytes = BASE64.decode(self.0.as_bytes()).unwrap_or_default();
        if bytes.is_empty() {
            return Err(KeyError::unavailable(
                "the answer holds no ciphertext in base64",
            ));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphertexts_have_their_bounds() {
        assert!(Ciphertext::of(&[]).is_err());
        assert!(Ciphertext::of(&[0; LEN_MAX + 1]).is_err());
        let longest = Ciphertext::of(&[7; LEN_MAX]).unwrap();
        assert_eq!(longest.bytes().unwrap(), [7; LEN_MAX]);
        assert_eq!(Ciphertext::of(b"a").unwrap().as_text(), "YQ==");
        for text in ["", "A", "!", "AAA", "AAF="] {
            assert!(Ciphertext(text.to_owned()).bytes().is_err(), "{text}");
        }
    }
}

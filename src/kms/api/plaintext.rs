//! Text and bytes.
//!
//! Clients of Alibaba Cloud encrypt *text* and get the same text back, be it base64 or not; their data
//! keys are bytes, which `Decrypt` gives them in base64. Clients of AWS have bytes alone. For one
//! ciphertext to be right in both dialects, what is encrypted says which of the two it is: text stands
//! behind a mark, bytes stand alone, and bytes that begin like a mark stand behind the other one. Text
//! can be longer than any bytes, and has no mark then (unless it begins with one): a ciphertext of 6 KiB
//! of text has no room for it.

use zeroize::Zeroizing;

use crate::kms::engine::ops::SecretBytes;

const TEXT: &[u8] = b"\0envelopekms/txt";
const BYTES: &[u8] = b"\0envelopekms/bin";

const MARK_LEN: usize = 16;

/// The most bytes that any dialect encrypts as such.
pub(super) const BYTES_MAX: usize = 4096;

/// What was encrypted.
#[derive(PartialEq, Eq)]
pub(super) enum Plaintext {
    Bytes(SecretBytes),
    Text(Zeroizing<String>),
}

/// Text as it is encrypted.
pub(super) fn of_text(text: &str) -> SecretBytes {
    if is_text(text.len()) && !text.as_bytes().starts_with(TEXT) {
        return Zeroizing::new(text.as_bytes().to_vec());
    }
    marked(TEXT, text.as_bytes())
}

/// Whether so much can be text only.
fn is_text(len: usize) -> bool {
    len > MARK_LEN + BYTES_MAX
}

/// Bytes as they are encrypted.
pub(super) fn of_bytes(bytes: SecretBytes) -> SecretBytes {
    if bytes.starts_with(TEXT) || bytes.starts_with(BYTES) {
        return marked(BYTES, &bytes);
    }
    bytes
}

/// The data key in what was decrypted; text is none.
pub(super) fn data_key(decrypted: SecretBytes) -> Option<SecretBytes> {
    match parse(decrypted) {
        Plaintext::Bytes(bytes) => Some(bytes),
        Plaintext::Text(_) => None,
    }
}

/// What was decrypted.
pub(super) fn parse(decrypted: SecretBytes) -> Plaintext {
    let longer = is_text(decrypted.len());
    let text = match decrypted.strip_prefix(TEXT) {
        None if longer => Some(decrypted.as_slice()),
        marked => marked,
    };
    if let (None, Some(bytes)) = (text, decrypted.strip_prefix(BYTES)) {
        return Plaintext::Bytes(Zeroizing::new(bytes.to_vec()));
    }
    match text.map(std::str::from_utf8) {
        Some(Ok(text)) => Plaintext::Text(Zeroizing::new(text.to_owned())),
        // What is marked as text and is none was not encrypted here.
        Some(Err(_)) | None => Plaintext::Bytes(decrypted),
    }
}

impl Plaintext {
    /// The bytes; those of a text are its UTF-8.
    pub(super) fn into_bytes(self) -> SecretBytes {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Text(text) => Zeroizing::new(text.as_bytes().to_vec()),
        }
    }

    /// The text; bytes in base64.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        match self {
            Self::Bytes(bytes) => Zeroizing::new(data_encoding::BASE64.encode(&bytes)),
            Self::Text(text) => text,
        }
    }
}

fn marked(mark: &[u8], rest: &[u8]) -> SecretBytes {
    let mut bytes = Zeroizing::new(Vec::with_capacity(mark.len() + rest.len()));
    bytes.extend_from_slice(mark);
    bytes.extend_from_slice(rest);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(bytes: &[u8]) -> SecretBytes {
        Zeroizing::new(bytes.to_vec())
    }

    #[test]
    fn text_is_text_in_one_dialect_and_its_bytes_in_the_other() {
        let lens = [4095, 4096, 4097, 4112, 4113, 4128, 4129, 6144];
        let start = |start: &str, len: usize| start.to_owned() + &"x".repeat(len - start.len());
        let mut long = lens.map(|len| start("", len)).to_vec();
        for mark in [TEXT, BYTES] {
            let mark = std::str::from_utf8(mark).unwrap();
            long.extend(lens.map(|len| start(mark, len)));
        }
        let short = ["", "secret", "c2VjcmV0", "中", "\0envelopekms/bin"];
        for text in short.into_iter().chain(long.iter().map(String::as_str)) {
            let room = if text.starts_with('\0') { 6160 } else { 6144 };
            assert!(of_text(text).len() <= room);
            assert_eq!(*parse(of_text(text)).into_text(), text);
            assert_eq!(*parse(of_text(text)).into_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn bytes_are_bytes_in_one_dialect_and_base64_in_the_other() {
        assert_eq!(*parse(of_bytes(bytes(b"secret"))).into_bytes(), b"secret");
        assert_eq!(*parse(of_bytes(bytes(b"secret"))).into_text(), "c2VjcmV0");
        assert_eq!(*parse(bytes(&[0xff; 3])).into_text(), "////", "a data key");
    }

    #[test]
    fn bytes_that_look_like_a_mark_come_back_as_they_were() {
        for mark in [TEXT, BYTES] {
            assert_eq!(mark.len(), MARK_LEN);
            for tail in [&b""[..], b"x", b"\xff", TEXT, &[0xff; BYTES_MAX - MARK_LEN]] {
                let whole = [mark, tail].concat();
                assert_eq!(*parse(of_bytes(bytes(&whole))).into_bytes(), whole);
            }
        }
    }

    #[test]
    fn bytes_are_a_data_key_and_text_is_none() {
        for key in [&[7; 32][..], TEXT, BYTES] {
            let opened = data_key(of_bytes(bytes(key))).unwrap();
            assert_eq!(*opened, key);
        }
        for text in ["c2VjcmV0", "", &"x".repeat(6144)] {
            assert!(data_key(of_text(text)).is_none());
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in ".{0,40}", given in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(&*parse(of_text(&text)).into_text(), &text);
            prop_assert_eq!(&*parse(of_bytes(bytes(&given))).into_bytes(), &given);
        }
    }
}

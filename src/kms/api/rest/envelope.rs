//! The envelope: `nonce (12) ‖ AES-256-GCM ‖ tag (16)` under a key that is used once.
//!
//! What is authenticated beside it says of which key and version of the service the data key is under:
//! `envelopekms-rest-v1 ‖ 0 ‖ key id ‖ 0 ‖ version id`, ids as the service gives them. A client that has the public key makes
//! the same by itself.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::random;
use crate::kms::api::web::WebError;
use crate::kms::engine::KmsError;
use crate::kms::engine::ops::SecretBytes;

const LABEL: &str = "envelopekms-rest-v1";
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
/// By how much a ciphertext is longer than its plaintext.
pub(super) const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// A new AES key.
pub(super) fn data_key() -> Zeroizing<[u8; KEY_LEN]> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    random::fill(&mut *key);
    key
}

/// The ciphertext under a key that seals nothing else.
pub(super) fn seal(
    data_key: &[u8; KEY_LEN],
    key: &str,
    version: &str,
    plaintext: &[u8],
) -> Result<Vec<u8>, WebError> {
    let nonce: [u8; NONCE_LEN] = random::array();
    let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(OVERHEAD));
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(plaintext);
    let (_nonce, data) = sealed.split_at_mut(NONCE_LEN);
    let cipher = cipher(data_key).ok_or_else(KmsError::internal)?;
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = cipher.seal_in_place_separate_tag(nonce, aad(key, version), data);
    // A ciphertext that was not made whole still has plaintext in it.
    let tag = tag.map_err(|_unspecified| {
        data.zeroize();
        KmsError::internal()
    })?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// The plaintext.
pub(super) fn open(
    data_key: &[u8],
    key: &str,
    version: &str,
    mut sealed: SecretBytes,
) -> Result<SecretBytes, WebError> {
    opened(data_key, aad(key, version), &mut sealed).ok_or_else(|| {
        WebError::new(
            400,
            "CiphertextInvalid",
            "The ciphertext was changed, or is of another key, version or wrapped key.",
        )
    })
}

fn opened(data_key: &[u8], aad: Aad<Vec<u8>>, sealed: &mut [u8]) -> Option<SecretBytes> {
    let cipher = cipher(data_key)?;
    let (nonce, data) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plaintext = cipher.open_in_place(nonce, aad, data).ok()?;
    Some(Zeroizing::new(plaintext.to_vec()))
}

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).ok()?;
    Some(LessSafeKey::new(key))
}

fn aad(key: &str, version: &str) -> Aad<Vec<u8>> {
    Aad::from([LABEL, key, version].join("\0").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plaintext: &[u8]) -> (Zeroizing<[u8; KEY_LEN]>, Vec<u8>) {
        let key = data_key();
        let sealed = seal(&key, "k", "v", plaintext).unwrap();
        assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
        (key, sealed)
    }

    fn is_refused(key: &[u8], of: (&str, &str), sealed: &[u8]) -> bool {
        let opened = open(key, of.0, of.1, Zeroizing::new(sealed.to_vec()));
        opened.is_err_and(|error| error.code == "CiphertextInvalid")
    }

    #[test]
    fn what_was_sealed_opens() {
        for plaintext in [&b""[..], b"x", &[7; 10_000]] {
            let (key, sealed) = sealed(plaintext);
            let opened = open(&*key, "k", "v", Zeroizing::new(sealed)).unwrap();
            assert_eq!(&**opened, plaintext);
        }
    }

    /// The example of docs/kms/rest.md.
    #[test]
    fn the_documented_example_opens() {
        let document = include_str!("../../../../docs/kms/rest.md");
        let mut lines = document
            .lines()
            .filter_map(|line| line.strip_prefix("ciphertext  "));
        let sealed = lines.next_back().unwrap().as_bytes();
        let sealed = data_encoding::HEXLOWER.decode(sealed).unwrap();
        let key: Vec<u8> = (0..32).collect();
        let opened = open(
            &key,
            "11111111-2222-4333-8444-555555555555",
            "66666666-7777-4888-9999-000000000000",
            Zeroizing::new(sealed),
        );
        assert_eq!(&**opened.unwrap(), b"hello");
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let (key, sealed) = sealed(b"plaintext");
        for nth in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[nth] ^= 1;
            assert!(is_refused(&*key, ("k", "v"), &changed), "{nth}");
        }
        for len in 0..sealed.len() {
            assert!(is_refused(&*key, ("k", "v"), &sealed[..len]), "{len}");
        }
    }

    #[test]
    fn another_key_or_version_is_refused() {
        let (key, sealed) = sealed(b"plaintext");
        for of in [
            ("l", "v"),
            ("k", "w"),
            ("k\0v", ""),
            ("", "k\0v"),
            ("v", "k"),
        ] {
            assert!(is_refused(&*key, of, &sealed), "{of:?}");
        }
        assert!(is_refused(&*data_key(), ("k", "v"), &sealed));
        for len in [0, 16, 31, 33] {
            assert!(is_refused(&vec![0; len], ("k", "v"), &sealed), "{len}");
        }
    }
}

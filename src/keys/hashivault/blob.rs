//! The wrapped key as it stands in a slot (docs/FORMAT.md §4.5).
//!
//! `1 ‖ fingerprint of the context ‖ the sealed data key ‖ by the service`. What the service made stands
//! without its `vault:vN:`, since the version is the slot's key version.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

use crate::keys::between::{SEALED_LEN, does_not_open};
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, WrappedDek};

const FORMAT: u8 = 1;
/// A part of the SHA-256 of the associated data: it tells a key of another file from an altered one,
/// also where the service rewraps and nobody opens anything. It proves nothing.
const FINGERPRINT_LEN: usize = 16;
/// What the service makes of 32 bytes with a nonce of 12 or 24 bytes: nonce ‖ ciphertext ‖ tag.
const BY_SERVICE_LENS: [usize; 2] = [12 + 32 + 16, 24 + 32 + 16];

/// What the sealed data key is bound to. Not to the key version: the service rewraps.
pub(super) fn aad(context: &EncryptionContext) -> Vec<u8> {
    context.aad(super::SCHEME, &[FORMAT])
}

/// A wrapped key.
pub(super) struct Blob<'a> {
    fingerprint: [u8; FINGERPRINT_LEN],
    sealed: &'a [u8],
    by_service: &'a [u8],
}

impl<'a> Blob<'a> {
    pub(super) fn new(aad: &[u8], sealed: &'a [u8], ciphertext: &'a Ciphertext) -> Self {
        Self {
            fingerprint: fingerprint(aad),
            sealed,
            by_service: &ciphertext.bytes,
        }
    }

    pub(super) fn into_wrapped(self, ciphertext: &Ciphertext) -> WrappedDek {
        let bytes = [
            &[FORMAT][..],
            &self.fingerprint,
            self.sealed,
            self.by_service,
        ]
        .concat();
        WrappedDek {
            key_version: ciphertext.version.to_string(),
            bytes,
        }
    }

    /// The parts of a wrapped key, and what the service is to be sent.
    ///
    /// # Errors
    /// `Corrupt` where it has not this form, or was made for another context.
    pub(super) fn of_wrapped(
        wrapped: &'a WrappedDek,
        aad: &[u8],
    ) -> Result<(Self, Ciphertext), KeyError> {
        let blob = Self::parse(&wrapped.bytes).ok_or_else(does_not_open)?;
        let version = version(&wrapped.key_version)
            .ok_or_else(|| KeyError::corrupt("no key version of a Transit key"))?;
        if blob.fingerprint != fingerprint(aad) {
            return Err(KeyError::corrupt(
                "the wrapped key was made for another file or another volume, or altered",
            ));
        }
        let bytes = blob.by_service.to_vec();
        Ok((blob, Ciphertext { version, bytes }))
    }

    pub(super) fn sealed(&self) -> &'a [u8] {
        self.sealed
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&format, rest) = bytes.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (sealed, by_service) = rest.split_at_checked(SEALED_LEN)?;
        let fits = format == FORMAT && BY_SERVICE_LENS.contains(&by_service.len());
        fits.then_some(Self {
            fingerprint: *fingerprint,
            sealed,
            by_service,
        })
    }
}

/// What the service encrypted, as `vault:vVERSION:BASE64`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ciphertext {
    version: u32,
    bytes: Vec<u8>,
}

impl Ciphertext {
    /// Reads what the service answered.
    ///
    /// # Errors
    /// `Unavailable` where it is none of a kind that can be kept.
    pub(super) fn of_text(text: &str) -> Result<Self, KeyError> {
        let parse = || {
            let (number, base64) = text.strip_prefix("vault:v")?.split_once(':')?;
            let version = version(number)?;
            let bytes = BASE64.decode(base64.as_bytes()).ok()?;
            let fits = BY_SERVICE_LENS.contains(&bytes.len());
            fits.then_some(Self { version, bytes })
        };
        parse().ok_or_else(|| {
            KeyError::unavailable("an answer whose ciphertext is not of the form vault:vN:BASE64")
        })
    }

    pub(super) fn to_text(&self) -> String {
        format!("vault:v{}:{}", self.version, BASE64.encode(&self.bytes))
    }
}

/// A version from 1 on, in the one form that it has: the service takes `v0` and `v01` as well.
fn version(text: &str) -> Option<u32> {
    let version: u32 = text.parse().ok()?;
    (version > 0 && version.to_string() == text).then_some(version)
}

fn fingerprint(aad: &[u8]) -> [u8; FINGERPRINT_LEN] {
    let mut fingerprint = [0; FINGERPRINT_LEN];
    let hash = Sha256::digest(aad);
    fingerprint
        .iter_mut()
        .zip(hash)
        .for_each(|(to, from)| *to = from);
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::conformance::CONTEXT;
    use crate::keys::error::KeyErrorKind;

    fn wrapped(by_service: usize) -> WrappedDek {
        let ciphertext = Ciphertext {
            version: 7,
            bytes: vec![2; by_service],
        };
        Blob::new(&aad(&CONTEXT), &[1; SEALED_LEN], &ciphertext).into_wrapped(&ciphertext)
    }

    #[test]
    fn its_parts_come_back() {
        for len in BY_SERVICE_LENS {
            let wrapped = wrapped(len);
            let (blob, ciphertext) = Blob::of_wrapped(&wrapped, &aad(&CONTEXT)).unwrap();
            assert_eq!(wrapped.bytes.len(), 1 + 16 + 72 + len);
            assert_eq!(blob.sealed(), [1; SEALED_LEN]);
            assert_eq!(
                ciphertext.to_text(),
                format!("vault:v7:{}", BASE64.encode(&vec![2; len]))
            );
            assert_eq!(
                Ciphertext::of_text(&ciphertext.to_text()).unwrap(),
                ciphertext
            );
        }
    }

    #[test]
    fn a_key_of_another_file_is_told_from_one_that_is_cut() {
        let other = EncryptionContext {
            file: None,
            ..CONTEXT
        };
        let error = |wrapped: &WrappedDek, context| {
            let error = Blob::of_wrapped(wrapped, &aad(context)).err().unwrap();
            assert_eq!(error.kind(), KeyErrorKind::Corrupt);
            error.to_string()
        };
        assert!(error(&wrapped(60), &other).contains("another file"));
        for len in (0..59).chain([61, 71, 73, 200]) {
            assert!(
                error(&wrapped(len), &CONTEXT).contains("does not open"),
                "{len}"
            );
        }
    }

    #[test]
    fn a_version_has_one_form() {
        for version in [
            "",
            "0",
            "01",
            "+1",
            "-1",
            "1 ",
            " 1",
            "v1",
            "4294967296",
            "é",
            "1:",
        ] {
            let mut wrapped = wrapped(60);
            wrapped.key_version = version.to_owned();
            assert!(
                Blob::of_wrapped(&wrapped, &aad(&CONTEXT)).is_err(),
                "{version:?}"
            );
        }
    }

    #[test]
    fn answers_of_another_form_are_no_ciphertexts() {
        let base64 = BASE64.encode(&[0; 60]);
        assert!(Ciphertext::of_text(&format!("vault:v1:{base64}")).is_ok());
        for text in [
            String::new(),
            base64.clone(),
            format!("v1:{base64}"),
            format!("vault:v0:{base64}"),
            format!("vault:v01:{base64}"),
            format!("vault:v:{base64}"),
            format!("vault:v1:{base64}="),
            format!("vault:v1:{}", BASE64.encode(&[0; 59])),
            format!("vault:v1:v1:{base64}"),
        ] {
            let error = Ciphertext::of_text(&text).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{text}");
        }
    }
}

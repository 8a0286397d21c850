//! Members of requests and answers.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::fresh::{Fresh, Time};
use crate::kms::api::web::{WebError, not_json};
use crate::kms::engine::model::{KeySpec, KeyUsage, KeyVersionId};
use crate::kms::engine::ops::SecretBytes;

/// Of `POST /encrypt`. What is secret in it is borrowed from the body, which is wiped.
pub(super) struct EncryptMembers<'a> {
    pub(super) key: String,
    pub(super) plaintext: Cow<'a, str>,
    pub(super) fresh: Fresh<'a>,
}

/// The same as it comes. No member is left unread: who sends a context would believe that it was bound.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptBody<'a> {
    key: String,
    #[serde(borrow)]
    plaintext: Cow<'a, str>,
    timestamp: Time,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

/// Of `POST /decrypt`.
#[derive(Deserialize)]
pub(super) struct DecryptMembers<'a> {
    pub(super) key: String,
    pub(super) version: String,
    #[serde(borrow)]
    pub(super) ciphertext: Cow<'a, str>,
    pub(super) wrapped_key: String,
    #[serde(borrow, flatten)]
    pub(super) fresh: Fresh<'a>,
}

impl<'a> EncryptMembers<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WebError> {
        let body = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
        let EncryptBody {
            key,
            plaintext,
            timestamp,
            nonce,
            sha256,
        } = body;
        Ok(Self {
            key,
            plaintext,
            fresh: Fresh {
                timestamp,
                nonce,
                sha256,
            },
        })
    }
}

impl<'a> DecryptMembers<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WebError> {
        serde_json::from_slice(body).map_err(|error| not_json(&error))
    }
}

/// Bytes of a member, which may be a secret.
pub(super) fn base64(
    text: Cow<'_, str>,
    member: &str,
    max: usize,
) -> Result<SecretBytes, WebError> {
    let decoded = match text {
        Cow::Borrowed(text) => BASE64.decode(text.as_bytes()),
        // It had escapes, and is not a part of the body, which is wiped.
        Cow::Owned(text) => BASE64.decode(Zeroizing::new(text).as_bytes()),
    };
    let bytes = decoded.map(Zeroizing::new);
    let bytes = bytes.map_err(|_error| WebError::invalid(member, "It is no base64."))?;
    if bytes.len() > max {
        return Err(WebError::new(
            413,
            "TooLong",
            format!("{member}: It has at most {max} bytes."),
        ));
    }
    Ok(bytes)
}

/// A version's id.
pub(super) fn version(text: &str) -> Result<KeyVersionId, WebError> {
    if text.is_empty() || text.len() > 64 {
        return Err(WebError::invalid(
            "version",
            "It is the version that the answer to encrypt has.",
        ));
    }
    Ok(KeyVersionId(text.to_owned()))
}

#[derive(Serialize)]
pub(super) struct PublicKeyAnswer<'a> {
    pub(super) key: &'a str,
    pub(super) version: &'a str,
    pub(super) spec: &'a str,
    /// PEM (RFC 7468) of a SubjectPublicKeyInfo.
    pub(super) public_key: &'a str,
    pub(super) algorithms: &'static [&'static str],
}

#[derive(Serialize)]
pub(super) struct EncryptAnswer<'a> {
    pub(super) key: &'a str,
    pub(super) version: &'a str,
    pub(super) ciphertext: &'a str,
    pub(super) wrapped_key: &'a str,
    /// Of the ciphertext.
    pub(super) sha256: &'a str,
    pub(super) request_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct DecryptAnswer<'a> {
    pub(super) plaintext: &'a str,
    /// Of the plaintext.
    pub(super) sha256: &'a str,
    pub(super) request_id: &'a str,
}

/// What the service does with the private half of such a key.
pub(super) fn algorithms(spec: KeySpec, usage: KeyUsage) -> &'static [&'static str] {
    use KeySpec::{EcP256, EcP256K, EcP384, EcSm2, Rsa2048, Rsa3072, Rsa4096};
    match (spec, usage) {
        (Rsa2048 | Rsa3072 | Rsa4096, KeyUsage::EncryptDecrypt) => {
            &["RSAES_OAEP_SHA_256", "RSAES_OAEP_SHA_1"]
        }
        (Rsa2048 | Rsa3072 | Rsa4096, KeyUsage::SignVerify) => &[
            "RSASSA_PSS_SHA_256",
            "RSASSA_PSS_SHA_384",
            "RSASSA_PSS_SHA_512",
            "RSASSA_PKCS1_V1_5_SHA_256",
            "RSASSA_PKCS1_V1_5_SHA_384",
            "RSASSA_PKCS1_V1_5_SHA_512",
        ],
        (EcP256 | EcP256K, _) => &["ECDSA_SHA_256"],
        (EcP384, _) => &["ECDSA_SHA_384"],
        (EcSm2, KeyUsage::EncryptDecrypt) => &["SM2PKE"],
        (EcSm2, _) => &["SM2DSA"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_escapes() {
        let body = br#"{"key":"k","plaintext":"Pz8\/","timestamp":1,"nonce":"n","sha256":"h"}"#;
        let members = EncryptMembers::parse(body).unwrap();
        assert_eq!(
            **base64(members.plaintext, "plaintext", 3).unwrap(),
            *b"???"
        );
    }

    #[test]
    fn what_is_no_base64_or_too_long_is_refused_and_not_told() {
        for text in ["c2VjcmV0=", "c2VjcmV", "sec ret", "c2Vj\ncmV0"] {
            let error = base64(text.into(), "plaintext", 9).unwrap_err();
            assert_eq!((error.status, error.code), (400, "InvalidParameter"));
            assert!(!error.message.contains(text));
        }
        let error = base64("c2VjcmV0".into(), "plaintext", 5).unwrap_err();
        assert_eq!((error.status, error.code), (413, "TooLong"));
    }

    #[test]
    fn members_that_are_missing_or_of_another_kind_are_refused_without_a_secret() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"key":"k","plaintext":"secret"}"#,
            r#"{"key":"k","plaintext":["secret"],"timestamp":1,"nonce":"n","sha256":"h"}"#,
            r#"{"key":"k","plaintext":"secret","timestamp":null,"nonce":"n","sha256":"h"}"#,
            r#"{"key":"secret","key":"k","plaintext":"","timestamp":1,"nonce":"n","sha256":"h"}"#,
            r#"{"key":"k","plaintext":"","timestamp":1,"nonce":"n","sha256":"h","context":"secret"}"#,
        ] {
            let error = EncryptMembers::parse(body.as_bytes())
                .map(drop)
                .unwrap_err();
            assert_eq!((error.status, error.code), (400, "InvalidBody"), "{body}");
            assert!(!error.message.contains("secret"), "{body}");
        }
    }

    #[test]
    fn every_public_key_is_good_for_something() {
        for spec in KeySpec::ALL.iter().filter(|spec| spec.is_asymmetric()) {
            for usage in KeyUsage::ALL.iter().filter(|usage| spec.allows(**usage)) {
                assert!(!algorithms(*spec, *usage).is_empty(), "{spec:?} {usage:?}");
            }
        }
    }
}

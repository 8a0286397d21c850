//! What AWS KMS is sent and what it answers: JSON of the API of 2014-11-01.
//! <https://docs.aws.amazon.com/kms/latest/APIReference/>

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::failure;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::service::ciphertext::Ciphertext;
use crate::keys::service::context::Context;

#[derive(Serialize)]
pub(super) struct GenerateDataKey<'a> {
    #[serde(rename = "KeyId")]
    pub(super) key: &'a str,
    #[serde(rename = "KeySpec")]
    pub(super) spec: &'static str,
    #[serde(rename = "EncryptionContext")]
    pub(super) context: Context,
}

#[derive(Serialize)]
pub(super) struct Encrypt<'a> {
    #[serde(rename = "KeyId")]
    pub(super) key: &'a str,
    #[serde(rename = "Plaintext")]
    pub(super) plaintext: Zeroizing<String>,
    #[serde(rename = "EncryptionContext")]
    pub(super) context: Context,
}

#[derive(Serialize)]
pub(super) struct Decrypt<'a> {
    #[serde(rename = "KeyId")]
    pub(super) key: &'a str,
    #[serde(rename = "CiphertextBlob")]
    pub(super) blob: Ciphertext,
    #[serde(rename = "EncryptionContext")]
    pub(super) context: Context,
}

#[derive(Serialize)]
pub(super) struct ReEncrypt<'a> {
    #[serde(rename = "CiphertextBlob")]
    pub(super) blob: Ciphertext,
    #[serde(rename = "SourceKeyId")]
    pub(super) source: &'a str,
    #[serde(rename = "DestinationKeyId")]
    pub(super) destination: &'a str,
    #[serde(rename = "SourceEncryptionContext")]
    pub(super) source_context: Context,
    #[serde(rename = "DestinationEncryptionContext")]
    pub(super) destination_context: Context,
}

#[derive(Serialize)]
pub(super) struct DescribeKey<'a> {
    #[serde(rename = "KeyId")]
    pub(super) key: &'a str,
}

/// Of GenerateDataKey.
#[derive(Deserialize)]
pub(super) struct DataKey {
    #[serde(rename = "KeyId")]
    pub(super) key: String,
    #[serde(rename = "Plaintext")]
    pub(super) plaintext: Zeroizing<String>,
    #[serde(rename = "CiphertextBlob")]
    pub(super) blob: Ciphertext,
}

/// Of Encrypt and ReEncrypt.
#[derive(Deserialize)]
pub(super) struct Encrypted {
    #[serde(rename = "KeyId")]
    pub(super) key: String,
    #[serde(rename = "SourceKeyId")]
    pub(super) source: Option<String>,
    #[serde(rename = "CiphertextBlob")]
    pub(super) blob: Ciphertext,
}

/// Of Decrypt.
#[derive(Deserialize)]
pub(super) struct Opened {
    #[serde(rename = "KeyId")]
    pub(super) key: String,
    #[serde(rename = "Plaintext")]
    pub(super) plaintext: Zeroizing<String>,
}

/// Of DescribeKey.
#[derive(Deserialize)]
pub(super) struct Described {
    #[serde(rename = "KeyMetadata")]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "Arn")]
    arn: String,
    #[serde(rename = "KeyState")]
    state: String,
    #[serde(rename = "KeyUsage")]
    usage: Option<String>,
    #[serde(rename = "KeySpec")]
    spec: Option<String>,
}

impl Described {
    pub(super) fn arn(&self) -> &str {
        &self.metadata.arn
    }

    pub(super) fn state(&self) -> &str {
        &self.metadata.state
    }

    /// Whether a wrap would do.
    ///
    /// # Errors
    /// What the key's state means; `Config` for a key that is not for encryption.
    pub(super) fn check_usable(&self) -> Result<(), KeyError> {
        let state = self.state();
        if let Some(kind) = failure::kind_of_state(state) {
            let message = format!("the key is {}", failure::state_in_words(state));
            return Err(KeyError::new(kind, message));
        }
        let is =
            |said: &Option<String>, wanted: &str| said.as_deref().is_none_or(|said| said == wanted);
        if is(&self.metadata.usage, "ENCRYPT_DECRYPT")
            && is(&self.metadata.spec, "SYMMETRIC_DEFAULT")
        {
            return Ok(());
        }
        Err(KeyError::new(
            KeyErrorKind::Config,
            "the key is not a symmetric one for encryption (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_key_for_encryption_is_usable() {
        let check = |state: &str, usage: &str, spec: &str| {
            let described: Described = serde_json::from_value(serde_json::json!({"KeyMetadata": {
                "Arn": "a", "KeyState": state, "KeyUsage": usage, "KeySpec": spec,
            }}))
            .unwrap();
            described.check_usable().map_err(|error| error.kind())
        };
        let (usage, spec) = ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT");
        assert_eq!(check("Enabled", usage, spec), Ok(()));
        assert_eq!(
            check("Enabled", "SIGN_VERIFY", spec),
            Err(KeyErrorKind::Config)
        );
        assert_eq!(
            check("Enabled", usage, "RSA_2048"),
            Err(KeyErrorKind::Config)
        );
        for (state, kind) in [
            ("Disabled", KeyErrorKind::Revoked),
            ("PendingDeletion", KeyErrorKind::Revoked),
            ("PendingReplicaDeletion", KeyErrorKind::Revoked),
            ("PendingImport", KeyErrorKind::Revoked),
            ("Unavailable", KeyErrorKind::Unavailable),
            ("Creating", KeyErrorKind::Unavailable),
            ("Updating", KeyErrorKind::Unavailable),
            ("Something new", KeyErrorKind::Unavailable),
        ] {
            assert_eq!(check(state, usage, spec), Err(kind), "{state}");
        }
    }
}

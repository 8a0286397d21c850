//! What Alibaba Cloud KMS answers: JSON of the API of 2016-01-20, and the values of its requests.
//! <https://www.alibabacloud.com/help/en/kms/key-management-service/developer-reference/>

use serde::Deserialize;
use zeroize::Zeroizing;

use super::failure;
use crate::keys::error::KeyError;
use crate::keys::provider::EncryptionContext;
use crate::keys::service::ciphertext::Ciphertext;
use crate::keys::service::context::Context;
use crate::units::VolumeId;

/// The version of the API.
pub(super) const VERSION: &str = "2016-01-20";

/// A context for what is wrapped for trial and thrown away.
pub(super) const TRIAL: EncryptionContext = EncryptionContext {
    volume: VolumeId([0; 16]),
    file: None,
};

/// The context as the service takes it: JSON.
///
/// # Errors
/// `Config`, which does not happen: a context is JSON.
pub(super) fn context(context: &Context) -> Result<String, KeyError> {
    serde_json::to_string(context).map_err(|error| KeyError::config("no context").caused_by(error))
}

/// Of Encrypt and ReEncrypt, and a part of that of GenerateDataKey.
#[derive(Deserialize)]
pub(super) struct Encrypted {
    #[serde(rename = "KeyId")]
    pub(super) key: String,
    #[serde(rename = "KeyVersionId")]
    pub(super) version: String,
    #[serde(rename = "CiphertextBlob")]
    pub(super) blob: Ciphertext,
}

/// Of GenerateDataKey.
#[derive(Deserialize)]
#[serde(from = "FlatDataKey")]
pub(super) struct DataKey {
    pub(super) by: Encrypted,
    pub(super) plaintext: Zeroizing<String>,
}

/// serde's `flatten` would copy the plaintext on the way.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FlatDataKey {
    key_id: String,
    key_version_id: String,
    ciphertext_blob: Ciphertext,
    plaintext: Zeroizing<String>,
}

impl From<FlatDataKey> for DataKey {
    fn from(flat: FlatDataKey) -> Self {
        Self {
            by: Encrypted {
                key: flat.key_id,
                version: flat.key_version_id,
                blob: flat.ciphertext_blob,
            },
            plaintext: flat.plaintext,
        }
    }
}

/// Of Decrypt.
#[derive(Deserialize)]
pub(super) struct Opened {
    #[serde(rename = "KeyId")]
    pub(super) key: String,
    #[serde(rename = "KeyVersionId")]
    pub(super) version: String,
    #[serde(rename = "Plaintext")]
    pub(super) plaintext: Zeroizing<String>,
    #[serde(rename = "RequestId", default)]
    pub(super) request_id: String,
}

/// Of DescribeKey.
#[derive(Deserialize)]
pub(super) struct Described {
    #[serde(rename = "KeyMetadata")]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "KeyState")]
    state: String,
    #[serde(rename = "KeyUsage")]
    usage: Option<String>,
    #[serde(rename = "PrimaryKeyVersion")]
    version: Option<String>,
}

impl Described {
    /// The version that wraps.
    pub(super) fn version(&self) -> Option<&str> {
        self.metadata
            .version
            .as_deref()
            .filter(|version| !version.is_empty())
    }

    /// Whether a wrap would do.
    ///
    /// # Errors
    /// What the key's state means; `Config` for a key that is not for encryption.
    pub(super) fn check_usable(&self) -> Result<(), KeyError> {
        if let Some(error) = failure::of_state(&self.metadata.state) {
            return Err(error);
        }
        match self.metadata.usage.as_deref() {
            None | Some("ENCRYPT/DECRYPT") => Ok(()),
            Some(_) => Err(KeyError::config(
                "the key is not for encryption (ENCRYPT/DECRYPT)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;

    #[test]
    fn only_an_enabled_key_for_encryption_is_usable() {
        let check = |state: &str, usage: &str| {
            let metadata = serde_json::json!({"KeyState": state, "KeyUsage": usage});
            let described = serde_json::json!({"KeyMetadata": metadata});
            let described: Described = serde_json::from_value(described).unwrap();
            described.check_usable().map_err(|error| error.kind())
        };
        assert_eq!(check("Enabled", "ENCRYPT/DECRYPT"), Ok(()));
        assert_eq!(check("Enabled", "SIGN/VERIFY"), Err(KeyErrorKind::Config));
        for (state, kind) in [
            ("Disabled", KeyErrorKind::Revoked),
            ("PendingDeletion", KeyErrorKind::Revoked),
            ("PendingImport", KeyErrorKind::Revoked),
            ("Inactive", KeyErrorKind::Unavailable),
        ] {
            assert_eq!(check(state, "ENCRYPT/DECRYPT"), Err(kind), "{state}");
        }
    }
}

//! Data and data keys.

use serde::Serialize;
use zeroize::Zeroizing;

use super::error::AlibabaError;
use super::names::{ENCRYPTION, WRAPPING, WRAPPING_KEYS};
use super::parameters::{
    Base64, bytes, context, flag, number, one_of, optional, required, required_of,
};
use crate::kms::api::{Asking, plaintext};
use crate::kms::auth::Form;
use crate::kms::engine::model::KeyVersionId;
use crate::kms::engine::ops::data as engine;

/// The most bytes of text that `Encrypt` takes.
const PLAINTEXT_MAX: usize = 6144;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypted {
    key_id: String,
    key_version_id: String,
    ciphertext_blob: Base64,
}

impl From<engine::Encrypted> for Encrypted {
    fn from(encrypted: engine::Encrypted) -> Self {
        Self {
            key_id: encrypted.key.0,
            key_version_id: encrypted.version.0,
            ciphertext_blob: Base64::open(encrypted.blob),
        }
    }
}

/// The text is encrypted as it stands, be it base64 or not: clients get it back as it was.
pub(super) async fn encrypt(asking: Asking<'_>, form: &Form) -> Result<Encrypted, AlibabaError> {
    let text = required(form, "Plaintext")?;
    if text.len() > PLAINTEXT_MAX {
        return Err(AlibabaError::invalid("Plaintext"));
    }
    let operation = engine::Encrypt {
        key: asking.alibaba_key(form, "KeyId")?,
        plaintext: plaintext::of_text(text),
        context: context(form, "EncryptionContext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let encrypted = asking.engine.perform(&asking.caller, operation).await?;
    Ok(encrypted.into())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypted {
    key_id: String,
    key_version_id: String,
    plaintext: Zeroizing<String>,
}

/// Recipients are Nitro-like enclaves, which this service cannot attest.
fn no_recipient(form: &Form) -> Result<(), AlibabaError> {
    match optional(form, "Recipient") {
        None => Ok(()),
        Some(_) => Err(AlibabaError::unsupported(
            "This service does not have Recipient.",
        )),
    }
}

pub(super) async fn decrypt(asking: Asking<'_>, form: &Form) -> Result<Decrypted, AlibabaError> {
    no_recipient(form)?;
    let operation = engine::Decrypt {
        blob: bytes(form, "CiphertextBlob")?.to_vec(),
        key: None,
        context: context(form, "EncryptionContext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let decrypted = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Decrypted {
        key_id: decrypted.key.0,
        key_version_id: decrypted.version.0,
        plaintext: plaintext::parse(decrypted.plaintext).into_text(),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataKey {
    #[serde(flatten)]
    encrypted: Encrypted,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Base64>,
}

impl From<engine::DataKey> for DataKey {
    fn from(made: engine::DataKey) -> Self {
        Self {
            encrypted: made.encrypted.into(),
            plaintext: made.plaintext.map(Base64),
        }
    }
}

/// The length in bytes counts more than the spec; without both it is 32.
fn data_key_len(form: &Form) -> Result<usize, AlibabaError> {
    let bytes = number(form, "NumberOfBytes", 1, 1024)?;
    let of_spec = match optional(form, "KeySpec") {
        None | Some("AES_256") => 32,
        Some("AES_128") => 16,
        Some(_other) => return Err(AlibabaError::invalid("KeySpec")),
    };
    let len = bytes.unwrap_or(of_spec);
    usize::try_from(len).map_err(|_len| AlibabaError::invalid("NumberOfBytes"))
}

pub(super) async fn generate_data_key(
    asking: Asking<'_>,
    form: &Form,
) -> Result<DataKey, AlibabaError> {
    no_recipient(form)?;
    let operation = engine::GenerateDataKey {
        key: asking.alibaba_key(form, "KeyId")?,
        len: data_key_len(form)?,
        context: context(form, "EncryptionContext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let made = asking.engine.perform(&asking.caller, operation).await?;
    Ok(made.into())
}

pub(super) async fn generate_data_key_without_plaintext(
    asking: Asking<'_>,
    form: &Form,
) -> Result<DataKey, AlibabaError> {
    let operation = engine::GenerateDataKeyWithoutPlaintext {
        key: asking.alibaba_key(form, "KeyId")?,
        len: data_key_len(form)?,
        context: context(form, "EncryptionContext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let made = asking.engine.perform(&asking.caller, operation).await?;
    Ok(made.into())
}

pub(super) async fn re_encrypt(asking: Asking<'_>, form: &Form) -> Result<Encrypted, AlibabaError> {
    let source = optional(form, "SourceKeyId").map(|_id| asking.alibaba_key(form, "SourceKeyId"));
    let version = optional(form, "SourceKeyVersionId");
    let operation = engine::ReEncrypt {
        blob: bytes(form, "CiphertextBlob")?.to_vec(),
        source: source.transpose()?,
        source_version: version.map(|id| KeyVersionId(id.to_owned())),
        source_algorithm: one_of(form, "SourceEncryptionAlgorithm", &ENCRYPTION)?,
        source_context: context(form, "SourceEncryptionContext")?,
        destination: asking.alibaba_key(form, "DestinationKeyId")?,
        destination_context: context(form, "DestinationEncryptionContext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let done = asking.engine.perform(&asking.caller, operation).await?;
    Ok(done.encrypted.into())
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Exported {
    key_id: String,
    key_version_id: String,
    exported_data_key: Base64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<Base64>,
}

impl From<engine::ExportedDataKey> for Exported {
    fn from(exported: engine::ExportedDataKey) -> Self {
        Self {
            key_id: exported.key.0,
            key_version_id: exported.version.0,
            exported_data_key: Base64::open(exported.exported),
            ciphertext_blob: exported.blob.map(Base64::open),
        }
    }
}

/// Which kind of key the given public key is: it says so itself, so this is only held to be a kind.
fn wrapping_key(form: &Form) -> Result<(), AlibabaError> {
    required_of(form, "WrappingKeySpec", &WRAPPING_KEYS).map(|_spec| ())
}

pub(super) async fn export_data_key(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Exported, AlibabaError> {
    wrapping_key(form)?;
    let operation = engine::ExportDataKey {
        blob: bytes(form, "CiphertextBlob")?.to_vec(),
        context: context(form, "EncryptionContext")?,
        data_key: plaintext::data_key,
        public_key: bytes(form, "PublicKeyBlob")?.to_vec(),
        algorithm: required_of(form, "WrappingAlgorithm", &WRAPPING)?,
        dry_run: flag(form, "DryRun")?,
    };
    let exported = asking.engine.perform(&asking.caller, operation).await?;
    Ok(exported.into())
}

pub(super) async fn generate_and_export_data_key(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Exported, AlibabaError> {
    wrapping_key(form)?;
    let operation = engine::GenerateAndExportDataKey {
        key: asking.alibaba_key(form, "KeyId")?,
        len: data_key_len(form)?,
        context: context(form, "EncryptionContext")?,
        public_key: bytes(form, "PublicKeyBlob")?.to_vec(),
        algorithm: required_of(form, "WrappingAlgorithm", &WRAPPING)?,
        dry_run: flag(form, "DryRun")?,
    };
    let exported = asking.engine.perform(&asking.caller, operation).await?;
    Ok(exported.into())
}

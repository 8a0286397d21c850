//! Asymmetric keys and MACs. What is given and got is in base64, plaintexts too.

use serde::Serialize;

use super::error::AlibabaError;
use super::names::{ENCRYPTION, MACS, SIGNING};
use super::parameters::{Base64, bytes, context, flag, required_of, version};
use crate::kms::api::Asking;
use crate::kms::api::pem::pem;
use crate::kms::auth::Form;
use crate::kms::engine::ops::asymmetric as engine;
use crate::kms::engine::ops::asymmetric::Message;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypted {
    key_id: String,
    key_version_id: String,
    ciphertext_blob: Base64,
}

/// An asymmetric key binds nothing: to drop a context in silence would be to claim that it was bound.
fn without_context(form: &Form) -> Result<(), AlibabaError> {
    const NAME: &str = "EncryptionContext";
    if context(form, NAME)?.is_empty() {
        return Ok(());
    }
    Err(AlibabaError::invalid(NAME))
}

pub(super) async fn asymmetric_encrypt(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Encrypted, AlibabaError> {
    without_context(form)?;
    let operation = engine::AsymmetricEncrypt {
        key: asking.alibaba_key(form, "KeyId")?,
        version: Some(version(form)?),
        algorithm: required_of(form, "Algorithm", &ENCRYPTION)?,
        plaintext: bytes(form, "Plaintext")?,
        dry_run: flag(form, "DryRun")?,
    };
    let produced = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Encrypted {
        key_id: produced.key.0,
        key_version_id: produced.version.0,
        ciphertext_blob: Base64::open(produced.bytes),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypted {
    key_id: String,
    key_version_id: String,
    plaintext: Base64,
}

pub(super) async fn asymmetric_decrypt(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Decrypted, AlibabaError> {
    without_context(form)?;
    let operation = engine::AsymmetricDecrypt {
        key: asking.alibaba_key(form, "KeyId")?,
        version: Some(version(form)?),
        algorithm: required_of(form, "Algorithm", &ENCRYPTION)?,
        ciphertext: bytes(form, "CiphertextBlob")?.to_vec(),
        dry_run: flag(form, "DryRun")?,
    };
    let decrypted = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Decrypted {
        key_id: decrypted.key.0,
        key_version_id: decrypted.version.0,
        plaintext: Base64(decrypted.plaintext),
    })
}

/// A signature, or whether one is right.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfVersion<T> {
    key_id: String,
    key_version_id: String,
    value: T,
}

pub(super) async fn asymmetric_sign(
    asking: Asking<'_>,
    form: &Form,
) -> Result<OfVersion<Base64>, AlibabaError> {
    let operation = engine::Sign {
        key: asking.alibaba_key(form, "KeyId")?,
        version: Some(version(form)?),
        algorithm: required_of(form, "Algorithm", &SIGNING)?,
        message: Message::Digest(bytes(form, "Digest")?.to_vec()),
        dry_run: flag(form, "DryRun")?,
    };
    let produced = asking.engine.perform(&asking.caller, operation).await?;
    Ok(OfVersion {
        key_id: produced.key.0,
        key_version_id: produced.version.0,
        value: Base64::open(produced.bytes),
    })
}

pub(super) async fn asymmetric_verify(
    asking: Asking<'_>,
    form: &Form,
) -> Result<OfVersion<bool>, AlibabaError> {
    let operation = engine::Verify {
        key: asking.alibaba_key(form, "KeyId")?,
        version: Some(version(form)?),
        algorithm: required_of(form, "Algorithm", &SIGNING)?,
        message: Message::Digest(bytes(form, "Digest")?.to_vec()),
        signature: bytes(form, "Value")?.to_vec(),
        dry_run: flag(form, "DryRun")?,
    };
    let verified = asking.engine.perform(&asking.caller, operation).await?;
    Ok(OfVersion {
        key_id: verified.key.0,
        key_version_id: verified.version.0,
        value: verified.valid,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PublicKey {
    key_id: String,
    key_version_id: String,
    public_key: String,
}

pub(super) async fn get_public_key(
    asking: Asking<'_>,
    form: &Form,
) -> Result<PublicKey, AlibabaError> {
    let operation = engine::GetPublicKey {
        key: asking.alibaba_key(form, "KeyId")?,
        version: Some(version(form)?),
        dry_run: flag(form, "DryRun")?,
    };
    let public = asking.engine.perform(&asking.caller, operation).await?;
    Ok(PublicKey {
        key_id: public.key.0,
        key_version_id: public.version.0,
        public_key: pem(&public.der),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mac {
    algorithm: &'static str,
    key_id: String,
    mac: Base64,
}

pub(super) async fn generate_mac(asking: Asking<'_>, form: &Form) -> Result<Mac, AlibabaError> {
    let algorithm = required_of(form, "Algorithm", &MACS)?;
    let operation = engine::GenerateMac {
        key: asking.alibaba_key(form, "KeyId")?,
        algorithm,
        message: bytes(form, "Message")?.to_vec(),
        dry_run: flag(form, "DryRun")?,
    };
    let produced = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Mac {
        algorithm: MACS.name(algorithm),
        key_id: produced.key.0,
        mac: Base64::open(produced.bytes),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MacVerified {
    algorithm: &'static str,
    key_id: String,
    value: bool,
}

pub(super) async fn verify_mac(
    asking: Asking<'_>,
    form: &Form,
) -> Result<MacVerified, AlibabaError> {
    let algorithm = required_of(form, "Algorithm", &MACS)?;
    let operation = engine::VerifyMac {
        key: asking.alibaba_key(form, "KeyId")?,
        algorithm,
        message: bytes(form, "Message")?.to_vec(),
        mac: bytes(form, "Mac")?.to_vec(),
        dry_run: flag(form, "DryRun")?,
    };
    let verified = asking.engine.perform(&asking.caller, operation).await?;
    Ok(MacVerified {
        algorithm: MACS.name(algorithm),
        key_id: verified.key.0,
        value: verified.valid,
    })
}

//! Data and data keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::names::{ENCRYPTION, KEY_SPECS, SYMMETRIC};
use super::wire::{Blob, absent, blob, context, one_of, required, within};
use crate::kms::api::{Asking, plaintext};
use crate::kms::engine::ops::asymmetric::{
    AsymmetricDecrypt, AsymmetricEncrypt, EncryptionAlgorithm,
};
use crate::kms::engine::ops::data as engine;

type Context = Option<BTreeMap<String, String>>;

/// The most bytes of a ciphertext: those of clients of Alibaba are longer than AWS's own.
const CIPHERTEXT_MAX: usize = 8192;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypt {
    key_id: Option<String>,
    plaintext: Option<Blob>,
    encryption_context: Context,
    grant_tokens: Option<Vec<String>>,
    encryption_algorithm: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypted {
    ciphertext_blob: Blob,
    key_id: String,
    encryption_algorithm: &'static str,
}

/// `None` for symmetric keys.
fn algorithm(name: Option<&str>) -> Result<Option<EncryptionAlgorithm>, AwsError> {
    match name {
        None => Ok(None),
        Some(name) => one_of(&ENCRYPTION, name, "encryptionAlgorithm"),
    }
}

/// An asymmetric key binds nothing: to drop a context in silence would be to claim that it was bound.
fn without_context(context: Option<&BTreeMap<String, String>>) -> Result<(), AwsError> {
    if context.is_none_or(BTreeMap::is_empty) {
        return Ok(());
    }
    Err(AwsError::validation(
        "EncryptionContext is supported only with symmetric encryption KMS keys.",
    ))
}

pub(super) async fn encrypt(asking: Asking<'_>, input: Encrypt) -> Result<Encrypted, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let key = asking.aws_key(input.key_id, "keyId")?;
    let plain = blob(input.plaintext, "plaintext", plaintext::BYTES_MAX)?;
    let dry_run = input.dry_run.unwrap_or_default();
    let algorithm = algorithm(input.encryption_algorithm.as_deref())?;
    let (key, bytes) = if let Some(algorithm) = algorithm {
        without_context(input.encryption_context.as_ref())?;
        let operation = AsymmetricEncrypt {
            key,
            version: None,
            algorithm,
            plaintext: plain,
            dry_run,
        };
        let produced = asking.engine.perform(&asking.caller, operation).await?;
        (produced.key, produced.bytes)
    } else {
        let operation = engine::Encrypt {
            key,
            plaintext: plaintext::of_bytes(plain),
            context: context(input.encryption_context)?,
            dry_run,
        };
        let encrypted = asking.engine.perform(&asking.caller, operation).await?;
        (encrypted.key, encrypted.blob)
    };
    Ok(Encrypted {
        ciphertext_blob: Blob::open(bytes),
        key_id: asking.aws_arn(&key),
        encryption_algorithm: ENCRYPTION.name(algorithm),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypt {
    ciphertext_blob: Option<Blob>,
    encryption_context: Context,
    grant_tokens: Option<Vec<String>>,
    key_id: Option<String>,
    encryption_algorithm: Option<String>,
    recipient: Option<serde::de::IgnoredAny>,
    dry_run: Option<bool>,
    dry_run_modifiers: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypted {
    key_id: String,
    plaintext: Blob,
    encryption_algorithm: &'static str,
}

pub(super) async fn decrypt(asking: Asking<'_>, input: Decrypt) -> Result<Decrypted, AwsError> {
    absent(input.recipient.as_ref(), "Recipient")?;
    absent(
        input
            .dry_run_modifiers
            .filter(|all| !all.is_empty())
            .as_ref(),
        "DryRunModifiers",
    )?;
    let asking = asking.with_grants(input.grant_tokens)?;
    let ciphertext = blob(input.ciphertext_blob, "ciphertextBlob", CIPHERTEXT_MAX)?.to_vec();
    let dry_run = input.dry_run.unwrap_or_default();
    let algorithm = algorithm(input.encryption_algorithm.as_deref())?;
    let decrypted = if let Some(algorithm) = algorithm {
        without_context(input.encryption_context.as_ref())?;
        let operation = AsymmetricDecrypt {
            key: asking.aws_key(input.key_id, "keyId")?,
            version: None,
            algorithm,
            ciphertext,
            dry_run,
        };
        asking.engine.perform(&asking.caller, operation).await?
    } else {
        let named = input.key_id.is_some();
        let operation = engine::Decrypt {
            blob: ciphertext,
            key: named
                .then(|| asking.aws_key(input.key_id, "keyId"))
                .transpose()?,
            context: context(input.encryption_context)?,
            dry_run,
        };
        let mut decrypted = asking.engine.perform(&asking.caller, operation).await?;
        decrypted.plaintext = plaintext::parse(decrypted.plaintext).into_bytes();
        decrypted
    };
    Ok(Decrypted {
        key_id: asking.aws_arn(&decrypted.key),
        plaintext: Blob(decrypted.plaintext),
        encryption_algorithm: ENCRYPTION.name(algorithm),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateDataKey {
    key_id: Option<String>,
    encryption_context: Context,
    number_of_bytes: Option<u32>,
    key_spec: Option<String>,
    grant_tokens: Option<Vec<String>>,
    recipient: Option<serde::de::IgnoredAny>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataKey {
    ciphertext_blob: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Blob>,
    key_id: String,
}

/// The length of a data key, by one of two members and not by both.
fn data_key_len(bytes: Option<u32>, spec: Option<&str>) -> Result<usize, AwsError> {
    let len = match (bytes, spec) {
        (Some(bytes), None) => within(bytes, "numberOfBytes", 1, 1024)?,
        (None, Some("AES_128")) => 16,
        (None, Some("AES_256")) => 32,
        (None, Some(_other)) => {
            return Err(AwsError::validation(
                "1 validation error detected: Value at 'keySpec' failed to satisfy constraint: Member must satisfy enum value set: [AES_128, AES_256]",
            ));
        }
        (None, None) | (Some(_), Some(_)) => {
            return Err(AwsError::validation(
                "Please specify either number of bytes or key spec.",
            ));
        }
    };
    usize::try_from(len).map_err(|_len| AwsError::validation("The data key is too long."))
}

pub(super) async fn generate_data_key(
    asking: Asking<'_>,
    input: GenerateDataKey,
) -> Result<DataKey, AwsError> {
    absent(input.recipient.as_ref(), "Recipient")?;
    let asking = asking.with_grants(input.grant_tokens)?;
    let operation = engine::GenerateDataKey {
        key: asking.aws_key(input.key_id, "keyId")?,
        len: data_key_len(input.number_of_bytes, input.key_spec.as_deref())?,
        context: context(input.encryption_context)?,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let made = asking.engine.perform(&asking.caller, operation).await?;
    Ok(asking.data_key(made))
}

pub(super) async fn generate_data_key_without_plaintext(
    asking: Asking<'_>,
    input: GenerateDataKey,
) -> Result<DataKey, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let operation = engine::GenerateDataKeyWithoutPlaintext {
        key: asking.aws_key(input.key_id, "keyId")?,
        len: data_key_len(input.number_of_bytes, input.key_spec.as_deref())?,
        context: context(input.encryption_context)?,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let made = asking.engine.perform(&asking.caller, operation).await?;
    Ok(asking.data_key(made))
}

impl Asking<'_> {
    fn data_key(&self, made: engine::DataKey) -> DataKey {
        DataKey {
            key_id: self.aws_arn(&made.encrypted.key),
            ciphertext_blob: Blob::open(made.encrypted.blob),
            plaintext: made.plaintext.map(Blob),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateDataKeyPair {
    key_id: Option<String>,
    key_pair_spec: Option<String>,
    encryption_context: Context,
    grant_tokens: Option<Vec<String>>,
    recipient: Option<serde::de::IgnoredAny>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataKeyPair {
    private_key_ciphertext_blob: Blob,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_plaintext: Option<Blob>,
    public_key: Blob,
    key_id: String,
    key_pair_spec: &'static str,
}

pub(super) async fn generate_data_key_pair(
    asking: Asking<'_>,
    input: GenerateDataKeyPair,
) -> Result<DataKeyPair, AwsError> {
    key_pair(asking, input, true).await
}

pub(super) async fn generate_data_key_pair_without_plaintext(
    asking: Asking<'_>,
    input: GenerateDataKeyPair,
) -> Result<DataKeyPair, AwsError> {
    key_pair(asking, input, false).await
}

async fn key_pair(
    asking: Asking<'_>,
    input: GenerateDataKeyPair,
    with_private: bool,
) -> Result<DataKeyPair, AwsError> {
    absent(input.recipient.as_ref(), "Recipient")?;
    let asking = asking.with_grants(input.grant_tokens)?;
    let spec = required(input.key_pair_spec, "keyPairSpec")?;
    let operation = engine::GenerateDataKeyPair {
        key: asking.aws_key(input.key_id, "keyId")?,
        pair: one_of(&KEY_SPECS, &spec, "keyPairSpec")?,
        context: context(input.encryption_context)?,
        with_private,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let pair = asking.engine.perform(&asking.caller, operation).await?;
    Ok(DataKeyPair {
        key_id: asking.aws_arn(&pair.encrypted.key),
        private_key_ciphertext_blob: Blob::open(pair.encrypted.blob),
        private_key_plaintext: pair.private.map(Blob),
        public_key: Blob::open(pair.public),
        key_pair_spec: KEY_SPECS.name(pair.spec),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateRandom {
    number_of_bytes: Option<u32>,
    custom_key_store_id: Option<String>,
    recipient: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Random {
    plaintext: Blob,
}

pub(super) async fn generate_random(
    asking: Asking<'_>,
    input: GenerateRandom,
) -> Result<Random, AwsError> {
    absent(input.custom_key_store_id.as_ref(), "CustomKeyStoreId")?;
    absent(input.recipient.as_ref(), "Recipient")?;
    let bytes = required(input.number_of_bytes, "numberOfBytes")?;
    let operation = engine::GenerateRandom {
        len: data_key_len(Some(bytes), None)?,
    };
    let bytes = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Random {
        plaintext: Blob(bytes),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReEncrypt {
    ciphertext_blob: Option<Blob>,
    source_encryption_context: Context,
    source_key_id: Option<String>,
    destination_key_id: Option<String>,
    destination_encryption_context: Context,
    source_encryption_algorithm: Option<String>,
    destination_encryption_algorithm: Option<String>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
    dry_run_modifiers: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReEncrypted {
    ciphertext_blob: Blob,
    source_key_id: String,
    key_id: String,
    source_encryption_algorithm: &'static str,
    destination_encryption_algorithm: &'static str,
}

pub(super) async fn re_encrypt(
    asking: Asking<'_>,
    input: ReEncrypt,
) -> Result<ReEncrypted, AwsError> {
    absent(
        input
            .dry_run_modifiers
            .filter(|all| !all.is_empty())
            .as_ref(),
        "DryRunModifiers",
    )?;
    if algorithm(input.destination_encryption_algorithm.as_deref())?.is_some() {
        return Err(AwsError::unsupported(
            "This service encrypts anew under symmetric keys only.",
        ));
    }
    let asking = asking.with_grants(input.grant_tokens)?;
    let named = input.source_key_id.is_some();
    let source_algorithm = algorithm(input.source_encryption_algorithm.as_deref())?;
    let operation = engine::ReEncrypt {
        blob: blob(input.ciphertext_blob, "ciphertextBlob", CIPHERTEXT_MAX)?.to_vec(),
        source: named
            .then(|| asking.aws_key(input.source_key_id, "sourceKeyId"))
            .transpose()?,
        source_version: None,
        source_algorithm,
        source_context: context(input.source_encryption_context)?,
        destination: asking.aws_key(input.destination_key_id, "destinationKeyId")?,
        destination_context: context(input.destination_encryption_context)?,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let done = asking.engine.perform(&asking.caller, operation).await?;
    Ok(ReEncrypted {
        key_id: asking.aws_arn(&done.encrypted.key),
        ciphertext_blob: Blob::open(done.encrypted.blob),
        source_key_id: asking.aws_arn(&done.source),
        source_encryption_algorithm: ENCRYPTION.name(source_algorithm),
        destination_encryption_algorithm: SYMMETRIC,
    })
}

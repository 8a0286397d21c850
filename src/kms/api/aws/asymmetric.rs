//! Asymmetric keys and MACs.

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::keys::OneKey;
use super::names::{KEY_SPECS, MACS, SIGNING, USAGES, encryption_algorithms, signing_algorithms};
use super::wire::{Blob, blob, one_of, required};
use crate::kms::api::Asking;
use crate::kms::engine::ops::asymmetric as engine;
use crate::kms::engine::ops::asymmetric::Message;

const MESSAGE_MAX: usize = 4096;
const SIGNATURE_MAX: usize = 6144;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sign {
    key_id: Option<String>,
    message: Option<Blob>,
    message_type: Option<String>,
    grant_tokens: Option<Vec<String>>,
    signing_algorithm: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Signed {
    key_id: String,
    signature: Blob,
    signing_algorithm: &'static str,
}

fn message(bytes: Option<Blob>, kind: Option<&str>) -> Result<Message, AwsError> {
    let bytes = blob(bytes, "message", MESSAGE_MAX)?.to_vec();
    match kind {
        None | Some("RAW") => Ok(Message::Raw(bytes)),
        Some("DIGEST") => Ok(Message::Digest(bytes)),
        Some("EXTERNAL_MU") => Err(AwsError::unsupported("This service has no ML-DSA keys.")),
        Some(_other) => Err(AwsError::validation(
            "1 validation error detected: Value at 'messageType' failed to satisfy constraint: Member must satisfy enum value set: [RAW, DIGEST]",
        )),
    }
}

pub(super) async fn sign(asking: Asking<'_>, input: Sign) -> Result<Signed, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let name = required(input.signing_algorithm, "signingAlgorithm")?;
    let algorithm = one_of(&SIGNING, &name, "signingAlgorithm")?;
    let operation = engine::Sign {
        key: asking.aws_key(input.key_id, "keyId")?,
        version: None,
        algorithm,
        message: message(input.message, input.message_type.as_deref())?,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let produced = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Signed {
        key_id: asking.aws_arn(&produced.key),
        signature: Blob::open(produced.bytes),
        signing_algorithm: SIGNING.name(algorithm),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Verify {
    key_id: Option<String>,
    message: Option<Blob>,
    message_type: Option<String>,
    signature: Option<Blob>,
    signing_algorithm: Option<String>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SignatureVerified {
    key_id: String,
    signature_valid: bool,
    signing_algorithm: &'static str,
}

pub(super) async fn verify(
    asking: Asking<'_>,
    input: Verify,
) -> Result<SignatureVerified, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let name = required(input.signing_algorithm, "signingAlgorithm")?;
    let algorithm = one_of(&SIGNING, &name, "signingAlgorithm")?;
    let operation = engine::Verify {
        key: asking.aws_key(input.key_id, "keyId")?,
        version: None,
        algorithm,
        message: message(input.message, input.message_type.as_deref())?,
        signature: blob(input.signature, "signature", SIGNATURE_MAX)?.to_vec(),
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let verified = asking.engine.perform(&asking.caller, operation).await?;
    if !verified.valid {
        return Err(AwsError::new(
            "KMSInvalidSignatureException",
            "The signature is not one of this message by this key.",
        ));
    }
    Ok(SignatureVerified {
        key_id: asking.aws_arn(&verified.key),
        signature_valid: true,
        signing_algorithm: SIGNING.name(algorithm),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GenerateMac {
    message: Option<Blob>,
    key_id: Option<String>,
    mac_algorithm: Option<String>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mac {
    mac: Blob,
    mac_algorithm: &'static str,
    key_id: String,
}

pub(super) async fn generate_mac(asking: Asking<'_>, input: GenerateMac) -> Result<Mac, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let name = required(input.mac_algorithm, "macAlgorithm")?;
    let algorithm = one_of(&MACS, &name, "macAlgorithm")?;
    let operation = engine::GenerateMac {
        key: asking.aws_key(input.key_id, "keyId")?,
        algorithm,
        message: blob(input.message, "message", MESSAGE_MAX)?.to_vec(),
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let produced = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Mac {
        mac: Blob::open(produced.bytes),
        mac_algorithm: MACS.name(algorithm),
        key_id: asking.aws_arn(&produced.key),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VerifyMac {
    message: Option<Blob>,
    key_id: Option<String>,
    mac_algorithm: Option<String>,
    mac: Option<Blob>,
    grant_tokens: Option<Vec<String>>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MacVerified {
    key_id: String,
    mac_valid: bool,
    mac_algorithm: &'static str,
}

pub(super) async fn verify_mac(
    asking: Asking<'_>,
    input: VerifyMac,
) -> Result<MacVerified, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let name = required(input.mac_algorithm, "macAlgorithm")?;
    let algorithm = one_of(&MACS, &name, "macAlgorithm")?;
    let operation = engine::VerifyMac {
        key: asking.aws_key(input.key_id, "keyId")?,
        algorithm,
        message: blob(input.message, "message", MESSAGE_MAX)?.to_vec(),
        mac: blob(input.mac, "mac", SIGNATURE_MAX)?.to_vec(),
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let verified = asking.engine.perform(&asking.caller, operation).await?;
    if !verified.valid {
        return Err(AwsError::new(
            "KMSInvalidMacException",
            "The MAC is not one of this message by this key.",
        ));
    }
    Ok(MacVerified {
        key_id: asking.aws_arn(&verified.key),
        mac_valid: true,
        mac_algorithm: MACS.name(algorithm),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PublicKey {
    key_id: String,
    public_key: Blob,
    customer_master_key_spec: &'static str,
    key_spec: &'static str,
    key_usage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_algorithms: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_algorithms: Option<&'static [&'static str]>,
}

pub(super) async fn get_public_key(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<PublicKey, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let operation = engine::GetPublicKey {
        key: asking.aws_key(input.key_id, "keyId")?,
        version: None,
        dry_run: false,
    };
    let public = asking.engine.perform(&asking.caller, operation).await?;
    let spec = KEY_SPECS.name(public.spec);
    Ok(PublicKey {
        key_id: asking.aws_arn(&public.key),
        public_key: Blob::open(public.der),
        customer_master_key_spec: spec,
        key_spec: spec,
        key_usage: USAGES.name(public.usage),
        encryption_algorithms: encryption_algorithms(public.spec, public.usage),
        signing_algorithms: signing_algorithms(public.spec, public.usage),
    })
}

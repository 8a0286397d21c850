//! Key material that its owner brings.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::keys::{KeyArn, OneKey};
use super::names::{WRAPPING, WRAPPING_KEYS};
use super::wire::{Blob, Epoch, absent, blob, one_of, required};
use crate::kms::api::Asking;
use crate::kms::engine::ops::import as engine;

const TOKEN_MAX: usize = 6144;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParametersForImport {
    key_id: Option<String>,
    wrapping_algorithm: Option<String>,
    wrapping_key_spec: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImportParameters {
    key_id: String,
    import_token: Blob,
    public_key: Blob,
    parameters_valid_to: Epoch,
}

pub(super) async fn get_parameters_for_import(
    asking: Asking<'_>,
    input: GetParametersForImport,
) -> Result<ImportParameters, AwsError> {
    let algorithm = required(input.wrapping_algorithm, "wrappingAlgorithm")?;
    let spec = required(input.wrapping_key_spec, "wrappingKeySpec")?;
    let operation = engine::GetParametersForImport {
        key: asking.aws_key(input.key_id, "keyId")?,
        algorithm: one_of(&WRAPPING, &algorithm, "wrappingAlgorithm")?,
        spec: one_of(&WRAPPING_KEYS, &spec, "wrappingKeySpec")?,
    };
    let parameters = asking.engine.perform(&asking.caller, operation).await?;
    Ok(ImportParameters {
        key_id: asking.aws_arn(&parameters.key),
        import_token: Blob::open(parameters.token),
        public_key: Blob::open(parameters.public_key),
        parameters_valid_to: Epoch(parameters.expires),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImportKeyMaterial {
    key_id: Option<String>,
    import_token: Option<Blob>,
    encrypted_key_material: Option<Blob>,
    valid_to: Option<Epoch>,
    expiration_model: Option<String>,
    key_material_id: Option<String>,
}

/// Material expires where nothing else is said, and then it must be said when.
fn expires(model: Option<&str>, to: Option<Epoch>) -> Result<Option<Timestamp>, AwsError> {
    match (model, to) {
        (None | Some("KEY_MATERIAL_EXPIRES"), Some(Epoch(time))) => Ok(Some(time)),
        (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), None) => Ok(None),
        (None | Some("KEY_MATERIAL_EXPIRES"), None) => Err(AwsError::validation(
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES.",
        )),
        (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), Some(_)) => Err(AwsError::validation(
            "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE.",
        )),
        (Some(_other), _) => Err(AwsError::validation(
            "1 validation error detected: Value at 'expirationModel' failed to satisfy constraint: Member must satisfy enum value set: [KEY_MATERIAL_EXPIRES, KEY_MATERIAL_DOES_NOT_EXPIRE]",
        )),
    }
}

pub(super) async fn import_key_material(
    asking: Asking<'_>,
    input: ImportKeyMaterial,
) -> Result<KeyArn, AwsError> {
    absent(input.key_material_id.as_ref(), "KeyMaterialId")?;
    let key = asking.aws_key(input.key_id.clone(), "keyId")?;
    let operation = engine::ImportKeyMaterial {
        key,
        token: blob(input.import_token, "importToken", TOKEN_MAX)?.to_vec(),
        material: blob(
            input.encrypted_key_material,
            "encryptedKeyMaterial",
            TOKEN_MAX,
        )?
        .to_vec(),
        expires: expires(input.expiration_model.as_deref(), input.valid_to)?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(KeyArn {
        key_id: input.key_id.unwrap_or_default(),
    })
}

pub(super) async fn delete_imported_key_material(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<KeyArn, AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::DeleteKeyMaterial { key };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(KeyArn {
        key_id: asking.aws_arn(&key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_expires_at_a_time_that_was_said_or_never() {
        let to = || Some(Epoch(Timestamp::UNIX_EPOCH));
        for model in [None, Some("KEY_MATERIAL_EXPIRES")] {
            assert_eq!(expires(model, to()), Ok(Some(Timestamp::UNIX_EPOCH)));
            assert!(expires(model, None).is_err());
        }
        let never = Some("KEY_MATERIAL_DOES_NOT_EXPIRE");
        assert_eq!(expires(never, None), Ok(None));
        assert!(expires(never, to()).is_err());
        assert!(expires(Some("SOON"), to()).is_err());
    }
}

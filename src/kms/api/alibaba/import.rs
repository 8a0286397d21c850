//! Key material that its owner brings.

use jiff::Timestamp;
use serde::Serialize;

use super::Nothing;
use super::error::AlibabaError;
use super::names::{WRAPPING, WRAPPING_KEYS};
use super::parameters::{Base64, Time, bytes, required, required_of};
use crate::kms::api::Asking;
use crate::kms::auth::Form;
use crate::kms::engine::ops::import as engine;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImportParameters {
    key_id: String,
    import_token: Base64,
    public_key: Base64,
    token_expire_time: Time,
}

pub(super) async fn get_parameters_for_import(
    asking: Asking<'_>,
    form: &Form,
) -> Result<ImportParameters, AlibabaError> {
    let operation = engine::GetParametersForImport {
        key: asking.alibaba_key(form, "KeyId")?,
        algorithm: required_of(form, "WrappingAlgorithm", &WRAPPING)?,
        spec: required_of(form, "WrappingKeySpec", &WRAPPING_KEYS)?,
    };
    let parameters = asking.engine.perform(&asking.caller, operation).await?;
    Ok(ImportParameters {
        key_id: parameters.key.0,
        import_token: Base64::open(parameters.token),
        public_key: Base64::open(parameters.public_key),
        token_expire_time: parameters.expires.into(),
    })
}

pub(super) async fn import_key_material(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let operation = engine::ImportKeyMaterial {
        key: asking.alibaba_key(form, "KeyId")?,
        token: bytes(form, "ImportToken")?.to_vec(),
        material: bytes(form, "EncryptedKeyMaterial")?.to_vec(),
        expires: expires(form)?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

/// Seconds since 1970; 0 for never.
fn expires(form: &Form) -> Result<Option<Timestamp>, AlibabaError> {
    const NAME: &str = "KeyMaterialExpireUnix";
    let invalid = |_error| AlibabaError::invalid(NAME);
    match required(form, NAME)? {
        "0" => Ok(None),
        text => {
            let second = text.parse().map_err(|_text| AlibabaError::invalid(NAME))?;
            Timestamp::from_second(second).map(Some).map_err(invalid)
        }
    }
}

pub(super) async fn delete_key_material(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::DeleteKeyMaterial { key };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_expires_at_a_second_or_never() {
        let of = |text: &str| expires(&Form::parse(&[text]).unwrap());
        assert_eq!(of("KeyMaterialExpireUnix=0"), Ok(None));
        let time = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(of("KeyMaterialExpireUnix=1800000000"), Ok(Some(time)));
        assert_eq!(of("").unwrap_err().code, "MissingParameter");
        for text in ["soon", "1.5", "99999999999999999"] {
            let error = of(&format!("KeyMaterialExpireUnix={text}")).unwrap_err();
            assert_eq!(error.code, "InvalidParameter", "{text}");
        }
    }
}

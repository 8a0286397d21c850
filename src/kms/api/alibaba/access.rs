//! Key policies. Grants are AWS's alone.

use serde::Serialize;

use super::Nothing;
use super::error::AlibabaError;
use super::parameters::{optional, required};
use crate::kms::api::Asking;
use crate::kms::auth::Form;
use crate::kms::engine::ops::access as engine;

/// The one policy of a key is named `default`.
fn default_only(form: &Form) -> Result<(), AlibabaError> {
    match optional(form, "PolicyName") {
        None | Some("default") => Ok(()),
        Some(_other) => Err(AlibabaError::invalid("PolicyName")),
    }
}

pub(super) async fn set_key_policy(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    default_only(form)?;
    let policy = required(form, "Policy")?;
    if policy.len() > 32_768 {
        return Err(AlibabaError::invalid("Policy"));
    }
    let operation = engine::PutKeyPolicy {
        key: asking.alibaba_key(form, "KeyId")?,
        policy: policy.to_owned(),
        bypass_lockout_check: false,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    policy: String,
}

pub(super) async fn get_key_policy(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Policy, AlibabaError> {
    default_only(form)?;
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::GetKeyPolicy { key };
    let policy = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Policy { policy })
}

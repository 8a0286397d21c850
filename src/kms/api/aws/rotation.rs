//! Rotation of keys.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::keys::{KeyArn, OneKey};
use super::wire::{Epoch, More, Paging, within};
use crate::kms::api::Asking;
use crate::kms::engine::model::{KeyVersion, VersionCause};
use crate::kms::engine::ops::versions as engine;

const DAY: u64 = 24 * 60 * 60;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EnableKeyRotation {
    key_id: Option<String>,
    rotation_period_in_days: Option<u32>,
}

pub(super) async fn enable_key_rotation(
    asking: Asking<'_>,
    input: EnableKeyRotation,
) -> Result<(), AwsError> {
    let days = input.rotation_period_in_days.unwrap_or(365);
    let days = within(days, "rotationPeriodInDays", 90, 2560)?;
    let operation = engine::UpdateRotation {
        key: asking.aws_key(input.key_id, "keyId")?,
        period: Some(Duration::from_secs(u64::from(days) * DAY)),
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn disable_key_rotation(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<(), AwsError> {
    let operation = engine::UpdateRotation {
        key: asking.aws_key(input.key_id, "keyId")?,
        period: None,
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RotationStatus {
    key_rotation_enabled: bool,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_period_in_days: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_rotation_date: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_demand_rotation_start_date: Option<Epoch>,
}

pub(super) async fn get_key_rotation_status(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<RotationStatus, AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::GetKeyRotationStatus { key };
    let status = asking.engine.perform(&asking.caller, operation).await?;
    let rotation = status.rotation;
    let days = |period: Duration| period.as_secs() / DAY;
    Ok(RotationStatus {
        key_rotation_enabled: rotation.enabled,
        key_id: asking.aws_arn(&status.key),
        rotation_period_in_days: rotation.period.filter(|_| rotation.enabled).map(days),
        next_rotation_date: rotation.next.filter(|_| rotation.enabled).map(Epoch),
        on_demand_rotation_start_date: status.on_demand_started.map(Epoch),
    })
}

pub(super) async fn rotate_key_on_demand(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<KeyArn, AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::RotateKeyOnDemand { key };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(KeyArn {
        key_id: asking.aws_arn(&key),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListKeyRotations {
    key_id: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rotations {
    rotations: Vec<ListedRotation>,
    #[serde(flatten)]
    more: More,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedRotation {
    key_id: String,
    rotation_date: Epoch,
    rotation_type: &'static str,
}

pub(super) async fn list_key_rotations(
    asking: Asking<'_>,
    input: ListKeyRotations,
) -> Result<Rotations, AwsError> {
    let operation = engine::ListKeyRotations {
        key: asking.aws_key(input.key_id, "keyId")?,
        page: input.paging.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let more = More::after(&page);
    let listed = |version: KeyVersion| ListedRotation {
        key_id: asking.aws_arn(&version.key),
        rotation_date: Epoch(version.created),
        rotation_type: match version.cause {
            VersionCause::Schedule => "AUTOMATIC",
            VersionCause::Creation | VersionCause::Import | VersionCause::OnDemand => "ON_DEMAND",
        },
    };
    Ok(Rotations {
        rotations: page.items.into_iter().map(listed).collect(),
        more,
    })
}

//! The lives of keys.

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::names::{
    HSM_STORE, IN_HSM, KEY_SPECS, ORIGINS, STATES, USAGES, encryption_algorithms, mac_algorithms,
    signing_algorithms,
};
use super::wire::{Epoch, More, Paging, absent, one_of, text, within};
use crate::kms::api::place::Cloud;
use crate::kms::api::{Asking, Place};
use crate::kms::engine::model::{
    Key, KeySpec, KeyState, KeyUsage, Origin, ProtectionLevel, Tag as EngineTag,
};
use crate::kms::engine::ops::keys as engine;

/// A request about one key.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneKey {
    pub(super) key_id: Option<String>,
    pub(super) grant_tokens: Option<Vec<String>>,
}

/// An answer that names the key.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyArn {
    pub(super) key_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    tag_key: String,
    tag_value: String,
}

impl From<Tag> for EngineTag {
    fn from(tag: Tag) -> Self {
        Self {
            key: tag.tag_key,
            value: tag.tag_value,
        }
    }
}

impl From<EngineTag> for Tag {
    fn from(tag: EngineTag) -> Self {
        Self {
            tag_key: tag.key,
            tag_value: tag.value,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateKey {
    description: Option<String>,
    key_spec: Option<String>,
    /// What `KeySpec` was called before.
    customer_master_key_spec: Option<String>,
    key_usage: Option<String>,
    origin: Option<String>,
    policy: Option<String>,
    bypass_policy_lockout_safety_check: Option<bool>,
    tags: Option<Vec<Tag>>,
    multi_region: Option<bool>,
    custom_key_store_id: Option<String>,
    xks_key_id: Option<String>,
}

/// What is known of a key.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    key_metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(rename = "AWSAccountId")]
    account: String,
    key_id: String,
    arn: String,
    creation_date: Epoch,
    enabled: bool,
    description: String,
    key_usage: &'static str,
    key_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<Epoch>,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_key_store_id: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_model: Option<&'static str>,
    key_manager: &'static str,
    customer_master_key_spec: &'static str,
    key_spec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_algorithms: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_algorithms: Option<&'static [&'static str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_algorithms: Option<&'static [&'static str]>,
    multi_region: bool,
}

impl Described {
    fn of(key: Key, place: &Place) -> Self {
        let expiration = match (key.origin, key.material_expires) {
            (Origin::External, Some(_time)) => Some("KEY_MATERIAL_EXPIRES"),
            (Origin::External, None) if key.primary.is_some() => {
                Some("KEY_MATERIAL_DOES_NOT_EXPIRE")
            }
            (Origin::External | Origin::Service, _) => None,
        };
        let spec = KEY_SPECS.name(key.spec);
        let key_metadata = Metadata {
            account: place.account().to_owned(),
            arn: place.key_arn(Cloud::Aws, &key.id),
            creation_date: Epoch(key.created),
            enabled: key.state == KeyState::Enabled,
            key_usage: USAGES.name(key.usage),
            key_state: STATES.name(key.state),
            deletion_date: key.deletion.map(Epoch),
            valid_to: key.material_expires.map(Epoch),
            origin: match key.protection {
                ProtectionLevel::Hsm => IN_HSM,
                ProtectionLevel::Software => ORIGINS.name(key.origin),
            },
            custom_key_store_id: (key.protection == ProtectionLevel::Hsm).then_some(HSM_STORE),
            expiration_model: expiration,
            key_manager: "CUSTOMER",
            customer_master_key_spec: spec,
            key_spec: spec,
            encryption_algorithms: encryption_algorithms(key.spec, key.usage),
            signing_algorithms: signing_algorithms(key.spec, key.usage),
            mac_algorithms: mac_algorithms(key.spec),
            multi_region: false,
            key_id: key.id.0,
            description: key.description,
        };
        Self { key_metadata }
    }
}

pub(super) async fn create_key(
    asking: Asking<'_>,
    input: CreateKey,
) -> Result<Described, AwsError> {
    absent(input.xks_key_id.as_ref(), "XksKeyId")?;
    absent(
        input.multi_region.filter(|yes| *yes).as_ref(),
        "MultiRegion",
    )?;
    let spec = match input.key_spec.or(input.customer_master_key_spec) {
        Some(name) => one_of(&KEY_SPECS, &name, "keySpec")?,
        None => KeySpec::Aes256,
    };
    let usage = match input.key_usage {
        Some(name) => one_of(&USAGES, &name, "keyUsage")?,
        None => KeyUsage::EncryptDecrypt,
    };
    let (origin, store) = (input.origin.as_deref(), input.custom_key_store_id);
    let (origin, protection) = place_of_key(&asking, origin, store.as_deref())?;
    let bypass_lockout_check = input.bypass_policy_lockout_safety_check.unwrap_or_default();
    let operation = engine::CreateKey {
        description: text(
            Some(input.description.unwrap_or_default()),
            "description",
            0,
            8192,
        )?,
        spec,
        usage,
        origin,
        protection,
        rotation_period: None,
        tags: input
            .tags
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        policy: input.policy.map(|text| engine::FirstPolicy {
            text,
            bypass_lockout_check,
        }),
    };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Described::of(key, asking.place))
}

/// Where a key is to be made. The HSM is what AWS calls a custom key store of CloudHSM: there is one, and keys of every
/// kind are in it.
fn place_of_key(
    asking: &Asking<'_>,
    origin: Option<&str>,
    store: Option<&str>,
) -> Result<(Origin, ProtectionLevel), AwsError> {
    match (origin, store) {
        (Some(IN_HSM), Some(HSM_STORE)) if asking.engine.has_hsm() => {
            Ok((Origin::Service, ProtectionLevel::Hsm))
        }
        (Some(IN_HSM), Some(_)) => Err(AwsError::new(
            "CustomKeyStoreNotFoundException",
            format!("The only custom key store is {HSM_STORE}, where the service has an HSM."),
        )),
        (Some(IN_HSM), None) => Err(AwsError::validation(format!(
            "A key of Origin {IN_HSM} needs a CustomKeyStoreId."
        ))),
        (_, Some(_)) => Err(AwsError::validation(format!(
            "A key in a custom key store has the Origin {IN_HSM}."
        ))),
        (Some(name), None) => Ok((one_of(&ORIGINS, name, "origin")?, ProtectionLevel::Software)),
        (None, None) => Ok((Origin::Service, ProtectionLevel::Software)),
    }
}

pub(super) async fn describe_key(asking: Asking<'_>, input: OneKey) -> Result<Described, AwsError> {
    let asking = asking.with_grants(input.grant_tokens)?;
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::DescribeKey { key };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Described::of(key, asking.place))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Keys {
    keys: Vec<ListedKey>,
    #[serde(flatten)]
    more: More,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    key_arn: String,
    key_id: String,
}

pub(super) async fn list_keys(asking: Asking<'_>, input: Paging) -> Result<Keys, AwsError> {
    let operation = engine::ListKeys {
        filter: engine::KeyFilter::default(),
        page: input.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let more = More::after(&page);
    let listed = |key: Key| ListedKey {
        key_arn: asking.aws_arn(&key.id),
        key_id: key.id.0,
    };
    Ok(Keys {
        keys: page.items.into_iter().map(listed).collect(),
        more,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateKeyDescription {
    key_id: Option<String>,
    description: Option<String>,
}

pub(super) async fn update_key_description(
    asking: Asking<'_>,
    input: UpdateKeyDescription,
) -> Result<(), AwsError> {
    let operation = engine::UpdateKeyDescription {
        key: asking.aws_key(input.key_id, "keyId")?,
        description: text(input.description, "description", 0, 8192)?,
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn enable_key(asking: Asking<'_>, input: OneKey) -> Result<(), AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::EnableKey { key };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn disable_key(asking: Asking<'_>, input: OneKey) -> Result<(), AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::DisableKey { key };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleKeyDeletion {
    key_id: Option<String>,
    pending_window_in_days: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Scheduled {
    key_id: String,
    deletion_date: Epoch,
    key_state: &'static str,
    pending_window_in_days: u32,
}

pub(super) async fn schedule_key_deletion(
    asking: Asking<'_>,
    input: ScheduleKeyDeletion,
) -> Result<Scheduled, AwsError> {
    let days = input.pending_window_in_days.unwrap_or(30);
    let operation = engine::ScheduleKeyDeletion {
        key: asking.aws_key(input.key_id, "keyId")?,
        days: within(days, "pendingWindowInDays", 7, 30)?,
    };
    let deletion = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Scheduled {
        key_id: asking.aws_arn(&deletion.key),
        deletion_date: Epoch(deletion.date),
        key_state: STATES.name(KeyState::PendingDeletion),
        pending_window_in_days: days,
    })
}

pub(super) async fn cancel_key_deletion(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<KeyArn, AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::CancelKeyDeletion { key };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(KeyArn {
        key_id: asking.aws_arn(&key),
    })
}

//! The lives of keys.

use serde::{Deserialize, Serialize};

use super::Nothing;
use super::error::AlibabaError;
use super::names::{KEY_SPECS, ORIGINS, PROTECTIONS, STATES, USAGES, default_usage};
use super::parameters::{Paged, Time, flag, number, one_of, optional, page, required};
use super::versions::{interval, period};
use crate::kms::api::place::Cloud;
use crate::kms::api::spelling::Spelling;
use crate::kms::api::{Asking, Place};
use crate::kms::auth::Form;
use crate::kms::engine::model::{Key, KeySpec, Origin, ProtectionLevel};
use crate::kms::engine::ops::keys as engine;

/// What is known of a key.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    key_metadata: Metadata,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    arn: String,
    automatic_rotation: &'static str,
    creation_date: Time,
    creator: String,
    delete_date: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_protection: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_protection_description: Option<String>,
    description: String,
    key_id: String,
    key_spec: &'static str,
    key_state: &'static str,
    key_usage: &'static str,
    last_rotation_date: Time,
    material_expire_time: Time,
    next_rotation_date: Time,
    origin: &'static str,
    primary_key_version: String,
    protection_level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_interval: Option<String>,
}

impl Described {
    fn of(key: Key, place: &Place) -> Self {
        let rotation = key.rotation;
        let key_metadata = Metadata {
            arn: place.key_arn(Cloud::Alibaba, &key.id),
            automatic_rotation: if rotation.enabled {
                "Enabled"
            } else {
                "Disabled"
            },
            creation_date: key.created.into(),
            creator: key.creator,
            delete_date: Time(key.deletion),
            deletion_protection: None,
            deletion_protection_description: None,
            description: key.description,
            key_id: key.id.0,
            key_spec: KEY_SPECS.name(key.spec),
            key_state: STATES.name(key.state),
            key_usage: USAGES.name(key.usage),
            last_rotation_date: Time(rotation.last.or(Some(key.created))),
            material_expire_time: Time(key.material_expires),
            next_rotation_date: Time(rotation.next),
            origin: ORIGINS.name(key.origin),
            primary_key_version: key.primary.map(|id| id.0).unwrap_or_default(),
            protection_level: PROTECTIONS.name(key.protection),
            rotation_interval: rotation.period.filter(|_| rotation.enabled).map(interval),
        };
        Self { key_metadata }
    }

    /// With what only `DescribeKey` tells.
    fn with_protection(mut self, protection: Option<String>) -> Self {
        let metadata = &mut self.key_metadata;
        metadata.deletion_protection = Some(match protection {
            Some(_) => "Enabled",
            None => "Disabled",
        });
        metadata.deletion_protection_description = protection;
        self
    }
}

pub(super) async fn create_key(asking: Asking<'_>, form: &Form) -> Result<Described, AlibabaError> {
    if optional(form, "DKMSInstanceId").is_some() {
        return Err(AlibabaError::unsupported(
            "This service has no KMS instances.",
        ));
    }
    let spec = one_of(form, "KeySpec", &KEY_SPECS)?.unwrap_or(KeySpec::Aes256);
    let rotates = flag(form, "EnableAutomaticRotation")?;
    let operation = engine::CreateKey {
        description: description(form)?,
        spec,
        usage: one_of(form, "KeyUsage", &USAGES)?.unwrap_or_else(|| default_usage(spec)),
        origin: one_of(form, "Origin", &ORIGINS)?.unwrap_or(Origin::Service),
        protection: one_of(form, "ProtectionLevel", &PROTECTIONS)?
            .unwrap_or(ProtectionLevel::Software),
        rotation_period: rotates.then(|| period(form)).transpose()?,
        tags: super::tags::tags(form, false)?,
        policy: optional(form, "Policy").map(|text| engine::FirstPolicy {
            text: text.to_owned(),
            bypass_lockout_check: false,
        }),
    };
    let key = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Described::of(key, asking.place))
}

fn description(form: &Form) -> Result<String, AlibabaError> {
    let text = form.get("Description").unwrap_or_default();
    if text.chars().count() > 8192 {
        return Err(AlibabaError::invalid("Description"));
    }
    Ok(text.to_owned())
}

pub(super) async fn describe_key(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Described, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::DescribeKey { key };
    let mut key = asking.engine.perform(&asking.caller, operation).await?;
    let protection = key.deletion_protection.take();
    Ok(Described::of(key, asking.place).with_protection(protection))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    keys: ListedKeys,
    #[serde(flatten)]
    paged: Paged,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKeys {
    key: Vec<ListedKey>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    key_id: String,
    key_arn: String,
}

/// One entry of `Filters`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

pub(super) async fn list_keys(asking: Asking<'_>, form: &Form) -> Result<Listed, AlibabaError> {
    let operation = engine::ListKeys {
        filter: filters(form)?,
        page: page(form)?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let paged = Paged::of(&page);
    let listed = |key: Key| ListedKey {
        key_arn: asking.alibaba_arn(&key.id),
        key_id: key.id.0,
    };
    Ok(Listed {
        keys: ListedKeys {
            key: page.items.into_iter().map(listed).collect(),
        },
        paged,
    })
}

fn filters(form: &Form) -> Result<engine::KeyFilter, AlibabaError> {
    let mut filter = engine::KeyFilter::default();
    let Some(json) = optional(form, "Filters") else {
        return Ok(filter);
    };
    let invalid = || AlibabaError::invalid("Filters");
    let entries: Vec<Filter> = serde_json::from_str(json).map_err(|_error| invalid())?;
    for entry in entries {
        if entry.values.is_empty() {
            continue;
        }
        match entry.key.as_str() {
            "KeyState" => filter.states = Some(values(&entry.values, &STATES)?),
            "KeySpec" => filter.specs = Some(values(&entry.values, &KEY_SPECS)?),
            "KeyUsage" => filter.usages = Some(values(&entry.values, &USAGES)?),
            "ProtectionLevel" => filter.protections = Some(values(&entry.values, &PROTECTIONS)?),
            // Every key was made by a user here: other services have none.
            "CreatorType" if entry.values.iter().any(|value| value == "User") => {}
            "CreatorType" => filter.creators = Some(Vec::new()),
            _ => return Err(invalid()),
        }
    }
    Ok(filter)
}

fn values<T: Copy + PartialEq>(
    names: &[String],
    spelling: &Spelling<T>,
) -> Result<Vec<T>, AlibabaError> {
    let value = |name: &String| spelling.value(name);
    let values: Option<Vec<T>> = names.iter().map(value).collect();
    // Each becomes a part of what the store is asked.
    let values = values.filter(|values| values.len() <= spelling.0.len());
    values.ok_or_else(|| AlibabaError::invalid("Filters"))
}

pub(super) async fn update_key_description(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    if form.get("Description").is_none() {
        return Err(AlibabaError::missing("Description"));
    }
    let operation = engine::UpdateKeyDescription {
        key: asking.alibaba_key(form, "KeyId")?,
        description: description(form)?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn enable_key(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::EnableKey { key };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn disable_key(asking: Asking<'_>, form: &Form) -> Result<Nothing, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::DisableKey { key };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn schedule_key_deletion(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let days = number(form, "PendingWindowInDays", 7, 366)?;
    let operation = engine::ScheduleKeyDeletion {
        key: asking.alibaba_key(form, "KeyId")?,
        days: days.ok_or_else(|| AlibabaError::missing("PendingWindowInDays"))?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn cancel_key_deletion(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::CancelKeyDeletion { key };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

pub(super) async fn set_deletion_protection(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    let name = match optional(form, "ProtectedResourceArn") {
        Some(_arn) => "ProtectedResourceArn",
        None => "KeyId",
    };
    required(form, "EnableDeletionProtection")?;
    let description = form
        .get("DeletionProtectionDescription")
        .unwrap_or_default();
    let operation = engine::SetDeletionProtection {
        key: asking.alibaba_key(form, name)?,
        protection: flag(form, "EnableDeletionProtection")?.then(|| description.to_owned()),
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Regions {
    regions: RegionList,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RegionList {
    region: Vec<Region>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Region {
    region_id: String,
}

/// The one region that there is.
pub(super) async fn describe_regions(
    asking: Asking<'_>,
    _form: &Form,
) -> Result<Regions, AlibabaError> {
    let region_id = asking.place.region().to_owned();
    let region = vec![Region { region_id }];
    Ok(Regions {
        regions: RegionList { region },
    })
}

//! Versions of keys and their rotation.

use std::time::Duration;

use serde::Serialize;

use super::Nothing;
use super::error::AlibabaError;
use super::parameters::{Paged, Time, flag, page, required, version};
use crate::kms::api::Asking;
use crate::kms::auth::Form;
use crate::kms::engine::model::KeyVersion;
use crate::kms::engine::ops::versions as engine;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneVersion {
    key_version: Version,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    key_id: String,
    key_version_id: String,
    creation_date: Time,
}

impl From<KeyVersion> for Version {
    fn from(version: KeyVersion) -> Self {
        Self {
            key_id: version.key.0,
            key_version_id: version.id.0,
            creation_date: version.created.into(),
        }
    }
}

pub(super) async fn create_key_version(
    asking: Asking<'_>,
    form: &Form,
) -> Result<OneVersion, AlibabaError> {
    let key = asking.alibaba_key(form, "KeyId")?;
    let operation = engine::CreateKeyVersion { key };
    let version = asking.engine.perform(&asking.caller, operation).await?;
    Ok(OneVersion {
        key_version: version.into(),
    })
}

pub(super) async fn describe_key_version(
    asking: Asking<'_>,
    form: &Form,
) -> Result<OneVersion, AlibabaError> {
    let operation = engine::DescribeKeyVersion {
        key: asking.alibaba_key(form, "KeyId")?,
        version: version(form)?,
    };
    let version = asking.engine.perform(&asking.caller, operation).await?;
    Ok(OneVersion {
        key_version: version.into(),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    key_versions: ListedVersions,
    #[serde(flatten)]
    paged: Paged,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedVersions {
    key_version: Vec<Version>,
}

pub(super) async fn list_key_versions(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Listed, AlibabaError> {
    let operation = engine::ListKeyVersions {
        key: asking.alibaba_key(form, "KeyId")?,
        page: page(form)?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    let paged = Paged::of(&page);
    Ok(Listed {
        key_versions: ListedVersions {
            key_version: page.items.into_iter().map(Version::from).collect(),
        },
        paged,
    })
}

pub(super) async fn update_rotation_policy(
    asking: Asking<'_>,
    form: &Form,
) -> Result<Nothing, AlibabaError> {
    required(form, "EnableAutomaticRotation")?;
    let rotates = flag(form, "EnableAutomaticRotation")?;
    let operation = engine::UpdateRotation {
        key: asking.alibaba_key(form, "KeyId")?,
        period: rotates.then(|| period(form)).transpose()?,
    };
    asking.engine.perform(&asking.caller, operation).await?;
    Ok(Nothing {})
}

const DAY: u64 = 24 * 60 * 60;

/// How often a key rotates: a number of days, hours, minutes or seconds (`7d`, `604800s`), from 7 to
/// 730 days.
pub(super) fn period(form: &Form) -> Result<Duration, AlibabaError> {
    let text = required(form, "RotationInterval")?;
    let seconds = [("d", DAY), ("h", 3600), ("m", 60), ("s", 1)]
        .iter()
        .find_map(|(unit, len)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*len)
        });
    seconds
        .filter(|seconds| (7 * DAY..=730 * DAY).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| AlibabaError::invalid("RotationInterval"))
}

/// The same in seconds: `604800s`.
pub(super) fn interval(period: Duration) -> String {
    format!("{}s", period.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Duration, AlibabaError> {
        period(&Form::parse(&[&format!("RotationInterval={text}")]).unwrap())
    }

    #[test]
    fn intervals_are_numbers_with_a_unit() {
        let week = Duration::from_secs(604_800);
        for text in ["7d", "168h", "10080m", "604800s"] {
            assert_eq!(of(text), Ok(week), "{text}");
        }
        assert_eq!(of(&interval(week)), Ok(week));
        for text in [
            "6d",
            "731d",
            "604799s",
            "7",
            "d",
            "-7d",
            "7w",
            "99999999999999999999d",
        ] {
            assert_eq!(of(text).unwrap_err().code, "InvalidParameter", "{text}");
        }
        assert_eq!(of("").unwrap_err().code, "MissingParameter");
    }
}

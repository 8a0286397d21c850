//! Versions of keys and their rotation.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::change::{check_page, keep_version, made_version};
use crate::kms::engine::entry::Version;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::ids;
use crate::kms::engine::model::{
    KeyId, KeyRef, KeySpec, KeyVersion, KeyVersionId, Origin, Page, PageRequest, Rotation,
    VersionCause,
};
use crate::kms::engine::operation::{Call, Need, Needs, Operation, States};
use crate::kms::engine::service::Engine;
use crate::kms::store::keys::{KeyRecord, VersionRecord};

/// The most versions of a key.
pub const VERSIONS_MAX: u32 = 1000;
const DAY: u64 = 24 * 60 * 60;
const PERIOD_DAYS_MIN: u64 = 7;
const PERIOD_DAYS_MAX: u64 = 2560;

/// A new version (Alibaba): of an asymmetric key beside the others, of a symmetric one as its primary.
#[derive(Debug, Clone)]
pub struct CreateKeyVersion {
    pub key: KeyRef,
}

impl Operation for CreateKeyVersion {
    const ACTION: &'static str = "CreateKeyVersion";
    type Answer = KeyVersion;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        if entry.key.spec.is_asymmetric() && entry.key.origin == Origin::Service {
            return add_beside(&call).await;
        }
        rotatable(entry.key.spec, entry.key.origin)?;
        rotate_now(&call).await
    }
}

/// One version.
#[derive(Debug, Clone)]
pub struct DescribeKeyVersion {
    pub key: KeyRef,
    pub version: KeyVersionId,
}

impl Operation for DescribeKeyVersion {
    const ACTION: &'static str = "DescribeKeyVersion";
    type Answer = KeyVersion;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(call.key()?.version(&self.version)?.version.clone())
    }
}

/// The versions, newest first.
#[derive(Debug, Clone)]
pub struct ListKeyVersions {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListKeyVersions {
    const ACTION: &'static str = "ListKeyVersions";
    type Answer = Page<KeyVersion>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(page_of(call.key()?.versions.iter(), self.page))
    }
}

/// Disables one version by itself, not the primary, or enables it.
#[derive(Debug, Clone)]
pub struct SetKeyVersionEnabled {
    pub key: KeyRef,
    pub version: KeyVersionId,
    pub enabled: bool,
}

impl Operation for SetKeyVersionEnabled {
    const ACTION: &'static str = "SetKeyVersionEnabled";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Complete))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, record) = call.begin_change(States::Complete).await?;
        if record.key.primary.as_ref() == Some(&self.version) && !self.enabled {
            return Err(KmsError::new(
                ErrorKind::UnsupportedOperation,
                "The primary version cannot be disabled by itself. Rotate the key first, or disable the key.",
            ));
        }
        let key = &record.key.id;
        let versions = write.versions(key).await?;
        if !versions
            .iter()
            .any(|version| version.version.id == self.version)
        {
            return Err(KmsError::new(
                ErrorKind::KeyVersionNotFound,
                format!("The key has no version {}.", self.version.0),
            ));
        }
        write
            .set_version_enabled(key, &self.version, self.enabled)
            .await?;
        call.engine.commit(write).await
    }
}

/// Turns rotation by schedule on or off. What it does is what must be allowed: `EnableKeyRotation` or
/// `DisableKeyRotation`, or what Alibaba's policies have for both, `UpdateRotationPolicy`.
#[derive(Debug, Clone)]
pub struct UpdateRotation {
    pub key: KeyRef,
    /// `Some` turns it on: 7 to 2,560 days.
    pub period: Option<Duration>,
}

impl Operation for UpdateRotation {
    const ACTION: &'static str = "UpdateRotation";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        let action = match self.period {
            Some(period) => {
                check_period(period)?;
                "EnableKeyRotation"
            }
            None => "DisableKeyRotation",
        };
        let need = Need::key(Cow::Borrowed(&self.key), States::Usable);
        Ok(Needs::one(need.with_action(action)))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.change_key(States::Usable, |record| {
            let last = record.key.rotation.last;
            record.key.rotation = Rotation::default();
            if let Some(period) = self.period {
                rotatable(record.key.spec, record.key.origin)?;
                record.key.rotation = first_rotation(period, call.now)?;
            }
            record.key.rotation.last = last;
            Ok(())
        })
        .await
    }
}

/// How a key rotates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    pub key: KeyId,
    pub rotation: Rotation,
    pub on_demand_started: Option<Timestamp>,
}

/// Whether and when a key rotates.
#[derive(Debug, Clone)]
pub struct GetKeyRotationStatus {
    pub key: KeyRef,
}

impl Operation for GetKeyRotationStatus {
    const ACTION: &'static str = "GetKeyRotationStatus";
    type Answer = RotationStatus;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        Ok(RotationStatus {
            key: entry.key.id.clone(),
            rotation: entry.key.rotation,
            // A rotation is over when it was asked for.
            on_demand_started: None,
        })
    }
}

/// A new primary version at once (AWS).
#[derive(Debug, Clone)]
pub struct RotateKeyOnDemand {
    pub key: KeyRef,
}

impl Operation for RotateKeyOnDemand {
    const ACTION: &'static str = "RotateKeyOnDemand";
    type Answer = KeyId;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        rotatable(entry.key.spec, entry.key.origin)?;
        rotate_now(&call).await?;
        Ok(entry.key.id.clone())
    }
}

/// The rotations that were, newest first: versions that were not the first.
#[derive(Debug, Clone)]
pub struct ListKeyRotations {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListKeyRotations {
    const ACTION: &'static str = "ListKeyRotations";
    type Answer = Page<KeyVersion>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let rotations = call.key()?.versions.iter().filter(|version| {
            matches!(
                version.version.cause,
                VersionCause::OnDemand | VersionCause::Schedule
            )
        });
        Ok(page_of(rotations, self.page))
    }
}

/// Whether such a key rotates.
pub(super) fn rotatable(spec: KeySpec, origin: Origin) -> Result<(), KmsError> {
    if origin == Origin::External {
        return Err(KmsError::new(
            ErrorKind::UnsupportedOrigin,
            "A key with imported material does not rotate: import the new material into a new key.",
        ));
    }
    if !spec.is_symmetric() {
        return Err(KmsError::new(
            ErrorKind::UnsupportedOperation,
            "Only symmetric keys rotate.",
        ));
    }
    Ok(())
}

pub(super) fn check_period(period: Duration) -> Result<Duration, KmsError> {
    if (PERIOD_DAYS_MIN * DAY..=PERIOD_DAYS_MAX * DAY).contains(&period.as_secs()) {
        return Ok(period);
    }
    let message = format!("A key rotates every {PERIOD_DAYS_MIN} to {PERIOD_DAYS_MAX} days.");
    Err(KmsError::invalid("RotationInterval", message))
}

/// A schedule that begins now.
pub(super) fn first_rotation(period: Duration, now: Timestamp) -> Result<Rotation, KmsError> {
    Ok(Rotation {
        enabled: true,
        period: Some(period),
        last: None,
        next: Some(after(now, period)?),
    })
}

fn after(now: Timestamp, period: Duration) -> Result<Timestamp, KmsError> {
    SignedDuration::try_from(period)
        .ok()
        .and_then(|period| now.checked_add(period).ok())
        .ok_or_else(KmsError::internal)
}

fn page_of<'a>(
    versions: impl Iterator<Item = &'a Version>,
    request: PageRequest,
) -> Page<KeyVersion> {
    let all: Vec<_> = versions.map(|version| version.version.clone()).collect();
    super::access::page_of(all, request)
}

async fn rotate_now(call: &Call<'_>) -> Result<KeyVersion, KmsError> {
    let key = &call.key()?.key.id;
    let is_usable = |record: &KeyRecord| States::Usable.check(record.key.state).is_ok();
    let rotated = rotate(
        call.engine,
        key,
        call.now,
        VersionCause::OnDemand,
        is_usable,
    )
    .await?;
    rotated.ok_or_else(|| {
        KmsError::new(
            ErrorKind::InvalidState,
            "The key was disabled or scheduled for deletion meanwhile.",
        )
    })
}

/// Gives a key a new primary version, if `still` holds of it then; `None` if not.
pub(in crate::kms::engine) async fn rotate(
    engine: &Engine,
    key: &KeyId,
    now: Timestamp,
    cause: VersionCause,
    still: impl Fn(&KeyRecord) -> bool + Send,
) -> Result<Option<KeyVersion>, KmsError> {
    let Some(before) = engine.store.key(key).await?.filter(|record| still(record)) else {
        return Ok(None);
    };
    next_number(&engine.store.versions(key).await?)?;
    let id = KeyVersionId(ids::uuid());
    // Made before anybody waits for it, for an HSM may take its time; its number is known only then.
    let mut version = made_version(engine, &before.key, id.clone(), 0, cause, now).await?;
    let mut write = engine.store.write().await?;
    let Some(mut record) = write.key(key).await?.filter(|record| still(record)) else {
        return Ok(None);
    };
    version.version.number = next_number(&write.versions(key).await?)?;
    keep_version(&mut write, &record.key, &version).await?;
    record.key.primary = Some(id);
    record.key.rotation.last = Some(now);
    if let Some(period) = record.key.rotation.period {
        record.key.rotation.next = Some(after(now, period)?);
    }
    write.update_key(&record).await?;
    engine.commit(write).await?;
    Ok(Some(version.version))
}

/// A further version of an asymmetric key; the primary stays.
async fn add_beside(call: &Call<'_>) -> Result<KeyVersion, KmsError> {
    let key = &call.key()?.key;
    next_number(&call.engine.store.versions(&key.id).await?)?;
    let id = KeyVersionId(ids::uuid());
    // Made before anybody waits for it; its number is known only then.
    let made = made_version(call.engine, key, id, 0, VersionCause::OnDemand, call.now).await?;
    let (mut write, record) = call.begin_change(States::Usable).await?;
    let versions = write.versions(&record.key.id).await?;
    let mut version = made;
    version.version.number = next_number(&versions)?;
    keep_version(&mut write, &record.key, &version).await?;
    call.engine.commit(write).await?;
    Ok(version.version)
}

fn next_number(versions: &[VersionRecord]) -> Result<u32, KmsError> {
    let last = versions.iter().map(|version| version.version.number).max();
    let next = last.unwrap_or(0) + 1;
    if next > VERSIONS_MAX {
        let message = format!("A key has at most {VERSIONS_MAX} versions.");
        return Err(KmsError::new(ErrorKind::LimitExceeded, message));
    }
    Ok(next)
}

//! The lives of keys.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::change::{check_page, keep_version, new_version};
use super::names::check_tags;
use super::versions::{check_period, first_rotation, rotatable};
use crate::kms::engine::caller::Dialect;
use crate::kms::engine::entry::facts_of;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::ids;
use crate::kms::engine::model::{
    Key, KeyId, KeyRef, KeySpec, KeyState, KeyUsage, KeyVersionId, Origin, Page, PageRequest,
    ProtectionLevel, Rotation, Tag, VersionCause,
};
use crate::kms::engine::operation::{Call, Needs, Operation, States};
use crate::kms::hsm::is_for_hsm;
use crate::kms::policy::{Policy, PolicyKind};
use crate::kms::store::keys::KeyRecord;

/// The longest description in characters.
const DESCRIPTION_MAX: usize = 8192;
const DELETION_DAYS_MIN: u32 = 7;
const DELETION_DAYS_MAX: u32 = 366;

/// Makes a key, with its first version unless its material is to be imported.
#[derive(Debug, Clone)]
pub struct CreateKey {
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub protection: ProtectionLevel,
    /// `Some` turns rotation by schedule on.
    pub rotation_period: Option<Duration>,
    pub tags: Vec<Tag>,
    /// `None` for the default: its creator, and who a principal's own policy allows.
    pub policy: Option<FirstPolicy>,
}

/// The policy that a key is made with.
#[derive(Debug, Clone)]
pub struct FirstPolicy {
    /// JSON, at most 32,768 bytes.
    pub text: String,
    /// Whether the caller may lock itself out.
    pub bypass_lockout_check: bool,
}

impl Operation for CreateKey {
    const ACTION: &'static str = "CreateKey";
    type Answer = Key;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_description(&self.description)?;
        if !self.spec.allows(self.usage) {
            let message = format!(
                "A key of spec {} cannot be for {}.",
                self.spec.name(),
                self.usage.name()
            );
            return Err(KmsError::invalid("KeyUsage", message));
        }
        if self.protection == ProtectionLevel::Hsm {
            check_hsm(self.spec, self.origin)?;
        }
        if self.rotation_period.is_some() {
            rotatable(self.spec, self.origin)?;
        }
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (record, policy) = self.record(&call)?;
        if let Some(FirstPolicy {
            bypass_lockout_check: false,
            ..
        }) = self.policy
        {
            let facts = facts_of(&record.key, self.tags.clone(), call.engine.names());
            call.check_lockout(&facts, &policy).await?;
        }
        let mut version = None;
        if self.origin == Origin::Service {
            let made = new_version(&call, &record.key, 1, VersionCause::Creation).await?;
            version = Some(made);
        }
        let mut write = call.engine.store.write().await?;
        write.insert_key(&record).await?;
        if let Some(version) = &version {
            keep_version(&mut write, &record.key, version).await?;
        }
        for tag in &self.tags {
            write.put_tag(&record.key.id, tag).await?;
        }
        call.engine.commit(write).await?;
        Ok(record.key)
    }
}

impl CreateKey {
    /// The key's row, and its policy. Its first version's id is chosen where the version is made.
    fn record(&self, call: &Call<'_>) -> Result<(KeyRecord, Policy), KmsError> {
        check_tags(&self.tags)?;
        let account = &call.engine.names().account;
        let creator = call.caller.principal.clone();
        let policy = match &self.policy {
            Some(policy) => policy.text.clone(),
            None => Policy::default_of_key(&creator, account),
        };
        let parsed = Policy::parse_new(&policy, PolicyKind::Key, account)?;
        let rotation = match self.rotation_period {
            None => Rotation::default(),
            Some(period) => first_rotation(check_period(period)?, call.now)?,
        };
        let (state, primary) = match self.origin {
            Origin::External => (KeyState::PendingImport, None),
            Origin::Service => (KeyState::Enabled, Some(KeyVersionId(ids::uuid()))),
        };
        let key = Key {
            id: KeyId(ids::uuid()),
            description: self.description.clone(),
            spec: self.spec,
            usage: self.usage,
            origin: self.origin,
            protection: self.protection,
            state,
            created: call.now,
            creator,
            deletion: None,
            material_expires: None,
            primary,
            rotation,
            deletion_protection: None,
        };
        let record = KeyRecord {
            key,
            revision: 1,
            policy,
        };
        Ok((record, parsed))
    }
}

/// What there is to know of a key.
#[derive(Debug, Clone)]
pub struct DescribeKey {
    pub key: KeyRef,
}

impl Operation for DescribeKey {
    const ACTION: &'static str = "DescribeKey";
    type Answer = Key;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        let mut key = entry.key.clone();
        key.state = entry.state(call.now);
        Ok(key)
    }
}

/// What the keys in a list have in common; all that is `Some` must hold.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub states: Option<Vec<KeyState>>,
    pub specs: Option<Vec<KeySpec>>,
    pub usages: Option<Vec<KeyUsage>>,
    pub protections: Option<Vec<ProtectionLevel>>,
    pub creators: Option<Vec<String>>,
}

/// The keys, oldest first.
#[derive(Debug, Clone)]
pub struct ListKeys {
    pub filter: KeyFilter,
    pub page: PageRequest,
}

impl Operation for ListKeys {
    const ACTION: &'static str = "ListKeys";
    type Answer = Page<Key>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(call.engine.store.keys(&self.filter, self.page).await?)
    }
}

/// Sets the description: at most 8,192 characters.
#[derive(Debug, Clone)]
pub struct UpdateKeyDescription {
    pub key: KeyRef,
    pub description: String,
}

impl Operation for UpdateKeyDescription {
    const ACTION: &'static str = "UpdateKeyDescription";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_description(&self.description)?;
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.change_key(States::Changeable, |record| {
            record.key.description = self.description;
            Ok(())
        })
        .await
    }
}

/// Lets a key be used (again).
#[derive(Debug, Clone)]
pub struct EnableKey {
    pub key: KeyRef,
}

impl Operation for EnableKey {
    const ACTION: &'static str = "EnableKey";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Complete))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.change_key(States::Complete, |record| {
            record.key.state = KeyState::Enabled;
            Ok(())
        })
        .await
    }
}

/// Lets a key not be used, until it is enabled.
#[derive(Debug, Clone)]
pub struct DisableKey {
    pub key: KeyRef,
}

impl Operation for DisableKey {
    const ACTION: &'static str = "DisableKey";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Complete))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.change_key(States::Complete, |record| {
            record.key.state = KeyState::Disabled;
            Ok(())
        })
        .await
    }
}

/// When a key's material is destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub key: KeyId,
    pub date: Timestamp,
}

/// Destroys a key's material after so many days, unless cancelled.
#[derive(Debug, Clone)]
pub struct ScheduleKeyDeletion {
    pub key: KeyRef,
    /// 7 to 366; AWS allows up to 30, which its dialect checks.
    pub days: u32,
}

impl Operation for ScheduleKeyDeletion {
    const ACTION: &'static str = "ScheduleKeyDeletion";
    type Answer = Deletion;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        if !(DELETION_DAYS_MIN..=DELETION_DAYS_MAX).contains(&self.days) {
            let message =
                format!("The waiting time is {DELETION_DAYS_MIN} to {DELETION_DAYS_MAX} days.");
            return Err(KmsError::invalid("PendingWindowInDays", message));
        }
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let date = call.now + SignedDuration::from_hours(24 * i64::from(self.days));
        call.change_key(States::Changeable, |record| {
            if record.key.deletion_protection.is_some() {
                return Err(KmsError::new(
                    ErrorKind::DeletionProtected,
                    "The key is protected from deletion. Lift the protection first.",
                ));
            }
            record.key.state = KeyState::PendingDeletion;
            record.key.deletion = Some(date);
            Ok(())
        })
        .await?;
        let key = call.key()?.key.id.clone();
        Ok(Deletion { key, date })
    }
}

/// Keeps a key that was to be destroyed; it is disabled then (AWS) or enabled (Alibaba), by the caller's dialect.
#[derive(Debug, Clone)]
pub struct CancelKeyDeletion {
    pub key: KeyRef,
}

impl Operation for CancelKeyDeletion {
    const ACTION: &'static str = "CancelKeyDeletion";
    type Answer = KeyId;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Deleting))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (mut write, mut record) = call.begin_change(States::Deleting).await?;
        let versions = write.versions(&record.key.id).await?;
        let has_material = versions.iter().any(|version| version.material.is_some());
        record.key.deletion = None;
        record.key.state = match (has_material, call.caller.dialect) {
            (false, _) => KeyState::PendingImport,
            (true, Dialect::Aws) => KeyState::Disabled,
            (true, _) => KeyState::Enabled,
        };
        write.update_key(&record).await?;
        call.engine.commit(write).await?;
        Ok(record.key.id)
    }
}

/// Protects a key from being scheduled for deletion, or no longer.
#[derive(Debug, Clone)]
pub struct SetDeletionProtection {
    pub key: KeyRef,
    /// `Some`, with a description, to protect.
    pub protection: Option<String>,
}

impl Operation for SetDeletionProtection {
    const ACTION: &'static str = "SetDeletionProtection";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        if let Some(description) = &self.protection {
            check_description(description)?;
        }
        Ok(Needs::key(&self.key, States::Changeable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.change_key(States::Changeable, |record| {
            record.key.deletion_protection = self.protection;
            Ok(())
        })
        .await
    }
}

/// What an HSM may be asked for.
fn check_hsm(spec: KeySpec, origin: Origin) -> Result<(), KmsError> {
    let why = match origin {
        Origin::External => {
            "Material cannot be imported into the HSM: make the key there, or import it as a software key.".to_owned()
        }
        Origin::Service if is_for_hsm(spec) => return Ok(()),
        Origin::Service => format!("The HSM has no keys of spec {}.", spec.name()),
    };
    Err(KmsError::new(ErrorKind::UnsupportedProtection, why))
}

fn check_description(text: &str) -> Result<(), KmsError> {
    if text.chars().count() <= DESCRIPTION_MAX {
        return Ok(());
    }
    let message = format!("A description has at most {DESCRIPTION_MAX} characters.");
    Err(KmsError::invalid("Description", message))
}

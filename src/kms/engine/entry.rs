//! A key as it is kept in memory: its record, policy, grants, and the material of its versions.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::census::Uses;
use super::error::{ErrorKind, KmsError};
use super::holder::Holder;
use super::ids::KeyNames;
use super::model::{Grant, Key, KeySpec, KeyState, KeyVersion, KeyVersionId, ProtectionLevel, Tag};
use super::ops::SecretBytes;
use super::service::Engine;
use super::worker::on_worker;
use crate::kms::hsm::HsmKey;
use crate::kms::material::{Address, Material};
use crate::kms::policy::{KeyFacts, Policy, PolicyKind};
use crate::kms::root::Thing;
use crate::kms::store::access::GrantRecord;
use crate::kms::store::keys::{KeyRecord, VersionRecord};

/// All that an operation asks of a key. It is never changed: a change of the key makes a new one.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) facts: KeyFacts,
    pub(super) policy: Policy,
    /// As it was given.
    pub(super) policy_text: String,
    pub(super) grants: Vec<Grant>,
    /// Newest first.
    pub(super) versions: Vec<Version>,
}

/// One version of a key.
pub(super) struct Version {
    pub(super) version: KeyVersion,
    pub(super) address: Address,
    pub(super) uses: Arc<Uses>,
    /// Wrapped: the material, or what is known of a key in the HSM; `None` where there is none.
    wrapped: Option<Vec<u8>>,
    /// What it had made when it was read.
    produced: u64,
    /// Made when it is first needed: to parse a private key takes a while.
    holder: OnceLock<Holder>,
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Entry {
    pub(super) fn new(
        record: KeyRecord,
        versions: Vec<VersionRecord>,
        grants: Vec<GrantRecord>,
        tags: Vec<Tag>,
        names: &KeyNames,
        uses: impl Fn(&KeyVersionId) -> Arc<Uses>,
    ) -> Result<Self, KmsError> {
        let policy = Policy::parse(&record.policy, PolicyKind::Key, &names.account);
        let policy = policy.map_err(|error| {
            tracing::error!(key = record.key.id.0, %error, "the store holds an unreadable policy");
            KmsError::internal()
        })?;
        let facts = facts_of(&record.key, tags, names);
        let versions = versions.into_iter().map(|record| {
            Ok(Version {
                address: Address::new(&record.version.key, &record.version.id)?,
                uses: uses(&record.version.id),
                version: record.version,
                wrapped: record.material,
                produced: record.counts.produced,
                holder: OnceLock::new(),
            })
        });
        Ok(Self {
            versions: versions.collect::<Result<_, KmsError>>()?,
            key: record.key,
            facts,
            policy,
            policy_text: record.policy,
            grants: grants.into_iter().map(|record| record.grant).collect(),
        })
    }

    /// The key's state at this moment: material and keys whose time is over are gone, whether or not they were
    /// cleared away yet.
    pub(super) fn state(&self, now: Timestamp) -> KeyState {
        state_at(&self.key, now)
    }

    /// Whether the key's time is over.
    pub(super) fn is_destroyed(&self, now: Timestamp) -> bool {
        self.key.deletion.is_some_and(|date| date <= now)
    }

    /// The version that encrypts.
    pub(super) fn primary(&self) -> Result<&Version, KmsError> {
        let id = self.key.primary.as_ref();
        self.versions
            .iter()
            .find(|version| Some(&version.version.id) == id)
            .ok_or_else(KmsError::internal)
    }

    /// The version of this id, the primary where none is named; it must be enabled.
    pub(super) fn usable(&self, id: Option<&KeyVersionId>) -> Result<&Version, KmsError> {
        let version = match id {
            None => self.primary()?,
            Some(id) => self.version(id)?,
        };
        version.check_enabled()?;
        Ok(version)
    }

    pub(super) fn version(&self, id: &KeyVersionId) -> Result<&Version, KmsError> {
        self.versions
            .iter()
            .find(|version| version.version.id == *id)
            .ok_or_else(|| {
                KmsError::new(
                    ErrorKind::KeyVersionNotFound,
                    format!("The key has no version {}.", id.0),
                )
            })
    }
}

/// What policies can ask of a key.
pub(super) fn facts_of(key: &Key, tags: Vec<Tag>, names: &KeyNames) -> KeyFacts {
    KeyFacts {
        names: names.of(&key.id),
        spec: key.spec,
        usage: key.usage,
        origin: key.origin,
        tags,
    }
}

/// See [`Entry::state`].
pub(super) fn state_at(key: &Key, now: Timestamp) -> KeyState {
    let is_expired = key.material_expires.is_some_and(|expires| expires <= now);
    match key.state {
        KeyState::Enabled | KeyState::Disabled if is_expired => KeyState::PendingImport,
        state => state,
    }
}

impl Version {
    pub(super) fn check_enabled(&self) -> Result<(), KmsError> {
        if self.version.enabled {
            return Ok(());
        }
        Err(KmsError::new(
            ErrorKind::KeyVersionDisabled,
            format!("Version {} of the key is disabled.", self.version.id.0),
        ))
    }

    /// What the version does its work with.
    pub(super) fn holder(&self, engine: &Engine, key: &Key) -> Result<Holder, KmsError> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder.clone());
        }
        let bytes = self.unwrapped(engine, key)?;
        let holder = match key.protection {
            ProtectionLevel::Hsm => self.in_hsm(engine, key, &bytes)?,
            ProtectionLevel::Software => in_memory(key.spec, &bytes)?,
        };
        Ok(self.keep(holder))
    }

    /// As [`Self::holder`], for key pairs: to parse a private key takes too long for a thread that serves connections.
    pub(super) async fn pair(&self, engine: &Engine, key: &Key) -> Result<Holder, KmsError> {
        if let Some(holder) = self.holder.get() {
            return Ok(holder.clone());
        }
        let (bytes, spec) = (self.unwrapped(engine, key)?, key.spec);
        let holder = match key.protection {
            ProtectionLevel::Hsm => self.in_hsm(engine, key, &bytes)?,
            ProtectionLevel::Software => on_worker(move || in_memory(spec, &bytes)).await?,
        };
        Ok(self.keep(holder))
    }

    fn keep(&self, holder: Holder) -> Holder {
        self.holder.get_or_init(|| holder).clone()
    }

    fn in_hsm(&self, engine: &Engine, key: &Key, record: &[u8]) -> Result<Holder, KmsError> {
        let (hsm, version) = (engine.hsm.clone(), &self.version.id);
        let key = HsmKey::new(
            hsm,
            version,
            key.spec,
            record,
            self.uses.ever(self.produced),
        )?;
        Ok(Holder::Hsm(Arc::new(key)))
    }

    fn unwrapped(&self, engine: &Engine, key: &Key) -> Result<SecretBytes, KmsError> {
        let wrapped = self.wrapped.as_ref().ok_or_else(|| {
            KmsError::new(
                ErrorKind::KeyPendingImport,
                "The version has no material: it waits for its import.",
            )
        })?;
        let (id, version) = (&self.version.key.0, &self.version.id.0);
        let thing = match key.protection {
            ProtectionLevel::Hsm => Thing::HsmKey { key: id, version },
            ProtectionLevel::Software => Thing::Material { key: id, version },
        };
        engine.root.unwrap(thing, wrapped).map_err(|_error| {
            tracing::error!(version, "material in the store does not unwrap");
            KmsError::internal()
        })
    }
}

fn in_memory(spec: KeySpec, bytes: &[u8]) -> Result<Holder, KmsError> {
    let material = Material::from_secret(spec, bytes)?;
    Ok(Holder::Software(Arc::new(material)))
}

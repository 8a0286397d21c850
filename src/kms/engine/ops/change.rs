//! What operations that change something have in common.

use jiff::{SignedDuration, Timestamp};

use super::SecretBytes;
use crate::crypto::random;
use crate::kms::engine::caches::not_found;
use crate::kms::engine::entry::state_at;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::model::{
    Key, KeyVersion, KeyVersionId, PageRequest, ProtectionLevel, VersionCause,
};
use crate::kms::engine::operation::{Call, States};
use crate::kms::engine::service::Engine;
use crate::kms::engine::worker::on_worker;
use crate::kms::material::Material;
use crate::kms::root::Thing;
use crate::kms::store::Write;
use crate::kms::store::hsm_objects::HsmObject;
use crate::kms::store::keys::{Counts, KeyRecord, VersionRecord};

/// The most entries on a page.
const PAGE_MAX: u32 = 1000;
/// When a key that was made in the HSM is destroyed, if no version of it came to be: more than its making takes.
const ORPHAN: SignedDuration = SignedDuration::from_hours(1);

impl<'a> Call<'a> {
    /// Begins a change of the call's first key: the key as it is now, and in one of these states still.
    pub(super) async fn begin_change(
        &self,
        states: States,
    ) -> Result<(Write<'a>, KeyRecord), KmsError> {
        let id = &self.key()?.key.id;
        let mut write = self.engine.store.write().await?;
        let record = write.key(id).await?.ok_or_else(|| not_found(id))?;
        if record.key.deletion.is_some_and(|date| date <= self.now) {
            return Err(not_found(id));
        }
        states.check(state_at(&record.key, self.now))?;
        Ok((write, record))
    }

    /// Changes the row of the call's first key.
    pub(super) async fn change_key(
        &self,
        states: States,
        change: impl FnOnce(&mut KeyRecord) -> Result<(), KmsError>,
    ) -> Result<(), KmsError> {
        let (mut write, mut record) = self.begin_change(states).await?;
        change(&mut record)?;
        write.update_key(&record).await?;
        self.engine.commit(write).await
    }
}

/// A new version of a key, with material of its own. Its id is the key's primary version where that is new too.
pub(super) async fn new_version(
    call: &Call<'_>,
    key: &Key,
    number: u32,
    cause: VersionCause,
) -> Result<VersionRecord, KmsError> {
    let id = key.primary.clone().ok_or_else(KmsError::internal)?;
    made_version(call.engine, key, id, number, cause, call.now).await
}

/// As [`new_version`]. A key in the HSM is made before anybody waits for it, and is destroyed again unless the version
/// is [kept](keep_version).
pub(super) async fn made_version(
    engine: &Engine,
    key: &Key,
    id: KeyVersionId,
    number: u32,
    cause: VersionCause,
    now: Timestamp,
) -> Result<VersionRecord, KmsError> {
    let wrapped = match key.protection {
        ProtectionLevel::Hsm => made_in_hsm(engine, key, &id, now).await?,
        ProtectionLevel::Software => made_here(engine, key, &id).await?,
    };
    Ok(VersionRecord {
        material: Some(wrapped),
        fingerprint: None,
        counts: Counts::default(),
        version: KeyVersion {
            key: key.id.clone(),
            id,
            number,
            created: now,
            enabled: true,
            cause,
        },
    })
}

async fn made_here(engine: &Engine, key: &Key, id: &KeyVersionId) -> Result<Vec<u8>, KmsError> {
    let spec = key.spec;
    let material = if spec.is_asymmetric() {
        on_worker(move || Material::generate(spec)).await?
    } else {
        Material::generate(spec)?
    };
    let thing = Thing::Material {
        key: &key.id.0,
        version: &id.0,
    };
    Ok(engine.root.wrap(thing, material.secret()))
}

async fn made_in_hsm(
    engine: &Engine,
    key: &Key,
    id: &KeyVersionId,
    now: Timestamp,
) -> Result<Vec<u8>, KmsError> {
    let hsm = engine.hsm.as_ref().ok_or_else(no_hsm)?;
    let object = HsmObject {
        version: id.clone(),
        key: key.id.clone(),
    };
    engine.store.note_hsm_object(&object, now + ORPHAN).await?;
    let record = hsm.generate(&key.id, id, key.spec, key.usage).await?;
    let thing = Thing::HsmKey {
        key: &key.id.0,
        version: &id.0,
    };
    Ok(engine.root.wrap(thing, &record.to_bytes()))
}

/// Has a version that was made be part of a change.
pub(super) async fn keep_version(
    write: &mut Write<'_>,
    key: &Key,
    version: &VersionRecord,
) -> Result<(), KmsError> {
    if key.protection == ProtectionLevel::Hsm {
        write.keep_hsm_object(&version.version.id).await?;
    }
    Ok(write.insert_version(version).await?)
}

/// The service keeps no keys in an HSM.
pub(in crate::kms::engine) fn no_hsm() -> KmsError {
    KmsError::new(
        ErrorKind::UnsupportedProtection,
        "This service has no HSM: it keeps keys in its own store, wrapped.",
    )
}

/// Random bytes that are wiped when they go.
pub(super) fn random_bytes(len: usize) -> SecretBytes {
    let mut bytes = SecretBytes::new(vec![0; len]);
    random::fill(&mut bytes);
    bytes
}

pub(super) fn check_page(page: PageRequest) -> Result<(), KmsError> {
    if (1..=PAGE_MAX).contains(&page.limit) {
        return Ok(());
    }
    let message = format!("A page has 1 to {PAGE_MAX} entries.");
    Err(KmsError::invalid("PageSize", message))
}

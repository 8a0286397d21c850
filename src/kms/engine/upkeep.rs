//! What is done by itself: changes of other servers are heard of, keys rotate, material and keys whose time is over
//! are destroyed, uses are added up.
//!
//! Each server does it; commands hear of changes and do nothing else by themselves. Two servers come to the same key one
//! after the other, and the second finds nothing due. What needs the HSM is done beside the rest, which does not wait for an
//! HSM that hangs.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::caller::{Caller, Dialect};
use super::error::{ErrorKind, KmsError};
use super::model::{KeyId, KeyState, ProtectionLevel, VersionCause};
use super::ops::change::no_hsm;
use super::ops::import::forget_material;
use super::ops::versions::rotate;
use super::service::{Engine, SEEN_WITHIN, now};
use crate::kms::audit::Record;
use crate::kms::hsm::Hsm;
use crate::kms::store::hsm_objects::{Claim, HsmObject};
use crate::kms::store::keys::Due;

/// How often the store is asked for changes: half of what is promised.
pub(super) const ASK: Duration = SEEN_WITHIN.checked_div(2).unwrap();
/// How long one question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked for what is due, and uses are added up.
const LOOK: Duration = Duration::from_secs(5);
/// How often what is old is cleared away.
const CLEAR: u32 = 120;

/// Starts to hear of changes; it ends when the engine is closed or dropped.
pub(super) fn start(engine: &Arc<Engine>, seq: i64) {
    let told = Arc::new(Notify::new());
    let listening = listen(Arc::downgrade(engine), Arc::clone(&told));
    tokio::spawn(until_closed(engine, listening));
    let hearing = hear(Arc::downgrade(engine), seq, told);
    tokio::spawn(until_closed(engine, hearing));
}

pub(super) fn until_closed(
    engine: &Arc<Engine>,
    work: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let engine = Arc::downgrade(engine);
    async move {
        tokio::select! {
            // The store of a closed engine is not to be asked.
            biased;
            () = closed(engine) => {}
            () = work => {}
        }
    }
}

/// Resolves once the engine is closed.
async fn closed(engine: Weak<Engine>) {
    let Some(mut closing) = engine.upgrade().map(|engine| engine.closing.subscribe()) else {
        return;
    };
    // An error: it is gone altogether.
    drop(closing.wait_for(|closing| *closing).await);
}

/// Has changes asked for as soon as the database tells of one, where it can. Nobody waits for this: a listener that
/// hangs costs the moment that it would have saved, and no more.
async fn listen(engine: Weak<Engine>, told: Arc<Notify>) {
    while let Some(engine) = engine.upgrade() {
        let listener = timeout(PATIENCE, engine.store.listener()).await;
        drop(engine);
        match listener {
            // The database tells nobody.
            Ok(Ok(None)) => return,
            Ok(Ok(Some(mut listener))) => {
                while listener.recv().await.is_ok() {
                    told.notify_one();
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the store does not tell of changes"),
            Err(_late) => tracing::debug!("the store is late to tell of changes"),
        }
        sleep(PATIENCE).await;
    }
}

/// Asks for changes for as long as there is an engine: every so often, and when it was told of one.
async fn hear(engine: Weak<Engine>, mut seq: i64, told: Arc<Notify>) {
    while let Some(engine) = engine.upgrade() {
        let asked = Instant::now();
        match timeout(PATIENCE, engine.store.changes_since(seq)).await {
            Ok(Ok(changes)) => {
                match &changes.list {
                    Some(list) => engine.forget(list),
                    None => engine.caches.clear(),
                }
                seq = changes.seq;
                engine.note_asked(asked);
            }
            // It was closed while it was asked.
            Ok(Err(_closed)) if *engine.closing.borrow() => return,
            Ok(Err(error)) => tracing::warn!(%error, "the store was not asked for changes"),
            Err(_late) => tracing::warn!("the store is late to say what was changed"),
        }
        drop(engine);
        // Late or not, it is asked again.
        let _told = timeout(ASK, told.notified()).await.is_ok();
    }
}

/// Has something looked after for as long as there is an engine; `look` is told how often it was before.
async fn again_and_again<L: Future<Output = ()>>(
    engine: Weak<Engine>,
    look: impl Fn(Arc<Engine>, u32) -> L,
) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u32.. {
        ticks.tick().await;
        let Some(engine) = engine.upgrade() else {
            return;
        };
        look(engine, round).await;
    }
}

/// Does what is due.
async fn look(engine: Arc<Engine>, round: u32) {
    engine.do_what_is_due(now()).await;
    engine.add_census().await;
    if round.is_multiple_of(CLEAR) {
        engine.clear_old(now()).await;
    }
}

/// The same of what needs the HSM.
async fn look_after_hsm(engine: Arc<Engine>, _round: u32) {
    engine.rotate_in_hsm(now()).await;
    engine.clear_hsm(now()).await;
}

/// What is where of the keys that live in the HSM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InHsm {
    /// Versions that are in it.
    pub there: u64,
    /// Those that are not.
    pub missing: Vec<HsmObject>,
}

fn service_itself() -> Caller {
    Caller {
        principal: "service".to_owned(),
        ..Caller::nobody(Dialect::Service, None)
    }
}

impl Engine {
    /// From now on does what is due, by itself. For servers: a command is about one thing.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn look_after_keys(self: &Arc<Self>) -> Result<(), KmsError> {
        let looking = again_and_again(Arc::downgrade(self), look);
        tokio::spawn(until_closed(self, looking));
        if self.hsm.is_some() {
            let looking = again_and_again(Arc::downgrade(self), look_after_hsm);
            tokio::spawn(until_closed(self, looking));
        } else if let versions @ 1.. = self.count_in_hsm().await? {
            tracing::warn!(
                versions,
                "keys of this service live in an HSM, and this server has none: it neither uses nor rotates them"
            );
        }
        Ok(())
    }

    /// Does all that is due at this time and needs no HSM.
    pub(super) async fn do_what_is_due(&self, now: Timestamp) {
        for due in [Due::Deletion, Due::MaterialExpiry, Due::Rotation] {
            for key in self.keys_due(due, now).await {
                if let Err(error) = self.do_one(due, &key, now, ProtectionLevel::Software).await {
                    tracing::error!(key = key.0, ?due, %error, "what is due was not done");
                }
            }
        }
    }

    /// Gives keys in the HSM their new versions, until it does not answer.
    pub(super) async fn rotate_in_hsm(&self, now: Timestamp) {
        for key in self.keys_due(Due::Rotation, now).await {
            let rotated = self.do_one(Due::Rotation, &key, now, ProtectionLevel::Hsm);
            let Err(error) = rotated.await else { continue };
            tracing::error!(key = key.0, %error, "a key in the HSM was not rotated");
            if error.kind() == ErrorKind::HsmUnavailable {
                return;
            }
        }
    }

    async fn keys_due(&self, due: Due, now: Timestamp) -> Vec<KeyId> {
        let keys = self.store.keys_due(due, now).await;
        keys.unwrap_or_else(|error| {
            tracing::warn!(%error, ?due, "it was not looked for what is due");
            Vec::new()
        })
    }

    async fn do_one(
        &self,
        due: Due,
        key: &KeyId,
        now: Timestamp,
        rotated: ProtectionLevel,
    ) -> Result<(), KmsError> {
        let action = match due {
            Due::Deletion => "DeleteKey",
            Due::MaterialExpiry => "ExpireKeyMaterial",
            Due::Rotation => "RotateKey",
        };
        let caller = service_itself();
        let mut record = Record::begin(&self.trail, action, &caller)?;
        record.key(key);
        let result = match due {
            Due::Deletion => self.destroy(key, now).await,
            Due::MaterialExpiry => self.expire_material(key, now).await,
            Due::Rotation => self.rotate_if_due(key, now, rotated).await,
        };
        match result {
            // Another server came first.
            Ok(false) => record.withdraw(),
            Ok(true) => record.end(&Ok(())),
            // It is looked for again in a moment, and the trail is not to be filled with that.
            Err(error) if error.kind() == ErrorKind::HsmUnavailable => {
                record.withdraw();
                return Err(error);
            }
            Err(error) => {
                record.end::<()>(&Err(error.clone()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Destroys a key whose time is over: no row of it is left.
    async fn destroy(&self, key: &KeyId, now: Timestamp) -> Result<bool, KmsError> {
        let mut write = self.store.write().await?;
        let Some(record) = write.key(key).await? else {
            return Ok(false);
        };
        let is_due = record.key.state == KeyState::PendingDeletion
            && record.key.deletion.is_some_and(|date| date <= now);
        if !is_due {
            return Ok(false);
        }
        if record.key.protection == ProtectionLevel::Hsm {
            for version in write.versions(key).await? {
                let object = HsmObject {
                    version: version.version.id,
                    key: key.clone(),
                };
                write.drop_hsm_object(&object).await?;
            }
        }
        write.delete_key(key).await?;
        self.commit(write).await?;
        Ok(true)
    }

    /// Looks in the HSM for every version that is to be there; `None` where no key lives in one.
    ///
    /// # Errors
    ///
    /// `HsmUnavailable`, `Unavailable`.
    pub async fn look_in_hsm(&self) -> Result<Option<InHsm>, KmsError> {
        let objects = self.store.hsm_versions().await?;
        if objects.is_empty() {
            return Ok(None);
        }
        let hsm = self.hsm.as_ref().ok_or_else(no_hsm)?;
        let mut found = InHsm {
            there: 0,
            missing: Vec::new(),
        };
        for object in objects {
            match hsm.has(&object.version).await? {
                true => found.there += 1,
                false => found.missing.push(object),
            }
        }
        Ok(Some(found))
    }

    /// How many versions of keys live in the HSM, by what the store knows.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn count_in_hsm(&self) -> Result<u64, KmsError> {
        let objects = self.store.hsm_versions().await?;
        Ok(u64::try_from(objects.len()).unwrap_or(u64::MAX))
    }

    /// Destroys what is left in the HSM of keys that are no more. While the HSM is away, it waits.
    pub(super) async fn clear_hsm(&self, now: Timestamp) {
        let Some(hsm) = &self.hsm else { return };
        let objects = match self.store.hsm_objects_due(now).await {
            Ok(objects) => objects,
            Err(error) => {
                tracing::warn!(%error, "it was not looked for what is left in the HSM");
                return;
            }
        };
        for object in objects {
            if let Err(error) = self.destroy_in_hsm(hsm, &object, now).await {
                tracing::warn!(version = object.version.0, %error, "a key is still in the HSM");
                return;
            }
        }
    }

    /// Claims it first: what was listed a moment ago may be in use by now, and what is claimed is not.
    async fn destroy_in_hsm(
        &self,
        hsm: &Arc<Hsm>,
        object: &HsmObject,
        now: Timestamp,
    ) -> Result<(), KmsError> {
        let mut write = self.store.write().await?;
        let claim = write.claim_hsm_object(&object.version, now).await?;
        self.commit(write).await?;
        if claim == Claim::No {
            return Ok(());
        }
        let caller = service_itself();
        let mut record = Record::begin(&self.trail, "DestroyKeyInHsm", &caller)?;
        record.key(&object.key);
        match hsm.destroy(&object.version).await {
            Ok(true) => record.end(&Ok(())),
            // Whoever tried before may have been killed, or was not told by the HSM: the line is owed.
            Ok(false) if claim == Claim::Again => record.end(&Ok(())),
            // It never came to be.
            Ok(false) => record.withdraw(),
            Err(error) => {
                record.withdraw();
                self.store.give_back_hsm_object(&object.version).await?;
                return Err(error);
            }
        }
        Ok(self.store.forget_hsm_object(&object.version).await?)
    }

    async fn expire_material(&self, key: &KeyId, now: Timestamp) -> Result<bool, KmsError> {
        let mut write = self.store.write().await?;
        let Some(mut record) = write.key(key).await? else {
            return Ok(false);
        };
        if record.key.material_expires.is_none_or(|time| time > now) {
            return Ok(false);
        }
        forget_material(&mut write, &mut record).await?;
        self.commit(write).await?;
        Ok(true)
    }

    async fn rotate_if_due(
        &self,
        key: &KeyId,
        now: Timestamp,
        rotated: ProtectionLevel,
    ) -> Result<bool, KmsError> {
        let is_due = |record: &crate::kms::store::keys::KeyRecord| {
            record.key.state == KeyState::Enabled
                && record.key.rotation.next.is_some_and(|next| next <= now)
        };
        let record = self.store.key(key).await?;
        if !record.is_some_and(|record| is_due(&record) && record.key.protection == rotated) {
            return Ok(false);
        }
        let rotated = rotate(self, key, now, VersionCause::Schedule, is_due).await?;
        Ok(rotated.is_some())
    }

    /// Adds what was counted to the store, and learns what it is with that of other servers.
    pub(super) async fn add_census(&self) {
        let taken = self.census.take();
        if taken.is_empty() {
            return;
        }
        match self.store.add_counts(&taken).await {
            Ok(produced) => self.census.note_produced(&produced),
            Err(error) => {
                tracing::warn!(%error, "the uses of keys were not added up; trying again");
                self.census.put_back(taken);
            }
        }
    }

    async fn clear_old(&self, now: Timestamp) {
        let cleared = async {
            self.store.drop_old_changes(now).await?;
            self.store.drop_old_seen(now).await?;
            self.store.drop_old_import_tokens(now).await
        };
        if let Err(error) = cleared.await {
            tracing::warn!(%error, "what is old was not cleared away");
        }
    }
}

//! Data keys of files: made ahead for new ones, unwrapped once for those that are opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::crypto::SecretKey;
use crate::format::file_keys;
use crate::format::header::{FileHeader, KeyEpoch, KeySlot};
use crate::format::volume_config::KeyScope;
use crate::keys::{
    DekRequest, DekResult, KeyError, KeyErrorKind, Keyring, KeyringConfig, KeyringStats, Pool,
    Providers,
};
use crate::units::{FileId, VolumeId};

use super::Volume;
use super::audit::Told;
use super::error::VolumeError;
use super::live::LiveConfig;
use super::making::{BeingMade, Moment};
use super::pools::{self, Ahead, FileKeys, Pools};
use super::vault::Vault;
use super::wrapping::{VOLUME_SCHEME, Wrapping};

/// What a new file is made of.
#[derive(Debug)]
pub struct FileMaterial {
    /// Its id.
    pub file_id: FileId,
    /// Its volume; `None` for a file made outside any.
    pub volume_id: Option<VolumeId>,
    /// Its first data key, wrapped.
    pub epoch: KeyEpoch,
    /// The data key.
    pub dek: Arc<SecretKey>,
    /// When it was wrapped: it may be used for as long after that as any other key.
    pub made: Instant,
    /// The tag that makes it a member of its volume.
    pub membership_tag: [u8; 32],
}

/// The material of a new file that is to be found by its name soon.
#[derive(Debug)]
pub struct NewFile {
    /// What it is made of.
    pub material: FileMaterial,
    /// To be held until it is found: a run over all files that begins meanwhile waits for it.
    pub being_made: BeingMade,
}

/// The keyring of a volume, and what is made ahead.
#[derive(Debug)]
pub(super) struct FileKeyring {
    pub(super) keyring: Arc<Keyring>,
    /// Filled from the first new file on: who only reads needs no keys for new files.
    pools: Pools,
    pub(super) wrapping: Arc<Wrapping>,
    ttl: Duration,
    /// Whether nobody has to be waited for, as it was found out for a generation: twice that, and one more if so.
    local: AtomicU64,
}

impl FileKeyring {
    pub(super) fn new(
        keyring: KeyringConfig,
        live: Arc<LiveConfig>,
        vault: Arc<Vault>,
        providers: Arc<Providers>,
        told: Arc<Told>,
    ) -> Self {
        let wrapping = Arc::new(Wrapping {
            volume_id: live.current().volume_id,
            live,
            vault,
            providers,
            told,
        });
        let (unwrapping, asked, ttl) = (Arc::clone(&wrapping), Arc::clone(&wrapping), keyring.ttl);
        // Who opens a file at the last moment needs the rest of the time to have its key asked for again.
        let keyring = KeyringConfig {
            ttl: ttl.saturating_sub(ttl / 10),
            ..keyring
        };
        let keyring = Keyring::new(
            keyring,
            Arc::new(move |request: &DekRequest| unwrapping.unwrap(request)),
            Arc::new(move |request: &DekRequest| asked.is_at_hand(request)),
        );
        Self {
            keyring: Arc::new(keyring),
            pools: Pools::default(),
            wrapping,
            ttl,
            local: AtomicU64::new(u64::MAX),
        }
    }

    /// The pool of data keys for new files that get these keys.
    pub(super) fn pool(&self, keys: &FileKeys) -> Arc<Pool<Ahead>> {
        self.pools.of(keys, || {
            let (wrapping, made_for) = (Arc::clone(&self.wrapping), keys.clone());
            let is_own = *keys == self.wrapping.live.own_keys();
            // A file made today by a key that was revoked yesterday would outlive it.
            let options = pools::options(wrapping.is_local(keys), is_own).max_age(self.ttl);
            Pool::new(options, Arc::new(move || wrapping.make_ahead(&made_for)))
        })
    }

    /// Takes material of this moment's keys: what was made ahead for others is passed over.
    fn take(
        self: &Arc<Self>,
        folder: impl Fn() -> Option<Vec<u8>> + Send + 'static,
        done: impl FnOnce(Result<NewFile, VolumeError>) + Send + 'static,
    ) {
        let files = Arc::clone(self);
        // First: keys that are chosen by what comes with the next generation are chosen anew.
        let chosen_at = self.wrapping.live.generation();
        let plan = match self.wrapping.live.key_plan() {
            Ok(plan) => plan,
            Err(error) => return done(Err(error)),
        };
        let Some(keys) = plan.of_new_file(&folder) else {
            return done(Err(VolumeError::FolderUnknown));
        };
        self.pool(keys).take(move |ahead| {
            let ahead = match ahead {
                Ok(ahead) => ahead,
                Err(error) => return done(Err(error.into())),
            };
            let being_made = files.wrapping.live.begin_file(chosen_at);
            match being_made.filter(|_| ahead.generation == chosen_at) {
                Some(being_made) => done(Ok(NewFile {
                    material: ahead.material,
                    being_made,
                })),
                None => {
                    // Boxed, or its type would have no end.
                    let done: Box<dyn FnOnce(_) + Send> = Box::new(done);
                    files.take(folder, done);
                }
            }
        });
    }

    /// Whether every file's key is to be had without waiting for a provider, by the keys of this moment.
    fn waits_for_nobody(&self) -> bool {
        let generation = self.wrapping.live.generation();
        let known = self.local.load(Ordering::Acquire);
        if known >> 1 == generation {
            return known & 1 == 1;
        }
        let (live, wrapping) = (&self.wrapping.live, &self.wrapping);
        let plan = live.key_plan();
        let own = |keys: &FileKeys| keys.scope == KeyScope::Volume;
        // Keys that are on their way out open files for as long as they are.
        let local = plan.is_ok_and(|plan| {
            plan.all().all(own) && live.current().former_keys.is_empty()
                || wrapping.providers.all_local(&live.file_openers())
        });
        let found = (generation << 1) | u64::from(local);
        self.local.store(found, Ordering::Release);
        local
    }

    /// Forgets every key, and every failure to get one.
    pub(super) fn clear(&self) {
        self.keyring.clear();
        self.clear_ahead();
    }

    /// What was wrapped up to now gets into no new file.
    pub(super) fn outdate(&self) {
        self.wrapping.live.outdate();
        self.clear_ahead();
    }

    fn clear_ahead(&self) {
        match self.wrapping.live.key_plan() {
            Ok(plan) => self.pools.clear(|keys| plan.all().any(|used| used == keys)),
            Err(_error) => self.pools.clear(|_keys| false),
        }
    }

    /// The data key of a request, if it is in the keyring.
    pub(super) fn cached(&self, request: &DekRequest) -> Option<Arc<SecretKey>> {
        let key = self.keyring.cached(&request.file, request.epoch)?;
        file_keys::commitment_matches(&key, &request.file, &request.commitment).then_some(key)
    }

    /// Unwraps a data key on this thread, past the keyring.
    pub(super) fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
        self.wrapping.unwrap(request)
    }

    #[cfg(test)]
    pub(super) fn pool_count(&self) -> usize {
        self.pools.count()
    }

    pub(super) fn stats(&self) -> KeyringStats {
        self.keyring.stats()
    }
}

impl Volume {
    /// Material for a new file in the folder whose path `folder` finds, from the pool of its keys: `done` is called at once
    /// where one is ready, else on the pool's thread. `folder` is asked, perhaps there, once it is known that the path
    /// decides on the keys; where it finds none, it is [`VolumeError::FolderUnknown`].
    pub fn new_file(
        &self,
        folder: impl Fn() -> Option<Vec<u8>> + Send + 'static,
        done: impl FnOnce(Result<NewFile, VolumeError>) + Send + 'static,
    ) {
        let keyring = Arc::clone(&self.files.keyring);
        self.live.refresh();
        self.files.take(folder, move |new| {
            if let Ok(NewFile { material, .. }) = &new {
                keyring.insert(
                    material.file_id,
                    material.epoch.epoch,
                    Arc::clone(&material.dek),
                    material.made,
                );
            }
            done(new);
        });
    }

    /// Whether the keys of a new file are still those that new files get: another mount of a shared volume may have changed
    /// them, and its run over all files does not wait for this mount's.
    pub fn is_of_this_moment(&self, being_made: &BeingMade) -> bool {
        self.is_still(being_made.moment())
    }

    /// Whether new files still get the keys that they got then, as [`Volume::is_of_this_moment`] asks of one.
    pub fn is_still(&self, moment: Moment) -> bool {
        self.live.refresh();
        moment == self.moment()
    }

    /// The present moment, as far as this process knows.
    pub fn moment(&self) -> Moment {
        Moment(self.live.generation())
    }

    /// The data keys of every epoch of a header, newest last, if the keyring has them all.
    pub fn cached_keys(&self, header: &FileHeader) -> Option<Vec<Arc<SecretKey>>> {
        let cached = |epoch: &KeyEpoch| {
            // The keyring is asked by file id, which an attacker can copy: the commitment says whose key it is.
            let key = self.files.keyring.cached(&header.file_id, epoch.epoch)?;
            file_keys::commitment_matches(&key, &header.file_id, &epoch.commitment).then_some(key)
        };
        header.epochs.iter().map(cached).collect()
    }

    /// Unwraps the data keys of every epoch of a header, newest last. `done` may be called later, on another thread.
    pub fn fetch_keys(
        &self,
        header: FileHeader,
        done: impl FnOnce(FileHeader, Result<Vec<Arc<SecretKey>>, VolumeError>) + Send + 'static,
    ) {
        let count = header.epochs.len();
        fetch_from(
            Asking::WhereMissing,
            &self.files.keyring,
            header,
            Vec::with_capacity(count),
            Box::new(done),
        );
    }

    /// As [`Volume::fetch_keys`], and has the provider asked of each key whether it may still be used.
    pub fn confirm_keys(
        &self,
        header: FileHeader,
        done: impl FnOnce(FileHeader, Result<Vec<Arc<SecretKey>>, VolumeError>) + Send + 'static,
    ) {
        fetch_from(
            Asking::Anew,
            &self.files.keyring,
            header,
            Vec::new(),
            Box::new(done),
        );
    }

    /// When the provider was last asked for the keys of a header that are kept; `None` where one is not.
    pub fn keys_confirmed_at(&self, header: &FileHeader) -> Option<Instant> {
        let asked = |epoch: &KeyEpoch| {
            let keyring = &self.files.keyring;
            keyring.confirmed_at(&header.file_id, epoch.epoch)
        };
        let times: Option<Vec<_>> = header.epochs.iter().map(asked).collect();
        times?.into_iter().min()
    }

    /// Whether the volume key alone opens the file, so that no provider can say anything of its own about it.
    pub fn opens_by_volume_key(header: &FileHeader) -> bool {
        let by_volume = |slot: &KeySlot| slot.key_uri.scheme() == VOLUME_SCHEME;
        let mut epochs = header.epochs.iter();
        epochs.all(|epoch| epoch.slots.iter().any(by_volume))
    }

    /// Whether a file's key is to be had without waiting for a provider.
    pub fn keys_are_local(&self) -> bool {
        self.files.waits_for_nobody()
    }

    /// How long a key is used without its provider being asked.
    pub fn key_ttl(&self) -> Duration {
        self.files.ttl
    }
}

impl Volume {
    /// As [`Volume::fetch_keys`], waited for: not for a thread that serves requests.
    ///
    /// # Errors
    /// [`VolumeError::Key`].
    pub fn fetch_keys_blocking(
        &self,
        header: FileHeader,
    ) -> Result<(FileHeader, Vec<Arc<SecretKey>>), VolumeError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.fetch_keys(header, move |header, keys| {
            if sender.send(keys.map(|keys| (header, keys))).is_err() {
                tracing::debug!("nobody waits for the keys any more");
            }
        });
        receiver.recv().unwrap_or_else(|_gone| {
            Err(KeyError::new(KeyErrorKind::Unavailable, "the key worker ended").into())
        })
    }
}

type Done = Box<dyn FnOnce(FileHeader, Result<Vec<Arc<SecretKey>>, VolumeError>) + Send>;

/// When the provider is asked for a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    Anew,
    WhereMissing,
}

/// What is asked for the data key of an epoch.
pub(super) fn request_of(header: &FileHeader, epoch: &KeyEpoch) -> DekRequest {
    DekRequest {
        file: header.file_id,
        volume: header.volume_id,
        epoch: epoch.epoch,
        commitment: epoch.commitment,
        slots: epoch.slots.clone(),
    }
}

/// Fetches one epoch's key after the other: nearly always there is but one.
fn fetch_from(
    asking: Asking,
    keyring: &Arc<Keyring>,
    header: FileHeader,
    mut keys: Vec<Arc<SecretKey>>,
    done: Done,
) {
    let Some(epoch) = header.epochs.get(keys.len()) else {
        return done(header, Ok(keys));
    };
    let request = request_of(&header, epoch);
    let next = Arc::clone(keyring);
    let go_on = move |key: DekResult| match key {
        Ok(key) => {
            keys.push(key);
            fetch_from(asking, &next, header, keys, done);
        }
        Err(error) => done(header, Err(error.into())),
    };
    match asking {
        Asking::Anew => keyring.confirm(request, go_on),
        Asking::WhereMissing => keyring.fetch(request, go_on),
    }
}

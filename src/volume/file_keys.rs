//! Data keys of files: made ahead for new ones, unwrapped once for those that are opened.

use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::crypto::{LockedMemoryError, SecretKey, kwp, random};
use crate::format::file_keys;
use crate::format::header::{FileHeader, KeyEpoch, KeySlot};
use crate::format::volume_config::KeyScope;
use crate::keys::{
    DekRequest, DekResult, EncryptionContext, KeyError, KeyErrorKind, KeyProvider, Keyring,
    KeyringConfig, KeyringStats, NamedKey, Pool, PoolOptions, Providers, WrappedDek,
};
use crate::units::{EpochId, FileId, KeyUri, VolumeId};

use super::Volume;
use super::audit::{Attempt, Told};
use super::error::VolumeError;
use super::live::LiveConfig;
use super::secrets::VolumeSecrets;
use super::vault::Vault;

/// The scheme of a slot that the volume key itself wraps.
pub const VOLUME_SCHEME: &str = "volume";
/// Data keys made ahead where that asks no service: refilled below the first, up to the second.
pub(super) const POOL: (usize, usize) = (64, 256);
const FIRST_EPOCH: EpochId = EpochId(1);

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

/// Material that was made ahead, for the keys of this generation.
#[derive(Debug)]
pub(super) struct Ahead {
    material: FileMaterial,
    generation: u64,
}

/// The keyring and the pool of a volume.
#[derive(Debug)]
pub(super) struct FileKeyring {
    pub(super) keyring: Arc<Keyring>,
    /// Filled from the first new file on: who only reads needs no keys for new files.
    pool: OnceLock<Pool<Ahead>>,
    wrapping: Arc<Wrapping>,
    ttl: Duration,
}

/// What it takes to make and unwrap data keys.
#[derive(Debug)]
struct Wrapping {
    volume_id: VolumeId,
    scope: KeyScope,
    live: Arc<LiveConfig>,
    vault: Arc<Vault>,
    providers: Arc<Providers>,
    told: Arc<Told>,
}

impl FileKeyring {
    pub(super) fn new(
        keyring: KeyringConfig,
        live: Arc<LiveConfig>,
        vault: Arc<Vault>,
        providers: Arc<Providers>,
        told: Arc<Told>,
    ) -> Self {
        let config = live.current();
        let local = config.key_scope == KeyScope::Volume || providers.all_local(&config.keys);
        let wrapping = Arc::new(Wrapping {
            volume_id: config.volume_id,
            scope: config.key_scope,
            live,
            vault,
            providers,
            told,
        });
        let (unwrapping, ttl) = (Arc::clone(&wrapping), keyring.ttl);
        // Who opens a file at the last moment needs the rest of the time to have its key asked for again.
        let keyring = KeyringConfig {
            ttl: ttl.saturating_sub(ttl / 10),
            ..keyring
        };
        let keyring = Keyring::new(
            keyring,
            Arc::new(move |request: &DekRequest| unwrapping.unwrap(request)),
            local,
        );
        Self {
            keyring: Arc::new(keyring),
            pool: OnceLock::new(),
            wrapping,
            ttl,
        }
    }

    /// The pool of data keys for new files.
    pub(super) fn pool(&self) -> &Pool<Ahead> {
        self.pool.get_or_init(|| {
            let wrapping = Arc::clone(&self.wrapping);
            let options = match self.keyring.is_local() {
                true => PoolOptions::fixed(POOL.0, POOL.1),
                false => PoolOptions::growing(),
            };
            // A file made today by a key that was revoked yesterday would outlive it.
            let options = options.max_age(self.ttl);
            Pool::new(options, Arc::new(move || wrapping.make_ahead()))
        })
    }

    /// Takes material of this moment's keys: what was made ahead for others is passed over.
    fn take(self: &Arc<Self>, done: impl FnOnce(Result<FileMaterial, KeyError>) + Send + 'static) {
        let files = Arc::clone(self);
        self.pool().take(move |ahead| match ahead {
            Ok(ahead) if ahead.generation != files.wrapping.live.generation() => {
                // Boxed, or its type would have no end.
                let done: Box<dyn FnOnce(_) + Send> = Box::new(done);
                files.take(done);
            }
            ahead => done(ahead.map(|ahead| ahead.material)),
        });
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
        if let Some(pool) = self.pool.get() {
            pool.clear();
        }
    }

    /// The data key of a request, if it is in the keyring.
    pub(super) fn cached(&self, request: &DekRequest) -> Option<Arc<SecretKey>> {
        let key = self.keyring.cached(&request.file, request.epoch)?;
        file_keys::commitment_matches(&key, &request.file, &request.commitment).then_some(key)
    }

    /// The slot of a data key that the volume key wraps.
    pub(super) fn wrap_by_volume(&self, dek: &SecretKey) -> Result<Vec<KeySlot>, KeyError> {
        let secrets = self.wrapping.vault.secrets()?;
        wrap_by_volume(dek, self.wrapping.volume_id, &secrets)
    }

    /// Unwraps a data key on this thread, past the keyring.
    pub(super) fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
        self.wrapping.unwrap(request)
    }

    pub(super) fn stats(&self) -> KeyringStats {
        self.keyring.stats()
    }
}

impl Volume {
    /// Material for a new file, from the pool: `done` is called at once where one is ready, else on the pool's thread.
    pub fn new_file(&self, done: impl FnOnce(Result<FileMaterial, VolumeError>) + Send + 'static) {
        let keyring = Arc::clone(&self.files.keyring);
        self.live.refresh();
        self.files.take(move |material| {
            if let Ok(material) = &material {
                keyring.insert(
                    material.file_id,
                    material.epoch.epoch,
                    Arc::clone(&material.dek),
                    material.made,
                );
            }
            done(material.map_err(VolumeError::from));
        });
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
        self.files.keyring.is_local()
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
    let request = DekRequest {
        file: header.file_id,
        volume: header.volume_id,
        epoch: epoch.epoch,
        commitment: epoch.commitment,
        slots: epoch.slots.clone(),
    };
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

impl Wrapping {
    fn make_ahead(&self) -> Result<Ahead, KeyError> {
        let generation = self.live.generation();
        Ok(Ahead {
            material: self.make()?,
            generation,
        })
    }

    fn make(&self) -> Result<FileMaterial, KeyError> {
        let (secrets, made) = (self.vault.secrets()?, Instant::now());
        let (dek, file_id) = (
            SecretKey::random().map_err(no_locked_memory)?,
            FileId(random::array()),
        );
        let slots = wrap_for_file(
            self.scope,
            &self.live.current().keys,
            &dek,
            self.volume_id,
            file_id,
            &secrets,
            &self.providers,
        )?;
        let commitment = file_keys::commitment(&dek, &file_id);
        Ok(FileMaterial {
            file_id,
            volume_id: Some(self.volume_id),
            membership_tag: secrets.membership.tag(&[&file_id.0, &commitment]),
            epoch: KeyEpoch {
                epoch: FIRST_EPOCH,
                commitment,
                slots,
            },
            dek: Arc::new(dek),
            made,
        })
    }

    fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
        self.vault.secrets()?;
        self.told.may_ask(request.file)?;
        let tell = |attempt: &Attempt<'_>| self.told.tell(request.file, attempt);
        let opens = |key: &SecretKey| {
            file_keys::commitment_matches(key, &request.file, &request.commitment)
        };
        let mut by_volume = request
            .slots
            .iter()
            .filter_map(|slot| Some((slot, self.unwrap_by_volume(slot)?)));
        if let Some((slot, key)) = by_volume.find(|(_slot, key)| opens(key)) {
            let result = Ok(None);
            tell(&Attempt { slot, result });
            return Ok(key);
        }
        let volume = request.volume.unwrap_or(VolumeId::NONE);
        let context = EncryptionContext {
            volume,
            file: Some(request.file),
        };
        let mut slots = self.known(&request.slots);
        if slots.is_empty() {
            // Another mount may have given the volume a key since.
            self.live.refresh();
            slots = self.known(&request.slots);
        }
        if slots.is_empty() {
            let message =
                "the file names no key of this volume, nor was its data key wrapped by it";
            return Err(KeyError::new(KeyErrorKind::Corrupt, message));
        }
        unwrap_slots_told(&slots, &context, &self.providers, opens, tell)
    }

    /// The slots of key URIs that `volume.json` names. Slots stand under no tag: a stranger's URI in one must not make
    /// this process open files, ask for passphrases or call hosts of the stranger's choice.
    fn known(&self, slots: &[KeySlot]) -> Vec<KeySlot> {
        let config = self.live.current();
        let has_slot = |uri: &KeyUri| config.slots.iter().any(|slot| slot.key_uri == *uri);
        let known =
            |slot: &&KeySlot| has_slot(&slot.key_uri) || config.keys.contains(&slot.key_uri);
        slots.iter().filter(known).cloned().collect()
    }

    /// The data key of a slot that the volume key wraps; `None` for other slots.
    fn unwrap_by_volume(&self, slot: &KeySlot) -> Option<SecretKey> {
        let own = slot.key_uri.scheme() == VOLUME_SCHEME;
        let secrets = own.then(|| self.vault.secrets().ok())??;
        kwp::unwrap(&secrets.dek_wrap, &slot.wrapped_dek).ok()
    }
}

/// The slots of a file's data key: one by the volume, or one by each key URI.
pub(super) fn wrap_for_file(
    scope: KeyScope,
    keys: &[KeyUri],
    dek: &SecretKey,
    volume: VolumeId,
    file: FileId,
    secrets: &VolumeSecrets,
    providers: &Providers,
) -> Result<Vec<KeySlot>, KeyError> {
    match scope {
        KeyScope::Volume => wrap_by_volume(dek, volume, secrets),
        KeyScope::File => wrap_slots(
            keys,
            dek,
            &EncryptionContext {
                volume,
                file: Some(file),
            },
            providers,
        ),
    }
}

/// The one slot of a data key that the volume key wraps.
fn wrap_by_volume(
    dek: &SecretKey,
    volume: VolumeId,
    secrets: &VolumeSecrets,
) -> Result<Vec<KeySlot>, KeyError> {
    let key_uri = format!("{VOLUME_SCHEME}:{volume}")
        .parse()
        .map_err(|error| {
            KeyError::new(KeyErrorKind::Config, "the volume's own key URI").caused_by(error)
        })?;
    let wrapped_dek = kwp::wrap(&secrets.dek_wrap, dek);
    Ok(vec![KeySlot {
        key_uri,
        key_version: String::new(),
        wrapped_dek,
    }])
}

/// One slot for each key URI.
pub fn wrap_slots(
    keys: &[KeyUri],
    key: &SecretKey,
    context: &EncryptionContext,
    providers: &Providers,
) -> Result<Vec<KeySlot>, KeyError> {
    let wrap = |uri: &KeyUri| {
        let wrapped = providers.open(uri)?.wrap(key, context)?;
        Ok(KeySlot {
            key_uri: uri.clone(),
            key_version: wrapped.key_version,
            wrapped_dek: wrapped.bytes,
        })
    };
    keys.iter().map(wrap).collect()
}

/// The key that some slot holds and that `opens` what it is for. Slots are tried in the order of their last success,
/// and one that fails does not stop the next. Those of keys that may not be used are passed over.
///
/// # Errors
/// What the slot said that opened last: it is the one that this host goes by. Where none ever opened, the failure
/// that gives most hope. `Corrupt` where a slot gave a key that does not open. The others' words follow its own.
pub fn unwrap_slots(
    slots: &[KeySlot],
    context: &EncryptionContext,
    providers: &Providers,
    opens: impl Fn(&SecretKey) -> bool,
) -> Result<SecretKey, KeyError> {
    unwrap_slots_told(slots, context, providers, opens, |_attempt| {})
}

/// As [`unwrap_slots`]; `tell` hears what each slot that was tried came to.
pub(super) fn unwrap_slots_told(
    slots: &[KeySlot],
    context: &EncryptionContext,
    providers: &Providers,
    opens: impl Fn(&SecretKey) -> bool,
    tell: impl Fn(&Attempt<'_>),
) -> Result<SecretKey, KeyError> {
    let usable = |slot: &&KeySlot| providers.may_use(&slot.key_uri);
    let mut ordered: Vec<_> = slots.iter().filter(usable).collect();
    if let (true, Some(slot)) = (ordered.is_empty(), slots.first()) {
        let message = "none of its keys is among those that were given (--key)";
        return Err(KeyError::config(message).at(&slot.key_uri));
    }
    ordered.sort_by_key(|slot| std::cmp::Reverse(providers.last_success(&slot.key_uri)));
    let mut failure: Option<KeyError> = None;
    let mut goes_by_first = false;
    for (nth, slot) in ordered.into_iter().enumerate() {
        let unwrapped = unwrap_slot(slot, context, providers, &opens);
        let result = unwrapped
            .as_ref()
            .map(|(_key, request_id)| request_id.clone());
        tell(&Attempt { slot, result });
        let error = match unwrapped {
            Ok((key, _request_id)) => {
                providers.note_success(&slot.key_uri);
                return Ok(key);
            }
            Err(error) => error,
        };
        goes_by_first |= nth == 0 && providers.last_success(&slot.key_uri) > 0;
        let keeps = |kept: &KeyError| goes_by_first || hope(kept) >= hope(&error);
        failure = Some(match failure {
            None => error,
            Some(kept) if keeps(&kept) => kept.after(&error),
            Some(other) => error.after(&other),
        });
    }
    Err(failure.unwrap_or_else(|| KeyError::new(KeyErrorKind::Corrupt, "there is no key slot")))
}

fn unwrap_slot(
    slot: &KeySlot,
    context: &EncryptionContext,
    providers: &Providers,
    opens: &impl Fn(&SecretKey) -> bool,
) -> Result<NamedKey, KeyError> {
    let wrapped = WrappedDek {
        key_version: slot.key_version.clone(),
        bytes: slot.wrapped_dek.clone(),
    };
    let provider = providers.open(&slot.key_uri)?;
    let (key, request_id) = provider.unwrap_named(&wrapped, context)?;
    if opens(&key) {
        return Ok((key, request_id));
    }
    let error = KeyError::new(KeyErrorKind::Corrupt, "the slot holds another key");
    Err(error.at(&slot.key_uri).of_request(request_id))
}

/// How likely it is that a slot which failed so opens another time.
fn hope(error: &KeyError) -> u8 {
    match error.kind() {
        KeyErrorKind::Unavailable => 5,
        KeyErrorKind::Revoked => 4,
        KeyErrorKind::Denied => 3,
        KeyErrorKind::NotFound => 2,
        KeyErrorKind::Config => 1,
        KeyErrorKind::Corrupt => 0,
    }
}

fn no_locked_memory(error: LockedMemoryError) -> KeyError {
    KeyError::new(KeyErrorKind::Unavailable, "no locked memory for a key").caused_by(error)
}

//! Data keys of files: made ahead for new ones, unwrapped once for those that are opened.

use std::sync::{Arc, OnceLock, mpsc};

use crate::crypto::{LockedMemoryError, SecretKey, kwp, random};
use crate::format::file_keys;
use crate::format::header::{FileHeader, KeyEpoch, KeySlot};
use crate::format::volume_config::{KeyScope, VolumeConfig};
use crate::keys::{
    DekRequest, EncryptionContext, KeyError, KeyErrorKind, KeyProvider, Keyring, KeyringConfig,
    KeyringStats, Pool, Providers, WrappedDek,
};
use crate::policy::NewFileKeys;
use crate::units::{EpochId, FileId, KeyUri, VolumeId};

use super::Volume;
use super::audit::{Attempt, Told};
use super::error::VolumeError;
use super::folder_keys::FolderPools;
use super::secrets::VolumeSecrets;

/// The scheme of a slot that the volume key itself wraps.
pub const VOLUME_SCHEME: &str = "volume";
/// Data keys made ahead: refilled below the first, up to the second.
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
    /// The tag that makes it a member of its volume.
    pub membership_tag: [u8; 32],
}

/// The keyring and the pool of a volume.
#[derive(Debug)]
pub(super) struct FileKeyring {
    pub(super) keyring: Arc<Keyring>,
    /// Filled from the first new file on: who only reads needs no keys for new files.
    pool: OnceLock<Pool<FileMaterial>>,
    /// The pools of folders with keys of their own.
    pub(super) folders: FolderPools,
    pub(super) wrapping: Arc<Wrapping>,
    /// Whether the keyring asks on the thread that wants the key.
    pub(super) local: bool,
}

/// What it takes to make and unwrap data keys.
#[derive(Debug)]
pub(super) struct Wrapping {
    volume_id: VolumeId,
    scope: KeyScope,
    keys: Vec<KeyUri>,
    /// The key URIs that `volume.json` names. Slots stand under no tag: a stranger's URI in one must not make
    /// this process open files, ask for passphrases or call hosts of the stranger's choice.
    pub(super) known: Vec<KeyUri>,
    pub(super) secrets: Arc<VolumeSecrets>,
    pub(super) providers: Arc<Providers>,
    told: Arc<Told>,
}

impl FileKeyring {
    pub(super) fn new(
        keyring: KeyringConfig,
        config: &VolumeConfig,
        secrets: Arc<VolumeSecrets>,
        providers: Arc<Providers>,
        told: Arc<Told>,
    ) -> Self {
        let mut local = config.key_scope == KeyScope::Volume || providers.all_local(&config.keys);
        let wrapping = Arc::new(Wrapping {
            volume_id: config.volume_id,
            scope: config.key_scope,
            keys: config.keys.clone(),
            known: config
                .slots
                .iter()
                .map(|slot| &slot.key_uri)
                .chain(&config.keys)
                .cloned()
                .collect(),
            secrets,
            providers,
            told,
        });
        // A policy may give folders any of these.
        if config.policy.is_some() {
            local &= wrapping.providers.all_local(&wrapping.known);
        }
        let unwrapping = Arc::clone(&wrapping);
        let keyring = Keyring::new(
            keyring,
            Arc::new(move |request: &DekRequest| unwrapping.unwrap(request)),
            local,
        );
        Self {
            keyring: Arc::new(keyring),
            pool: OnceLock::new(),
            folders: FolderPools::default(),
            local,
            wrapping,
        }
    }

    /// The pool of data keys for new files.
    pub(super) fn pool(&self) -> &Pool<FileMaterial> {
        self.pool.get_or_init(|| {
            let wrapping = Arc::clone(&self.wrapping);
            Pool::new(POOL.0, POOL.1, Arc::new(move || wrapping.make()))
        })
    }

    pub(super) fn stats(&self) -> KeyringStats {
        self.keyring.stats()
    }
}

impl Volume {
    /// Material for a new file, from the pool: `done` is called at once where one is ready, else on the pool's thread.
    pub fn new_file(&self, done: impl FnOnce(Result<FileMaterial, VolumeError>) + Send + 'static) {
        self.take_from(self.files.pool(), done);
    }

    /// Material from one of the pools.
    pub(super) fn take_from(
        &self,
        pool: &Pool<FileMaterial>,
        done: impl FnOnce(Result<FileMaterial, VolumeError>) + Send + 'static,
    ) {
        let keyring = Arc::clone(&self.files.keyring);
        pool.take(move |material| {
            if let Ok(material) = &material {
                keyring.insert(
                    material.file_id,
                    material.epoch.epoch,
                    Arc::clone(&material.dek),
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
            &self.files.keyring,
            header,
            Vec::with_capacity(count),
            Box::new(done),
        );
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

/// Fetches one epoch's key after the other: nearly always there is but one.
fn fetch_from(
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
    keyring.fetch(request, move |key| match key {
        Ok(key) => {
            keys.push(key);
            fetch_from(&next, header, keys, done);
        }
        Err(error) => done(header, Err(error.into())),
    });
}

impl Wrapping {
    fn make(&self) -> Result<FileMaterial, KeyError> {
        self.make_by(self.scope, &self.keys)
    }

    /// The scope and keys that a folder's choice comes to.
    pub(super) fn choice<'a>(&'a self, keys: &'a NewFileKeys) -> (KeyScope, &'a [KeyUri]) {
        match keys.keys.as_slice() {
            [] => (keys.scope, &self.keys),
            own => (keys.scope, own),
        }
    }

    pub(super) fn make_by(
        &self,
        scope: KeyScope,
        keys: &[KeyUri],
    ) -> Result<FileMaterial, KeyError> {
        let (dek, file_id) = (
            SecretKey::random().map_err(no_locked_memory)?,
            FileId(random::array()),
        );
        let slots = wrap_for_file(
            scope,
            keys,
            &dek,
            self.volume_id,
            file_id,
            &self.secrets,
            &self.providers,
        )?;
        let commitment = file_keys::commitment(&dek, &file_id);
        Ok(FileMaterial {
            file_id,
            volume_id: Some(self.volume_id),
            membership_tag: self.secrets.membership.tag(&[&file_id.0, &commitment]),
            epoch: KeyEpoch {
                epoch: FIRST_EPOCH,
                commitment,
                slots,
            },
            dek: Arc::new(dek),
        })
    }

    fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
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
        let known = |slot: &&KeySlot| self.known.contains(&slot.key_uri);
        let slots: Vec<_> = request.slots.iter().filter(known).cloned().collect();
        if slots.is_empty() {
            let message =
                "the file names no key of this volume, nor was its data key wrapped by it";
            return Err(KeyError::new(KeyErrorKind::Corrupt, message));
        }
        unwrap_slots_told(&slots, &context, &self.providers, opens, tell)
    }

    /// The data key of a slot that the volume key wraps; `None` for other slots.
    fn unwrap_by_volume(&self, slot: &KeySlot) -> Option<SecretKey> {
        let own = slot.key_uri.scheme() == VOLUME_SCHEME;
        own.then(|| kwp::unwrap(&self.secrets.dek_wrap, &slot.wrapped_dek).ok())?
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
        KeyScope::Volume => {
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

/// The key that some slot holds and that `opens` what it is for. A slot that fails does not stop the next.
///
/// # Errors
/// The last slot's failure; `Corrupt` where a slot gave a key that does not open.
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
    let mut failure = KeyError::new(KeyErrorKind::Corrupt, "there is no key slot");
    for slot in slots {
        let wrapped = WrappedDek {
            key_version: slot.key_version.clone(),
            bytes: slot.wrapped_dek.clone(),
        };
        match providers
            .open(&slot.key_uri)
            .and_then(|provider| provider.unwrap_named(&wrapped, context))
        {
            Ok((key, request_id)) if opens(&key) => {
                let result = Ok(request_id);
                tell(&Attempt { slot, result });
                return Ok(key);
            }
            Ok(_) => {
                failure = KeyError::new(KeyErrorKind::Corrupt, "the slot holds another key")
                    .at(&slot.key_uri);
            }
            Err(error) => failure = error,
        }
        let result = Err(&failure);
        tell(&Attempt { slot, result });
    }
    Err(failure)
}

fn no_locked_memory(error: LockedMemoryError) -> KeyError {
    KeyError::new(KeyErrorKind::Unavailable, "no locked memory for a key").caused_by(error)
}

//! Opening a volume: its lock, its key, its configuration.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::Event;
use crate::crypto::{Label, SecretKey, derive};
use crate::format::volume_config::{self, UnverifiedConfig, VolumeConfig};
use crate::keys::{EncryptionContext, KeyError, KeyErrorKind, KeyringConfig, Providers};
use crate::storage::{LockGuard, LockKind, Node};

use super::Volume;
use super::audit::{Attempt, Told};
use super::error::VolumeError;
use super::file_keys::{FileKeyring, unwrap_slots_told};
use super::meta::{self, InUse, name};
use super::secrets::VolumeSecrets;

/// Who else may have the volume open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: the kernel may cache for hours.
    Exclusive,
    /// Other sharers.
    Shared,
}

/// How a volume is to be opened.
#[derive(Debug, Clone)]
pub struct UnlockOptions {
    /// Who else may have it open.
    pub sharing: Sharing,
    /// Nothing is written to it.
    pub read_only: bool,
    /// Data keys kept in the keyring, at most.
    pub key_cache_entries: usize,
    /// How long a data key may be used before the provider is asked again.
    pub key_cache_ttl: Duration,
}

impl Default for UnlockOptions {
    fn default() -> Self {
        Self {
            sharing: Sharing::Exclusive,
            read_only: false,
            key_cache_entries: 16_384,
            key_cache_ttl: Duration::from_secs(300),
        }
    }
}

/// Opens the volume in `path`.
///
/// # Errors
/// [`VolumeError::NotAVolume`], [`VolumeError::NoConfig`], [`VolumeError::InUse`], [`VolumeError::WrongKey`],
/// [`VolumeError::Config`] where `volume.json` was changed or is newer than this program, and what a key provider answers.
pub fn open(
    path: &Path,
    options: &UnlockOptions,
    providers: Arc<Providers>,
) -> Result<Volume, VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    let root = Node::open_root(path).map_err(io("opening the folder"))?;
    open_in(root, path, options, providers)
}

/// As [`open`], of the folder that `root` is a handle of, perhaps an observed one; `path` is for messages.
///
/// # Errors
/// As [`open`].
pub fn open_in(
    root: Node,
    path: &Path,
    options: &UnlockOptions,
    providers: Arc<Providers>,
) -> Result<Volume, VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    let root = Arc::new(root);
    let folder = match root.child(&name(meta::FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(VolumeError::NotAVolume(path.to_owned()));
        }
        folder => Arc::new(folder.map_err(io("opening .envelopefs"))?),
    };
    let config = read_config(path, &folder)?;
    let lock = lock(path, &folder, options)?;
    let (volume_key, told) = unlock_volume_key(&config, &providers)?;
    let audit_key = derive(&volume_key, &config.volume_id().0, Label::VolumeAudit)?;
    let told = Arc::new(Told::new(audit_key, told));
    let secrets = Arc::new(VolumeSecrets::derive(&volume_key, &config.volume_id())?);
    let config = config.verify(&secrets.config)?;
    let (in_use, unclean) = match options.read_only || options.sharing == Sharing::Shared {
        true => (None, None),
        false => InUse::set(&folder).map(|(mark, earlier)| (Some(mark), earlier))?,
    };
    let keyring = KeyringConfig {
        entries: options.key_cache_entries,
        ttl: options.key_cache_ttl,
        workers: WORKERS,
    };
    let files = FileKeyring::new(
        keyring,
        &config,
        Arc::clone(&secrets),
        Arc::clone(&providers),
        Arc::clone(&told),
    );
    Ok(Volume {
        root,
        folder,
        config,
        secrets,
        files,
        told,
        providers,
        unclean,
        in_use,
        config_writes: parking_lot::Mutex::default(),
        _lock: lock,
    })
}

/// Threads that wait for key providers.
const WORKERS: usize = 4;

pub(super) fn read_config(path: &Path, folder: &Node) -> Result<UnverifiedConfig, VolumeError> {
    match folder.read_file(&name(meta::CONFIG), volume_config::MAX_LEN) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VolumeError::NoConfig(path.to_owned()))
        }
        bytes => {
            let bytes = bytes.map_err(VolumeError::io(format!(
                "{}: reading volume.json",
                path.display()
            )))?;
            Ok(VolumeConfig::decode(&bytes)?)
        }
    }
}

/// The lock; `None` where nothing may be written and its file is not there, as in a copy.
fn lock(
    path: &Path,
    folder: &Node,
    options: &UnlockOptions,
) -> Result<Option<LockGuard>, VolumeError> {
    let kind = match options.sharing {
        Sharing::Exclusive => LockKind::Exclusive,
        Sharing::Shared => LockKind::Shared,
    };
    let is_missing = || {
        let stat = folder.stat_child(&name(meta::LOCK));
        stat.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if options.read_only && is_missing() {
        return Ok(None);
    }
    match folder.lock_file(&name(meta::LOCK), kind) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(VolumeError::InUse(path.to_owned()))
        }
        guard => guard.map(Some).map_err(VolumeError::io(format!(
            "{}: locking the volume",
            path.display()
        ))),
    }
}

/// Any one slot is enough. A key that some slot gives but that is not the volume's means a wrong provider.
fn unlock_volume_key(
    config: &UnverifiedConfig,
    providers: &Providers,
) -> Result<(SecretKey, Vec<Event>), VolumeError> {
    let told = RefCell::new(Vec::new());
    let tell = |attempt: &Attempt<'_>| {
        let event = attempt.event("volume-key", "mount");
        told.borrow_mut().push(event);
    };
    let context = EncryptionContext {
        volume: config.volume_id(),
        file: None,
    };
    let opens = |key: &SecretKey| config.commitment_matches(key);
    let key = unwrap_slots_told(config.slots(), &context, providers, opens, tell);
    let key = key.map_err(|error| {
        if is_wrong_key(&error) {
            VolumeError::WrongKey(error)
        } else {
            error.into()
        }
    });
    Ok((key?, told.into_inner()))
}

fn is_wrong_key(error: &KeyError) -> bool {
    error.kind() == KeyErrorKind::Corrupt
}

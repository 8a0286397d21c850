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
use super::audit::Told;
use super::error::VolumeError;
use super::file_keys::FileKeyring;
use super::folders::Folders;
use super::in_use::InUse;
use super::key_set::SeenKeys;
use super::live::LiveConfig;
use super::meta::{self, name};
use super::secrets::VolumeSecrets;
use super::vault::Vault;
use super::wrapping::unwrap_slots_told;

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
/// [`VolumeError::NotAVolume`], [`VolumeError::NoConfig`], [`VolumeError::InUse`], [`VolumeError::OtherKeys`],
/// [`VolumeError::WrongKey`], [`VolumeError::Sealed`], [`VolumeError::Config`] where `volume.json` was changed or is newer than this program, and what a key provider answers.
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
    let root = Arc::new(root);
    let folder = Arc::new(own_folder(path, &root)?);
    let config = read_config(path, &folder)?;
    has_given_key(&config, &providers)?;
    let lock = lock(path, &folder, options)?;
    let told = RefCell::new(Vec::new());
    let volume_key = unwrap_volume_key(&config, &providers, "mount", |event| {
        told.borrow_mut().push(event);
    })?;
    let audit_key = derive(&volume_key, &config.volume_id().0, Label::VolumeAudit)?;
    let told = Arc::new(Told::new(audit_key, told.into_inner()));
    let secrets = VolumeSecrets::derive(&volume_key, &config.volume_id())?;
    let config = config.verify(&secrets.config)?;
    if config.seal.is_some() && !options.read_only {
        return Err(VolumeError::Sealed);
    }
    let in_use = match options.read_only {
        true => None,
        false => Some(InUse::set(&folder, options.sharing)?),
    };
    let vault = Arc::new(Vault::of(secrets));
    let keyring = KeyringConfig {
        entries: options.key_cache_entries,
        ttl: options.key_cache_ttl,
        workers: WORKERS,
    };
    let (layout, name_mode, foreign_files) = (config.layout, config.names, config.foreign_files);
    let live = Arc::new(LiveConfig::new(
        Arc::clone(&folder),
        Arc::clone(&vault),
        config,
        options.sharing == Sharing::Shared,
    ));
    let files = FileKeyring::new(
        keyring,
        Arc::clone(&live),
        Arc::clone(&vault),
        Arc::clone(&providers),
        Arc::clone(&told),
    );
    Ok(Volume {
        root,
        folder,
        layout,
        name_mode,
        foreign_files,
        live,
        vault,
        files: Arc::new(files),
        told,
        providers,
        in_use,
        setting_policy: parking_lot::Mutex::default(),
        _lock: lock,
    })
}

/// What the volume in `path` says of its keys, without any of them: it is neither locked nor unlocked.
///
/// # Errors
/// [`VolumeError::NotAVolume`], [`VolumeError::NoConfig`], [`VolumeError::Config`].
pub fn seen_keys(path: &Path) -> Result<(Arc<Node>, SeenKeys), VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    let root = Node::open_root(path).map_err(io("opening the folder"))?;
    let folder = own_folder(path, &root)?;
    let config = read_config(path, &folder)?;
    let folders = Folders::read(&folder, config.policy()).unwrap_or_default();
    Ok((Arc::new(root), SeenKeys::of(&config, folders.folders)))
}

/// Whether the volume in `path` says that it is sealed. Proven only when it is opened: for writing, it does not open if it is.
///
/// # Errors
/// As [`seen_keys`].
pub fn says_sealed(path: &Path) -> Result<bool, VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    let root = Node::open_root(path).map_err(io("opening the folder"))?;
    let folder = own_folder(path, &root)?;
    Ok(read_config(path, &folder)?.says_sealed())
}

fn own_folder(path: &Path, root: &Node) -> Result<Node, VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    match root.child(&name(meta::FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VolumeError::NotAVolume(path.to_owned()))
        }
        folder => folder.map_err(io("opening .envelopefs")),
    }
}

/// Threads that wait for key providers: as many files are opened at a time, or made ready before they are.
const WORKERS: usize = 32;

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

/// What else has keys is another volume, that somebody may have put in the place of the one that was meant.
fn has_given_key(config: &UnverifiedConfig, providers: &Providers) -> Result<(), VolumeError> {
    let Some(given) = providers.only() else {
        return Ok(());
    };
    let stored: Vec<_> = config
        .slots()
        .iter()
        .map(|slot| slot.key_uri.clone())
        .collect();
    if stored.iter().any(|uri| providers.may_use(uri)) {
        return Ok(());
    }
    Err(VolumeError::OtherKeys {
        stored,
        given: given.to_vec(),
    })
}

/// Any one slot is enough. A key that some slot gives but that is not the volume's means a wrong provider. `tell` hears
/// what each slot that was tried came to; `cause` says why it was.
pub(super) fn unwrap_volume_key(
    config: &UnverifiedConfig,
    providers: &Providers,
    cause: &str,
    tell: impl Fn(Event),
) -> Result<SecretKey, VolumeError> {
    let context = EncryptionContext {
        volume: config.volume_id(),
        file: None,
    };
    let key = unwrap_slots_told(
        config.slots(),
        &context,
        providers,
        |key| config.commitment_matches(key),
        |attempt| tell(attempt.event("volume-key", cause)),
    );
    key.map_err(|error| {
        if is_wrong_key(&error) {
            VolumeError::WrongKey(error)
        } else {
            error.into()
        }
    })
}

fn is_wrong_key(error: &KeyError) -> bool {
    error.kind() == KeyErrorKind::Corrupt
}

//! The configuration of an open volume. Its keys and slots may change while it is open; nothing else of it does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::format::volume_config::{self, VolumeConfig};
use crate::storage::{Node, Timestamp};

use super::error::VolumeError;
use super::folders::Folders;
use super::making::{BeingMade, Making};
use super::meta::{self, name};
use super::pools::FileKeys;
use super::vault::Vault;

/// What `volume.json` says, as this process last read or wrote it.
#[derive(Debug)]
pub(super) struct LiveConfig {
    pub(super) folder: Arc<Node>,
    vault: Arc<Vault>,
    /// Whether other mounts may replace the file.
    shared: bool,
    config: RwLock<Arc<VolumeConfig>>,
    /// Counts what makes data keys wrapped before it outdated: other keys, a new version of one, another policy.
    generation: AtomicU64,
    /// The folders of the policy that was read last. Nothing else is locked while it is held.
    pub(super) folders: Mutex<Arc<Folders>>,
    /// New files on their way to their names.
    making: Arc<Making>,
    /// Which file was read last, where others may replace it. Locked before `changing`.
    seen: Mutex<Option<Stamp>>,
    /// Held from reading what is to be changed, or taken over, until that is done.
    changing: Mutex<()>,
}

/// Tells one `volume.json` from the next: each is a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    ino: u64,
    mtime: Timestamp,
}

impl LiveConfig {
    pub(super) fn new(
        folder: Arc<Node>,
        vault: Arc<Vault>,
        config: VolumeConfig,
        shared: bool,
    ) -> Self {
        Self {
            folder,
            vault,
            shared,
            config: RwLock::new(Arc::new(config)),
            generation: AtomicU64::new(0),
            folders: Mutex::default(),
            making: Arc::default(),
            seen: Mutex::default(),
            changing: Mutex::default(),
        }
    }

    pub(super) fn current(&self) -> Arc<VolumeConfig> {
        Arc::clone(&self.config.read())
    }

    /// What wraps the data keys of new files.
    pub(super) fn own_keys(&self) -> FileKeys {
        FileKeys::of_volume(&self.current())
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What was wrapped up to now is to be wrapped anew.
    pub(super) fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether other mounts may replace the file.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// A new file gets keys of this generation; `None` where it is not this moment's.
    pub(super) fn begin_file(&self, generation: u64) -> Option<BeingMade> {
        let being_made = self.making.begin(generation);
        (self.generation() == generation).then_some(being_made)
    }

    #[cfg(test)]
    pub(super) fn is_making_files(&self) -> bool {
        self.making.is_any()
    }

    /// Waits until every new file with keys from before this moment's is found by its name.
    pub(super) fn wait_for_older_files(&self) {
        self.making.wait_for_older_than(self.generation());
    }

    /// Changes what the file says in one step, durably: nothing is lost that another thread changes. Among sharers only
    /// whoever has [`super::SoleRun`] may.
    pub(super) fn change(&self, change: impl FnOnce(&mut VolumeConfig)) -> Result<(), VolumeError> {
        let _one_at_a_time = self.changing.lock();
        if self.shared {
            self.reload()?;
        }
        let mut config = (*self.current()).clone();
        change(&mut config);
        self.replace(config)
    }

    /// Puts a new `volume.json` in the place of the old one, durably.
    fn replace(&self, config: VolumeConfig) -> Result<(), VolumeError> {
        let io = VolumeError::io("writing volume.json");
        let bytes = config.encode(&self.vault.secrets()?.config);
        let written = meta::as_owner(&self.folder, || {
            self.folder.replace_file(&name(meta::CONFIG), 0o600, &bytes)
        });
        // A failure of the last sync alone leaves the new file in place: what is there counts.
        if let Err(error) = written {
            self.reload()?;
            return Err(io(error));
        }
        self.take_over(config);
        Ok(())
    }

    fn take_over(&self, config: VolumeConfig) {
        let known = std::mem::replace(&mut *self.config.write(), Arc::new(config));
        let now = self.current();
        let deciding = |config: &VolumeConfig| {
            let (keys, former) = (config.keys.clone(), config.former_keys.clone());
            (keys, config.slots.clone(), config.policy, former)
        };
        if deciding(&now) != deciding(&known) {
            self.outdate();
        }
    }

    /// Takes over what another mount wrote, where one may have; cheap where nothing changed. A file that is not this
    /// volume's is passed over, and logged.
    pub(super) fn refresh(&self) {
        if let Err(error) = self.try_refresh() {
            tracing::warn!(%error, "volume.json could not be read again: the keys stay those that are known");
        }
    }

    /// As [`LiveConfig::refresh`], for what must not go on by what is known.
    pub(super) fn try_refresh(&self) -> Result<(), VolumeError> {
        match self.shared {
            true => self.refresh_shared(),
            false => Ok(()),
        }
    }

    fn refresh_shared(&self) -> Result<(), VolumeError> {
        let stat = self
            .folder
            .stat_child(&name(meta::CONFIG))
            .map_err(VolumeError::io("looking at volume.json"))?;
        let found = Some(Stamp {
            ino: stat.ino,
            mtime: stat.mtime,
        });
        let mut seen = self.seen.lock();
        if *seen != found {
            // Not what stood there before a change that this process is making: it would be taken for the newest.
            let _one_at_a_time = self.changing.lock();
            self.reload()?;
            *seen = found;
        }
        Ok(())
    }

    /// What the file says at this moment, proven to be this volume's.
    pub(super) fn on_disk(&self) -> Result<VolumeConfig, VolumeError> {
        let bytes = self
            .folder
            .read_file(&name(meta::CONFIG), volume_config::MAX_LEN);
        let read = VolumeConfig::decode(&bytes.map_err(VolumeError::io("reading volume.json"))?)?;
        let read = read.verify(&self.vault.secrets()?.config)?;
        let known = self.current();
        let of_this_volume = read.volume_id == known.volume_id && read.layout == known.layout;
        if !of_this_volume {
            let other = io::Error::other("it is another volume's");
            return Err(VolumeError::io("reading volume.json")(other));
        }
        Ok(VolumeConfig {
            keys: read.keys,
            slots: read.slots,
            policy: read.policy,
            former_keys: read.former_keys,
            seal: read.seal,
            ..(*known).clone()
        })
    }

    /// Reads `volume.json` again, under `changing`.
    pub(super) fn reload(&self) -> Result<(), VolumeError> {
        let read = self.on_disk()?;
        if read != *self.current() {
            self.take_over(read);
        }
        Ok(())
    }
}

//! Which keys open a volume, and how that changes while it is open.
//!
//! A key that comes gets its slot of the volume key and its place among the keys in one step. One that goes leaves the
//! keys first, so that no new file names it, and its slot last, when no file does. So what `volume.json` says between the two
//! lets a run that was cut short be gone on with. A key with a slot and no place among the keys is on its way out, or opens
//! the volume alone: nothing tells the two apart but whoever asked, so only a key that was asked for goes.

use std::io;

use crate::crypto::SecretKey;
use crate::format::header::{HeaderError, KeyEpoch, KeySlot, MAX_SLOTS, epochs_len, epochs_room};
use crate::format::layout::Layout;
use crate::format::volume_config::{KeyScope, MAX_KEYS, UnverifiedConfig, VolumeConfig};
use crate::keys::{EncryptionContext, KeyError, KeyErrorKind, KeyProvider as _, WrappedDek};
use crate::policy::Folder;
use crate::storage::{LockGuard, LockKind};
use crate::units::{EpochId, KeyUri, VolumeId};

use super::Volume;
use super::error::VolumeError;
use super::meta::{self, name};
use super::renew::Renewal;
use super::wrapping::{unwrap_slots, wrap_slots};

/// The right to change a volume's keys, or its files' headers all over: one run has it at a time.
#[derive(Debug)]
#[must_use = "another run may begin when this is dropped"]
pub struct SoleRun(#[expect(dead_code, reason = "holding it holds the lock")] LockGuard);

/// A change of the keys of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Keys that are to open it.
    pub add: Vec<KeyUri>,
    /// Keys that are not to open it any more.
    pub remove: Vec<KeyUri>,
}

impl KeyChange {
    /// The keys of `config` after this change.
    ///
    /// # Errors
    /// [`VolumeError::NoSuchKey`], [`VolumeError::LastKey`], [`VolumeError::TooManyKeys`].
    pub fn applied_to(&self, config: &VolumeConfig) -> Result<Vec<KeyUri>, VolumeError> {
        let has_slot = |uri: &KeyUri| config.slots.iter().any(|slot| slot.key_uri == *uri);
        if let Some(unknown) = self
            .remove
            .iter()
            .find(|uri| !config.keys.contains(uri) && !has_slot(uri))
        {
            return Err(VolumeError::NoSuchKey(unknown.clone()));
        }
        let mut keys = config.keys.clone();
        keys.retain(|uri| !self.remove.contains(uri));
        for uri in &self.add {
            if !keys.contains(uri) {
                keys.push(uri.clone());
            }
        }
        let slots = config.slots.len() + self.add.iter().filter(|uri| !has_slot(uri)).count();
        match keys.len() {
            0 => Err(VolumeError::LastKey),
            count if count > MAX_KEYS || slots > MAX_SLOTS => Err(VolumeError::TooManyKeys),
            _ => Ok(keys),
        }
    }
}

impl Volume {
    /// Begins a run. Shared volumes have one at a time over all their mounts.
    ///
    /// # Errors
    /// [`VolumeError::RunUnderWay`]; what the ciphertext folder answers where other mounts may have changed `volume.json` and it
    /// cannot be read: a run by older keys and an older policy would undo what they say.
    pub fn begin_run(&self) -> Result<SoleRun, VolumeError> {
        let locked = meta::as_owner(&self.folder, || {
            self.folder.lock_file(&name(meta::RUN), LockKind::Exclusive)
        });
        let guard = locked.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => VolumeError::RunUnderWay,
            _ => VolumeError::io("locking .envelopefs/run")(error),
        })?;
        self.live.try_refresh()?;
        Ok(SoleRun(guard))
    }

    /// Makes a change up to where files may follow: keys that come are there whole, keys that go have left the keys and
    /// still open what they opened. Says whether there was anything to do.
    ///
    /// # Errors
    /// Those of [`KeyChange::applied_to`]; [`VolumeError::HeaderTooSmall`] where the slots of so many keys would not fit a
    /// header twice; what a key provider and the ciphertext folder answer. Nothing is changed then.
    pub fn change_keys(&self, _run: &SoleRun, change: &KeyChange) -> Result<bool, VolumeError> {
        let config = self.config();
        let keys = change.applied_to(&config)?;
        if keys == config.keys {
            return Ok(false);
        }
        let mut slots = config.slots.clone();
        let missing = keys
            .iter()
            .filter(|uri| slots.iter().all(|slot| slot.key_uri != **uri));
        let missing: Vec<_> = missing.cloned().collect();
        if !missing.is_empty() {
            let (key, context) = (self.volume_key()?, self.own_context());
            let made = wrap_slots(&missing, &key, &context, &self.providers)?;
            made.iter().try_for_each(|slot| self.see_open(slot))?;
            slots.extend(made);
        }
        if config.key_scope == KeyScope::File {
            let of_files: Vec<_> = slots
                .iter()
                .filter(|slot| keys.contains(&slot.key_uri))
                .cloned()
                .collect();
            check_header_fits(config.layout, config.commitment, &of_files)?;
        }
        self.change_config(|config| (config.keys, config.slots) = (keys, slots))?;
        Ok(true)
    }

    /// Brings the volume key's slots to the newest versions; says whether any was not.
    ///
    /// # Errors
    /// What a key provider and the ciphertext folder answer.
    pub fn renew_own_slots(&self, _run: &SoleRun, renewal: &Renewal) -> Result<bool, VolumeError> {
        match self.renewed_own_slots(renewal)? {
            None => Ok(false),
            Some(slots) => self
                .change_config(|config| config.slots = slots)
                .map(|()| true),
        }
    }

    /// Keys that still have a slot of the volume key and are no longer among the keys.
    pub fn leaving_keys(&self) -> Vec<KeyUri> {
        leaving(&self.config().keys, &self.config().slots)
    }

    /// Takes the keys off the list that folders once had: the last step, when no file names them. Says which they were.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn finish_former_keys(&self, _run: &SoleRun) -> Result<Vec<KeyUri>, VolumeError> {
        let former = self.config().former_keys.clone();
        if !former.is_empty() {
            self.live.change(|config| config.former_keys.clear())?;
        }
        Ok(former)
    }

    /// Takes the slots away of those of `removed` that have left the keys: the last step, when no file names them. Says
    /// which they were.
    ///
    /// # Errors
    /// [`VolumeError::Key`] where no slot that would stay opens: then all stay.
    pub fn finish_removal(
        &self,
        _run: &SoleRun,
        removed: &[KeyUri],
    ) -> Result<Vec<KeyUri>, VolumeError> {
        let mut leaving = leaving(&self.config().keys, &self.config().slots);
        leaving.retain(|uri| removed.contains(uri));
        if leaving.is_empty() {
            return Ok(leaving);
        }
        let config = self.config();
        let stay = |slot: &&KeySlot| !leaving.contains(&slot.key_uri);
        let slots: Vec<_> = config.slots.iter().filter(stay).cloned().collect();
        self.open_by(&config, &slots)?;
        self.change_config(|config| config.slots = slots)?;
        Ok(leaving)
    }

    /// The volume key, unwrapped once more: it is not kept while the volume is open.
    pub(super) fn volume_key(&self) -> Result<SecretKey, KeyError> {
        let config = self.config();
        self.open_by(&config, &config.slots)
    }

    fn open_by(&self, config: &VolumeConfig, slots: &[KeySlot]) -> Result<SecretKey, KeyError> {
        unwrap_slots(slots, &self.own_context(), &self.providers, |key| {
            config.commitment_matches(key)
        })
    }

    fn see_open(&self, slot: &KeySlot) -> Result<(), KeyError> {
        let wrapped = WrappedDek {
            key_version: slot.key_version.clone(),
            bytes: slot.wrapped_dek.clone(),
        };
        let provider = self.providers.open(&slot.key_uri)?;
        let key = provider.unwrap(&wrapped, &self.own_context())?;
        if self.config().commitment_matches(&key) {
            return Ok(());
        }
        let message = "the new key does not give back what it wrapped";
        Err(KeyError::new(KeyErrorKind::Corrupt, message).at(&slot.key_uri))
    }

    pub(super) fn own_context(&self) -> EncryptionContext {
        EncryptionContext {
            volume: self.config().volume_id,
            file: None,
        }
    }

    fn change_config(&self, change: impl FnOnce(&mut VolumeConfig)) -> Result<(), VolumeError> {
        self.live.change(change)?;
        self.files.outdate();
        Ok(())
    }
}

/// Keys with a slot that are not among the keys.
fn leaving(keys: &[KeyUri], slots: &[KeySlot]) -> Vec<KeyUri> {
    let uris = slots.iter().map(|slot| &slot.key_uri);
    uris.filter(|uri| !keys.contains(uri)).cloned().collect()
}

/// Two epochs of a file, each with a slot of every key, must find room. A slot of the volume key is as long as one of a
/// data key.
pub(super) fn check_header_fits(
    layout: Layout,
    commitment: [u8; 32],
    slots: &[KeySlot],
) -> Result<(), VolumeError> {
    let epoch = |number| KeyEpoch {
        epoch: EpochId(number),
        commitment,
        slots: slots.to_vec(),
    };
    let needed = epochs_len(&[epoch(1), epoch(2)]);
    let room = epochs_room(layout);
    if needed > room {
        return Err(HeaderError::SlotsTooLong { needed, room }.into());
    }
    Ok(())
}

/// What a volume says of its keys, to whoever has none: nothing of it is authenticated.
#[derive(Debug, Clone)]
pub struct SeenKeys {
    /// The volume.
    pub volume_id: VolumeId,
    /// The keys of new files.
    pub keys: Vec<KeyUri>,
    /// The slots of the volume key.
    pub slots: Vec<KeySlot>,
    /// What wraps files' data keys.
    pub key_scope: KeyScope,
    /// Folders with keys of their own, as far as policy.toml is the one that `volume.json` names.
    pub folders: Vec<Folder>,
    /// Keys that folders once had and files may still be under.
    pub former_keys: Vec<KeyUri>,
}

impl SeenKeys {
    pub(super) fn of(config: &UnverifiedConfig, folders: Vec<Folder>) -> Self {
        Self {
            folders,
            former_keys: config.former_keys().to_vec(),
            volume_id: config.volume_id(),
            keys: config.keys().to_vec(),
            slots: config.slots().to_vec(),
            key_scope: config.key_scope(),
        }
    }

    /// Keys that are on their way out.
    pub fn leaving(&self) -> Vec<KeyUri> {
        leaving(&self.keys, &self.slots)
    }
}

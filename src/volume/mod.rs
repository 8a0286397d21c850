//! Create and unlock a volume: the one place where keys, format and storage meet.

mod audit;
mod create;
mod ctimes;
mod custody;
mod done_list;
mod error;
mod file_keys;
mod folders;
mod in_use;
mod key_plan;
mod key_set;
mod live;
mod making;
mod meta;
mod names;
mod policy;
mod pools;
mod renew;
mod seal;
mod secrets;
mod slots;
mod unlock;
mod vault;
mod wrapping;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::crypto::XaesKey;
use crate::format::header::{FileHeader, Membership};
use crate::format::layout::Layout;
use crate::format::names::NameKey;
use crate::format::volume_config::{ForeignFiles, NameMode, VolumeConfig};
use crate::format::xattrs::XattrKeys;
use crate::keys::{KeyError, KeyringStats, Providers};
use crate::storage::{LockGuard, Node};

pub use audit::Asker;
pub use create::{CreateOptions, create, create_in};
pub use ctimes::KeptCtime;
pub use done_list::DoneList;
pub use error::VolumeError;
pub use file_keys::{FileMaterial, NewFile};
pub use key_plan::Standing;
pub use key_set::{KeyChange, SeenKeys, SoleRun};
pub use making::{BeingMade, Moment};
pub use names::Listed;
pub use policy::{Machine, StoredPolicy};
pub use renew::{Renewal, RenewalOptions};
pub use seal::{Broken, ChunkTag, Seal, SealedFile, join as join_path};
pub use unlock::{Sharing, UnlockOptions, open, open_in, says_sealed, seen_keys};
pub use vault::Held;
pub use wrapping::{VOLUME_SCHEME, unwrap_slots, wrap_slots};

use file_keys::FileKeyring;
use live::LiveConfig;
use secrets::VolumeSecrets;
use vault::Vault;

/// An unlocked volume.
#[derive(Debug)]
pub struct Volume {
    root: Arc<Node>,
    /// `.envelopefs` in the root.
    folder: Arc<Node>,
    layout: Layout,
    name_mode: NameMode,
    foreign_files: ForeignFiles,
    live: Arc<LiveConfig>,
    vault: Arc<Vault>,
    files: Arc<FileKeyring>,
    told: Arc<audit::Told>,
    providers: Arc<Providers>,
    in_use: Option<in_use::InUse>,
    /// Held while a policy is set: its file and what names it belong together.
    setting_policy: parking_lot::Mutex<()>,
    /// Keeps other mounts out, or this one among sharers, for as long as the volume is open.
    _lock: Option<LockGuard>,
}

impl Volume {
    /// The name of the folder, in the ciphertext root, that holds what the volume is.
    pub const OWN_FOLDER: &'static [u8] = meta::FOLDER;

    /// The ciphertext folder.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// What the volume is, at this moment: its keys and slots may change while it is open.
    pub fn config(&self) -> Arc<VolumeConfig> {
        self.live.current()
    }

    #[cfg(test)]
    pub(crate) fn is_making_files(&self) -> bool {
        self.live.is_making_files()
    }

    /// Block and header size of its files.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Whether names and symlinks' targets are sealed on disk, and do not stand as they are.
    pub fn seals_names(&self) -> bool {
        self.name_mode == NameMode::Encrypted
    }

    /// The key of names; `None` where they stand as they are.
    ///
    /// # Errors
    /// [`VolumeError::Key`] while the volume is locked, as all that need its keys.
    pub fn name_key(&self) -> Result<Option<Held<NameKey>>, VolumeError> {
        self.seals_names()
            .then(|| self.held(|secrets| &secrets.names))
            .transpose()
    }

    /// The key of symlinks' targets; `None` where they stand as they are, as the names do.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn symlink_key(&self) -> Result<Option<Held<XaesKey>>, VolumeError> {
        self.seals_names()
            .then(|| self.held(|secrets| &secrets.symlinks))
            .transpose()
    }

    /// The keys of extended attributes.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn xattr_keys(&self) -> Result<Held<XattrKeys>, VolumeError> {
        self.held(|secrets| &secrets.xattrs)
    }

    fn held<K>(&self, key: fn(&VolumeSecrets) -> &K) -> Result<Held<K>, VolumeError> {
        Ok(Held::new(self.vault.secrets()?, key))
    }

    /// The key providers in use, with their call counts.
    pub fn providers(&self) -> &Arc<Providers> {
        &self.providers
    }

    /// Hits, misses and size of the keyring.
    pub fn keyring_stats(&self) -> KeyringStats {
        self.files.stats()
    }

    /// Whether the volume takes this file: made in it, or made elsewhere where its policy allows that.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn admits(&self, header: &FileHeader) -> Result<bool, VolumeError> {
        Ok(match self.membership(header)? {
            Membership::Valid => true,
            Membership::Foreign => self.foreign_files == ForeignFiles::Allow,
            Membership::Invalid => false,
        })
    }

    /// Whether a file was made in this volume, whatever the volume says of others.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn wrote(&self, header: &FileHeader) -> Result<bool, VolumeError> {
        Ok(self.membership(header)? == Membership::Valid)
    }

    fn membership(&self, header: &FileHeader) -> Result<Membership, KeyError> {
        Ok(header.verify_membership(&self.vault.secrets()?.membership))
    }

    /// Whether other mounts may be there.
    pub fn is_shared(&self) -> bool {
        self.live.is_shared()
    }

    /// When the first mount began that ended without an unmount, if one did: what changed since is to be looked over.
    pub fn unclean_since(&self) -> Option<crate::storage::Timestamp> {
        self.in_use.as_ref()?.left_since()
    }

    /// The folder, in the ciphertext root, that holds what the volume is.
    pub fn own_folder(&self) -> &Arc<Node> {
        &self.folder
    }

    /// As [`Volume::unclean_since`], of a volume that may have been opened read-only.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn left_in_use_since(&self) -> Result<Option<crate::storage::Timestamp>, VolumeError> {
        match self.in_use {
            Some(_) => Ok(self.unclean_since()),
            None => in_use::InUse::since(&self.folder),
        }
    }

    /// Notes that what changed since [`Volume::unclean_since`] was looked over.
    pub fn set_looked_over(&self) {
        if let Some(in_use) = &self.in_use {
            in_use.set_looked_over();
        }
    }

    /// Notes that all is committed: the next mount has nothing to look over, but for what this one
    /// [could not](Volume::set_looked_over).
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn mark_clean(&self) -> Result<(), VolumeError> {
        self.in_use.as_ref().map_or(Ok(()), in_use::InUse::clear)
    }
}

//! Create and unlock a volume: the one place where keys, format and storage meet.

mod audit;
mod create;
mod error;
mod file_keys;
mod folder_keys;
mod meta;
mod names;
mod policy;
mod secrets;
mod unlock;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::crypto::XaesKey;
use crate::format::header::{FileHeader, Membership};
use crate::format::layout::Layout;
use crate::format::names::NameKey;
use crate::format::volume_config::{ForeignFiles, NameMode, VolumeConfig};
use crate::format::xattrs::XattrKeys;
use crate::keys::{KeyringStats, Providers};
use crate::storage::{LockGuard, Node};

pub use audit::Asker;
pub use create::{CreateOptions, create, create_in};
pub use error::VolumeError;
pub use file_keys::{FileMaterial, VOLUME_SCHEME, unwrap_slots, wrap_slots};

use file_keys::FileKeyring;
pub use names::Listed;
pub use unlock::{Sharing, UnlockOptions, open, open_in};

pub use policy::{Machine, StoredPolicy};
use secrets::VolumeSecrets;

/// How the names of a volume stand on disk.
#[derive(Debug, Clone, Copy)]
pub enum Names<'a> {
    /// Sealed under this key.
    Encrypted(&'a NameKey),
    /// As they are.
    Plain,
}

/// An unlocked volume.
#[derive(Debug)]
pub struct Volume {
    root: Arc<Node>,
    /// `.envelopefs` in the root.
    folder: Arc<Node>,
    config: VolumeConfig,
    secrets: Arc<VolumeSecrets>,
    files: FileKeyring,
    told: Arc<audit::Told>,
    providers: Arc<Providers>,
    unclean: Option<crate::storage::Timestamp>,
    in_use: Option<meta::InUse>,
    /// Held while `volume.json` is read, changed and written.
    config_writes: parking_lot::Mutex<()>,
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

    /// What the volume is.
    pub fn config(&self) -> &VolumeConfig {
        &self.config
    }

    /// Block and header size of its files.
    pub fn layout(&self) -> Layout {
        self.config.layout
    }

    /// How its names stand on disk.
    pub fn names(&self) -> Names<'_> {
        match self.config.names {
            NameMode::Encrypted => Names::Encrypted(&self.secrets.names),
            NameMode::Plain => Names::Plain,
        }
    }

    /// The key of symlinks' targets; `None` where they stand as they are, as the names do.
    pub fn symlink_key(&self) -> Option<&XaesKey> {
        match self.config.names {
            NameMode::Encrypted => Some(&self.secrets.symlinks),
            NameMode::Plain => None,
        }
    }

    /// The keys of extended attributes.
    pub fn xattr_keys(&self) -> &XattrKeys {
        &self.secrets.xattrs
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
    pub fn admits(&self, header: &FileHeader) -> bool {
        match header.verify_membership(&self.secrets.membership) {
            Membership::Valid => true,
            Membership::Foreign => self.config.foreign_files == ForeignFiles::Allow,
            Membership::Invalid => false,
        }
    }

    /// Whether a file was made in this volume, whatever the volume says of others.
    pub fn wrote(&self, header: &FileHeader) -> bool {
        header.verify_membership(&self.secrets.membership) == Membership::Valid
    }

    /// When the mount began that ended without an unmount, if one did: what changed since is to be looked over.
    pub fn unclean_since(&self) -> Option<crate::storage::Timestamp> {
        self.unclean
    }

    /// The folder, in the ciphertext root, that holds what the volume is.
    pub fn own_folder(&self) -> &Arc<Node> {
        &self.folder
    }

    /// Since when there is a mark of a mount. While the volume's lock is held, that mount ended without an unmount.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn in_use_since(&self) -> Result<Option<crate::storage::Timestamp>, VolumeError> {
        meta::InUse::since(&self.folder)
    }

    /// Notes that all is committed: the next mount has nothing to look over.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn mark_clean(&self) -> Result<(), VolumeError> {
        self.in_use.as_ref().map_or(Ok(()), meta::InUse::clear)
    }
}

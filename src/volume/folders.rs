//! Folders with keys of their own, as the policy says that `volume.json` names: its tag covers the policy's hash, so
//! their key URIs are as good as those of `volume.json` itself.

use std::sync::Arc;

use crate::format::volume_config::{KeyScope, MAX_FORMER, VolumeConfig};
use crate::policy::{Folder, Policy, folders};
use crate::storage::Node;
use crate::units::KeyUri;

use super::Volume;
use super::error::VolumeError;
use super::key_plan::KeyPlan;
use super::key_set::check_header_fits;
use super::live::LiveConfig;
use super::policy::text_named;
use super::pools::FileKeys;
use super::wrapping::wrap_slots;

/// The folders of one policy.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// The policy's hash; `None`: there is no policy.
    pub(super) of: Option<[u8; 32]>,
    pub(super) folders: Vec<Folder>,
}

impl Folders {
    pub(super) fn read(folder: &Node, wanted: Option<[u8; 32]>) -> Result<Self, VolumeError> {
        let folders = match &wanted {
            None => Vec::new(),
            Some(wanted) => Policy::parse_folders(&text_named(folder, wanted)?)?,
        };
        Ok(Self {
            of: wanted,
            folders,
        })
    }
}

impl LiveConfig {
    /// The folders of the policy that `volume.json` names at this moment; read anew where that is another.
    ///
    /// # Errors
    /// As [`Volume::policy`]: then nobody can say which keys a new file gets.
    pub(super) fn folders(&self) -> Result<Arc<Folders>, VolumeError> {
        let wanted = self.current().policy;
        let mut kept = self.folders.lock();
        if kept.of != wanted {
            *kept = Arc::new(Folders::read(&self.folder, wanted)?);
        }
        Ok(Arc::clone(&kept))
    }

    /// Which keys files get at this moment.
    ///
    /// # Errors
    /// As [`LiveConfig::folders`].
    pub(super) fn key_plan(&self) -> Result<KeyPlan, VolumeError> {
        let folders = self.folders()?;
        Ok(KeyPlan::new(
            self.own_keys(),
            &self.current().keys,
            &folders.folders,
        ))
    }

    /// Every key by which files may have to be opened. Where the policy cannot be read, those of its folders are not among them.
    pub(super) fn file_openers(&self) -> Vec<KeyUri> {
        let config = self.current();
        let mut uris = config.keys.clone();
        uris.extend(config.slots.iter().map(|slot| slot.key_uri.clone()));
        uris.extend(config.former_keys.iter().cloned());
        match self.folders() {
            Ok(folders) => uris.extend(folders::keys_of(&folders.folders).cloned()),
            Err(error) => tracing::debug!(%error, "the keys of folders are not known"),
        }
        uris
    }
}

impl Volume {
    /// Whether some folder has keys of its own. Where that cannot be told, it may.
    pub fn has_folder_keys(&self) -> bool {
        self.live
            .folders()
            .map_or(true, |folders| !folders.folders.is_empty())
    }

    /// Every key that a folder has now, or once had and files may still be under.
    pub fn folder_keys(&self) -> Vec<KeyUri> {
        let config = self.config();
        let mut uris: Vec<_> = match self.live.folders() {
            Ok(folders) => folders::keys_of(&folders.folders).cloned().collect(),
            Err(_error) => Vec::new(),
        };
        uris.extend(config.former_keys.iter().cloned());
        uris.sort();
        uris.dedup();
        uris
    }

    /// Tries the keys of folders that no folder has yet: each wraps a key that is thrown away, and two data keys' slots must find
    /// room in a header. A host that may not use a folder's key can change the rest of a policy.
    pub(super) fn try_folder_keys(&self, folders: &[Folder]) -> Result<(), VolumeError> {
        let config = self.config();
        let plan = KeyPlan::new(self.live.own_keys(), &config.keys, folders);
        let now = self.live.folders().unwrap_or_default();
        let is_tried = |folder: &Folder| now.folders.iter().any(|known| known.keys == folder.keys);
        for (folder, keys) in plan.folders() {
            if keys.scope == KeyScope::Volume || is_tried(folder) {
                continue;
            }
            if keys.keys.is_empty() {
                return Err(VolumeError::FolderWithoutKey(folder.path.clone()));
            }
            let dek = crate::crypto::SecretKey::random()?;
            let slots = wrap_slots(&keys.keys, &dek, &self.own_context(), &self.providers)
                .map_err(VolumeError::FolderKeyFails)?;
            check_header_fits(config.layout, config.commitment, &slots)?;
        }
        Ok(())
    }

    /// What `former_keys` is to be under another policy: what the folders of this one have and those of that one do not. A
    /// folder that names no keys has the volume's, which stay keys of files only where files of no folder have them too.
    pub(super) fn former_keys_under(
        &self,
        config: &VolumeConfig,
        next: &[Folder],
    ) -> Result<Vec<KeyUri>, VolumeError> {
        let now = match self.live.folders() {
            Ok(folders) => folders,
            Err(error) => {
                tracing::warn!(%error, "keys that only the lost policy names open no file any more");
                Arc::default()
            }
        };
        let plan =
            |folders: &[Folder]| KeyPlan::new(FileKeys::of_volume(config), &config.keys, folders);
        let (now, next) = (plan(&now.folders), plan(next));
        let stays = |uri: &KeyUri| next.all().any(|keys| keys.keys.contains(uri));
        let of_folders = now.folders().iter().flat_map(|(_folder, keys)| &keys.keys);
        let mut former: Vec<KeyUri> = Vec::new();
        for uri in config.former_keys.iter().chain(of_folders) {
            if !stays(uri) && !former.contains(uri) {
                former.push(uri.clone());
            }
        }
        match former.len() {
            count if count > MAX_FORMER => Err(VolumeError::TooManyFormerKeys),
            _ => Ok(former),
        }
    }
}

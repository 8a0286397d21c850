//! Folders with keys of their own, as the policy says that `volume.json` names: its tag covers the policy's hash, so
//! their key URIs are as good as those of `volume.json` itself.

use std::sync::Arc;

use crate::format::header::{FileHeader, KeySlot};
use crate::format::volume_config::{KeyScope, MAX_FORMER, VolumeConfig};
use crate::policy::{Folder, Policy, folders};
use crate::storage::Node;
use crate::units::KeyUri;

use super::Volume;
use super::error::VolumeError;
use super::key_set::check_header_fits;
use super::live::LiveConfig;
use super::policy::text_named;
use super::pools::FileKeys;
use super::wrapping::{VOLUME_SCHEME, wrap_slots};

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

/// What decides on the keys of a file: where it stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing<'a> {
    /// The path of its folder in the mount, as [`Policy`] has it; `None` where that is not known.
    pub folder: Option<&'a [u8]>,
    /// It has further names, perhaps in other folders.
    pub has_more_names: bool,
}

/// Which keys files are to have, by the folder that they stand in.
#[derive(Debug, Clone)]
pub(super) struct KeyPlan {
    /// Of files of no folder of its own.
    own: FileKeys,
    folders: Vec<(Folder, FileKeys)>,
}

impl KeyPlan {
    pub(super) fn new(own: FileKeys, volume_keys: &[KeyUri], folders: &[Folder]) -> Self {
        let resolved = |folder: &Folder| {
            let keys = match (folder.keys.scope, folder.keys.keys.as_slice()) {
                (KeyScope::Volume, _) => Vec::new(),
                (KeyScope::File, []) => volume_keys.to_vec(),
                (KeyScope::File, keys) => keys.to_vec(),
            };
            let scope = folder.keys.scope;
            (folder.clone(), FileKeys { scope, keys })
        };
        Self {
            own,
            folders: folders.iter().map(resolved).collect(),
        }
    }

    /// The keys of new files in a folder.
    pub(super) fn of_folder(&self, path: &[u8]) -> &FileKeys {
        let is_nearest = |(folder, _keys): &&(Folder, FileKeys)| {
            folders::nearest(std::slice::from_ref(folder), path).is_some()
        };
        let above = self.folders.iter().filter(is_nearest);
        above
            .max_by_key(|(folder, _keys)| folder.path.len())
            .map_or(&self.own, |(_folder, keys)| keys)
    }

    /// The keys that a file should have.
    ///
    /// One under keys that a folder names keeps them wherever it stands: else whoever moves it, in the ciphertext too, would
    /// have the next run take it from them. Another gets those of its folder; with several names, or none that is known, it
    /// keeps what it has, where that is still somebody's: no name decides over the others.
    pub(super) fn of_file(&self, header: &FileHeader, standing: Standing<'_>) -> &FileKeys {
        let newest = header.epochs.last();
        let has = newest.map(|epoch| FileKeys::of_slots(&epoch.slots));
        let is_same = |keys: &&FileKeys| has.as_ref().is_some_and(|has| has.is_same_as(keys));
        let same = self.all().find(is_same);
        match (standing, same) {
            (_, Some(same)) if self.is_named(same) => same,
            (
                Standing { folder: None, .. }
                | Standing {
                    has_more_names: true,
                    ..
                },
                Some(same),
            ) => same,
            (Standing { folder, .. }, _) => folder.map_or(&self.own, |path| self.of_folder(path)),
        }
    }

    /// Whether these are keys that a folder names, and not the volume's.
    fn is_named(&self, keys: &FileKeys) -> bool {
        let by_name = |(folder, named): &(Folder, FileKeys)| {
            !folder.keys.keys.is_empty() && named.is_same_as(keys)
        };
        !keys.is_same_as(&self.own) && self.folders.iter().any(by_name)
    }

    /// Every set of keys, the volume's own first.
    pub(super) fn all(&self) -> impl Iterator<Item = &FileKeys> {
        let folders = self.folders.iter().map(|(_folder, keys)| keys);
        std::iter::once(&self.own).chain(folders)
    }
}

impl FileKeys {
    /// The keys of these slots.
    fn of_slots(slots: &[KeySlot]) -> Self {
        let uris = slots.iter().map(|slot| &slot.key_uri);
        let of_providers = |uri: &&KeyUri| uri.scheme() != VOLUME_SCHEME;
        let keys: Vec<_> = uris.filter(of_providers).cloned().collect();
        let scope = match keys.len() == slots.len() {
            true => KeyScope::File,
            false => KeyScope::Volume,
        };
        Self { scope, keys }
    }

    /// Whether it is the same set, in any order.
    fn is_same_as(&self, other: &Self) -> bool {
        let sorted = |keys: &[KeyUri]| {
            let mut keys = keys.to_vec();
            keys.sort();
            keys
        };
        self.scope == other.scope && sorted(&self.keys) == sorted(&other.keys)
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
        for (folder, keys) in &plan.folders {
            if keys.scope == KeyScope::Volume || is_tried(folder) {
                continue;
            }
            if keys.keys.is_empty() {
                return Err(VolumeError::FolderWithoutKey(folder.path.clone()));
            }
            let dek = crate::crypto::SecretKey::random()?;
            let slots = self.slots_for_trial(&keys.keys, &dek)?;
            check_header_fits(config.layout, config.commitment, &slots)?;
        }
        Ok(())
    }

    fn slots_for_trial(
        &self,
        keys: &[KeyUri],
        dek: &crate::crypto::SecretKey,
    ) -> Result<Vec<KeySlot>, VolumeError> {
        let mut slots = Vec::new();
        for uri in keys {
            let one = std::slice::from_ref(uri);
            let made = wrap_slots(one, dek, &self.own_context(), &self.providers);
            slots.extend(made.map_err(|error| VolumeError::FolderKeyFails(uri.clone(), error))?);
        }
        Ok(slots)
    }

    /// What `former_keys` is to be under another policy: what the folders of this one have and those of that one do not.
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
        let stays = |uri: &KeyUri| {
            config.keys.contains(uri) || folders::keys_of(next).any(|key| key == uri)
        };
        let mut former: Vec<KeyUri> = Vec::new();
        for uri in config
            .former_keys
            .iter()
            .chain(folders::keys_of(&now.folders))
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::NewFileKeys;

    fn uri(name: &str) -> KeyUri {
        format!("file:///{name}").parse().unwrap()
    }

    fn plan() -> KeyPlan {
        let folder = |path: &str, scope, keys: &[&str]| Folder {
            path: path.into(),
            keys: NewFileKeys {
                scope,
                keys: keys.iter().map(|key| uri(key)).collect(),
            },
        };
        let own = FileKeys {
            scope: KeyScope::File,
            keys: vec![uri("own")],
        };
        let folders = [
            folder("/hr", KeyScope::File, &["a", "b"]),
            folder("/hr/open", KeyScope::File, &[]),
            folder("/bulk", KeyScope::Volume, &[]),
        ];
        KeyPlan::new(own, &[uri("own")], &folders)
    }

    fn header(keys: &[&str]) -> FileHeader {
        use crate::format::header::{HeaderFlags, KeyEpoch, KeySlot};
        let slot = |key: &&str| KeySlot {
            key_uri: match *key {
                "volume" => "volume:x".parse().unwrap(),
                key => uri(key),
            },
            key_version: String::new(),
            wrapped_dek: vec![0; 72],
        };
        FileHeader {
            layout: crate::format::layout::Layout::DEFAULT,
            file_id: crate::units::FileId([0; 16]),
            volume_id: None,
            committed_len: crate::units::PlainLen(0),
            generation: 0,
            flags: HeaderFlags::default(),
            epochs: vec![KeyEpoch {
                epoch: crate::units::EpochId(1),
                commitment: [0; 32],
                slots: keys.iter().map(slot).collect(),
            }],
            header_tag: [0; 32],
            membership_tag: [0; 32],
        }
    }

    fn names(keys: &FileKeys) -> Vec<&str> {
        keys.keys.iter().map(|key| key.as_str()).collect()
    }

    #[test]
    fn a_folder_decides_and_the_volume_where_none_does() {
        let plan = plan();
        for (path, keys) in [
            ("", vec!["file:///own"]),
            ("/hrx", vec!["file:///own"]),
            ("/hr", vec!["file:///a", "file:///b"]),
            ("/hr/x", vec!["file:///a", "file:///b"]),
            ("/hr/open/y", vec!["file:///own"]),
            ("/bulk", vec![]),
        ] {
            assert_eq!(names(plan.of_folder(path.as_bytes())), keys, "{path}");
        }
        assert_eq!(plan.of_folder(b"/bulk").scope, KeyScope::Volume);
    }

    #[test]
    fn no_name_of_several_takes_a_file_away_from_its_keys() {
        let plan = plan();
        let linked = |folder| Standing {
            folder,
            has_more_names: true,
        };
        let of = |keys: &[&str], standing| plan.of_file(&header(keys), standing).clone();
        for standing in [
            linked(Some(&b""[..])),
            linked(Some(b"/bulk")),
            Standing::default(),
        ] {
            assert_eq!(
                names(&of(&["b", "a"], standing)),
                ["file:///a", "file:///b"]
            );
            assert_eq!(names(&of(&["own"], standing)), ["file:///own"]);
            assert_eq!(of(&["volume"], standing).scope, KeyScope::Volume);
        }
        // Keys that are nobody's any more are no reason to stay.
        assert_eq!(names(&of(&["a"], linked(Some(b"")))), ["file:///own"]);
        assert_eq!(
            names(&of(&["a", "b", "own"], linked(Some(b"/hr")))),
            ["file:///a", "file:///b"]
        );
        // One name alone decides, unless a folder named the keys that it has.
        let alone = |folder| Standing {
            folder: Some(folder),
            has_more_names: false,
        };
        assert_eq!(
            names(&of(&["a", "b"], alone(b""))),
            ["file:///a", "file:///b"]
        );
        assert_eq!(
            names(&of(&["own"], alone(b"/hr"))),
            ["file:///a", "file:///b"]
        );
        assert_eq!(
            names(&of(&["volume"], alone(b"/hr"))),
            ["file:///a", "file:///b"]
        );
        assert_eq!(of(&["own"], alone(b"/bulk")).scope, KeyScope::Volume);
        assert_eq!(names(&of(&["a"], alone(b"/hr/open"))), ["file:///own"]);
        assert_eq!(
            names(&of(&["a", "b", "volume"], alone(b""))),
            ["file:///own"]
        );
    }
}

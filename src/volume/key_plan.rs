//! Which keys a file is to have: a new one by the folder that it stands in, one that is there by the keys that it has as well.
//!
//! Slots stand under no tag. Whoever writes the ciphertext folder can move a file, add slots to it that open nothing, and take
//! away all but one that opens. So one slot of a folder's key is enough to keep a file in that folder's keys.

use crate::format::header::{FileHeader, KeySlot};
use crate::format::volume_config::KeyScope;
use crate::policy::{Folder, folders};
use crate::units::KeyUri;

use super::error::VolumeError;
use super::pools::FileKeys;
use super::wrapping::VOLUME_SCHEME;

/// What decides on the keys of a file: where it stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing<'a> {
    /// The path of its folder in the mount, as [`Policy`](crate::policy::Policy) has it; `None` where that is not known.
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

    /// The keys of a new file in the folder that `path` finds; `None` where it finds none. It is looked for only where that
    /// decides.
    pub(super) fn of_new_file(&self, path: impl FnOnce() -> Option<Vec<u8>>) -> Option<&FileKeys> {
        match self.folders.is_empty() {
            true => Some(&self.own),
            false => path().map(|path| self.of_folder(&path)),
        }
    }

    /// The keys of new files in a folder.
    pub(super) fn of_folder(&self, path: &[u8]) -> &FileKeys {
        self.nearest(path).unwrap_or(&self.own)
    }

    fn nearest(&self, path: &[u8]) -> Option<&FileKeys> {
        let is_above = |(folder, _keys): &&(Folder, FileKeys)| {
            folders::nearest(std::slice::from_ref(folder), path).is_some()
        };
        let above = self.folders.iter().filter(is_above);
        above
            .max_by_key(|(folder, _keys)| folder.path.len())
            .map(|(_folder, keys)| keys)
    }

    /// Every folder, with the keys of its new files.
    pub(super) fn folders(&self) -> &[(Folder, FileKeys)] {
        &self.folders
    }

    /// Every set of keys, the volume's own first.
    pub(super) fn all(&self) -> impl Iterator<Item = &FileKeys> {
        let folders = self.folders.iter().map(|(_folder, keys)| keys);
        std::iter::once(&self.own).chain(folders)
    }
}

/// Which keys files that are there are to have when a run is over.
#[derive(Debug, Clone)]
pub(super) struct RunPlan {
    pub(super) keys: KeyPlan,
    /// Keys that are the volume's, whoever else names them: those that are on their way out, too.
    pub(super) of_volume: Vec<KeyUri>,
    /// Keys that folders once had.
    pub(super) former: Vec<KeyUri>,
    /// A key of folders, and the one in its place.
    pub(super) exchange: Option<(KeyUri, KeyUri)>,
}

impl RunPlan {
    /// The keys that a file should have.
    ///
    /// One with a slot of a key that a folder names has that folder's keys wherever it stands: else whoever moves it, in the
    /// ciphertext too, would have the next run take it from them. Another has those of its place; with several names, or
    /// none that is known, it keeps what it has, where that is still somebody's: no name decides over the others.
    ///
    /// # Errors
    /// [`VolumeError::KeysOfSeveralFolders`], [`VolumeError::KeyOfFormerFolder`]: nobody can say which it should have.
    pub(super) fn of_file(
        &self,
        header: &FileHeader,
        standing: Standing<'_>,
    ) -> Result<&FileKeys, VolumeError> {
        let newest = header.epochs.last();
        let has = newest.map(|epoch| self.keys_of(&epoch.slots));
        let is_same = |keys: &&FileKeys| has.as_ref().is_some_and(|has| has.is_same_as(keys));
        let same = self.keys.all().find(is_same);
        let of_every_epoch = |keys: &&FileKeys| {
            let mut epochs = header.epochs.iter();
            epochs.all(|epoch| self.keys_of(&epoch.slots).is_same_as(keys))
        };
        // The older data keys are wrapped for the same keys: a newest one that a stranger put in front decides nothing.
        let named = same.filter(|same| self.is_named(same));
        if let Some(named) = named.filter(of_every_epoch) {
            return Ok(named);
        }
        let uris = self.uris_of(header);
        let of_folders: Vec<_> = uris
            .iter()
            .copied()
            .filter(|uri| self.is_of_folder(uri))
            .collect();
        if !of_folders.is_empty() {
            return self.of_holder(&of_folders, standing);
        }
        if let Some(former) = uris.into_iter().find(|uri| self.is_former(uri)) {
            return self.in_place_of(former, standing);
        }
        Ok(match (standing, same) {
            (
                Standing { folder: None, .. }
                | Standing {
                    has_more_names: true,
                    ..
                },
                Some(same),
            ) => same,
            (Standing { folder, .. }, _) => self.of_place(folder),
        })
    }

    /// Whether a file from outside the volume may be given new slots of the keys that it has. Its own choice counts only
    /// where that is no mixture: whoever takes the volume's tag off a folder's file and adds a slot of another key
    /// would else have the next run wrap for that.
    ///
    /// # Errors
    /// [`VolumeError::KeysOfSeveralFolders`], [`VolumeError::KeyOfFormerFolder`]: a folder's key, or one that a folder once
    /// had, is among keys that are not all that folder's.
    pub(super) fn admit_own_keys(&self, header: &FileHeader) -> Result<(), VolumeError> {
        let uris = self.uris_of(header);
        if uris.iter().any(|uri| self.is_of_folder(uri)) {
            return self.of_holder(&uris, Standing::default()).map(|_keys| ());
        }
        match uris.iter().find(|uri| self.is_former(uri)) {
            Some(former) if !uris.iter().all(|uri| self.is_former(uri)) => {
                Err(VolumeError::KeyOfFormerFolder((*former).clone()))
            }
            _ => Ok(()),
        }
    }

    /// Whether files may be under keys that are folders' alone. Then a data key is wrapped for others only where a slot of its
    /// file opens: one that is in memory says nothing of what keys the file had before a stranger changed its slots.
    pub(super) fn has_folder_keys(&self) -> bool {
        let named = self.keys.all().flat_map(|keys| &keys.keys);
        let mut any = named.chain(&self.former);
        any.any(|uri| !self.of_volume.contains(uri))
    }

    fn of_place(&self, folder: Option<&[u8]>) -> &FileKeys {
        folder.map_or(&self.keys.own, |path| self.keys.of_folder(path))
    }

    /// The keys of the folder that names all of these: of several the one where the file stands, else the first.
    fn of_holder(
        &self,
        named: &[&KeyUri],
        standing: Standing<'_>,
    ) -> Result<&FileKeys, VolumeError> {
        let holds = |keys: &&FileKeys| named.iter().all(|uri| keys.keys.contains(uri));
        let here = standing.folder.and_then(|path| self.keys.nearest(path));
        here.filter(holds)
            .or_else(|| self.keys.all().find(holds))
            .ok_or_else(|| {
                let named = named.iter().copied().cloned().collect();
                VolumeError::KeysOfSeveralFolders(named)
            })
    }

    /// The keys of a file that has one which folders once had. Which folder that was nobody knows any more: it gets those of
    /// another that has keys of its own, where it stands there, and the volume's only where no folder has any.
    fn in_place_of(
        &self,
        former: &KeyUri,
        standing: Standing<'_>,
    ) -> Result<&FileKeys, VolumeError> {
        let has_own = |keys: &FileKeys| keys.keys.iter().any(|uri| self.is_of_folder(uri));
        let here = self.of_place(standing.folder);
        match has_own(here) || !self.keys.all().any(has_own) {
            true => Ok(here),
            false => Err(VolumeError::KeyOfFormerFolder(former.clone())),
        }
    }

    /// The keys of every slot, each as the one that comes in its place.
    fn uris_of<'h>(&'h self, header: &'h FileHeader) -> Vec<&'h KeyUri> {
        let slots = header.epochs.iter().flat_map(|epoch| &epoch.slots);
        slots.map(|slot| self.followed(&slot.key_uri)).collect()
    }

    /// The key that files are to have in the place of this one: where nobody has that, none is.
    fn followed<'u>(&'u self, uri: &'u KeyUri) -> &'u KeyUri {
        match &self.exchange {
            Some((from, to))
                if from == uri && (self.of_volume.contains(to) || self.is_of_folder(to)) =>
            {
                to
            }
            _ => uri,
        }
    }

    /// Whether a folder names the key, and it is none of the volume's.
    fn is_of_folder(&self, uri: &KeyUri) -> bool {
        let names = |(folder, _keys): &(Folder, FileKeys)| folder.keys.keys.contains(uri);
        !self.of_volume.contains(uri) && self.keys.folders.iter().any(names)
    }

    fn is_former(&self, uri: &KeyUri) -> bool {
        self.former.contains(uri) && !self.of_volume.contains(uri)
    }

    /// Whether these are keys that a folder names, and not the volume's.
    fn is_named(&self, keys: &FileKeys) -> bool {
        let by_name = |(folder, named): &(Folder, FileKeys)| {
            !folder.keys.keys.is_empty() && named.is_same_as(keys)
        };
        !keys.is_same_as(&self.keys.own) && self.keys.folders.iter().any(by_name)
    }

    /// The keys of these slots.
    fn keys_of(&self, slots: &[KeySlot]) -> FileKeys {
        let uris = slots.iter().map(|slot| self.followed(&slot.key_uri));
        let of_providers = |uri: &&KeyUri| uri.scheme() != VOLUME_SCHEME;
        let keys: Vec<_> = uris.filter(of_providers).cloned().collect();
        let scope = match keys.len() == slots.len() {
            true => KeyScope::File,
            false => KeyScope::Volume,
        };
        FileKeys { scope, keys }
    }
}

impl FileKeys {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::NewFileKeys;

    fn uri(name: &str) -> KeyUri {
        format!("file:///{name}").parse().unwrap()
    }

    fn plan() -> RunPlan {
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
            folder("/legal", KeyScope::File, &["c"]),
            folder("/old", KeyScope::File, &["leaving"]),
            folder("/bulk", KeyScope::Volume, &[]),
        ];
        RunPlan {
            keys: KeyPlan::new(own, &[uri("own")], &folders),
            of_volume: vec![uri("own"), uri("leaving")],
            former: vec![uri("former"), uri("leaving")],
            exchange: None,
        }
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
        let plan = plan().keys;
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

    fn alone(folder: &str) -> Standing<'_> {
        Standing {
            folder: Some(folder.as_bytes()),
            has_more_names: false,
        }
    }

    fn linked(folder: &str) -> Standing<'_> {
        Standing {
            has_more_names: true,
            ..alone(folder)
        }
    }

    fn of(plan: &RunPlan, keys: &[&str], standing: Standing<'_>) -> FileKeys {
        plan.of_file(&header(keys), standing).unwrap().clone()
    }

    #[test]
    fn new_files_are_looked_for_only_where_that_decides() {
        let plan = plan().keys;
        let new = plan.of_new_file(|| Some(b"/hr/x".to_vec()));
        assert_eq!(names(new.unwrap()), ["file:///a", "file:///b"]);
        assert_eq!(plan.of_new_file(|| None), None, "nobody can say which");
        let own = plan.own;
        let none = KeyPlan::new(own.clone(), &own.keys, &[]);
        assert_eq!(none.of_new_file(|| panic!("it was looked for")), Some(&own));
    }

    #[test]
    fn no_name_of_several_takes_a_file_away_from_its_keys() {
        let plan = plan();
        for standing in [linked(""), linked("/bulk"), Standing::default()] {
            let of = |keys: &[&str]| of(&plan, keys, standing);
            assert_eq!(names(&of(&["b", "a"])), ["file:///a", "file:///b"]);
            assert_eq!(names(&of(&["own"])), ["file:///own"]);
            assert_eq!(of(&["volume"]).scope, KeyScope::Volume);
        }
        // Keys that are nobody's any more are no reason to stay.
        assert_eq!(names(&of(&plan, &["x"], linked(""))), ["file:///own"]);
    }

    #[test]
    fn one_name_alone_decides_for_files_of_no_folders_keys() {
        let plan = plan();
        let hr = ["file:///a", "file:///b"];
        for keys in [&["own"][..], &["volume"], &["x"], &["own", "leaving"]] {
            assert_eq!(names(&of(&plan, keys, alone("/hr"))), hr, "{keys:?}");
            assert_eq!(names(&of(&plan, keys, alone("/hr/open"))), ["file:///own"]);
            assert_eq!(of(&plan, keys, alone("/bulk")).scope, KeyScope::Volume);
        }
        // A key of the volume is no folder's alone, though one names it: also while it is on its way out.
        assert_eq!(
            names(&of(&plan, &["own", "leaving"], alone(""))),
            ["file:///own"]
        );
    }

    /// What whoever writes the ciphertext can do: move the file, add slots, remove all but one that opens.
    #[test]
    fn one_slot_of_a_folders_key_keeps_a_file_in_its_keys() {
        let plan = plan();
        let slots: [&[&str]; 7] = [
            &["a", "b"],
            &["a"],
            &["b"],
            &["a", "own"],
            &["own", "b", "x"],
            &["a", "b", "volume"],
            &["volume", "a", "former"],
        ];
        for keys in slots {
            for path in ["", "/public", "/hr", "/hr/x", "/hr/open", "/bulk", "/legal"] {
                for standing in [alone(path), linked(path), Standing::default()] {
                    let found = of(&plan, keys, standing);
                    assert_eq!(names(&found), ["file:///a", "file:///b"], "{keys:?} {path}");
                    assert_eq!(found.scope, KeyScope::File);
                }
            }
        }
    }

    #[test]
    fn an_older_data_keys_slots_keep_it_there_too() {
        let mut two = header(&["a"]);
        two.epochs.extend(header(&["own"]).epochs);
        let plan = plan();
        let found = plan.of_file(&two, alone("")).unwrap();
        assert_eq!(names(found), ["file:///a", "file:///b"]);
    }

    #[test]
    fn a_newest_data_key_of_one_folder_takes_no_older_one_from_another() {
        let plan = plan();
        for newest in [&["c"][..], &["c", "own"]] {
            let mut two = header(&["a", "b"]);
            two.epochs.extend(header(newest).epochs);
            for standing in [alone("/legal"), alone("/hr"), Standing::default()] {
                let refused = plan.of_file(&two, standing);
                assert!(
                    matches!(refused, Err(VolumeError::KeysOfSeveralFolders(_))),
                    "{refused:?}"
                );
            }
        }
        let mut two = header(&["a", "b"]);
        two.epochs.extend(header(&["b", "a"]).epochs);
        let found = plan.of_file(&two, alone("/legal")).unwrap();
        assert_eq!(names(found), ["file:///a", "file:///b"]);
    }

    #[test]
    fn a_file_from_outside_has_no_folders_key_beside_others() {
        let plan = plan();
        for keys in [
            &["a"][..],
            &["b", "a"],
            &["own"],
            &["x", "own"],
            &["former"],
        ] {
            plan.admit_own_keys(&header(keys)).unwrap();
        }
        for keys in [
            &["a", "own"][..],
            &["own", "a", "b"],
            &["a", "c"],
            &["a", "x"],
            &["a", "volume"],
            &["a", "former"],
        ] {
            let refused = plan.admit_own_keys(&header(keys));
            assert!(
                matches!(refused, Err(VolumeError::KeysOfSeveralFolders(_))),
                "{keys:?}: {refused:?}"
            );
        }
        for keys in [&["own", "former"][..], &["former", "volume"]] {
            let refused = plan.admit_own_keys(&header(keys));
            assert!(
                matches!(refused, Err(VolumeError::KeyOfFormerFolder(_))),
                "{keys:?}: {refused:?}"
            );
        }
        let mut two = header(&["a"]);
        two.epochs.extend(header(&["own"]).epochs);
        assert!(plan.admit_own_keys(&two).is_err(), "an older data key's");
    }

    #[test]
    fn slots_of_several_folders_give_a_file_to_none() {
        let plan = plan();
        for keys in [&["a", "b", "c"][..], &["a", "c"], &["c", "own", "b"]] {
            for standing in [
                alone("/hr"),
                alone("/legal"),
                alone(""),
                Standing::default(),
            ] {
                let refused = plan.of_file(&header(keys), standing);
                assert!(
                    matches!(refused, Err(VolumeError::KeysOfSeveralFolders(_))),
                    "{refused:?}"
                );
            }
        }
    }

    #[test]
    fn of_folders_that_share_a_key_the_one_around_it_counts_and_else_the_first() {
        let mut plan = plan();
        let shared = [("/x", "a"), ("/y", "c")].map(|(path, with)| Folder {
            path: path.into(),
            keys: NewFileKeys {
                scope: KeyScope::File,
                keys: vec![uri("s"), uri(with)],
            },
        });
        plan.keys = KeyPlan::new(plan.keys.own, &[uri("own")], &shared);
        for (path, with) in [("/x/1", "a"), ("/y/1", "c"), ("", "a"), ("/z", "a")] {
            let expected = ["file:///s".to_owned(), format!("file:///{with}")];
            assert_eq!(names(&of(&plan, &["s"], alone(path))), expected, "{path}");
        }
        assert_eq!(
            names(&of(&plan, &["s", "c"], alone("/x"))),
            ["file:///s", "file:///c"]
        );
    }

    #[test]
    fn a_file_of_a_former_key_gets_no_keys_of_the_volume_by_being_moved() {
        let plan = plan();
        for keys in [&["former"][..], &["former", "own"], &["volume", "former"]] {
            for standing in [
                alone(""),
                alone("/public"),
                alone("/bulk"),
                alone("/hr/open"),
                alone("/old"),
                linked("/public"),
                Standing::default(),
            ] {
                let refused = plan.of_file(&header(keys), standing);
                assert!(
                    matches!(&refused, Err(VolumeError::KeyOfFormerFolder(key)) if *key == uri("former")),
                    "{keys:?} {standing:?}: {refused:?}"
                );
            }
            assert_eq!(names(&of(&plan, keys, alone("/legal/x"))), ["file:///c"]);
        }
    }

    #[test]
    fn where_no_folder_has_keys_any_more_former_ones_give_way_to_the_volumes() {
        let mut plan = plan();
        plan.keys = KeyPlan::new(plan.keys.own, &[uri("own")], &[]);
        for standing in [alone("/hr"), linked(""), Standing::default()] {
            assert_eq!(names(&of(&plan, &["former"], standing)), ["file:///own"]);
        }
    }

    #[test]
    fn a_key_that_comes_in_the_place_of_another_has_its_files_wherever_they_stand() {
        let mut plan = plan();
        plan.exchange = Some((uri("former"), uri("c")));
        for path in ["", "/public", "/hr", "/legal"] {
            assert_eq!(names(&of(&plan, &["former"], alone(path))), ["file:///c"]);
            assert_eq!(
                names(&of(&plan, &["former", "own"], alone(path))),
                ["file:///c"]
            );
        }
        // Whoever says so gives them the volume's keys; a key that is nobody's is no answer.
        plan.exchange = Some((uri("former"), uri("own")));
        assert_eq!(
            names(&of(&plan, &["former"], alone("/public"))),
            ["file:///own"]
        );
        plan.exchange = Some((uri("former"), uri("nobodys")));
        assert!(
            plan.of_file(&header(&["former"]), alone("/public"))
                .is_err()
        );
    }
}

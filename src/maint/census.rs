//! Counting files by the keys that open them: from headers alone, without any key.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::content::{ContentError, Probe, probe_any_layout};
use crate::format::header::{FileHeader, HeaderError};
use crate::storage::{Access, CName, FileKind, Node};
use crate::units::{KeyUri, VolumeId};

use super::walk::{join, walk};

/// Which keys the files of a volume name. Nothing of it is authenticated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Files with a header; one of several names counts once.
    pub files: u64,
    /// By key and version.
    pub keys: Vec<KeyCount>,
    /// Files with more than one key epoch: a `reencrypt` was begun on them and is not over.
    pub unfinished: u64,
    /// Files that were made outside the volume.
    pub foreign: u64,
    /// Files without a header: a crash came before their first sync, or they are being made.
    pub empty: u64,
    /// Files that are none of this program's.
    pub strange: u64,
    /// What could not be read: the count is short by these.
    pub unread: Vec<Spot>,
}

/// How many files name one version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyCount {
    /// The key.
    pub key: KeyUri,
    /// Its version, as its provider calls it.
    pub version: String,
    /// Files with a slot of it.
    pub files: u64,
    /// Files that it alone opens: no other key has a slot on one of their data keys.
    pub alone: u64,
}

/// Something in the ciphertext folder, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spot {
    /// Its path in the ciphertext folder.
    pub ciphertext: String,
    /// What is wrong.
    pub why: String,
}

/// Reads every header below `root`, the ciphertext folder of `volume`. `progress` hears how many were read.
pub fn census(root: &Arc<Node>, volume: VolumeId, mut progress: impl FnMut(u64)) -> Census {
    let mut count = Count {
        volume,
        census: Census::default(),
        keys: BTreeMap::new(),
        linked: HashSet::new(),
    };
    let walked = walk(root, |folder| {
        match folder {
            Err(unread) => count.cannot_read(unread.path, &unread.error),
            Ok(folder) => {
                for entry in &folder.entries {
                    if entry.kind == FileKind::Regular {
                        count.file(&folder.node, &entry.name, &folder.path);
                        progress(count.census.files);
                    }
                }
            }
        }
        Ok::<_, std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    count.finish()
}

/// How often a header is read again that makes no sense: a mount may be writing it at this moment.
const ATTEMPTS: usize = 3;

/// A census on its way.
struct Count {
    volume: VolumeId,
    census: Census,
    /// Files, and files that it alone opens, by key and version.
    keys: BTreeMap<(KeyUri, String), (u64, u64)>,
    /// Files of several names that were counted.
    linked: HashSet<(u64, u64)>,
}

impl Count {
    fn file(&mut self, folder: &Node, name: &CName, path: &str) {
        match self.probe(folder, name) {
            Ok(None) => {}
            Ok(Some(Probe::Empty)) => self.census.empty += 1,
            Ok(Some(Probe::Sealed(header))) => self.header(&header),
            Err(ContentError::NotReadable(HeaderError::NotOurs)) => self.census.strange += 1,
            // It went while the folder was being read.
            Err(ContentError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.cannot_read(join(path, name), &error),
        }
    }

    fn probe(&mut self, folder: &Node, name: &CName) -> Result<Option<Probe>, ContentError> {
        let file = folder.open_child_file(name, Access::Read)?;
        let stat = file.stat()?;
        if stat.nlink > 1 && !self.linked.insert((stat.dev, stat.ino)) {
            return Ok(None);
        }
        for _ in 0..ATTEMPTS {
            match probe_any_layout(&file) {
                Err(ContentError::NotReadable(HeaderError::Malformed(_))) => {}
                probed => return probed.map(Some),
            }
        }
        probe_any_layout(&file).map(Some)
    }

    fn header(&mut self, header: &FileHeader) {
        self.census.files += 1;
        self.census.unfinished += u64::from(header.epochs.len() > 1);
        self.census.foreign += u64::from(header.volume_id != Some(self.volume));
        let slots = header.epochs.iter().flat_map(|epoch| &epoch.slots);
        let named: BTreeSet<_> = slots
            .map(|slot| (slot.key_uri.clone(), slot.key_version.clone()))
            .collect();
        for (key, version) in named {
            let alone = header
                .epochs
                .iter()
                .any(|epoch| epoch.slots.iter().all(|slot| slot.key_uri == key));
            let count = self.keys.entry((key, version)).or_default();
            count.0 += 1;
            count.1 += u64::from(alone);
        }
    }

    fn cannot_read(&mut self, ciphertext: String, why: &dyn std::fmt::Display) {
        self.census.unread.push(Spot {
            ciphertext,
            why: why.to_string(),
        });
    }

    fn finish(self) -> Census {
        let count = |((key, version), (files, alone))| KeyCount {
            key,
            version,
            files,
            alone,
        };
        Census {
            keys: self.keys.into_iter().map(count).collect(),
            ..self.census
        }
    }
}

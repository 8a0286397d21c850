//! Names that came or moved while a run walks over all files: a walk may have been in a folder before a file moved there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::storage::{CName, Node};

use super::FileSystem;
use super::inodes::{Ino, Inode};

/// Notes names while somebody watches.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Who watches; nothing is noted while it is nobody.
    watchers: AtomicU64,
    /// By folder and ciphertext name, so that a name counts once however often it moves.
    noted: Mutex<HashMap<(Ino, CName), Arc<Inode>>>,
}

impl Moves {
    /// A name that is there since this moment.
    pub(super) fn note(&self, parent: &Arc<Inode>, cname: &CName) {
        if self.watchers.load(Ordering::Acquire) > 0 {
            let place = (parent.ino(), cname.clone());
            self.noted.lock().insert(place, Arc::clone(parent));
        }
    }
}

/// A name that came or moved.
#[derive(Debug)]
pub struct Moved {
    /// Its folder.
    pub dir: Arc<Node>,
    /// The name in it.
    pub cname: CName,
    /// The folder's path in the mount, where that is known.
    pub folder: Option<Vec<u8>>,
}

/// Names are noted while this lives.
#[derive(Debug)]
pub struct MoveWatch<'a>(&'a FileSystem);

impl FileSystem {
    /// Notes from now on which names come or move.
    pub fn watch_moves(&self) -> MoveWatch<'_> {
        self.moves.watchers.fetch_add(1, Ordering::AcqRel);
        MoveWatch(self)
    }
}

impl MoveWatch<'_> {
    /// The names noted since the last call, each with its folder. Those whose folder is gone are gone with it.
    pub fn take(&self) -> Vec<Moved> {
        let noted = std::mem::take(&mut *self.0.moves.noted.lock());
        let place = |((_ino, cname), parent): ((Ino, CName), Arc<Inode>)| {
            Some(Moved {
                dir: self.0.folder_node(&parent).ok()?,
                cname,
                folder: self.0.path_of(&parent),
            })
        };
        noted.into_iter().filter_map(place).collect()
    }
}

impl Drop for MoveWatch<'_> {
    fn drop(&mut self) {
        if self.0.moves.watchers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.moves.noted.lock().clear();
        }
    }
}

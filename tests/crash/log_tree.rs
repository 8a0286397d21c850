//! What Btrfs leaves: the tree of one moment, and what `fsync` has logged since on top of it.
//!
//! Read from linux/fs/btrfs/tree-log.c and seen on a real Btrfs (`real.rs`): `btrfs_log_inode_parent` logs the inode with its
//! names; `log_all_new_ancestors` logs folders that the last commit does not know, but of their entries only the
//! ones on the way (`LOG_INODE_EXISTS`); an inode whose name in the last commit another has now
//! is logged as well (`log_conflicting_inodes`); where the inode lost a name since the last commit, `btrfs_log_all_parents`
//! logs the folders in full; to log a folder that something unknown to the log was moved out of
//! is to commit (`BTRFS_LOG_FORCE_COMMIT`); `log_new_dir_dentries` logs, for a folder in full, the inodes that its new entries lead to, and
//! changed folders among them in full, unless they are in the log already; `btrfs_log_new_name` logs a new name upon a
//! rename of what the log knows, or from a folder that it knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::image::{Id, Kind, ROOT, Tree};
use crate::record::Op;

/// What the log has since the last commit.
struct Log<'a> {
    history: &'a History,
    /// The commit: so many operations.
    cut: usize,
    inodes: BTreeMap<Id, Logged>,
    /// Folders that something was moved out of, of which the log does not know: to log one is to commit everything.
    moved_out_of: BTreeSet<Id>,
}

/// How an inode stands in the log, as it was after so many operations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logged {
    /// That it is there, with its names.
    Exists(usize),
    /// All of it: a file's content, a folder's entries.
    Whole(usize),
}

/// What a crash leaves of the names, and of the files: up to which operation each has reached the disk.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) tree: Tree,
    pub(crate) reach: BTreeMap<Id, usize>,
    /// The same of files that are not in there.
    pub(crate) cut: usize,
}

/// The state after a crash, where the last commit that happened by itself has the first `cut` operations.
pub(crate) fn replay(history: &History, crash: usize, cut: usize) -> Replayed {
    let mut log = Log {
        history,
        cut,
        inodes: BTreeMap::new(),
        moved_out_of: BTreeSet::new(),
    };
    let ops = &history.ops[..crash];
    let written = |op: &Op| is_sync(op).is_some();
    let last_sync = ops
        .iter()
        .rposition(written)
        .map_or(cut, |at| at + 1)
        .max(cut);
    for (at, op) in ops.iter().enumerate().take(last_sync).skip(cut) {
        if let Some(id) = is_sync(op) {
            log.sync(id, at + usize::from(matches!(op, Op::Write { .. })));
        }
        if let Op::Rename { from, to, exchange } = op {
            log.renamed(from, to, at);
            if *exchange {
                log.renamed(to, from, at);
            }
        }
    }
    log.applied(last_sync)
}

/// The inode that an operation writes to the log.
fn is_sync(op: &Op) -> Option<Id> {
    match op {
        Op::SyncData(id) | Op::SyncAll(id) | Op::SyncFolder(id) => Some(*id),
        Op::Write {
            id, synced: true, ..
        } => Some(*id),
        _ => None,
    }
}

impl Log<'_> {
    fn tree(&self, at: usize) -> &Tree {
        &self.history.trees[at]
    }

    fn committed(&self) -> &Tree {
        self.tree(self.cut)
    }

    fn sync(&mut self, id: Id, at: usize) {
        if !self.tree(at).inodes.contains_key(&id) {
            return;
        }
        let mut whole = BTreeSet::from([id]);
        whole.extend(self.parents_to_log(id, at));
        for id in whole {
            self.log_whole(id, at);
        }
    }

    fn log_whole(&mut self, id: Id, at: usize) {
        if self.moved_out_of.contains(&id) {
            self.cut = at;
            self.inodes.clear();
            self.moved_out_of.clear();
            return;
        }
        self.inodes.insert(id, Logged::Whole(at));
        self.log_new_ancestors(id, at);
        if self.tree(at).inodes[&id].kind == Kind::Folder {
            self.log_new_entries(id, at);
        }
    }

    /// The folders, old and new, of an inode that lost a name since the last commit, or went to another folder.
    fn parents_to_log(&self, id: Id, at: usize) -> BTreeSet<Id> {
        let lost_name = |moment: usize| {
            let here = |place: &(Id, Vec<u8>)| self.tree(moment).entries.get(place) == Some(&id);
            match &self.history.ops[moment] {
                Op::Unlink { folder, name } => here(&(*folder, name.clone())),
                Op::Rename { from, to, .. } => from.0 != to.0 && (here(from) || here(to)),
                _ => false,
            }
        };
        if !(self.cut..at).any(lost_name) {
            return BTreeSet::new();
        }
        (self.cut..=at)
            .flat_map(|moment| self.tree(moment).names_of(id).map(|(folder, _)| *folder))
            .filter(|folder| self.is_reachable(*folder, at))
            .collect()
    }

    fn is_reachable(&self, folder: Id, at: usize) -> bool {
        folder == ROOT || self.tree(at).names_of(folder).next().is_some()
    }

    fn log_new_entries(&mut self, folder: Id, at: usize) {
        let entries: Vec<_> = self
            .tree(at)
            .entries_of(folder)
            .map(|(name, id)| ((folder, name.clone()), id))
            .filter(|(place, id)| self.committed().entries.get(place) != Some(id))
            .collect();
        for (_, id) in entries {
            if self.inodes.contains_key(&id) {
                continue;
            }
            if self.tree(at).inodes[&id].kind != Kind::Folder {
                self.inodes.insert(id, Logged::Exists(at));
                self.log_new_ancestors(id, at);
            } else if self.is_changed_folder(id, at) {
                self.log_whole(id, at);
            }
        }
    }

    fn is_changed_folder(&self, folder: Id, at: usize) -> bool {
        let (committed, now) = (self.committed(), self.tree(at));
        !committed.names_of(folder).eq(now.names_of(folder))
            || !committed.entries_of(folder).eq(now.entries_of(folder))
    }

    /// What is renamed gets its new name in the log where the log knows it, or the folder that it was in.
    fn renamed(&mut self, from: &(Id, Vec<u8>), to: &(Id, Vec<u8>), at: usize) {
        let id = self.tree(at).entries[from];
        if self.inodes.contains_key(&id) || self.inodes.contains_key(&from.0) {
            self.inodes.entry(id).or_insert(Logged::Exists(at + 1));
            self.log_new_ancestors(id, at + 1);
        } else if from.0 != to.0 {
            self.moved_out_of.insert(from.0);
        }
    }

    fn log_new_ancestors(&mut self, id: Id, at: usize) {
        let names: Vec<_> = self.tree(at).names_of(id).cloned().collect();
        for place in names {
            let parent = place.0;
            if !self.committed().inodes.contains_key(&parent) {
                self.inodes.entry(parent).or_insert(Logged::Exists(at));
                self.log_new_ancestors(parent, at);
            }
            self.log_conflict(&place, id, at);
        }
    }

    /// An inode that had a name before which another has now is logged too, where it is now.
    fn log_conflict(&mut self, place: &(Id, Vec<u8>), id: Id, at: usize) {
        let before = self.committed().entries.get(place).copied();
        let Some(before) = before.filter(|before| *before != id) else {
            return;
        };
        let is_there = self.tree(at).names_of(before).next().is_some();
        if is_there && !self.inodes.contains_key(&before) {
            self.inodes.insert(before, Logged::Exists(at));
            self.log_new_ancestors(before, at);
        }
    }

    /// The committed tree with the log on top, as it stood at the last sync: renames bring the log up to date.
    fn applied(self, last_sync: usize) -> Replayed {
        let mut tree = self.committed().clone();
        let latest = &self.history.trees[last_sync];
        for (id, logged) in &self.inodes {
            let (Logged::Exists(at) | Logged::Whole(at)) = logged;
            tree.inodes.insert(*id, self.tree(*at).inodes[id].clone());
        }
        for (id, logged) in &self.inodes {
            let Logged::Whole(at) = logged else { continue };
            self.replace_entries(&mut tree, (*id, *at), latest);
        }
        for id in self.inodes.keys() {
            tree.entries.retain(|_, named| named != id);
            let names = latest.names_of(*id).cloned();
            let names = names.filter(|(folder, _)| tree.inodes.contains_key(folder));
            for name in names.collect::<Vec<_>>() {
                tree.entries.insert(name, *id);
            }
        }
        let reach = self.inodes.iter().map(|(id, logged)| match logged {
            Logged::Whole(at) => (*id, self.cut.max(*at)),
            Logged::Exists(_) => (*id, self.cut),
        });
        Replayed {
            reach: reach.collect(),
            tree,
            cut: self.cut,
        }
    }

    /// A folder's entries as they were logged, less those that went since; those that lead to inodes that are there.
    fn replace_entries(&self, tree: &mut Tree, (folder, at): (Id, usize), latest: &Tree) {
        if self.tree(at).inodes[&folder].kind != Kind::Folder {
            return;
        }
        tree.entries.retain(|(of, _), _| *of != folder);
        for (name, id) in self.tree(at).entries_of(folder) {
            let place = (folder, name.clone());
            if tree.inodes.contains_key(&id) && latest.entries.get(&place) == Some(&id) {
                tree.entries.insert(place, id);
            }
        }
    }
}

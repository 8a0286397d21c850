//! Folders with entries of the volume's own that may not be on disk yet: a new folder's id, the full forms of long names.
//!
//! Where all metadata go to disk in one order (ext4, XFS) nothing more is to be done: the id and the full form are made
//! before the name that needs them. Others bring an inode to disk alone: Btrfs, upon `fsync` of a file, with its
//! names and the folders on the way there, but without the other entries of these. A power cut then leaves a folder without
//! its id, or a long name without its full form. A rename or a link of what Btrfs has in its log changes the log at once,
//! which the next `fsync` of any file brings to disk. So before a file is synced, and before a name in such a folder
//! comes about otherwise than by making a file, the folder is synced.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::inodes::Ino;

/// Folders that are remembered one by one. Beyond, the next sync is one of the whole file system.
const REMEMBERED: usize = 1 << 16;

/// The folders, as far as this mount has made such entries in them.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// The file system orders metadata, so that nothing need be remembered.
    ordered: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    folders: HashMap<Ino, Folder>,
    /// Counts the entries: what was synced before a further one does not count for it.
    made: u64,
    /// There are more folders than are remembered: the count when the last was left out.
    left_out: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Folder {
    /// The count when its last entry was made.
    made: u64,
    /// The folder that it is in, where it is itself new.
    parent: Option<Ino>,
}

/// What was there when a sync began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

impl Unsynced {
    /// For a ciphertext folder on a file system that does, or does not, bring metadata to disk in their order.
    pub(super) fn new(ordered: bool) -> Self {
        Self {
            ordered,
            state: Mutex::default(),
        }
    }

    /// A new folder has got its id. Call before it can be found.
    pub(super) fn made_folder(&self, folder: Ino, parent: Ino) {
        self.note(folder, Some(parent));
    }

    /// The full form of a long name was made in `folder`. Call before the name is made.
    pub(super) fn made_full_name(&self, folder: Ino) {
        self.note(folder, None);
    }

    fn note(&self, folder: Ino, parent: Option<Ino>) {
        if !self.ordered {
            self.state.lock().note(folder, parent);
        }
    }

    /// A folder was moved to another.
    pub(super) fn moved(&self, folder: Ino, parent: Ino) {
        if let Some(folder) = self.state.lock().folders.get_mut(&folder) {
            folder.parent = folder.parent.map(|_before| parent);
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.folders.is_empty() && state.left_out.is_none()
    }

    /// Whether a sync of single folders would not do.
    pub(super) fn needs_whole_sync(&self) -> bool {
        self.state.lock().left_out.is_some()
    }

    /// Whether `folder` is to be synced; then [`Unsynced::synced`] takes what this says.
    pub(super) fn mark_of(&self, folder: Ino) -> Option<Mark> {
        let state = self.state.lock();
        state.folders.get(&folder).map(|folder| Mark(folder.made))
    }

    /// A mark of everything so far.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.state.lock().made)
    }

    /// The new folders in `parent`.
    pub(super) fn new_folders_in(&self, parent: Ino) -> Vec<Ino> {
        let state = self.state.lock();
        let in_it = state
            .folders
            .iter()
            .filter(|(_, folder)| folder.parent == Some(parent));
        in_it.map(|(ino, _)| *ino).collect()
    }

    /// A sync of `folder` that began after `mark` was taken has succeeded.
    pub(super) fn synced(&self, folder: Ino, mark: Mark) {
        let mut state = self.state.lock();
        if state
            .folders
            .get(&folder)
            .is_some_and(|folder| folder.made <= mark.0)
        {
            state.folders.remove(&folder);
        }
    }

    /// A folder is gone.
    pub(super) fn removed(&self, folder: Ino) {
        self.state.lock().folders.remove(&folder);
    }

    /// A sync of the whole file system that began after `mark` was taken has succeeded.
    pub(super) fn synced_all(&self, mark: Mark) {
        let mut state = self.state.lock();
        state.folders.retain(|_, folder| folder.made > mark.0);
        state.left_out = state.left_out.filter(|made| *made > mark.0);
    }
}

impl State {
    fn note(&mut self, ino: Ino, parent: Option<Ino>) {
        self.made += 1;
        let made = self.made;
        if let Some(folder) = self.folders.get_mut(&ino) {
            folder.made = made;
            folder.parent = folder.parent.or(parent);
        } else if self.folders.len() < REMEMBERED {
            self.folders.insert(ino, Folder { made, parent });
        } else {
            self.left_out = Some(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: Ino = Ino(10);
    const OTHER: Ino = Ino(11);

    #[test]
    fn a_sync_does_not_count_for_what_was_made_after_it_began() {
        let unsynced = Unsynced::new(false);
        assert!(unsynced.is_empty());
        unsynced.made_full_name(FOLDER);
        let mark = unsynced.mark_of(FOLDER).unwrap();
        unsynced.made_full_name(FOLDER);
        unsynced.synced(FOLDER, mark);
        assert!(!unsynced.is_empty());
        unsynced.synced(FOLDER, unsynced.mark_of(FOLDER).unwrap());
        assert!(unsynced.is_empty());

        let mark = unsynced.mark();
        unsynced.made_full_name(FOLDER);
        unsynced.synced_all(mark);
        assert!(!unsynced.is_empty());
        unsynced.synced_all(unsynced.mark());
        assert!(unsynced.is_empty());
    }

    #[test]
    fn where_metadata_are_ordered_nothing_waits() {
        let unsynced = Unsynced::new(true);
        unsynced.made_folder(FOLDER, Ino::ROOT);
        unsynced.made_full_name(OTHER);
        assert!(unsynced.is_empty());
    }

    #[test]
    fn new_folders_are_found_where_they_are_now() {
        let unsynced = Unsynced::new(false);
        unsynced.made_folder(FOLDER, Ino::ROOT);
        unsynced.made_full_name(FOLDER);
        unsynced.made_full_name(OTHER);
        assert_eq!(unsynced.new_folders_in(Ino::ROOT), [FOLDER]);
        unsynced.moved(FOLDER, OTHER);
        unsynced.moved(OTHER, Ino::ROOT);
        assert_eq!(unsynced.new_folders_in(Ino::ROOT), []);
        assert_eq!(unsynced.new_folders_in(OTHER), [FOLDER]);
        unsynced.removed(FOLDER);
        assert_eq!(unsynced.new_folders_in(OTHER), []);
        assert_eq!(unsynced.mark_of(FOLDER), None);
    }

    #[test]
    fn more_folders_than_are_remembered_need_a_sync_of_everything() {
        let unsynced = Unsynced::new(false);
        for ino in 0..REMEMBERED as u64 {
            unsynced.made_full_name(Ino(ino + 100));
        }
        assert!(!unsynced.needs_whole_sync());
        unsynced.made_folder(FOLDER, Ino::ROOT);
        assert!(unsynced.needs_whole_sync());
        let mark = unsynced.mark();
        unsynced.made_folder(OTHER, Ino::ROOT);
        unsynced.synced_all(mark);
        assert!(unsynced.needs_whole_sync());
        unsynced.synced_all(unsynced.mark());
        assert!(unsynced.is_empty());
    }
}

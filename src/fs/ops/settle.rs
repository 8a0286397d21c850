//! Before an inode reaches the disk alone, the folders that it is in do: see [`Unsynced`](crate::fs::unsynced::Unsynced).

use std::sync::Arc;

use crate::fs::FileSystem;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode, Whereabouts};
use crate::storage::FileKind;

impl FileSystem {
    /// Makes durable what `inode` is found by: the ids of the new folders that it is in, and the full forms of long names.
    ///
    /// # Errors
    /// `EIO` and what else the ciphertext folder answers: then `inode` must not be synced.
    pub(in crate::fs) fn sync_folders_of(&self, inode: &Inode) -> Result<(), FsError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let Some(folders) = self.known_folders_of(inode)? else {
            return self.sync_everything();
        };
        // From the top: a folder that is synced may take those above it to the disk, by name alone.
        folders
            .iter()
            .rev()
            .try_for_each(|folder| self.sync_if_new(folder))
    }

    /// As [`FileSystem::sync_folders_of`], of the folder `folder` and itself, before a name in it comes about.
    ///
    /// # Errors
    /// As there: then the name must not be made.
    pub(in crate::fs) fn sync_folders_down_to(&self, folder: &Arc<Inode>) -> Result<(), FsError> {
        self.sync_folders_of(folder)?;
        self.sync_if_new(folder)
    }

    fn sync_if_new(&self, folder: &Arc<Inode>) -> Result<(), FsError> {
        match self.unsynced.mark_of(folder.ino()) {
            Some(_) => self.sync_folder_if_there(folder),
            None => Ok(()),
        }
    }

    /// Makes durable the ids of the new folders in `parent`, so that a sync of `parent` makes whole folders durable.
    ///
    /// # Errors
    /// As [`FileSystem::sync_folders_of`].
    pub(in crate::fs) fn sync_new_folders_in(&self, parent: Ino) -> Result<(), FsError> {
        for new in self.unsynced.new_folders_in(parent) {
            if let Some(new) = self.inodes.find(new) {
                self.sync_folder_if_there(&new)?;
            }
        }
        Ok(())
    }

    /// Another mount of a shared volume may have removed it.
    fn sync_folder_if_there(&self, folder: &Arc<Inode>) -> Result<(), FsError> {
        match self.sync_folder(folder) {
            Err(error) if [libc::ENOENT, libc::ESTALE].contains(&error.errno()) => {
                self.unsynced.removed(folder.ino());
                Ok(())
            }
            result => result,
        }
    }

    /// Makes a folder's entries durable.
    pub(in crate::fs) fn sync_folder(&self, folder: &Arc<Inode>) -> Result<(), FsError> {
        let mark = self.unsynced.mark();
        self.folder_node(folder)?.sync_dir()?;
        self.unsynced.synced(folder.ino(), mark);
        Ok(())
    }

    fn sync_everything(&self) -> Result<(), FsError> {
        let mark = self.unsynced.mark();
        self.volume.root().sync_fs()?;
        self.unsynced.synced_all(mark);
        Ok(())
    }

    /// The folders above an inode, the nearest first. `None` where they may not be all: it has several names,
    /// or is known by none.
    fn known_folders_of(&self, inode: &Inode) -> Result<Option<Vec<Arc<Inode>>>, FsError> {
        let stat = self.stat(inode)?;
        let has_others = stat.kind != FileKind::Directory && stat.nlink > 1;
        if has_others || self.unsynced.needs_whole_sync() {
            return Ok(None);
        }
        let mut folders: Vec<Arc<Inode>> = Vec::new();
        loop {
            let last = folders.last().map_or(inode, |last| &**last);
            if last.ino() == Ino::ROOT || stat.nlink == 0 {
                return Ok(Some(folders));
            }
            let parent = match &*last.whereabouts().read() {
                Whereabouts::At { parent, .. } => Arc::clone(parent),
                Whereabouts::Held(_) | Whereabouts::ByHandle(_) | Whereabouts::Nameless { .. } => {
                    return Ok(None);
                }
            };
            folders.push(parent);
        }
    }
}

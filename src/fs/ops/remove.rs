//! unlink, rmdir.

use std::sync::Arc;

use crate::format::names::{self, EntryKind};
use crate::fs::FileSystem;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode, Whereabouts};
use crate::fs::ops::create::{dir_id_entry, temporary_name};
use crate::fs::resolve::Place;
use crate::fs::stats::Operation;
use crate::storage::{CName, FileKind, Node, RenameFlags, Stat};

impl FileSystem {
    /// Removes a name of what is not a folder.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.stats.count(Operation::Unlink);
        let parent = self.inode(parent)?;
        let place = self.place(&parent, name)?;
        let _names = parent.names().write();
        self.lose_name(&parent, &place, || Ok(place.dir.unlink(&place.cname)?))?;
        place.remove_sidecar();
        Ok(())
    }

    /// Runs what takes away the name at `place`. If the kernel knows the inode by it, a handle keeps the inode reachable.
    fn lose_name(
        &self,
        parent: &Arc<Inode>,
        place: &Place,
        work: impl FnOnce() -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let node = self.with_descriptors(|| Ok(Arc::new(place.dir.child(&place.cname)?)))?;
        let stat = node.stat()?;
        let number = self.inodes.number((stat.dev, stat.ino));
        let Some(inode) = self.inodes.find(number) else {
            work()?;
            self.unsynced.removed(number);
            return Ok(());
        };
        let mut whereabouts = inode.whereabouts().write();
        work()?;
        self.unsynced.removed(number);
        if stat.nlink == 1 {
            self.last_name_is_gone(&inode, &stat);
        }
        if whereabouts.needs(parent, &place.cname) {
            *whereabouts = Whereabouts::Held(node);
        }
        Ok(())
    }

    /// Of an inode that nobody can find again, nothing is remembered. `stat`: what it was before.
    pub(in crate::fs) fn last_name_is_gone(&self, inode: &Inode, stat: &Stat) {
        self.committer.leave(inode);
        self.ctimes.forget(stat);
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// `ENOTEMPTY`, also where something lies in it that is none of this volume's; `ENOTDIR`.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.stats.count(Operation::Rmdir);
        let parent = self.inode(parent)?;
        let place = self.place(&parent, name)?;
        let _names = parent.names().write();
        self.lose_name(&parent, &place, || match self.volume.seals_names() {
            false => Ok(place.dir.remove_dir(&place.cname)?),
            true => remove_folder_with_id(&place.dir, &place.cname),
        })?;
        place.remove_sidecar();
        Ok(())
    }
}

/// A folder is never seen without its id: it leaves under a temporary name, and is taken apart there.
pub(in crate::fs) fn remove_folder_with_id(dir: &Node, cname: &CName) -> Result<(), FsError> {
    if dir.stat_child(cname)?.kind != FileKind::Directory {
        return Err(FsError::Refused(libc::ENOTDIR));
    }
    let folder = dir.child(cname)?;
    let debris = own_entries(&folder)?;
    let temporary = temporary_name()?;
    dir.rename(cname, dir, &temporary, RenameFlags::NOREPLACE)?;
    // Another mount of a shared volume may have put something in meanwhile.
    let taken_apart =
        own_entries(&folder).and_then(|_| take_apart(dir, &temporary, &folder, &debris));
    if taken_apart.is_err() {
        dir.rename(&temporary, dir, cname, RenameFlags::NOREPLACE)?;
    }
    taken_apart
}

/// The entries of a folder that holds nothing of the user's: its id, sidecars of names that are gone, what a crash left.
pub(in crate::fs) fn own_entries(folder: &Node) -> Result<Vec<(CName, FileKind)>, FsError> {
    let mut own = Vec::new();
    let mut entries = folder.read_dir()?;
    while let Some(found) = entries.next_entry() {
        let found = found?;
        match names::classify(found.name.as_bytes()) {
            EntryKind::Reserved | EntryKind::Sidecar => own.push((found.name, found.kind)),
            EntryKind::Name | EntryKind::LongName => return Err(FsError::NOT_EMPTY),
        }
    }
    Ok(own)
}

fn take_apart(
    dir: &Node,
    cname: &CName,
    folder: &Node,
    debris: &[(CName, FileKind)],
) -> Result<(), FsError> {
    let id = dir_id_entry()?;
    let (id_entry, others): (Vec<_>, Vec<_>) = debris.iter().partition(|(name, _)| *name == id);
    allow_owner(folder)?;
    for (name, kind) in others {
        match kind {
            FileKind::Directory => remove_unfinished_folder(folder, name)?,
            _ => folder.unlink(name)?,
        }
    }
    if id_entry.is_empty() {
        return Ok(dir.remove_dir(cname)?);
    }
    let target = folder.read_link_child(&id)?;
    folder.unlink(&id)?;
    dir.remove_dir(cname).map_err(|error| {
        // Something came in at the last moment, and its name is bound to the id.
        match folder.make_symlink(&target, &id) {
            Ok(()) => error.into(),
            Err(lost) => {
                tracing::error!(%lost, ciphertext = %cname.to_string_lossy(), "a folder lost its id");
                FsError::from(lost)
            }
        }
    })
}

/// A folder that a crash kept from getting its name, or from going away.
fn remove_unfinished_folder(folder: &Node, name: &CName) -> Result<(), FsError> {
    let unfinished = folder.child(name)?;
    let own = own_entries(&unfinished)?;
    take_apart(folder, name, &unfinished, &own)
}

/// An owner may remove a folder that he may not write to; its entries he could not.
fn allow_owner(folder: &Node) -> Result<(), FsError> {
    let mode = folder.stat()?.mode;
    if mode & 0o700 == 0o700 {
        Ok(())
    } else {
        Ok(folder.set_mode(mode | 0o700)?)
    }
}

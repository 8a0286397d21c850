//! rename, with the flags of renameat2.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;

use crate::fs::FileSystem;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode, Whereabouts};
use crate::fs::ops::remove::{own_entries, remove_folder_with_id};
use crate::fs::resolve::Place;
use crate::fs::stats::Operation;
use crate::storage::{FileKind, Node, RenameFlags, Stat};

/// One end of a rename.
struct End {
    parent: Arc<Inode>,
    place: Place,
    /// What stands there, if anything.
    found: Option<Found>,
}

struct Found {
    stat: Stat,
    node: Arc<Node>,
    /// The inode, if the kernel holds it.
    inode: Option<Arc<Inode>>,
}

impl FileSystem {
    /// Renames `name` in `parent` to `new_name` in `new_parent`. `flags` are `renameat2(2)`'s.
    ///
    /// # Errors
    /// `EEXIST` with NOREPLACE, `ENOTEMPTY`, `EINVAL` for flags that the ciphertext folder does not know.
    pub fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), FsError> {
        self.stats.count(Operation::Rename);
        let (parent, new_parent) = (self.inode(parent)?, self.inode(new_parent)?);
        let from = self.place(&parent, name)?;
        let to = self.place(&new_parent, new_name)?;
        let _names = lock_names(&parent, &new_parent);
        let from = self.end(&parent, from)?;
        let to = self.end(&new_parent, to)?;
        let source = from.found.as_ref().ok_or(FsError::NOT_FOUND)?;
        if to
            .found
            .as_ref()
            .is_some_and(|target| same_inode(&target.stat, &source.stat))
        {
            // Two names of one inode: rename(2) leaves both.
            return if flags.contains(RenameFlags::NOREPLACE) {
                Err(FsError::Refused(libc::EEXIST))
            } else {
                Ok(())
            };
        }
        to.place.make_sidecar()?;
        let renamed = self
            .sync_folders_down_to(&from.parent)
            .and_then(|()| self.sync_folders_down_to(&to.parent))
            .and_then(|()| self.rename_locked(&from, &to, flags));
        if renamed.is_ok() {
            self.moves.note(&to.parent, &to.place.cname);
            if flags.contains(RenameFlags::EXCHANGE) {
                self.moves.note(&from.parent, &from.place.cname);
            }
        }
        if renamed.is_err() {
            to.place.undo_sidecar();
        } else if !flags.intersects(RenameFlags::EXCHANGE | RenameFlags::WHITEOUT) {
            from.place.remove_sidecar();
        }
        renamed
    }

    fn end(&self, parent: &Arc<Inode>, place: Place) -> Result<End, FsError> {
        let found = match self.with_descriptors(|| Ok(place.dir.child(&place.cname)?)) {
            Err(error) if error.errno() == libc::ENOENT => None,
            node => {
                let node = Arc::new(node?);
                let stat = node.stat()?;
                let inode = self.inodes.find(self.inodes.number((stat.dev, stat.ino)));
                Some(Found { stat, node, inode })
            }
        };
        Ok(End {
            parent: Arc::clone(parent),
            place,
            found,
        })
    }

    /// Renames while nobody can look for either inode where it no longer is.
    fn rename_locked(&self, from: &End, to: &End, flags: RenameFlags) -> Result<(), FsError> {
        let inode = |end: &End| end.found.as_ref().and_then(|found| found.inode.clone());
        let (source, target) = (inode(from), inode(to));
        let (mut source_at, mut target_at) = lock_both(source.as_deref(), target.as_deref());
        self.rename_on_disk(from, to, flags)?;
        if let Some(at) = &mut source_at {
            **at = at_end(to);
        }
        self.note_moved_folders(from, to, flags);
        let (Some(at), Some(found)) = (&mut target_at, &to.found) else {
            return Ok(());
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            **at = at_end(from);
            return Ok(());
        }
        if let (1, Some(target)) = (found.stat.nlink, &target) {
            self.last_name_is_gone(target, &found.stat);
        }
        if at.needs(&to.parent, &to.place.cname) {
            **at = Whereabouts::Held(Arc::clone(&found.node));
        }
        Ok(())
    }

    fn note_moved_folders(&self, from: &End, to: &End, flags: RenameFlags) {
        let moved = |end: &End, to: &End| {
            if let Some(inode) = &end.found.as_ref().and_then(|found| found.inode.clone()) {
                self.unsynced.moved(inode.ino(), to.parent.ino());
            }
        };
        moved(from, to);
        if flags.contains(RenameFlags::EXCHANGE) {
            moved(to, from);
        } else if let Some(replaced) = to.found.as_ref().map(|found| &found.stat) {
            let number = self.inodes.number((replaced.dev, replaced.ino));
            self.unsynced.removed(number);
        }
    }

    fn rename_on_disk(&self, from: &End, to: &End, flags: RenameFlags) -> Result<(), FsError> {
        let rename = |flags| {
            from.place
                .dir
                .rename(&from.place.cname, &to.place.dir, &to.place.cname, flags)
        };
        let is_folder = |end: &End| {
            end.found
                .as_ref()
                .is_some_and(|found| found.stat.kind == FileKind::Directory)
        };
        let replaces_folder = flags.is_empty() && is_folder(from) && is_folder(to);
        match &to.found {
            // An empty folder still holds its id, so the ciphertext folder would not have it replaced.
            Some(target) if replaces_folder && self.volume.seals_names() => {
                own_entries(&target.node)?;
                rename(RenameFlags::EXCHANGE)?;
                let removed = remove_folder_with_id(&from.place.dir, &from.place.cname);
                if removed.is_err() {
                    rename(RenameFlags::EXCHANGE)?;
                }
                removed
            }
            _ => Ok(rename(flags)?),
        }
    }
}

fn same_inode(one: &Stat, other: &Stat) -> bool {
    (one.dev, one.ino) == (other.dev, other.ino)
}

fn at_end(end: &End) -> Whereabouts {
    Whereabouts::At {
        parent: Arc::clone(&end.parent),
        cname: end.place.cname.clone(),
    }
}

/// The names of both folders, locked in the order of their numbers; of one folder once.
fn lock_names<'a>(
    one: &'a Inode,
    other: &'a Inode,
) -> (RwLockWriteGuard<'a, ()>, Option<RwLockWriteGuard<'a, ()>>) {
    let (first, second) = if one.ino() <= other.ino() {
        (one, other)
    } else {
        (other, one)
    };
    let guard = first.names().write();
    (
        guard,
        (first.ino() != second.ino()).then(|| second.names().write()),
    )
}

type WhereaboutsGuard<'a> = Option<RwLockWriteGuard<'a, Whereabouts>>;

/// Both inodes' whereabouts, locked in the order of their numbers.
fn lock_both<'a>(
    one: Option<&'a Inode>,
    other: Option<&'a Inode>,
) -> (WhereaboutsGuard<'a>, WhereaboutsGuard<'a>) {
    let lock = |inode: Option<&'a Inode>| inode.map(|inode| inode.whereabouts().write());
    if one.map(Inode::ino) <= other.map(Inode::ino) {
        let first = lock(one);
        (first, lock(other))
    } else {
        let second = lock(other);
        (lock(one), second)
    }
}

//! Callers' file locks that hold between the mounts of a shared volume.
//!
//! Each owner's locks on an inode are locks of a descriptor of its own on the ciphertext file: there the kernel, or
//! the server, keeps owners of all mounts apart. Nothing here waits; who wants to wait asks again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::content::OpenFile;
use crate::storage::{LockKind, LockRange, StorageFile};

use super::FileSystem;
use super::error::FsError;
use super::handles::{Fh, FileHandle};
use super::inodes::Ino;

/// Whose locks. Those of the two kinds do not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// Of `fcntl`: the kernel's number for a process's open files, or for one open file (`F_OFD_SETLK`).
    Fcntl(u64),
    /// Of `flock`: the kernel's number for one open file.
    Flock(u64),
}

/// A lock as a caller asks for it.
#[derive(Clone, Copy, Debug)]
pub struct LockRequest {
    /// By which handle.
    pub fh: Fh,
    /// For whom.
    pub owner: LockOwner,
    /// The process, for those who ask who holds a lock.
    pub pid: u32,
    /// The bytes; `flock` locks all that there is.
    pub range: LockRange,
    /// The lock; `None` gives up what is held of the bytes.
    pub kind: Option<LockKind>,
}

impl LockRequest {
    /// Where the lock lies in the ciphertext file.
    fn place(&self) -> LockRange {
        match self.owner {
            LockOwner::Fcntl(_) => self.range,
            LockOwner::Flock(_) => LockRange::WHOLE,
        }
    }
}

/// A lock that stands in a caller's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockConflict {
    /// Its bytes.
    pub range: LockRange,
    /// Its kind.
    pub kind: LockKind,
    /// The process that holds it; 0 where that is another mount's.
    pub pid: u32,
}

/// The owners of locks, by inode.
#[derive(Debug, Default)]
pub(super) struct LockTable(Mutex<HashMap<Ino, Vec<Arc<Holder>>>>);

#[derive(Debug)]
struct Holder {
    owner: LockOwner,
    pid: u32,
    file: StorageFile,
    /// The handles that locks were asked for by: with the last reference to one of them such locks go that no close gave up.
    handles: Mutex<Vec<Fh>>,
}

impl LockTable {
    fn find(&self, ino: Ino, owner: LockOwner) -> Option<Arc<Holder>> {
        let table = self.0.lock();
        let mut holders = table.get(&ino)?.iter();
        holders.find(|holder| holder.owner == owner).cloned()
    }

    fn holders(&self, ino: Ino) -> Vec<Arc<Holder>> {
        self.0.lock().get(&ino).cloned().unwrap_or_default()
    }

    /// The owner's holder, with this descriptor if it had none.
    fn insert(&self, ino: Ino, new: Holder) -> Arc<Holder> {
        let mut table = self.0.lock();
        let holders = table.entry(ino).or_default();
        if let Some(known) = holders.iter().find(|holder| holder.owner == new.owner) {
            return Arc::clone(known);
        }
        let new = Arc::new(new);
        holders.push(Arc::clone(&new));
        new
    }

    /// Lets go of all locks of the holders that `leaves` picks; says whether there were any.
    fn remove(&self, ino: Ino, leaves: impl Fn(&Holder) -> bool) -> bool {
        let mut table = self.0.lock();
        let Some(holders) = table.get_mut(&ino) else {
            return false;
        };
        let (gone, stay): (Vec<_>, Vec<_>) = holders.drain(..).partition(|holder| leaves(holder));
        if stay.is_empty() {
            table.remove(&ino);
        } else {
            *holders = stay;
        }
        drop(table);
        !gone.is_empty()
    }
}

impl FileSystem {
    /// Takes or gives up a lock without waiting; says whether it was to be had.
    ///
    /// # Errors
    /// `EBADF` where an exclusive lock needs a ciphertext file that may be written; `ENOLCK`.
    pub fn set_lock(&self, request: &LockRequest) -> Result<bool, FsError> {
        let handle = self.files.find(request.fh)?;
        let ino = handle.inode.ino();
        let known = self.locks.find(ino, request.owner);
        let Some(kind) = request.kind else {
            if let Some(holder) = known {
                holder.file.unlock(request.place())?;
            }
            return Ok(true);
        };
        let holder = match known {
            Some(holder) => holder,
            None => {
                let new = self.with_descriptors(|| new_holder(&handle.file, request))?;
                self.locks.insert(ino, new)
            }
        };
        let taken = holder.file.try_lock(request.place(), kind)?;
        // As flock(2), which lets go of a lock before it takes another in its place: else two who hold it shared, and both
        // want it alone, would wait for each other.
        if !taken && matches!(request.owner, LockOwner::Flock(_)) {
            holder.file.unlock(LockRange::WHOLE)?;
        }
        let mut handles = holder.handles.lock();
        if taken && !handles.contains(&request.fh) {
            handles.push(request.fh);
        }
        Ok(taken)
    }

    /// A lock that keeps the one asked for from being had.
    ///
    /// # Errors
    /// `EBADF`; what `fcntl` answers.
    pub fn find_conflict(&self, request: &LockRequest) -> Result<Option<LockConflict>, FsError> {
        let handle = self.files.find(request.fh)?;
        let ino = handle.inode.ino();
        let kind = request.kind.unwrap_or(LockKind::Exclusive);
        let found = match self.locks.find(ino, request.owner) {
            Some(holder) => holder.file.conflict(request.place(), kind)?,
            None => handle.file.lock_conflict(request.place(), kind)?,
        };
        let Some((range, kind)) = found else {
            return Ok(None);
        };
        let pid = self.holder_of(ino, range, kind)?;
        Ok(Some(LockConflict { range, kind, pid }))
    }

    /// The process of this mount that holds a lock, or 0: it is the one in whose own way the lock does not stand.
    fn holder_of(&self, ino: Ino, range: LockRange, kind: LockKind) -> Result<u32, FsError> {
        for holder in self.locks.holders(ino) {
            let seen = holder.file.conflict(range, LockKind::Exclusive)?;
            if seen != Some((range, kind)) {
                return Ok(holder.pid);
            }
        }
        Ok(0)
    }

    /// Lets go of all locks of `owner` on the file of a handle, as each close by a process does; says whether there were any.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn drop_locks(&self, fh: Fh, owner: LockOwner) -> Result<bool, FsError> {
        let ino = self.files.find(fh)?.inode.ino();
        Ok(self.locks.remove(ino, |holder| holder.owner == owner))
    }

    /// Lets go of the locks asked for by a handle that is no more.
    pub(super) fn drop_handle_locks(&self, fh: Fh, handle: &FileHandle) {
        let asked_for = |holder: &Holder| holder.handles.lock().contains(&fh);
        self.locks.remove(handle.inode.ino(), asked_for);
    }
}

fn new_holder(file: &OpenFile, request: &LockRequest) -> Result<Holder, FsError> {
    Ok(Holder {
        owner: request.owner,
        pid: request.pid,
        file: file.descriptor_for_locks()?,
        handles: Mutex::default(),
    })
}

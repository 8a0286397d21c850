//! What the kernel's handles stand for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::content::OpenFile;

use super::error::FsError;
use super::inodes::Inode;
use super::ops::folder::ListedEntry;
use super::users::HandleUse;

/// The number of a handle: made by open, given back by release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fh(pub u64);

/// A file, opened once.
#[derive(Debug)]
pub(super) struct FileHandle {
    pub(super) inode: Arc<Inode>,
    pub(super) file: Arc<OpenFile>,
    /// Whether it may write.
    pub(super) writes: bool,
    /// Who opened it, and what came of that.
    pub(super) usage: HandleUse,
}

/// A folder, opened once.
#[derive(Debug)]
pub(super) struct FolderHandle {
    pub(super) inode: Arc<Inode>,
    /// The entries as they were when reading began: a listing loses and repeats none, whatever comes and goes.
    pub(super) listing: Mutex<Option<Arc<[ListedEntry]>>>,
}

/// Handles by number.
#[derive(Debug)]
pub(super) struct HandleTable<T> {
    handles: RwLock<HashMap<Fh, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Default for HandleTable<T> {
    fn default() -> Self {
        Self {
            handles: RwLock::default(),
            next: AtomicU64::new(1),
        }
    }
}

impl<T> HandleTable<T> {
    pub(super) fn insert(&self, handle: T) -> Fh {
        let fh = Fh(self.next.fetch_add(1, Ordering::Relaxed));
        self.handles.write().insert(fh, Arc::new(handle));
        fh
    }

    pub(super) fn find(&self, fh: Fh) -> Result<Arc<T>, FsError> {
        self.handles
            .read()
            .get(&fh)
            .map(Arc::clone)
            .ok_or(FsError::BAD_HANDLE)
    }

    pub(super) fn remove(&self, fh: Fh) -> Result<Arc<T>, FsError> {
        self.handles.write().remove(&fh).ok_or(FsError::BAD_HANDLE)
    }

    /// All that are there now.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.handles.read().values().map(Arc::clone).collect()
    }

    /// Takes out all that are left.
    pub(super) fn drain(&self) -> Vec<Arc<T>> {
        std::mem::take(&mut *self.handles.write())
            .into_values()
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.handles.read().len()
    }
}

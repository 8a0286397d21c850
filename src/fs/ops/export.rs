//! lookup of `.` and `..`: how the kernel asks for an inode that it has forgotten, and for the folder of one.

use std::sync::Arc;

use crate::fs::FileSystem;
use crate::fs::attr::Entry;
use crate::fs::error::FsError;
use crate::fs::exports::Exports;
use crate::fs::inodes::{Ino, Inode, Whereabouts};
use crate::storage::{InodeHandle, Node, Stat};

impl FileSystem {
    /// The inode `ino` itself.
    ///
    /// # Errors
    /// `ESTALE` where it is gone, or cannot be found by its number.
    pub(in crate::fs) fn lookup_itself(&self, ino: Ino) -> Result<Entry, FsError> {
        let node = self.node_by_number(ino)?;
        self.entry_by_handle(&node)
    }

    /// The folder that the folder `ino` is in; the root's is the root.
    ///
    /// # Errors
    /// As [`Self::lookup_itself`]; `ENOTDIR`.
    pub(in crate::fs) fn lookup_parent(&self, ino: Ino) -> Result<Entry, FsError> {
        let node = self.node_by_number(ino)?;
        if ino == Ino::ROOT {
            return self.entry_by_handle(&node);
        }
        self.entry_by_handle(&node.parent()?)
    }

    fn node_by_number(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        let exports = self.exports()?;
        if let Some(inode) = self.inodes.find(ino) {
            return self.node(&inode);
        }
        let number = self.inodes.backing_number(ino).ok_or(FsError::STALE)?;
        let found = exports.find(&self.volume, ino, number);
        found.map(Arc::new).ok_or(FsError::STALE)
    }

    fn exports(&self) -> Result<&Exports, FsError> {
        self.exports.as_ref().ok_or(FsError::STALE)
    }

    fn entry_by_handle(&self, node: &Node) -> Result<Entry, FsError> {
        let (stat, handle) = (node.stat()?, node.handle()?);
        // Deleted, and perhaps not closed yet: the kernel, which has forgotten it, is not to have it back.
        if stat.nlink == 0 {
            return Err(FsError::STALE);
        }
        let by_handle = || Whereabouts::ByHandle(Arc::new(handle.clone()));
        let inode = self.inodes.count_look_up(&stat, by_handle);
        Ok(Entry {
            attr: self.attr(&inode, &stat),
            generation: self.generation(&inode, &stat, || Ok(handle)),
        })
    }

    /// What tells `inode` from one that has its number later, where inodes are exported.
    pub(in crate::fs) fn generation(
        &self,
        inode: &Inode,
        stat: &Stat,
        handle: impl FnOnce() -> std::io::Result<InodeHandle>,
    ) -> u32 {
        if self.exports.is_none() || inode.ino() == Ino::ROOT || !self.inodes.is_own(stat) {
            return 0;
        }
        if let Some(known) = inode.handle().get() {
            return known.generation();
        }
        match handle() {
            Ok(handle) => inode.handle().get_or_init(|| handle).generation(),
            Err(error) => {
                tracing::debug!(%error, "an inode without a handle");
                0
            }
        }
    }

    /// The node of an inode that has been found by handle.
    pub(in crate::fs) fn reopen(&self, handle: &InodeHandle) -> Result<Node, FsError> {
        self.exports()?.open(handle).map_err(|_gone| FsError::STALE)
    }
}

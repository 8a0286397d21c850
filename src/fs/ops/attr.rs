//! lookup, forget, getattr, setattr, statfs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::content::OpenFile;
use crate::fs::attr::{Attr, Entry};
use crate::fs::error::FsError;
use crate::fs::handles::Fh;
use crate::fs::inodes::{Ino, Inode};
use crate::fs::stats::Operation;
use crate::fs::{Caller, FileSystem};
use crate::storage::{Access, CName, Node, Stat, StatFs, TimeSet, Timestamp};
use crate::units::PlainLen;

/// What to do with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    /// Set it to the present.
    Now,
    /// Set it to this.
    To(Timestamp),
}

/// What setattr changes; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttrChange {
    /// Mode bits, 07777.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Plaintext length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeChange>,
    /// Last change of content.
    pub mtime: Option<TimeChange>,
    /// The last change of all, which the kernel has made itself and shows.
    pub ctime: Option<Timestamp>,
}

/// Set-user-id and set-group-id.
const SET_ID_BITS: u32 = 0o6000;

impl FileSystem {
    /// Finds `name` in the folder `parent`.
    ///
    /// # Errors
    /// `ENOENT` and what the ciphertext folder answers.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Entry, FsError> {
        self.stats.count(Operation::Lookup);
        match name {
            b"." => return self.lookup_itself(parent),
            b".." => return self.lookup_parent(parent),
            _ => {}
        }
        let parent = self.inode(parent)?;
        let place = match self.place(&parent, name) {
            Err(FsError::Refused(errno)) if errno == libc::EPERM => return Err(FsError::NOT_FOUND),
            place => place?,
        };
        let _names = parent.names().read();
        let found = place.dir.stat_child(&place.cname);
        let stat = self.check_found(&parent, &place.dir, &place.cname, found)?;
        Ok(self.entry(&parent, &place.dir, &place.cname, &stat))
    }

    /// The entry of an inode found as `cname` in `dir`, which the kernel is about to be told of. The caller holds
    /// `parent`'s names.
    pub(in crate::fs) fn entry(
        &self,
        parent: &Arc<Inode>,
        dir: &Node,
        cname: &CName,
        stat: &Stat,
    ) -> Entry {
        let inode = self.inodes.look_up(stat, parent, cname.clone());
        Entry {
            attr: self.attr(&inode, stat),
            generation: self.generation(&inode, stat, || dir.child_handle(cname)),
        }
    }

    /// The kernel gives back `count` references to an inode.
    pub fn forget(&self, ino: Ino, count: u64) {
        if ino == Ino::ROOT {
            return;
        }
        let inode = self.inodes.find(ino);
        if !self.inodes.forget(ino, count) {
            return;
        }
        self.folder_nodes.lock().pop(&ino);
        let Some(inode) = inode else { return };
        self.let_nameless_go(&inode);
        if let (Some(exports), Some(handle)) = (&self.exports, inode.handle().get()) {
            exports.remember(ino, handle.clone());
        }
    }

    /// Attributes of an inode; of an open handle's file where `fh` is given.
    ///
    /// # Errors
    /// `ESTALE` where the inode is gone.
    pub fn getattr(&self, ino: Ino, fh: Option<Fh>) -> Result<Attr, FsError> {
        self.stats.count(Operation::GetAttr);
        if let Some(Ok(handle)) = fh.map(|fh| self.files.find(fh)) {
            return Ok(self.attr_of(ino, &handle.file.stat()?, Some(&handle.file)));
        }
        let inode = self.inode(ino)?;
        Ok(self.attr(&inode, &self.stat(&inode)?))
    }

    /// Changes attributes. `done` may be called later, on another thread: a new length needs the file's key.
    pub fn setattr(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        fh: Option<Fh>,
        change: AttrChange,
        done: impl FnOnce(Result<Attr, FsError>) + Send + 'static,
    ) {
        self.stats.count(Operation::SetAttr);
        let Some(size) = change.size else {
            return done(self.change_attr(ino, &change));
        };
        let fs = Arc::clone(self);
        let finish = move |file: Result<Arc<OpenFile>, FsError>| {
            done(file.and_then(|file| {
                let inode = fs.inode(ino)?;
                fs.resize(caller, &inode, &file, size)?;
                fs.committer.note(&inode, &file);
                fs.change_attr(ino, &change)
            }));
        };
        match fh.map(|fh| self.files.find(fh)) {
            Some(Ok(handle)) => finish(Ok(Arc::clone(&handle.file))),
            _ => match self.inode(ino) {
                Ok(inode) => self.open_file(caller, inode, Access::ReadWrite, finish),
                Err(error) => finish(Err(error)),
            },
        }
    }

    fn resize(
        &self,
        caller: Caller,
        inode: &Inode,
        file: &OpenFile,
        size: u64,
    ) -> Result<(), FsError> {
        // A cut writes the header through to the disk.
        if PlainLen(size) < file.len() {
            self.sync_folders_of(inode)?;
        }
        file.resize(PlainLen(size))?;
        if !caller.is_root() {
            self.clear_set_id(file, Some(caller))?;
        }
        Ok(())
    }

    /// Content changed by other than root: the file may no longer lend its owner's identity.
    pub(in crate::fs) fn clear_set_id(
        &self,
        file: &OpenFile,
        caller: Option<Caller>,
    ) -> Result<(), FsError> {
        let stat = file.stat()?;
        let mode = stat.mode;
        // Set-group-id without group execution is no identity but a mark for mandatory locks: it is the group's
        // to keep (`setattr_should_drop_sgid`, linux/fs/attr.c).
        let keeps_mark = || caller.is_none_or(|caller| caller.is_in_group(stat.gid));
        let lends = if mode & 0o2010 == 0o2000 && keeps_mark() {
            SET_ID_BITS & !0o2000
        } else {
            SET_ID_BITS
        };
        if mode & lends != 0 {
            file.set_mode(mode & !lends)?;
        }
        Ok(())
    }

    /// `caller` has changed a file's content by a request that does not say what the kernel thinks of set-id bits.
    ///
    /// # Errors
    /// `EBADF` and what the ciphertext folder answers.
    pub fn content_changed(&self, caller: Caller, fh: Fh) -> Result<(), FsError> {
        let handle = self.files.find(fh)?;
        if handle.file.stat()?.mode & SET_ID_BITS == 0 || caller.is_root() {
            return Ok(());
        }
        self.clear_set_id(&handle.file, Some(caller))
    }

    fn change_attr(&self, ino: Ino, change: &AttrChange) -> Result<Attr, FsError> {
        let inode = self.inode(ino)?;
        let owner = change.uid.is_some() || change.gid.is_some();
        if owner || change.mode.is_some() {
            let reached = self.reach(&inode)?;
            if owner {
                reached.set_owner(change.uid, change.gid)?;
            }
            if let Some(mode) = change.mode {
                reached.set_mode(mode)?;
            }
        }
        if change.atime.is_some() || change.mtime.is_some() {
            self.change_times(&inode, time_set(change.atime), time_set(change.mtime))?;
        }
        let stat = self.stat(&inode)?;
        let open = inode.open_file();
        // The kernel owns the times of files whose writes it caches, and tells each that it makes; else it takes what it is
        // given.
        match (&open, change.ctime) {
            (Some(open), told) => open.tell_ctime(told, &self.ctimes),
            (None, Some(told)) => self.ctimes.note(&stat, told),
            (None, None) => {}
        }
        Ok(self.attr_of(ino, &stat, open.as_deref()))
    }

    /// A file that was just made has the times that the kernel is about to be given, until it makes others.
    pub(in crate::fs) fn tell_times_of_new(&self, open: &OpenFile, stat: &Stat) {
        open.tell_mtime(stat.mtime);
        open.tell_ctime(Some(stat.ctime), &self.ctimes);
    }

    fn change_times(&self, inode: &Inode, atime: TimeSet, mtime: TimeSet) -> Result<(), FsError> {
        let slot = inode.open_slot().lock();
        match slot.upgrade() {
            Some(open) => {
                drop(slot);
                open.set_times(atime, mtime)?;
            }
            // With each unlink the kernel sends the times of the inode. No program has it open that could ask for them.
            None if inode.unlinked().load(Ordering::Acquire) => {}
            // The slot stays locked: whoever exchanges a closed file's key slots sets its time back.
            None => {
                let node = self.with_descriptors(|| self.node_by_name(inode))?;
                node.set_times(atime, mtime)?;
            }
        }
        Ok(())
    }

    /// The state of the file system that holds the ciphertext.
    ///
    /// # Errors
    /// What `fstatvfs` answers.
    pub fn statfs(&self) -> Result<StatFs, FsError> {
        self.stats.count(Operation::StatFs);
        Ok(self.volume.root().stat_fs()?)
    }
}

fn time_set(change: Option<TimeChange>) -> TimeSet {
    match change {
        None => TimeSet::Keep,
        Some(TimeChange::Now) => TimeSet::Now,
        Some(TimeChange::To(time)) => TimeSet::At(time.secs, time.nanos),
    }
}

//! Hearing of, and deciding about, every system call on the ciphertext folder.
//!
//! A root [`Node`](super::Node) that was opened [with an observer](super::Node::observed) hands it on
//! to every node, file and folder reader that is reached from it. The observer is asked before each
//! system call and told after each that succeeded. It belongs to that one root, so volumes that are
//! open side by side do not meet. Without one, a call costs the check of an `Option` more.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::{Errno, retry_on_intr};

use super::file::Access;
use super::lock::LockKind;
use super::name::CName;
use super::node::{RenameFlags, XattrSet, stat_at, stat_of};
use super::stat::{Stat, TimeSet};
use crate::units::{CipherLen, CipherOffset};

/// Asked before every system call under the root that it was given to, and told after it.
///
/// Both are called on the thread that does the operation.
pub trait StorageObserver: Send + Sync + fmt::Debug {
    /// Decides about `op`, which is about to be done on `target`.
    fn before(&self, target: Target<'_>, op: &StorageOp<'_>) -> Verdict;

    /// `op` was done on `target`. Of a read or a write, `op` has what was moved.
    fn after(&self, target: Target<'_>, op: &StorageOp<'_>) {
        let _ = (target, op);
    }
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fails with this errno and is not done. After EINTR it is tried again.
    Fail(i32),
    /// It is done.
    Proceed,
    /// Its system call moves at most so many bytes, as a kernel may do: a read or a write then goes
    /// on with the rest. A read that may move none has met the end of the file; a write that may
    /// move none fails with EIO. To other operations it is [`Verdict::Proceed`].
    Short(usize),
}

/// The inode that an operation is done on: for one on a name, the folder that has it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a>(BorrowedFd<'a>);

impl<'a> Target<'a> {
    pub(super) fn new(fd: &'a impl AsFd) -> Self {
        Self(fd.as_fd())
    }

    /// Its attributes. This is not observed.
    ///
    /// # Errors
    /// Those of `statx(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(stat_of(self.0)?)
    }

    /// The attributes of its entry `name`, of what was just made there, say. This is not observed.
    ///
    /// # Errors
    /// Those of `statx(2)`.
    pub fn stat_child(&self, name: &CName) -> io::Result<Stat> {
        Ok(stat_at(self.0, name)?)
    }
}

/// A system call on the ciphertext folder, with its operands.
///
/// Reads and writes come once per system call: again for the rest after a short one, again after
/// an interruption.
#[derive(Clone, Copy, Debug)]
pub enum StorageOp<'a> {
    /// Space is reserved.
    Allocate {
        /// From here on.
        offset: CipherOffset,
        /// So many bytes.
        len: u64,
    },
    /// A handle of this entry is opened.
    Child(&'a CName),
    /// A regular file is made and opened.
    CreateFile {
        /// Its name.
        name: &'a CName,
        /// Its permission bits.
        mode: u32,
    },
    /// A regular file without a name is made and opened.
    CreateNameless {
        /// Its permission bits.
        mode: u32,
    },
    /// The inode gets a further name.
    Link {
        /// In this folder.
        dir: Target<'a>,
        /// The name.
        name: &'a CName,
    },
    /// The names of the extended attributes are read.
    ListXattr,
    /// `flock` is tried.
    Lock(LockKind),
    /// A folder is made.
    MakeDir {
        /// Its name.
        name: &'a CName,
        /// Its permission bits.
        mode: u32,
    },
    /// A FIFO, socket, device or empty file is made.
    MakeNode {
        /// Its name.
        name: &'a CName,
        /// Kind and permission bits.
        mode: u32,
        /// The number of a device.
        rdev: u64,
    },
    /// A symlink is made.
    MakeSymlink {
        /// Its name.
        name: &'a CName,
        /// Where it leads.
        target: &'a [u8],
    },
    /// The folder is opened to be read or synced.
    OpenDir,
    /// The file behind a handle is opened.
    OpenFile(Access),
    /// A hole is made.
    PunchHole {
        /// From here on.
        offset: CipherOffset,
        /// So many bytes.
        len: u64,
    },
    /// Bytes are read.
    Read {
        /// From here on.
        offset: CipherOffset,
        /// So many at most.
        len: usize,
    },
    /// The next entries of a folder are read.
    ReadDir,
    /// The symlink's own target is read.
    ReadLink,
    /// The target of this entry is read.
    ReadLinkChild(&'a CName),
    /// An empty folder is removed.
    RemoveDir(&'a CName),
    /// An extended attribute is removed.
    RemoveXattr(&'a std::ffi::CStr),
    /// An entry is renamed.
    Rename {
        /// Its name.
        name: &'a CName,
        /// Its new folder.
        to_dir: Target<'a>,
        /// Its new name there.
        to_name: &'a CName,
        /// How.
        flags: RenameFlags,
    },
    /// Data or a hole is looked for.
    Seek,
    /// The length is set.
    SetLen(CipherLen),
    /// The permission bits are set.
    SetMode(u32),
    /// Those of owner and group that are given are set.
    SetOwner(Option<u32>, Option<u32>),
    /// The times of the last access and the last change are set.
    SetTimes(TimeSet, TimeSet),
    /// An extended attribute is set.
    SetXattr {
        /// Its name.
        name: &'a std::ffi::CStr,
        /// Its value.
        value: &'a [u8],
        /// What is to be there before.
        set: XattrSet,
    },
    /// The attributes are read.
    Stat,
    /// The attributes of this entry are read.
    StatChild(&'a CName),
    /// The state of the file system is read.
    StatFs,
    /// A file's `fsync`.
    SyncAll,
    /// `fdatasync`.
    SyncData,
    /// A folder's `fsync`.
    SyncDir,
    /// `syncfs`.
    SyncFs,
    /// A name of what is no folder is removed.
    Unlink(&'a CName),
    /// Bytes are written.
    Write {
        /// From here on.
        offset: CipherOffset,
        /// These.
        data: &'a [u8],
        /// Whether they are durable when the call returns.
        synced: bool,
    },
    /// An extended attribute is read.
    Xattr(&'a std::ffi::CStr),
}

/// What a handle has of its observer. Nothing, in every mount.
#[derive(Clone, Debug, Default)]
pub(super) struct Hook(Option<Arc<dyn StorageObserver>>);

impl Hook {
    pub(super) fn new(observer: Arc<dyn StorageObserver>) -> Self {
        Self(Some(observer))
    }

    /// One system call, repeated when a signal interrupts it, if the observer lets it.
    #[inline]
    pub(super) fn run<T>(
        &self,
        fd: &impl AsFd,
        op: &StorageOp<'_>,
        call: impl FnMut() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        if self.0.is_none() {
            return Ok(retry_on_intr(call)?);
        }
        while let Err(error) = self.before(fd, op) {
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        let done = retry_on_intr(call)?;
        self.after(fd, op);
        Ok(done)
    }

    /// How many bytes the operation may move at most; for others than reads and writes the number
    /// says nothing.
    #[inline]
    pub(super) fn before(&self, fd: &impl AsFd, op: &StorageOp<'_>) -> io::Result<usize> {
        let Some(observer) = &self.0 else {
            return Ok(usize::MAX);
        };
        match observer.before(Target::new(fd), op) {
            Verdict::Fail(errno) => Err(Errno::from_raw_os_error(errno).into()),
            Verdict::Proceed => Ok(usize::MAX),
            Verdict::Short(most) => Ok(most),
        }
    }

    #[inline]
    pub(super) fn after(&self, fd: &impl AsFd, op: &StorageOp<'_>) {
        if let Some(observer) = &self.0 {
            observer.after(Target::new(fd), op);
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::storage::Node;
    use crate::storage::testing::{assert_errno, folder, name};

    /// Keeps what was done, and the numbers of the inodes that it was done on.
    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<(u64, String)>>);

    impl StorageObserver for Log {
        fn before(&self, _target: Target<'_>, op: &StorageOp<'_>) -> Verdict {
            match op {
                StorageOp::Write { .. } => Verdict::Short(2),
                _ => Verdict::Proceed,
            }
        }

        fn after(&self, target: Target<'_>, op: &StorageOp<'_>) {
            let inode = target.stat().unwrap().ino;
            self.0.lock().push((inode, format!("{op:?}")));
        }
    }

    fn watched() -> (tempfile::TempDir, Arc<Log>, Node) {
        let (dir, node) = folder();
        let log = Arc::new(Log::default());
        let node = node.observed(Arc::<Log>::clone(&log));
        (dir, log, node)
    }

    #[test]
    fn what_was_done_is_told_in_its_order_with_its_inode() {
        let (_dir, log, node) = watched();
        let file = node.create_file(&name("f"), 0o600).unwrap();
        file.write_at(b"\x01\x02\x03", CipherOffset(3)).unwrap();
        file.sync_data().unwrap();
        file.set_len(CipherLen(9)).unwrap();
        file.write_at_synced(b"\x02", CipherOffset(0)).unwrap();
        let done = std::mem::take(&mut *log.0.lock());
        let (folder, inode) = (node.stat().unwrap().ino, file.stat().unwrap().ino);
        let expected = [
            (folder, "CreateFile { name: CName(\"f\"), mode: 384 }"),
            (
                inode,
                "Write { offset: CipherOffset(3), data: [1, 2], synced: false }",
            ),
            (
                inode,
                "Write { offset: CipherOffset(5), data: [3], synced: false }",
            ),
            (inode, "SyncData"),
            (inode, "SetLen(CipherLen(9))"),
            (
                inode,
                "Write { offset: CipherOffset(0), data: [2], synced: true }",
            ),
        ];
        let done: Vec<_> = done.iter().map(|(ino, op)| (*ino, op.as_str())).collect();
        assert_eq!(done, expected);
    }

    #[test]
    fn what_failed_is_not_told() {
        let (_dir, log, node) = watched();
        assert_errno(node.unlink(&name("missing")), libc::ENOENT);
        assert_errno(node.set_owner(Some(u32::MAX), None), libc::EINVAL);
        assert!(log.0.lock().is_empty());
    }

    #[test]
    fn what_was_made_can_be_asked_for() {
        #[derive(Debug, Default)]
        struct Made(Mutex<Vec<u64>>);
        impl StorageObserver for Made {
            fn before(&self, _target: Target<'_>, _op: &StorageOp<'_>) -> Verdict {
                Verdict::Proceed
            }
            fn after(&self, target: Target<'_>, op: &StorageOp<'_>) {
                if let StorageOp::MakeDir { name, .. } = op {
                    self.0.lock().push(target.stat_child(name).unwrap().ino);
                }
            }
        }
        let (_dir, node) = folder();
        let made = Arc::new(Made::default());
        let node = node.observed(Arc::<Made>::clone(&made));
        node.make_dir(&name("d"), 0o700).unwrap();
        let expected = node.stat_child(&name("d")).unwrap().ino;
        assert_eq!(*made.0.lock(), [expected]);
    }
}

//! The ciphertext folder: descriptor-relative system calls and nothing else.
//!
//! * [`Node`] is a handle of an inode of any kind (`O_PATH`); everything done to a name starts from
//!   the handle of its folder and one checked component, a [`CName`]. No path string is ever walked,
//!   so a symlink in the ciphertext folder cannot lead out of it.
//! * [`StorageFile`] is an open regular file, addressed by ciphertext positions.
//! * [`as_caller`] makes new inodes belong to the caller from their first instant.
//! * An [`observer`] is asked before each system call and told after it; [`faults`] has the one that
//!   fails and shortens them in tests.
//!
//! Errors are [`std::io::Error`] with the OS errno kept ([`std::io::Error::raw_os_error`]). Every
//! descriptor is close-on-exec and calls interrupted by a signal are repeated. `/proc` must be
//! mounted: some calls take no `O_PATH` descriptor and go through `/proc/self/fd`.

pub mod accounts;
pub mod caller;
pub mod credentials;
pub mod dir_reader;
pub mod faults;
pub mod file;
pub mod inode_handle;
pub mod lock;
pub mod name;
mod namespace;
pub mod node;
pub mod observer;
mod proc_path;
pub mod process;
pub mod range_lock;
mod replace;
pub mod stat;
pub mod task;

pub use caller::{Caller, as_caller};
pub use credentials::Credentials;
pub use dir_reader::{DirEntry, DirReader};
pub use file::{Access, StorageFile};
pub use inode_handle::{HandleOpener, InodeHandle};
pub use lock::{LockGuard, LockKind};
pub use name::{CName, InvalidName};
pub use namespace::exchange_with_mount;
pub use node::{Node, RenameFlags, XattrSet};
pub use observer::{StorageObserver, StorageOp, Target, Verdict};
pub use process::{Executable, Unit, real_path};
pub use range_lock::LockRange;
pub use stat::{FileKind, Stat, StatFs, TimeSet, Timestamp};
pub use task::is_signalled;

#[cfg(test)]
mod testing {
    //! What the tests of this room share.

    use std::io;
    use std::path::Path;

    use tempfile::TempDir;

    use super::{CName, Node};

    /// An empty folder that is removed when dropped, and its handle.
    pub(super) fn folder() -> (TempDir, Node) {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::open_root(folder.path()).unwrap();
        (folder, node)
    }

    pub(super) fn name(text: &str) -> CName {
        CName::new(text.as_bytes()).unwrap()
    }

    #[track_caller]
    pub(super) fn assert_errno<T>(result: io::Result<T>, errno: i32) {
        let Err(error) = result else {
            panic!("it did not fail, errno {errno} was due");
        };
        assert_eq!(error.raw_os_error(), Some(errno), "{error}");
    }

    /// What stands in `folder`, sorted.
    pub(super) fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let text = |entry: io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(text).collect();
        names.sort();
        names
    }

    #[track_caller]
    pub(super) fn need_root() {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test must run as root"
        );
    }
}

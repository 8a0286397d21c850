//! Advisory locks on files of the ciphertext folder.

use std::io;

use super::file::{Access, StorageFile};
use super::name::CName;
use super::node::Node;

/// Who may hold a lock beside its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Nobody.
    Exclusive,
    /// Others that hold it shared.
    Shared,
}

/// A lock (`flock(2)`), held until this is dropped. A forked child holds it too: it is free when
/// the last of them is done with it.
#[derive(Debug)]
#[must_use = "the lock is free again when this is dropped"]
pub struct LockGuard {
    #[expect(dead_code, reason = "holding it open holds the lock")]
    file: StorageFile,
}

impl Node {
    /// Takes the lock of the file `name` in this folder, without waiting. The file is made, with
    /// mode 0600 and empty, if it is not there. On a medium that cannot be written it must be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where another holds it; else those of opening the file.
    pub fn lock_file(&self, name: &CName, kind: LockKind) -> io::Result<LockGuard> {
        let file = self.open_or_create(name)?;
        file.try_flock(kind)?;
        Ok(LockGuard { file })
    }

    fn open_or_create(&self, name: &CName) -> io::Result<StorageFile> {
        match self.open_child_file(name, Access::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_or_open(name),
            // NFS locks need a descriptor that can write; others do not, and EROFS needs none.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                self.open_child_file(name, Access::Read)
            }
            other => other,
        }
    }

    fn create_or_open(&self, name: &CName) -> io::Result<StorageFile> {
        match self.create_file(name, 0o600) {
            // Another came first: its file is the one to lock.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.open_child_file(name, Access::ReadWrite)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{assert_errno, folder, name};

    #[test]
    fn an_exclusive_lock_excludes_every_other() {
        let (_dir, node) = folder();
        let held = node.lock_file(&name("lock"), LockKind::Exclusive).unwrap();
        for kind in [LockKind::Exclusive, LockKind::Shared] {
            let error = node.lock_file(&name("lock"), kind).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        drop(held);
        let _free = node.lock_file(&name("lock"), LockKind::Exclusive).unwrap();
    }

    #[test]
    fn shared_locks_exclude_only_the_exclusive() {
        let (_dir, node) = folder();
        let first = node.lock_file(&name("lock"), LockKind::Shared).unwrap();
        let second = node.lock_file(&name("lock"), LockKind::Shared).unwrap();
        for held in [first, second] {
            assert_errno(
                node.lock_file(&name("lock"), LockKind::Exclusive),
                libc::EWOULDBLOCK,
            );
            drop(held);
        }
        let _free = node.lock_file(&name("lock"), LockKind::Exclusive).unwrap();
    }

    #[test]
    fn locks_on_different_files_do_not_meet() {
        let (_dir, node) = folder();
        let _one = node.lock_file(&name("one"), LockKind::Exclusive).unwrap();
        let _two = node.lock_file(&name("two"), LockKind::Exclusive).unwrap();
    }

    #[test]
    fn a_lock_file_keeps_its_contents() {
        let (dir, node) = folder();
        std::fs::write(dir.path().join("lock"), "kept").unwrap();
        drop(node.lock_file(&name("lock"), LockKind::Exclusive).unwrap());
        assert_eq!(std::fs::read(dir.path().join("lock")).unwrap(), b"kept");
    }

    #[test]
    fn no_lock_is_taken_through_a_symlink_or_on_a_folder() {
        let (dir, node) = folder();
        node.make_symlink(b"elsewhere", &name("link")).unwrap();
        node.make_dir(&name("folder"), 0o700).unwrap();
        assert_errno(
            node.lock_file(&name("link"), LockKind::Exclusive),
            libc::ELOOP,
        );
        assert_errno(
            node.lock_file(&name("folder"), LockKind::Exclusive),
            libc::EISDIR,
        );
        assert!(!dir.path().join("elsewhere").exists());
    }
}

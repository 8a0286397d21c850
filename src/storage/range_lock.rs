//! Byte-range locks on a ciphertext file that belong to one open descriptor (`F_OFD_SETLK`), so that
//! they hold between processes, between hosts where the file system carries them, and never get lost
//! because another descriptor of the same file is closed.
#![expect(unsafe_code, reason = "rustix has no locks of open file descriptions")]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

use super::file::StorageFile;
use super::lock::LockKind;

/// The largest offset that a lock may cover.
const OFFSET_MAX: u64 = i64::MAX as u64;
/// Offsets at the very end that no caller's lock covers, for the program's own use.
const RESERVED: u64 = 16;

/// The bytes `first` to `last`, both among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    first: u64,
    last: u64,
}

impl LockRange {
    /// Whoever changes a file that other mounts may change too holds this byte.
    pub const CONTENT: Self = Self {
        first: OFFSET_MAX - 1,
        last: OFFSET_MAX - 1,
    };

    /// A shared mount holds this byte of its mark for as long as it lives.
    pub const ALIVE: Self = Self {
        first: OFFSET_MAX - 2,
        last: OFFSET_MAX - 2,
    };

    /// What a caller locks by `flock(2)`: so the range locks of callers do not meet it. It is no `flock(2)` here either,
    /// which NFS and SMB turn into a range lock on all of the file, [`LockRange::CONTENT`] with it.
    pub const WHOLE: Self = Self {
        first: OFFSET_MAX - 3,
        last: OFFSET_MAX - 3,
    };

    /// A caller's range: `first` to `last`, where [`i64::MAX`] stands for the end of the file, wherever that is.
    /// What would reach into the program's own offsets ends before them. `None` for an empty range.
    pub fn of_caller(first: u64, last: u64) -> Option<Self> {
        let most = OFFSET_MAX - RESERVED;
        (first <= last).then_some(Self {
            first: first.min(most),
            last: last.min(most),
        })
    }

    /// First and last byte, as callers see them: the last before the program's own offsets is the end of the file.
    pub fn bounds(self) -> (u64, u64) {
        let last = if self.last >= OFFSET_MAX - RESERVED {
            OFFSET_MAX
        } else {
            self.last
        };
        (self.first, last)
    }

    fn len(self) -> u64 {
        self.last - self.first + 1
    }
}

impl StorageFile {
    /// Takes a lock on `range` for this descriptor, in place of what it holds there. Waits for others to let go.
    ///
    /// # Errors
    /// Those of `fcntl(2)`: EBADF where a file opened for reading is to be locked exclusively, ENOLCK.
    pub fn lock(&self, range: LockRange, kind: LockKind) -> io::Result<()> {
        loop {
            match self.lock_command(libc::F_OFD_SETLKW, &mut request(range, Some(kind))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// The same without waiting; says whether the lock was to be had.
    ///
    /// # Errors
    /// As [`StorageFile::lock`].
    pub fn try_lock(&self, range: LockRange, kind: LockKind) -> io::Result<bool> {
        match self.lock_command(libc::F_OFD_SETLK, &mut request(range, Some(kind))) {
            Ok(()) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives up what this descriptor holds of `range`.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn unlock(&self, range: LockRange) -> io::Result<()> {
        self.lock_command(libc::F_OFD_SETLK, &mut request(range, None))
    }

    /// A lock of another descriptor that stands in the way of this one, if there is any.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn conflict(
        &self,
        range: LockRange,
        kind: LockKind,
    ) -> io::Result<Option<(LockRange, LockKind)>> {
        let mut lock = request(range, Some(kind));
        self.lock_command(libc::F_OFD_GETLK, &mut lock)?;
        let kind = match i32::from(lock.l_type) {
            libc::F_UNLCK => return Ok(None),
            libc::F_WRLCK => LockKind::Exclusive,
            _ => LockKind::Shared,
        };
        let first = lock.l_start.cast_unsigned();
        // A length of 0 reaches to the end of the file.
        let last = match lock.l_len {
            0 => OFFSET_MAX,
            len => first.saturating_add(len.cast_unsigned() - 1),
        };
        Ok(Some((LockRange { first, last }, kind)))
    }

    fn lock_command(&self, command: i32, lock: &mut libc::flock) -> io::Result<()> {
        let fd = self.as_fd().as_raw_fd();
        let lock: *mut libc::flock = lock;
        // SAFETY: the descriptor is open while `self` is borrowed, and these commands take a pointer to a
        // `flock`, which is valid and not shared for the length of the call.
        match unsafe { libc::fcntl(fd, command, lock) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

fn request(range: LockRange, kind: Option<LockKind>) -> libc::flock {
    let kind = match kind {
        None => libc::F_UNLCK,
        Some(LockKind::Shared) => libc::F_RDLCK,
        Some(LockKind::Exclusive) => libc::F_WRLCK,
    };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.first.cast_signed(),
        l_len: range.len().cast_signed(),
        // Must be 0 for a lock of an open file description.
        l_pid: 0,
    }
}

fn is_conflict(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::testing::{assert_errno, folder, name};
    use crate::storage::{Access, Node};

    fn range(first: u64, last: u64) -> LockRange {
        LockRange::of_caller(first, last).unwrap()
    }

    fn opened(node: &Node) -> StorageFile {
        node.open_child_file(&name("f"), Access::ReadWrite).unwrap()
    }

    #[test]
    fn descriptors_of_one_file_exclude_each_other() {
        let (_dir, node) = folder();
        let one = node.create_file(&name("f"), 0o600).unwrap();
        let other = opened(&node);
        assert!(one.try_lock(range(0, 9), LockKind::Exclusive).unwrap());
        assert!(!other.try_lock(range(9, 20), LockKind::Shared).unwrap());
        assert!(other.try_lock(range(10, 20), LockKind::Exclusive).unwrap());
        let found = other.conflict(range(5, 5), LockKind::Shared).unwrap();
        assert_eq!(found, Some((range(0, 9), LockKind::Exclusive)));
        one.unlock(range(0, 4)).unwrap();
        assert!(other.try_lock(range(0, 4), LockKind::Exclusive).unwrap());
        assert!(!other.try_lock(range(0, 5), LockKind::Exclusive).unwrap());
        drop(one);
        assert!(other.try_lock(range(0, 5), LockKind::Exclusive).unwrap());
    }

    #[test]
    fn a_lock_outlives_other_descriptors_of_the_file() {
        let (_dir, node) = folder();
        let one = node.create_file(&name("f"), 0o600).unwrap();
        one.lock(range(0, 0), LockKind::Exclusive).unwrap();
        drop(opened(&node));
        assert!(
            !opened(&node)
                .try_lock(range(0, 0), LockKind::Shared)
                .unwrap()
        );
    }

    #[test]
    fn callers_and_the_program_itself_do_not_meet() {
        let (_dir, node) = folder();
        let caller = node.create_file(&name("f"), 0o600).unwrap();
        let program = opened(&node);
        let everything = [
            range(0, u64::MAX),
            range(0, OFFSET_MAX),
            range(OFFSET_MAX - 1, OFFSET_MAX),
        ];
        for all in everything {
            caller.lock(all, LockKind::Exclusive).unwrap();
            assert_eq!(all.bounds().1, OFFSET_MAX);
            for own in [LockRange::CONTENT, LockRange::ALIVE, LockRange::WHOLE] {
                assert!(program.try_lock(own, LockKind::Exclusive).unwrap());
                program.unlock(own).unwrap();
            }
        }
        program
            .lock(LockRange::CONTENT, LockKind::Exclusive)
            .unwrap();
        assert_eq!(
            caller
                .conflict(range(0, OFFSET_MAX), LockKind::Exclusive)
                .unwrap(),
            None
        );
    }

    #[test]
    fn an_empty_range_is_none() {
        assert_eq!(LockRange::of_caller(1, 0), None);
        assert_eq!(range(3, 3).bounds(), (3, 3));
    }

    #[test]
    fn an_exclusive_lock_needs_a_writer() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let reader = node.open_child_file(&name("f"), Access::Read).unwrap();
        assert_errno(
            reader.try_lock(range(0, 0), LockKind::Exclusive),
            libc::EBADF,
        );
        assert!(reader.try_lock(range(0, 0), LockKind::Shared).unwrap());
    }
}

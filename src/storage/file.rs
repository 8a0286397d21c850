//! An open ciphertext file: reads and writes in full at ciphertext positions.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, Gid, Mode, SeekFrom, Uid};
use rustix::io::{Errno, ReadWriteFlags};

use super::faults::FaultQueue;
use super::lock::LockKind;
use super::node::stat_of;
use super::observer::{Hook, StorageObserver, StorageOp};
use super::stat::{Stat, TimeSet};
use crate::units::{CipherLen, CipherOffset};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// For reading.
    Read,
    /// For reading and writing.
    ReadWrite,
}

/// An open regular file of the ciphertext folder.
///
/// All positions are given with the call; the descriptor's own file position is never used, so one
/// handle serves any number of threads. It works on after the file's last name is gone.
pub struct StorageFile {
    fd: OwnedFd,
    access: Access,
    hook: Hook,
}

impl StorageFile {
    pub(super) fn new(fd: OwnedFd, access: Access, hook: Hook) -> Self {
        Self { fd, access, hook }
    }

    /// Asks `observer` before every operation from here on, instead of the folder's.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn StorageObserver>) -> Self {
        Self {
            hook: Hook::new(observer),
            ..self
        }
    }

    /// Lets `faults` strike the operations from here on.
    #[must_use]
    pub fn with_faults(self, faults: Arc<FaultQueue>) -> Self {
        self.with_observer(faults)
    }

    pub(super) fn hook(&self) -> &Hook {
        &self.hook
    }

    /// How it was opened.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Fills `buf` from `offset` on. Fewer bytes than asked for mean the end of the file.
    ///
    /// # Errors
    /// Those of `pread(2)`; what `buf` then holds is undefined.
    pub fn read_at(&self, buf: &mut [u8], offset: CipherOffset) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read_once(rest, advance(offset, done)?) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_once(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let op = |len| StorageOp::Read {
            offset: CipherOffset(offset),
            len,
        };
        let most = self.hook.before(&self.fd, &op(buf.len()))?.min(buf.len());
        let count = rustix::io::pread(&self.fd, &mut buf[..most], offset)?;
        self.hook.after(&self.fd, &op(count));
        Ok(count)
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// Those of `pwrite(2)`; a part of `data` may then have been written.
    pub fn write_at(&self, data: &[u8], offset: CipherOffset) -> io::Result<()> {
        self.write_all(data, offset, false, |part, at| {
            rustix::io::pwrite(&self.fd, part, at)
        })
    }

    /// Writes all of `data` at `offset` and returns when it is durable, with what is needed to find
    /// it again: `pwritev2(2)` with `RWF_DSYNC`, or a write and an `fdatasync` where there is none.
    ///
    /// # Errors
    /// Those of `pwritev2(2)` and `fdatasync(2)`; a part of `data` may then have been written.
    pub fn write_at_synced(&self, data: &[u8], offset: CipherOffset) -> io::Result<()> {
        let written = self.write_all(data, offset, true, |part, at| {
            let parts = [io::IoSlice::new(part)];
            rustix::io::pwritev2(&self.fd, &parts, at, ReadWriteFlags::DSYNC)
        });
        match written {
            Err(error) if lacks_dsync(&error) => {
                self.write_at(data, offset)?;
                self.sync_data()
            }
            other => other,
        }
    }

    fn write_all(
        &self,
        data: &[u8],
        offset: CipherOffset,
        synced: bool,
        write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
    ) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let at = advance(offset, done)?;
            match self.write_once(rest, at, synced, &write) {
                // Linux does not answer 0 to a write of something; never turn in a circle over it.
                Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_once(
        &self,
        data: &[u8],
        offset: u64,
        synced: bool,
        write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let op = |data| StorageOp::Write {
            offset: CipherOffset(offset),
            data,
            synced,
        };
        let most = self.hook.before(&self.fd, &op(data))?.min(data.len());
        if most == 0 {
            return Ok(0);
        }
        let count = write(&data[..most], offset)?;
        self.hook.after(&self.fd, &op(&data[..count]));
        Ok(count)
    }

    /// Makes the file `len` bytes long: cut off, or grown by a hole.
    ///
    /// # Errors
    /// Those of `ftruncate(2)`.
    pub fn set_len(&self, len: CipherLen) -> io::Result<()> {
        self.run(&StorageOp::SetLen(len), || {
            rustix::fs::ftruncate(&self.fd, len.0)
        })
    }

    /// The length in bytes.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn len(&self) -> io::Result<CipherLen> {
        Ok(CipherLen(self.stat()?.size))
    }

    /// The attributes.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn stat(&self) -> io::Result<Stat> {
        self.run(&StorageOp::Stat, || stat_of(&self.fd))
    }

    /// Reserves space for `len` bytes from `offset` on. The length of the file stays.
    ///
    /// # Errors
    /// Those of `fallocate(2)`: EOPNOTSUPP where the file system cannot, ENOSPC.
    pub fn allocate(&self, offset: CipherOffset, len: u64) -> io::Result<()> {
        self.run(&StorageOp::Allocate { offset, len }, || {
            rustix::fs::fallocate(&self.fd, FallocateFlags::KEEP_SIZE, offset.0, len)
        })
    }

    /// Makes `len` bytes from `offset` on a hole that reads as zeros. The length of the file stays.
    ///
    /// # Errors
    /// Those of `fallocate(2)`: EOPNOTSUPP where the file system cannot.
    pub fn punch_hole(&self, offset: CipherOffset, len: u64) -> io::Result<()> {
        let mode = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
        self.run(&StorageOp::PunchHole { offset, len }, || {
            rustix::fs::fallocate(&self.fd, mode, offset.0, len)
        })
    }

    /// The first byte from `offset` on that may be other than a hole; `None` where only a hole
    /// follows, or `offset` is at or past the end. A file system without holes answers `offset`.
    ///
    /// # Errors
    /// Those of `lseek(2)`.
    pub fn seek_data(&self, offset: CipherOffset) -> io::Result<Option<CipherOffset>> {
        self.seek(SeekFrom::Data(offset.0))
    }

    /// The first hole from `offset` on: at the latest the one at the end of the file; `None` where
    /// `offset` is at or past the end.
    ///
    /// # Errors
    /// Those of `lseek(2)`.
    pub fn seek_hole(&self, offset: CipherOffset) -> io::Result<Option<CipherOffset>> {
        self.seek(SeekFrom::Hole(offset.0))
    }

    fn seek(&self, to: SeekFrom) -> io::Result<Option<CipherOffset>> {
        // This moves the descriptor's file position, which nothing here reads.
        self.run(&StorageOp::Seek, || match rustix::fs::seek(&self.fd, to) {
            Ok(found) => Ok(Some(CipherOffset(found))),
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Makes the contents durable, and the length (`fdatasync(2)`).
    ///
    /// # Errors
    /// Those of `fdatasync(2)`. After one the kernel may have dropped what it could not write.
    pub fn sync_data(&self) -> io::Result<()> {
        self.run(&StorageOp::SyncData, || rustix::fs::fdatasync(&self.fd))
    }

    /// Makes the contents and all attributes durable (`fsync(2)`).
    ///
    /// # Errors
    /// Those of `fsync(2)`. After one the kernel may have dropped what it could not write.
    pub fn sync_all(&self) -> io::Result<()> {
        self.run(&StorageOp::SyncAll, || rustix::fs::fsync(&self.fd))
    }

    /// Sets the permission bits (`0o7777` at most; others are ignored).
    ///
    /// # Errors
    /// Those of `fchmod(2)`.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        let bits = Mode::from_raw_mode(mode & 0o7777);
        self.run(&StorageOp::SetMode(mode), || {
            rustix::fs::fchmod(&self.fd, bits)
        })
    }

    /// Sets owner and group, those that are given.
    ///
    /// # Errors
    /// Those of `fchown(2)`; EINVAL for `u32::MAX`, which is no id.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (new_uid, new_gid) = owner(uid, gid)?;
        self.run(&StorageOp::SetOwner(uid, gid), || {
            rustix::fs::fchown(&self.fd, new_uid, new_gid)
        })
    }

    /// Sets the times of the last access and the last change.
    ///
    /// # Errors
    /// Those of `futimens(3)`; EINVAL for 10^9 nanoseconds and more.
    pub fn set_times(&self, atime: TimeSet, mtime: TimeSet) -> io::Result<()> {
        let times = TimeSet::pair(atime, mtime)?;
        self.run(&StorageOp::SetTimes(atime, mtime), || {
            rustix::fs::futimens(&self.fd, &times)
        })
    }

    /// Takes the lock `kind` without waiting.
    pub(super) fn try_flock(&self, kind: LockKind) -> io::Result<()> {
        let operation = match kind {
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
        };
        self.run(&StorageOp::Lock(kind), || {
            rustix::fs::flock(&self.fd, operation)
        })
    }

    #[inline]
    fn run<T>(
        &self,
        op: &StorageOp<'_>,
        call: impl FnMut() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        self.hook.run(&self.fd, op, call)
    }
}

impl AsFd for StorageFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for StorageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageFile")
            .field("fd", &self.fd)
            .field("access", &self.access)
            .finish()
    }
}

/// The position `done` bytes on. EFBIG where there is none: the kernel's answer to such a write.
fn advance(offset: CipherOffset, done: usize) -> io::Result<u64> {
    u64::try_from(done)
        .ok()
        .and_then(|done| offset.0.checked_add(done))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))
}

/// Before Linux 4.7 there is no flag (EOPNOTSUPP), before 4.6 no system call (ENOSYS).
fn lacks_dsync(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Ids as system calls take them. `u32::MAX` would mean "leave it" to the kernel: EINVAL.
pub(super) fn owner(uid: Option<u32>, gid: Option<u32>) -> io::Result<(Option<Uid>, Option<Gid>)> {
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    Ok((uid.map(Uid::from_raw), gid.map(Gid::from_raw)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::faults::{Fault, FaultAction, FaultOp};
    use crate::storage::testing::{assert_errno, folder, name};

    fn file_with(faults: &[Fault]) -> (tempfile::TempDir, Arc<FaultQueue>, StorageFile) {
        let (dir, node) = folder();
        let queue = Arc::new(FaultQueue::new());
        faults.iter().for_each(|fault| queue.inject(*fault));
        let file = node.create_file(&name("f"), 0o600).unwrap();
        (dir, Arc::clone(&queue), file.with_faults(queue))
    }

    fn fault(op: FaultOp, after: u64, action: FaultAction) -> Fault {
        Fault { op, after, action }
    }

    fn contents(dir: &tempfile::TempDir) -> Vec<u8> {
        std::fs::read(dir.path().join("f")).unwrap()
    }

    #[test]
    fn reads_stop_at_the_end_of_the_file() {
        let (_dir, _queue, file) = file_with(&[]);
        file.write_at(b"abcdef", CipherOffset(2)).unwrap();
        let mut buf = [0xff; 10];
        assert_eq!(file.read_at(&mut buf, CipherOffset(0)).unwrap(), 8);
        assert_eq!(&buf, b"\0\0abcdef\xff\xff");
        assert_eq!(file.read_at(&mut buf, CipherOffset(8)).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], CipherOffset(0)).unwrap(), 0);
        assert_eq!(file.len().unwrap(), CipherLen(8));
    }

    #[test]
    fn short_and_interrupted_writes_go_on() {
        for synced in [false, true] {
            let (dir, queue, file) = file_with(&[
                fault(FaultOp::Write, 0, FaultAction::Short(2)),
                fault(FaultOp::Write, 1, FaultAction::Errno(libc::EINTR)),
                fault(FaultOp::Write, 2, FaultAction::Short(1)),
            ]);
            let write = if synced {
                StorageFile::write_at_synced
            } else {
                StorageFile::write_at
            };
            write(&file, b"abcdef", CipherOffset(0)).unwrap();
            assert_eq!(contents(&dir), b"abcdef");
            assert_eq!(queue.count(FaultOp::Write), 4);
            assert!(queue.is_spent());
        }
    }

    #[test]
    fn short_and_interrupted_reads_go_on() {
        let (_dir, queue, file) = file_with(&[
            fault(FaultOp::Read, 0, FaultAction::Short(1)),
            fault(FaultOp::Read, 1, FaultAction::Errno(libc::EINTR)),
        ]);
        file.write_at(b"abc", CipherOffset(0)).unwrap();
        let mut buf = [0; 3];
        assert_eq!(file.read_at(&mut buf, CipherOffset(0)).unwrap(), 3);
        assert_eq!(&buf, b"abc");
        assert_eq!(queue.count(FaultOp::Read), 3);
    }

    #[test]
    fn a_full_disk_is_told_after_a_partial_write() {
        let (dir, _queue, file) = file_with(&[
            fault(FaultOp::Write, 0, FaultAction::Short(3)),
            fault(FaultOp::Write, 1, FaultAction::Errno(libc::ENOSPC)),
        ]);
        assert_errno(file.write_at(b"abcdef", CipherOffset(0)), libc::ENOSPC);
        assert_eq!(contents(&dir), b"abc");
    }

    #[test]
    fn a_write_that_moves_nothing_does_not_turn_in_a_circle() {
        let (dir, _queue, file) = file_with(&[fault(FaultOp::Write, 0, FaultAction::Short(0))]);
        assert_errno(file.write_at(b"abc", CipherOffset(0)), libc::EIO);
        assert_eq!(contents(&dir), b"");
    }

    #[test]
    fn without_dsync_a_synced_write_is_a_write_and_a_sync() {
        for errno in [libc::EOPNOTSUPP, libc::ENOSYS] {
            let (dir, queue, file) =
                file_with(&[fault(FaultOp::Write, 0, FaultAction::Errno(errno))]);
            file.write_at_synced(b"abc", CipherOffset(1)).unwrap();
            assert_eq!(contents(&dir), b"\0abc");
            assert_eq!(queue.count(FaultOp::SyncData), 1);
        }
    }

    #[test]
    fn other_errors_of_a_synced_write_are_not_tried_again() {
        let (dir, queue, file) =
            file_with(&[fault(FaultOp::Write, 0, FaultAction::Errno(libc::EIO))]);
        assert_errno(file.write_at_synced(b"abc", CipherOffset(0)), libc::EIO);
        assert_eq!(contents(&dir), b"");
        assert_eq!(queue.count(FaultOp::SyncData), 0);
    }

    #[test]
    fn positions_beyond_the_kernels_are_errors() {
        let (_dir, _queue, file) = file_with(&[]);
        let past = CipherOffset(i64::MAX as u64 + 1);
        assert_errno(file.read_at(&mut [0], past), libc::EINVAL);
        assert_errno(file.write_at(b"a", past), libc::EINVAL);
        assert_errno(file.set_len(CipherLen(u64::MAX)), libc::EINVAL);
        assert_errno(file.punch_hole(CipherOffset(u64::MAX), 1), libc::EINVAL);
        assert_eq!(
            advance(CipherOffset(u64::MAX), 1)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EFBIG)
        );
    }

    #[test]
    fn a_file_opened_for_reading_is_not_written() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let file = node.open_child_file(&name("f"), Access::Read).unwrap();
        assert_eq!(file.access(), Access::Read);
        assert_errno(file.write_at(b"a", CipherOffset(0)), libc::EBADF);
        assert_errno(file.set_len(CipherLen(1)), libc::EINVAL);
    }

    #[test]
    fn holes_are_made_and_found() {
        const BLOCK: u64 = 4096;
        let (_dir, _queue, file) = file_with(&[]);
        file.write_at(&[1; 3 * BLOCK as usize], CipherOffset(0))
            .unwrap();
        assert_eq!(
            file.seek_hole(CipherOffset(0)).unwrap(),
            Some(CipherOffset(3 * BLOCK))
        );
        file.punch_hole(CipherOffset(BLOCK), BLOCK).unwrap();
        assert_eq!(
            file.seek_hole(CipherOffset(0)).unwrap(),
            Some(CipherOffset(BLOCK))
        );
        assert_eq!(
            file.seek_data(CipherOffset(BLOCK)).unwrap(),
            Some(CipherOffset(2 * BLOCK))
        );
        assert_eq!(file.seek_data(CipherOffset(3 * BLOCK)).unwrap(), None);
        assert_eq!(file.seek_hole(CipherOffset(3 * BLOCK)).unwrap(), None);
        let mut block = [9; BLOCK as usize];
        file.read_at(&mut block, CipherOffset(BLOCK)).unwrap();
        assert_eq!(block, [0; BLOCK as usize]);
        assert_eq!(file.len().unwrap(), CipherLen(3 * BLOCK));
    }

    #[test]
    fn reserving_space_leaves_the_length() {
        let (_dir, _queue, file) = file_with(&[]);
        file.allocate(CipherOffset(0), 8192).unwrap();
        let stat = file.stat().unwrap();
        assert_eq!(stat.size, 0);
        assert!(stat.blocks >= 16, "{} blocks", stat.blocks);
        assert_errno(file.allocate(CipherOffset(0), 0), libc::EINVAL);
    }

    #[test]
    fn growing_leaves_a_hole_and_shrinking_cuts() {
        let (dir, _queue, file) = file_with(&[]);
        file.write_at(b"abc", CipherOffset(0)).unwrap();
        file.set_len(CipherLen(5)).unwrap();
        assert_eq!(contents(&dir), b"abc\0\0");
        file.set_len(CipherLen(1)).unwrap();
        assert_eq!(contents(&dir), b"a");
    }

    #[test]
    fn a_file_without_names_still_works() {
        let (_dir, node) = folder();
        let file = node.create_file(&name("f"), 0o600).unwrap();
        node.unlink(&name("f")).unwrap();
        file.write_at(b"abc", CipherOffset(0)).unwrap();
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        file.set_mode(0o640).unwrap();
        file.set_times(TimeSet::At(7, 8), TimeSet::Keep).unwrap();
        let stat = file.stat().unwrap();
        assert_eq!(
            (stat.nlink, stat.size, stat.mode, stat.atime.secs),
            (0, 3, 0o640, 7)
        );
    }

    #[test]
    fn every_operation_can_be_struck() {
        let (_dir, queue, file) = file_with(&[]);
        type Call = fn(&StorageFile) -> io::Result<()>;
        let calls: [(FaultOp, Call); 13] = [
            (FaultOp::Allocate, |file| file.allocate(CipherOffset(0), 1)),
            (FaultOp::PunchHole, |file| {
                file.punch_hole(CipherOffset(0), 1)
            }),
            (FaultOp::Read, |file| {
                file.read_at(&mut [0], CipherOffset(0)).map(drop)
            }),
            (FaultOp::Seek, |file| {
                file.seek_data(CipherOffset(0)).map(drop)
            }),
            (FaultOp::Seek, |file| {
                file.seek_hole(CipherOffset(0)).map(drop)
            }),
            (FaultOp::SetMode, |file| file.set_mode(0o600)),
            (FaultOp::SetOwner, |file| file.set_owner(None, None)),
            (FaultOp::SetTimes, |file| {
                file.set_times(TimeSet::Now, TimeSet::Now)
            }),
            (FaultOp::SetLen, |file| file.set_len(CipherLen(0))),
            (FaultOp::Stat, |file| file.len().map(drop)),
            (FaultOp::SyncAll, |file| file.sync_all()),
            (FaultOp::SyncData, |file| file.sync_data()),
            (FaultOp::Write, |file| file.write_at(b"a", CipherOffset(0))),
        ];
        for (op, call) in calls {
            queue.inject(fault(op, 0, FaultAction::Errno(libc::EDQUOT)));
            assert_errno(call(&file), libc::EDQUOT);
            call(&file).unwrap();
        }
        assert!(queue.is_spent());
    }

    #[test]
    fn no_id_is_no_owner() {
        let (_dir, _queue, file) = file_with(&[]);
        assert_errno(file.set_owner(Some(u32::MAX), None), libc::EINVAL);
        assert_errno(file.set_owner(None, Some(u32::MAX)), libc::EINVAL);
    }
}

//! read, write, fsync, fallocate, lseek, copy_file_range: operations on an open handle, never on a name.

use crate::content::{ContentError, OpenFile, Seek, SyncKind};
use crate::fs::FileSystem;
use crate::fs::error::FsError;
use crate::fs::handles::{Fh, FileHandle};
use crate::fs::inodes::Ino;
use crate::fs::stats::Operation;
use crate::units::{PlainLen, PlainOffset};

/// What one copy_file_range request copies at most: a caller asks again for the rest, and other requests get their turn.
const COPY_MAX: u64 = 16 << 20;
/// What is held in memory of a copy.
const COPY_PIECE: usize = 1 << 20;

impl FileSystem {
    /// Reads at `offset` into `out`; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// `EIO` where any byte is not what was written: then none is given.
    pub fn read(&self, fh: Fh, offset: u64, out: &mut [u8]) -> Result<usize, FsError> {
        self.stats.count(Operation::Read);
        let handle = self.files.find(fh)?;
        let read = handle.file.read(PlainOffset(offset), out)?;
        self.stats.count_read(read);
        handle.usage.count_read(read);
        Ok(read)
    }

    /// Writes all of `data` at `offset`. With `clear_set_id` the file may no longer lend its owner's identity.
    ///
    /// # Errors
    /// `ENOSPC`, `EFBIG` and what else the ciphertext folder answers.
    pub fn write(
        &self,
        fh: Fh,
        offset: u64,
        data: &[u8],
        clear_set_id: bool,
    ) -> Result<(), FsError> {
        self.stats.count(Operation::Write);
        let handle = self.files.find(fh)?;
        handle.file.write(PlainOffset(offset), data)?;
        self.wrote(&handle, data.len(), clear_set_id)
    }

    /// What comes next was written past the kernel's cache.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn written_past_cache(&self, fh: Fh) -> Result<(), FsError> {
        self.files.find(fh)?.file.written_past_cache();
        Ok(())
    }

    /// Writes all of `data` at the end of the file, wherever other mounts have left it; says where that was.
    ///
    /// # Errors
    /// As [`FileSystem::write`].
    pub fn append(&self, fh: Fh, data: &[u8], clear_set_id: bool) -> Result<u64, FsError> {
        self.stats.count(Operation::Write);
        let handle = self.files.find(fh)?;
        let PlainOffset(at) = handle.file.append(data)?;
        self.wrote(&handle, data.len(), clear_set_id)?;
        Ok(at)
    }

    fn wrote(&self, handle: &FileHandle, len: usize, clear_set_id: bool) -> Result<(), FsError> {
        if clear_set_id {
            self.clear_set_id(&handle.file, None)?;
        }
        self.committer.note(&handle.inode, &handle.file);
        self.stats.count_written(len);
        handle.usage.count_written(len);
        Ok(())
    }

    /// Makes a file durable and commits its length.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`: nothing may then be taken to be durable.
    pub fn fsync(&self, fh: Fh, kind: SyncKind) -> Result<(), FsError> {
        self.stats.count(Operation::Fsync);
        let handle = self.files.find(fh)?;
        self.sync_folders_of(&handle.inode)?;
        Ok(handle.file.sync(kind)?)
    }

    /// Makes a folder's entries durable.
    ///
    /// # Errors
    /// `EIO`.
    pub fn fsyncdir(&self, ino: Ino) -> Result<(), FsError> {
        self.stats.count(Operation::Fsync);
        let folder = self.inode(ino)?;
        self.sync_folders_of(&folder)?;
        self.sync_new_folders_in(ino)?;
        self.sync_folder(&folder)
    }

    /// Preallocates, punches or zeroes a range. `mode` is `fallocate(2)`'s.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for other modes, `ENOSPC`, `EFBIG`.
    pub fn fallocate(&self, fh: Fh, mode: i32, offset: u64, len: u64) -> Result<(), FsError> {
        self.stats.count(Operation::Fallocate);
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        let handle = self.files.find(fh)?;
        let (file, at) = (&handle.file, PlainOffset(offset));
        let end = PlainLen(
            offset
                .checked_add(len)
                .filter(|_| len > 0)
                .ok_or(FsError::INVALID)?,
        );
        match mode {
            0 | libc::FALLOC_FL_KEEP_SIZE => file.allocate(at, len)?,
            PUNCH => {
                self.sync_folders_of(&handle.inode)?;
                file.punch_hole(at, len)?;
            }
            // Zeroing keeps, or takes, the space of its range: a later write there must find room.
            ZERO_KEEP | libc::FALLOC_FL_ZERO_RANGE => {
                self.sync_folders_of(&handle.inode)?;
                file.punch_hole(at, len)?;
                file.allocate(at, len)?;
            }
            _ => return Err(FsError::NOT_SUPPORTED),
        }
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && (end > file.len() || self.options.shared) {
            file.extend(end)?;
        }
        self.committer.note(&handle.inode, file);
        Ok(())
    }

    /// The next data or hole from `offset` on.
    ///
    /// # Errors
    /// `ENXIO` where there is none.
    pub fn lseek(&self, fh: Fh, offset: u64, what: Seek) -> Result<u64, FsError> {
        self.stats.count(Operation::Lseek);
        let found = self.files.find(fh)?.file.seek(PlainOffset(offset), what)?;
        found.map(|at| at.0).ok_or(FsError::Refused(libc::ENXIO))
    }

    /// Copies between two handles without the data crossing into the kernel; says how many bytes, perhaps fewer than asked.
    ///
    /// # Errors
    /// As [`FileSystem::read`] and [`FileSystem::write`], where nothing was copied.
    pub fn copy_file_range(
        &self,
        from: Fh,
        at: u64,
        to: Fh,
        to_at: u64,
        len: u64,
    ) -> Result<u64, FsError> {
        self.stats.count(Operation::CopyFileRange);
        let (source, target) = (self.files.find(from)?, self.files.find(to)?);
        let mut buffer = vec![0; COPY_PIECE.min(usize::try_from(len).unwrap_or(COPY_PIECE))];
        let mut copied = 0;
        while copied < len.min(COPY_MAX) {
            let piece = (len - copied).min(buffer.len() as u64) as usize;
            let (from, to) = (at.saturating_add(copied), to_at.saturating_add(copied));
            match copy_piece(&source.file, from, &target.file, to, &mut buffer[..piece]) {
                Ok(0) => break,
                Ok(piece) => copied += piece,
                // What was copied counts; the next request tells of the error.
                Err(_) if copied > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.committer.note(&target.inode, &target.file);
        Ok(copied)
    }
}

fn copy_piece(
    source: &OpenFile,
    from: u64,
    target: &OpenFile,
    to: u64,
    buffer: &mut [u8],
) -> Result<u64, ContentError> {
    let read = source.read(PlainOffset(from), buffer)?;
    target.write(PlainOffset(to), &buffer[..read])?;
    Ok(read as u64)
}

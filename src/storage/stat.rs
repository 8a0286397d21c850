//! What the kernel says of an inode and of a file system.

use std::io;

use rustix::fs::{
    FileType, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};

/// The kind of an inode. It never changes while the inode lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
    /// A regular file.
    Regular,
    /// A Unix socket.
    Socket,
    /// A symbolic link.
    Symlink,
    /// Not told: a folder of some file systems does not know its entries' kinds. Ask with a stat.
    Unknown,
}

impl FileKind {
    /// What stands for it in a hash: the manifest of a sealed volume is held against these numbers.
    pub fn number(self) -> u64 {
        match self {
            Self::BlockDevice => 1,
            Self::CharDevice => 2,
            Self::Directory => 3,
            Self::Fifo => 4,
            Self::Regular => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
            Self::Unknown => 8,
        }
    }
}

impl From<FileType> for FileKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::BlockDevice => Self::BlockDevice,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::Directory => Self::Directory,
            FileType::Fifo => Self::Fifo,
            FileType::RegularFile => Self::Regular,
            FileType::Socket => Self::Socket,
            FileType::Symlink => Self::Symlink,
            FileType::Unknown => Self::Unknown,
        }
    }
}

/// A time since the epoch; before it `secs` is negative and `nanos` still counts forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds.
    pub secs: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: u32,
}

impl From<StatxTimestamp> for Timestamp {
    fn from(time: StatxTimestamp) -> Self {
        Self {
            secs: time.tv_sec,
            nanos: time.tv_nsec,
        }
    }
}

/// The attributes of an inode, as `stat(2)` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The device that the inode is on (`makedev` form).
    pub dev: u64,
    /// The inode number, unique on its device.
    pub ino: u64,
    /// The kind.
    pub kind: FileKind,
    /// Permission bits with set-id and sticky bits: `0o7777` at most.
    pub mode: u32,
    /// The number of names.
    pub nlink: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The device that a device node stands for (`makedev` form), else 0.
    pub rdev: u64,
    /// The length in bytes: of a file its ciphertext, of a symlink its sealed target.
    pub size: u64,
    /// Units of 512 bytes that back it.
    pub blocks: u64,
    /// The length in bytes that the file system prefers for I/O.
    pub blksize: u32,
    /// The last access.
    pub atime: Timestamp,
    /// The last change of the contents.
    pub mtime: Timestamp,
    /// The last change of the inode.
    pub ctime: Timestamp,
    /// Its making, where the file system keeps that.
    pub btime: Option<Timestamp>,
}

impl From<&Statx> for Stat {
    fn from(raw: &Statx) -> Self {
        let mode = u32::from(raw.stx_mode);
        Self {
            dev: rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor),
            ino: raw.stx_ino,
            kind: FileType::from_raw_mode(mode).into(),
            mode: mode & 0o7777,
            nlink: raw.stx_nlink,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            rdev: rustix::fs::makedev(raw.stx_rdev_major, raw.stx_rdev_minor),
            size: raw.stx_size,
            blocks: raw.stx_blocks,
            blksize: raw.stx_blksize,
            atime: raw.stx_atime.into(),
            mtime: raw.stx_mtime.into(),
            ctime: raw.stx_ctime.into(),
            btime: (raw.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| raw.stx_btime.into()),
        }
    }
}

/// What to do with one of an inode's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSet {
    /// Leave it.
    Keep,
    /// The kernel's present time.
    Now,
    /// Seconds since the epoch and nanoseconds below 10^9.
    At(i64, u32),
}

impl TimeSet {
    /// EINVAL for 10^9 nanoseconds and more: beyond lie the numbers that mean "now" and "keep".
    fn timespec(self) -> io::Result<Timespec> {
        match self {
            Self::Keep => Ok(Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            }),
            Self::Now => Ok(Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            }),
            Self::At(secs, nanos) if nanos < 1_000_000_000 => Ok(Timespec {
                tv_sec: secs,
                tv_nsec: nanos.into(),
            }),
            Self::At(..) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        }
    }

    pub(super) fn pair(atime: Self, mtime: Self) -> io::Result<Timestamps> {
        Ok(Timestamps {
            last_access: atime.timespec()?,
            last_modification: mtime.timespec()?,
        })
    }
}

/// The state of a file system, as `statvfs(3)` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// The length in bytes that it prefers for I/O.
    pub block_len: u64,
    /// The unit in bytes that the block counts are in.
    pub fragment_len: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Blocks that are free.
    pub blocks_free: u64,
    /// Blocks that are free to ordinary users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes that are free.
    pub files_free: u64,
    /// The longest name in bytes.
    pub name_max: u64,
}

impl From<rustix::fs::StatVfs> for StatFs {
    fn from(raw: rustix::fs::StatVfs) -> Self {
        Self {
            block_len: raw.f_bsize,
            fragment_len: raw.f_frsize,
            blocks: raw.f_blocks,
            blocks_free: raw.f_bfree,
            blocks_available: raw.f_bavail,
            files: raw.f_files,
            files_free: raw.f_ffree,
            name_max: raw.f_namemax,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_of_a_second_and_more_are_refused() {
        for nanos in [1_000_000_000, 0x3fff_ffff, 0x3fff_fffe, u32::MAX] {
            let error = TimeSet::At(0, nanos).timespec().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{nanos}");
        }
    }

    #[test]
    fn times_before_the_epoch_are_taken() {
        let time = TimeSet::At(-1, 999_999_999).timespec().unwrap();
        assert_eq!((time.tv_sec, time.tv_nsec), (-1, 999_999_999));
    }
}

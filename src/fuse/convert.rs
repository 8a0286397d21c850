//! Between the types of `fs` and those of the protocol.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, Generation, INodeNo, Request, TimeOrNow};

use crate::fs::{Attr, Caller, Entry, FsError, Ino, TimeChange};
use crate::storage::{self, FileKind, Timestamp};

pub(super) fn ino(ino: INodeNo) -> Ino {
    Ino(ino.0)
}

pub(super) fn caller(request: &Request) -> Caller {
    maker(request, 0)
}

/// A caller who makes an inode.
pub(super) fn maker(request: &Request, umask: u32) -> Caller {
    Caller {
        ids: storage::Caller {
            uid: request.uid(),
            gid: request.gid(),
        },
        pid: request.pid(),
        umask,
    }
}

pub(super) fn generation(entry: &Entry) -> Generation {
    Generation(u64::from(entry.generation))
}

pub(super) fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.errno())
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.mode as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        // The protocol has 32 bits in the kernel's own encoding of device numbers.
        rdev: protocol_rdev(attr.rdev),
        blksize: attr.blksize,
        flags: 0,
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::Directory => FileType::Directory,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Regular | FileKind::Unknown => FileType::RegularFile,
        FileKind::Socket => FileType::Socket,
        FileKind::Symlink => FileType::Symlink,
    }
}

pub(super) fn time_change(time: TimeOrNow) -> TimeChange {
    match time {
        TimeOrNow::Now => TimeChange::Now,
        TimeOrNow::SpecificTime(time) => TimeChange::To(as_fuser_read_it(time)),
    }
}

/// A device number of the protocol: `new_encode_dev` of linux/kdev_t.h.
pub(super) fn device(rdev: u32) -> u64 {
    let (major, minor) = (
        (rdev & 0xfff00) >> 8,
        (rdev & 0xff) | ((rdev >> 12) & 0xfff00),
    );
    rustix::fs::makedev(major, minor)
}

fn protocol_rdev(rdev: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second = if time.secs >= 0 {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    };
    second
        .and_then(|second| second.checked_add(nanos))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time that the kernel meant: fuser 0.18 takes nanoseconds backwards, where before the epoch too they count
/// forwards (`system_time_from_time` in its src/time.rs).
pub(super) fn as_fuser_read_it(time: SystemTime) -> Timestamp {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Err(before) => Timestamp {
            secs: -(before.duration().as_secs() as i64),
            nanos: before.duration().subsec_nanos(),
        },
        Ok(since) => Timestamp {
            secs: since.as_secs() as i64,
            nanos: since.subsec_nanos(),
        },
    }
}

#[cfg(test)]
fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp {
            secs: since.as_secs() as i64,
            nanos: since.subsec_nanos(),
        },
        Err(before) => {
            let until = before.duration();
            let (secs, nanos) = (-(until.as_secs() as i64), until.subsec_nanos());
            if nanos == 0 {
                Timestamp { secs, nanos }
            } else {
                Timestamp {
                    secs: secs - 1,
                    nanos: 1_000_000_000 - nanos,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch_survive() {
        for (secs, nanos) in [
            (0, 0),
            (1, 999_999_999),
            (-1, 1),
            (-1, 0),
            (-2_000_000_000, 500),
            (4_000_000_000, 7),
        ] {
            let time = Timestamp { secs, nanos };
            assert_eq!(timestamp(system_time(time)), time);
        }
    }

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (259, 256), (4095, 0xf_ffff)] {
            let rdev = rustix::fs::makedev(major, minor);
            assert_eq!(device(protocol_rdev(rdev)), rdev, "{major}:{minor}");
        }
    }
}

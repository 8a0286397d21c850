//! Every error has the errno that the design gives it.

use std::io;

use super::*;
use crate::content::{ContentError, Damage};
use crate::format::header::HeaderError;
use crate::format::names::NameError;
use crate::keys::{KeyError, KeyErrorKind};
use crate::units::{ChunkIndex, FileId};
use crate::volume::VolumeError;

fn damaged() -> FsError {
    FsError::Content(ContentError::Damaged {
        file_id: FileId([1; 16]),
        damage: Damage::Cut {
            index: ChunkIndex(3),
        },
    })
}

fn key(kind: KeyErrorKind) -> FsError {
    VolumeError::Key(KeyError::new(kind, "on purpose")).into()
}

fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn volume_io(errno: i32) -> FsError {
    VolumeError::Io {
        what: "a test".into(),
        source: os(errno),
    }
    .into()
}

/// The error, its errno, and whether it tells of tampering or damage.
fn table() -> Vec<(FsError, i32, bool)> {
    vec![
        (damaged(), libc::EIO, true),
        (
            FsError::Content(ContentError::Io(os(libc::ENOSPC))),
            libc::ENOSPC,
            false,
        ),
        (
            FsError::Content(ContentError::Io(io::Error::other("x"))),
            libc::EIO,
            false,
        ),
        (FsError::Content(ContentError::TooLarge), libc::EFBIG, false),
        (
            FsError::Content(HeaderError::NotOurs.into()),
            libc::EIO,
            true,
        ),
        (FsError::EmptyFile, libc::EIO, false),
        (FsError::ForeignFile, libc::EIO, true),
        (FsError::Io(os(libc::EDQUOT)), libc::EDQUOT, false),
        (FsError::Io(io::Error::other("x")), libc::EIO, false),
        (FsError::Name(NameError::Forged), libc::EIO, true),
        (FsError::Panic, libc::EIO, false),
        (FsError::Unsealable("it"), libc::EIO, true),
        (FsError::STALE, libc::ESTALE, false),
        (FsError::BAD_HANDLE, libc::EBADF, false),
        (FsError::NAME_TOO_LONG, libc::ENAMETOOLONG, false),
        (FsError::NOT_EMPTY, libc::ENOTEMPTY, false),
        (FsError::NOT_FOUND, libc::ENOENT, false),
        (FsError::NOT_SUPPORTED, libc::EOPNOTSUPP, false),
        (FsError::INVALID, libc::EINVAL, false),
        (FsError::RESERVED_NAME, libc::EPERM, false),
        (key(KeyErrorKind::Denied), libc::EACCES, false),
        (key(KeyErrorKind::NotFound), libc::ENOKEY, false),
        (key(KeyErrorKind::Revoked), libc::EKEYREVOKED, false),
        (key(KeyErrorKind::Unavailable), libc::EAGAIN, false),
        (key(KeyErrorKind::Corrupt), libc::EIO, false),
        (key(KeyErrorKind::Config), libc::EIO, false),
        (
            VolumeError::WrongKey(KeyError::new(KeyErrorKind::Corrupt, "x")).into(),
            libc::EIO,
            false,
        ),
        (VolumeError::NotAVolume("x".into()).into(), libc::EIO, false),
        (volume_io(libc::EROFS), libc::EROFS, false),
    ]
}

#[test]
fn every_error_has_its_errno() {
    for (error, errno, _) in table() {
        assert_eq!(error.errno(), errno, "{error:?}");
    }
}

#[test]
fn damage_is_told_apart_from_what_merely_failed() {
    for (error, _, integrity) in table() {
        assert_eq!(error.is_integrity_failure(), integrity, "{error:?}");
    }
}

#[test]
fn only_damage_is_counted() {
    let bench = Bench::new(NameMode::Encrypted);
    let damage = table()
        .iter()
        .filter(|(_, _, integrity)| *integrity)
        .count();
    for (error, _, _) in table() {
        bench.note_failure("test", Some(ROOT), None, &error);
    }
    assert_eq!(bench.stats().integrity_failures, damage as u64);
}

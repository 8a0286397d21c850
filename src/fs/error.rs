//! Why a file system operation failed, and the one place where that becomes an errno.

use std::io;

use thiserror::Error;

use crate::content::ContentError;
use crate::crypto::LockedMemoryError;
use crate::format::names::NameError;
use crate::keys::{KeyError, KeyErrorKind};
use crate::volume::{Broken, VolumeError};

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum FsError {
    /// A file's content is damaged, or could not be read or written.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A crash left the file without a header; nothing in it was ever synced.
    #[error(
        "the file has no header: a crash came before its first sync (--accept-empty reads it as empty)"
    )]
    EmptyFile,
    /// The file was not made in this volume, and the volume does not take others.
    #[error("the file was not made in this volume")]
    ForeignFile,
    /// The ciphertext folder answered with an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No key memory could be locked.
    #[error(transparent)]
    LockedMemory(#[from] LockedMemoryError),
    /// A folder's id or a name in it is not this volume's.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A defect of this program: the operation ended in a panic.
    #[error("internal error (a panic); please report it")]
    Panic,
    /// The volume is sealed, and something is not as it was then.
    #[error("the volume is sealed, and {0}")]
    SealBroken(#[from] Broken),
    /// Nothing went wrong: the operation may not be done, and the errno says why.
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Refused(i32),
    /// A data key or the volume could not be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// An extended attribute or a symlink's target cannot be opened.
    #[error("{0} is not authentic")]
    Unsealable(&'static str),
}

impl FsError {
    pub(super) const STALE: Self = Self::Refused(libc::ESTALE);
    pub(super) const BAD_HANDLE: Self = Self::Refused(libc::EBADF);
    pub(super) const NAME_TOO_LONG: Self = Self::Refused(libc::ENAMETOOLONG);
    pub(super) const NOT_EMPTY: Self = Self::Refused(libc::ENOTEMPTY);
    pub(super) const NO_DATA: Self = Self::Refused(libc::ENODATA);
    pub(super) const NOT_FOUND: Self = Self::Refused(libc::ENOENT);
    pub(super) const NOT_SUPPORTED: Self = Self::Refused(libc::EOPNOTSUPP);
    pub(super) const INVALID: Self = Self::Refused(libc::EINVAL);
    /// A name that stands for the volume's own entries (`plain` names only).
    pub(super) const RESERVED_NAME: Self = Self::Refused(libc::EPERM);

    /// What the caller's system call answers.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Content(error) => content_errno(error),
            Self::EmptyFile
            | Self::ForeignFile
            | Self::Name(_)
            | Self::Panic
            | Self::SealBroken(_)
            | Self::Unsealable(_) => libc::EIO,
            Self::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::LockedMemory(_) => libc::ENOMEM,
            Self::Refused(errno) => *errno,
            Self::Volume(error) => volume_errno(error),
        }
    }

    /// Whether a file's or the volume's keys were taken away, which was logged when it happened.
    pub(super) fn is_for_lost_keys(&self) -> bool {
        matches!(self, Self::Content(ContentError::KeysGone { .. }))
    }

    /// Whether what lies in the ciphertext folder is not what was written there.
    pub fn is_integrity_failure(&self) -> bool {
        match self {
            Self::Content(ContentError::Damaged { .. } | ContentError::NotReadable(_))
            | Self::ForeignFile
            | Self::Name(_)
            | Self::SealBroken(_)
            | Self::Unsealable(_)
            | Self::Volume(VolumeError::FolderId(_)) => true,
            Self::Content(
                ContentError::Io(_)
                | ContentError::KeysGone { .. }
                | ContentError::LockedMemory(_)
                | ContentError::Overtaken
                | ContentError::TooLarge,
            )
            | Self::EmptyFile
            | Self::Io(_)
            | Self::LockedMemory(_)
            | Self::Panic
            | Self::Refused(_)
            | Self::Volume(_) => false,
        }
    }
}

fn content_errno(error: &ContentError) -> i32 {
    match error {
        ContentError::Damaged { .. } | ContentError::NotReadable(_) => libc::EIO,
        ContentError::Io(error) => error.raw_os_error().unwrap_or(libc::EIO),
        ContentError::KeysGone { why, .. } => key_errno(why),
        ContentError::LockedMemory(_) => libc::ENOMEM,
        ContentError::Overtaken => libc::ESTALE,
        ContentError::TooLarge => libc::EFBIG,
    }
}

fn key_errno(error: &KeyError) -> i32 {
    match error.kind() {
        KeyErrorKind::Denied => libc::EACCES,
        KeyErrorKind::NotFound => libc::ENOKEY,
        KeyErrorKind::Revoked => libc::EKEYREVOKED,
        KeyErrorKind::Unavailable => libc::EAGAIN,
        KeyErrorKind::Config | KeyErrorKind::Corrupt => libc::EIO,
    }
}

fn volume_errno(error: &VolumeError) -> i32 {
    match error {
        VolumeError::Key(error) => key_errno(error),
        VolumeError::LockedMemory(_) => libc::ENOMEM,
        VolumeError::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        _ => libc::EIO,
    }
}

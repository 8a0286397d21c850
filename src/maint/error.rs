//! Why whole-volume work, or work on one file, could not be done.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::content::ContentError;
use crate::crypto::LockedMemoryError;
use crate::format::header::HeaderError;
use crate::keys::{KeyError, KeyErrorKind};
use crate::units::VolumeId;
use crate::volume::VolumeError;

/// Why the work could not be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MaintError {
    /// The output is there already.
    #[error("{0} is there already")]
    OutputExists(PathBuf),
    /// The input ends before its header does, or is empty.
    #[error("{0} is no ciphertext file: it is empty")]
    Empty(PathBuf),
    /// The data key is wrapped by a volume, not by a key provider.
    #[error("the file's key is held by volume {0}: read the file through a mount of that volume")]
    HeldByVolume(VolumeId),
    /// The file's content is damaged or could not be read or written.
    #[error("{path}: {source}")]
    Content {
        /// The ciphertext file.
        path: PathBuf,
        /// What happened.
        source: ContentError,
    },
    /// The key slots do not fit the header.
    #[error("the wrapped keys do not fit a header of this size: {0}")]
    HeaderTooSmall(#[from] HeaderError),
    /// Input or output failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A key provider refused or failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No key memory could be locked.
    #[error(transparent)]
    LockedMemory(#[from] LockedMemoryError),
    /// The volume could not be used.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl MaintError {
    /// Whether another try may end better, with nothing mended in between: a key was not to be had, or the disk failed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Key(error) | Self::Volume(VolumeError::Key(error)) => {
                error.kind() != KeyErrorKind::Corrupt
            }
            Self::Content { source, .. } => !matches!(
                source,
                ContentError::Damaged { .. }
                    | ContentError::NotReadable(_)
                    | ContentError::TooLarge
            ),
            Self::Io { .. }
            | Self::LockedMemory(_)
            | Self::Volume(VolumeError::Io { .. } | VolumeError::LockedMemory(_)) => true,
            _ => false,
        }
    }
}

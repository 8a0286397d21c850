//! Why a volume could not be made or opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::crypto::LockedMemoryError;
use crate::format::header::HeaderError;
use crate::format::names::NameError;
use crate::format::volume_config::VolumeConfigError;
use crate::keys::KeyError;
use crate::policy::PolicyError;
use crate::units::KeyUri;

/// Why a volume could not be made, opened, or give a file's keys.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// The folder holds no `.envelopefs`.
    #[error("{0} is not an envelopefs volume")]
    NotAVolume(PathBuf),
    /// The folder holds a `.envelopefs` without the file that makes it one: an `init` that was cut short, or a loss.
    #[error("{0} holds .envelopefs without volume.json")]
    NoConfig(PathBuf),
    /// `init` was asked to make a volume of a folder that holds something.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// Another mount has the volume.
    #[error("{0} is in use by another mount")]
    InUse(PathBuf),
    /// `volume.json` cannot be used.
    #[error(transparent)]
    Config(#[from] VolumeConfigError),
    /// The key that a slot gave is not the volume's.
    #[error("the key does not open this volume, it is the wrong key or passphrase: {0}")]
    WrongKey(#[source] KeyError),
    /// A folder's id is not one.
    #[error("the folder's id: {0}")]
    FolderId(#[source] NameError),
    /// The policy cannot be followed.
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
    /// policy.toml is not the one that `volume.json` names.
    #[error(
        "policy.toml is not the policy that was set: it was changed, removed, or an older one was put back"
    )]
    PolicyForged,
    /// A folder's key is none of the volume's.
    #[error("the policy names the key {0}, which is none of this volume's")]
    PolicyKey(KeyUri),
    /// A mount that asks its providers on the spot cannot begin to wait for others.
    #[error("the policy names keys that must be waited for, and this mount's own need not be")]
    PolicyNeedsMount,
    /// The slots of so many keys do not fit the header.
    #[error("the wrapped keys do not fit a header of this size: {0}")]
    HeaderTooSmall(#[from] HeaderError),
    /// A key provider refused or failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No key memory could be locked.
    #[error(transparent)]
    LockedMemory(#[from] LockedMemoryError),
    /// The ciphertext folder answered with an error.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

impl VolumeError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

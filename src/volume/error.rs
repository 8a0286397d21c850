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
    /// The volume has none of the keys that may be used.
    #[error(
        "its keys are not those that were given. It has {}; given are {}",
        listed(.stored),
        listed(.given)
    )]
    OtherKeys {
        /// What its slots name.
        stored: Vec<KeyUri>,
        /// What may be used.
        given: Vec<KeyUri>,
    },
    /// The key that a slot gave is not the volume's.
    #[error("the key does not open this volume, it is the wrong key or passphrase: {0}")]
    WrongKey(#[source] KeyError),
    /// Every key was to go.
    #[error("it is the volume's last key")]
    LastKey,
    /// A key that neither the volume nor any of its slots names.
    #[error("{0} is no key of this volume")]
    NoSuchKey(KeyUri),
    /// More keys than a volume or a file may have.
    #[error("a volume has at most eight keys, those that are being removed among them")]
    TooManyKeys,
    /// Another run changes keys or headers all over.
    #[error("another run of slots, rewrap or reencrypt is under way on this volume")]
    RunUnderWay,
    /// A file that was made outside the volume, by keys that are not the volume's to use.
    #[error(
        "the file was made outside the volume, and its keys are not all the volume's, or are being removed"
    )]
    Stranded,
    /// A folder's id is not one.
    #[error("the folder's id: {0}")]
    FolderId(#[source] NameError),
    /// A folder is to have the volume's keys, each data key by itself, and the volume has none.
    #[error("the policy gives {0} the volume's keys with scope \"file\", and the volume has none")]
    FolderWithoutKey(String),
    /// A key of the policy says where its service is reached, which no stored URI does.
    #[error("the policy names the key {0}: say how it is reached on each machine, and here {1}")]
    FolderKey(KeyUri, KeyUri),
    /// A key that the policy gives a folder does not wrap.
    #[error("the key of a folder does not work here: {0}")]
    FolderKeyFails(#[source] KeyError),
    /// A new file's folder decides on its keys, and its path is not known.
    #[error(
        "where the new file's folder stands is not known, and with it which keys the file gets"
    )]
    FolderUnknown,
    /// A file with a key that folders once had, where no folder has keys of its own.
    #[error(
        "it is under {0}, which folders once had, and stands where the volume's keys are due: put it back in its folder, or say \
         which key comes in the place of that one: rewrap --from {0} --to URI"
    )]
    KeyOfFormerFolder(KeyUri),
    /// A file with slots of several folders' keys.
    #[error("no folder has all of the folders' keys that its slots name: {}", listed(.0))]
    KeysOfSeveralFolders(Vec<KeyUri>),
    /// Files may be under too many keys that no folder has any more.
    #[error("files may still be under the keys of too many earlier policies")]
    TooManyFormerKeys,
    /// The volume is sealed, and was to be opened for writing.
    #[error("the volume is sealed")]
    Sealed,
    /// The manifest is not the one that `volume.json` names.
    #[error("its manifest .envelopefs/seal was changed, removed, or an older one was put back")]
    SealForged,
    /// The policy cannot be followed.
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
    /// policy.toml is not the one that `volume.json` names.
    #[error(
        "policy.toml is not the policy that was set: it was changed, removed, or an older one was put back"
    )]
    PolicyForged,
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

fn listed(uris: &[KeyUri]) -> String {
    let uris: Vec<_> = uris.iter().map(KeyUri::as_str).collect();
    uris.join(", ")
}

impl VolumeError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

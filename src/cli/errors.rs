//! From the errors of the rooms below to what a user is told: the exit code, and what to do.

use std::path::Path;

use super::exit::Exit;
use super::failure::{Failure, chain};
use crate::crypto::LockedMemoryError;
use crate::format::volume_config::VolumeConfigError;
use crate::keys::{KeyError, KeyErrorKind};
use crate::maint::MaintError;
use crate::volume::VolumeError;

/// A volume that could not be made or opened, while doing `what`.
pub(super) fn volume(what: impl Into<String>, error: &VolumeError) -> Failure {
    match error {
        // `what` names the folder already.
        VolumeError::NotAVolume(path) => {
            Failure::new(Exit::NotAVolume, what, "it is not an envelopefs volume").advise(format!(
                "make one with `envelopefs init {}`",
                path.display()
            ))
        }
        VolumeError::NoConfig(_) => Failure::new(
            Exit::NotAVolume,
            what,
            "it holds .envelopefs without volume.json",
        )
        .advise("restore .envelopefs/volume.json from a backup; if `init` was cut short, remove the folder and run it again"),
        VolumeError::NotEmpty(_) => Failure::new(Exit::Failure, what, error)
            .advise("name an empty folder, or one that is not there yet"),
        VolumeError::InUse(_) => {
            Failure::new(Exit::VolumeInUse, what, "it is in use by another mount").advise(
                "unmount it (`envelopefs status` lists mounts), or mount it everywhere with --shared",
            )
        }
        VolumeError::Config(VolumeConfigError::NewerVersion(_)) => {
            Failure::new(Exit::NewerVolume, what, chain(error)).advise("use a newer envelopefs")
        }
        VolumeError::Config(_) => Failure::new(Exit::DamagedVolume, what, chain(error))
            .advise("restore .envelopefs/volume.json from a backup: it was changed"),
        VolumeError::PolicyForged => Failure::new(Exit::DamagedVolume, what, error)
            .advise("put back .envelopefs/policy.toml as it was, or set it anew: `envelopefs policy set CIPHERDIR FILE`"),
        VolumeError::Policy(_) => Failure::new(Exit::Usage, what, error)
            .advise("`envelopefs policy check FILE` says what is wrong with a policy; docs/POLICY.md what one is"),
        VolumeError::Sealed => Failure::new(Exit::Usage, what, error)
            .advise("mount it read-only, or let it be changed again: `envelopefs seal --remove CIPHERDIR`"),
        VolumeError::SealForged => Failure::new(Exit::SealBroken, what, error)
            .advise("put back .envelopefs/seal from a backup"),
        VolumeError::OtherKeys { .. } => Failure::new(Exit::KeyDenied, what, error)
            .advise("see that it is the volume that you mean; if it is, give its key by --key"),
        VolumeError::FolderKey(_, _) | VolumeError::FolderWithoutKey(_) => {
            Failure::new(Exit::Usage, what, error)
                .advise("docs/POLICY.md says which keys folders may have")
        }
        VolumeError::TooManyFormerKeys => Failure::new(Exit::Usage, what, error)
            .advise("bring all files under the keys of their folders first: `envelopefs rewrap CIPHERDIR`"),
        VolumeError::WrongKey(_) => Failure::new(Exit::KeyDenied, what, error)
            .advise("give the key or passphrase that the volume was made with"),
        VolumeError::HeaderTooSmall(_) => Failure::new(Exit::Usage, what, error)
            .advise("give fewer keys, or a larger --header-size"),
        VolumeError::Key(error) => key(what, error),
        VolumeError::FolderKeyFails(error) => {
            key(format!("{}: the key of a folder", what.into()), error)
        }
        VolumeError::LockedMemory(error) => locked_memory(what, error),
        VolumeError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::new(Exit::NotAVolume, what, chain(error))
        }
        _ => Failure::new(Exit::Failure, what, chain(error)),
    }
}

/// A key provider that refused or failed, while doing `what`.
pub(super) fn key(what: impl Into<String>, error: &KeyError) -> Failure {
    let why = chain(error);
    match error.kind() {
        KeyErrorKind::Denied | KeyErrorKind::Corrupt => Failure::new(Exit::KeyDenied, what, why)
            .advise("give the key or passphrase that it was made with"),
        KeyErrorKind::NotFound | KeyErrorKind::Revoked => Failure::new(Exit::KeyDenied, what, why)
            .advise("see that the key is still there, and enabled"),
        KeyErrorKind::Unavailable => Failure::new(Exit::KeyUnavailable, what, why)
            .advise("see that the key provider is reachable"),
        KeyErrorKind::Config => Failure::new(Exit::KeyDenied, what, why),
    }
}

pub(super) fn locked_memory(what: impl Into<String>, error: &LockedMemoryError) -> Failure {
    Failure::new(Exit::MemoryNotLocked, what, error).advise(
        "raise the limit (ulimit -l, LimitMEMLOCK=), or accept that keys may reach swap: --allow-unlocked-memory",
    )
}

/// Work on a whole volume or on one file that failed, while doing `what`.
pub(super) fn maint(what: impl Into<String>, error: &MaintError) -> Failure {
    match error {
        MaintError::OutputExists(path) => output_exists(what, path),
        MaintError::HeldByVolume(_) => Failure::new(Exit::KeyDenied, what, error)
            .advise("mount that volume and read the file there"),
        MaintError::HeaderTooSmall(_) => Failure::new(Exit::Usage, what, error)
            .advise("give fewer keys, or a larger --header-size"),
        MaintError::Key(error) => key(what, error),
        MaintError::LockedMemory(error) => locked_memory(what, error),
        MaintError::Volume(error) => volume(what, error),
        _ => Failure::new(Exit::Failure, what, chain(error)),
    }
}

/// An output that is there already and was not to be replaced.
pub(super) fn output_exists(what: impl Into<String>, path: &Path) -> Failure {
    Failure::new(
        Exit::OutputExists,
        what,
        format!("{} is there already", path.display()),
    )
    .advise("name another output, or replace it with --force")
}

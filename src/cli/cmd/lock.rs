//! `envelopefs lock`: has a mount drop its keys.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::control::{Client, ControlError};
use crate::daemon::mounts;

const AFTER: &str = "\
EXAMPLES:
  envelopefs lock ~/secrets
  envelopefs unlock ~/secrets";

/// Arguments of `lock`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct LockArgs {
    /// The mount point
    #[arg(value_name = "MOUNT")]
    pub mountpoint: PathBuf,
}

/// A mount to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The mount point as given.
    pub mountpoint: PathBuf,
}

impl From<LockArgs> for LockRequest {
    fn from(args: LockArgs) -> Self {
        Self {
            mountpoint: args.mountpoint,
        }
    }
}

/// Locks, and returns when the keys are gone.
///
/// # Errors
/// Nothing of ours is mounted there, or its process does not answer.
pub fn run(request: &LockRequest) -> Result<(), Failure> {
    let what = format!("cannot lock {}", request.mountpoint.display());
    let client = connect(&what, &request.mountpoint)?;
    client.lock().map_err(|error| failed(&what, &error))
}

/// The daemon behind the mount at `mountpoint`.
pub(super) fn connect(what: &str, mountpoint: &Path) -> Result<Client, Failure> {
    let mounts = mounts::read().map_err(|error| Failure::new(Exit::Failure, what, error))?;
    let mount = mounts::find(&mounts, mountpoint)
        .filter(|mount| mount.is_ours())
        .ok_or_else(|| {
            Failure::new(Exit::NotMounted, what, "no envelopefs is mounted there")
                .advise("`envelopefs status` lists what is mounted")
        })?;
    Client::connect(mount).map_err(|error| failed(what, &error))
}

/// What a daemon did not do.
pub(super) fn failed(what: &str, error: &ControlError) -> Failure {
    match error {
        ControlError::KeyDenied(_) => Failure::new(Exit::KeyDenied, what, error)
            .advise("give the passphrase that it was made with, or see that the key is enabled"),
        ControlError::KeyUnavailable(_) => Failure::new(Exit::KeyUnavailable, what, error)
            .advise("see that the key provider is reachable"),
        ControlError::Denied => Failure::new(Exit::NoAnswer, what, error)
            .advise("do it as root, or as the user who mounted"),
        _ => Failure::new(Exit::NoAnswer, what, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_mount_has_its_own_code() {
        for mountpoint in ["/nonexistent/m", "/proc"] {
            let request = LockRequest {
                mountpoint: mountpoint.into(),
            };
            assert_eq!(run(&request).unwrap_err().exit(), Exit::NotMounted);
        }
    }

    #[test]
    fn refusals_and_silence_have_their_codes() {
        for (error, exit) in [
            (ControlError::KeyDenied("no".into()), Exit::KeyDenied),
            (
                ControlError::KeyUnavailable("no".into()),
                Exit::KeyUnavailable,
            ),
            (ControlError::Denied, Exit::NoAnswer),
            (ControlError::NoSocket, Exit::NoAnswer),
        ] {
            assert_eq!(failed("x", &error).exit(), exit);
        }
    }
}

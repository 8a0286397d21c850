//! `envelopefs lock`: has a mount drop its keys.

use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mounted;
use crate::daemon::control::{Client, ControlError};
use crate::daemon::mounts::{self, Mount};

const AFTER: &str = "\
EXAMPLES:
  envelopefs lock ~/secrets
  envelopefs unlock ~/secrets
  envelopefs lock --all";

/// Arguments of `lock`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct LockArgs {
    /// The mount point
    #[arg(
        value_name = "MOUNT",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub mountpoint: Option<PathBuf>,

    /// Every mount of envelopefs that this user may lock; as root, every one there is
    ///
    /// As before the machine is suspended (packaging/systemd has a unit for that). Nothing mounted is no failure.
    #[arg(long)]
    pub all: bool,
}

/// What to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// The mount point as given; None: all.
    pub mountpoint: Option<PathBuf>,
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
/// Nothing of ours is mounted there, or its process does not answer; of all, the first that was not locked: the others are.
pub fn run(request: &LockRequest) -> Result<(), Failure> {
    let Some(mountpoint) = &request.mountpoint else {
        return lock_all();
    };
    let what = cannot_lock(mountpoint);
    let client = connect(&what, mountpoint)?;
    client.lock().map_err(|error| failed(&what, &error))
}

fn cannot_lock(mountpoint: &Path) -> String {
    format!("cannot lock {}", mountpoint.display())
}

/// All at once: one that is slow to write holds up no other.
fn lock_all() -> Result<(), Failure> {
    let own = rustix::process::geteuid();
    let locking: Vec<_> = mounted::ours()?
        .into_iter()
        .filter(|mount| own.is_root() || mount.owner == Some(own.as_raw()))
        .map(|mount| thread::spawn(move || lock_one(&mount)))
        .collect();
    let done = locking.into_iter().map(|thread| {
        let vanished = |_panic| {
            Err(Failure::new(
                Exit::Failure,
                "cannot lock a mount",
                "a panic",
            ))
        };
        thread.join().unwrap_or_else(vanished)
    });
    let failures: Vec<Failure> = done.filter_map(Result::err).collect();
    for failure in failures.iter().skip(1) {
        tracing::error!(%failure, "a mount stays unlocked");
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn lock_one(mount: &Mount) -> Result<(), Failure> {
    let locked = Client::connect(mount).and_then(Client::lock);
    locked.map_err(|error| failed(&cannot_lock(&mount.mountpoint), &error))
}

/// The daemon behind the mount at `mountpoint`.
pub(super) fn connect(what: &str, mountpoint: &Path) -> Result<Client, Failure> {
    let mounts = mounts::read().map_err(|error| Failure::new(Exit::Failure, what, error))?;
    let mount = mounted::at(&mounts, mountpoint, what)?;
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
                mountpoint: Some(mountpoint.into()),
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

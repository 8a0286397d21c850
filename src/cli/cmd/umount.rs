//! `envelopefs umount`: unmount, then wait until the daemon has written everything.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::control::{Client, ControlError, Waiting};
use crate::daemon::mounts::{self, Mount};
use crate::daemon::unmount::{self, Detach, UnmountError};

const AFTER: &str = "\
EXAMPLES:
  envelopefs umount ~/secrets
  envelopefs umount --lazy ~/secrets";

/// Arguments of `umount`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct UmountArgs {
    /// The mount point
    #[arg(value_name = "MOUNT")]
    pub mountpoint: PathBuf,

    /// Take the mount out of sight at once, though it is in use
    ///
    /// What is open stays usable until it is closed; the process ends then. Returns without waiting
    /// for that.
    #[arg(short, long)]
    pub lazy: bool,
}

/// A mount to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UmountRequest {
    /// The mount point as given.
    pub mountpoint: PathBuf,
    /// Without waiting for its users.
    pub lazy: bool,
}

impl From<UmountArgs> for UmountRequest {
    fn from(args: UmountArgs) -> Self {
        Self {
            mountpoint: args.mountpoint,
            lazy: args.lazy,
        }
    }
}

/// Unmounts, and returns when all is written.
///
/// # Errors
/// Nothing of ours is mounted there, it is in use, or the system refuses.
pub fn run(request: &UmountRequest) -> Result<(), Failure> {
    let cannot = Cannot {
        mountpoint: request.mountpoint.display().to_string(),
    };
    let mounts = mounts::read().map_err(|error| cannot.failure(Exit::Failure, error))?;
    let mount = mounts::find(&mounts, &request.mountpoint)
        .filter(|mount| mount.is_ours())
        .ok_or_else(|| cannot.not_mounted("no envelopefs is mounted there"))?;
    if request.lazy {
        return unmount::unmount(&mount.mountpoint, Detach::Lazily)
            .map_err(|error| cannot.because(&error));
    }
    // Asked for first: after the unmount there may be nobody left to ask.
    let waiting = word_of_end(mount);
    unmount::unmount(&mount.mountpoint, Detach::Now).map_err(|error| cannot.because(&error))?;
    match waiting {
        Ok(waiting) => wait(waiting, &cannot),
        // A dead mount, or a daemon without a socket: the kernel has handed everything over.
        Err(error) => {
            tracing::warn!(%error, "unmounted; cannot tell when the process has ended");
            Ok(())
        }
    }
}

fn word_of_end(mount: &Mount) -> Result<Waiting, ControlError> {
    Client::connect(mount)?.wait_for_end()
}

/// After this long the user is told what is going on.
const PATIENCE: Duration = Duration::from_secs(5);

fn wait(mut waiting: Waiting, cannot: &Cannot) -> Result<(), Failure> {
    while !waiting
        .is_over(PATIENCE)
        .map_err(|error| cannot.no_answer(&error))?
    {
        tracing::warn!("unmounted; still writing. Ctrl-C ends the waiting, not the writing");
    }
    Ok(())
}

/// What failed: the same for every way of failing.
struct Cannot {
    mountpoint: String,
}

impl Cannot {
    fn failure(&self, exit: Exit, why: impl std::fmt::Display) -> Failure {
        Failure::new(exit, format!("cannot unmount {}", self.mountpoint), why)
    }

    fn not_mounted(&self, why: impl std::fmt::Display) -> Failure {
        self.failure(Exit::NotMounted, why)
            .advise("`envelopefs status` lists what is mounted")
    }

    fn no_answer(&self, error: &ControlError) -> Failure {
        self.failure(Exit::NoAnswer, format!("it is unmounted, but {error}"))
            .advise("wait until its process has ended before you copy the ciphertext folder")
    }

    fn because(&self, error: &UnmountError) -> Failure {
        match error {
            UnmountError::Busy => self.failure(Exit::Busy, error).advise(format!(
                "`lsof +f -- {}` lists who uses it; close that, or use --lazy",
                self.mountpoint
            )),
            UnmountError::NoFusermount => self
                .failure(Exit::NoFuse, error)
                .advise("install the package fuse3"),
            UnmountError::NotMounted => self.not_mounted(error),
            UnmountError::Refused(_) => self
                .failure(Exit::Failure, error)
                .advise("only root and the user who mounted it may unmount it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cannot() -> Cannot {
        Cannot {
            mountpoint: "/m".into(),
        }
    }

    #[test]
    fn a_folder_that_is_no_mount_has_its_own_code() {
        let dir = tempfile::tempdir().unwrap();
        for mountpoint in [
            dir.path().to_owned(),
            dir.path().join("missing"),
            "/proc".into(),
        ] {
            for lazy in [false, true] {
                let failure = run(&UmountRequest {
                    mountpoint: mountpoint.clone(),
                    lazy,
                })
                .unwrap_err();
                assert_eq!(failure.exit(), Exit::NotMounted, "{failure}");
            }
        }
    }

    #[test]
    fn a_busy_mount_says_how_to_find_who_uses_it() {
        let failure = cannot().because(&UnmountError::Busy);
        assert_eq!(failure.exit(), Exit::Busy);
        assert!(failure.to_string().contains("lsof +f -- /m"));
    }

    #[test]
    fn every_refusal_has_advice() {
        let errors = [
            UnmountError::NoFusermount,
            UnmountError::NotMounted,
            UnmountError::Refused("no".into()),
        ];
        for error in errors {
            assert!(
                cannot().because(&error).to_string().contains('→'),
                "{error}"
            );
        }
    }
}

//! `mount -o remount`: what the kernel judges by itself changes in a mount that is there; its process goes on as it began.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mount::{KernelOptions, MountRequest};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mounted;
use crate::cli::options::Atime;
use crate::daemon::mounts;

/// A mount that is to get other flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemountRequest {
    /// The mount point as given.
    pub mountpoint: PathBuf,
    /// Nothing can be changed from now on.
    pub read_only: bool,
    /// Of it, what the kernel follows without its process: device files, set-uid bits, programs, access times.
    pub kernel: KernelOptions,
}

impl From<MountRequest> for RemountRequest {
    fn from(request: MountRequest) -> Self {
        Self {
            mountpoint: request.mountpoint,
            read_only: request.read_only,
            kernel: request.kernel,
        }
    }
}

/// Has the kernel write what it holds, and follow the new flags.
///
/// # Errors
/// Nothing of ours is mounted there, a file is open for writing that is to be read-only, or the system refuses.
pub fn run(request: &RemountRequest) -> Result<(), Failure> {
    let what = format!("cannot remount {}", request.mountpoint.display());
    let all = mounts::read().map_err(|error| Failure::new(Exit::Failure, &what, error))?;
    let mount = mounted::at(&all, &request.mountpoint, &what)?;
    remount(&mount.mountpoint, flags(request)).map_err(|errno| match errno {
        Errno::BUSY => {
            Failure::new(Exit::Busy, &what, "files are open for writing").advise(format!(
                "`lsof +f -- {}` lists who uses it",
                mount.mountpoint.display()
            ))
        }
        Errno::PERM => Failure::new(Exit::Failure, &what, errno).advise("only root may"),
        errno => Failure::new(Exit::Failure, &what, errno),
    })
}

fn remount(mountpoint: &Path, flags: MountFlags) -> Result<(), Errno> {
    rustix::mount::mount_remount(mountpoint, flags, c"")
}

fn flags(request: &RemountRequest) -> MountFlags {
    let KernelOptions {
        dev,
        suid,
        exec,
        atime,
        ..
    } = request.kernel;
    let mut flags = match atime {
        Atime::Strict => MountFlags::STRICTATIME,
        Atime::Relative => MountFlags::RELATIME,
        Atime::Never => MountFlags::NOATIME,
    };
    flags.set(MountFlags::RDONLY, request.read_only);
    flags.set(MountFlags::NODEV, !dev);
    flags.set(MountFlags::NOSUID, !suid);
    flags.set(MountFlags::NOEXEC, !exec);
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RemountRequest {
        MountRequest::new("/c".into(), "/nonexistent/m".into()).into()
    }

    #[test]
    fn what_is_not_said_is_as_a_new_mount_has_it() {
        let safe = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::RELATIME;
        assert_eq!(flags(&request()), safe);
        let read_only = RemountRequest {
            read_only: true,
            ..request()
        };
        assert_eq!(flags(&read_only), safe | MountFlags::RDONLY);
    }

    #[test]
    fn what_is_no_mount_of_ours_is_left_alone() {
        for path in ["/nonexistent/m", "/proc", "/"] {
            let request = RemountRequest {
                mountpoint: path.into(),
                ..request()
            };
            assert_eq!(
                run(&request).unwrap_err().exit(),
                Exit::NotMounted,
                "{path}"
            );
        }
    }
}

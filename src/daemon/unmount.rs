//! Taking a mount away: by the system call as root, else through `fusermount3`.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

/// When the mount goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// At once, or not at all while it is in use.
    Now,
    /// From the tree at once, and for good when the last user lets go.
    Lazily,
}

/// A mount that stays.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Files in it are open, or somebody's current folder is.
    #[error("it is in use")]
    Busy,
    /// There is no `fusermount3`, which ordinary users need.
    #[error("fusermount3 is not installed")]
    NoFusermount,
    /// Nothing is mounted there.
    #[error("nothing is mounted there")]
    NotMounted,
    /// The system or fusermount3 refused.
    #[error("{0}")]
    Refused(String),
}

/// Unmounts what is on top at `mountpoint`.
///
/// # Errors
/// It is in use, not there, or not this user's.
pub fn unmount(mountpoint: &Path, detach: Detach) -> Result<(), UnmountError> {
    if !rustix::process::geteuid().is_root() {
        return by_fusermount(mountpoint, detach);
    }
    match by_system_call(mountpoint, detach) {
        // Root of a user namespace may own the mount and yet not be allowed the call.
        Err(Errno::PERM) => by_fusermount(mountpoint, detach),
        Err(Errno::BUSY) => Err(UnmountError::Busy),
        Err(Errno::INVAL | Errno::NOENT) => Err(UnmountError::NotMounted),
        Err(errno) => Err(UnmountError::Refused(errno.to_string())),
        Ok(()) => Ok(()),
    }
}

fn by_system_call(mountpoint: &Path, detach: Detach) -> Result<(), Errno> {
    let flags = match detach {
        Detach::Now => UnmountFlags::NOFOLLOW,
        Detach::Lazily => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    };
    rustix::mount::unmount(mountpoint, flags)
}

fn by_fusermount(mountpoint: &Path, detach: Detach) -> Result<(), UnmountError> {
    for program in ["fusermount3", "fusermount"] {
        match run(program, mountpoint, detach) {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => return Err(classify(&String::from_utf8_lossy(&output.stderr))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(UnmountError::Refused(format!("{program}: {error}"))),
        }
    }
    Err(UnmountError::NoFusermount)
}

fn run(program: &str, mountpoint: &Path, detach: Detach) -> io::Result<Output> {
    let flags = match detach {
        Detach::Now => "-u",
        Detach::Lazily => "-uz",
    };
    let mut command = Command::new(program);
    command.arg(flags).arg("--").arg(mountpoint);
    // Its messages are read below.
    command.env("LC_ALL", "C").stdin(Stdio::null()).output()
}

/// From what fusermount3 prints: its exit code is 1 for every failure.
fn classify(message: &str) -> UnmountError {
    if message.contains("busy") {
        UnmountError::Busy
    } else if message.contains("not found in") || message.contains("Invalid argument") {
        UnmountError::NotMounted
    } else {
        UnmountError::Refused(message.trim().chars().take(300).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_fusermount_are_understood() {
        let busy = "fusermount3: failed to unmount /m: Device or resource busy\n";
        assert!(matches!(classify(busy), UnmountError::Busy));
        let absent = "fusermount3: entry for /m not found in /etc/mtab\n";
        assert!(matches!(classify(absent), UnmountError::NotMounted));
        let other = "fusermount3: failed to unmount /m: Operation not permitted\n";
        assert!(matches!(classify(other), UnmountError::Refused(text) if text == other.trim()));
        assert!(matches!(classify(""), UnmountError::Refused(_)));
    }

    #[test]
    fn a_folder_that_is_no_mount_is_told_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let error = unmount(dir.path(), Detach::Now).unwrap_err();
        let told = matches!(
            error,
            UnmountError::NotMounted | UnmountError::Refused(_) | UnmountError::NoFusermount
        );
        assert!(told, "{error:?}");
    }

    #[test]
    fn a_missing_folder_is_told_as_such() {
        assert!(unmount(Path::new("/nonexistent/m"), Detach::Lazily).is_err());
    }
}

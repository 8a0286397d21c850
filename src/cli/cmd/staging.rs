//! A mount that a command makes for itself, to copy into or out of. A process of its own serves it, as any other.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::umount::{self, UmountRequest};
use crate::cli::args::PassphraseFrom;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::daemon::mounts;
use crate::units::KeyUri;

/// How a volume is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening<'a> {
    pub(super) cipherdir: &'a Path,
    /// The keys that may be used; empty: any.
    pub(super) keys: &'a [KeyUri],
    pub(super) passphrase: &'a PassphraseFrom,
}

impl Opening<'_> {
    /// Mounts at `mountpoint`, as `envelopefs mount` with these further arguments.
    ///
    /// # Errors
    /// The mount's own exit code; it has told why.
    pub(super) fn mount(&self, mountpoint: &Path, more: &[OsString]) -> Result<(), Failure> {
        let what = format!("cannot mount {}", self.cipherdir.display());
        let failed = |why: String| Failure::new(Exit::Failure, &what, why);
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        command.arg("mount").args(more);
        for key in self.keys {
            command.arg("--key").arg(key.to_string());
        }
        match self.passphrase {
            PassphraseFrom::Command(text) => {
                command.arg("--passphrase-command").arg(text);
            }
            PassphraseFrom::File(path) => {
                command.arg("--passphrase-file").arg(path);
            }
            PassphraseFrom::Prompt => {}
        }
        command.arg("--").arg(self.cipherdir).arg(mountpoint);
        let status = command
            .status()
            .map_err(|error| failed(error.to_string()))?;
        match status.code() {
            Some(0) => Ok(()),
            code => {
                let exit = code.and_then(|code| u8::try_from(code).ok());
                let exit = exit.and_then(Exit::from_number);
                // It was said already.
                Err(Failure::reported(
                    exit.unwrap_or(Exit::Failure),
                    String::new(),
                ))
            }
        }
    }
}

/// A folder of this user's alone: where nothing is mounted, nobody else writes plaintext into it by mistake.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match fs::metadata(path)?.is_dir() {
                true => Ok(()),
                false => Err(error),
            }
        }
        made => made,
    }
}

/// The same for a mount, where a command that was killed may have left one that nobody serves: [`Staging::mount`] takes it away.
pub(super) fn make_mountpoint(path: &Path) -> io::Result<()> {
    match make_private(path) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => Ok(()),
        made => made,
    }
}

/// A mount for the time of a copy; unmounted when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    mountpoint: PathBuf,
    mounted: bool,
}

impl Staging {
    /// Mounts at `mountpoint`, for this user alone, with ACLs. What a killed command left mounted there is taken away first.
    ///
    /// # Errors
    /// What the mount says.
    pub(super) fn mount(
        opening: Opening<'_>,
        mountpoint: &Path,
        read_only: bool,
    ) -> Result<Self, Failure> {
        leave(mountpoint)?;
        let access = if read_only { "ro,acl" } else { "rw,acl" };
        opening.mount(mountpoint, &["-o".into(), access.into()])?;
        Ok(Self {
            mountpoint: mountpoint.to_owned(),
            mounted: true,
        })
    }

    /// Unmounts, and returns when all is written.
    ///
    /// # Errors
    /// What `umount` says.
    pub(super) fn unmount(mut self) -> Result<(), Failure> {
        self.mounted = false;
        leave(&self.mountpoint)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.mounted
            && let Err(failure) = leave(&self.mountpoint)
        {
            tracing::warn!(%failure, "left mounted");
        }
    }
}

/// Unmounts what of ours is mounted there.
pub(super) fn leave(mountpoint: &Path) -> Result<(), Failure> {
    let all = mounts::read().unwrap_or_default();
    if !mounts::find(&all, mountpoint).is_some_and(mounts::Mount::is_ours) {
        return Ok(());
    }
    umount::run(&UmountRequest {
        mountpoint: mountpoint.to_owned(),
        lazy: false,
    })
}

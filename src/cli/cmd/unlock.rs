//! `envelopefs unlock`: has a mount get at its keys again.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::{PassphraseArgs, PassphraseFrom};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::harmless;
use crate::cli::{errors, providers};
use crate::daemon::control::Unlocking;
use crate::keys::passphrase_source::AGENT;
use crate::keys::{Confirm, PassphraseSource};

use super::lock::{connect, failed};

const AFTER: &str = "\
EXAMPLES:
  envelopefs unlock ~/secrets
  envelopefs unlock --passphrase-file /run/secrets/pass /srv/a";

/// Arguments of `unlock`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct UnlockArgs {
    /// The mount point
    #[arg(value_name = "MOUNT")]
    pub mountpoint: PathBuf,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// A mount to unlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnlockRequest {
    /// The mount point as given.
    pub mountpoint: PathBuf,
    /// Where a passphrase comes from, should one be needed.
    pub passphrase: PassphraseFrom,
}

impl From<UnlockArgs> for UnlockRequest {
    fn from(args: UnlockArgs) -> Self {
        Self {
            mountpoint: args.mountpoint,
            passphrase: args.passphrase.into(),
        }
    }
}

/// Unlocks, and returns when files can be read again.
///
/// # Errors
/// Nothing of ours is mounted there, its process does not answer, or its keys are not to be had.
pub fn run(request: &UnlockRequest) -> Result<(), Failure> {
    let what = format!("cannot unlock {}", request.mountpoint.display());
    let ask = |passphrase: Option<&[u8]>| {
        let client = connect(&what, &request.mountpoint)?;
        client
            .unlock(passphrase)
            .map_err(|error| failed(&what, &error))
    };
    // A human is asked only where the mount cannot do without.
    if request.passphrase == PassphraseFrom::Prompt && ask(None)? == Unlocking::Done {
        return Ok(());
    }
    let source = match (&request.passphrase, agent(Path::new("/dev/tty"))) {
        (PassphraseFrom::Prompt, Some(_program)) => {
            let place = harmless(&request.mountpoint.to_string_lossy());
            PassphraseSource::Agent(format!("Passphrase of {place}:"))
        }
        (given, _) => providers::passphrase_source(given),
    };
    let passphrase = source
        .ask(Confirm::No)
        .map_err(|error| errors::key(&what, &error))?;
    match ask(Some(&passphrase))? {
        Unlocking::Done => Ok(()),
        Unlocking::PassphraseWanted => Err(Failure::new(
            Exit::KeyDenied,
            &what,
            "the passphrase is wrong",
        )),
    }
}

/// The program that asks whoever answers for systemd, where there is no terminal to ask at.
fn agent(terminal: &Path) -> Option<PathBuf> {
    let none = File::options()
        .read(true)
        .write(true)
        .open(terminal)
        .is_err();
    let path = std::env::var_os("PATH").filter(|_| none)?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(AGENT))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_mount_has_its_own_code_and_nobody_is_asked() {
        for passphrase in [
            PassphraseFrom::Prompt,
            PassphraseFrom::File("/nonexistent".into()),
        ] {
            let request = UnlockRequest {
                mountpoint: "/nonexistent/m".into(),
                passphrase: passphrase.clone(),
            };
            let exit = run(&request).unwrap_err().exit();
            let expected = match passphrase {
                PassphraseFrom::Prompt => Exit::NotMounted,
                _ => Exit::KeyDenied,
            };
            assert_eq!(exit, expected);
        }
    }

    #[test]
    fn a_terminal_outranks_an_agent() {
        assert_eq!(agent(Path::new("/dev/null")), None);
    }
}

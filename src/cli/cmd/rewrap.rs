//! `envelopefs rewrap`: its arguments, the request they make, and the run.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::cmd::slots;
use crate::cli::failure::Failure;
use crate::cli::volume_run::{RunArgs, RunOptions};
use crate::daemon::runs::SlotsRun;
use crate::units::KeyUri;

const AFTER: &str = "\
Files of folders that the policy gives keys of their own get these (docs/POLICY.md).

EXAMPLES:
  After the key was rotated where it is held:
      envelopefs rewrap ~/secrets.enc
  A new version of the volume's key files, and every file under it:
      envelopefs rewrap ~/secrets.enc --rotate
  Every file from one key to another:
      envelopefs rewrap ~/secrets.enc --from file:///old.json --to 'pkcs11:token=t;object=k'";

/// Arguments of `rewrap`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct RewrapArgs {
    /// The ciphertext folder, or the mount point
    #[arg(value_name = "CIPHERDIR")]
    pub volume: PathBuf,

    /// Remove this key: no file is left that it opens, but for those of folders that the policy gives it
    ///
    /// With --to, wherever it stands, in the keys of folders too.
    #[arg(long, value_name = "URI")]
    pub from: Option<KeyUri>,

    /// Add this key: it opens every file
    ///
    /// A `file:` key that is not there is made.
    #[arg(long, value_name = "URI")]
    pub to: Option<KeyUri>,

    /// First give each key file (`file:`) of the volume and of folders a new version
    ///
    /// Older versions stay in the key file, which other volumes may use too. A run that was cut short is gone on with
    /// without this option.
    #[arg(long)]
    pub rotate: bool,

    /// Wrap slots of the newest version anew too: for services that do not tell one version from the next
    #[arg(long)]
    pub all: bool,

    /// Options that the commands for key slots share.
    #[command(flatten)]
    pub slots: slots::SlotsArgs,

    /// Options of a run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Slots to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewrapRequest {
    /// The ciphertext folder or the mount point.
    pub volume: PathBuf,
    /// What is to be done.
    pub run: SlotsRun,
    /// How it is shown.
    pub options: RunOptions,
}

impl RewrapArgs {
    fn into_request(self, stderr_is_terminal: bool) -> RewrapRequest {
        RewrapRequest {
            volume: self.volume,
            run: SlotsRun {
                everywhere: self.from.is_some() && self.to.is_some(),
                add: self.to.into_iter().collect(),
                remove: self.from.into_iter().collect(),
                rotate: self.rotate,
                anew: self.all,
                unverified: self.slots.no_verify,
                dry_run: self.run.dry_run,
                calls_per_second: self.slots.rate.unwrap_or(0),
            },
            options: RunOptions::of(self.run, stderr_is_terminal),
        }
    }
}

impl From<RewrapArgs> for RewrapRequest {
    fn from(args: RewrapArgs) -> Self {
        args.into_request(std::io::stderr().is_terminal())
    }
}

/// Brings the slots of the volume and of all its files to what they should be.
///
/// # Errors
/// It was not done, or not all.
pub fn run(request: &RewrapRequest) -> Result<(), Failure> {
    let what = format!("cannot rewrap {}", request.volume.display());
    slots::carry_out(&what, &request.volume, &request.run, &request.options)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<RewrapRequest, clap::Error> {
        let line = format!("envelopefs rewrap {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Rewrap(args) => Ok(args.into_request(false)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_options_only_versions_change_and_all_is_verified() {
        let request = request("d").unwrap();
        assert_eq!(request.run, SlotsRun::default());
        assert_eq!(request.volume, PathBuf::from("d"));
    }

    #[test]
    fn from_and_to_are_a_removal_and_an_addition() {
        let run = request("d --from file:///a --to file:///b --rate 7 --no-verify --dry-run")
            .unwrap()
            .run;
        assert_eq!(run.remove, ["file:///a".parse().unwrap()]);
        assert_eq!(run.add, ["file:///b".parse().unwrap()]);
        assert!(run.everywhere && !request("d --to file:///b").unwrap().run.everywhere);
        assert!(run.unverified && run.dry_run && run.calls_per_second == 7);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "a b",
            "a --from",
            "a --from x",
            "a --rate 0",
            "a --rate -1",
            "a --to a:b --to c:d",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

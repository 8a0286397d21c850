//! `envelopefs check`: its arguments and the request they make.

mod run;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::walk::{WalkArgs, WalkOptions};

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs check ~/secrets.enc
  envelopefs check --repair ~/secrets.enc
  envelopefs check /srv/a.enc --json --passphrase-file /etc/a.pass > report.json";

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct CheckArgs {
    /// The ciphertext folder
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Mend what a crash left: lengths, tails that were never synced, what is left of folders
    ///
    /// Says each thing it does. Nothing that opens is removed: what lost its name gets a new one that begins
    /// with `recovered-`. What only a backup can bring back is reported and left alone. The volume must not be
    /// mounted. Default: change nothing.
    #[arg(long)]
    pub repair: bool,

    /// Read headers, names and attributes only, and of each file's content no more than the first block
    #[arg(long)]
    pub quick: bool,

    /// Print a JSON object in place of text
    #[arg(long)]
    pub json: bool,

    /// How it goes through the volume.
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// A volume to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// Mend what can be mended.
    pub repair: bool,
    /// Read headers only.
    pub quick: bool,
    /// Report as JSON.
    pub json: bool,
    /// How it is gone through, and opened.
    pub walk: WalkOptions,
}

impl CheckArgs {
    /// The request that these arguments make in a process whose stderr is, or is not, a terminal.
    fn into_request(self, stderr_is_terminal: bool) -> CheckRequest {
        CheckRequest {
            cipherdir: self.cipherdir,
            repair: self.repair,
            quick: self.quick,
            json: self.json,
            walk: WalkOptions::of(self.walk, stderr_is_terminal),
        }
    }
}

impl From<CheckArgs> for CheckRequest {
    fn from(args: CheckArgs) -> Self {
        args.into_request(std::io::stderr().is_terminal())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<CheckRequest, clap::Error> {
        let line = format!("envelopefs check {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Check(args) => Ok(args.into_request(true)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_a_folder() {
        let request = request("d").unwrap();
        assert_eq!(
            (request.cipherdir, request.json, request.walk.progress),
            ("d".into(), false, true)
        );
    }

    #[test]
    fn repair_and_quick_are_asked_for_each_by_itself() {
        for (line, repair, quick) in [
            ("d", false, false),
            ("d --repair", true, false),
            ("--quick d", false, true),
            ("--quick --repair d", true, true),
        ] {
            let request = request(line).unwrap();
            assert_eq!((request.repair, request.quick), (repair, quick), "{line}");
        }
    }

    #[test]
    fn a_progress_bar_is_for_terminals_alone() {
        assert!(!request("d --no-progress").unwrap().walk.progress);
        let args = CheckArgs {
            cipherdir: "d".into(),
            repair: false,
            quick: false,
            json: false,
            walk: WalkArgs::default(),
        };
        assert!(!args.into_request(false).walk.progress);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "a b",
            "a --threads 2",
            "a --repair=yes",
            "a --quick=1",
            "--repair",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

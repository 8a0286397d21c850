//! `envelopefs check`: its arguments and the request they make.

mod run;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::{PassphraseArgs, PassphraseFrom};

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs check ~/secrets.enc
  envelopefs check /srv/a.enc --json --passphrase-file /etc/a.pass > report.json";

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct CheckArgs {
    /// The ciphertext folder
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Print a JSON object in place of text
    #[arg(long)]
    pub json: bool,

    /// Show no progress bar. Default: one where stderr is a terminal
    #[arg(long)]
    pub no_progress: bool,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// A volume to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// Report as JSON.
    pub json: bool,
    /// Show a progress bar on stderr.
    pub progress: bool,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl CheckArgs {
    /// The request that these arguments make in a process whose stderr is, or is not, a terminal.
    fn into_request(self, stderr_is_terminal: bool) -> CheckRequest {
        CheckRequest {
            cipherdir: self.cipherdir,
            json: self.json,
            progress: stderr_is_terminal && !self.no_progress,
            passphrase: self.passphrase.into(),
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
            (request.cipherdir, request.json, request.progress),
            ("d".into(), false, true)
        );
    }

    #[test]
    fn a_progress_bar_is_for_terminals_alone() {
        assert!(!request("d --no-progress").unwrap().progress);
        let args = CheckArgs {
            cipherdir: "d".into(),
            json: false,
            no_progress: false,
            passphrase: PassphraseArgs::default(),
        };
        assert!(!args.into_request(false).progress);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in ["", "a b", "a --threads 2", "a --repair"] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

//! `envelopefs inspect`: its arguments and the request they make.

mod run;

use std::path::PathBuf;

use clap::Args;

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs inspect ~/secrets.enc/qY0LkVfM
  envelopefs inspect report.pdf.enc --json";

/// Arguments of `inspect`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct InspectArgs {
    /// The ciphertext file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// A header to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectRequest {
    /// The ciphertext file.
    pub file: PathBuf,
    /// As JSON.
    pub json: bool,
}

impl From<InspectArgs> for InspectRequest {
    fn from(args: InspectArgs) -> Self {
        Self {
            file: args.file,
            json: args.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<InspectRequest, clap::Error> {
        let line = format!("envelopefs inspect {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Inspect(args) => Ok(args.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_one_file() {
        assert_eq!(
            request("f").unwrap(),
            InspectRequest {
                file: "f".into(),
                json: false
            }
        );
        assert!(request("f --json").unwrap().json);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in ["", "a b", "a --key passphrase:", "a --json=yes"] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

//! `envelopefs decrypt`: its arguments and the request they make.

mod run;

use std::path::PathBuf;

use clap::Args;

use super::encrypt::Existing;
use crate::cli::args::{PassphraseArgs, PassphraseFrom};
use crate::units::KeyUri;

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs decrypt report.pdf.enc report.pdf
  envelopefs decrypt old.enc old --key file:///mnt/usb/keys/a.json";

/// Arguments of `decrypt`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct DecryptArgs {
    /// The ciphertext file
    #[arg(value_name = "IN")]
    pub input: PathBuf,

    /// The file to make, mode 0600; complete or not there. It must not exist, unless --force
    #[arg(value_name = "OUT")]
    pub output: PathBuf,

    /// Where to find the key, should it have moved; may be given several times
    ///
    /// Default: where the file's header says.
    #[arg(long = "key", value_name = "URI", help_heading = "Keys")]
    pub keys: Vec<KeyUri>,

    /// Replace OUT where it exists
    #[arg(long)]
    pub force: bool,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// A file to decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecryptRequest {
    /// The ciphertext file.
    pub input: PathBuf,
    /// The plaintext file to make.
    pub output: PathBuf,
    /// What to do where it exists.
    pub existing: Existing,
    /// Keys to try in place of those that the header names; empty: those.
    pub keys: Vec<KeyUri>,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl From<DecryptArgs> for DecryptRequest {
    fn from(args: DecryptArgs) -> Self {
        Self {
            input: args.input,
            output: args.output,
            existing: Existing::from_force(args.force),
            keys: args.keys,
            passphrase: args.passphrase.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<DecryptRequest, clap::Error> {
        let line = format!("envelopefs decrypt {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Decrypt(args) => Ok(args.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_two_files_and_needs_no_key() {
        let request = request("a b").unwrap();
        assert_eq!((request.input, request.output), ("a".into(), "b".into()));
        assert!(request.keys.is_empty());
    }

    #[test]
    fn force_and_another_place_of_the_key_can_be_given() {
        let request = request("a b --force --key file:///k --passphrase-file p").unwrap();
        assert_eq!(
            (request.existing, request.keys.len()),
            (Existing::Replace, 1)
        );
        assert_eq!(request.passphrase, PassphraseFrom::File("p".into()));
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in ["", "a", "a b c", "a b --key x", "a b --block-size 4K"] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

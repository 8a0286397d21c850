//! `envelopefs encrypt`: its arguments and the request they make.

mod run;

use std::path::PathBuf;

use clap::Args;

use super::init::{check_keys, layout, parse_block, parse_header};
use crate::cli::args::{PassphraseArgs, PassphraseFrom};
use crate::cli::failure::Failure;
use crate::format::layout::Layout;
use crate::units::KeyUri;

pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs encrypt report.pdf report.pdf.enc --key file:///etc/envelopefs/keys/a.json
  envelopefs encrypt dump.sql dump.sql.enc --key passphrase: --passphrase-file /run/pass";

/// Arguments of `encrypt`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct EncryptArgs {
    /// The file to encrypt
    #[arg(value_name = "IN")]
    pub input: PathBuf,

    /// The ciphertext file to make; complete or not there. It must not exist, unless --force
    #[arg(value_name = "OUT")]
    pub output: PathBuf,

    /// The key that opens the file; may be given several times, and any one of them opens it
    #[arg(
        long = "key",
        value_name = "URI",
        required = true,
        help_heading = "Keys"
    )]
    pub keys: Vec<KeyUri>,

    /// Replace OUT where it exists
    #[arg(long)]
    pub force: bool,

    /// Bytes of a block, 4K to 1M, a power of two; the volume's, if OUT is to lie in one
    #[arg(long, value_name = "SIZE", value_parser = parse_block, default_value = "4K", help_heading = "Format")]
    pub block_size: u32,

    /// Bytes of the header, 512, 1024 or 2048; the volume's, if OUT is to lie in one
    #[arg(long, value_name = "SIZE", value_parser = parse_header, default_value = "1024", help_heading = "Format")]
    pub header_size: u32,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// What to do about an output that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    #[default]
    Keep,
    /// Replace it, once the new one is complete.
    Replace,
}

impl Existing {
    /// From `--force`.
    pub(super) fn from_force(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// A file to encrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptRequest {
    /// The plaintext file.
    pub input: PathBuf,
    /// The ciphertext file to make.
    pub output: PathBuf,
    /// What to do where it exists.
    pub existing: Existing,
    /// The keys; not empty.
    pub keys: Vec<KeyUri>,
    /// Block and header size.
    pub layout: Layout,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl TryFrom<EncryptArgs> for EncryptRequest {
    type Error = Failure;

    fn try_from(args: EncryptArgs) -> Result<Self, Failure> {
        check_keys(&args.keys)?;
        Ok(Self {
            input: args.input,
            output: args.output,
            existing: Existing::from_force(args.force),
            keys: args.keys,
            layout: layout(args.block_size, args.header_size)?,
            passphrase: args.passphrase.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<EncryptRequest, String> {
        let line = format!("envelopefs encrypt {line}");
        let cli = Cli::try_parse_from(line.split_whitespace());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Encrypt(args) => args
                .try_into()
                .map_err(|failure: Failure| failure.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn takes_two_files_and_keys() {
        let request = request("a b --key file:///k --key passphrase: --block-size 64K").unwrap();
        assert_eq!(request.keys.len(), 2);
        assert_eq!(request.layout, Layout::new(65_536, 1024).unwrap());
        assert_eq!(request.existing, Existing::Keep);
    }

    #[test]
    fn force_replaces() {
        assert_eq!(
            request("a b --key passphrase: --force").unwrap().existing,
            Existing::Replace
        );
    }

    #[test]
    fn a_key_and_both_files_are_required() {
        for line in [
            "a b",
            "a --key passphrase:",
            "--key passphrase:",
            "a b c --key passphrase:",
            "a b --key x",
            "a b --key passphrase: --block-size 1K",
            "a b --key passphrase: --key passphrase:",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

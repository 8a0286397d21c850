//! `envelopefs slots`: its arguments and the requests they make.

mod run;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::values::{self, ValueError};
use crate::cli::volume_run::{RunArgs, RunOptions};
use crate::daemon::runs::SlotsRun;
use crate::units::KeyUri;

pub(in crate::cli) use run::carry_out;
pub use run::run;

const AFTER: &str = "\
EXAMPLES:
  envelopefs slots list ~/secrets.enc
  envelopefs slots add ~/secrets.enc file:///media/usb/escrow.json
  envelopefs slots remove ~/secrets.enc passphrase:";

/// Arguments of `slots`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct SlotsCommand {
    /// What to do.
    #[command(subcommand)]
    pub action: SlotsAction,
}

/// What `slots` does.
#[derive(Clone, Debug, Subcommand)]
pub enum SlotsAction {
    /// Show the keys of a volume, without any key
    ///
    /// A key that is being removed is told as such: a removal that was cut short is gone on with by `slots remove`.
    List(SlotsListArgs),

    /// Give a volume and all its files one more key
    ///
    /// While mounted or not. A `file:` key that is not there is made. Cut short, it is gone on with by running it again.
    Add(SlotsChangeArgs),

    /// Take a key from a volume and all its files
    ///
    /// While mounted or not. The key goes on opening the volume until no file needs it any more. Cut short, it is gone on
    /// with by running it again.
    Remove(SlotsChangeArgs),
}

/// Arguments of `slots list`.
#[derive(Args, Clone, Debug)]
pub struct SlotsListArgs {
    /// The ciphertext folder, or the mount point
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Count the files that name each key, too: reads the header of every file
    #[arg(long)]
    pub files: bool,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `slots add` and `slots remove`.
#[derive(Args, Clone, Debug)]
pub struct SlotsChangeArgs {
    /// The ciphertext folder, or the mount point
    #[arg(value_name = "CIPHERDIR")]
    pub volume: PathBuf,

    /// The key
    #[arg(value_name = "URI")]
    pub key: KeyUri,

    /// Options that the commands for key slots share.
    #[command(flatten)]
    pub slots: SlotsArgs,

    /// Options of a run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Options that the commands for key slots share.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotsArgs {
    /// Do not unwrap each new slot once to see that it opens, before an old one goes
    ///
    /// For a host that may wrap with a key and not unwrap.
    #[arg(long)]
    pub no_verify: bool,

    /// Call key providers at most N times a second, 1 to 100000. Default: no limit
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    pub rate: Option<u32>,
}

fn parse_rate(text: &str) -> Result<u32, ValueError> {
    values::parse_count_in(text, 1..=100_000)
}

/// What is asked of the keys of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotsRequest {
    /// To be shown.
    List {
        /// The ciphertext folder.
        cipherdir: PathBuf,
        /// With a count of the files.
        files: bool,
        /// As JSON.
        json: bool,
    },
    /// To be changed.
    Change {
        /// The ciphertext folder or the mount point.
        volume: PathBuf,
        /// The change.
        run: SlotsRun,
        /// How it is shown.
        options: RunOptions,
    },
}

impl SlotsCommand {
    fn into_request(self, stderr_is_terminal: bool) -> SlotsRequest {
        match self.action {
            SlotsAction::List(args) => SlotsRequest::List {
                cipherdir: args.cipherdir,
                files: args.files,
                json: args.json,
            },
            SlotsAction::Add(args) => args.into_request(stderr_is_terminal, |run, key| {
                run.add.push(key);
            }),
            SlotsAction::Remove(args) => args.into_request(stderr_is_terminal, |run, key| {
                run.remove.push(key);
            }),
        }
    }
}

impl SlotsChangeArgs {
    fn into_request(
        self,
        stderr_is_terminal: bool,
        change: impl FnOnce(&mut SlotsRun, KeyUri),
    ) -> SlotsRequest {
        let mut run = SlotsRun {
            unverified: self.slots.no_verify,
            dry_run: self.run.dry_run,
            calls_per_second: self.slots.rate.unwrap_or(0),
            ..SlotsRun::default()
        };
        change(&mut run, self.key);
        SlotsRequest::Change {
            volume: self.volume,
            run,
            options: RunOptions::of(self.run, stderr_is_terminal),
        }
    }
}

impl From<SlotsCommand> for SlotsRequest {
    fn from(command: SlotsCommand) -> Self {
        command.into_request(std::io::stderr().is_terminal())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<SlotsRequest, clap::Error> {
        let line = format!("envelopefs slots {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Command::Slots(command) => Ok(command.into_request(false)),
            other => panic!("{other:?}"),
        }
    }

    fn change(line: &str) -> SlotsRun {
        match request(line).unwrap() {
            SlotsRequest::Change { run, .. } => run,
            SlotsRequest::List { .. } => panic!("a list"),
        }
    }

    #[test]
    fn a_key_is_added_or_removed() {
        let key: KeyUri = "passphrase:".parse().unwrap();
        assert_eq!(change("add d passphrase:").add, std::slice::from_ref(&key));
        assert_eq!(change("remove d passphrase:").remove, [key]);
        assert_eq!(change("add d passphrase: --rate 5").calls_per_second, 5);
    }

    #[test]
    fn a_list_counts_files_where_it_is_asked_to() {
        let expected = SlotsRequest::List {
            cipherdir: "d".into(),
            files: true,
            json: false,
        };
        assert_eq!(request("list d --files").unwrap(), expected);
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "list",
            "add d",
            "remove d no-uri",
            "add d a:b c:d",
            "swap d a:b",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}

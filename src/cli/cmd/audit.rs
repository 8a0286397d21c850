//! `envelopefs audit`: reads audit lines again.

mod run;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::audit::{Head, Kind};
use crate::cli::args::{KeyArgs, PassphraseArgs, PassphraseFrom};
use crate::units::KeyUri;

pub use run::run;
#[cfg(feature = "kms")]
pub(in crate::cli) use run::{report_on, verdict};

const AFTER: &str = "\
EXAMPLES:
  envelopefs mount --audit /var/log/envelopefs.audit ~/secrets.enc ~/secrets
  envelopefs audit verify /var/log/envelopefs.audit --volume ~/secrets.enc
  envelopefs audit verify audit.2 audit.1 audit
  envelopefs audit show /var/log/envelopefs.audit --event access-denied
  journalctl -t envelopefs-audit -o cat | envelopefs audit verify --journal -";

/// Arguments of `audit`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What is done with audit lines.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether audit lines are as they were written
    ///
    /// With --volume the seals are checked, which nobody can make who was not the mount at that time. Without it only
    /// the chain of hashes is: that shows accidents, and edits by who did not make the hashes anew.
    Verify(VerifyArgs),

    /// Print audit lines for people
    ///
    /// Checks nothing: that is for `audit verify`.
    Show(ShowArgs),
}

/// Arguments of `audit verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The audit files, the oldest first; - for stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Check the seals too, by the key of the volume in CIPHERDIR, which is unlocked for it
    ///
    /// Not while an exclusive mount has it.
    #[arg(long, value_name = "CIPHERDIR")]
    pub volume: Option<PathBuf>,

    /// Require this line, as `envelopefs status` showed it: without it nobody sees that the end was cut off
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_head)]
    pub expect: Option<Head>,

    /// The lines are from the journal, where each mount begins a chain of its own
    #[arg(long)]
    pub journal: bool,

    /// Print a JSON object in place of text
    #[arg(long)]
    pub json: bool,

    /// Which keys may open the volume.
    #[command(flatten)]
    pub keys: KeyArgs,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// Arguments of `audit show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The audit files; - for stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Only events of this kind; may be given several times
    #[arg(long = "event", value_name = "EVENT", value_parser = parse_kind)]
    pub events: Vec<Kind>,

    /// Print the lines as they are
    #[arg(long)]
    pub json: bool,
}

pub(in crate::cli) fn parse_head(text: &str) -> Result<Head, String> {
    Head::parse(text)
        .ok_or_else(|| "a number, a colon and 64 hexadecimal digits are due".to_owned())
}

fn parse_kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.iter().find(|kind| kind.name() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("no such event; there are {}", names.join(", "))
    })
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditRequest {
    /// `audit verify`
    Verify(VerifyRequest),
    /// `audit show`
    Show(ShowRequest),
}

/// Lines to be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The files in order.
    pub files: Vec<PathBuf>,
    /// The volume whose seals are to be checked.
    pub volume: Option<PathBuf>,
    /// A line that must be there.
    pub expect: Option<Head>,
    /// Each session is a chain of its own.
    pub journal: bool,
    /// As JSON.
    pub json: bool,
    /// The keys that may be used; empty: any.
    pub keys: Vec<KeyUri>,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl VerifyRequest {
    /// Whether it says how a volume is to be opened.
    fn names_keys(&self) -> bool {
        !self.keys.is_empty() || self.passphrase != PassphraseFrom::Prompt
    }
}

/// Lines to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowRequest {
    /// The files in order.
    pub files: Vec<PathBuf>,
    /// Of these kinds; all where there is none.
    pub events: Vec<Kind>,
    /// As they are.
    pub json: bool,
}

impl From<AuditArgs> for AuditRequest {
    fn from(args: AuditArgs) -> Self {
        match args.command {
            AuditCommand::Verify(args) => Self::Verify(VerifyRequest {
                files: args.files,
                volume: args.volume,
                expect: args.expect,
                journal: args.journal,
                json: args.json,
                keys: args.keys.keys,
                passphrase: args.passphrase.into(),
            }),
            AuditCommand::Show(args) => Self::Show(ShowRequest {
                files: args.files,
                events: args.events,
                json: args.json,
            }),
        }
    }
}

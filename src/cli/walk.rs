//! What the commands share that go through a whole volume.

use std::io::IsTerminal as _;

use clap::Args;

use super::args::{KeyArgs, PassphraseArgs, PassphraseFrom, ProgressArgs};
use crate::units::KeyUri;

/// Options of a command that goes through a whole volume.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkArgs {
    /// Whether a progress bar is shown.
    #[command(flatten)]
    pub progress: ProgressArgs,

    /// Which keys may open the volume.
    #[command(flatten)]
    pub keys: KeyArgs,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// How the way through a volume is shown, and how the volume is opened, should this process have to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Show a progress bar on stderr.
    pub progress: bool,
    /// The keys that may be used; empty: any.
    pub keys: Vec<KeyUri>,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl WalkOptions {
    /// The options that these arguments make in a process whose stderr is, or is not, a terminal.
    pub(super) fn of(args: WalkArgs, stderr_is_terminal: bool) -> Self {
        Self {
            progress: args.progress.shown(stderr_is_terminal),
            keys: args.keys.keys,
            passphrase: args.passphrase.into(),
        }
    }
}

impl From<WalkArgs> for WalkOptions {
    fn from(args: WalkArgs) -> Self {
        Self::of(args, std::io::stderr().is_terminal())
    }
}

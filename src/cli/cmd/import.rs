//! `envelopefs import`: its arguments and the request they make.

mod place;
mod run;
mod users;

use std::path::PathBuf;

use clap::Args;

use super::init::{InitRequest, KeyChoice, NewVolumeArgs};
use crate::cli::args::ProgressArgs;
use crate::cli::failure::Failure;
use crate::units::KeyUri;

pub use run::run;

const AFTER: &str = "\
THE WAY BACK:
  envelopefs umount DIR
  envelopefs export DIR.enc DIR

EXAMPLES:
  envelopefs import --dry-run /etc/nginx/tls
  envelopefs import /etc/nginx/tls --key 'pkcs11:token=t;object=k?pin-source=/etc/t.pin'
  envelopefs import /srv/data --cipherdir /srv/.data.enc -o noatime
  envelopefs import --remove-plaintext /etc/nginx/tls";

/// Arguments of `import`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct ImportArgs {
    /// The plaintext folder, which becomes the mount point
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// The new ciphertext folder, on the same file system. Default: DIR.enc
    #[arg(long, value_name = "CIPHERDIR")]
    pub cipherdir: Option<PathBuf>,

    /// Options of the mount, as for `mount -o`
    ///
    /// allow_other is always among them, as others could use DIR before, and acl where anything in DIR has an ACL.
    #[arg(short, value_name = "OPTIONS")]
    pub options: Vec<String>,

    /// Change nothing; say what would be done, and what stands in the way
    #[arg(long)]
    pub dry_run: bool,

    /// Remove the plaintext that an import that is done has left in DIR.plain
    ///
    /// Removing does not wipe: flash, snapshots and journals keep what was there. Only a whole disk that was encrypted from its
    /// first day, or is destroyed, has no trace.
    #[arg(long, conflicts_with = "dry_run")]
    pub remove_plaintext: bool,

    /// Whether a progress bar is shown.
    #[command(flatten)]
    pub progress: ProgressArgs,

    /// What the volume is to be.
    #[command(flatten)]
    pub volume: NewVolumeArgs,
}

/// A folder to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRequest {
    /// The folder as given.
    pub folder: PathBuf,
    /// The ciphertext folder as given.
    pub cipherdir: Option<PathBuf>,
    /// Options of the mount.
    pub options: Vec<String>,
    /// Change nothing.
    pub dry_run: bool,
    /// Only remove the plaintext.
    pub remove_plaintext: bool,
    /// Show a progress bar on stderr.
    pub progress: bool,
    /// The volume, in whichever folder.
    pub volume: InitRequest,
}

impl ImportRequest {
    /// The keys that were given, with what is of this machine.
    fn keys(&self) -> Vec<KeyUri> {
        let given = match &self.volume.keys {
            KeyChoice::Given(keys) => keys.as_slice(),
            KeyChoice::NewKeyFile => &[],
        };
        [given, &self.volume.volume_keys].concat()
    }
}

impl TryFrom<ImportArgs> for ImportRequest {
    type Error = Failure;

    fn try_from(args: ImportArgs) -> Result<Self, Failure> {
        Ok(Self {
            folder: args.folder,
            cipherdir: args.cipherdir,
            options: args.options,
            dry_run: args.dry_run,
            remove_plaintext: args.remove_plaintext,
            progress: args.progress.shown_here(),
            volume: InitRequest::new(PathBuf::new(), args.volume)?,
        })
    }
}

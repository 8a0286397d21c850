//! `envelopefs seal`: a volume that does not change any more, and shows it where it was changed.

use std::path::PathBuf;

use clap::Args;
use data_encoding::HEXLOWER;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::counted;
use crate::cli::providers::GivenKeys;
use crate::cli::walk::{WalkArgs, WalkOptions};
use crate::cli::{errors, output, progress, providers};
use crate::content::Extent;
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::maint::{self, CheckOptions, Severity};
use crate::volume::{self, UnlockOptions, Volume};

const AFTER: &str = "\
EXAMPLES:
  envelopefs seal /etc/nginx/tls.enc
  envelopefs mount /etc/nginx/tls.enc /etc/nginx/tls --require-seal any
  envelopefs seal --remove /etc/nginx/tls.enc";

/// Arguments of `seal`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct SealArgs {
    /// The ciphertext folder
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// Take the seal away, so that the volume can be written again
    #[arg(long)]
    pub remove: bool,

    /// How it goes through the volume.
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// A volume to seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// The seal is to go.
    pub remove: bool,
    /// How it is gone through, and opened.
    pub walk: WalkOptions,
}

impl From<SealArgs> for SealRequest {
    fn from(args: SealArgs) -> Self {
        Self {
            cipherdir: args.cipherdir,
            remove: args.remove,
            walk: args.walk.into(),
        }
    }
}

/// Seals a volume, or takes its seal away.
///
/// # Errors
/// It cannot be opened, is in use or sealed already, or something in it is not sound.
pub fn run(request: &SealRequest) -> Result<(), Failure> {
    let verb = if request.remove { "unseal" } else { "seal" };
    let what = format!("cannot {verb} {}", request.cipherdir.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let keys = GivenKeys::only(&what, &request.walk.keys)?;
    let providers = keys.providers(&request.walk.passphrase, Confirm::No);
    // Only .envelopefs is written. The lock keeps every mount out, and those that only read.
    let unlock = UnlockOptions {
        read_only: true,
        ..UnlockOptions::default()
    };
    let volume = volume::open(&request.cipherdir, &unlock, providers);
    let volume = volume.map_err(|error| errors::volume(&what, &error))?;
    match (request.remove, volume.config().seal) {
        (false, Some(_)) => Err(Failure::new(Exit::Failure, what, "it is sealed already")
            .advise("take the seal away first: `envelopefs seal --remove`")),
        (true, None) => Err(Failure::new(Exit::Failure, what, "it is not sealed")),
        (true, Some(_)) => {
            let removed = volume.remove_seal();
            removed.map_err(|error| errors::volume(&what, &error))?;
            output::print("The seal is gone; the volume can be written again.\n")
        }
        (false, None) => seal(&what, request, &volume),
    }
}

fn seal(what: &str, request: &SealRequest, volume: &Volume) -> Result<(), Failure> {
    see_that_it_is_sound(what, request, volume)?;
    let bar = progress::spinner(
        request.walk.progress,
        "{spinner} {pos} entries sealed, {elapsed}",
    );
    let sealed = volume.set_seal(|| bar.inc(1));
    bar.finish_and_clear();
    let sealed = sealed.map_err(|error| errors::volume(what, &error))?;
    let hash = HEXLOWER.encode(sealed.sha256());
    output::print(&format!(
        "Sealed {} entries: {hash}\nIt mounts read-only from now on. To refuse any other: mount it with --require-seal {hash}\n",
        sealed.entries()
    ))
}

/// A seal says that all is as it was meant: so everything is read first.
fn see_that_it_is_sound(what: &str, request: &SealRequest, volume: &Volume) -> Result<(), Failure> {
    let left = volume.left_in_use_since();
    let left = left.map_err(|error| errors::volume(what, &error))?;
    if left.is_some() {
        let why = "its last mount ended without an unmount, and what that left is not looked over";
        return Err(Failure::new(Exit::Failure, what, why).advise("mount it once, and unmount it"));
    }
    let bar = progress::spinner(
        request.walk.progress,
        "{spinner} {msg}, {pos} chunks, {elapsed}",
    );
    let options = CheckOptions {
        extent: Extent::All,
        repair: false,
    };
    let report = maint::check(volume, options, |files, chunks| {
        bar.set_position(chunks);
        bar.set_message(counted(files, "file"));
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| errors::maint(what, &error))?;
    match report.worst() {
        None | Some(Severity::Note) => Ok(()),
        Some(_) => Err(
            Failure::new(Exit::DamageFound, what, "not everything in it is sound").advise(format!(
                "`envelopefs check {}` says what",
                request.cipherdir.display()
            )),
        ),
    }
}

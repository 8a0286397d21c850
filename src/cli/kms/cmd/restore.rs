//! `envelopekms restore`: a service out of its backup.

use std::path::PathBuf;

use clap::Args;

use super::init::{NewPlaceArgs, lay_out, location};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::place::Folder;
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::cli::providers::GivenKeys;
use crate::keys::Confirm;
use crate::kms::engine::Engine;

const AFTER: &str = "\
EXAMPLES:
  envelopekms restore /backup/kms.backup --dir /srv/kms
  envelopekms restore /backup/kms.backup --dir /srv/kms --store postgres://kms@db/kms";

/// Arguments of `restore`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct RestoreArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Where the service is reached.
    #[command(flatten)]
    pub new: NewPlaceArgs,
}

/// Makes the service anew.
///
/// # Errors
/// The backup cannot be opened, or the folder not be used; nothing is left then.
pub fn run(place: &PlaceArgs, args: &RestoreArgs) -> Result<(), Failure> {
    let folder = Folder::of(place, None)?;
    let what = format!("cannot restore {}", args.file.display());
    session::lock_keys(&what, place)?;
    let bytes = std::fs::read(&args.file);
    let bytes = bytes.map_err(|error| Failure::new(Exit::Failure, &what, error))?;
    let is_made = folder.make(&what)?;
    let restored = restore(&what, &folder, place, args, &bytes);
    if restored.is_err() {
        folder.take_back(is_made);
    }
    restored?;
    output::print(&format!(
        "Restored a key service in {0}\nServe it: envelopekms serve {0}\n",
        folder.0.display()
    ))
}

fn restore(
    what: &str,
    folder: &Folder,
    place: &PlaceArgs,
    args: &RestoreArgs,
    bytes: &[u8],
) -> Result<(), Failure> {
    let settings = lay_out(what, folder, &args.new)?;
    let providers = GivenKeys::none().providers(&session::passphrase(place), Confirm::No);
    let trail = session::command_trail(folder, &settings.parsed);
    let options = session::options_with(location(folder, &settings), providers, trail);
    let restored = session::runtime(what)?.block_on(async {
        let engine = Engine::restore(options, bytes).await?;
        engine.close().await;
        Ok(())
    });
    restored.map_err(|error| errors::open(what, &error))?;
    settings.write(what, folder)
}

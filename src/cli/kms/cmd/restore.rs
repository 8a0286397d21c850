//! `envelopekms restore`: a service out of its backup.

use std::path::PathBuf;

use clap::Args;

use super::init::KnownServiceArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::place::Folder;
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::cli::providers::GivenKeys;
use crate::keys::Confirm;
use crate::kms::engine::{Engine, InHsm, KmsError};

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

    /// What opens the service here, and where it is reached.
    #[command(flatten)]
    pub service: KnownServiceArgs,
}

/// What of the service's keys is in its HSM, and what is not.
pub(super) fn in_hsm(looked: &Result<Option<InHsm>, KmsError>) -> String {
    match looked {
        Ok(None) => String::new(),
        Ok(Some(InHsm { there, missing })) if missing.is_empty() => format!(
            "{} of keys in the HSM: found there.\n",
            output::counted(*there, "version")
        ),
        Ok(Some(InHsm { there, missing })) => {
            let missing: String = missing
                .iter()
                .map(|object| format!("  key {}, version {}\n", object.key.0, object.version.0))
                .collect();
            format!(
                "{} of keys in the HSM: found there. Not in it, and of no use until they are:\n{missing}",
                output::counted(*there, "version")
            )
        }
        Err(error) => format!(
            "Its keys in the HSM could not be looked for: {error} They are of no use until the HSM is there.\n"
        ),
    }
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
    let in_hsm = restored?;
    output::print(&format!(
        "Restored a key service in {0}\n{in_hsm}Serve it: envelopekms serve {0}\n",
        folder.0.display()
    ))
}

fn restore(
    what: &str,
    folder: &Folder,
    place: &PlaceArgs,
    args: &RestoreArgs,
    bytes: &[u8],
) -> Result<String, Failure> {
    let settings = args.service.lay_out(what, folder)?;
    let keys = GivenKeys::parse(what, &settings.parsed.root_keys)?;
    let providers = keys.providers(&session::passphrase(place), Confirm::No);
    let hsm = session::hsm(what, &settings.parsed, &keys)?;
    if let Some(hsm) = &hsm {
        // Asks for the PIN while there is time to enter it; that it is away is told at the end.
        let found = hsm.probe();
        tracing::debug!(?found, "the HSM was looked for");
    }
    let trail = session::command_trail(folder, &settings.parsed);
    let options = session::options_with(folder.location(&settings.parsed), providers, hsm, trail);
    let restored = session::runtime(what)?.block_on(async {
        let engine = Engine::restore(options, bytes).await?;
        let looked = engine.look_in_hsm().await;
        engine.close().await;
        Ok(looked)
    });
    let looked = restored.map_err(|error| errors::open(what, &error))?;
    settings.write(what, folder)?;
    Ok(in_hsm(&looked))
}

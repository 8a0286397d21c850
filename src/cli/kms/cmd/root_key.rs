//! `envelopekms root-key`: what opens the root key.

use clap::{Args, Subcommand};

use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::session::Session;
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::cli::providers::GivenKeys;
use crate::keys::Confirm;
use crate::units::KeyUri;

const AFTER: &str = "\
EXAMPLES:
  envelopekms root-key list
  envelopekms root-key add 'pkcs11:token=kms;object=root'
  envelopekms root-key remove passphrase:";

/// Arguments of `root-key`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct RootKeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RootKeyCommand,
}

/// What is done with what opens the root key.
#[derive(Clone, Debug, Subcommand)]
pub enum RootKeyCommand {
    /// List the keys that open the root key, each by itself
    List(JsonArgs),
    /// Have one key more open the root key
    Add(UriArgs),
    /// Have a key no longer open the root key; the last one stays
    ///
    /// Backups that were made before still open with it.
    Remove(UriArgs),
}

/// A key.
#[derive(Args, Clone, Debug)]
pub struct UriArgs {
    /// Its URI, as of `init --root-key`
    #[arg(value_name = "URI")]
    pub uri: KeyUri,
}

/// Does it.
///
/// # Errors
/// It was refused, or the key cannot be used.
pub fn run(place: &PlaceArgs, args: &RootKeyArgs) -> Result<(), Failure> {
    match &args.command {
        RootKeyCommand::List(args) => list(place, *args),
        RootKeyCommand::Add(args) => add(place, &args.uri),
        RootKeyCommand::Remove(args) => {
            let what = format!("cannot remove the root key's {}", args.uri);
            Session::with(&what, place, |session| {
                let removed = session.wait(session.engine.remove_root_slot(&args.uri));
                removed.map_err(|error| match error {
                    crate::kms::engine::OpenError::NotThere => Failure::new(
                        crate::cli::exit::Exit::Refused,
                        &what,
                        "it is not there, or it is the only one",
                    ),
                    other => errors::open(&what, &other),
                })
            })
        }
    }
}

fn add(place: &PlaceArgs, uri: &KeyUri) -> Result<(), Failure> {
    let what = format!("cannot add {uri} to the root key");
    let keys = GivenKeys::parse(&what, std::slice::from_ref(uri))?;
    let providers = keys.providers(&session::passphrase(place), Confirm::Yes);
    let stored = keys.uris.first().unwrap_or(uri);
    Session::with(&what, place, |session| {
        let added = session.wait(session.engine.add_root_slot(&providers, stored));
        added.map_err(|error| errors::open(&what, &error))
    })
}

fn list(place: &PlaceArgs, args: JsonArgs) -> Result<(), Failure> {
    let what = "cannot list what opens the root key";
    let uris = super::status::read_store(place, what, async |store| {
        let slots = store.root_slots().await?;
        Ok(slots.into_iter().map(|slot| slot.uri).collect::<Vec<_>>())
    })?;
    match args.json {
        true => output::print_json(&uris),
        false => output::print(
            &uris
                .iter()
                .map(|uri| format!("{uri}\n"))
                .collect::<String>(),
        ),
    }
}

//! `envelopekms join`: a folder for one server more of a service whose store others serve.

use std::path::PathBuf;

use clap::Args;

use super::init::{NewPlaceArgs, lay_out};
use crate::cli::errors::key;
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::place::Folder;
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::cli::providers::GivenKeys;
use crate::keys::Confirm;
use crate::kms::engine::Engine;
use crate::units::KeyUri;

const AFTER: &str = "\
EXAMPLES:
  envelopekms join /srv/kms --store postgres://kms@db/kms --listen 0.0.0.0:8443 --tls-name kms.example.com";

/// Arguments of `join`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct JoinArgs {
    /// The new server's folder, in place of --dir
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The root key, with what is of this machine: pkcs11:…?module-path=…&pin-source=…
    ///
    /// The store names it without that. Default: as the store has it
    #[arg(long, value_name = "URI")]
    pub root_key: Option<KeyUri>,

    /// Where the service is reached.
    #[command(flatten)]
    pub new: NewPlaceArgs,
}

/// Makes the folder.
///
/// # Errors
/// The store holds no service or its root key does not open here, or the folder cannot be used; nothing is left then.
pub fn run(place: &PlaceArgs, args: &JoinArgs) -> Result<(), Failure> {
    let folder = Folder::of(place, args.folder.as_deref())?;
    let what = format!("cannot make a server's folder in {}", folder.0.display());
    session::lock_keys(&what, place)?;
    let is_made = folder.make(&what)?;
    let joined = join(&what, &folder, place, args);
    if joined.is_err() {
        folder.take_back(is_made);
    }
    joined?;
    output::print(&format!(
        "Made a server's folder in {0}\nServe it: envelopekms serve {0}\n",
        folder.0.display()
    ))
}

fn join(what: &str, folder: &Folder, place: &PlaceArgs, args: &JoinArgs) -> Result<(), Failure> {
    if !args.new.store.contains("://") {
        let why = "servers share a PostgreSQL database; a file has one server";
        return Err(Failure::usage(what, why).advise("--store postgres://USER@HOST/DATABASE"));
    }
    let root_key = args.root_key.as_ref();
    let settings = lay_out(what, folder, &args.new, root_key)?;
    let keys = GivenKeys::parse(what, &settings.parsed.root_keys)?;
    let providers = keys.providers(&session::passphrase(place), Confirm::No);
    let hsm = session::hsm(what, &settings.parsed, &keys)?;
    if let Some(hsm) = &hsm {
        hsm.probe().map_err(|error| key(what, &error))?;
    }
    let trail = session::command_trail(folder, &settings.parsed);
    let options = session::options_with(folder.location(&settings.parsed), providers, hsm, trail);
    let opened = session::runtime(what)?.block_on(async {
        let engine = Engine::open(options).await?;
        engine.close().await;
        Ok(())
    });
    opened.map_err(|error| errors::open(what, &error))?;
    settings.write(what, folder)
}

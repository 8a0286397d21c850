//! `envelopekms join`: a folder for one server more of a service whose store others serve.

use std::path::PathBuf;

use clap::Args;

use super::init::KnownServiceArgs;
use super::restore::in_hsm;
use crate::cli::errors::key;
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
  envelopekms join /srv/kms --store postgres://kms@db/kms --listen 0.0.0.0:8443 --tls-name kms.example.com";

/// Arguments of `join`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct JoinArgs {
    /// The new server's folder, in place of --dir
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// What opens the service here, and where it is reached.
    #[command(flatten)]
    pub service: KnownServiceArgs,
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
    let in_hsm = joined?;
    output::print(&format!(
        "Made a server's folder in {0}\n{in_hsm}Serve it: envelopekms serve {0}\n",
        folder.0.display()
    ))
}

fn join(
    what: &str,
    folder: &Folder,
    place: &PlaceArgs,
    args: &JoinArgs,
) -> Result<String, Failure> {
    if !args.service.new.store.contains("://") {
        let why = "servers share a PostgreSQL database; a file has one server";
        return Err(Failure::usage(what, why).advise("--store postgres://USER@HOST/DATABASE"));
    }
    let settings = args.service.lay_out(what, folder)?;
    let keys = GivenKeys::parse(what, &settings.parsed.root_keys)?;
    let providers = keys.providers(&session::passphrase(place), Confirm::No);
    let hsm = session::hsm(what, &settings.parsed, &keys)?;
    if let Some(hsm) = &hsm {
        hsm.probe().map_err(|error| key(what, &error))?;
    }
    let trail = session::command_trail(folder, &settings.parsed);
    let options = session::options_with(folder.location(&settings.parsed), providers, hsm, trail);
    let looked = session::runtime(what)?.block_on(async {
        let engine = Engine::open(options).await?;
        let looked = engine.look_in_hsm().await;
        engine.close().await;
        Ok(looked)
    });
    let looked = looked.map_err(|error| errors::open(what, &error))?;
    let in_hsm = told(what, args, &looked)?;
    settings.write(what, folder)?;
    Ok(in_hsm)
}

/// What this server can do with the keys that are to be in the HSM.
fn told(
    what: &str,
    args: &JoinArgs,
    looked: &Result<Option<InHsm>, KmsError>,
) -> Result<String, Failure> {
    match looked {
        Ok(Some(InHsm { there: 0, .. })) => {
            let why = "none of the service's keys that live in an HSM is in this one";
            Err(Failure::new(Exit::Failure, what, why)
                .advise("--hsm: the token of the other servers, or one that mirrors it"))
        }
        Err(_no_hsm) if args.service.new.hsm.is_none() => Ok(
            "Keys of the service live in an HSM, and this server has none (--hsm): it refuses what needs them.\n"
                .to_owned(),
        ),
        Err(error) => Err(Failure::new(Exit::Failure, what, error)),
        Ok(_) => Ok(in_hsm(looked)),
    }
}

//! `envelopekms policy`: what may be done, and by whom.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::document;
use super::key::parse_key;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::errors;
use crate::cli::kms::list::all;
use crate::cli::kms::place::Folder;
use crate::cli::kms::session::{Session, runtime};
use crate::cli::output;
use crate::kms::engine::model::KeyRef;
use crate::kms::engine::ops::access::{GetKeyPolicy, PutKeyPolicy};
use crate::kms::engine::ops::admin::{ListPrincipals, PutPrincipalPolicy};
use crate::kms::policy::{Policy, PolicyKind};
use crate::kms::store::Store;

const AFTER: &str = "\
EXAMPLES:
  envelopekms policy show alias/Apollo/WorkKey
  envelopekms policy check --principal apollo.json
  envelopekms policy set --principal apollo apollo.json
  envelopekms policy set alias/Apollo/WorkKey key-policy.json";

/// Arguments of `policy`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What is done with policies.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print the policy of a key or of a principal
    Show(ShowArgs),
    /// Give a key or a principal this policy in place of the one it has
    Set(SetArgs),
    /// Say whether a policy can be followed
    Check(CheckArgs),
}

/// Arguments of `policy show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The key: its id or alias/NAME
    #[arg(value_name = "KEY", value_parser = parse_key, required_unless_present = "principal", conflicts_with = "principal")]
    pub key: Option<KeyRef>,

    /// The policy of this principal
    #[arg(long, value_name = "NAME")]
    pub principal: Option<String>,
}

/// Arguments of `policy set`.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// The key, unless --principal, and the JSON policy; - for stdin
    #[arg(value_name = "[KEY] FILE", num_args = 1..=2, required = true)]
    pub operands: Vec<String>,

    /// Set the policy of this principal
    #[arg(long, value_name = "NAME")]
    pub principal: Option<String>,

    /// Even if nobody but the command line on this machine can set it again
    #[arg(long)]
    pub bypass_lockout_check: bool,
}

/// Arguments of `policy check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The JSON policy; - for stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// It is one of a principal, not of a key
    #[arg(long)]
    pub principal: bool,
}

/// Does it.
///
/// # Errors
/// It was refused.
pub fn run(place: &PlaceArgs, args: &PolicyArgs) -> Result<(), Failure> {
    match &args.command {
        PolicyCommand::Show(args) => show(place, args),
        PolicyCommand::Set(args) => set(place, args),
        PolicyCommand::Check(args) => check(place, args),
    }
}

fn show(place: &PlaceArgs, args: &ShowArgs) -> Result<(), Failure> {
    let what = "cannot show the policy";
    let policy = Session::with(what, place, |session| match (&args.principal, &args.key) {
        (Some(name), _) => {
            let principals = all(|page| session.perform(what, ListPrincipals { page }))?;
            let found = principals.into_iter().find(|known| known.name == *name);
            found.map(|principal| principal.policy).ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    what,
                    format!("There is no principal {name}."),
                )
            })
        }
        (None, Some(key)) => session.perform(what, GetKeyPolicy { key: key.clone() }),
        (None, None) => Err(Failure::usage(what, "no key was named")),
    })?;
    let pretty: Result<serde_json::Value, _> = serde_json::from_str(&policy);
    match pretty {
        Ok(value) => output::print_json(&value),
        Err(_) => output::print(&policy),
    }
}

fn set(place: &PlaceArgs, args: &SetArgs) -> Result<(), Failure> {
    let what = "cannot set the policy";
    match (&args.principal, &args.operands[..]) {
        (Some(name), [file]) => {
            let (name, policy) = (name.clone(), document(what, file.as_ref())?);
            Session::with(what, place, |session| {
                session.perform(what, PutPrincipalPolicy { name, policy })
            })
        }
        (None, [key, file]) => {
            let key = parse_key(key).map_err(|error| Failure::usage(what, error))?;
            let put = PutKeyPolicy {
                key,
                policy: document(what, file.as_ref())?,
                bypass_lockout_check: args.bypass_lockout_check,
            };
            Session::with(what, place, |session| session.perform(what, put))
        }
        _ => Err(Failure::usage(
            what,
            "expected KEY and FILE, or --principal NAME and FILE",
        )),
    }
}

/// The account id is asked of the store: that needs no root key.
fn check(place: &PlaceArgs, args: &CheckArgs) -> Result<(), Failure> {
    let what = format!("cannot follow {}", args.file.display());
    let folder = Folder::of(place, None)?;
    let location = folder.location(&folder.settings()?);
    let account = runtime(&what)?.block_on(async {
        let store = Store::open(location, false).await?;
        let account = store.setting("account").await?;
        store.close().await;
        Ok(account.unwrap_or_default())
    });
    let account = account.map_err(|error| errors::store(&what, &error))?;
    let kind = match args.principal {
        true => PolicyKind::Principal,
        false => PolicyKind::Key,
    };
    match Policy::parse_new(&document(&what, &args.file)?, kind, &account) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Refused, what, error)),
    }
}

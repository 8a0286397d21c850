//! `envelopekms principal`: who can be given access keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::document;
use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::list::{all, table};
use crate::cli::kms::session::Session;
use crate::cli::output;
use crate::kms::engine::open::ADMINISTRATOR_POLICY;
use crate::kms::engine::ops::admin::{
    CreatePrincipal, DeletePrincipal, ListCredentials, ListPrincipals,
};

const AFTER: &str = "\
EXAMPLES:
  envelopekms principal create apollo --policy apollo.json
  envelopekms principal create second-admin --administrator
  envelopekms principal list
  envelopekms policy show --principal apollo";

/// Arguments of `principal`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct PrincipalArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PrincipalCommand,
}

/// What is done with principals.
#[derive(Clone, Debug, Subcommand)]
pub enum PrincipalCommand {
    /// Make a principal
    Create(CreateArgs),
    /// List principals
    List(JsonArgs),
    /// Take a principal away, and its access keys
    Delete(DeleteArgs),
}

/// Arguments of `principal create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// Its name: 1 to 64 letters, digits, dots, hyphens, underscores and at-signs
    #[arg(value_name = "NAME")]
    pub name: String,

    /// What it may do: a JSON policy; - for stdin
    #[arg(long, value_name = "FILE", required_unless_present = "administrator")]
    pub policy: Option<PathBuf>,

    /// It may do everything
    #[arg(long, conflicts_with = "policy")]
    pub administrator: bool,
}

/// Arguments of `principal delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Does it.
///
/// # Errors
/// It was refused.
pub fn run(place: &PlaceArgs, args: &PrincipalArgs) -> Result<(), Failure> {
    match &args.command {
        PrincipalCommand::Create(args) => create(place, args),
        PrincipalCommand::List(args) => list(place, *args),
        PrincipalCommand::Delete(args) => {
            let what = format!("cannot delete the principal {}", args.name);
            let name = args.name.clone();
            Session::with(&what, place, |session| {
                session.perform(&what, DeletePrincipal { name })
            })
        }
    }
}

fn create(place: &PlaceArgs, args: &CreateArgs) -> Result<(), Failure> {
    let what = format!("cannot make the principal {}", args.name);
    let policy = match &args.policy {
        Some(path) => document(&what, path)?,
        None => ADMINISTRATOR_POLICY.to_owned(),
    };
    let name = args.name.clone();
    Session::with(&what, place, |session| {
        session.perform(&what, CreatePrincipal { name, policy })
    })
}

fn list(place: &PlaceArgs, args: JsonArgs) -> Result<(), Failure> {
    let what = "cannot list principals";
    let (principals, keys) = Session::with(what, place, |session| {
        let principals = all(|page| session.perform(what, ListPrincipals { page }))?;
        let keys = all(|page| {
            let principal = None;
            session.perform(what, ListCredentials { principal, page })
        })?;
        Ok((principals, keys))
    })?;
    let count = |name: &str| keys.iter().filter(|key| key.principal == name).count();
    if args.json {
        let shown = principals.iter().map(|principal| {
            let policy: Option<Value> = serde_json::from_str(&principal.policy).ok();
            json!({
                "name": principal.name,
                "created": principal.created.to_string(),
                "access_keys": count(&principal.name),
                "policy": policy,
            })
        });
        return output::print_json(&shown.collect::<Vec<_>>());
    }
    let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["NAME", "CREATED", "ACCESS KEYS"])];
    rows.extend(principals.iter().map(|principal| {
        let (created, count) = (
            principal.created.to_string(),
            count(&principal.name).to_string(),
        );
        row([&principal.name, &created, &count])
    }));
    output::print(&table(&rows))
}

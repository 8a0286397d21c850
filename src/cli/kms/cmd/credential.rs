//! `envelopekms credential`: access keys.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::hand_over::{Shown, exports, reachable};
use crate::cli::kms::list::{all, table};
use crate::cli::kms::place::Folder;
use crate::cli::kms::session::Session;
use crate::cli::output;
use crate::kms::engine::ops::admin::{
    CreateCredential, DeleteCredential, ListCredentials, NewAccessKey, SetCredentialEnabled,
};

const AFTER: &str = "\
EXAMPLES:
  envelopekms credential create apollo
  envelopekms credential list --principal apollo
  envelopekms credential disable EKMSABCDEFGHIJKLMNOP";

/// Arguments of `credential`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct CredentialArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CredentialCommand,
}

/// What is done with access keys.
#[derive(Clone, Debug, Subcommand)]
pub enum CredentialCommand {
    /// Make an access key, whose secret is printed this once
    Create(CreateArgs),
    /// List access keys, without their secrets
    List(ListArgs),
    /// Let an access key open nothing, until it is enabled
    Disable(IdArgs),
    /// Let an access key be used again
    Enable(IdArgs),
    /// Take an access key away for good
    Delete(IdArgs),
}

/// Arguments of `credential create`.
#[derive(Args, Clone, Debug)]
pub struct CreateArgs {
    /// The principal whose access key it is
    #[arg(value_name = "PRINCIPAL")]
    pub principal: String,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// Arguments of `credential list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Only those of this principal
    #[arg(long, value_name = "NAME")]
    pub principal: Option<String>,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// An access key.
#[derive(Args, Clone, Debug)]
pub struct IdArgs {
    /// The access key's id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Does it.
///
/// # Errors
/// It was refused.
pub fn run(place: &PlaceArgs, args: &CredentialArgs) -> Result<(), Failure> {
    match &args.command {
        CredentialCommand::Create(args) => create(place, args),
        CredentialCommand::List(args) => list(place, args),
        CredentialCommand::Disable(args) => set_enabled(place, &args.id, false),
        CredentialCommand::Enable(args) => set_enabled(place, &args.id, true),
        CredentialCommand::Delete(args) => {
            let what = format!("cannot delete the access key {}", args.id);
            let id = args.id.clone();
            Session::with(&what, place, |session| {
                session.perform(&what, DeleteCredential { id })
            })
        }
    }
}

fn set_enabled(place: &PlaceArgs, id: &str, enabled: bool) -> Result<(), Failure> {
    let verb = if enabled { "enable" } else { "disable" };
    let what = format!("cannot {verb} the access key {id}");
    let id = id.to_owned();
    Session::with(&what, place, |session| {
        session.perform(&what, SetCredentialEnabled { id, enabled })
    })
}

fn create(place: &PlaceArgs, args: &CreateArgs) -> Result<(), Failure> {
    let what = format!("cannot make an access key for {}", args.principal);
    let principal = args.principal.clone();
    let (key, region): (NewAccessKey, String) = Session::with(&what, place, |session| {
        let key = session.perform(&what, CreateCredential { principal })?;
        Ok((key, session.engine.names().region.clone()))
    })?;
    if args.output.json {
        return output::print_json(&json!({
            "id": key.id,
            "secret": key.secret.as_str(),
            "principal": key.principal,
        }));
    }
    let settings = Folder::of(place, None)?.settings()?;
    let shown = Shown {
        id: &key.id,
        secret: key.secret.as_str(),
    };
    let lines = exports(
        &reachable(settings.listen),
        &region,
        settings.tls.ca.as_deref(),
        &shown,
    );
    output::print(&format!(
        "Access key of {}. Its secret is told this once:\n\n{lines}",
        key.principal
    ))
}

fn list(place: &PlaceArgs, args: &ListArgs) -> Result<(), Failure> {
    let what = "cannot list access keys";
    let keys = Session::with(what, place, |session| {
        all(|page| {
            let principal = args.principal.clone();
            session.perform(what, ListCredentials { principal, page })
        })
    })?;
    if args.output.json {
        let shown = keys.iter().map(|key| {
            json!({
                "id": key.id,
                "principal": key.principal,
                "created": key.created.to_string(),
                "enabled": key.enabled,
            })
        });
        return output::print_json(&shown.collect::<Vec<_>>());
    }
    let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["ID", "PRINCIPAL", "STATE", "CREATED"])];
    rows.extend(keys.iter().map(|key| {
        let state = if key.enabled { "enabled" } else { "disabled" };
        row([&key.id, &key.principal, state, &key.created.to_string()])
    }));
    output::print(&table(&rows))
}

//! `envelopekms audit`: the trail of every call.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::audit::{Head, Kind, Verifier};
use crate::cli::cmd::audit::{
    AuditRequest, ShowRequest, parse_head, report_on, run as run_request, verdict,
};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::errors;
use crate::cli::kms::place::Folder;
use crate::cli::kms::session::Session;

const AFTER: &str = "\
EXAMPLES:
  envelopekms audit verify
  envelopekms audit verify /var/lib/envelopekms/audit/serve.log.1 /var/lib/envelopekms/audit/serve.log
  envelopekms audit show";

/// Arguments of `audit`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct AuditArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// What is done with the audit trail.
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether the trail is as it was written
    ///
    /// The chain of hashes and the seals, which nobody can make who has not the root key.
    Verify(VerifyArgs),
    /// Print the trail for people
    ///
    /// Checks nothing: that is for `audit verify`.
    Show(ShowArgs),
}

/// Arguments of `audit verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// Files of one trail, the oldest first. Default: each file of the service's audit folder by itself
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Require this line, as it was noted elsewhere: without it nobody sees that the end was cut off
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_head, requires = "files")]
    pub expect: Option<Head>,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// Arguments of `audit show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// The files. Default: those of the service's audit folder
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// How the lines are printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// Does it.
///
/// # Errors
/// A file cannot be read, the root key not be opened; [`Exit::AuditBroken`] where lines are not as they were written.
pub fn run(place: &PlaceArgs, args: &AuditArgs) -> Result<(), Failure> {
    match &args.command {
        AuditCommand::Verify(args) => verify(place, args),
        AuditCommand::Show(args) => run_request(&AuditRequest::Show(ShowRequest {
            files: files(place, &args.files)?,
            events: Vec::<Kind>::new(),
            json: args.output.json,
        })),
    }
}

/// Those that were named, else the service's own.
fn files(place: &PlaceArgs, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let folder = Folder::of(place, None)?;
    // What is no service is told as such.
    folder.settings()?;
    let audit = folder.audit();
    let failed = |error: std::io::Error| {
        let what = "cannot read the audit trail";
        Failure::new(Exit::Failure, what, format!("{}: {error}", audit.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&audit).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn verify(place: &PlaceArgs, args: &VerifyArgs) -> Result<(), Failure> {
    let what = "cannot verify the audit trail";
    let chains: Vec<Vec<PathBuf>> = if args.files.is_empty() {
        files(place, &[])?
            .into_iter()
            .map(|file| vec![file])
            .collect()
    } else {
        vec![args.files.clone()]
    };
    // The session of this very command is in a trail too, and is written when it ends: keys first, then the files.
    let keys = Session::with(what, place, |session| {
        let keys = chains.iter().map(|_files| session.engine.audit_key());
        let keys = keys.collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|error| errors::open(what, &error.into()))?;
        Ok((keys, session.engine.service_id().to_owned()))
    })?;
    let (keys, service) = keys;
    let mut reports = Vec::new();
    for (files, key) in chains.iter().zip(keys) {
        let verifier = Verifier::new(args.expect).with_seals(key, service.clone());
        reports.push(report_on(what, verifier, files)?);
    }
    verdict(&reports, args.output.json)
}

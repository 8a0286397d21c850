//! `envelopekms backup`: the whole service in one encrypted file.

use std::path::PathBuf;

use clap::Args;

use crate::cli::cmd::encrypt::Existing;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::PlaceArgs;
use crate::cli::kms::errors;
use crate::cli::kms::place::write_new;
use crate::cli::kms::session::Session;
use crate::cli::output::counted;
use crate::cli::pending::Pending;
use crate::kms::engine::backup::Backup;

/// Arguments of `backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// The file to make
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Replace FILE where it is there
    #[arg(long)]
    pub force: bool,
}

/// Writes it.
///
/// # Errors
/// It was refused, or cannot be written; FILE is complete or as it was.
pub fn run(place: &PlaceArgs, args: &BackupArgs) -> Result<(), Failure> {
    let what = format!("cannot write the backup {}", args.file.display());
    let existing = match args.force {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    let pending = Pending::new(&what, &args.file, existing)?;
    let (bytes, in_hsm) = Session::with(&what, place, |session| {
        let bytes = session.perform(&what, Backup)?;
        let in_hsm = session.wait(session.engine.count_in_hsm());
        Ok((
            bytes,
            in_hsm.map_err(|error| errors::refused(&what, &error))?,
        ))
    })?;
    write_new(pending.path(), 0o600, &bytes)
        .map_err(|error| Failure::new(Exit::Failure, &what, error))?;
    pending.finish(&what)?;
    if in_hsm > 0 {
        tracing::warn!(
            "{} of keys in the HSM: not in the backup, which has only what is known of them; back the HSM up by its \
             maker's means",
            counted(in_hsm, "version")
        );
    }
    Ok(())
}

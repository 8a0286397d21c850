//! Decrypts the file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

use super::DecryptRequest;
use crate::cli::errors;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::pending::Pending;
use crate::cli::providers::{self, GivenKeys};
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::maint;

/// Decrypts one file, to mode 0600.
///
/// # Errors
/// The file is damaged or none of this program's, no key opens it, or the output is there already. Then there is no output.
pub fn run(request: &DecryptRequest) -> Result<(), Failure> {
    let what = format!("cannot decrypt {}", request.input.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let pending = Pending::new(&what, &request.output, request.existing)?;
    let output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(pending.path());
    let cannot_write = |error: std::io::Error| {
        Failure::new(
            Exit::Failure,
            &what,
            format!("{}: {error}", request.output.display()),
        )
    };
    let mut output = output.map_err(cannot_write)?;
    let keys = GivenKeys::parse(&what, &request.keys)?;
    let providers = keys.providers(&request.passphrase, Confirm::No);
    maint::decrypt(
        &request.input,
        &mut output,
        &request.output,
        &keys.uris,
        &providers,
    )
    .map_err(|error| errors::maint(&what, &error))?;
    output.sync_all().map_err(cannot_write)?;
    pending.finish(&what)
}

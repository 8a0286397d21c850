//! Encrypts the file.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;

use super::EncryptRequest;
use crate::cli::errors;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::pending::Pending;
use crate::cli::providers::{self, GivenKeys};
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::maint::{self, SingleOptions};

/// Encrypts one file; the output has the input's mode.
///
/// # Errors
/// The output is there already, a key cannot be used, the input cannot be read. Then there is no output.
pub fn run(request: &EncryptRequest) -> Result<(), Failure> {
    let what = format!("cannot encrypt {}", request.input.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let cannot_read = |error: std::io::Error| Failure::new(Exit::Failure, &what, error);
    let mut input = File::open(&request.input).map_err(cannot_read)?;
    let found = input.metadata().map_err(cannot_read)?;
    if found.is_dir() {
        return Err(Failure::usage(what, "it is a folder")
            .advise("make a volume of a folder: `envelopefs init`"));
    }
    let pending = Pending::new(&what, &request.output, request.existing)?;
    let keys = GivenKeys::parse(&what, &request.keys)?;
    let options = SingleOptions {
        keys: keys.uris.clone(),
        layout: request.layout,
        mode: found.permissions().mode() & 0o777,
    };
    let providers = keys.providers(&request.passphrase, Confirm::Yes);
    maint::encrypt(
        &mut input,
        &request.input,
        pending.path(),
        &options,
        &providers,
    )
    .map_err(|error| errors::maint(&what, &error))?;
    pending.finish(&what)
}

//! Key files that are made where a `file:` key is named that is not there yet.

use std::path::{Path, PathBuf};

use super::errors;
use super::exit::Exit;
use super::failure::Failure;
use crate::keys::FileProvider;
use crate::units::KeyUri;

/// What is said of each key file that was made.
pub(super) const BACK_UP: &str =
    "  Back this up: without it nobody, you included, can read the volume.\n";

/// The path of a `file:` key that is not there yet.
pub(super) fn missing_key_file(uri: &KeyUri) -> Option<PathBuf> {
    let path = FileProvider::path_of(uri).ok()?;
    let missing = path
        .symlink_metadata()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    missing.then_some(path)
}

/// Makes a key file, and its folder where that is missing.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_key_file(what: &str, path: &Path) -> Result<KeyUri, Failure> {
    if let Some(folder) = path.parent() {
        make_private_folder(folder).map_err(|error| {
            Failure::new(
                Exit::Failure,
                what,
                format!("{}: {error}", folder.display()),
            )
            .advise("make the folder, or name another key: --key file:///path/to/key.json")
        })?;
    }
    let made = FileProvider::create(path).and_then(|_provider| FileProvider::uri_of(path));
    made.map_err(|error| errors::key(what, &error))
}

/// Only its owner may look into a folder of keys.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Removes a key file that was made for nothing.
pub(super) fn take_back(path: &Path) {
    let removed = std::fs::remove_file(path);
    tracing::debug!(?removed, path = %path.display(), "a key file that nothing needs");
}

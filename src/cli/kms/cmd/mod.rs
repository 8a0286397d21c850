//! The commands, one file each: its arguments, and what it does.

pub mod audit;
pub mod backup;
pub mod credential;
pub mod init;
pub mod join;
pub mod key;
mod key_run;
pub mod policy;
pub mod principal;
pub mod restore;
pub mod root_key;
pub mod serve;
pub mod status;

use std::io::Read as _;
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// The longest document that is read.
const DOCUMENT_MAX: u64 = 1 << 20;

/// The text of a file; `-` for stdin.
///
/// # Errors
/// It cannot be read, or is no text.
fn document(what: &str, path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(DOCUMENT_MAX)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(DOCUMENT_MAX).read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::new(
            Exit::Failure,
            what,
            format!("{}: {error}", path.display()),
        )),
    }
}

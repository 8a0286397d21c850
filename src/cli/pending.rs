//! An output file that is complete, or not there: made under another name in the same folder, and
//! named at the end.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use super::cmd::encrypt::Existing;
use super::errors;
use super::exit::Exit;
use super::failure::Failure;
use crate::crypto::random;

/// An output under way; dropped without [`Pending::finish`] it goes away.
#[derive(Debug)]
pub(super) struct Pending {
    temporary: PathBuf,
    output: PathBuf,
    existing: Existing,
}

impl Pending {
    /// An output to be made at [`Pending::path`].
    pub(super) fn new(what: &str, output: &Path, existing: Existing) -> Result<Self, Failure> {
        if existing == Existing::Keep && output.symlink_metadata().is_ok() {
            return Err(errors::output_exists(what, output));
        }
        let Some(name) = output.file_name() else {
            return Err(Failure::usage(
                what,
                format!("{} names no file", output.display()),
            ));
        };
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}.part", HEXLOWER.encode(&random::array::<4>())));
        Ok(Self {
            temporary: output.with_file_name(temporary),
            output: output.to_owned(),
            existing,
        })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the complete output its name.
    pub(super) fn finish(self, what: &str) -> Result<(), Failure> {
        let named = match self.existing {
            Existing::Replace => std::fs::rename(&self.temporary, &self.output),
            // Unlike a rename, a link does not replace what came there meanwhile.
            Existing::Keep => std::fs::hard_link(&self.temporary, &self.output),
        };
        named.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => errors::output_exists(what, &self.output),
            _ => Failure::new(
                Exit::Failure,
                what,
                format!("{}: {error}", self.output.display()),
            ),
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let removed = std::fs::remove_file(&self.temporary);
        tracing::trace!(?removed, path = %self.temporary.display(), "temporary name");
    }
}

//! The mounts of this program that a command is about.

use std::path::Path;

use super::exit::Exit;
use super::failure::Failure;
use crate::daemon::mounts::{self, Mount};

/// All mounts of this program, of whichever user.
///
/// # Errors
/// The table of mounts cannot be read.
pub(super) fn ours() -> Result<Vec<Mount>, Failure> {
    let mounts = mounts::read()
        .map_err(|error| Failure::new(Exit::Failure, "cannot list the mounts", error))?;
    Ok(mounts.into_iter().filter(Mount::is_ours).collect())
}

/// The one that is on top at `mountpoint`. `what` is what cannot be done without it.
///
/// # Errors
/// [`Exit::NotMounted`].
pub(super) fn at<'m>(
    mounts: &'m [Mount],
    mountpoint: &Path,
    what: &str,
) -> Result<&'m Mount, Failure> {
    mounts::find(mounts, mountpoint)
        .filter(|mount| mount.is_ours())
        .ok_or_else(|| none_mounted(what))
}

/// That there is none.
pub(super) fn none_mounted(what: &str) -> Failure {
    Failure::new(Exit::NotMounted, what, "no envelopefs is mounted there")
        .advise("`envelopefs status` lists what is mounted")
}

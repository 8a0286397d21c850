//! The folder `.envelopefs` in the ciphertext root, and what lies in it.

use std::io;
use std::sync::Arc;

use crate::storage::{CName, Caller, Node, Timestamp, as_caller};

use super::error::VolumeError;

/// The folder's name.
pub(super) const FOLDER: &[u8] = b".envelopefs";
/// What the volume is, and its wrapped key.
pub(super) const CONFIG: &[u8] = b"volume.json";
/// Locked by every mount.
pub(super) const LOCK: &[u8] = b"lock";
/// Locked by a run that changes keys or headers all over.
pub(super) const RUN: &[u8] = b"run";
/// Which files a `reencrypt` has done that was cut short.
pub(super) const DONE: &[u8] = b"reencrypt";
/// There while a mount may write.
const IN_USE: &[u8] = b"in-use";

/// Who may do what, where the volume has a policy.
pub(super) const POLICY: &[u8] = b"policy.toml";
/// One that is being set.
pub(super) const NEW_POLICY: &[u8] = b"policy.toml.new";

/// The entries that belong in the folder.
pub(super) const ENTRIES: [&[u8]; 7] = [CONFIG, LOCK, RUN, DONE, IN_USE, POLICY, NEW_POLICY];

/// A name of this module's own.
pub(super) fn name(bytes: &[u8]) -> CName {
    CName::new(bytes).expect("the volume's own names are components")
}

/// Makes something in the folder that belongs to the folder's owner, also where root does it for him: a `volume.json` of
/// root's he could not read.
pub(super) fn as_owner<T>(folder: &Node, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if !rustix::process::geteuid().is_root() {
        return make();
    }
    let stat = folder.stat()?;
    let owner = Caller {
        uid: stat.uid,
        gid: stat.gid,
    };
    as_caller(owner, make)?
}

/// The mark of a mount that may write. It is there at the next mount if this one ends without an unmount.
#[derive(Debug)]
pub(super) struct InUse(Arc<Node>);

impl InUse {
    /// Sets the mark, and says since when an earlier one was there.
    pub(super) fn set(meta: &Arc<Node>) -> Result<(Self, Option<Timestamp>), VolumeError> {
        let io = VolumeError::io("marking the volume as in use");
        let earlier = Self::since(meta)?;
        if earlier.is_none() {
            let made = meta.replace_file(&name(IN_USE), 0o600, b"");
            made.map_err(io)?;
        }
        Ok((Self(Arc::clone(meta)), earlier))
    }

    /// Since when a mark is there.
    pub(super) fn since(meta: &Node) -> Result<Option<Timestamp>, VolumeError> {
        match meta.stat_child(&name(IN_USE)) {
            Ok(stat) => Ok(Some(stat.mtime)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VolumeError::io("looking for the mark of a mount")(error)),
        }
    }

    /// Takes the mark away.
    pub(super) fn clear(&self) -> Result<(), VolumeError> {
        match self.0.unlink(&name(IN_USE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::io("marking the volume as clean")(error))
            }
            _ => Ok(()),
        }
    }
}

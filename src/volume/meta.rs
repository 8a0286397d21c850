//! The folder `.envelopefs` in the ciphertext root, and what lies in it.

use std::io;

use crate::storage::{CName, Caller, Node, as_caller};

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
/// Which times of their last changes files show that are not the ciphertext files'.
pub(super) const CTIMES: &[u8] = b"ctimes";
/// There while a mount may write; the marks of shared mounts begin so.
pub(super) const IN_USE: &[u8] = b"in-use";

/// Who may do what, where the volume has a policy.
pub(super) const POLICY: &[u8] = b"policy.toml";
/// What the volume was when it was sealed.
pub(super) const SEAL: &[u8] = b"seal";
/// Which folder an `import` makes the volume from.
pub(super) const IMPORT: &[u8] = b"import";
/// The same before it is whole.
pub(super) const NEW_IMPORT: &[u8] = b"import.new";
/// One that is being set.
pub(super) const NEW_POLICY: &[u8] = b"policy.toml.new";

/// The entries that belong in the folder, beside the marks of shared mounts.
pub(super) const ENTRIES: [&[u8]; 11] = [
    CONFIG, LOCK, RUN, DONE, CTIMES, IN_USE, IMPORT, NEW_IMPORT, SEAL, POLICY, NEW_POLICY,
];

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

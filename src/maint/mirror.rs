//! A tree made like another: contents with their holes, names, hard links, kinds, owners, modes, times, extended
//! attributes and ACLs. Either side may be a mount of a volume or a plain folder; both are reached by handles alone,
//! so that nobody who can write there leads out of it.
//!
//! Offsets and lengths are those of the files as they are read there, whatever [`CipherOffset`]'s name says.
//!
//! [`CipherOffset`]: crate::units::CipherOffset

mod attributes;
mod compare;
mod content;
mod copy;
mod remove;
mod survey;

use std::io;

use crate::storage::{CName, DirEntry, Node};

pub use compare::compare;
pub use copy::{Trust, copy};
pub use remove::remove_tree;
pub use survey::{Survey, survey};

/// How far a pass is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Entries of every kind.
    pub entries: u64,
    /// Bytes of contents.
    pub bytes: u64,
}

/// What one entry refused.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}: {source}", shown(path))]
pub struct MirrorError {
    /// The entry, below the tree's root.
    pub path: String,
    /// What was done.
    pub what: &'static str,
    /// What the system answered.
    pub source: io::Error,
}

fn shown(path: &str) -> &str {
    if path.is_empty() { "the folder" } else { path }
}

/// Where in the tree a pass is.
#[derive(Debug, Default)]
struct Trail(Vec<CName>);

impl Trail {
    fn path(&self) -> String {
        let names: Vec<_> = self.0.iter().map(CName::to_string_lossy).collect();
        names.join("/")
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> MirrorError + use<> {
        let path = self.path();
        move |source| MirrorError { path, what, source }
    }
}

/// A folder's entries in the order of their names.
fn sorted(folder: &Node) -> io::Result<Vec<DirEntry>> {
    let mut entries = super::walk::entries(folder)?;
    entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
    Ok(entries)
}

#[cfg(test)]
mod tests;

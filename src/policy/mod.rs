//! A volume's policy: who may do what to which path, and which keys a folder's new files get. Pure; docs/POLICY.md is
//! for people.
//!
//! * `document`: policy.toml to a [`Policy`], with every limit
//! * [`pattern`]: the paths of rules
//! * [`folders`]: the keys of folders
//! * [`judge`]: what the rules come to for a path and whoever asks

mod document;
pub mod folders;
pub mod judge;
pub mod pattern;

use std::path::PathBuf;

pub use document::{Accounts, PolicyError};
pub use folders::{Folder, NewFileKeys};
pub use judge::{Facts, Given, Verdict};
pub use pattern::PathPattern;

/// policy.toml is no longer, in bytes.
pub const MAX_LEN: usize = 64 << 10;
/// The most rules.
pub const MAX_RULES: usize = 256;
/// The most folders with keys of their own.
pub const MAX_FOLDERS: usize = 64;

/// What may be done, the strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Nothing but to see that it is there.
    Deny,
    /// To read.
    ReadOnly,
    /// What modes and owners allow.
    Allow,
}

impl Access {
    /// The word in policy.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::ReadOnly => "read-only",
            Self::Allow => "allow",
        }
    }
}

/// One rule. A condition that is absent is met; of a list one is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which paths; `None`: all.
    pub path: Option<PathPattern>,
    /// Users.
    pub uids: Vec<u32>,
    /// Groups, primary or supplementary.
    pub gids: Vec<u32>,
    /// Executables.
    pub exes: Vec<PathBuf>,
    /// systemd units, with `*` and `?`.
    pub units: Vec<String>,
    /// What it gives.
    pub access: Access,
}

/// What policy.toml says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// Where none matches.
    pub default: Access,
    /// Folders with keys of their own, in no order that matters.
    pub folders: Vec<Folder>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_comes_first() {
        assert!(Access::Deny < Access::ReadOnly && Access::ReadOnly < Access::Allow);
    }
}

//! A volume's policy: who may do what to which path, and which keys a folder's new files get. Pure; docs/POLICY.md is
//! for people.
//!
//! * `document`: policy.toml to a [`Policy`], with every limit
//! * [`pattern`]: the paths of rules
//! * [`judge`]: what the rules come to for a path and whoever asks

mod document;
pub mod judge;
pub mod pattern;

use std::path::PathBuf;

use crate::format::volume_config::KeyScope;
use crate::units::KeyUri;

pub use document::{Accounts, PolicyError};
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

/// The keys of new files in a folder, and in those below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewFileKeys {
    /// What wraps their data keys.
    pub scope: KeyScope,
    /// By which keys, where the provider does; empty: the volume's own.
    pub keys: Vec<KeyUri>,
}

/// A folder with keys of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path, `/` before each name.
    pub path: String,
    /// The keys of new files.
    pub keys: NewFileKeys,
}

/// What policy.toml says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// Where none matches.
    pub default: Access,
    /// Folders, in no order that matters.
    pub folders: Vec<Folder>,
}

impl Policy {
    /// The keys of new files in the folder at `path`: those of the nearest folder above it, or itself.
    pub fn new_file_keys(&self, path: &[u8]) -> Option<&NewFileKeys> {
        let above = self
            .folders
            .iter()
            .filter(|folder| is_at_or_below(path, folder.path.as_bytes()));
        above
            .max_by_key(|folder| folder.path.len())
            .map(|folder| &folder.keys)
    }

    /// Every key that a folder names.
    pub fn keys(&self) -> impl Iterator<Item = &KeyUri> {
        self.folders.iter().flat_map(|folder| &folder.keys.keys)
    }
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_folder_decides() {
        let folder = |path: &str, key: &str| Folder {
            path: path.into(),
            keys: NewFileKeys {
                scope: KeyScope::File,
                keys: vec![key.parse().unwrap()],
            },
        };
        let policy = Policy {
            rules: Vec::new(),
            default: Access::Allow,
            folders: vec![folder("/a/b", "file:///2"), folder("/a", "file:///1")],
        };
        let key = |path: &str| {
            policy
                .new_file_keys(path.as_bytes())
                .map(|keys| keys.keys[0].to_string())
        };
        assert_eq!(key("/a").as_deref(), Some("file:///1"));
        assert_eq!(key("/a/bb").as_deref(), Some("file:///1"));
        assert_eq!(key("/a/b/c").as_deref(), Some("file:///2"));
        for none in ["/", "/ab", "/b/a", ""] {
            assert_eq!(key(none), None, "{none}");
        }
        let all = Policy {
            folders: vec![folder("/", "file:///1")],
            ..policy.clone()
        };
        assert!(all.new_file_keys(b"/").is_some() && all.new_file_keys(b"/x/y").is_some());
    }

    #[test]
    fn the_strictest_comes_first() {
        assert!(Access::Deny < Access::ReadOnly && Access::ReadOnly < Access::Allow);
    }
}

//! Which keys the new files of a folder get.

use crate::format::volume_config::KeyScope;
use crate::units::KeyUri;

use super::{Accounts, Policy, PolicyError};

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

/// The keys of new files in the folder at `path`: those of the nearest of `folders` above it, or itself. The root is the
/// empty path, or `/`.
pub fn nearest<'f>(folders: &'f [Folder], path: &[u8]) -> Option<&'f NewFileKeys> {
    let above = folders
        .iter()
        .filter(|folder| is_at_or_below(path, folder.path.as_bytes()));
    above
        .max_by_key(|folder| folder.path.len())
        .map(|folder| &folder.keys)
}

/// Every key that a folder names.
pub fn keys_of(folders: &[Folder]) -> impl Iterator<Item = &KeyUri> {
    folders.iter().flat_map(|folder| &folder.keys.keys)
}

/// The folders with one key in the place of another.
pub fn exchanged(folders: &[Folder], from: &KeyUri, to: &KeyUri) -> Vec<Folder> {
    let mut folders = folders.to_vec();
    for key in folders.iter_mut().flat_map(|folder| &mut folder.keys.keys) {
        if key == from {
            *key = to.clone();
        }
    }
    folders
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Policy {
    /// The folders of policy.toml alone, whatever users and groups this machine has.
    ///
    /// # Errors
    /// As [`Policy::parse`], those accounts aside.
    pub fn parse_folders(bytes: &[u8]) -> Result<Vec<Folder>, PolicyError> {
        Ok(Self::parse(bytes, &Anybody)?.folders)
    }

    /// The text of policy.toml with the key `to` in the place of `from`, all else as it is.
    ///
    /// # Errors
    /// [`PolicyError::Exchange`] where that is not to be had by changing what stands between quotes: the key may stand there
    /// in another way, or beside the new one.
    pub fn with_key_exchanged(
        bytes: &[u8],
        from: &KeyUri,
        to: &KeyUri,
    ) -> Result<Vec<u8>, PolicyError> {
        let text = std::str::from_utf8(bytes).map_err(|_error| PolicyError::Exchange)?;
        let mut changed = text.to_owned();
        for quote in ['"', '\''] {
            changed = changed.replace(
                &format!("{quote}{from}{quote}"),
                &format!("{quote}{to}{quote}"),
            );
        }
        let (before, after) = (
            Self::parse(bytes, &Anybody)?,
            Self::parse(changed.as_bytes(), &Anybody).map_err(|_error| PolicyError::Exchange)?,
        );
        let wanted = Self {
            folders: exchanged(&before.folders, from, to),
            ..before
        };
        match after == wanted {
            true => Ok(changed.into_bytes()),
            false => Err(PolicyError::Exchange),
        }
    }
}

/// Every name is an account: for who does not ask which.
struct Anybody;

impl Accounts for Anybody {
    fn user(&self, _name: &str) -> Option<u32> {
        Some(0)
    }

    fn group(&self, _name: &str) -> Option<u32> {
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, key: &str) -> Folder {
        Folder {
            path: path.into(),
            keys: NewFileKeys {
                scope: KeyScope::File,
                keys: vec![key.parse().unwrap()],
            },
        }
    }

    fn uri(text: &str) -> KeyUri {
        text.parse().unwrap()
    }

    #[test]
    fn the_nearest_folder_decides() {
        let folders = [folder("/a/b", "file:///2"), folder("/a", "file:///1")];
        let key =
            |path: &str| nearest(&folders, path.as_bytes()).map(|keys| keys.keys[0].to_string());
        assert_eq!(key("/a").as_deref(), Some("file:///1"));
        assert_eq!(key("/a/bb").as_deref(), Some("file:///1"));
        assert_eq!(key("/a/b/c").as_deref(), Some("file:///2"));
        for none in ["/", "/ab", "/b/a", "", "/A", "a", "//a"] {
            assert_eq!(key(none), None, "{none}");
        }
        let all = [folder("/", "file:///1")];
        for path in [&b""[..], b"/", b"/x/y", b"/\xFF"] {
            assert!(nearest(&all, path).is_some());
        }
    }

    #[test]
    fn a_key_is_exchanged_where_it_stands_and_nowhere_else() {
        let text = "# of \"file:///1\"\n[[rule]]\naccess = 'deny'\nuid = 'nosuchuser'\n\
                    [[folder]]\npath = '/a'\nkeys = ['file:///1', \"file:///1/x\"]\n\
                    [[folder]]\npath = '/b'\nkeys = [\"file:///2\", \"file:///1\"]\n";
        let changed =
            Policy::with_key_exchanged(text.as_bytes(), &uri("file:///1"), &uri("file:///3"));
        let changed = String::from_utf8(changed.unwrap()).unwrap();
        let folders = Policy::parse_folders(changed.as_bytes()).unwrap();
        let keys: Vec<_> = keys_of(&folders).map(ToString::to_string).collect();
        assert_eq!(keys, ["file:///3", "file:///1/x", "file:///2", "file:///3"]);
        assert!(changed.contains("'nosuchuser'"));
    }

    #[test]
    fn what_cannot_be_exchanged_safely_is_left_alone() {
        let refused = |text: &str, to: &str| {
            let changed = Policy::with_key_exchanged(text.as_bytes(), &uri("file:///1"), &uri(to));
            assert_eq!(changed, Err(PolicyError::Exchange), "{text}");
        };
        let folder = |keys: &str| format!("[[folder]]\npath = '/a'\nkeys = [{keys}]\n");
        // Written otherwise; beside the new one; the same text elsewhere.
        refused(&folder("\"file:\\u002f//1\""), "file:///2");
        refused(&folder("'file:///1', 'file:///2'"), "file:///2");
        let rule = "[[rule]]\naccess = 'deny'\nuid = 'file:///1'\n".to_owned();
        assert!(
            Policy::with_key_exchanged(
                (rule + &folder("'file:///1'")).as_bytes(),
                &uri("file:///1"),
                &uri("file:///2")
            )
            .is_ok(),
            "the name of a user is a comment on nobody"
        );
    }
}

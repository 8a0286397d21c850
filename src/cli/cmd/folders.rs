//! How commands show folders with keys of their own.

use serde::Serialize;

use crate::cli::output::harmless;
use crate::format::volume_config::KeyScope;
use crate::policy::NewFileKeys;
use crate::units::KeyUri;
use crate::volume::SeenKeys;

/// What a volume says of the keys of folders, in JSON; none of it is authenticated.
#[derive(Debug, Serialize)]
pub(super) struct ShownFolders {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    folders: Vec<ShownFolder>,
    /// Keys that folders once had and files may still be under.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    former_keys: Vec<KeyUri>,
}

#[derive(Debug, Serialize)]
struct ShownFolder {
    path: String,
    key_scope: KeyScope,
    /// None: the volume's.
    keys: Vec<KeyUri>,
}

impl ShownFolders {
    pub(super) fn of(seen: &SeenKeys) -> Self {
        let folders = seen.folders.iter().map(|folder| ShownFolder {
            path: folder.path.clone(),
            key_scope: folder.keys.scope,
            keys: folder.keys.keys.clone(),
        });
        Self {
            folders: folders.collect(),
            former_keys: seen.former_keys.clone(),
        }
    }
}

/// A line for each folder with keys of its own, and for each key that folders once had.
pub(super) fn folder_lines(seen: &SeenKeys) -> String {
    let folders = seen.folders.iter();
    let folders =
        folders.map(|folder| format!("folder {}: {}", folder.path, keys_words(&folder.keys)));
    let former = seen.former_keys.iter();
    let former = former.map(|key| {
        format!("no folder's key any more, and until a rewrap files may need it: {key}")
    });
    folders
        .chain(former)
        .map(|line| harmless(&line) + "\n")
        .collect()
}

/// The keys of new files of a folder, in words.
pub(super) fn keys_words(keys: &NewFileKeys) -> String {
    match (keys.scope, keys.keys.as_slice()) {
        (KeyScope::Volume, _) => "the volume key".to_owned(),
        (KeyScope::File, []) => "the volume's keys, for each file by itself".to_owned(),
        (KeyScope::File, keys) => {
            let keys: Vec<_> = keys.iter().map(KeyUri::as_str).collect();
            keys.join(", ")
        }
    }
}

//! A mount that takes the place of a plaintext folder, in one step.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::maint::mirror::{self, MirrorError};
use crate::storage::{self, Node};

/// Where a mount is made before it takes a folder's place, and by what the folder is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakesPlace {
    /// An empty folder beside that folder, where the volume is mounted first; it becomes that folder's new name.
    pub mounted_at: PathBuf,
    /// The folder's fingerprint when it was copied.
    pub fingerprint: [u8; 32],
}

/// Why a mount does not take a folder's place.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// It is not what was copied any more.
    #[error("{} was changed while it was copied", .0.display())]
    Changed(PathBuf),
    /// It could not be looked over once more.
    #[error("looking over the folder once more: {0}")]
    Unread(#[from] MirrorError),
    /// The names could not be exchanged.
    #[error("exchanging the names of the mount and the folder: {0}")]
    Exchange(#[source] io::Error),
}

impl TakesPlace {
    /// Exchanges the names, and returns when that is durable.
    ///
    /// # Errors
    /// [`PlaceError`]; the folder then has its name still.
    pub fn take(&self, folder: &Path) -> Result<(), PlaceError> {
        let root = Node::open_root(folder).map_err(PlaceError::Exchange)?;
        if mirror::survey(&root)?.fingerprint != self.fingerprint {
            return Err(PlaceError::Changed(folder.to_owned()));
        }
        storage::exchange_with_mount(&self.mounted_at, folder)
            .and_then(|()| sync_parent(folder))
            .map_err(PlaceError::Exchange)
    }
}

/// Makes the names in the folder above durable.
///
/// # Errors
/// Those of `open(2)` and `fsync(2)`.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    Node::open_root(parent)?.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_changed_keeps_its_name() {
        let home = tempfile::tempdir().unwrap();
        let [folder, mounted_at] = ["folder", "point"].map(|name| home.path().join(name));
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&mounted_at).unwrap();
        let fingerprint = mirror::survey(&Node::open_root(&folder).unwrap());
        let fingerprint = fingerprint.unwrap().fingerprint;
        std::fs::write(folder.join("new"), "").unwrap();
        let place = TakesPlace {
            mounted_at,
            fingerprint,
        };
        let refused = place.take(&folder).unwrap_err();
        assert!(matches!(refused, PlaceError::Changed(_)), "{refused}");
        assert!(folder.join("new").exists());
    }
}

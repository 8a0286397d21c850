//! Opening a file of a volume by its ciphertext name, as recovery and check do.

use std::sync::Arc;

use crate::content::{ContentError, EpochKeys, OpenFile, Probe, exclude_writers, probe};
use crate::crypto::SecretKey;
use crate::storage::{Access, CName, Node, StorageFile};
use crate::volume::Volume;

use super::error::MaintError;

/// What a ciphertext file turned out to be.
#[derive(Debug)]
pub(super) enum Opened {
    /// No header: nothing, or zeros in its place.
    Empty(StorageFile),
    /// A file that the volume does not take.
    Foreign,
    /// A file of the volume.
    Sealed(Box<OpenFile>),
}

/// Opens the file `name` of `folder`; waits for its keys.
///
/// # Errors
/// What the ciphertext folder and the key provider answer, and a header that is not authentic.
pub(super) fn open(
    volume: &Volume,
    folder: &Node,
    name: &CName,
    access: Access,
) -> Result<Opened, MaintError> {
    let content = |source: ContentError| MaintError::Content {
        path: name.to_string_lossy().into(),
        source,
    };
    let file = folder
        .open_child_file(name, access)
        .map_err(|source| MaintError::Io {
            path: name.to_string_lossy().into(),
            source,
        })?;
    let header = match probe(&file, volume.layout()).map_err(content)? {
        Probe::Empty => return Ok(Opened::Empty(file)),
        Probe::Sealed(header) => header,
    };
    if !volume.admits(&header)? {
        return Ok(Opened::Foreign);
    }
    let (header, deks) = volume.fetch_keys_blocking(header)?;
    let open = match volume.is_shared() && access == Access::ReadWrite {
        true => among_others(file, volume, &deks),
        false => {
            let keys = EpochKeys::derive(&header, &deks)?;
            OpenFile::open(file, header, keys)
        }
    };
    let open = open.map_err(content)?;
    Ok(Opened::Sealed(Box::new(open)))
}

/// Opens a file that other mounts may be at: its header is of this moment.
fn among_others(
    file: StorageFile,
    volume: &Volume,
    deks: &[Arc<SecretKey>],
) -> Result<OpenFile, ContentError> {
    exclude_writers(&file)?;
    let Probe::Sealed(header) = probe(&file, volume.layout())? else {
        return Err(ContentError::Overtaken);
    };
    let keys = EpochKeys::derive(&header, deks)?;
    OpenFile::open_shared(file, header, keys)
}

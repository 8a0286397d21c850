//! A sealed volume: nothing is given out that is not as it was sealed.

use std::io;

use crate::content::OpenFile;
use crate::storage::{CName, Node, Stat, StorageFile};
use crate::volume::{Broken, SealedFile, join_path};

use super::FileSystem;
use super::error::FsError;
use super::inodes::Inode;

impl FileSystem {
    /// What was found, or not, as `cname` in the folder `parent`.
    pub(super) fn check_found(
        &self,
        parent: &Inode,
        dir: &Node,
        cname: &CName,
        found: io::Result<Stat>,
    ) -> Result<Stat, FsError> {
        let Some(seal) = &self.options.seal else {
            return Ok(found?);
        };
        let path = join_path(&sealed_path(parent)?, cname.as_bytes());
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                seal.check_absent(&path)?;
                Err(error.into())
            }
            found => {
                let (stat, node) = (found?, dir.child(cname)?);
                // The one that is opened must be the one that was looked at.
                let same = node.stat()?;
                if (same.dev, same.ino) != (stat.dev, stat.ino) {
                    return Err(Broken::Attributes.into());
                }
                seal.check_entry(&path, &node, &same)?;
                Ok(same)
            }
        }
    }

    /// All ciphertext names that a folder was found to hold.
    pub(super) fn check_names(&self, folder: &Inode, names: &[CName]) -> Result<(), FsError> {
        let Some(seal) = &self.options.seal else {
            return Ok(());
        };
        let names = names.iter().map(CName::as_bytes);
        Ok(seal.check_names(&sealed_path(folder)?, names)?)
    }

    /// A file that is about to be opened, read once in a sealed volume.
    pub(super) fn check_sealed_file(
        &self,
        inode: &Inode,
        file: &StorageFile,
    ) -> Result<Option<SealedFile>, FsError> {
        let Some(seal) = &self.options.seal else {
            return Ok(None);
        };
        Ok(Some(seal.check_file(&sealed_path(inode)?, file)?))
    }
}

/// Every later read of an open file is held against what was read of it first.
pub(super) fn pin(open: &OpenFile, sealed: Option<SealedFile>) -> Result<(), FsError> {
    match sealed {
        Some(sealed) => Ok(open.pin(sealed)?),
        None => Ok(()),
    }
}

/// An inode that was found by number alone has no path, and nothing to be held against.
fn sealed_path(inode: &Inode) -> Result<Vec<u8>, FsError> {
    inode.cipher_path_bytes().ok_or(FsError::STALE)
}

//! Names as they stand in a ciphertext folder: the folder's id, and what an entry stands for.

use std::io;

use crate::format::names::{self, EntryKind, NameError, NameKey};
use crate::storage::{CName, Node};
use crate::units::DirId;

use super::error::VolumeError;
use super::{Volume, in_use, meta};

/// What an entry of a ciphertext folder stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Listed {
    /// A name of the user's.
    Name(Vec<u8>),
    /// The volume's own: a folder id, the full form of a long name, what a crash left.
    Own(EntryKind),
    /// Nothing of this volume's.
    Foreign(NameError),
}

impl Volume {
    /// The id that the names in a folder are bound to; `None` where names are plain.
    ///
    /// # Errors
    /// [`VolumeError::Io`], [`VolumeError::FolderId`].
    pub fn dir_id(&self, dir: &Node) -> Result<Option<DirId>, VolumeError> {
        if !self.seals_names() {
            return Ok(None);
        }
        let target = dir.read_link_child(&meta::name(names::DIR_ID_ENTRY));
        let target = target.map_err(|error| no_dir_id(dir, error))?;
        names::decode_dir_id(&target)
            .map(Some)
            .map_err(VolumeError::FolderId)
    }

    /// What the entry `cname` of the folder `dir` stands for. `dir_id` is the folder's.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn open_name(
        &self,
        dir: &Node,
        dir_id: Option<&DirId>,
        cname: &CName,
    ) -> Result<Listed, VolumeError> {
        Ok(match (self.name_key()?, dir_id) {
            (Some(key), Some(dir_id)) => opened_by(&key, dir, dir_id, cname),
            _ => match names::classify(cname.as_bytes()) {
                kind @ EntryKind::Reserved => Listed::Own(kind),
                _ => Listed::Name(cname.as_bytes().to_vec()),
            },
        })
    }
}

impl Volume {
    /// The ciphertext name of a *short* name, up to 175 bytes, in a folder of this id (`None` where names are plain).
    ///
    /// # Errors
    /// `EINVAL` and `ENAMETOOLONG` for what is no such name.
    pub fn seal_short_name(&self, dir_id: Option<&DirId>, name: &[u8]) -> io::Result<CName> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        match (self.name_key().map_err(io::Error::other)?, dir_id) {
            (None, _) => Ok(CName::new(name)?),
            (Some(_), None) => Err(invalid()),
            (Some(key), Some(id)) => {
                let sealed = key.seal(id, name);
                let is_name = names::is_plain_name(name) && sealed.long().is_none();
                is_name.then_some(()).ok_or_else(invalid)?;
                Ok(CName::new(sealed.on_disk())?)
            }
        }
    }

    /// Opens a full ciphertext name, as a sidecar holds it; `None` where it is none of this folder's.
    ///
    /// # Errors
    /// As [`Volume::name_key`].
    pub fn open_full_name(
        &self,
        dir_id: &DirId,
        full: &[u8],
    ) -> Result<Option<Vec<u8>>, VolumeError> {
        Ok(self.name_key()?.and_then(|key| key.open(dir_id, full).ok()))
    }

    /// The name that `cname` stands for in `dir`, by a key that was [kept](Volume::lock).
    pub fn open_name_by(
        &self,
        key: &NameKey,
        dir: &Node,
        dir_id: &DirId,
        cname: &CName,
    ) -> Option<Vec<u8>> {
        match opened_by(key, dir, dir_id, cname) {
            Listed::Name(name) => Some(name),
            Listed::Own(_) | Listed::Foreign(_) => None,
        }
    }

    /// Whether an entry belongs in [`Volume::own_folder`].
    pub fn is_own_entry(cname: &CName) -> bool {
        meta::ENTRIES.contains(&cname.as_bytes()) || in_use::is_mark(cname)
    }
}

fn opened_by(key: &NameKey, dir: &Node, dir_id: &DirId, cname: &CName) -> Listed {
    let opened = match names::classify(cname.as_bytes()) {
        kind @ (EntryKind::Reserved | EntryKind::Sidecar) => return Listed::Own(kind),
        EntryKind::Name => key.open(dir_id, cname.as_bytes()),
        EntryKind::LongName => key.open(dir_id, &full_name(dir, cname).unwrap_or_default()),
    };
    opened.map_or_else(Listed::Foreign, Listed::Name)
}

/// Why there is no id: a folder that was removed has none; in any other that is damage, not an empty folder.
fn no_dir_id(dir: &Node, error: io::Error) -> VolumeError {
    let is_there = || dir.stat().is_ok_and(|stat| stat.nlink > 0);
    let missing = error.kind() == io::ErrorKind::NotFound && is_there();
    let no_symlink = error.raw_os_error() == Some(libc::EINVAL);
    if missing || no_symlink {
        VolumeError::FolderId(NameError::DirId)
    } else {
        VolumeError::io("reading the folder's id")(error)
    }
}

/// The full ciphertext name of a long one, from its sidecar; only if it is the one that the name stands for.
fn full_name(dir: &Node, cname: &CName) -> Option<Vec<u8>> {
    let sidecar = names::sidecar_name(cname.as_bytes())?;
    let full = dir.read_link_child(&CName::new(&sidecar).ok()?).ok()?;
    names::long_name_matches(cname.as_bytes(), &full).then_some(full)
}

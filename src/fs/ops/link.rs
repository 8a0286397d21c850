//! link, readlink.

use crate::format::symlink;
use crate::fs::FileSystem;
use crate::fs::attr::Entry;
use crate::fs::error::FsError;
use crate::fs::inodes::Ino;
use crate::fs::ops::create::make;
use crate::fs::stats::Operation;

impl FileSystem {
    /// Gives an inode another name, or its first.
    ///
    /// # Errors
    /// `EEXIST`, `EMLINK`, `ENOENT` where its last name is gone, and what else the ciphertext folder answers; `ESTALE` for one
    /// without a name whose keys are no more those of new files, by what another mount did.
    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Entry, FsError> {
        self.stats.count(Operation::Link);
        let (inode, parent) = (self.inode(ino)?, self.inode(parent)?);
        let place = self.place(&parent, name)?;
        let node = self.node(&inode)?;
        self.be_ready_for_a_name(&inode)?;
        let _names = parent.names().write();
        place.make_sidecar()?;
        self.sync_folders_down_to(&parent)
            .inspect_err(|_error| place.undo_sidecar())?;
        make(&place, || node.link(&place.dir, &place.cname))?;
        self.moves.note(&parent, &place.cname);
        self.found(&parent, &place)
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// `EIO` where the target is not authentic; `EINVAL` where the inode is no symlink.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        self.stats.count(Operation::ReadLink);
        let target = self.node(&*self.inode(ino)?)?.read_link()?;
        match self.volume.symlink_key()? {
            Some(key) => symlink::open(&key, &target)
                .map_err(|_error| FsError::Unsealable("the symlink's target")),
            None => Ok(target),
        }
    }
}

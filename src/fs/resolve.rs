//! From an inode number and a name to a folder handle and a ciphertext name: the one way in for
//! every operation on a name. Nothing below it walks a path.

use std::sync::Arc;

use crate::content::OpenFile;
use crate::crypto::random;
use crate::format::names::{self, EntryKind};
use crate::storage::{CName, Node, Stat};
use crate::units::DirId;
use crate::volume::VolumeError;

use super::FileSystem;
use super::error::FsError;
use super::inodes::{Ino, Inode, Whereabouts};
use super::ops::create::dir_id_entry;
use super::ops::remove::own_entries;
use super::unsynced::Unsynced;

/// The longest name, in bytes, that callers may give.
pub(super) const NAME_MAX: usize = 255;

/// Where a name stands in the ciphertext folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: Arc<Node>,
    pub(super) cname: CName,
    /// The sidecar that holds a long name in full.
    pub(super) sidecar: Option<Sidecar>,
}

/// A symlink beside a long name whose target is the full ciphertext name.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) cname: CName,
    pub(super) full: Vec<u8>,
    /// Hears of it when the sidecar is made in this folder.
    unsynced: Arc<Unsynced>,
    folder: Ino,
}

/// An inode whose attributes are to be changed: an open file needs no handle for that.
#[derive(Debug)]
pub(super) enum Reached {
    Node(Arc<Node>),
    Open(Arc<OpenFile>),
}

impl Reached {
    pub(super) fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> std::io::Result<()> {
        match self {
            Self::Node(node) => node.set_owner(uid, gid),
            Self::Open(open) => open.set_owner(uid, gid),
        }
    }

    pub(super) fn set_mode(&self, mode: u32) -> std::io::Result<()> {
        match self {
            Self::Node(node) => node.set_mode(mode),
            Self::Open(open) => open.set_mode(mode),
        }
    }
}

impl FileSystem {
    /// The place of `name` in the folder `parent`.
    pub(super) fn place(&self, parent: &Arc<Inode>, name: &[u8]) -> Result<Place, FsError> {
        if name.len() > NAME_MAX {
            return Err(FsError::NAME_TOO_LONG);
        }
        let dir = self.folder_node(parent)?;
        match (self.volume.name_key()?, self.dir_id(parent, &dir)?) {
            (Some(key), Some(id)) => {
                let sealed = key.seal(&id, name);
                let cname = component(sealed.on_disk())?;
                let sidecar = sealed
                    .long()
                    .map(|full| self.sidecar_of(parent, &cname, full))
                    .transpose()?;
                Ok(Place {
                    dir,
                    cname,
                    sidecar,
                })
            }
            _ if names::classify(name) == EntryKind::Reserved => Err(FsError::RESERVED_NAME),
            _ => Ok(Place {
                dir,
                cname: component(name)?,
                sidecar: None,
            }),
        }
    }

    fn sidecar_of(&self, folder: &Inode, cname: &CName, full: &[u8]) -> Result<Sidecar, FsError> {
        let name = names::sidecar_name(cname.as_bytes()).ok_or(FsError::INVALID)?;
        Ok(Sidecar {
            cname: component(&name)?,
            full: full.to_vec(),
            unsynced: Arc::clone(&self.unsynced),
            folder: folder.ino(),
        })
    }

    /// The id that names in this folder are bound to; `None` where names are plain.
    pub(super) fn dir_id(&self, inode: &Inode, dir: &Node) -> Result<Option<DirId>, FsError> {
        if let Some(id) = inode.dir_id().get() {
            return Ok(Some(*id));
        }
        let id = match self.volume.dir_id(dir) {
            Err(VolumeError::FolderId(_)) if self.give_new_id(inode, dir) => {
                self.volume.dir_id(dir)?
            }
            id => id?,
        };
        Ok(id.map(|id| *inode.dir_id().get_or_init(|| id)))
    }

    /// A folder that holds nothing yet gets a new id: a power cut may have taken its first one. Says whether that may have
    /// helped. With a name in it, the id is missed, for the name is bound to it.
    fn give_new_id(&self, inode: &Inode, dir: &Node) -> bool {
        if own_entries(dir).is_err() {
            return false;
        }
        let id = names::encode_dir_id(&DirId(random::array()));
        // Another mount may do the same at this moment: then its id is the one.
        let made = dir_id_entry().and_then(|entry| dir.make_symlink(&id, &entry));
        let ciphertext = inode.cipher_path();
        tracing::warn!(
            ciphertext,
            ?made,
            "an empty folder without its id gets a new one"
        );
        self.unsynced.made_full_name(inode.ino());
        true
    }

    /// A handle of a folder, from the cache or opened by name in its parent.
    pub(super) fn folder_node(&self, inode: &Arc<Inode>) -> Result<Arc<Node>, FsError> {
        if let Some(node) = self.folder_nodes.lock().get(&inode.ino()) {
            return Ok(Arc::clone(node));
        }
        let node = self.node(inode)?;
        if inode.ino() != Ino::ROOT {
            self.folder_nodes.lock().put(inode.ino(), Arc::clone(&node));
        }
        Ok(node)
    }

    /// Does `work` once more where the process had no descriptor left: the cached folder handles have gone by then.
    /// `ENFILE` is left alone, for other processes are the cause of it.
    pub(super) fn with_descriptors<T>(
        &self,
        work: impl Fn() -> Result<T, FsError>,
    ) -> Result<T, FsError> {
        match work() {
            Err(error) if error.errno() == libc::EMFILE && self.give_way() => work(),
            result => result,
        }
    }

    /// Closes the cached folder handles; says whether there were any. Those in use close with their last user.
    fn give_way(&self) -> bool {
        let mut cache = self.folder_nodes.lock();
        let closed: Vec<_> = std::iter::from_fn(|| cache.pop_lru()).collect();
        drop(cache);
        !closed.is_empty()
    }

    /// A handle of any inode. One that is open is reached although another mount took or moved its name.
    pub(super) fn node(&self, inode: &Inode) -> Result<Arc<Node>, FsError> {
        self.with_descriptors(|| match inode.open_file() {
            Some(open) => Ok(Arc::new(open.node()?)),
            None => self.node_by_name(inode),
        })
    }

    /// Attributes of any inode's ciphertext, found as by [`FileSystem::node`].
    pub(super) fn stat(&self, inode: &Inode) -> Result<Stat, FsError> {
        match inode.open_file() {
            Some(open) => Ok(open.stat()?),
            None => self.stat_by_name(inode),
        }
    }

    /// What changes and tells the attributes of any inode, found as by [`FileSystem::node`].
    pub(super) fn reach(&self, inode: &Inode) -> Result<Reached, FsError> {
        match inode.open_file() {
            Some(open) => Ok(Reached::Open(open)),
            None => Ok(Reached::Node(self.node(inode)?)),
        }
    }

    /// A handle of an inode where it was last known to be.
    pub(super) fn node_by_name(&self, inode: &Inode) -> Result<Arc<Node>, FsError> {
        let whereabouts = inode.whereabouts().read();
        match &*whereabouts {
            Whereabouts::Held(node) | Whereabouts::Nameless { node, .. } => Ok(Arc::clone(node)),
            Whereabouts::ByHandle(handle) => Ok(Arc::new(self.reopen(handle)?)),
            Whereabouts::At { parent, cname } => {
                let node = self
                    .folder_node(parent)?
                    .child(cname)
                    .map_err(stale_if_gone)?;
                if inode.is(&node.stat()?) {
                    Ok(Arc::new(node))
                } else {
                    Err(FsError::STALE)
                }
            }
        }
    }

    /// Attributes of an inode's ciphertext where it was last known to be.
    pub(super) fn stat_by_name(&self, inode: &Inode) -> Result<Stat, FsError> {
        let whereabouts = inode.whereabouts().read();
        match &*whereabouts {
            Whereabouts::Held(node) | Whereabouts::Nameless { node, .. } => Ok(node.stat()?),
            Whereabouts::ByHandle(handle) => Ok(self.reopen(handle)?.stat()?),
            Whereabouts::At { parent, cname } => {
                let stat = self
                    .folder_node(parent)?
                    .stat_child(cname)
                    .map_err(stale_if_gone)?;
                if inode.is(&stat) {
                    Ok(stat)
                } else {
                    Err(FsError::STALE)
                }
            }
        }
    }
}

/// A name that vanished from under an inode that the kernel still holds: somebody else changed the ciphertext folder.
fn stale_if_gone(error: std::io::Error) -> FsError {
    if error.kind() == std::io::ErrorKind::NotFound {
        FsError::STALE
    } else {
        error.into()
    }
}

/// A checked component; the kernel sends no other, and what is sealed is base64url.
pub(super) fn component(name: &[u8]) -> Result<CName, FsError> {
    CName::new(name).map_err(|_invalid| FsError::INVALID)
}

impl Place {
    /// Puts the sidecar of a long name in place, before the name itself. One that is there already says the same.
    pub(super) fn make_sidecar(&self) -> Result<(), FsError> {
        let Some(sidecar) = &self.sidecar else {
            return Ok(());
        };
        match self.dir.make_symlink(&sidecar.full, &sidecar.cname) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            result => result?,
        }
        sidecar.unsynced.made_full_name(sidecar.folder);
        Ok(())
    }

    /// Removes the sidecar of a long name that is gone. What stays behind does no harm: `check` tells of it.
    pub(super) fn remove_sidecar(&self) {
        let Some(sidecar) = &self.sidecar else { return };
        if let Err(error) = self.dir.unlink(&sidecar.cname) {
            tracing::debug!(%error, "a long name's sidecar stays behind");
        }
        // Another mount of a shared volume may have made the name anew, and found the sidecar there.
        if self.dir.stat_child(&self.cname).is_ok()
            && let Err(error) = self.make_sidecar()
        {
            tracing::warn!(%error, "a long name is left without its sidecar");
        }
    }

    /// After a failure to make the name: its sidecar goes again, unless another made the name meanwhile.
    pub(super) fn undo_sidecar(&self) {
        if self.sidecar.is_some() && self.dir.stat_child(&self.cname).is_err() {
            self.remove_sidecar();
        }
    }
}

//! What file handles (`open_by_handle_at(2)`, NFS) ask for: inodes by number that the kernel has forgotten.
//!
//! The kernel makes handles of inode number and generation, and asks for an inode that it no longer has by
//! looking up `.` in its number. So each inode's backing handle is known before the kernel forgets it, and kept for
//! a while after. Beyond that, as after a new mount, the handle is made from the number where the ciphertext
//! folder's file system allows that. Such a number may be anybody's guess, and lead to any file of that file system:
//! nothing is served that does not prove to be the volume's own.

use std::io;
use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

use crate::content::{Probe, probe};
use crate::format::symlink;
use crate::storage::{Access, FileKind, HandleOpener, InodeHandle, Node, Stat};
use crate::volume::Volume;

use super::inodes::Ino;

/// Forgotten inodes whose handles are kept: some 100 bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Folders above each other that are followed upwards, at most: more than `PATH_MAX` lets anybody name.
const DEEPEST: usize = 4096;

/// Finds inodes by number.
#[derive(Debug)]
pub(super) struct Exports {
    opener: HandleOpener,
    root: InodeHandle,
    root_number: u64,
    forgotten: Mutex<LruCache<Ino, InodeHandle>>,
}

impl Exports {
    /// For the ciphertext folder `root`.
    ///
    /// # Errors
    /// EOPNOTSUPP where its file system has no handles.
    pub(super) fn new(root: &Node) -> io::Result<Self> {
        let opener = HandleOpener::new(root)?;
        let handle = root.handle()?;
        if let Err(error) = opener.open(&handle) {
            tracing::warn!(%error, "file handles work only while the kernel holds the inode: this process may not open by handle (CAP_DAC_READ_SEARCH)");
        }
        Ok(Self {
            opener,
            root: handle,
            root_number: root.stat()?.ino,
            forgotten: Mutex::new(LruCache::new(REMEMBERED)),
        })
    }

    /// The kernel has forgotten an inode.
    pub(super) fn remember(&self, ino: Ino, handle: InodeHandle) {
        self.forgotten.lock().put(ino, handle);
    }

    /// Opens what a handle of this mount's own stands for.
    pub(super) fn open(&self, handle: &InodeHandle) -> io::Result<Node> {
        self.opener.open(handle)
    }

    /// Opens the inode that the kernel numbers `ino` and the backing file system `number`. It is the volume's
    /// own; whether it is still the one that the kernel means, its generation tells.
    pub(super) fn find(&self, volume: &Volume, ino: Ino, number: u64) -> Option<Node> {
        let remembered = self.forgotten.lock().get(&ino).cloned();
        let by_number = || InodeHandle::by_number(number, &self.root, self.root_number);
        let was_ours = remembered.is_some();
        let node = self.open(&remembered.or_else(by_number)?).ok()?;
        let stat = node.stat().ok()?;
        let is_it = stat.ino == number && stat.nlink > 0;
        let ours = match stat.kind {
            FileKind::Directory => is_below(volume, &node).unwrap_or(false),
            _ => was_ours || proves_ours(volume, &node, &stat),
        };
        (is_it && ours).then_some(node)
    }
}

/// Whether what is in a file or a symlink could only have been written with the volume's keys. What has no
/// content, such as a FIFO, can prove nothing.
fn proves_ours(volume: &Volume, node: &Node, stat: &Stat) -> bool {
    match stat.kind {
        FileKind::Regular => {
            let probed = node.open_file(Access::Read).ok();
            let probed = probed.and_then(|file| probe(&file, volume.layout()).ok());
            matches!(probed, Some(Probe::Sealed(header)) if volume.wrote(&header).unwrap_or(false))
        }
        FileKind::Symlink => volume.symlink_key().ok().flatten().is_some_and(|key| {
            node.read_link()
                .is_ok_and(|target| symlink::open(&key, &target).is_ok())
        }),
        _ => false,
    }
}

/// Whether a folder is the ciphertext folder or below it, and not in the part of it that is the volume's own.
fn is_below(volume: &Volume, folder: &Node) -> io::Result<bool> {
    let id = |stat: &Stat| (stat.dev, stat.ino);
    let top = id(&volume.root().stat()?);
    let own = id(&volume.own_folder().stat()?);
    let mut here = id(&folder.stat()?);
    let mut above = folder.parent()?;
    for _ in 0..DEEPEST {
        let up = id(&above.stat()?);
        match here {
            _ if here == own => return Ok(false),
            _ if here == top => return Ok(true),
            _ if here == up => return Ok(false),
            _ => here = up,
        }
        above = above.parent()?;
    }
    Ok(false)
}

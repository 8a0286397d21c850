//! Attributes as callers see them.

use crate::content::OpenFile;
use crate::format::symlink;
use crate::storage::{FileKind, Stat, Timestamp};
use crate::units::CipherLen;

use super::FileSystem;
use super::inodes::{Ino, Inode};

/// What `stat` tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// The inode number.
    pub ino: Ino,
    /// Plaintext bytes.
    pub size: u64,
    /// 512-byte blocks that the ciphertext takes on disk.
    pub blocks: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// The making of the ciphertext file, where its file system keeps that; of none in a sealed volume, which does not
    /// vouch for it.
    pub btime: Option<Timestamp>,
    /// Regular file, folder, …
    pub kind: FileKind,
    /// Mode bits, 07777.
    pub mode: u32,
    /// Names that the file has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device.
    pub rdev: u64,
    /// The length of one chunk's block: what I/O is best done in.
    pub blksize: u32,
}

/// A name's inode, looked up: the kernel holds it until it forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes, the inode number among them.
    pub attr: Attr,
    /// What tells it from an inode that has its number later; 0 for all where inodes are not exported.
    pub generation: u32,
}

impl FileSystem {
    /// Attributes of `inode`, whose ciphertext has `stat`.
    pub(super) fn attr(&self, inode: &Inode, stat: &Stat) -> Attr {
        self.attr_of(inode.ino(), stat, inode.open_file().as_deref())
    }

    /// The same for a file that may be open: then the open file knows its length, and `st_size` may lag.
    pub(super) fn attr_of(&self, ino: Ino, stat: &Stat, open: Option<&OpenFile>) -> Attr {
        Attr {
            ino,
            size: self.plain_size(stat, open),
            blocks: stat.blocks,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: open
                .and_then(OpenFile::told_ctime)
                .unwrap_or_else(|| self.ctimes.of(stat)),
            btime: stat.btime.filter(|_| self.options.seal.is_none()),
            kind: stat.kind,
            mode: stat.mode,
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            blksize: self.volume.layout().block_len() as u32,
        }
    }

    fn plain_size(&self, stat: &Stat, open: Option<&OpenFile>) -> u64 {
        match (stat.kind, open) {
            (FileKind::Regular, Some(open)) => {
                if let Err(error) = open.refresh_len() {
                    tracing::warn!(%error, "a file's length may not be what another mount has made it");
                }
                open.len().0
            }
            (FileKind::Regular, None) => self.volume.layout().plain_len(CipherLen(stat.size)).0,
            (FileKind::Symlink, _) if self.volume.seals_names() => symlink::plain_len(stat.size),
            _ => stat.size,
        }
    }
}

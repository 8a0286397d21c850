//! opendir, readdir, readdirplus, releasedir.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::names::NameError;
use crate::fs::FileSystem;
use crate::fs::attr::Entry;
use crate::fs::error::FsError;
use crate::fs::handles::{Fh, FolderHandle};
use crate::fs::inodes::{Ino, Inode};
use crate::fs::stats::Operation;
use crate::storage::{CName, FileKind, Node};
use crate::volume::{Listed, VolumeError};

/// An entry of a folder as it was when reading began.
#[derive(Debug)]
pub(in crate::fs) struct ListedEntry {
    name: Vec<u8>,
    pub(in crate::fs) cname: CName,
    pub(in crate::fs) ino: Ino,
    pub(in crate::fs) kind: FileKind,
}

/// An entry on its way to the kernel.
#[derive(Debug)]
pub struct FolderEntry<'a> {
    /// The plaintext name.
    pub name: &'a [u8],
    /// The inode's number.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileKind,
    /// Where reading goes on after this entry.
    pub next: u64,
    /// The inode looked up; never for `.` and `..`.
    pub entry: Option<Entry>,
}

/// `.` and `..` come first.
const DOTS: u64 = 2;

impl FileSystem {
    /// Opens a folder.
    ///
    /// # Errors
    /// `ESTALE`.
    pub fn opendir(&self, ino: Ino) -> Result<Fh, FsError> {
        self.stats.count(Operation::OpenDir);
        let inode = self.inode(ino)?;
        Ok(self.folders.insert(FolderHandle {
            inode,
            listing: Mutex::default(),
        }))
    }

    /// Closes a folder.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn releasedir(&self, fh: Fh) -> Result<(), FsError> {
        self.folders.remove(fh).map(drop)
    }

    /// Gives the folder's entries from `offset` on to `sink` until it says that it is full (`false`). With
    /// `plus` each inode is looked up, as by lookup.
    ///
    /// # Errors
    /// What the ciphertext folder answers; `EIO` where the folder's id is not authentic.
    pub fn readdir(
        &self,
        fh: Fh,
        offset: u64,
        plus: bool,
        mut sink: impl FnMut(&FolderEntry<'_>) -> bool,
    ) -> Result<(), FsError> {
        self.stats.count(Operation::ReadDir);
        let handle = self.folders.find(fh)?;
        if let Some(why) = self.volume.locked() {
            return Err(VolumeError::from(why).into());
        }
        let dir = self.folder_node(&handle.inode)?;
        let listing = self.listing(&handle, &dir, offset)?;
        let inode = &handle.inode;
        for (position, name, ino) in [
            (1, b".".as_slice(), inode.ino()),
            (DOTS, b"..".as_slice(), inode.parent_number()),
        ] {
            let dot = FolderEntry {
                name,
                ino,
                kind: FileKind::Directory,
                next: position,
                entry: None,
            };
            if position > offset && !sink(&dot) {
                return Ok(());
            }
        }
        let start = usize::try_from(offset.saturating_sub(DOTS)).unwrap_or(usize::MAX);
        let mut gave_any = false;
        for (nth, listed) in listing.iter().enumerate().skip(start) {
            let entry = match self.look_up_listed(&handle.inode, &dir, listed, plus) {
                Ok(Some(entry)) => entry,
                Ok(None) => continue,
                // Entries already given must reach the kernel, for it holds their inodes now: the next
                // call begins here and tells of the error.
                Err(_) if gave_any => return Ok(()),
                Err(error) => return Err(error),
            };
            let next = nth as u64 + DOTS + 1;
            let given = FolderEntry {
                name: &listed.name,
                ino: entry.map_or(listed.ino, |entry| entry.attr.ino),
                kind: entry.map_or(listed.kind, |entry| entry.attr.kind),
                next,
                entry,
            };
            if !sink(&given) {
                if let Some(entry) = entry {
                    self.forget(entry.attr.ino, 1);
                }
                return Ok(());
            }
            gave_any = true;
        }
        Ok(())
    }

    /// The inode of an entry: `Some(None)` where none is asked for, `None` where the entry is gone by now.
    fn look_up_listed(
        &self,
        parent: &Arc<Inode>,
        dir: &Node,
        listed: &ListedEntry,
        plus: bool,
    ) -> Result<Option<Option<Entry>>, FsError> {
        if !plus {
            return Ok(Some(None));
        }
        let _names = parent.names().read();
        let found = dir.stat_child(&listed.cname);
        match self.check_found(parent, dir, &listed.cname, found) {
            Err(FsError::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(stat) => Ok(Some(Some(self.entry(parent, dir, &listed.cname, &stat)))),
        }
    }

    /// The listing that this handle reads from, made anew whenever reading starts over.
    fn listing(
        &self,
        handle: &FolderHandle,
        dir: &Node,
        offset: u64,
    ) -> Result<Arc<[ListedEntry]>, FsError> {
        let mut kept = handle.listing.lock();
        match &*kept {
            Some(listing) if offset > 0 => Ok(Arc::clone(listing)),
            _ => {
                let listing: Arc<[ListedEntry]> = self.list(&handle.inode, dir)?.into();
                *kept = Some(Arc::clone(&listing));
                if !self.volume.keys_are_local() {
                    self.prefetch.listed(handle.inode.ino(), &listing);
                }
                Ok(listing)
            }
        }
    }

    pub(in crate::fs) fn list(
        &self,
        inode: &Inode,
        dir: &Node,
    ) -> Result<Vec<ListedEntry>, FsError> {
        let dir_id = self.dir_id(inode, dir)?;
        let device = dir.stat()?.dev;
        let mut listed = Vec::new();
        let mut names = Vec::new();
        let mut entries = self.with_descriptors(|| Ok(dir.read_dir()?))?;
        while let Some(found) = entries.next_entry() {
            let found = found?;
            if self.options.seal.is_some() {
                names.push(found.name.clone());
            }
            let name = match self.volume.open_name(dir, dir_id.as_ref(), &found.name)? {
                Listed::Name(name) => name,
                Listed::Own(_) => continue,
                Listed::Foreign(error) => {
                    self.note_foreign_entry(&found.name, &error);
                    continue;
                }
            };
            let ino = self.inodes.number((device, found.ino));
            let kind = match found.kind {
                FileKind::Unknown => dir.stat_child(&found.name)?.kind,
                known => known,
            };
            listed.push(ListedEntry {
                name,
                cname: found.name,
                ino,
                kind,
            });
        }
        self.check_names(inode, &names)?;
        Ok(listed)
    }

    fn note_foreign_entry(&self, cname: &CName, error: &NameError) {
        self.stats.count_foreign_entry();
        let name = String::from_utf8_lossy(cname.as_bytes());
        tracing::warn!(ciphertext = %name, %error, "left out of a listing: not a name of this volume");
    }
}

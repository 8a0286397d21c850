//! What a run over all files does to one of them: its key slots are renewed, whether it is open or not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::content::{ContentError, OpenFile, Probe, exchange_slots, exclude_writers, probe};
use crate::format::header::{FileHeader, HeaderError, KeyEpoch};
use crate::fs::FileSystem;
use crate::fs::error::FsError;
use crate::fs::inodes::{Inode, Whereabouts};
use crate::fs::ops::nameless::Nameless;
use crate::storage::{Access, CName, FileKind, Node};
use crate::volume::{Renewal, Standing};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewed {
    /// It was changed, or would be where nothing is to be.
    Changed,
    /// A crash left it without a header, or a writer is about to give it one.
    Empty,
    /// The volume does not take it.
    Foreign,
    /// It is not there any more, or is no file.
    Gone,
    /// It is as it should be.
    Right,
    /// The run was stopped in the middle of it; the next goes on.
    Unfinished,
}

/// A file found by name in a ciphertext folder, held in the inode table while a run is at it.
#[derive(Debug)]
pub(in crate::fs) struct Visit<'a> {
    fs: &'a FileSystem,
    pub(in crate::fs) inode: Arc<Inode>,
    /// Where it was found: another mount may have moved it from where it is known to be.
    node: Arc<Node>,
    has_more_names: bool,
}

impl<'a> Visit<'a> {
    /// Of an inode that was looked up for it.
    pub(in crate::fs) fn new(
        fs: &'a FileSystem,
        inode: Arc<Inode>,
        node: Arc<Node>,
        has_more_names: bool,
    ) -> Self {
        Self {
            fs,
            inode,
            node,
            has_more_names,
        }
    }
}

impl Visit<'_> {
    /// What decides on the keys of the file, found in the folder of this path.
    pub(in crate::fs) fn standing<'f>(&self, folder: Option<&'f [u8]>) -> Standing<'f> {
        Standing {
            folder,
            has_more_names: self.has_more_names,
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.fs.forget(self.inode.ino(), 1);
    }
}

/// Attempts before a file whose header changes under every one of them is given up.
const ATTEMPTS: usize = 8;

impl FileSystem {
    /// Brings the key slots of the file `cname` in the ciphertext folder `dir` to what they should be in the folder of the
    /// path `folder`; only looks with `dry_run`. Waits for key providers, with no lock held.
    ///
    /// # Errors
    /// What a provider or the ciphertext folder answers: the file is then as it was.
    pub fn renew_slots(
        &self,
        dir: &Node,
        cname: &CName,
        folder: Option<&[u8]>,
        renewal: &Renewal,
        dry_run: bool,
    ) -> Result<Renewed, FsError> {
        match self.visit(dir, cname)? {
            Some(visit) => self.renew_visited(&visit, folder, renewal, dry_run),
            None => Ok(Renewed::Gone),
        }
    }

    /// As [`FileSystem::renew_slots`], of a file without a name: its first one may be where a walk has been.
    ///
    /// # Errors
    /// As there.
    pub fn renew_slots_of_nameless(
        &self,
        file: &Nameless,
        renewal: &Renewal,
    ) -> Result<Renewed, FsError> {
        self.visit_nameless(file, |visit| {
            self.renew_visited(visit, file.folder.as_deref(), renewal, false)
        })
    }

    fn renew_visited(
        &self,
        visit: &Visit<'_>,
        folder: Option<&[u8]>,
        renewal: &Renewal,
        dry_run: bool,
    ) -> Result<Renewed, FsError> {
        let standing = visit.standing(folder);
        for _ in 0..ATTEMPTS {
            let header = match self.admitted_header(visit)? {
                Ok(header) => header,
                Err(other) => return Ok(other),
            };
            if dry_run {
                return Ok(match self.volume.is_due(&header, standing, renewal)? {
                    true => Renewed::Changed,
                    false => Renewed::Right,
                });
            }
            let Some(epochs) = self.volume.renew(&header, standing, renewal)? else {
                return Ok(Renewed::Right);
            };
            if self.exchange_slots(visit, &header, &epochs)? {
                return Ok(Renewed::Changed);
            }
        }
        Err(FsError::STALE)
    }

    /// How many files have lost their last name and are still open.
    pub fn deleted_and_open(&self) -> usize {
        let open = |inode: &Arc<Inode>| {
            inode.unlinked().load(Ordering::Acquire) && inode.open_file().is_some()
        };
        self.inodes.all().iter().filter(|inode| open(inode)).count()
    }

    /// The regular file `cname` of `dir`; `None` where there is none.
    pub(in crate::fs) fn visit(
        &self,
        dir: &Node,
        cname: &CName,
    ) -> Result<Option<Visit<'_>>, FsError> {
        let node = match self.with_descriptors(|| Ok(dir.child(cname)?)) {
            Err(error) if error.errno() == libc::ENOENT => return Ok(None),
            node => node?,
        };
        let stat = node.stat()?;
        if stat.kind != FileKind::Regular {
            return Ok(None);
        }
        let node = Arc::new(node);
        let held = || Whereabouts::Held(Arc::clone(&node));
        let inode = self.inodes.count_look_up(&stat, held);
        Ok(Some(Visit::new(self, inode, node, stat.nlink > 1)))
    }

    /// The header of a file that the volume takes, or what the file is instead.
    pub(in crate::fs) fn admitted_header(
        &self,
        visit: &Visit<'_>,
    ) -> Result<Result<FileHeader, Renewed>, FsError> {
        Ok(match self.current_header(visit) {
            Err(FsError::Content(ContentError::NotReadable(HeaderError::NotOurs))) => {
                Err(Renewed::Foreign)
            }
            Err(error) => return Err(error),
            Ok(Probe::Empty) => Err(Renewed::Empty),
            Ok(Probe::Sealed(header)) if !self.volume.admits(&header)? => Err(Renewed::Foreign),
            Ok(Probe::Sealed(header)) => Ok(header),
        })
    }

    fn current_header(&self, visit: &Visit<'_>) -> Result<Probe, FsError> {
        let slot = visit.inode.open_slot().lock();
        if let Some(open) = slot.upgrade() {
            drop(slot);
            return Ok(Probe::Sealed(open.header()?));
        }
        let file = self.with_descriptors(|| Ok(visit.node.open_file_untouched(Access::Read)?))?;
        if self.options.shared {
            exclude_writers(&file)?;
        }
        Ok(probe(&file, self.volume.layout())?)
    }

    fn exchange_slots(
        &self,
        visit: &Visit<'_>,
        header: &FileHeader,
        epochs: &[KeyEpoch],
    ) -> Result<bool, FsError> {
        let slot = visit.inode.open_slot().lock();
        let open: Option<Arc<OpenFile>> = slot.upgrade();
        let file =
            self.with_descriptors(|| Ok(visit.node.open_file_untouched(Access::ReadWrite)?))?;
        let known = &header.epochs;
        Ok(match open {
            Some(open) => open.exchange_slots(&Arc::new(file), known, epochs)?,
            None => exchange_slots(
                file,
                self.volume.layout(),
                known,
                epochs,
                self.options.shared,
            )?,
        })
    }
}

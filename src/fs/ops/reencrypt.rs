//! What a run over all files does to one of them: it gets a new data key.

use std::sync::{Arc, mpsc};

use crate::content::OpenFile;
use crate::fs::FileSystem;
use crate::fs::caller::Caller;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode};
use crate::fs::ops::nameless::Nameless;
use crate::fs::ops::slots::{Renewed, Visit};
use crate::storage::{Access, CName, Node};
use crate::units::ChunkIndex;
use crate::volume::{DoneList, Renewal, Standing};

/// A part of a file, between two of which users of the file go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the ciphertext file that were written anew in it.
    pub bytes: u64,
}

/// What one step reads and writes at most, in bytes.
const STEP: u64 = 256 << 10;
/// Attempts before a file whose header changes under every one of them is given up.
const ATTEMPTS: usize = 8;

impl FileSystem {
    /// Gives the file `cname` in the ciphertext folder `dir`, whose path is `folder`, a new data key, unless `done` says that it has got one, and notes
    /// it there; only looks where there is no `done`. After each step `goes_on` is asked whether to. Waits for key providers and
    /// the disk.
    ///
    /// # Errors
    /// What a provider or the ciphertext folder answers, and damage: the file opens as it did, perhaps with two data keys
    /// in its header, and the next run goes on.
    pub fn reencrypt(
        self: &Arc<Self>,
        dir: &Node,
        cname: &CName,
        folder: Option<&[u8]>,
        renewal: &Renewal,
        done: Option<&DoneList>,
        goes_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Renewed, FsError> {
        match self.visit(dir, cname)? {
            Some(visit) => self.reencrypt_visited(&visit, folder, renewal, done, goes_on),
            None => Ok(Renewed::Gone),
        }
    }

    /// As [`FileSystem::reencrypt`], of a file without a name: its first one may be where a walk has been.
    ///
    /// # Errors
    /// As there.
    pub fn reencrypt_nameless(
        self: &Arc<Self>,
        file: &Nameless,
        renewal: &Renewal,
        done: &DoneList,
        goes_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Renewed, FsError> {
        self.visit_nameless(file, |visit| {
            let folder = file.folder.as_deref();
            self.reencrypt_visited(visit, folder, renewal, Some(done), goes_on)
        })
    }

    fn reencrypt_visited(
        self: &Arc<Self>,
        visit: &Visit<'_>,
        folder: Option<&[u8]>,
        renewal: &Renewal,
        done: Option<&DoneList>,
        goes_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Renewed, FsError> {
        let header = match self.admitted_header(visit)? {
            Ok(header) => header,
            Err(other) => return Ok(other),
        };
        let Some(done) = done else {
            return Ok(Renewed::Changed);
        };
        if header.epochs.len() == 1 && done.has(&header.newest().commitment) {
            return Ok(Renewed::Right);
        }
        let open = self.opened_for_run(&visit.inode)?;
        // Left by another run. Its key may be as old as that.
        if open.header()?.epochs.len() > 1 && !self.finish(&open, goes_on)? {
            return Ok(Renewed::Unfinished);
        }
        let (commitment, whole) = self.give_key(&open, visit.standing(folder), renewal)?;
        if whole {
            goes_on(Step {
                bytes: self.volume.layout().block_len(),
            });
        } else if !self.finish(&open, goes_on)? {
            return Ok(Renewed::Unfinished);
        }
        done.note(commitment);
        Ok(Renewed::Changed)
    }

    /// Seals what is under older keys again and drops them; says whether it came to that.
    fn finish(
        &self,
        open: &OpenFile,
        goes_on: &mut dyn FnMut(Step) -> bool,
    ) -> Result<bool, FsError> {
        let block_len = self.volume.layout().block_len();
        let mut at = Some(ChunkIndex(0));
        while let Some(from) = at {
            let step = open.reseal_older(from, (STEP / block_len).max(1))?;
            at = step.next;
            let bytes = step.chunks.saturating_mul(block_len);
            if !goes_on(Step { bytes }) && at.is_some() {
                return Ok(false);
            }
        }
        open.drop_older_keys()?;
        Ok(true)
    }

    /// Gives the file a new data key: its commitment, and whether all is sealed with it already.
    fn give_key(
        &self,
        open: &OpenFile,
        standing: Standing<'_>,
        renewal: &Renewal,
    ) -> Result<([u8; 32], bool), FsError> {
        for _ in 0..ATTEMPTS {
            let header = open.header()?;
            let new = self.volume.new_file_key(&header, standing, renewal)?;
            let commitment = new.epoch.commitment;
            match open.exchange_key(&header.epochs, &new)? {
                Some(true) => return Ok((commitment, true)),
                None if open.add_key(&header.epochs, &new)? => return Ok((commitment, false)),
                Some(false) | None => {}
            }
        }
        Err(FsError::STALE)
    }

    /// The folder and the ciphertext name of what stands at a path from the root on; `None` for the root itself.
    ///
    /// # Errors
    /// `ENOENT` and what else the ciphertext folder answers.
    pub fn locate(&self, path: &[u8]) -> Result<Option<(Arc<Node>, CName)>, FsError> {
        let mut names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        let Some(last) = names.next_back() else {
            return Ok(None);
        };
        let mut held = Vec::new();
        let found = self.locate_in(names, last, &mut held);
        held.into_iter().for_each(|ino| self.forget(ino, 1));
        found.map(Some)
    }

    fn locate_in<'a>(
        &self,
        folders: impl Iterator<Item = &'a [u8]>,
        last: &[u8],
        held: &mut Vec<Ino>,
    ) -> Result<(Arc<Node>, CName), FsError> {
        let mut parent = Ino::ROOT;
        for name in folders {
            parent = self.lookup(parent, name)?.attr.ino;
            held.push(parent);
        }
        let place = self.place(&self.inode(parent)?, last)?;
        place.dir.stat_child(&place.cname)?;
        Ok((place.dir, place.cname))
    }

    /// The open file, opened for writing and waited for.
    fn opened_for_run(self: &Arc<Self>, inode: &Arc<Inode>) -> Result<Arc<OpenFile>, FsError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let caller = Caller::this_process();
        self.open_file(caller, Arc::clone(inode), Access::ReadWrite, move |file| {
            // The receiver waits below; it cannot be gone.
            let _sent = sender.send(file);
        });
        let file = receiver.recv().unwrap_or(Err(FsError::STALE))?;
        self.follow_lock(&file);
        Ok(file)
    }
}

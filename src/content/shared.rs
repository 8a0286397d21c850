//! A file that other mounts of the volume write too: one of them changes it at a time, under a lock on the
//! ciphertext file, and first takes over what the others did.
//!
//! All let go of the lock with `st_size` set to the length. But a mount may have died, or its host lost power, and what it
//! had written be there in part. So a length that is not yet known is believed only as far as the chunks bear it out, each
//! of them from what is known or committed on. That needs nobody's word that he is alive, and costs a look at what was written since the last
//! commit, some seconds before.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;

use crate::format::all_zeros;
use crate::format::header::{FIXED_LEN, FileHeader};
use crate::format::layout::Layout;
use crate::storage::{Access, LockKind, LockRange, StorageFile};
use crate::units::CipherOffset;
use crate::volume::FileMaterial;

use super::error::{ContentError, Damage};
use super::keys::EpochKeys;
use super::probe::{Probe, probe};
use super::slots::same_keys;
use super::{OnDisk, OpenFile, State};

/// In bytes.
const LONGEST_HEADER: usize = 2048;

/// The right to change a file that other mounts may change too, given back when dropped.
#[derive(Debug)]
#[must_use = "others may change the file again when this is dropped"]
pub(super) struct Turn(Arc<StorageFile>);

impl Turn {
    pub(super) fn take(file: &Arc<StorageFile>, kind: LockKind) -> std::io::Result<Self> {
        file.lock(LockRange::CONTENT, kind)?;
        Ok(Self(Arc::clone(file)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock(LockRange::CONTENT) {
            tracing::error!(%error, "a file stays locked for other mounts until it is closed");
        }
    }
}

/// Keeps other mounts from changing `file` until it is opened by [`OpenFile::open_shared`] or closed.
///
/// # Errors
/// What locking answers: ENOLCK where the ciphertext folder has no locks.
pub fn exclude_writers(file: &StorageFile) -> std::io::Result<()> {
    file.lock(LockRange::CONTENT, LockKind::Shared)
}

impl OpenFile {
    /// As [`OpenFile::create`], of a file that other mounts write too: its header is on disk at once.
    ///
    /// # Errors
    /// [`ContentError::Overtaken`] where another mount has given the empty file a header of its own.
    pub fn create_shared(
        file: StorageFile,
        layout: Layout,
        new: FileMaterial,
    ) -> Result<Self, ContentError> {
        let mut open = Self::create(file, layout, new)?;
        open.shared = true;
        open.close()?;
        Ok(open)
    }

    /// As [`OpenFile::open`], of a file that other mounts write too. The caller has read `header` under
    /// [`exclude_writers`], which ends here.
    ///
    /// # Errors
    /// As [`OpenFile::open`].
    pub fn open_shared(
        file: StorageFile,
        header: FileHeader,
        keys: EpochKeys,
    ) -> Result<Self, ContentError> {
        let mut open = Self::authentic(file, header, keys)?;
        open.shared = true;
        let mut state = open.state.write();
        let _turn = Turn(Arc::clone(&state.file));
        open.find_end(&mut state)?;
        drop(state);
        Ok(open)
    }

    /// A descriptor of its own, for the locks of one owner: for writing where that may be, since an exclusive lock needs it.
    ///
    /// # Errors
    /// What `open` answers.
    pub fn descriptor_for_locks(&self) -> std::io::Result<StorageFile> {
        let node = self.node()?;
        node.open_file(Access::ReadWrite)
            .or_else(|_denied| node.open_file(Access::Read))
    }

    /// A lock that stands in the way of whoever holds none yet.
    ///
    /// # Errors
    /// What `fcntl` answers.
    pub fn lock_conflict(
        &self,
        range: LockRange,
        kind: LockKind,
    ) -> std::io::Result<Option<(LockRange, LockKind)>> {
        let file = Arc::clone(&self.state.read().file);
        file.conflict(range, kind)
    }

    /// Waits for the turn to change the file where other mounts may, and takes over what they did.
    pub(super) fn take_turn(&self, state: &mut State) -> Result<Option<Turn>, ContentError> {
        let turn = self.exclude_others(state)?;
        if turn.is_some() {
            self.take_over(state)?;
        }
        Ok(turn)
    }

    /// Keeps other mounts from changing the file, for what needs no look at what they did.
    pub(super) fn exclude_others(&self, state: &State) -> std::io::Result<Option<Turn>> {
        let kind = match state.file.access() {
            Access::Read => LockKind::Shared,
            Access::ReadWrite => LockKind::Exclusive,
        };
        self.shared
            .then(|| Turn::take(&state.file, kind))
            .transpose()
    }

    /// Takes over what other mounts did, so that length and header are those of this moment.
    ///
    /// # Errors
    /// As [`OpenFile::open`].
    pub fn refresh(&self) -> Result<(), ContentError> {
        self.current().map(drop)
    }

    /// The same where the file's size tells of a change: cheap enough for each look at the length.
    ///
    /// # Errors
    /// As [`OpenFile::open`].
    pub fn refresh_len(&self) -> Result<(), ContentError> {
        if !self.shared || self.is_undisturbed(&self.state.read())? {
            return Ok(());
        }
        self.refresh()
    }

    /// The state of this moment, with others kept from changing the file while the guard lives.
    pub(super) fn current(&self) -> Result<Guarded<'_>, ContentError> {
        let mut state = self.state.write();
        let turn = self.take_turn(&mut state)?;
        Ok(Guarded { _turn: turn, state })
    }

    /// Whether the size is the one that is known, so that at most contents have changed.
    pub(super) fn is_undisturbed(&self, state: &State) -> Result<bool, ContentError> {
        let known = self.layout.physical_len(state.len);
        Ok(state.header_on_disk && !state.untidy_tail && state.file.len()? == known)
    }

    /// Compares what is known with the file; the caller holds the turn.
    pub(super) fn take_over(&self, state: &mut State) -> Result<(), ContentError> {
        let mut front = [0; LONGEST_HEADER];
        let front = &mut front[..self.layout.header_len()];
        let got = state.file.read_at(front, CipherOffset(0))?;
        if !state.header_on_disk {
            let still_empty = all_zeros(&front[..got]);
            return still_empty.then_some(()).ok_or(ContentError::Overtaken);
        }
        let physical = state.file.len()?;
        let same_header = FileHeader::tag_in(&front[..got]) == Some(state.on_disk.tag);
        if same_header {
            self.adopt_slots(state, front)?;
        }
        let expected = match state.untidy_tail {
            true => state.searched,
            false => self.layout.physical_len(state.len),
        };
        if same_header && physical == expected {
            return Ok(());
        }
        // A header stands before each cut, so that under the same one what was known to be there still is.
        let grew = same_header && physical > expected && !state.untidy_tail;
        if !same_header {
            self.adopt_header(state)?;
        }
        let known = match grew {
            true => state.len,
            false => state.header.committed_len,
        };
        self.find_end_behind(state, known, physical)
    }

    /// Takes over slots that another mount, or a run over all files, exchanged under the same header: written back, the
    /// old ones would undo that.
    fn adopt_slots(&self, state: &mut State, front: &[u8]) -> Result<(), ContentError> {
        let mut known = [0; LONGEST_HEADER];
        let known = &mut known[..front.len()];
        state.header.encode(known)?;
        if known[FIXED_LEN..] == front[FIXED_LEN..] {
            return Ok(());
        }
        let header = FileHeader::decode(front)?;
        if !same_keys(&header.epochs, &state.header.epochs) {
            return Err(self.damaged(Damage::Header));
        }
        state.header.epochs = header.epochs;
        Ok(())
    }

    /// Takes over a header that another mount wrote. It is of this very file, authentic, and newer.
    fn adopt_header(&self, state: &mut State) -> Result<(), ContentError> {
        let Probe::Sealed(mut header) = probe(&state.file, self.layout)? else {
            return Err(self.damaged(Damage::Header));
        };
        let same_file =
            header.file_id == self.file_id() && same_keys(&header.epochs, &state.header.epochs);
        let newer = header.generation > state.on_disk.generation;
        if !same_file || !newer || !header.verify(self.keys(state)?.header_key()) {
            return Err(self.damaged(Damage::Header));
        }
        state.on_disk = OnDisk::of(&header);
        // A generation that a failed write used is not used again.
        header.generation = header.generation.max(state.header.generation);
        state.header = header;
        state.sparse_durable = false;
        // The other may have cut the file, and a commit begun before is then void.
        state.shrinks += 1;
        Ok(())
    }
}

/// A file's state while this thread alone, of all mounts, may change the file.
pub(super) struct Guarded<'a> {
    // Dropped first: the turn ends while the state is still held, and another thread then takes it anew.
    _turn: Option<Turn>,
    pub(super) state: RwLockWriteGuard<'a, State>,
}

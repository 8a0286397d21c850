//! Raising the committed length to what is durable, on fsync and behind the user's back.

use std::sync::Arc;

use crate::storage::Access;
use crate::units::PlainLen;

use super::error::{ContentError, Damage};
use super::writer::Durability;
use super::{OpenFile, State};

/// What a sync must make durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Content and length: `fdatasync`.
    Data,
    /// Times, mode and owner too: `fsync`.
    All,
}

/// How often a sync tries to commit a file that is being cut meanwhile, or committed by other mounts.
const ATTEMPTS: usize = 3;

/// A length that will be durable once the syncs that follow it have returned.
#[derive(Clone, Copy, Debug)]
pub struct CommitTicket {
    len: PlainLen,
    shrinks: u64,
}

impl OpenFile {
    /// Makes all that was written durable and commits it.
    ///
    /// # Errors
    /// [`ContentError::Io`]: then nothing may be taken to be durable.
    pub fn sync(&self, kind: SyncKind) -> Result<(), ContentError> {
        for _ in 0..ATTEMPTS {
            let ticket = self.begin_commit()?;
            let file = Arc::clone(&self.state.read().file);
            match kind {
                SyncKind::Data => file.sync_data()?,
                SyncKind::All => file.sync_all()?,
            }
            if self.finish_commit(ticket)? {
                break;
            }
        }
        Ok(())
    }

    /// Puts on disk what a crash left undone: cuts what lies past the end, sets the length, commits.
    ///
    /// # Errors
    /// [`ContentError::Io`]; [`ContentError::Damaged`] where the file was cut below its committed length:
    /// filled up again it would no longer show where.
    pub fn mend(&self) -> Result<(), ContentError> {
        let cut = self.cut_at(&self.current()?.state)?;
        if let Some(index) = cut {
            return Err(self.damaged(Damage::Cut { index }));
        }
        self.change(|_state| Ok(()))?;
        self.sync(SyncKind::Data)
    }

    /// Whether no header is on disk yet: without one the file is an error to whoever opens it anew.
    pub fn needs_header(&self) -> bool {
        !self.state.read().header_on_disk
    }

    /// Whether the header on disk lags behind the file.
    pub fn needs_commit(&self) -> bool {
        let state = self.state.read();
        state.file.access() == Access::ReadWrite && self.lags(&state)
    }

    /// The same, whoever is to commit it: in a file that nobody has open, a crash came before its commit.
    pub fn is_uncommitted(&self) -> bool {
        self.lags(&self.state.read())
    }

    fn lags(&self, state: &State) -> bool {
        !state.header_on_disk || state.header.committed_len != state.len
    }

    /// Notes the length that the next sync will make durable, and sees that a header is on disk for it.
    ///
    /// # Errors
    /// [`ContentError::Io`] where a new file's header cannot be written.
    pub fn begin_commit(&self) -> Result<CommitTicket, ContentError> {
        self.close()?;
        let state = self.state.read();
        Ok(CommitTicket {
            len: state.len,
            shrinks: state.shrinks,
        })
    }

    /// Commits the length of `ticket`, which is durable now; says whether it could. A file that shrank since, or whose
    /// header another mount wrote, waits for the next time: what is durable stays so, committed or not.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub fn finish_commit(&self, ticket: CommitTicket) -> Result<bool, ContentError> {
        let mut state = self.state.write();
        let due = |state: &State| state.header.committed_len < ticket.len;
        if state.file.access() == Access::Read || !due(&state) {
            return Ok(true);
        }
        let _turn = self.take_turn(&mut state)?;
        if state.shrinks != ticket.shrinks || !due(&state) {
            return Ok(!due(&state));
        }
        self.keep_times(&mut state, |state| {
            self.write_header(state, ticket.len, Durability::Lazy)
        })?;
        Ok(true)
    }

    /// A new file that got no byte gets its header now. Nothing else is ever due at the end of a handle.
    ///
    /// # Errors
    /// [`ContentError::Io`], a full disk among them.
    pub fn close(&self) -> Result<(), ContentError> {
        let state = self.state.read();
        // One that was opened only for reading is but taken for empty.
        if state.header_on_disk || state.file.access() == Access::Read {
            return Ok(());
        }
        drop(state);
        self.change(|state| {
            if state.header_on_disk {
                return Ok(());
            }
            self.keep_times(state, |state| {
                self.reseal(
                    state,
                    crate::units::ChunkIndex(0),
                    PlainLen(0),
                    Durability::Lazy,
                )?;
                // The same length once more would free what was preallocated behind it.
                let physical = self.layout.physical_len(PlainLen(0));
                if state.file.len()? != physical {
                    state.file.set_len(physical)?;
                }
                Ok(())
            })
        })
    }
}

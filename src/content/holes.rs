//! Holes: punching, preallocation, and finding them.

use crate::units::{ChunkIndex, CipherOffset, PlainLen, PlainOffset};

use super::error::ContentError;
use super::writer::Durability;
use super::{OpenFile, State};

/// What `lseek` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is not in a hole.
    Data,
    /// The next hole; the end of the file counts as one.
    Hole,
}

impl OpenFile {
    /// Makes `len` bytes from `at` on read as zeros and gives their whole blocks back to the disk. The length stays.
    ///
    /// # Errors
    /// As [`OpenFile::write`]; `EOPNOTSUPP` where the ciphertext folder cannot punch holes.
    pub fn punch_hole(&self, at: PlainOffset, len: u64) -> Result<(), ContentError> {
        self.change(|state| {
            let end = at.0.saturating_add(len).min(state.len.0);
            if at.0 < end {
                self.zero_range(state, at, PlainOffset(end))
            } else {
                Ok(())
            }
        })
    }

    fn zero_range(
        &self,
        state: &mut State,
        at: PlainOffset,
        end: PlainOffset,
    ) -> Result<(), ContentError> {
        let (first, last) = (
            self.layout.locate(at).0,
            self.layout.locate(PlainOffset(end.0 - 1)).0,
        );
        // The first block holds the header and the last chunk the authenticated end: both stay sealed.
        let ends = [state.len, state.header.committed_len].map(|len| self.last_chunk(len));
        let (mut hole_from, mut hole_to) = (first.0.max(1), last.0 + 1);
        if self.layout.chunk_start(ChunkIndex(hole_from)) < at {
            hole_from += 1;
        }
        if last == ends[0] || self.layout.chunk_start(ChunkIndex(hole_to)) > end {
            hole_to -= 1;
        }
        // So does the last committed one: a crash may leave it as the last.
        let is_inside = (hole_from..hole_to).contains(&ends[1].0);
        let kept = if is_inside { ends[1].0 } else { hole_to };
        let holes = [hole_from..kept, kept + 1..hole_to];
        for hole in holes.clone().into_iter().filter(|hole| !hole.is_empty()) {
            self.punch_blocks(state, ChunkIndex(hole.start), ChunkIndex(hole.end))?;
        }
        for index in (first.0..=last.0)
            .filter(|index| !holes.iter().any(|hole| hole.contains(index)))
            .map(ChunkIndex)
        {
            self.zero_in_chunk(state, index, at, end)?;
        }
        Ok(())
    }

    /// Overwrites with zeros what of `at..end` lies in chunk `index`.
    fn zero_in_chunk(
        &self,
        state: &mut State,
        index: ChunkIndex,
        at: PlainOffset,
        end: PlainOffset,
    ) -> Result<(), ContentError> {
        let start = self.layout.chunk_start(index);
        let stop = start.0 + self.chunk_len(state.len, index);
        let (from, to) = (at.max(start), end.0.min(stop));
        super::buffers::with_buffer((to - from.0) as usize, |zeros| {
            zeros.fill(0);
            let len = state.len;
            self.with_blocks(from, zeros, |write| self.write_blocks(state, write, len))
        })
    }

    /// Punches whole blocks. The header says durably that holes are legal before there is one below the committed length.
    fn punch_blocks(
        &self,
        state: &mut State,
        from: ChunkIndex,
        to: ChunkIndex,
    ) -> Result<(), ContentError> {
        let below_committed = self.layout.chunk_start(from).0 < state.header.committed_len.0;
        let durability = if below_committed {
            Durability::Durable
        } else {
            Durability::Lazy
        };
        self.declare_holes(state, durability)?;
        let (start, stop) = (self.layout.block_start(from), self.layout.block_start(to));
        Ok(state.file.punch_hole(start, stop.0 - start.0)?)
    }

    /// Says in the header that there may be holes, before there is one: readers take no others for what was
    /// written, and recovery after a crash ends a file at the first.
    pub(super) fn declare_holes(
        &self,
        state: &mut State,
        durability: Durability,
    ) -> Result<(), ContentError> {
        let must_be_durable = durability == Durability::Durable && !state.sparse_durable;
        if state.header.flags.sparse && !must_be_durable {
            return Ok(());
        }
        let before = state.header.flags.sparse;
        state.header.flags.sparse = true;
        let committed = state.header.committed_len;
        self.write_header(state, committed, durability)
            .inspect_err(|_error| {
                state.header.flags.sparse = before;
                state.tag_header();
            })?;
        state.sparse_durable |= durability == Durability::Durable;
        Ok(())
    }

    /// Reserves disk space for `len` bytes from `at` on, so that writes there find room; does not change the length.
    ///
    /// # Errors
    /// As [`OpenFile::write`].
    pub fn allocate(&self, at: PlainOffset, len: u64) -> Result<(), ContentError> {
        self.change(|state| {
            let end = at.0.checked_add(len).ok_or(ContentError::TooLarge)?;
            self.check_len(PlainLen(end))?;
            let span = self.layout.span(at, len);
            let start = self.layout.block_start(span.first);
            let stop = self.layout.block_start(ChunkIndex(span.last.0 + 1));
            Ok(state.file.allocate(start, stop.0 - start.0)?)
        })
    }

    /// The next data or hole from `at` on; `None` where `at` is past the end or no data follows.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub fn seek(&self, at: PlainOffset, what: Seek) -> Result<Option<PlainOffset>, ContentError> {
        self.refresh_len()?;
        let state = self.state.read();
        if at.0 >= state.len.0 {
            return Ok(None);
        }
        match what {
            Seek::Data => self.seek_data(&state, at),
            Seek::Hole => self.seek_hole(&state, at).map(Some),
        }
    }

    fn seek_data(
        &self,
        state: &State,
        at: PlainOffset,
    ) -> Result<Option<PlainOffset>, ContentError> {
        let here = self.layout.locate(at).0;
        let Some(found) = state.file.seek_data(self.layout.block_start(here))? else {
            return Ok(None);
        };
        let index = ChunkIndex(found.0 / self.layout.block_len());
        if index > self.last_chunk(state.len) {
            return Ok(None);
        }
        Ok(Some(self.layout.chunk_start(index).max(at)))
    }

    fn seek_hole(&self, state: &State, at: PlainOffset) -> Result<PlainOffset, ContentError> {
        let block_len = self.layout.block_len();
        let last = self.last_chunk(state.len);
        let mut index = self.layout.locate(at).0;
        while index < last {
            let Some(found) = state.file.seek_hole(self.layout.block_start(index))? else {
                break;
            };
            // A hole that begins inside a block leaves that block some data.
            index = ChunkIndex(found.0.div_ceil(block_len));
            if index >= last {
                break;
            }
            if self.is_unbacked(state, index)? {
                return Ok(self.layout.chunk_start(index).max(at));
            }
        }
        Ok(PlainOffset(state.len.0))
    }

    /// Whether no data of the backing file lies in block `index`.
    fn is_unbacked(&self, state: &State, index: ChunkIndex) -> Result<bool, ContentError> {
        let next = self.layout.block_start(ChunkIndex(index.0 + 1));
        let data: Option<CipherOffset> = state.file.seek_data(self.layout.block_start(index))?;
        Ok(data.is_none_or(|data| data >= next))
    }
}

//! Finding the end of a file whose `st_size` and committed length disagree: after a crash, or an attack.

use std::num::NonZeroU64;

use crate::format::chunk::{self, Area};
use crate::units::{ChunkIndex, CipherLen, CipherOffset, PlainLen, PlainOffset};

use super::buffers::with_buffer;
use super::error::ContentError;
use super::{OpenFile, State};

/// What a look at one block past the committed length shows.
pub(super) enum Found {
    /// A whole chunk: the file goes on.
    Full,
    /// A short chunk: the file ends in it.
    Short(u64),
    /// Zeros: a hole, or a block that never reached the disk.
    Hole,
    /// Nothing authentic.
    Nothing,
}

impl OpenFile {
    /// Sets the length from what is on disk: the committed length where `st_size` agrees, else the end of
    /// the first short chunk from there on. What is committed is never given up: where it is missing,
    /// reads of it fail.
    pub(super) fn find_end(&self, state: &mut State) -> Result<(), ContentError> {
        let physical = state.file.len()?;
        let committed = state.header.committed_len;
        self.find_end_behind(state, committed, physical)
    }

    /// The same where the first `known` bytes are the file's whatever is found.
    pub(super) fn find_end_behind(
        &self,
        state: &mut State,
        known: PlainLen,
        physical: CipherLen,
    ) -> Result<(), ContentError> {
        // No file with a header is of that size: should the search fail, the next one is not spared.
        (state.untidy_tail, state.searched) = (true, CipherLen(0));
        state.len = known;
        // One block is an empty file, or one that was being cut to its first chunk.
        let agrees = physical == self.layout.physical_len(known) && known > PlainLen(0);
        let blocks = NonZeroU64::new(physical.0 / self.layout.block_len());
        if let (false, Some(blocks)) = (agrees, blocks) {
            let end = self.scan(state, known, ChunkIndex(blocks.get() - 1))?;
            state.len = end.max(known);
        }
        state.untidy_tail = physical != self.layout.physical_len(state.len);
        state.searched = physical;
        Ok(())
    }

    /// The end of the authentic chunks from the last of `known` bytes up to block `last`. Holes lie between them
    /// only where the header says so: it does before a file with holes is synced.
    fn scan(
        &self,
        state: &State,
        known: PlainLen,
        last: ChunkIndex,
    ) -> Result<PlainLen, ContentError> {
        let mut end = known;
        let mut index = self.last_chunk(known);
        while index <= last {
            let len = match self.look_at(state, index)? {
                Found::Nothing => break,
                Found::Hole if !state.header.flags.sparse => break,
                Found::Hole => {
                    index = self.next_backed(state, index)?;
                    continue;
                }
                Found::Full => self.layout.capacity(index),
                Found::Short(len) => len,
            };
            end = PlainLen(self.layout.chunk_start(index).0 + len);
            if len < self.layout.capacity(index) {
                break;
            }
            index = ChunkIndex(index.0 + 1);
        }
        Ok(end)
    }

    /// The first block that is missing below the committed length: somebody cut the file.
    pub(super) fn cut_at(&self, state: &State) -> Result<Option<ChunkIndex>, ContentError> {
        if !state.header_on_disk {
            return Ok(None);
        }
        let there = state.file.len()?.0 / self.layout.block_len();
        let due = self.layout.chunk_count(state.header.committed_len);
        Ok((there < due).then_some(ChunkIndex(there)))
    }

    /// The plaintext range of the chunks that open behind the end of the file: a crash lost one before them, so
    /// that they are not the file's. `None` where there are none, or where the last chunk itself says, by being
    /// short, that a truncation left them.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub fn stranded(&self) -> Result<Option<(PlainOffset, PlainOffset)>, ContentError> {
        let state = self.state.read();
        let last = self.last_chunk(state.len);
        if !state.untidy_tail || matches!(self.look_at(&state, last)?, Found::Short(_)) {
            return Ok(None);
        }
        let blocks = state.file.len()?.0 / self.layout.block_len();
        let mut range: Option<(PlainOffset, PlainOffset)> = None;
        let mut index = ChunkIndex(last.0 + 1);
        while index.0 < blocks {
            let len = match self.look_at(&state, index)? {
                Found::Full => self.layout.capacity(index),
                Found::Short(len) => len,
                Found::Hole | Found::Nothing => {
                    index = self.next_backed(&state, index)?;
                    continue;
                }
            };
            let start = self.layout.chunk_start(index);
            let from = range.map_or(start, |(from, _to)| from);
            range = Some((from, PlainOffset(start.0 + len)));
            index = ChunkIndex(index.0 + 1);
        }
        Ok(range)
    }

    pub(super) fn look_at(&self, state: &State, index: ChunkIndex) -> Result<Found, ContentError> {
        let block_len = self.layout.block_len() as usize;
        with_buffer(block_len, |block| {
            let got = state.file.read_at(block, self.layout.block_start(index))?;
            if got < block_len {
                return Ok(Found::Nothing);
            }
            let sealed = match chunk::parse(&self.context, index, self.sealed_area(index, block)) {
                Ok(Area::Hole) => return Ok(Found::Hole),
                Ok(Area::Sealed(sealed)) => sealed,
                Err(_) => return Ok(Found::Nothing),
            };
            let opened = with_buffer(sealed.len(), |out| {
                self.open_chunk(state, index, &sealed, &mut None, out)
            });
            let len = sealed.len() as u64;
            Ok(match opened {
                Err(_) => Found::Nothing,
                Ok(()) if len == self.layout.capacity(index) => Found::Full,
                Ok(()) => Found::Short(len),
            })
        })
    }

    /// The next block after `index` that the disk holds data for, so that a hole of terabytes costs one call.
    pub(super) fn next_backed(
        &self,
        state: &State,
        index: ChunkIndex,
    ) -> Result<ChunkIndex, ContentError> {
        let next = ChunkIndex(index.0 + 1);
        let data: Option<CipherOffset> = state.file.seek_data(self.layout.block_start(next))?;
        Ok(data.map_or(ChunkIndex(u64::MAX), |data| {
            ChunkIndex(data.0 / self.layout.block_len()).max(next)
        }))
    }
}

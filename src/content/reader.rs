//! Plaintext reads: one read of the ciphertext range, each chunk opened straight into the reply.

use std::sync::Arc;

use crate::crypto::xaes::Subkey;
use crate::format::chunk::{self, Area, SealedChunk};
use crate::units::{ChunkIndex, EpochId, PlainOffset};

use super::buffers::with_buffer;
use super::error::{ContentError, Damage};
use super::{OpenFile, State};

/// The AES-GCM key of the chunk before: neighbours nearly always share it.
type LastSubkey = Option<(EpochId, [u8; 12], Arc<Subkey>)>;

impl OpenFile {
    /// Reads at `at` into `out` and says how many bytes there were: fewer than asked for only at the end of the file.
    ///
    /// # Errors
    /// [`ContentError::Damaged`] where any byte of the range is not what was written: then `out` holds nothing of use.
    pub fn read(&self, at: PlainOffset, out: &mut [u8]) -> Result<usize, ContentError> {
        if self.shared {
            return self.read_shared(at, out);
        }
        self.read_in(&self.state.read(), at, out)
    }

    /// Reads without a lock, which would cost a question to the server where the ciphertext folder is on one: each
    /// chunk proves itself. Only where the size or a chunk is not as known, it is done again while nobody writes.
    fn read_shared(&self, at: PlainOffset, out: &mut [u8]) -> Result<usize, ContentError> {
        let state = self.state.read();
        if self.is_undisturbed(&state)? {
            match self.read_in(&state, at, out) {
                Err(ContentError::Damaged { .. }) => {}
                result => return result,
            }
        }
        drop(state);
        self.read_in(&self.current()?.state, at, out)
    }

    fn read_in(
        &self,
        state: &State,
        at: PlainOffset,
        out: &mut [u8],
    ) -> Result<usize, ContentError> {
        // Holes and the end of the file are told to nobody either.
        self.keys(state)?;
        let there = state.len.0.saturating_sub(at.0);
        let want = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
        if want > 0 {
            self.read_range(state, at, &mut out[..want])?;
        }
        Ok(want)
    }

    /// Reads a range that is not empty and lies within the file.
    fn read_range(
        &self,
        state: &State,
        at: PlainOffset,
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        let span = self.layout.span(at, out.len() as u64);
        let block_len = self.layout.block_len() as usize;
        let blocks = (span.last.0 - span.first.0 + 1) as usize;
        with_buffer(blocks * block_len, |cipher| {
            let got = state
                .file
                .read_at(cipher, self.layout.block_start(span.first))?;
            let (mut rest, mut skip, mut last_subkey) = (out, span.skip as usize, None);
            for (nth, block) in cipher.chunks_exact(block_len).enumerate() {
                let index = ChunkIndex(span.first.0 + nth as u64);
                if (nth + 1) * block_len > got {
                    return Err(self.damaged(Damage::Cut { index }));
                }
                let here = self.chunk_len(state.len, index) as usize - skip;
                let (part, later) = rest.split_at_mut(here.min(rest.len()));
                self.open_part(
                    state,
                    index,
                    self.sealed_area(index, block),
                    skip,
                    part,
                    &mut last_subkey,
                )?;
                (rest, skip) = (later, 0);
            }
            Ok(())
        })
    }

    /// Reads the whole of chunk `index`, which holds `out.len()` bytes.
    pub(super) fn read_chunk(
        &self,
        state: &State,
        index: ChunkIndex,
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        if out.is_empty() {
            return Ok(());
        }
        self.read_range(state, self.layout.chunk_start(index), out)
    }

    /// The part of a block that is a sealed chunk: all of it, less the header in block 0.
    pub(super) fn sealed_area<'a>(&self, index: ChunkIndex, block: &'a [u8]) -> &'a [u8] {
        let header = if index.0 == 0 {
            self.layout.header_len()
        } else {
            0
        };
        &block[header..]
    }

    /// Opens one chunk and copies its bytes from `skip` on into `out`.
    pub(super) fn open_part(
        &self,
        state: &State,
        index: ChunkIndex,
        area: &[u8],
        skip: usize,
        out: &mut [u8],
        last: &mut LastSubkey,
    ) -> Result<(), ContentError> {
        self.check_pin(index, area)?;
        let parsed = chunk::parse(&self.context, index, area);
        let sealed = match parsed.map_err(|source| self.damaged(Damage::Chunk { index, source }))? {
            Area::Hole => {
                self.check_hole(state, index)?;
                out.fill(0);
                return Ok(());
            }
            Area::Sealed(sealed) => sealed,
        };
        let expected = self.chunk_len(state.len, index);
        let found = sealed.len() as u64;
        // A crash may leave the last chunk longer: its block reached the disk and the new length did not, or
        // a cut reached it and the shorter chunk did not. What is beyond the length was never synced.
        let longer_tail = found > expected && index == self.last_chunk(state.len);
        if found != expected && !longer_tail {
            return Err(self.damaged(Damage::ChunkLength {
                index,
                expected,
                found,
            }));
        }
        if out.len() == sealed.len() {
            return self.open_chunk(state, index, &sealed, last, out);
        }
        with_buffer(sealed.len(), |whole| {
            self.open_chunk(state, index, &sealed, last, whole)?;
            out.copy_from_slice(&whole[skip..skip + out.len()]);
            Ok(())
        })
    }

    /// In a sealed volume an older chunk of the file, which would open, is none.
    fn check_pin(&self, index: ChunkIndex, area: &[u8]) -> Result<(), ContentError> {
        let Some(pinned) = self.pinned.get() else {
            return Ok(());
        };
        let nth = usize::try_from(index.0).unwrap_or(usize::MAX);
        match pinned.get(nth) {
            Some(tag) if chunk::tag_of(area) == Some(tag) => Ok(()),
            _ => Err(self.damaged(Damage::NotAsSealed { index })),
        }
    }

    /// Opens a sealed chunk into `out`, which is as long as it.
    pub(super) fn open_chunk(
        &self,
        state: &State,
        index: ChunkIndex,
        sealed: &SealedChunk<'_>,
        last: &mut LastSubkey,
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        let (epoch, nonce) = (sealed.epoch(), sealed.nonce());
        let prefix = *nonce.prefix();
        let subkey = match last {
            Some((known_epoch, known_prefix, subkey))
                if (*known_epoch, *known_prefix) == (epoch, prefix) =>
            {
                subkey
            }
            _ => {
                let found = self.subkeys.subkey(self.keys(state)?, (epoch, prefix));
                let subkey = found.ok_or_else(|| self.damaged(Damage::UnknownEpoch { index }))?;
                &last.insert((epoch, prefix, subkey)).2
            }
        };
        sealed
            .open_into(subkey, out)
            .map_err(|source| self.damaged(Damage::Chunk { index, source }))
    }

    /// A block of zeros is a hole only where the header allows holes or beyond what is committed, and never at the end.
    pub(super) fn check_hole(&self, state: &State, index: ChunkIndex) -> Result<(), ContentError> {
        let uncommitted = self.layout.chunk_start(index).0 >= state.header.committed_len.0;
        let allowed = state.header.flags.sparse || uncommitted;
        if allowed && index != self.last_chunk(state.len) {
            Ok(())
        } else {
            Err(self.damaged(Damage::Zeroed { index }))
        }
    }

    pub(super) fn damaged(&self, damage: Damage) -> ContentError {
        ContentError::damaged(self.file_id(), damage)
    }
}

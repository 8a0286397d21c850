//! Sealing what a long write covers in full before the file is held for it, so that writes of one file are sealed at the
//! same time, and only put on disk one after the other.
//!
//! A chunk that is written in full is sealed alike whatever the file holds and however long it is. Only the key may be
//! another by the time the file is held: then it is sealed again.

use std::ops::Range;

use crate::units::{ChunkIndex, PlainLen, PlainOffset};

use super::OpenFile;
use super::buffers::with_buffer;
use super::keys::SubkeyId;

/// Bytes of the shortest write that is sealed ahead. To seal fewer takes some tens of microseconds, which others can as
/// well wait for: that they are woken again takes as long.
pub(super) const WORTH_IT: usize = 128 << 10;

/// A write of `data` at `at`, as the blocks that it touches.
pub(super) struct BlockWrite<'a> {
    pub(super) at: PlainOffset,
    pub(super) data: &'a [u8],
    pub(super) cipher: &'a mut [u8],
    /// What of `cipher` is sealed already, if anything.
    pub(super) ahead: Option<Ahead>,
}

/// Which chunks are sealed already, and with the nonces and key of which session.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) chunks: Range<u64>,
    session: SubkeyId,
}

impl OpenFile {
    /// Calls `work` with a write of which nothing is sealed yet.
    pub(super) fn with_blocks<T>(
        &self,
        at: PlainOffset,
        data: &[u8],
        work: impl FnOnce(&mut BlockWrite<'_>) -> T,
    ) -> T {
        let blocks = self.layout.span(at, data.len() as u64).chunk_count();
        with_buffer((blocks * self.layout.block_len()) as usize, |cipher| {
            work(&mut BlockWrite {
                at,
                data,
                cipher,
                ahead: None,
            })
        })
    }

    /// Seals ahead what can be, of a write that is worth it. Whatever stands in the way is for who holds the file to
    /// tell; and he begins the session that the next write finds. Where other mounts write too they wait for one
    /// another longer than for this.
    pub(super) fn seal_ahead(&self, write: &mut BlockWrite<'_>) {
        if write.data.len() >= WORTH_IT && !self.shared {
            write.ahead = self
                .full_chunks(write.at, write.data.len())
                .and_then(|chunks| self.seal_chunks(write, chunks));
        }
    }

    /// The chunks that a write covers in full. Not the first: the header may go to disk with it.
    fn full_chunks(&self, at: PlainOffset, len: usize) -> Option<Range<u64>> {
        let end = at.0.checked_add(len as u64)?;
        self.check_len(PlainLen(end)).ok()?;
        let (first, skip) = self.layout.locate(at);
        let from = match skip {
            0 => first.0.max(1),
            _ => first.0 + 1,
        };
        let chunks = from..self.layout.locate(PlainOffset(end)).0.0;
        (!chunks.is_empty()).then_some(chunks)
    }

    fn seal_chunks(&self, write: &mut BlockWrite<'_>, chunks: Range<u64>) -> Option<Ahead> {
        // Held until all is sealed: whoever ends the session may rely on it that its key is out of use.
        let session = self.session.read();
        let mut run = session
            .as_ref()?
            .draw((chunks.end - chunks.start) as usize)?;
        let from = ChunkIndex(chunks.start);
        let before = from.0 - self.layout.locate(write.at).0.0;
        let block_len = self.layout.block_len() as usize;
        let blocks = write.cipher[before as usize * block_len..].chunks_exact_mut(block_len);
        let bytes = &write.data[(self.layout.chunk_start(from).0 - write.at.0) as usize..];
        let parts = bytes.chunks_exact(self.layout.capacity(from) as usize);
        for ((index, part), block) in chunks.clone().zip(parts).zip(blocks) {
            self.seal_block(&mut run, ChunkIndex(index), part, block);
        }
        Some(Ahead {
            chunks,
            session: run.id,
        })
    }

    /// Which chunks need no sealing any more: those of the session that is still the writer's, so that its key is the
    /// newest. The caller holds the state exclusively.
    pub(super) fn still_sealed(&self, ahead: Option<Ahead>) -> Range<u64> {
        let session = self.session.read().as_ref().map(|now| now.id);
        match ahead {
            Some(ahead) if session == Some(ahead.session) => ahead.chunks,
            _ => 0..0,
        }
    }
}

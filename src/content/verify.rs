//! Reading a file through for whoever wants to know what of it is still what was written.

use crate::format::chunk::{self, Area};
use crate::units::{ChunkIndex, PlainOffset};

use super::buffers::with_buffer;
use super::error::{ContentError, Damage};
use super::{OpenFile, State};

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every chunk.
    All,
    /// The block of the header, with the first chunk, and that the committed length is there.
    First,
}

/// A plaintext range that cannot be read, its end excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its first byte.
    pub from: PlainOffset,
    /// The byte behind it.
    pub to: PlainOffset,
    /// What is wrong with its first chunk; those behind it have the same kind of damage.
    pub damage: Damage,
}

impl OpenFile {
    /// Says which ranges cannot be read, first to last; `on_chunk` hears of each chunk read.
    ///
    /// # Errors
    /// [`ContentError::Io`], but for a disk that cannot read a block: that is damage, and damage is what is returned.
    pub fn verify(
        &self,
        extent: Extent,
        mut on_chunk: impl FnMut(),
    ) -> Result<Vec<Lost>, ContentError> {
        let mut lost = Vec::new();
        let count = self.layout.chunk_count(self.len());
        let there = self.cut_at(&self.state.read())?.map_or(count, |cut| cut.0);
        let end = match extent {
            Extent::All => there,
            Extent::First => there.min(1),
        };
        let mut index = ChunkIndex(0);
        while index.0 < end {
            on_chunk();
            match self.verify_chunk(index) {
                Ok(next) => index = next,
                Err(error) => {
                    self.lose(&mut lost, damage_at(index, error)?, index.0 + 1);
                    index = ChunkIndex(index.0 + 1);
                }
            }
        }
        if there < count {
            let index = ChunkIndex(there);
            self.lose(&mut lost, (index, Damage::Cut { index }), count);
        }
        Ok(lost)
    }

    /// Notes the chunks from that of the damage up to `end`; they lengthen the range before where that has the same kind.
    fn lose(&self, lost: &mut Vec<Lost>, (first, damage): (ChunkIndex, Damage), end: u64) {
        let starts_at = |index| self.layout.chunk_start(ChunkIndex(index));
        let (from, to) = (
            starts_at(first.0),
            PlainOffset(starts_at(end).0.min(self.len().0)),
        );
        let kind = std::mem::discriminant(&damage);
        match lost.last_mut() {
            Some(before) if before.to == from && std::mem::discriminant(&before.damage) == kind => {
                before.to = to;
            }
            _ => lost.push(Lost { from, to, damage }),
        }
    }

    /// Reads chunk `index` and says which comes next: in a hole, the first with data, so that a hole of terabytes
    /// costs one look.
    fn verify_chunk(&self, index: ChunkIndex) -> Result<ChunkIndex, ContentError> {
        let state = self.state.read();
        let block_len = self.layout.block_len() as usize;
        with_buffer(block_len, |block| {
            let got = state.file.read_at(block, self.layout.block_start(index))?;
            if got < block_len {
                return Err(self.damaged(Damage::Cut { index }));
            }
            let area = self.sealed_area(index, block);
            if let Ok(Area::Hole) = chunk::parse(&self.context, index, area) {
                self.check_hole(&state, index)?;
                return self.behind_hole(&state, index);
            }
            let len = self.chunk_len(state.len, index) as usize;
            with_buffer(len, |out| {
                self.open_part(&state, index, area, 0, out, &mut None)
            })?;
            Ok(ChunkIndex(index.0 + 1))
        })
    }

    /// The last chunk is never in a hole: it is looked at whatever the disk says.
    fn behind_hole(&self, state: &State, index: ChunkIndex) -> Result<ChunkIndex, ContentError> {
        let last = self.last_chunk(state.len);
        Ok(self.next_backed(state, index)?.min(last))
    }
}

/// What an error says of chunk `index`.
fn damage_at(index: ChunkIndex, error: ContentError) -> Result<(ChunkIndex, Damage), ContentError> {
    match error {
        ContentError::Damaged { damage, .. } => Ok((index, damage)),
        ContentError::Io(error) if error.raw_os_error() == Some(libc::EIO) => {
            Ok((index, Damage::Unreadable { index }))
        }
        error => Err(error),
    }
}

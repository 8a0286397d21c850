//! Growing and shrinking to a length.

use crate::format::all_zeros;
use crate::units::{ChunkIndex, PlainLen};

use super::buffers::with_buffer;
use super::error::ContentError;
use super::writer::Durability;
use super::{OpenFile, State};

impl OpenFile {
    /// Makes the file `len` bytes long; what is new reads as zeros.
    ///
    /// # Errors
    /// As [`OpenFile::write`].
    pub fn resize(&self, len: PlainLen) -> Result<(), ContentError> {
        self.change_below(len, |state| {
            self.check_len(len)?;
            if len > state.len {
                self.grow(state, len)
            } else {
                self.shrink(state, len)
            }
        })
    }

    /// Makes the file `len` bytes long unless it is longer.
    ///
    /// # Errors
    /// As [`OpenFile::write`].
    pub fn extend(&self, len: PlainLen) -> Result<(), ContentError> {
        self.change(|state| {
            self.check_len(len)?;
            if len > state.len {
                self.grow(state, len)?;
            }
            Ok(())
        })
    }

    /// The new last chunk is sealed, so that the end of the file is authenticated; what lies before it is a hole.
    fn grow(&self, state: &mut State, len: PlainLen) -> Result<(), ContentError> {
        let last = self.last_chunk(len);
        self.open_gap(state, last)?;
        self.reseal(state, last, len, Durability::Lazy)?;
        self.set_len(state, len)
    }

    /// The shorter committed length is durable before a block below the old one may vanish.
    fn shrink(&self, state: &mut State, len: PlainLen) -> Result<(), ContentError> {
        if !state.header_on_disk {
            return Ok(());
        }
        let last = self.last_chunk(len);
        let lowers = len < state.header.committed_len;
        let cuts = self.chunk_len(len, last) < self.chunk_len(state.len, last);
        if self.is_one_page(len) && (cuts || lowers) {
            let drops_blocks = self.last_chunk(state.len) > last;
            let durability = if drops_blocks {
                Durability::Durable
            } else {
                Durability::Lazy
            };
            self.reseal(state, last, len, durability)?;
        } else {
            if lowers {
                self.write_header(state, len, Durability::Durable)?;
            } else if self.shared {
                self.announce_cut(state)?;
            }
            // In a file with holes the disk may have one here still, whatever was written since. The cut may reach the
            // disk before the chunk, and the file would end in a hole, which is none.
            let may_be_hole = lowers && state.header.flags.sparse;
            let durability = if may_be_hole {
                Durability::Durable
            } else {
                Durability::Lazy
            };
            if may_be_hole || cuts || self.is_hole(state, last)? {
                self.reseal(state, last, len, durability)?;
            }
        }
        state.shrinks += 1;
        self.set_len(state, len)
    }

    /// Shows other mounts that the file is being cut, so that none commits what it held before: a header that differs in its
    /// generation alone, where the committed length does not show it.
    pub(super) fn announce_cut(&self, state: &mut State) -> Result<(), ContentError> {
        let committed = state.header.committed_len;
        self.write_header(state, committed, Durability::Lazy)
    }

    /// Whether a whole chunk, about to become the last, is a block of zeros: the last one must be sealed.
    fn is_hole(&self, state: &State, index: ChunkIndex) -> Result<bool, ContentError> {
        if !state.header.flags.sparse {
            return Ok(false);
        }
        with_buffer(self.layout.block_len() as usize, |block| {
            let got = state.file.read_at(block, self.layout.block_start(index))?;
            Ok(all_zeros(self.sealed_area(index, &block[..got])))
        })
    }

    /// Writes the header alone, with a new committed length.
    pub(super) fn write_header(
        &self,
        state: &mut State,
        committed: PlainLen,
        durability: Durability,
    ) -> Result<(), ContentError> {
        let mut bytes = [0; 2048];
        let bytes = &mut bytes[..self.layout.header_len()];
        self.write_with_header(state, committed, bytes, durability)
    }
}

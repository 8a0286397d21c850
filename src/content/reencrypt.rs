//! Giving a file a new data key while it is read and written.
//!
//! The new key is in the header, durably, before a chunk is sealed with it, and from then on everything that is written is.
//! Every older chunk is sealed again, some blocks at a time, so that users go on between. When all of them are durable, the
//! old key leaves the header. So each chunk opens at every point, a header with two keys is what a crash leaves, and sealing
//! what is still under the old one is all there is to do after it.

use std::sync::Arc;

use crate::format::chunk::{self, Area};
use crate::format::file_keys::FileKeys;
use crate::format::header::KeyEpoch;
use crate::storage::Access;
use crate::units::{ChunkIndex, CipherOffset};
use crate::volume::FileMaterial;

use super::buffers::with_buffer;
use super::commit::SyncKind;
use super::error::{ContentError, Damage};
use super::keys::EpochKeys;
use super::writer::{Durability, write_to};
use super::{OpenFile, State};

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// Chunks that were sealed again.
    pub chunks: u64,
    /// Where the next step begins; `None` at the end of the file.
    pub next: Option<ChunkIndex>,
}

impl OpenFile {
    /// Gives the file a key more, which all is sealed with from now on; says whether `known` were its keys until now.
    ///
    /// # Errors
    /// [`ContentError::Io`]; [`ContentError::NotReadable`] where the slots of two keys do not fit the header. The file then
    /// has the keys that it had.
    pub fn add_key(&self, known: &[KeyEpoch], new: &FileMaterial) -> Result<bool, ContentError> {
        self.refuse_if_shared()?;
        self.close()?;
        let mut state = self.state.write();
        if state.header.epochs != known {
            return Ok(false);
        }
        let keys = FileKeys::derive(&new.dek, &self.file_id())?;
        let keys = self.keys(&state)?.with_newest(new.epoch.epoch, keys);
        self.with_keys(
            &mut state,
            keys,
            |state| {
                state.header.epochs.push(new.epoch.clone());
                state.header.membership_tag = new.membership_tag;
            },
            |state| self.put_header(state),
        )?;
        Ok(true)
    }

    /// All at once where header and content share one page, which is old or new after a crash: the file's only key is `new`
    /// then. `None` for a larger file; else whether `known` were its keys until now.
    ///
    /// # Errors
    /// As [`OpenFile::add_key`], and [`ContentError::Damaged`].
    pub fn exchange_key(
        &self,
        known: &[KeyEpoch],
        new: &FileMaterial,
    ) -> Result<Option<bool>, ContentError> {
        self.refuse_if_shared()?;
        self.close()?;
        let exchanged = self.change(|state| {
            if !self.is_one_page(state.len) {
                return Ok(None);
            }
            if state.header.epochs != known {
                return Ok(Some(false));
            }
            self.exchange_page(state, new).map(|()| Some(true))
        })?;
        if exchanged == Some(true) {
            self.subkeys.clear();
        }
        Ok(exchanged)
    }

    fn exchange_page(&self, state: &mut State, new: &FileMaterial) -> Result<(), ContentError> {
        let (index, len) = (ChunkIndex(0), state.len);
        let keys = FileKeys::derive(&new.dek, &self.file_id())?;
        let keys = EpochKeys::of(new.epoch.epoch, keys);
        with_buffer(self.chunk_len(len, index) as usize, |plain| {
            self.read_chunk(state, index, plain)?;
            let change = |state: &mut State| {
                state.header.epochs = vec![new.epoch.clone()];
                state.header.membership_tag = new.membership_tag;
            };
            self.with_keys(state, keys, change, |state| {
                with_buffer(self.layout.block_len() as usize, |block| {
                    let mut nonces = self.nonces(state, 1)?;
                    self.seal_block(&mut nonces, index, plain, block);
                    self.write_with_header(state, len, block, Durability::Lazy)
                })
            })
        })
    }

    /// Seals again what `blocks` blocks from `from` on hold under older keys. Lengths, times and holes stay as they are.
    ///
    /// # Errors
    /// [`ContentError::Damaged`] where a chunk does not open: it stays as it is. [`ContentError::Io`].
    pub fn reseal_older(&self, from: ChunkIndex, blocks: u64) -> Result<Resealed, ContentError> {
        self.refuse_if_shared()?;
        self.change(|state| {
            let end = self.layout.chunk_count(state.len);
            if from.0 >= end {
                let next = None;
                return Ok(Resealed { chunks: 0, next });
            }
            let blocks = blocks.min(end - from.0);
            self.keep_times(state, |state| self.reseal_range(state, from, blocks))
        })
    }

    /// Drops every key but the newest, once nothing is sealed under them any more and all of it is durable.
    ///
    /// # Errors
    /// [`ContentError::Io`]: then the file keeps its keys.
    pub fn drop_older_keys(&self) -> Result<(), ContentError> {
        self.refuse_if_shared()?;
        self.sync(SyncKind::Data)?;
        let mut state = self.state.write();
        if state.header.epochs.len() < 2 {
            return Ok(());
        }
        let keys = self.keys(&state)?.only_newest();
        self.with_keys(
            &mut state,
            keys,
            |state| {
                let older = state.header.epochs.len() - 1;
                state.header.epochs.drain(..older);
            },
            |state| self.put_header(state),
        )?;
        self.subkeys.clear();
        Ok(())
    }

    /// Other mounts have the file's keys in memory and would not learn of new ones.
    fn refuse_if_shared(&self) -> Result<(), ContentError> {
        if self.shared {
            return Err(std::io::Error::from_raw_os_error(libc::EOPNOTSUPP).into());
        }
        Ok(())
    }

    /// Writes what a change of the header and the keys asks for. Where that fails the old ones stay: they open all that
    /// there is.
    fn with_keys(
        &self,
        state: &mut State,
        keys: EpochKeys,
        change: impl FnOnce(&mut State),
        write: impl FnOnce(&mut State) -> Result<(), ContentError>,
    ) -> Result<(), ContentError> {
        if state.file.access() == Access::Read {
            return Err(std::io::Error::from_raw_os_error(libc::EBADF).into());
        }
        let (epochs, tag) = (state.header.epochs.clone(), state.header.membership_tag);
        let keys_before = std::mem::replace(&mut state.keys, Ok(Arc::new(keys)));
        change(state);
        // Whatever comes next is sealed under the newest key.
        self.end_session();
        let mut stands = false;
        let written = self.keep_times(state, |state| {
            write(state)?;
            stands = true;
            Ok(())
        });
        // What is on disk counts, also where the times could not be put back.
        if !stands {
            state.header.epochs = epochs;
            state.header.membership_tag = tag;
            state.keys = keys_before;
            self.end_session();
            state.tag_header();
        }
        written
    }

    fn put_header(&self, state: &mut State) -> Result<(), ContentError> {
        let committed = state.header.committed_len;
        self.write_header(state, committed, Durability::Durable)
    }

    fn reseal_range(
        &self,
        state: &State,
        from: ChunkIndex,
        blocks: u64,
    ) -> Result<Resealed, ContentError> {
        let block_len = self.layout.block_len() as usize;
        with_buffer(blocks as usize * block_len, |cipher| {
            let got = state.file.read_at(cipher, self.layout.block_start(from))?;
            let mut changed = Vec::with_capacity(blocks as usize);
            let mut next = ChunkIndex(from.0 + blocks);
            for (nth, block) in cipher.chunks_exact_mut(block_len).enumerate() {
                let index = ChunkIndex(from.0 + nth as u64);
                if (nth + 1) * block_len > got {
                    return Err(self.damaged(Damage::Cut { index }));
                }
                changed.push(self.reseal_block(state, index, block)?);
            }
            self.put_changed(state, from, cipher, &changed)?;
            let last = ChunkIndex(next.0 - 1);
            if last < self.last_chunk(state.len) && self.is_hole_block(cipher, from, last) {
                // The last chunk is never in a hole.
                next = self
                    .next_backed(state, last)?
                    .min(self.last_chunk(state.len));
            }
            Ok(Resealed {
                chunks: changed.iter().filter(|changed| **changed).count() as u64,
                next: (next <= self.last_chunk(state.len)).then_some(next),
            })
        })
    }

    /// Seals a block's chunk again, in the buffer, if it is under an older key; says whether it was.
    fn reseal_block(
        &self,
        state: &State,
        index: ChunkIndex,
        block: &mut [u8],
    ) -> Result<bool, ContentError> {
        let parsed = chunk::parse(&self.context, index, self.sealed_area(index, block));
        match parsed.map_err(|source| self.damaged(Damage::Chunk { index, source }))? {
            Area::Hole => return self.check_hole(state, index).map(|()| false),
            Area::Sealed(sealed) if sealed.epoch() == self.keys(state)?.newest_epoch() => {
                return Ok(false);
            }
            Area::Sealed(_) => {}
        }
        let len = self.chunk_len(state.len, index) as usize;
        with_buffer(len, |plain| {
            let area = self.sealed_area(index, block);
            self.open_part(state, index, area, 0, plain, &mut None)?;
            let mut nonces = self.nonces(state, 1)?;
            self.seal_block(&mut nonces, index, plain, block);
            Ok(true)
        })
    }

    /// Writes the blocks that changed, neighbours in one call. The header's part of the first block is not touched.
    fn put_changed(
        &self,
        state: &State,
        from: ChunkIndex,
        cipher: &[u8],
        changed: &[bool],
    ) -> Result<(), ContentError> {
        let block_len = self.layout.block_len() as usize;
        let mut nth = 0;
        for run in changed.chunk_by(|one, next| one == next) {
            let (begin, end) = (nth, nth + run.len());
            nth = end;
            if !changed[begin] {
                continue;
            }
            let index = ChunkIndex(from.0 + begin as u64);
            let header = match index.0 {
                0 => self.layout.header_len(),
                _ => 0,
            };
            let at = CipherOffset(self.layout.block_start(index).0 + header as u64);
            let bytes = &cipher[begin * block_len + header..end * block_len];
            write_to(state, bytes, at, Durability::Lazy)?;
        }
        Ok(())
    }

    fn is_hole_block(&self, cipher: &[u8], from: ChunkIndex, index: ChunkIndex) -> bool {
        let block_len = self.layout.block_len() as usize;
        let nth = (index.0 - from.0) as usize;
        let block = &cipher[nth * block_len..(nth + 1) * block_len];
        crate::format::all_zeros(self.sealed_area(index, block))
    }
}

//! Plaintext writes: head and tail chunks are read and opened where the write covers them in part,
//! all that is not sealed ahead is sealed with fresh nonces, and they go to disk as whole blocks in one write.

use crate::format::all_zeros;
use crate::storage::{Access, StorageFile, TimeSet, Timestamp};
use crate::units::{ChunkIndex, CipherLen, CipherOffset, PlainLen, PlainOffset};

use super::ahead::BlockWrite;
use super::buffers::with_buffer;
use super::error::{ContentError, Damage};
use super::session::SealingRun;
use super::{OnDisk, OpenFile, State};

/// How a write must reach the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// With the next sync.
    Lazy,
    /// Before the call returns.
    Durable,
}

impl OpenFile {
    /// Writes `data` at `at`; a gap between the end and `at` reads as zeros.
    ///
    /// # Errors
    /// [`ContentError::Io`] (a full disk among them): the file is then as a shorter write would have left it.
    pub fn write(&self, at: PlainOffset, data: &[u8]) -> Result<(), ContentError> {
        if data.is_empty() {
            return Ok(());
        }
        self.with_blocks(at, data, |write| {
            self.seal_ahead(write);
            self.change(|state| {
                self.write_in(state, write)?;
                if let Some(told) = &mut state.told_mtime {
                    told.written();
                }
                Ok(())
            })
        })
    }

    /// Writes `data` at the end, wherever other writers have left it; says where that was.
    ///
    /// # Errors
    /// As [`OpenFile::write`].
    pub fn append(&self, data: &[u8]) -> Result<PlainOffset, ContentError> {
        self.change(|state| {
            let end = PlainOffset(state.len.0);
            if !data.is_empty() {
                self.with_blocks(end, data, |write| self.write_in(state, write))?;
            }
            Ok(end)
        })
    }

    pub(super) fn write_in(
        &self,
        state: &mut State,
        write: &mut BlockWrite<'_>,
    ) -> Result<(), ContentError> {
        let end = write.at.0.checked_add(write.data.len() as u64);
        let end = end.ok_or(ContentError::TooLarge)?;
        self.check_len(PlainLen(end))?;
        let first = self.layout.locate(write.at).0;
        self.open_gap(state, first)?;
        let len = PlainLen(state.len.0.max(end));
        self.write_blocks(state, write, len)?;
        self.set_len(state, len)
    }

    /// Runs a change of the file under its lock. After an error the end is found again, as after a crash.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, ContentError>,
    ) -> Result<T, ContentError> {
        self.change_below(PlainLen(u64::MAX), work)
    }

    /// As [`OpenFile::change`], of a file of which no more than `kept` bytes will be left.
    pub(super) fn change_below<T>(
        &self,
        kept: PlainLen,
        work: impl FnOnce(&mut State) -> Result<T, ContentError>,
    ) -> Result<T, ContentError> {
        let mut state = self.state.write();
        if state.file.access() == Access::Read {
            return Err(std::io::Error::from_raw_os_error(libc::EBADF).into());
        }
        self.keys(&state)?;
        let _turn = self.take_turn(&mut state)?;
        self.refuse_to_hide_a_cut(&state, kept)?;
        self.cut_untidy_tail(&mut state)?;
        let result = work(&mut state);
        match (&result, state.header_on_disk) {
            (Ok(_), _) => {}
            (Err(_), true) => self.find_end(&mut state)?,
            (Err(_), false) => state.untidy_tail = true,
        }
        result
    }

    pub(super) fn check_len(&self, len: PlainLen) -> Result<(), ContentError> {
        if len > self.layout.max_plain_len() {
            Err(ContentError::TooLarge)
        } else {
            Ok(())
        }
    }

    /// A file that was cut below its committed length has a hole there as soon as it grows again. Where holes are
    /// legal, what was cut off would then read as zeros.
    fn refuse_to_hide_a_cut(&self, state: &State, kept: PlainLen) -> Result<(), ContentError> {
        if !state.untidy_tail || !state.header.flags.sparse {
            return Ok(());
        }
        match self.cut_at(state)? {
            Some(index) if self.layout.chunk_start(index).0 < kept.0 => {
                Err(self.damaged(Damage::Cut { index }))
            }
            _ => Ok(()),
        }
    }

    /// Blocks that a crash left past the end would otherwise turn up inside the file as it grows.
    fn cut_untidy_tail(&self, state: &mut State) -> Result<(), ContentError> {
        if state.untidy_tail {
            let len = state.len;
            self.keep_times(state, |state| {
                if self.shared && state.header_on_disk {
                    self.announce_cut(state)?;
                }
                Ok(self.cut_to(state, len)?)
            })?;
            state.untidy_tail = false;
        }
        Ok(())
    }

    /// Takes over a new length and lets `st_size` tell it.
    pub(super) fn set_len(&self, state: &mut State, len: PlainLen) -> Result<(), ContentError> {
        if len < state.len {
            self.cut_to(state, len)?;
        } else if len > state.len {
            state.file.set_len(self.layout.physical_len(len))?;
        }
        state.len = len;
        Ok(())
    }

    /// Cuts behind the last block first: the bytes past it that tell the tail's length must be a hole,
    /// not the beginning of the block that stood there.
    fn cut_to(&self, state: &State, len: PlainLen) -> std::io::Result<()> {
        let blocks = CipherLen(self.layout.chunk_count(len) * self.layout.block_len());
        state.file.set_len(blocks)?;
        state.file.set_len(self.layout.physical_len(len))
    }

    /// Before chunk `first` is written: the last chunk must be full if it is no longer the last, and what lies between is a hole.
    pub(super) fn open_gap(
        &self,
        state: &mut State,
        first: ChunkIndex,
    ) -> Result<(), ContentError> {
        let last = self.last_chunk(state.len);
        if first <= last {
            return Ok(());
        }
        let full = self.layout.capacity(last);
        let full_len = PlainLen(self.layout.chunk_start(last).0 + full);
        if self.chunk_len(state.len, last) < full || !state.header_on_disk {
            self.reseal(state, last, full_len, Durability::Lazy)?;
            state.len = full_len;
        }
        if first.0 > last.0 + 1 {
            self.declare_holes(state, Durability::Lazy)?;
            self.clear_behind_end(state)?;
        }
        Ok(())
    }

    /// The bytes past the last block that tell the tail's length are a hole, unless a crash left there the beginning of a
    /// block whose length did not reach the disk. They go before they stand in a gap that must read as zeros.
    fn clear_behind_end(&self, state: &State) -> Result<(), ContentError> {
        let next = ChunkIndex(self.last_chunk(state.len).0 + 1);
        let clear = with_buffer(self.layout.block_len() as usize, |block| {
            let got = state.file.read_at(block, self.layout.block_start(next))?;
            Ok::<_, ContentError>(all_zeros(&block[..got]))
        })?;
        if !clear {
            self.cut_to(state, state.len)?;
        }
        Ok(())
    }

    /// Seals chunk `index` again at the length that it has in a file of `len` bytes: cut, or filled up with zeros.
    pub(super) fn reseal(
        &self,
        state: &mut State,
        index: ChunkIndex,
        len: PlainLen,
        durability: Durability,
    ) -> Result<(), ContentError> {
        let new = self.chunk_len(len, index) as usize;
        let had = self.chunk_len(state.len, index) as usize;
        let block_len = self.layout.block_len() as usize;
        with_buffer(had.max(new), |plain| {
            self.read_chunk(state, index, &mut plain[..had])?;
            plain[had.min(new)..new].fill(0);
            with_buffer(block_len, |block| {
                let mut nonces = self.nonces(state, 1)?;
                self.seal_block(&mut nonces, index, &plain[..new], block);
                self.put_blocks(state, index, block, len, durability)
            })
        })
    }

    /// Seals what is not sealed yet and writes all; `len` is the file's length afterwards.
    pub(super) fn write_blocks(
        &self,
        state: &mut State,
        write: &mut BlockWrite<'_>,
        len: PlainLen,
    ) -> Result<(), ContentError> {
        let (first, skip) = self.layout.locate(write.at);
        let block_len = self.layout.block_len() as usize;
        let sealed = self.still_sealed(write.ahead.take());
        let left = write.cipher.len() / block_len - sealed.clone().count();
        let mut nonces = self.nonces(state, left)?;
        let (mut rest, mut skip) = (write.data, skip as usize);
        for (nth, block) in write.cipher.chunks_exact_mut(block_len).enumerate() {
            let index = ChunkIndex(first.0 + nth as u64);
            let room = self.layout.capacity(index) as usize - skip;
            let (part, later) = rest.split_at(room.min(rest.len()));
            if !sealed.contains(&index.0) {
                self.seal_part(state, &mut nonces, index, skip, part, block)?;
            }
            (rest, skip) = (later, 0);
        }
        self.put_blocks(state, first, write.cipher, len, Durability::Lazy)
    }

    /// Seals chunk `index` with `part` laid over what it holds from `skip` on.
    fn seal_part(
        &self,
        state: &State,
        nonces: &mut SealingRun,
        index: ChunkIndex,
        skip: usize,
        part: &[u8],
        block: &mut [u8],
    ) -> Result<(), ContentError> {
        let had = self.chunk_len(state.len, index) as usize;
        let end = skip + part.len();
        if skip == 0 && end >= had {
            self.seal_block(nonces, index, part, block);
            return Ok(());
        }
        with_buffer(had.max(end), |plain| {
            self.read_chunk(state, index, &mut plain[..had])?;
            if skip > had {
                plain[had..skip].fill(0);
            }
            plain[skip..end].copy_from_slice(part);
            self.seal_block(nonces, index, plain, block);
            Ok(())
        })
    }

    /// Puts sealed blocks on disk from chunk `first` on; `len` is the file's length afterwards. Block 0 takes
    /// the header with it where the header is new, or where one page holds all and so commits itself.
    fn put_blocks(
        &self,
        state: &mut State,
        first: ChunkIndex,
        cipher: &mut [u8],
        len: PlainLen,
        durability: Durability,
    ) -> Result<(), ContentError> {
        let one_page = self.is_one_page(len);
        if first.0 > 0 || (state.header_on_disk && !one_page) {
            let header = if first.0 == 0 {
                self.layout.header_len()
            } else {
                0
            };
            let at = CipherOffset(self.layout.block_start(first).0 + header as u64);
            return Ok(write_to(state, &cipher[header..], at, durability)?);
        }
        let committed = if one_page {
            len
        } else {
            state.header.committed_len
        };
        self.write_with_header(state, committed, cipher, durability)?;
        state.header_on_disk = true;
        Ok(())
    }

    /// Writes `bytes` to the front of the file, with the header's next generation laid over their beginning. After
    /// a failure the committed length is the old one; the generation stays used, so that no two headers share one.
    pub(super) fn write_with_header(
        &self,
        state: &mut State,
        committed: PlainLen,
        bytes: &mut [u8],
        durability: Durability,
    ) -> Result<(), ContentError> {
        self.keys(state)?;
        let before = std::mem::replace(&mut state.header.committed_len, committed);
        state.header.generation += 1;
        state.tag_header();
        let encoded = state.header.encode(&mut bytes[..self.layout.header_len()]);
        let written = encoded
            .map_err(ContentError::from)
            .and_then(|()| Ok(write_to(state, bytes, CipherOffset(0), durability)?));
        written.inspect_err(|_error| {
            state.header.committed_len = before;
            state.tag_header();
        })?;
        state.on_disk = OnDisk::of(&state.header);
        Ok(())
    }

    /// Runs a write of this module's own accord (not the user's) so that the file's times stay as they are.
    pub(super) fn keep_times<T>(
        &self,
        state: &mut State,
        work: impl FnOnce(&mut State) -> Result<T, ContentError>,
    ) -> Result<T, ContentError> {
        let mtime = state.file.stat()?.mtime;
        let result = work(state);
        put_back_mtime(&state.file, mtime)?;
        result
    }
}

/// Sets the time of the last change to what it was. Where the file is another user's that may be refused, and what was
/// written stands all the same.
pub(super) fn put_back_mtime(file: &StorageFile, mtime: Timestamp) -> std::io::Result<()> {
    match file.set_times(TimeSet::Keep, TimeSet::At(mtime.secs, mtime.nanos)) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            tracing::debug!(%error, "the time of the last change could not be put back");
            Ok(())
        }
        set => set,
    }
}

pub(super) fn write_to(
    state: &State,
    bytes: &[u8],
    at: CipherOffset,
    durability: Durability,
) -> std::io::Result<()> {
    match durability {
        Durability::Lazy => state.file.write_at(bytes, at),
        Durability::Durable => state.file.write_at_synced(bytes, at),
    }
}

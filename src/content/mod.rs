//! An open file: plaintext reads, writes, resizing, holes, commit and recovery over one ciphertext file.
//!
//! One [`OpenFile`] stands for one ciphertext inode, however many handles are open on it. The rules
//! it keeps are docs/FORMAT.md's "Commit rules":
//!
//! * a block is written whole, so that after a crash it is old or new;
//! * the committed length is raised only to what is already durable, and lowered, durably, before a
//!   block below it may vanish;
//! * `st_size` tells the plaintext length to whoever has no key; it follows every change of length.

mod ahead;
mod buffers;
mod commit;
mod ctimes;
mod error;
mod holes;
mod keys;
mod keys_gone;
mod probe;
mod reader;
mod recovery;
mod reencrypt;
mod resize;
mod session;
mod shared;
mod slots;
mod told_mtime;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::crypto::LockedMemoryError;
use crate::format::chunk::ChunkContext;
use crate::format::header::{FileHeader, HeaderFlags};
use crate::format::layout::Layout;
use crate::keys::KeyError;
use crate::storage::{Access, Node, Stat, StorageFile, TimeSet, Timestamp};
use crate::units::{ChunkIndex, CipherLen, FileId, PlainLen};
use crate::volume::{ChunkTag, FileMaterial, SealedFile};

pub use buffers::with_buffer;
pub use commit::{CommitTicket, SyncKind};
pub use ctimes::Ctimes;
pub use error::{ContentError, Damage};
pub use holes::Seek;
pub use keys::EpochKeys;
pub use probe::{Probe, probe, probe_any_layout};
pub use reencrypt::Resealed;
pub use shared::exclude_writers;
pub use slots::exchange_slots;
pub use verify::{Extent, Lost};

use ctimes::ToldCtime;
use keys::SubkeyCache;
use session::WriterSession;
use told_mtime::ToldMtime;

/// One ciphertext file, open. Shared by all handles of its inode.
#[derive(Debug)]
pub struct OpenFile {
    layout: Layout,
    context: ChunkContext,
    subkeys: SubkeyCache,
    /// Whether other mounts may write the file too.
    shared: bool,
    /// Of a sealed volume: the tags that its chunks had.
    pinned: OnceLock<Box<[ChunkTag]>>,
    /// Held shared by reads, exclusively by what changes the file. But for `session` and the subkeys,
    /// nothing else in this process is locked while it is held.
    state: RwLock<State>,
    /// What is sealed with, once there was something to seal. Held shared while drawing from it, and by
    /// who seals while he does not hold `state`; that one waits for nothing.
    session: RwLock<Option<WriterSession>>,
}

#[derive(Debug)]
struct State {
    /// The keys of the header's epochs, or why they were taken away.
    keys: Result<Arc<EpochKeys>, KeyError>,
    file: Arc<StorageFile>,
    header: FileHeader,
    /// False only in a new file's first moments: the header goes to disk with the first data.
    header_on_disk: bool,
    /// Which header was last read from disk, or written there.
    on_disk: OnDisk,
    /// That there may be holes was durable on disk when last it had to be. `header.flags` says whether there may be.
    sparse_durable: bool,
    /// The plaintext length: the truth, where `st_size` and the committed length may lag.
    len: PlainLen,
    /// A crash left blocks past the end; they must be cut off before the file may grow over them.
    untidy_tail: bool,
    /// While the tail is untidy: the size on disk when the end was searched for.
    searched: CipherLen,
    /// Counts shrinks: a commit begun before one must not raise the committed length after it.
    shrinks: u64,
    /// The time of the last change that the kernel is known to have; see [`OpenFile::tell_mtime`].
    told_mtime: Option<ToldMtime>,
    /// The time of the last change of the inode that the kernel is known to have; see [`OpenFile::tell_ctime`].
    told_ctime: Option<ToldCtime>,
}

/// What tells one header of a file from the next.
#[derive(Debug, Clone, Copy)]
struct OnDisk {
    tag: [u8; 32],
    generation: u64,
}

impl OnDisk {
    fn of(header: &FileHeader) -> Self {
        Self {
            tag: header.header_tag,
            generation: header.generation,
        }
    }
}

impl OpenFile {
    /// A file without a header, as it was just created or as a crash left it. Its header follows with the first data
    /// or at [`OpenFile::close`]; blocks that a crash left in it go before.
    ///
    /// # Errors
    /// [`LockedMemoryError`] where no key memory is to be had.
    pub fn create(
        file: StorageFile,
        layout: Layout,
        new: FileMaterial,
    ) -> Result<Self, LockedMemoryError> {
        let header = FileHeader {
            layout,
            file_id: new.file_id,
            volume_id: new.volume_id,
            committed_len: PlainLen(0),
            generation: 0,
            flags: HeaderFlags { sparse: false },
            epochs: vec![new.epoch],
            header_tag: [0; 32],
            membership_tag: new.membership_tag,
        };
        let keys = EpochKeys::derive(&header, &[new.dek])?;
        // A crash may leave blocks of a new file and not its header. They were sealed with keys that are lost.
        let has_blocks = file.len().map_or(true, |len| len.0 > 0);
        let state = State {
            untidy_tail: has_blocks,
            ..State::new(keys, file, header, false)
        };
        Ok(Self::with_state(layout, state))
    }

    /// Opens a file whose header was [probed](probe()) and whose data keys are at hand: checks the
    /// header's tag and, where a crash left the end in doubt, finds the end.
    ///
    /// # Errors
    /// [`ContentError::Damaged`] where the header is not authentic, [`ContentError::Io`].
    pub fn open(
        file: StorageFile,
        header: FileHeader,
        keys: EpochKeys,
    ) -> Result<Self, ContentError> {
        let open = Self::authentic(file, header, keys)?;
        open.find_end(&mut open.state.write())?;
        Ok(open)
    }

    /// A file whose header is authentic, and whose end is yet to be found.
    fn authentic(
        file: StorageFile,
        header: FileHeader,
        keys: EpochKeys,
    ) -> Result<Self, ContentError> {
        let layout = header.layout;
        if !header.verify(keys.header_key()) {
            return Err(ContentError::damaged(header.file_id, Damage::Header));
        }
        Ok(Self::with_state(
            layout,
            State::new(keys, file, header, true),
        ))
    }

    fn with_state(layout: Layout, state: State) -> Self {
        Self {
            layout,
            context: ChunkContext::new(layout, state.header.file_id),
            subkeys: SubkeyCache::default(),
            shared: false,
            pinned: OnceLock::new(),
            state: RwLock::new(state),
            session: RwLock::new(None),
        }
    }

    /// Holds every later read against the chunks of `sealed`, which was read from this file.
    ///
    /// # Errors
    /// [`Damage::Header`] where the header is another by now.
    pub fn pin(&self, sealed: SealedFile) -> Result<(), ContentError> {
        if !sealed.has_header(&self.state.read().header) {
            return Err(ContentError::damaged(self.file_id(), Damage::Header));
        }
        self.pinned.get_or_init(|| sealed.into_tags());
        Ok(())
    }

    /// The plaintext length in bytes.
    pub fn len(&self) -> PlainLen {
        self.state.read().len
    }

    /// Whether the file holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == PlainLen(0)
    }

    /// The file's id, as its header has it.
    pub fn file_id(&self) -> FileId {
        self.context.file_id()
    }

    /// Whether a write would be refused for want of a writable descriptor.
    pub fn is_read_only(&self) -> bool {
        self.state.read().file.access() == Access::Read
    }

    /// Whether a crash left the end in doubt, so that `st_size` may tell a wrong length until [`OpenFile::mend`].
    pub fn is_untidy(&self) -> bool {
        self.state.read().untidy_tail
    }

    /// Replaces the descriptor by one that may write, when a reader's file is opened by a writer.
    pub fn make_writable(&self, file: StorageFile) {
        let mut state = self.state.write();
        if state.file.access() == Access::Read {
            state.file = Arc::new(file);
        }
    }

    /// Attributes of the ciphertext inode (its `size` is the physical one).
    ///
    /// # Errors
    /// What `fstat` answers.
    pub fn stat(&self) -> io::Result<Stat> {
        self.state.read().file.stat()
    }

    /// Sets times, in order with the writes that keep times as they are.
    ///
    /// # Errors
    /// What `futimens` answers.
    pub fn set_times(&self, atime: TimeSet, mtime: TimeSet) -> io::Result<()> {
        let mut state = self.state.write();
        // Another mount may be about to set a time back.
        let _turn = self.exclude_others(&state)?;
        state.file.set_times(atime, mtime)?;
        match mtime {
            TimeSet::Keep => {}
            TimeSet::Now => state.told_mtime = None,
            TimeSet::At(secs, nanos) => state.told_mtime = self.told(Timestamp { secs, nanos }),
        }
        Ok(())
    }

    /// A handle of the ciphertext inode, whatever has become of its names.
    ///
    /// # Errors
    /// What `open` answers.
    pub fn node(&self) -> io::Result<Node> {
        Node::of_file(&self.state.read().file)
    }

    /// Sets owner and group, those that are given.
    ///
    /// # Errors
    /// What `fchown` answers.
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        self.state.read().file.set_owner(uid, gid)
    }

    /// Sets the mode bits (07777).
    ///
    /// # Errors
    /// What `fchmod` answers.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.state.read().file.set_mode(mode)
    }

    /// The plaintext length of chunk `index` in a file of `len` bytes.
    fn chunk_len(&self, len: PlainLen, index: ChunkIndex) -> u64 {
        let start = self.layout.chunk_start(index).0;
        len.0.saturating_sub(start).min(self.layout.capacity(index))
    }

    fn last_chunk(&self, len: PlainLen) -> ChunkIndex {
        ChunkIndex(self.layout.chunk_count(len) - 1)
    }

    /// Header and only chunk share one page that the backing store writes atomically: every write commits.
    fn is_one_page(&self, len: PlainLen) -> bool {
        self.layout.block_len() == ATOMIC_WRITE_LEN && self.layout.chunk_count(len) == 1
    }
}

/// What a backing store writes all or not at all: one aligned page.
const ATOMIC_WRITE_LEN: u64 = 4096;

impl State {
    /// Gives the header as it is known here its tag: before it is written, and where a change of it came to nothing, since keys
    /// are held against it when they are given back.
    fn tag_header(&mut self) {
        let Self { keys, header, .. } = self;
        if let Ok(keys) = keys {
            header.seal(keys.header_key());
        }
    }

    fn new(keys: EpochKeys, file: StorageFile, header: FileHeader, header_on_disk: bool) -> Self {
        Self {
            keys: Ok(Arc::new(keys)),
            file: Arc::new(file),
            on_disk: OnDisk::of(&header),
            sparse_durable: header_on_disk && header.flags.sparse,
            len: header.committed_len,
            header,
            header_on_disk,
            untidy_tail: false,
            searched: CipherLen(0),
            shrinks: 0,
            told_mtime: None,
            told_ctime: None,
        }
    }
}

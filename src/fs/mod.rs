//! POSIX over a volume: inodes, handles, and the operations by family.
//!
//! `fuse` converts and calls; everything that decides is here. An operation goes: inode table →
//! `resolve` (folder handle and ciphertext name) → one system call of `storage`, or
//! the handle's open file in `content`.
//!
//! Locks, in the order in which they may be taken: a folder's `names` (two of them by inode number),
//! an inode's `open` slot, its `other_names`, an inode's `whereabouts` (two of them by inode number, or a child's and then
//! its folder's), a shard of a table, the folder-handle cache, the committer's list, the names noted for a run.
//! None is held while a key provider is waited for.

mod attr;
mod caller;
mod committer;
mod custody;
mod error;
mod exports;
mod handles;
mod inodes;
mod kernel;
mod key_watch;
mod locks;
mod moves;
mod ops;
mod policy;
mod prefetch;
mod resolve;
mod sealed;
mod space;
mod stats;
mod subject;
mod unsynced;
mod users;
mod worker;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use crate::content::Ctimes;
use crate::storage::Node;
use crate::volume::{KeptCtime, Seal, Volume};

pub use attr::{Attr, Entry};
pub use caller::Caller;
pub use custody::LockedBy;
pub use error::FsError;
pub use handles::Fh;
pub use inodes::Ino;
pub use kernel::KernelCache;
pub use locks::{LockConflict, LockOwner, LockRequest};
pub use moves::{MoveWatch, Moved};
pub use ops::attr::{AttrChange, TimeChange};
pub use ops::create::Created;
pub use ops::folder::FolderEntry;
pub use ops::nameless::{NAMELESS, Nameless};
pub use ops::open::Opened;
pub use ops::reencrypt::Step;
pub use ops::slots::Renewed;
pub use ops::xattr::is_for_the_kernel;
pub use policy::{Ask, executable_below};
pub use stats::{Operation, Stats, StatsReport};
pub use users::{Usage, User};

use committer::Committer;
use custody::Custody;
use exports::Exports;
use handles::{FileHandle, FolderHandle, HandleTable};
use inodes::{Inode, InodeTable};
use key_watch::KeyWatch;
use locks::LockTable;
use moves::Moves;
use prefetch::Prefetch;
use space::Space;
use unsynced::Unsynced;
use users::Users;

/// How a volume is served.
#[derive(Debug, Clone)]
pub struct FsOptions {
    /// A file that a crash left without a header reads as empty instead of `EIO`.
    pub accept_empty: bool,
    /// POSIX ACLs decide on accesses, and may be set.
    pub acl: bool,
    /// Reading a file leaves the time of its last access.
    pub noatime: bool,
    /// Inodes are found by number after the kernel has forgotten them.
    pub export: bool,
    /// Folder handles kept open, at most.
    pub folder_handles: NonZeroUsize,
    /// Other mounts may change the volume too.
    pub shared: bool,
    /// How long keys in use may be used beyond their TTL while no provider says whether they may.
    pub offline_grace: Duration,
    /// What everything is held against, where the volume is sealed.
    pub seal: Option<Arc<Seal>>,
}

/// The grace where nothing else is said.
pub const DEFAULT_OFFLINE_GRACE: Duration = Duration::from_secs(3600);

impl Default for FsOptions {
    fn default() -> Self {
        Self {
            accept_empty: false,
            acl: false,
            noatime: false,
            export: false,
            folder_handles: NonZeroUsize::new(4096).expect("not zero"),
            shared: false,
            offline_grace: DEFAULT_OFFLINE_GRACE,
            seal: None,
        }
    }
}

/// A mounted volume, ready for requests from any number of threads.
#[derive(Debug)]
pub struct FileSystem {
    volume: Arc<Volume>,
    options: FsOptions,
    inodes: InodeTable,
    files: HandleTable<FileHandle>,
    folders: HandleTable<FolderHandle>,
    /// Handles of the folders last used, by inode: children are reached from them without a path walk.
    folder_nodes: Mutex<LruCache<Ino, Arc<Node>>>,
    committer: Committer,
    unsynced: Arc<Unsynced>,
    ctimes: Arc<Ctimes>,
    locks: LockTable,
    moves: Moves,
    exports: Option<Exports>,
    space: Space,
    stats: Arc<Stats>,
    users: Users,
    custody: Custody,
    key_watch: KeyWatch,
    /// There once the mount is.
    kernel: OnceLock<Arc<dyn KernelCache>>,
    prefetch: Prefetch,
    rules: policy::Rules,
}

impl FileSystem {
    /// Serves `volume`; starts the threads that commit what was written without an fsync, and that watch over keys.
    ///
    /// # Errors
    /// What the first look at the volume's root answers; that there is no thread to watch over keys.
    pub fn new(volume: Arc<Volume>, options: FsOptions) -> std::io::Result<Arc<Self>> {
        let inodes = InodeTable::new(&volume.root().stat()?, Arc::clone(volume.root()));
        let stats = Arc::new(Stats::default());
        let exports = options.export.then(|| Exports::new(volume.root()));
        let unsynced = Arc::new(Unsynced::new(volume.root().orders_metadata()?));
        let key_watch = KeyWatch::new(volume.key_ttl(), options.offline_grace);
        let fs = Arc::new(Self {
            inodes,
            files: HandleTable::default(),
            folders: HandleTable::default(),
            folder_nodes: Mutex::new(LruCache::new(options.folder_handles)),
            space: Space::new(volume.root()),
            committer: Committer::start(Arc::clone(volume.root()), Arc::clone(&unsynced)),
            unsynced,
            ctimes: Arc::new(Ctimes::new(&kept_ctimes(&volume), KeptCtime::MOST)),
            locks: LockTable::default(),
            moves: Moves::default(),
            exports: exports.transpose()?,
            custody: Custody::default(),
            key_watch,
            kernel: OnceLock::new(),
            prefetch: Prefetch::new(),
            volume,
            options,
            stats,
            users: Users::default(),
            rules: policy::Rules::default(),
        });
        // Without it revoked keys would stay in use.
        fs.key_watch.start(&fs)?;
        Ok(fs)
    }

    /// Tells where the kernel's caches are. Only the first one counts.
    pub fn set_kernel_cache(&self, kernel: Arc<dyn KernelCache>) {
        if self.kernel.set(kernel).is_err() {
            tracing::debug!("the kernel's caches were known already");
        }
    }

    /// Commits all that was written and makes it durable; says whether every commit since the mount succeeded.
    /// Call after the last request.
    pub fn shut_down(&self) -> bool {
        self.key_watch.stop();
        self.prefetch.stop();
        // The kernel does not wait for the end of handles when it unmounts, and drops what it has not sent.
        let mut flushed = true;
        for handle in self.files.drain() {
            if let Err(error) = self.flush_handle(&handle) {
                flushed = false;
                self.note_failure("release", Some(handle.inode.ino()), None, &error);
            }
        }
        let committed = self.committer.finish();
        // Small files commit themselves with each write, and names have no commit: they too outlive a power cut from here on.
        let synced = self.volume.root().sync_fs();
        if let Err(error) = &synced {
            tracing::warn!(%error, "could not sync the ciphertext folder at the end of the mount");
        }
        self.keep_ctimes();
        committed && flushed && synced.is_ok()
    }

    /// For the next mount. What cannot be kept costs programs that compare such times another look at some files.
    fn keep_ctimes(&self) {
        let kept = match self.ctimes.to_keep() {
            Some(ctimes) => self.volume.keep_ctimes(&ctimes),
            None => Ok(()),
        };
        if let Err(error) = kept {
            tracing::info!(%error, "files will show other times of their last change (ctime) in the next mount");
        }
    }

    /// Counters for `status`.
    pub fn stats(&self) -> StatsReport {
        self.stats.report(self.files.len(), self.inodes.len())
    }

    /// How many requests of each kind came.
    pub fn operations(&self) -> Vec<(Operation, u64)> {
        self.stats.operations()
    }

    /// Who has read and written, as far as that is remembered.
    pub fn users(&self) -> Vec<(User, Usage)> {
        let open = self.files.all();
        self.users.all(open.iter().map(Arc::as_ref))
    }

    /// Rises with each request that tells that somebody uses the mount. What the kernel answers from its caches does not
    /// come here.
    pub fn uses(&self) -> u64 {
        self.stats.uses()
    }

    /// Whether other mounts may change the volume too.
    pub fn is_shared(&self) -> bool {
        self.options.shared
    }

    /// The volume that is served.
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Logs and counts an operation's failure where it tells of damage or of a key provider's refusal. `by`: who asked,
    /// if anybody did.
    pub fn note_failure(
        &self,
        operation: &'static str,
        ino: Option<Ino>,
        by: Option<Caller>,
        error: &FsError,
    ) {
        let path = || {
            ino.and_then(|ino| self.inodes.find(ino))
                .map(|inode| inode.cipher_path())
        };
        let path = || path().unwrap_or_default();
        match error {
            FsError::Io(_) | FsError::Refused(_) => tracing::debug!(operation, %error, "refused"),
            error if error.is_for_lost_keys() => {
                tracing::debug!(operation, ciphertext = path(), %error, "refused");
            }
            error if error.is_integrity_failure() => {
                self.stats.count_integrity_failure();
                tracing::error!(operation, ciphertext = path(), %error, "integrity failure");
                self.tell_integrity_failure(operation, (ino, &path()), by, error);
            }
            error => tracing::warn!(operation, ciphertext = path(), %error, "failed"),
        }
    }

    fn inode(&self, ino: Ino) -> Result<Arc<Inode>, FsError> {
        self.inodes.find(ino).ok_or(FsError::STALE)
    }
}

fn kept_ctimes(volume: &Volume) -> Vec<KeptCtime> {
    let unread = |error| tracing::info!(%error, "files may show other times of their last change (ctime) than in the last mount");
    volume.kept_ctimes().map_err(unread).unwrap_or_default()
}

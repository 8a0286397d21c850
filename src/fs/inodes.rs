//! The inodes that the kernel knows, and where each is found in the ciphertext folder.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

use crate::content::OpenFile;
use crate::storage::{CName, FileKind, InodeHandle, Node, Stat};
use crate::units::DirId;
use crate::volume::Moment;

use super::policy::{OtherNames, remember_name};

/// An inode number as the kernel has it. It is the backing inode's own, but for the root, which is 1
/// (and changes places with whatever file has 1), and for files of other file systems mounted inside
/// the ciphertext folder, which get numbers from 2^63 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The mount's root.
    pub const ROOT: Self = Self(1);
}

/// A backing inode's identity: device and number.
pub(super) type BackingId = (u64, u64);

/// An inode that the kernel holds a reference to.
#[derive(Debug)]
pub(super) struct Inode {
    ino: Ino,
    backing: BackingId,
    /// Where the inode is found. Written by rename and unlink, held shared over a system call that uses it.
    whereabouts: RwLock<Whereabouts>,
    /// The open file, while any handle has it open. Held while a file is being opened, so that there is one at most.
    open: Mutex<Weak<OpenFile>>,
    /// A folder's id, once read.
    dir_id: OnceLock<DirId>,
    /// Held shared from finding a name of this folder to noting where its inode is, exclusively while
    /// names come, go or move: nobody notes where an inode was a moment ago.
    names: RwLock<()>,
    /// Handles that may write.
    writers: AtomicU64,
    /// Whether `st_size` told another length than the file turned out to have. The kernel keeps the length that
    /// it was told first, so what it knows of this inode must not limit a read.
    distrusted: AtomicBool,
    /// Whether the committer's list has the open file.
    uncommitted: AtomicBool,
    /// Whether its last name is gone.
    unlinked: AtomicBool,
    /// Names under which it was found before the last, while it has several.
    other_names: Mutex<OtherNames>,
    /// What it is found by once the kernel has forgotten it, where inodes are exported.
    handle: OnceLock<InodeHandle>,
    /// Held while an attribute is set, and while it is found out.
    xattrs: Mutex<Xattrs>,
}

/// What is known of an inode's extended attributes, where no other mount sets any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Xattrs {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It has none.
    None,
    /// It has, or had, some.
    Some,
}

/// How to reach an inode.
#[derive(Debug, Clone)]
pub(super) enum Whereabouts {
    /// By name in its folder.
    At { parent: Arc<Inode>, cname: CName },
    /// By a handle: its last known name is gone, or it is the root.
    Held(Arc<Node>),
    /// By what it is: the kernel asked for it by number, and no name of it has been looked up since.
    ByHandle(Arc<InodeHandle>),
    /// By a handle: it has had no name yet. It was made as one of this folder, with the keys of that moment.
    Nameless {
        parent: Arc<Inode>,
        node: Arc<Node>,
        keys: Moment,
    },
}

impl Whereabouts {
    /// Whether the inode is out of reach, or may be, once the name `cname` in `parent` is gone.
    pub(super) fn needs(&self, parent: &Inode, cname: &CName) -> bool {
        matches!(self, Self::ByHandle(_)) || self.is_at(parent, cname)
    }

    /// Whether this is the name `cname` in `parent`.
    pub(super) fn is_at(&self, parent: &Inode, cname: &CName) -> bool {
        matches!(self, Self::At { parent: known, cname: name } if known.ino == parent.ino && name == cname)
    }
}

impl Inode {
    fn new(ino: Ino, backing: BackingId, whereabouts: Whereabouts) -> Self {
        Self {
            ino,
            backing,
            whereabouts: RwLock::new(whereabouts),
            open: Mutex::default(),
            dir_id: OnceLock::new(),
            names: RwLock::default(),
            writers: AtomicU64::new(0),
            distrusted: AtomicBool::new(false),
            uncommitted: AtomicBool::new(false),
            unlinked: AtomicBool::new(false),
            other_names: Mutex::default(),
            handle: OnceLock::new(),
            xattrs: Mutex::default(),
        }
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// The number of the folder that this folder was last found in; its own where that is not known.
    pub(super) fn parent_number(&self) -> Ino {
        match &*self.whereabouts.read() {
            Whereabouts::At { parent, .. } => parent.ino,
            Whereabouts::Held(_) | Whereabouts::ByHandle(_) | Whereabouts::Nameless { .. } => {
                self.ino
            }
        }
    }

    pub(super) fn is(&self, stat: &Stat) -> bool {
        self.backing == (stat.dev, stat.ino)
    }

    pub(super) fn whereabouts(&self) -> &RwLock<Whereabouts> {
        &self.whereabouts
    }

    pub(super) fn open_slot(&self) -> &Mutex<Weak<OpenFile>> {
        &self.open
    }

    /// The open file, if any handle has it open.
    pub(super) fn open_file(&self) -> Option<Arc<OpenFile>> {
        self.open.lock().upgrade()
    }

    pub(super) fn dir_id(&self) -> &OnceLock<DirId> {
        &self.dir_id
    }

    pub(super) fn names(&self) -> &RwLock<()> {
        &self.names
    }

    pub(super) fn writers(&self) -> &AtomicU64 {
        &self.writers
    }

    pub(super) fn distrusted(&self) -> &AtomicBool {
        &self.distrusted
    }

    pub(super) fn uncommitted(&self) -> &AtomicBool {
        &self.uncommitted
    }

    pub(super) fn unlinked(&self) -> &AtomicBool {
        &self.unlinked
    }

    pub(super) fn other_names(&self) -> &Mutex<OtherNames> {
        &self.other_names
    }

    pub(super) fn handle(&self) -> &OnceLock<InodeHandle> {
        &self.handle
    }

    pub(super) fn xattrs(&self) -> &Mutex<Xattrs> {
        &self.xattrs
    }

    /// The path of the ciphertext below the ciphertext folder, where it is known: without a `/` before it.
    pub(super) fn cipher_path_bytes(&self) -> Option<Vec<u8>> {
        match &*self.whereabouts.read() {
            Whereabouts::Held(_) => (self.ino == Ino::ROOT).then(Vec::new),
            Whereabouts::ByHandle(_) | Whereabouts::Nameless { .. } => None,
            Whereabouts::At { parent, cname } => {
                let above = parent.cipher_path_bytes()?;
                Some(crate::volume::join_path(&above, cname.as_bytes()))
            }
        }
    }

    /// The path of the ciphertext file below the ciphertext folder, for logs.
    pub(super) fn cipher_path(&self) -> String {
        match &*self.whereabouts.read() {
            Whereabouts::Held(_) if self.ino == Ino::ROOT => String::new(),
            Whereabouts::Held(_) => format!("(deleted, inode {})", self.backing.1),
            Whereabouts::ByHandle(_) => format!("(inode {})", self.backing.1),
            Whereabouts::Nameless { .. } => format!("(without a name, inode {})", self.backing.1),
            Whereabouts::At { parent, cname } => {
                format!(
                    "{}/{}",
                    parent.cipher_path(),
                    String::from_utf8_lossy(cname.as_bytes())
                )
            }
        }
    }
}

/// All inodes that the kernel holds, by number. An entry lives from its first lookup to the forget of its last.
/// There is never a second [`Inode`] of a number while the first is in use.
#[derive(Debug)]
pub(super) struct InodeTable {
    shards: Vec<Mutex<Shard>>,
    root_backing: BackingId,
    root: Arc<Inode>,
    foreign: Mutex<HashMap<BackingId, Ino>>,
    next_foreign: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<Ino, Known>,
    /// What the kernel has forgotten and is still in use: by a file on the committer's list, by a handle
    /// that is yet to be released, as the folder of another. Found again, it is the same inode: two open files
    /// of one ciphertext file would undo each other's headers.
    lingering: HashMap<Ino, Weak<Inode>>,
    /// The number of lingering ones at which those that are gone are looked for.
    sweep_at: usize,
}

impl Shard {
    const FEW_LINGERING: usize = 64;

    fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        match self.known.get(&ino) {
            Some(known) => Some(Arc::clone(&known.inode)),
            None => self.lingering.get(&ino)?.upgrade(),
        }
    }

    fn linger(&mut self, inode: &Arc<Inode>) {
        self.lingering.insert(inode.ino, Arc::downgrade(inode));
        if self.lingering.len() >= self.sweep_at {
            self.lingering.retain(|_, inode| inode.strong_count() > 0);
            self.sweep_at = Self::FEW_LINGERING.max(2 * self.lingering.len());
        }
    }
}

#[derive(Debug)]
struct Known {
    inode: Arc<Inode>,
    /// Replies in which the kernel was given this inode, less those it has forgotten.
    lookups: u64,
}

const SHARDS: usize = 16;
const FIRST_FOREIGN: u64 = 1 << 63;

impl InodeTable {
    /// A table that knows the root, held by `node` for as long as the mount lives.
    pub(super) fn new(root: &Stat, node: Arc<Node>) -> Self {
        let root_backing = (root.dev, root.ino);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            root_backing,
            root: Arc::new(Inode::new(Ino::ROOT, root_backing, Whereabouts::Held(node))),
            foreign: Mutex::default(),
            next_foreign: AtomicU64::new(FIRST_FOREIGN),
        }
    }

    /// The number that stands for a backing inode.
    pub(super) fn number(&self, backing: BackingId) -> Ino {
        if backing == self.root_backing {
            Ino::ROOT
        } else if backing.0 != self.root_backing.0 {
            let fresh = || Ino(self.next_foreign.fetch_add(1, Ordering::Relaxed));
            *self.foreign.lock().entry(backing).or_insert_with(fresh)
        } else if backing.1 == Ino::ROOT.0 {
            Ino(self.root_backing.1)
        } else {
            Ino(backing.1)
        }
    }

    /// The inode numbered `ino`, if the kernel holds it or it is still in use.
    pub(super) fn find(&self, ino: Ino) -> Option<Arc<Inode>> {
        if ino == Ino::ROOT {
            return Some(Arc::clone(&self.root));
        }
        self.shard(ino).lock().find(ino)
    }

    /// What stands for a backing number of the ciphertext folder's own file system; the way back from [`Self::number`].
    pub(super) fn backing_number(&self, ino: Ino) -> Option<u64> {
        match ino {
            Ino(FIRST_FOREIGN..) => None,
            Ino::ROOT => Some(self.root_backing.1),
            Ino(ino) if ino == self.root_backing.1 => Some(Ino::ROOT.0),
            Ino(ino) => Some(ino),
        }
    }

    /// Whether an inode is on the ciphertext folder's own file system.
    pub(super) fn is_own(&self, stat: &Stat) -> bool {
        stat.dev == self.root_backing.0
    }

    /// The inode of `stat`, counted as looked up once more; `whereabouts` is where it is, unless it was known before.
    pub(super) fn count_look_up(
        &self,
        stat: &Stat,
        whereabouts: impl FnOnce() -> Whereabouts,
    ) -> Arc<Inode> {
        let backing = (stat.dev, stat.ino);
        let ino = self.number(backing);
        if ino == Ino::ROOT {
            return Arc::clone(&self.root);
        }
        let mut guard = self.shard(ino).lock();
        let shard = &mut *guard;
        let known = shard.known.entry(ino).or_insert_with(|| {
            let lingering = shard.lingering.remove(&ino);
            let fresh = || Arc::new(Inode::new(ino, backing, whereabouts()));
            Known {
                inode: lingering
                    .and_then(|inode| inode.upgrade())
                    .unwrap_or_else(fresh),
                lookups: 0,
            }
        });
        known.lookups += 1;
        Arc::clone(&known.inode)
    }

    /// The inode of `stat`, found as `cname` in `parent`, counted as looked up once more. The caller
    /// has held `parent`'s [`Inode::names`] since before it found it.
    pub(super) fn look_up(&self, stat: &Stat, parent: &Arc<Inode>, cname: CName) -> Arc<Inode> {
        let inode = self.count_look_up(stat, || Whereabouts::At {
            parent: Arc::clone(parent),
            cname: cname.clone(),
        });
        // Another mount may have linked it again at the last moment.
        if inode.unlinked.load(Ordering::Relaxed) {
            inode.unlinked.store(false, Ordering::Release);
        }
        let moved = !inode.whereabouts.read().is_at(parent, &cname);
        if moved {
            let now = Whereabouts::At {
                parent: Arc::clone(parent),
                cname,
            };
            let before = std::mem::replace(&mut *inode.whereabouts.write(), now);
            if stat.nlink > 1 && stat.kind != FileKind::Directory {
                remember_name(&inode, before);
            }
        }
        inode
    }

    /// The kernel gives back `count` of its references; says whether it holds none any more.
    pub(super) fn forget(&self, ino: Ino, count: u64) -> bool {
        let mut shard = self.shard(ino).lock();
        let Some(known) = shard.known.get_mut(&ino) else {
            return true;
        };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups > 0 {
            return false;
        }
        let gone = shard.known.remove(&ino);
        if let Some(known) = gone
            .as_ref()
            .filter(|known| Arc::strong_count(&known.inode) > 1)
        {
            shard.linger(&known.inode);
        }
        drop(shard);
        drop(gone);
        true
    }

    /// All inodes that the kernel holds or that are still in use, but for the root.
    pub(super) fn all(&self) -> Vec<Arc<Inode>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            all.extend(shard.known.values().map(|known| Arc::clone(&known.inode)));
            all.extend(shard.lingering.values().filter_map(Weak::upgrade));
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().known.len())
            .sum()
    }

    fn shard(&self, ino: Ino) -> &Mutex<Shard> {
        &self.shards[(ino.0 % SHARDS as u64) as usize]
    }
}

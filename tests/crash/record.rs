//! Writes down what is done to a ciphertext folder.

use std::collections::HashMap;
use std::ffi::CString;

use envelopefs::storage::{RenameFlags, StorageObserver, StorageOp, Target, Verdict};
use parking_lot::Mutex;

use crate::image::{Id, Inode, Kind};

/// One thing done to the ciphertext folder, or a sync that returned.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// An inode is made, with its first name.
    Make {
        folder: Id,
        name: Vec<u8>,
        id: Id,
        inode: Inode,
    },
    Link {
        id: Id,
        folder: Id,
        name: Vec<u8>,
    },
    /// A name goes, of a folder too.
    Unlink {
        folder: Id,
        name: Vec<u8>,
    },
    Rename {
        from: (Id, Vec<u8>),
        to: (Id, Vec<u8>),
        exchange: bool,
    },
    SetMode(Id, u32),
    SetXattr(Id, CString, Vec<u8>),
    RemoveXattr(Id, CString),
    SetLen(Id, u64),
    /// Whole pages become a hole: from, and up to.
    Punch(Id, u64, u64),
    Write {
        id: Id,
        offset: u64,
        data: Vec<u8>,
        /// Whether it is durable when it returns, as with `RWF_DSYNC`.
        synced: bool,
    },
    /// `fdatasync`.
    SyncData(Id),
    /// `fsync` of a file.
    SyncAll(Id),
    /// `fsync` of a folder.
    SyncFolder(Id),
    /// `syncfs`.
    SyncFs,
}

/// What was done, in order, and how many operations there were when each step of the scenario was over.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) ops: Vec<Op>,
    /// For each step the number of operations when it was over.
    pub(crate) done: Vec<usize>,
    ids: HashMap<u64, Id>,
    next: Id,
    finished: bool,
}

/// Hears of every system call under a ciphertext root.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<Recording>);

impl Recorder {
    /// A recorder of a folder whose inodes have these ids.
    pub(crate) fn new(ids: HashMap<u64, Id>) -> Self {
        let next = ids.values().max().map_or(0, |id| id + 1);
        Self(Mutex::new(Recording {
            ids,
            next,
            ..Recording::default()
        }))
    }

    /// A step of the scenario is over.
    pub(crate) fn step_is_done(&self) {
        let mut recording = self.0.lock();
        let so_far = recording.ops.len();
        recording.done.push(so_far);
    }

    /// The id of the inode with this number.
    pub(crate) fn id_of(&self, ino: u64) -> Id {
        self.0.lock().ids[&ino]
    }

    /// All of it. What is done later, the power is gone by then.
    pub(crate) fn finish(&self) -> Recording {
        let rest = Recording {
            finished: true,
            ..Recording::default()
        };
        std::mem::replace(&mut *self.0.lock(), rest)
    }
}

impl Op {
    /// For messages: as a line, without bytes.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Write {
                id,
                offset,
                data,
                synced,
            } => {
                let (end, how) = (
                    offset + data.len() as u64,
                    if *synced { ", synced" } else { "" },
                );
                format!("Write({id}, {offset}..{end}{how})")
            }
            Self::Make {
                folder,
                name,
                id,
                inode,
            } => {
                format!("Make({id}, {:?}, as {})", inode.kind, place(*folder, name))
            }
            Self::Link { id, folder, name } => format!("Link({id}, as {})", place(*folder, name)),
            Self::Unlink { folder, name } => format!("Unlink({})", place(*folder, name)),
            Self::Rename { from, to, exchange } => {
                let (from, to) = (place(from.0, &from.1), place(to.0, &to.1));
                format!(
                    "Rename({from}, {to}{})",
                    if *exchange { ", exchange" } else { "" }
                )
            }
            Self::SetXattr(id, name, _) => format!("SetXattr({id}, {name:?})"),
            other => format!("{other:?}"),
        }
    }
}

fn place(folder: Id, name: &[u8]) -> String {
    format!("{folder}/{}", String::from_utf8_lossy(name))
}

impl StorageObserver for Recorder {
    fn before(&self, _target: Target<'_>, _op: &StorageOp<'_>) -> Verdict {
        Verdict::Proceed
    }

    fn after(&self, target: Target<'_>, op: &StorageOp<'_>) {
        self.0.lock().note(target, op);
    }
}

impl Recording {
    fn id(&self, target: Target<'_>) -> Id {
        let ino = target.stat().unwrap().ino;
        *self
            .ids
            .get(&ino)
            .expect("an inode whose making was heard of")
    }

    fn note(&mut self, target: Target<'_>, op: &StorageOp<'_>) {
        if self.finished {
            return;
        }
        if let Some(op) = self.made(target, op).or_else(|| self.changed(target, op)) {
            self.ops.push(op);
        }
    }

    /// A new inode, and its id.
    fn made(&mut self, target: Target<'_>, op: &StorageOp<'_>) -> Option<Op> {
        let (name, kind, mode) = match op {
            StorageOp::CreateFile { name, mode } => (name, Kind::File, *mode),
            StorageOp::MakeDir { name, mode } => (name, Kind::Folder, *mode),
            StorageOp::MakeSymlink { name, target } => {
                (name, Kind::Symlink(target.to_vec()), 0o777)
            }
            StorageOp::MakeNode { name, mode, .. } => (name, Kind::Special(*mode), *mode),
            _ => return None,
        };
        let ino = target.stat_child(name).unwrap().ino;
        let (id, folder) = (self.next, self.id(target));
        self.next += 1;
        self.ids.insert(ino, id);
        Some(Op::Make {
            folder,
            name: name.as_bytes().to_vec(),
            id,
            inode: Inode {
                kind,
                mode: mode & 0o7777,
                xattrs: Default::default(),
            },
        })
    }

    fn changed(&self, target: Target<'_>, op: &StorageOp<'_>) -> Option<Op> {
        let id = || self.id(target);
        Some(match op {
            StorageOp::Link { dir, name } => Op::Link {
                id: id(),
                folder: self.id(*dir),
                name: name.as_bytes().to_vec(),
            },
            StorageOp::Unlink(name) | StorageOp::RemoveDir(name) => Op::Unlink {
                folder: id(),
                name: name.as_bytes().to_vec(),
            },
            StorageOp::Rename {
                name,
                to_dir,
                to_name,
                flags,
            } => Op::Rename {
                from: (id(), name.as_bytes().to_vec()),
                to: (self.id(*to_dir), to_name.as_bytes().to_vec()),
                exchange: flags.contains(RenameFlags::EXCHANGE),
            },
            StorageOp::SetMode(mode) => Op::SetMode(id(), mode & 0o7777),
            StorageOp::SetXattr { name, value, .. } => {
                Op::SetXattr(id(), CString::from(*name), value.to_vec())
            }
            StorageOp::RemoveXattr(name) => Op::RemoveXattr(id(), CString::from(*name)),
            StorageOp::SetLen(len) => Op::SetLen(id(), len.0),
            StorageOp::PunchHole { offset, len } => Op::Punch(id(), offset.0, offset.0 + len),
            StorageOp::Write {
                offset,
                data,
                synced,
            } => Op::Write {
                id: id(),
                offset: offset.0,
                data: data.to_vec(),
                synced: *synced,
            },
            StorageOp::SyncData => Op::SyncData(id()),
            StorageOp::SyncAll => Op::SyncAll(id()),
            StorageOp::SyncDir => Op::SyncFolder(id()),
            StorageOp::SyncFs => Op::SyncFs,
            _ => return None,
        })
    }
}

//! The model: a tree of plain values in memory, and how a path leads through it.

use std::collections::BTreeMap;

use super::op::{At, Kind, PROCESSES, SLOTS, Time, name_of};

pub(super) type Id = usize;
pub(super) const ROOT: Id = 0;

/// Symlinks that one path may lead through (`MAXSYMLINKS` in include/linux/namei.h).
const MOST_SYMLINKS: u32 = 40;

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(Vec<u8>),
    Folder {
        names: BTreeMap<Vec<u8>, Id>,
        parent: Id,
    },
    Symlink(Vec<u8>),
}

/// What is known of a time of last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Nobody has looked.
    Unknown,
    /// Seen or set, and nothing has changed since.
    Exactly(Time),
    /// Seen, and something may have changed since.
    Since(Time),
    /// Set to the past, and something has changed since.
    After(Time),
    /// Seen while the kernel had the file in memory, and written before that. A write in the same tick as the
    /// time that the kernel knows does not make it send a time, so the disk's own, of when the write reached
    /// it, comes out with the next mount.
    Soon(Time),
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) xattrs: BTreeMap<u8, Vec<u8>>,
    pub(super) links: u64,
    pub(super) changed: Changed,
    /// Written since its time was last set.
    pub(super) written: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Handle {
    pub(super) inode: Id,
    pub(super) position: u64,
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) appends: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) cwd: Id,
    pub(super) slots: [Option<Handle>; SLOTS],
}

/// What a deliberately wrong model gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// What was cut off comes back when the file grows.
    CutBytesComeBack,
    /// A deleted file is gone though it is open.
    DeletedFilesAreEmpty,
    /// A rename to another folder leaves the old name.
    RenamesCopy,
    /// A write does not change the time.
    WritesKeepTheTime,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    /// Inodes are never taken out: what is deleted may be open.
    pub(super) inodes: Vec<Inode>,
    pub(super) processes: [Process; PROCESSES],
    pub(super) flaw: Option<Flaw>,
    /// Whether the file system has `FALLOC_FL_ZERO_RANGE` (tmpfs has not).
    pub(super) zeroes_ranges: bool,
}

/// Where the last name of a path stands.
pub(super) struct Place {
    pub(super) folder: Id,
    pub(super) name: Vec<u8>,
    pub(super) found: Option<Id>,
}

pub(super) type Try<T> = Result<T, i32>;

impl Model {
    pub(super) fn new(zeroes_ranges: bool, flaw: Option<Flaw>) -> Self {
        let at_root = Process {
            cwd: ROOT,
            slots: [None; SLOTS],
        };
        let mut model = Self {
            inodes: Vec::new(),
            processes: std::array::from_fn(|_| at_root.clone()),
            flaw,
            zeroes_ranges,
        };
        model.add(Body::empty_folder(ROOT), 0o755);
        model.inodes[ROOT].links = 2;
        model
    }

    pub(super) fn add(&mut self, body: Body, mode: u32) -> Id {
        self.inodes.push(Inode {
            body,
            mode,
            xattrs: BTreeMap::new(),
            links: 0,
            changed: Changed::Unknown,
            written: false,
        });
        self.inodes.len() - 1
    }

    pub(super) fn names(&self, folder: Id) -> Try<&BTreeMap<Vec<u8>, Id>> {
        match &self.inodes[folder].body {
            Body::Folder { names, .. } => Ok(names),
            Body::File(_) | Body::Symlink(_) => Err(libc::ENOTDIR),
        }
    }

    fn names_mut(&mut self, folder: Id) -> &mut BTreeMap<Vec<u8>, Id> {
        match &mut self.inodes[folder].body {
            Body::Folder { names, .. } => names,
            Body::File(_) | Body::Symlink(_) => panic!("the model takes {folder} for a folder"),
        }
    }

    pub(super) fn is_folder(&self, inode: Id) -> bool {
        self.kind(inode) == Kind::Folder
    }

    pub(super) fn kind(&self, inode: Id) -> Kind {
        match self.inodes[inode].body {
            Body::File(_) => Kind::File,
            Body::Folder { .. } => Kind::Folder,
            Body::Symlink(_) => Kind::Symlink,
        }
    }

    /// Gives `inode` a name in `folder`.
    pub(super) fn attach(&mut self, folder: Id, name: Vec<u8>, inode: Id) {
        self.names_mut(folder).insert(name, inode);
        self.touch(folder);
        let below = self.names(inode).into_iter().flatten();
        let folders = below.filter(|(_, below)| self.is_folder(**below)).count() as u64;
        if let Body::Folder { parent, .. } = &mut self.inodes[inode].body {
            *parent = folder;
            self.inodes[inode].links = 2 + folders;
            self.inodes[folder].links += 1;
            // Its `..` was another; file systems differ in whether that is a change.
            self.touch(inode);
        } else {
            self.inodes[inode].links += 1;
        }
    }

    /// Takes a name away; what has no other is deleted.
    pub(super) fn detach(&mut self, folder: Id, name: &[u8]) {
        let Some(inode) = self.names_mut(folder).remove(name) else {
            panic!("the model has no such name to take away");
        };
        self.changed_surely(folder);
        if self.is_folder(inode) {
            self.inodes[inode].links = 0;
            self.inodes[folder].links -= 1;
        } else {
            self.inodes[inode].links -= 1;
        }
    }

    /// Nothing is open any more, and nothing in memory.
    pub(super) fn remount(&mut self) {
        self.processes = Self::new(true, None).processes;
        for inode in &mut self.inodes {
            if let (Changed::Exactly(time), true) = (inode.changed, inode.written) {
                inode.changed = Changed::Soon(time);
            }
            inode.written = false;
        }
    }

    /// Something may have changed.
    pub(super) fn touch(&mut self, inode: Id) {
        let changed = &mut self.inodes[inode].changed;
        if let Changed::Exactly(time) | Changed::Soon(time) = *changed {
            *changed = Changed::Since(time);
        }
    }

    /// Something has changed.
    pub(super) fn changed_surely(&mut self, inode: Id) {
        let changed = &mut self.inodes[inode].changed;
        *changed = match *changed {
            Changed::Exactly(time) | Changed::Since(time) | Changed::Soon(time)
                if is_past(time) =>
            {
                Changed::After(time)
            }
            Changed::Exactly(time) | Changed::Soon(time) => Changed::Since(time),
            other => other,
        };
    }

    /// The inode at a path; `follow` says whether a symlink at its end is followed.
    pub(super) fn find(&self, process: usize, at: &At, follow: bool) -> Try<Id> {
        self.place(process, at, follow)?.found.ok_or(libc::ENOENT)
    }

    pub(super) fn place(&self, process: usize, at: &At, follow: bool) -> Try<Place> {
        let start = if at.from_root {
            ROOT
        } else {
            self.processes[process].cwd
        };
        let names: Vec<_> = at.names.iter().map(|name| name_of(*name)).collect();
        self.walk(start, &names, follow, &mut 0)
    }

    fn walk(&self, start: Id, names: &[Vec<u8>], follow: bool, followed: &mut u32) -> Try<Place> {
        let Some((last, above)) = names.split_last() else {
            return Ok(Place {
                folder: start,
                name: Vec::new(),
                found: Some(start),
            });
        };
        let mut folder = start;
        for name in above {
            let place = self.step(folder, name, true, followed)?;
            folder = place.found.ok_or(libc::ENOENT)?;
            self.names(folder)?;
        }
        self.step(folder, last, follow, followed)
    }

    /// One name, and where it leads if it is a symlink's.
    fn step(&self, folder: Id, name: &[u8], follow: bool, followed: &mut u32) -> Try<Place> {
        let found = self.names(folder)?.get(name).copied();
        match found.map(|found| &self.inodes[found].body) {
            Some(Body::Symlink(target)) if follow => {
                *followed += 1;
                if *followed > MOST_SYMLINKS {
                    return Err(libc::ELOOP);
                }
                let start = if target.starts_with(b"/") {
                    ROOT
                } else {
                    folder
                };
                let names: Vec<_> = target
                    .split(|byte| *byte == b'/')
                    .filter(|name| !matches!(*name, b"" | b"."))
                    .map(<[u8]>::to_vec)
                    .collect();
                self.walk(start, &names, true, followed)
            }
            _ => Ok(Place {
                folder,
                name: name.to_vec(),
                found,
            }),
        }
    }

    /// Whether nothing can be made in this folder any more.
    pub(super) fn is_dead(&self, folder: Id) -> bool {
        self.inodes[folder].links == 0
    }

    /// Whether `upper` is `lower` or holds it.
    pub(super) fn is_at_or_above(&self, upper: Id, mut lower: Id) -> bool {
        loop {
            if upper == lower {
                return true;
            }
            match self.inodes[lower].body {
                Body::Folder { parent, .. } if lower != ROOT => lower = parent,
                _ => return false,
            }
        }
    }
}

impl Body {
    pub(super) fn empty_folder(parent: Id) -> Self {
        Self::Folder {
            names: BTreeMap::new(),
            parent,
        }
    }
}

/// Only [`super::op::Op::Utimes`] makes times that long ago.
fn is_past(time: Time) -> bool {
    time.0 < 1_500_000_000
}

impl Changed {
    /// Whether `seen` may be; it is what is known then.
    pub(super) fn admits(&mut self, seen: Time) -> bool {
        let may_be = match *self {
            Self::Unknown => true,
            Self::Exactly(time) => seen == time,
            Self::Since(time) => seen >= time,
            Self::After(time) => seen > time,
            Self::Soon(time) => seen >= time && seen.0 - time.0 <= 1,
        };
        *self = Self::Exactly(seen);
        may_be
    }
}

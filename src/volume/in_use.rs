//! The marks of mounts that may write: they tell the next mount that one ended without an unmount, and since when it had been
//! there.
//!
//! An exclusive mount has the volume to itself, and the mark `in-use`. Of shared mounts each has a mark of its own, and holds a
//! lock on it for as long as it lives: where nobody does, the mount died, on whatever host it was. Who finds that takes the mark
//! over, and removes it at its own unmount if all that the dead one left could be looked over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::HEXLOWER;

use crate::crypto::random;
use crate::storage::{Access, CName, LockKind, LockRange, Node, StorageFile, Timestamp};

use super::error::VolumeError;
use super::meta::{IN_USE, as_owner, name};
use super::unlock::Sharing;

/// The marks of this mount: its own, and those that dead mounts left. An exclusive mount that finds some needs none of its own.
#[derive(Debug)]
pub(super) struct InUse {
    folder: Arc<Node>,
    own: Option<Mark>,
    left: Left,
    /// What those left that are dead needs nobody's look any more.
    looked_over: AtomicBool,
}

/// What dead mounts left: their marks, and since when the first of them was there.
#[derive(Debug, Default)]
struct Left {
    marks: Vec<Mark>,
    since: Option<Timestamp>,
}

#[derive(Debug)]
struct Mark {
    name: CName,
    #[expect(dead_code, reason = "holding it open holds the lock")]
    lock: Option<StorageFile>,
}

impl InUse {
    /// Sets the mark, durably, and takes over those that dead mounts left.
    pub(super) fn set(folder: &Arc<Node>, sharing: Sharing) -> Result<Self, VolumeError> {
        let set = match sharing {
            Sharing::Exclusive => alone(folder),
            Sharing::Shared => as_owner(folder, || among_others(folder)),
        };
        let (own, left) = set.map_err(VolumeError::io("marking the volume as in use"))?;
        Ok(Self {
            folder: Arc::clone(folder),
            own,
            left,
            looked_over: AtomicBool::new(false),
        })
    }

    /// Since when the first of those marks was there that dead mounts had left.
    pub(super) fn left_since(&self) -> Option<Timestamp> {
        self.left.since
    }

    /// What dead mounts left is as it should be: from now on their marks are this mount's.
    pub(super) fn set_looked_over(&self) {
        self.looked_over.store(true, Ordering::Release);
    }

    /// Since when the first mark is there of those that dead mounts left. No exclusive mount is there: the caller holds
    /// the volume's lock.
    pub(super) fn since(folder: &Node) -> Result<Option<Timestamp>, VolumeError> {
        let since = || {
            let mut since = None;
            for name in names(folder)? {
                since = earlier(since, left_since(folder, &name)?);
            }
            Ok(since)
        };
        since().map_err(VolumeError::io("looking for the mark of a mount"))
    }

    /// Takes the marks away: those of dead mounts only once [what they left was looked over](Self::set_looked_over).
    pub(super) fn clear(&self) -> Result<(), VolumeError> {
        let gone = |mark: &Mark| match self.folder.unlink(&mark.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let looked_over = self.looked_over.load(Ordering::Acquire);
        let of_the_dead = self.left.marks.iter().filter(|_mark| looked_over);
        let cleared = self.own.iter().chain(of_the_dead).try_for_each(gone);
        cleared.map_err(VolumeError::io("marking the volume as clean"))
    }
}

/// Whether `name` may be that of a mark.
pub(super) fn is_mark(name: &CName) -> bool {
    let rest = name.as_bytes().strip_prefix(IN_USE);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

impl Left {
    fn add(&mut self, name: CName, set: Timestamp, lock: Option<StorageFile>) {
        self.since = earlier(self.since, Some(set));
        self.marks.push(Mark { name, lock });
    }
}

fn alone(folder: &Node) -> io::Result<(Option<Mark>, Left)> {
    let mut left = Left::default();
    for name in names(folder)? {
        let set = folder.stat_child(&name)?.mtime;
        left.add(name, set, None);
    }
    if !left.marks.is_empty() {
        return Ok((None, left));
    }
    let name = name(IN_USE);
    folder.replace_file(&name, 0o600, b"")?;
    Ok((Some(Mark { name, lock: None }), left))
}

fn among_others(folder: &Node) -> io::Result<(Option<Mark>, Left)> {
    let mut left = Left::default();
    for name in names(folder)? {
        if let Some((lock, set)) = take_over(folder, &name)? {
            left.add(name, set, Some(lock));
        }
    }
    let own = own_mark(folder)?;
    folder.sync_dir()?;
    Ok((Some(own), left))
}

/// The mark of a dead mount, and since when it was there. One of another user stays his.
fn take_over(folder: &Node, name: &CName) -> io::Result<Option<(StorageFile, Timestamp)>> {
    let Some(file) = opened(folder, name, Access::ReadWrite)? else {
        return Ok(None);
    };
    if !file.try_lock(LockRange::ALIVE, LockKind::Exclusive)? {
        return Ok(None);
    }
    let stat = file.stat()?;
    // Its mount may have ended well just now.
    Ok((stat.nlink > 0).then_some((file, stat.mtime)))
}

fn own_mark(folder: &Node) -> io::Result<Mark> {
    loop {
        let digits = HEXLOWER.encode(&random::array::<8>());
        let name = name(&[IN_USE, b".", digits.as_bytes()].concat());
        let file = folder.create_file(&name, 0o600)?;
        // Before the lock is there, another mount may take the mark for a dead one's: then it is, and goes with that mount.
        if file.try_lock(LockRange::ALIVE, LockKind::Exclusive)? && file.stat()?.nlink > 0 {
            let lock = Some(file);
            return Ok(Mark { name, lock });
        }
    }
}

fn left_since(folder: &Node, name: &CName) -> io::Result<Option<Timestamp>> {
    let Some(file) = opened(folder, name, Access::Read)? else {
        return Ok(None);
    };
    let holder = file.conflict(LockRange::ALIVE, LockKind::Exclusive)?;
    match holder {
        Some(_alive) => Ok(None),
        None => Ok(Some(file.stat()?.mtime)),
    }
}

/// `None` where it has gone meanwhile, or is not for this user to open.
fn opened(folder: &Node, name: &CName, access: Access) -> io::Result<Option<StorageFile>> {
    use io::ErrorKind::{NotFound, PermissionDenied};
    match folder.open_child_file(name, access) {
        Err(error) if [NotFound, PermissionDenied].contains(&error.kind()) => Ok(None),
        file => file.map(Some),
    }
}

fn names(folder: &Node) -> io::Result<Vec<CName>> {
    let mut reader = folder.read_dir()?;
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry() {
        let name = entry?.name;
        if is_mark(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter()
        .chain(other)
        .min_by_key(|time| (time.secs, time.nanos))
}

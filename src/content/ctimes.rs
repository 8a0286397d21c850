//! The time of the last change of an inode, where the kernel owns it.
//!
//! A kernel that caches writes makes this time too, and tells each that it makes. Nobody can set it: the ciphertext file has
//! the time of the daemon's last call, which may be a commit seconds later. What the kernel had would be gone once it forgets
//! the inode, and programs that compare such times (git, backups) would take the file for changed. So it is noted beside the
//! time that the ciphertext file had then. As long as that file has just this time, nothing has changed it since.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::RwLock;

use crate::storage::{FileKind, Stat, Timestamp};
use crate::volume::KeptCtime;

use super::OpenFile;

/// What the kernel was told of the files that were changed last.
#[derive(Debug)]
pub struct Ctimes(RwLock<Table>);

#[derive(Debug)]
struct Table {
    /// By inode number: the time of the ciphertext file, and the one that the kernel has.
    noted: LruCache<u64, (Timestamp, Timestamp)>,
    limit: usize,
    /// Whether anything was noted since the table was kept last.
    changed: bool,
}

impl Ctimes {
    /// Begins with what an earlier mount kept, the newest last.
    pub fn new(kept: &[KeptCtime], limit: usize) -> Self {
        // With a bound of its own it would take the memory for all of it at once.
        let mut noted = LruCache::unbounded();
        for one in kept {
            noted.put(one.ino, (one.ciphertext, one.told));
        }
        Self(RwLock::new(Table {
            noted,
            limit,
            changed: false,
        }))
    }

    /// What `stat`, of a ciphertext file, has to show.
    pub fn of(&self, stat: &Stat) -> Timestamp {
        let found = match stat.kind {
            FileKind::Regular => self.0.read().noted.peek(&stat.ino).copied(),
            _ => None,
        };
        match found {
            Some((ciphertext, told)) if ciphertext == stat.ctime => told,
            _ => stat.ctime,
        }
    }

    /// Notes that the kernel has `told` where the ciphertext file has `stat`. What has no name is in no next mount.
    pub fn note(&self, stat: &Stat, told: Timestamp) {
        if stat.kind != FileKind::Regular || stat.nlink == 0 {
            return;
        }
        let mut table = self.0.write();
        table.changed = true;
        if told == stat.ctime {
            table.noted.pop(&stat.ino);
        } else {
            table.noted.put(stat.ino, (stat.ctime, told));
            if table.noted.len() > table.limit {
                table.noted.pop_lru();
            }
        }
    }

    /// The file has no name any more.
    pub fn forget(&self, stat: &Stat) {
        let mut table = self.0.write();
        if table.noted.pop(&stat.ino).is_some() {
            table.changed = true;
        }
    }

    /// All of it, the newest last, if it is not what was there before.
    pub fn to_keep(&self) -> Option<Vec<KeptCtime>> {
        let mut table = self.0.write();
        let changed = std::mem::take(&mut table.changed);
        changed.then(|| {
            let one = |(ino, (ciphertext, told)): (&u64, &(Timestamp, Timestamp))| KeptCtime {
                ino: *ino,
                ciphertext: *ciphertext,
                told: *told,
            };
            table.noted.iter().rev().map(one).collect()
        })
    }
}

/// What the kernel has of an open file; noted for good once nothing here changes the ciphertext file any more.
#[derive(Debug)]
pub(super) struct ToldCtime {
    time: Timestamp,
    ctimes: Arc<Ctimes>,
}

impl OpenFile {
    /// The kernel has this time, or whichever it is given where it makes none. In a file that other mounts write too, the
    /// ciphertext file's is as good.
    pub fn tell_ctime(&self, time: Option<Timestamp>, ctimes: &Arc<Ctimes>) {
        let told = |time| ToldCtime {
            time,
            ctimes: Arc::clone(ctimes),
        };
        self.state.write().told_ctime = time.filter(|_| !self.shared).map(told);
    }

    /// The time that the kernel has, where it has told one.
    pub fn told_ctime(&self) -> Option<Timestamp> {
        Some(self.state.read().told_ctime.as_ref()?.time)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let Some(told) = &state.told_ctime else {
            return;
        };
        match state.file.stat() {
            Ok(stat) => told.ctimes.note(&stat, told.time),
            Err(error) => tracing::debug!(%error, "the time of a file's last change is not noted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 2;

    fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 7 }
    }

    fn stat(ino: u64, ctime: i64) -> Stat {
        Stat {
            dev: 1,
            ino,
            kind: FileKind::Regular,
            mode: 0o600,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size: 0,
            blocks: 0,
            blksize: 4096,
            atime: at(0),
            mtime: at(0),
            ctime: at(ctime),
            btime: None,
        }
    }

    #[test]
    fn a_file_shows_what_was_told_until_it_changes() {
        let ctimes = Ctimes::new(&[], LIMIT);
        assert_eq!(ctimes.of(&stat(1, 20)), at(20));
        ctimes.note(&stat(1, 20), at(10));
        assert_eq!(ctimes.of(&stat(1, 20)), at(10));
        assert_eq!(ctimes.of(&stat(1, 21)), at(21));
        assert_eq!(ctimes.of(&stat(2, 20)), at(20));
        ctimes.note(&stat(1, 30), at(30));
        assert_eq!(ctimes.of(&stat(1, 20)), at(20));
        assert_eq!(ctimes.to_keep().unwrap(), []);
        ctimes.note(&stat(1, 20), at(10));
        ctimes.forget(&stat(1, 21));
        assert_eq!(ctimes.of(&stat(1, 20)), at(20));
        assert_eq!(ctimes.to_keep().unwrap(), []);
        ctimes.forget(&stat(1, 20));
        assert_eq!(ctimes.to_keep(), None);
    }

    #[test]
    fn other_kinds_and_files_without_a_name_are_left_alone() {
        let ctimes = Ctimes::new(&[], LIMIT);
        let folder = Stat {
            kind: FileKind::Directory,
            ..stat(1, 20)
        };
        let nameless = Stat {
            nlink: 0,
            ..stat(2, 20)
        };
        for stat in [folder, nameless] {
            ctimes.note(&stat, at(10));
            assert_eq!(ctimes.of(&stat), at(20));
        }
        assert_eq!(ctimes.to_keep(), None);
    }

    #[test]
    fn what_was_noted_first_goes_first() {
        let ctimes = Ctimes::new(&[], LIMIT);
        for ino in 1..=3 {
            ctimes.note(&stat(ino, 20), at(10));
        }
        assert_eq!(ctimes.of(&stat(1, 20)), at(20));
        assert_eq!(ctimes.of(&stat(2, 20)), at(10));
        assert_eq!(ctimes.of(&stat(3, 20)), at(10));
    }

    #[test]
    fn what_is_kept_is_what_the_next_begins_with_in_the_same_order() {
        let ctimes = Ctimes::new(&[], LIMIT);
        ctimes.note(&stat(1, 20), at(10));
        ctimes.note(&stat(2, 20), at(11));
        let kept = ctimes.to_keep().unwrap();
        assert_eq!(ctimes.to_keep(), None, "nothing is new");
        let next = Ctimes::new(&kept, LIMIT);
        assert_eq!(next.to_keep(), None, "nothing is new");
        assert_eq!(next.of(&stat(1, 20)), at(10));
        next.note(&stat(3, 20), at(12));
        assert_eq!(next.of(&stat(1, 20)), at(20));
        assert_eq!(next.of(&stat(2, 20)), at(11));
    }
}

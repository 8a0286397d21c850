//! Who reads and writes: bytes by user and process, for `envelopefs top`.
//!
//! Each handle counts for itself, and knows who opened it; what a handle has counted is added up here when it ends. So a read
//! costs one addition more, to a counter that no other file's readers touch.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;

use super::caller::Caller;
use super::handles::FileHandle;

/// Users whose handles have ended, at most; the longest unheard of is forgotten.
const KEPT: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Who opened a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// His user id; `u32::MAX` where the kernel keeps it to itself.
    pub uid: u32,
    /// His thread's id; 0 where this process does not see it.
    pub pid: u32,
}

/// What he did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Handles that are open.
    pub open_files: u64,
    /// Plaintext bytes read since the mount.
    pub bytes_read: u64,
    /// Plaintext bytes written since the mount.
    pub bytes_written: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.open_files += other.open_files;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
    }
}

/// What one handle was used for.
#[derive(Debug)]
pub(super) struct HandleUse {
    by: User,
    read: AtomicU64,
    written: AtomicU64,
}

impl HandleUse {
    pub(super) fn of(caller: Caller) -> Self {
        Self {
            by: User {
                uid: caller.ids.uid,
                pid: caller.pid,
            },
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
        }
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn usage(&self, open_files: u64) -> Usage {
        Usage {
            open_files,
            bytes_read: self.read.load(Ordering::Relaxed),
            bytes_written: self.written.load(Ordering::Relaxed),
        }
    }
}

/// Sums of handles that have ended.
#[derive(Debug)]
pub(super) struct Users(Mutex<LruCache<User, Usage>>);

impl Default for Users {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl Users {
    /// A handle has ended. One that nothing was read or written through tells nothing.
    pub(super) fn ended(&self, handle: &HandleUse) {
        let usage = handle.usage(0);
        if usage != Usage::default() {
            self.0
                .lock()
                .get_or_insert_mut(handle.by, Usage::default)
                .add(usage);
        }
    }

    /// All that is known, with those of handles that are open.
    pub(super) fn all<'h>(&self, open: impl Iterator<Item = &'h FileHandle>) -> Vec<(User, Usage)> {
        let mut all: HashMap<User, Usage> = self
            .0
            .lock()
            .iter()
            .map(|(user, usage)| (*user, *usage))
            .collect();
        for handle in open {
            all.entry(handle.usage.by)
                .or_default()
                .add(handle.usage.usage(1));
        }
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(pid: u32) -> HandleUse {
        HandleUse::of(Caller {
            pid,
            ..Caller::this_process()
        })
    }

    #[test]
    fn what_ended_handles_did_adds_up_by_process() {
        let users = Users::default();
        for (pid, read, written) in [(1, 10, 0), (1, 5, 7), (2, 0, 0)] {
            let handle = handle(pid);
            handle.count_read(read);
            handle.count_written(written);
            users.ended(&handle);
        }
        let all = users.all(std::iter::empty());
        let (user, usage) = all[0];
        assert_eq!((all.len(), user.pid), (1, 1));
        assert_eq!(
            (usage.bytes_read, usage.bytes_written, usage.open_files),
            (15, 7, 0)
        );
    }

    #[test]
    fn memory_for_it_is_bounded() {
        let users = Users::default();
        for pid in 0..5000 {
            let handle = handle(pid);
            handle.count_read(1);
            users.ended(&handle);
        }
        assert_eq!(users.all(std::iter::empty()).len(), KEPT.get());
    }
}

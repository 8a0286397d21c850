//! Commits what was written without an fsync: every few seconds one sync, then the headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::content::{ContentError, OpenFile, SyncKind};
use crate::storage::Node;
use crate::threads;

use super::inodes::Inode;
use super::unsynced::Unsynced;

/// How long what was written may wait for its commit.
const INTERVAL: Duration = Duration::from_secs(5);
/// Files on the list that start a commit at once: each keeps a descriptor open.
const CROWDED: usize = 1024;
/// Files that are synced one by one: cheaper than a sync of the whole file system.
const FEW: usize = 8;

/// The files that wait for a commit, and the thread that does it.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    root: Arc<Node>,
    unsynced: Arc<Unsynced>,
    list: Mutex<List>,
    wake: Condvar,
    /// Some commit failed: the next mount has to look the volume over.
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct List {
    files: Vec<(Arc<Inode>, Arc<OpenFile>)>,
    stop: bool,
}

impl Committer {
    pub(super) fn start(root: Arc<Node>, unsynced: Arc<Unsynced>) -> Self {
        let shared = Arc::new(Shared {
            root,
            unsynced,
            list: Mutex::default(),
            wake: Condvar::new(),
            failed: AtomicBool::new(false),
        });
        let on_thread = Arc::clone(&shared);
        let thread = threads::spawn("committer", move || on_thread.run());
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no committer thread: lengths are committed on fsync and unmount alone")).ok();
        Self {
            shared,
            thread: Mutex::new(thread),
        }
    }

    /// Puts a file on the list, if it has anything to commit, is not on it and has a name.
    pub(super) fn note(&self, inode: &Arc<Inode>, file: &Arc<OpenFile>) {
        if inode.uncommitted().load(Ordering::Acquire) || !file.needs_commit() {
            return;
        }
        // Under the list's lock, so that a file that `leave` took off does not come back with its release.
        let mut list = self.shared.list.lock();
        if inode.unlinked().load(Ordering::Acquire)
            || inode.uncommitted().swap(true, Ordering::AcqRel)
        {
            return;
        }
        list.files.push((Arc::clone(inode), Arc::clone(file)));
        if list.files.len() == CROWDED {
            self.shared.wake.notify_one();
        }
    }

    /// Takes off the list a file whose last name is gone: no crash can bring it back, and its space is wanted.
    pub(super) fn leave(&self, inode: &Inode) {
        inode.unlinked().store(true, Ordering::Release);
        let mut list = self.shared.list.lock();
        if !inode.uncommitted().swap(false, Ordering::AcqRel) {
            return;
        }
        let place = list
            .files
            .iter()
            .position(|(listed, _)| listed.ino() == inode.ino());
        let left = place.map(|place| list.files.swap_remove(place));
        drop(list);
        drop(left);
    }

    /// Commits all that is on the list now.
    pub(super) fn commit_now(&self) {
        self.shared.commit_all();
    }

    /// Commits all that is on the list and ends the thread; says whether nothing failed since the mount began.
    pub(super) fn finish(&self) -> bool {
        self.shared.list.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the committer thread panicked");
            self.shared.failed.store(true, Ordering::Release);
        }
        self.shared.commit_all();
        !self.shared.failed.load(Ordering::Acquire)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let mut list = self.list.lock();
            if !list.stop && list.files.len() < CROWDED {
                self.wake.wait_for(&mut list, INTERVAL);
            }
            let stop = list.stop;
            drop(list);
            if stop {
                return;
            }
            self.commit_all();
        }
    }

    fn commit_all(&self) {
        let files = std::mem::take(&mut self.list.lock().files);
        if files.is_empty() {
            return;
        }
        for (inode, _) in &files {
            inode.uncommitted().store(false, Ordering::Release);
        }
        // One by one, a file in a new folder would reach the disk before the folder's id.
        if files.len() <= FEW && self.unsynced.is_empty() {
            for (inode, file) in &files {
                self.settle(inode, file.sync(SyncKind::Data));
            }
        } else if let Err(error) = self.sync_together(&files) {
            self.failed.store(true, Ordering::Release);
            tracing::warn!(%error, "could not sync the ciphertext folder; lengths stay uncommitted");
        }
        self.keep_headerless(files);
    }

    /// A new file whose header found no room stays on the list, open, until it has one.
    fn keep_headerless(&self, files: Vec<(Arc<Inode>, Arc<OpenFile>)>) {
        let mut list = self.list.lock();
        for (inode, file) in files {
            let waits = file.needs_header() && !inode.unlinked().load(Ordering::Acquire);
            if waits && !inode.uncommitted().swap(true, Ordering::AcqRel) {
                list.files.push((inode, file));
            }
        }
    }

    fn sync_together(&self, files: &[(Arc<Inode>, Arc<OpenFile>)]) -> std::io::Result<()> {
        let begin =
            |(inode, file): &(Arc<Inode>, Arc<OpenFile>)| self.settle(inode, file.begin_commit());
        let tickets: Vec<_> = files.iter().map(begin).collect();
        let mark = self.unsynced.mark();
        self.root.sync_fs()?;
        self.unsynced.synced_all(mark);
        for ((inode, file), ticket) in files.iter().zip(tickets) {
            if let Some(ticket) = ticket {
                self.settle(inode, file.finish_commit(ticket));
            }
        }
        Ok(())
    }

    /// A file that cannot be committed does not stop the others; it is tried again with its next write or sync.
    fn settle<T>(&self, inode: &Inode, result: Result<T, ContentError>) -> Option<T> {
        let failed = |error: &ContentError| {
            self.failed.store(true, Ordering::Release);
            tracing::warn!(ciphertext = inode.cipher_path(), %error, "not committed");
        };
        result.inspect_err(failed).ok()
    }
}

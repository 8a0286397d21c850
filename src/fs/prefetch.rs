//! Who reads the files of a folder in the folder's order, as `grep -r` and `tar` do, finds their keys at hand: those of
//! the next files are asked for ahead, many at a time. Only while a provider of some key takes its time: the thread that does
//! so is there from the first such moment on.
//!
//! How far ahead grows with each file that is opened in order, and falls back with the first that is not; what was
//! asked for until then is not asked for in vain again.

mod order;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use crate::content::{Probe, probe};
use crate::storage::{Access, CName, FileKind, StorageFile};

use super::FileSystem;
use super::error::FsError;
use super::inodes::{Ino, Inode, Whereabouts};
use super::ops::folder::ListedEntry;
use super::worker::Worker;
use order::{Order, Reading};

/// Keys asked for at a time, at most.
const IN_FLIGHT_MAX: usize = 32;

/// The thread that looks ahead.
#[derive(Debug)]
pub(super) struct Prefetch {
    shared: Arc<Shared>,
    thread: Worker,
    started: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nothing else is locked while it is held.
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reading: Reading,
    jobs: VecDeque<Job>,
    in_flight: usize,
    stop: bool,
}

/// What the thread is to do.
#[derive(Debug)]
enum Job {
    /// Ask for the key of a file.
    File { folder: Ino, cname: CName },
    /// Find out the order of a folder whose listing the kernel had in its cache.
    List { folder: Ino },
}

impl Prefetch {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::default(),
            thread: Worker::default(),
            started: AtomicBool::new(false),
        }
    }

    /// Begins to look ahead in `fs`, once; without a thread for it, that is not done.
    fn start(&self, fs: &Arc<FileSystem>) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, fs) = (Arc::clone(&self.shared), Arc::downgrade(fs));
        let started = self.thread.start("key-prefetch", move || shared.run(&fs));
        if let Err(error) = started {
            tracing::warn!(%error, "keys are not asked for ahead");
        }
    }

    pub(super) fn stop(&self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        self.thread.join();
    }

    /// A folder was listed.
    pub(super) fn listed(&self, folder: Ino, listing: &[ListedEntry]) {
        let order = order_of(listing);
        self.shared.state.lock().reading.listed(folder, order);
    }

    /// A file is being opened.
    pub(super) fn opened(&self, fs: &Arc<FileSystem>, inode: &Inode) {
        self.start(fs);
        let folder = match &*inode.whereabouts().read() {
            Whereabouts::At { parent, .. } => parent.ino(),
            Whereabouts::Held(_) | Whereabouts::ByHandle(_) | Whereabouts::Nameless { .. } => {
                return;
            }
        };
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        match state.reading.opened(folder, inode.ino()) {
            order::Next::Ahead(names) => {
                let files = names.into_iter().map(|cname| Job::File { folder, cname });
                state.jobs.extend(files);
            }
            order::Next::Astray => state.jobs.clear(),
            order::Next::Unlisted => state.jobs.push_back(Job::List { folder }),
            order::Next::Nothing => return,
        }
        self.shared.wake.notify_one();
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(self: &Arc<Self>, fs: &Weak<FileSystem>) {
        while let Some(job) = self.next_job() {
            let Some(fs) = fs.upgrade() else { return };
            let done = match job {
                Job::File { folder, cname } => self.ask_ahead(&fs, folder, &cname),
                Job::List { folder } => self.list(&fs, folder),
            };
            // Whoever opens the file meets the same, and is told.
            if let Err(error) = done {
                tracing::debug!(%error, "nothing asked for ahead");
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            if state.in_flight < IN_FLIGHT_MAX
                && let Some(job) = state.jobs.pop_front()
            {
                return Some(job);
            }
            self.wake.wait(&mut state);
        }
    }

    fn ask_ahead(
        self: &Arc<Self>,
        fs: &FileSystem,
        folder: Ino,
        cname: &CName,
    ) -> Result<(), FsError> {
        let file = fs.ciphertext_of(folder, cname)?;
        let Probe::Sealed(header) = probe(&file, fs.volume.layout())? else {
            return Ok(());
        };
        if !fs.volume.admits(&header)? || fs.volume.keys_confirmed_at(&header).is_some() {
            return Ok(());
        }
        self.state.lock().in_flight += 1;
        let shared = Arc::clone(self);
        fs.volume.fetch_keys(header, move |_header, _deks| {
            shared.state.lock().in_flight -= 1;
            shared.wake.notify_one();
        });
        Ok(())
    }

    fn list(&self, fs: &FileSystem, folder: Ino) -> Result<(), FsError> {
        let inode = fs.inode(folder)?;
        let listing = fs.list(&inode, &*fs.folder_node(&inode)?)?;
        let order = order_of(&listing);
        self.state.lock().reading.listed(folder, order);
        Ok(())
    }
}

impl FileSystem {
    /// A ciphertext file, to be looked at without a trace.
    fn ciphertext_of(&self, folder: Ino, cname: &CName) -> Result<StorageFile, FsError> {
        let folder = self.folder_node(&self.inode(folder)?)?;
        Ok(folder.child(cname)?.open_file_untouched(Access::Read)?)
    }
}

fn order_of(listing: &[ListedEntry]) -> Order {
    let files = listing
        .iter()
        .filter(|entry| entry.kind == FileKind::Regular);
    Order::of(files.map(|entry| (entry.ino, entry.cname.clone())))
}

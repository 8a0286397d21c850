//! Asks again, before their time is over, whether the keys in use may still be used: those of open files, and the
//! volume key. **No key is used for longer than its TTL after its provider was last asked, while that answers.**
//!
//! Each key is asked for at a moment of its own between a half and three quarters of its TTL, so that files opened
//! together are not asked for together. Keys that no open file uses are not asked for: they expire in the keyring.
//! A provider that does not answer has refused nothing: keys in use stay for the grace beyond their TTL, and come
//! back when it answers.

mod times;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::content::{EpochKeys, OpenFile};
use crate::crypto::SecretKey;
use crate::format::header::FileHeader;
use crate::keys::{KeyError, KeyErrorKind};
use crate::threads;
use crate::volume::{Volume, VolumeError};

use super::FileSystem;
use super::custody::LockedBy;
use super::error::FsError;
use super::inodes::{Ino, Inode};
use super::worker::Worker;
use times::{Limits, Times, Verdict};

/// Looks at what is due, in a TTL, and at most and least this long apart.
const LOOKS: u32 = 20;
const LOOK_MOST: Duration = Duration::from_secs(5);
const LOOK_LEAST: Duration = Duration::from_millis(20);

/// The thread that watches over keys in use.
#[derive(Debug)]
pub(super) struct KeyWatch {
    shared: Arc<Shared>,
    thread: Worker,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// Nothing else is locked, and nobody asked, while it is held.
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<Ino, Watched>,
    volume: Option<Times>,
    /// Inodes whose pages the kernel must drop.
    to_drop: Vec<Ino>,
    stop: bool,
}

/// A file whose key is in use.
#[derive(Debug)]
struct Watched {
    file: Weak<OpenFile>,
    times: Times,
    /// Refused: not asked for until it is opened anew.
    refused: bool,
}

impl KeyWatch {
    /// Watches over keys that are believed for `ttl`, and for `grace` longer while no provider answers.
    pub(super) fn new(ttl: Duration, grace: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits: Limits { ttl, grace },
                state: Mutex::default(),
                wake: Condvar::new(),
            }),
            thread: Worker::default(),
        }
    }

    /// Begins to watch over the keys of `fs`.
    pub(super) fn start(&self, fs: &Arc<FileSystem>) -> std::io::Result<()> {
        let (shared, fs) = (Arc::clone(&self.shared), Arc::downgrade(fs));
        self.thread.start("key-watch", move || shared.run(&fs))
    }

    pub(super) fn stop(&self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_all();
        self.thread.join();
    }
}

impl Drop for KeyWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(self: &Arc<Self>, fs: &Weak<FileSystem>) {
        let look = (self.limits.ttl / LOOKS).clamp(LOOK_LEAST, LOOK_MOST);
        loop {
            let mut state = self.state.lock();
            if !state.stop && state.to_drop.is_empty() {
                self.wake.wait_for(&mut state, look);
            }
            let (stop, to_drop) = (state.stop, std::mem::take(&mut state.to_drop));
            drop(state);
            let Some(fs) = fs.upgrade().filter(|_| !stop) else {
                return;
            };
            for ino in to_drop {
                fs.drop_pages(ino);
            }
            self.look(&fs);
        }
    }

    /// Asks for what is due.
    fn look(self: &Arc<Self>, fs: &Arc<FileSystem>) {
        match fs.locked_by() {
            None => {
                self.look_at_volume(fs);
                self.look_at_files(fs);
            }
            Some(LockedBy::Outage) => self.look_at_volume(fs),
            // Whoever unlocks it asks for everything.
            Some(LockedBy::Idleness | LockedBy::Refusal | LockedBy::User) => {
                let mut state = self.state.lock();
                state.files.clear();
                state.volume = None;
            }
        }
    }

    fn look_at_files(self: &Arc<Self>, fs: &Arc<FileSystem>) {
        let now = Instant::now();
        let mut open = fs.files_in_use();
        let mut state = self.state.lock();
        state
            .files
            .retain(|_ino, watched| watched.file.strong_count() > 0);
        open.retain(|(inode, file)| self.is_due(fs, &mut state, inode, file, now));
        drop(state);
        for (inode, file) in open {
            self.ask_for_file(fs, inode, file);
        }
    }

    /// Whether a file's key is to be asked for now; then it is marked as being asked for.
    fn is_due(
        &self,
        fs: &FileSystem,
        state: &mut State,
        inode: &Arc<Inode>,
        file: &Arc<OpenFile>,
        now: Instant,
    ) -> bool {
        let watched = state.files.entry(inode.ino()).or_insert_with(|| Watched {
            file: Weak::new(),
            times: self.limits.unknown(now),
            refused: false,
        });
        if !std::ptr::eq(watched.file.as_ptr(), Arc::as_ptr(file)) {
            let confirmed = fs.volume.keys_confirmed_at(&file.header_known());
            *watched = Watched {
                file: Arc::downgrade(file),
                times: confirmed.map_or_else(
                    || self.limits.unknown(now),
                    |confirmed| self.limits.confirmed(confirmed),
                ),
                refused: false,
            };
        }
        if watched.refused && file.keys_gone().is_none() {
            // Opened anew, and allowed again.
            watched.refused = false;
            watched.times = self.limits.unknown(now);
        }
        let due = !watched.refused && watched.times.is_due(now);
        watched.times.asking |= due;
        due
    }

    fn ask_for_file(
        self: &Arc<Self>,
        fs: &Arc<FileSystem>,
        inode: Arc<Inode>,
        file: Arc<OpenFile>,
    ) {
        let header = file.header_now();
        if Volume::opens_by_volume_key(&header) {
            // Whether the volume key may be used decides.
            let asked = self.limits.confirmed(Instant::now());
            self.note_times(inode.ino(), |times| *times = asked);
            return;
        }
        let (shared, fs_then, asked) = (Arc::clone(self), Arc::downgrade(fs), Instant::now());
        fs.volume.confirm_keys(header, move |header, deks| {
            let Some(fs) = fs_then.upgrade() else { return };
            match deks {
                Ok(deks) => shared.file_confirmed(&fs, (&inode, &file), &header, &deks, asked),
                Err(error) => shared.file_not_confirmed(&fs, &inode, &file, &why_not(error)),
            }
        });
    }

    fn file_confirmed(
        &self,
        fs: &Arc<FileSystem>,
        (inode, file): (&Arc<Inode>, &Arc<OpenFile>),
        header: &FileHeader,
        deks: &[Arc<SecretKey>],
        asked: Instant,
    ) {
        let confirmed = self.limits.confirmed(asked);
        self.note_times(inode.ino(), |times| *times = confirmed);
        if file.keys_gone().is_none() {
            return;
        }
        // They were taken for want of an answer.
        let given = EpochKeys::derive(header, deks)
            .map_err(FsError::from)
            .and_then(|keys| Ok(file.give_keys(keys)?));
        match given {
            Ok(()) => {
                // A lock while the provider was asked has taken them for another reason.
                fs.follow_lock(file);
                tracing::warn!(
                    ciphertext = inode.cipher_path(),
                    "an open file has its key again"
                );
            }
            Err(error) => {
                tracing::error!(ciphertext = inode.cipher_path(), %error, "an open file stays without its key");
            }
        }
    }

    fn file_not_confirmed(
        &self,
        fs: &FileSystem,
        inode: &Arc<Inode>,
        file: &OpenFile,
        why: &KeyError,
    ) {
        let now = Instant::now();
        let mut verdict = Verdict::Silent;
        self.note_times(inode.ino(), |times| {
            verdict = self.limits.not_confirmed(times, why, now);
        });
        let was_gone = file.keys_gone().is_some();
        match verdict {
            Verdict::Refused => self.note_refused(inode.ino()),
            Verdict::Expired if !was_gone => {}
            Verdict::Expired | Verdict::Silent => {
                tracing::debug!(ciphertext = inode.cipher_path(), error = %why, "no word on the key of an open file");
                return;
            }
        }
        // The keyring has dropped it; whoever has the file open goes without from now on.
        fs.take_keys_of(inode, file, why);
        self.state.lock().to_drop.push(inode.ino());
        self.wake.notify_all();
    }

    fn note_times(&self, ino: Ino, change: impl FnOnce(&mut Times)) {
        if let Some(watched) = self.state.lock().files.get_mut(&ino) {
            change(&mut watched.times);
        }
    }

    fn note_refused(&self, ino: Ino) {
        if let Some(watched) = self.state.lock().files.get_mut(&ino) {
            watched.refused = true;
        }
    }

    fn look_at_volume(self: &Arc<Self>, fs: &Arc<FileSystem>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let fresh = || self.limits.confirmed(now);
        let times = state.volume.get_or_insert_with(fresh);
        if !times.is_due(now) {
            return;
        }
        times.asking = true;
        drop(state);
        let (shared, fs) = (Arc::clone(self), Arc::clone(fs));
        // On a thread of its own: it may wait for a provider, and files are not to wait for that.
        let spawned = threads::spawn("volume-key", move || shared.ask_for_volume(&fs));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to ask whether the volume key may still be used");
            self.note_volume(|times| times.asking = false);
        }
    }

    fn ask_for_volume(&self, fs: &FileSystem) {
        let asked = Instant::now();
        let answer = fs.volume.confirm_volume_key();
        let mut verdict = Verdict::Silent;
        self.note_volume(|times| match &answer {
            Ok(()) => *times = self.limits.confirmed(asked),
            Err(why) => verdict = self.limits.not_confirmed(times, why, Instant::now()),
        });
        let Err(why) = answer else {
            if let Err(error) = fs.unlock_if(|by| by == LockedBy::Outage, None) {
                tracing::warn!(%error, "the mount stays locked");
            }
            return;
        };
        match verdict {
            Verdict::Expired => fs.lock_for(LockedBy::Outage, &why),
            Verdict::Refused => fs.lock_for(LockedBy::Refusal, &why),
            Verdict::Silent => {
                tracing::warn!(error = %why, "no word on whether the volume key may still be used");
            }
        }
    }

    fn note_volume(&self, change: impl FnOnce(&mut Times)) {
        if let Some(times) = &mut self.state.lock().volume {
            change(times);
        }
    }
}

fn why_not(error: VolumeError) -> KeyError {
    match error {
        VolumeError::Key(error) | VolumeError::WrongKey(error) => error,
        error => {
            KeyError::new(KeyErrorKind::Unavailable, "it could not be asked for").caused_by(error)
        }
    }
}

//! Keys that are taken away while the mount runs, and given back: lock and unlock, and what a provider refuses.

use std::sync::{Arc, mpsc};

use parking_lot::Mutex;

use crate::audit::{Event, Field, Kind};
use crate::content::{EpochKeys, OpenFile};
use crate::format::names::NameKey;
use crate::keys::{KeyError, KeyErrorKind};
use crate::volume::VolumeError;

use super::FileSystem;
use super::error::FsError;
use super::inodes::{Ino, Inode, Whereabouts};
use super::subject::show_path;

/// On whose account the mount is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockedBy {
    /// Nobody used it for as long as was said.
    Idleness,
    /// No provider of the volume key answered for longer than is allowed: it opens by itself when one does.
    Outage,
    /// The volume key was refused.
    Refusal,
    /// Somebody asked for it.
    User,
}

/// Whether the mount is locked. Held while it is being locked or unlocked.
#[derive(Debug, Default)]
pub(super) struct Custody(Mutex<Option<LockedBy>>);

impl FileSystem {
    /// Locks the mount: what was written is committed, then every key goes, and what the kernel has cached. Until
    /// [`FileSystem::unlock`] whatever needs a key fails with `ENOKEY`. Locked already for another reason, it becomes
    /// the user's lock, which opens by [`FileSystem::unlock`] alone. `uid`: who asked, as far as that is known.
    pub fn lock(&self, uid: Option<u32>) {
        self.lock_on_account_of(LockedBy::User, uid);
    }

    /// The same for want of use, unless the mount is locked already.
    pub fn lock_unused(&self) {
        if self.locked_by().is_none() {
            self.lock_on_account_of(LockedBy::Idleness, None);
        }
    }

    fn lock_on_account_of(&self, by: LockedBy, uid: Option<u32>) {
        let mut locked = self.custody.0.lock();
        if locked.is_none() {
            self.commit_everything();
        }
        let message = "the mount is locked; `envelopefs unlock` opens it";
        self.close_down(&KeyError::new(KeyErrorKind::NotFound, message).of_this_host());
        self.volume.forget_providers();
        *locked = Some(by);
        self.note_lock(by, uid);
        tracing::warn!("the mount is locked: its keys are gone");
    }

    /// Has the volume key unwrapped again, and gives every open file its keys. Nothing is done where the mount is not
    /// locked. It waits for the providers. `uid`: who asked, as far as that is known.
    ///
    /// # Errors
    /// [`VolumeError`]: the mount stays locked.
    pub fn unlock(&self, uid: Option<u32>) -> Result<(), VolumeError> {
        self.unlock_if(|_by| true, uid).inspect_err(|error| {
            self.volume.note(|| {
                Event::new(Kind::Unlock)
                    .with(Field::Result, "failed")
                    .with_some(Field::Uid, uid)
                    .with(Field::Message, error.to_string())
            });
        })
    }

    /// The same, if the mount is locked on the account of whom `whose` says.
    pub(super) fn unlock_if(
        &self,
        whose: impl Fn(LockedBy) -> bool,
        uid: Option<u32>,
    ) -> Result<(), VolumeError> {
        let mut locked = self.custody.0.lock();
        if !locked.is_some_and(whose) {
            return Ok(());
        }
        self.volume.unlock()?;
        *locked = None;
        self.give_all_keys();
        self.volume.note(|| {
            Event::new(Kind::Unlock)
                .with(Field::Result, "granted")
                .with_some(Field::Uid, uid)
        });
        tracing::warn!("the mount is unlocked");
        Ok(())
    }

    /// On whose account the mount is locked, if it is.
    pub fn locked_by(&self) -> Option<LockedBy> {
        *self.custody.0.lock()
    }

    /// The volume key may not be used any more. What is not yet in the ciphertext folder is lost.
    pub(super) fn lock_for(&self, by: LockedBy, why: &KeyError) {
        let mut locked = self.custody.0.lock();
        if locked.is_some() {
            return;
        }
        tracing::error!(error = %why, "the volume key may not be used any more: the mount is locked");
        self.close_down(&taken_away(why));
        *locked = Some(by);
        self.note_lock(by, None);
    }

    fn note_lock(&self, by: LockedBy, uid: Option<u32>) {
        let cause = match by {
            LockedBy::Idleness => "idle",
            LockedBy::Outage => "outage",
            LockedBy::Refusal => "refusal",
            LockedBy::User => "user",
        };
        self.volume.note(|| {
            Event::new(Kind::Lock)
                .with(Field::Cause, cause)
                .with_some(Field::Uid, uid)
        });
    }

    /// The keys of one open file may not be used any more.
    pub(super) fn take_keys_of(&self, inode: &Arc<Inode>, file: &OpenFile, why: &KeyError) {
        tracing::error!(ciphertext = inode.cipher_path(), file = %file.file_id(), error = %why, "the key of an open file may not be used any more");
        file.take_keys(taken_away(why));
        self.volume.note(|| {
            let path = self.path_of(inode);
            Event::new(Kind::Revoked)
                .with_some(Field::Path, path.map(|path| show_path(&path)))
                .with(Field::FileId, file.file_id().to_string())
                .with_some(Field::Provider, why.uri().map(ToString::to_string))
                .with_some(Field::RequestId, why.request_id())
                .with(Field::Error, why.kind().to_string())
                .with(Field::Message, why.message())
        });
    }

    /// Drops what the kernel has cached of a file.
    pub(super) fn drop_pages(&self, ino: Ino) {
        if let Some(kernel) = self.kernel.get() {
            kernel.drop_inode(ino);
        }
    }

    /// Has the kernel send what was written, and commits it.
    fn commit_everything(&self) {
        for inode in self.inodes.all() {
            if self.has_writers(inode.ino()) {
                self.drop_pages(inode.ino());
            }
        }
        for handle in self.files.all() {
            if let Err(error) = self.flush_handle(&handle) {
                self.note_failure("lock", Some(handle.inode.ino()), None, &error);
            }
        }
        self.committer.commit_now();
    }

    /// First nobody gets keys any more, then they are taken from those who have them, then from the kernel what it
    /// was given in clear. A file that is being opened meanwhile loses its keys in `add_handle`.
    fn close_down(&self, why: &KeyError) {
        let name_key = self.volume.lock(why.clone());
        let inodes = self.inodes.all();
        for inode in &inodes {
            if let Some(file) = inode.open_file() {
                file.take_keys(why.clone());
            }
        }
        let Some(kernel) = self.kernel.get() else {
            return;
        };
        for inode in &inodes {
            kernel.drop_inode(inode.ino());
            if let Some((parent, name)) = self.last_name(inode, name_key.as_deref()) {
                kernel.drop_name(parent, &name);
            }
        }
        kernel.drop_inode(Ino::ROOT);
    }

    /// The name by which an inode was last found.
    fn last_name(&self, inode: &Inode, key: Option<&NameKey>) -> Option<(Ino, Vec<u8>)> {
        let whereabouts = inode.whereabouts().read().clone();
        let Whereabouts::At { parent, cname } = whereabouts else {
            return None;
        };
        let Some(key) = key.filter(|_| self.volume.seals_names()) else {
            let plain = !self.volume.seals_names();
            return plain.then(|| (parent.ino(), cname.as_bytes().to_vec()));
        };
        let dir = self.folder_node(&parent).ok()?;
        let id = self.dir_id(&parent, &dir).ok()??;
        let name = self.volume.open_name_by(key, &dir, &id, &cname)?;
        Some((parent.ino(), name))
    }

    /// Gives keys to every open file that has none, and waits until that is done.
    fn give_all_keys(&self) {
        let files: Vec<_> = self
            .inodes
            .all()
            .iter()
            .filter_map(|inode| inode.open_file())
            .filter(|file| file.keys_gone().is_some())
            .collect();
        let (done, given) = mpsc::channel();
        for file in files {
            let done = done.clone();
            self.fetch_keys_for(file, move |_file| drop(done));
        }
        drop(done);
        // Every sender is dropped when its file is done.
        let ended: Result<(), _> = given.recv();
        debug_assert!(ended.is_err());
    }

    /// The files that some handle has open, each with its inode.
    pub(super) fn files_in_use(&self) -> Vec<(Arc<Inode>, Arc<OpenFile>)> {
        let handles = self.files.all();
        let mut files: Vec<_> = handles
            .iter()
            .map(|handle| (Arc::clone(&handle.inode), Arc::clone(&handle.file)))
            .collect();
        files.sort_by_key(|(inode, _file)| inode.ino());
        files.dedup_by_key(|(inode, _file)| inode.ino());
        files
    }

    /// Gives an open file its keys, once a provider has; `then` is called whether or not that came to be.
    fn fetch_keys_for(
        &self,
        file: Arc<OpenFile>,
        then: impl FnOnce(&Arc<OpenFile>) + Send + 'static,
    ) {
        self.volume.fetch_keys(file.header_now(), move |header, deks| {
            let result = deks
                .map_err(FsError::from)
                .and_then(|deks| Ok(EpochKeys::derive(&header, &deks)?))
                .and_then(|keys| Ok(file.give_keys(keys)?));
            if let Err(error) = result {
                tracing::error!(file = %file.file_id(), %error, "an open file stays without its keys");
            }
            then(&file);
        });
    }

    /// Whoever was given a file's keys while they were taken from all others must not keep them.
    pub(super) fn follow_lock(self: &Arc<Self>, file: &Arc<OpenFile>) {
        if let Some(why) = self.volume.locked() {
            self.close_as_locked(file, why);
        }
    }

    /// The volume was seen to be locked. Where it was unlocked since, whoever did that may have looked for files without keys
    /// before this one was: then it gets them here, and a lock that comes in between is followed in turn.
    pub(super) fn close_as_locked(self: &Arc<Self>, file: &Arc<OpenFile>, why: KeyError) {
        file.take_keys(why);
        if self.volume.locked().is_none() {
            let fs = Arc::clone(self);
            self.fetch_keys_for(Arc::clone(file), move |file| fs.follow_lock(file));
        }
    }
}

/// What is said of an open file's key that its provider refuses: it was revoked, whatever the provider calls it.
/// Silence stays silence, and says to try again.
fn taken_away(why: &KeyError) -> KeyError {
    let kind = match why.kind() {
        KeyErrorKind::Unavailable | KeyErrorKind::Config => KeyErrorKind::Unavailable,
        KeyErrorKind::Corrupt
        | KeyErrorKind::Denied
        | KeyErrorKind::NotFound
        | KeyErrorKind::Revoked => KeyErrorKind::Revoked,
    };
    KeyError::new(kind, format!("its key may not be used any more: {why}")).of_this_host()
}

//! open, release: one open file for each inode, and its keys without a FUSE thread ever waiting for them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::MutexGuard;

use crate::content::{ContentError, EpochKeys, OpenFile, Probe, exclude_writers, probe};
use crate::crypto::SecretKey;
use crate::format::header::FileHeader;
use crate::fs::error::FsError;
use crate::fs::handles::{Fh, FileHandle};
use crate::fs::inodes::{Ino, Inode};
use crate::fs::sealed::pin;
use crate::fs::stats::Operation;
use crate::fs::subject::folder_of;
use crate::fs::users::HandleUse;
use crate::fs::{Caller, FileSystem};
use crate::storage::{Access, StorageFile};
use crate::volume::{FileMaterial, NewFile, VolumeError};

/// A handle that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub fh: Fh,
    /// The kernel must not use its cache: it has the file's length wrong, or a write that finds no space must fail.
    pub uncached: bool,
}

/// What an attempt to open a file came to.
enum Attempt {
    Opened(Arc<OpenFile>),
    /// The keys of this header must be unwrapped first.
    NeedsKeys(Lacking),
    /// The file is empty on disk; it needs keys of its own.
    NeedsNewFile,
}

/// A file whose keys are not known, by the header that was read; open already, where no other mount can have it changed
/// by the next attempt.
struct Lacking {
    header: Box<FileHeader>,
    file: Option<StorageFile>,
}

/// Key material that an earlier attempt asked for.
enum Material {
    None,
    Keys {
        of: Lacking,
        deks: Vec<Arc<SecretKey>>,
    },
    New(NewFile),
}

impl Material {
    fn take_file(&mut self) -> Option<StorageFile> {
        match self {
            Self::Keys { of, .. } => of.file.take(),
            Self::None | Self::New(_) => None,
        }
    }
}

/// Attempts before a file that changes under every one of them is given up.
const ATTEMPTS: usize = 8;

impl FileSystem {
    /// Opens a regular file for reading, or for writing too. `done` may be called later, on another thread.
    pub fn open(
        self: &Arc<Self>,
        caller: Caller,
        ino: Ino,
        write: bool,
        done: impl FnOnce(Result<Opened, FsError>) + Send + 'static,
    ) {
        self.stats.count(Operation::Open);
        let inode = match self.inode(ino) {
            Ok(inode) => inode,
            Err(error) => return done(Err(error)),
        };
        let access = if write {
            Access::ReadWrite
        } else {
            Access::Read
        };
        let (fs, of) = (Arc::clone(self), Arc::clone(&inode));
        self.open_file(caller, Arc::clone(&inode), access, move |file| {
            done(file.map(|file| fs.add_handle(of, file, write, caller)));
        });
        if !self.volume.keys_are_local() {
            self.prefetch.opened(self, &inode);
        }
    }

    pub(in crate::fs) fn add_handle(
        self: &Arc<Self>,
        inode: Arc<Inode>,
        file: Arc<OpenFile>,
        writes: bool,
        caller: Caller,
    ) -> Opened {
        if writes {
            inode.writers().fetch_add(1, Ordering::AcqRel);
        }
        let opened = Arc::clone(&file);
        let opened_as = Opened {
            uncached: inode.distrusted().load(Ordering::Acquire)
                || (writes && self.space.is_short(self.volume.root())),
            fh: self.files.insert(FileHandle {
                inode,
                file,
                writes,
                usage: HandleUse::of(caller),
            }),
        };
        self.follow_lock(&opened);
        opened_as
    }

    /// Whether any handle on the inode may write, so that the kernel may hold pages that it has not sent.
    pub fn has_writers(&self, ino: Ino) -> bool {
        self.inodes
            .find(ino)
            .is_some_and(|inode| inode.writers().load(Ordering::Acquire) > 0)
    }

    /// The open file of `inode`, opened now unless a handle has it open already.
    pub(in crate::fs) fn open_file(
        self: &Arc<Self>,
        caller: Caller,
        inode: Arc<Inode>,
        access: Access,
        done: impl FnOnce(Result<Arc<OpenFile>, FsError>) + Send + 'static,
    ) {
        self.open_with(
            caller,
            inode,
            access,
            Material::None,
            ATTEMPTS,
            Box::new(done),
        );
    }

    /// One attempt after another: each finds out, under the inode's `open` slot, what it still lacks; that is
    /// fetched with no lock held, and what has changed meanwhile is found by the next.
    fn open_with(
        self: &Arc<Self>,
        caller: Caller,
        inode: Arc<Inode>,
        access: Access,
        material: Material,
        attempts: usize,
        done: Box<dyn FnOnce(Result<Arc<OpenFile>, FsError>) + Send>,
    ) {
        let attempt = match self.attempt(&inode, access, material) {
            Ok(Attempt::Opened(file)) => return done(Ok(file)),
            Ok(_) if attempts == 0 => return done(Err(FsError::STALE)),
            Ok(attempt) => attempt,
            Err(error) => return done(Err(error)),
        };
        let (fs, of) = (Arc::clone(self), Arc::clone(&inode));
        let again = move |material: Result<Material, FsError>, done: Box<dyn FnOnce(_) + Send>| {
            match material {
                Ok(material) => fs.open_with(caller, inode, access, material, attempts - 1, done),
                Err(error) => done(Err(error)),
            }
        };
        match attempt {
            Attempt::NeedsKeys(Lacking { header, file }) => {
                let volume = Arc::clone(&self.volume);
                volume.fetch_keys_for(
                    || self.asker(caller, &of),
                    *header,
                    move |header, deks| {
                        let header = Box::new(header);
                        let material = deks.map(|deks| Material::Keys {
                            of: Lacking { header, file },
                            deks,
                        });
                        again(material.map_err(FsError::from), done);
                    },
                );
            }
            Attempt::NeedsNewFile => {
                self.new_file_in(folder_of(&of), move |new| {
                    again(new.map(Material::New), done);
                });
            }
            Attempt::Opened(_) => {}
        }
    }

    /// Material for a new file in this folder, if it is known. `done` may be called later, on another thread; with `ESTALE`
    /// where the folder decides on the file's keys and its path is not known. Whoever asks by path once more is told.
    pub(in crate::fs) fn new_file_in(
        self: &Arc<Self>,
        folder: Option<Arc<Inode>>,
        done: impl FnOnce(Result<NewFile, FsError>) + Send + 'static,
    ) {
        let fs = Arc::clone(self);
        let path = move || fs.path_of(folder.as_ref()?);
        self.volume.new_file(path, move |new| {
            done(new.map_err(|error| match error {
                VolumeError::FolderUnknown => FsError::STALE,
                error => error.into(),
            }));
        });
    }

    fn attempt(
        &self,
        inode: &Inode,
        access: Access,
        mut material: Material,
    ) -> Result<Attempt, FsError> {
        let mut slot = inode.open_slot().lock();
        if let Some(open) = slot.upgrade() {
            if access == Access::ReadWrite && open.is_read_only() {
                open.make_writable(self.open_ciphertext(inode, access)?);
            }
            if open.keys_gone().is_some()
                && let Some(lacking) = self.give_keys_again(&open, material)?
            {
                return Ok(lacking);
            }
            if self.options.shared {
                self.see_what_others_did(inode, &open)?;
            }
            return Ok(Attempt::Opened(open));
        }
        let file = match material.take_file() {
            Some(file) => file,
            None => self.open_ciphertext(inode, access)?,
        };
        let layout = self.volume.layout();
        if self.options.shared {
            exclude_writers(&file)?;
        }
        let sealed = self.check_sealed_file(inode, &file)?;
        let probed = probe(&file, layout)?;
        // Before any key provider is asked about slots that a stranger may have written.
        if let Probe::Sealed(header) = &probed
            && !self.volume.admits(header)?
        {
            return Err(FsError::ForeignFile);
        }
        // To be held until the open file is in its place, where a run over all files finds its keys.
        let _being_made;
        let open = match (probed, material) {
            (Probe::Empty, _) if access == Access::Read && !self.options.accept_empty => {
                return Err(FsError::EmptyFile);
            }
            (Probe::Empty, Material::New(new)) => {
                if self.options.shared && !self.volume.is_of_this_moment(&new.being_made) {
                    return Ok(Attempt::NeedsNewFile);
                }
                _being_made = new.being_made;
                match self.new_open_file(file, new.material) {
                    // Its keys are another mount's now.
                    Err(ContentError::Overtaken) => return Ok(Attempt::NeedsNewFile),
                    created => created?,
                }
            }
            (Probe::Empty, _) => return Ok(Attempt::NeedsNewFile),
            (Probe::Sealed(header), Material::Keys { of, deks })
                if header.epochs == of.header.epochs =>
            {
                self.open_sealed(file, header, &deks)?
            }
            (Probe::Sealed(header), _) => match self.volume.cached_keys(&header) {
                Some(deks) => self.open_sealed(file, header, &deks)?,
                None => {
                    return Ok(Attempt::NeedsKeys(Lacking {
                        header: Box::new(header),
                        file: (!self.options.shared).then_some(file),
                    }));
                }
            },
        };
        pin(&open, sealed)?;
        if open.is_untidy() {
            inode.distrusted().store(true, Ordering::Release);
        }
        Ok(Attempt::Opened(install(&mut slot, open)))
    }

    /// For a file that is open already and had its keys taken away: they are asked for as those of any other; says
    /// what is lacking.
    fn give_keys_again(
        &self,
        open: &OpenFile,
        material: Material,
    ) -> Result<Option<Attempt>, FsError> {
        let header = open.header_now();
        if !self.volume.admits(&header)? {
            return Err(FsError::ForeignFile);
        }
        match material {
            Material::Keys { of, deks } if header.epochs == of.header.epochs => {
                open.give_keys(EpochKeys::derive(&header, &deks)?)?;
                Ok(None)
            }
            _ => Ok(Some(Attempt::NeedsKeys(Lacking {
                header: Box::new(header),
                file: None,
            }))),
        }
    }

    /// For a file that is open already: what a `close` in another mount left is seen by every `open` after it.
    fn see_what_others_did(&self, inode: &Inode, open: &OpenFile) -> Result<(), FsError> {
        // The name may be another file's by now. The kernel looks it up again then.
        self.stat_by_name(inode)?;
        Ok(open.refresh()?)
    }

    /// A file that is empty on disk gets a header of its own.
    pub(in crate::fs) fn new_open_file(
        &self,
        file: StorageFile,
        new: FileMaterial,
    ) -> Result<OpenFile, ContentError> {
        let layout = self.volume.layout();
        if self.options.shared {
            OpenFile::create_shared(file, layout, new)
        } else {
            Ok(OpenFile::create(file, layout, new)?)
        }
    }

    /// Opens a file whose data keys are at hand.
    fn open_sealed(
        &self,
        file: StorageFile,
        header: FileHeader,
        deks: &[Arc<SecretKey>],
    ) -> Result<OpenFile, FsError> {
        let keys = EpochKeys::derive(&header, deks)?;
        let open = if self.options.shared {
            OpenFile::open_shared
        } else {
            OpenFile::open
        };
        Ok(open(file, header, keys)?)
    }

    fn open_ciphertext(&self, inode: &Inode, access: Access) -> Result<StorageFile, FsError> {
        self.stats.count_open();
        self.with_descriptors(|| {
            let node = self.node_by_name(inode)?;
            Ok(if self.options.noatime {
                node.open_file_untouched(access)?
            } else {
                node.open_file(access)?
            })
        })
    }

    /// The end of a handle: an empty file gets its header, and what is not durable yet goes to the committer.
    ///
    /// # Errors
    /// `EBADF`; a full disk.
    pub fn release(&self, fh: Fh) -> Result<(), FsError> {
        self.stats.count(Operation::Release);
        let handle = self.files.remove(fh)?;
        self.users.ended(&handle.usage);
        if handle.writes {
            handle.inode.writers().fetch_sub(1, Ordering::AcqRel);
        }
        if self.options.shared {
            self.drop_handle_locks(fh, &handle);
        }
        self.flush_handle(&handle)
    }

    /// What a `close` must have done: the header of an empty file is on disk.
    ///
    /// # Errors
    /// As [`FileSystem::release`].
    pub fn flush(&self, fh: Fh) -> Result<(), FsError> {
        self.stats.count(Operation::Flush);
        self.flush_handle(&*self.files.find(fh)?)
    }

    pub(in crate::fs) fn flush_handle(&self, handle: &FileHandle) -> Result<(), FsError> {
        if handle.file.is_read_only() {
            return Ok(());
        }
        let settled = handle.file.settle_mtime();
        let closed = handle.file.close();
        // Also where that failed: a file without its header is an error to later readers, so it is tried again.
        self.committer.note(&handle.inode, &handle.file);
        closed?;
        Ok(settled?)
    }
}

pub(in crate::fs) fn install(
    slot: &mut MutexGuard<'_, Weak<OpenFile>>,
    open: OpenFile,
) -> Arc<OpenFile> {
    let open = Arc::new(open);
    **slot = Arc::downgrade(&open);
    open
}

//! create, mknod, mkdir, symlink: new inodes, owned by the caller from their first instant.

use std::sync::Arc;

use crate::content::OpenFile;
use crate::crypto::random;
use crate::format::{names, symlink};
use crate::fs::attr::Entry;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode};
use crate::fs::ops::open::{Opened, install};
use crate::fs::resolve::{Place, component};
use crate::fs::stats::Operation;
use crate::fs::{Caller, FileSystem};
use crate::storage::{CName, Node, RenameFlags, StorageFile, as_caller};
use crate::units::DirId;
use crate::volume::{BeingMade, FileMaterial, NewFile};

/// A file that was made and opened.
#[derive(Debug, Clone, Copy)]
pub struct Created {
    /// The new name's inode.
    pub entry: Entry,
    /// The handle.
    pub opened: Opened,
}

/// A file that was made, and is not open to the kernel yet.
pub(in crate::fs) type MadeFile = (Entry, Arc<Inode>, Arc<OpenFile>);

const KIND_BITS: u32 = libc::S_IFMT;
/// What the owner of a folder must be allowed so that its id can be put in it.
const OWNER_ALL: u32 = 0o700;

impl FileSystem {
    /// Makes the regular file `name` and opens it for reading and writing. `done` may be called later, on another thread.
    /// A file that is there meanwhile is `EEXIST` where it `must_be_new`, else `ESTALE`.
    pub fn create(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        must_be_new: bool,
        done: impl FnOnce(Result<Created, FsError>) + Send + 'static,
    ) {
        self.stats.count(Operation::Create);
        let name = name.to_vec();
        self.make_file_in(
            parent,
            move |fs, folder, new| {
                let made = fs.create_file(caller, folder, &name, mode, new)?;
                Ok(fs.open_made(made, caller))
            },
            move |created| {
                done(created.map_err(|error| look_again_if_there(error, must_be_new)));
            },
        );
    }

    /// Has `make` make a file of the folder `parent`, with keys of its own. `done` may be called later, on another thread.
    pub(in crate::fs) fn make_file_in<T>(
        self: &Arc<Self>,
        parent: Ino,
        make: impl FnOnce(&Arc<Self>, &Arc<Inode>, NewFile) -> Result<T, FsError> + Send + 'static,
        done: impl FnOnce(Result<T, FsError>) + Send + 'static,
    ) {
        let folder = match self.inode(parent) {
            Ok(folder) => folder,
            Err(error) => return done(Err(error)),
        };
        let (fs, of) = (Arc::clone(self), Arc::clone(&folder));
        self.new_file_in(Some(folder), move |new| {
            done(new.and_then(|new| make(&fs, &of, new)));
        });
    }

    /// Opens a file that was just made, for reading and writing.
    pub(in crate::fs) fn open_made(
        self: &Arc<Self>,
        (entry, inode, file): MadeFile,
        caller: Caller,
    ) -> Created {
        Created {
            entry,
            opened: self.add_handle(inode, file, true, caller),
        }
    }

    pub(in crate::fs) fn create_file(
        &self,
        caller: Caller,
        parent: &Arc<Inode>,
        name: &[u8],
        mode: u32,
        NewFile {
            material,
            being_made,
        }: NewFile,
    ) -> Result<MadeFile, FsError> {
        let place = self.place(parent, name)?;
        // Nobody finds the name before its open file is in place.
        let _names = parent.names().write();
        let mode = self.new_mode(caller, &place.dir, mode & 0o7777)?;
        let open = if self.options.shared {
            self.create_whole(caller, &place, mode, material, &being_made)?
        } else {
            let file = self.with_descriptors(|| {
                make(&place, || create_as(caller, &place.dir, &place.cname, mode))
            })?;
            let open = self.new_open_file(file, material);
            open.inspect_err(|_error| take_back(&place))?
        };
        let stat = open.stat().map_err(FsError::from);
        let node = || place.dir.child(&place.cname);
        let stat = stat.and_then(|stat| self.keep_set_gid(caller, mode, stat, node));
        // Without its header the file would be an error to readers.
        let stat = stat.inspect_err(|_error| take_back(&place))?;
        self.tell_times_of_new(&open, &stat);
        let inode = self.inodes.look_up(&stat, parent, place.cname.clone());
        let open = install(&mut inode.open_slot().lock(), open);
        // A run over all files finds it from here on.
        drop(being_made);
        Ok((
            Entry {
                attr: self.attr_of(inode.ino(), &stat, Some(&open)),
                generation: self.generation(&inode, &stat, || place.dir.child_handle(&place.cname)),
            },
            inode,
            open,
        ))
    }

    /// Other mounts must not find a file without a header, which they would take for their own: it gets its name when
    /// it is whole.
    fn create_whole(
        &self,
        caller: Caller,
        place: &Place,
        mode: u32,
        new: FileMaterial,
        being_made: &BeingMade,
    ) -> Result<OpenFile, FsError> {
        let temporary = temporary_name()?;
        let file =
            self.with_descriptors(|| Ok(create_as(caller, &place.dir, &temporary, mode)?))?;
        let made = self
            .new_open_file(file, new)
            .map_err(FsError::from)
            .and_then(|open| {
                let node = self.with_descriptors(|| Ok(open.node()?))?;
                // The kernel tries again, and the file gets this moment's keys.
                if !self.volume.is_of_this_moment(being_made) {
                    return Err(FsError::STALE);
                }
                make(place, || node.link(&place.dir, &place.cname))?;
                Ok(open)
            });
        let removed = place.dir.unlink(&temporary);
        if let Err(error) = removed {
            tracing::warn!(%error, "a new file keeps its temporary name beside its own");
        }
        made
    }

    /// Makes a regular file, FIFO, socket or device. `mode` has the kind in it. `done` may be called later, on another thread.
    pub fn mknod(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u64,
        done: impl FnOnce(Result<Entry, FsError>) + Send + 'static,
    ) {
        self.stats.count(Operation::Mknod);
        if mode & KIND_BITS != libc::S_IFREG {
            return done(self.make_special(caller, parent, name, mode, rdev));
        }
        let name = name.to_vec();
        let make = move |fs: &Arc<Self>, folder: &Arc<Inode>, new| {
            let (entry, _inode, file) = fs.create_file(caller, folder, &name, mode, new)?;
            let closed = file.close().map_err(FsError::from);
            closed.inspect_err(|_error| {
                let removed = fs.unlink(parent, &name);
                fs.forget(entry.attr.ino, 1);
                tracing::debug!(?removed, "a file that could not be made");
            })?;
            Ok(entry)
        };
        self.make_file_in(parent, make, done);
    }

    fn make_special(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
        rdev: u64,
    ) -> Result<Entry, FsError> {
        let parent = self.inode(parent)?;
        let place = self.place(&parent, name)?;
        let _names = parent.names().write();
        let mode = self.new_mode(caller, &place.dir, mode)?;
        make(&place, || {
            as_caller(caller.ids, || place.dir.make_node(&place.cname, mode, rdev))?
        })?;
        let made = place.dir.stat_child(&place.cname)?;
        let stat = self.keep_set_gid(caller, mode, made, || place.dir.child(&place.cname))?;
        Ok(self.entry(&parent, &place.dir, &place.cname, &stat))
    }

    /// Makes a symlink to `target`.
    ///
    /// # Errors
    /// `ENAMETOOLONG` where the sealed target would not fit a symlink; `EEXIST`.
    pub fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        target: &[u8],
    ) -> Result<Entry, FsError> {
        self.stats.count(Operation::Symlink);
        let parent = self.inode(parent)?;
        let place = self.place(&parent, name)?;
        let sealed = match self.volume.symlink_key()? {
            Some(_) if target.len() > symlink::MAX_TARGET_LEN => {
                return Err(FsError::NAME_TOO_LONG);
            }
            Some(key) => symlink::seal(&key, target),
            None => target.to_vec(),
        };
        let _names = parent.names().write();
        make(&place, || {
            as_caller(caller.ids, || place.dir.make_symlink(&sealed, &place.cname))?
        })?;
        self.found(&parent, &place)
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// `EEXIST` and what the ciphertext folder answers.
    pub fn mkdir(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
    ) -> Result<Entry, FsError> {
        self.stats.count(Operation::Mkdir);
        let parent = self.inode(parent)?;
        let place = self.place(&parent, name)?;
        let _names = parent.names().write();
        let mode = self.new_mode(caller, &place.dir, mode & 0o7777)?;
        match self.volume.seals_names() {
            false => as_caller(caller.ids, || place.dir.make_dir(&place.cname, mode))??,
            true => {
                place.make_sidecar()?;
                self.sync_folders_down_to(&parent)
                    .inspect_err(|_error| place.undo_sidecar())?;
                make(&place, || make_folder_with_id(caller, &place, mode))?;
            }
        }
        let entry = self.found(&parent, &place)?;
        if self.volume.seals_names() {
            self.unsynced.made_folder(entry.attr.ino, parent.ino());
        }
        Ok(entry)
    }

    /// The entry of what was just made at `place`. The caller holds `parent`'s names.
    pub(in crate::fs) fn found(
        &self,
        parent: &Arc<Inode>,
        place: &Place,
    ) -> Result<Entry, FsError> {
        let stat = place.dir.stat_child(&place.cname)?;
        Ok(self.entry(parent, &place.dir, &place.cname, &stat))
    }
}

/// The kernel, which took the name to be free, looks it up again upon `ESTALE` and opens what it finds: by the caller's
/// rights, which it does not ask for in what it believes to be new.
fn look_again_if_there(error: FsError, must_be_new: bool) -> FsError {
    if error.errno() == libc::EEXIST && !must_be_new {
        FsError::STALE
    } else {
        error
    }
}

fn create_as(caller: Caller, dir: &Node, cname: &CName, mode: u32) -> std::io::Result<StorageFile> {
    as_caller(caller.ids, || dir.create_file(cname, mode))?
}

/// A name that was just made and is of no use goes again.
fn take_back(place: &Place) {
    let removed = place.dir.unlink(&place.cname);
    place.remove_sidecar();
    tracing::debug!(?removed, "a file that could not be made");
}

/// Makes a name with `work`, its sidecar first. The caller holds the folder's names exclusively.
pub(in crate::fs) fn make<T>(
    place: &Place,
    work: impl FnOnce() -> std::io::Result<T>,
) -> Result<T, FsError> {
    place.make_sidecar()?;
    let made = work().inspect_err(|_error| place.undo_sidecar())?;
    // Another mount of a shared volume may just have removed the same name, and the sidecar after it. Where that
    // cannot be seen, the one that was made first is still there.
    if let Err(error) = place.make_sidecar() {
        tracing::warn!(%error, "a long name may be without its sidecar");
    }
    Ok(made)
}

/// A name for what is not in place yet, hidden from callers.
pub(in crate::fs) fn temporary_name() -> Result<CName, FsError> {
    let random = data_encoding::HEXLOWER.encode(&random::array::<8>());
    component(&[names::TEMP_PREFIX, random.as_bytes()].concat())
}

/// A folder is never seen without its id: it gets it under a temporary name in the same parent (whose
/// set-group-id bit and default ACL it so inherits) and is then renamed into place.
fn make_folder_with_id(caller: Caller, place: &Place, mode: u32) -> std::io::Result<()> {
    let temporary =
        temporary_name().map_err(|_error| std::io::Error::from_raw_os_error(libc::EINVAL))?;
    as_caller(caller.ids, || {
        place.dir.make_dir(&temporary, mode | OWNER_ALL)
    })??;
    let made = fill_new_folder(caller, &place.dir, &temporary, mode).and_then(|()| {
        place
            .dir
            .rename(&temporary, &place.dir, &place.cname, RenameFlags::NOREPLACE)
    });
    made.inspect_err(|_error| remove_new_folder(&place.dir, &temporary))
}

fn fill_new_folder(
    caller: Caller,
    dir: &Node,
    temporary: &CName,
    mode: u32,
) -> std::io::Result<()> {
    let folder = dir.child(temporary)?;
    let inherited = folder.stat()?.mode;
    // A default ACL may leave the owner less.
    let opened = inherited & OWNER_ALL == OWNER_ALL;
    if !opened {
        folder.set_mode(inherited | OWNER_ALL)?;
    }
    let id = names::encode_dir_id(&DirId(random::array()));
    as_caller(caller.ids, || folder.make_symlink(&id, &dir_id_entry()?))??;
    // What the parent handed down stays: set-group-id, and what its default ACL allows others and, as mask, groups.
    let wanted = inherited & (mode | !OWNER_ALL);
    if wanted != inherited || !opened {
        folder.set_mode(wanted)?;
    }
    Ok(())
}

fn remove_new_folder(dir: &Node, temporary: &CName) {
    if let Ok(folder) = dir.child(temporary) {
        let emptied = dir_id_entry().and_then(|entry| folder.unlink(&entry));
        let removed = dir.remove_dir(temporary);
        tracing::debug!(?emptied, ?removed, "a folder that could not be made");
    }
}

pub(in crate::fs) fn dir_id_entry() -> std::io::Result<CName> {
    CName::new(names::DIR_ID_ENTRY)
        .map_err(|_invalid| std::io::Error::from_raw_os_error(libc::EINVAL))
}

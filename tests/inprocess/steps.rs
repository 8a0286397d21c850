//! What a program does, one step at a time: in the volume, and in the model.

use envelopefs::content::{Seek, SyncKind};
use envelopefs::daemon::runs::SlotsRun;
use envelopefs::fs::{AttrChange, Fh, FsError, TimeChange};
use envelopefs::storage::{RenameFlags, Timestamp, XattrSet};

use super::model::{Entry, Tree};
use super::volume::{Mounted, SELF, wait};

/// One operation. Paths are from the volume's root on; a file must be open where a handle is worked with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Create(&'static str),
    Open(&'static str),
    Close(&'static str),
    /// Bytes of this seed at an offset: so many.
    Write(&'static str, u64, usize, u8),
    Read(&'static str),
    Truncate(&'static str, u64),
    TruncateByPath(&'static str, u64),
    Allocate(&'static str, u64, u64),
    Punch(&'static str, u64, u64),
    Zero(&'static str, u64, u64),
    /// From one file to another: offset, length, offset.
    Copy(&'static str, &'static str, u64, u64, u64),
    Seek(&'static str),
    Sync(&'static str),
    SyncData(&'static str),
    Mkdir(&'static str),
    Rmdir(&'static str),
    Unlink(&'static str),
    Link(&'static str, &'static str),
    Rename(&'static str, &'static str),
    Exchange(&'static str, &'static str),
    Symlink(&'static str, &'static str),
    Mkfifo(&'static str),
    Chmod(&'static str, u32),
    Touch(&'static str),
    SetAttribute(&'static str, &'static str, &'static str),
    RemoveAttribute(&'static str, &'static str),
    /// Every name, attribute and content.
    LookAround,
    SyncFolder(&'static str),
    StatFs,
    /// Each key of the volume gets a new version, and every file a slot of it.
    RotateKeys,
    /// A new key file, and a slot of it in every file.
    AddKey(&'static str),
    /// The key file opens the volume and its files no more.
    RemoveKey(&'static str),
}

/// Bytes that differ from place to place and seed to seed.
fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 31 + (at >> 8) * 7) as u8 ^ seed)
        .collect()
}

impl Step {
    /// Does it in the volume.
    #[expect(clippy::too_many_lines, reason = "one arm for each step")]
    pub(crate) fn run(self, at: &mut Mounted) -> Result<(), FsError> {
        match self {
            Self::Create(path) => create(at, path),
            Self::Open(path) => {
                let fh = at.open(path, true)?;
                at.handles.insert(path.to_owned(), fh);
                Ok(())
            }
            Self::Close(path) => {
                let fh = at.handles.remove(path).expect("it is open");
                at.fs.release(fh)
            }
            Self::Write(path, offset, len, seed) => {
                at.fs
                    .write(handle(at, path), offset, &pattern(seed, len), false)
            }
            Self::Read(path) => at.read_all(handle(at, path)).map(drop),
            Self::Truncate(path, len) => set(at, path, Some(handle(at, path)), size(len)),
            Self::TruncateByPath(path, len) => set(at, path, None, size(len)),
            Self::Allocate(path, offset, len) => at.fs.fallocate(handle(at, path), 0, offset, len),
            Self::Punch(path, offset, len) => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                at.fs.fallocate(handle(at, path), mode, offset, len)
            }
            Self::Zero(path, offset, len) => {
                at.fs
                    .fallocate(handle(at, path), libc::FALLOC_FL_ZERO_RANGE, offset, len)
            }
            Self::Copy(from, to, offset, len, to_offset) => {
                copy(at, (from, offset), (to, to_offset), len)
            }
            Self::Seek(path) => at.fs.lseek(handle(at, path), 0, Seek::Hole).map(drop),
            Self::Sync(path) => at.fs.fsync(handle(at, path), SyncKind::All),
            Self::SyncData(path) => at.fs.fsync(handle(at, path), SyncKind::Data),
            Self::Mkdir(path) => {
                let (folder, name) = at.place(path)?;
                at.fs.mkdir(SELF, folder, name, 0o755).map(drop)
            }
            Self::Rmdir(path) => {
                let (folder, name) = at.place(path)?;
                at.fs.rmdir(folder, name)
            }
            Self::Unlink(path) => {
                let (folder, name) = at.place(path)?;
                at.fs.unlink(folder, name)
            }
            Self::Link(from, to) => {
                let (ino, (folder, name)) = (at.find(from)?, at.place(to)?);
                at.fs.link(ino, folder, name).map(drop)
            }
            Self::Rename(from, to) => rename(at, from, to, RenameFlags::empty()),
            Self::Exchange(one, other) => rename(at, one, other, RenameFlags::EXCHANGE),
            Self::Symlink(target, path) => {
                let (folder, name) = at.place(path)?;
                at.fs
                    .symlink(SELF, folder, name, target.as_bytes())
                    .map(drop)
            }
            Self::Mkfifo(path) => {
                let (folder, name) = at.place(path)?;
                wait(|done| {
                    at.fs
                        .mknod(SELF, folder, name, libc::S_IFIFO | 0o644, 0, done);
                })
                .map(drop)
            }
            Self::Chmod(path, mode) => set(
                at,
                path,
                None,
                AttrChange {
                    mode: Some(mode),
                    ..AttrChange::default()
                },
            ),
            Self::Touch(path) => {
                let time = Some(TimeChange::To(Timestamp {
                    secs: 1_000_000_000,
                    nanos: 5,
                }));
                set(
                    at,
                    path,
                    None,
                    AttrChange {
                        atime: time,
                        mtime: time,
                        ..AttrChange::default()
                    },
                )
            }
            Self::SetAttribute(path, name, value) => {
                let ino = at.find(path)?;
                at.fs.setxattr(
                    SELF,
                    ino,
                    name.as_bytes(),
                    value.as_bytes(),
                    XattrSet::Either,
                )
            }
            Self::RemoveAttribute(path, name) => {
                let ino = at.find(path)?;
                at.fs.removexattr(ino, name.as_bytes())
            }
            Self::LookAround => at.tree().map(drop),
            Self::SyncFolder(path) => {
                let ino = at.find(path)?;
                at.fs.fsyncdir(ino)
            }
            Self::StatFs => at.fs.statfs().map(drop),
            Self::RotateKeys => {
                at.renew_slots(SlotsRun {
                    rotate: true,
                    ..SlotsRun::default()
                });
                Ok(())
            }
            Self::AddKey(name) => {
                at.make_key(name);
                at.renew_slots(SlotsRun {
                    add: vec![at.key(name)],
                    ..SlotsRun::default()
                });
                Ok(())
            }
            Self::RemoveKey(name) => {
                at.renew_slots(SlotsRun {
                    remove: vec![at.key(name)],
                    ..SlotsRun::default()
                });
                Ok(())
            }
        }
    }

    /// Does it in the model.
    pub(crate) fn apply(self, to: &mut Tree) {
        match self {
            Self::Create(path) => to.make(path, Entry::File(Vec::new()), 0o644),
            Self::Write(path, offset, len, seed) => {
                lay_over(to.content(path), offset, &pattern(seed, len));
            }
            Self::Truncate(path, len) | Self::TruncateByPath(path, len) => {
                to.content(path).resize(len as usize, 0);
            }
            Self::Allocate(path, offset, len) => {
                let content = to.content(path);
                content.resize(content.len().max((offset + len) as usize), 0);
            }
            Self::Punch(path, offset, len) => {
                let content = to.content(path);
                let end = content.len().min((offset + len) as usize);
                content[offset as usize..end].fill(0);
            }
            Self::Zero(path, offset, len) => {
                lay_over(to.content(path), offset, &vec![0; len as usize]);
            }
            Self::Copy(from, path, offset, len, to_offset) => {
                let data = to.content(from)[offset as usize..][..len as usize].to_vec();
                lay_over(to.content(path), to_offset, &data);
            }
            Self::Mkdir(path) => to.make(path, Entry::Folder, 0o755),
            Self::Rmdir(path) | Self::Unlink(path) => to.unlink(path),
            Self::Link(from, path) => to.link(from, path),
            Self::Rename(from, path) => to.rename(from, path),
            Self::Exchange(one, other) => to.exchange(one, other),
            Self::Symlink(target, path) => {
                to.make(path, Entry::Symlink(target.as_bytes().to_vec()), 0o777);
            }
            Self::Mkfifo(path) => to.make(path, Entry::Other, 0o644),
            Self::Chmod(path, mode) => to.chmod(path, mode),
            Self::SetAttribute(path, name, value) => {
                to.attributes(path)
                    .insert(name.to_owned(), value.as_bytes().to_vec());
            }
            Self::RemoveAttribute(path, name) => {
                to.attributes(path).remove(name);
            }
            Self::Open(_)
            | Self::Close(_)
            | Self::Read(_)
            | Self::Seek(_)
            | Self::Sync(_)
            | Self::SyncData(_) => {}
            Self::Touch(_) | Self::LookAround | Self::SyncFolder(_) | Self::StatFs => {}
            Self::RotateKeys | Self::AddKey(_) | Self::RemoveKey(_) => {}
        }
    }

    /// Whether it can be done: an earlier step that it builds on may have failed.
    pub(crate) fn is_possible(self, at: &Mounted, tree: &Tree) -> bool {
        let there = |path: &str| tree.paths().any(|(found, _)| found == path);
        let open = |path: &str| at.handles.contains_key(path);
        let is_folder = |path: &str| {
            tree.paths()
                .any(|(found, inode)| found == path && inode.0 == Entry::Folder)
        };
        let folder_there = |path: &str| {
            path.rsplit_once('/')
                .is_none_or(|(folder, _)| is_folder(folder))
        };
        let free = |path: &str| !there(path) && folder_there(path);
        let empty = |path: &str| {
            let below = format!("{path}/");
            !tree.paths().any(|(found, _)| found.starts_with(&below))
        };
        let len = |path: &str| tree.clone().content(path).len() as u64;
        let has = |path: &str, name: &str| tree.clone().attributes(path).contains_key(name);
        match self {
            Self::Create(path)
            | Self::Mkdir(path)
            | Self::Symlink(_, path)
            | Self::Mkfifo(path) => free(path),
            Self::Open(path)
            | Self::Chmod(path, _)
            | Self::Touch(path)
            | Self::SetAttribute(path, _, _) => there(path),
            Self::Unlink(path) => there(path) && !open(path) && !is_folder(path),
            Self::TruncateByPath(path, _) => there(path),
            Self::RemoveAttribute(path, name) => there(path) && has(path, name),
            Self::Close(path)
            | Self::Write(path, ..)
            | Self::Read(path)
            | Self::Truncate(path, _) => open(path),
            Self::Seek(path) => open(path) && len(path) > 0,
            Self::Allocate(path, ..) | Self::Sync(path) | Self::SyncData(path) => open(path),
            Self::Punch(path, offset, _) => open(path) && len(path) > offset,
            Self::Zero(path, ..) => open(path),
            Self::Copy(from, to, offset, count, _) => {
                open(from) && open(to) && len(from) >= offset + count
            }
            Self::Rmdir(path) => is_folder(path) && empty(path),
            Self::Link(from, to) => there(from) && free(to),
            Self::Rename(from, to) => {
                there(from)
                    && folder_there(to)
                    && (!there(to) || (is_folder(from) == is_folder(to) && empty(to)))
            }
            Self::Exchange(one, other) => there(one) && there(other),
            Self::SyncFolder(path) => path.is_empty() || there(path),
            Self::LookAround | Self::StatFs => true,
            Self::RotateKeys | Self::AddKey(_) | Self::RemoveKey(_) => true,
        }
    }
}

fn handle(at: &Mounted, path: &str) -> Fh {
    at.handles[path]
}

fn size(len: u64) -> AttrChange {
    AttrChange {
        size: Some(len),
        ..AttrChange::default()
    }
}

fn set(at: &Mounted, path: &str, fh: Option<Fh>, change: AttrChange) -> Result<(), FsError> {
    let ino = at.find(path)?;
    wait(|done| at.fs.setattr(SELF, ino, fh, change, done)).map(drop)
}

fn create(at: &mut Mounted, path: &str) -> Result<(), FsError> {
    let (folder, name) = at.place(path)?;
    let made = wait(|done| at.fs.create(SELF, folder, name, 0o644, true, done))?;
    at.handles.insert(path.to_owned(), made.opened.fh);
    Ok(())
}

fn rename(at: &Mounted, from: &str, to: &str, flags: RenameFlags) -> Result<(), FsError> {
    let ((folder, name), (to_folder, to_name)) = (at.place(from)?, at.place(to)?);
    at.fs.rename(folder, name, to_folder, to_name, flags)
}

/// The whole of it: a call may copy a part.
fn copy(at: &Mounted, from: (&str, u64), to: (&str, u64), len: u64) -> Result<(), FsError> {
    let mut done = 0;
    while done < len {
        let copied = at.fs.copy_file_range(
            handle(at, from.0),
            from.1 + done,
            handle(at, to.0),
            to.1 + done,
            len - done,
        )?;
        assert!(copied > 0, "the source ended early");
        done += copied;
    }
    Ok(())
}

fn lay_over(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    content.resize(content.len().max(end), 0);
    content[start..end].copy_from_slice(data);
}

//! A worker: a process with open files and a working folder of its own, that does as it is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timespec,
    Timestamps, XattrFlags,
};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::calls;
use super::op::{
    Access, Allocate, Attributes, How, Kind, On, Op, Outcome, Rename, SLOTS, Set, fill, xattr_name,
};
use crate::workers;

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Work in this folder as if there were nothing else.
    Enter(PathBuf),
    /// Let go of the folder and of everything in it.
    Leave,
    Do(Op),
}

const CONFIG: bincode::config::Configuration = bincode::config::standard();

pub(super) fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let bytes = bincode::serde::encode_to_vec(message, CONFIG).expect("a message can be written");
    stream.write_all(&(bytes.len() as u64).to_le_bytes())?;
    stream.write_all(&bytes)
}

pub(super) fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut len = [0; 8];
    stream.read_exact(&mut len)?;
    let mut bytes = vec![0; u64::from_le_bytes(len) as usize];
    stream.read_exact(&mut bytes)?;
    let decoded = bincode::serde::decode_from_slice(&bytes, CONFIG);
    Ok(decoded.expect("a message of this program").0)
}

#[test]
#[ignore = "a process of the model test, which starts it"]
fn worker() {
    let mut stream = UnixStream::connect(workers::task()).unwrap();
    let outer = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let mut slots = Slots::default();
    while let Ok(order) = receive::<Order>(&mut stream) {
        let outcome = match order {
            Order::Do(op) => slots
                .execute(&op)
                .unwrap_or_else(|error| Outcome::Errno(error.raw_os_error())),
            Order::Leave => leave(&outer, &mut slots),
            Order::Enter(folder) => {
                leave(&outer, &mut slots);
                rustix::process::chroot(&folder).unwrap();
                rustix::process::chdir("/").unwrap();
                Outcome::Done
            }
        };
        send(&mut stream, &outcome).unwrap();
    }
}

fn leave(outer: &OwnedFd, slots: &mut Slots) -> Outcome {
    *slots = Slots::default();
    rustix::process::fchdir(outer).unwrap();
    rustix::process::chroot(".").unwrap();
    Outcome::Done
}

#[derive(Default)]
struct Slots([Option<File>; SLOTS]);

type Try = rustix::io::Result<Outcome>;

fn done(result: rustix::io::Result<()>) -> Try {
    result.map(|()| Outcome::Done)
}

fn count(result: rustix::io::Result<usize>) -> Try {
    result.map(|count| Outcome::Count(count as u64))
}

impl Slots {
    fn file(&self, slot: usize) -> rustix::io::Result<&File> {
        self.0[slot].as_ref().ok_or(Errno::BADF)
    }

    fn execute(&mut self, op: &Op) -> Try {
        match op {
            Op::Open(slot, at, how) => {
                self.0[*slot] = None;
                let file = rustix::fs::open(at.path(), flags(*how), Mode::from_raw_mode(0o666))?;
                self.0[*slot] = Some(File::from(file));
                Ok(Outcome::Done)
            }
            Op::Close(slot) => self.0[*slot]
                .take()
                .map(|_| Outcome::Done)
                .ok_or(Errno::BADF),
            Op::Chdir(at) => done(rustix::process::chdir(at.path())),
            Op::Remount => panic!("a remount is not a process's affair"),
            Op::Mkdir(at) => done(rustix::fs::mkdir(at.path(), Mode::from_raw_mode(0o777))),
            Op::Rmdir(at) => done(rustix::fs::rmdir(at.path())),
            Op::Unlink(at) => done(rustix::fs::unlink(at.path())),
            Op::Link(from, to) => done(rustix::fs::linkat(
                CWD,
                from.path(),
                CWD,
                to.path(),
                AtFlags::empty(),
            )),
            Op::Symlink(at, target) => done(rustix::fs::symlink(target.target(), at.path())),
            Op::Rename(from, to, how) => {
                let flags = match how {
                    Rename::Replace => RenameFlags::empty(),
                    Rename::NoReplace => RenameFlags::NOREPLACE,
                    Rename::Exchange => RenameFlags::EXCHANGE,
                };
                done(rustix::fs::renameat_with(
                    CWD,
                    from.path(),
                    CWD,
                    to.path(),
                    flags,
                ))
            }
            Op::Truncate(at, len) => done(calls::truncate(&at.path(), *len)),
            _ => self.execute_on_slot(op),
        }
    }

    fn execute_on_slot(&self, op: &Op) -> Try {
        match *op {
            Op::Read(slot, len) => read(len, |buffer| rustix::io::read(self.file(slot)?, buffer)),
            Op::Pread(slot, at, len) => read(len, |buffer| {
                rustix::io::pread(self.file(slot)?, buffer, at)
            }),
            Op::Write(slot, seed, len) => {
                count(rustix::io::write(self.file(slot)?, &fill(seed, len)))
            }
            Op::Pwrite(slot, at, seed, len) => {
                count(rustix::io::pwrite(self.file(slot)?, &fill(seed, len), at))
            }
            Op::Map(slot, at, seed, len) => {
                write_mapped(self.file(slot)?, at as usize, &fill(seed, len))
            }
            Op::Ftruncate(slot, len) => done(rustix::fs::ftruncate(self.file(slot)?, len)),
            Op::Fallocate(slot, mode, at, len) => done(rustix::fs::fallocate(
                self.file(slot)?,
                allocate_flags(mode),
                at,
                len,
            )),
            Op::Copy {
                from,
                mut at,
                to,
                mut to_at,
                len,
            } => count(rustix::fs::copy_file_range(
                self.file(from)?,
                Some(&mut at),
                self.file(to)?,
                Some(&mut to_at),
                len,
            )),
            Op::Fsync(slot) => done(rustix::fs::fsync(self.file(slot)?)),
            _ => self.execute_on_attributes(op),
        }
    }

    fn execute_on_attributes(&self, op: &Op) -> Try {
        match op {
            Op::Chmod(on, mode) => {
                let mode = Mode::from_raw_mode(*mode);
                done(match on {
                    On::Path(at) => rustix::fs::chmod(at.path(), mode),
                    On::Slot(slot) => rustix::fs::fchmod(self.file(*slot)?, mode),
                })
            }
            Op::Utimes(on, secs) => {
                let time = Timespec {
                    tv_sec: *secs,
                    tv_nsec: 0,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                done(match on {
                    On::Path(at) => {
                        rustix::fs::utimensat(CWD, at.path(), &times, AtFlags::SYMLINK_NOFOLLOW)
                    }
                    On::Slot(slot) => rustix::fs::futimens(self.file(*slot)?, &times),
                })
            }
            Op::Stat(on) => match on {
                On::Path(at) => rustix::fs::lstat(at.path()),
                On::Slot(slot) => rustix::fs::fstat(self.file(*slot)?),
            }
            .map(|stat| Outcome::Attributes(attributes(&stat))),
            Op::Readlink(at) => rustix::fs::readlink(at.path(), Vec::new())
                .map(|target| Outcome::Bytes(target.into_bytes())),
            Op::Readdir(at) => list(&at.path()),
            _ => self.execute_on_xattrs(op),
        }
    }

    fn execute_on_xattrs(&self, op: &Op) -> Try {
        let mut buffer = vec![0; 4096];
        match op {
            Op::SetXattr(on, name, set, len) => {
                let (name, value) = (xattr_name(*name), fill(*name, *len));
                let flags = match set {
                    Set::Either => XattrFlags::empty(),
                    Set::Create => XattrFlags::CREATE,
                    Set::Replace => XattrFlags::REPLACE,
                };
                done(match on {
                    On::Path(at) => rustix::fs::lsetxattr(at.path(), name, &value, flags),
                    On::Slot(slot) => rustix::fs::fsetxattr(self.file(*slot)?, name, &value, flags),
                })
            }
            Op::GetXattr(on, name) => {
                let name = xattr_name(*name);
                let len = match on {
                    On::Path(at) => rustix::fs::lgetxattr(at.path(), name, &mut buffer),
                    On::Slot(slot) => rustix::fs::fgetxattr(self.file(*slot)?, name, &mut buffer),
                }?;
                buffer.truncate(len);
                Ok(Outcome::Bytes(buffer))
            }
            Op::RemoveXattr(on, name) => done(match on {
                On::Path(at) => rustix::fs::lremovexattr(at.path(), xattr_name(*name)),
                On::Slot(slot) => rustix::fs::fremovexattr(self.file(*slot)?, xattr_name(*name)),
            }),
            Op::ListXattr(on) => {
                let len = match on {
                    On::Path(at) => rustix::fs::llistxattr(at.path(), &mut buffer),
                    On::Slot(slot) => rustix::fs::flistxattr(self.file(*slot)?, &mut buffer),
                }?;
                let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                let mut names: Vec<_> = text
                    .split('\0')
                    .filter(|name| name.starts_with("user."))
                    .map(str::to_owned)
                    .collect();
                names.sort();
                Ok(Outcome::Xattrs(names))
            }
            _ => panic!("nobody does {op:?}"),
        }
    }
}

fn flags(how: How) -> OFlags {
    let access = match how.access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::Both => OFlags::RDWR,
    };
    let optional = [
        (how.create, OFlags::CREATE),
        (how.create && how.exclusive, OFlags::EXCL),
        (how.truncate, OFlags::TRUNC),
        (how.append, OFlags::APPEND),
    ];
    let given = optional
        .into_iter()
        .filter(|(given, _)| *given)
        .map(|(_, flag)| flag);
    given.fold(access | OFlags::CLOEXEC, |flags, flag| flags | flag)
}

fn allocate_flags(mode: Allocate) -> FallocateFlags {
    match mode {
        Allocate::Grow => FallocateFlags::empty(),
        Allocate::Keep => FallocateFlags::KEEP_SIZE,
        Allocate::Punch => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        Allocate::Zero => FallocateFlags::ZERO_RANGE,
        Allocate::ZeroKeep => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
    }
}

/// A read comes short only at the end of a file, so there is but one.
fn read(len: usize, read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Try {
    let mut buffer = vec![0; len];
    let got = read(&mut buffer)?;
    buffer.truncate(got);
    Ok(Outcome::Bytes(buffer))
}

/// As far as the file reaches.
fn write_mapped(file: &File, at: usize, data: &[u8]) -> Try {
    let stat = rustix::fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NODEV);
    }
    let len = stat.st_size as usize;
    let data = &data[..data.len().min(len.saturating_sub(at))];
    if data.is_empty() {
        return Ok(Outcome::Count(0));
    }
    calls::write_mapped(file, len, at, data)?;
    Ok(Outcome::Count(data.len() as u64))
}

fn attributes(stat: &Stat) -> Attributes {
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    Attributes {
        kind,
        mode: stat.st_mode & 0o7777,
        links: u64::from(stat.st_nlink as u32),
        len: if kind == Kind::Folder {
            0
        } else {
            stat.st_size as u64
        },
        changed: (stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn kind(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Symlink,
        other => panic!("nobody made a {other:?}"),
    }
}

fn list(path: &Path) -> Try {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let mut names = BTreeMap::new();
    for entry in Dir::new(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if matches!(name.as_slice(), b"." | b"..") {
            continue;
        }
        let twice = names.insert(name, kind(entry.file_type()));
        assert!(twice.is_none(), "a name was listed twice");
    }
    Ok(Outcome::Names(names))
}

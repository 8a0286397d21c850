//! What a process may do to a tree of files, and what came of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Processes that take turns.
pub(super) const PROCESSES: usize = 3;
/// Files that each may have open.
pub(super) const SLOTS: usize = 3;

/// A path of few names, so that operations meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct At {
    /// From the root of the tree, else from the process's working folder.
    pub(super) from_root: bool,
    pub(super) names: Vec<u8>,
}

impl At {
    pub(super) fn path(&self) -> PathBuf {
        let start = if self.from_root { "/" } else { "." };
        let mut path = PathBuf::from(start);
        path.extend(
            self.names
                .iter()
                .map(|name| OsString::from_vec(name_of(*name))),
        );
        path
    }

    /// As the target of a symlink.
    pub(super) fn target(&self) -> Vec<u8> {
        self.path().into_os_string().into_vec()
    }
}

/// A short name, one that is no text, and one that is stored beside a sidecar.
pub(super) fn name_of(name: u8) -> Vec<u8> {
    match name {
        0 => b"a".to_vec(),
        1 => b"b\xff".to_vec(),
        _ => vec![b'l'; 200],
    }
}

/// The name's number again.
pub(super) fn number_of(name: &[u8]) -> u8 {
    let is = |number: &u8| name_of(*number) == name;
    (0..3).find(is).expect("one of the few names")
}

/// What an operation on attributes is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum On {
    /// What stands at a path; a symlink itself, but for chmod.
    Path(At),
    /// What is open, whatever became of its names.
    Slot(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Access {
    Read,
    Write,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct How {
    pub(super) access: Access,
    pub(super) create: bool,
    pub(super) exclusive: bool,
    pub(super) truncate: bool,
    pub(super) append: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Allocate {
    Grow,
    Keep,
    Punch,
    Zero,
    ZeroKeep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rename {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Set {
    Either,
    Create,
    Replace,
}

/// One system call, or what stands for a few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    /// Into a slot; what was open there is closed.
    Open(usize, At, How),
    Close(usize),
    Read(usize, usize),
    Pread(usize, u64, usize),
    /// The bytes are [`fill`] of the seed.
    Write(usize, u8, usize),
    Pwrite(usize, u64, u8, usize),
    /// Writes through a shared mapping, as far as the file reaches, and syncs it.
    Map(usize, u64, u8, usize),
    Ftruncate(usize, u64),
    Truncate(At, u64),
    Fallocate(usize, Allocate, u64, u64),
    Copy {
        from: usize,
        at: u64,
        to: usize,
        to_at: u64,
        len: usize,
    },
    Fsync(usize),
    Mkdir(At),
    Rmdir(At),
    Unlink(At),
    Link(At, At),
    /// The second path, as text, is what the first leads to.
    Symlink(At, At),
    Readlink(At),
    Rename(At, At, Rename),
    Chmod(On, u32),
    /// Sets the time of the last change, in seconds of the past.
    Utimes(On, i64),
    SetXattr(On, u8, Set, usize),
    GetXattr(On, u8),
    RemoveXattr(On, u8),
    ListXattr(On),
    Readdir(At),
    Stat(On),
    Chdir(At),
    /// Of the whole mount: nothing stays open, and all processes are at the root again.
    Remount,
}

pub(super) fn xattr_name(name: u8) -> String {
    format!("user.{name}")
}

/// Bytes that tell a seed's write from another's at every place.
pub(super) fn fill(seed: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| seed.wrapping_mul(31).wrapping_add((at % 251) as u8) | 1)
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    File,
    Folder,
    Symlink,
}

/// Seconds and nanoseconds.
pub(super) type Time = (i64, u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attributes {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) links: u64,
    /// Of files and symlinks; a folder's own is the file system's affair.
    pub(super) len: u64,
    pub(super) changed: Time,
}

/// What came of an operation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Done,
    Errno(i32),
    Count(u64),
    Bytes(Vec<u8>),
    Names(BTreeMap<Vec<u8>, Kind>),
    Xattrs(Vec<String>),
    Attributes(Attributes),
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Errno(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
            Self::Count(count) => write!(f, "{count} bytes"),
            Self::Bytes(bytes) => write_runs(f, bytes),
            Self::Names(names) => {
                let text = |name: &Vec<u8>| {
                    String::from_utf8_lossy(&name[..name.len().min(5)]).into_owned()
                };
                f.debug_map()
                    .entries(names.iter().map(|(name, kind)| (text(name), kind)))
                    .finish()
            }
            Self::Xattrs(names) => write!(f, "{names:?}"),
            Self::Attributes(attributes) => write!(f, "{attributes:?}"),
        }
    }
}

/// Thousands of bytes in few words: where zeros begin and end, and what comes first in between.
fn write_runs(f: &mut std::fmt::Formatter<'_>, bytes: &[u8]) -> std::fmt::Result {
    write!(f, "{} bytes:", bytes.len())?;
    let mut at = 0;
    for run in bytes
        .chunk_by(|one, other| (*one == 0) == (*other == 0))
        .take(8)
    {
        match run[0] {
            0 => write!(f, " zeros from {at}")?,
            first => write!(f, " {first:#x}… from {at}")?,
        }
        at += run.len();
    }
    Ok(())
}

//! Reading a folder's entries in large pieces.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{RawDir, RawDirEntry, SeekFrom};
use rustix::io::Errno;

use super::name::CName;
use super::observer::{Hook, StorageOp};
use super::stat::FileKind;

/// What one `getdents64(2)` may bring: some thousand entries with short names.
const BUFFER_LEN: usize = 64 * 1024;

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name; never `.` or `..`.
    pub name: CName,
    /// The inode's number.
    pub ino: u64,
    /// The inode's kind; may be [`FileKind::Unknown`].
    pub kind: FileKind,
}

/// Reads a folder from its beginning, once or again after [`DirReader::rewind`].
pub struct DirReader {
    fd: OwnedFd,
    hook: Hook,
    buffer: Box<[MaybeUninit<u8>]>,
    ready: VecDeque<io::Result<DirEntry>>,
    ended: bool,
}

impl DirReader {
    /// `fd`: a folder opened for reading, that nobody else reads from.
    pub(super) fn new(fd: OwnedFd, hook: Hook) -> Self {
        let buffer = Box::new_uninit_slice(BUFFER_LEN);
        Self {
            fd,
            hook,
            buffer,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    /// Goes back to the beginning. Entries that came or went in between are seen.
    ///
    /// # Errors
    /// Those of `lseek(2)`.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.hook.run(&self.fd, &StorageOp::Seek, || {
            rustix::fs::seek(&self.fd, SeekFrom::Start(0))
        })?;
        self.ready.clear();
        self.ended = false;
        Ok(())
    }

    /// The next entry, `None` at the end. `.` and `..` are left out. After an error of the folder
    /// itself comes `None`; an entry whose name cannot be one (ENAMETOOLONG, EINVAL) is an error
    /// that others may follow.
    pub fn next_entry(&mut self) -> Option<io::Result<DirEntry>> {
        while self.ready.is_empty() && !self.ended {
            match self.hook.run(&self.fd, &StorageOp::ReadDir, || Ok(())) {
                Ok(()) => self.fill(),
                Err(error) => self.end_with(error),
            }
        }
        self.ready.pop_front()
    }

    fn end_with(&mut self, error: io::Error) {
        self.ready.push_back(Err(error));
        self.ended = true;
    }

    /// One `getdents64`. The raw reader lives only here: what it read is taken out at once.
    fn fill(&mut self) {
        let mut raw = RawDir::new(&self.fd, &mut self.buffer);
        loop {
            match raw.next() {
                Some(Ok(entry)) => self.ready.extend(decode(&entry)),
                Some(Err(Errno::INTR)) => {}
                Some(Err(error)) => {
                    // A folder that was removed meanwhile says ENOENT: it has no entries.
                    let error = Some(error).filter(|error| *error != Errno::NOENT);
                    self.ready.extend(error.map(|error| Err(error.into())));
                    self.ended = true;
                }
                None => self.ended = true,
            }
            if self.ended || raw.is_buffer_empty() {
                return;
            }
        }
    }
}

impl fmt::Debug for DirReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirReader")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

fn decode(raw: &RawDirEntry<'_>) -> Option<io::Result<DirEntry>> {
    let name = raw.file_name().to_bytes();
    if matches!(name, b"." | b"..") {
        return None;
    }
    let entry = |name| DirEntry {
        name,
        ino: raw.ino(),
        kind: raw.file_type().into(),
    };
    Some(CName::new(name).map(entry).map_err(io::Error::from))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::storage::testing::{assert_errno, folder, name};

    fn all(reader: &mut DirReader) -> Vec<DirEntry> {
        std::iter::from_fn(|| reader.next_entry())
            .map(Result::unwrap)
            .collect()
    }

    #[test]
    fn an_empty_folder_has_no_entries() {
        let (_dir, node) = folder();
        let mut reader = node.read_dir().unwrap();
        assert!(reader.next_entry().is_none());
        assert!(reader.next_entry().is_none());
    }

    #[test]
    fn more_than_one_buffer_comes_whole_and_once() {
        let (dir, node) = folder();
        let expected: BTreeSet<_> = (0..1500).map(|i| format!("{i:0>100}")).collect();
        for entry in &expected {
            std::fs::write(dir.path().join(entry), "").unwrap();
        }
        let entries = all(&mut node.read_dir().unwrap());
        assert!(expected.len() * 100 > 2 * BUFFER_LEN);
        assert_eq!(entries.len(), expected.len());
        let text = |entry: DirEntry| String::from_utf8(entry.name.as_bytes().to_vec()).unwrap();
        assert_eq!(
            entries.into_iter().map(text).collect::<BTreeSet<_>>(),
            expected
        );
    }

    #[test]
    fn entries_bring_kind_and_inode() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.make_symlink(b"nowhere", &name("l")).unwrap();
        node.make_node(&name("p"), libc::S_IFIFO | 0o600, 0)
            .unwrap();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        let mut entries = all(&mut node.read_dir().unwrap());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in &entries {
            let stat = node.stat_child(&entry.name).unwrap();
            assert_eq!(entry.ino, stat.ino);
            assert!(entry.kind == stat.kind || entry.kind == FileKind::Unknown);
        }
        assert_eq!(entries.len(), 4);
    }

    #[test]
    fn names_that_are_no_text_are_read() {
        let (_dir, node) = folder();
        let odd = CName::new(b"\xff\n\x01").unwrap();
        drop(node.create_file(&odd, 0o600).unwrap());
        assert_eq!(all(&mut node.read_dir().unwrap())[0].name, odd);
    }

    #[test]
    fn rewinding_reads_anew() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("a"), 0o600).unwrap());
        let mut reader = node.read_dir().unwrap();
        assert_eq!(all(&mut reader).len(), 1);
        drop(node.create_file(&name("b"), 0o600).unwrap());
        reader.rewind().unwrap();
        assert_eq!(all(&mut reader).len(), 2);
        reader.rewind().unwrap();
        assert!(reader.next_entry().is_some());
        reader.rewind().unwrap();
        assert_eq!(all(&mut reader).len(), 2);
    }

    #[test]
    fn a_folder_removed_meanwhile_has_no_entries() {
        let (_dir, node) = folder();
        node.make_dir(&name("d"), 0o700).unwrap();
        let mut reader = node.child(&name("d")).unwrap().read_dir().unwrap();
        node.remove_dir(&name("d")).unwrap();
        assert!(reader.next_entry().is_none());
    }

    #[test]
    fn only_folders_are_read() {
        let (_dir, node) = folder();
        drop(node.create_file(&name("f"), 0o600).unwrap());
        node.make_symlink(b".", &name("l")).unwrap();
        for entry in ["f", "l"] {
            assert_errno(node.child(&name(entry)).unwrap().read_dir(), libc::ENOTDIR);
        }
    }
}

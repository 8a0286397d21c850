//! A ciphertext folder in memory: read from a real one, and put onto a real one.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirEntryExt as _, FileExt as _, MetadataExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, XattrFlags};

/// Stands for an inode; the ciphertext root is [`ROOT`]. Numbers follow the order in which inodes were made.
pub(crate) type Id = u32;
/// The ciphertext folder itself.
pub(crate) const ROOT: Id = 0;

/// What a disk writes whole or not at all.
pub(crate) const PAGE: u64 = 4096;
/// The bytes of a page.
pub(crate) type Page = Arc<[u8; PAGE as usize]>;

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Folder,
    File,
    Symlink(Vec<u8>),
    /// A FIFO, socket or device, as `st_mode` has it.
    Special(u32),
}

/// An inode without its content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) xattrs: BTreeMap<CString, Vec<u8>>,
}

/// A file's content. A page that is not there is a hole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) len: u64,
    pub(crate) pages: BTreeMap<u64, Page>,
}

/// Inodes, and the names that lead to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tree {
    pub(crate) inodes: BTreeMap<Id, Inode>,
    pub(crate) entries: BTreeMap<(Id, Vec<u8>), Id>,
}

impl Tree {
    /// The entries of a folder.
    pub(crate) fn entries_of(&self, folder: Id) -> impl Iterator<Item = (&Vec<u8>, Id)> {
        let range = (folder, Vec::new())..(folder + 1, Vec::new());
        self.entries.range(range).map(|((_, name), id)| (name, *id))
    }

    /// The names of an inode, each with the folder that it is in.
    pub(crate) fn names_of(&self, id: Id) -> impl Iterator<Item = &(Id, Vec<u8>)> {
        self.entries
            .iter()
            .filter(move |(_, named)| **named == id)
            .map(|(name, _)| name)
    }
}

/// A ciphertext folder with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Image {
    pub(crate) tree: Tree,
    pub(crate) contents: BTreeMap<Id, Content>,
}

impl Image {
    /// Reads a real folder; says which inode number each id has there.
    pub(crate) fn read(path: &Path) -> (Self, HashMap<u64, Id>) {
        let mut found = BTreeMap::new();
        collect(path, &mut found);
        let root = std::fs::metadata(path).unwrap().ino();
        let others = found.keys().copied().filter(|ino| *ino != root);
        let numbers: HashMap<u64, Id> = std::iter::once(root).chain(others).zip(ROOT..).collect();
        let mut image = Self::default();
        for (ino, place) in &found {
            image.take_in(numbers[ino], place);
        }
        for place in found.values() {
            let folder = numbers[&std::fs::symlink_metadata(place).unwrap().ino()];
            if image.tree.inodes[&folder].kind == Kind::Folder {
                for (name, ino) in names_in(place) {
                    image.tree.entries.insert((folder, name), numbers[&ino]);
                }
            }
        }
        (image, numbers)
    }

    fn take_in(&mut self, id: Id, place: &Path) {
        let metadata = std::fs::symlink_metadata(place).unwrap();
        let kind = match FileType::from_raw_mode(metadata.mode()) {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => {
                let target = std::fs::read_link(place).unwrap();
                Kind::Symlink(target.as_os_str().as_bytes().to_vec())
            }
            _ => Kind::Special(metadata.mode()),
        };
        if kind == Kind::File {
            let content = Content::of(&std::fs::read(place).unwrap());
            self.contents.insert(id, content);
        }
        let inode = Inode {
            xattrs: xattrs_of(place, &kind),
            mode: metadata.mode() & 0o7777,
            kind,
        };
        self.tree.inodes.insert(id, inode);
    }

    /// Puts it onto the new folder `path`; says which id each inode number stands for.
    pub(crate) fn put(&self, path: &Path) -> HashMap<u64, Id> {
        std::fs::create_dir(path).unwrap();
        let mut made: HashMap<Id, PathBuf> = HashMap::from([(ROOT, path.to_owned())]);
        self.fill(ROOT, path, &mut made);
        let number = |(id, place): (&Id, &PathBuf)| {
            let metadata = std::fs::symlink_metadata(place).unwrap();
            (metadata.ino(), *id)
        };
        made.iter().map(number).collect()
    }

    fn fill(&self, folder: Id, path: &Path, made: &mut HashMap<Id, PathBuf>) {
        for (name, id) in self.tree.entries_of(folder) {
            let place = path.join(OsStr::from_bytes(name));
            if let Some(first) = made.get(&id) {
                std::fs::hard_link(first, &place).unwrap();
                continue;
            }
            self.make(id, &place);
            made.insert(id, place.clone());
            if self.tree.inodes[&id].kind == Kind::Folder {
                self.fill(id, &place, made);
            }
        }
    }

    fn make(&self, id: Id, place: &Path) {
        let inode = &self.tree.inodes[&id];
        match &inode.kind {
            Kind::Folder => std::fs::create_dir(place).unwrap(),
            Kind::File => self
                .contents
                .get(&id)
                .cloned()
                .unwrap_or_default()
                .put(place),
            Kind::Symlink(target) => return symlink(OsStr::from_bytes(target), place).unwrap(),
            Kind::Special(mode) => {
                let kind = FileType::from_raw_mode(*mode);
                rustix::fs::mknodat(rustix::fs::CWD, place, kind, Mode::empty(), 0).unwrap();
            }
        }
        let mode = std::fs::Permissions::from_mode(inode.mode);
        std::fs::set_permissions(place, mode).unwrap();
        for (name, value) in &inode.xattrs {
            rustix::fs::lsetxattr(place, name.as_c_str(), value, XattrFlags::empty()).unwrap();
        }
    }
}

impl Content {
    /// Bytes as pages; those of zeros are holes.
    fn of(bytes: &[u8]) -> Self {
        let pages = bytes.chunks(PAGE as usize).enumerate();
        let backed = pages.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        Self {
            len: bytes.len() as u64,
            pages: backed
                .map(|(index, bytes)| (index as u64, page(bytes)))
                .collect(),
        }
    }

    /// The page `index`, of zeros where it is a hole.
    pub(crate) fn page(&self, index: u64) -> Page {
        self.pages.get(&index).cloned().unwrap_or_else(zeros)
    }

    fn put(&self, place: &Path) {
        let file = std::fs::File::create_new(place).unwrap();
        for (index, page) in &self.pages {
            file.write_all_at(&page[..], index * PAGE).unwrap();
        }
        file.set_len(self.len).unwrap();
    }
}

/// A page that begins with `bytes`, with zeros behind.
pub(crate) fn page(bytes: &[u8]) -> Page {
    let mut page = [0; PAGE as usize];
    page[..bytes.len()].copy_from_slice(bytes);
    Arc::new(page)
}

pub(crate) fn zeros() -> Page {
    page(&[])
}

/// Every inode below `path`, and `path` itself, by number: the first place found of each.
fn collect(path: &Path, found: &mut BTreeMap<u64, PathBuf>) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    found
        .entry(metadata.ino())
        .or_insert_with(|| path.to_owned());
    if metadata.is_dir() {
        for (name, _) in names_in(path) {
            collect(&path.join(OsStr::from_bytes(&name)), found);
        }
    }
}

fn names_in(folder: &Path) -> Vec<(Vec<u8>, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.file_name().as_bytes().to_vec(), entry.ino())
    });
    entries.collect()
}

fn xattrs_of(place: &Path, kind: &Kind) -> BTreeMap<CString, Vec<u8>> {
    if !matches!(kind, Kind::Folder | Kind::File) {
        return BTreeMap::new();
    }
    let mut names = vec![0_u8; 1 << 16];
    let len = rustix::fs::llistxattr(place, &mut names).unwrap();
    let named = names[..len].split(|byte| *byte == 0);
    let named = named.filter(|name| !name.is_empty());
    named
        .map(|name| {
            let name = CString::new(name).unwrap();
            let mut value = vec![0_u8; 1 << 16];
            let len = rustix::fs::lgetxattr(place, name.as_c_str(), &mut value).unwrap();
            value.truncate(len);
            (name, value)
        })
        .collect()
}

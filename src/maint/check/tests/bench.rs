//! A volume made below the file system, so that its ciphertext can be damaged at will.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tempfile::TempDir;

use super::*;
use crate::content::{OpenFile, SyncKind};
use crate::crypto::random;
use crate::format::layout::Layout;
use crate::format::symlink;
use crate::format::volume_config::{ForeignFiles, KeyScope, NameMode};
use crate::keys::{FileProvider, ProviderOptions, Providers};
use crate::maint::open::{Opened, open};
use crate::storage::{Access, CName, Node, XattrSet};
use crate::units::{DirId, PlainOffset, VolumeId};
use crate::volume::{self, CreateOptions, FileMaterial, Listed, Sharing, UnlockOptions};

pub(super) const B: u64 = 4096;

pub(super) struct Bench {
    pub(super) home: TempDir,
}

/// A folder of the volume, by its ciphertext path.
#[derive(Clone)]
pub(super) struct Dir(pub(super) PathBuf);

impl Bench {
    pub(super) fn new(names: NameMode) -> Self {
        Self::with_keys(names, 1)
    }

    pub(super) fn with_keys(names: NameMode, count: usize) -> Self {
        let home = TempDir::new().unwrap();
        let make_key = |nth| {
            let key = home.path().join(format!("key-{nth}"));
            drop(FileProvider::create(&key).unwrap());
            FileProvider::uri_of(&key).unwrap()
        };
        let keys = (0..count).map(make_key).collect();
        let options = CreateOptions {
            volume_id: VolumeId(random::array()),
            layout: Layout::DEFAULT,
            names,
            key_scope: KeyScope::File,
            foreign_files: ForeignFiles::Deny,
            keys,
            volume_keys: Vec::new(),
        };
        volume::create(&home.path().join("volume"), &options, &providers()).unwrap();
        Self { home }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.home.path().join("volume")
    }

    pub(super) fn root(&self) -> Dir {
        Dir(self.path())
    }

    pub(super) fn open(&self, repair: bool) -> Volume {
        let options = UnlockOptions {
            sharing: if repair {
                Sharing::Exclusive
            } else {
                Sharing::Shared
            },
            read_only: !repair,
            ..UnlockOptions::default()
        };
        volume::open(&self.path(), &options, Arc::new(providers())).unwrap()
    }

    pub(super) fn run(&self, extent: Extent, repair: bool) -> CheckReport {
        let options = CheckOptions { extent, repair };
        check(&self.open(repair), options, |_files, _chunks| ()).unwrap()
    }

    pub(super) fn check(&self) -> CheckReport {
        self.run(Extent::All, false)
    }

    pub(super) fn repair(&self) -> CheckReport {
        self.run(Extent::All, true)
    }

    fn dir_id(&self, dir: &Dir) -> Option<DirId> {
        self.open(false).dir_id(&node(&dir.0)).unwrap()
    }

    /// Where `name` stands in `dir`, its sidecar made if it needs one.
    pub(super) fn place(&self, dir: &Dir, name: &[u8]) -> PathBuf {
        let volume = self.open(false);
        let Some(key) = volume.name_key().unwrap() else {
            return dir.0.join(os(name));
        };
        let sealed = key.seal(&self.dir_id(dir).unwrap(), name);
        let path = dir.0.join(os(sealed.on_disk()));
        if let Some(full) = sealed.long() {
            let _made_already = std::os::unix::fs::symlink(os(full), sidecar(&path));
        }
        path
    }

    pub(super) fn put(&self, dir: &Dir, name: &[u8], content: &[u8]) -> PathBuf {
        let path = self.place(dir, name);
        let file = self.make(&path);
        file.write(PlainOffset(0), content).unwrap();
        file.close().unwrap();
        file.sync(SyncKind::All).unwrap();
        path
    }

    /// An open new file at a ciphertext path.
    pub(super) fn make(&self, path: &Path) -> OpenFile {
        let folder = node(path.parent().unwrap());
        let file = folder.create_file(&cname(path), 0o640).unwrap();
        OpenFile::create(file, Layout::DEFAULT, material(&self.open(false))).unwrap()
    }

    pub(super) fn reopen(&self, path: &Path) -> Box<OpenFile> {
        let folder = node(path.parent().unwrap());
        match open(&self.open(false), &folder, &cname(path), Access::ReadWrite).unwrap() {
            Opened::Sealed(open) => open,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn mkdir(&self, dir: &Dir, name: &[u8]) -> Dir {
        let path = self.place(dir, name);
        std::fs::create_dir(&path).unwrap();
        let id = names::encode_dir_id(&DirId(random::array()));
        std::os::unix::fs::symlink(os(&id), path.join(".envelopefs.dirid")).unwrap();
        Dir(path)
    }

    pub(super) fn symlink(&self, dir: &Dir, name: &[u8], target: &[u8]) -> PathBuf {
        let path = self.place(dir, name);
        let sealed = symlink::seal(&self.open(false).symlink_key().unwrap().unwrap(), target);
        std::os::unix::fs::symlink(os(&sealed), &path).unwrap();
        path
    }

    pub(super) fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8]) -> std::ffi::CString {
        let volume = self.open(false);
        let on_disk = volume.xattr_keys().unwrap().seal_name(name).unwrap();
        let on_disk = std::ffi::CString::new(on_disk).unwrap();
        let sealed = volume.xattr_keys().unwrap().seal_value(name, value);
        child(path)
            .set_xattr(&on_disk, &sealed, XattrSet::Either)
            .unwrap();
        on_disk
    }

    /// What the mount would show: each chunk that can be read, by path and offset; of an empty file, its beginning.
    pub(super) fn readable(&self) -> BTreeMap<(String, u64), Vec<u8>> {
        let volume = self.open(false);
        let mut found = BTreeMap::new();
        read_folder(&volume, &volume.root().clone(), "", &mut found);
        found
    }

    /// The content of one path.
    pub(super) fn content(&self, path: &str) -> Vec<u8> {
        let all = self.readable();
        let of_it = all.iter().filter(|((name, _), _)| name == path);
        let chunks: Vec<_> = of_it.map(|(_, chunk)| chunk.as_slice()).collect();
        assert!(!chunks.is_empty(), "no {path} in {:?}", all.keys());
        chunks.concat()
    }

    /// Every path that the mount shows.
    pub(super) fn listed(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.readable().into_keys().map(|(path, _)| path).collect();
        paths.dedup();
        paths
    }

    /// Every chunk that can be read of any file, wherever it stands, by file and offset.
    pub(super) fn anywhere(&self) -> BTreeMap<(String, u64), Vec<u8>> {
        let volume = self.open(false);
        let mut found = BTreeMap::new();
        for path in tree(&self.path()) {
            if path.symlink_metadata().unwrap().is_file()
                && let Ok(Opened::Sealed(file)) = open(
                    &volume,
                    &node(path.parent().unwrap()),
                    &cname(&path),
                    Access::Read,
                )
            {
                read_chunks(&file, &file.file_id().to_string(), &mut found);
            }
        }
        found
    }
}

fn read_folder(
    volume: &Volume,
    dir: &Node,
    plain: &str,
    found: &mut BTreeMap<(String, u64), Vec<u8>>,
) {
    let Ok(id) = volume.dir_id(dir) else { return };
    for entry in entries(dir).unwrap() {
        let Ok(Listed::Name(name)) = volume.open_name(dir, id.as_ref(), &entry.name) else {
            continue;
        };
        let path = format!("{plain}/{}", String::from_utf8_lossy(&name));
        match entry.kind {
            FileKind::Directory => {
                read_folder(volume, &dir.child(&entry.name).unwrap(), &path, found);
            }
            FileKind::Regular => {
                if let Ok(Opened::Sealed(file)) = open(volume, dir, &entry.name, Access::Read) {
                    read_chunks(&file, &path, found);
                }
            }
            _ => {}
        }
    }
}

fn read_chunks(file: &OpenFile, key: &str, found: &mut BTreeMap<(String, u64), Vec<u8>>) {
    let (layout, len) = (Layout::DEFAULT, file.len());
    for index in (0..layout.chunk_count(len)).map(crate::units::ChunkIndex) {
        let start = layout.chunk_start(index);
        let mut chunk = vec![0; (len.0 - start.0).min(layout.capacity(index)) as usize];
        if file.read(start, &mut chunk).is_ok() {
            found.insert((key.to_owned(), start.0), chunk);
        }
    }
}

fn providers() -> Providers {
    Providers::new(ProviderOptions::default())
}

fn material(volume: &Volume) -> FileMaterial {
    let (done, made) = mpsc::channel();
    volume.new_file(|| Some(Vec::new()), move |new| done.send(new).unwrap());
    made.recv().unwrap().unwrap().material
}

pub(super) fn node(path: &Path) -> Node {
    Node::open_root(path).unwrap()
}

fn child(path: &Path) -> Node {
    node(path.parent().unwrap()).child(&cname(path)).unwrap()
}

fn cname(path: &Path) -> CName {
    CName::new(path.file_name().unwrap().as_bytes()).unwrap()
}

fn os(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

pub(super) fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap().to_owned();
    name.push(".n");
    path.with_file_name(name)
}

/// Every entry below a folder, sorted, without what is below `.envelopefs`.
pub(super) fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == ".envelopefs" {
                continue;
            }
            if path.symlink_metadata().unwrap().is_dir() {
                waiting.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All that stands in a folder, to the last byte, time and attribute of a symlink.
pub(super) fn fingerprint(path: &Path) -> Vec<(PathBuf, Vec<u8>, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut paths = tree(path);
    paths.extend(tree(&path.join(".envelopefs")));
    let print = |path: PathBuf| {
        let stat = path.symlink_metadata().unwrap();
        let content = if stat.is_file() {
            std::fs::read(&path).unwrap()
        } else if stat.is_symlink() {
            std::fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        (path, content, stat.ctime(), stat.ctime_nsec())
    };
    paths.into_iter().map(print).collect()
}

pub(super) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed)
        .collect()
}

pub(super) fn set_len(path: &Path, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

pub(super) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

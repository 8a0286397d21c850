//! The file system without FUSE, over volumes in temporary folders.

mod attributes;
mod concurrency;
mod damage;
mod errors;
mod files;
mod folders;
mod keys;
mod model;
mod nameless;
mod names;
mod policy;
mod renames;
mod shared;
mod slots;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::crypto::random;
use crate::format::layout::Layout;
use crate::format::volume_config::{ForeignFiles, KeyScope, NameMode};
use crate::keys::{FileProvider, ProviderOptions, Providers};
use crate::storage::{FileKind, RenameFlags};
use crate::units::VolumeId;
use crate::volume::{self, CreateOptions, UnlockOptions};

const MODES: [NameMode; 2] = [NameMode::Encrypted, NameMode::Plain];
const ROOT: Ino = Ino::ROOT;
const SELF: Caller = caller(0, 0);
const USER: Caller = caller(12_345, 23_456);

const fn caller(uid: u32, gid: u32) -> Caller {
    Caller {
        ids: crate::storage::Caller { uid, gid },
        pid: 0,
        umask: 0,
    }
}

/// A mounted volume in a folder of its own.
struct Bench {
    fs: Arc<FileSystem>,
    folder: TempDir,
}

impl std::ops::Deref for Bench {
    type Target = Arc<FileSystem>;

    fn deref(&self) -> &Arc<FileSystem> {
        &self.fs
    }
}

impl Bench {
    fn new(names: NameMode) -> Self {
        Self::with(names, FsOptions::default())
    }

    fn with(names: NameMode, options: FsOptions) -> Self {
        Self::with_scope(names, KeyScope::Volume, options)
    }

    fn with_scope(names: NameMode, key_scope: KeyScope, options: FsOptions) -> Self {
        let folder = TempDir::new().unwrap();
        let key = folder.path().join("key");
        drop(FileProvider::create(&key).unwrap());
        let create = CreateOptions {
            volume_id: VolumeId(random::array()),
            layout: Layout::DEFAULT,
            names,
            key_scope,
            foreign_files: ForeignFiles::Deny,
            keys: vec![FileProvider::uri_of(&key).unwrap()],
            volume_keys: Vec::new(),
        };
        let providers = Providers::new(ProviderOptions::default());
        volume::create(&folder.path().join("volume"), &create, &providers).unwrap();
        let fs = serve(&folder, options);
        Self { fs, folder }
    }

    /// An unmount and a mount.
    fn reopened(self) -> Self {
        self.reopened_with(FsOptions::default())
    }

    fn reopened_with(self, options: FsOptions) -> Self {
        let Self { fs, folder } = self;
        fs.shut_down();
        unmounted(fs);
        let fs = serve(&folder, options);
        Self { fs, folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    /// Where the entry `name` of `parent` stands on disk, for a parent that is the root.
    fn on_disk(&self, name: &[u8]) -> PathBuf {
        self.on_disk_in(ROOT, name)
    }

    fn on_disk_in(&self, parent: Ino, name: &[u8]) -> PathBuf {
        let inode = self.fs.inode(parent).unwrap();
        let place = self.fs.place(&inode, name).unwrap();
        let below = inode.cipher_path();
        let folder = self.path().join(below.trim_start_matches('/'));
        folder.join(bytes_path(place.cname.as_bytes()))
    }

    /// The entries of the ciphertext root but for the volume's own.
    fn disk_entries(&self) -> Vec<String> {
        entries_of(&self.path())
    }

    fn opened(&self, ino: Ino, write: bool) -> Result<Fh, FsError> {
        wait(|done| self.fs.open(SELF, ino, write, done)).map(|opened| opened.fh)
    }

    fn make(&self, parent: Ino, name: &[u8]) -> Result<(Ino, Fh), FsError> {
        self.make_as(SELF, parent, name, 0o644)
    }

    fn make_as(
        &self,
        caller: Caller,
        parent: Ino,
        name: &[u8],
        mode: u32,
    ) -> Result<(Ino, Fh), FsError> {
        wait(|done| self.fs.create(caller, parent, name, mode, true, done))
            .map(|made| (made.entry.attr.ino, made.opened.fh))
    }

    /// Makes a closed file with this content.
    fn put(&self, parent: Ino, name: &[u8], content: &[u8]) -> Ino {
        let (ino, fh) = self.make(parent, name).unwrap();
        self.fs.write(fh, 0, content, false).unwrap();
        self.fs.release(fh).unwrap();
        ino
    }

    fn folder(&self, parent: Ino, name: &[u8]) -> Ino {
        let entry = self.fs.mkdir(SELF, parent, name, 0o755).unwrap();
        entry.attr.ino
    }

    fn set(&self, ino: Ino, fh: Option<Fh>, change: AttrChange) -> Result<Attr, FsError> {
        self.set_as(SELF, ino, fh, change)
    }

    fn set_as(
        &self,
        caller: Caller,
        ino: Ino,
        fh: Option<Fh>,
        change: AttrChange,
    ) -> Result<Attr, FsError> {
        wait(|done| self.fs.setattr(caller, ino, fh, change, done))
    }

    fn resize(&self, ino: Ino, size: u64) -> Result<Attr, FsError> {
        let change = AttrChange {
            size: Some(size),
            ..AttrChange::default()
        };
        self.set(ino, None, change)
    }

    fn find(&self, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        self.fs.lookup(parent, name).map(|entry| entry.attr)
    }

    /// The whole content, by a handle of its own.
    fn content(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let fh = self.opened(ino, false)?;
        let content = self.read_all(fh);
        self.fs.release(fh)?;
        content
    }

    fn read_all(&self, fh: Fh) -> Result<Vec<u8>, FsError> {
        let mut out = vec![0xAA; 1 << 20];
        let len = self.fs.read(fh, 0, &mut out)?;
        out.truncate(len);
        Ok(out)
    }

    /// The keys of a file's slots.
    fn slot_uris(&self, parent: Ino, name: &[u8]) -> Vec<String> {
        let place = self
            .fs
            .place(&self.fs.inode(parent).unwrap(), name)
            .unwrap();
        let visit = self.fs.visit(&place.dir, &place.cname).unwrap().unwrap();
        let header = self.fs.admitted_header(&visit).unwrap().unwrap();
        let slots = header.epochs[0].slots.iter();
        slots.map(|slot| slot.key_uri.to_string()).collect()
    }

    /// Gives a folder a key of its own, in a new key file of this name; says which.
    fn give_folder_a_key(&self, path: &str, key: &str) -> String {
        let key = self.folder.path().join(key);
        drop(FileProvider::create(&key).unwrap());
        let key = FileProvider::uri_of(&key).unwrap();
        let text = format!("[[folder]]\npath = '{path}'\nkeys = ['{key}']\n");
        let stored = volume::StoredPolicy::parse(text.into_bytes()).unwrap();
        self.volume.set_policy(Some(&stored)).unwrap();
        key.to_string()
    }

    /// The names in a folder, sorted, without dots.
    fn names_in(&self, ino: Ino) -> Result<Vec<Vec<u8>>, FsError> {
        let fh = self.fs.opendir(ino)?;
        let mut names = Vec::new();
        let listed = self.fs.readdir(fh, 2, false, |entry| {
            names.push(entry.name.to_vec());
            true
        });
        self.fs.releasedir(fh)?;
        listed?;
        names.sort();
        Ok(names)
    }

    fn mv(&self, from: (Ino, &[u8]), to: (Ino, &[u8])) -> Result<(), FsError> {
        self.mv_with(from, to, RenameFlags::empty())
    }

    fn mv_with(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        flags: RenameFlags,
    ) -> Result<(), FsError> {
        self.fs.rename(from.0, from.1, to.0, to.1, flags)
    }
}

/// Waits until nobody has it any more: who called back may hold it for a moment longer.
fn unmounted(mut fs: Arc<FileSystem>) {
    while let Err(held) = Arc::try_unwrap(fs) {
        fs = held;
        std::thread::yield_now();
    }
}

fn serve(folder: &TempDir, options: FsOptions) -> Arc<FileSystem> {
    let providers = Arc::new(Providers::new(ProviderOptions::default()));
    let path = folder.path().join("volume");
    let unlock = UnlockOptions {
        sharing: if options.shared {
            volume::Sharing::Shared
        } else {
            volume::Sharing::Exclusive
        },
        ..UnlockOptions::default()
    };
    let volume = volume::open(&path, &unlock, providers).unwrap();
    FileSystem::new(Arc::new(volume), options).unwrap()
}

type Done<T> = Box<dyn FnOnce(Result<T, FsError>) + Send>;

/// Waits for what `start` hands to its callback.
fn wait<T: Send + 'static>(start: impl FnOnce(Done<T>)) -> Result<T, FsError> {
    let (done, result) = mpsc::channel();
    start(Box::new(move |value| done.send(value).unwrap()));
    result.recv().expect("the callback was called")
}

fn bytes_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn entries_of(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !matches!(name.as_str(), ".envelopefs" | ".envelopefs.dirid"))
        .collect()
}

#[track_caller]
fn refused<T>(result: Result<T, FsError>, errno: i32) {
    match result {
        Ok(_) => panic!("it did not fail, errno {errno} was due"),
        Err(error) => assert_eq!(error.errno(), errno, "{error}"),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

fn long_name(len: usize, fill: u8) -> Vec<u8> {
    vec![fill; len]
}

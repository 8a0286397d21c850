//! A volume in a folder of its own, served without FUSE over a disk that may give trouble.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use envelopefs::content::Extent;
use envelopefs::crypto::random;
use envelopefs::format::layout::Layout;
use envelopefs::format::volume_config::{ForeignFiles, KeyScope, NameMode};
use envelopefs::fs::{Caller, Fh, FileSystem, FsError, FsOptions, Ino};
use envelopefs::keys::{FileProvider, ProviderOptions, Providers};
use envelopefs::maint::{self, CheckOptions};
use envelopefs::storage::{self, FileKind, Node};
use envelopefs::units::VolumeId;
use envelopefs::volume::{self, CreateOptions, UnlockOptions};
use tempfile::TempDir;

use crate::disk::Disk;
use crate::model::{Entry, Tree};

pub(crate) const SELF: Caller = Caller {
    ids: storage::Caller { uid: 0, gid: 0 },
    pid: 0,
    umask: 0,
};

/// Makes a volume in a folder of its own.
pub(crate) fn make() -> TempDir {
    let home = temporary_folder();
    let key = home.path().join("key");
    drop(FileProvider::create(&key).unwrap());
    let options = CreateOptions {
        volume_id: VolumeId(random::array()),
        layout: Layout::DEFAULT,
        names: NameMode::Encrypted,
        key_scope: KeyScope::Volume,
        foreign_files: ForeignFiles::Deny,
        keys: vec![FileProvider::uri_of(&key).unwrap()],
    };
    volume::create(&path_in(&home), &options, &providers()).unwrap();
    home
}

/// The ciphertext folder.
pub(crate) fn path_in(home: &TempDir) -> PathBuf {
    home.path().join("volume")
}

/// In memory where there is such a place: thousands of volumes are made and synced.
fn temporary_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn providers() -> Arc<Providers> {
    Arc::new(Providers::new(ProviderOptions::default()))
}

/// A volume that is served.
pub(crate) struct Mounted {
    pub(crate) fs: Arc<FileSystem>,
    pub(crate) disk: Arc<Disk>,
    /// Open files by path.
    pub(crate) handles: BTreeMap<String, Fh>,
}

impl Mounted {
    pub(crate) fn new(path: &Path, disk: Disk) -> Self {
        let disk = Arc::new(disk);
        let root = Node::open_root(path)
            .unwrap()
            .observed(Arc::<Disk>::clone(&disk));
        let volume = volume::open_in(root, path, &UnlockOptions::default(), providers()).unwrap();
        if let Some(since) = volume.unclean_since() {
            maint::recover(&volume, since).unwrap();
        }
        let fs = FileSystem::new(Arc::new(volume), FsOptions::default()).unwrap();
        Self {
            fs,
            disk,
            handles: BTreeMap::new(),
        }
    }

    /// Closes what is open, commits, and ends as `umount` does.
    pub(crate) fn unmount(mut self) {
        for (path, fh) in std::mem::take(&mut self.handles) {
            self.fs
                .release(fh)
                .unwrap_or_else(|error| panic!("closing {path}: {error}"));
        }
        if self.fs.shut_down() {
            self.fs.volume().mark_clean().unwrap();
        }
        let mut fs = self.fs;
        // The key workers may hold it for a moment longer.
        while let Err(held) = Arc::try_unwrap(fs) {
            fs = held;
            std::thread::yield_now();
        }
    }

    /// The inode of a path, looked up from the root on.
    pub(crate) fn find(&self, path: &str) -> Result<Ino, FsError> {
        let mut ino = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            ino = self.fs.lookup(ino, name.as_bytes())?.attr.ino;
        }
        Ok(ino)
    }

    /// The folder of a path, and the last name in it.
    pub(crate) fn place<'a>(&self, path: &'a str) -> Result<(Ino, &'a [u8]), FsError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.find(folder)?, name.as_bytes()))
    }

    pub(crate) fn open(&self, path: &str, write: bool) -> Result<Fh, FsError> {
        let ino = self.find(path)?;
        wait(|done| self.fs.open(SELF, ino, write, done)).map(|opened| opened.fh)
    }

    pub(crate) fn read_all(&self, fh: Fh) -> Result<Vec<u8>, FsError> {
        let mut content = vec![0; 1 << 18];
        let len = self.fs.read(fh, 0, &mut content)?;
        content.truncate(len);
        Ok(content)
    }

    pub(crate) fn names_in(&self, ino: Ino) -> Result<Vec<String>, FsError> {
        let fh = self.fs.opendir(ino)?;
        let mut names = Vec::new();
        let listed = self.fs.readdir(fh, 2, false, |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            true
        });
        self.fs.releasedir(fh)?;
        listed.map(|()| names)
    }

    /// Everything that the volume shows.
    pub(crate) fn tree(&self) -> Result<Tree, FsError> {
        let mut tree = Tree::default();
        self.walk("", Ino::ROOT, &mut tree)?;
        Ok(tree)
    }

    fn walk(&self, folder: &str, ino: Ino, tree: &mut Tree) -> Result<(), FsError> {
        for name in self.names_in(ino)? {
            let path = format!("{folder}{name}");
            let attr = self.fs.lookup(ino, name.as_bytes())?.attr;
            let entry = match attr.kind {
                FileKind::Directory => {
                    self.walk(&format!("{path}/"), attr.ino, tree)?;
                    Entry::Folder
                }
                FileKind::Symlink => Entry::Symlink(self.fs.readlink(attr.ino)?),
                FileKind::Regular => Entry::File(self.content(attr.ino)?),
                _ => Entry::Other,
            };
            let mut attributes = BTreeMap::new();
            for name in self.fs.listxattr(attr.ino)?.split(|byte| *byte == 0) {
                if !name.is_empty() {
                    let value = self.fs.getxattr(attr.ino, name)?;
                    attributes.insert(String::from_utf8(name.to_vec()).unwrap(), value);
                }
            }
            let found = (entry, attr.mode, attributes);
            tree.found(&path, attr.ino.0, found);
        }
        Ok(())
    }

    fn content(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let fh = wait(|done| self.fs.open(SELF, ino, false, done))?.fh;
        let content = self.read_all(fh);
        // The kernel tells nobody how a release went.
        drop(self.fs.release(fh));
        content
    }
}

type Done<T> = Box<dyn FnOnce(Result<T, FsError>) + Send>;

/// Waits for what `start` hands to its callback.
pub(crate) fn wait<T: Send + 'static>(start: impl FnOnce(Done<T>)) -> Result<T, FsError> {
    let (done, result) = mpsc::channel();
    start(Box::new(move |value| done.send(value).unwrap()));
    result.recv().expect("the callback was called")
}

/// What `envelopefs check` finds damaged.
pub(crate) fn damage(path: &Path) -> Vec<String> {
    let volume = volume::open(path, &UnlockOptions::default(), providers()).unwrap();
    let options = CheckOptions {
        extent: Extent::All,
        repair: false,
    };
    let report = maint::check(&volume, options, |_, _| {}).unwrap();
    volume.mark_clean().unwrap();
    let damaged = report
        .findings
        .iter()
        .filter(|finding| finding.severity == maint::Severity::Damage);
    damaged
        .map(|finding| format!("{}: {}", finding.path, finding.what))
        .collect()
}

/// Blocks that the regular files of a ciphertext folder take on disk, but for the volume's own.
pub(crate) fn blocks_on_disk(folder: &Path) -> u64 {
    let mut blocks = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() && entry.file_name() != ".envelopefs" {
            blocks += blocks_on_disk(&entry.path());
        } else if metadata.is_file() {
            blocks += metadata.blocks();
        }
    }
    blocks
}

//! A volume in a folder of its own, served without FUSE over a ciphertext folder that may be observed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use envelopefs::content::Extent;
use envelopefs::crypto::random;
use envelopefs::daemon::runs::{RunHost, RunRequest, SlotsRun};
use envelopefs::format::layout::Layout;
use envelopefs::format::volume_config::{ForeignFiles, KeyScope, NameMode};
use envelopefs::fs::{Caller, Fh, FileSystem, FsError, FsOptions, Ino};
use envelopefs::keys::{FileProvider, ProviderOptions, Providers};
use envelopefs::maint::{self, CheckOptions, CheckReport};
use envelopefs::storage::{self, FileKind, Node, StorageObserver};
use envelopefs::units::{KeyUri, VolumeId};
use envelopefs::volume::{self, CreateOptions, Sharing, UnlockOptions};
use tempfile::TempDir;

use super::model::{Entry, Tree};

pub(crate) const SELF: Caller = Caller {
    ids: storage::Caller { uid: 0, gid: 0 },
    pid: 0,
    umask: 0,
};

/// The key that a volume is made with.
pub(crate) const KEY: &str = "key";

/// Makes a volume with encrypted names in a folder of its own.
pub(crate) fn make() -> TempDir {
    make_with(NameMode::Encrypted, KeyScope::Volume)
}

/// Makes a volume in a folder of its own, beside its key: the file [`KEY`].
pub(crate) fn make_with(names: NameMode, key_scope: KeyScope) -> TempDir {
    let home = temporary_folder();
    let key = home.path().join(KEY);
    drop(FileProvider::create(&key).unwrap());
    let options = CreateOptions {
        volume_id: VolumeId(random::array()),
        layout: Layout::DEFAULT,
        names,
        key_scope,
        foreign_files: ForeignFiles::Deny,
        keys: vec![FileProvider::uri_of(&key).unwrap()],
        volume_keys: Vec::new(),
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
    /// Where its keys lie.
    home: PathBuf,
    /// Open files by path.
    pub(crate) handles: BTreeMap<String, Fh>,
}

impl Mounted {
    /// Serves the volume in `path`, exclusively, with `observer` hearing of each system call.
    pub(crate) fn new(path: &Path, observer: Arc<dyn StorageObserver>) -> Self {
        let root = Node::open_root(path).unwrap().observed(observer);
        Self::serve(root, path, Sharing::Exclusive).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Serves the volume whose ciphertext folder is `root`, as a mount does: after a crash it looks the volume over.
    pub(crate) fn serve(
        root: Node,
        path: &Path,
        sharing: Sharing,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let options = UnlockOptions {
            sharing,
            ..UnlockOptions::default()
        };
        let volume = volume::open_in(root, path, &options, providers())?;
        if let Some(since) = volume.unclean_since() {
            let recovery = maint::recover(&volume, since)?;
            if recovery.postponed == 0 {
                volume.set_looked_over();
            }
        }
        let options = FsOptions {
            shared: sharing == Sharing::Shared,
            ..FsOptions::default()
        };
        Ok(Self {
            fs: FileSystem::new(Arc::new(volume), options)?,
            home: path
                .parent()
                .ok_or("a volume has a folder above it")?
                .into(),
            handles: BTreeMap::new(),
        })
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

    /// The key file of this name, which a volume may have for a key.
    pub(crate) fn key(&self, name: &str) -> KeyUri {
        FileProvider::uri_of(&self.home.join(name)).unwrap()
    }

    /// Makes a key file of this name.
    pub(crate) fn make_key(&self, name: &str) {
        drop(FileProvider::create(&self.home.join(name)).unwrap());
    }

    /// Changes the key slots of the volume and of all its files.
    pub(crate) fn renew_slots(&self, run: SlotsRun) {
        let host = RunHost::new(Arc::clone(&self.fs), false);
        let done = host.run(&RunRequest::Slots(run), &mut |_| true).unwrap();
        assert!(done.complete && done.counts.changed > 0, "{done:?}");
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
            let found = (entry, attr.mode, self.attributes(attr.ino)?);
            tree.found(&path, attr.ino.0, found);
        }
        Ok(())
    }

    /// The extended attributes of an inode.
    pub(crate) fn attributes(&self, ino: Ino) -> Result<BTreeMap<String, Vec<u8>>, FsError> {
        let mut attributes = BTreeMap::new();
        for name in self.fs.listxattr(ino)?.split(|byte| *byte == 0) {
            if !name.is_empty() {
                let value = self.fs.getxattr(ino, name)?;
                attributes.insert(String::from_utf8(name.to_vec()).unwrap(), value);
            }
        }
        Ok(attributes)
    }

    /// The whole of a file that is opened for it.
    pub(crate) fn content(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
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

/// What `envelopefs check` finds, or finds and repairs, in a volume that nobody has mounted.
pub(crate) fn check(path: &Path, repair: bool) -> CheckReport {
    let unlock = UnlockOptions {
        read_only: !repair,
        ..UnlockOptions::default()
    };
    let volume = volume::open(path, &unlock, providers()).unwrap();
    let options = CheckOptions {
        extent: Extent::All,
        repair,
    };
    maint::check(&volume, options, |_, _| {}).unwrap()
}

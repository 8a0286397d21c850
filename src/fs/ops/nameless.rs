//! Files without a name (`O_TMPFILE`): made like any other, with a header and keys of their own, in the ciphertext folder
//! without a name too. So a crash leaves nothing of them. [`FileSystem::link`] may give them one.

use std::sync::Arc;

use crate::fs::attr::Entry;
use crate::fs::error::FsError;
use crate::fs::inodes::{Ino, Inode, Whereabouts};
use crate::fs::ops::create::{Created, MadeFile};
use crate::fs::ops::open::install;
use crate::fs::ops::slots::{Renewed, Visit};
use crate::fs::stats::Operation;
use crate::fs::{Caller, FileSystem};
use crate::storage::as_caller;
use crate::volume::{Moment, NewFile};

/// What stands for the name that such a file does not have: in paths that the policy judges, and that the audit is told.
pub const NAMELESS: &[u8] = b"#nameless";

/// A file without a name, found for a run over all files.
#[derive(Debug, Clone)]
pub struct Nameless {
    /// Its number.
    pub ino: Ino,
    /// The path in the mount of the folder that it was made in, where that is known.
    pub folder: Option<Vec<u8>>,
}

impl FileSystem {
    /// Makes a regular file without a name, with what files of the folder `parent` get, and opens it for reading and
    /// writing. `done` may be called later, on another thread; with `EOPNOTSUPP` where the file system of the ciphertext
    /// folder has no such files.
    pub fn tmpfile(
        self: &Arc<Self>,
        caller: Caller,
        parent: Ino,
        mode: u32,
        done: impl FnOnce(Result<Created, FsError>) + Send + 'static,
    ) {
        self.stats.count(Operation::Tmpfile);
        let make = move |fs: &Arc<Self>, folder: &Arc<Inode>, new| {
            Ok(fs.open_made(fs.make_nameless(caller, folder, mode, new)?, caller))
        };
        self.make_file_in(parent, make, done);
    }

    fn make_nameless(
        &self,
        caller: Caller,
        parent: &Arc<Inode>,
        mode: u32,
        NewFile {
            material,
            being_made,
        }: NewFile,
    ) -> Result<MadeFile, FsError> {
        let dir = self.folder_node(parent)?;
        let mode = self.new_mode(caller, &dir, mode & 0o7777)?;
        let file =
            self.with_descriptors(|| Ok(as_caller(caller.ids, || dir.create_nameless(mode))??))?;
        let open = self.new_open_file(file, material)?;
        let node = Arc::new(self.with_descriptors(|| Ok(open.node()?))?);
        let stat = self.keep_set_gid(caller, mode, open.stat()?, || open.node())?;
        self.tell_times_of_new(&open, &stat);
        let whereabouts = Whereabouts::Nameless {
            parent: Arc::clone(parent),
            node: Arc::clone(&node),
            keys: being_made.moment(),
        };
        let inode = self.inodes.count_look_up(&stat, || whereabouts.clone());
        // The number may be that of a file that another mount has removed.
        *inode.whereabouts().write() = whereabouts;
        let open = install(&mut inode.open_slot().lock(), open);
        // A run over all files finds it from here on.
        drop(being_made);
        let entry = Entry {
            attr: self.attr_of(inode.ino(), &stat, Some(&open)),
            generation: self.generation(&inode, &stat, || node.handle()),
        };
        Ok((entry, inode, open))
    }

    /// Before `inode` gets a name. Where that is its first, whoever finds it is to find its header, and a run over all files
    /// that another mount has done meanwhile is not to have missed it.
    ///
    /// # Errors
    /// `ESTALE` for one with keys that are no more those of new files; what writing the header answers.
    pub(in crate::fs) fn be_ready_for_a_name(&self, inode: &Inode) -> Result<(), FsError> {
        let Some(keys) = keys_of_nameless(inode) else {
            return Ok(());
        };
        if self.options.shared && !self.volume.is_still(keys) {
            return Err(FsError::STALE);
        }
        match inode.open_file() {
            Some(open) if !open.is_read_only() => Ok(open.close()?),
            _ => Ok(()),
        }
    }

    /// The kernel has forgotten an inode. Without a name nobody can find it again: no commit is to keep it.
    pub(in crate::fs) fn let_nameless_go(&self, inode: &Inode) {
        if keys_of_nameless(inode).is_some() {
            self.committer.leave(inode);
        }
    }

    /// The files without a name that are there now.
    pub fn nameless(&self) -> Vec<Nameless> {
        let found = |inode: Arc<Inode>| {
            let Whereabouts::Nameless { parent, .. } = inode.whereabouts().read().clone() else {
                return None;
            };
            let folder = self.path_of(&parent);
            let ino = inode.ino();
            Some(Nameless { ino, folder })
        };
        self.inodes.all().into_iter().filter_map(found).collect()
    }

    /// Does `work` to a file without a name. One that has got a name meanwhile was noted as moved, and one that is gone is
    /// gone.
    pub(in crate::fs) fn visit_nameless(
        &self,
        file: &Nameless,
        work: impl FnOnce(&Visit<'_>) -> Result<Renewed, FsError>,
    ) -> Result<Renewed, FsError> {
        let found = self.inodes.find(file.ino);
        let whereabouts = found.map(|inode| inode.whereabouts().read().clone());
        let Some(Whereabouts::Nameless { node, .. }) = whereabouts else {
            return Ok(Renewed::Gone);
        };
        let now = self.volume.moment();
        let stat = node.stat()?;
        let held = || Whereabouts::Held(Arc::clone(&node));
        let inode = self.inodes.count_look_up(&stat, held);
        let done = work(&Visit::new(self, Arc::clone(&inode), node, stat.nlink > 1))?;
        if let (Renewed::Changed | Renewed::Right, Whereabouts::Nameless { keys, .. }) =
            (done, &mut *inode.whereabouts().write())
        {
            *keys = now;
        }
        Ok(done)
    }
}

/// From when its keys are, if the inode has had no name yet.
fn keys_of_nameless(inode: &Inode) -> Option<Moment> {
    match &*inode.whereabouts().read() {
        Whereabouts::Nameless { keys, .. } => Some(*keys),
        Whereabouts::At { .. } | Whereabouts::ByHandle(_) | Whereabouts::Held(_) => None,
    }
}

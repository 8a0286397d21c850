//! Who asks and for what path, for the audit and the policy: looked up where it is needed, and never for every request.

use std::sync::Arc;

use crate::audit::{Event, Field, Kind, Subject};
use crate::storage::{self, CName, Credentials, Executable, Unit};
use crate::volume::{Asker, Listed};

use super::FileSystem;
use super::caller::Caller;
use super::error::FsError;
use super::inodes::{Ino, Inode, Whereabouts};
use super::ops::nameless::NAMELESS;

impl Caller {
    /// His user and group. Where mounts may map ids the kernel tells them only of who makes an inode; then /proc does.
    pub(super) fn known_ids(self) -> Option<storage::Caller> {
        if self.ids.uid != u32::MAX {
            return Some(self.ids);
        }
        let known = Credentials::of(self.pid).ok()?;
        Some(storage::Caller {
            uid: known.uid,
            gid: *known.groups.first()?,
        })
    }

    /// What the audit says of him.
    pub(super) fn subject(self) -> Subject {
        let ids = self.known_ids();
        let seen = Some(self.pid).filter(|pid| *pid != 0);
        Subject {
            pid: seen,
            uid: ids.map(|ids| ids.uid),
            gid: ids.map(|ids| ids.gid),
            exe: seen
                .and_then(|pid| Executable::of(pid).ok())
                .map(|exe| exe.path.to_string_lossy().into_owned()),
            unit: seen.and_then(|pid| match Unit::of(pid) {
                Ok(Unit::Named(unit)) => Some(unit),
                _ => None,
            }),
        }
    }
}

impl FileSystem {
    /// Whom the audit shall name for the unwrapping of this file's key.
    pub(super) fn asker(&self, caller: Caller, inode: &Arc<Inode>) -> Asker {
        Asker {
            path: self.path_of(inode).map(|path| show_path(&path)),
            subject: caller.subject(),
        }
    }

    /// Tells the audit of damage, and of who met it: not where the kernel wrote back what it had cached, which it does
    /// in nobody's name.
    pub(super) fn tell_integrity_failure(
        &self,
        operation: &'static str,
        (ino, ciphertext): (Option<Ino>, &str),
        by: Option<Caller>,
        error: &FsError,
    ) {
        let by = by.filter(|by| by.pid != 0 || by.ids.uid != 0);
        self.volume.note(|| {
            let inode = ino.and_then(|ino| self.inodes.find(ino));
            let path = inode.and_then(|inode| self.path_of(&inode));
            Event::new(Kind::IntegrityFailure)
                .with(Field::Operation, operation)
                .with_some(Field::Path, path.map(|path| show_path(&path)))
                .with(Field::Ciphertext, ciphertext)
                .with(Field::Message, error.to_string())
                .by(&by.map(Caller::subject).unwrap_or_default())
        });
    }

    /// The path in the mount by which the inode was last found, `/` for the root; `None` where its name is gone, or
    /// where it was found without one. What has had no name yet is told as [`NAMELESS`] in its folder.
    pub(super) fn path_of(&self, inode: &Arc<Inode>) -> Option<Vec<u8>> {
        if inode.ino() == Ino::ROOT {
            return Some(b"/".to_vec());
        }
        if let Some((parent, cname)) = at(inode) {
            return self.path_of_name(&parent, &cname);
        }
        let folder = self.path_of(&folder_of(inode)?)?;
        Some(path_below(&folder, NAMELESS))
    }

    /// The path in the mount of the name `cname` in `parent`.
    pub(super) fn path_of_name(&self, parent: &Arc<Inode>, cname: &CName) -> Option<Vec<u8>> {
        let mut names = vec![self.plain_name(parent, cname)?];
        let mut folder = Arc::clone(parent);
        while folder.ino() != Ino::ROOT {
            let (parent, cname) = at(&folder)?;
            names.push(self.plain_name(&parent, &cname)?);
            folder = parent;
        }
        names.push(Vec::new());
        names.reverse();
        Some(names.join(&b'/'))
    }

    fn plain_name(&self, parent: &Arc<Inode>, cname: &CName) -> Option<Vec<u8>> {
        let dir = self.folder_node(parent).ok()?;
        let dir_id = self.dir_id(parent, &dir).ok()?;
        match self.volume.open_name(&dir, dir_id.as_ref(), cname) {
            Ok(Listed::Name(name)) => Some(name),
            Ok(Listed::Own(_) | Listed::Foreign(_)) | Err(_) => None,
        }
    }
}

/// Where an inode was last found.
pub(super) fn at(inode: &Inode) -> Option<(Arc<Inode>, CName)> {
    match &*inode.whereabouts().read() {
        Whereabouts::At { parent, cname } => Some((Arc::clone(parent), cname.clone())),
        Whereabouts::Held(_) | Whereabouts::ByHandle(_) | Whereabouts::Nameless { .. } => None,
    }
}

/// The folder that an inode was last found in, or made in where it has had no name yet.
pub(super) fn folder_of(inode: &Inode) -> Option<Arc<Inode>> {
    match &*inode.whereabouts().read() {
        Whereabouts::At { parent, .. } | Whereabouts::Nameless { parent, .. } => {
            Some(Arc::clone(parent))
        }
        Whereabouts::Held(_) | Whereabouts::ByHandle(_) => None,
    }
}

/// The path of the name `name` in the folder of the path `folder`.
pub(super) fn path_below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    [folder, b"/", name].concat()
}

pub(super) fn show_path(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

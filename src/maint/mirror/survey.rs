//! A look over a tree: how much it holds, what stands in the way of a copy, and a fingerprint by which any change shows.

use std::io;

use sha2::{Digest as _, Sha256};

use super::{MirrorError, Trail, attributes, sorted};
use crate::storage::{CName, FileKind, Node, Stat, Timestamp};
use crate::volume::Volume;

/// What a tree is, all of it seen once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Regular files; one of several names counts for each.
    pub files: u64,
    /// Folders, the root too.
    pub folders: u64,
    /// Symlinks, FIFOs, sockets and devices.
    pub others: u64,
    /// Bytes on the disk.
    pub stored: u64,
    /// Something has an ACL.
    pub acl: bool,
    /// A file of another device, and so of another file system.
    pub other_file_system: Option<String>,
    /// A folder that holds a volume's ciphertext.
    pub volume: Option<String>,
    /// Of every path, inode number, kind, owner, mode, length, number of names and time of change: another one
    /// after any change that the file system notes, of an extended attribute too. The root's own time of change is left
    /// out: a new name changes it.
    pub fingerprint: [u8; 32],
}

impl Survey {
    /// Entries of every kind.
    pub fn entries(&self) -> u64 {
        self.files + self.folders + self.others
    }
}

/// Looks over the tree in `root`. What is on another file system is told and not looked into.
///
/// # Errors
/// Something cannot be read.
pub fn survey(root: &Node) -> Result<Survey, MirrorError> {
    let mut trail = Trail::default();
    let stat = root
        .stat()
        .map_err(trail.failed("reading its attributes"))?;
    let mut look = Look {
        survey: Survey::default(),
        hash: Sha256::new(),
        dev: stat.dev,
    };
    look.entry(root, &stat, &mut trail)?;
    look.survey.fingerprint = look.hash.finalize().into();
    Ok(look.survey)
}

struct Look {
    survey: Survey,
    hash: Sha256,
    dev: u64,
}

impl Look {
    fn entry(&mut self, node: &Node, stat: &Stat, trail: &mut Trail) -> Result<(), MirrorError> {
        self.note(stat, trail);
        let acl = attributes::has_acl(node);
        self.survey.acl |= acl.map_err(trail.failed("listing its extended attributes"))?;
        match stat.kind {
            FileKind::Regular => self.survey.files += 1,
            FileKind::Directory => {
                self.survey.folders += 1;
                return self.folder(node, trail);
            }
            _ => self.survey.others += 1,
        }
        self.survey.stored += stat.blocks * 512 / u64::from(stat.nlink.max(1));
        Ok(())
    }

    fn folder(&mut self, node: &Node, trail: &mut Trail) -> Result<(), MirrorError> {
        let entries = sorted(node).map_err(trail.failed("reading the folder"))?;
        for entry in entries {
            if entry.name.as_bytes() == Volume::OWN_FOLDER {
                self.survey.volume.get_or_insert_with(|| trail.path());
            }
            trail.0.push(entry.name);
            let child = look_up(node, trail).map_err(trail.failed("reading its attributes"))?;
            let (child, stat) = child;
            if stat.dev == self.dev {
                self.entry(&child, &stat, trail)?;
            } else {
                let place = &mut self.survey.other_file_system;
                place.get_or_insert_with(|| trail.path());
            }
            trail.0.pop();
        }
        Ok(())
    }

    fn note(&mut self, stat: &Stat, trail: &Trail) {
        let number = |number: usize| (number as u64).to_le_bytes();
        self.hash.update(number(trail.0.len()));
        if let Some(name) = trail.0.last() {
            self.hash.update(number(name.as_bytes().len()));
            self.hash.update(name.as_bytes());
        }
        let time = |time: Timestamp| {
            [time.secs.to_le_bytes(), i64::from(time.nanos).to_le_bytes()].concat()
        };
        for field in [
            stat.ino,
            stat.kind.number(),
            stat.mode.into(),
            stat.uid.into(),
            stat.gid.into(),
            stat.rdev,
            stat.size,
            stat.nlink.into(),
        ] {
            self.hash.update(field.to_le_bytes());
        }
        self.hash.update(time(stat.mtime));
        if !trail.0.is_empty() {
            self.hash.update(time(stat.ctime));
        }
    }
}

fn look_up(folder: &Node, trail: &Trail) -> io::Result<(Node, Stat)> {
    let gone = || io::Error::from_raw_os_error(libc::ENOENT);
    let name: &CName = trail.0.last().ok_or_else(gone)?;
    let node = folder.child(name)?;
    let stat = node.stat()?;
    Ok((node, stat))
}

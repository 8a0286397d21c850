//! Makes one tree like another. What is alike already stays, so a copy that was cut short is gone on with.

use std::collections::HashMap;
use std::io;

use super::{MirrorError, Passed, Trail, attributes, content, remove_tree, sorted};
use crate::storage::{Access, CName, DirEntry, FileKind, Node, Stat};

/// What tells that a file was copied before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing: every content is copied.
    Nothing,
    /// Its length and the time of its last change, which it gets when its content is whole.
    Times,
}

/// Makes the tree in `to` like that in `from`: what is not there is made, what is there and not in `from` is removed.
/// `tell` hears how far it is.
///
/// # Errors
/// The first entry that cannot be read or made.
pub fn copy(
    from: &Node,
    to: &Node,
    trust: Trust,
    tell: &mut dyn FnMut(Passed),
) -> Result<(), MirrorError> {
    let mut copier = Copier {
        root: to,
        trust,
        tell,
        passed: Passed::default(),
        names: HashMap::new(),
        trail: Trail::default(),
    };
    copier.fill(from, to)
}

struct Copier<'a> {
    root: &'a Node,
    trust: Trust,
    tell: &'a mut dyn FnMut(Passed),
    passed: Passed,
    /// The first name of each inode that has several, by its number.
    names: HashMap<u64, Vec<CName>>,
    trail: Trail,
}

impl Copier<'_> {
    /// Fills the folder `to`; its own attributes come last, as filling it changes them.
    fn fill(&mut self, from: &Node, to: &Node) -> Result<(), MirrorError> {
        let entries = sorted(from).map_err(self.trail.failed("reading the folder"))?;
        remove_others(to, &entries).map_err(self.trail.failed("removing what is in it no more"))?;
        for DirEntry { name, .. } in entries {
            self.trail.0.push(name.clone());
            self.entry(from, to, &name)?;
            self.trail.0.pop();
        }
        attributes::copy(from, to).map_err(self.trail.failed("setting its attributes"))?;
        self.passed.entries += 1;
        (self.tell)(self.passed);
        Ok(())
    }

    fn entry(&mut self, from: &Node, to: &Node, name: &CName) -> Result<(), MirrorError> {
        let failed = self.trail.failed("reading its attributes");
        let found = from.child(name).and_then(|node| Ok((node.stat()?, node)));
        let (stat, source) = found.map_err(failed)?;
        if stat.kind == FileKind::Directory {
            let folder = self.folder(to, name, &stat);
            let folder = folder.map_err(self.trail.failed("making the folder"))?;
            return self.fill(&source, &folder);
        }
        let several = stat.nlink > 1;
        if several && let Some(first) = self.names.get(&stat.ino) {
            let linked = link(self.root, first, to, name);
            linked.map_err(self.trail.failed("giving it its further name"))?;
        } else {
            let made = self.leaf(&source, &stat, to, name);
            made.map_err(self.trail.failed("copying"))?;
        }
        if several {
            let path = || self.trail.0.clone();
            self.names.entry(stat.ino).or_insert_with(path);
        }
        self.passed.entries += 1;
        (self.tell)(self.passed);
        Ok(())
    }

    fn folder(&self, to: &Node, name: &CName, stat: &Stat) -> io::Result<Node> {
        if self.kept(to, name, stat)?.is_none() {
            to.make_dir(name, 0o700)?;
        }
        to.child(name)
    }

    fn leaf(&mut self, from: &Node, stat: &Stat, to: &Node, name: &CName) -> io::Result<()> {
        let kept = self.kept(to, name, stat)?;
        match stat.kind {
            FileKind::Regular => self.file(from, stat, to, name, kept)?,
            FileKind::Symlink => {
                let target = from.read_link()?;
                let same = kept.is_some_and(|kept| kept.read_link().ok().as_ref() == Some(&target));
                if !same {
                    remove_if_there(to, name)?;
                    to.make_symlink(&target, name)?;
                }
            }
            kind => {
                if !matches!(kept.map(|kept| kept.stat()), Some(Ok(had)) if had.rdev == stat.rdev) {
                    remove_if_there(to, name)?;
                    to.make_node(name, kind_bits(kind) | 0o600, stat.rdev)?;
                }
            }
        }
        attributes::copy(from, &to.child(name)?)
    }

    fn file(
        &mut self,
        from: &Node,
        stat: &Stat,
        to: &Node,
        name: &CName,
        kept: Option<Node>,
    ) -> io::Result<()> {
        let target = match kept {
            Some(kept) => {
                let had = kept.stat()?;
                if self.trust == Trust::Times && (had.size, had.mtime) == (stat.size, stat.mtime) {
                    return Ok(());
                }
                kept.open_file(Access::ReadWrite)?
            }
            None => to.create_file(name, 0o600)?,
        };
        let source = from.open_file_untouched(Access::Read)?;
        content::copy(&source, &target, |bytes| {
            self.passed.bytes += bytes;
            (self.tell)(self.passed);
        })
    }

    /// What stands at the name already, if it may become the copy; else it goes.
    fn kept(&self, to: &Node, name: &CName, stat: &Stat) -> io::Result<Option<Node>> {
        let node = match to.child(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            node => node?,
        };
        let had = node.stat()?;
        let several = had.kind != FileKind::Directory && had.nlink > 1;
        let shared = several && (stat.nlink == 1 || self.trust == Trust::Nothing);
        if had.kind == stat.kind && !shared {
            return Ok(Some(node));
        }
        remove_tree(to, name)?;
        Ok(None)
    }
}

fn remove_others(folder: &Node, wanted: &[DirEntry]) -> io::Result<()> {
    for entry in sorted(folder)? {
        let by_name = |wanted: &DirEntry| wanted.name.as_bytes().cmp(entry.name.as_bytes());
        if wanted.binary_search_by(by_name).is_err() {
            remove_tree(folder, &entry.name)?;
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Node, name: &CName) -> io::Result<()> {
    match remove_tree(folder, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives what stands at `first` below `root` the further name `name` in `to`.
fn link(root: &Node, first: &[CName], to: &Node, name: &CName) -> io::Result<()> {
    let mut node = None;
    for step in first {
        node = Some(node.as_ref().unwrap_or(root).child(step)?);
    }
    let node = node.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
    let ino = node.stat()?.ino;
    if matches!(to.stat_child(name), Ok(had) if had.ino == ino) {
        return Ok(());
    }
    remove_if_there(to, name)?;
    node.link(to, name)
}

fn kind_bits(kind: FileKind) -> u32 {
    match kind {
        FileKind::BlockDevice => libc::S_IFBLK,
        FileKind::CharDevice => libc::S_IFCHR,
        FileKind::Fifo => libc::S_IFIFO,
        FileKind::Socket => libc::S_IFSOCK,
        FileKind::Directory | FileKind::Regular | FileKind::Symlink | FileKind::Unknown => {
            libc::S_IFREG
        }
    }
}

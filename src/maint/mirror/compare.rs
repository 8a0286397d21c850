//! Compares two trees, everything that a copy makes alike.

use std::collections::HashMap;
use std::io;

use super::{MirrorError, Passed, Trail, attributes, content, sorted};
use crate::storage::{Access, CName, FileKind, Node};

/// More differences than this are not looked for.
const MOST: usize = 20;

/// Compares the tree in `to` with that in `from`, contents byte for byte; answers the differences, each a path and what differs,
/// or none. `tell` hears how far it is.
///
/// # Errors
/// The first entry that cannot be read.
pub fn compare(
    from: &Node,
    to: &Node,
    tell: &mut dyn FnMut(Passed),
) -> Result<Vec<String>, MirrorError> {
    let mut comparison = Comparison {
        tell,
        passed: Passed::default(),
        inodes: HashMap::new(),
        trail: Trail::default(),
        differences: Vec::new(),
    };
    comparison.folder(from, to)?;
    Ok(comparison.differences)
}

struct Comparison<'a> {
    tell: &'a mut dyn FnMut(Passed),
    passed: Passed,
    /// The number in the one tree of each inode with several names, and in the other.
    inodes: HashMap<u64, u64>,
    trail: Trail,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn folder(&mut self, from: &Node, to: &Node) -> Result<(), MirrorError> {
        let both = sorted(from).and_then(|one| Ok((one, sorted(to)?)));
        let (one, other) = both.map_err(self.trail.failed("reading the folder"))?;
        let names = |entries: &[crate::storage::DirEntry]| -> Vec<CName> {
            entries.iter().map(|entry| entry.name.clone()).collect()
        };
        if names(&one) != names(&other) {
            self.note("names in it");
            return Ok(());
        }
        for entry in one {
            if self.differences.len() >= MOST {
                return Ok(());
            }
            self.trail.0.push(entry.name.clone());
            self.entry(from, to, &entry.name)?;
            self.trail.0.pop();
        }
        self.attributes(from, to)
    }

    fn entry(&mut self, from: &Node, to: &Node, name: &CName) -> Result<(), MirrorError> {
        let both = from.child(name).and_then(|one| Ok((one, to.child(name)?)));
        let (one, other) = both.map_err(self.trail.failed("opening"))?;
        let kind = one
            .stat()
            .map_err(self.trail.failed("reading its attributes"))?
            .kind;
        let is_folder = matches!(other.stat(), Ok(stat) if stat.kind == FileKind::Directory);
        if kind == FileKind::Directory && is_folder {
            return self.folder(&one, &other);
        }
        self.attributes(&one, &other)?;
        let same = self.same_content(&one, &other, kind);
        if !same.map_err(self.trail.failed("reading"))? {
            self.note("content");
        }
        Ok(())
    }

    fn attributes(&mut self, from: &Node, to: &Node) -> Result<(), MirrorError> {
        let difference = attributes::difference(from, to);
        if let Some(what) = difference.map_err(self.trail.failed("reading its attributes"))? {
            self.note(what);
        }
        self.passed.entries += 1;
        (self.tell)(self.passed);
        Ok(())
    }

    fn same_content(&mut self, one: &Node, other: &Node, kind: FileKind) -> io::Result<bool> {
        let (stat, others) = (one.stat()?, other.stat()?);
        if stat.kind != others.kind {
            return Ok(false);
        }
        if stat.nlink > 1
            && let Some(before) = self.inodes.insert(stat.ino, others.ino)
        {
            // Its content was compared by its first name.
            return Ok(before == others.ino);
        }
        match kind {
            FileKind::Regular => {
                let one = one.open_file_untouched(Access::Read)?;
                let other = other.open_file_untouched(Access::Read)?;
                content::same(&one, &other, |bytes| {
                    self.passed.bytes += bytes;
                    (self.tell)(self.passed);
                })
            }
            FileKind::Symlink => Ok(one.read_link()? == other.read_link()?),
            _ => Ok(true),
        }
    }

    fn note(&mut self, what: &str) {
        let path = self.trail.path();
        self.differences
            .push(format!("{}: {what}", super::shown(&path)));
    }
}

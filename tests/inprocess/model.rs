//! What a volume holds: as a plain tree in memory.

use std::collections::BTreeMap;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    File(Vec<u8>),
    Folder,
    Symlink(Vec<u8>),
    Other,
}

/// An inode: what it is, its mode, its extended attributes.
pub(crate) type Inode = (Entry, u32, BTreeMap<String, Vec<u8>>);

/// Paths and the inodes that they are names of. Two paths of one inode are hard links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    names: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, Inode>,
}

impl Tree {
    /// Takes in what was found at a path.
    pub(crate) fn found(&mut self, path: &str, number: u64, inode: Inode) {
        self.names.insert(path.to_owned(), number);
        self.inodes.insert(number, inode);
    }

    pub(crate) fn paths(&self) -> impl DoubleEndedIterator<Item = (&String, &Inode)> {
        self.names
            .iter()
            .map(|(path, number)| (path, &self.inodes[number]))
    }

    /// Each path, with the number of the inode that it is a name of.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names
            .iter()
            .map(|(path, number)| (path.as_str(), *number))
    }

    pub(crate) fn inode(&self, number: u64) -> Option<&Inode> {
        self.inodes.get(&number)
    }

    fn at(&mut self, path: &str) -> &mut Inode {
        let number = self.names[path];
        self.inodes.get_mut(&number).unwrap()
    }

    pub(crate) fn content(&mut self, path: &str) -> &mut Vec<u8> {
        match &mut self.at(path).0 {
            Entry::File(content) => content,
            other => panic!("{path} is no file: {other:?}"),
        }
    }

    pub(crate) fn make(&mut self, path: &str, entry: Entry, mode: u32) {
        let number = self.inodes.keys().last().map_or(1, |last| last + 1);
        self.found(path, number, (entry, mode, BTreeMap::new()));
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) {
        self.names.insert(to.to_owned(), self.names[from]);
    }

    pub(crate) fn unlink(&mut self, path: &str) {
        self.names.remove(path);
        self.drop_nameless();
    }

    fn drop_nameless(&mut self) {
        let named: Vec<_> = self.names.values().copied().collect();
        self.inodes.retain(|number, _| named.contains(number));
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        self.names.remove(to);
        let below = format!("{from}/");
        let moved: Vec<_> = self
            .names
            .keys()
            .filter(|path| *path == from || path.starts_with(&below))
            .cloned()
            .collect();
        for path in moved {
            let number = self.names.remove(&path).unwrap();
            self.names
                .insert(format!("{to}{}", &path[from.len()..]), number);
        }
        self.drop_nameless();
    }

    pub(crate) fn exchange(&mut self, one: &str, other: &str) {
        self.rename(one, "exchanged");
        self.rename(other, one);
        self.rename("exchanged", other);
    }

    pub(crate) fn chmod(&mut self, path: &str, mode: u32) {
        self.at(path).1 = mode;
    }

    pub(crate) fn attributes(&mut self, path: &str) -> &mut BTreeMap<String, Vec<u8>> {
        &mut self.at(path).2
    }

    /// What is the same whatever numbers inodes have.
    fn comparable(&self) -> Vec<(&String, &String, &Inode)> {
        let first_name = |number| {
            self.names
                .iter()
                .find(|(_, other)| *other == number)
                .unwrap()
                .0
        };
        let comparable = |(path, number)| (path, first_name(number), &self.inodes[number]);
        self.names.iter().map(comparable).collect()
    }

    /// Whether both show the same, but for the numbers of inodes.
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        self.comparable() == other.comparable()
    }

    /// Whether this is what a step from `old` to `new` may leave that failed half way: the names of one of the two,
    /// and in each file bytes of either.
    pub(crate) fn is_between(&self, old: &Self, new: &Self) -> bool {
        [(old, new), (new, old)]
            .into_iter()
            .any(|(here, there)| self.has_names_of(here) && self.inodes_between(here, there))
    }

    fn has_names_of(&self, other: &Self) -> bool {
        self.names.keys().eq(other.names.keys())
    }

    fn inodes_between(&self, here: &Self, there: &Self) -> bool {
        self.names.iter().all(|(path, number)| {
            let found = &self.inodes[number];
            let old = &here.inodes[&here.names[path]];
            let new = there
                .names
                .get(path)
                .map_or(old, |number| &there.inodes[number]);
            lies_between(found, old, new)
        })
    }

    /// For messages: what is not as in `expected`.
    pub(crate) fn difference(&self, expected: &Self) -> String {
        let brief = |tree: &Self| -> BTreeMap<String, String> {
            let text = |(path, inode): (&String, &Inode)| (path.clone(), describe(inode));
            tree.paths().map(text).collect()
        };
        let (found, expected) = (brief(self), brief(expected));
        let paths = found.keys().chain(expected.keys());
        let mut lines: Vec<_> = paths
            .filter(|path| found.get(*path) != expected.get(*path))
            .map(|path| {
                format!(
                    "  {path}: {:?}, due was {:?}",
                    found.get(path),
                    expected.get(path)
                )
            })
            .collect();
        lines.sort();
        lines.dedup();
        lines.join("\n")
    }
}

fn lies_between(found: &Inode, old: &Inode, new: &Inode) -> bool {
    let content = match (&found.0, &old.0, &new.0) {
        (Entry::File(found), Entry::File(old), Entry::File(new)) => {
            content_between(found, old, new)
        }
        (found, old, new) => found == old || found == new,
    };
    content && (found.1 == old.1 || found.1 == new.1) && (found.2 == old.2 || found.2 == new.2)
}

/// Every byte is the old or the new one, or a zero past the old end, and the length is neither over nor under both.
fn content_between(found: &[u8], old: &[u8], new: &[u8]) -> bool {
    let lengths = old.len().min(new.len())..=old.len().max(new.len());
    let byte = |(at, byte): (usize, &u8)| {
        [old.get(at), new.get(at)].contains(&Some(byte)) || (at >= old.len() && *byte == 0)
    };
    lengths.contains(&found.len()) && found.iter().enumerate().all(byte)
}

fn describe((entry, mode, attributes): &Inode) -> String {
    match entry {
        Entry::File(content) => format!(
            "{} bytes, sum {:x}, mode {mode:o}, attributes {:?}",
            content.len(),
            content.iter().enumerate().fold(0_u64, |sum, (at, byte)| {
                sum.wrapping_mul(31)
                    .wrapping_add(u64::from(*byte) ^ at as u64)
            }),
            attributes.keys()
        ),
        other => format!("{other:?} mode {mode:o}"),
    }
}

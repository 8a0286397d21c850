//! What a user may find after a crash, told from the steps that were done.

use std::collections::{BTreeMap, BTreeSet};

use envelopefs::format::layout::Layout;
use envelopefs::units::ChunkIndex;

use crate::image::{Id, ROOT};
use crate::inprocess::model::{Entry, Inode, Tree};
use crate::inprocess::steps::Step;
use crate::state::Model;

/// What the volume showed after each step, and what the syncs among them made durable.
#[derive(Debug)]
pub(crate) struct Story {
    steps: Vec<Step>,
    /// Before the first step, and after each.
    shown: Vec<Shown>,
    /// Whether the volume was unmounted after the last step, which makes all content durable.
    pub(crate) unmounted: bool,
}

/// What a volume shows: by folder and name, and by inode.
#[derive(Clone, Debug, Default)]
struct Shown {
    entries: BTreeMap<(Id, String), Id>,
    inodes: BTreeMap<Id, Inode>,
}

/// The moment of a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment {
    /// Steps that were over.
    pub(crate) done: usize,
    /// Whether the next one had begun to change the disk.
    pub(crate) amid: bool,
}

/// What may be found after a crash at some moment.
#[derive(Debug)]
pub(crate) struct Expectation {
    /// By folder and name: what may stand there.
    names: BTreeMap<(Id, String), BTreeSet<Option<Id>>>,
    /// Of each inode, what it may be, oldest first.
    versions: BTreeMap<Id, Vec<Inode>>,
    /// Inodes that must have a name.
    present: BTreeSet<Id>,
    /// Files of which nothing was ever durable.
    unsynced: BTreeSet<Id>,
    /// Files that may have holes: what was written behind the durable end and lost reads as zeros there if
    /// something behind it was kept, as in any file system.
    sparse: BTreeSet<Id>,
}

impl Story {
    /// A story that begins with what `tree` shows; `ids` are the inodes behind the numbers of the tree.
    pub(crate) fn new(tree: &Tree, ids: &BTreeMap<u64, Id>) -> Self {
        Self {
            steps: Vec::new(),
            shown: vec![Shown::of(tree, ids)],
            unmounted: false,
        }
    }

    /// A step was done, after which the volume shows `tree`.
    pub(crate) fn step(&mut self, step: Step, tree: &Tree, ids: &BTreeMap<u64, Id>) {
        self.steps.push(step);
        self.shown.push(Shown::of(tree, ids));
    }

    /// What may be found after a crash at `moment`, on a file system of this `model`.
    pub(crate) fn expect(&self, moment: Moment, model: Model) -> Expectation {
        let last = (moment.done + usize::from(moment.amid)).min(self.shown.len() - 1);
        let synced = self.synced(moment.done, model);
        let mut expectation = Expectation {
            names: BTreeMap::new(),
            versions: BTreeMap::new(),
            present: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            sparse: self.sparse(last),
        };
        self.names_left(&synced, last, &mut expectation);
        self.folder_being_replaced(moment, &mut expectation);
        for id in self.shown.iter().flat_map(|shown| shown.inodes.keys()) {
            let from = synced.inodes.get(id).copied();
            let shown = &self.shown[from.unwrap_or(0)..=last];
            let mut versions: Vec<_> = shown
                .iter()
                .filter_map(|shown| shown.inodes.get(id))
                .cloned()
                .collect();
            versions.dedup();
            expectation.versions.insert(*id, versions);
            if from.is_none() {
                expectation.unsynced.insert(*id);
            }
        }
        expectation
    }

    /// Files that holes were made in by one of the first `last` steps, or before them.
    fn sparse(&self, last: usize) -> BTreeSet<Id> {
        let grows =
            |shown: &Shown, path: &str, offset: u64| match &shown.inodes[&shown.find(path)].0 {
                Entry::File(content) => offset > content.len() as u64,
                _ => false,
            };
        let steps = self.steps[..last].iter().zip(&self.shown);
        let made = steps.filter_map(|(step, shown)| match step {
            Step::Punch(path, ..) | Step::Zero(path, ..) => Some(shown.find(path)),
            Step::Write(path, offset, ..)
            | Step::Truncate(path, offset)
            | Step::TruncateByPath(path, offset) => {
                grows(shown, path, *offset).then(|| shown.find(path))
            }
            _ => None,
        });
        made.collect()
    }

    fn names_left(&self, synced: &Synced, last: usize, expectation: &mut Expectation) {
        let places: BTreeSet<_> = self
            .shown
            .iter()
            .flat_map(|shown| shown.entries.keys())
            .collect();
        for place in places {
            let from = synced.names.get(place).copied().unwrap_or(0);
            let from = from.max(synced.folders.get(&place.0).copied().unwrap_or(0));
            let left = self.shown[from..=last]
                .iter()
                .map(|shown| shown.entries.get(place).copied());
            expectation.names.insert(place.clone(), left.collect());
        }
        for (id, from) in &synced.named {
            let has_name = |shown: &Shown| shown.entries.values().any(|named| named == id);
            if self.shown[*from..=last].iter().all(has_name) {
                expectation.present.insert(*id);
            }
        }
    }

    /// While a folder takes the place of an empty one, the empty one may be found under the other name (FORMAT 5.4).
    fn folder_being_replaced(&self, moment: Moment, expectation: &mut Expectation) {
        let begun = moment.done + usize::from(moment.amid);
        for (nth, step) in self.steps[..begun.min(self.steps.len())].iter().enumerate() {
            let Step::Rename(from, to) = step else {
                continue;
            };
            let before = &self.shown[nth];
            let (from, to) = (before.place(from), before.place(to));
            let replaced = before.entries.get(&to).copied();
            let replaced = replaced.filter(|id| before.inodes[id].0 == Entry::Folder);
            if let (Some(id), Some(left)) = (replaced, expectation.names.get_mut(&from))
                && left.contains(&None)
            {
                left.insert(Some(id));
            }
        }
    }

    fn synced(&self, done: usize, model: Model) -> Synced {
        let mut synced = Synced::default();
        let base = &self.shown[0];
        synced.inodes.extend(base.inodes.keys().map(|id| (*id, 0)));
        synced.named.extend(base.inodes.keys().map(|id| (*id, 0)));
        for (nth, step) in self.steps[..done.min(self.steps.len())].iter().enumerate() {
            let shown = &self.shown[nth + 1];
            match step {
                // fdatasync waits for no name that the file got since it was made.
                Step::SyncData(path) => {
                    let id = shown.find(path);
                    synced.inodes.insert(id, nth + 1);
                    synced.named.insert(id, nth + 1);
                }
                Step::Sync(path) => {
                    let id = shown.find(path);
                    synced.inodes.insert(id, nth + 1);
                    synced.has_name(shown, id, nth + 1, model);
                }
                Step::SyncFolder(path) => {
                    let id = shown.find(path);
                    synced.folders.insert(id, nth + 1);
                    synced.inodes.insert(id, nth + 1);
                    synced.has_name(shown, id, nth + 1, model);
                    let entries = shown
                        .entries
                        .iter()
                        .filter(|((folder, _), _)| *folder == id);
                    synced.named.extend(entries.map(|(_, id)| (*id, nth + 1)));
                }
                _ => {}
            }
        }
        if self.unmounted && done > self.steps.len() {
            let last = self.shown.len() - 1;
            for id in self.shown[last].inodes.keys().chain([&ROOT]) {
                synced.inodes.insert(*id, last);
                synced.folders.insert(*id, last);
                synced.named.insert(*id, last);
            }
        }
        synced
    }
}

/// Since which step what is durable.
#[derive(Default)]
struct Synced {
    /// An inode's content and attributes.
    inodes: BTreeMap<Id, usize>,
    /// All entries of a folder.
    folders: BTreeMap<Id, usize>,
    /// A name.
    names: BTreeMap<(Id, String), usize>,
    /// That an inode has a name.
    named: BTreeMap<Id, usize>,
}

impl Synced {
    /// An inode was synced: its names are durable, and so are those of the folders that it is in; but Btrfs may still have a
    /// folder that was moved where it was.
    fn has_name(&mut self, shown: &Shown, id: Id, at: usize, model: Model) {
        self.named.insert(id, at);
        let names = shown.entries.iter().filter(|(_, named)| **named == id);
        for (place, _) in names.collect::<Vec<_>>() {
            self.names.insert(place.clone(), at);
            if place.0 != ROOT && model == Model::Ordered {
                self.has_name(shown, place.0, at, model);
            }
        }
    }
}

impl Shown {
    fn of(tree: &Tree, ids: &BTreeMap<u64, Id>) -> Self {
        let numbers: BTreeMap<&str, u64> = tree.numbers().collect();
        let mut shown = Self::default();
        for (path, number) in &numbers {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = numbers.get(folder).map_or(ROOT, |number| ids[number]);
            let id = ids[number];
            shown.entries.insert((folder, name.to_owned()), id);
            shown
                .inodes
                .insert(id, tree.inode(*number).unwrap().clone());
        }
        shown
    }

    fn find(&self, path: &str) -> Id {
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(ROOT, |folder, name| {
            self.entries[&(folder, name.to_owned())]
        })
    }

    fn place(&self, path: &str) -> (Id, String) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(folder), name.to_owned())
    }
}

impl Expectation {
    /// Whether nothing of the file was ever durable: it may have come back without its header.
    pub(crate) fn is_unsynced(&self, id: Id) -> bool {
        self.unsynced.contains(&id)
    }

    /// The names that may, or may not, be in a folder.
    pub(crate) fn names_in(&self, folder: Id) -> impl Iterator<Item = &String> {
        let of_it = move |(of, _): &&(Id, String)| *of == folder;
        self.names.keys().filter(of_it).map(|(_, name)| name)
    }

    /// Inodes that must be found.
    pub(crate) fn present(&self) -> &BTreeSet<Id> {
        &self.present
    }

    /// Whether `found` may stand at a name.
    pub(crate) fn check_name(
        &self,
        folder: Id,
        name: &str,
        found: Option<Id>,
    ) -> Result<(), String> {
        let allowed = self.names.get(&(folder, name.to_owned()));
        match allowed {
            Some(allowed) if allowed.contains(&found) => Ok(()),
            _ => Err(format!(
                "{name}: inode {found:?} stands there, allowed is {allowed:?}"
            )),
        }
    }

    /// Whether an inode may be as it was found.
    pub(crate) fn check_inode(&self, id: Id, found: &Inode, layout: Layout) -> Result<(), String> {
        let versions = &self.versions[&id];
        let of_any = |same: &dyn Fn(&Inode) -> bool| versions.iter().any(same);
        if !of_any(&|version| version.1 == found.1) {
            return Err(format!("mode {:o}", found.1));
        }
        if !of_any(&|version| version.2 == found.2) {
            return Err(format!("attributes {:?}", found.2));
        }
        let Entry::File(content) = &found.0 else {
            return if of_any(&|version| version.0 == found.0) {
                Ok(())
            } else {
                Err(format!("{:?}", found.0))
            };
        };
        let contents: Vec<&Vec<u8>> = versions
            .iter()
            .filter_map(|version| match &version.0 {
                Entry::File(content) => Some(content),
                _ => None,
            })
            .collect();
        let (may_be_empty, sparse) = (self.is_unsynced(id), self.sparse.contains(&id));
        check_content(content, &contents, (may_be_empty, sparse), layout)
    }
}

/// Whether each chunk is that of some version, and the length lies between theirs.
fn check_content(
    found: &[u8],
    versions: &[&Vec<u8>],
    (may_be_empty, sparse): (bool, bool),
    layout: Layout,
) -> Result<(), String> {
    let lens = || versions.iter().map(|version| version.len());
    let least = if may_be_empty {
        0
    } else {
        lens().min().unwrap_or(0)
    };
    let most = lens().max().unwrap_or(0);
    if !(least..=most).contains(&found.len()) {
        return Err(format!(
            "{} bytes long, {least} to {most} are allowed",
            found.len()
        ));
    }
    let mut index = ChunkIndex(0);
    while (layout.chunk_start(index).0 as usize) < found.len() {
        let from = layout.chunk_start(index).0 as usize;
        let to = found.len().min(from + layout.capacity(index) as usize);
        let of_version = |version: &&Vec<u8>| version.get(from..to) == Some(&found[from..to]);
        let is_lost = sparse && least <= from && found[from..to].iter().all(|byte| *byte == 0);
        if !is_lost && !versions.iter().any(of_version) {
            return Err(format!("bytes {from}..{to} are of no version"));
        }
        index = ChunkIndex(index.0 + 1);
    }
    Ok(())
}

//! What a recording comes to: the names after each operation, and for each file the versions of its pages and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::image::{Content, Id, Image, Kind, PAGE, Page, Tree, page, zeros};
use crate::record::Op;
use crate::sabotage::torn;

/// A recording, made ready for asking what a crash may leave of it.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) ops: Vec<Op>,
    /// The names after so many operations, from none on.
    pub(crate) trees: Vec<Arc<Tree>>,
    pub(crate) files: BTreeMap<Id, FileHistory>,
    /// Operations that need space: a write to a hole or past the end.
    allocating: BTreeSet<usize>,
}

/// How a file came to its content.
#[derive(Debug, Default)]
pub(crate) struct FileHistory {
    base: Content,
    /// Whether the disk tears pages.
    torn: bool,
    /// By page: what became of it, and by which operation.
    pages: BTreeMap<u64, Vec<(usize, PageEvent)>>,
    sizes: Vec<(usize, SizeEvent)>,
}

#[derive(Clone, Debug)]
enum PageEvent {
    /// Written, to the disk at any time from then on.
    Wrote(Page),
    /// Cut off or punched, in whole or in part, together with the metadata.
    Cleared(Page),
}

#[derive(Clone, Copy, Debug)]
enum SizeEvent {
    /// By `ftruncate`.
    Set(u64),
    /// By a write up to there.
    Grew { to: u64, synced: bool },
}

/// What the syncs before a crash have forced onto the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// Where metadata go by one journal: so many operations are in it.
    pub(crate) journal: usize,
    /// The last `syncfs`: so many operations are on disk whatever the file system.
    pub(crate) whole: usize,
    /// By file: what was written to it before this operation.
    files: BTreeMap<Id, usize>,
    /// By page: the same.
    pages: BTreeMap<(Id, u64), usize>,
}

/// Up to where a file's own operations have reached the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Operations before the crash.
    pub(crate) crash: usize,
    /// Of the file's metadata: its length, its holes, and where its pages are.
    pub(crate) cut: usize,
}

impl History {
    pub(crate) fn new(base: &Image, ops: Vec<Op>) -> Self {
        let mut history = Self {
            trees: vec![Arc::new(base.tree.clone())],
            files: BTreeMap::new(),
            allocating: BTreeSet::new(),
            ops: Vec::new(),
        };
        let mut live = base.contents.clone();
        for (id, content) in &base.contents {
            history.file(*id).base = content.clone();
        }
        for (at, op) in ops.iter().enumerate() {
            let before = Arc::clone(&history.trees[at]);
            history.trees.push(after(&before, op));
            history.content_op(at, op, &mut live);
        }
        history.ops = ops;
        history
    }

    /// From here on the disk tears pages.
    pub(crate) fn tear(&mut self) {
        for file in self.files.values_mut() {
            file.torn = true;
        }
    }

    fn file(&mut self, id: Id) -> &mut FileHistory {
        self.files.entry(id).or_default()
    }

    fn content_op(&mut self, at: usize, op: &Op, live: &mut BTreeMap<Id, Content>) {
        match op {
            Op::Make { id, inode, .. } if inode.kind == Kind::File => {
                self.file(*id);
                live.insert(*id, Content::default());
            }
            Op::Write {
                id,
                offset,
                data,
                synced,
            } => {
                let content = live.entry(*id).or_default();
                if self.file(*id).write(at, content, *offset, data, *synced) {
                    self.allocating.insert(at);
                }
            }
            Op::SetLen(id, len) => {
                let content = live.entry(*id).or_default();
                self.file(*id).set_len(at, content, *len);
            }
            Op::Punch(id, from, to) => {
                let content = live.entry(*id).or_default();
                let pages = from.div_ceil(PAGE)..to / PAGE;
                self.file(*id).clear(at, content, pages);
            }
            _ => {}
        }
    }

    /// What is on disk for certain after `crash` operations.
    pub(crate) fn durable(&self, crash: usize) -> Durable {
        let mut durable = Durable::default();
        let mut last = LastChanges::default();
        for (at, op) in self.ops[..crash].iter().enumerate() {
            let allocates = self.allocating.contains(&at);
            match op {
                Op::SyncData(id) => {
                    durable.files.insert(*id, at);
                    durable.force(last.data(*id).max(last.allocation(*id)));
                }
                Op::SyncAll(id) => {
                    durable.files.insert(*id, at);
                    durable.force(last.any(*id));
                }
                Op::SyncFolder(id) => durable.force(last.any(*id)),
                Op::SyncFs => {
                    durable.force(at);
                    durable.whole = at;
                    durable.files.extend(self.files.keys().map(|id| (*id, at)));
                }
                Op::Write {
                    id,
                    offset,
                    data,
                    synced: true,
                } => {
                    let pages = offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE);
                    durable
                        .pages
                        .extend(pages.map(|page| ((*id, page), at + 1)));
                    durable.force(last.data(*id).max(if allocates { at + 1 } else { 0 }));
                }
                _ => {}
            }
            last.note(at, op, &self.trees[at], allocates);
        }
        durable
    }
}

impl Durable {
    fn force(&mut self, operations: usize) {
        self.journal = self.journal.max(operations);
    }

    fn of_file(&self, id: Id) -> usize {
        self.files.get(&id).copied().unwrap_or(0)
    }

    fn of_page(&self, id: Id, page: u64) -> usize {
        let of_page = self.pages.get(&(id, page)).copied().unwrap_or(0);
        of_page.max(self.of_file(id))
    }
}

/// Which operation last changed an inode, as a count of operations: 0 for none.
#[derive(Default)]
struct LastChanges {
    any: BTreeMap<Id, usize>,
    /// What `fdatasync` waits for: the inode itself, its length, its holes.
    data: BTreeMap<Id, usize>,
    allocations: BTreeMap<Id, usize>,
}

impl LastChanges {
    fn any(&self, id: Id) -> usize {
        self.any.get(&id).copied().unwrap_or(0)
    }

    fn data(&self, id: Id) -> usize {
        self.data.get(&id).copied().unwrap_or(0)
    }

    fn allocation(&self, id: Id) -> usize {
        self.allocations.get(&id).copied().unwrap_or(0)
    }

    fn note(&mut self, at: usize, op: &Op, before: &Tree, allocates: bool) {
        for id in inodes_of(op, before) {
            self.any.insert(id, at + 1);
        }
        match op {
            Op::Make { id, .. } | Op::SetLen(id, _) | Op::Punch(id, ..) => {
                self.data.insert(*id, at + 1);
            }
            Op::Write { id, .. } if allocates => {
                self.any.insert(*id, at + 1);
                self.allocations.insert(*id, at + 1);
            }
            _ => {}
        }
    }
}

/// The inodes whose metadata an operation changes.
fn inodes_of(op: &Op, before: &Tree) -> Vec<Id> {
    let at = |place: &(Id, Vec<u8>)| before.entries.get(place).copied();
    match op {
        Op::Make { folder, id, .. } | Op::Link { folder, id, .. } => vec![*folder, *id],
        Op::Unlink { folder, name } => {
            let gone = at(&(*folder, name.clone()));
            std::iter::once(*folder).chain(gone).collect()
        }
        Op::Rename { from, to, .. } => {
            let moved = [from.0, to.0].into_iter();
            moved.chain(at(from)).chain(at(to)).collect()
        }
        Op::SetMode(id, _) | Op::SetXattr(id, ..) | Op::RemoveXattr(id, _) => vec![*id],
        Op::SetLen(id, _) | Op::Punch(id, ..) => vec![*id],
        Op::Write { .. } | Op::SyncData(_) | Op::SyncAll(_) => Vec::new(),
        Op::SyncFolder(_) | Op::SyncFs => Vec::new(),
    }
}

/// The names and attributes after `op`.
fn after(before: &Arc<Tree>, op: &Op) -> Arc<Tree> {
    let mut tree = Arc::clone(before);
    match op {
        Op::Make {
            folder,
            name,
            id,
            inode,
        } => {
            let tree = Arc::make_mut(&mut tree);
            tree.inodes.insert(*id, inode.clone());
            tree.entries.insert((*folder, name.clone()), *id);
        }
        Op::Link { id, folder, name } => {
            Arc::make_mut(&mut tree)
                .entries
                .insert((*folder, name.clone()), *id);
        }
        Op::Unlink { folder, name } => {
            Arc::make_mut(&mut tree)
                .entries
                .remove(&(*folder, name.clone()));
        }
        Op::Rename { from, to, exchange } => {
            let entries = &mut Arc::make_mut(&mut tree).entries;
            let moved = entries.remove(from).unwrap();
            let replaced = entries.insert(to.clone(), moved);
            if *exchange {
                entries.insert(from.clone(), replaced.unwrap());
            }
        }
        Op::SetMode(id, mode) => {
            if let Some(inode) = Arc::make_mut(&mut tree).inodes.get_mut(id) {
                inode.mode = *mode;
            }
        }
        Op::SetXattr(id, name, value) => {
            if let Some(inode) = Arc::make_mut(&mut tree).inodes.get_mut(id) {
                inode.xattrs.insert(name.clone(), value.clone());
            }
        }
        Op::RemoveXattr(id, name) => {
            if let Some(inode) = Arc::make_mut(&mut tree).inodes.get_mut(id) {
                inode.xattrs.remove(name);
            }
        }
        _ => {}
    }
    tree
}

impl FileHistory {
    /// Says whether the write needs space.
    fn write(
        &mut self,
        at: usize,
        live: &mut Content,
        offset: u64,
        data: &[u8],
        synced: bool,
    ) -> bool {
        let end = offset + data.len() as u64;
        let mut allocates = end > live.len;
        for index in offset / PAGE..end.div_ceil(PAGE) {
            allocates |= !live.pages.contains_key(&index);
            let mut bytes = *live.page(index);
            let (start, stop) = (offset.max(index * PAGE), end.min((index + 1) * PAGE));
            bytes[(start - index * PAGE) as usize..(stop - index * PAGE) as usize]
                .copy_from_slice(&data[(start - offset) as usize..(stop - offset) as usize]);
            let page = page(&bytes);
            live.pages.insert(index, Arc::clone(&page));
            self.note_page(at, index, PageEvent::Wrote(page));
        }
        if end > live.len {
            live.len = end;
            self.sizes.push((at, SizeEvent::Grew { to: end, synced }));
        }
        allocates
    }

    fn set_len(&mut self, at: usize, live: &mut Content, len: u64) {
        self.clear(at, live, len.div_ceil(PAGE)..u64::MAX);
        let (last, rest) = (len / PAGE, (len % PAGE) as usize);
        if rest > 0 && live.pages.contains_key(&last) {
            let kept = page(&live.page(last)[..rest]);
            live.pages.insert(last, Arc::clone(&kept));
            self.note_page(at, last, PageEvent::Cleared(kept));
        }
        live.len = len;
        self.sizes.push((at, SizeEvent::Set(len)));
    }

    fn clear(&mut self, at: usize, live: &mut Content, pages: std::ops::Range<u64>) {
        let known: BTreeSet<u64> = self
            .pages
            .range(pages.clone())
            .map(|(index, _)| *index)
            .chain(self.base.pages.range(pages).map(|(index, _)| *index))
            .collect();
        for index in known {
            live.pages.remove(&index);
            self.note_page(at, index, PageEvent::Cleared(zeros()));
        }
    }

    fn note_page(&mut self, at: usize, index: u64, event: PageEvent) {
        self.pages.entry(index).or_default().push((at, event));
    }

    /// Every page that may be other than a hole.
    pub(crate) fn known_pages(&self) -> BTreeSet<u64> {
        self.pages
            .keys()
            .chain(self.base.pages.keys())
            .copied()
            .collect()
    }

    /// What page `index` may hold after a crash, oldest first.
    pub(crate) fn pages_left(
        &self,
        id: Id,
        index: u64,
        reach: Reach,
        durable: &Durable,
    ) -> Vec<Page> {
        let mut left = vec![self.base.page(index)];
        let mut mapped = self.base.pages.contains_key(&index);
        let synced = durable.of_page(id, index);
        let events = self.pages.get(&index).into_iter().flatten();
        for (at, event) in events.take_while(|(at, _)| *at < reach.crash) {
            match event {
                PageEvent::Cleared(kept) if *at < reach.cut => {
                    mapped = kept[..] != zeros()[..];
                    left = vec![Arc::clone(kept)];
                }
                // What is written after it is put elsewhere, where nothing on disk points to yet.
                PageEvent::Cleared(_) => break,
                PageEvent::Wrote(page) if *at < synced => {
                    mapped = true;
                    left = vec![Arc::clone(page)];
                }
                PageEvent::Wrote(page) if *at < reach.cut || mapped => {
                    mapped = true;
                    if self.torn {
                        left.extend(left.last().map(|old| torn(old, page)));
                    }
                    left.push(Arc::clone(page));
                }
                PageEvent::Wrote(_) => {}
            }
        }
        left.dedup();
        left
    }

    /// The sizes that the file may have after a crash, smallest first.
    pub(crate) fn sizes_left(&self, id: Id, reach: Reach, durable: &Durable) -> Vec<u64> {
        let mut left = BTreeSet::from([self.base.len]);
        let end = reach.crash.min(reach.cut);
        for (at, event) in self.sizes.iter().take_while(|(at, _)| *at < end) {
            match *event {
                SizeEvent::Set(len) => left = BTreeSet::from([len]),
                SizeEvent::Grew { to, synced } if synced || *at < durable.of_file(id) => {
                    let reached = left.iter().map(|len| to.max(*len));
                    left = reached.collect();
                }
                SizeEvent::Grew { to, .. } => {
                    let least = left.first().copied().unwrap_or(0);
                    let whole_pages = (least / PAGE + 1..=to / PAGE).map(|pages| pages * PAGE);
                    left.extend(whole_pages);
                    left.insert(to);
                }
            }
        }
        left.into_iter().collect()
    }

    /// Whether the operation `at` punched page `index`.
    pub(crate) fn is_cleared_by(&self, index: u64, at: usize) -> bool {
        let events = self.pages.get(&index).into_iter().flatten();
        events
            .into_iter()
            .any(|(by, event)| *by == at && matches!(event, PageEvent::Cleared(_)))
    }
}

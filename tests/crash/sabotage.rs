//! Wrong orders of writes, of which each must be found out: they show that the checker sees damage.

use crate::image::{Id, PAGE, Page, page};
use crate::record::Op;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// The header with the greater committed length is durable before the data that it tells of.
    CommitBeforeData,
    /// A cut reaches the disk before the header with the smaller committed length.
    CutBeforeHeader,
    /// Headers that must be durable at once are left to the next sync.
    LazyHeaders,
    /// No sync of a file's content is done, and all are said to have been.
    NoSyncs,
    /// No sync of a folder is done.
    NoFolderSyncs,
    /// No sync of all is done.
    NoWholeSyncs,
    /// A folder gets its id after it has its first entry.
    IdAfterEntry,
    /// The full form of a long name is made after the name.
    FullNameAfterName,
    /// The disk tears pages: half a page is written.
    TornPages,
}

impl Sabotage {
    /// The operations in the wrong order.
    pub(crate) fn of(self, ops: &[Op]) -> Vec<Op> {
        let mut ops = ops.to_vec();
        match self {
            Self::CommitBeforeData => commit_before_data(&mut ops),
            Self::CutBeforeHeader => cut_before_header(&mut ops),
            Self::LazyHeaders => lazy_headers(&mut ops),
            Self::NoSyncs => disarm(&mut ops, |op| {
                matches!(op, Op::SyncData(_) | Op::SyncAll(_))
            }),
            Self::NoFolderSyncs => disarm(&mut ops, |op| matches!(op, Op::SyncFolder(_))),
            Self::NoWholeSyncs => disarm(&mut ops, |op| matches!(op, Op::SyncFs)),
            Self::IdAfterEntry => move_behind(&mut ops, b".envelopefs.dirid", is_entry_beside),
            Self::FullNameAfterName => move_behind(&mut ops, b".n", gives_name),
            Self::TornPages => {}
        }
        ops
    }
}

/// An operation that does nothing, in the place of one that is left out.
const NOTHING: Op = Op::SetMode(Id::MAX, 0);

fn disarm(ops: &mut [Op], left_out: impl Fn(&Op) -> bool) {
    for op in ops.iter_mut().filter(|op| left_out(op)) {
        *op = NOTHING;
    }
}

fn is_header(op: &Op) -> bool {
    matches!(op, Op::Write { offset: 0, data, .. } if data.len() < PAGE as usize)
}

/// A sync and the header behind it change places, and the header is durable when it is written.
fn commit_before_data(ops: &mut [Op]) {
    for at in 1..ops.len() {
        if is_header(&ops[at]) && matches!(ops[at - 1], Op::SyncData(_) | Op::SyncAll(_)) {
            if let Op::Write { synced, .. } = &mut ops[at] {
                *synced = true;
            }
            ops.swap(at - 1, at);
        }
    }
}

fn cut_before_header(ops: &mut Vec<Op>) {
    let mut at = 0;
    while at < ops.len() {
        let is_durable = matches!(
            &ops[at],
            Op::Write {
                offset: 0,
                synced: true,
                ..
            }
        );
        let cut = (at + 1..ops.len().min(at + 4)).find(|at| matches!(ops[*at], Op::SetLen(..)));
        if let (true, Some(cut)) = (is_durable, cut) {
            let cut = ops.remove(cut);
            ops.insert(at, cut);
            at += 1;
        }
        at += 1;
    }
}

fn lazy_headers(ops: &mut [Op]) {
    for op in ops {
        if let Op::Write { synced, .. } = op {
            *synced = false;
        }
    }
}

fn gives_name(_symlink: &Op, op: &Op) -> bool {
    matches!(op, Op::Rename { .. } | Op::Make { .. } | Op::Link { .. })
}

fn is_entry_beside(symlink: &Op, op: &Op) -> bool {
    match (symlink, op) {
        (Op::Make { folder: one, .. }, Op::Make { folder: other, .. }) => one == other,
        _ => false,
    }
}

/// Symlinks whose name ends so are made after the next operation of this kind.
fn move_behind(ops: &mut [Op], suffix: &[u8], kind: fn(&Op, &Op) -> bool) {
    let mut at = 0;
    while at + 1 < ops.len() {
        let is_it = matches!(&ops[at], Op::Make { name, .. } if name.ends_with(suffix));
        let next = (at + 1..ops.len()).find(|next| kind(&ops[at], &ops[*next]));
        if let (true, Some(next)) = (is_it, next) {
            ops[at..=next].rotate_left(1);
            at = next;
        }
        at += 1;
    }
}

/// A page of which half is new.
pub(crate) fn torn(old: &Page, new: &Page) -> Page {
    let half = PAGE as usize / 2;
    let mut bytes = **old;
    bytes[..half].copy_from_slice(&new[..half]);
    page(&bytes)
}

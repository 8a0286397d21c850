//! Random operations, with a liking for what is near a boundary.

use proptest::collection::vec;
use proptest::prelude::*;

use super::op::{Access, Allocate, At, How, On, Op, PROCESSES, Rename, SLOTS, Set};

/// An operation and the process that does it.
pub(super) type Step = (usize, Op);

pub(super) fn steps(
    len: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Step>> {
    vec((0..PROCESSES, op()), len)
}

/// Of one process, which works in a part of its own.
pub(super) fn ops(len: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Vec<Op>> {
    vec(
        op().prop_filter("of the whole mount", |op| *op != Op::Remount),
        len,
    )
}

fn name() -> BoxedStrategy<u8> {
    prop_oneof![7 => Just(0_u8), 2 => Just(1), 2 => Just(2)].boxed()
}

fn at() -> BoxedStrategy<At> {
    let names = prop_oneof![
        6 => vec(name(), 1),
        3 => vec(name(), 2),
        1 => vec(name(), 3),
    ];
    let from_root = prop_oneof![3 => Just(false), 1 => Just(true)];
    (from_root, names)
        .prop_map(|(from_root, names)| At { from_root, names })
        .boxed()
}

/// Also the working folder and the root.
fn folder() -> BoxedStrategy<At> {
    let here = any::<bool>().prop_map(|from_root| At {
        from_root,
        names: Vec::new(),
    });
    prop_oneof![1 => here, 3 => at()].boxed()
}

fn slot() -> BoxedStrategy<usize> {
    prop_oneof![5 => Just(0_usize), 2 => Just(1), 1 => 0..SLOTS].boxed()
}

fn on() -> BoxedStrategy<On> {
    prop_oneof![2 => at().prop_map(On::Path), 1 => slot().prop_map(On::Slot)].boxed()
}

/// Plaintext bytes of the first block and of the others, in a volume made with the defaults.
const FIRST: u64 = 3024;
const OTHER: u64 = 4048;

fn offset() -> BoxedStrategy<u64> {
    let edges = [0, FIRST, FIRST + OTHER, FIRST + 2 * OTHER, 4096, 8192];
    let near_an_edge = (prop::sample::select(edges.to_vec()), -1_i64..=1)
        .prop_map(|(edge, by)| edge.saturating_add_signed(by));
    prop_oneof![3 => near_an_edge, 2 => 0_u64..20_000, 1 => Just(0)].boxed()
}

fn len() -> BoxedStrategy<usize> {
    prop_oneof![3 => 1_usize..200, 2 => offset().prop_map(|len| len as usize), 2 => 0_usize..12_000]
        .boxed()
}

fn how() -> BoxedStrategy<How> {
    let access =
        prop_oneof![1 => Just(Access::Read), 1 => Just(Access::Write), 3 => Just(Access::Both)];
    let often = prop::bool::weighted(0.7);
    let seldom = || prop::bool::weighted(0.15);
    (access, often, seldom(), seldom(), seldom())
        .prop_map(|(access, create, exclusive, truncate, append)| How {
            access,
            create,
            exclusive,
            truncate,
            append,
        })
        .boxed()
}

fn op() -> BoxedStrategy<Op> {
    prop_oneof![
        12 => on_content(),
        10 => on_names(),
        7 => on_attributes(),
        5 => (slot(), at(), how()).prop_map(|(slot, at, how)| Op::Open(slot, at, how)),
        1 => slot().prop_map(Op::Close),
        1 => folder().prop_map(Op::Chdir),
    ]
    .boxed()
}

/// As [`steps`], with now and then a remount.
pub(super) fn steps_with_remounts(
    len: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![60 => op(), 1 => Just(Op::Remount)];
    vec((0..PROCESSES, op), len)
}

fn on_content() -> BoxedStrategy<Op> {
    let allocate = prop::sample::select(vec![
        Allocate::Grow,
        Allocate::Keep,
        Allocate::Punch,
        Allocate::Zero,
        Allocate::ZeroKeep,
    ]);
    prop_oneof![
        2 => (slot(), len()).prop_map(|(slot, len)| Op::Read(slot, len)),
        3 => (slot(), offset(), len()).prop_map(|(slot, at, len)| Op::Pread(slot, at, len)),
        3 => (slot(), any::<u8>(), len()).prop_map(|(slot, seed, len)| Op::Write(slot, seed, len)),
        4 => (slot(), offset(), any::<u8>(), len()).prop_map(|(slot, at, seed, len)| Op::Pwrite(slot, at, seed, len)),
        2 => (slot(), offset(), any::<u8>(), len()).prop_map(|(slot, at, seed, len)| Op::Map(slot, at, seed, len)),
        3 => (slot(), offset()).prop_map(|(slot, len)| Op::Ftruncate(slot, len)),
        1 => (at(), offset()).prop_map(|(at, len)| Op::Truncate(at, len)),
        3 => (slot(), allocate, offset(), len()).prop_map(|(slot, mode, at, len)| Op::Fallocate(slot, mode, at, len as u64)),
        1 => (slot(), offset(), slot(), offset(), len()).prop_map(|(from, at, to, to_at, len)| Op::Copy { from, at, to, to_at, len }),
        1 => slot().prop_map(Op::Fsync),
    ]
    .boxed()
}

fn on_names() -> BoxedStrategy<Op> {
    let how = prop_oneof![3 => Just(Rename::Replace), 1 => Just(Rename::NoReplace), 2 => Just(Rename::Exchange)];
    prop_oneof![
        4 => at().prop_map(Op::Mkdir),
        2 => at().prop_map(Op::Rmdir),
        3 => at().prop_map(Op::Unlink),
        2 => (at(), at()).prop_map(|(from, to)| Op::Link(from, to)),
        2 => (at(), at()).prop_map(|(at, target)| Op::Symlink(at, target)),
        5 => (at(), at(), how).prop_map(|(from, to, how)| Op::Rename(from, to, how)),
    ]
    .boxed()
}

fn on_attributes() -> BoxedStrategy<Op> {
    let mode = prop::sample::select(vec![0o644, 0o600, 0o755, 0o777, 0o4755, 0o1777, 0o2750, 0]);
    let set = prop_oneof![3 => Just(Set::Either), 1 => Just(Set::Create), 1 => Just(Set::Replace)];
    let xattr = || prop_oneof![4 => Just(0_u8), 1 => Just(1)];
    prop_oneof![
        4 => on().prop_map(Op::Stat),
        2 => folder().prop_map(Op::Readdir),
        2 => at().prop_map(Op::Readlink),
        2 => (on(), mode).prop_map(|(on, mode)| Op::Chmod(on, mode)),
        2 => (on(), 0_i64..1_400_000_000).prop_map(|(on, secs)| Op::Utimes(on, secs)),
        3 => (on(), xattr(), set, 0_usize..300).prop_map(|(on, name, set, len)| Op::SetXattr(on, name, set, len)),
        2 => (on(), xattr()).prop_map(|(on, name)| Op::GetXattr(on, name)),
        2 => (on(), xattr()).prop_map(|(on, name)| Op::RemoveXattr(on, name)),
        1 => on().prop_map(Op::ListXattr),
    ]
    .boxed()
}

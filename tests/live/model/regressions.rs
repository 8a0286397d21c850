//! Sequences that once found something, in the product or in the model, or that are known to be hard; each has
//! its reason. `passes` prints a failing sequence as it can stand here.

use super::op::{Access, Allocate, At, How, On, Op, Rename};
use super::strategy::Step;

const NEW: How = How {
    access: Access::Both,
    create: true,
    exclusive: false,
    truncate: false,
    append: false,
};

fn at(names: &[u8]) -> At {
    At {
        from_root: true,
        names: names.to_vec(),
    }
}

fn stat(names: &[u8]) -> Op {
    Op::Stat(On::Path(at(names)))
}

/// Each with its name.
pub(super) fn all() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("written in the tick of its creation", written_at_once()),
        ("made, and unmounted at once", made_and_unmounted()),
        ("deleted, and in use by two processes", deleted_and_in_use()),
        ("folders with long names change places", folders_exchanged()),
        ("a working folder that is gone", gone_working_folder()),
    ]
}

/// The kernel keeps the time that it had from the creation; the disk has the write's own.
fn written_at_once() -> Vec<Step> {
    vec![
        (0, Op::Open(0, at(&[0]), NEW)),
        (0, Op::Pwrite(0, 0, 248, 38)),
        (0, stat(&[0])),
    ]
}

/// The kernel does not wait for the end of a handle: the file was left without a header.
fn made_and_unmounted() -> Vec<Step> {
    let once = [
        (2, Op::Open(0, at(&[1]), NEW)),
        (1, Op::Remount),
        (1, Op::Truncate(at(&[1]), 0)),
        (1, Op::Unlink(at(&[1]))),
    ];
    let read = [
        (2, Op::Open(0, at(&[0]), NEW)),
        (1, Op::Remount),
        (
            0,
            Op::Open(
                0,
                at(&[0]),
                How {
                    access: Access::Read,
                    ..NEW
                },
            ),
        ),
    ];
    [once.to_vec(), read.to_vec()].concat()
}

fn deleted_and_in_use() -> Vec<Step> {
    let mut steps = vec![
        (0, Op::Open(0, at(&[2]), NEW)),
        (1, Op::Open(1, at(&[2]), NEW)),
        (2, Op::Unlink(at(&[2]))),
    ];
    for (process, slot) in [(0, 0), (1, 1)] {
        steps.extend([
            (process, Op::Pwrite(slot, 3000, 7, 9000)),
            (process, Op::Fsync(slot)),
            (process, Op::Map(slot, 4000, 9, 100)),
            (process, Op::Fallocate(slot, Allocate::Punch, 100, 8000)),
            (process, Op::Ftruncate(slot, 5000)),
            (process, Op::Chmod(On::Slot(slot), 0o600)),
            (process, Op::Stat(On::Slot(slot))),
        ]);
    }
    steps.extend([(2, Op::Open(0, at(&[2]), NEW)), (0, Op::Pread(0, 0, 9000))]);
    steps
}

fn folders_exchanged() -> Vec<Step> {
    vec![
        (0, Op::Mkdir(at(&[2]))),
        (0, Op::Mkdir(at(&[2, 2]))),
        (1, Op::Mkdir(at(&[0]))),
        (1, Op::Chdir(at(&[2, 2]))),
        (2, Op::Rename(at(&[2, 2]), at(&[0]), Rename::Exchange)),
        (
            1,
            Op::Open(
                0,
                At {
                    from_root: false,
                    names: vec![2],
                },
                NEW,
            ),
        ),
        (2, Op::Rename(at(&[0]), at(&[2, 2]), Rename::Replace)),
        (2, Op::Rename(at(&[2]), at(&[2, 2]), Rename::Replace)),
        (1, Op::Write(0, 1, 5000)),
        (2, stat(&[2, 2, 2])),
    ]
}

fn gone_working_folder() -> Vec<Step> {
    let here = |names: &[u8]| At {
        from_root: false,
        names: names.to_vec(),
    };
    vec![
        (0, Op::Mkdir(at(&[1]))),
        (0, Op::Chdir(at(&[1]))),
        (1, Op::Rmdir(at(&[1]))),
        (0, Op::Readdir(here(&[]))),
        (0, Op::Stat(On::Path(here(&[])))),
        (0, Op::Open(0, here(&[0]), NEW)),
        (0, Op::Mkdir(here(&[0]))),
        (0, Op::Symlink(here(&[0]), at(&[1]))),
        (1, Op::Mkdir(at(&[1]))),
        (0, stat(&[1])),
    ]
}

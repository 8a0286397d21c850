//! Failing and shortening system calls on the ciphertext folder, for tests of this room and those above.
//!
//! A [`FaultQueue`] is a [`StorageObserver`] that injects errors: into one file
//! ([`StorageFile::with_faults`]) or into a whole volume ([`Node::observed`]).
//!
//! [`Node::observed`]: super::Node::observed
//! [`StorageFile::with_faults`]: super::StorageFile::with_faults

use parking_lot::Mutex;

use super::observer::{StorageObserver, StorageOp, Target, Verdict};

/// The operations that a fault can strike: those of [`StorageOp`] without their operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the StorageOp of the same name")]
pub enum FaultOp {
    Allocate,
    Child,
    CreateFile,
    CreateNameless,
    Link,
    ListXattr,
    Lock,
    MakeDir,
    MakeNode,
    MakeSymlink,
    OpenDir,
    OpenFile,
    PunchHole,
    Read,
    ReadDir,
    ReadLink,
    ReadLinkChild,
    RemoveDir,
    RemoveXattr,
    Rename,
    Seek,
    SetLen,
    SetMode,
    SetOwner,
    SetTimes,
    SetXattr,
    Stat,
    StatChild,
    StatFs,
    SyncAll,
    SyncData,
    SyncDir,
    SyncFs,
    Unlink,
    Write,
    Xattr,
    /// Whatever comes.
    Any,
}

impl FaultOp {
    /// All of them but [`FaultOp::Any`].
    pub const EACH: [Self; Self::Any as usize] = [
        Self::Allocate,
        Self::Child,
        Self::CreateFile,
        Self::CreateNameless,
        Self::Link,
        Self::ListXattr,
        Self::Lock,
        Self::MakeDir,
        Self::MakeNode,
        Self::MakeSymlink,
        Self::OpenDir,
        Self::OpenFile,
        Self::PunchHole,
        Self::Read,
        Self::ReadDir,
        Self::ReadLink,
        Self::ReadLinkChild,
        Self::RemoveDir,
        Self::RemoveXattr,
        Self::Rename,
        Self::Seek,
        Self::SetLen,
        Self::SetMode,
        Self::SetOwner,
        Self::SetTimes,
        Self::SetXattr,
        Self::Stat,
        Self::StatChild,
        Self::StatFs,
        Self::SyncAll,
        Self::SyncData,
        Self::SyncDir,
        Self::SyncFs,
        Self::Unlink,
        Self::Write,
        Self::Xattr,
    ];

    /// The operation that `op` is.
    pub fn of(op: &StorageOp<'_>) -> Self {
        match op {
            StorageOp::Allocate { .. } => Self::Allocate,
            StorageOp::Child(..) => Self::Child,
            StorageOp::CreateFile { .. } => Self::CreateFile,
            StorageOp::CreateNameless { .. } => Self::CreateNameless,
            StorageOp::Link { .. } => Self::Link,
            StorageOp::ListXattr => Self::ListXattr,
            StorageOp::Lock(..) => Self::Lock,
            StorageOp::MakeDir { .. } => Self::MakeDir,
            StorageOp::MakeNode { .. } => Self::MakeNode,
            StorageOp::MakeSymlink { .. } => Self::MakeSymlink,
            StorageOp::OpenDir => Self::OpenDir,
            StorageOp::OpenFile(..) => Self::OpenFile,
            StorageOp::PunchHole { .. } => Self::PunchHole,
            StorageOp::Read { .. } => Self::Read,
            StorageOp::ReadDir => Self::ReadDir,
            StorageOp::ReadLink => Self::ReadLink,
            StorageOp::ReadLinkChild(..) => Self::ReadLinkChild,
            StorageOp::RemoveDir(..) => Self::RemoveDir,
            StorageOp::RemoveXattr(..) => Self::RemoveXattr,
            StorageOp::Rename { .. } => Self::Rename,
            StorageOp::Seek => Self::Seek,
            StorageOp::SetLen(..) => Self::SetLen,
            StorageOp::SetMode(..) => Self::SetMode,
            StorageOp::SetOwner(..) => Self::SetOwner,
            StorageOp::SetTimes(..) => Self::SetTimes,
            StorageOp::SetXattr { .. } => Self::SetXattr,
            StorageOp::Stat => Self::Stat,
            StorageOp::StatChild(..) => Self::StatChild,
            StorageOp::StatFs => Self::StatFs,
            StorageOp::SyncAll => Self::SyncAll,
            StorageOp::SyncData => Self::SyncData,
            StorageOp::SyncDir => Self::SyncDir,
            StorageOp::SyncFs => Self::SyncFs,
            StorageOp::Unlink(..) => Self::Unlink,
            StorageOp::Write { .. } => Self::Write,
            StorageOp::Xattr(..) => Self::Xattr,
        }
    }
}

/// What a fault does to the operation that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// See [`Verdict::Fail`].
    Errno(i32),
    /// See [`Verdict::Short`].
    Short(usize),
}

/// One fault. It strikes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation that it waits for.
    pub op: FaultOp,
    /// How many of them pass unharmed first, counted from when it was injected.
    pub after: u64,
    /// What it does.
    pub action: FaultAction,
}

/// Faults that wait for their operations, and a count of all operations.
#[derive(Debug, Default)]
pub struct FaultQueue(Mutex<State>);

/// By [`FaultOp`], in the order of its variants.
type Counts = [u64; FaultOp::Any as usize + 1];

#[derive(Debug)]
struct State {
    waiting: Vec<Fault>,
    seen: Counts,
}

impl Default for State {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            seen: [0; FaultOp::Any as usize + 1],
        }
    }
}

impl FaultQueue {
    /// An empty queue: all operations pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `fault`. Of two faults that are due at one operation the older strikes, and the younger
    /// at the next.
    pub fn inject(&self, fault: Fault) {
        self.0.lock().waiting.push(fault);
    }

    /// Whether every fault has struck.
    pub fn is_spent(&self) -> bool {
        self.0.lock().waiting.is_empty()
    }

    /// How often `op` was asked for until now, with those that were struck.
    pub fn count(&self, op: FaultOp) -> u64 {
        self.0.lock().seen[op as usize]
    }
}

impl StorageObserver for FaultQueue {
    fn before(&self, _target: Target<'_>, op: &StorageOp<'_>) -> Verdict {
        self.0.lock().meet(FaultOp::of(op))
    }
}

impl State {
    fn meet(&mut self, op: FaultOp) -> Verdict {
        self.seen[op as usize] += 1;
        self.seen[FaultOp::Any as usize] += 1;
        let waits_for = |fault: &Fault| [op, FaultOp::Any].contains(&fault.op);
        let due = self
            .waiting
            .iter()
            .position(|fault| waits_for(fault) && fault.after == 0);
        for fault in self.waiting.iter_mut().filter(|fault| waits_for(fault)) {
            fault.after = fault.after.saturating_sub(1);
        }
        match due.map(|index| self.waiting.remove(index).action) {
            Some(FaultAction::Errno(errno)) => Verdict::Fail(errno),
            Some(FaultAction::Short(most)) => Verdict::Short(most),
            None => Verdict::Proceed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use super::*;
    use crate::storage::testing::{assert_errno, folder, name};
    use crate::storage::{Access, Node};

    const SYNC: StorageOp<'_> = StorageOp::SyncData;

    fn fault(op: FaultOp, after: u64, errno: i32) -> Fault {
        Fault {
            op,
            after,
            action: FaultAction::Errno(errno),
        }
    }

    fn sync_fault(after: u64, errno: i32) -> Fault {
        fault(FaultOp::SyncData, after, errno)
    }

    fn ask(queue: &FaultQueue, op: &StorageOp<'_>) -> Verdict {
        let stderr = std::io::stderr();
        queue.before(Target::new(&stderr.as_fd()), op)
    }

    #[test]
    fn a_fault_waits_for_its_turn_and_strikes_once() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(2, 5));
        let verdicts: Vec<_> = (0..4).map(|_| ask(&queue, &SYNC)).collect();
        let pass = Verdict::Proceed;
        assert_eq!(verdicts, [pass, pass, Verdict::Fail(5), pass]);
        assert_eq!(queue.count(FaultOp::SyncData), 4);
        assert_eq!(queue.count(FaultOp::Any), 4);
        assert!(queue.is_spent());
    }

    #[test]
    fn other_operations_are_not_struck() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(0, 5));
        assert_eq!(ask(&queue, &StorageOp::SyncAll), Verdict::Proceed);
        assert_eq!(ask(&queue, &StorageOp::Stat), Verdict::Proceed);
        assert!(!queue.is_spent());
        assert_eq!(ask(&queue, &SYNC), Verdict::Fail(5));
    }

    #[test]
    fn of_two_that_are_due_the_older_strikes_first() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(0, 5));
        queue.inject(sync_fault(0, 6));
        assert_eq!(ask(&queue, &SYNC), Verdict::Fail(5));
        assert_eq!(ask(&queue, &SYNC), Verdict::Fail(6));
        assert_eq!(ask(&queue, &SYNC), Verdict::Proceed);
    }

    #[test]
    fn the_nth_operation_of_whatever_kind_can_be_struck() {
        let queue = FaultQueue::new();
        queue.inject(fault(FaultOp::Any, 2, 5));
        assert_eq!(ask(&queue, &StorageOp::Stat), Verdict::Proceed);
        assert_eq!(ask(&queue, &SYNC), Verdict::Proceed);
        assert_eq!(ask(&queue, &StorageOp::SyncDir), Verdict::Fail(5));
        assert_eq!(ask(&queue, &StorageOp::SyncDir), Verdict::Proceed);
        assert_eq!(queue.count(FaultOp::Any), 4);
    }

    #[test]
    fn every_operation_has_a_count_of_its_own() {
        let numbers: Vec<_> = FaultOp::EACH.iter().map(|op| *op as usize).collect();
        assert_eq!(numbers, (0..FaultOp::Any as usize).collect::<Vec<_>>());
    }

    type Call = fn(&Node) -> std::io::Result<()>;

    /// A call for each operation of a folder, on one that holds the file `f` and the symlink `l`.
    const OF_A_FOLDER: &[(FaultOp, Call)] = &[
        (FaultOp::Child, |dir| dir.child(&name("f")).map(drop)),
        (FaultOp::CreateFile, |dir| {
            dir.create_file(&name("new"), 0o600).map(drop)
        }),
        (FaultOp::CreateNameless, |dir| {
            dir.create_nameless(0o600).map(drop)
        }),
        (FaultOp::Link, |dir| {
            dir.child(&name("f"))?.link(dir, &name("new"))
        }),
        (FaultOp::ListXattr, |dir| dir.list_xattr().map(drop)),
        (FaultOp::Lock, |dir| {
            dir.lock_file(&name("f"), crate::storage::LockKind::Shared)
                .map(drop)
        }),
        (FaultOp::MakeDir, |dir| dir.make_dir(&name("new"), 0o700)),
        (FaultOp::MakeNode, |dir| {
            dir.make_node(&name("new"), libc::S_IFIFO | 0o600, 0)
        }),
        (FaultOp::MakeSymlink, |dir| {
            dir.make_symlink(b"x", &name("new"))
        }),
        (FaultOp::OpenDir, |dir| dir.read_dir().map(drop)),
        (FaultOp::OpenDir, Node::sync_dir),
        (FaultOp::OpenDir, Node::sync_fs),
        (FaultOp::OpenFile, |dir| {
            dir.open_child_file(&name("f"), Access::Read).map(drop)
        }),
        (FaultOp::Read, |dir| dir.read_file(&name("f"), 9).map(drop)),
        (FaultOp::ReadDir, |dir| {
            dir.read_dir()?.next_entry().transpose().map(drop)
        }),
        (FaultOp::ReadLink, |dir| {
            dir.child(&name("l"))?.read_link().map(drop)
        }),
        (FaultOp::ReadLinkChild, |dir| {
            dir.read_link_child(&name("l")).map(drop)
        }),
        (FaultOp::RemoveDir, |dir| dir.remove_dir(&name("d"))),
        (FaultOp::RemoveXattr, |dir| {
            dir.remove_xattr(c"user.x").map(drop)
        }),
        (FaultOp::Rename, |dir| {
            let flags = crate::storage::RenameFlags::empty();
            dir.rename(&name("f"), dir, &name("new"), flags)
        }),
        (FaultOp::Seek, |dir| dir.read_dir()?.rewind()),
        (FaultOp::SetMode, |dir| dir.set_mode(0o700)),
        (FaultOp::SetOwner, |dir| dir.set_owner(None, None)),
        (FaultOp::SetTimes, |dir| {
            use crate::storage::TimeSet;
            dir.set_times(TimeSet::Now, TimeSet::Now)
        }),
        (FaultOp::SetXattr, |dir| {
            dir.set_xattr(c"user.x", b"", crate::storage::XattrSet::Either)
        }),
        (FaultOp::Stat, |dir| dir.stat().map(drop)),
        (FaultOp::StatChild, |dir| {
            dir.stat_child(&name("f")).map(drop)
        }),
        (FaultOp::StatFs, |dir| dir.stat_fs().map(drop)),
        (FaultOp::SyncAll, |dir| {
            dir.replace_file(&name("f"), 0o600, b"")
        }),
        (FaultOp::SyncDir, Node::sync_dir),
        (FaultOp::SyncFs, Node::sync_fs),
        (FaultOp::Unlink, |dir| dir.unlink(&name("f"))),
        (FaultOp::Write, |dir| {
            dir.replace_file(&name("f"), 0o600, b"x")
        }),
        (FaultOp::Xattr, |dir| dir.xattr(c"user.x").map(drop)),
    ];

    fn watched_folder() -> (tempfile::TempDir, Arc<FaultQueue>, Node) {
        let (dir, node) = folder();
        node.replace_file(&name("f"), 0o600, b"x").unwrap();
        node.make_symlink(b"x", &name("l")).unwrap();
        node.make_dir(&name("d"), 0o700).unwrap();
        node.set_xattr(c"user.x", b"", crate::storage::XattrSet::Either)
            .unwrap();
        let queue = Arc::new(FaultQueue::new());
        let node = node.observed(Arc::<FaultQueue>::clone(&queue));
        (dir, queue, node)
    }

    #[test]
    fn every_operation_under_a_root_fails_as_told() {
        for (op, call) in OF_A_FOLDER {
            let (_dir, queue, node) = watched_folder();
            queue.inject(fault(*op, 0, libc::EIO));
            assert_errno(call(&node), libc::EIO);
            assert!(queue.is_spent(), "{op:?}");
        }
    }

    #[test]
    fn every_operation_under_a_root_goes_on_after_an_interruption() {
        for (op, call) in OF_A_FOLDER {
            let (_dir, queue, node) = watched_folder();
            queue.inject(fault(*op, 0, libc::EINTR));
            call(&node).unwrap_or_else(|error| panic!("{op:?}: {error}"));
            assert!(queue.is_spent() && queue.count(*op) > 1, "{op:?}");
        }
    }

    #[test]
    fn whatever_is_reached_from_a_root_is_struck() {
        let (_dir, queue, node) = watched_folder();
        let folder = node.child(&name("d")).unwrap();
        let files = [
            folder.create_file(&name("f"), 0o600).unwrap(),
            folder.open_child_file(&name("f"), Access::Read).unwrap(),
            folder
                .child(&name("f"))
                .unwrap()
                .open_file(Access::Read)
                .unwrap(),
        ];
        for file in files {
            queue.inject(fault(FaultOp::SyncAll, 0, libc::EIO));
            assert_errno(file.sync_all(), libc::EIO);
        }
    }
}

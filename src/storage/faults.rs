//! Failing and recording what an open file does, for tests of this room and those above.
//!
//! A [`FileObserver`] that is given to a file ([`StorageFile::with_observer`]) is asked before every
//! operation and decides what becomes of it. It belongs to that one handle, so tests that run side
//! by side do not meet. [`FaultQueue`] is the one that injects errors; one that keeps a log of what
//! it is asked records the order of writes and syncs.
//!
//! [`StorageFile::with_observer`]: super::StorageFile::with_observer

use std::fmt;

use parking_lot::Mutex;

use crate::units::{CipherLen, CipherOffset};

/// An operation about to be done on an open file.
///
/// Reads and writes come once per system call: again for the rest after a short one, again after
/// an interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp<'a> {
    /// Space is reserved.
    Allocate {
        /// From here on.
        offset: CipherOffset,
        /// So many bytes.
        len: u64,
    },
    /// A hole is made.
    PunchHole {
        /// From here on.
        offset: CipherOffset,
        /// So many bytes.
        len: u64,
    },
    /// Bytes are read.
    Read {
        /// From here on.
        offset: CipherOffset,
        /// So many at most.
        len: usize,
    },
    /// Data or a hole is looked for.
    Seek,
    /// Mode, owner or times are set.
    SetAttributes,
    /// The length is set.
    SetLen(CipherLen),
    /// The attributes are read.
    Stat,
    /// `fsync`.
    SyncAll,
    /// `fdatasync`.
    SyncData,
    /// Bytes are written.
    Write {
        /// From here on.
        offset: CipherOffset,
        /// These.
        data: &'a [u8],
        /// Whether they are durable when the call returns.
        synced: bool,
    },
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fails with this errno and is not done. EINTR makes reads and writes try again.
    Fail(i32),
    /// It is done.
    Proceed,
    /// Its system call moves at most so many bytes, as a kernel may do: a read or a write then goes
    /// on with the rest. A read that may move none has met the end of the file; a write that may
    /// move none fails with EIO. To other operations it is [`Verdict::Proceed`].
    Short(usize),
}

/// Asked before every operation of the files that it was given to.
pub trait FileObserver: Send + Sync + fmt::Debug {
    /// Decides about `op`. Called on the thread that does the operation.
    fn before(&self, op: &FileOp<'_>) -> Verdict;
}

/// The operations that a fault can strike: those of [`FileOp`] without their operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the FileOp of the same name")]
pub enum FaultOp {
    Allocate,
    PunchHole,
    Read,
    Seek,
    SetAttributes,
    SetLen,
    Stat,
    SyncAll,
    SyncData,
    Write,
}

impl FaultOp {
    /// The operation that `op` is.
    pub fn of(op: &FileOp<'_>) -> Self {
        match op {
            FileOp::Allocate { .. } => Self::Allocate,
            FileOp::PunchHole { .. } => Self::PunchHole,
            FileOp::Read { .. } => Self::Read,
            FileOp::Seek => Self::Seek,
            FileOp::SetAttributes => Self::SetAttributes,
            FileOp::SetLen(_) => Self::SetLen,
            FileOp::Stat => Self::Stat,
            FileOp::SyncAll => Self::SyncAll,
            FileOp::SyncData => Self::SyncData,
            FileOp::Write { .. } => Self::Write,
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
type Counts = [u64; FaultOp::Write as usize + 1];

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Fault>,
    seen: Counts,
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

impl FileObserver for FaultQueue {
    fn before(&self, op: &FileOp<'_>) -> Verdict {
        self.0.lock().meet(FaultOp::of(op))
    }
}

impl State {
    fn meet(&mut self, op: FaultOp) -> Verdict {
        self.seen[op as usize] += 1;
        let due = self
            .waiting
            .iter()
            .position(|fault| fault.op == op && fault.after == 0);
        for fault in self.waiting.iter_mut().filter(|fault| fault.op == op) {
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
    use std::sync::Arc;

    use super::*;
    use crate::storage::testing::{folder, name};

    const SYNC: FileOp<'_> = FileOp::SyncData;

    fn sync_fault(after: u64, errno: i32) -> Fault {
        Fault {
            op: FaultOp::SyncData,
            after,
            action: FaultAction::Errno(errno),
        }
    }

    #[test]
    fn a_fault_waits_for_its_turn_and_strikes_once() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(2, 5));
        let verdicts: Vec<_> = (0..4).map(|_| queue.before(&SYNC)).collect();
        let pass = Verdict::Proceed;
        assert_eq!(verdicts, [pass, pass, Verdict::Fail(5), pass]);
        assert_eq!(queue.count(FaultOp::SyncData), 4);
        assert!(queue.is_spent());
    }

    #[test]
    fn other_operations_are_not_struck() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(0, 5));
        assert_eq!(queue.before(&FileOp::SyncAll), Verdict::Proceed);
        assert_eq!(queue.before(&FileOp::Stat), Verdict::Proceed);
        assert!(!queue.is_spent());
        assert_eq!(queue.before(&SYNC), Verdict::Fail(5));
    }

    #[test]
    fn of_two_that_are_due_the_older_strikes_first() {
        let queue = FaultQueue::new();
        queue.inject(sync_fault(0, 5));
        queue.inject(sync_fault(0, 6));
        assert_eq!(queue.before(&SYNC), Verdict::Fail(5));
        assert_eq!(queue.before(&SYNC), Verdict::Fail(6));
        assert_eq!(queue.before(&SYNC), Verdict::Proceed);
    }

    #[derive(Debug, Default)]
    struct Log(Mutex<Vec<String>>);

    impl FileObserver for Log {
        fn before(&self, op: &FileOp<'_>) -> Verdict {
            self.0.lock().push(format!("{op:?}"));
            Verdict::Proceed
        }
    }

    #[test]
    fn an_observer_sees_writes_and_syncs_in_their_order() {
        let (_dir, node) = folder();
        let log = Arc::new(Log::default());
        let file = node.create_file(&name("f"), 0o600).unwrap();
        let file = file.with_observer(Arc::<Log>::clone(&log));
        file.write_at(b"\x01", CipherOffset(3)).unwrap();
        file.sync_data().unwrap();
        file.set_len(CipherLen(9)).unwrap();
        file.write_at_synced(b"\x02", CipherOffset(0)).unwrap();
        assert_eq!(
            *log.0.lock(),
            [
                "Write { offset: CipherOffset(3), data: [1], synced: false }",
                "SyncData",
                "SetLen(CipherLen(9))",
                "Write { offset: CipherOffset(0), data: [2], synced: true }",
            ]
        );
    }
}

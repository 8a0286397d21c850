//! A disk that gives trouble at one system call, or from one on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use envelopefs::storage::{StorageObserver, StorageOp, Target, Verdict};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// One call fails with this errno.
    Once(i32),
    /// From one call on, all that need space fail with this errno, until the disk is healed.
    Full(i32),
    /// One call moves so many bytes at most.
    Short(usize),
}

impl Trouble {
    /// Whether callers may notice.
    pub(crate) fn is_visible(self) -> bool {
        !matches!(self, Self::Once(libc::EINTR) | Self::Short(_))
    }

    /// The errno that callers may see.
    pub(crate) fn errno(self) -> i32 {
        match self {
            Self::Once(errno) | Self::Full(errno) => errno,
            Self::Short(_) => 0,
        }
    }
}

/// Counts the calls, and strikes the one whose turn it is.
#[derive(Debug)]
pub(crate) struct Disk {
    trouble: Trouble,
    strikes_at: u64,
    calls: AtomicU64,
    healthy: AtomicBool,
    struck: AtomicBool,
}

impl Disk {
    /// A disk without trouble.
    pub(crate) fn sound() -> Self {
        Self::troubled(Trouble::Short(0), u64::MAX)
    }

    /// A disk whose call number `strikes_at`, counted from 0, meets the trouble.
    pub(crate) fn troubled(trouble: Trouble, strikes_at: u64) -> Self {
        Self {
            trouble,
            strikes_at,
            calls: AtomicU64::new(0),
            healthy: AtomicBool::new(false),
            struck: AtomicBool::new(false),
        }
    }

    /// No trouble from here on.
    pub(crate) fn heal(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn has_struck(&self) -> bool {
        self.struck.load(Ordering::Relaxed)
    }

    fn strike(&self, verdict: Verdict) -> Verdict {
        self.struck.store(true, Ordering::Relaxed);
        verdict
    }
}

impl StorageObserver for Disk {
    fn before(&self, _target: Target<'_>, op: &StorageOp<'_>) -> Verdict {
        if self.healthy.load(Ordering::Relaxed) {
            return Verdict::Proceed;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.trouble {
            Trouble::Once(errno) if call == self.strikes_at => self.strike(Verdict::Fail(errno)),
            Trouble::Short(most) if call == self.strikes_at => self.strike(Verdict::Short(most)),
            Trouble::Full(errno) if call >= self.strikes_at && needs_space(op) => {
                self.strike(Verdict::Fail(errno))
            }
            _ => Verdict::Proceed,
        }
    }
}

/// Whether a full disk refuses it. What takes away or looks at something works on a full disk too.
fn needs_space(op: &StorageOp<'_>) -> bool {
    matches!(
        op,
        StorageOp::Allocate { .. }
            | StorageOp::CreateFile { .. }
            | StorageOp::CreateNameless { .. }
            | StorageOp::Link { .. }
            | StorageOp::MakeDir { .. }
            | StorageOp::MakeNode { .. }
            | StorageOp::MakeSymlink { .. }
            | StorageOp::SetXattr { .. }
            | StorageOp::Write { .. }
    )
}

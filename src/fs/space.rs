//! Whether the ciphertext folder's disk is nearly full.
//!
//! The kernel gathers writes before it sends them, so that a full disk shows at fsync or close, and a program
//! that heeds neither loses what it wrote. Where space is short, files are therefore opened without that
//! cache: then the write itself fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::storage::Node;

/// Free bytes below which a disk counts as nearly full: more than the kernel gathers of a few files.
const SHORT_BYTES: u64 = 128 << 20;
/// How long an answer holds.
const FRESH: Duration = Duration::from_secs(1);

/// The last answer, and when it was had.
#[derive(Debug)]
pub(super) struct Space {
    start: Instant,
    asked_ms: AtomicU64,
    short: AtomicBool,
}

impl Space {
    pub(super) fn new(root: &Node) -> Self {
        let space = Self {
            start: Instant::now(),
            asked_ms: AtomicU64::new(0),
            short: AtomicBool::new(false),
        };
        space.ask(root);
        space
    }

    /// Whether little space is left, as of a second ago at most.
    pub(super) fn is_short(&self, root: &Node) -> bool {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let asked_ms = self.asked_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(asked_ms) > FRESH.as_millis() as u64 {
            self.asked_ms.store(now_ms, Ordering::Relaxed);
            self.ask(root);
        }
        self.short.load(Ordering::Relaxed)
    }

    /// A disk that does not answer counts as it did before.
    fn ask(&self, root: &Node) {
        if let Ok(stat) = root.stat_fs() {
            let free = stat.blocks_available.saturating_mul(stat.fragment_len);
            self.short.store(free < SHORT_BYTES, Ordering::Relaxed);
        }
    }
}

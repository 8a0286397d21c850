//! Counters of a mount, for `status`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counts since the mount began.
#[derive(Debug, Default)]
pub struct Stats {
    files_opened: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    integrity_failures: AtomicU64,
    foreign_entries: AtomicU64,
    denied: AtomicU64,
}

/// A look at the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StatsReport {
    /// Ciphertext files opened for their content.
    pub files_opened: u64,
    /// Plaintext bytes read from the mount.
    pub bytes_read: u64,
    /// Plaintext bytes written to the mount.
    pub bytes_written: u64,
    /// Operations that met ciphertext which is not what was written.
    pub integrity_failures: u64,
    /// Entries of the ciphertext folder left out of listings because no name of this volume is sealed in them.
    pub foreign_entries: u64,
    /// Operations that the policy denied.
    pub denied: u64,
    /// Handles open now.
    pub open_files: u64,
    /// Inodes that the kernel holds now.
    pub inodes: u64,
}

impl Stats {
    pub(super) fn count_open(&self) {
        self.files_opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: usize) {
        self.bytes_written
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_integrity_failure(&self) {
        self.integrity_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_foreign_entry(&self) {
        self.foreign_entries.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, open_files: usize, inodes: usize) -> StatsReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsReport {
            files_opened: read(&self.files_opened),
            bytes_read: read(&self.bytes_read),
            bytes_written: read(&self.bytes_written),
            integrity_failures: read(&self.integrity_failures),
            foreign_entries: read(&self.foreign_entries),
            denied: read(&self.denied),
            open_files: open_files as u64,
            inodes: inodes as u64,
        }
    }
}

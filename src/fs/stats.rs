//! Counters of a mount, for `status`.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! operations {
    ($($variant:ident = $name:literal;)*) => {
        /// A kind of request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each bears the name of its system call, or of the FUSE request")]
        pub enum Operation { $($variant,)* }

        impl Operation {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

operations! {
    CopyFileRange = "copy_file_range";
    Create = "create";
    Fallocate = "fallocate";
    Flush = "flush";
    Fsync = "fsync";
    GetAttr = "getattr";
    GetXattr = "getxattr";
    Link = "link";
    ListXattr = "listxattr";
    Lookup = "lookup";
    Lseek = "lseek";
    Mkdir = "mkdir";
    Mknod = "mknod";
    Open = "open";
    OpenDir = "opendir";
    Read = "read";
    ReadDir = "readdir";
    ReadLink = "readlink";
    Release = "release";
    RemoveXattr = "removexattr";
    Rename = "rename";
    Rmdir = "rmdir";
    SetAttr = "setattr";
    SetXattr = "setxattr";
    StatFs = "statfs";
    Symlink = "symlink";
    Tmpfile = "tmpfile";
    Unlink = "unlink";
    Write = "write";
}

impl Operation {
    /// Whether it tells that somebody uses the mount: not what a monitor of disks asks of every mount, nor the end of a use.
    fn is_use(self) -> bool {
        !matches!(self, Self::StatFs | Self::Release)
    }
}

/// Counts since the mount began.
#[derive(Debug, Default)]
pub struct Stats {
    operations: [AtomicU64; Operation::ALL.len()],
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
    pub(super) fn count(&self, operation: Operation) {
        // The table has a place for each kind.
        if let Some(counter) = self.operations.get(operation as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn operations(&self) -> Vec<(Operation, u64)> {
        let counters = self.operations.iter();
        let counts = counters.map(|counter| counter.load(Ordering::Relaxed));
        Operation::ALL.iter().copied().zip(counts).collect()
    }

    /// Rises with each request that tells of a use.
    pub(super) fn uses(&self) -> u64 {
        let counts = self.operations();
        let used = counts.iter().filter(|(operation, _)| operation.is_use());
        used.map(|(_, count)| count).sum()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_counted_by_itself() {
        let stats = Stats::default();
        for (times, operation) in Operation::ALL.iter().enumerate() {
            (0..times).for_each(|_| stats.count(*operation));
        }
        for (times, (operation, count)) in stats.operations().into_iter().enumerate() {
            assert_eq!(count, times as u64, "{}", operation.name());
        }
    }

    #[test]
    fn a_monitor_of_disks_is_no_user() {
        let stats = Stats::default();
        stats.count(Operation::StatFs);
        stats.count(Operation::Release);
        assert_eq!(stats.uses(), 0);
        stats.count(Operation::Read);
        assert_eq!(stats.uses(), 1);
    }
}

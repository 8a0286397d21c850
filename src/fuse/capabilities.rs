//! What the kernel can do for a FUSE file system, and which of it is asked for.

use fuser::{InitFlags, KernelConfig};

/// The largest read or write request in bytes.
const MAX_REQUEST: u32 = 1 << 20;
/// Requests that the kernel may have under way of its own accord (readahead, writeback).
const MAX_BACKGROUND: u16 = 64;

/// Asked for in every mount.
const ALWAYS: &[(InitFlags, &str)] = &[
    (
        InitFlags::FUSE_ASYNC_DIO,
        "direct I/O need not wait for one request after another",
    ),
    (
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
        "a file that is read past the cache, as on a nearly full disk, can still be mapped",
    ),
    (
        InitFlags::FUSE_DO_READDIRPLUS,
        "ls -l costs no lookup of each name",
    ),
    (
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        "no query for security.capability before each write",
    ),
    (
        InitFlags::FUSE_PARALLEL_DIROPS,
        "lookups in one folder run in parallel",
    ),
    (
        InitFlags::FUSE_READDIRPLUS_AUTO,
        "a mere ls looks nothing up",
    ),
];

/// Asked for where no other mount can change the volume.
const EXCLUSIVE: &[(InitFlags, &str)] = &[
    (
        InitFlags::FUSE_CACHE_SYMLINKS,
        "targets of symlinks stay in the kernel",
    ),
    (
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        "cached pages stay when times change",
    ),
    (
        InitFlags::FUSE_WRITEBACK_CACHE,
        "small writes are gathered into large ones",
    ),
];

/// Asked for where another mount may change the volume.
const SHARED: &[(InitFlags, &str)] = &[(
    InitFlags::FUSE_AUTO_INVAL_DATA,
    "pages go when another mount has changed the file",
)];

// Left, each for a reason:
// * POSIX_LOCKS, FLOCK_LOCKS: the kernel keeps the locks of a mount by itself, and wakes waiters.
// * ATOMIC_O_TRUNC: truncation comes as a setattr, where set-id bits are cleared in one place.
// * DONT_MASK, POSIX_ACL: the kernel applies the umask; ACLs are not offered.
// * EXPORT_SUPPORT: inodes are found by number only while the kernel holds them.
// * NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT: handles hold the open file and the folder's listing.
// * SPLICE_*: data is opened and sealed in memory, so there is no page to move.
// * PASSTHROUGH: what lies on disk is ciphertext.
// * OVER_IO_URING: fuser has no transport for it.

/// Asks the kernel for what this file system can use; what an older kernel lacks is done without.
pub(super) fn negotiate(config: &mut KernelConfig, exclusive: bool) {
    for (flag, reason) in ALWAYS
        .iter()
        .chain(if exclusive { EXCLUSIVE } else { SHARED })
    {
        match config.add_capabilities(*flag) {
            Ok(()) => tracing::debug!(capability = ?flag, reason, "asked for"),
            Err(_) => tracing::info!(capability = ?flag, reason, "not offered by this kernel"),
        }
    }
    let at_most = |limit: Result<u32, u32>, what| {
        if let Err(limit) = limit {
            tracing::debug!(what, limit, "the kernel allows less");
        }
    };
    at_most(config.set_max_write(MAX_REQUEST), "max_write");
    if let Err(limit) = config.set_max_readahead(MAX_REQUEST) {
        at_most(config.set_max_readahead(limit), "max_readahead");
    }
    if let Err(limit) = config.set_max_background(MAX_BACKGROUND) {
        tracing::debug!(limit, "max_background");
    }
}

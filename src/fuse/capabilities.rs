//! What the kernel can do for a FUSE file system, and which of it is asked for.

use std::io;

use fuser::{InitFlags, KernelConfig};

/// What the mount shall offer, as far as the kernel has to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    /// No other mount can change the volume.
    pub(super) exclusive: bool,
    /// POSIX ACLs decide on accesses.
    pub(super) acl: bool,
    /// Inodes that the kernel has forgotten are found by number.
    pub(super) export: bool,
    /// Mounts of the mount may map ids (`mount_setattr(2)`).
    pub(super) idmap: bool,
}

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
        "a file that is used past the cache, as on a nearly full disk or for shared appends, can still be mapped",
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
const SHARED: &[(InitFlags, &str)] = &[
    (
        InitFlags::FUSE_AUTO_INVAL_DATA,
        "pages go when another mount has changed the file",
    ),
    (
        InitFlags::FUSE_FLOCK_LOCKS,
        "flock holds between the mounts",
    ),
    (
        InitFlags::FUSE_POSIX_LOCKS,
        "fcntl locks hold between the mounts",
    ),
];

/// Asked for with `--acl`, and needed then.
const ACL: &[(InitFlags, &str)] = &[
    (
        InitFlags::FUSE_DONT_MASK,
        "a default ACL stands in the umask's place",
    ),
    (
        InitFlags::FUSE_POSIX_ACL,
        "the kernel checks accesses by ACLs and keeps them",
    ),
];

/// Asked for with `--export`, and needed then.
const EXPORT: &[(InitFlags, &str)] = &[(
    InitFlags::FUSE_EXPORT_SUPPORT,
    "an inode that the kernel has forgotten is asked for by `.`",
)];

/// Asked for where every user is let in.
const IDMAP: &[(InitFlags, &str)] = &[(
    InitFlags::FUSE_ALLOW_IDMAP,
    "the mount can be mounted again with other ids",
)];

// Left, each for a reason (docs/SEMANTICS.md tells what that means for programs):
// * POSIX_LOCKS, FLOCK_LOCKS, in an exclusive mount: the kernel keeps its locks by itself, and wakes waiters.
// * ATOMIC_O_TRUNC: truncation comes as a setattr, where set-id bits are cleared in one place.
// * SETXATTR_EXT: makes a request longer than fuser reads it. What it tells (an ACL takes the set-group-id bit away)
//   is found out here.
// * CREATE_SUPP_GROUP, SECURITY_CTX: follow the name in a request, where fuser shows nothing. Groups are read from
//   /proc where they matter.
// * NO_EXPORT_SUPPORT: handles of inodes that the kernel holds work without --export too.
// * HAS_EXPIRE_ONLY, HAS_RESEND, REQUEST_TIMEOUT: for servers that are replaced while mounted, or that hang.
// * HAS_INODE_DAX, MAP_ALIGNMENT, SUBMOUNTS: for virtiofs alone.
// * NO_OPEN_SUPPORT, NO_OPENDIR_SUPPORT: handles hold the open file and the folder's listing.
// * SPLICE_*: data is opened and sealed in memory, so there is no page to move.
// * PASSTHROUGH: what lies on disk is ciphertext.
// * OVER_IO_URING: for the session to ask, which has the rings (vendor/fuser).

/// Asks the kernel for what this file system can use; what an older kernel lacks is done without.
///
/// # Errors
/// `Unsupported` where it lacks what an option of the mount needs.
pub(super) fn negotiate(config: &mut KernelConfig, features: Features) -> io::Result<()> {
    let sharing = if features.exclusive {
        EXCLUSIVE
    } else {
        SHARED
    };
    let idmap = if features.idmap { IDMAP } else { &[] };
    for (flag, reason) in ALWAYS.iter().chain(sharing).chain(idmap) {
        match config.add_capabilities(*flag) {
            Ok(()) => tracing::debug!(capability = ?flag, reason, "asked for"),
            Err(_) => tracing::info!(capability = ?flag, reason, "not offered by this kernel"),
        }
    }
    let acl = if features.acl { ACL } else { &[] };
    let export = if features.export { EXPORT } else { &[] };
    for (flag, reason) in acl.iter().chain(export) {
        config.add_capabilities(*flag).map_err(|_missing| {
            tracing::error!(capability = ?flag, reason, "this kernel does not offer it");
            io::Error::from(io::ErrorKind::Unsupported)
        })?;
    }
    set_limits(config);
    Ok(())
}

fn set_limits(config: &mut KernelConfig) {
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

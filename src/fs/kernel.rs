//! What the kernel keeps of a mount.

use std::fmt;

use super::inodes::Ino;

/// The kernel's caches, made to drop what they must no longer show. Calls may wait until written pages were sent and
/// answered, so they come from threads that serve no requests.
pub trait KernelCache: fmt::Debug + Send + Sync {
    /// Sends what was written to the inode and not sent yet, and drops its pages and attributes. Pages in mappings
    /// go too: whoever touches one asks for it again.
    fn drop_inode(&self, ino: Ino);

    /// Forgets that `parent` has an entry `name`.
    fn drop_name(&self, parent: Ino, name: &[u8]);
}

//! Makes the kernel drop what it has cached.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{INodeNo, Notifier};

use crate::fs::{Ino, KernelCache};

/// The kernel's caches of a mount.
#[derive(Debug)]
pub(super) struct Caches(pub(super) Notifier);

/// How often pages that are in use at the moment are tried to be dropped.
const TRIES: usize = 3;

impl KernelCache for Caches {
    fn drop_inode(&self, ino: Ino) {
        for _ in 0..TRIES {
            // From the first byte to the end, with the attributes.
            match self.0.inval_inode(INodeNo(ino.0), 0, -1) {
                Ok(()) => return,
                Err(error) => tracing::debug!(ino = ino.0, %error, "the kernel keeps pages"),
            }
        }
        tracing::warn!(
            ino = ino.0,
            "the kernel did not drop what it has cached of a file"
        );
    }

    fn drop_name(&self, parent: Ino, name: &[u8]) {
        let name = OsStr::from_bytes(name);
        if let Err(error) = self.0.inval_entry(INodeNo(parent.0), name) {
            tracing::debug!(parent = parent.0, %error, "the kernel keeps a name");
        }
    }
}

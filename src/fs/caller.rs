//! Who asks, and what is known of him beside.

use crate::storage::{self, Credentials};

/// Who asks for an operation.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// In whose name inodes are made. `u32::MAX` for both where the kernel keeps it to itself: with idmapped
    /// mounts it tells only who makes an inode.
    pub ids: storage::Caller,
    /// His thread's id; 0 where this process does not see it.
    pub pid: u32,
    /// The mode bits that what he makes shall not have, unless the folder's default ACL decides.
    pub umask: u32,
}

impl Caller {
    /// This process, at work of its own accord.
    pub(super) fn this_process() -> Self {
        Self {
            ids: storage::Caller {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            },
            pid: std::process::id(),
            umask: 0,
        }
    }

    /// Whether he may give files of the group `gid` the set-group-id bit. The kernel asks the same of each caller
    /// (`in_group_or_capable`, linux/fs/attr.c), but not who is root in a user namespace of his own.
    pub(super) fn is_in_group(&self, gid: u32) -> bool {
        self.ids.uid == 0
            || self.ids.gid == gid
            || Credentials::of(self.pid)
                .is_ok_and(|known| known.uid == 0 || known.groups.contains(&gid))
    }

    /// Whether set-id bits stay when he changes a file's content.
    pub(super) fn is_root(&self) -> bool {
        match self.ids.uid {
            u32::MAX => Credentials::of(self.pid).is_ok_and(|known| known.uid == 0),
            uid => uid == 0,
        }
    }
}

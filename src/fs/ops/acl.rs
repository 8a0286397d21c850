//! POSIX ACLs. The ciphertext carries them in clear, the file system below keeps mode and ACL in step and hands default
//! ACLs down, and the kernel checks every access by them. What is left is what neither can know here.

use crate::fs::FileSystem;
use crate::fs::caller::Caller;
use crate::fs::error::FsError;
use crate::storage::{Node, Stat};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Set-group-id, and execution by the group: together they lend the group's rights.
const SET_GID: u32 = 0o2000;
const LENDS_GROUP: u32 = 0o2010;

/// Whether the extended attribute `name` is an ACL.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name == ACCESS || name == DEFAULT
}

impl FileSystem {
    /// The mode of what `caller` makes in `dir`: without the bits of his umask, unless a default ACL stands in the
    /// umask's place. (Without ACLs the kernel has taken them away already.)
    pub(in crate::fs) fn new_mode(
        &self,
        caller: Caller,
        dir: &Node,
        mode: u32,
    ) -> Result<u32, FsError> {
        let masked = mode & !(caller.umask & 0o777);
        if masked == mode || !self.options.acl || !hands_down_acl(dir)? {
            return Ok(masked);
        }
        Ok(mode)
    }

    /// Gives a new file the set-group-id bit that `mode` asks for and that got lost because its maker is in the
    /// folder's group only by a supplementary group, which he did not bring along when he made it.
    pub(in crate::fs) fn keep_set_gid(
        &self,
        caller: Caller,
        mode: u32,
        made: Stat,
        node: impl FnOnce() -> std::io::Result<Node>,
    ) -> Result<Stat, FsError> {
        let lost = mode & LENDS_GROUP == LENDS_GROUP && made.mode & SET_GID == 0;
        if !lost || !caller.is_in_group(made.gid) {
            return Ok(made);
        }
        let node = node()?;
        node.set_mode(made.mode | SET_GID)?;
        Ok(node.stat()?)
    }

    /// After `caller` has set the ACL `name`: like chmod, that takes the set-group-id bit from whom is not in the group.
    pub(super) fn after_acl(
        &self,
        caller: Caller,
        name: &[u8],
        node: &Node,
    ) -> Result<(), FsError> {
        if name != ACCESS {
            return Ok(());
        }
        let stat = node.stat()?;
        if stat.mode & SET_GID != 0 && !caller.is_in_group(stat.gid) {
            node.set_mode(stat.mode & !SET_GID)?;
        }
        Ok(())
    }
}

fn hands_down_acl(dir: &Node) -> Result<bool, FsError> {
    match dir.xattr(c"system.posix_acl_default") {
        Ok(_acl) => Ok(true),
        Err(error) if is_without_acl(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether there is no ACL, or the file system below has none at all.
pub(super) fn is_without_acl(error: &std::io::Error) -> bool {
    [libc::ENODATA, libc::EOPNOTSUPP]
        .map(Some)
        .contains(&error.raw_os_error())
}

//! Owner, mode, times and extended attributes of one inode.

use std::ffi::{CStr, CString};
use std::io;

use crate::storage::{FileKind, Node, Stat, TimeSet, XattrSet};

/// POSIX ACLs stand as extended attributes of these names.
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Makes the attributes of `to` those of `from`. Times come last: everything else changes them.
pub(super) fn copy(from: &Node, to: &Node) -> io::Result<()> {
    let (wanted, had) = (from.stat()?, to.stat()?);
    if (wanted.uid, wanted.gid) != (had.uid, had.gid) {
        to.set_owner(Some(wanted.uid), Some(wanted.gid))?;
    }
    copy_xattrs(from, to)?;
    if wanted.kind != FileKind::Symlink {
        to.set_mode(wanted.mode)?;
    }
    let at = |time: crate::storage::Timestamp| TimeSet::At(time.secs, time.nanos);
    to.set_times(at(wanted.atime), at(wanted.mtime))
}

fn copy_xattrs(from: &Node, to: &Node) -> io::Result<()> {
    let wanted = xattrs(from)?;
    for name in names(to)? {
        // A security module labels what is made by itself.
        let own = name.as_bytes() == b"security.selinux";
        if !own && !wanted.iter().any(|(has, _)| *has == name) {
            to.remove_xattr(&name)?;
        }
    }
    for (name, value) in &wanted {
        if to.xattr(name).ok().as_ref() != Some(value) {
            to.set_xattr(name, value, XattrSet::Either)
                .map_err(|error| {
                    let name = name.to_string_lossy();
                    io::Error::new(error.kind(), format!("{name}: {error}"))
                })?;
        }
    }
    Ok(())
}

/// Whether an inode has an ACL.
pub(super) fn has_acl(node: &Node) -> io::Result<bool> {
    let is_acl = |name: &CString| ACLS.contains(&name.as_bytes());
    Ok(names(node)?.iter().any(is_acl))
}

/// What differs, in words; the time of the last access apart, which a look at the file changes.
pub(super) fn difference(from: &Node, to: &Node) -> io::Result<Option<&'static str>> {
    let (one, other) = (from.stat()?, to.stat()?);
    if let Some(what) = stat_difference(&one, &other) {
        return Ok(Some(what));
    }
    let mut both = [xattrs(from)?, xattrs(to)?];
    for list in &mut both {
        list.retain(|(name, _)| name.as_bytes() != b"security.selinux");
        list.sort();
    }
    Ok((both[0] != both[1]).then_some("extended attributes or ACL"))
}

fn stat_difference(one: &Stat, other: &Stat) -> Option<&'static str> {
    let has_mode = one.kind != FileKind::Symlink;
    let has_size = one.kind == FileKind::Regular;
    let has_links = one.kind != FileKind::Directory;
    let differs = [
        (one.kind != other.kind, "kind"),
        ((one.uid, one.gid) != (other.uid, other.gid), "owner"),
        (has_mode && one.mode != other.mode, "mode"),
        (has_size && one.size != other.size, "length"),
        (one.rdev != other.rdev, "device number"),
        (one.mtime != other.mtime, "time of the last change"),
        (has_links && one.nlink != other.nlink, "number of names"),
    ];
    differs
        .iter()
        .find(|(differs, _)| *differs)
        .map(|(_, what)| *what)
}

fn xattrs(node: &Node) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let mut found = Vec::new();
    for name in names(node)? {
        match node.xattr(&name) {
            Ok(value) => found.push((name, value)),
            // It went meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The names of those attributes that belong to the file, and not to the file system that it is on.
fn names(node: &Node) -> io::Result<Vec<CString>> {
    let all = match node.list_xattr() {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        listed => listed?,
    };
    Ok(all.into_iter().filter(|name| is_the_files(name)).collect())
}

fn is_the_files(name: &CStr) -> bool {
    let name = name.to_bytes();
    let space = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    ACLS.contains(&name) || matches!(space, b"user" | b"trusted" | b"security")
}

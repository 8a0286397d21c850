//! Removing an entry with all that is below it.

use std::io;

use crate::storage::{CName, FileKind, Node};

/// Removes `name` from `folder`, and what is below it, on `folder`'s own file system only.
///
/// # Errors
/// Those of `unlinkat(2)`; EXDEV where another file system is mounted below.
pub fn remove_tree(folder: &Node, name: &CName) -> io::Result<()> {
    let stat = folder.stat_child(name)?;
    if stat.kind != FileKind::Directory {
        return folder.unlink(name);
    }
    let below = folder.child(name)?;
    if stat.dev != folder.stat()?.dev {
        return Err(io::Error::from_raw_os_error(libc::EXDEV));
    }
    for entry in super::sorted(&below)? {
        remove_tree(&below, &entry.name)?;
    }
    folder.remove_dir(name)
}

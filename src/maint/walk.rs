//! A walk over every folder of a volume's ciphertext.

use std::io;
use std::sync::Arc;

use crate::storage::{CName, DirEntry, FileKind, Node};
use crate::volume::Volume;

/// One folder, its entries read.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) node: Arc<Node>,
    /// Ciphertext path below the ciphertext folder, for messages.
    pub(super) path: String,
    pub(super) entries: Vec<DirEntry>,
}

/// Calls `visit` with each folder, the root first, and goes down where it says so.
pub(super) fn walk<E: From<io::Error>>(
    volume: &Volume,
    mut visit: impl FnMut(&Folder) -> Result<(), E>,
) -> Result<(), E> {
    let mut waiting = vec![(Arc::clone(volume.root()), String::new())];
    while let Some((node, path)) = waiting.pop() {
        let folder = read(node, path)?;
        visit(&folder)?;
        for entry in folder
            .entries
            .iter()
            .filter(|entry| is_users(volume, &folder, entry))
        {
            let path = join(&folder.path, &entry.name);
            waiting.push((Arc::new(folder.node.child(&entry.name)?), path));
        }
    }
    Ok(())
}

/// A folder of the user's: not the volume's own in the root.
fn is_users(volume: &Volume, folder: &Folder, entry: &DirEntry) -> bool {
    let own = folder.path.is_empty() && entry.name.as_bytes() == Volume::OWN_FOLDER;
    let same_device = || {
        let device = |node: &Node| node.stat().map(|stat| stat.dev).ok();
        folder
            .node
            .child(&entry.name)
            .is_ok_and(|child| device(&child) == device(volume.root()))
    };
    entry.kind == FileKind::Directory && !own && same_device()
}

pub(super) fn join(folder: &str, name: &CName) -> String {
    let name = String::from_utf8_lossy(name.as_bytes());
    if folder.is_empty() {
        name.into_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn read(node: Arc<Node>, path: String) -> io::Result<Folder> {
    let mut reader = node.read_dir()?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry() {
        let mut entry = entry?;
        if entry.kind == FileKind::Unknown {
            entry.kind = node.stat_child(&entry.name)?.kind;
        }
        entries.push(entry);
    }
    Ok(Folder {
        node,
        path,
        entries,
    })
}

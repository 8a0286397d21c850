//! A walk over every folder of a volume's ciphertext.

use std::io;
use std::sync::Arc;

use crate::storage::{CName, DirEntry, FileKind, Node};
use crate::volume::Volume;

/// One folder, its entries read.
#[derive(Debug)]
pub struct Folder {
    /// A handle of it.
    pub node: Arc<Node>,
    /// Ciphertext path below the ciphertext folder, for messages.
    pub path: String,
    /// What is in it. Folders that are taken out are not walked into.
    pub entries: Vec<DirEntry>,
}

/// A folder that could not be read.
#[derive(Debug)]
pub struct Unread {
    /// As [`Folder::path`].
    pub path: String,
    /// Why.
    pub error: io::Error,
}

/// A folder to go to: by name in its parent, so that folders that wait hold no descriptor of their own.
struct Waiting {
    parent: Arc<Node>,
    name: CName,
    path: String,
}

/// Calls `visit` with each folder, `root` first, then goes down into the folders that `visit` left in its entries.
///
/// # Errors
/// What `visit` answers.
pub fn walk<E>(
    root: &Arc<Node>,
    mut visit: impl FnMut(Result<&mut Folder, Unread>) -> Result<(), E>,
) -> Result<(), E> {
    let mut waiting = Vec::new();
    let mut next = Some((Ok(Arc::clone(root)), String::new()));
    while let Some((node, path)) = next {
        match node.and_then(|node| read(&node)) {
            Err(error) => visit(Err(Unread { path, error }))?,
            Ok((node, entries)) => {
                let mut folder = Folder {
                    node,
                    path,
                    entries,
                };
                visit(Ok(&mut folder))?;
                waiting.extend(below(root, &folder));
            }
        }
        next = waiting.pop().map(|Waiting { parent, name, path }| {
            let node = parent.child(&name).map(Arc::new);
            (node, path)
        });
    }
    Ok(())
}

fn below(root: &Node, folder: &Folder) -> Vec<Waiting> {
    let to = |entry: &DirEntry| Waiting {
        parent: Arc::clone(&folder.node),
        name: entry.name.clone(),
        path: join(&folder.path, &entry.name),
    };
    let users = folder
        .entries
        .iter()
        .filter(|entry| is_users(root, folder, entry));
    users.map(to).collect()
}

/// A folder of the user's: not the volume's own in the root.
fn is_users(root: &Node, folder: &Folder, entry: &DirEntry) -> bool {
    let own = folder.path.is_empty() && entry.name.as_bytes() == Volume::OWN_FOLDER;
    let other_device = || {
        let device = |node: &Node| node.stat().map(|stat| stat.dev).ok();
        folder
            .node
            .child(&entry.name)
            .is_ok_and(|child| device(&child) != device(root))
    };
    entry.kind == FileKind::Directory && !own && !other_device()
}

/// The path of an entry of `folder`.
pub fn join(folder: &str, name: &CName) -> String {
    let name = String::from_utf8_lossy(name.as_bytes());
    if folder.is_empty() {
        name.into_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn read(node: &Arc<Node>) -> io::Result<(Arc<Node>, Vec<DirEntry>)> {
    Ok((Arc::clone(node), entries(node)?))
}

/// A folder's entries, each with its kind.
pub(super) fn entries(node: &Node) -> io::Result<Vec<DirEntry>> {
    let mut reader = node.read_dir()?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry() {
        let mut entry = entry?;
        if entry.kind == FileKind::Unknown {
            entry.kind = node.stat_child(&entry.name)?.kind;
        }
        entries.push(entry);
    }
    Ok(entries)
}

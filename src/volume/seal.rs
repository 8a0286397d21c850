//! A sealed volume: a manifest of its whole ciphertext tree, `.envelopefs/seal`, whose SHA-256 stands in `volume.json` under
//! its tag, so that neither can be changed, removed or put back without the other.
//!
//! The manifest has a line for each entry: a hash of its attributes, for a regular file a hash of its header and of its chunks' own
//! tags, and its ciphertext path. The tags bind the content: a chunk that opens has the one that its file's key gave it.

mod file;
mod manifest;

use std::collections::HashMap;
use std::io;

use sha2::{Digest as _, Sha256};

use crate::format::layout::Layout;
use crate::storage::{FileKind, Node, Stat, StorageFile};

use super::Volume;
use super::error::VolumeError;
use super::meta::{self, name};

pub use file::{ChunkTag, SealedFile};
use manifest::{Line, Manifest};

/// The longest manifest in bytes: about two million entries.
const MAX_LEN: usize = 512 << 20;

/// What a sealed volume must be.
#[derive(Debug)]
pub struct Seal {
    manifest: Manifest,
    sha256: [u8; 32],
    layout: Layout,
    /// How many entries each folder has.
    children: HashMap<Vec<u8>, usize>,
}

/// What is not as it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Attributes, a symlink's target or extended attributes are others.
    #[error("its attributes are not those that were sealed")]
    Attributes,
    /// The content is another.
    #[error("its content is not what was sealed")]
    Content,
    /// It is there and was not sealed.
    #[error("it was not there when the volume was sealed")]
    Added,
    /// It was sealed and is not there.
    #[error("it was there when the volume was sealed")]
    Missing,
}

impl Seal {
    /// By which the seal is known: the SHA-256 of its manifest.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Entries of every kind, the root among them.
    pub fn entries(&self) -> usize {
        self.manifest.lines.len()
    }

    /// Whether the entry at this ciphertext path is as it was sealed, its content apart.
    ///
    /// # Errors
    /// [`Broken::Added`], [`Broken::Attributes`].
    pub fn check_entry(&self, path: &[u8], node: &Node, stat: &Stat) -> Result<(), Broken> {
        let line = self.manifest.lines.get(path).ok_or(Broken::Added)?;
        match attributes(node, stat) {
            Ok(found) if found == line.attributes => Ok(()),
            Ok(_) | Err(_) => Err(Broken::Attributes),
        }
    }

    /// Whether nothing is to be at this ciphertext path.
    ///
    /// # Errors
    /// [`Broken::Missing`].
    pub fn check_absent(&self, path: &[u8]) -> Result<(), Broken> {
        match self.manifest.lines.contains_key(path) {
            true => Err(Broken::Missing),
            false => Ok(()),
        }
    }

    /// Whether the folder at this path holds what it held: `below` are the ciphertext names found there.
    ///
    /// # Errors
    /// [`Broken::Added`], [`Broken::Missing`].
    pub fn check_names<'a>(
        &self,
        path: &[u8],
        below: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Broken> {
        let mut count = 0;
        for name in below {
            if path.is_empty() && name == meta::FOLDER {
                continue;
            }
            count += 1;
            let known = self.manifest.lines.contains_key(&join(path, name));
            known.then_some(()).ok_or(Broken::Added)?;
        }
        match self.children.get(path).copied().unwrap_or(0) {
            sealed if sealed == count => Ok(()),
            _ => Err(Broken::Missing),
        }
    }

    /// The file at this path as it was sealed: what every later read is held against.
    ///
    /// # Errors
    /// [`Broken::Added`], [`Broken::Content`].
    pub fn check_file(&self, path: &[u8], file: &StorageFile) -> Result<SealedFile, Broken> {
        let line = self.manifest.lines.get(path).ok_or(Broken::Added)?;
        let found = SealedFile::read(file, self.layout).map_err(|_error| Broken::Content)?;
        match line.content {
            Some(sealed) if sealed == found.digest() => Ok(found),
            _ => Err(Broken::Content),
        }
    }

    /// Holds the whole tree in `root` against the manifest, contents apart; answers what is not as it was sealed, each by
    /// its ciphertext path.
    ///
    /// # Errors
    /// What the ciphertext folder answers.
    pub fn check_tree(&self, root: &Node) -> io::Result<Vec<(String, Broken)>> {
        let mut broken = Vec::new();
        let mut seen = 0;
        visit(root, &mut Vec::new(), &mut |path, node, stat| {
            let checked = self.check_entry(path, node, stat);
            seen += usize::from(checked != Err(Broken::Added));
            broken.extend(checked.err().map(|why| (path.to_vec(), why)));
            Ok(())
        })?;
        if seen < self.entries() {
            for path in self.manifest.lines.keys() {
                if find(root, path).is_err() {
                    broken.push((path.clone(), Broken::Missing));
                }
            }
        }
        let shown = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
        Ok(broken
            .into_iter()
            .map(|(path, why)| (shown(path), why))
            .collect())
    }
}

impl Volume {
    /// The seal that `volume.json` names; `None` where the volume is not sealed.
    ///
    /// # Errors
    /// [`VolumeError::SealForged`] where the manifest is not that one, or not there.
    pub fn seal(&self) -> Result<Option<Seal>, VolumeError> {
        let Some(sha256) = self.config().seal else {
            return Ok(None);
        };
        let text = match self.folder.read_file(&name(meta::SEAL), MAX_LEN) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VolumeError::SealForged);
            }
            text => text.map_err(VolumeError::io("reading .envelopefs/seal"))?,
        };
        if Sha256::digest(&text).as_slice() != sha256 {
            return Err(VolumeError::SealForged);
        }
        let manifest = Manifest::decode(&text, &self.config().volume_id);
        let manifest = manifest.ok_or(VolumeError::SealForged)?;
        let mut children = HashMap::new();
        for path in manifest.lines.keys().filter(|path| !path.is_empty()) {
            let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            *children.entry(path[..end].to_vec()).or_insert(0) += 1;
        }
        Ok(Some(Seal {
            manifest,
            sha256,
            layout: self.layout,
            children,
        }))
    }

    /// Seals the volume as it is at this moment. For whoever has it for himself; the contents were found sound before.
    /// `tell` hears of each entry.
    ///
    /// # Errors
    /// [`VolumeError::Sealed`] where it is sealed already; [`VolumeError::Key`]; what the ciphertext folder answers.
    pub fn set_seal(&self, mut tell: impl FnMut()) -> Result<Seal, VolumeError> {
        let _sole = self.begin_run()?;
        if self.config().seal.is_some() {
            return Err(VolumeError::Sealed);
        }
        let mut manifest = Manifest::of(self.config().volume_id);
        let visited = visit(&self.root, &mut Vec::new(), &mut |path, node, stat| {
            let content = match stat.kind {
                FileKind::Regular => {
                    let file = node.open_file_untouched(crate::storage::Access::Read)?;
                    Some(SealedFile::read(&file, self.layout)?.digest())
                }
                _ => None,
            };
            let attributes = attributes(node, stat)?;
            let line = Line {
                attributes,
                content,
            };
            manifest.lines.insert(path.to_vec(), line);
            tell();
            Ok(())
        });
        visited.map_err(VolumeError::io("reading what is to be sealed"))?;
        let text = manifest.encode();
        if text.len() > MAX_LEN {
            let error = io::Error::other("the volume has too many entries to be sealed");
            return Err(VolumeError::io("writing .envelopefs/seal")(error));
        }
        let written = meta::as_owner(&self.folder, || {
            self.folder.replace_file(&name(meta::SEAL), 0o600, &text)
        });
        written.map_err(VolumeError::io("writing .envelopefs/seal"))?;
        let sha256: [u8; 32] = Sha256::digest(&text).into();
        self.live.change(|config| config.seal = Some(sha256))?;
        self.seal()?.ok_or(VolumeError::SealForged)
    }

    /// Lets the volume be written again. Nothing is held against the manifest any more.
    ///
    /// # Errors
    /// [`VolumeError::Key`]; what the ciphertext folder answers.
    pub fn remove_seal(&self) -> Result<(), VolumeError> {
        let _sole = self.begin_run()?;
        self.live.change(|config| config.seal = None)?;
        match self.folder.unlink(&name(meta::SEAL)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VolumeError::io("removing .envelopefs/seal")(error))
            }
            _ => Ok(()),
        }
    }
}

/// The ciphertext path of `name` in the folder at `path`.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

/// Visits the root and everything below it but the volume's own folder.
fn visit(
    node: &Node,
    path: &mut Vec<u8>,
    visitor: &mut dyn FnMut(&[u8], &Node, &Stat) -> io::Result<()>,
) -> io::Result<()> {
    let stat = node.stat()?;
    visitor(path, node, &stat)?;
    if stat.kind != FileKind::Directory {
        return Ok(());
    }
    let mut entries = node.read_dir()?;
    while let Some(entry) = entries.next_entry() {
        let entry = entry?;
        if path.is_empty() && entry.name.as_bytes() == meta::FOLDER {
            continue;
        }
        let above = path.len();
        *path = join(path, entry.name.as_bytes());
        visit(&node.child(&entry.name)?, path, visitor)?;
        path.truncate(above);
    }
    Ok(())
}

/// The entry at a ciphertext path.
fn find(root: &Node, path: &[u8]) -> io::Result<()> {
    let mut node = None;
    for part in path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
    {
        let part = crate::storage::CName::new(part)?;
        node = Some(node.as_ref().unwrap_or(root).child(&part)?);
    }
    Ok(())
}

/// A hash of what an entry is beside its content, the time of the last access apart.
fn attributes(node: &Node, stat: &Stat) -> io::Result<[u8; 32]> {
    let is_folder = stat.kind == FileKind::Directory;
    let mut hash = Sha256::new();
    for number in [
        stat.kind.number(),
        stat.mode.into(),
        stat.uid.into(),
        stat.gid.into(),
        stat.rdev,
        if is_folder { 0 } else { stat.nlink.into() },
        if is_folder { 0 } else { stat.size },
    ] {
        hash.update(number.to_le_bytes());
    }
    hash.update(stat.mtime.secs.to_le_bytes());
    hash.update(stat.mtime.nanos.to_le_bytes());
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    if stat.kind == FileKind::Symlink {
        part(&node.read_link()?);
    }
    let mut names = match node.list_xattr() {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        names => names?,
    };
    // A security module labels by itself.
    names.retain(|name| name.as_bytes() != b"security.selinux");
    names.sort();
    for name in names {
        part(name.as_bytes());
        part(&node.xattr(&name)?);
    }
    Ok(hash.finalize().into())
}

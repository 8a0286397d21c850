//! What repair does to the ciphertext folder. Each step leaves, at a crash, what the next run mends.

use std::io;
use std::sync::mpsc;

use data_encoding::HEXLOWER;

use crate::content::{OpenFile, SyncKind};
use crate::crypto::random;
use crate::format::all_zeros;
use crate::format::names::{self, EntryKind};
use crate::maint::error::MaintError;
use crate::maint::open::{Opened, open};
use crate::maint::walk::entries;
use crate::storage::{Access, CName, DirEntry, FileKind, Node, RenameFlags, StorageFile};
use crate::units::{CipherOffset, DirId};
use crate::volume::Volume;

/// What names that repair gives begin with.
const RECOVERED: &str = "recovered-";
const PIECE: usize = 1 << 16;

/// Gives an entry a new name in its folder, whose id is `dir_id`; says which, in ciphertext and in plain.
pub(super) fn give_name(
    volume: &Volume,
    folder: &Node,
    dir_id: Option<&DirId>,
    cname: &CName,
) -> io::Result<(CName, String)> {
    let plain = format!("{RECOVERED}{}", HEXLOWER.encode(&random::array::<4>()));
    let sealed = volume.seal_short_name(dir_id, plain.as_bytes())?;
    folder.rename(cname, folder, &sealed, RenameFlags::NOREPLACE)?;
    folder.sync_dir()?;
    Ok((sealed, plain))
}

/// Whether a folder, and what temporary folders lie in it, hold nothing but the volume's own symlinks.
pub(super) fn is_debris(folder: &Node) -> io::Result<bool> {
    for entry in entries(folder)? {
        let bytes = entry.name.as_bytes();
        let own = match entry.kind {
            FileKind::Symlink => matches!(
                names::classify(bytes),
                EntryKind::Reserved | EntryKind::Sidecar
            ),
            FileKind::Directory => {
                bytes.starts_with(names::TEMP_PREFIX) && is_debris(&folder.child(&entry.name)?)?
            }
            _ => false,
        };
        if !own {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes a folder that [`is_debris`], its id last.
pub(super) fn remove_debris(parent: &Node, name: &CName) -> io::Result<()> {
    let folder = parent.child(name)?;
    let mut within = entries(&folder)?;
    within.sort_by_key(|entry| entry.name.as_bytes() == names::DIR_ID_ENTRY);
    for DirEntry { name, kind, .. } in within {
        match kind {
            FileKind::Directory => remove_debris(&folder, &name)?,
            _ => folder.unlink(&name)?,
        }
    }
    parent.remove_dir(name)
}

/// Puts a symlink of the volume's own in place, whatever symlink stood there.
pub(super) fn put_symlink(folder: &Node, name: &CName, target: &[u8]) -> io::Result<()> {
    let temporary = [
        names::TEMP_PREFIX,
        HEXLOWER.encode(&random::array::<8>()).as_bytes(),
    ]
    .concat();
    let temporary = CName::new(&temporary)?;
    folder.make_symlink(target, &temporary)?;
    let put = folder.rename(&temporary, folder, name, RenameFlags::empty());
    put.inspect_err(|_error| {
        let removed = folder.unlink(&temporary);
        tracing::debug!(?removed, "a symlink that could not be put in place");
    })?;
    folder.sync_dir()
}

/// A new id for a folder that holds no name.
pub(super) fn new_dir_id(folder: &Node) -> io::Result<DirId> {
    let id = DirId(random::array());
    let entry = CName::new(names::DIR_ID_ENTRY)?;
    if let Ok(stat) = folder.stat_child(&entry)
        && stat.kind != FileKind::Symlink
    {
        return Err(io::Error::other("what stands in its place is no symlink"));
    }
    put_symlink(folder, &entry, &names::encode_dir_id(&id))?;
    Ok(id)
}

/// Whether nothing but zeros stands in a file.
pub(super) fn is_blank(file: &StorageFile) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    let mut at = CipherOffset(0);
    while let Some(data) = file.seek_data(at)? {
        let got = file.read_at(&mut piece, data)?;
        if !all_zeros(&piece[..got]) {
            return Ok(false);
        }
        if got < PIECE {
            break;
        }
        at = CipherOffset(data.0 + got as u64);
    }
    Ok(true)
}

/// Makes a blank file an empty one, with a header and the keys of its folder, which the mount shows at the path `plain`.
pub(super) fn write_header(
    volume: &Volume,
    folder: &Node,
    plain: &[u8],
    name: &CName,
) -> io::Result<()> {
    let new = new_file(volume, plain)?;
    let file = match open(volume, folder, name, Access::ReadWrite).map_err(into_io)? {
        Opened::Empty(file) if is_blank(&file)? => file,
        _ => return Err(io::Error::other("it is not empty any more")),
    };
    let open = OpenFile::create(file, volume.layout(), new.material).map_err(io::Error::other)?;
    let made = open.close().and_then(|()| open.sync(SyncKind::All));
    made.map_err(io::Error::other)
}

fn new_file(volume: &Volume, folder: &[u8]) -> io::Result<crate::volume::NewFile> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let folder = folder.to_vec();
    volume.new_file(
        move || Some(folder.clone()),
        move |material| {
            if sender.send(material).is_err() {
                tracing::debug!("nobody waits for the new file's key any more");
            }
        },
    );
    let material = receiver.recv().map_err(io::Error::other)?;
    material.map_err(io::Error::other)
}

/// Sets length and commit of a file right, as a mount does after a crash; says how long it is.
pub(super) fn set_length(volume: &Volume, folder: &Node, name: &CName) -> io::Result<u64> {
    match open(volume, folder, name, Access::ReadWrite).map_err(into_io)? {
        Opened::Sealed(open) => {
            open.mend().map_err(io::Error::other)?;
            Ok(open.len().0)
        }
        _ => Err(io::Error::other("it is another file now")),
    }
}

fn into_io(error: MaintError) -> io::Error {
    match error {
        MaintError::Io { source, .. } => source,
        error => io::Error::other(error),
    }
}

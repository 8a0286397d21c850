//! One file, in the format of a volume's files but outside any.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::content::{ContentError, EpochKeys, OpenFile, Probe, SyncKind, probe_any_layout};
use crate::crypto::{SecretKey, random};
use crate::format::file_keys;
use crate::format::header::{FileHeader, KeyEpoch, KeySlot};
use crate::format::layout::Layout;
use crate::keys::{EncryptionContext, Providers};
use crate::storage::{Access, CName, Node, StorageFile};
use crate::units::{EpochId, FileId, KeyUri, PlainOffset, VolumeId};
use crate::volume::{FileMaterial, VOLUME_SCHEME, unwrap_slots, wrap_slots};

use super::error::MaintError;

/// What is held in memory of a file.
const PIECE: usize = 1 << 20;

/// How one file is to be encrypted.
#[derive(Debug, Clone)]
pub struct SingleOptions {
    /// The keys, each of which alone opens the file; at least one.
    pub keys: Vec<KeyUri>,
    /// Block and header size.
    pub layout: Layout,
    /// Mode bits of the output.
    pub mode: u32,
}

/// Encrypts `input` to the new file `output`, durable when this returns; says how many bytes there were.
///
/// # Errors
/// [`MaintError::OutputExists`]; what a key provider answers. After an error there is no output.
pub fn encrypt(
    input: &mut dyn Read,
    input_path: &Path,
    output: &Path,
    options: &SingleOptions,
    providers: &Providers,
) -> Result<u64, MaintError> {
    let material = new_material(&options.keys, providers)?;
    let (folder, name) = locate(output)?;
    let file = folder
        .create_file(&name, options.mode)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => MaintError::OutputExists(output.to_owned()),
            _ => MaintError::Io {
                path: output.to_owned(),
                source,
            },
        })?;
    let written = encrypt_into(input, input_path, output, file, options.layout, material);
    if written.is_err() {
        let removed = folder.unlink(&name);
        tracing::debug!(?removed, "output of a failed encryption");
    }
    written
}

fn encrypt_into(
    input: &mut dyn Read,
    input_path: &Path,
    output: &Path,
    file: StorageFile,
    layout: Layout,
    material: FileMaterial,
) -> Result<u64, MaintError> {
    let content = |source: ContentError| MaintError::Content {
        path: output.to_owned(),
        source,
    };
    let open = OpenFile::create(file, layout, material)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = input.read(&mut buffer).map_err(|source| MaintError::Io {
            path: input_path.to_owned(),
            source,
        })?;
        if read == 0 {
            break;
        }
        open.write(PlainOffset(at), &buffer[..read])
            .map_err(content)?;
        at += read as u64;
    }
    open.sync(SyncKind::All).map_err(content)?;
    Ok(at)
}

fn new_material(keys: &[KeyUri], providers: &Providers) -> Result<FileMaterial, MaintError> {
    let (dek, file_id) = (SecretKey::random()?, FileId(random::array()));
    let context = EncryptionContext {
        volume: VolumeId::NONE,
        file: Some(file_id),
    };
    let slots = wrap_slots(keys, &dek, &context, providers)?;
    let commitment = file_keys::commitment(&dek, &file_id);
    Ok(FileMaterial {
        file_id,
        volume_id: None,
        epoch: KeyEpoch {
            epoch: EpochId(1),
            commitment,
            slots,
        },
        dek: Arc::new(dek),
        made: std::time::Instant::now(),
        membership_tag: [0; 32],
    })
}

/// Decrypts the ciphertext file `input` to `output`; says how many bytes there were. Bytes that were
/// written before damage is met are authentic. The keys are asked where the header says, or at
/// `moved` if that names any.
///
/// # Errors
/// [`MaintError::Content`] where the file is damaged or none of this program's, what a key provider
/// answers, [`MaintError::HeldByVolume`].
pub fn decrypt(
    input: &Path,
    output: &mut dyn Write,
    output_path: &Path,
    moved: &[KeyUri],
    providers: &Providers,
) -> Result<u64, MaintError> {
    let content = |source: ContentError| MaintError::Content {
        path: input.to_owned(),
        source,
    };
    let open = open_single(input, moved, providers)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let read = open.read(PlainOffset(at), &mut buffer).map_err(content)?;
        if read == 0 {
            return Ok(at);
        }
        let written = output.write_all(&buffer[..read]);
        written.map_err(|source| MaintError::Io {
            path: output_path.to_owned(),
            source,
        })?;
        at += read as u64;
    }
}

fn open_single(
    input: &Path,
    moved: &[KeyUri],
    providers: &Providers,
) -> Result<OpenFile, MaintError> {
    let content = |source: ContentError| MaintError::Content {
        path: input.to_owned(),
        source,
    };
    let (folder, name) = locate(input)?;
    let file = folder.open_child_file(&name, Access::Read);
    let file = file.map_err(|source| MaintError::Io {
        path: input.to_owned(),
        source,
    })?;
    let header = match probe_any_layout(&file).map_err(content)? {
        Probe::Empty => return Err(MaintError::Empty(input.to_owned())),
        Probe::Sealed(header) => header,
    };
    let deks = header
        .epochs
        .iter()
        .map(|epoch| unwrap_epoch(&header, epoch, moved, providers));
    let deks = deks.collect::<Result<Vec<_>, _>>()?;
    let keys = EpochKeys::derive(&header, &deks)?;
    OpenFile::open(file, header, keys).map_err(content)
}

fn unwrap_epoch(
    header: &FileHeader,
    epoch: &KeyEpoch,
    moved: &[KeyUri],
    providers: &Providers,
) -> Result<Arc<SecretKey>, MaintError> {
    let volume = header.volume_id.unwrap_or(VolumeId::NONE);
    if epoch
        .slots
        .iter()
        .all(|slot| slot.key_uri.scheme() == VOLUME_SCHEME)
    {
        return Err(MaintError::HeldByVolume(volume));
    }
    let context = EncryptionContext {
        volume,
        file: Some(header.file_id),
    };
    let opens =
        |key: &SecretKey| file_keys::commitment_matches(key, &header.file_id, &epoch.commitment);
    let slots = moved_slots(&epoch.slots, moved);
    Ok(Arc::new(unwrap_slots(&slots, &context, providers, opens)?))
}

/// The slots as if each key had moved to each of `moved`; as they are where that is empty.
fn moved_slots(slots: &[KeySlot], moved: &[KeyUri]) -> Vec<KeySlot> {
    if moved.is_empty() {
        return slots.to_vec();
    }
    let at = |uri: &KeyUri, slot: &KeySlot| KeySlot {
        key_uri: uri.clone(),
        ..slot.clone()
    };
    moved
        .iter()
        .flat_map(|uri| slots.iter().map(move |slot| at(uri, slot)))
        .collect()
}

/// The folder and the name of a path.
fn locate(path: &Path) -> Result<(Node, CName), MaintError> {
    use std::os::unix::ffi::OsStrExt;
    let io = |source| MaintError::Io {
        path: path.to_owned(),
        source,
    };
    let no_file = || io(std::io::Error::from_raw_os_error(libc::EISDIR));
    let name = path.file_name().ok_or_else(no_file)?;
    let name = CName::new(name.as_bytes()).map_err(|_invalid| no_file())?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = Node::open_root(parent.unwrap_or(Path::new("."))).map_err(io)?;
    Ok((folder, name))
}

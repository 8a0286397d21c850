//! `init`: a new volume in an empty folder.

use std::path::Path;

use crate::crypto::{SecretKey, random};
use crate::format::file_keys;
use crate::format::header::{FileHeader, HeaderFlags, KeyEpoch};
use crate::format::layout::Layout;
use crate::format::names;
use crate::format::volume_config::{self, ForeignFiles, KeyScope, NameMode, VolumeConfig};
use crate::keys::{EncryptionContext, Providers};
use crate::storage::Node;
use crate::units::{DirId, EpochId, FileId, KeyUri, PlainLen, VolumeId};

use super::error::VolumeError;
use super::meta::{self, name};
use super::secrets::VolumeSecrets;
use super::wrapping::{wrap_for_file, wrap_slots};

/// What a new volume is to be.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// Its id, chosen by the caller so that a key file may bear it.
    pub volume_id: VolumeId,
    /// Block and header size.
    pub layout: Layout,
    /// How names stand on disk.
    pub names: NameMode,
    /// What wraps files' data keys.
    pub key_scope: KeyScope,
    /// Whether files made elsewhere open.
    pub foreign_files: ForeignFiles,
    /// The keys, each of which alone opens the volume and its files; at least one.
    pub keys: Vec<KeyUri>,
    /// Keys each of which alone opens the volume, and none of its files: with them a host reads names and
    /// makes files. Without meaning where the volume key wraps the files' data keys.
    pub volume_keys: Vec<KeyUri>,
}

/// Makes a volume in `path`, which is made if it is not there and must be empty if it is.
///
/// # Errors
/// [`VolumeError::NotEmpty`], [`VolumeError::HeaderTooSmall`] where two sets of slots (a file has two while
/// its content moves to a new data key) do not fit a header, and what a key provider answers: then nothing was made yet. A full disk
/// may leave an unfinished `.envelopefs`, without `volume.json` and so no volume.
pub fn create(
    path: &Path,
    options: &CreateOptions,
    providers: &Providers,
) -> Result<(), VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    create_in(
        || Node::create_root(path).map_err(io("making the folder")),
        path,
        options,
        providers,
    )
}

/// As [`create`], in the folder that `root` gives a handle of once the keys are there; `path` is for messages.
///
/// # Errors
/// As [`create`].
pub fn create_in(
    root: impl FnOnce() -> Result<Node, VolumeError>,
    path: &Path,
    options: &CreateOptions,
    providers: &Providers,
) -> Result<(), VolumeError> {
    let volume_key = SecretKey::random()?;
    let context = EncryptionContext {
        volume: options.volume_id,
        file: None,
    };
    let openers: Vec<_> = options
        .keys
        .iter()
        .chain(&options.volume_keys)
        .cloned()
        .collect();
    let slots = wrap_slots(&openers, &volume_key, &context, providers)?;
    let secrets = VolumeSecrets::derive(&volume_key, &options.volume_id)?;
    check_header_fits(options, &secrets, providers)?;
    let config = VolumeConfig {
        volume_id: options.volume_id,
        layout: options.layout,
        names: options.names,
        key_scope: options.key_scope,
        foreign_files: options.foreign_files,
        keys: options.keys.clone(),
        commitment: volume_config::commitment(&volume_key, &options.volume_id),
        slots,
        policy: None,
        former_keys: Vec::new(),
        seal: None,
    };
    let root = empty_folder(root()?, path)?;
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    if options.names == NameMode::Encrypted {
        let id = names::encode_dir_id(&DirId(random::array()));
        root.make_symlink(&id, &name(names::DIR_ID_ENTRY))
            .map_err(io("making the root's folder id"))?;
    }
    root.make_dir(&name(meta::FOLDER), 0o700)
        .map_err(io("making .envelopefs"))?;
    let folder = root
        .child(&name(meta::FOLDER))
        .map_err(io("opening .envelopefs"))?;
    // volume.json comes last: without it the folder is no volume yet.
    folder
        .replace_file(&name(meta::LOCK), 0o600, b"")
        .map_err(io("making the lock file"))?;
    folder
        .replace_file(&name(meta::CONFIG), 0o600, &config.encode(&secrets.config))
        .map_err(io("writing volume.json"))?;
    root.sync_dir().map_err(io("syncing the folder"))
}

/// A file has two epochs while it is re-encrypted: both must find room.
fn check_header_fits(
    options: &CreateOptions,
    secrets: &VolumeSecrets,
    providers: &Providers,
) -> Result<(), VolumeError> {
    let (dek, file_id) = (SecretKey::random()?, FileId(random::array()));
    let slots = wrap_for_file(
        options.key_scope,
        &options.keys,
        &dek,
        options.volume_id,
        file_id,
        secrets,
        providers,
    )?;
    let commitment = file_keys::commitment(&dek, &file_id);
    let epoch = |number| KeyEpoch {
        epoch: EpochId(number),
        commitment,
        slots: slots.clone(),
    };
    let header = FileHeader {
        layout: options.layout,
        file_id,
        volume_id: Some(options.volume_id),
        committed_len: PlainLen(0),
        generation: 0,
        flags: HeaderFlags::default(),
        epochs: vec![epoch(1), epoch(2)],
        header_tag: [0; 32],
        membership_tag: [1; 32],
    };
    let mut bytes = vec![0; options.layout.header_len()];
    Ok(header.encode(&mut bytes)?)
}

fn empty_folder(root: Node, path: &Path) -> Result<Node, VolumeError> {
    let io = |what: &'static str| VolumeError::io(format!("{}: {what}", path.display()));
    let first = root
        .read_dir()
        .map_err(io("reading the folder"))?
        .next_entry();
    match first.transpose().map_err(io("reading the folder"))? {
        Some(_) => Err(VolumeError::NotEmpty(path.to_owned())),
        None => Ok(root),
    }
}

//! What the benchmarks share: the same keys, ids and bytes in every run.

#![allow(
    dead_code,
    reason = "each benchmark is a crate of its own and uses a part of this"
)]

use std::path::Path;
use std::sync::Arc;

use envelopefs::content::{EpochKeys, OpenFile, Probe, probe};
use envelopefs::crypto::SecretKey;
use envelopefs::format::file_keys;
use envelopefs::format::header::{FileHeader, HeaderFlags, KeyEpoch, KeySlot};
use envelopefs::format::layout::Layout;
use envelopefs::storage::{Access, CName, Node};
use envelopefs::units::{EpochId, FileId, PlainLen, PlainOffset};
use envelopefs::volume::FileMaterial;
use tempfile::TempDir;

/// The only data key's epoch.
pub(crate) const EPOCH: EpochId = EpochId(1);
/// The file that is not one of many.
pub(crate) const FILE_ID: FileId = FileId([9; 16]);

/// A key of 32 equal bytes.
pub(crate) fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

/// `len` bytes that are not all alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7) as u8).collect()
}

/// A size as a benchmark's name has it.
pub(crate) fn size_name(len: usize) -> String {
    if len < 1 << 20 {
        format!("{} KiB", len >> 10)
    } else {
        format!("{} MiB", len >> 20)
    }
}

/// Places that look random and are the same in every run (xorshift64).
pub(crate) fn scattered(below: u64) -> impl FnMut() -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// A key epoch with one slot, of the size that a keyring file's wrapped key has.
pub(crate) fn epoch_of(dek: &SecretKey, file_id: &FileId, epoch: EpochId) -> KeyEpoch {
    let slot = KeySlot {
        key_uri: "file:///etc/envelopefs/keyring.json".parse().unwrap(),
        key_version: "1".into(),
        wrapped_dek: vec![0x5a; 72],
    };
    KeyEpoch {
        epoch,
        commitment: file_keys::commitment(dek, file_id),
        slots: vec![slot],
    }
}

/// A header of that many key epochs, not sealed.
pub(crate) fn header(epochs: u32) -> FileHeader {
    let dek = key(7);
    FileHeader {
        layout: Layout::DEFAULT,
        file_id: FILE_ID,
        volume_id: None,
        committed_len: PlainLen(1 << 30),
        generation: 3,
        flags: HeaderFlags::default(),
        epochs: (1..=epochs)
            .map(|epoch| epoch_of(&dek, &FILE_ID, EpochId(epoch)))
            .collect(),
        header_tag: [0; 32],
        membership_tag: [1; 32],
    }
}

/// What a new file is made of, without a provider.
pub(crate) fn material() -> FileMaterial {
    let dek = Arc::new(key(7));
    FileMaterial {
        file_id: FILE_ID,
        volume_id: None,
        epoch: epoch_of(&dek, &FILE_ID, EPOCH),
        dek,
        made: std::time::Instant::now(),
        membership_tag: [1; 32],
    }
}

/// A ciphertext folder in memory where there is one, so that no disk is measured.
pub(crate) struct Folder {
    folder: TempDir,
    root: Node,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = TempDir::new_in(memory).or_else(|_error| TempDir::new());
        let folder = folder.unwrap();
        let root = Node::open_root(folder.path()).unwrap();
        Self { folder, root }
    }

    pub(crate) fn create(&self, name: &CName, layout: Layout, new: FileMaterial) -> OpenFile {
        let file = self.root.create_file(name, 0o600).unwrap();
        OpenFile::create(file, layout, new).unwrap()
    }

    /// A file of `len` bytes, open.
    pub(crate) fn file_of(&self, name: &str, layout: Layout, len: usize) -> OpenFile {
        let file = self.create(&cname(name), layout, material());
        let data = pattern(1 << 20);
        for at in (0..len).step_by(data.len()) {
            let part = &data[..data.len().min(len - at)];
            file.write(PlainOffset(at as u64), part).unwrap();
        }
        file.close().unwrap();
        file
    }

    /// Opens a file that is there, from its header on.
    pub(crate) fn open(&self, name: &CName, layout: Layout, dek: &Arc<SecretKey>) -> OpenFile {
        let file = self.root.open_child_file(name, Access::ReadWrite).unwrap();
        let Probe::Sealed(header) = probe(&file, layout).unwrap() else {
            panic!("no header");
        };
        let keys = EpochKeys::derive(&header, std::slice::from_ref(dek)).unwrap();
        OpenFile::open(file, header, keys).unwrap()
    }

    pub(crate) fn unlink(&self, name: &CName) {
        self.root.unlink(name).unwrap();
    }
}

pub(crate) fn cname(name: &str) -> CName {
    CName::new(name.as_bytes()).unwrap()
}

//! Volumes made and opened in temporary folders, with real key files.

mod ctimes;
mod folders;
mod given;
mod keys;
mod opening;
mod policy;
mod slots;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::crypto::random;
use crate::format::volume_config::KeyScope;
use crate::keys::{FileProvider, ProviderCalls, ProviderOptions};
use crate::units::{KeyUri, VolumeId};

/// A folder for a volume, and key files beside it.
struct Bench {
    folder: TempDir,
    options: CreateOptions,
}

impl Bench {
    /// One key file, and nothing made yet.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = make_key(&folder.path().join("key-0"));
        let options = CreateOptions {
            volume_id: VolumeId(random::array()),
            layout: Layout::DEFAULT,
            names: NameMode::Encrypted,
            key_scope: KeyScope::Volume,
            foreign_files: ForeignFiles::Deny,
            keys: vec![key],
            volume_keys: Vec::new(),
        };
        Self { folder, options }
    }

    fn with(change: impl FnOnce(&mut CreateOptions)) -> Self {
        let mut bench = Self::new();
        change(&mut bench.options);
        bench
    }

    /// With `count` key files.
    fn with_keys(count: usize, change: impl FnOnce(&mut CreateOptions)) -> Self {
        let mut bench = Self::with(change);
        for nth in 1..count {
            let key = make_key(&bench.key_path(nth));
            bench.options.keys.push(key);
        }
        bench
    }

    fn made(self) -> Self {
        self.create().unwrap();
        self
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn key_path(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("key-{nth}"))
    }

    fn meta(&self, entry: &str) -> PathBuf {
        self.path().join(".envelopefs").join(entry)
    }

    fn create(&self) -> Result<(), VolumeError> {
        create(&self.path(), &self.options, &providers())
    }

    fn open(&self) -> Result<Volume, VolumeError> {
        self.open_as(&UnlockOptions::default())
    }

    fn open_shared(&self) -> Result<Volume, VolumeError> {
        self.open_as(&UnlockOptions {
            sharing: Sharing::Shared,
            ..UnlockOptions::default()
        })
    }

    fn open_as(&self, options: &UnlockOptions) -> Result<Volume, VolumeError> {
        open(&self.path(), options, Arc::new(providers()))
    }
}

fn make_key(path: &Path) -> KeyUri {
    drop(FileProvider::create(path).unwrap());
    FileProvider::uri_of(path).unwrap()
}

fn providers() -> Providers {
    Providers::new(ProviderOptions::default())
}

/// The calls of the one provider that `volume` has.
fn calls(volume: &Volume) -> ProviderCalls {
    match volume.providers().calls().as_slice() {
        [(_uri, calls)] => *calls,
        other => panic!("one provider was expected, not {}", other.len()),
    }
}

/// The header of a file made of `material`, as it would stand on disk.
fn header(volume: &Volume, material: &FileMaterial) -> FileHeader {
    FileHeader {
        layout: volume.layout(),
        file_id: material.file_id,
        volume_id: material.volume_id,
        committed_len: crate::units::PlainLen(0),
        generation: 0,
        flags: crate::format::header::HeaderFlags::default(),
        epochs: vec![material.epoch.clone()],
        header_tag: [0; 32],
        membership_tag: material.membership_tag,
    }
}

fn new_file(volume: &Volume) -> FileMaterial {
    let (done, made) = std::sync::mpsc::channel();
    volume.new_file(|| Some(Vec::new()), move |new| done.send(new).unwrap());
    made.recv().unwrap().unwrap().material
}

type Deks = Vec<Arc<crate::crypto::SecretKey>>;

fn fetch(volume: &Volume, header: FileHeader) -> Result<Deks, VolumeError> {
    let (done, fetched) = std::sync::mpsc::channel();
    volume.fetch_keys(header, move |_header, deks| done.send(deks).unwrap());
    fetched.recv().unwrap()
}

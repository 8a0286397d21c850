//! New files whose folder has keys of its own: a pool for each choice of keys.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::header::KeySlot;
use crate::keys::{EncryptionContext, KeyError, Pool};
use crate::policy::NewFileKeys;
use crate::units::{FileId, KeyUri};

use super::Volume;
use super::error::VolumeError;
use super::file_keys::{FileKeyring, FileMaterial, wrap_for_file};

/// Data keys made ahead for each choice of keys: fewer than for the volume's own.
const POOL: (usize, usize) = (16, 64);

/// The pools of folders.
#[derive(Debug, Default)]
pub(super) struct FolderPools(Mutex<HashMap<NewFileKeys, Arc<Pool<FileMaterial>>>>);

impl FileKeyring {
    /// The key URIs that `volume.json` names.
    pub(super) fn known(&self) -> &[KeyUri] {
        &self.wrapping.known
    }

    /// Whether keys are unwrapped on the thread that asks, because every provider answers from memory.
    pub(super) fn waits_for_nobody(&self) -> bool {
        self.local
    }

    /// Drops what was made ahead for folders: their keys may be others now.
    pub(super) fn forget_folders(&self) {
        let dropped = std::mem::take(&mut *self.folders.0.lock());
        drop(dropped);
    }

    /// Wraps a key that is thrown away.
    pub(super) fn try_wrap(
        &self,
        keys: &NewFileKeys,
        context: &EncryptionContext,
    ) -> Result<Vec<KeySlot>, VolumeError> {
        let (scope, uris) = self.wrapping.choice(keys);
        let dek = crate::crypto::SecretKey::random()?;
        let file = FileId([0; 16]);
        let wrapping = &self.wrapping;
        let slots = wrap_for_file(
            scope,
            uris,
            &dek,
            context.volume,
            file,
            &wrapping.secrets,
            &wrapping.providers,
        )?;
        Ok(slots)
    }

    fn folder_pool(&self, keys: &NewFileKeys) -> Arc<Pool<FileMaterial>> {
        let mut pools = self.folders.0.lock();
        let pool = pools.entry(keys.clone()).or_insert_with(|| {
            let (wrapping, keys) = (Arc::clone(&self.wrapping), keys.clone());
            let make = move || -> Result<FileMaterial, KeyError> {
                let (scope, uris) = wrapping.choice(&keys);
                wrapping.make_by(scope, uris)
            };
            Arc::new(Pool::new(POOL.0, POOL.1, Arc::new(make)))
        });
        Arc::clone(pool)
    }
}

impl Volume {
    /// As [`Volume::new_file`], by the keys of a folder where it has its own.
    pub fn new_file_by(
        &self,
        keys: Option<&NewFileKeys>,
        done: impl FnOnce(Result<FileMaterial, VolumeError>) + Send + 'static,
    ) {
        match keys {
            None => self.new_file(done),
            Some(keys) => {
                let pool = self.files.folder_pool(keys);
                self.take_from(&pool, done);
            }
        }
    }
}

//! A file's keys by epoch, and the AES-GCM keys that its chunks' nonces select.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::crypto::LockedMemoryError;
use crate::crypto::MacKey;
use crate::crypto::SecretKey;
use crate::crypto::xaes::{Subkey, XaesKey};
use crate::format::file_keys::FileKeys;
use crate::format::header::{FileHeader, KeyEpoch};
use crate::units::EpochId;

/// The keys of every epoch that a header lists.
#[derive(Debug)]
pub struct EpochKeys {
    older: Vec<(EpochId, Arc<FileKeys>)>,
    newest: (EpochId, Arc<FileKeys>),
}

impl EpochKeys {
    /// The keys of `header`'s epochs from its data keys, which stand in the same order.
    ///
    /// # Errors
    /// [`LockedMemoryError`] where no key memory is to be had.
    ///
    /// # Panics
    /// If there is not one data key for each epoch.
    pub fn derive(header: &FileHeader, deks: &[Arc<SecretKey>]) -> Result<Self, LockedMemoryError> {
        assert_eq!(
            header.epochs.len(),
            deks.len(),
            "one data key for each epoch"
        );
        let derive = |(epoch, dek): (&KeyEpoch, &Arc<SecretKey>)| {
            let keys = FileKeys::derive(dek, &header.file_id)?;
            Ok((epoch.epoch, Arc::new(keys)))
        };
        let mut older = header
            .epochs
            .iter()
            .zip(deks)
            .map(derive)
            .collect::<Result<Vec<_>, _>>()?;
        let newest = older.pop().expect("a header has an epoch");
        Ok(Self { older, newest })
    }

    /// One key.
    pub(super) fn of(epoch: EpochId, keys: FileKeys) -> Self {
        Self {
            older: Vec::new(),
            newest: (epoch, Arc::new(keys)),
        }
    }

    /// These keys, and one more that new chunks are sealed with.
    pub(super) fn with_newest(&self, epoch: EpochId, keys: FileKeys) -> Self {
        let mut older = self.older.clone();
        older.push(self.newest.clone());
        Self {
            older,
            newest: (epoch, Arc::new(keys)),
        }
    }

    /// The newest key alone.
    pub(super) fn only_newest(&self) -> Self {
        Self {
            older: Vec::new(),
            newest: self.newest.clone(),
        }
    }

    /// The epoch that new chunks are sealed under.
    pub fn newest_epoch(&self) -> EpochId {
        self.newest.0
    }

    /// The key of the header's tag.
    pub fn header_key(&self) -> &MacKey {
        self.newest.1.header()
    }

    /// The content key of `epoch`.
    pub fn content_key(&self, epoch: EpochId) -> Option<&XaesKey> {
        let listed = std::iter::once(&self.newest).chain(&self.older);
        listed
            .into_iter()
            .find(|(id, _)| *id == epoch)
            .map(|(_, keys)| keys.content())
    }
}

/// Epoch and nonce prefix: what selects an AES-GCM key.
pub(super) type SubkeyId = (EpochId, [u8; 12]);

/// The AES-GCM keys last used. A file has one for each writer session that sealed a chunk of it.
#[derive(Debug)]
pub(super) struct SubkeyCache(Mutex<LruCache<SubkeyId, Arc<Subkey>>>);

impl SubkeyCache {
    const ENTRIES: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");

    /// The key for a chunk's epoch and nonce prefix; `None` where the header has no such epoch.
    pub(super) fn subkey(&self, keys: &EpochKeys, id: SubkeyId) -> Option<Arc<Subkey>> {
        if let Some(subkey) = self.0.lock().get(&id) {
            return Some(Arc::clone(subkey));
        }
        let subkey = Arc::new(keys.content_key(id.0)?.subkey(&id.1));
        self.0.lock().put(id, Arc::clone(&subkey));
        Some(subkey)
    }

    /// Forgets every key: one that was taken away, or of an epoch that is gone, must open nothing.
    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

impl Default for SubkeyCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(Self::ENTRIES)))
    }
}

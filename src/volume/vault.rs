//! Where the keys derived from the volume key lie while the volume is unlocked, and why they are gone while it is not.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::keys::KeyError;

use super::secrets::VolumeSecrets;

/// The secrets of a volume, or why there are none.
#[derive(Debug)]
pub(super) struct Vault(RwLock<Result<Arc<VolumeSecrets>, KeyError>>);

impl Vault {
    pub(super) fn of(secrets: VolumeSecrets) -> Self {
        Self(RwLock::new(Ok(Arc::new(secrets))))
    }

    pub(super) fn secrets(&self) -> Result<Arc<VolumeSecrets>, KeyError> {
        self.0.read().clone()
    }

    /// Nobody gets at the secrets any more; gives them to the caller for what is to be done yet.
    pub(super) fn shut(&self, why: KeyError) -> Option<Arc<VolumeSecrets>> {
        std::mem::replace(&mut *self.0.write(), Err(why)).ok()
    }

    pub(super) fn open(&self, secrets: VolumeSecrets) {
        *self.0.write() = Ok(Arc::new(secrets));
    }
}

/// One key of the volume, there for as long as it is held.
pub struct Held<K: 'static> {
    secrets: Arc<VolumeSecrets>,
    key: fn(&VolumeSecrets) -> &K,
}

impl<K> Held<K> {
    pub(super) fn new(secrets: Arc<VolumeSecrets>, key: fn(&VolumeSecrets) -> &K) -> Self {
        Self { secrets, key }
    }
}

impl<K> Deref for Held<K> {
    type Target = K;

    fn deref(&self) -> &K {
        (self.key)(&self.secrets)
    }
}

impl<K> fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held(..)")
    }
}

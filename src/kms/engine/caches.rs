//! What the engine keeps in memory of the store.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::cache::Cache;
use super::credential::Credential;
use super::entry::Entry;
use super::error::{ErrorKind, KmsError};
use super::model::{KeyId, KeyRef};
use super::service::Engine;
use crate::kms::policy::{Policy, PolicyKind};
use crate::kms::root::Thing;
use crate::kms::store::{Change, ChangeKind};

/// Aliases, principals and access keys kept, each.
const NAMES: usize = 10_000;
/// Loads that go on side by side: more wait, and find what they want.
const LANES: usize = 16;

#[derive(Debug)]
pub(super) struct Caches {
    keys: Cache<Arc<Entry>>,
    aliases: Cache<KeyId>,
    /// `None` for those that are not: a caller may ask for those as often as for others.
    credentials: Cache<Option<Arc<Credential>>>,
    /// `None` for one without a policy that can be read.
    principals: Cache<Option<Arc<Policy>>>,
    /// Held while something is read from the store, so that many who miss the same thing read it once.
    lanes: [Mutex<()>; LANES],
}

impl Caches {
    pub(super) fn new(keys: usize) -> Self {
        Self {
            keys: Cache::new(keys),
            aliases: Cache::new(NAMES),
            credentials: Cache::new(NAMES),
            principals: Cache::new(NAMES),
            lanes: std::array::from_fn(|_| Mutex::default()),
        }
    }

    pub(super) fn forget(&self, change: &Change) {
        match change.kind {
            ChangeKind::Alias => self.aliases.forget(&change.name),
            ChangeKind::All => self.clear(),
            ChangeKind::Credential => self.credentials.forget(&change.name),
            ChangeKind::Key => self.keys.forget(&change.name),
            ChangeKind::Principal => self.principals.forget(&change.name),
        }
    }

    pub(super) fn clear(&self) {
        self.keys.clear();
        self.aliases.clear();
        self.credentials.clear();
        self.principals.clear();
    }

    async fn lane(&self, name: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let sum: usize = name.bytes().map(usize::from).sum();
        self.lanes[sum % LANES].lock().await
    }
}

impl Engine {
    /// The key that a name means.
    ///
    /// # Errors
    ///
    /// `KeyNotFound`, `AliasNotFound`, `Unavailable`.
    pub(super) async fn entry(&self, key: &KeyRef, now: Timestamp) -> Result<Arc<Entry>, KmsError> {
        let entry = match key {
            KeyRef::Id(id) => self.entry_of_id(id).await?,
            KeyRef::Alias(name) => self.entry_of_id(&self.key_of_alias(name).await?).await?,
        };
        if entry.is_destroyed(now) {
            return Err(not_found(&entry.key.id));
        }
        Ok(entry)
    }

    async fn entry_of_id(&self, id: &KeyId) -> Result<Arc<Entry>, KmsError> {
        if let Some(entry) = self.caches.keys.get(&id.0) {
            return Ok(entry);
        }
        let _lane = self.caches.lane(&id.0).await;
        if let Some(entry) = self.caches.keys.get(&id.0) {
            return Ok(entry);
        }
        self.load(id).await
    }

    /// Reads a key from the store, whatever is known of it.
    pub(super) async fn load(&self, id: &KeyId) -> Result<Arc<Entry>, KmsError> {
        let ticket = self.caches.keys.ticket();
        let record = self.store.key(id).await?.ok_or_else(|| not_found(id))?;
        let versions = self.store.versions(id).await?;
        let grants = self.store.grants(id).await?;
        let tags = self.store.tags(id).await?;
        let uses = |version: &_| self.census.of(version);
        let entry = Entry::new(record, versions, grants, tags, &self.names, uses)?;
        let entry = Arc::new(entry);
        self.caches.keys.put(ticket, &id.0, Arc::clone(&entry));
        Ok(entry)
    }

    /// The key that has this alias.
    pub(super) async fn key_of_alias(&self, name: &str) -> Result<KeyId, KmsError> {
        if let Some(key) = self.caches.aliases.get(name) {
            return Ok(key);
        }
        let _lane = self.caches.lane(name).await;
        if let Some(key) = self.caches.aliases.get(name) {
            return Ok(key);
        }
        let ticket = self.caches.aliases.ticket();
        let alias = self.store.alias(name).await?.ok_or_else(|| {
            let message = format!("There is no {name}.");
            KmsError::new(ErrorKind::AliasNotFound, message)
        })?;
        self.caches.aliases.put(ticket, name, alias.key.clone());
        Ok(alias.key)
    }

    /// What a principal may do by its own policy.
    pub(super) async fn principal_policy(
        &self,
        name: &str,
    ) -> Result<Option<Arc<Policy>>, KmsError> {
        if let Some(policy) = self.caches.principals.get(name) {
            return Ok(policy);
        }
        let _lane = self.caches.lane(name).await;
        if let Some(policy) = self.caches.principals.get(name) {
            return Ok(policy);
        }
        let ticket = self.caches.principals.ticket();
        let policy = match self.store.principal(name).await? {
            None => None,
            Some(principal) => {
                let policy = Policy::parse(
                    &principal.policy,
                    PolicyKind::Principal,
                    &self.names.account,
                );
                let policy = policy.map_err(|error| {
                    tracing::error!(name, %error, "the store holds an unreadable policy");
                    KmsError::internal()
                })?;
                Some(Arc::new(policy))
            }
        };
        self.caches.principals.put(ticket, name, policy.clone());
        Ok(policy)
    }

    /// An access key, for the check of a signature; `None` where there is none of this id. Answered from memory where
    /// it was asked for before.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn credential(&self, id: &str) -> Result<Option<Arc<Credential>>, KmsError> {
        self.check_fresh()?;
        if id.is_empty() || id.len() > Credential::ID_LEN_MAX {
            return Ok(None);
        }
        if let Some(credential) = self.caches.credentials.get(id) {
            return Ok(credential);
        }
        let _lane = self.caches.lane(id).await;
        if let Some(credential) = self.caches.credentials.get(id) {
            return Ok(credential);
        }
        let ticket = self.caches.credentials.ticket();
        let credential = match self.store.credential(id).await? {
            None => None,
            Some(record) => {
                let secret = self.root.unwrap(Thing::Credential { id }, &record.secret);
                let secret = secret.map_err(|_error| {
                    tracing::error!(id, "the secret of an access key does not unwrap");
                    KmsError::internal()
                })?;
                Some(Arc::new(Credential::new(record.access_key, secret)))
            }
        };
        self.caches.credentials.put(ticket, id, credential.clone());
        Ok(credential)
    }
}

impl Engine {
    /// Whose an access key is, if that is in memory.
    pub(super) fn known_principal(&self, access_key_id: &str) -> Option<String> {
        let credential = self.caches.credentials.get(access_key_id)??;
        Some(credential.principal.clone())
    }
}

pub(super) fn not_found(id: &KeyId) -> KmsError {
    let message = format!("There is no key {}.", id.0);
    KmsError::new(ErrorKind::KeyNotFound, message)
}

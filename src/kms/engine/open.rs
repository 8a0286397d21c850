//! How the engine begins.

use std::sync::Arc;
use std::time::Instant;

use data_encoding::HEXLOWER;
use thiserror::Error;

use super::backup::BackupError;
use super::caller::Caller;
use super::error::KmsError;
use super::ids::KeyNames;
use super::ops::admin::{CreateCredential, CreatePrincipal, NewAccessKey};
use super::service::Engine;
use super::upkeep;
use crate::audit::AuditError;
use crate::crypto::{LockedMemoryError, random};
use crate::keys::Providers;
use crate::kms::audit::{Trail, TrailOptions};
use crate::kms::hsm::Hsm;
use crate::kms::root::{Root, RootError};
use crate::kms::store::settings::RootSlot;
use crate::kms::store::{Location, Store, StoreError};
use crate::units::KeyUri;

/// Keys kept in memory, where nothing else is said.
pub const KEYS_CACHED: usize = 10_000;
/// What an administrator may: all of it.
pub const ADMINISTRATOR_POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"Administrator","Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;

/// What the engine needs.
#[derive(Debug)]
pub struct EngineOptions {
    pub location: Location,
    /// With which the root key is unsealed; good for that alone.
    pub providers: Arc<Providers>,
    pub trail: TrailOptions,
    /// Where keys of [`ProtectionLevel::Hsm`](super::model::ProtectionLevel::Hsm) live; `None`: there are none.
    pub hsm: Option<Arc<Hsm>>,
    /// Keys kept in memory; [`KEYS_CACHED`].
    pub keys_cached: usize,
}

/// What a new service is.
#[derive(Debug, Clone)]
pub struct Initial {
    pub names: KeyNames,
    /// The key-encryption key of the root key: any key URI, or `credential:NAME`.
    pub root: KeyUri,
    /// The name of the first administrator.
    pub administrator: String,
}

/// Why the engine does not begin.
#[derive(Debug, Error)]
pub enum OpenError {
    /// There is a service in the store already.
    #[error("the store already holds a key service")]
    AlreadyThere,
    #[error("the audit trail: {0}")]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The account id or the region cannot stand in a key's name.
    #[error("{0}")]
    Names(&'static str),
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// The store holds no service.
    #[error("the store holds no key service: make one with `envelopekms init`")]
    NotThere,
    #[error(transparent)]
    Refused(#[from] KmsError),
    #[error("the root key: {0}")]
    Root(#[from] RootError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a new service in an empty store, and its first administrator, whose access key is told this once.
    ///
    /// # Errors
    ///
    /// As [`OpenError`] says.
    pub async fn create(
        options: EngineOptions,
        initial: Initial,
    ) -> Result<(Arc<Self>, NewAccessKey), OpenError> {
        check_names(&initial.names)?;
        let store = Store::open(options.location.clone(), true).await?;
        // Before a passphrase is asked for; it is looked again when it is written.
        if store.setting("service").await?.is_some() {
            return Err(OpenError::AlreadyThere);
        }
        let service: [u8; 16] = random::array();
        let root = Root::generate()?;
        let (root, slot) = seal(&options, root, initial.root, service).await?;
        let mut write = store.write().await?;
        if !write.is_empty().await? {
            return Err(OpenError::AlreadyThere);
        }
        write
            .put_setting("service", &HEXLOWER.encode(&service))
            .await?;
        write.put_setting("account", &initial.names.account).await?;
        write.put_setting("region", &initial.names.region).await?;
        write.put_root_slot(&slot).await?;
        write.commit().await?;
        let engine = Self::begin(options, store, root, initial.names, service).await?;
        let access_key = engine.first_administrator(initial.administrator).await;
        match access_key {
            Ok(access_key) => Ok((engine, access_key)),
            Err(error) => {
                engine.close().await;
                Err(error.into())
            }
        }
    }

    async fn first_administrator(&self, name: String) -> Result<NewAccessKey, KmsError> {
        let caller = Caller::local("init");
        let create = CreatePrincipal {
            name: name.clone(),
            policy: ADMINISTRATOR_POLICY.to_owned(),
        };
        self.perform(&caller, create).await?;
        self.perform(&caller, CreateCredential { principal: name })
            .await
    }

    /// Opens the service that is in the store. Unsealing the root key may ask for a passphrase.
    ///
    /// # Errors
    ///
    /// As [`OpenError`] says.
    pub async fn open(options: EngineOptions) -> Result<Arc<Self>, OpenError> {
        let store = Store::open(options.location.clone(), false).await?;
        let setting = async |name| store.setting(name).await?.ok_or(OpenError::NotThere);
        let names = KeyNames {
            account: setting("account").await?,
            region: setting("region").await?,
        };
        let service = parse_service(&setting("service").await?)?;
        let slots = store.root_slots().await?;
        let root = unseal(Arc::clone(&options.providers), slots, service).await?;
        Self::begin(options, store, root, names, service).await
    }

    pub(super) async fn begin(
        options: EngineOptions,
        store: Store,
        root: Root,
        names: KeyNames,
        service: [u8; 16],
    ) -> Result<Arc<Self>, OpenError> {
        let service = HEXLOWER.encode(&service);
        let trail = Trail::start(&options.trail, &root, &service)?;
        let asked = Instant::now();
        let seq = store.change_number().await?;
        let keys_cached = options.keys_cached;
        let engine = Self::new(
            store,
            (root, options.hsm),
            trail,
            names,
            service,
            keys_cached,
        )?;
        let engine = Arc::new(engine);
        engine.note_asked(asked);
        upkeep::start(&engine, seq);
        Ok(engine)
    }

    /// Has the root key open with one key-encryption key more. Ask no service thread: it may block for long.
    ///
    /// # Errors
    ///
    /// The key provider's, the store's.
    pub async fn add_root_slot(
        &self,
        providers: &Providers,
        uri: &KeyUri,
    ) -> Result<(), OpenError> {
        let service = parse_service(&self.service)?;
        let slot = self.root.seal(providers, uri, service)?;
        let mut write = self.store.write().await?;
        write.put_root_slot(&slot).await?;
        write.commit().await?;
        Ok(())
    }

    /// Has the root key no longer open with this one; the last one stays.
    ///
    /// # Errors
    ///
    /// The store's; `NotThere` for the last slot, or none of this URI.
    pub async fn remove_root_slot(&self, uri: &KeyUri) -> Result<(), OpenError> {
        let mut write = self.store.write().await?;
        let is_gone = write.delete_root_slot(uri.as_str()).await?;
        if !is_gone || write.root_slot_count().await? == 0 {
            return Err(OpenError::NotThere);
        }
        write.commit().await?;
        Ok(())
    }
}

pub(super) fn parse_service(text: &str) -> Result<[u8; 16], StoreError> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| StoreError::Corrupt("a service id that is none".to_owned()))
}

async fn seal(
    options: &EngineOptions,
    root: Root,
    uri: KeyUri,
    service: [u8; 16],
) -> Result<(Root, RootSlot), RootError> {
    let providers = Arc::clone(&options.providers);
    blocking(move || {
        let slot = root.seal(&providers, &uri, service)?;
        Ok((root, slot))
    })
    .await
}

pub(super) async fn unseal(
    providers: Arc<Providers>,
    slots: Vec<RootSlot>,
    service: [u8; 16],
) -> Result<Root, RootError> {
    blocking(move || Root::unseal(&providers, &slots, service)).await
}

/// Work that waits for a person, a token or Argon2id.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn check_names(names: &KeyNames) -> Result<(), OpenError> {
    let is_account = names.account.len() <= 16
        && !names.account.is_empty()
        && names.account.bytes().all(|byte| byte.is_ascii_digit());
    if !is_account {
        return Err(OpenError::Names("the account id is not of 1 to 16 digits"));
    }
    let is_region = (1..=32).contains(&names.region.len())
        && names
            .region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_region {
        return Err(OpenError::Names(
            "the region is not of 1 to 32 small letters, digits and hyphens",
        ));
    }
    Ok(())
}

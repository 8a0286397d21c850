//! The engine on both databases.

mod access;
mod backup;
mod data;
mod hsm;
mod import;
mod names;
mod servers;
mod shared;
mod states;
mod trail;
mod upkeep;
mod versions;

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::caller::{Caller, Dialect};
use super::error::{ErrorKind, KmsError};
use super::ids::{KeyNames, uuid};
use super::model::{Key, KeyRef, KeySpec, KeyUsage, Origin, PageRequest, ProtectionLevel};
use super::open::{ADMINISTRATOR_POLICY, EngineOptions, Initial};
use super::operation::Operation;
use super::ops::SecretBytes;
use super::ops::admin::{CreatePrincipal, NewAccessKey};
use super::ops::data::{Decrypt, Encrypt};
use super::ops::keys::CreateKey;
use super::{EncryptionContext, Engine};
use crate::audit::WhenFull;
use crate::keys::{FileProvider, KeyProvider as _, ProviderOptions, Providers};
use crate::kms::audit::TrailOptions;
use crate::kms::hsm::Hsm;
use crate::kms::store::testing::{database, on_both};
use crate::kms::store::{Backend, Location};

pub(super) const ALL: PageRequest = PageRequest {
    offset: 0,
    limit: 1000,
};

/// A service of its own.
struct Bench {
    engine: Arc<Engine>,
    location: Location,
    folder: TempDir,
    admin: Caller,
    access_key: NewAccessKey,
}

fn options(location: Location, trail: TrailOptions) -> EngineOptions {
    EngineOptions {
        location,
        providers: Arc::new(Providers::new(ProviderOptions::default())),
        trail,
        hsm: None,
        keys_cached: 1000,
    }
}

fn caller(principal: &str) -> Caller {
    Caller {
        principal: principal.to_owned(),
        access_key_id: "EKMSTEST".to_owned(),
        dialect: Dialect::Alibaba,
        request_id: uuid(),
        address: Some([192, 0, 2, 7].into()),
        grant_tokens: Vec::new(),
    }
}

impl Bench {
    async fn new(backend: Backend) -> Self {
        Self::with_hsm(backend, None).await
    }

    async fn with_hsm(backend: Backend, hsm: Option<Arc<Hsm>>) -> Self {
        let (location, folder) = database(backend).await;
        let root = FileProvider::create(&folder.path().join("root.json")).unwrap();
        let trail = TrailOptions {
            file: Some(folder.path().join("audit.log")),
            when_full: WhenFull::Fail,
        };
        let initial = Initial {
            names: KeyNames {
                account: "123456789012".to_owned(),
                region: "local".to_owned(),
            },
            root: root.uri().clone(),
            administrator: "admin".to_owned(),
        };
        let options = EngineOptions {
            hsm,
            ..options(location.clone(), trail)
        };
        let (engine, access_key) = Engine::create(options, initial).await.unwrap();
        Self {
            engine,
            location,
            folder,
            admin: caller("admin"),
            access_key,
        }
    }

    fn audit_file(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }

    /// A second server on the same store.
    async fn another(&self) -> Arc<Engine> {
        Engine::open(options(self.location.clone(), TrailOptions::none()))
            .await
            .unwrap()
    }

    async fn run<O: Operation>(&self, operation: O) -> Result<O::Answer, KmsError> {
        self.engine.perform(&self.admin, operation).await
    }

    async fn kind_of<O: Operation>(&self, operation: O) -> Option<ErrorKind> {
        self.run(operation).await.err().map(|error| error.kind())
    }

    async fn principal(&self, name: &str, policy: &str) -> Caller {
        let create = CreatePrincipal {
            name: name.to_owned(),
            policy: policy.to_owned(),
        };
        self.run(create).await.unwrap();
        caller(name)
    }

    async fn key(&self, create: CreateKey) -> Key {
        self.run(create).await.unwrap()
    }
}

fn symmetric() -> CreateKey {
    of_spec(KeySpec::Aes256, KeyUsage::EncryptDecrypt)
}

fn of_spec(spec: KeySpec, usage: KeyUsage) -> CreateKey {
    CreateKey {
        description: "a key".to_owned(),
        spec,
        usage,
        origin: Origin::Service,
        protection: ProtectionLevel::Software,
        rotation_period: None,
        tags: Vec::new(),
        policy: None,
    }
}

fn id(key: &Key) -> KeyRef {
    KeyRef::Id(key.id.clone())
}

fn alias(name: &str) -> KeyRef {
    KeyRef::Alias(name.to_owned())
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    EncryptionContext::new(pairs.collect()).unwrap()
}

fn encrypt(key: KeyRef, plaintext: &[u8]) -> Encrypt {
    Encrypt {
        key,
        plaintext: SecretBytes::new(plaintext.to_vec()),
        context: context(&[("app", "test")]),
        dry_run: false,
    }
}

fn decrypt(blob: &[u8]) -> Decrypt {
    Decrypt {
        blob: blob.to_vec(),
        key: None,
        context: context(&[("app", "test")]),
        dry_run: false,
    }
}

const NOTHING: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

#[test]
fn a_service_is_made_once_and_opens_again() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let blob = bench.run(encrypt(id(&key), b"hello")).await.unwrap().blob;
        let id = &bench.access_key.id;
        let credential = bench.engine.credential(id).await.unwrap().unwrap();
        assert_eq!(credential.secret(), bench.access_key.secret.as_bytes());
        assert_eq!(
            (credential.principal.as_str(), credential.enabled),
            ("admin", true)
        );
        assert!(bench.engine.close().await);

        let again = bench.another().await;
        let opened = again.perform(&bench.admin, decrypt(&blob)).await.unwrap();
        assert_eq!(&opened.plaintext[..], b"hello");
        let credential = again.credential(id).await.unwrap().unwrap();
        assert_eq!(credential.secret(), bench.access_key.secret.as_bytes());
        assert!(again.credential("EKMSNOSUCHONE").await.unwrap().is_none());

        let initial = Initial {
            names: again.names().clone(),
            root: "file:///nowhere".parse().unwrap(),
            administrator: "admin".to_owned(),
        };
        let options = options(bench.location.clone(), TrailOptions::none());
        let error = Engine::create(options, initial).await.unwrap_err();
        assert!(error.to_string().contains("already"), "{error}");
        again.close().await;
    });
}

#[test]
fn nothing_opens_without_the_root_key() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        bench.engine.close().await;
        std::fs::remove_file(bench.folder.path().join("root.json")).unwrap();
        FileProvider::create(&bench.folder.path().join("root.json")).unwrap();
        let options = options(bench.location.clone(), TrailOptions::none());
        Engine::open(options).await.unwrap_err();
    });
}

#[test]
fn secrets_are_in_no_debug_text() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let secret = bench.access_key.secret.as_str();
        let credential = bench.engine.credential(&bench.access_key.id).await.unwrap();
        for text in [
            format!("{:?}", bench.access_key),
            format!("{credential:?}"),
            format!("{:?}", bench.engine),
        ] {
            assert!(!text.contains(secret), "{text}");
            assert!(!text.contains("postgres@"), "{text}");
        }
        bench.engine.close().await;
    });
}

#[test]
fn an_administrators_policy_is_one() {
    use crate::kms::policy::{Policy, PolicyKind};
    Policy::parse(ADMINISTRATOR_POLICY, PolicyKind::Principal, "1").unwrap();
}

//! The whole service over TLS, asked by clients that nobody here wrote.

mod alibaba;
mod aws;
mod console;
mod hostile;
mod hsm;
mod http;
mod promises;
mod rest;
mod unproven;

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Identity, Issued, Limits, Server, ServerConfig};
use crate::audit::WhenFull;
use crate::keys::service::python;
use crate::keys::{FileProvider, KeyProvider as _, ProviderOptions, Providers};
use crate::kms::audit::TrailOptions;
use crate::kms::engine::ids::KeyNames;
use crate::kms::engine::open::KEYS_CACHED;
use crate::kms::engine::ops::admin::{CreateCredential, CreatePrincipal, NewAccessKey};
use crate::kms::engine::{Caller, Engine, EngineOptions, Initial};
use crate::kms::hsm::Hsm;
use crate::kms::store::Location;

/// A service with its certificate, an administrator and somebody who may do nothing.
struct Service {
    runtime: Runtime,
    engine: Arc<Engine>,
    server: Option<Server>,
    administrator: NewAccessKey,
    nobody: NewAccessKey,
    folder: TempDir,
}

impl Service {
    fn start() -> Self {
        Self::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Self {
        Self::start_with_hsm(limits, None)
    }

    /// With a trail in `audit.log`.
    fn start_with_trail(limits: Limits, when_full: WhenFull) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("audit.log"));
        Self::start_in(folder, limits, TrailOptions { file, when_full }, None)
    }

    fn start_with_hsm(limits: Limits, hsm: Option<Arc<Hsm>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, limits, TrailOptions::none(), hsm)
    }

    fn start_in(
        folder: TempDir,
        limits: Limits,
        trail: TrailOptions,
        hsm: Option<Arc<Hsm>>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let root = FileProvider::create(&folder.path().join("root.json")).unwrap();
        let options = EngineOptions {
            location: Location::Sqlite(folder.path().join("kms.db")),
            providers: Arc::new(Providers::new(ProviderOptions::default())),
            trail,
            hsm,
            keys_cached: KEYS_CACHED,
        };
        let initial = Initial {
            names: KeyNames {
                account: "123456789012".to_owned(),
                region: "cn-local".to_owned(),
            },
            root: root.uri().clone(),
            administrator: "admin".to_owned(),
        };
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            identity: identity(&folder),
            metrics: Some("127.0.0.1:0".parse().unwrap()),
            limits,
        };
        let (engine, administrator, nobody, server) = runtime.block_on(async {
            let (engine, administrator) = Engine::create(options, initial).await.unwrap();
            let nobody = principal(&engine, "nobody").await;
            let server = Server::start(config, Arc::clone(&engine)).await.unwrap();
            (engine, administrator, nobody, server)
        });
        Self {
            runtime,
            engine,
            server: Some(server),
            administrator,
            nobody,
            folder,
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// What a script needs to be a client.
    fn client(&self) -> Value {
        let of = |key: &NewAccessKey| json!({"id": key.id, "secret": key.secret.as_str()});
        json!({
            "address": self.server().address().to_string(),
            "port": self.server().address().port(),
            "ca": self.folder.path().join("ca.pem"),
            "admin": of(&self.administrator),
            "nobody": of(&self.nobody),
        })
    }

    /// Runs a script, which fails where the service does not do as it should.
    fn judge(&self, prelude: &str, script: &str) -> String {
        python::run(&format!("{prelude}\n{script}"), &self.client().to_string())
    }
}

impl Service {
    fn end(&mut self) {
        let (server, engine) = (self.server.take(), Arc::clone(&self.engine));
        self.runtime.block_on(async {
            if let Some(server) = server {
                server.shutdown().await;
            }
            engine.close().await;
        });
    }

    /// Ends it, and looks at what it left.
    fn end_and<T>(mut self, look: impl FnOnce() -> T) -> T {
        self.end();
        look()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.end();
        }
    }
}

fn identity(folder: &TempDir) -> Identity {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = Issued::new(names).unwrap();
    let identity = Identity {
        certificate: folder.path().join("tls.pem"),
        key: folder.path().join("tls.key"),
    };
    std::fs::write(&identity.certificate, &made.certificate).unwrap();
    std::fs::write(&identity.key, made.key.as_bytes()).unwrap();
    std::fs::write(folder.path().join("ca.pem"), &made.authority).unwrap();
    identity
}

/// A principal whose policy allows nothing but listing keys' names, and its access key.
async fn principal(engine: &Engine, name: &str) -> NewAccessKey {
    let caller = Caller::local("tests");
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:ListKeys","Resource":"*"}]}"#;
    let create = CreatePrincipal {
        name: name.to_owned(),
        policy: policy.to_owned(),
    };
    engine.perform(&caller, create).await.unwrap();
    let create = CreateCredential {
        principal: name.to_owned(),
    };
    engine.perform(&caller, create).await.unwrap()
}

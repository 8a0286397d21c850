//! A provider for tests: slow, silent or refusing as it is told, and counting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::XaesKey;
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;
use zeroize::Zeroizing;

const VERSION: &str = "1";

/// What the double does when it is asked, shared with who made it.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// How long each call takes.
    latency: Mutex<Duration>,
    /// What each call answers, in place of doing it, and how many still do.
    failure: Mutex<Option<(KeyError, u64)>>,
    calls: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
    forgotten: AtomicU64,
}

impl Script {
    pub(crate) fn takes(&self, latency: Duration) {
        *self.latency.lock() = latency;
    }

    /// Fails from now on; `None`: works again.
    pub(crate) fn fails(&self, failure: Option<KeyError>) {
        *self.failure.lock() = failure.map(|failure| (failure, u64::MAX));
    }

    /// Fails that many times, and works again.
    pub(crate) fn fails_times(&self, failure: KeyError, times: u64) {
        *self.failure.lock() = Some((failure, times));
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The most calls that ran at the same time.
    pub(crate) fn most_running(&self) -> u64 {
        self.most_running.load(Ordering::SeqCst)
    }

    /// How often it was told to forget its secrets.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    fn act(&self) -> Result<(), KeyError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let latency = *self.latency.lock();
        thread::sleep(latency);
        self.running.fetch_sub(1, Ordering::SeqCst);
        match &mut *self.failure.lock() {
            Some((failure, left)) if *left > 0 => {
                *left -= 1;
                Err(failure.clone())
            }
            _ => Ok(()),
        }
    }
}

/// The provider. Its key lives as long as it does.
#[derive(Debug)]
pub(crate) struct Double {
    uri: KeyUri,
    key: SecretKey,
    local: bool,
    script: Arc<Script>,
}

impl Double {
    pub(crate) fn new(uri: &str) -> Self {
        Self {
            uri: uri.parse().unwrap(),
            key: SecretKey::random().unwrap(),
            local: false,
            script: Arc::default(),
        }
    }

    pub(crate) fn local(self) -> Self {
        Self {
            local: true,
            ..self
        }
    }

    pub(crate) fn script(&self) -> Arc<Script> {
        Arc::clone(&self.script)
    }
}

impl KeyProvider for Double {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.script.act()?;
        Ok(WrappedDek {
            key_version: VERSION.to_owned(),
            bytes: XaesKey::new(&self.key)
                .seal(&context.aad("double", VERSION.as_bytes()), dek.expose()),
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.script.act()?;
        if wrapped.key_version != VERSION {
            return Err(KeyError::not_found("no such version"));
        }
        let aad = context.aad("double", VERSION.as_bytes());
        let opened = XaesKey::new(&self.key).open(&aad, &wrapped.bytes);
        let dek = opened.map_err(|_error| KeyError::corrupt("it does not open"))?;
        Ok(SecretKey::from_slice(&Zeroizing::new(dek))?)
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.script.act()?;
        Ok(KeyHealth {
            key_version: VERSION.to_owned(),
            versions: 1,
            mechanism: None,
        })
    }

    fn describe(&self) -> String {
        "a double".to_owned()
    }

    fn is_local(&self) -> bool {
        self.local
    }

    fn forget(&self) {
        self.script.forgotten.fetch_add(1, Ordering::SeqCst);
    }
}

//! A provider that counts what is asked of it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::units::KeyUri;

/// How often one operation was called, and how often it failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCount {
    /// Calls, the failed ones among them.
    pub calls: u64,
    /// Calls that gave an error.
    pub failures: u64,
}

/// How often each operation of a provider was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProviderCalls {
    /// New data keys.
    pub generate: CallCount,
    /// Wraps of a given key.
    pub wrap: CallCount,
    /// Unwraps.
    pub unwrap: CallCount,
    /// Rewraps under a newer version.
    pub rewrap: CallCount,
    /// Health checks.
    pub probe: CallCount,
}

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Counter {
    fn count<T>(&self, call: impl FnOnce() -> Result<T, KeyError>) -> Result<T, KeyError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        call().inspect_err(|_error| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn read(&self) -> CallCount {
        CallCount {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

/// Any provider, with its calls counted and its URI put on its errors.
#[derive(Debug)]
pub struct Metered {
    inner: Box<dyn KeyProvider>,
    generate: Counter,
    wrap: Counter,
    unwrap: Counter,
    rewrap: Counter,
    probe: Counter,
}

impl Metered {
    /// Counts the calls of `inner` from now on.
    pub fn new(inner: Box<dyn KeyProvider>) -> Self {
        Self {
            inner,
            generate: Counter::default(),
            wrap: Counter::default(),
            unwrap: Counter::default(),
            rewrap: Counter::default(),
            probe: Counter::default(),
        }
    }

    /// The calls so far.
    pub fn calls(&self) -> ProviderCalls {
        ProviderCalls {
            generate: self.generate.read(),
            wrap: self.wrap.read(),
            unwrap: self.unwrap.read(),
            rewrap: self.rewrap.read(),
            probe: self.probe.read(),
        }
    }

    fn named<T>(&self, result: Result<T, KeyError>) -> Result<T, KeyError> {
        result.map_err(|error| error.at(self.inner.uri()))
    }
}

impl KeyProvider for Metered {
    fn uri(&self) -> &KeyUri {
        self.inner.uri()
    }

    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        self.named(self.generate.count(|| self.inner.generate(context)))
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.named(self.wrap.count(|| self.inner.wrap(dek, context)))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.named(self.unwrap.count(|| self.inner.unwrap(wrapped, context)))
    }

    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        self.named(
            self.unwrap
                .count(|| self.inner.unwrap_named(wrapped, context)),
        )
    }

    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        self.named(self.rewrap.count(|| self.inner.rewrap(wrapped, context)))
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.named(self.probe.count(|| self.inner.probe()))
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn forget(&self) {
        self.inner.forget();
    }
}

//! A provider that counts what is asked of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// Upper bounds of the classes of how long a call took; one class more is for what took longer.
pub const LATENCY_BOUNDS: [Duration; 12] = [
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How long the calls of a provider took, failed ones among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyReport {
    /// How many fell into each class of [`LATENCY_BOUNDS`], and how many took longer than the last.
    pub counts: Vec<u64>,
    /// All of them together.
    pub sum: Duration,
}

#[derive(Debug, Default)]
struct Latency {
    classes: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latency {
    fn note(&self, took: Duration) {
        let class = LATENCY_BOUNDS.partition_point(|bound| *bound < took);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> LatencyReport {
        let counts = self.classes.iter();
        LatencyReport {
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)),
        }
    }
}

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Counter {
    fn count<T>(
        &self,
        latency: &Latency,
        call: impl FnOnce() -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let result = call();
        latency.note(begun.elapsed());
        result.inspect_err(|_error| {
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
    latency: Latency,
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
            latency: Latency::default(),
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

    /// How long the calls took so far.
    pub fn latency(&self) -> LatencyReport {
        self.latency.read()
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
        self.named(
            self.generate
                .count(&self.latency, || self.inner.generate(context)),
        )
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.named(
            self.wrap
                .count(&self.latency, || self.inner.wrap(dek, context)),
        )
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.named(
            self.unwrap
                .count(&self.latency, || self.inner.unwrap(wrapped, context)),
        )
    }

    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        self.named(
            self.unwrap
                .count(&self.latency, || self.inner.unwrap_named(wrapped, context)),
        )
    }

    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        self.named(
            self.rewrap
                .count(&self.latency, || self.inner.rewrap(wrapped, context)),
        )
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.named(self.probe.count(&self.latency, || self.inner.probe()))
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

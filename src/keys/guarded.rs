//! A provider that may be slow, busy or down, asked with manners: the one place for retries, for
//! the bound on calls a second, and for leaving alone what does not answer.
//!
//! Providers themselves ask once and say what came of it: `Unavailable` for no answer, a timeout,
//! "too many requests" or a server's error, with [`KeyError::retry_after`] where the service named
//! a time. Those that answer from memory ([`KeyProvider::is_local`]) are called directly.

mod breaker;
mod bucket;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::crypto::secret::SecretKey;
use crate::keys::backoff::Backoff;
use crate::keys::error::{KeyError, Retry};
use crate::keys::metered::{LatencyReport, Metered, ProviderCalls};
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::units::KeyUri;
use breaker::{Breaker, Now};
use bucket::Bucket;

pub use breaker::Outage;

/// How often one call is tried.
const TRIES: u32 = 3;
/// No further try begins later than this after the first one; and who has waited for so long in
/// vain does not wait again: the breaker opens.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pauses between tries, at most: the first, and any.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Any provider behind retries, a rate limit and a circuit breaker; its calls are counted, tries
/// one by one.
#[derive(Debug)]
pub struct Guarded {
    inner: Metered,
    bucket: RwLock<Option<Arc<Bucket>>>,
    breaker: Breaker,
}

impl Guarded {
    /// Guards `inner`. `rate`: calls a second, at most, where that is bounded; a second's worth
    /// may come at once.
    pub fn new(inner: Metered, rate: Option<NonZeroU32>) -> Self {
        Self {
            inner,
            bucket: RwLock::new(bucket_of(rate)),
            breaker: Breaker::new(),
        }
    }

    /// Has another bound hold on the calls a second.
    pub fn set_rate(&self, rate: Option<NonZeroU32>) {
        *self.bucket.write() = bucket_of(rate);
    }

    /// The calls so far, each try of one counted.
    pub fn calls(&self) -> ProviderCalls {
        self.inner.calls()
    }

    /// How long the calls took so far, each try of one by itself.
    pub fn latency(&self) -> LatencyReport {
        self.inner.latency()
    }

    /// Since when it has not answered, where it is left alone for that.
    pub fn outage(&self) -> Option<Outage> {
        self.breaker.outage(Instant::now())
    }

    fn guard<T>(&self, ask: impl Fn() -> Result<T, KeyError>) -> Result<T, KeyError> {
        if self.inner.is_local() {
            return ask();
        }
        let result = self.ask_again(ask);
        result.map_err(|error| error.at(self.inner.uri()))
    }

    fn ask_again<T>(&self, ask: impl Fn() -> Result<T, KeyError>) -> Result<T, KeyError> {
        let begun = Instant::now();
        let mut pauses = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut tries = 1;
        loop {
            let Failed { error, may_retry } = match self.ask_once(&ask) {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let pause = pause_before_next(&error, pauses.next_delay());
            let in_time = begun.elapsed().saturating_add(pause) < PATIENCE;
            if !may_retry || tries == TRIES || !in_time {
                return Err(error);
            }
            tracing::debug!(provider = %self.inner.uri(), %error, ?pause, "asked again");
            thread::sleep(pause);
            tries = tries.saturating_add(1);
        }
    }

    fn ask_once<T>(&self, ask: &impl Fn() -> Result<T, KeyError>) -> Result<T, Failed> {
        let pass = self
            .breaker
            .admit(Instant::now())
            .map_err(|outage| left_alone(&outage))?;
        self.wait_for_turn()?;
        let begun = Instant::now();
        let result = ask();
        let now = Instant::now();
        match result {
            Err(error) if error.is_outage() => {
                let slowly = now.saturating_duration_since(begun) >= PATIENCE;
                let then = pass.failed(&error, slowly, now);
                if let Now::Opened(rest) = then {
                    tracing::warn!(provider = %self.inner.uri(), %error, ?rest, "a key provider does not answer: it is left alone for a while");
                }
                let may_retry = then == Now::Closed;
                Err(Failed { error, may_retry })
            }
            Err(error) if error.retry() == Retry::Never => Err(Failed::finally(error)),
            result => {
                if let Some(lasted) = pass.answered(now) {
                    tracing::warn!(provider = %self.inner.uri(), outage = ?lasted, "a key provider answers again");
                }
                result.map_err(Failed::finally)
            }
        }
    }

    fn wait_for_turn(&self) -> Result<(), Failed> {
        let Some(bucket) = self.bucket.read().clone() else {
            return Ok(());
        };
        let wait = bucket.take(Instant::now()).ok_or_else(|| {
            let message = "more calls wait than --provider-rate lets through in a few seconds";
            Failed::finally(KeyError::unavailable(message).of_this_host())
        })?;
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        Ok(())
    }
}

fn bucket_of(rate: Option<NonZeroU32>) -> Option<Arc<Bucket>> {
    rate.map(|rate| Arc::new(Bucket::new(rate)))
}

/// A try that failed.
struct Failed {
    error: KeyError,
    may_retry: bool,
}

impl Failed {
    fn finally(error: KeyError) -> Self {
        Self {
            error,
            may_retry: false,
        }
    }
}

fn pause_before_next(error: &KeyError, pause: Duration) -> Duration {
    match error.retry() {
        Retry::After(time) => pause.saturating_add(time),
        Retry::Never | Retry::Soon => pause,
    }
}

fn left_alone(outage: &Outage) -> Failed {
    let message = format!(
        "it has not answered for {} s and is not asked for another {} s: {}",
        outage.lasted.as_secs(),
        outage.retry_in.as_secs().saturating_add(1),
        outage.error.message()
    );
    Failed::finally(KeyError::unavailable(message).of_this_host())
}

impl KeyProvider for Guarded {
    fn uri(&self) -> &KeyUri {
        self.inner.uri()
    }

    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        self.guard(|| self.inner.generate(context))
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.guard(|| self.inner.wrap(dek, context))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.guard(|| self.inner.unwrap(wrapped, context))
    }

    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        self.guard(|| self.inner.unwrap_named(wrapped, context))
    }

    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        self.guard(|| self.inner.rewrap(wrapped, context))
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.guard(|| self.inner.probe())
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

#[cfg(test)]
mod tests;

//! The engine itself, and the one way in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};

use super::admit::Admitted;
use super::caches::Caches;
use super::caller::Caller;
use super::census::Census;
use super::error::{ErrorKind, KmsError};
use super::ids::KeyNames;
use super::operation::{Call, Operation};
use super::sharing::Sharing;
use crate::crypto::{LockedMemoryError, MacKey, SecretKey};
use crate::kms::audit::{Record, Trail};
use crate::kms::auth::{REMEMBERED, Replays};
use crate::kms::hsm::Hsm;
use crate::kms::root::Root;
use crate::kms::store::{Backend, Change, Store, Write};

/// Within this time a server sees what another one changed, while the store answers.
pub const SEEN_WITHIN: Duration = Duration::from_secs(1);
/// A server that could not ask the store for so long what was changed does nothing more until it can: this is how
/// long a key that was disabled elsewhere can be used at most, whatever breaks.
pub const STALE_AT_MOST: Duration = Duration::from_secs(5);

/// The service: store, root key, caches, audit trail.
#[derive(Debug)]
pub struct Engine {
    pub(super) store: Store,
    pub(super) root: Root,
    pub(super) hsm: Option<Arc<Hsm>>,
    pub(super) trail: Trail,
    pub(super) caches: Caches,
    pub(super) census: Census,
    pub(super) names: KeyNames,
    pub(super) replays: Arc<Replays>,
    /// `None` where no requests are taken.
    pub(super) sharing: Mutex<Option<Sharing>>,
    /// Of the console's cookies.
    pub(super) seals: MacKey,
    /// 32 hexadecimal digits.
    pub(super) service: String,
    started: Instant,
    /// Milliseconds after `started` at which the store was last asked for changes, and answered.
    asked: AtomicU64,
    /// The same of the requests that other servers took; `u64::MAX` while none are shared.
    shared: AtomicU64,
    /// Says `true` once it is closed.
    pub(super) closing: watch::Sender<bool>,
}

impl Engine {
    pub(super) fn new(
        store: Store,
        (root, hsm): (Root, Option<Arc<Hsm>>),
        trail: Trail,
        names: KeyNames,
        service: String,
        keys_cached: usize,
    ) -> Result<Self, LockedMemoryError> {
        Ok(Self {
            replays: Arc::new(Replays::new(REMEMBERED, root.requests()?)),
            sharing: Mutex::default(),
            seals: root.sessions()?,
            store,
            root,
            hsm,
            trail,
            caches: Caches::new(keys_cached),
            census: Census::default(),
            names,
            service,
            started: Instant::now(),
            asked: AtomicU64::new(0),
            shared: AtomicU64::new(u64::MAX),
            closing: watch::Sender::new(false),
        })
    }

    /// Does what is asked, if the caller may: finds the keys, asks policies and grants, looks at the keys' states, does
    /// it, and tells the audit trail, in this order.
    ///
    /// # Errors
    ///
    /// Whatever the operation was refused for; the audit trail has it too.
    pub async fn perform<O: Operation>(
        &self,
        caller: &Caller,
        operation: O,
    ) -> Result<O::Answer, KmsError> {
        let permit = self.trail.permit_soon().await?;
        let mut record = Record::with_permit(&self.trail, O::ACTION, caller, permit);
        let result = self.admit_and_run(caller, operation, &mut record).await;
        record.end(&result);
        result.map_err(|error| told(caller, error))
    }

    /// Tells the audit trail of a request that was refused before it came to [`Engine::perform`]: a wrong signature,
    /// a replay. `caller` is who it claimed to be.
    ///
    /// # Errors
    ///
    /// `Unavailable` where nothing is to be answered without an audit trail.
    pub fn note_refusal(
        &self,
        caller: &Caller,
        action: &str,
        refusal: &KmsError,
    ) -> Result<(), KmsError> {
        let record = Record::begin(&self.trail, action, caller)?;
        record.end::<()>(&Err(refusal.clone()));
        Ok(())
    }

    async fn admit_and_run<O: Operation>(
        &self,
        caller: &Caller,
        operation: O,
        record: &mut Record<'_>,
    ) -> Result<O::Answer, KmsError> {
        self.check_fresh()?;
        let now = now();
        let Admitted { first, second } = self
            .admit(caller, O::ACTION, operation.needs()?, now, record)
            .await?;
        if operation.is_dry_run() {
            return Err(KmsError::dry_run());
        }
        let found = OnceLock::new();
        let call = Call {
            engine: self,
            caller,
            now,
            first,
            second,
            found: &found,
        };
        let result = operation.run(call).await;
        if let Some(key) = found.get() {
            record.key(key);
        }
        result
    }

    /// Region and account, as the names of keys have them.
    #[must_use]
    pub fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Whether keys can be made in an HSM.
    #[must_use]
    pub fn has_hsm(&self) -> bool {
        self.hsm.is_some()
    }

    /// The service's own id: 32 hexadecimal digits.
    #[must_use]
    pub fn service_id(&self) -> &str {
        &self.service
    }

    /// Of which the keys of the audit trail's lines come: for who verifies them.
    ///
    /// # Errors
    ///
    /// No locked memory is left.
    pub fn audit_key(&self) -> Result<SecretKey, LockedMemoryError> {
        self.root.audit()
    }

    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Makes a change last, and forgets what was known of what it changed.
    pub(super) async fn commit(&self, write: Write<'_>) -> Result<(), KmsError> {
        let changes = write.commit().await?;
        self.forget(&changes);
        Ok(())
    }

    /// Forgets what was changed.
    pub(super) fn forget(&self, changes: &[Change]) {
        for change in changes {
            self.caches.forget(change);
        }
    }

    /// The store was asked for changes at this moment, and what it told is forgotten.
    pub(super) fn note_asked(&self, at: Instant) {
        self.asked
            .fetch_max(self.since_start(at), Ordering::Release);
    }

    /// Other servers know what was taken here before this moment, and what they took is known here.
    pub(super) fn note_shared(&self, at: Instant) {
        self.shared.store(self.since_start(at), Ordering::Release);
    }

    fn since_start(&self, at: Instant) -> u64 {
        let after = at.saturating_duration_since(self.started);
        u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
    }

    /// When the store was last asked for changes.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// Whether what is in memory is young enough to act upon. A file of SQLite has one server, which need not tell others.
    pub(super) fn check_fresh(&self) -> Result<(), KmsError> {
        let mut known = self.asked.load(Ordering::Acquire);
        if self.store.backend() == Backend::Postgres {
            known = known.min(self.shared.load(Ordering::Acquire));
        }
        let known = Duration::from_millis(known);
        if self.started.elapsed().saturating_sub(known) <= STALE_AT_MOST {
            return Ok(());
        }
        Err(KmsError::new(
            ErrorKind::Unavailable,
            "The store does not answer. Try again in a moment.",
        ))
    }

    /// Whether the store answers and the audit trail takes lines: for `/readyz`.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn ready(&self) -> Result<(), KmsError> {
        self.check_fresh()?;
        self.trail.permit().map(drop)?;
        self.store.change_number().await?;
        Ok(())
    }

    /// Stops what is done by schedule, writes what waits, and lets the store go. Says whether the whole audit trail
    /// was written.
    pub async fn close(self: &Arc<Self>) -> bool {
        self.closing.send_replace(true);
        self.add_census().await;
        self.tell_the_rest().await;
        self.store.close().await;
        let engine = Arc::clone(self);
        tokio::task::spawn_blocking(move || engine.trail.finish())
            .await
            .unwrap_or(false)
    }
}

/// What a caller is told: of what broke here, only by which id it is found in the log.
fn told(caller: &Caller, error: KmsError) -> KmsError {
    if error.kind() != ErrorKind::Internal {
        return error;
    }
    tracing::error!(request = caller.request_id, %error, "a request met a fault of the service");
    KmsError::internal()
}

/// Now, as exact as the store keeps it.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::store::StoreError;

    #[test]
    fn what_broke_inside_is_not_told_to_the_caller() {
        let caller = Caller::local("tests");
        let inside = "no such table kms_key in /var/lib/kms.db";
        for error in [
            KmsError::new(ErrorKind::Internal, inside),
            StoreError::Corrupt(inside.to_owned()).into(),
            StoreError::Unusable(inside.to_owned()).into(),
            StoreError::Unavailable(sqlx::Error::Protocol(inside.to_owned())).into(),
            StoreError::Exists.into(),
        ] {
            let message = told(&caller, error).message().to_owned();
            assert!(
                !message.contains("kms_key") && !message.contains("/var"),
                "{message}"
            );
        }
        let own = KmsError::new(ErrorKind::KeyDisabled, "The key is disabled.");
        assert_eq!(told(&caller, own.clone()), own);
    }
}

//! What a volume tells the audit: each time a key provider is asked for a key, by whom, and what it said.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::audit::{
    Audit, AuditError, Event, Field, Kind, Permit, QueueFull, Session, Subject, Target, WhenFull,
};
use crate::crypto::SecretKey;
use crate::format::header::{FileHeader, KeySlot};
use crate::keys::{KeyError, KeyErrorKind};
use crate::units::FileId;

use super::Volume;
use super::error::VolumeError;

/// For whom a file's key is fetched.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The file's path in the mount.
    pub path: Option<String>,
    /// Who opens it.
    pub subject: Subject,
}

/// What one key slot came to.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) slot: &'a KeySlot,
    /// The key service's name for the request, or why there is no key.
    pub(super) result: Result<Option<String>, &'a KeyError>,
}

impl Attempt<'_> {
    pub(super) fn event(&self, purpose: &str, cause: &str) -> Event {
        let event = Event::new(Kind::Unwrap)
            .with(Field::Purpose, purpose)
            .with(Field::Cause, cause)
            .with(Field::Provider, self.slot.key_uri.to_string())
            .with(Field::KeyVersion, self.slot.key_version.clone());
        match &self.result {
            Ok(request_id) => event
                .with(Field::Result, "granted")
                .with_some(Field::RequestId, request_id.clone()),
            Err(error) => event
                .with(Field::Result, "failed")
                .with(Field::Error, error.kind().to_string())
                .with(Field::Message, error.message())
                .with_some(Field::RequestId, error.request_id()),
        }
    }
}

/// The audit of a volume, once it has one.
#[derive(Debug, Default)]
pub(super) struct Told {
    audit: OnceLock<Arc<Audit>>,
    /// The key of audit lines, until a session has begun. What stays here could seal again what is written already.
    root: Mutex<Option<SecretKey>>,
    /// What happened before there was an audit.
    early: Mutex<Vec<Event>>,
    askers: Mutex<HashMap<FileId, Vec<Waiting>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    asker: Asker,
    permit: Permit,
}

impl Told {
    pub(super) fn new(root: SecretKey, early: Vec<Event>) -> Self {
        Self {
            root: Mutex::new(Some(root)),
            early: Mutex::new(early),
            ..Self::default()
        }
    }

    /// Tells what a slot of a file came to.
    pub(super) fn tell(&self, file: FileId, attempt: &Attempt<'_>) {
        let Some(audit) = self.audit.get() else {
            return;
        };
        let mut askers = self.askers.lock();
        let waiting = askers.get_mut(&file).and_then(|all| all.first_mut());
        let cause = if waiting.is_some() { "open" } else { "refresh" };
        let event = attempt
            .event("data-key", cause)
            .with(Field::FileId, file.to_string());
        match waiting {
            None => audit.note(event),
            Some(waiting) => {
                let asker = &waiting.asker;
                let event = event.with_some(Field::Path, asker.path.clone());
                waiting.permit.note(event.by(&asker.subject));
            }
        }
    }

    /// Whether a key may be unwrapped that nobody waits for: not where that could not be told.
    pub(super) fn may_ask(&self, file: FileId) -> Result<(), KeyError> {
        let Some(audit) = self.audit.get() else {
            return Ok(());
        };
        if self.askers.lock().contains_key(&file) {
            return Ok(());
        }
        audit.permit().map(drop).map_err(no_room)
    }

    fn begin(&self, file: FileId, asker: Asker, permit: Permit) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting {
            number,
            asker,
            permit,
        };
        self.askers.lock().entry(file).or_default().push(waiting);
        number
    }

    fn end(&self, file: FileId, number: u64) {
        let mut askers = self.askers.lock();
        if let Some(all) = askers.get_mut(&file) {
            all.retain(|waiting| waiting.number != number);
            if all.is_empty() {
                askers.remove(&file);
            }
        }
    }
}

fn no_room(error: QueueFull) -> KeyError {
    KeyError::new(KeyErrorKind::Unavailable, error.to_string())
}

impl Volume {
    /// Begins an audit session: from here on everything that is told goes there. Once in a volume's life.
    ///
    /// # Errors
    /// The target cannot be used.
    pub fn begin_audit(
        &self,
        target: &Target,
        when_full: WhenFull,
        start: Event,
    ) -> Result<(), AuditError> {
        let Some(root) = self.told.root.lock().take() else {
            return Ok(());
        };
        let start = start.with(Field::Volume, self.config().volume_id.to_string());
        let session = Session { root: &root, start };
        let audit = Audit::start(target, when_full, session)?;
        let audit = self.told.audit.get_or_init(|| Arc::new(audit));
        self.told
            .early
            .lock()
            .drain(..)
            .for_each(|event| audit.note(event));
        Ok(())
    }

    /// The key that the seals of this volume's audit lines begin from, to verify them. Gone once a session has begun.
    pub fn audit_key(&self) -> Option<SecretKey> {
        self.told.root.lock().take()
    }

    /// The audit, where there is one.
    pub fn audit(&self) -> Option<&Arc<Audit>> {
        self.told.audit.get()
    }

    /// Tells of something, where there is an audit. Never waits.
    pub fn note(&self, event: impl FnOnce() -> Event) {
        if let Some(audit) = self.audit() {
            audit.note(event());
        }
    }

    /// As [`Volume::fetch_keys`], for somebody who is told of where there is an audit.
    pub fn fetch_keys_for(
        &self,
        asker: impl FnOnce() -> Asker,
        header: FileHeader,
        done: impl FnOnce(FileHeader, Result<Vec<Arc<SecretKey>>, VolumeError>) + Send + 'static,
    ) {
        let Some(audit) = self.audit() else {
            return self.fetch_keys(header, done);
        };
        let permit = match audit.permit() {
            Ok(permit) => permit,
            Err(error) => return done(header, Err(no_room(error).into())),
        };
        let (told, file) = (Arc::clone(&self.told), header.file_id);
        let number = told.begin(file, asker(), permit);
        self.fetch_keys(header, move |header, keys| {
            told.end(file, number);
            done(header, keys);
        });
    }
}

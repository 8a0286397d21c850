//! The trail of every call, granted or refused: one line each, held together as [`crate::audit`] does it.
//!
//! A line is noted when its call is over, and written by a thread of its own: no call waits for a disk. What happens
//! when lines come faster than they can be written, or cannot be written at all, is set by
//! [`WhenFull`]: they are dropped and counted, or calls are refused.

pub mod recent;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::audit::{
    Audit, AuditError, AuditReport, Event, Field, Kind, Permit, Session, Target, WhenFull,
};
use crate::kms::engine::model::KeyId;
use crate::kms::engine::{Caller, EncryptionContext, ErrorKind, KmsError};
use crate::kms::root::Root;
use recent::{Noted, Recent};

/// How long a call waits for room in the trail, and between two looks.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// Where the trail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailOptions {
    /// `None`: nowhere (for tests and for reading the store alone).
    pub file: Option<PathBuf>,
    /// Whether calls are refused that cannot be noted.
    pub when_full: WhenFull,
}

impl TrailOptions {
    /// No trail.
    #[must_use]
    pub fn none() -> Self {
        Self {
            file: None,
            when_full: WhenFull::Drop,
        }
    }
}

/// Takes lines.
#[derive(Debug)]
pub struct Trail {
    audit: Option<Audit>,
    recent: Recent,
}

impl Trail {
    /// Goes on with the file, or begins it.
    ///
    /// # Errors
    ///
    /// The file cannot be used; no locked memory is left.
    pub fn start(options: &TrailOptions, root: &Root, service: &str) -> Result<Self, AuditError> {
        let Some(file) = &options.file else {
            return Ok(Self {
                audit: None,
                recent: Recent::default(),
            });
        };
        let start = Event::new(Kind::SessionStart)
            .with(Field::Volume, service)
            .with(Field::Version, env!("CARGO_PKG_VERSION"))
            .with(Field::Pid, std::process::id());
        let root = &root.audit()?;
        let target = Target::File(file.clone());
        let audit = Audit::start(&target, options.when_full, Session { root, start })?;
        Ok(Self {
            audit: Some(audit),
            recent: Recent::default(),
        })
    }

    /// Room for the line of a call that is about to be done, where a call must not be done without one.
    ///
    /// # Errors
    ///
    /// `Unavailable`: there is none.
    pub fn permit(&self) -> Result<Option<Permit>, KmsError> {
        let audit = self.audit.as_ref();
        audit
            .filter(|audit| audit.when_full() == WhenFull::Fail)
            // A call is one line.
            .map(|audit| audit.permit_for(1))
            .transpose()
            .map_err(|_full| {
                KmsError::new(
                    ErrorKind::Unavailable,
                    "The audit trail cannot be written, and nothing is done without it.",
                )
            })
    }

    /// Notes how many requests from a source did not prove whose they were and have no line of their own.
    ///
    /// # Errors
    ///
    /// As [`Self::permit`].
    pub fn note_unproven(&self, source: &str, count: u64) -> Result<(), KmsError> {
        let mut permit = self.permit()?;
        let event = Event::new(Kind::KmsUnproven)
            .with(Field::Address, source)
            .with(Field::Count, count);
        self.note(permit.as_mut(), event);
        Ok(())
    }

    /// As [`Self::permit`], but waits for room for a while, as long as lines are being written: a disk that is slow for a
    /// moment has nobody refused.
    ///
    /// # Errors
    ///
    /// As [`Self::permit`].
    pub async fn permit_soon(&self) -> Result<Option<Permit>, KmsError> {
        let begun = Instant::now();
        loop {
            match self.permit() {
                Err(_full) if self.is_writing() && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                permit => return permit,
            }
        }
    }

    fn is_writing(&self) -> bool {
        self.audit.as_ref().is_some_and(Audit::is_writing)
    }

    /// The last calls, whether there is a file or not.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// How it is; `None` where there is none.
    #[must_use]
    pub fn report(&self) -> Option<AuditReport> {
        self.audit.as_ref().map(Audit::report)
    }

    /// The file may have been moved away: goes on in the one that has its name now.
    pub fn reopen(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Writes what waits; says whether all was written.
    #[must_use]
    pub fn finish(&self) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.finish(true))
    }

    fn note(&self, permit: Option<&mut Permit>, event: Event) {
        match (permit, &self.audit) {
            (Some(permit), _) => permit.note(event),
            (None, Some(audit)) => audit.note(event),
            (None, None) => {}
        }
    }
}

/// One call's line, in the making. A call that is dropped before its end is noted as abandoned.
#[derive(Debug)]
pub struct Record<'a> {
    trail: &'a Trail,
    action: &'a str,
    caller: &'a Caller,
    key: Option<KeyId>,
    permit: Option<Permit>,
    /// `None` once it was noted, and where there is no trail.
    event: Option<Event>,
}

impl<'a> Record<'a> {
    /// # Errors
    ///
    /// As [`Trail::permit`].
    pub fn begin(trail: &'a Trail, action: &'a str, caller: &'a Caller) -> Result<Self, KmsError> {
        Ok(Self::with_permit(trail, action, caller, trail.permit()?))
    }

    /// With room that there is.
    #[must_use]
    pub fn with_permit(
        trail: &'a Trail,
        action: &'a str,
        caller: &'a Caller,
        permit: Option<Permit>,
    ) -> Self {
        let event = trail.audit.is_some().then(|| {
            Event::new(Kind::KmsCall)
                .with(Field::RequestId, caller.request_id.as_str())
                .with(Field::Dialect, caller.dialect.name())
                .with(Field::Action, action)
                .with(Field::Principal, caller.principal.as_str())
                .with(Field::AccessKey, caller.access_key_id.as_str())
                .with_some(
                    Field::Address,
                    caller.address.map(|address| address.to_string()),
                )
        });
        Self {
            trail,
            action,
            caller,
            key: None,
            permit,
            event,
        }
    }

    /// Notes the key that it is about.
    pub fn key(&mut self, key: &KeyId) {
        self.key = Some(key.clone());
        self.with(Field::KeyId, key.0.as_str());
    }

    /// Notes the second key.
    pub fn other_key(&mut self, key: &KeyId) {
        self.with(Field::OtherKeyId, key.0.as_str());
    }

    /// Notes the encryption context.
    pub fn context(&mut self, context: &EncryptionContext) {
        if self.event.is_none() || context.is_empty() {
            return;
        }
        if let Ok(text) = serde_json::to_string(context.pairs()) {
            self.with(Field::Context, text);
        }
    }

    fn with(&mut self, field: Field, value: impl Into<Value>) {
        self.event = self.event.take().map(|event| event.with(field, value));
    }

    /// There was nothing to do after all.
    pub fn withdraw(mut self) {
        self.event = None;
    }

    /// Notes what came of it.
    pub fn end<T>(mut self, result: &Result<T, KmsError>) {
        self.trail.recent.note(Noted {
            action: self.action,
            caller: self.caller,
            key: self.key.as_ref().map(|key| key.0.as_str()),
            refusal: result.as_ref().err(),
        });
        let Some(event) = self.event.take() else {
            return;
        };
        let event = match result {
            Ok(_) => event.with(Field::Result, "granted"),
            Err(error) => event
                .with(Field::Result, "failed")
                .with(Field::Error, format!("{:?}", error.kind()))
                .with(Field::Message, error.message()),
        };
        self.trail.note(self.permit.as_mut(), event);
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            let event = event.with(Field::Result, "abandoned");
            self.trail.note(self.permit.as_mut(), event);
        }
    }
}

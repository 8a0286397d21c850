//! Who is signed in to the console, whichever server they come to.
//!
//! A session is a cookie, of which the store keeps the hash, and a random token, which the pages' scripts send along with
//! every request. It ends after half an hour without a request, after twelve hours, when it is signed out, and when the
//! access key is disabled or deleted. A cookie bears a seal of the root key's: who makes cookies up does not have the
//! store asked for them.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::error::KmsError;
use super::service::{Engine, now};
use crate::crypto::random;
use crate::kms::audit::Record;
use crate::kms::store::sessions::{SessionBounds, SessionRecord};

/// Without a request for so long a session ends.
pub const IDLE_MAX: SignedDuration = SignedDuration::from_mins(30);
/// However much it is used.
pub const AGE_MAX: SignedDuration = SignedDuration::from_hours(12);
/// A session that is used is noted to be no more often.
const NOTED: SignedDuration = SignedDuration::from_mins(1);
/// Of all access keys together.
pub const SESSIONS_MAX: i64 = 1024;
/// Of one access key.
pub const SESSIONS_PER_KEY_MAX: i64 = 16;
/// Bytes of a cookie that are random, and of its seal.
const RANDOM: usize = 32;
const SEAL: usize = 32;

/// Who is signed in.
#[derive(Clone)]
pub struct Session {
    record: SessionRecord,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("access_key_id", &self.record.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Who is signed in, as the caller of a request that this is of.
    #[must_use]
    pub fn caller(&self, request: Caller) -> Caller {
        Caller {
            principal: self.record.principal.clone(),
            access_key_id: self.record.access_key_id.clone(),
            ..request
        }
    }

    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.record.access_key_id
    }

    /// As it was when the session began.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.record.principal
    }

    /// What the pages' scripts send along.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.record.token
    }

    fn lives(&self, now: Timestamp) -> bool {
        now.duration_since(self.record.used) < IDLE_MAX
            && now.duration_since(self.record.began) < AGE_MAX
    }
}

impl Engine {
    /// Begins a session: its cookie, and itself. Where there are too many, the one that was used longest ago ends. The
    /// audit trail has it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn begin_session(&self, caller: &Caller) -> Result<(String, Session), KmsError> {
        let record = Record::begin(&self.trail, "SignIn", caller)?;
        let begun = self.put_session(caller).await;
        record.end(&begun);
        begun
    }

    async fn put_session(&self, caller: &Caller) -> Result<(String, Session), KmsError> {
        let (cookie, now) = (self.new_cookie(), now());
        let record = SessionRecord {
            name: name(&cookie),
            access_key_id: caller.access_key_id.clone(),
            principal: caller.principal.clone(),
            token: BASE64URL_NOPAD.encode(&random::array::<32>()),
            began: now,
            used: now,
        };
        let bounds = SessionBounds {
            of_key: SESSIONS_PER_KEY_MAX,
            of_all: SESSIONS_MAX,
            idle_since: now - IDLE_MAX,
            old_since: now - AGE_MAX,
        };
        self.store.put_session(&record, bounds).await?;
        Ok((cookie, Session { record }))
    }

    /// The session of a cookie, which goes on; `None` where there is none (any more).
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn session(&self, cookie: &str) -> Result<Option<Session>, KmsError> {
        self.check_fresh()?;
        if !self.is_sealed(cookie) {
            return Ok(None);
        }
        let Some(record) = self.store.session(&name(cookie)).await? else {
            return Ok(None);
        };
        let (session, now) = (Session { record }, now());
        if !session.lives(now) {
            return Ok(None);
        }
        if now.duration_since(session.record.used) >= NOTED {
            self.store.use_session(&session.record.name, now).await?;
        }
        Ok(Some(session))
    }

    /// Ends the session of this caller, on every server. The audit trail has it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn end_session(&self, caller: &Caller, session: &Session) -> Result<(), KmsError> {
        let record = Record::begin(&self.trail, "SignOut", caller)?;
        let deleted = self.store.delete_session(&session.record.name).await;
        let ended = deleted.map_err(KmsError::from);
        record.end(&ended);
        ended
    }

    fn new_cookie(&self) -> String {
        let random = random::array::<RANDOM>();
        let seal = self.seals.tag(&[&random]);
        BASE64URL_NOPAD.encode(&[random, seal].concat())
    }

    fn is_sealed(&self, cookie: &str) -> bool {
        let bytes = BASE64URL_NOPAD.decode(cookie.as_bytes()).ok();
        let bytes: Option<[u8; RANDOM + SEAL]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.is_some_and(|bytes| {
            let (random, seal) = bytes.split_at(RANDOM);
            seal.try_into()
                .is_ok_and(|seal| self.seals.verify(&[random], seal))
        })
    }
}

/// A cookie's hash: what the store holds makes nobody's cookie.
fn name(cookie: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(cookie))
}

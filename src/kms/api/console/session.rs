//! Sessions: who gave an access key lately.
//!
//! A session is a random cookie, of which the server keeps the hash, and a random token, which the pages' scripts send along
//! with every request. It ends after half an hour without a request, after twelve hours, when it is signed out, and when the
//! access key is disabled or deleted. Sessions are this process's: of several servers, the browser stays with one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use hyper::header::{self, HeaderName};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::crypto::random;
use crate::kms::api::web::{WebError, WebRequest};
use crate::kms::engine::Caller;

pub(super) const COOKIE: &str = "__Host-envelopekms";
/// The header of the token.
pub(super) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-console-token");
/// Without a request for so long a session ends.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// However much it is used.
pub const AGE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Of all access keys together.
pub const SESSIONS_MAX: usize = 1024;
/// Of one access key.
pub const SESSIONS_PER_KEY_MAX: usize = 16;

/// A cookie's hash.
type Name = [u8; 32];

/// Who is signed in.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) access_key_id: String,
    pub(super) principal: String,
    pub(super) token: String,
    began: Instant,
    used: Instant,
}

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Name, Session>>);

impl Sessions {
    /// Begins a session: its cookie, and itself. Where there are too many, the one that was used longest ago ends.
    pub(super) fn begin(&self, caller: &Caller) -> (String, Session) {
        let (cookie, now) = (secret(), Instant::now());
        let session = Session {
            access_key_id: caller.access_key_id.clone(),
            principal: caller.principal.clone(),
            token: secret(),
            began: now,
            used: now,
        };
        let mut sessions = self.0.lock();
        sessions.retain(|_name, session| session.lives(now));
        make_room(&mut sessions, SESSIONS_PER_KEY_MAX, |session| {
            session.access_key_id == caller.access_key_id
        });
        make_room(&mut sessions, SESSIONS_MAX, |_session| true);
        sessions.insert(name(&cookie), session.clone());
        (cookie, session)
    }

    /// The session of the request's cookie, and that cookie's hash.
    pub(super) fn find(&self, request: &WebRequest<'_>) -> Result<(Name, Session), WebError> {
        let name = request
            .header(&header::COOKIE)
            .and_then(cookie)
            .map(name)
            .ok_or_else(ended)?;
        let now = Instant::now();
        let mut sessions = self.0.lock();
        let session = sessions.get_mut(&name).filter(|session| session.lives(now));
        let session = session.ok_or_else(ended)?;
        session.used = now;
        Ok((name, session.clone()))
    }

    pub(super) fn end(&self, name: Name) {
        self.0.lock().remove(&name);
    }
}

impl Session {
    /// A page of another site can have the cookie sent, but does not know the token.
    pub(super) fn check_token(&self, request: &WebRequest<'_>) -> Result<(), WebError> {
        let given = request.header(&TOKEN_HEADER).unwrap_or_default();
        if bool::from(given.as_bytes().ct_eq(self.token.as_bytes())) {
            return Ok(());
        }
        Err(WebError::new(
            403,
            "TokenWrong",
            "The request does not have the session's token. Load the page again.",
        ))
    }

    fn lives(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < IDLE_MAX
            && now.saturating_duration_since(self.began) < AGE_MAX
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({})", self.0.lock().len())
    }
}

/// No session, or one that is over.
pub(super) fn ended() -> WebError {
    WebError::new(401, "SessionEnded", "You are not signed in any more.")
}

/// 256 random bits as text.
fn secret() -> String {
    BASE64URL_NOPAD.encode(&random::array::<32>())
}

fn name(cookie: &str) -> Name {
    Sha256::digest(cookie).into()
}

/// The cookie's value; a name that is there twice is no cookie of a browser.
fn cookie(header: &str) -> Option<&str> {
    let values = header.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    let mut values = values.filter(|value| !value.is_empty());
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Ends those that were used longest ago, until there is room for one more.
fn make_room(sessions: &mut HashMap<Name, Session>, max: usize, counts: impl Fn(&Session) -> bool) {
    loop {
        let counted = || sessions.iter().filter(|(_name, session)| counts(session));
        if counted().count() < max {
            return;
        }
        let oldest = counted().min_by_key(|(_name, session)| session.used);
        let Some(oldest) = oldest.map(|(name, _session)| *name) else {
            return;
        };
        sessions.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn caller(id: &str) -> Caller {
        Caller {
            access_key_id: id.to_owned(),
            principal: "p".to_owned(),
            ..Caller::local("tests")
        }
    }

    fn with<T>(headers: &[(HeaderName, &str)], ask: impl Fn(&WebRequest<'_>) -> T) -> T {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        ask(&WebRequest {
            method: "POST",
            path: "/console/api/ListKeys",
            query: "",
            headers: &headers,
            body: b"",
        })
    }

    fn find(sessions: &Sessions, cookie: &str) -> Result<Session, WebError> {
        let header = format!("a=b; {COOKIE}={cookie}");
        let found = with(&[(header::COOKIE, header.as_str())], |request| {
            sessions.find(request)
        });
        found.map(|(_name, session)| session)
    }

    #[test]
    fn a_session_is_found_by_its_cookie_and_by_no_other() {
        let sessions = Sessions::default();
        let (cookie, _session) = sessions.begin(&caller("k"));
        assert_eq!(find(&sessions, &cookie).unwrap().access_key_id, "k");
        for wrong in ["", "x", &cookie[1..], &cookie.to_lowercase()] {
            let error = find(&sessions, wrong).map(drop).unwrap_err();
            assert_eq!((error.status, error.code), (401, "SessionEnded"));
        }
        let twice = format!("{cookie}; {COOKIE}={cookie}");
        assert!(find(&sessions, &twice).is_err());
        sessions.end(name(&cookie));
        assert!(find(&sessions, &cookie).is_err());
    }

    #[test]
    fn cookies_and_tokens_are_not_kept_or_shown() {
        let sessions = Sessions::default();
        let (cookie, session) = sessions.begin(&caller("k"));
        assert_ne!(cookie, session.token);
        assert_eq!(cookie.len(), 43);
        assert_eq!(format!("{sessions:?}"), "Sessions(1)");
    }

    #[test]
    fn idle_and_old_sessions_end() {
        let sessions = Sessions::default();
        let (cookie, session) = sessions.begin(&caller("k"));
        assert!(session.lives(session.used + IDLE_MAX - Duration::from_secs(1)));
        assert!(!session.lives(session.used + IDLE_MAX));
        let busy = Session {
            used: session.began + AGE_MAX,
            ..session
        };
        assert!(!busy.lives(busy.began + AGE_MAX));
        let long_ago = Instant::now().checked_sub(IDLE_MAX);
        // A machine that runs for less than half an hour has no such moment.
        if let Some(long_ago) = long_ago {
            sessions.0.lock().get_mut(&name(&cookie)).unwrap().used = long_ago;
            assert!(find(&sessions, &cookie).is_err());
        }
    }

    #[test]
    fn sessions_are_bounded_and_one_key_cannot_end_those_of_others() {
        let sessions = Sessions::default();
        let (first, _session) = sessions.begin(&caller("other"));
        let cookies: Vec<_> = (0..SESSIONS_PER_KEY_MAX + 3)
            .map(|_| sessions.begin(&caller("k")).0)
            .collect();
        assert!(find(&sessions, &first).is_ok());
        let alive = cookies
            .iter()
            .filter(|cookie| find(&sessions, cookie).is_ok());
        assert_eq!(alive.count(), SESSIONS_PER_KEY_MAX);
        for n in 0..SESSIONS_MAX {
            sessions.begin(&caller(&n.to_string()));
        }
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
    }

    #[test]
    fn a_request_without_the_token_is_refused() {
        let sessions = Sessions::default();
        let (_cookie, session) = sessions.begin(&caller("k"));
        let check = |headers: &[_]| with(headers, |request| session.check_token(request));
        assert_eq!(check(&[(TOKEN_HEADER, session.token.as_str())]), Ok(()));
        let (_cookie, other) = sessions.begin(&caller("k"));
        for headers in [
            &[][..],
            &[(TOKEN_HEADER, "")],
            &[(TOKEN_HEADER, other.token.as_str())],
            &[
                (TOKEN_HEADER, session.token.as_str()),
                (TOKEN_HEADER, session.token.as_str()),
            ],
        ] {
            assert_eq!(check(headers).unwrap_err().code, "TokenWrong");
        }
    }
}

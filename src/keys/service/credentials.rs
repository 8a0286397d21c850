//! Access keys, which requests are signed with; those of a role end.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::clock;
use super::environment::Environment;
use super::renewed::{Given, Leased};
use crate::keys::error::KeyError;
use crate::keys::passphrase_source::Locked;

/// New ones are fetched this long before the end.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// And not more often than this: a source may have nothing newer yet, or not answer.
const PAUSE: Duration = Duration::from_secs(30);

/// What requests are signed with: an id, which is no secret, the secret in locked memory, and the
/// session token of temporary ones.
pub(crate) struct AccessKey {
    id: String,
    secret: Locked,
    token: Option<Locked>,
    expires: Option<Timestamp>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AccessKey");
        shown.field("id", &self.id).field("expires", &self.expires);
        shown.finish_non_exhaustive()
    }
}

impl AccessKey {
    /// # Errors
    /// `Config` for an id or a token that no header may have; `Unavailable` without locked memory.
    pub(crate) fn new(
        id: &str,
        secret: &str,
        token: Option<&str>,
        expires: Option<Timestamp>,
    ) -> Result<Self, KeyError> {
        let fits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits(id) || !fits(secret) || !token.is_none_or(fits) {
            return Err(KeyError::config(
                "access key, secret and token must be printable ASCII without spaces",
            ));
        }
        Ok(Self {
            id: id.to_owned(),
            secret: Locked::new(secret.as_bytes())?,
            token: token
                .map(|token| Locked::new(token.as_bytes()))
                .transpose()?,
            expires,
        })
    }

    /// The access key that three variables hold: its id, the secret, and the token of a temporary
    /// one; `None` where neither id nor secret is set.
    ///
    /// # Errors
    /// `Config` where one of id and secret is missing, and as [`new`](Self::new).
    pub(crate) fn of_environment(
        environment: &Environment,
        [id, secret, token]: [&str; 3],
    ) -> Result<Option<Self>, KeyError> {
        let text = |name| Ok::<_, KeyError>(environment.text(name)?.map(Zeroizing::new));
        match (text(id)?, text(secret)?) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = text(token)?;
                let token = token.as_ref().map(|token| token.as_str());
                Self::new(&id, &secret, token, None).map(Some)
            }
            _ => Err(KeyError::config(format!(
                "{id} and {secret} must both be set, or neither"
            ))),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> Zeroizing<Vec<u8>> {
        self.secret.reveal()
    }

    pub(crate) fn token(&self) -> Option<Zeroizing<String>> {
        let token = self.token.as_ref()?.reveal();
        std::str::from_utf8(&token)
            .ok()
            .map(|token| Zeroizing::new(token.to_owned()))
    }
}

/// An access key is in use until its end: for some time at the least, where that is near already, so
/// that a source which has nothing newer yet is not asked for each request.
impl From<AccessKey> for Leased<AccessKey> {
    fn from(key: AccessKey) -> Self {
        let left = key.expires.map(|end| {
            let left = end.duration_since(clock::now());
            Duration::try_from(left).unwrap_or_default().max(PAUSE)
        });
        Self::from_now(key, left)
    }
}

impl Given for AccessKey {
    fn early(lifetime: Duration) -> Duration {
        EARLY.min(lifetime.saturating_sub(PAUSE))
    }

    fn try_again(_lifetime: Duration) -> Duration {
        PAUSE
    }

    fn is_same(&self, other: &Self) -> bool {
        let token = |key: &Self| key.token.as_ref().map(Locked::reveal).unwrap_or_default();
        let secrets = self.secret().ct_eq(&other.secret());
        self.id == other.id && bool::from(secrets & token(self).ct_eq(&token(other)))
    }
}

/// The end of temporary credentials as a metadata service writes it.
///
/// # Errors
/// `Unavailable` for what is no time.
pub(crate) fn end_of(text: &str) -> Result<Timestamp, KeyError> {
    clock::parse(text).ok_or_else(|| {
        KeyError::unavailable("credentials came with an end (Expiration) that is no time")
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn ends_in(seconds: i64) -> Leased<AccessKey> {
        let end = clock::now().saturating_add(SignedDuration::from_secs(seconds));
        AccessKey::new("id", "hunter2", None, Some(end.unwrap()))
            .unwrap()
            .into()
    }

    #[test]
    fn new_ones_are_looked_for_five_minutes_before_the_end() {
        for (seconds, early) in [(3600, 300), (400, 300), (60, 30), (31, 1), (30, 0)] {
            let early = Duration::from_secs(early);
            assert_eq!(AccessKey::early(Duration::from_secs(seconds)), early);
        }
        let lifetime = ends_in(3600).lifetime().unwrap();
        assert!((3500..=3600).contains(&lifetime.as_secs()), "{lifetime:?}");
    }

    #[test]
    fn ones_that_end_soon_or_have_ended_are_not_fetched_for_each_request() {
        for seconds in [-86400, -1, 0, 1, 29] {
            assert_eq!(ends_in(seconds).lifetime(), Some(PAUSE), "{seconds}");
        }
        let endless = AccessKey::new("id", "hunter2", None, None).unwrap();
        assert_eq!(Leased::from(endless).lifetime(), None);
    }

    #[test]
    fn each_part_makes_it_another_one() {
        let key = |id, secret, token| AccessKey::new(id, secret, token, None).unwrap();
        let one = key("a", "s", Some("t"));
        assert!(one.is_same(&key("a", "s", Some("t"))));
        for other in [
            key("b", "s", Some("t")),
            key("a", "z", Some("t")),
            key("a", "s", Some("z")),
            key("a", "s", None),
        ] {
            assert!(!one.is_same(&other), "{other:?}");
        }
    }

    #[test]
    fn variables_hold_a_whole_access_key_or_none() {
        let of = |variables: &[(&str, &str)]| {
            AccessKey::of_environment(&Environment::of(variables), ["ID", "SECRET", "TOKEN"])
        };
        let all = [("ID", "AKID"), ("SECRET", "hunter2"), ("TOKEN", "t")];
        let key = of(&all).unwrap().unwrap();
        assert_eq!((key.id(), &*key.secret()), ("AKID", &b"hunter2".to_vec()));
        assert_eq!(*key.token().unwrap(), "t");
        assert!(of(&all[..2]).unwrap().unwrap().token().is_none());
        assert!(of(&all[2..]).unwrap().is_none());
        for half in [&all[..1], &all[1..2]] {
            let error = of(half).unwrap_err();
            assert!(error.message().contains("ID and SECRET"), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn no_secret_shows_and_odd_ones_are_refused() {
        let key = AccessKey::new("AKID", "hunter2", Some("t0ken"), None).unwrap();
        let text = format!("{key:?}");
        assert!(text.contains("AKID") && !text.contains("hunter2") && !text.contains("t0ken"));
        assert_eq!(*key.secret(), b"hunter2");
        assert_eq!(*key.token().unwrap(), "t0ken");
        for (id, secret, token) in [
            ("", "s", None),
            ("i", "", None),
            ("i", "s", Some("")),
            ("i d", "s", None),
            ("i", "hunter2\n", None),
            ("i", "s", Some("hunter2\r\nx: y")),
            ("i", "hunter2é", None),
        ] {
            let error = AccessKey::new(id, secret, token, None).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error}");
        }
        assert!(end_of("2026-11-22T11:26:37Z").is_ok());
        assert!(end_of("tomorrow").is_err());
    }
}

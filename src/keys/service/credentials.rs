//! Access keys that end, and are fetched anew before they do.

use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::clock;
use super::environment::Environment;
use crate::keys::error::KeyError;
use crate::keys::passphrase_source::Locked;

/// New ones are fetched this long before the end.
const EARLY: SignedDuration = SignedDuration::from_mins(5);
/// And not more often than this: a source may have nothing newer yet, or not answer.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);

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

    fn is_same(&self, other: &Self) -> bool {
        let token = |key: &Self| key.token.as_ref().map(Locked::reveal).unwrap_or_default();
        let secrets = self.secret().ct_eq(&other.secret());
        self.id == other.id && bool::from(secrets & token(self).ct_eq(&token(other)))
    }

    fn is_good(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// Where access keys come from. Fetching may block.
pub(crate) trait Source: Send + Sync + fmt::Debug {
    /// # Errors
    /// `Config` where there are none, `Unavailable` where it does not answer.
    fn fetch(&self) -> Result<AccessKey, KeyError>;
}

/// The access key of this machine, kept until shortly before its end.
#[derive(Debug)]
pub(crate) struct Credentials {
    source: Box<dyn Source>,
    kept: Mutex<Option<Kept>>,
}

#[derive(Debug)]
struct Kept {
    key: Arc<AccessKey>,
    /// When a newer one is looked for.
    renew: Option<Timestamp>,
}

impl Credentials {
    /// Takes the access key out of memory.
    pub(crate) fn forget(&self) {
        *self.kept.lock() = None;
    }
}

impl Kept {
    fn of(key: AccessKey, now: Timestamp) -> Self {
        let early = key.expires.map(|end| saturating_sub(end, EARLY));
        Self {
            key: Arc::new(key),
            renew: early.map(|early| early.max(saturating_add(now, PAUSE))),
        }
    }
}

impl Credentials {
    /// Nothing is fetched yet.
    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        let kept = Mutex::new(None);
        Self { source, kept }
    }

    /// The access key. One that is near its end is still used where no newer one is to be had.
    ///
    /// # Errors
    /// Those of the source.
    fn current(&self, now: Timestamp) -> Result<Arc<AccessKey>, KeyError> {
        // Held while fetching, on purpose: others would fetch the same.
        let mut kept = self.kept.lock();
        let Some(old) = kept.as_mut() else {
            return self.fetch(&mut kept, now);
        };
        if old.renew.is_none_or(|renew| now < renew) {
            return Ok(Arc::clone(&old.key));
        }
        match self.source.fetch() {
            Ok(key) => {
                *old = Kept::of(key, now);
                Ok(Arc::clone(&old.key))
            }
            Err(error) if old.key.is_good(now) => {
                tracing::warn!(%error, "the credentials end soon and cannot be renewed");
                old.renew = Some(saturating_add(now, PAUSE));
                Ok(Arc::clone(&old.key))
            }
            Err(error) => Err(error),
        }
    }

    /// Does something with the access key. Where that fails for the key's sake, as `is_of_key` sees
    /// it, and the source has another, it is done once more.
    ///
    /// # Errors
    /// Those of the source, and of what is done.
    pub(crate) fn with<T, E: From<KeyError>>(
        &self,
        is_of_key: impl Fn(&E) -> bool,
        work: impl Fn(&AccessKey) -> Result<T, E>,
    ) -> Result<T, E> {
        let key = self.current(clock::now())?;
        let done = work(&key);
        if done.as_ref().is_err_and(is_of_key)
            && let Some(other) = self.other_than(&key, clock::now())?
        {
            return work(&other);
        }
        done
    }

    /// Another access key than this one, which the service called bad or expired; `None` where the
    /// source has no other.
    ///
    /// # Errors
    /// Those of the source.
    fn other_than(
        &self,
        refused: &Arc<AccessKey>,
        now: Timestamp,
    ) -> Result<Option<Arc<AccessKey>>, KeyError> {
        let mut kept = self.kept.lock();
        let newer = kept
            .as_ref()
            .filter(|kept| !Arc::ptr_eq(&kept.key, refused));
        let key = match newer {
            Some(kept) => Arc::clone(&kept.key),
            None => self.fetch(&mut kept, now)?,
        };
        Ok((!key.is_same(refused)).then_some(key))
    }

    fn fetch(&self, kept: &mut Option<Kept>, now: Timestamp) -> Result<Arc<AccessKey>, KeyError> {
        let fetched = kept.insert(Kept::of(self.source.fetch()?, now));
        Ok(Arc::clone(&fetched.key))
    }
}

fn saturating_add(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

fn saturating_sub(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
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
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use super::*;
    use crate::keys::error::KeyErrorKind;

    /// Gives `id-1`, `id-2`, … that live `lives` seconds from `at`; nothing while `lives` is -1.
    #[derive(Debug, Default)]
    struct Numbered {
        fetched: AtomicUsize,
        lives: AtomicI64,
        same: bool,
    }

    impl Source for Arc<Numbered> {
        fn fetch(&self) -> Result<AccessKey, KeyError> {
            let lives = self.lives.load(Ordering::SeqCst);
            if lives < 0 {
                return Err(KeyError::unavailable("no answer"));
            }
            let nth = self.fetched.fetch_add(1, Ordering::SeqCst) + 1;
            let nth = if self.same { 1 } else { nth };
            let id = format!("id-{nth}");
            AccessKey::new(&id, "hunter2", Some("tok"), (lives > 0).then(|| at(lives)))
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn numbered(lives: i64) -> (Arc<Numbered>, Credentials) {
        let source = Arc::new(Numbered::default());
        source.lives.store(lives, Ordering::SeqCst);
        let credentials = Credentials::new(Box::new(Arc::clone(&source)));
        (source, credentials)
    }

    fn id(credentials: &Credentials, second: i64) -> String {
        credentials.current(at(second)).unwrap().id().to_owned()
    }

    #[test]
    fn they_are_fetched_once_and_again_five_minutes_before_the_end() {
        let (source, credentials) = numbered(3600);
        assert_eq!(id(&credentials, 0), "id-1");
        assert_eq!(id(&credentials, 3299), "id-1");
        source.lives.store(7200, Ordering::SeqCst);
        assert_eq!(id(&credentials, 3300), "id-2");
        assert_eq!(id(&credentials, 6000), "id-2");
    }

    #[test]
    fn what_has_no_end_is_fetched_once() {
        let (source, credentials) = numbered(0);
        for second in [0, 1_000_000, 100_000_000] {
            assert_eq!(id(&credentials, second), "id-1");
        }
        assert_eq!(source.fetched.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn while_the_source_is_silent_old_ones_serve_until_their_end() {
        let (source, credentials) = numbered(3600);
        assert_eq!(id(&credentials, 0), "id-1");
        source.lives.store(-1, Ordering::SeqCst);
        assert_eq!(id(&credentials, 3400), "id-1");
        let error = credentials.current(at(3600)).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        source.lives.store(7200, Ordering::SeqCst);
        assert_eq!(id(&credentials, 3600), "id-2");
    }

    #[test]
    fn a_source_of_short_lives_is_not_asked_for_each_request() {
        let (source, credentials) = numbered(60);
        for second in 0..30 {
            id(&credentials, second);
        }
        assert_eq!(source.fetched.load(Ordering::SeqCst), 1);
        id(&credentials, 30);
        assert_eq!(source.fetched.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn refused_ones_are_replaced_once_for_all_who_used_them() {
        let (source, credentials) = numbered(0);
        let first = credentials.current(at(0)).unwrap();
        for _ in 0..3 {
            let other = credentials.other_than(&first, at(1)).unwrap().unwrap();
            assert_eq!(other.id(), "id-2");
        }
        assert_eq!(source.fetched.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_same_again_is_no_other() {
        let source = Arc::new(Numbered {
            same: true,
            ..Numbered::default()
        });
        let credentials = Credentials::new(Box::new(source));
        let first = credentials.current(at(0)).unwrap();
        assert!(credentials.other_than(&first, at(1)).unwrap().is_none());
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

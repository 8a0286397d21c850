//! Tokens that a service gives for a time: kept, renewed before they end, and got anew once one is
//! refused.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::keys::error::KeyError;
use crate::keys::passphrase_source::Locked;

/// A renewal that failed is tried again after this time at the least, as long as the old token is good.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// ... and after this part of the token's lifetime.
const TRY_AGAIN_PART: u32 = 20;
/// A token that is refused while it is younger than this was refused for another reason than its
/// age. So a service that refuses everything sees one login in this time, and not one for each call.
const YOUNG: Duration = Duration::from_secs(1);

/// A token, good for a time, in locked memory.
#[derive(Debug)]
pub(crate) struct Lease {
    token: Locked,
    begun: Instant,
    lifetime: Option<Duration>,
    renewable: bool,
}

impl Lease {
    /// A token from now on; without a lifetime it does not end.
    ///
    /// # Errors
    /// `Unavailable` where no locked memory is left.
    pub(crate) fn new(token: &str, lifetime: Option<Duration>) -> Result<Self, KeyError> {
        Ok(Self {
            token: Locked::new(token.as_bytes())?,
            begun: Instant::now(),
            lifetime,
            renewable: false,
        })
    }

    /// The same, said to be one that can be prolonged.
    #[must_use]
    pub(crate) fn renewable(self, renewable: bool) -> Self {
        Self { renewable, ..self }
    }

    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// The token, in a buffer that is wiped when dropped.
    pub(crate) fn reveal(&self) -> Zeroizing<String> {
        let bytes = self.token.reveal();
        Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The time until two thirds of the lifetime are over; `None` where it has no end.
    fn due_in(&self) -> Option<Duration> {
        let due = self.lifetime?.saturating_mul(2) / 3;
        Some(due.saturating_sub(self.begun.elapsed()))
    }

    fn is_due(&self) -> bool {
        self.due_in().is_some_and(|time| time.is_zero())
    }

    fn is_over(&self) -> bool {
        self.lifetime
            .is_some_and(|time| self.begun.elapsed() >= time)
    }
}

/// Where tokens come from.
pub(crate) trait TokenSource: Send + Sync + fmt::Debug {
    /// A new token; or that of `last`, which is about to end, prolonged.
    ///
    /// # Errors
    /// Why there is none.
    fn fetch(&self, last: Option<&Lease>) -> Result<Lease, KeyError>;
}

/// The token in use.
#[derive(Debug)]
pub(crate) struct Tokens<S> {
    source: S,
    /// Held while a token is got, so that a hundred callers make one login.
    fetching: Mutex<Fetching>,
    /// Lock order: `fetching`, then this.
    lease: Mutex<Option<Arc<Lease>>>,
}

#[derive(Debug, Default)]
struct Fetching {
    /// No renewal before this.
    not_before: Option<Instant>,
}

impl<S: TokenSource> Tokens<S> {
    /// No token is got yet.
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            fetching: Mutex::default(),
            lease: Mutex::default(),
        }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// The token to use now. One that is about to end is renewed by one of its users; where that
    /// fails it stays in use to its end.
    ///
    /// # Errors
    /// Those of the source, where there is no token in use.
    pub(crate) fn current(&self) -> Result<Arc<Lease>, KeyError> {
        self.renew_if_due();
        match self.good() {
            Some(lease) => Ok(lease),
            None => self.fetch(),
        }
    }

    /// Renews the token in use if it is about to end and nobody else is renewing it.
    pub(crate) fn renew_if_due(&self) {
        let Some(lease) = self.good().filter(|lease| lease.is_due()) else {
            return;
        };
        let Some(mut fetching) = self.fetching.try_lock() else {
            return;
        };
        let wait = fetching
            .not_before
            .is_some_and(|time| Instant::now() < time);
        if wait || !self.is_current(&lease) {
            return;
        }
        match self.source.fetch(Some(&lease)) {
            Ok(new) => *self.lease.lock() = Some(Arc::new(new)),
            Err(error) => {
                let wait = lease.lifetime.unwrap_or_default() / TRY_AGAIN_PART;
                fetching.not_before = Instant::now().checked_add(wait.max(TRY_AGAIN));
                tracing::warn!(%error, "the token for the key service could not be renewed yet");
            }
        }
    }

    /// Takes a token that the service refuses out of use. False where it is so young that a new
    /// one would be refused like it.
    pub(crate) fn refuse(&self, lease: &Arc<Lease>) -> bool {
        if lease.begun.elapsed() < YOUNG {
            return false;
        }
        let mut current = self.lease.lock();
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, lease))
        {
            *current = None;
        }
        true
    }

    /// Takes the token out of use and out of memory.
    pub(crate) fn forget(&self) {
        *self.lease.lock() = None;
    }

    /// The time until the token in use should be renewed; `None` where there is none, or one
    /// without an end.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        self.good()?.due_in()
    }

    fn fetch(&self) -> Result<Arc<Lease>, KeyError> {
        let _fetching = self.fetching.lock();
        // Somebody else may have got one meanwhile.
        if let Some(lease) = self.good() {
            return Ok(lease);
        }
        let lease = Arc::new(self.source.fetch(None)?);
        *self.lease.lock() = Some(Arc::clone(&lease));
        Ok(lease)
    }

    fn good(&self) -> Option<Arc<Lease>> {
        let lease = self.lease.lock();
        lease
            .as_ref()
            .filter(|lease| !lease.is_over())
            .map(Arc::clone)
    }

    fn is_current(&self, lease: &Arc<Lease>) -> bool {
        let current = self.lease.lock();
        current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, lease))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    /// Numbers its tokens.
    #[derive(Debug)]
    struct Source {
        lifetime: Option<Duration>,
        logins: AtomicUsize,
        renewals: AtomicUsize,
        down: AtomicBool,
    }

    impl TokenSource for Source {
        fn fetch(&self, last: Option<&Lease>) -> Result<Lease, KeyError> {
            let counter = if last.is_some() {
                &self.renewals
            } else {
                &self.logins
            };
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            if self.down.load(Ordering::SeqCst) {
                return Err(KeyError::unavailable("down"));
            }
            thread::sleep(Duration::from_millis(20));
            let kind = if last.is_some() { "renewed" } else { "login" };
            Lease::new(&format!("{kind}-{number}"), self.lifetime)
        }
    }

    fn tokens(lifetime: Option<Duration>) -> Tokens<Source> {
        Tokens::new(Source {
            lifetime,
            logins: AtomicUsize::new(0),
            renewals: AtomicUsize::new(0),
            down: AtomicBool::new(false),
        })
    }

    fn counts(tokens: &Tokens<Source>) -> [usize; 2] {
        [&tokens.source.logins, &tokens.source.renewals].map(|count| count.load(Ordering::SeqCst))
    }

    fn current(tokens: &Tokens<Source>) -> String {
        tokens.current().unwrap().reveal().to_string()
    }

    /// Makes the token in use so much older.
    fn age(tokens: &Tokens<Source>, by: Duration) {
        let mut lease = tokens.lease.lock();
        let mut older = Arc::try_unwrap(lease.take().unwrap()).unwrap();
        older.begun = older.begun.checked_sub(by).unwrap();
        *lease = Some(Arc::new(older));
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn many_callers_make_one_login() {
        let tokens = tokens(Some(HOUR));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(current(&tokens), "login-1"));
            }
        });
        assert_eq!(counts(&tokens), [1, 0]);
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_of_its_time() {
        let tokens = tokens(Some(HOUR));
        assert_eq!(current(&tokens), "login-1");
        assert!(tokens.due_in().unwrap() > HOUR / 2);
        age(&tokens, HOUR / 2);
        assert_eq!(current(&tokens), "login-1");
        age(&tokens, HOUR / 5);
        assert_eq!(current(&tokens), "renewed-1");
    }

    #[test]
    fn a_token_without_an_end_is_never_renewed() {
        let tokens = tokens(None);
        assert_eq!(current(&tokens), "login-1");
        age(&tokens, HOUR);
        assert_eq!(current(&tokens), "login-1");
        assert_eq!(tokens.due_in(), None);
        assert_eq!(counts(&tokens), [1, 0]);
    }

    #[test]
    fn a_token_that_cannot_be_renewed_is_used_to_its_end_and_no_longer() {
        let tokens = tokens(Some(HOUR));
        assert_eq!(current(&tokens), "login-1");
        age(&tokens, HOUR * 3 / 4);
        tokens.source.down.store(true, Ordering::SeqCst);
        for _ in 0..5 {
            assert_eq!(current(&tokens), "login-1");
        }
        assert_eq!(counts(&tokens), [1, 1], "one try in a while");
        age(&tokens, HOUR / 4);
        assert!(tokens.current().is_err());
        tokens.source.down.store(false, Ordering::SeqCst);
        assert_eq!(current(&tokens), "login-3");
    }

    #[test]
    fn a_refused_token_is_not_used_again() {
        let tokens = tokens(Some(HOUR));
        let young = tokens.current().unwrap();
        assert!(!tokens.refuse(&young), "a new one would be refused like it");
        drop(young);
        age(&tokens, YOUNG);
        let old = tokens.current().unwrap();
        assert!(tokens.refuse(&old));
        assert_eq!(current(&tokens), "login-2");
        assert!(tokens.refuse(&old), "somebody else got a new one");
        assert_eq!(current(&tokens), "login-2");
    }

    #[test]
    fn it_shows_no_token() {
        let tokens = tokens(None);
        let token = current(&tokens);
        assert!(!format!("{tokens:?}").contains(&token));
    }
}

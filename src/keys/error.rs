//! What can go wrong with a key, in the terms that decide what to do about it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::secret::{LockedMemoryError, SecretKeyError};
use crate::units::KeyUri;

/// What a failure means to whoever asked for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyErrorKind {
    /// The settings are wrong: a URI, a file's permissions, a missing passphrase. A human mends it.
    Config,
    /// The wrapped key is not what a provider made for this file: altered, cut, or another's.
    Corrupt,
    /// The provider refuses: no permission, or the wrong passphrase.
    Denied,
    /// The provider has no such key or no such version of it.
    NotFound,
    /// The key is there and disabled, or scheduled for destruction.
    Revoked,
    /// No answer: network, timeout, overload, no memory. Trying again may help; it is no refusal.
    Unavailable,
}

impl KeyErrorKind {
    /// Whether the provider said no, as opposed to saying nothing or being asked wrongly.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::Denied | Self::NotFound | Self::Revoked => true,
            Self::Config | Self::Corrupt | Self::Unavailable => false,
        }
    }
}

impl fmt::Display for KeyErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "misconfigured",
            Self::Corrupt => "corrupt",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Revoked => "revoked",
            Self::Unavailable => "unavailable",
        })
    }
}

/// Whether the same question may soon be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Not before this time has passed, says the provider.
    After(Duration),
    /// The cause is on this host, or the provider was not asked: no more is known of it than before.
    Never,
    /// Nothing is known about when.
    Soon,
}

/// A key provider's failure. Cheap to clone: one failure answers every waiter of a single flight.
/// Carries no secret: messages name keys, versions and files, never key bytes or passphrases.
#[derive(Clone, Debug)]
pub struct KeyError(Box<Failure>);

/// Behind one pointer, for a failure stands in the result of nearly every call.
#[derive(Clone, Debug)]
struct Failure {
    kind: KeyErrorKind,
    message: Arc<str>,
    uri: Option<KeyUri>,
    retry: Retry,
    request_id: Option<Arc<str>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl KeyError {
    /// A failure of this kind; `message` is one line in plain words, and may say what to do.
    pub fn new(kind: KeyErrorKind, message: impl Into<String>) -> Self {
        let message = Arc::from(message.into());
        Self(Box::new(Failure {
            kind,
            message,
            uri: None,
            retry: Retry::Soon,
            request_id: None,
            source: None,
        }))
    }

    /// The same failure, with the time that the provider wants to be left alone for, as a service
    /// says in `Retry-After` (RFC 9110 §10.2.3). Counts for `Unavailable` alone.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.0.retry = Retry::After(time);
        self
    }

    /// The same failure, said to be no word of the provider: its cause is on this host. Nobody
    /// tries again at once, and the provider is not taken to be down.
    #[must_use]
    pub fn of_this_host(mut self) -> Self {
        self.0.retry = Retry::Never;
        self
    }

    /// The same failure, said to be that of the provider at `uri`. The innermost one stays.
    #[must_use]
    pub fn at(mut self, uri: &KeyUri) -> Self {
        self.0.uri.get_or_insert_with(|| uri.clone());
        self
    }

    /// The same failure with the key service's own name for the request, by which its logs tell of it, where it gave
    /// one.
    #[must_use]
    pub fn of_request(mut self, id: Option<String>) -> Self {
        self.0.request_id = id.map(Arc::from).or(self.0.request_id);
        self
    }

    /// The same failure with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The same failure, with an earlier one in its words: of several ways each failed for its own reason.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        let of = earlier.uri().map_or("", KeyUri::as_str);
        self.0.message = Arc::from(format!(
            "{}; and {of}: {}",
            self.0.message, earlier.0.message
        ));
        self
    }

    /// What the failure means.
    pub fn kind(&self) -> KeyErrorKind {
        self.0.kind
    }

    /// The failure in words, without the URI and the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The key service's own name for the request, where it gave one.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The provider that failed, where one is known.
    pub fn uri(&self) -> Option<&KeyUri> {
        self.0.uri.as_ref()
    }

    /// Whether the provider gave no answer, and is to blame for it.
    pub(crate) fn is_outage(&self) -> bool {
        self.0.kind == KeyErrorKind::Unavailable && self.0.retry != Retry::Never
    }

    /// Whether it is no word of a provider: its cause is on this host.
    pub fn is_of_this_host(&self) -> bool {
        self.0.retry == Retry::Never
    }

    pub(crate) fn retry(&self) -> Retry {
        self.0.retry
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(KeyErrorKind::Config, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(KeyErrorKind::Corrupt, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(KeyErrorKind::NotFound, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(KeyErrorKind::Unavailable, message)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(uri) = &self.0.uri {
            write!(f, "{uri}: ")?;
        }
        write!(f, "{} ({})", self.0.message, self.0.kind)
    }
}

impl Error for KeyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

impl From<LockedMemoryError> for KeyError {
    fn from(error: LockedMemoryError) -> Self {
        Self::unavailable("no locked memory to hold a key")
            .of_this_host()
            .caused_by(error)
    }
}

impl From<SecretKeyError> for KeyError {
    fn from(error: SecretKeyError) -> Self {
        Self::unavailable("no place to hold a key")
            .of_this_host()
            .caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_failed_at_what_and_what_that_means() {
        let uri: KeyUri = "awskms:///alias/x".parse().unwrap();
        let error = KeyError::new(KeyErrorKind::Revoked, "key is disabled").at(&uri);
        assert_eq!(
            error.to_string(),
            "awskms:///alias/x: key is disabled (revoked)"
        );
    }

    #[test]
    fn the_request_is_kept_for_the_audit_and_stays_out_of_the_sentence() {
        let error = KeyError::unavailable("busy").of_request(Some("7f-3".to_owned()));
        assert_eq!(error.request_id(), Some("7f-3"));
        assert_eq!(error.to_string(), "busy (unavailable)");
        assert_eq!(error.of_request(None).request_id(), Some("7f-3"));
        assert_eq!(KeyError::unavailable("busy").request_id(), None);
    }

    #[test]
    fn the_innermost_uri_stays() {
        let inner: KeyUri = "file:///a".parse().unwrap();
        let outer: KeyUri = "file:///b".parse().unwrap();
        let error = KeyError::corrupt("x").at(&inner).at(&outer);
        assert_eq!(error.uri(), Some(&inner));
    }

    #[test]
    fn of_several_failures_the_last_one_counts_and_each_is_told() {
        let uri: KeyUri = "rsa:/p".parse().unwrap();
        let earlier = KeyError::unavailable("first").at(&uri);
        let last = KeyError::not_found("second").after(&earlier);
        assert_eq!(last.kind(), KeyErrorKind::NotFound);
        assert_eq!(last.to_string(), "second; and rsa:/p: first (not found)");
    }

    #[test]
    fn a_clone_keeps_the_cause() {
        let error = KeyError::unavailable("x").caused_by(std::io::Error::other("timeout"));
        let clone = error.clone();
        drop(error);
        let cause = clone.source().map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("timeout"));
    }

    #[test]
    fn only_silence_of_the_provider_is_an_outage() {
        let silence = KeyError::unavailable("x");
        assert!(silence.is_outage());
        assert!(
            silence
                .clone()
                .retry_after(Duration::from_secs(1))
                .is_outage()
        );
        assert!(!silence.of_this_host().is_outage());
        assert!(!KeyError::new(KeyErrorKind::Denied, "x").is_outage());
    }

    #[test]
    fn silence_and_bad_bytes_are_no_refusals() {
        use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
        assert!(
            [Denied, NotFound, Revoked]
                .iter()
                .all(|kind| kind.is_refusal())
        );
        assert!(
            ![Config, Corrupt, Unavailable]
                .iter()
                .any(|kind| kind.is_refusal())
        );
    }
}

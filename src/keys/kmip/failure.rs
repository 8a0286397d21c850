//! What a KMIP server answers, and what that means.

use std::io;

use crate::keys::error::{KeyError, KeyErrorKind};

/// Result reasons (KMIP 1.4 §9.1.3.2.29; those above 0x24 are of KMIP 2.0).
mod reason {
    pub(super) const ITEM_NOT_FOUND: u32 = 0x01;
    pub(super) const AUTHENTICATION_NOT_SUCCESSFUL: u32 = 0x03;
    pub(super) const INVALID_MESSAGE: u32 = 0x04;
    pub(super) const OPERATION_NOT_SUPPORTED: u32 = 0x05;
    pub(super) const INVALID_FIELD: u32 = 0x07;
    pub(super) const FEATURE_NOT_SUPPORTED: u32 = 0x08;
    pub(super) const CRYPTOGRAPHIC_FAILURE: u32 = 0x0A;
    pub(super) const ILLEGAL_OPERATION: u32 = 0x0B;
    pub(super) const PERMISSION_DENIED: u32 = 0x0C;
    pub(super) const OBJECT_ARCHIVED: u32 = 0x0D;
    pub(super) const BAD_CRYPTOGRAPHIC_PARAMETERS: u32 = 0x24;
    pub(super) const INCOMPATIBLE_USAGE_MASK: u32 = 0x29;
    pub(super) const OBJECT_DESTROYED: u32 = 0x36;
    pub(super) const OBJECT_NOT_FOUND: u32 = 0x37;
    pub(super) const NOT_AUTHORISED: u32 = 0x39;
    pub(super) const UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS: u32 = 0x3E;
    pub(super) const WRONG_KEY_LIFECYCLE_STATE: u32 = 0x43;
    pub(super) const GENERAL_FAILURE: u32 = 0x100;
}

/// The most of a server's own words that is passed on.
const WORDS_MAX: usize = 200;

/// Why a call of a server failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The connection was closed before anything of an answer came.
    Closed,
    /// A failure that is understood already.
    Known(KeyError),
    /// The server refused the operation.
    Refused(Refusal),
}

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    reason: u32,
    words: String,
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Known(error)
    }
}

impl Refusal {
    /// A refusal for this reason; of the server's own words, what can be printed.
    pub(super) fn new(reason: u32, words: &str) -> Self {
        let printable = |c: &char| c.is_ascii_graphic() || *c == ' ';
        Self {
            reason,
            words: words.chars().filter(printable).take(WORDS_MAX).collect(),
        }
    }

    /// Whether the key's state may be why.
    pub(super) fn may_be_of_state(&self) -> bool {
        matches!(
            self.reason,
            reason::PERMISSION_DENIED
                | reason::WRONG_KEY_LIFECYCLE_STATE
                | reason::ILLEGAL_OPERATION
                | reason::OBJECT_DESTROYED
        )
    }

    /// Whether servers answer like this to a wrapped key that is not what the key made.
    fn may_be_bad_data(&self) -> bool {
        matches!(
            self.reason,
            reason::CRYPTOGRAPHIC_FAILURE
                | reason::GENERAL_FAILURE
                | reason::INVALID_FIELD
                | reason::INVALID_MESSAGE
        )
    }

    fn kind(&self) -> KeyErrorKind {
        match self.reason {
            reason::ITEM_NOT_FOUND | reason::OBJECT_NOT_FOUND | reason::OBJECT_DESTROYED => {
                KeyErrorKind::NotFound
            }
            reason::AUTHENTICATION_NOT_SUCCESSFUL
            | reason::PERMISSION_DENIED
            | reason::NOT_AUTHORISED => KeyErrorKind::Denied,
            reason::OBJECT_ARCHIVED | reason::WRONG_KEY_LIFECYCLE_STATE => KeyErrorKind::Revoked,
            reason::OPERATION_NOT_SUPPORTED
            | reason::FEATURE_NOT_SUPPORTED
            | reason::BAD_CRYPTOGRAPHIC_PARAMETERS
            | reason::INCOMPATIBLE_USAGE_MASK
            | reason::UNSUPPORTED_CRYPTOGRAPHIC_PARAMETERS => KeyErrorKind::Config,
            _ => KeyErrorKind::Unavailable,
        }
    }

    pub(super) fn into_error(self, what: &str) -> KeyError {
        let (kind, Self { reason, words }) = (self.kind(), self);
        let message = format!("{what}: the server answers {words:?} (reason {reason:#x})");
        KeyError::new(kind, message)
    }
}

impl Failure {
    /// A server that says what KMIP does not.
    pub(super) fn garbage(why: &str) -> Self {
        let message = format!("the server's answer is no KMIP message that was asked for: {why}");
        Self::Known(KeyError::unavailable(message))
    }

    /// Whether it may be that the wrapped key was altered.
    pub(super) fn may_be_bad_data(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.may_be_bad_data())
    }

    /// Whether the server says that it cannot do this with the key.
    pub(super) fn is_unsuitable(&self) -> bool {
        let Self::Refused(refusal) = self else {
            return false;
        };
        refusal.may_be_bad_data() || refusal.kind() == KeyErrorKind::Config
    }

    /// The failure for whoever asked; `what` was being done.
    pub(super) fn into_error(self, what: &str) -> KeyError {
        match self {
            Self::Closed => {
                KeyError::unavailable(format!("{what}: the server closes the connection"))
            }
            Self::Known(error) => error,
            Self::Refused(refusal) => refusal.into_error(what),
        }
    }
}

/// A failure of a connection to `server` while `what`: the network's, or TLS's in it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system has many other errors"
)]
pub(super) fn of_io(server: &str, what: &str, error: io::Error) -> Failure {
    use io::ErrorKind as Kind;
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        return Failure::Known(of_tls(server, tls));
    }
    let message = match error.kind() {
        Kind::UnexpectedEof
        | Kind::ConnectionReset
        | Kind::BrokenPipe
        | Kind::ConnectionAborted => {
            return Failure::Closed;
        }
        Kind::TimedOut | Kind::WouldBlock => format!("{server} does not answer in time ({what})"),
        Kind::ConnectionRefused => format!("{server} refuses connections: is the server running?"),
        _ => format!("{server}: {what}: {error}"),
    };
    Failure::Known(KeyError::unavailable(message).caused_by(error))
}

fn of_tls(server: &str, error: &rustls::Error) -> KeyError {
    use rustls::Error;
    if let Error::AlertReceived(alert) = error {
        let message = format!(
            "{server} does not accept this host's certificate, or its TLS (alert {alert:?}): see ENVELOPEFS_KMIP_CERT_FILE"
        );
        // Anybody in between can send one, so it is no refusal by the server.
        return KeyError::config(message).caused_by(error.clone());
    }
    let message = if let Error::InvalidCertificate(why) = error {
        format!(
            "{server} shows a certificate that cannot be trusted ({why:?}): it must be for that name, and by an authority of ENVELOPEFS_KMIP_CA_FILE"
        )
    } else {
        format!("{server}: TLS: {error}")
    };
    KeyError::unavailable(message).caused_by(error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_of_one_kind_and_its_words_are_tamed() {
        use KeyErrorKind::{Config, Denied, NotFound, Revoked, Unavailable};
        for (reason, kind) in [
            (0x01, NotFound),
            (0x37, NotFound),
            (0x03, Denied),
            (0x0C, Denied),
            (0x43, Revoked),
            (0x05, Config),
            (0x0A, Unavailable),
            (0x100, Unavailable),
            (0xFFFF, Unavailable),
        ] {
            let refusal = Refusal::new(reason, "\u{1b}[31mno\n");
            let error = refusal.into_error("unwrapping");
            assert_eq!(error.kind(), kind, "{reason:#x}");
            assert!(error.message().contains("\"[31mno\""), "{error}");
        }
        let endless = Refusal::new(1, &"x".repeat(10_000)).into_error("");
        assert!(endless.message().len() < 300);
    }

    #[test]
    fn the_network_s_failures_are_told_apart() {
        let of = |kind: io::ErrorKind| of_io("h:1", "reading", kind.into());
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock] {
            let error = of(kind).into_error("x");
            assert_eq!(error.kind(), KeyErrorKind::Unavailable);
            assert!(error.message().contains("in time"), "{error}");
        }
        assert!(matches!(of(io::ErrorKind::UnexpectedEof), Failure::Closed));
        assert!(matches!(
            of(io::ErrorKind::ConnectionReset),
            Failure::Closed
        ));
        let error = of(io::ErrorKind::ConnectionRefused).into_error("x");
        assert!(error.message().contains("running"), "{error}");
    }
}

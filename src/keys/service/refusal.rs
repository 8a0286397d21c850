//! What a service said when it refused a request, made fit to be shown.

use std::fmt;
use std::time::Duration;

use super::client::Response;
use super::wire;
use crate::keys::error::{KeyError, KeyErrorKind};

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A failure that is understood already.
    Known(KeyError),
    /// The service refused.
    Refused(Refusal),
}

/// What the codes of one service mean.
pub(crate) struct Words {
    /// The kind, and what to do, of an HTTP status and a code. Only the service's explicit words are
    /// a refusal of the key; whatever else there may be on the way is not.
    pub(crate) meaning: fn(u16, &str) -> (KeyErrorKind, &'static str),
    /// Whether a clock that is wrong may be why.
    pub(crate) is_of_time: fn(&str) -> bool,
    /// Whether other credentials may do better: these ended, or were taken back.
    pub(crate) is_of_credentials: fn(&str) -> bool,
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Known(error)
    }
}

impl Failure {
    /// The service's own word for it; empty where it said none.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Known(_) => "",
            Self::Refused(refusal) => &refusal.code,
        }
    }

    /// The failure for whoever asked for `what`.
    pub(crate) fn into_error(self, what: &str, words: &Words) -> KeyError {
        match self {
            Self::Known(error) => error,
            Self::Refused(refusal) => match &refusal.skew {
                Some(skew) if (words.is_of_time)(&refusal.code) => {
                    refusal.to_error(KeyErrorKind::Unavailable, what, skew)
                }
                _ => {
                    let (kind, advice) = (words.meaning)(refusal.status, &refusal.code);
                    refusal.to_error(kind, what, advice)
                }
            },
        }
    }
}

/// A refusal in the service's own words. They are shown, so only the first line is kept: what
/// follows may repeat the request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    code: String,
    message: String,
    request_id: Option<String>,
    wait: Option<Duration>,
    skew: Option<String>,
}

impl Refusal {
    /// Of this code, message and request id; an empty one was not said.
    pub(crate) fn new(response: &Response, code: &str, message: &str, request_id: &str) -> Self {
        Self {
            status: response.status(),
            code: wire::said(code),
            message: wire::said(message.lines().next().unwrap_or_default()),
            request_id: wire::request_id(request_id),
            wait: response.retry_after(),
            skew: None,
        }
    }

    /// The same, with what is [wrong with this machine's clock](super::clock::skew).
    pub(crate) fn with_skew(mut self, skew: Option<String>) -> Self {
        self.skew = skew;
        self
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The failure for whoever asked: `what` was refused, and what to do, if that can be said.
    pub(crate) fn to_error(&self, kind: KeyErrorKind, what: &str, advice: &str) -> KeyError {
        let advice = if advice.is_empty() {
            String::new()
        } else {
            format!("; {advice}")
        };
        let error = KeyError::new(kind, format!("{what}: {self}{advice}"));
        let error = error.of_request(self.request_id.clone());
        match self.wait {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => f.write_str("an answer without a code")?,
            (code, "") => f.write_str(code)?,
            (code, message) => write!(f, "{code}: {message}")?,
        }
        write!(f, " (HTTP {}", self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        if let Some(wait) = self.wait {
            write!(f, ", ask again in {} s", wait.as_secs())?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, Request};
    use super::super::double::{Double, answer};
    use super::super::reach::Reach;
    use super::*;

    fn refusal(code: &str, message: &str, request_id: &str) -> String {
        refusal_with(&[], code, message, request_id)
    }

    fn refusal_with(
        headers: &'static [(&str, &str)],
        code: &str,
        message: &str,
        request_id: &str,
    ) -> String {
        let double = Double::start(|_request| answer(403, headers, b""));
        let client = Client::new(&Reach::default()).unwrap();
        let response = client
            .send(Request::get(double.endpoint().join([])))
            .unwrap();
        let refusal = Refusal::new(&response, code, message, request_id);
        refusal
            .to_error(KeyErrorKind::Denied, "unwrapping", "")
            .message()
            .to_owned()
    }

    #[test]
    fn it_is_told_in_one_line() {
        assert_eq!(
            refusal("AccessDenied", "not you", "r-1"),
            "unwrapping: AccessDenied: not you (HTTP 403, request r-1)"
        );
        assert_eq!(refusal("Busy", "", ""), "unwrapping: Busy (HTTP 403)");
        assert_eq!(
            refusal_with(&[("retry-after", "7")], "Busy", "", ""),
            "unwrapping: Busy (HTTP 403, ask again in 7 s)"
        );
        assert_eq!(
            refusal("", "<html>", ""),
            "unwrapping: an answer without a code (HTTP 403)"
        );
    }

    #[test]
    fn a_hostile_answer_is_cut_short_and_cannot_write_to_the_terminal() {
        let said = refusal("A\x1b[31m", "short\nsecret", "\u{7}r");
        assert!(!said.contains(['\x1b', '\n', '\u{7}']), "{said:?}");
        assert!(!said.contains("secret"), "{said}");
        assert!(refusal("A", &"x".repeat(5000), "").len() < 500);
    }
}

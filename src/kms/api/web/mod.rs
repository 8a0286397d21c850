//! What the REST interface and the console have in common: no signature, but the access key itself, over TLS; JSON in
//! and out; one table of errors.

mod access;
mod error;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use access::{AccessCheck, said};
pub use error::WebError;

use super::Answer;
use super::answer::Body;
use super::place::{Cloud, Place};
use crate::kms::engine::model::KeyRef;
use crate::kms::engine::{Caller, Engine};

/// The header that has a request's id.
pub const REQUEST_ID: &str = "x-request-id";
/// The label of operations that are none.
pub(super) const UNKNOWN: &str = "unknown";

/// A request whose body has come.
#[derive(Debug, Clone, Copy)]
pub struct WebRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

impl<'a> WebRequest<'a> {
    /// A header that is there once, as text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&'a str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }
}

/// What a request meets: the service, and who may come in.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    pub engine: &'a Engine,
    pub place: &'a Place,
    pub access: &'a AccessCheck,
    /// Whether the access key of this id may send one request more in this second.
    pub may_come: &'a (dyn Fn(&str) -> bool + Send + Sync),
}

impl std::fmt::Debug for Door<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door<'_> {
    /// Takes one request of the access key's share.
    pub(super) fn take(&self, caller: &Caller) -> Result<(), WebError> {
        if (self.may_come)(&caller.access_key_id) {
            return Ok(());
        }
        Err(WebError::new(
            429,
            "Throttled",
            "The access key sends more requests than it may. Try again in a moment.",
        ))
    }

    /// A key by its id, its alias, or either cloud's ARN of it.
    pub(super) fn key(&self, text: &str) -> Result<KeyRef, WebError> {
        if text.is_empty() || text.len() > 2048 {
            return Err(WebError::invalid(
                "key",
                "A key is named by its id or alias.",
            ));
        }
        let cloud = if text.starts_with("acs:") {
            Cloud::Alibaba
        } else {
            Cloud::Aws
        };
        Ok(self.place.key(cloud, text)?)
    }
}

/// An answer, and the headers that it has beside those of every answer.
#[derive(Debug)]
pub struct WebAnswer {
    pub answer: Answer,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl WebAnswer {
    pub(super) fn new(operation: &'static str, request_id: String, body: Body) -> Self {
        Self {
            answer: Answer {
                status: 200,
                content_type: "application/json",
                request_id_header: REQUEST_ID,
                request_id,
                operation,
                error: None,
                body,
            },
            headers: Vec::new(),
        }
    }

    /// The answer to a request that comes to nothing.
    #[must_use]
    pub fn refusal(error: &WebError, operation: &'static str, request_id: String) -> Self {
        let body = Body::json(&Refusal {
            code: error.code,
            message: &error.message,
            request_id: &request_id,
        });
        let mut answer = Self::new(operation, request_id, body);
        answer.answer.status = error.status;
        answer.answer.error = Some(error.code);
        if let Some(seconds) = error.retry_after {
            answer.set(hyper::header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.push((name, value));
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.set(name, HeaderValue::from_static(value));
        self
    }
}

/// The body of a refusal.
#[derive(Serialize)]
struct Refusal<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
}

/// The members of a body; what serde says of a body that is none may have a part of a secret in it, and is not told.
pub(super) fn members<T: DeserializeOwned>(body: &[u8]) -> Result<T, WebError> {
    serde_json::from_slice(body).map_err(|error| not_json(&error))
}

pub(super) fn not_json(error: &serde_json::Error) -> WebError {
    let (line, column) = (error.line(), error.column());
    WebError::new(
        400,
        "InvalidBody",
        format!("The body is not the JSON that is asked for, at line {line}, column {column}."),
    )
}

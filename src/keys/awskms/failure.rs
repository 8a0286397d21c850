//! What AWS answers when it does not do what was asked, and what that means.
//! <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::service::Response;
use crate::keys::service::clock;
use crate::keys::service::refusal::{Failure, Refusal, Words};

/// The service takes signatures that are five minutes off; what is near to that is told already.
const SKEW_TOLERATED: SignedDuration = SignedDuration::from_mins(4);

/// The header that names a request.
pub(super) const REQUEST_ID: &str = "x-amzn-requestid";

/// The codes of AWS.
pub(super) const WORDS: Words = Words {
    meaning,
    is_of_time,
    is_of_credentials,
};

/// The body of a refusal.
#[derive(Default, Deserialize)]
struct Body {
    #[serde(rename = "__type", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

/// What an answer says that is no success.
pub(super) fn of(response: &Response, now: Timestamp) -> Refusal {
    let body: Body = serde_json::from_slice(response.body()).unwrap_or_default();
    let header = response.header("x-amzn-errortype").unwrap_or_default();
    let code = if body.code.is_empty() {
        header
    } else {
        &body.code
    };
    // `com.amazonaws.kms#NotFoundException` and `NotFoundException:http://…` are old forms.
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let id = response.header(REQUEST_ID).unwrap_or_default();
    let skew = clock::skew(response, now, SKEW_TOLERATED);
    Refusal::new(response, code, &body.message, id).with_skew(skew)
}

/// Whether the key's state does not allow the request: the answer says it only in words.
pub(super) fn of_state(failure: &Failure) -> Option<&Refusal> {
    match failure {
        Failure::Refused(refusal) if refusal.code() == "KMSInvalidStateException" => Some(refusal),
        Failure::Known(_) | Failure::Refused(_) => None,
    }
}

/// A refusal of [the state](of_state) that the key was found in; `None` where that could not be
/// learned.
pub(super) fn in_state(refusal: &Refusal, what: &str, state: Option<&str>) -> KeyError {
    let kind = state.and_then(kind_of_state);
    let advice = state.map(|state| format!("the key is {}", state_in_words(state)));
    let kind = kind.unwrap_or(KeyErrorKind::Unavailable);
    refusal.to_error(kind, what, &advice.unwrap_or_default())
}

fn is_of_credentials(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
    )
}

fn is_of_time(code: &str) -> bool {
    is_of_credentials(code)
        || matches!(
            code,
            "InvalidSignatureException"
                | "RequestExpired"
                | "RequestTimeTooSkewed"
                | "SignatureDoesNotMatch"
        )
}

fn meaning(status: u16, code: &str) -> (KeyErrorKind, &'static str) {
    use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
    match code {
        _ if status >= 500 || status == 429 => (Unavailable, ""),
        "AccessDeniedException" | "NotAuthorized" | "NotAuthorizedException" => (
            Denied,
            "the key's policy, or IAM, must allow it to these credentials",
        ),
        "DisabledException" => (Revoked, "somebody disabled the key"),
        "ExpiredToken" | "ExpiredTokenException" => (
            Denied,
            "the credentials have ended, and no newer ones are there",
        ),
        "IncorrectKeyException" | "InvalidCiphertextException" => (
            Corrupt,
            "the wrapped key was altered, or made for another file or by another key",
        ),
        "InvalidArnException" | "ValidationException" => (Config, ""),
        "InvalidClientTokenId" | "UnrecognizedClientException" => (
            Denied,
            "AWS does not know the access key ID, or not the session token",
        ),
        "InvalidKeyUsageException" => (Config, "the key must be a symmetric one for encryption"),
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            (Denied, "the secret is not that of the access key ID")
        }
        "NotFoundException" => (NotFound, "no such key or alias in this account and region"),
        // Throttling, what can be tried again, and words that this program does not know.
        _ => (Unavailable, ""),
    }
}

/// What the state of a key means; `None` for one that can be used.
/// <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>
pub(super) fn kind_of_state(state: &str) -> Option<KeyErrorKind> {
    match state {
        "Enabled" => None,
        "Disabled" | "PendingDeletion" | "PendingImport" | "PendingReplicaDeletion" => {
            Some(KeyErrorKind::Revoked)
        }
        // Its custom key store is not connected, or it is being made or changed.
        _ => Some(KeyErrorKind::Unavailable),
    }
}

pub(super) fn state_in_words(state: &str) -> &str {
    match state {
        "Creating" => "being made",
        "Disabled" => "disabled",
        "Enabled" => "enabled by now",
        "PendingDeletion" | "PendingReplicaDeletion" => "scheduled for deletion",
        "PendingImport" => "without its imported key material",
        "Updating" => "being changed",
        _ => "unavailable: its custom key store may be disconnected",
    }
}

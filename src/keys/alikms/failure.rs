//! What Alibaba Cloud answers when it does not do what was asked, and what that means.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::service::Response;
use crate::keys::service::clock;
use crate::keys::service::refusal::{Refusal, Words};

/// The service takes signatures that are fifteen minutes off; what is near to that is told already.
const SKEW_TOLERATED: SignedDuration = SignedDuration::from_mins(10);

/// The codes of operations that are given a wrapped key.
const OF_UNWRAPPING: Words = Words {
    meaning: meaning_of_unwrapping,
    is_of_time,
    is_of_credentials,
};

const OF_OTHERS: Words = Words {
    meaning,
    is_of_time,
    is_of_credentials,
};

/// The body of a refusal.
#[derive(Default, Deserialize)]
struct Body {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
    #[serde(rename = "RequestId", default)]
    request_id: String,
}

/// What an answer says that is no success.
pub(super) fn of(response: &Response, now: Timestamp) -> Refusal {
    let body: Body = serde_json::from_slice(response.body()).unwrap_or_default();
    let skew = clock::skew(response, now, SKEW_TOLERATED);
    Refusal::new(response, &body.code, &body.message, &body.request_id).with_skew(skew)
}

/// What the codes of an operation mean.
pub(super) fn words(operation: &str) -> &'static Words {
    match operation {
        "Decrypt" | "ReEncrypt" => &OF_UNWRAPPING,
        _ => &OF_OTHERS,
    }
}

/// Whether other credentials may do better: these ended, or were taken back.
fn is_of_credentials(code: &str) -> bool {
    code.starts_with("InvalidSecurityToken") || code.starts_with("InvalidAccessKeyId")
}

/// Whether the place where the service is reached cannot do the operation.
pub(super) fn is_unsupported(code: &str) -> bool {
    matches!(
        code,
        "InvalidAction.NotFound" | "Rejected.UnsupportedOperation"
    )
}

fn is_of_time(code: &str) -> bool {
    matches!(
        code,
        "IllegalTimestamp" | "InvalidSecurityToken.Expired" | "SignatureDoesNotMatch"
    ) || code.starts_with("InvalidTimeStamp")
}

fn meaning_of_unwrapping(status: u16, code: &str) -> (KeyErrorKind, &'static str) {
    let is_of_data = code.starts_with("InvalidParameter") || code.starts_with("InvalidCiphertext");
    if is_of_data && status < 500 && status != 429 {
        return (
            KeyErrorKind::Corrupt,
            "the wrapped key was altered, or made for another file or by another key",
        );
    }
    meaning(status, code)
}

fn meaning(status: u16, code: &str) -> (KeyErrorKind, &'static str) {
    use KeyErrorKind::{Config, Denied, NotFound, Revoked, Unavailable};
    match code {
        _ if status >= 500 || status == 429 => (Unavailable, ""),
        "Forbidden.AliasNotFound" | "Forbidden.KeyNotFound" | "Forbidden.KeyVersionNotFound" => {
            (NotFound, "no such key or alias in this account and region")
        }
        "Forbidden.AccessKey" | "Forbidden.NoPermission" | "Forbidden.RAM" | "NoPermission" => (
            Denied,
            "RAM, or the key's policy, must allow it to these credentials",
        ),
        "Rejected.Disabled" => (Revoked, "somebody disabled the key"),
        "Rejected.PendingDeletion" => (Revoked, "the key is scheduled for deletion"),
        "Rejected.PendingImport" => (Revoked, "the key is without its imported key material"),
        "IncompleteSignature" | "SignatureDoesNotMatch" => {
            (Denied, "the secret is not that of the access key ID")
        }
        "InvalidSecurityToken.Expired" => (
            Denied,
            "the credentials have ended, and no newer ones are there",
        ),
        code if is_of_credentials(code) => (
            Denied,
            "the service does not know the access key ID, or not the security token",
        ),
        code if is_unsupported(code) => (Config, "this endpoint or key cannot do it"),
        code if code.starts_with("InvalidParameter")
            || code.starts_with("MissingParameter")
            || code.starts_with("Unsupported.") =>
        {
            (Config, "")
        }
        // Throttling, a wrong clock, and words that this program does not know.
        _ => (Unavailable, ""),
    }
}

/// What the state of a key means; `None` for one that can be used.
pub(super) fn of_state(state: &str) -> Option<KeyError> {
    let (kind, words) = match state {
        "Enabled" => return None,
        "Disabled" => (KeyErrorKind::Revoked, "the key is disabled"),
        "PendingDeletion" => (KeyErrorKind::Revoked, "the key is scheduled for deletion"),
        "PendingImport" => (
            KeyErrorKind::Revoked,
            "the key is without its imported key material",
        ),
        _ => (
            KeyErrorKind::Unavailable,
            "the key is in a state that cannot be used now",
        ),
    };
    Some(KeyError::new(kind, words))
}

/// The service opened a wrapped key, and says that another key or version made it than stands
/// with it.
pub(super) fn of_another_key() -> KeyError {
    KeyError::corrupt(
        "the wrapped key was made by another key, or another version, than stands with it",
    )
}

//! What Alibaba's clients are told: codes and statuses as the KMS documentation has them.
//! <https://www.alibabacloud.com/help/en/kms/key-management-service/support/sample-responses>

use serde::Serialize;

use crate::kms::api::PlaceError;
use crate::kms::auth::AuthError;
use crate::kms::engine::{ErrorKind, KmsError};

/// An error as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlibabaError {
    /// Of HTTP.
    pub status: u16,
    /// `Code`.
    pub code: &'static str,
    /// A sentence without secrets and internals.
    pub message: String,
}

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wire<'a> {
    http_status: u16,
    code: &'static str,
    message: &'a str,
    request_id: &'a str,
}

impl AlibabaError {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// A parameter that must be there is not.
    pub(super) fn missing(parameter: &str) -> Self {
        let message = format!(
            "The parameter \"{parameter}\", which is needed to process this request, is missing."
        );
        Self::new(400, "MissingParameter", message)
    }

    /// A parameter has a value that is not allowed; the value is not told, as it may be a secret.
    pub(super) fn invalid(parameter: &str) -> Self {
        let message = format!("The specified parameter \"{parameter}\" is not valid.");
        Self::new(400, "InvalidParameter", message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(400, "Rejected.UnsupportedOperation", message)
    }

    pub(super) fn no_such_action() -> Self {
        Self::unsupported("This service does not have the action.")
    }

    pub(super) fn wire<'a>(&'a self, request_id: &'a str) -> Wire<'a> {
        Wire {
            http_status: self.status,
            code: self.code,
            message: &self.message,
            request_id,
        }
    }

    /// The access key is not one of this service's.
    #[must_use]
    pub fn unknown_access_key() -> Self {
        let message = "The AccessKey ID is not one of this service's.";
        Self::new(404, "InvalidAccessKeyId.NotFound", message)
    }

    /// The access key is disabled.
    #[must_use]
    pub fn disabled_access_key() -> Self {
        Self::new(403, "Forbidden.AccessKey", "The AccessKey is disabled.")
    }

    /// More requests than the access key may send.
    #[must_use]
    pub fn throttled() -> Self {
        Self::new(429, "Rejected.Throttling", "QPS Limit Exceeded")
    }

    /// An HTTP method that RPC has not.
    #[must_use]
    pub fn method() -> Self {
        Self::new(403, "UnsupportedHTTPMethod", "RPC has GET and POST only.")
    }
}

/// The one table of the engine's refusals.
fn code(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::AccessDenied => (403, "Forbidden.NoPermission"),
        ErrorKind::AliasExists => (400, "AliasAlreadyExists"),
        ErrorKind::AliasNotFound => (404, "Forbidden.AliasNotFound"),
        ErrorKind::AccessKeyNotFound
        | ErrorKind::CiphertextInvalid
        | ErrorKind::GrantNotFound
        | ErrorKind::IncorrectKey
        | ErrorKind::InvalidParameter(_)
        | ErrorKind::MacInvalid
        | ErrorKind::PolicyMalformed
        | ErrorKind::PrincipalExists
        | ErrorKind::PrincipalNotFound
        | ErrorKind::SignatureInvalid
        | ErrorKind::TagInvalid
        | ErrorKind::WrongContext => (400, "InvalidParameter"),
        ErrorKind::DryRun => (400, "DryRunOperationError"),
        ErrorKind::ImportTokenExpired => (400, "ExpiredImportToken"),
        ErrorKind::ImportTokenInvalid => (400, "InvalidImportToken"),
        ErrorKind::IncorrectKeyMaterial | ErrorKind::KeyMaterialInvalid => {
            (400, "InvalidKeyMaterial")
        }
        ErrorKind::Internal => (500, "InternalFailure"),
        ErrorKind::DeletionProtected | ErrorKind::InvalidState => {
            (409, "Rejected.StateModifiedFailed")
        }
        ErrorKind::KeyDisabled | ErrorKind::KeyVersionDisabled => (409, "Rejected.Disabled"),
        ErrorKind::KeyNotFound => (404, "Forbidden.KeyNotFound"),
        ErrorKind::KeyPendingDeletion => (409, "Rejected.PendingDeletion"),
        ErrorKind::KeyPendingImport => (409, "Rejected.PendingImport"),
        ErrorKind::KeyUsage | ErrorKind::UnsupportedOperation => {
            (400, "Rejected.UnsupportedOperation")
        }
        ErrorKind::KeyVersionNotFound => (404, "Forbidden.KeyVersionNotFound"),
        ErrorKind::LimitExceeded => (400, "Rejected.LimitExceeded"),
        ErrorKind::MissingParameter(_) => (400, "MissingParameter"),
        ErrorKind::Throttled => (429, "Rejected.Throttling"),
        ErrorKind::HsmUnavailable | ErrorKind::Unavailable => (503, "ServiceUnavailableTemporary"),
        ErrorKind::UnsupportedOrigin => (400, "Unsupported.Origin"),
        ErrorKind::UnsupportedProtection => (400, "Unsupported.ProtectionLevel"),
    }
}

impl From<KmsError> for AlibabaError {
    fn from(error: KmsError) -> Self {
        let (status, code) = code(error.kind());
        Self::new(status, code, error.message())
    }
}

impl From<AuthError> for AlibabaError {
    fn from(error: AuthError) -> Self {
        let (status, code) = match &error {
            AuthError::NotSigned => (400, "MissingParameter"),
            AuthError::BodyHash | AuthError::Mismatch => (400, "SignatureDoesNotMatch"),
            AuthError::Expired(..) => (400, "InvalidTimeStamp.Expired"),
            AuthError::HeaderNotSigned(_)
            | AuthError::Incomplete(_)
            | AuthError::RepeatedHeader(_)
            | AuthError::Scheme => (400, "IncompleteSignature"),
            AuthError::Malformed(_) => (400, "ParseRequestParameterException"),
            AuthError::Replayed => (400, "SignatureNonceUsed"),
            AuthError::SecurityToken => (400, "InvalidSecurityToken.Malformed"),
            AuthError::TimeMalformed => (400, "IllegalTimestamp"),
            AuthError::Crowded => (429, "Throttling.User"),
        };
        // The old SDK looks behind the colon of this message, and fails where there is none.
        let message = match code {
            "SignatureDoesNotMatch" => {
                format!("Specified signature is not matched with our calculation: {error}")
            }
            _ => error.to_string(),
        };
        Self::new(status, code, message)
    }
}

impl From<PlaceError> for AlibabaError {
    fn from(error: PlaceError) -> Self {
        let (status, code) = match error {
            PlaceError::Elsewhere => (404, "Forbidden.KeyNotFound"),
            PlaceError::Account | PlaceError::Malformed | PlaceError::Region => {
                (400, "InvalidParameter")
            }
        };
        Self::new(status, code, error.to_string())
    }
}

//! What AWS clients are told: names and statuses as the KMS API reference has them.
//! <https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>

use serde::Serialize;

use crate::kms::api::PlaceError;
use crate::kms::auth::AuthError;
use crate::kms::engine::{ErrorKind, KmsError};

/// An error as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// Of HTTP.
    pub status: u16,
    /// `__type`.
    pub code: &'static str,
    /// A sentence without secrets and internals.
    pub message: String,
}

/// The body.
#[derive(Serialize)]
pub(super) struct Wire<'a> {
    __type: &'static str,
    message: &'a str,
}

impl AwsError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            message: message.into(),
        }
    }

    /// A member that must be there is not, or has a value that is not allowed.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// Something that AWS has and this service has not.
    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperationException", message)
    }

    pub(super) fn wire(&self) -> Wire<'_> {
        Wire {
            __type: self.code,
            message: &self.message,
        }
    }

    /// The access key is not one of this service's, or is disabled.
    #[must_use]
    pub fn unknown_access_key() -> Self {
        let message = "The access key id is not one of this service's.";
        Self::new("UnrecognizedClientException", message)
    }

    /// An HTTP method that the protocol has not.
    #[must_use]
    pub fn method() -> Self {
        Self::new(
            "UnknownOperationException",
            "Operations are asked for by POST.",
        )
    }

    /// More requests than the access key may send.
    #[must_use]
    pub fn throttled() -> Self {
        Self::new("ThrottlingException", "Rate exceeded")
    }
}

/// The one table of the engine's refusals.
fn code(kind: ErrorKind) -> (u16, &'static str) {
    let code = match kind {
        ErrorKind::AccessDenied => "AccessDeniedException",
        ErrorKind::AliasExists | ErrorKind::PrincipalExists => "AlreadyExistsException",
        ErrorKind::AccessKeyNotFound
        | ErrorKind::AliasNotFound
        | ErrorKind::KeyNotFound
        | ErrorKind::KeyVersionNotFound
        | ErrorKind::PrincipalNotFound => "NotFoundException",
        ErrorKind::CiphertextInvalid | ErrorKind::KeyMaterialInvalid | ErrorKind::WrongContext => {
            "InvalidCiphertextException"
        }
        ErrorKind::DryRun => "DryRunOperationException",
        ErrorKind::GrantNotFound => "InvalidGrantIdException",
        ErrorKind::HsmUnavailable => return (500, "KeyUnavailableException"),
        ErrorKind::ImportTokenExpired => "ExpiredImportTokenException",
        ErrorKind::ImportTokenInvalid => "InvalidImportTokenException",
        ErrorKind::IncorrectKey => "IncorrectKeyException",
        ErrorKind::IncorrectKeyMaterial => "IncorrectKeyMaterialException",
        ErrorKind::Internal => return (500, "KMSInternalException"),
        ErrorKind::InvalidParameter("AliasName") => "InvalidAliasNameException",
        ErrorKind::InvalidParameter(_) | ErrorKind::MissingParameter(_) => "ValidationException",
        ErrorKind::DeletionProtected
        | ErrorKind::InvalidState
        | ErrorKind::KeyPendingDeletion
        | ErrorKind::KeyPendingImport
        | ErrorKind::KeyVersionDisabled => "KMSInvalidStateException",
        ErrorKind::KeyDisabled => "DisabledException",
        ErrorKind::KeyUsage => "InvalidKeyUsageException",
        ErrorKind::LimitExceeded => "LimitExceededException",
        ErrorKind::MacInvalid => "KMSInvalidMacException",
        ErrorKind::PolicyMalformed => "MalformedPolicyDocumentException",
        ErrorKind::SignatureInvalid => "KMSInvalidSignatureException",
        ErrorKind::TagInvalid => "TagException",
        ErrorKind::Throttled => "ThrottlingException",
        ErrorKind::Unavailable => return (500, "DependencyTimeoutException"),
        ErrorKind::UnsupportedOperation
        | ErrorKind::UnsupportedOrigin
        | ErrorKind::UnsupportedProtection => "UnsupportedOperationException",
    };
    (400, code)
}

impl From<KmsError> for AwsError {
    fn from(error: KmsError) -> Self {
        let (status, code) = code(error.kind());
        Self {
            status,
            code,
            message: error.message().to_owned(),
        }
    }
}

impl From<AuthError> for AwsError {
    fn from(error: AuthError) -> Self {
        let code = match &error {
            AuthError::NotSigned => "MissingAuthenticationTokenException",
            AuthError::BodyHash
            | AuthError::Expired(..)
            | AuthError::HeaderNotSigned(_)
            | AuthError::Mismatch
            | AuthError::Replayed => "InvalidSignatureException",
            AuthError::Incomplete(_)
            | AuthError::Malformed(_)
            | AuthError::RepeatedHeader(_)
            | AuthError::Scheme
            | AuthError::TimeMalformed => "IncompleteSignatureException",
            AuthError::SecurityToken => "UnrecognizedClientException",
            AuthError::Crowded => "ThrottlingException",
        };
        Self::new(code, error.to_string())
    }
}

impl From<PlaceError> for AwsError {
    fn from(error: PlaceError) -> Self {
        let code = match error {
            PlaceError::Elsewhere => "NotFoundException",
            PlaceError::Account | PlaceError::Malformed | PlaceError::Region => {
                "InvalidArnException"
            }
        };
        Self::new(code, error.to_string())
    }
}

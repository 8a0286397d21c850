//! What clients of the REST interface and the console are told.

use crate::kms::api::PlaceError;
use crate::kms::engine::{ErrorKind, KmsError};

/// An error as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebError {
    /// Of HTTP.
    pub status: u16,
    /// For programs; it never changes.
    pub code: &'static str,
    /// A sentence without secrets and internals.
    pub message: String,
    /// In how many seconds to try again.
    pub retry_after: Option<u64>,
}

impl WebError {
    pub(in crate::kms::api) fn new(
        status: u16,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    /// A member whose value is not allowed.
    pub(in crate::kms::api) fn invalid(member: &str, message: &str) -> Self {
        Self::new(400, "InvalidParameter", format!("{member}: {message}"))
    }

    /// A body or a query that is too long.
    #[must_use]
    pub fn too_long() -> Self {
        Self::new(413, "TooLong", "The request is longer than this may be.")
    }

    /// A path of nothing.
    pub(in crate::kms::api) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "There is nothing of this name.")
    }

    /// What the audit trail is told of a request that did not come to the engine.
    pub(in crate::kms::api) fn for_the_trail(&self) -> KmsError {
        KmsError::new(ErrorKind::AccessDenied, self.message.clone())
    }
}

/// The one table of the engine's refusals.
fn code(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::AccessDenied => (403, "AccessDenied"),
        ErrorKind::AccessKeyNotFound => (404, "AccessKeyNotFound"),
        ErrorKind::AliasExists => (409, "AliasExists"),
        ErrorKind::AliasNotFound => (404, "AliasNotFound"),
        ErrorKind::CiphertextInvalid => (400, "CiphertextInvalid"),
        ErrorKind::DeletionProtected => (409, "DeletionProtected"),
        ErrorKind::DryRun => (400, "DryRun"),
        ErrorKind::GrantNotFound => (404, "GrantNotFound"),
        ErrorKind::HsmUnavailable => (503, "HsmUnavailable"),
        ErrorKind::ImportTokenExpired => (400, "ImportTokenExpired"),
        ErrorKind::ImportTokenInvalid => (400, "ImportTokenInvalid"),
        ErrorKind::IncorrectKey => (400, "IncorrectKey"),
        ErrorKind::IncorrectKeyMaterial => (400, "IncorrectKeyMaterial"),
        ErrorKind::Internal => (500, "Internal"),
        ErrorKind::InvalidParameter(_) => (400, "InvalidParameter"),
        ErrorKind::InvalidState => (409, "InvalidState"),
        ErrorKind::KeyDisabled => (409, "KeyDisabled"),
        ErrorKind::KeyMaterialInvalid => (400, "KeyMaterialInvalid"),
        ErrorKind::KeyNotFound => (404, "KeyNotFound"),
        ErrorKind::KeyPendingDeletion => (409, "KeyPendingDeletion"),
        ErrorKind::KeyPendingImport => (409, "KeyPendingImport"),
        ErrorKind::KeyUsage => (400, "KeyUsage"),
        ErrorKind::KeyVersionDisabled => (409, "KeyVersionDisabled"),
        ErrorKind::KeyVersionNotFound => (404, "KeyVersionNotFound"),
        ErrorKind::LimitExceeded => (400, "LimitExceeded"),
        ErrorKind::MacInvalid => (400, "MacInvalid"),
        ErrorKind::MissingParameter(_) => (400, "MissingParameter"),
        ErrorKind::PolicyMalformed => (400, "PolicyMalformed"),
        ErrorKind::PrincipalExists => (409, "PrincipalExists"),
        ErrorKind::PrincipalNotFound => (404, "PrincipalNotFound"),
        ErrorKind::SignatureInvalid => (400, "SignatureInvalid"),
        ErrorKind::TagInvalid => (400, "TagInvalid"),
        ErrorKind::Throttled => (429, "Throttled"),
        ErrorKind::Unavailable => (503, "Unavailable"),
        ErrorKind::UnsupportedOperation => (400, "UnsupportedOperation"),
        ErrorKind::UnsupportedOrigin => (400, "UnsupportedOrigin"),
        ErrorKind::UnsupportedProtection => (400, "UnsupportedProtection"),
        ErrorKind::WrongContext => (400, "WrongContext"),
    }
}

impl From<KmsError> for WebError {
    fn from(error: KmsError) -> Self {
        let (status, code) = code(error.kind());
        Self::new(status, code, error.message())
    }
}

impl From<PlaceError> for WebError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Elsewhere => Self::new(404, "KeyNotFound", error.to_string()),
            PlaceError::Account | PlaceError::Malformed | PlaceError::Region => {
                Self::new(400, "InvalidParameter", error.to_string())
            }
        }
    }
}

//! Why an operation was refused; each dialect has one table from [`ErrorKind`] to its own codes.

use crate::kms::policy::PolicyError;
use crate::kms::store::StoreError;

/// What is wrong, in terms that no dialect owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Neither a policy nor a grant allows it, or one denies it.
    AccessDenied,
    AccessKeyNotFound,
    AliasExists,
    AliasNotFound,
    /// What was given is no ciphertext of this service, or was changed.
    CiphertextInvalid,
    /// `SetDeletionProtection` keeps the key.
    DeletionProtected,
    /// A dry run that would have succeeded.
    DryRun,
    GrantNotFound,
    /// The HSM that the key lives in cannot be reached, or does not have it now; to be tried again.
    HsmUnavailable,
    ImportTokenExpired,
    ImportTokenInvalid,
    /// The ciphertext is of another key than the one that was named.
    IncorrectKey,
    /// Imported material is not what the key had before.
    IncorrectKeyMaterial,
    /// Something broke here; the message tells nothing of it.
    Internal,
    /// The parameter of this name has a value that is not allowed.
    InvalidParameter(&'static str),
    /// The key's state does not let itself be changed in this way.
    InvalidState,
    KeyDisabled,
    KeyMaterialInvalid,
    KeyNotFound,
    KeyPendingDeletion,
    KeyPendingImport,
    /// The key is for something else: its usage, spec or algorithm.
    KeyUsage,
    KeyVersionDisabled,
    KeyVersionNotFound,
    /// Too large, or too many.
    LimitExceeded,
    MacInvalid,
    /// A parameter that must be given is not.
    MissingParameter(&'static str),
    PolicyMalformed,
    PrincipalExists,
    PrincipalNotFound,
    SignatureInvalid,
    /// A tag's key or value is not allowed.
    TagInvalid,
    Throttled,
    /// The store does not answer; to be tried again.
    Unavailable,
    /// Asked of a key whose material was not imported, or the other way round.
    UnsupportedOrigin,
    /// The service has no such operation for such a key.
    UnsupportedOperation,
    /// The service keeps no keys in an HSM, or none of this kind.
    UnsupportedProtection,
    /// A ciphertext of this service under another encryption context.
    WrongContext,
}

/// A refusal: its kind, and a sentence for the caller that has no secret and no internals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KmsError {
    kind: ErrorKind,
    message: String,
}

impl KmsError {
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl KmsError {
    /// Something broke here. What it was goes to the log, where it was seen, and not to the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            ErrorKind::Internal,
            "The service failed to do this. The request id finds it in the service's log.",
        )
    }

    /// A ciphertext that is not of its key, or was changed: which of these is not told.
    #[must_use]
    pub(in crate::kms) fn of_changed_ciphertext() -> Self {
        Self::new(
            ErrorKind::CiphertextInvalid,
            "The ciphertext is not one of this service, or it was changed.",
        )
    }

    /// A ciphertext that names no key or version that is here.
    pub(super) fn of_no_ciphertext() -> Self {
        Self::new(
            ErrorKind::CiphertextInvalid,
            "The ciphertext is not one of this service, or it was changed, or its key was destroyed.",
        )
    }

    /// A dry run that would have gone well.
    pub(super) fn dry_run() -> Self {
        Self::new(
            ErrorKind::DryRun,
            "The request would have succeeded, but it was a dry run.",
        )
    }

    /// A parameter's value that is not allowed.
    #[must_use]
    pub fn invalid(parameter: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter(parameter), message)
    }
}

/// What the store met is told to the log; the caller learns whether to try again.
impl From<StoreError> for KmsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Raced | StoreError::Refused(_) | StoreError::Unavailable(_) => {
                tracing::warn!(%error, "the store did not do it");
                Self::new(
                    ErrorKind::Unavailable,
                    "The store does not answer. Try again in a moment.",
                )
            }
            StoreError::Corrupt(_)
            | StoreError::Exists
            | StoreError::Migrate(_)
            | StoreError::Unusable(_) => {
                tracing::error!(%error, "the store did not do it");
                Self::internal()
            }
        }
    }
}

impl From<PolicyError> for KmsError {
    fn from(error: PolicyError) -> Self {
        Self::new(ErrorKind::PolicyMalformed, error.to_string())
    }
}

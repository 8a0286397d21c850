//! The sentences that this room refuses with.

use crate::kms::engine::KmsError;
use crate::kms::engine::error::ErrorKind;

/// Something that no request can bring about.
pub(super) fn internal(message: &str) -> KmsError {
    KmsError::new(ErrorKind::Internal, message)
}

/// The key does not do this.
pub(super) fn wrong_usage(what: impl std::fmt::Debug) -> KmsError {
    KmsError::new(
        ErrorKind::KeyUsage,
        format!("The key is not one for {what:?}: see its spec and its usage."),
    )
}

/// A parameter of this name has a length that is not allowed.
pub(super) fn length(parameter: &'static str, len: usize, allowed: &str) -> KmsError {
    KmsError::new(
        ErrorKind::InvalidParameter(parameter),
        format!("{parameter} has {len} bytes; allowed are {allowed}."),
    )
}

/// A ciphertext that is not of this key, or was changed: which of these is not told.
pub(super) fn ciphertext() -> KmsError {
    KmsError::of_changed_ciphertext()
}

/// A key that cannot be of its spec.
pub(super) fn material(why: &str) -> KmsError {
    KmsError::new(ErrorKind::KeyMaterialInvalid, why)
}

/// A public key that somebody gave, and that is none.
pub(super) fn public_key(wanted: &str) -> KmsError {
    KmsError::new(
        ErrorKind::InvalidParameter("PublicKey"),
        format!("The public key must be {wanted}, as SubjectPublicKeyInfo in DER."),
    )
}

//! Messages to their digests: what RSA and ECDSA sign.

use aws_lc_rs::digest::{self, Algorithm, Digest};

use crate::kms::engine::KmsError;
use crate::kms::engine::ops::asymmetric::Message;
use crate::kms::material::errors;

/// The most that is signed, verified or authenticated as a whole, in bytes (AWS KMS, `Sign`).
pub const MESSAGE_LEN_MAX: usize = 4096;

/// # Errors
/// `InvalidParameter` for an empty or overlong message.
pub(super) fn check_len(message: &[u8]) -> Result<(), KmsError> {
    if (1..=MESSAGE_LEN_MAX).contains(&message.len()) {
        return Ok(());
    }
    Err(errors::length("Message", message.len(), "1 to 4096"))
}

/// # Errors
/// `InvalidParameter` for a message that [`check_len`] refuses, or a digest of another length than
/// the hash's.
pub(super) fn of(algorithm: &'static Algorithm, message: &Message) -> Result<Digest, KmsError> {
    match message {
        Message::Raw(message) => {
            check_len(message)?;
            Ok(digest::digest(algorithm, message))
        }
        Message::Digest(bytes) => Digest::import_less_safe(bytes, algorithm).map_err(|_length| {
            errors::length("Digest", bytes.len(), &algorithm.output_len().to_string())
        }),
    }
}

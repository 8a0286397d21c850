//! Why a request is not believed.

/// What is wrong with a request's proof. The messages are for the caller and tell nothing that the
/// request did not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum AuthError {
    #[error("The hash of the body that was signed is not the body's.")]
    BodyHash,
    /// The memory of nonces holds less than the whole window of a key that sends very much.
    #[error("This access key sends so many requests that only those signed just now are accepted.")]
    Crowded,
    #[error(
        "The request was signed at another time than now: {0} and {1} are more than 15 minutes apart."
    )]
    Expired(jiff::Timestamp, jiff::Timestamp),
    #[error("The header {0} was sent and is not signed.")]
    HeaderNotSigned(String),
    /// A part of the signature or of what it is about is missing or malformed.
    #[error("The request's signature is incomplete: {0}.")]
    Incomplete(&'static str),
    /// Neither its name nor its value is told: it may be a secret.
    #[error("The request's parameters cannot be read: {0}.")]
    Malformed(&'static str),
    #[error("The signature is not the one of this access key's secret for this request.")]
    Mismatch,
    #[error("The request is not signed.")]
    NotSigned,
    #[error("The nonce of the signature was used before.")]
    Replayed,
    #[error("The header {0} was sent more than once.")]
    RepeatedHeader(&'static str),
    #[error("The way in which the request is signed is not supported.")]
    Scheme,
    /// This service gives none out.
    #[error("The security token is not one of this service's.")]
    SecurityToken,
    #[error("The time of the signature is not written as it must be.")]
    TimeMalformed,
}

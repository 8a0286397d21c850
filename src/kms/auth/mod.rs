//! Is a signed request really from the holder of an access key.
//!
//! ```text
//! Request ── SignedRequest::parse ──▶ access_key_id ── verify(secret) ──▶ Proven ── Replays::admit
//! ```
//!
//! Four ways to sign are understood, as the clients of two clouds have them:
//!
//! | Scheme | Signed | Once only by |
//! |---|---|---|
//! | Alibaba V1 (HMAC-SHA1, HMAC-SHA256) | method and parameters | `SignatureNonce` |
//! | ACS3-HMAC-SHA256, ACS4-HMAC-SHA256 | method, query, listed headers, hash of the body | `x-acs-signature-nonce` |
//! | AWS SigV4, in the header | method, path, query, listed headers, hash of the body | its signature, see [`Replays`] |
//!
//! Pure: the time that it is and the secret are said. What is taken from a request (its action, its
//! parameters) comes out of [`SignedRequest::verify`] only, so that nothing unproven can be done.

#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

mod acs;
mod authorization;
mod error;
mod form;
mod replay;
mod request;
mod seen;
mod sigv4;
mod v1;
mod window;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use error::AuthError;
pub use form::Form;
pub use replay::{Checked, REMEMBERED, REPEAT_MAX, Replays};
pub use request::Request;
pub use seen::{Floors, Fresh};
pub use window::WINDOW;

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `ACS3-HMAC-SHA256`.
    Acs3,
    /// `ACS4-HMAC-SHA256`.
    Acs4,
    /// In the parameter `Signature`.
    AlibabaV1,
    /// `AWS4-HMAC-SHA256`.
    AwsSigV4,
}

/// A request that says whose it is; nothing of it is proven.
#[derive(Debug)]
pub struct SignedRequest {
    scheme: Scheme,
    access_key_id: String,
    /// When it was signed, as it says.
    time: Timestamp,
    once: Once,
    proof: Proof,
    call: Call,
}

/// What makes a request one of its kind, and whether the same may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Once {
    /// A nonce: it never comes again.
    Nonce(String),
    /// The signature of a scheme without nonce: two equal requests of one second have the same.
    Signature(Vec<u8>),
}

/// What was signed, how, and with what result.
struct Proof {
    key: KeyOf,
    to_sign: Zeroizing<String>,
    /// As the request has it, decoded.
    signature: Vec<u8>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

/// How the key of a signature comes from the secret.
enum KeyOf {
    Acs3,
    Acs4(acs::Scope),
    SigV4(sigv4::Scope),
    V1(v1::Hash),
}

/// What is asked for, as it was signed.
#[derive(Debug)]
pub enum Call {
    /// An action of Alibaba's RPC.
    Alibaba {
        /// Its name.
        action: String,
        /// The version of the interface.
        version: String,
        /// Of query and form, those of the signature among them.
        parameters: Form,
    },
    /// An operation of AWS.
    Aws {
        /// `x-amz-target`; the body holds the parameters.
        target: String,
    },
}

/// A request whose signature is that of the access key's secret. Only [`SignedRequest::verify`]
/// makes one.
#[derive(Debug)]
pub struct Proven {
    scheme: Scheme,
    access_key_id: String,
    time: Timestamp,
    once: Once,
    call: Call,
}

impl SignedRequest {
    /// Reads whose the request is and what was signed.
    ///
    /// # Errors
    /// Whatever is wrong with it without knowing the secret: not signed, a part missing or twice
    /// there, a header that must be signed and is not, another body than the one that was signed, or
    /// a time more than [`WINDOW`] from `now`.
    pub fn parse(request: &Request<'_>, now: Timestamp) -> Result<Self, AuthError> {
        let signed = match request.header("authorization")? {
            None => v1::parse(request)?,
            Some(text) if text.starts_with("ACS") => acs::parse(request, text)?,
            Some(text) if text.starts_with("AWS4") => sigv4::parse(request, text)?,
            Some(_other) => return Err(AuthError::Scheme),
        };
        window::check(signed.time, now)?;
        Ok(signed)
    }

    /// The public half of the access key that is said to have signed.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// Proves the request, in a time that does not tell how much of the signature is right.
    ///
    /// # Errors
    /// [`AuthError::Mismatch`] where this secret signs otherwise.
    pub fn verify(self, secret: &[u8]) -> Result<Proven, AuthError> {
        let expected = self.proof.expected(secret);
        if !bool::from(expected.ct_eq(&self.proof.signature)) {
            return Err(AuthError::Mismatch);
        }
        Ok(Proven {
            scheme: self.scheme,
            access_key_id: self.access_key_id,
            time: self.time,
            once: self.once,
            call: self.call,
        })
    }
}

impl Proof {
    fn expected(&self, secret: &[u8]) -> Vec<u8> {
        let to_sign = self.to_sign.as_bytes();
        match &self.key {
            KeyOf::Acs3 => acs::sign(secret, to_sign),
            KeyOf::Acs4(scope) => acs::sign(&*scope.key(secret), to_sign),
            KeyOf::SigV4(scope) => sigv4::sign(scope, secret, to_sign),
            KeyOf::V1(hash) => v1::sign(*hash, secret, to_sign),
        }
    }
}

impl Proven {
    /// How it was signed.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The public half of the access key that signed.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// When it was signed, by the client's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What is asked for.
    #[must_use]
    pub fn into_call(self) -> Call {
        self.call
    }
}

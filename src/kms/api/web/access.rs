//! Access keys that are given whole, id and secret, and requests that prove nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::WebError;
use crate::kms::api::failures::Failures;
use crate::kms::engine::{Caller, Credential, Engine, KmsError};

/// Checks access keys, holds off who gives wrong ones, and tells the audit trail of who proves nothing.
#[derive(Debug, Default)]
pub struct AccessCheck {
    /// Access keys that were given: who fails too often is held off.
    given: Failures,
    /// Signatures. Nobody is held off: a right one is one, wherever wrong ones come from as well.
    signed: Failures,
}

impl AccessCheck {
    /// `caller`, as the access key makes it, if the secret is right and the key is enabled. What is not is in the audit
    /// trail, with a line of its own or in sum.
    pub(in crate::kms::api) async fn prove(
        &self,
        engine: &Engine,
        mut caller: Caller,
        id: &str,
        secret: &[u8],
    ) -> Result<Caller, WebError> {
        self.check_failures(address_of(&caller))?;
        let credential = engine.credential(id).await?;
        let known = credential.as_deref();
        // An id that is not known takes the same time as one that is.
        let is_right = same(secret, known.map_or(b"", |known| known.secret()));
        caller.access_key_id = known.map_or_else(|| said(id), |known| known.access_key_id.clone());
        let refusal = match known {
            Some(known) if is_right && known.enabled => {
                caller.principal.clone_from(&known.principal);
                return Ok(caller);
            }
            Some(known) => {
                caller.principal.clone_from(&known.principal);
                if is_right { disabled() } else { wrong() }
            }
            None => wrong(),
        };
        note(&self.given, engine, &caller, &refusal.for_the_trail())?;
        Err(refusal)
    }

    /// Tells the audit trail of a request whose signature proves nothing, or of a disabled access key.
    ///
    /// # Errors
    ///
    /// `Unavailable` where nothing is to be answered without an audit trail.
    pub fn note_unproven(
        &self,
        engine: &Engine,
        caller: &Caller,
        refusal: &KmsError,
    ) -> Result<(), KmsError> {
        note(&self.signed, engine, caller, refusal)
    }

    /// Tells the audit trail of those that have no line of their own.
    pub fn sum_up(&self, engine: &Engine) {
        for failures in [&self.given, &self.signed] {
            for (source, count) in failures.sum_up() {
                let told = engine.trail().note_unproven(&source.to_string(), count);
                if told.is_err() {
                    failures.put_back(source, count);
                }
            }
        }
    }

    fn check_failures(&self, address: IpAddr) -> Result<(), WebError> {
        let held_off = self.given.check(address, Instant::now());
        held_off.map_err(|seconds| WebError {
            retry_after: Some(seconds),
            ..WebError::new(
                429,
                "TooManyFailures",
                format!(
                    "Too many wrong access keys came from this address. Try again in {seconds} seconds."
                ),
            )
        })
    }
}

/// Counts a failure, and gives it its line if it may have one.
fn note(
    failures: &Failures,
    engine: &Engine,
    caller: &Caller,
    refusal: &KmsError,
) -> Result<(), KmsError> {
    if failures.note(address_of(caller), Instant::now()) {
        engine.note_refusal(caller, "Authenticate", refusal)?;
    }
    Ok(())
}

fn address_of(caller: &Caller) -> IpAddr {
    caller.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
}

/// The id of an access key that is none, as far as ids go.
#[must_use]
pub fn said(id: &str) -> String {
    id.chars().take(Credential::ID_LEN_MAX).collect()
}

/// In a time that tells neither where they differ nor how long they are. An empty secret is none.
fn same(given: &[u8], known: &[u8]) -> bool {
    let equal = Sha256::digest(given).ct_eq(&Sha256::digest(known));
    bool::from(equal) && !known.is_empty()
}

fn wrong() -> WebError {
    WebError::new(
        401,
        "AccessKeyWrong",
        "The access key id or its secret is wrong.",
    )
}

/// Told to who has the secret only.
pub(in crate::kms::api) fn disabled() -> WebError {
    WebError::new(401, "AccessKeyDisabled", "The access key is disabled.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_is_right() {
        assert!(same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secret ", b"Secret", b"secrets"] {
            assert!(!same(wrong, b"secret"));
        }
        assert!(!same(b"", b""), "an access key that is not known");
    }
}

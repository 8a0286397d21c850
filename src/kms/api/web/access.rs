//! Access keys that are given whole: id and secret.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::error::WebError;
use super::failures::Failures;
use crate::kms::engine::{Caller, Engine};

/// Checks access keys, and holds off who gives wrong ones.
#[derive(Debug, Default)]
pub struct AccessCheck {
    failures: Failures,
}

impl AccessCheck {
    /// `caller`, as the access key makes it, if the secret is right and the key is enabled. A wrong secret of a known key
    /// is in the audit trail.
    pub(in crate::kms::api) async fn prove(
        &self,
        engine: &Engine,
        mut caller: Caller,
        id: &str,
        secret: &[u8],
    ) -> Result<Caller, WebError> {
        let address = caller.address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        self.check_failures(address)?;
        let credential = engine.credential(id).await?;
        let known = credential.as_deref();
        // An id that is not known takes the same time as one that is.
        let is_right = same(secret, known.map_or(b"", |known| known.secret()));
        let Some(credential) = known else {
            self.failures.note(address, Instant::now());
            return Err(wrong());
        };
        caller.access_key_id.clone_from(&credential.access_key_id);
        caller.principal.clone_from(&credential.principal);
        if !is_right {
            self.failures.note(address, Instant::now());
            let refusal = wrong().for_the_trail();
            engine.note_refusal(&caller, "Authenticate", &refusal)?;
            return Err(wrong());
        }
        if !credential.enabled {
            return Err(disabled());
        }
        Ok(caller)
    }

    fn check_failures(&self, address: IpAddr) -> Result<(), WebError> {
        let held_off = self.failures.check(address, Instant::now());
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

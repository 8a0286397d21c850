//! Keys that live in an HSM: made there, used there, destroyed there. Nothing of their secret halves is ever here.
//!
//! A key version in the HSM has its version id as CKA_ID. What the store keeps of it is a [`Record`]: how it works, and
//! its public half, wrapped as everything is.
//!
//! The HSM is asked by threads that serve no connections, at most as many as it has sessions; who waits for one longer
//! than [`PATIENCE`], or for its answer, is told to try again. So an HSM that hangs keeps only its own keys from working.

mod key;
mod record;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::keys::pkcs11::hsm::{CALLS_MAX, Id};
use crate::keys::{Hsm as Token, KeyError, KeyErrorKind, Pkcs11Options};
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::model::{KeyId, KeyVersionId};
use crate::units::KeyUri;

pub use key::{HsmKey, is_for_hsm};
pub use record::Record;

/// How long somebody waits for a session of the HSM, and then for its answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to make a key: RSA keys of 4096 bits take their time.
pub const MAKING: Duration = Duration::from_secs(120);

/// The HSM of a service.
#[derive(Debug)]
pub struct Hsm {
    token: Arc<Token>,
    /// One for each call that may be under way.
    calls: Arc<Semaphore>,
    /// [`PATIENCE`], but in tests.
    patience: Duration,
}

impl Hsm {
    /// The token that a URI names; see [`Token::new`].
    ///
    /// # Errors
    /// `Config`.
    pub fn new(uri: &KeyUri, options: &Pkcs11Options) -> Result<Self, KeyError> {
        Ok(Self {
            token: Arc::new(Token::new(uri, options)?),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            patience: PATIENCE,
        })
    }

    /// Whether it is there and takes its PIN. Blocks, on a person who is asked for the PIN perhaps.
    ///
    /// # Errors
    /// `Unavailable` for one that is away, `Denied` for a wrong PIN, `Config` for a module that is none.
    pub fn probe(&self) -> Result<(), KeyError> {
        self.token.probe()
    }

    /// The token's URI, without what it said of this machine.
    #[must_use]
    pub fn uri(&self) -> &KeyUri {
        self.token.uri()
    }

    /// Whether it has this version of a key.
    ///
    /// # Errors
    /// `HsmUnavailable`.
    pub async fn has(&self, version: &KeyVersionId) -> Result<bool, KmsError> {
        let id = id_of(version)?;
        self.ask(move |token| token.has(&id)).await
    }

    /// Destroys a version of a key, and says whether it was there.
    ///
    /// # Errors
    /// `HsmUnavailable`.
    pub async fn destroy(&self, version: &KeyVersionId) -> Result<bool, KmsError> {
        let id = id_of(version)?;
        self.ask(move |token| token.destroy(&id)).await
    }

    /// Asks the HSM something that it answers soon.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Token) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KmsError> {
        self.call(self.patience, ask).await
    }

    /// Asks the HSM something, and waits this long for its answer.
    async fn call<T: Send + 'static>(
        &self,
        patience: Duration,
        ask: impl FnOnce(&Token) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KmsError> {
        let permit = timeout(self.patience, Arc::clone(&self.calls).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(unavailable("The HSM is busy. Try again in a moment."));
        };
        let token = Arc::clone(&self.token);
        let asked = tokio::task::spawn_blocking(move || {
            // Held for as long as the HSM is asked, and not for as long as somebody waits.
            let _permit = permit;
            ask(&token)
        });
        match timeout(patience, asked).await {
            Ok(Ok(answer)) => answer.map_err(|error| told(&error)),
            Ok(Err(error)) => {
                tracing::error!(%error, "a call of the HSM broke off");
                Err(KmsError::internal())
            }
            Err(_late) => {
                tracing::warn!(uri = %self.uri(), "the HSM does not answer");
                Err(unavailable(
                    "The HSM does not answer. Try again in a moment.",
                ))
            }
        }
    }
}

/// What callers are told of a failure; the log has all of it.
fn told(error: &KeyError) -> KmsError {
    match error.kind() {
        KeyErrorKind::Corrupt => KmsError::of_changed_ciphertext(),
        KeyErrorKind::Config => {
            tracing::error!(%error, "the HSM does not do this");
            KmsError::new(
                ErrorKind::UnsupportedOperation,
                "The HSM of this service does not do this with such a key.",
            )
        }
        KeyErrorKind::NotFound => {
            tracing::error!(%error, "a key is not in the HSM");
            unavailable("The key is not in the HSM that the service has at present.")
        }
        KeyErrorKind::Denied | KeyErrorKind::Revoked => {
            tracing::error!(%error, "the HSM refuses");
            unavailable("The HSM refuses the service at present.")
        }
        KeyErrorKind::Unavailable => {
            tracing::warn!(%error, "the HSM is away");
            unavailable("The HSM cannot be reached. Try again in a moment.")
        }
    }
}

fn unavailable(message: &str) -> KmsError {
    KmsError::new(ErrorKind::HsmUnavailable, message)
}

/// A version's id as the HSM has it.
fn id_of(version: &KeyVersionId) -> Result<Id, KmsError> {
    let none = KeyId("00000000-0000-0000-0000-000000000000".to_owned());
    let address = crate::kms::material::Address::new(&none, version)?;
    Ok(*address.version_bytes())
}

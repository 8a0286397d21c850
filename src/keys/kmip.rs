//! `kmip://host:port/key`: a key in a key server that speaks KMIP 1.2 to 1.4, over TLS with certificates
//! of both sides. The key never leaves the server.
//!
//! A stored URI says which server and which key. Where this machine has its certificates is said on the
//! machine ([`KmipOptions`]).
//!
//! The last part of the URI is a name, or a unique identifier where no key has such a name. A version is
//! the unique identifier of a key: KMIP rotates by new objects of the same name. New wraps use the newest
//! that is active; what an older one wrapped is unwrapped by that one, as long as the server lets it.

mod blob;
mod client;
mod connection;
mod credentials;
mod failure;
mod message;
mod operations;
mod ttlv;
mod uri;

#[cfg(test)]
mod double;
#[cfg(test)]
mod pykmip;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::crypto::secret::SecretKey;
use crate::keys::between::{self, does_not_open};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;
use blob::{Blob, Mechanism, aad};
use client::Client;
use failure::Failure;
use message::Version;
use operations::{KeyInfo, State};
use uri::Place;

pub use uri::{KmipFile, KmipFiles, given};

/// The scheme of the URIs.
pub const SCHEME: &str = "kmip";

/// How this machine reaches KMIP servers.
#[derive(Clone, Debug)]
pub struct KmipOptions {
    /// The certificates for servers that have none of their own.
    pub files: KmipFiles,
    /// What was said for one key: by the query of the URI that a person gave.
    pub of_key: HashMap<KeyUri, KmipFiles>,
    /// How long connecting, and each call, may take.
    pub within: Duration,
}

impl Default for KmipOptions {
    /// No certificates; ten seconds.
    fn default() -> Self {
        Self {
            files: KmipFiles::default(),
            of_key: HashMap::new(),
            within: Duration::from_secs(10),
        }
    }
}

/// A key of a KMIP server.
#[derive(Debug)]
pub struct KmipProvider {
    uri: KeyUri,
    key: String,
    client: Client,
    current: Mutex<Option<Arc<Current>>>,
}

/// The key that new wraps use.
#[derive(Debug)]
struct Current {
    id: String,
    mechanism: Mechanism,
    /// How many keys the name has.
    versions: usize,
}

impl KmipProvider {
    /// Nothing is connected to yet.
    ///
    /// # Errors
    /// `Config` for a URI that names no server and key, or has a query.
    pub fn open(uri: &KeyUri, options: &KmipOptions) -> Result<Self, KeyError> {
        let place = Place::stored(uri).map_err(|error| error.at(uri))?;
        let files = match options.of_key.get(uri) {
            Some(own) => own.or(&options.files),
            None => options.files.clone(),
        };
        Ok(Self {
            uri: uri.clone(),
            key: place.key.clone(),
            client: Client::new(place, files, options.within),
            current: Mutex::default(),
        })
    }

    fn told(&self, what: &str, failure: Failure) -> KeyError {
        let what = format!("{what} by key {:?} of {}", self.key, self.client.server());
        failure.into_error(&what).at(&self.uri)
    }

    /// Looks the newest active key up, and finds out how it wraps.
    fn look(&self) -> Result<Arc<Current>, Failure> {
        let keys = self.keys()?;
        let newest = newest_active(&keys).ok_or_else(|| self.none_active(&keys))?;
        let current = Arc::new(Current {
            mechanism: self.choose(&newest.id)?,
            id: newest.id.clone(),
            versions: keys.len(),
        });
        *self.current.lock() = Some(Arc::clone(&current));
        Ok(current)
    }

    /// The keys of the URI's name, or the one with that unique identifier; never empty.
    fn keys(&self) -> Result<Vec<KeyInfo>, Failure> {
        let named = self.client.locate(&self.key)?;
        if named.is_empty() && operations::is_id(&self.key) {
            return Ok(vec![self.client.attributes(&self.key)?]);
        }
        let (mut keys, mut failure) = (Vec::new(), None);
        for id in &named {
            match self.client.attributes(id) {
                Ok(key) => keys.push(key),
                // Destroyed just now, or another's: the rest may do.
                Err(refused @ Failure::Refused(_)) => failure = Some(refused),
                Err(other) => return Err(other),
            }
        }
        match failure {
            Some(failure) if keys.is_empty() => Err(failure),
            None if keys.is_empty() => {
                let message = format!("the server has no key {:?}", self.key);
                Err(KeyError::not_found(message).into())
            }
            _ => Ok(keys),
        }
    }

    fn none_active(&self, keys: &[KeyInfo]) -> KeyError {
        let aes = newest(keys.iter().filter(|key| key.is_aes));
        match aes {
            Some(key) => of_state(key.state, &key.id).unwrap_or_else(does_not_open),
            None => KeyError::config(format!("{:?} is no AES key", self.key)),
        }
    }

    /// The first mechanism that the key can, and that does what it must.
    fn choose(&self, id: &str) -> Result<Mechanism, Failure> {
        let version = self.client.version()?;
        let mut answers = Vec::new();
        for mechanism in Mechanism::ALL {
            if mechanism == Mechanism::Gcm && version < Version::NEWEST {
                answers.push("AES-GCM: takes KMIP 1.4".to_owned());
                continue;
            }
            match self.check(id, mechanism) {
                Ok(true) => return Ok(mechanism),
                Ok(false) => answers.push(format!("{}: binds nothing", mechanism.name())),
                Err(failure) if failure.is_unsuitable() => {
                    let error = failure.into_error(mechanism.name());
                    answers.push(error.message().to_owned());
                }
                Err(failure) => return Err(self.explain(id, failure)),
            }
        }
        let message = format!("key {id} cannot encrypt: {}", answers.join("; "));
        Err(KeyError::config(message).into())
    }

    /// Encrypts and decrypts something. False where the server passes over the additional data that it
    /// ought to bind.
    fn check(&self, id: &str, mechanism: Mechanism) -> Result<bool, Failure> {
        let secret: Zeroizing<[u8; SecretKey::LEN]> = Zeroizing::new(random::array());
        let sealed = self.client.encrypt(id, mechanism, &secret, b"check")?;
        let plain = self.client.decrypt(id, mechanism, &sealed, b"check")?;
        if !bool::from(plain.as_slice().ct_eq(secret.as_slice())) {
            let message = format!("the server does not give back what {id} encrypted");
            return Err(KeyError::unavailable(message).into());
        }
        if !mechanism.binds() {
            return Ok(true);
        }
        match self.client.decrypt(id, mechanism, &sealed, b"other") {
            Ok(_) => Ok(false),
            Err(Failure::Refused(_)) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// Servers say "denied" to a key that is not active; its state tells what it is.
    fn explain(&self, id: &str, failure: Failure) -> Failure {
        match &failure {
            Failure::Refused(refusal) if refusal.may_be_of_state() => {}
            Failure::Closed | Failure::Known(_) | Failure::Refused(_) => return failure,
        }
        match self.client.attributes(id) {
            Ok(info) => of_state(info.state, id).map_or(failure, Failure::Known),
            Err(Failure::Refused(refusal)) => Failure::Refused(refusal),
            Err(Failure::Closed | Failure::Known(_)) => failure,
        }
    }

    /// Where the key still encrypts and decrypts, it was the wrapped key. Both ways for it to be wrong
    /// (the server's refusal, and a key in between that opens nothing) are followed by the same calls:
    /// how long it takes tells nobody whether a padding was right.
    fn blame(&self, id: &str, mechanism: Mechanism, failure: Failure) -> Failure {
        if !failure.may_be_bad_data() {
            return self.explain(id, failure);
        }
        match self.check(id, mechanism) {
            Ok(_) => does_not_open().into(),
            Err(trouble) => self.explain(id, trouble),
        }
    }

    fn wrap_by(
        &self,
        current: &Current,
        dek: &SecretKey,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, Failure> {
        let Current { id, mechanism, .. } = current;
        let aad = aad(*mechanism, id, context);
        let encrypt = |secret: &[u8; SecretKey::LEN]| {
            let sealed = self.client.encrypt(id, *mechanism, secret, &aad);
            sealed.map_err(|failure| self.explain(id, failure))
        };
        let (by_server, sealed) = if mechanism.binds() {
            (encrypt(dek.expose())?, Vec::new())
        } else {
            between::seal(dek, &aad, encrypt)?
        };
        let blob = Blob {
            mechanism: *mechanism,
            by_server,
            sealed,
        };
        Ok(WrappedDek {
            key_version: id.clone(),
            bytes: blob.encode(),
        })
    }

    fn unwrap_by(
        &self,
        id: &str,
        blob: &Blob,
        context: &EncryptionContext,
    ) -> Result<SecretKey, Failure> {
        let mechanism = blob.mechanism;
        let aad = aad(mechanism, id, context);
        let plain = self.client.decrypt(id, mechanism, &blob.by_server, &aad);
        let plain = plain.map_err(|failure| self.blame(id, mechanism, failure))?;
        let opened = if mechanism.binds() {
            between::key(&plain)
        } else {
            between::open(&plain, &aad, &blob.sealed)
        };
        if opened.is_err() {
            let tried = self.check(id, mechanism);
            tracing::debug!(?tried, "a wrapped key does not open");
        }
        Ok(opened?)
    }
}

impl KeyProvider for KmipProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// A key that was revoked or destroyed meanwhile is looked up anew, once: there may be a newer one.
    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let known = self.current.lock().clone();
        let wrapped = known.map(|current| self.wrap_by(&current, dek, context));
        let wrapped = match wrapped {
            Some(Err(Failure::Known(error))) if !error.kind().is_refusal() => {
                Err(Failure::Known(error))
            }
            Some(Ok(wrapped)) => Ok(wrapped),
            Some(Err(_)) | None => self
                .look()
                .and_then(|current| self.wrap_by(&current, dek, context)),
        };
        wrapped.map_err(|failure| self.told("wrapping", failure))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let id = &wrapped.key_version;
        let corrupt = |error: KeyError| error.at(&self.uri);
        if !operations::is_id(id) {
            return Err(corrupt(KeyError::corrupt("no key version of a KMIP key")));
        }
        let blob = Blob::parse(&wrapped.bytes).ok_or_else(|| corrupt(does_not_open()))?;
        let unwrapped = self.unwrap_by(id, &blob, context);
        unwrapped.map_err(|failure| self.told("unwrapping", failure))
    }

    /// Looks the keys up anew, and encrypts and decrypts something.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let current = self.look();
        let current = current.map_err(|failure| self.told("a trial", failure))?;
        Ok(KeyHealth {
            key_version: current.id.clone(),
            versions: current.versions,
            mechanism: Some(current.mechanism.name()),
        })
    }

    fn describe(&self) -> String {
        format!("key {:?} of {}, by KMIP", self.key, self.client.server())
    }

    fn is_local(&self) -> bool {
        false
    }
}

/// Newer was made later; of those of one second, the one whose identifier is the greatest as a number.
fn newest<'a>(keys: impl Iterator<Item = &'a KeyInfo>) -> Option<&'a KeyInfo> {
    keys.max_by_key(|key| (key.made, key.id.len(), &key.id))
}

fn newest_active(keys: &[KeyInfo]) -> Option<&KeyInfo> {
    let active = |key: &&KeyInfo| key.is_aes && key.state == State::Active;
    newest(keys.iter().filter(active))
}

/// What it means that a key is in this state; `None` where it may be used.
fn of_state(state: State, id: &str) -> Option<KeyError> {
    let (kind, what) = match state {
        State::Active => return None,
        State::Compromised => (KeyErrorKind::Revoked, "was revoked as compromised"),
        State::Deactivated => (KeyErrorKind::Revoked, "is deactivated"),
        State::Destroyed => (KeyErrorKind::NotFound, "was destroyed"),
        State::PreActive => (KeyErrorKind::Config, "is not activated yet: activate it"),
    };
    Some(KeyError::new(kind, format!("key {id} {what}")))
}

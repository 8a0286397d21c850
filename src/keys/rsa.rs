//! `rsa:/path/public.pem`: whoever has the public key wraps, and only who has the private key unwraps.
//! A host with the public key alone makes files that it cannot read.
//!
//! The public key is a PEM file that stands where the stored URI says. Where this machine has the
//! private key, if it has it, is said on the machine ([`RsaOptions`]): in a PEM file, or in a PKCS#11
//! token. A wrapped key is as those of RSA keys in tokens (docs/FORMAT.md §4.3): RSA-OAEP of a fresh key
//! that seals the data key and binds the context.
//!
//! Operations with private keys happen in the token or in aws-lc, both of constant time
//! (RUSTSEC-2023-0071 tells of another that is not).

mod der;
mod private;
mod public;
mod uri;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::keys::between::{self, does_not_open};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::pkcs11::{Blob, Mechanism, Pkcs11Options, aad};
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;
use private::PrivateKeys;
use public::PublicFile;
use uri::Place;

pub(super) use public::PublicKey;

pub use private::PrivateKeySource;
pub use uri::given;

/// The scheme of the URIs.
pub const SCHEME: &str = "rsa";

/// Where this machine has private keys.
#[derive(Clone, Debug, Default)]
pub struct RsaOptions {
    /// Private keys of any public key.
    pub private_keys: Vec<PrivateKeySource>,
    /// What was said for one key: by the query of the URI that a person gave.
    pub of_key: HashMap<KeyUri, Vec<PrivateKeySource>>,
}

/// A public key, and the private keys that this machine has.
#[derive(Debug)]
pub struct RsaProvider {
    uri: KeyUri,
    mechanism: Mechanism,
    public: PublicFile,
    private: PrivateKeys,
}

impl RsaProvider {
    /// No file is read yet: a host that reads need not have the public key, nor one that writes the
    /// private key.
    ///
    /// # Errors
    /// `Config` for a URI without an absolute path, and for one that says where private keys are.
    pub fn open(
        uri: &KeyUri,
        options: &RsaOptions,
        pkcs11: &Pkcs11Options,
    ) -> Result<Self, KeyError> {
        let place = Place::stored(uri).map_err(|error| error.at(uri))?;
        let own = options.of_key.get(uri).filter(|own| !own.is_empty());
        let sources = own.unwrap_or(&options.private_keys);
        Ok(Self {
            uri: uri.clone(),
            mechanism: place.mechanism,
            public: PublicFile::new(place.public),
            private: PrivateKeys::new(sources, pkcs11),
        })
    }

    fn unwrap_here(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        if !public::is_version(&wrapped.key_version) {
            return Err(KeyError::corrupt("no key version of an RSA public key"));
        }
        let blob = Blob::parse(&wrapped.bytes).ok_or_else(does_not_open)?;
        // The URI stands in the slot too, so it says how every key of it was wrapped.
        if blob.mechanism != self.mechanism {
            return Err(does_not_open());
        }
        let unwrapped = self.private.unwrap(&wrapped.key_version, &blob);
        let (fingerprint, between) = unwrapped?.ok_or_else(|| self.no_private_key(wrapped))?;
        let aad = aad(SCHEME, blob.mechanism, &fingerprint, context);
        between::open(&between, &aad, blob.sealed)
    }

    fn no_private_key(&self, wrapped: &WrappedDek) -> KeyError {
        let version = &wrapped.key_version;
        let public = self.public.path().display();
        if self.private.is_empty() {
            let message = format!(
                "this host has no private key of {public} (version {version}), so it may write and not read; to read, name the key's file by ENVELOPEFS_RSA_PRIVATE_KEY_FILE, or its token by ENVELOPEFS_RSA_PRIVATE_KEY"
            );
            return KeyError::new(KeyErrorKind::Denied, message);
        }
        KeyError::not_found(format!(
            "no private key of this host is that of version {version} of {public}"
        ))
    }

    fn mechanism_in_words(&self, version: &str) -> &'static str {
        let reads = self.private.has(version);
        match (self.mechanism, reads) {
            (Mechanism::OaepSha1, true) => "RSA-OAEP SHA-1",
            (Mechanism::OaepSha1, false) => "RSA-OAEP SHA-1, no private key here",
            (_, true) => "RSA-OAEP SHA-256",
            (_, false) => "RSA-OAEP SHA-256, no private key here",
        }
    }
}

impl KeyProvider for RsaProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let wrapped = || {
            let public = self.public.current()?;
            let aad = aad(SCHEME, self.mechanism, public.fingerprint(), context);
            let (by_key, sealed) =
                between::seal(dek, &aad, |between| public.encrypt(self.mechanism, between))?;
            let blob = Blob {
                mechanism: self.mechanism,
                by_token: &by_key,
                sealed: &sealed,
            };
            Ok(WrappedDek {
                key_version: public.version(),
                bytes: blob.encode(),
            })
        };
        wrapped().map_err(|error: KeyError| error.at(&self.uri))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let unwrapped = self.unwrap_here(wrapped, context);
        unwrapped.map_err(|error| error.at(&self.uri))
    }

    /// Reads the public key again, and looks for its private key.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let public = self.public.current().map_err(|error| error.at(&self.uri))?;
        let version = public.version();
        let mechanism = self.mechanism_in_words(&version);
        Ok(KeyHealth {
            key_version: version,
            versions: self.private.len().max(1),
            mechanism: Some(mechanism),
        })
    }

    fn describe(&self) -> String {
        let reads = if self.private.is_empty() {
            "no private key on this host"
        } else {
            "with private keys of this host"
        };
        format!("RSA public key {}, {reads}", self.public.path().display())
    }

    /// A private key takes a millisecond, and a token longer.
    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.private.forget();
    }
}

/// The fingerprint of a public key, and what its private key gave.
type Unwrapped = ([u8; 32], Zeroizing<Vec<u8>>);

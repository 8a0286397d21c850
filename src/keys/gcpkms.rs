//! `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K`: a symmetric key in Google Cloud KMS. The
//! key never leaves the service.
//!
//! The service encrypts a fresh key with the context as additional authenticated data, and says with which
//! version only afterwards. The data key is sealed under the fresh key, bound to that version and to the
//! context.

mod api;
mod credentials;

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;

use crate::crypto::secret::SecretKey;
use crate::keys::between::{self, Wrap, does_not_open};
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::keys::service::{ServiceOptions, UriForm};
use crate::units::KeyUri;
use api::{Encrypted, Kms};

/// The scheme of the URIs.
pub const SCHEME: &str = "gcpkms";

pub(super) const FORM: UriForm = UriForm {
    scheme: SCHEME,
    example: "gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
    stored: &[],
};

/// The one way in which the service encrypts.
const HOW: u8 = 1;
/// What a trial is bound to: no context is encoded so.
const TRIAL: &[u8] = b"envelopefs/v1/trial";

/// A key in Google Cloud KMS.
#[derive(Debug)]
pub struct GcpkmsProvider {
    uri: KeyUri,
    kms: Kms,
}

impl GcpkmsProvider {
    /// Reads the settings of this machine. The service is asked with the first use of the key.
    ///
    /// # Errors
    /// `Config` for a URI of another form, and for settings that cannot be followed.
    pub fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        let open = || {
            let name = key_name(FORM.stored(uri)?.target())?;
            let kms = Kms::new(name, &options.reach(uri), &options.environment)?;
            Ok(Self {
                uri: uri.clone(),
                kms,
            })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }
}

impl KeyProvider for GcpkmsProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let between = SecretKey::random()?;
        let Encrypted {
            version,
            ciphertext,
            ..
        } = self.kms.encrypt(&between, &context.encode())?;
        let aad = Wrap::aad(SCHEME, HOW, &version, context);
        let wrap = Wrap {
            how: HOW,
            sealed: &between::seal_under(&between, dek, &aad),
            by_service: &ciphertext,
        };
        Ok(WrappedDek {
            bytes: wrap.encode(),
            key_version: version,
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let wrap = Wrap::parse(&wrapped.bytes).filter(|wrap| wrap.how == HOW);
        let wrap = wrap.ok_or_else(does_not_open)?;
        let between = self.kms.decrypt(wrap.by_service, &context.encode())?;
        let aad = Wrap::aad(SCHEME, HOW, &wrapped.key_version, context);
        between::open_under(&between, &aad, wrap.sealed)
    }

    /// Encrypts and decrypts something: to look at the key would take a permission that its users need
    /// not have.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let something = SecretKey::random()?;
        let encrypted = self.kms.encrypt(&something, TRIAL)?;
        if self.kms.decrypt(&encrypted.ciphertext, TRIAL)? != something {
            return Err(KeyError::unavailable(
                "the service does not give back what it encrypted",
            ));
        }
        Ok(KeyHealth {
            // Versions are numbered from 1; whether an old one was destroyed is not told.
            versions: encrypted.version.parse().unwrap_or(1),
            key_version: encrypted.version,
            mechanism: encrypted.protection,
        })
    }

    fn describe(&self) -> String {
        format!("{} at {}", self.kms.name(), self.kms.endpoint())
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.kms.forget();
    }
}

/// The resource name of a key. It stands in the path of each request, so that it must not lead elsewhere.
fn key_name(target: &str) -> Result<String, KeyError> {
    let parts: Vec<_> = target.split('/').collect();
    let fits = match parts.as_slice() {
        [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            key,
        ] => {
            // Old projects of an organisation are called example.com:project.
            is_id(project, b"-.:") && [location, ring, key].iter().all(|id| is_id(id, b"-_"))
        }
        _ => false,
    };
    if fits {
        Ok(target.to_owned())
    } else {
        Err(KeyError::config(format!("expected {}", FORM.example)))
    }
}

fn is_id(text: &str, besides: &[u8]) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || besides.contains(&byte);
    first && text.len() <= 63 && text.bytes().all(inner)
}

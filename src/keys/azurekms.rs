//! `azurekms://VAULT/KEY`: a key in Azure Key Vault or in a Managed HSM. The key never leaves the service.
//!
//! The service wraps bytes and binds nothing to them. So it wraps a fresh key, and the data key is sealed
//! under that one, bound to the key's version and to the context.

mod api;
mod credentials;
mod place;

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::crypto::secret::SecretKey;
use crate::keys::between::{self, Wrap, does_not_open};
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::keys::service::{ServiceOptions, wire};
use crate::units::KeyUri;
use api::{KeyVault, Newest, Way};
use place::KeyPlace;

pub(super) use place::FORM;

/// The scheme of the URIs.
pub const SCHEME: &str = "azurekms";

/// For how long new wraps use the version that was the newest, and enabled: the service wraps with a
/// disabled key, and refuses to unwrap with it.
const NEWEST_FOR: Duration = Duration::from_secs(60);

/// A key in Azure Key Vault.
#[derive(Debug)]
pub struct AzurekmsProvider {
    uri: KeyUri,
    vault: KeyVault,
    newest: Mutex<Option<(Instant, Arc<Newest>)>>,
}

impl AzurekmsProvider {
    /// Reads the settings of this machine. The service is asked with the first use of the key.
    ///
    /// # Errors
    /// `Config` for a URI of another form, and for settings that cannot be followed.
    pub fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        let open = || {
            let place = KeyPlace::of(&FORM.stored(uri)?)?;
            Ok(Self {
                uri: uri.clone(),
                vault: KeyVault::new(place, &options.reach(uri), &options.environment)?,
                newest: Mutex::new(None),
            })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    fn newest(&self) -> Result<Arc<Newest>, KeyError> {
        let known = self.newest.lock().clone();
        match known {
            Some((read, newest)) if read.elapsed() < NEWEST_FOR => Ok(newest),
            _ => self.look(),
        }
    }

    fn look(&self) -> Result<Arc<Newest>, KeyError> {
        let newest = Arc::new(self.vault.newest()?);
        *self.newest.lock() = Some((Instant::now(), Arc::clone(&newest)));
        Ok(newest)
    }
}

impl KeyProvider for AzurekmsProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let newest = self.newest()?;
        let between = SecretKey::random()?;
        let by_service = self.vault.wrap(&newest, &between)?;
        let how = newest.way.number();
        let aad = Wrap::aad(SCHEME, how, &newest.version, context);
        let wrap = Wrap {
            how,
            sealed: &between::seal_under(&between, dek, &aad),
            by_service: &by_service,
        };
        Ok(WrappedDek {
            key_version: newest.version.clone(),
            bytes: wrap.encode(),
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.unwrap_named(wrapped, context).map(|(key, _id)| key)
    }

    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        let version = &wrapped.key_version;
        if !place::is_version(version) {
            return Err(KeyError::corrupt("no key version of Azure Key Vault"));
        }
        let wrap = Wrap::parse(&wrapped.bytes).ok_or_else(does_not_open)?;
        let way = Way::of_number(wrap.how).ok_or_else(does_not_open)?;
        let (between, id) = self.vault.unwrap(version, way, wrap.by_service)?;
        let aad = Wrap::aad(SCHEME, wrap.how, version, context);
        wire::named(id, between::open_under(&between, &aad, wrap.sealed))
    }

    /// Looks for the newest version, and wraps and unwraps something with it.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let newest = self.look()?;
        let something = SecretKey::random()?;
        let by_service = self.vault.wrap(&newest, &something)?;
        let unwrapped = self.vault.unwrap(&newest.version, newest.way, &by_service);
        if unwrapped?.0 != something {
            return Err(KeyError::unavailable(
                "the service does not give back what it wrapped",
            ));
        }
        Ok(KeyHealth {
            key_version: newest.version.clone(),
            // To list the others would take a permission that its users need not have.
            versions: 1,
            mechanism: Some(newest.way.name()),
        })
    }

    fn describe(&self) -> String {
        self.vault.to_string()
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.vault.forget();
    }
}

//! Keys of services that wrap data keys themselves, and bind them to a context: one provider for all
//! that speak so.

use std::fmt;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::keys::service::credentials::AccessKey;
use crate::keys::service::refusal::Failure;
use crate::keys::service::renewed::Source;
use crate::keys::service::signed::Signed;
use crate::units::KeyUri;

/// A key in such a service, by the service's operations.
pub(crate) trait Kms: Send + Sync + fmt::Debug {
    /// The service in words.
    const SERVICE: &str;

    /// Whose access keys sign.
    type Source: Source<Given = AccessKey>;

    /// The key as requests name it.
    fn name(&self) -> &str;

    /// The way to the service.
    fn signed(&self) -> &Signed<Self::Source>;

    /// A data key that the service makes.
    fn generate_data_key(
        &self,
        context: &EncryptionContext,
    ) -> Result<(SecretKey, WrappedDek), Failure>;

    fn encrypt(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, Failure>;

    fn decrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, Failure>;

    /// Wraps by the key what wraps now, within the service; `None` where the place where the service is
    /// reached cannot do that.
    fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<Option<WrappedDek>, Failure>;

    /// The version that wraps.
    ///
    /// # Errors
    /// Also where the key is in a state, or of a kind, that does not wrap.
    fn describe_key(&self) -> Result<String, Failure>;

    /// The failure of an operation for whoever asked.
    fn failed(&self, operation: &str, failure: Failure) -> KeyError;
}

/// A key in such a service.
#[derive(Debug)]
pub(crate) struct KmsProvider<K> {
    uri: KeyUri,
    kms: K,
}

impl<K: Kms> KmsProvider<K> {
    /// The key that `uri` names, as `open` has it.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn of(
        uri: &KeyUri,
        open: impl FnOnce() -> Result<K, KeyError>,
    ) -> Result<Self, KeyError> {
        let kms = open().map_err(|error| error.at(uri))?;
        let uri = uri.clone();
        Ok(Self { uri, kms })
    }

    fn told<T>(&self, operation: &str, done: Result<T, Failure>) -> Result<T, KeyError> {
        done.map_err(|failure| self.kms.failed(operation, failure).at(&self.uri))
    }
}

impl<K: Kms> KeyProvider for KmsProvider<K> {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// The service makes the data key.
    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        self.told("GenerateDataKey", self.kms.generate_data_key(context))
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.told("Encrypt", self.kms.encrypt(dek, context))
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
        self.told("Decrypt", self.kms.decrypt(wrapped, context))
    }

    /// In the service, where it can: the data key does not come to this host.
    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        match self.told("ReEncrypt", self.kms.re_encrypt(wrapped, context))? {
            Some(made) => Ok(made),
            None => self.wrap(&self.unwrap(wrapped, context)?, context),
        }
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let key_version = self.told("DescribeKey", self.kms.describe_key())?;
        Ok(KeyHealth {
            key_version,
            versions: 1,
            mechanism: None,
        })
    }

    fn describe(&self) -> String {
        let endpoint = self.kms.signed().endpoint();
        format!("key {} of {} at {endpoint}", self.kms.name(), K::SERVICE)
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.kms.signed().forget();
    }
}

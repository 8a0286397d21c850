//! `alikms://REGION/KEY`: a key in Alibaba Cloud KMS. The key never leaves the service.
//!
//! The context is the service's own encryption context, so that a wrapped key opens for its file
//! alone. A version is the service's key version. The service opens whatever a key of the account made,
//! and says by which key and version that was: it must be what the URI and the slot name.

mod acs3;
mod api;
mod credentials;
mod failure;
mod key;
mod kms;

#[cfg(test)]
mod double;
#[cfg(test)]
mod tests;

use data_encoding::BASE64;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::keys::service::ciphertext::Ciphertext;
use crate::keys::service::context::Context;
use crate::keys::service::refusal::Failure;
use crate::keys::service::{ServiceOptions, UriForm, wire};
use crate::units::KeyUri;
use api::{DataKey, Described, Encrypted, Opened};
use key::KeyName;
use kms::Kms;

/// The scheme of the URIs.
pub(crate) const SCHEME: &str = "alikms";
/// How its URIs look.
pub(crate) const EXAMPLE: &str = "alikms://REGION/KEY";

/// The form of its URIs.
pub(crate) const FORM: UriForm = UriForm {
    scheme: SCHEME,
    example: "alikms://REGION/KEY, where KEY is a key id, an ARN, or alias/NAME",
    stored: &[],
};

/// A key in Alibaba Cloud KMS.
#[derive(Debug)]
pub(crate) struct AliKmsProvider {
    uri: KeyUri,
    key: KeyName,
    kms: Kms,
}

impl AliKmsProvider {
    /// Finds out how the service is reached; nothing is sent yet.
    ///
    /// # Errors
    /// `Config` for a URI that names no key, and for what cannot be followed.
    pub(crate) fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        let open = || {
            let key = KeyName::parse(FORM.stored(uri)?.target())?;
            let kms = Kms::new(key.region(), options.reach(uri), &options.environment)?;
            let uri = uri.clone();
            Ok(Self { uri, key, kms })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    fn failed(&self, operation: &str, failure: Failure) -> KeyError {
        let what = format!("kms:{operation}");
        failure
            .into_error(&what, failure::words(operation))
            .at(&self.uri)
    }

    fn generate_key(
        &self,
        context: &EncryptionContext,
    ) -> Result<(SecretKey, WrappedDek), Failure> {
        let context = api::context(&Context::of(context))?;
        let made: DataKey = self.kms.call(
            "GenerateDataKey",
            &[
                ("EncryptionContext", &context),
                ("KeyId", self.key.as_text()),
                ("KeySpec", "AES_256"),
            ],
        )?;
        let dek = wire::key_of_text(&made.plaintext, &BASE64)?;
        Ok((dek, self.wrapped(&made.by)?))
    }

    fn encrypt(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, Failure> {
        let context = api::context(&Context::of(context))?;
        let plaintext = wire::key_to_text(dek, &BASE64);
        let made: Encrypted = self.kms.call(
            "Encrypt",
            &[
                ("EncryptionContext", &context),
                ("KeyId", self.key.as_text()),
                ("Plaintext", &plaintext),
            ],
        )?;
        self.wrapped(&made)
    }

    fn decrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, Failure> {
        key::check_version(&wrapped.key_version)?;
        let context = api::context(&Context::of(context))?;
        let blob = Ciphertext::of(&wrapped.bytes)?;
        let opened: Opened = self.kms.call(
            "Decrypt",
            &[
                ("CiphertextBlob", blob.as_text()),
                ("EncryptionContext", &context),
            ],
        )?;
        let is_by_it = self.key.is(&opened.key) && opened.version == wrapped.key_version;
        let dek = match is_by_it {
            true => wire::key_of_text(&opened.plaintext, &BASE64),
            false => Err(failure::of_another_key()),
        };
        Ok(wire::named(wire::request_id(&opened.request_id), dek)?)
    }

    fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, Failure> {
        key::check_version(&wrapped.key_version)?;
        let context = api::context(&Context::of(context))?;
        let blob = Ciphertext::of(&wrapped.bytes)?;
        let made: Encrypted = self.kms.call(
            "ReEncrypt",
            &[
                ("CiphertextBlob", blob.as_text()),
                ("DestinationEncryptionContext", &context),
                ("DestinationKeyId", self.key.as_text()),
                ("SourceEncryptionContext", &context),
            ],
        )?;
        self.wrapped(&made)
    }

    fn wrapped(&self, made: &Encrypted) -> Result<WrappedDek, Failure> {
        if !self.key.is(&made.key) {
            return Err(
                KeyError::unavailable("the answer is by another key than was asked for").into(),
            );
        }
        key::check_version(&made.version)
            .map_err(|_error| KeyError::unavailable("the answer names no version of the key"))?;
        Ok(WrappedDek {
            key_version: made.version.clone(),
            bytes: made.blob.bytes()?,
        })
    }

    /// Asks for the key; a service that does not say which version wraps is had to wrap something.
    fn health(&self) -> Result<KeyHealth, Failure> {
        let described: Described = self
            .kms
            .call("DescribeKey", &[("KeyId", self.key.as_text())])?;
        described.check_usable()?;
        let key_version = match described.version() {
            Some(version) => version.to_owned(),
            None => {
                self.encrypt(&SecretKey::random().map_err(KeyError::from)?, &api::TRIAL)?
                    .key_version
            }
        };
        Ok(KeyHealth {
            key_version,
            versions: 1,
            mechanism: None,
        })
    }
}

impl KeyProvider for AliKmsProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// The service makes the data key.
    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        let made = self.generate_key(context);
        made.map_err(|failure| self.failed("GenerateDataKey", failure))
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let made = self.encrypt(dek, context);
        made.map_err(|failure| self.failed("Encrypt", failure))
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
        let opened = self.decrypt(wrapped, context);
        opened.map_err(|failure| self.failed("Decrypt", failure))
    }

    /// In the service, where it can: dedicated gateways cannot.
    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        match self.re_encrypt(wrapped, context) {
            Err(failure) if failure::is_unsupported(failure.code()) => {
                self.wrap(&self.unwrap(wrapped, context)?, context)
            }
            made => made.map_err(|failure| self.failed("ReEncrypt", failure)),
        }
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let health = self.health();
        health.map_err(|failure| self.failed("DescribeKey", failure))
    }

    fn describe(&self) -> String {
        let (key, endpoint) = (self.key.as_text(), self.kms.endpoint());
        format!("key {key} of Alibaba Cloud KMS at {endpoint}")
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.kms.forget();
    }
}

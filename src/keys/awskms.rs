//! `awskms:///KEY?region=REGION`: a key in AWS KMS. The key never leaves the service.
//!
//! The context is the service's own encryption context, so that a wrapped key opens for its file
//! alone. A version is the id of the KMS key that wrapped: under an alias it changes when the alias
//! is pointed at another key. Material that the service rotates within one key is the service's
//! affair: it knows by itself which one opens what.

mod api;
mod credentials;
mod failure;
mod key;
mod kms;
mod region;
pub(crate) mod sigv4;

#[cfg(test)]
mod moto;
#[cfg(test)]
mod tests;

use data_encoding::BASE64;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::keys::service::ciphertext::Ciphertext;
use crate::keys::service::context::Context;
use crate::keys::service::refusal::Failure;
use crate::keys::service::{ServiceOptions, UriForm, wire};
use crate::units::KeyUri;
use api::{DataKey, Described, Encrypted, Opened};
use key::KeyName;
use kms::Kms;

/// The scheme of the URIs.
pub(crate) const SCHEME: &str = "awskms";
/// How its URIs look.
pub(crate) const EXAMPLE: &str = "awskms:///KEY?region=REGION";

/// The form of its URIs.
pub(crate) const FORM: UriForm = UriForm {
    scheme: SCHEME,
    example: "awskms:///KEY?region=REGION, where KEY is a key id, an ARN, or alias/NAME",
    stored: &["region"],
};

/// A key in AWS KMS.
#[derive(Debug)]
pub(crate) struct AwsKmsProvider {
    uri: KeyUri,
    key: KeyName,
    kms: Kms,
}

impl AwsKmsProvider {
    /// Finds out how the service is reached; nothing is sent yet.
    ///
    /// # Errors
    /// `Config` for a URI that names no key, and where no region or a wrong one is said.
    pub(crate) fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        let open = || {
            let stored = FORM.stored(uri)?;
            let key = KeyName::parse(stored.target(), stored.attribute("region"))?;
            let kms = Kms::new(key.region(), options.reach(uri), &options.environment)?;
            let uri = uri.clone();
            Ok(Self { uri, key, kms })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    /// The failure for whoever asked. A key in a state that does not allow the request is asked
    /// for that state: the answer itself says it only in words.
    fn failed(&self, what: &str, failure: Failure) -> KeyError {
        let error = match failure::of_state(&failure) {
            Some(refusal) => {
                let found = self.describe_key().ok();
                failure::in_state(refusal, what, found.as_ref().map(Described::state))
            }
            None => failure.into_error(what, &failure::WORDS),
        };
        error.at(&self.uri)
    }

    fn describe_key(&self) -> Result<Described, Failure> {
        let key = self.key.as_text();
        self.kms.call("DescribeKey", &api::DescribeKey { key })
    }

    fn generate_key(
        &self,
        context: &EncryptionContext,
    ) -> Result<(SecretKey, WrappedDek), Failure> {
        let request = api::GenerateDataKey {
            key: self.key.as_text(),
            spec: "AES_256",
            context: Context::of(context),
        };
        let made: DataKey = self.kms.call("GenerateDataKey", &request)?;
        let wrapped = self.wrapped(&made.key, &made.blob)?;
        Ok((wire::key_of_text(&made.plaintext, &BASE64)?, wrapped))
    }

    fn encrypt(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, Failure> {
        let request = api::Encrypt {
            key: self.key.as_text(),
            plaintext: wire::key_to_text(dek, &BASE64),
            context: Context::of(context),
        };
        let made: Encrypted = self.kms.call("Encrypt", &request)?;
        self.wrapped(&made.key, &made.blob)
    }

    fn decrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, Failure> {
        let key = self.key.of_version(&wrapped.key_version)?;
        let request = api::Decrypt {
            key: &key.as_text(),
            blob: Ciphertext::of(&wrapped.bytes)?,
            context: Context::of(context),
        };
        let opened: Opened = self.kms.call("Decrypt", &request)?;
        key.check(&opened.key)?;
        Ok(wire::key_of_text(&opened.plaintext, &BASE64)?)
    }

    fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, Failure> {
        let source = self.key.of_version(&wrapped.key_version)?;
        let request = api::ReEncrypt {
            blob: Ciphertext::of(&wrapped.bytes)?,
            source: &source.as_text(),
            destination: self.key.as_text(),
            source_context: Context::of(context),
            destination_context: Context::of(context),
        };
        let made: Encrypted = self.kms.call("ReEncrypt", &request)?;
        source.check(made.source.as_deref().unwrap_or_default())?;
        self.wrapped(&made.key, &made.blob)
    }

    /// What the service made by the key with this ARN.
    fn wrapped(&self, arn: &str, blob: &Ciphertext) -> Result<WrappedDek, Failure> {
        Ok(WrappedDek {
            key_version: self.key.check(arn)?,
            bytes: blob.bytes()?,
        })
    }
}

impl KeyProvider for AwsKmsProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// The service makes the data key.
    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        let made = self.generate_key(context);
        made.map_err(|failure| self.failed("kms:GenerateDataKey", failure))
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let made = self.encrypt(dek, context);
        made.map_err(|failure| self.failed("kms:Encrypt", failure))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let opened = self.decrypt(wrapped, context);
        opened.map_err(|failure| self.failed("kms:Decrypt", failure))
    }

    /// In the service: the data key does not come to this host.
    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        let made = self.re_encrypt(wrapped, context);
        made.map_err(|failure| self.failed("kms:ReEncrypt", failure))
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let health = || {
            let described = self.describe_key()?;
            let key_version = self.key.check(described.arn())?;
            described.check_usable()?;
            Ok(KeyHealth {
                key_version,
                versions: 1,
                mechanism: None,
            })
        };
        health().map_err(|failure| self.failed("kms:DescribeKey", failure))
    }

    fn describe(&self) -> String {
        format!(
            "key {} of AWS KMS at {}",
            self.key.as_text(),
            self.kms.endpoint()
        )
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.kms.forget();
    }
}

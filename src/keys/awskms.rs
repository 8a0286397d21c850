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
use crate::keys::provider::{EncryptionContext, NamedKey, WrappedDek};
use crate::keys::service::ciphertext::Ciphertext;
use crate::keys::service::context::Context;
use crate::keys::service::kms::{Kms, KmsProvider};
use crate::keys::service::refusal::Failure;
use crate::keys::service::signed::Signed;
use crate::keys::service::{ServiceOptions, UriForm, wire};
use crate::units::KeyUri;
use api::{DataKey, Described, Encrypted, Opened};
use credentials::Chain;
use key::KeyName;
use kms::Service;

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
pub(crate) type AwsKmsProvider = KmsProvider<AwsKey>;

#[derive(Debug)]
pub(crate) struct AwsKey {
    name: KeyName,
    service: Service,
}

impl AwsKmsProvider {
    /// Finds out how the service is reached; nothing is sent yet.
    ///
    /// # Errors
    /// `Config` for a URI that names no key, and where no region or a wrong one is said.
    pub(crate) fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        Self::of(uri, || {
            let stored = FORM.stored(uri)?;
            let name = KeyName::parse(stored.target(), stored.attribute("region"))?;
            let service = Service::new(name.region(), options.reach(uri), &options.environment)?;
            Ok(AwsKey { name, service })
        })
    }
}

impl AwsKey {
    fn description(&self) -> Result<Described, Failure> {
        let key = self.name.as_text();
        self.service.call("DescribeKey", &api::DescribeKey { key })
    }

    /// What the service made by the key with this ARN.
    fn wrapped(&self, arn: &str, blob: &Ciphertext) -> Result<WrappedDek, Failure> {
        Ok(WrappedDek {
            key_version: self.name.check(arn)?,
            bytes: blob.bytes()?,
        })
    }
}

impl Kms for AwsKey {
    const SERVICE: &str = "AWS KMS";

    type Source = Chain;

    fn name(&self) -> &str {
        self.name.as_text()
    }

    fn signed(&self) -> &Signed<Chain> {
        self.service.signed()
    }

    fn generate_data_key(
        &self,
        context: &EncryptionContext,
    ) -> Result<(SecretKey, WrappedDek), Failure> {
        let request = api::GenerateDataKey {
            key: self.name.as_text(),
            spec: "AES_256",
            context: Context::of(context),
        };
        let made: DataKey = self.service.call("GenerateDataKey", &request)?;
        let wrapped = self.wrapped(&made.key, &made.blob)?;
        Ok((wire::key_of_text(&made.plaintext, &BASE64)?, wrapped))
    }

    fn encrypt(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, Failure> {
        let request = api::Encrypt {
            key: self.name.as_text(),
            plaintext: wire::key_to_text(dek, &BASE64),
            context: Context::of(context),
        };
        let made: Encrypted = self.service.call("Encrypt", &request)?;
        self.wrapped(&made.key, &made.blob)
    }

    fn decrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, Failure> {
        let key = self.name.of_version(&wrapped.key_version)?;
        let request = api::Decrypt {
            key: &key.as_text(),
            blob: Ciphertext::of(&wrapped.bytes)?,
            context: Context::of(context),
        };
        let (opened, id): (Opened, _) = self.service.call_named("Decrypt", &request)?;
        let checked = key.check(&opened.key);
        let dek = checked.and_then(|_version| wire::key_of_text(&opened.plaintext, &BASE64));
        Ok(wire::named(id, dek)?)
    }

    fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<Option<WrappedDek>, Failure> {
        let source = self.name.of_version(&wrapped.key_version)?;
        let request = api::ReEncrypt {
            blob: Ciphertext::of(&wrapped.bytes)?,
            source: &source.as_text(),
            destination: self.name.as_text(),
            source_context: Context::of(context),
            destination_context: Context::of(context),
        };
        let made: Encrypted = self.service.call("ReEncrypt", &request)?;
        source.check(made.source.as_deref().unwrap_or_default())?;
        self.wrapped(&made.key, &made.blob).map(Some)
    }

    fn describe_key(&self) -> Result<String, Failure> {
        let described = self.description()?;
        let key_version = self.name.check(described.arn())?;
        described.check_usable()?;
        Ok(key_version)
    }

    /// A key in a state that does not allow the request is asked for that state: the answer itself says
    /// it only in words.
    fn failed(&self, operation: &str, failure: Failure) -> KeyError {
        let what = format!("kms:{operation}");
        match failure::of_state(&failure) {
            Some(refusal) => {
                let found = self.description().ok();
                failure::in_state(refusal, &what, found.as_ref().map(Described::state))
            }
            None => failure.into_error(&what, &failure::WORDS),
        }
    }
}

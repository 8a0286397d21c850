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
pub(crate) type AliKmsProvider = KmsProvider<AliKey>;

#[derive(Debug)]
pub(crate) struct AliKey {
    name: KeyName,
    service: Service,
}

impl AliKmsProvider {
    /// Finds out how the service is reached; nothing is sent yet.
    ///
    /// # Errors
    /// `Config` for a URI that names no key, and for what cannot be followed.
    pub(crate) fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        Self::of(uri, || {
            let name = KeyName::parse(FORM.stored(uri)?.target())?;
            let service = Service::new(name.region(), options.reach(uri), &options.environment)?;
            Ok(AliKey { name, service })
        })
    }
}

impl AliKey {
    fn wrapped(&self, made: &Encrypted) -> Result<WrappedDek, Failure> {
        if !self.name.is(&made.key) {
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
}

impl Kms for AliKey {
    const SERVICE: &str = "Alibaba Cloud KMS";

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
        let context = api::context(&Context::of(context))?;
        let made: DataKey = self.service.call(
            "GenerateDataKey",
            &[
                ("EncryptionContext", &context),
                ("KeyId", self.name.as_text()),
                ("KeySpec", "AES_256"),
            ],
        )?;
        let dek = wire::key_of_text(&made.plaintext, &BASE64)?;
        Ok((dek, self.wrapped(&made.by)?))
    }

    fn encrypt(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, Failure> {
        let context = api::context(&Context::of(context))?;
        let plaintext = wire::key_to_text(dek, &BASE64);
        let made: Encrypted = self.service.call(
            "Encrypt",
            &[
                ("EncryptionContext", &context),
                ("KeyId", self.name.as_text()),
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
        let opened: Opened = self.service.call(
            "Decrypt",
            &[
                ("CiphertextBlob", blob.as_text()),
                ("EncryptionContext", &context),
            ],
        )?;
        let is_by_it = self.name.is(&opened.key) && opened.version == wrapped.key_version;
        let dek = match is_by_it {
            true => wire::key_of_text(&opened.plaintext, &BASE64),
            false => Err(failure::of_another_key()),
        };
        Ok(wire::named(wire::request_id(&opened.request_id), dek)?)
    }

    /// Dedicated gateways cannot.
    fn re_encrypt(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<Option<WrappedDek>, Failure> {
        key::check_version(&wrapped.key_version)?;
        let context = api::context(&Context::of(context))?;
        let blob = Ciphertext::of(&wrapped.bytes)?;
        let made = self.service.call(
            "ReEncrypt",
            &[
                ("CiphertextBlob", blob.as_text()),
                ("DestinationEncryptionContext", &context),
                ("DestinationKeyId", self.name.as_text()),
                ("SourceEncryptionContext", &context),
            ],
        );
        match made {
            Err(failure) if failure::is_unsupported(failure.code()) => Ok(None),
            made => self.wrapped(&made?).map(Some),
        }
    }

    /// A service that does not say which version wraps is had to wrap something.
    fn describe_key(&self) -> Result<String, Failure> {
        let described: Described = self
            .service
            .call("DescribeKey", &[("KeyId", self.name.as_text())])?;
        described.check_usable()?;
        match described.version() {
            Some(version) => Ok(version.to_owned()),
            None => {
                let trial = SecretKey::random().map_err(KeyError::from)?;
                Ok(self.encrypt(&trial, &api::TRIAL)?.key_version)
            }
        }
    }

    fn failed(&self, operation: &str, failure: Failure) -> KeyError {
        failure.into_error(&format!("kms:{operation}"), failure::words(operation))
    }
}

//! What a version of a key does its work with, wherever its secret half is: in the service's memory, or in an HSM.
//!
//! What takes long, and whatever an HSM is asked, is done by threads that serve no connections.

use std::sync::Arc;

use super::EncryptionContext;
use super::error::KmsError;
use super::model::KeySpec;
use super::ops::SecretBytes;
use super::ops::asymmetric::{EncryptionAlgorithm, MacAlgorithm, Message, SigningAlgorithm};
use super::worker::on_worker;
use crate::kms::hsm::HsmKey;
use crate::kms::material::blob::AnyBlob;
use crate::kms::material::token_blob::Head;
use crate::kms::material::{Address, Material, blob};
use crate::kms::root::Root;

/// One version of a key, ready for use.
#[derive(Debug, Clone)]
pub(super) enum Holder {
    Hsm(Arc<HsmKey>),
    Software(Arc<Material>),
}

impl Holder {
    /// See [`blob::seal`].
    pub(super) async fn seal(
        &self,
        root: &Root,
        address: Address,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::Hsm(key) => {
                let head = Head::new(address, context, &|parts| root.check(parts));
                let sealed = key.seal(head.associated(context), plaintext).await?;
                Ok(head.with(&sealed))
            }
            Self::Software(material) => blob::seal(material, address, context, plaintext),
        }
    }

    /// See [`blob::open`].
    pub(super) async fn open(
        &self,
        root: &Root,
        blob: &AnyBlob<'_>,
        context: &EncryptionContext,
    ) -> Result<SecretBytes, KmsError> {
        match (self, blob) {
            (Self::Hsm(key), AnyBlob::Token(blob)) => {
                let associated = blob.associated(context, &|parts| root.check(parts))?;
                key.open(associated, blob.sealed()).await
            }
            (Self::Software(material), AnyBlob::Software(blob)) => {
                blob::open(material, blob, context)
            }
            (Self::Hsm(_) | Self::Software(_), _) => Err(KmsError::of_no_ciphertext()),
        }
    }

    /// See [`Material::public_key_der`].
    pub(super) fn public_key_der(&self) -> Result<&[u8], KmsError> {
        match self {
            Self::Hsm(key) => Ok(key.public()?.der()),
            Self::Software(material) => material.public_key_der(),
        }
    }

    /// See [`Material::sign`].
    pub(super) async fn sign(
        self,
        algorithm: SigningAlgorithm,
        message: Message,
    ) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::Hsm(key) => key.sign(algorithm, message).await,
            Self::Software(material) => on_worker(move || material.sign(algorithm, &message)).await,
        }
    }

    /// See [`Material::verify`].
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Result<bool, KmsError> {
        match self {
            Self::Hsm(key) => key.public()?.verify(algorithm, message, signature),
            Self::Software(material) => material.verify(algorithm, message, signature),
        }
    }

    /// See [`Material::encrypt`].
    pub(super) fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::Hsm(key) => key.encrypt(algorithm, plaintext),
            Self::Software(material) => material.encrypt(algorithm, plaintext),
        }
    }

    /// See [`Material::decrypt`].
    pub(super) async fn decrypt(
        self,
        algorithm: EncryptionAlgorithm,
        ciphertext: Arc<Vec<u8>>,
    ) -> Result<SecretBytes, KmsError> {
        match self {
            Self::Hsm(key) => key.decrypt(algorithm, ciphertext.to_vec()).await,
            Self::Software(material) => {
                on_worker(move || material.decrypt(algorithm, &ciphertext)).await
            }
        }
    }

    /// See [`Material::mac`].
    pub(super) async fn mac(
        &self,
        spec: KeySpec,
        algorithm: MacAlgorithm,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, KmsError> {
        match self {
            Self::Hsm(key) => key.mac(spec, algorithm, message).await,
            Self::Software(material) => material.mac(algorithm, &message),
        }
    }

    /// See [`Material::verify_mac`].
    pub(super) async fn verify_mac(
        &self,
        spec: KeySpec,
        algorithm: MacAlgorithm,
        message: Vec<u8>,
        mac: &[u8],
    ) -> Result<bool, KmsError> {
        use subtle::ConstantTimeEq as _;
        match self {
            Self::Hsm(key) => {
                let own = key.mac(spec, algorithm, message).await?;
                Ok(own.ct_eq(mac).into())
            }
            Self::Software(material) => material.verify_mac(algorithm, &message, mac),
        }
    }
}

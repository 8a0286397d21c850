//! Asymmetric keys and MACs.

use std::sync::Arc;

use super::data::Decrypted;
use crate::kms::engine::entry::Version;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::holder::Holder;
use crate::kms::engine::model::{KeyId, KeyRef, KeySpec, KeyUsage, KeyVersion, KeyVersionId};
use crate::kms::engine::operation::{Call, Needs, Operation, States};
use crate::kms::engine::ops::SecretBytes;

/// How an asymmetric key encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptionAlgorithm {
    RsaesOaepSha1,
    RsaesOaepSha256,
    Sm2Pke,
}

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SigningAlgorithm {
    EcdsaSha256,
    EcdsaSha384,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    Sm2Dsa,
}

/// How a key authenticates; the hash is the key's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MacAlgorithm {
    HmacSha224,
    HmacSha256,
    HmacSha384,
    HmacSha512,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Hashed already, by the algorithm's hash.
    Digest(Vec<u8>),
    /// At most 4,096 bytes.
    Raw(Vec<u8>),
}

/// Bytes that a key made, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub bytes: Vec<u8>,
}

/// Whether a signature or MAC is right, and by which version. Each dialect says a wrong one in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub valid: bool,
}

/// Encrypts with the public key.
#[derive(Clone)]
pub struct AsymmetricEncrypt {
    pub key: KeyRef,
    /// `None` for the primary.
    pub version: Option<KeyVersionId>,
    pub algorithm: EncryptionAlgorithm,
    pub plaintext: SecretBytes,
    pub dry_run: bool,
}

impl std::fmt::Debug for AsymmetricEncrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsymmetricEncrypt")
            .field("key", &self.key)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Operation for AsymmetricEncrypt {
    const ACTION: &'static str = "AsymmetricEncrypt";
    type Answer = Produced;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::EncryptDecrypt)?;
        let (version, holder) = call.asymmetric(self.version.as_ref()).await?;
        let bytes = holder.encrypt(self.algorithm, &self.plaintext)?;
        version.uses.produced(call.now);
        Ok(produced(&version.version, bytes))
    }
}

/// Decrypts with the private key; without a version each live one is tried.
#[derive(Debug, Clone)]
pub struct AsymmetricDecrypt {
    pub key: KeyRef,
    pub version: Option<KeyVersionId>,
    pub algorithm: EncryptionAlgorithm,
    pub ciphertext: Vec<u8>,
    pub dry_run: bool,
}

impl Operation for AsymmetricDecrypt {
    const ACTION: &'static str = "AsymmetricDecrypt";
    type Answer = Decrypted;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::EncryptDecrypt)?;
        let (algorithm, ciphertext) = (self.algorithm, self.ciphertext);
        call.decrypt_with_private(self.version.as_ref(), algorithm, ciphertext)
            .await
    }
}

/// Signs; ECDSA signatures are DER.
#[derive(Debug, Clone)]
pub struct Sign {
    pub key: KeyRef,
    pub version: Option<KeyVersionId>,
    pub algorithm: SigningAlgorithm,
    pub message: Message,
    pub dry_run: bool,
}

impl Operation for Sign {
    const ACTION: &'static str = "Sign";
    type Answer = Produced;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::SignVerify)?;
        let (version, holder) = call.asymmetric(self.version.as_ref()).await?;
        let (algorithm, message) = (self.algorithm, self.message);
        let bytes = holder.sign(algorithm, message).await?;
        version.uses.produced(call.now);
        Ok(produced(&version.version, bytes))
    }
}

/// Checks a signature.
#[derive(Debug, Clone)]
pub struct Verify {
    pub key: KeyRef,
    pub version: Option<KeyVersionId>,
    pub algorithm: SigningAlgorithm,
    pub message: Message,
    pub signature: Vec<u8>,
    pub dry_run: bool,
}

impl Operation for Verify {
    const ACTION: &'static str = "Verify";
    type Answer = Verified;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::SignVerify)?;
        let (version, holder) = call.asymmetric(self.version.as_ref()).await?;
        let valid = holder.verify(self.algorithm, &self.message, &self.signature)?;
        version.uses.opened(call.now);
        Ok(verified(&version.version, valid))
    }
}

/// Authenticates a message.
#[derive(Debug, Clone)]
pub struct GenerateMac {
    pub key: KeyRef,
    pub algorithm: MacAlgorithm,
    /// At most 4,096 bytes.
    pub message: Vec<u8>,
    pub dry_run: bool,
}

impl Operation for GenerateMac {
    const ACTION: &'static str = "GenerateMac";
    type Answer = Produced;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::GenerateVerifyMac)?;
        let (version, holder) = call.holder(None).await?;
        let spec = call.key()?.key.spec;
        let bytes = holder.mac(spec, self.algorithm, self.message).await?;
        version.uses.produced(call.now);
        Ok(produced(&version.version, bytes))
    }
}

/// Checks a MAC, in constant time.
#[derive(Debug, Clone)]
pub struct VerifyMac {
    pub key: KeyRef,
    pub algorithm: MacAlgorithm,
    pub message: Vec<u8>,
    pub mac: Vec<u8>,
    pub dry_run: bool,
}

impl Operation for VerifyMac {
    const ACTION: &'static str = "VerifyMac";
    type Answer = Verified;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.check_usage(KeyUsage::GenerateVerifyMac)?;
        let (version, holder) = call.holder(None).await?;
        let spec = call.key()?.key.spec;
        let valid = holder
            .verify_mac(spec, self.algorithm, self.message, &self.mac)
            .await?;
        version.uses.opened(call.now);
        Ok(verified(&version.version, valid))
    }
}

/// A public key and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    /// SubjectPublicKeyInfo, DER.
    pub der: Vec<u8>,
}

/// The public half.
#[derive(Debug, Clone)]
pub struct GetPublicKey {
    pub key: KeyRef,
    pub version: Option<KeyVersionId>,
    pub dry_run: bool,
}

impl Operation for GetPublicKey {
    const ACTION: &'static str = "GetPublicKey";
    type Answer = PublicKey;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Usable))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let entry = call.key()?;
        let (version, holder) = call.asymmetric(self.version.as_ref()).await?;
        Ok(PublicKey {
            key: entry.key.id.clone(),
            version: version.version.id.clone(),
            spec: entry.key.spec,
            usage: entry.key.usage,
            der: holder.public_key_der()?.to_vec(),
        })
    }
}

impl Call<'_> {
    /// # Errors
    ///
    /// `KeyUsage` where the call's first key is for something else.
    pub(super) fn check_usage(&self, usage: KeyUsage) -> Result<(), KmsError> {
        let own = self.key()?.key.usage;
        if own == usage {
            return Ok(());
        }
        Err(KmsError::new(
            ErrorKind::KeyUsage,
            format!("The key is for {}, not for {}.", own.name(), usage.name()),
        ))
    }

    /// A version of the call's first key, which must be a key pair.
    async fn asymmetric(
        &self,
        version: Option<&KeyVersionId>,
    ) -> Result<(&Version, Holder), KmsError> {
        let entry = self.key()?;
        if !entry.key.spec.is_asymmetric() {
            return Err(KmsError::new(
                ErrorKind::KeyUsage,
                "The key is symmetric: it has no public and private half.",
            ));
        }
        self.holder(version).await
    }

    /// A version of the call's first key that may be used, the primary where none is named, and what it does its work
    /// with.
    async fn holder(&self, version: Option<&KeyVersionId>) -> Result<(&Version, Holder), KmsError> {
        let entry = self.key()?;
        let version = entry.usable(version)?;
        let holder = version.pair(self.engine, &entry.key).await?;
        Ok((version, holder))
    }

    /// Decrypts with the version that is named, or with the first live one that can.
    pub(super) async fn decrypt_with_private(
        &self,
        version: Option<&KeyVersionId>,
        algorithm: EncryptionAlgorithm,
        ciphertext: Vec<u8>,
    ) -> Result<Decrypted, KmsError> {
        let entry = self.key()?;
        let (named, _) = self.asymmetric(version).await?;
        let others = entry.versions.iter().filter(|other| {
            version.is_none() && other.version.enabled && other.version.id != named.version.id
        });
        let ciphertext = Arc::new(ciphertext);
        let mut last = KmsError::internal();
        for version in std::iter::once(named).chain(others) {
            let holder = version.pair(self.engine, &entry.key).await?;
            match holder.decrypt(algorithm, Arc::clone(&ciphertext)).await {
                Ok(plaintext) => {
                    version.uses.opened(self.now);
                    return Ok(Decrypted {
                        key: entry.key.id.clone(),
                        version: version.version.id.clone(),
                        plaintext,
                    });
                }
                Err(error) if error.kind() == ErrorKind::CiphertextInvalid => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

fn produced(version: &KeyVersion, bytes: Vec<u8>) -> Produced {
    Produced {
        key: version.key.clone(),
        version: version.id.clone(),
        bytes,
    }
}

fn verified(version: &KeyVersion, valid: bool) -> Verified {
    Verified {
        key: version.key.clone(),
        version: version.id.clone(),
        valid,
    }
}

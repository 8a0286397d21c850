//! Asymmetric keys and MACs.

use crate::kms::engine::model::{KeyId, KeyRef, KeySpec, KeyUsage, KeyVersionId};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::{Caller, KmsError};

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

impl Operation for AsymmetricEncrypt {
    const ACTION: &'static str = "AsymmetricEncrypt";
    type Answer = Produced;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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
    type Answer = super::data::Decrypted;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
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

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

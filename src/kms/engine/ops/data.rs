//! Data and data keys under symmetric keys.

use crate::kms::engine::model::{KeyId, KeyRef, KeySpec, KeyVersionId};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::{Caller, EncryptionContext, KmsError};

/// A ciphertext and what it is under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encrypted {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub blob: Vec<u8>,
}

/// A plaintext and what it was under.
#[derive(Clone)]
pub struct Decrypted {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub plaintext: SecretBytes,
}

impl std::fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decrypted")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Encrypts a few bytes under a key's primary version.
#[derive(Clone)]
pub struct Encrypt {
    pub key: KeyRef,
    /// 1 to 6,144 bytes (Alibaba) or 4,096 (AWS), which each dialect checks.
    pub plaintext: SecretBytes,
    pub context: EncryptionContext,
    pub dry_run: bool,
}

impl Operation for Encrypt {
    const ACTION: &'static str = "Encrypt";
    type Answer = Encrypted;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Decrypts what `Encrypt` or one of its kin made; the ciphertext tells its key.
#[derive(Debug, Clone)]
pub struct Decrypt {
    pub blob: Vec<u8>,
    /// `Some` refuses a ciphertext of any other key.
    pub key: Option<KeyRef>,
    pub context: EncryptionContext,
    pub dry_run: bool,
}

impl Operation for Decrypt {
    const ACTION: &'static str = "Decrypt";
    type Answer = Decrypted;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A new data key: in the open, if that was asked for, and under a key.
#[derive(Clone)]
pub struct DataKey {
    pub encrypted: Encrypted,
    pub plaintext: Option<SecretBytes>,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey")
            .field("encrypted", &self.encrypted)
            .finish_non_exhaustive()
    }
}

/// Makes a random data key and gives it in the open and encrypted.
#[derive(Debug, Clone)]
pub struct GenerateDataKey {
    pub key: KeyRef,
    /// 1 to 1,024.
    pub len: usize,
    pub context: EncryptionContext,
    pub dry_run: bool,
}

impl Operation for GenerateDataKey {
    const ACTION: &'static str = "GenerateDataKey";
    type Answer = DataKey;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Makes a random data key and gives it encrypted only.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyWithoutPlaintext {
    pub key: KeyRef,
    /// 1 to 1,024.
    pub len: usize,
    pub context: EncryptionContext,
    pub dry_run: bool,
}

impl Operation for GenerateDataKeyWithoutPlaintext {
    const ACTION: &'static str = "GenerateDataKeyWithoutPlaintext";
    type Answer = DataKey;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Decrypts and encrypts under another key, context or version; the plaintext stays here.
#[derive(Debug, Clone)]
pub struct ReEncrypt {
    pub blob: Vec<u8>,
    /// `Some` refuses a ciphertext of any other key; needed for ciphertexts of asymmetric keys.
    pub source: Option<KeyRef>,
    pub source_version: Option<KeyVersionId>,
    /// `None` for symmetric ones.
    pub source_algorithm: Option<super::asymmetric::EncryptionAlgorithm>,
    pub source_context: EncryptionContext,
    pub destination: KeyRef,
    pub destination_context: EncryptionContext,
    pub dry_run: bool,
}

impl Operation for ReEncrypt {
    const ACTION: &'static str = "ReEncrypt";
    type Answer = ReEncrypted;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A ciphertext under its new key, and what it was under before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReEncrypted {
    pub encrypted: Encrypted,
    pub source: KeyId,
    pub source_version: KeyVersionId,
}

/// A new key pair: the private key (PKCS#8, DER) under a key and, if asked for, in the open.
#[derive(Clone)]
pub struct DataKeyPair {
    pub encrypted: Encrypted,
    pub private: Option<SecretBytes>,
    /// SubjectPublicKeyInfo, DER.
    pub public: Vec<u8>,
    pub spec: KeySpec,
}

impl std::fmt::Debug for DataKeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKeyPair")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

/// Makes a key pair for use elsewhere.
#[derive(Debug, Clone)]
pub struct GenerateDataKeyPair {
    pub key: KeyRef,
    /// RSA, EC or SM2.
    pub pair: KeySpec,
    pub context: EncryptionContext,
    /// `false` asks for the encrypted private key only (`GenerateDataKeyPairWithoutPlaintext`).
    pub with_private: bool,
    pub dry_run: bool,
}

impl Operation for GenerateDataKeyPair {
    const ACTION: &'static str = "GenerateDataKeyPair";
    type Answer = DataKeyPair;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Random bytes.
#[derive(Debug, Clone)]
pub struct GenerateRandom {
    /// 1 to 1,024.
    pub len: usize,
}

impl Operation for GenerateRandom {
    const ACTION: &'static str = "GenerateRandom";
    type Answer = SecretBytes;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A data key under a public key that somebody else gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedDataKey {
    pub key: KeyId,
    pub version: KeyVersionId,
    pub exported: Vec<u8>,
    /// The data key under the service's key (`GenerateAndExportDataKey`).
    pub blob: Option<Vec<u8>>,
}

/// Decrypts a data key and gives it under a public key (Alibaba).
#[derive(Debug, Clone)]
pub struct ExportDataKey {
    pub blob: Vec<u8>,
    pub context: EncryptionContext,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub algorithm: ExportAlgorithm,
    pub dry_run: bool,
}

impl Operation for ExportDataKey {
    const ACTION: &'static str = "ExportDataKey";
    type Answer = ExportedDataKey;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Makes a data key and gives it under the service's key and under a public key (Alibaba).
#[derive(Debug, Clone)]
pub struct GenerateAndExportDataKey {
    pub key: KeyRef,
    /// 1 to 1,024.
    pub len: usize,
    pub context: EncryptionContext,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub algorithm: ExportAlgorithm,
    pub dry_run: bool,
}

impl Operation for GenerateAndExportDataKey {
    const ACTION: &'static str = "GenerateAndExportDataKey";
    type Answer = ExportedDataKey;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

//! Data and data keys under symmetric keys.

use std::borrow::Cow;

use super::change::random_bytes;
use crate::kms::engine::EncryptionContext;
use crate::kms::engine::entry::Entry;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::model::{KeyId, KeyRef, KeySpec, KeyUsage, KeyVersionId};
use crate::kms::engine::operation::{Call, Need, Needs, Operation, States};
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::worker::on_worker;
use crate::kms::material::{Material, blob, wrapping};

/// The most random bytes at once.
pub const RANDOM_MAX: usize = 1024;

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

impl std::fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypt")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Operation for Encrypt {
    const ACTION: &'static str = "Encrypt";
    type Answer = Encrypted;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::one(using(&self.key, &self.context)))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.seal(call.key()?, &self.context, &self.plaintext).await
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        let (key, states) = (of_blob(&self.blob, self.key.as_ref())?, States::Usable);
        let need = Need::key(key, states).with_context(&self.context);
        Ok(Needs::one(match self.key {
            Some(_) => need,
            None => need.of_ciphertext(),
        }))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.open(&self.blob, &self.context).await
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        data_key(&self.key, self.len, &self.context)
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let plaintext = random_bytes(self.len);
        let encrypted = call.seal(call.key()?, &self.context, &plaintext).await?;
        Ok(DataKey {
            encrypted,
            plaintext: Some(plaintext),
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        data_key(&self.key, self.len, &self.context)
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let plaintext = random_bytes(self.len);
        let encrypted = call.seal(call.key()?, &self.context, &plaintext).await?;
        Ok(DataKey {
            encrypted,
            plaintext: None,
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        let source = match (self.source_algorithm, &self.source) {
            (Some(_), _) if !self.source_context.is_empty() => {
                return Err(KmsError::invalid(
                    "SourceEncryptionContext",
                    "An asymmetric key binds nothing to an encryption context.",
                ));
            }
            (Some(_), Some(key)) => Need::key(Cow::Borrowed(key), States::Usable),
            (Some(_), None) => {
                return Err(KmsError::new(
                    ErrorKind::MissingParameter("SourceKeyId"),
                    "A ciphertext of an asymmetric key does not name its key: it must be given.",
                ));
            }
            (None, key) => {
                let need = Need::key(of_blob(&self.blob, key.as_ref())?, States::Usable);
                match key {
                    Some(_) => need,
                    None => need.of_ciphertext(),
                }
            }
        };
        let destination = Need::key(Cow::Borrowed(&self.destination), States::Usable);
        Ok(Needs::one(
            source
                .with_action("ReEncryptFrom")
                .with_context(&self.source_context),
        )
        .and(
            destination
                .with_action("ReEncryptTo")
                .with_context(&self.destination_context),
        ))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let opened = match self.source_algorithm {
            None => call.open(&self.blob, &self.source_context).await?,
            Some(algorithm) => {
                call.check_usage(KeyUsage::EncryptDecrypt)?;
                let version = self.source_version.as_ref();
                call.decrypt_with_private(version, algorithm, self.blob.clone())
                    .await?
            }
        };
        let destination = call.other()?;
        let encrypted = call
            .seal(destination, &self.destination_context, &opened.plaintext)
            .await?;
        Ok(ReEncrypted {
            encrypted,
            source: opened.key,
            source_version: opened.version,
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        if !self.pair.is_asymmetric() {
            return Err(KmsError::invalid(
                "KeyPairSpec",
                "The key pair's spec is of no key pair.",
            ));
        }
        let need = using(&self.key, &self.context);
        Ok(Needs::one(if self.with_private {
            need
        } else {
            need.with_action("GenerateDataKeyPairWithoutPlaintext")
        }))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let spec = self.pair;
        check_symmetric(call.key()?)?;
        let pair = on_worker(move || Material::generate(spec)).await?;
        let encrypted = call.seal(call.key()?, &self.context, pair.secret()).await?;
        Ok(DataKeyPair {
            encrypted,
            private: self
                .with_private
                .then(|| SecretBytes::new(pair.secret().to_vec())),
            public: pair.public_key_der()?.to_vec(),
            spec,
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_len(self.len)?;
        Ok(Needs::service())
    }

    async fn run(self, _call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(random_bytes(self.len))
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
    /// The data key in what was decrypted; `None` where that is something else. A dialect knows it.
    pub data_key: fn(SecretBytes) -> Option<SecretBytes>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    pub algorithm: ExportAlgorithm,
    pub dry_run: bool,
}

impl Operation for ExportDataKey {
    const ACTION: &'static str = "ExportDataKey";
    type Answer = ExportedDataKey;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        let key = of_blob(&self.blob, None)?;
        let need = Need::key(key, States::Usable).with_context(&self.context);
        Ok(Needs::one(need.of_ciphertext()))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let opened = call.open(&self.blob, &self.context).await?;
        let data_key = (self.data_key)(opened.plaintext).ok_or_else(|| {
            KmsError::invalid(
                "CiphertextBlob",
                "The ciphertext holds text, which is no data key.",
            )
        })?;
        Ok(ExportedDataKey {
            key: opened.key,
            version: opened.version,
            exported: wrapping::wrap(self.algorithm, &self.public_key, &data_key)?,
            blob: None,
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        data_key(&self.key, self.len, &self.context)
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let plaintext = random_bytes(self.len);
        let exported = wrapping::wrap(self.algorithm, &self.public_key, &plaintext)?;
        let encrypted = call.seal(call.key()?, &self.context, &plaintext).await?;
        Ok(ExportedDataKey {
            key: encrypted.key,
            version: encrypted.version,
            exported,
            blob: Some(encrypted.blob),
        })
    }
}

impl Call<'_> {
    /// Encrypts under a key's primary version.
    async fn seal(
        &self,
        entry: &Entry,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<Encrypted, KmsError> {
        check_symmetric(entry)?;
        let version = entry.usable(None)?;
        let holder = version.holder(self.engine, &entry.key)?;
        let root = &self.engine.root;
        let blob = holder
            .seal(root, version.address, context, plaintext)
            .await?;
        version.uses.produced(self.now);
        Ok(Encrypted {
            key: entry.key.id.clone(),
            version: version.version.id.clone(),
            blob,
        })
    }

    /// Decrypts a ciphertext, which must be of the call's first key.
    async fn open(&self, bytes: &[u8], context: &EncryptionContext) -> Result<Decrypted, KmsError> {
        let entry = self.key()?;
        let blob = blob::parse_any(bytes)?;
        let address = blob.address();
        if address.key() != entry.key.id {
            return Err(KmsError::new(
                ErrorKind::IncorrectKey,
                "The ciphertext is of another key than the one that was named.",
            ));
        }
        check_symmetric(entry)?;
        let version = entry.version(&address.version());
        let version = version.map_err(|_error| KmsError::of_no_ciphertext())?;
        version.check_enabled()?;
        let holder = version.holder(self.engine, &entry.key)?;
        let plaintext = holder.open(&self.engine.root, &blob, context).await?;
        version.uses.opened(self.now);
        Ok(Decrypted {
            key: entry.key.id.clone(),
            version: version.version.id.clone(),
            plaintext,
        })
    }
}

/// Use of a key under a context.
fn using<'a>(key: &'a KeyRef, context: &'a EncryptionContext) -> Need<'a> {
    Need::key(Cow::Borrowed(key), States::Usable).with_context(context)
}

/// Use of a key for a new data key of so many bytes.
fn data_key<'a>(
    key: &'a KeyRef,
    len: usize,
    context: &'a EncryptionContext,
) -> Result<Needs<'a>, KmsError> {
    check_len(len)?;
    Ok(Needs::one(using(key, context)))
}

/// The key that a ciphertext is to be opened with: the one that was named, else the one that it names.
fn of_blob<'a>(bytes: &[u8], named: Option<&'a KeyRef>) -> Result<Cow<'a, KeyRef>, KmsError> {
    let blob = blob::parse_any(bytes)?;
    Ok(match named {
        Some(key) => Cow::Borrowed(key),
        None => Cow::Owned(KeyRef::Id(blob.address().key())),
    })
}

fn check_symmetric(entry: &Entry) -> Result<(), KmsError> {
    if entry.key.spec.is_symmetric() && entry.key.usage == KeyUsage::EncryptDecrypt {
        return Ok(());
    }
    Err(KmsError::new(
        ErrorKind::KeyUsage,
        format!(
            "A key of spec {} does not do this: it takes a symmetric one.",
            entry.key.spec.name()
        ),
    ))
}

fn check_len(len: usize) -> Result<(), KmsError> {
    if (1..=RANDOM_MAX).contains(&len) {
        return Ok(());
    }
    let message = format!("The number of bytes is 1 to {RANDOM_MAX}.");
    Err(KmsError::invalid("NumberOfBytes", message))
}

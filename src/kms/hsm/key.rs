//! One version of a key in the HSM, and what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{Oaep, OaepBy};
use super::{Hsm, MAKING, Record, id_of, unavailable};
use crate::keys::pkcs11::hsm::{Curve, Hash, Id, Kind, Made, Padding, PairUse, Signing};
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::model::{KeyId, KeySpec, KeyUsage, KeyVersionId};
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::asymmetric::{
    EncryptionAlgorithm, MacAlgorithm, Message, SigningAlgorithm,
};
use crate::kms::material::{OaepHash, PublicHalf, check_message, check_plaintext, oaep, oaep_hash};

/// What an AES key seals at most where each message has a random IV of 96 bits. NIST SP 800-38D, §8.3, has twice as
/// much; a server does not know of what others sealed since it last told the store of its own, five seconds ago at most.
const SEALED_MAX: u64 = 1 << 31;

/// What a key decrypts to find out how it does.
const TRIAL: &[u8] = b"envelopekms";

/// A version of a key in the HSM.
#[derive(Debug)]
pub struct HsmKey {
    /// `None` where this server was started without one: what the public half does still works.
    hsm: Option<Arc<Hsm>>,
    id: Id,
    record: Record,
    /// What it sealed, at this server and at others, as far as this one knows.
    sealed: Arc<AtomicU64>,
}

/// Whether the HSM is asked for keys of this spec at all: SM2 and SM4 have no mechanism in the standard.
#[must_use]
pub fn is_for_hsm(spec: KeySpec) -> bool {
    kind(spec, KeyUsage::SignVerify).is_some()
}

fn kind(spec: KeySpec, usage: KeyUsage) -> Option<Kind> {
    let rsa = |bits| Kind::Rsa {
        bits,
        for_use: match usage {
            KeyUsage::EncryptDecrypt => PairUse::Decrypt,
            KeyUsage::GenerateVerifyMac | KeyUsage::SignVerify => PairUse::Sign,
        },
    };
    match spec {
        KeySpec::Aes128 => Some(Kind::Aes { len: 16 }),
        KeySpec::Aes192 => Some(Kind::Aes { len: 24 }),
        KeySpec::Aes256 => Some(Kind::Aes { len: 32 }),
        KeySpec::EcP256 => Some(Kind::Ec(Curve::P256)),
        KeySpec::EcP256K => Some(Kind::Ec(Curve::P256K)),
        KeySpec::EcP384 => Some(Kind::Ec(Curve::P384)),
        KeySpec::EcSm2 | KeySpec::Sm4 => None,
        KeySpec::Hmac224 => Some(Kind::Hmac { len: 28 }),
        KeySpec::Hmac256 => Some(Kind::Hmac { len: 32 }),
        KeySpec::Hmac384 => Some(Kind::Hmac { len: 48 }),
        KeySpec::Hmac512 => Some(Kind::Hmac { len: 64 }),
        KeySpec::Rsa2048 => Some(rsa(2048)),
        KeySpec::Rsa3072 => Some(rsa(3072)),
        KeySpec::Rsa4096 => Some(rsa(4096)),
    }
}

impl Hsm {
    /// Makes a version of a key, and tries it.
    ///
    /// # Errors
    /// `UnsupportedOperation` where the HSM makes no such keys, `HsmUnavailable`.
    pub async fn generate(
        self: &Arc<Self>,
        key: &KeyId,
        version: &KeyVersionId,
        spec: KeySpec,
        usage: KeyUsage,
    ) -> Result<Record, KmsError> {
        let kind = kind(spec, usage).ok_or_else(|| {
            let message = format!("An HSM has no keys of spec {}.", spec.name());
            KmsError::new(ErrorKind::UnsupportedOperation, message)
        })?;
        let id = id_of(version)?;
        let label = format!("envelopekms {}", key.0);
        let made = self
            .call(MAKING, move |token| token.generate(&id, &label, kind))
            .await?;
        let public = match made {
            Made::Aes(sealing) => return Ok(Record::Aes(sealing)),
            Made::Hmac => return Ok(Record::Hmac),
            Made::Ec { point } => PublicHalf::new(spec, &point)?,
            Made::Rsa { modulus, exponent } => PublicHalf::of_rsa(spec, &modulus, &exponent)?,
        };
        let key = HsmKey {
            hsm: Some(Arc::clone(self)),
            id,
            record: Record::Pair {
                public,
                oaep: Oaep::default(),
            },
            sealed: Arc::default(),
        };
        key.tried(spec, usage).await
    }
}

impl HsmKey {
    /// # Errors
    /// `Internal` for a record that cannot be read.
    pub fn new(
        hsm: Option<Arc<Hsm>>,
        version: &KeyVersionId,
        spec: KeySpec,
        record: &[u8],
        sealed: Arc<AtomicU64>,
    ) -> Result<Self, KmsError> {
        Ok(Self {
            hsm,
            id: id_of(version)?,
            record: Record::parse(spec, record)?,
            sealed,
        })
    }

    /// What a new key pair can; a pair that cannot what it is for is refused.
    async fn tried(mut self, spec: KeySpec, usage: KeyUsage) -> Result<Record, KmsError> {
        if usage == KeyUsage::SignVerify {
            let algorithm = match spec {
                KeySpec::EcP256 | KeySpec::EcP256K => SigningAlgorithm::EcdsaSha256,
                KeySpec::EcP384 => SigningAlgorithm::EcdsaSha384,
                _ => SigningAlgorithm::RsaPkcs1Sha256,
            };
            self.sign(algorithm, Message::Raw(TRIAL.to_vec())).await?;
            return Ok(self.record);
        }
        let sha1 = self.oaep_by(EncryptionAlgorithm::RsaesOaepSha1).await;
        let sha256 = self.oaep_by(EncryptionAlgorithm::RsaesOaepSha256).await;
        if let (Err(error), Err(_)) = (&sha1, &sha256) {
            return Err(error.clone());
        }
        if let Record::Pair { oaep, .. } = &mut self.record {
            *oaep = Oaep {
                sha1: sha1.unwrap_or_default(),
                sha256: sha256.unwrap_or_default(),
            };
        }
        Ok(self.record)
    }

    /// The first way that works; lists of mechanisms do not tell it.
    async fn oaep_by(&self, algorithm: EncryptionAlgorithm) -> Result<OaepBy, KmsError> {
        let ciphertext = self.public()?.encrypt(algorithm, TRIAL)?;
        let hash = oaep_hash(algorithm).ok_or_else(KmsError::internal)?;
        let mut last = KmsError::internal();
        for by in [OaepBy::Hsm, OaepBy::Service] {
            match self.decrypt_by(by, hash, ciphertext.clone()).await {
                Ok(plaintext) if *plaintext == TRIAL => return Ok(by),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn hsm(&self) -> Result<&Arc<Hsm>, KmsError> {
        self.hsm.as_ref().ok_or_else(|| {
            unavailable("The key lives in an HSM, and this server was started without one.")
        })
    }

    /// The public half.
    ///
    /// # Errors
    /// `KeyUsage` where the key has none.
    pub fn public(&self) -> Result<&PublicHalf, KmsError> {
        match &self.record {
            Record::Pair { public, .. } => Ok(public),
            Record::Aes(_) | Record::Hmac => Err(usage("The key has no public half.")),
        }
    }

    /// Seals a blob's plaintext, bound to `aad`.
    ///
    /// # Errors
    /// `InvalidParameter` for an empty or overlong plaintext, `LimitExceeded` where the version has sealed what it may,
    /// `HsmUnavailable`.
    pub async fn seal(&self, aad: Vec<u8>, plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
        let Record::Aes(sealing) = self.record else {
            return Err(usage("The key does not encrypt data."));
        };
        check_plaintext(plaintext)?;
        if sealing.counts() && self.sealed.fetch_add(1, Ordering::Relaxed) >= SEALED_MAX {
            return Err(KmsError::new(
                ErrorKind::LimitExceeded,
                "The version of the key has encrypted as often as one may in an HSM. Rotate the key.",
            ));
        }
        let (id, plaintext) = (self.id, SecretBytes::new(plaintext.to_vec()));
        self.hsm()?
            .ask(move |token| token.seal(&id, sealing, &aad, &plaintext))
            .await
    }

    /// Opens what [`HsmKey::seal`] made.
    ///
    /// # Errors
    /// `CiphertextInvalid`, `HsmUnavailable`.
    pub async fn open(&self, aad: Vec<u8>, sealed: &[u8]) -> Result<SecretBytes, KmsError> {
        let Record::Aes(sealing) = self.record else {
            return Err(usage("The key does not decrypt data."));
        };
        let (id, sealed) = (self.id, sealed.to_vec());
        self.hsm()?
            .ask(move |token| token.open(&id, sealing, &aad, &sealed))
            .await
    }

    /// Signs. What the HSM made is checked by the public half that the store has, so that no other key signs in its
    /// place, and a fault of the HSM tells nothing of the key.
    ///
    /// # Errors
    /// As [`Material::sign`](crate::kms::material::Material::sign), and `HsmUnavailable`.
    pub async fn sign(
        &self,
        algorithm: SigningAlgorithm,
        message: Message,
    ) -> Result<Vec<u8>, KmsError> {
        let public = self.public()?;
        let digest = public.digest(algorithm, &message)?;
        let signing = signing(algorithm).ok_or_else(KmsError::internal)?;
        let (id, to_sign) = (self.id, digest.clone());
        let made = self
            .hsm()?
            .ask(move |token| token.sign(&id, signing, &to_sign))
            .await?;
        let signature = public.signature(made)?;
        if public.verify(algorithm, &Message::Digest(digest), &signature)? {
            return Ok(signature);
        }
        tracing::error!("the HSM gave a signature that is not of the key's public half");
        Err(KmsError::internal())
    }

    /// Encrypts under the public half, if the HSM can decrypt it.
    ///
    /// # Errors
    /// As [`Material::encrypt`](crate::kms::material::Material::encrypt), and `UnsupportedOperation`.
    pub fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        self.by(algorithm)?;
        self.public()?.encrypt(algorithm, plaintext)
    }

    /// Decrypts with the private half.
    ///
    /// # Errors
    /// As [`Material::decrypt`](crate::kms::material::Material::decrypt), and `HsmUnavailable`.
    pub async fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: Vec<u8>,
    ) -> Result<SecretBytes, KmsError> {
        let (by, hash) = self.by(algorithm)?;
        self.decrypt_by(by, hash, ciphertext).await
    }

    fn by(&self, algorithm: EncryptionAlgorithm) -> Result<(OaepBy, OaepHash), KmsError> {
        let hash = oaep_hash(algorithm);
        match (&self.record, hash) {
            (Record::Pair { oaep, .. }, Some(hash)) if oaep.of(hash) != OaepBy::Nobody => {
                Ok((oaep.of(hash), hash))
            }
            (Record::Pair { oaep, .. }, Some(_)) if *oaep != Oaep::default() => Err(KmsError::new(
                ErrorKind::UnsupportedOperation,
                "The HSM that has the key does not decrypt by this algorithm.",
            )),
            _ => Err(usage(
                "The key is not one for this algorithm: see its spec and its usage.",
            )),
        }
    }

    async fn decrypt_by(
        &self,
        by: OaepBy,
        hash: OaepHash,
        ciphertext: Vec<u8>,
    ) -> Result<SecretBytes, KmsError> {
        let padding = match (by, hash) {
            (OaepBy::Hsm, OaepHash::Sha1) => Padding::OaepSha1,
            (OaepBy::Hsm, OaepHash::Sha256) => Padding::OaepSha256,
            (OaepBy::Service | OaepBy::Nobody, _) => Padding::None,
        };
        let algorithm = match hash {
            OaepHash::Sha1 => EncryptionAlgorithm::RsaesOaepSha1,
            OaepHash::Sha256 => EncryptionAlgorithm::RsaesOaepSha256,
        };
        let good = self.public()?.encrypt(algorithm, TRIAL)?;
        // As long as the modulus, as every ciphertext.
        if ciphertext.len() != good.len() {
            return Err(KmsError::of_changed_ciphertext());
        }
        let len = good.len();
        let id = self.id;
        let found = self
            .hsm()?
            .ask(move |token| token.decrypt(&id, padding, &ciphertext, &good))
            .await?;
        match padding {
            Padding::None => {
                // Some give it as a number, without leading zeros.
                let zeros = vec![0; len.saturating_sub(found.len())];
                let padded = SecretBytes::new([&zeros[..], &found].concat());
                oaep::take_off(hash, &padded).ok_or_else(KmsError::of_changed_ciphertext)
            }
            Padding::OaepSha1 | Padding::OaepSha256 => Ok(found),
        }
    }

    /// Authenticates a message.
    ///
    /// # Errors
    /// As [`Material::mac`](crate::kms::material::Material::mac), and `HsmUnavailable`.
    pub async fn mac(
        &self,
        spec: KeySpec,
        algorithm: MacAlgorithm,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, KmsError> {
        let (own, hash) = match spec {
            KeySpec::Hmac224 => (MacAlgorithm::HmacSha224, Hash::Sha224),
            KeySpec::Hmac256 => (MacAlgorithm::HmacSha256, Hash::Sha256),
            KeySpec::Hmac384 => (MacAlgorithm::HmacSha384, Hash::Sha384),
            KeySpec::Hmac512 => (MacAlgorithm::HmacSha512, Hash::Sha512),
            _ => return Err(usage("The key makes no MACs.")),
        };
        if own != algorithm {
            return Err(usage("The key has another hash: see its spec."));
        }
        check_message(&message)?;
        let id = self.id;
        self.hsm()?
            .ask(move |token| token.mac(&id, hash, &message))
            .await
    }
}

fn signing(algorithm: SigningAlgorithm) -> Option<Signing> {
    use SigningAlgorithm as A;
    Some(match algorithm {
        A::EcdsaSha256 | A::EcdsaSha384 => Signing::Ecdsa,
        A::RsaPkcs1Sha256 => Signing::Pkcs1(Hash::Sha256),
        A::RsaPkcs1Sha384 => Signing::Pkcs1(Hash::Sha384),
        A::RsaPkcs1Sha512 => Signing::Pkcs1(Hash::Sha512),
        A::RsaPssSha256 => Signing::Pss(Hash::Sha256),
        A::RsaPssSha384 => Signing::Pss(Hash::Sha384),
        A::RsaPssSha512 => Signing::Pss(Hash::Sha512),
        A::Sm2Dsa => return None,
    })
}

fn usage(message: &str) -> KmsError {
    KmsError::new(ErrorKind::KeyUsage, message)
}

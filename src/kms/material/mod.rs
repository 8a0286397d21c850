//! What the bytes of a key can do. Pure: no I/O, no clock, nothing is kept.
//!
//! * [`Material`]: one version of a key: signs, verifies, encrypts, decrypts, authenticates
//! * [`algorithms`](mod@algorithms): which key does what
//! * [`blob`]: what symmetric keys make, and how it is bound to an encryption context
//! * [`PublicHalf`], [`oaep`] and [`token_blob`]: what is left to do here for a key that lives in an HSM
//! * [`wrapping`]: keys under public keys, to come in and to leave
//!
//! AES-GCM, RSA, ECDSA, HMAC and AES-KWP are aws-lc's; SM2, SM3, SM4 and GCM over SM4 are
//! RustCrypto's. SM4 looks its S-box up in memory, as all software without instructions for it
//! does: on a machine shared with hostile programs, its time may tell of the key.
//!
//! To parse a private key takes time, so [`Material`] does it once: it is for a cache. RSA, ECDSA and
//! SM2 take from tens of microseconds to milliseconds, and an RSA key up to seconds to be made:
//! neither is for a thread that serves connections.

#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod address;
pub mod algorithms;
pub mod blob;
mod digest;
mod ec;
mod errors;
mod gcm;
mod mac;
pub mod oaep;
mod pkcs8;
pub mod public_half;
mod rsa;
mod secret;
mod sm2_key;
#[cfg(test)]
mod tests;
pub mod token_blob;
pub mod wrapping;

use std::fmt;

use aws_lc_rs::rsa::KeySize;
use zeroize::Zeroizing;

pub use address::Address;
pub use algorithms::{Algorithms, algorithms, usages};
pub use blob::Blob;
pub use digest::MESSAGE_LEN_MAX;
pub use oaep::OaepHash;
pub use public_half::PublicHalf;
pub use token_blob::TokenBlob;

use crate::crypto::random;
use crate::kms::engine::KmsError;
use crate::kms::engine::model::KeySpec;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::asymmetric::{
    EncryptionAlgorithm, MacAlgorithm, Message, SigningAlgorithm,
};
use ec::{Curve, EcKey};
use gcm::BlobKey;
use mac::MacKey;
use rsa::{Padding, RsaKey};
use secret::Secret;
use sm2_key::Sm2Key;

/// One version of a key: its secret bytes, and what the ciphers make of them.
///
/// The bytes are in locked memory where they are 32 or fewer; private keys and what the ciphers
/// expand are in ordinary memory. All of it is wiped when dropped.
pub struct Material {
    spec: KeySpec,
    secret: Secret,
    ready: Ready,
}

/// The key, expanded or parsed.
enum Ready {
    Blob(BlobKey),
    Mac(MacAlgorithm, Box<MacKey>),
    Private(Private),
}

/// The private half of a key pair.
enum Private {
    Ec(Box<EcKey>),
    Rsa(Box<RsaKey>),
    Sm2(Box<Sm2Key>),
}

/// How the bytes of a spec are to be understood.
enum Kind {
    Aes { len: usize },
    Ec(Curve),
    Mac { algorithm: MacAlgorithm, len: usize },
    Rsa(KeySize),
    Sm2,
    Sm4,
}

fn kind(spec: KeySpec) -> Kind {
    let mac = |algorithm, len| Kind::Mac { algorithm, len };
    match spec {
        KeySpec::Aes128 => Kind::Aes { len: 16 },
        KeySpec::Aes192 => Kind::Aes { len: 24 },
        KeySpec::Aes256 => Kind::Aes { len: 32 },
        KeySpec::EcP256 => Kind::Ec(Curve::P256),
        KeySpec::EcP256K => Kind::Ec(Curve::P256K),
        KeySpec::EcP384 => Kind::Ec(Curve::P384),
        KeySpec::EcSm2 => Kind::Sm2,
        KeySpec::Hmac224 => mac(MacAlgorithm::HmacSha224, 28),
        KeySpec::Hmac256 => mac(MacAlgorithm::HmacSha256, 32),
        KeySpec::Hmac384 => mac(MacAlgorithm::HmacSha384, 48),
        KeySpec::Hmac512 => mac(MacAlgorithm::HmacSha512, 64),
        KeySpec::Rsa2048 => Kind::Rsa(KeySize::Rsa2048),
        KeySpec::Rsa3072 => Kind::Rsa(KeySize::Rsa3072),
        KeySpec::Rsa4096 => Kind::Rsa(KeySize::Rsa4096),
        KeySpec::Sm4 => Kind::Sm4,
    }
}

/// The length of a key of this spec in bytes; `None` for key pairs, which are PKCS#8.
#[must_use]
pub fn secret_len(spec: KeySpec) -> Option<usize> {
    match kind(spec) {
        Kind::Aes { len } | Kind::Mac { len, .. } => Some(len),
        Kind::Sm4 => Some(16),
        Kind::Ec(_) | Kind::Rsa(_) | Kind::Sm2 => None,
    }
}

impl Material {
    /// A new key. An RSA key takes up to seconds.
    ///
    /// # Errors
    /// `Internal` where there is no locked memory.
    pub fn generate(spec: KeySpec) -> Result<Self, KmsError> {
        let private = match kind(spec) {
            Kind::Aes { len } | Kind::Mac { len, .. } => return Self::random(spec, len),
            Kind::Sm4 => return Self::random(spec, 16),
            Kind::Ec(curve) => Private::Ec(Box::new(EcKey::generate(curve)?)),
            Kind::Rsa(size) => Private::Rsa(Box::new(RsaKey::generate(size)?)),
            Kind::Sm2 => Private::Sm2(Box::new(Sm2Key::generate()?)),
        };
        Self::of_private(spec, private)
    }

    /// A key that was made before, here or by its owner: the bytes of a symmetric or HMAC key, or a
    /// private key as PKCS#8 in DER. The caller wipes his own copy.
    ///
    /// # Errors
    /// `KeyMaterialInvalid` for a wrong length, or a private key of another kind, size or curve, or
    /// one that is inconsistent.
    pub fn from_secret(spec: KeySpec, bytes: &[u8]) -> Result<Self, KmsError> {
        let private = match kind(spec) {
            Kind::Aes { len } => {
                check_len(bytes, len)?;
                return Self::of_blob_key(spec, bytes, BlobKey::aes(bytes));
            }
            Kind::Sm4 => {
                check_len(bytes, 16)?;
                return Self::of_blob_key(spec, bytes, BlobKey::sm4(bytes));
            }
            Kind::Mac { algorithm, len } => {
                check_len(bytes, len)?;
                let key = Box::new(MacKey::new(algorithm, bytes));
                return Self::new(spec, bytes, Ready::Mac(algorithm, key));
            }
            Kind::Ec(curve) => Private::Ec(Box::new(EcKey::from_pkcs8(curve, bytes)?)),
            Kind::Rsa(size) => Private::Rsa(Box::new(RsaKey::from_pkcs8(size.len() * 8, bytes)?)),
            Kind::Sm2 => Private::Sm2(Box::new(Sm2Key::from_pkcs8(bytes)?)),
        };
        Self::of_private(spec, private)
    }

    fn random(spec: KeySpec, len: usize) -> Result<Self, KmsError> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        random::fill(&mut bytes);
        Self::from_secret(spec, &bytes)
    }

    fn of_blob_key(spec: KeySpec, bytes: &[u8], key: Option<BlobKey>) -> Result<Self, KmsError> {
        let key = key.ok_or_else(|| errors::internal("A key could not be expanded."))?;
        Self::new(spec, bytes, Ready::Blob(key))
    }

    /// Keeps the key as this service writes it, whatever it looked like when it came: two
    /// encodings of one key are the same key.
    fn of_private(spec: KeySpec, private: Private) -> Result<Self, KmsError> {
        let bytes = match &private {
            Private::Ec(key) => key.pkcs8()?,
            Private::Rsa(key) => key.pkcs8()?,
            Private::Sm2(key) => key.pkcs8()?,
        };
        Self::new(spec, &bytes, Ready::Private(private))
    }

    fn new(spec: KeySpec, bytes: &[u8], ready: Ready) -> Result<Self, KmsError> {
        Ok(Self {
            spec,
            secret: Secret::new(bytes)?,
            ready,
        })
    }

    /// What kind of key it is.
    #[must_use]
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// The bytes that [`Material::from_secret`] makes the same key of. They are for wrapping under
    /// the root key and, of a data key pair, for its owner.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        self.secret.expose()
    }

    /// Whether both are the same key: imported material may come again, and may not change.
    #[must_use]
    pub fn same_secret(&self, other: &Self) -> bool {
        self.spec == other.spec && self.secret.same(&other.secret)
    }

    /// The public half: SubjectPublicKeyInfo, DER.
    ///
    /// # Errors
    /// `KeyUsage` where the key has none.
    pub fn public_key_der(&self) -> Result<&[u8], KmsError> {
        match self.private() {
            Some(Private::Ec(key)) => Ok(key.public()),
            Some(Private::Rsa(key)) => Ok(key.public()),
            Some(Private::Sm2(key)) => Ok(key.public()),
            None => Err(errors::wrong_usage("a public key")),
        }
    }

    /// Signs; a signature of ECDSA or SM2 is DER.
    ///
    /// # Errors
    /// * `KeyUsage` where the key has no such algorithm
    /// * `InvalidParameter` for an empty or overlong message, or a digest of another length than
    ///   the algorithm's
    pub fn sign(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
    ) -> Result<Vec<u8>, KmsError> {
        match self.private() {
            Some(Private::Ec(key)) => key.sign(algorithm, message),
            Some(Private::Rsa(key)) => key.sign(algorithm, message),
            Some(Private::Sm2(key)) => is_sm2_dsa(algorithm).then(|| key.sign(message)),
            None => None,
        }
        .unwrap_or_else(|| Err(errors::wrong_usage(algorithm)))
    }

    /// Whether a signature is of this key, algorithm and message. One that has no form is not.
    ///
    /// # Errors
    /// As [`Material::sign`].
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Result<bool, KmsError> {
        match self.private() {
            Some(Private::Ec(key)) => key.verify(algorithm, message, signature),
            Some(Private::Rsa(key)) => key.verify(algorithm, message, signature),
            Some(Private::Sm2(key)) => {
                is_sm2_dsa(algorithm).then(|| key.verify(message, signature))
            }
            None => None,
        }
        .unwrap_or_else(|| Err(errors::wrong_usage(algorithm)))
    }

    /// Encrypts under the public half.
    ///
    /// # Errors
    /// * `KeyUsage` where the key has no such algorithm
    /// * `InvalidParameter("Plaintext")` where there is none, or more than the key takes
    pub fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        match (self.private(), Padding::of(algorithm)) {
            (Some(Private::Rsa(key)), Some(padding)) => {
                rsa::encrypt(key.public(), padding, plaintext)
            }
            (Some(Private::Sm2(key)), None) => sm2_key::encrypt(key.public(), plaintext),
            (Some(_) | None, _) => Err(errors::wrong_usage(algorithm)),
        }
    }

    /// Decrypts with the private half.
    ///
    /// # Errors
    /// * `KeyUsage` where the key has no such algorithm
    /// * `CiphertextInvalid` where it is none of this key and algorithm; no more is told
    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, KmsError> {
        match (
            self.private(),
            Padding::of(algorithm).and_then(Padding::oaep),
        ) {
            (Some(Private::Rsa(key)), Some(oaep)) => key.decrypt_oaep(oaep, ciphertext),
            (Some(Private::Sm2(key)), None) => key.decrypt(ciphertext),
            (Some(_) | None, _) => Err(errors::wrong_usage(algorithm)),
        }
    }

    /// Authenticates a message.
    ///
    /// # Errors
    /// * `KeyUsage` where the key has no such algorithm
    /// * `InvalidParameter("Message")` for an empty or overlong message
    pub fn mac(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<Vec<u8>, KmsError> {
        Ok(self.mac_key(algorithm, message)?.mac(message))
    }

    /// Whether a MAC is of this key and message, in constant time.
    ///
    /// # Errors
    /// As [`Material::mac`].
    pub fn verify_mac(
        &self,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<bool, KmsError> {
        Ok(self.mac_key(algorithm, message)?.verify(message, mac))
    }

    fn mac_key(&self, algorithm: MacAlgorithm, message: &[u8]) -> Result<&MacKey, KmsError> {
        match &self.ready {
            Ready::Mac(own, key) if *own == algorithm => {
                digest::check_len(message)?;
                Ok(key)
            }
            Ready::Blob(_) | Ready::Mac(..) | Ready::Private(_) => {
                Err(errors::wrong_usage(algorithm))
            }
        }
    }

    fn blob_key(&self) -> Result<&BlobKey, KmsError> {
        match &self.ready {
            Ready::Blob(key) => Ok(key),
            Ready::Mac(..) | Ready::Private(_) => Err(errors::wrong_usage("symmetric encryption")),
        }
    }

    fn private(&self) -> Option<&Private> {
        match &self.ready {
            Ready::Private(private) => Some(private),
            Ready::Blob(_) | Ready::Mac(..) => None,
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

fn is_sm2_dsa(algorithm: SigningAlgorithm) -> bool {
    algorithm == SigningAlgorithm::Sm2Dsa
}

/// How an HSM's RSA key decrypts by this algorithm; `None` for one of other keys.
#[must_use]
pub fn oaep_hash(algorithm: EncryptionAlgorithm) -> Option<OaepHash> {
    Padding::of(algorithm).and_then(OaepHash::of)
}

/// Refuses an empty or overlong message.
///
/// # Errors
/// `InvalidParameter("Message")`.
pub fn check_message(message: &[u8]) -> Result<(), KmsError> {
    digest::check_len(message)
}

/// Refuses an empty or overlong plaintext of a blob.
///
/// # Errors
/// `InvalidParameter("Plaintext")`.
pub fn check_plaintext(plaintext: &[u8]) -> Result<(), KmsError> {
    if (1..=blob::PLAINTEXT_LEN_MAX).contains(&plaintext.len()) {
        return Ok(());
    }
    Err(errors::length("Plaintext", plaintext.len(), "1 to 6144"))
}

fn check_len(bytes: &[u8], len: usize) -> Result<(), KmsError> {
    if bytes.len() == len {
        return Ok(());
    }
    let found = bytes.len();
    let why = format!("The key material has {found} bytes; the key's spec is of {len}.");
    Err(errors::material(&why))
}

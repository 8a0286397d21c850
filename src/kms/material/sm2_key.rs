//! SM2 (GB/T 32918): signatures over SM3 digests, and encryption.
//!
//! Signatures and ciphertexts are DER (GM/T 0009). Ciphertexts are also read as the plain
//! `04 ‖ x ‖ y ‖ C3 ‖ C2`. The signer's id is the standard's default, `1234567812345678`.

use std::fmt;

use sm2::dsa::signature::hazmat::{PrehashVerifier as _, RandomizedPrehashSigner as _};
use sm2::dsa::signature::{RandomizedSigner as _, Verifier as _};
use sm2::dsa::{Signature, SigningKey, VerifyingKey};
use sm2::elliptic_curve::Generate as _;
use sm2::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
use sm2::pkcs8::der::Decode as _;
use sm2::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
use sm2::pke::{Cipher, DecryptingKey, EncryptingKey, Mode};
use sm2::{PublicKey, SecretKey, Sm2};
use sm3::Sm3;
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::kms::engine::KmsError;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::asymmetric::Message;
use crate::kms::material::{digest, errors};

/// The id of a signer who gives none (GM/T 0009, §10).
const DEFAULT_ID: &str = "1234567812345678";

/// The most that is encrypted, in bytes (Alibaba Cloud KMS, `AsymmetricEncrypt`).
pub(super) const PLAINTEXT_LEN_MAX: usize = 6047;

/// The first byte of a DER ciphertext, and of a plain one.
const DER_SEQUENCE: u8 = 0x30;
const UNCOMPRESSED_POINT: u8 = 0x04;

/// A private key; wiped when dropped. What signs and decrypts is made of it for each operation, for
/// the crate's own types are not wiped.
pub(super) struct Sm2Key {
    secret: SecretKey,
    /// SubjectPublicKeyInfo.
    public: Vec<u8>,
}

impl Sm2Key {
    pub(super) fn generate() -> Result<Self, KmsError> {
        SecretKey::try_generate_from_rng(&mut Random)
            .ok()
            .and_then(Self::of)
            .ok_or_else(|| errors::internal("An SM2 key could not be made."))
    }

    /// # Errors
    /// `KeyMaterialInvalid` for anything but an SM2 key.
    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KmsError> {
        SecretKey::from_pkcs8_der(pkcs8)
            .ok()
            .and_then(Self::of)
            .ok_or_else(|| errors::material("The key is not an SM2 private key in PKCS#8."))
    }

    fn of(secret: SecretKey) -> Option<Self> {
        let public = secret.public_key().to_public_key_der().ok()?.into_vec();
        Some(Self { secret, public })
    }

    pub(super) fn pkcs8(&self) -> Result<SecretBytes, KmsError> {
        let der = self.secret.to_pkcs8_der();
        let der = der.map_err(|_error| errors::internal("An SM2 key cannot be written."))?;
        Ok(Zeroizing::new(der.as_bytes().to_vec()))
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// A raw message is hashed after the signer's id and public key; a digest is the hash of all.
    pub(super) fn sign(&self, message: &Message) -> Result<Vec<u8>, KmsError> {
        let key = SigningKey::new(DEFAULT_ID, &self.secret).map_err(|_error| unsigned())?;
        let signature = match message {
            Message::Raw(message) => {
                digest::check_len(message)?;
                key.try_sign_with_rng(&mut Random, message)
            }
            Message::Digest(bytes) => key.sign_prehash_with_rng(&mut Random, sm3_digest(bytes)?),
        };
        Ok(signature.map_err(|_error| unsigned())?.to_der().to_vec())
    }

    pub(super) fn verify(&self, message: &Message, signature: &[u8]) -> Result<bool, KmsError> {
        let key = VerifyingKey::new(DEFAULT_ID, self.secret.public_key());
        let key = key.map_err(|_error| errors::internal("The SM2 key cannot verify."))?;
        let signature = Signature::from_der(signature);
        match message {
            Message::Raw(message) => {
                digest::check_len(message)?;
                Ok(signature.is_ok_and(|signature| key.verify(message, &signature).is_ok()))
            }
            Message::Digest(bytes) => {
                let digest = sm3_digest(bytes)?;
                Ok(signature.is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok()))
            }
        }
    }

    /// # Errors
    /// `CiphertextInvalid`, and no more is told.
    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Result<SecretBytes, KmsError> {
        self.decrypted(ciphertext).ok_or_else(errors::ciphertext)
    }

    fn decrypted(&self, ciphertext: &[u8]) -> Option<SecretBytes> {
        let cipher = match *ciphertext.first()? {
            DER_SEQUENCE => Cipher::<Sm2, Sm3>::from_der(ciphertext).ok()?,
            UNCOMPRESSED_POINT => Cipher::from_slice(ciphertext, Mode::C1C3C2).ok()?,
            _ => return None,
        };
        if !(1..=PLAINTEXT_LEN_MAX).contains(&cipher.c2().len()) {
            return None;
        }
        let mut plaintext = Zeroizing::new(vec![0; cipher.c2().len()]);
        DecryptingKey::new(self.secret.clone())
            .decrypt_cipher_with_buf::<Sm3>(&cipher, &mut plaintext)
            .ok()?;
        Some(plaintext)
    }
}

impl fmt::Debug for Sm2Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sm2Key(..)")
    }
}

/// Encrypts under a public key: this service's own, or one that somebody gave.
///
/// # Errors
/// * `InvalidParameter("PublicKey")` for no SM2 key
/// * `InvalidParameter("Plaintext")` for none, or one of more than [`PLAINTEXT_LEN_MAX`] bytes
pub(super) fn encrypt(public: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, KmsError> {
    let key = PublicKey::from_public_key_der(public)
        .map_err(|_error| errors::public_key("an SM2 key"))?;
    if !(1..=PLAINTEXT_LEN_MAX).contains(&plaintext.len()) {
        return Err(errors::length("Plaintext", plaintext.len(), "1 to 6047"));
    }
    EncryptingKey::new(key)
        .encrypt_der(&mut Random, plaintext)
        .map_err(|_error| errors::internal("SM2 did not encrypt."))
}

fn sm3_digest(bytes: &[u8]) -> Result<&[u8], KmsError> {
    if bytes.len() == 32 {
        return Ok(bytes);
    }
    Err(errors::length("Digest", bytes.len(), "32"))
}

fn unsigned() -> KmsError {
    errors::internal("SM2 did not sign.")
}

/// The service's one source of randomness, for the crate.
struct Random;

impl TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(u32::from_ne_bytes(random::array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(u64::from_ne_bytes(random::array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        random::fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Random {}

//! RSA keys: RSASSA-PKCS1-v1_5, RSASSA-PSS and RSAES-OAEP of RFC 8017, by aws-lc.

use std::fmt;

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey,
    Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256,
    RSA_PSS_SHA384, RSA_PSS_SHA512, RsaParameters, RsaSignatureEncoding, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::kms::engine::KmsError;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, Message, SigningAlgorithm};
use crate::kms::material::{digest, errors, pkcs8};

/// A public exponent of 65537 at the end of an `RSAPublicKey` (RFC 8017, A.1.1).
const EXPONENT_DER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// The keys that others' public keys may be, in bits.
const FOREIGN_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// How RSA hides bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    OaepSha1,
    OaepSha256,
    /// RSAES-PKCS1-v1_5: for data keys that leave, and for imports (see `wrapping`).
    Pkcs1V15,
}

/// A private key, parsed; aws-lc wipes what it frees.
pub(super) struct RsaKey {
    signing: KeyPair,
    decrypting: PrivateDecryptingKey,
    /// SubjectPublicKeyInfo.
    public: Vec<u8>,
}

impl RsaKey {
    /// Takes up to seconds for long keys.
    pub(super) fn generate(size: KeySize) -> Result<Self, KmsError> {
        let made = KeyPair::generate(size).map_err(|_unspecified| generation())?;
        let der = made.as_der().map_err(|_unspecified| generation())?;
        Self::from_pkcs8(size.len() * 8, der.as_ref())
    }

    /// # Errors
    /// `KeyMaterialInvalid` for anything but a consistent key of `bits` with the exponent 65537.
    pub(super) fn from_pkcs8(bits: usize, der: &[u8]) -> Result<Self, KmsError> {
        let rejected = || errors::material("The key is not an RSA private key in PKCS#8.");
        if !pkcs8::is_one_key(der, pkcs8::RSA) {
            return Err(rejected());
        }
        let signing = KeyPair::from_pkcs8(der).map_err(|_rejected| rejected())?;
        let decrypting = PrivateDecryptingKey::from_pkcs8(der).map_err(|_rejected| rejected())?;
        if decrypting.key_size_bits() != bits {
            let size = decrypting.key_size_bits();
            let why = format!("The RSA key has {size} bits; the key's spec is of {bits}.");
            return Err(errors::material(&why));
        }
        if !signing.public_key().as_ref().ends_with(&EXPONENT_DER) {
            return Err(errors::material(
                "The RSA key's public exponent must be 65537.",
            ));
        }
        let public = decrypting.public_key().as_der();
        let public = public.map_err(|_unspecified| rejected())?.as_ref().to_vec();
        Ok(Self {
            signing,
            decrypting,
            public,
        })
    }

    pub(super) fn pkcs8(&self) -> Result<SecretBytes, KmsError> {
        let der = self.signing.as_der().map_err(|_unspecified| generation())?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// `None` for an algorithm of other keys.
    pub(super) fn sign(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
    ) -> Option<Result<Vec<u8>, KmsError>> {
        let scheme = Scheme::of(algorithm)?;
        Some(self.sign_with(&scheme, message))
    }

    fn sign_with(&self, scheme: &Scheme, message: &Message) -> Result<Vec<u8>, KmsError> {
        let digest = digest::of(scheme.hash, message)?;
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing
            .sign_digest(scheme.signing, &digest, &mut signature)
            .map_err(|_unspecified| errors::internal("RSA did not sign."))?;
        Ok(signature)
    }

    /// `None` for an algorithm of other keys.
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Option<Result<bool, KmsError>> {
        verify(&self.public, algorithm, message, signature)
    }

    /// # Errors
    /// `CiphertextInvalid`, and no more is told.
    pub(super) fn decrypt_oaep(
        &self,
        algorithm: &'static OaepAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, KmsError> {
        if ciphertext.len() != self.decrypting.key_size_bytes() {
            return Err(errors::ciphertext());
        }
        let key = OaepPrivateDecryptingKey::new(self.decrypting.clone())
            .map_err(|_unspecified| errors::internal("The RSA key cannot decrypt."))?;
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let plaintext = key
            .decrypt(algorithm, ciphertext, &mut buffer, None)
            .map_err(|_unspecified| errors::ciphertext())?;
        Ok(Zeroizing::new(plaintext.to_vec()))
    }

    /// Decrypts into the start of `buffer`, which has the length of the modulus; gives the length of
    /// what was found, or `None` where the padding does not hold. That must not be told to anybody:
    /// see [`wrapping`](super::wrapping).
    pub(super) fn decrypt_pkcs1(&self, ciphertext: &[u8], buffer: &mut [u8]) -> Option<usize> {
        let key = Pkcs1PrivateDecryptingKey::new(self.decrypting.clone()).ok()?;
        let plaintext = key.decrypt(ciphertext, buffer).ok()?;
        Some(plaintext.len())
    }

    pub(super) fn modulus_len(&self) -> usize {
        self.decrypting.key_size_bytes()
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(..)")
    }
}

/// Whether a signature holds under a public key of this service's own; `None` for an algorithm of other keys.
pub(super) fn verify(
    public: &[u8],
    algorithm: SigningAlgorithm,
    message: &Message,
    signature: &[u8],
) -> Option<Result<bool, KmsError>> {
    let scheme = Scheme::of(algorithm)?;
    let key = UnparsedPublicKey::new(scheme.verifying, public);
    let holds = digest::of(scheme.hash, message)
        .map(|digest| key.verify_digest(&digest, signature).is_ok());
    Some(holds)
}

/// What is signed; `None` for an algorithm of other keys.
pub(super) fn digest_of(
    algorithm: SigningAlgorithm,
    message: &Message,
) -> Option<Result<Vec<u8>, KmsError>> {
    let scheme = Scheme::of(algorithm)?;
    Some(digest::of(scheme.hash, message).map(|digest| digest.as_ref().to_vec()))
}

/// Encrypts under a public key: this service's own, or one that somebody gave.
///
/// # Errors
/// * `InvalidParameter("PublicKey")` for no RSA key of 2048 to 4096 bits
/// * `InvalidParameter("Plaintext")` for none, or one that is too long for the key
pub(super) fn encrypt(
    public: &[u8],
    padding: Padding,
    plaintext: &[u8],
) -> Result<Vec<u8>, KmsError> {
    let key = PublicEncryptingKey::from_der(public)
        .ok()
        .filter(|key| FOREIGN_BITS.contains(&key.key_size_bits()))
        .ok_or_else(|| errors::public_key("an RSA key of 2048 to 4096 bits"))?;
    let mut out = vec![0; key.key_size_bytes()];
    let longest = longest_plaintext(out.len(), padding);
    if !(1..=longest).contains(&plaintext.len()) {
        let allowed = format!("1 to {longest}");
        return Err(errors::length("Plaintext", plaintext.len(), &allowed));
    }
    let written = match padding.oaep() {
        Some(oaep) => OaepPublicEncryptingKey::new(key)
            .and_then(|key| Ok(key.encrypt(oaep, plaintext, &mut out, None)?.len())),
        None => Pkcs1PublicEncryptingKey::new(key)
            .and_then(|key| Ok(key.encrypt(plaintext, &mut out)?.len())),
    };
    match written {
        Ok(len) if len == out.len() => Ok(out),
        Ok(_) | Err(_) => Err(errors::internal("RSA did not encrypt.")),
    }
}

/// RFC 8017, §7.1.1 and §7.2.1.
fn longest_plaintext(modulus_len: usize, padding: Padding) -> usize {
    let overhead = match padding {
        Padding::OaepSha1 => 2 * 20 + 2,
        Padding::OaepSha256 => 2 * 32 + 2,
        Padding::Pkcs1V15 => 11,
    };
    modulus_len.saturating_sub(overhead)
}

impl Padding {
    /// `None` for an algorithm of other keys.
    pub(super) fn of(algorithm: EncryptionAlgorithm) -> Option<Self> {
        match algorithm {
            EncryptionAlgorithm::RsaesOaepSha1 => Some(Self::OaepSha1),
            EncryptionAlgorithm::RsaesOaepSha256 => Some(Self::OaepSha256),
            EncryptionAlgorithm::Sm2Pke => None,
        }
    }

    /// The hash is also MGF1's.
    pub(super) fn oaep(self) -> Option<&'static OaepAlgorithm> {
        match self {
            Self::OaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
            Self::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
            Self::Pkcs1V15 => None,
        }
    }
}

/// One signature scheme; a PSS salt is as long as the hash.
struct Scheme {
    hash: &'static Algorithm,
    signing: &'static RsaSignatureEncoding,
    verifying: &'static RsaParameters,
}

impl Scheme {
    fn of(algorithm: SigningAlgorithm) -> Option<Self> {
        use SigningAlgorithm as A;
        let (hash, signing, verifying): (_, &'static RsaSignatureEncoding, &'static RsaParameters) =
            match algorithm {
                A::RsaPkcs1Sha256 => (&SHA256, &RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
                A::RsaPkcs1Sha384 => (&SHA384, &RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
                A::RsaPkcs1Sha512 => (&SHA512, &RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
                A::RsaPssSha256 => (&SHA256, &RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
                A::RsaPssSha384 => (&SHA384, &RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
                A::RsaPssSha512 => (&SHA512, &RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
                A::EcdsaSha256 | A::EcdsaSha384 | A::Sm2Dsa => return None,
            };
        Some(Self {
            hash,
            signing,
            verifying,
        })
    }
}

fn generation() -> KmsError {
    errors::internal("An RSA key could not be made.")
}

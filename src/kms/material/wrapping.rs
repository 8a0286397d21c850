//! Keys under public keys: material that its owner brings, and data keys that leave.
//!
//! RSAES-PKCS1-v1_5 and RSAES-OAEP of RFC 8017; `RSA_AES_KEY_WRAP`, which is an AES-256 key of one
//! use under OAEP, and the material under that key with AES-KWP (RFC 5649), one after the other
//! (PKCS #11, `CKM_RSA_AES_KEY_WRAP`); and SM2.
//!
//! # PKCS #1 v1.5 and oracles
//!
//! Whoever learns whether a ciphertext decrypts to a well-formed PKCS #1 v1.5 block can decrypt any
//! other by asking often enough (Bleichenbacher, 1998). So nobody learns it: a block that is not
//! well-formed, or whose message has not the length of the spec, gives bytes derived of the
//! wrapping key and the ciphertext in place of a message ("implicit rejection"). The import seems
//! to succeed, with a key that nobody knows and that is the same whenever that ciphertext comes
//! again; both messages are always made, and the choice is without a branch. It follows that only
//! keys of one fixed length can be brought so, and that a mistaken wrapping shows only where the key
//! is used: OAEP is better wherever the client has it.
//!
//! What remains is the time that aws-lc takes to fail rather than to succeed after it checked
//! the padding in constant time, some hundred nanoseconds. A wrapping key should be used for few
//! attempts, which is for the engine to see to.

use aws_lc_rs::hkdf::{self, HKDF_SHA256, Salt};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::kms::engine::KmsError;
use crate::kms::engine::error::ErrorKind;
use crate::kms::engine::model::KeySpec;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::material::rsa::{self, Padding, RsaKey};
use crate::kms::material::{Material, Private, errors, secret_len, sm2_key};

/// The longest wrapped material: an RSA-4096 key under SM2 or `RSA_AES_KEY_WRAP` has less.
pub const WRAPPED_LEN_MAX: usize = 6144;

const KEK_LEN: usize = 32;

/// How an algorithm is built.
enum Form {
    /// The material itself under RSA.
    Rsa(Padding),
    /// A key of one use under RSA, the material under that key.
    RsaAes(Padding),
    Sm2,
}

impl Form {
    fn of(algorithm: ExportAlgorithm) -> Self {
        match algorithm {
            ExportAlgorithm::RsaAesKeyWrapSha1 => Self::RsaAes(Padding::OaepSha1),
            ExportAlgorithm::RsaAesKeyWrapSha256 => Self::RsaAes(Padding::OaepSha256),
            ExportAlgorithm::RsaesOaepSha1 => Self::Rsa(Padding::OaepSha1),
            ExportAlgorithm::RsaesOaepSha256 => Self::Rsa(Padding::OaepSha256),
            ExportAlgorithm::RsaesPkcs1V15 => Self::Rsa(Padding::Pkcs1V15),
            ExportAlgorithm::Sm2Pke => Self::Sm2,
        }
    }
}

/// Wraps secret bytes under a public key (SubjectPublicKeyInfo, DER) that somebody gave.
///
/// # Errors
/// * `InvalidParameter("PublicKey")` where it is no key for this algorithm
/// * `InvalidParameter("Plaintext")` where there are no bytes, or too many for the key
pub fn wrap(
    algorithm: ExportAlgorithm,
    public_key: &[u8],
    secret: &[u8],
) -> Result<Vec<u8>, KmsError> {
    match Form::of(algorithm) {
        Form::Rsa(padding) => rsa::encrypt(public_key, padding, secret),
        Form::RsaAes(padding) => wrap_under_aes(public_key, padding, secret),
        Form::Sm2 => sm2_key::encrypt(public_key, secret),
    }
}

fn wrap_under_aes(public_key: &[u8], padding: Padding, secret: &[u8]) -> Result<Vec<u8>, KmsError> {
    if !(1..=WRAPPED_LEN_MAX).contains(&secret.len()) {
        return Err(errors::length("Plaintext", secret.len(), "1 to 6144"));
    }
    let mut key = Zeroizing::new([0; KEK_LEN]);
    random::fill(&mut *key);
    let mut wrapped = rsa::encrypt(public_key, padding, &*key)?;
    let mut rest = vec![0; secret.len() + 15];
    let rest = kek(&*key)?
        .wrap_with_padding(secret, &mut rest)
        .map_err(|_unspecified| errors::internal("AES key wrap failed."))?;
    wrapped.extend_from_slice(rest);
    Ok(wrapped)
}

/// Unwraps material that its owner brings for a key of `spec`. `wrapping` is the private half of
/// what he was given to wrap it with.
///
/// # Errors
/// * `KeyUsage` where `wrapping` is no key for this algorithm
/// * `InvalidParameter("WrappingAlgorithm")` for PKCS #1 v1.5 and a key that has no fixed length
/// * `KeyMaterialInvalid`, with one sentence, where it does not unwrap; with a sentence that says
///   why, where what comes out is no key of the spec
pub fn unwrap(
    wrapping: &Material,
    algorithm: ExportAlgorithm,
    wrapped: &[u8],
    spec: KeySpec,
) -> Result<Material, KmsError> {
    if !(1..=WRAPPED_LEN_MAX).contains(&wrapped.len()) {
        return Err(does_not_unwrap());
    }
    let secret = match (Form::of(algorithm), wrapping.private()) {
        (Form::Rsa(padding), Some(Private::Rsa(key))) => {
            unwrap_rsa(key, padding, wrapped, spec, wrapping.secret())?
        }
        (Form::RsaAes(padding), Some(Private::Rsa(key))) => {
            unwrap_rsa_aes(key, padding, wrapped).ok_or_else(does_not_unwrap)?
        }
        (Form::Sm2, Some(Private::Sm2(key))) => {
            key.decrypt(wrapped).map_err(|_error| does_not_unwrap())?
        }
        (Form::Rsa(_) | Form::RsaAes(_) | Form::Sm2, _) => {
            return Err(errors::wrong_usage(algorithm));
        }
    };
    Material::from_secret(spec, &secret)
}

fn unwrap_rsa(
    key: &RsaKey,
    padding: Padding,
    wrapped: &[u8],
    spec: KeySpec,
    wrapping_secret: &[u8],
) -> Result<SecretBytes, KmsError> {
    let Some(oaep) = padding.oaep() else {
        let len = secret_len(spec).ok_or_else(no_fixed_length)?;
        return unwrap_pkcs1(key, wrapped, len, wrapping_secret);
    };
    key.decrypt_oaep(oaep, wrapped)
        .map_err(|_error| does_not_unwrap())
}

fn unwrap_rsa_aes(key: &RsaKey, padding: Padding, wrapped: &[u8]) -> Option<SecretBytes> {
    let (wrapped_kek, wrapped) = wrapped.split_at_checked(key.modulus_len())?;
    let kek_bytes = key.decrypt_oaep(padding.oaep()?, wrapped_kek).ok()?;
    let mut buffer = Zeroizing::new(vec![0; wrapped.len()]);
    let secret = kek(&kek_bytes)
        .ok()?
        .unwrap_with_padding(wrapped, &mut buffer)
        .ok()?;
    Some(Zeroizing::new(secret.to_vec()))
}

/// The message of `len` bytes, or as many bytes in place of it.
fn unwrap_pkcs1(
    key: &RsaKey,
    wrapped: &[u8],
    len: usize,
    wrapping_secret: &[u8],
) -> Result<SecretBytes, KmsError> {
    if wrapped.len() != key.modulus_len() {
        return Err(does_not_unwrap());
    }
    let mut message = Zeroizing::new(vec![0; key.modulus_len()]);
    let found = key.decrypt_pkcs1(wrapped, &mut message);
    let valid = u64_of(found.unwrap_or(0)).ct_eq(&u64_of(len));
    let mut secret = substitute(wrapping_secret, wrapped, len)?;
    select(&mut secret, &message, valid);
    Ok(secret)
}

/// Bytes that only the holder of the wrapping key can tell from a message.
fn substitute(wrapping_secret: &[u8], wrapped: &[u8], len: usize) -> Result<SecretBytes, KmsError> {
    let mut bytes = Zeroizing::new(vec![0; len]);
    Salt::new(HKDF_SHA256, b"envelopekms implicit rejection")
        .extract(wrapping_secret)
        .expand(&[wrapped], OutputLen(len))
        .and_then(|okm| okm.fill(&mut bytes))
        .map_err(|_unspecified| errors::internal("HKDF failed."))?;
    Ok(bytes)
}

/// Puts `other` in the place of `bytes` if `choice`, in the same time if not.
fn select(bytes: &mut [u8], other: &[u8], choice: Choice) {
    for (byte, other) in bytes.iter_mut().zip(other) {
        byte.conditional_assign(other, choice);
    }
}

struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}

fn u64_of(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn kek(key: &[u8]) -> Result<AesKek, KmsError> {
    AesKek::new(&AES_256, key).map_err(|_length| does_not_unwrap())
}

fn does_not_unwrap() -> KmsError {
    errors::material(
        "The key material does not unwrap: wrap it with the public key and the algorithm of these \
         import parameters.",
    )
}

fn no_fixed_length() -> KmsError {
    KmsError::new(
        ErrorKind::InvalidParameter("WrappingAlgorithm"),
        "RSAES_PKCS1_V1_5 is for symmetric and HMAC keys only: use RSA_AES_KEY_WRAP_SHA_256.",
    )
}

#[cfg(test)]
mod tests;

//! The public half of a key pair whose private half is elsewhere: in an HSM.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{PublicEncryptingKey, PublicKeyComponents};
use sm2::pkcs8::der::Encode as _;
use sm2::pkcs8::der::asn1::UintRef;

use super::ec::EcPublic;
use super::rsa::{self, Padding};
use super::{Kind, errors, kind};
use crate::kms::engine::KmsError;
use crate::kms::engine::model::KeySpec;
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, Message, SigningAlgorithm};

/// A public key of RSA or of a curve that signs by ECDSA.
#[derive(Debug)]
pub struct PublicHalf(Half);

#[derive(Debug)]
enum Half {
    Ec(EcPublic),
    /// SubjectPublicKeyInfo, DER.
    Rsa(Vec<u8>),
}

impl PublicHalf {
    /// Of a SubjectPublicKeyInfo in DER, or of a curve's uncompressed point.
    ///
    /// # Errors
    /// `KeyMaterialInvalid` for a key that is not of this spec.
    pub fn new(spec: KeySpec, bytes: &[u8]) -> Result<Self, KmsError> {
        match kind(spec) {
            Kind::Ec(curve) => EcPublic::new(curve, bytes).map(Half::Ec),
            Kind::Rsa(size) => PublicEncryptingKey::from_der(bytes)
                .ok()
                .filter(|key| key.key_size_bytes() == size.len())
                .and_then(|key| Some(Half::Rsa(key.as_der().ok()?.as_ref().to_vec()))),
            Kind::Aes { .. } | Kind::Mac { .. } | Kind::Sm2 | Kind::Sm4 => None,
        }
        .map(Self)
        .ok_or_else(not_of_spec)
    }

    /// Of an RSA key's modulus and exponent, big-endian.
    ///
    /// # Errors
    /// As [`PublicHalf::new`].
    pub fn of_rsa(spec: KeySpec, modulus: &[u8], exponent: &[u8]) -> Result<Self, KmsError> {
        let components = PublicKeyComponents {
            n: modulus,
            e: exponent,
        };
        let der = components.as_der().map_err(|_unspecified| not_of_spec())?;
        Self::new(spec, der.as_ref())
    }

    /// SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        match &self.0 {
            Half::Ec(key) => key.der(),
            Half::Rsa(der) => der,
        }
    }

    /// As [`Material::verify`](super::Material::verify).
    ///
    /// # Errors
    /// As there.
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Result<bool, KmsError> {
        match &self.0 {
            Half::Ec(key) => key.verify(algorithm, message, signature),
            Half::Rsa(der) => rsa::verify(der, algorithm, message, signature),
        }
        .unwrap_or_else(|| Err(errors::wrong_usage(algorithm)))
    }

    /// As [`Material::encrypt`](super::Material::encrypt).
    ///
    /// # Errors
    /// As there.
    pub fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KmsError> {
        match (&self.0, Padding::of(algorithm)) {
            (Half::Rsa(der), Some(padding)) => rsa::encrypt(der, padding, plaintext),
            (Half::Ec(_) | Half::Rsa(_), _) => Err(errors::wrong_usage(algorithm)),
        }
    }

    /// The digest that the private half is to sign.
    ///
    /// # Errors
    /// As [`Material::sign`](super::Material::sign).
    pub fn digest(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
    ) -> Result<Vec<u8>, KmsError> {
        match &self.0 {
            Half::Ec(key) => key.digest(algorithm, message),
            Half::Rsa(_) => rsa::digest_of(algorithm, message),
        }
        .unwrap_or_else(|| Err(errors::wrong_usage(algorithm)))
    }

    /// A signature as this service gives it, of one as an HSM does: ECDSA's `r ‖ s` becomes DER (RFC 3279, §2.2.3).
    ///
    /// # Errors
    /// `Internal` for what is no signature.
    pub fn signature(&self, made: Vec<u8>) -> Result<Vec<u8>, KmsError> {
        match &self.0 {
            Half::Ec(_) => {
                der_of(&made).ok_or_else(|| errors::internal("The HSM gave no signature."))
            }
            Half::Rsa(_) => Ok(made),
        }
    }
}

fn der_of(made: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = made.split_at_checked(made.len() / 2)?;
    if r.len() != s.len() {
        return None;
    }
    let integer = |bytes| UintRef::new(bytes).ok()?.to_der().ok();
    let integers = [integer(r)?, integer(s)?].concat();
    // Less than 128 for every curve here, so it is a length of one byte.
    let len = u8::try_from(integers.len())
        .ok()
        .filter(|len| *len < 0x80)?;
    Some([&[0x30, len][..], &integers].concat())
}

fn not_of_spec() -> KmsError {
    errors::material("The public key is not one of the key's spec.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::material::Material;

    #[test]
    fn a_public_half_says_what_the_whole_key_says() {
        let message = Message::Raw(b"hello".to_vec());
        for (spec, algorithm) in [
            (KeySpec::EcP256, SigningAlgorithm::EcdsaSha256),
            (KeySpec::EcP256K, SigningAlgorithm::EcdsaSha256),
            (KeySpec::EcP384, SigningAlgorithm::EcdsaSha384),
            (KeySpec::Rsa2048, SigningAlgorithm::RsaPssSha384),
        ] {
            let key = Material::generate(spec).unwrap();
            let half = PublicHalf::new(spec, key.public_key_der().unwrap()).unwrap();
            assert_eq!(half.der(), key.public_key_der().unwrap());
            let mut signature = key.sign(algorithm, &message).unwrap();
            assert!(half.verify(algorithm, &message, &signature).unwrap());
            signature[20] ^= 1;
            assert!(!half.verify(algorithm, &message, &signature).unwrap());
            assert!(half.digest(SigningAlgorithm::Sm2Dsa, &message).is_err());
            let digest = half.digest(algorithm, &message).unwrap();
            assert_eq!(
                half.digest(algorithm, &Message::Digest(digest.clone()))
                    .unwrap(),
                digest
            );
        }
    }

    #[test]
    fn a_half_of_another_spec_is_none() {
        let of = |spec| Material::generate(spec).unwrap();
        let (p256, p256k, rsa) = (
            of(KeySpec::EcP256),
            of(KeySpec::EcP256K),
            of(KeySpec::Rsa2048),
        );
        for (spec, key) in [
            (KeySpec::EcP256K, &p256),
            (KeySpec::EcP384, &p256),
            (KeySpec::EcP256, &p256k),
            (KeySpec::EcP256, &rsa),
            (KeySpec::Rsa3072, &rsa),
            (KeySpec::Rsa2048, &p256),
            (KeySpec::EcSm2, &p256),
            (KeySpec::Aes256, &rsa),
        ] {
            assert!(PublicHalf::new(spec, key.public_key_der().unwrap()).is_err());
        }
        assert!(PublicHalf::of_rsa(KeySpec::Rsa2048, &[0xFF; 128], &[1, 0, 1]).is_err());
    }

    #[test]
    fn r_and_s_become_integers() {
        let mut made = [0; 64];
        made[0] = 0x80;
        made[63] = 7;
        let der = der_of(&made).unwrap();
        let mut expected = vec![0x30, 38, 2, 33, 0, 0x80];
        expected.extend_from_slice(&[0; 31]);
        expected.extend_from_slice(&[2, 1, 7]);
        assert_eq!(der, expected);
        assert_eq!(der_of(&made[..63]), None);
        assert_eq!(der_of(&[0xFF; 200]), None);
    }
}

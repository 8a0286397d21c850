//! ECDSA (FIPS 186-5) on P-256, P-384 and secp256k1, by aws-lc. Signatures are DER.

use std::fmt;

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1,
    ECDSA_P256K1_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair as _, ParsedPublicKey,
};
use zeroize::Zeroizing;

use crate::kms::engine::KmsError;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::ops::asymmetric::{Message, SigningAlgorithm};
use crate::kms::material::{digest, errors, pkcs8};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    /// secp256k1.
    P256K,
    P384,
}

/// What goes with a curve: it has one hash.
struct Scheme {
    algorithm: SigningAlgorithm,
    hash: &'static Algorithm,
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static EcdsaVerificationAlgorithm,
}

impl Curve {
    fn scheme(self) -> Scheme {
        match self {
            Self::P256 => Scheme {
                algorithm: SigningAlgorithm::EcdsaSha256,
                hash: &SHA256,
                signing: &ECDSA_P256_SHA256_ASN1_SIGNING,
                verifying: &ECDSA_P256_SHA256_ASN1,
            },
            Self::P256K => Scheme {
                algorithm: SigningAlgorithm::EcdsaSha256,
                hash: &SHA256,
                signing: &ECDSA_P256K1_SHA256_ASN1_SIGNING,
                verifying: &ECDSA_P256K1_SHA256_ASN1,
            },
            Self::P384 => Scheme {
                algorithm: SigningAlgorithm::EcdsaSha384,
                hash: &SHA384,
                signing: &ECDSA_P384_SHA384_ASN1_SIGNING,
                verifying: &ECDSA_P384_SHA384_ASN1,
            },
        }
    }
}

/// A private key, parsed; aws-lc wipes what it frees.
pub(super) struct EcKey {
    signing: EcdsaKeyPair,
    public: EcPublic,
}

/// A public key, parsed.
pub(super) struct EcPublic {
    scheme: Scheme,
    verifying: ParsedPublicKey,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
}

impl EcPublic {
    /// Of a SubjectPublicKeyInfo in DER or an uncompressed point; `None` for one that is not on the curve.
    pub(super) fn new(curve: Curve, bytes: &[u8]) -> Option<Self> {
        Self::of(curve.scheme(), bytes)
    }

    fn of(scheme: Scheme, bytes: &[u8]) -> Option<Self> {
        let verifying = ParsedPublicKey::new(scheme.verifying, bytes).ok()?;
        let der = verifying.as_der().ok()?.as_ref().to_vec();
        Some(Self {
            scheme,
            verifying,
            der,
        })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// What is signed; `None` for an algorithm of other keys.
    pub(super) fn digest(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
    ) -> Option<Result<Vec<u8>, KmsError>> {
        (algorithm == self.scheme.algorithm)
            .then(|| Ok(digest::of(self.scheme.hash, message)?.as_ref().to_vec()))
    }

    /// `None` for an algorithm of other keys.
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Option<Result<bool, KmsError>> {
        (algorithm == self.scheme.algorithm).then(|| {
            let digest = digest::of(self.scheme.hash, message)?;
            Ok(self.verifying.verify_digest_sig(&digest, signature).is_ok())
        })
    }
}

impl fmt::Debug for EcPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcPublic(..)")
    }
}

impl EcKey {
    pub(super) fn generate(curve: Curve) -> Result<Self, KmsError> {
        let scheme = curve.scheme();
        let made = EcdsaKeyPair::generate(scheme.signing).map_err(|_unspecified| generation())?;
        Self::of(scheme, made).ok_or_else(generation)
    }

    /// # Errors
    /// `KeyMaterialInvalid` for anything but a key on this curve.
    pub(super) fn from_pkcs8(curve: Curve, der: &[u8]) -> Result<Self, KmsError> {
        let scheme = curve.scheme();
        pkcs8::is_one_key(der, pkcs8::EC)
            .then(|| EcdsaKeyPair::from_pkcs8(scheme.signing, der).ok())
            .flatten()
            .and_then(|pair| Self::of(scheme, pair))
            .ok_or_else(|| {
                errors::material("The key is not a private key of its spec's curve in PKCS#8.")
            })
    }

    fn of(scheme: Scheme, signing: EcdsaKeyPair) -> Option<Self> {
        let der = signing.public_key().as_der().ok()?;
        let public = EcPublic::of(scheme, der.as_ref())?;
        Some(Self { signing, public })
    }

    pub(super) fn pkcs8(&self) -> Result<SecretBytes, KmsError> {
        let der = self.signing.to_pkcs8v1();
        let der = der.map_err(|_unspecified| generation())?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(super) fn public(&self) -> &[u8] {
        self.public.der()
    }

    /// `None` for an algorithm of other keys.
    pub(super) fn sign(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
    ) -> Option<Result<Vec<u8>, KmsError>> {
        let scheme = &self.public.scheme;
        (algorithm == scheme.algorithm).then(|| {
            let digest = digest::of(scheme.hash, message)?;
            let signature = self.signing.sign_digest(&digest);
            let signature =
                signature.map_err(|_unspecified| errors::internal("ECDSA did not sign."))?;
            Ok(signature.as_ref().to_vec())
        })
    }

    /// `None` for an algorithm of other keys.
    pub(super) fn verify(
        &self,
        algorithm: SigningAlgorithm,
        message: &Message,
        signature: &[u8],
    ) -> Option<Result<bool, KmsError>> {
        self.public.verify(algorithm, message, signature)
    }
}

impl fmt::Debug for EcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EcKey(..)")
    }
}

fn generation() -> KmsError {
    errors::internal("A key on an elliptic curve could not be made.")
}

//! Which key does what: the one table of it.

use crate::kms::engine::model::{KeySpec, KeyUsage};
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, MacAlgorithm, SigningAlgorithm};

/// What a key of one spec and one usage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithms {
    /// Encrypts under its public half and decrypts with its private one.
    Encryption(&'static [EncryptionAlgorithm]),
    /// Authenticates messages.
    Mac(&'static [MacAlgorithm]),
    /// There is no such key.
    None,
    /// Signs with its private half and verifies with its public one.
    Signing(&'static [SigningAlgorithm]),
    /// Encrypts and decrypts ciphertext blobs ([`blob`](super::blob)).
    Symmetric,
}

const OAEP: Algorithms = Algorithms::Encryption(&[
    EncryptionAlgorithm::RsaesOaepSha1,
    EncryptionAlgorithm::RsaesOaepSha256,
]);
const RSA: Algorithms = Algorithms::Signing(&[
    SigningAlgorithm::RsaPkcs1Sha256,
    SigningAlgorithm::RsaPkcs1Sha384,
    SigningAlgorithm::RsaPkcs1Sha512,
    SigningAlgorithm::RsaPssSha256,
    SigningAlgorithm::RsaPssSha384,
    SigningAlgorithm::RsaPssSha512,
]);
const ECDSA_256: Algorithms = Algorithms::Signing(&[SigningAlgorithm::EcdsaSha256]);
const ECDSA_384: Algorithms = Algorithms::Signing(&[SigningAlgorithm::EcdsaSha384]);
const SM2_PKE: Algorithms = Algorithms::Encryption(&[EncryptionAlgorithm::Sm2Pke]);
const SM2_DSA: Algorithms = Algorithms::Signing(&[SigningAlgorithm::Sm2Dsa]);

/// What a key of this spec does under this usage, the algorithms in the order of their names.
///
/// Each dialect shows of it what its own documentation has.
#[must_use]
pub fn algorithms(spec: KeySpec, usage: KeyUsage) -> Algorithms {
    match usage {
        KeyUsage::EncryptDecrypt => encryption(spec),
        KeyUsage::GenerateVerifyMac => mac(spec),
        KeyUsage::SignVerify => signing(spec),
    }
}

/// The usages that a key of this spec may have.
pub fn usages(spec: KeySpec) -> impl Iterator<Item = KeyUsage> {
    [
        KeyUsage::EncryptDecrypt,
        KeyUsage::GenerateVerifyMac,
        KeyUsage::SignVerify,
    ]
    .into_iter()
    .filter(move |usage| algorithms(spec, *usage) != Algorithms::None)
}

fn encryption(spec: KeySpec) -> Algorithms {
    match spec {
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => Algorithms::Symmetric,
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => OAEP,
        KeySpec::EcSm2 => SM2_PKE,
        KeySpec::EcP256
        | KeySpec::EcP256K
        | KeySpec::EcP384
        | KeySpec::Hmac224
        | KeySpec::Hmac256
        | KeySpec::Hmac384
        | KeySpec::Hmac512 => Algorithms::None,
    }
}

fn signing(spec: KeySpec) -> Algorithms {
    match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => RSA,
        KeySpec::EcP256 | KeySpec::EcP256K => ECDSA_256,
        KeySpec::EcP384 => ECDSA_384,
        KeySpec::EcSm2 => SM2_DSA,
        KeySpec::Aes128
        | KeySpec::Aes192
        | KeySpec::Aes256
        | KeySpec::Sm4
        | KeySpec::Hmac224
        | KeySpec::Hmac256
        | KeySpec::Hmac384
        | KeySpec::Hmac512 => Algorithms::None,
    }
}

fn mac(spec: KeySpec) -> Algorithms {
    match spec {
        KeySpec::Hmac224 => Algorithms::Mac(&[MacAlgorithm::HmacSha224]),
        KeySpec::Hmac256 => Algorithms::Mac(&[MacAlgorithm::HmacSha256]),
        KeySpec::Hmac384 => Algorithms::Mac(&[MacAlgorithm::HmacSha384]),
        KeySpec::Hmac512 => Algorithms::Mac(&[MacAlgorithm::HmacSha512]),
        KeySpec::Aes128
        | KeySpec::Aes192
        | KeySpec::Aes256
        | KeySpec::EcP256
        | KeySpec::EcP256K
        | KeySpec::EcP384
        | KeySpec::EcSm2
        | KeySpec::Rsa2048
        | KeySpec::Rsa3072
        | KeySpec::Rsa4096
        | KeySpec::Sm4 => Algorithms::None,
    }
}

impl Algorithms {
    /// Whether a key with these encrypts so.
    #[must_use]
    pub fn encrypts_with(&self, algorithm: EncryptionAlgorithm) -> bool {
        matches!(self, Self::Encryption(all) if all.contains(&algorithm))
    }

    /// Whether a key with these signs so.
    #[must_use]
    pub fn signs_with(&self, algorithm: SigningAlgorithm) -> bool {
        matches!(self, Self::Signing(all) if all.contains(&algorithm))
    }

    /// Whether a key with these authenticates so.
    #[must_use]
    pub fn macs_with(&self, algorithm: MacAlgorithm) -> bool {
        matches!(self, Self::Mac(all) if all.contains(&algorithm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spec_has_the_usages_that_the_services_document() {
        use KeyUsage::{EncryptDecrypt, GenerateVerifyMac, SignVerify};
        let table: &[(&[KeySpec], &[KeyUsage])] = &[
            (
                &[
                    KeySpec::Aes128,
                    KeySpec::Aes192,
                    KeySpec::Aes256,
                    KeySpec::Sm4,
                ],
                &[EncryptDecrypt],
            ),
            (
                &[
                    KeySpec::Rsa2048,
                    KeySpec::Rsa3072,
                    KeySpec::Rsa4096,
                    KeySpec::EcSm2,
                ],
                &[EncryptDecrypt, SignVerify],
            ),
            (
                &[KeySpec::EcP256, KeySpec::EcP256K, KeySpec::EcP384],
                &[SignVerify],
            ),
            (
                &[
                    KeySpec::Hmac224,
                    KeySpec::Hmac256,
                    KeySpec::Hmac384,
                    KeySpec::Hmac512,
                ],
                &[GenerateVerifyMac],
            ),
        ];
        for (specs, expected) in table {
            for spec in *specs {
                assert_eq!(usages(*spec).collect::<Vec<_>>(), *expected, "{spec:?}");
            }
        }
    }

    #[test]
    fn an_algorithm_is_only_of_the_keys_that_have_it() {
        let rsa = algorithms(KeySpec::Rsa2048, KeyUsage::SignVerify);
        assert!(rsa.signs_with(SigningAlgorithm::RsaPssSha512));
        assert!(!rsa.signs_with(SigningAlgorithm::EcdsaSha256));
        assert!(!rsa.encrypts_with(EncryptionAlgorithm::RsaesOaepSha1));
        let p384 = algorithms(KeySpec::EcP384, KeyUsage::SignVerify);
        assert!(!p384.signs_with(SigningAlgorithm::EcdsaSha256));
        let hmac = algorithms(KeySpec::Hmac384, KeyUsage::GenerateVerifyMac);
        assert!(hmac.macs_with(MacAlgorithm::HmacSha384));
        assert!(!hmac.macs_with(MacAlgorithm::HmacSha256));
    }
}

//! How Alibaba Cloud spells things.

use crate::kms::api::spelling::Spelling;
pub(super) use crate::kms::api::spelling::{MACS, STATES, WRAPPING};
use crate::kms::engine::model::{KeySpec, KeyUsage, Origin, ProtectionLevel};
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, SigningAlgorithm};
use crate::kms::engine::ops::import::WrappingKeySpec;

/// `EC_P384` and MACs of other hashes than SHA-256 are this service's own.
pub(super) const KEY_SPECS: Spelling<KeySpec> = Spelling(&[
    ("Aliyun_AES_256", KeySpec::Aes256),
    ("Aliyun_AES_192", KeySpec::Aes192),
    ("Aliyun_AES_128", KeySpec::Aes128),
    ("Aliyun_SM4", KeySpec::Sm4),
    ("RSA_2048", KeySpec::Rsa2048),
    ("RSA_3072", KeySpec::Rsa3072),
    ("RSA_4096", KeySpec::Rsa4096),
    ("EC_P256", KeySpec::EcP256),
    ("EC_P256K", KeySpec::EcP256K),
    ("EC_P384", KeySpec::EcP384),
    ("EC_SM2", KeySpec::EcSm2),
    ("HMAC", KeySpec::Hmac256),
    ("HMAC_SHA_224", KeySpec::Hmac224),
    ("HMAC_SHA_256", KeySpec::Hmac256),
    ("HMAC_SHA_384", KeySpec::Hmac384),
    ("HMAC_SHA_512", KeySpec::Hmac512),
]);

pub(super) const USAGES: Spelling<KeyUsage> = Spelling(&[
    ("ENCRYPT/DECRYPT", KeyUsage::EncryptDecrypt),
    ("SIGN/VERIFY", KeyUsage::SignVerify),
    ("GENERATE/VERIFY", KeyUsage::GenerateVerifyMac),
]);

pub(super) const ORIGINS: Spelling<Origin> = Spelling(&[
    ("Aliyun_KMS", Origin::Service),
    ("EXTERNAL", Origin::External),
]);

pub(super) const PROTECTIONS: Spelling<ProtectionLevel> = Spelling(&[
    ("SOFTWARE", ProtectionLevel::Software),
    ("HSM", ProtectionLevel::Hsm),
]);

pub(super) const ENCRYPTION: Spelling<EncryptionAlgorithm> = Spelling(&[
    ("RSAES_OAEP_SHA_256", EncryptionAlgorithm::RsaesOaepSha256),
    ("RSAES_OAEP_SHA_1", EncryptionAlgorithm::RsaesOaepSha1),
    ("SM2PKE", EncryptionAlgorithm::Sm2Pke),
]);

pub(super) const SIGNING: Spelling<SigningAlgorithm> = Spelling(&[
    ("RSA_PSS_SHA_256", SigningAlgorithm::RsaPssSha256),
    ("RSA_PSS_SHA_384", SigningAlgorithm::RsaPssSha384),
    ("RSA_PSS_SHA_512", SigningAlgorithm::RsaPssSha512),
    ("RSA_PKCS1_SHA_256", SigningAlgorithm::RsaPkcs1Sha256),
    ("RSA_PKCS1_SHA_384", SigningAlgorithm::RsaPkcs1Sha384),
    ("RSA_PKCS1_SHA_512", SigningAlgorithm::RsaPkcs1Sha512),
    ("ECDSA_SHA_256", SigningAlgorithm::EcdsaSha256),
    ("ECDSA_SHA_384", SigningAlgorithm::EcdsaSha384),
    ("SM2DSA", SigningAlgorithm::Sm2Dsa),
]);

pub(super) const WRAPPING_KEYS: Spelling<WrappingKeySpec> = Spelling(&[
    ("RSA_2048", WrappingKeySpec::Rsa2048),
    ("RSA_3072", WrappingKeySpec::Rsa3072),
    ("RSA_4096", WrappingKeySpec::Rsa4096),
    ("EC_SM2", WrappingKeySpec::EcSm2),
]);

/// What a key is for where nobody says.
pub(super) fn default_usage(spec: KeySpec) -> KeyUsage {
    match spec {
        KeySpec::EcP256 | KeySpec::EcP256K | KeySpec::EcP384 | KeySpec::EcSm2 => {
            KeyUsage::SignVerify
        }
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => KeyUsage::SignVerify,
        KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => {
            KeyUsage::GenerateVerifyMac
        }
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => {
            KeyUsage::EncryptDecrypt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::engine::model::KeyState;

    #[test]
    fn everything_that_is_given_out_has_a_name_of_its_own() {
        for spec in KeySpec::ALL {
            assert_eq!(KEY_SPECS.value(KEY_SPECS.name(*spec)), Some(*spec));
            assert!(spec.allows(default_usage(*spec)), "{spec:?}");
        }
        for usage in KeyUsage::ALL {
            assert_eq!(USAGES.value(USAGES.name(*usage)), Some(*usage));
        }
        for origin in Origin::ALL {
            assert_eq!(ORIGINS.value(ORIGINS.name(*origin)), Some(*origin));
        }
        for state in KeyState::ALL {
            assert_eq!(STATES.value(STATES.name(*state)), Some(*state));
        }
        for level in ProtectionLevel::ALL {
            assert_eq!(PROTECTIONS.value(PROTECTIONS.name(*level)), Some(*level));
        }
        assert_eq!(KEY_SPECS.value("aliyun_aes_256"), None);
    }
}

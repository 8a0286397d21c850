//! How AWS spells things.

use crate::kms::api::spelling::Spelling;
pub(super) use crate::kms::api::spelling::{MACS, STATES, WRAPPING};
use crate::kms::engine::model::{KeySpec, KeyUsage, Origin};
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, SigningAlgorithm};
use crate::kms::engine::ops::import::WrappingKeySpec;

/// AWS has no AES keys but of 256 bits, and no SM4: these names are this service's own.
pub(super) const KEY_SPECS: Spelling<KeySpec> = Spelling(&[
    ("SYMMETRIC_DEFAULT", KeySpec::Aes256),
    ("RSA_2048", KeySpec::Rsa2048),
    ("RSA_3072", KeySpec::Rsa3072),
    ("RSA_4096", KeySpec::Rsa4096),
    ("ECC_NIST_P256", KeySpec::EcP256),
    ("ECC_NIST_P384", KeySpec::EcP384),
    ("ECC_SECG_P256K1", KeySpec::EcP256K),
    ("HMAC_224", KeySpec::Hmac224),
    ("HMAC_256", KeySpec::Hmac256),
    ("HMAC_384", KeySpec::Hmac384),
    ("HMAC_512", KeySpec::Hmac512),
    ("SM2", KeySpec::EcSm2),
    ("AES_128", KeySpec::Aes128),
    ("AES_192", KeySpec::Aes192),
    ("SM4", KeySpec::Sm4),
]);

pub(super) const USAGES: Spelling<KeyUsage> = Spelling(&[
    ("ENCRYPT_DECRYPT", KeyUsage::EncryptDecrypt),
    ("GENERATE_VERIFY_MAC", KeyUsage::GenerateVerifyMac),
    ("SIGN_VERIFY", KeyUsage::SignVerify),
]);

pub(super) const ORIGINS: Spelling<Origin> =
    Spelling(&[("AWS_KMS", Origin::Service), ("EXTERNAL", Origin::External)]);

/// The origin of keys in the HSM.
pub(super) const IN_HSM: &str = "AWS_CLOUDHSM";

/// The HSM, as a custom key store.
pub(super) const HSM_STORE: &str = "cks-hsm";

/// The one algorithm of symmetric keys.
pub(super) const SYMMETRIC: &str = "SYMMETRIC_DEFAULT";

/// `None` for symmetric keys.
pub(super) const ENCRYPTION: Spelling<Option<EncryptionAlgorithm>> = Spelling(&[
    (SYMMETRIC, None),
    ("RSAES_OAEP_SHA_1", Some(EncryptionAlgorithm::RsaesOaepSha1)),
    (
        "RSAES_OAEP_SHA_256",
        Some(EncryptionAlgorithm::RsaesOaepSha256),
    ),
    ("SM2PKE", Some(EncryptionAlgorithm::Sm2Pke)),
]);

pub(super) const SIGNING: Spelling<SigningAlgorithm> = Spelling(&[
    ("RSASSA_PSS_SHA_256", SigningAlgorithm::RsaPssSha256),
    ("RSASSA_PSS_SHA_384", SigningAlgorithm::RsaPssSha384),
    ("RSASSA_PSS_SHA_512", SigningAlgorithm::RsaPssSha512),
    (
        "RSASSA_PKCS1_V1_5_SHA_256",
        SigningAlgorithm::RsaPkcs1Sha256,
    ),
    (
        "RSASSA_PKCS1_V1_5_SHA_384",
        SigningAlgorithm::RsaPkcs1Sha384,
    ),
    (
        "RSASSA_PKCS1_V1_5_SHA_512",
        SigningAlgorithm::RsaPkcs1Sha512,
    ),
    ("ECDSA_SHA_256", SigningAlgorithm::EcdsaSha256),
    ("ECDSA_SHA_384", SigningAlgorithm::EcdsaSha384),
    ("SM2DSA", SigningAlgorithm::Sm2Dsa),
]);

pub(super) const WRAPPING_KEYS: Spelling<WrappingKeySpec> = Spelling(&[
    ("RSA_2048", WrappingKeySpec::Rsa2048),
    ("RSA_3072", WrappingKeySpec::Rsa3072),
    ("RSA_4096", WrappingKeySpec::Rsa4096),
    ("SM2", WrappingKeySpec::EcSm2),
]);

/// What a key encrypts with.
pub(super) fn encryption_algorithms(
    spec: KeySpec,
    usage: KeyUsage,
) -> Option<&'static [&'static str]> {
    if usage != KeyUsage::EncryptDecrypt {
        return None;
    }
    match spec {
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => Some(&[SYMMETRIC]),
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => {
            Some(&["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
        }
        KeySpec::EcSm2 => Some(&["SM2PKE"]),
        KeySpec::EcP256 | KeySpec::EcP256K | KeySpec::EcP384 => None,
        KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => None,
    }
}

/// What a key signs with.
pub(super) fn signing_algorithms(
    spec: KeySpec,
    usage: KeyUsage,
) -> Option<&'static [&'static str]> {
    if usage != KeyUsage::SignVerify {
        return None;
    }
    match spec {
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => Some(&[
            "RSASSA_PKCS1_V1_5_SHA_256",
            "RSASSA_PKCS1_V1_5_SHA_384",
            "RSASSA_PKCS1_V1_5_SHA_512",
            "RSASSA_PSS_SHA_256",
            "RSASSA_PSS_SHA_384",
            "RSASSA_PSS_SHA_512",
        ]),
        KeySpec::EcP256 | KeySpec::EcP256K => Some(&["ECDSA_SHA_256"]),
        KeySpec::EcP384 => Some(&["ECDSA_SHA_384"]),
        KeySpec::EcSm2 => Some(&["SM2DSA"]),
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => None,
        KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => None,
    }
}

/// What a key authenticates with.
pub(super) fn mac_algorithms(spec: KeySpec) -> Option<&'static [&'static str]> {
    match spec {
        KeySpec::Hmac224 => Some(&["HMAC_SHA_224"]),
        KeySpec::Hmac256 => Some(&["HMAC_SHA_256"]),
        KeySpec::Hmac384 => Some(&["HMAC_SHA_384"]),
        KeySpec::Hmac512 => Some(&["HMAC_SHA_512"]),
        KeySpec::Aes128 | KeySpec::Aes192 | KeySpec::Aes256 | KeySpec::Sm4 => None,
        KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096 => None,
        KeySpec::EcP256 | KeySpec::EcP256K | KeySpec::EcP384 | KeySpec::EcSm2 => None,
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
        assert_eq!(KEY_SPECS.value("ECC_NIST_P521"), None);
    }

    #[test]
    fn a_key_has_the_algorithms_of_what_it_is_for() {
        for spec in KeySpec::ALL {
            for usage in KeyUsage::ALL {
                let of_usage = match usage {
                    KeyUsage::EncryptDecrypt => encryption_algorithms(*spec, *usage).is_some(),
                    KeyUsage::SignVerify => signing_algorithms(*spec, *usage).is_some(),
                    KeyUsage::GenerateVerifyMac => mac_algorithms(*spec).is_some(),
                };
                assert_eq!(of_usage, spec.allows(*usage), "{spec:?} {usage:?}");
            }
        }
    }
}

//! Where keys come from.

use super::*;
use crate::kms::engine::ops::asymmetric::{MacAlgorithm, Message, SigningAlgorithm};
use crate::kms::material::mac::MacKey;
use crate::kms::material::secret_len;

#[test]
fn a_generated_key_of_any_spec_is_made_again_of_its_secret() {
    for spec in SPECS {
        let key = Material::generate(spec).unwrap();
        let again = Material::from_secret(spec, key.secret()).unwrap();
        assert_eq!((key.spec(), again.spec()), (spec, spec));
        assert!(key.same_secret(&again), "{spec:?}");
        assert_eq!(key.public_key_der().ok(), again.public_key_der().ok());
        assert_eq!(key.public_key_der().is_ok(), secret_len(spec).is_none());
        assert_eq!(
            key.secret().len(),
            secret_len(spec).unwrap_or(key.secret().len())
        );
    }
}

#[test]
fn no_two_keys_are_alike() {
    for spec in SPECS.into_iter().filter(|spec| secret_len(*spec).is_some()) {
        let [one, other] = [(); 2].map(|()| Material::generate(spec).unwrap());
        assert!(!one.same_secret(&other), "{spec:?}");
    }
}

#[test]
fn symmetric_and_hmac_keys_have_one_length() {
    for spec in SPECS {
        let Some(len) = secret_len(spec) else {
            continue;
        };
        for wrong in [0, 1, len - 1, len + 1, 2 * len] {
            let made = Material::from_secret(spec, &vec![7; wrong]);
            refused(made, ErrorKind::KeyMaterialInvalid);
        }
    }
}

#[test]
fn a_private_key_of_another_spec_is_refused() {
    let pairs = [
        KeySpec::EcP256,
        KeySpec::EcP256K,
        KeySpec::EcP384,
        KeySpec::EcSm2,
        KeySpec::Rsa2048,
    ];
    for own in pairs {
        let secret = Material::generate(own).unwrap().secret().to_vec();
        for spec in SPECS.into_iter().filter(|spec| *spec != own) {
            let made = Material::from_secret(spec, &secret);
            refused(made, ErrorKind::KeyMaterialInvalid);
        }
    }
}

#[test]
fn a_private_key_that_is_cut_or_too_long_is_refused() {
    for spec in [KeySpec::EcP256, KeySpec::EcSm2, KeySpec::EcP384] {
        let secret = Material::generate(spec).unwrap().secret().to_vec();
        for other in other_lengths(&secret) {
            let made = Material::from_secret(spec, &other);
            refused(made, ErrorKind::KeyMaterialInvalid);
        }
    }
    let secret = rsa_2048().secret();
    let longer = [secret, &[0]].concat();
    let shorter = [0, 600, secret.len() - 1].map(|len| &secret[..len]);
    for other in shorter.into_iter().chain([&longer[..]]) {
        let made = Material::from_secret(KeySpec::Rsa2048, other);
        refused(made, ErrorKind::KeyMaterialInvalid);
    }
}

/// The point at the end of a private key is another one's.
#[test]
fn a_private_key_with_the_public_half_of_another_is_refused() {
    for spec in [
        KeySpec::EcP256,
        KeySpec::EcP256K,
        KeySpec::EcP384,
        KeySpec::EcSm2,
    ] {
        let [one, other] = [(); 2].map(|()| Material::generate(spec).unwrap());
        let point_len = if spec == KeySpec::EcP384 { 97 } else { 65 };
        let (scalar, _) = one.secret().split_at(one.secret().len() - point_len);
        let (_, point) = other.secret().split_at(other.secret().len() - point_len);
        assert_eq!(point[0], 4, "{spec:?}");
        let made = Material::from_secret(spec, &[scalar, point].concat());
        refused(made, ErrorKind::KeyMaterialInvalid);
    }
}

#[test]
fn keys_that_openssl_makes_are_taken() {
    let openssl = Openssl::new();
    let made = [
        (
            KeySpec::Rsa2048,
            "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
        ),
        (
            KeySpec::EcP256,
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        ),
        (
            KeySpec::EcP256K,
            "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
        ),
        (
            KeySpec::EcP384,
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        ),
        (KeySpec::EcSm2, "-algorithm SM2"),
    ];
    for (spec, options) in made {
        let pkcs8 = openssl.private_key(options);
        let key = Material::from_secret(spec, &pkcs8).unwrap();
        let public = openssl.run("pkey -in made.pem -pubout -outform DER");
        assert_eq!(key.public_key_der().unwrap(), public, "{spec:?}");
        openssl.take(&key);
        let theirs = openssl.run("pkey -inform DER -in private.der -pubout -outform DER");
        assert_eq!(theirs, public, "{spec:?}");
    }
}

#[test]
fn weak_and_strange_rsa_keys_are_refused() {
    let openssl = Openssl::new();
    let options = [
        "rsa_keygen_bits:1024",
        "rsa_keygen_bits:2056",
        "rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3",
        "rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:17",
    ];
    for option in options {
        let pkcs8 = openssl.private_key(&format!("-algorithm RSA -pkeyopt {option}"));
        let made = Material::from_secret(KeySpec::Rsa2048, &pkcs8);
        let error = made.expect_err(option);
        assert_eq!(error.kind(), ErrorKind::KeyMaterialInvalid);
    }
    let pss = openssl.private_key("-algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048");
    refused(
        Material::from_secret(KeySpec::Rsa2048, &pss),
        ErrorKind::KeyMaterialInvalid,
    );
    let encrypted =
        openssl.run("pkcs8 -topk8 -in made.pem -outform DER -passout pass:secret -v2 aes-256-cbc");
    refused(
        Material::from_secret(KeySpec::Rsa2048, &encrypted),
        ErrorKind::KeyMaterialInvalid,
    );
}

/// A changed prime, exponent or coefficient of an RSA key makes it inconsistent.
#[test]
fn an_inconsistent_rsa_key_is_refused() {
    let secret = rsa_2048().secret();
    for place in [100, 400, 600, 800, 1000, 1150] {
        let mut changed = secret.to_vec();
        changed[place] ^= 1;
        let made = Material::from_secret(KeySpec::Rsa2048, &changed);
        refused(made, ErrorKind::KeyMaterialInvalid);
    }
}

#[test]
fn debug_shows_the_spec_alone() {
    for spec in [
        KeySpec::Aes256,
        KeySpec::EcP256,
        KeySpec::EcSm2,
        KeySpec::Hmac512,
    ] {
        let key = Material::generate(spec).unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("Material {{ spec: {spec:?}, .. }}")
        );
    }
}

#[test]
fn a_material_may_be_used_by_many_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Material>();
}

/// RFC 4231, test case 2.
#[test]
fn hmac_is_hmac() {
    let macs = [
        (
            MacAlgorithm::HmacSha224,
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        ),
        (
            MacAlgorithm::HmacSha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            MacAlgorithm::HmacSha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c7\
             8b3239ecfab21649",
        ),
        (
            MacAlgorithm::HmacSha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a\
             6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    for (algorithm, mac) in macs {
        let key = MacKey::new(algorithm, b"Jefe");
        assert_eq!(hex(&key.mac(b"what do ya want for nothing?")), mac);
    }
}

#[test]
fn a_mac_of_anything_else_does_not_hold() {
    let specs = [
        (KeySpec::Hmac224, MacAlgorithm::HmacSha224),
        (KeySpec::Hmac256, MacAlgorithm::HmacSha256),
        (KeySpec::Hmac384, MacAlgorithm::HmacSha384),
        (KeySpec::Hmac512, MacAlgorithm::HmacSha512),
    ];
    for (spec, algorithm) in specs {
        let key = Material::generate(spec).unwrap();
        let mac = key.mac(algorithm, b"message").unwrap();
        assert!(key.verify_mac(algorithm, b"message", &mac).unwrap());
        for changed in one_bit_flips(&mac).chain(other_lengths(&mac)) {
            assert!(!key.verify_mac(algorithm, b"message", &changed).unwrap());
        }
        assert!(!key.verify_mac(algorithm, b"massage", &mac).unwrap());
        let other = Material::generate(spec).unwrap();
        assert!(!other.verify_mac(algorithm, b"message", &mac).unwrap());
        for (_, wrong) in specs.into_iter().filter(|(_, other)| *other != algorithm) {
            refused(key.mac(wrong, b"message"), ErrorKind::KeyUsage);
            refused(key.verify_mac(wrong, b"message", &mac), ErrorKind::KeyUsage);
        }
        for message in [&b""[..], &[0; 4097]] {
            refused(
                key.mac(algorithm, message),
                ErrorKind::InvalidParameter("Message"),
            );
        }
        assert!(key.mac(algorithm, &[0; 4096]).is_ok());
    }
}

#[test]
fn a_key_does_only_what_it_is_for() {
    use crate::kms::engine::ops::asymmetric::EncryptionAlgorithm as E;
    for spec in [KeySpec::Aes256, KeySpec::Sm4, KeySpec::Hmac256] {
        let key = Material::generate(spec).unwrap();
        let message = Message::Raw(b"message".to_vec());
        let algorithm = SigningAlgorithm::EcdsaSha256;
        refused(key.sign(algorithm, &message), ErrorKind::KeyUsage);
        refused(
            key.verify(algorithm, &message, b"signature"),
            ErrorKind::KeyUsage,
        );
        for algorithm in [E::RsaesOaepSha1, E::RsaesOaepSha256, E::Sm2Pke] {
            refused(key.encrypt(algorithm, b"x"), ErrorKind::KeyUsage);
            refused(key.decrypt(algorithm, b"x"), ErrorKind::KeyUsage);
        }
        refused(key.public_key_der(), ErrorKind::KeyUsage);
    }
    for spec in [KeySpec::EcP256, KeySpec::EcP256K, KeySpec::EcP384] {
        let key = Material::generate(spec).unwrap();
        for algorithm in [E::RsaesOaepSha1, E::RsaesOaepSha256, E::Sm2Pke] {
            refused(key.encrypt(algorithm, b"x"), ErrorKind::KeyUsage);
            refused(key.decrypt(algorithm, b"x"), ErrorKind::KeyUsage);
        }
        refused(key.mac(MacAlgorithm::HmacSha256, b"x"), ErrorKind::KeyUsage);
    }
    refused(rsa_2048().encrypt(E::Sm2Pke, b"x"), ErrorKind::KeyUsage);
    refused(rsa_2048().decrypt(E::Sm2Pke, b"x"), ErrorKind::KeyUsage);
    let sm2 = Material::generate(KeySpec::EcSm2).unwrap();
    for algorithm in [E::RsaesOaepSha1, E::RsaesOaepSha256] {
        refused(sm2.encrypt(algorithm, b"x"), ErrorKind::KeyUsage);
        refused(sm2.decrypt(algorithm, b"x"), ErrorKind::KeyUsage);
    }
}

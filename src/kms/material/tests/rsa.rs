//! RSA, both ways between here and openssl.

use aws_lc_rs::digest;

use super::*;
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, Message, SigningAlgorithm};
use crate::kms::material::{Algorithms, algorithms};

const OAEP: [(EncryptionAlgorithm, &str, usize); 2] = [
    (EncryptionAlgorithm::RsaesOaepSha1, "sha1", 214),
    (EncryptionAlgorithm::RsaesOaepSha256, "sha256", 190),
];

/// Algorithm, its hash for openssl, and openssl's options for the padding.
const SIGNING: [(SigningAlgorithm, &str, &str); 6] = [
    (
        SigningAlgorithm::RsaPkcs1Sha256,
        "sha256",
        "rsa_padding_mode:pkcs1",
    ),
    (
        SigningAlgorithm::RsaPkcs1Sha384,
        "sha384",
        "rsa_padding_mode:pkcs1",
    ),
    (
        SigningAlgorithm::RsaPkcs1Sha512,
        "sha512",
        "rsa_padding_mode:pkcs1",
    ),
    (SigningAlgorithm::RsaPssSha256, "sha256", PSS),
    (SigningAlgorithm::RsaPssSha384, "sha384", PSS),
    (SigningAlgorithm::RsaPssSha512, "sha512", PSS),
];

const PSS: &str = "rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:digest";

fn raw(message: &[u8]) -> Message {
    Message::Raw(message.to_vec())
}

fn hashed(hash: &str, message: &[u8]) -> Message {
    let algorithm = match hash {
        "sha256" => &digest::SHA256,
        "sha384" => &digest::SHA384,
        _ => &digest::SHA512,
    };
    Message::Digest(digest::digest(algorithm, message).as_ref().to_vec())
}

#[test]
fn openssl_and_this_service_verify_what_the_other_signs() {
    let (openssl, key) = (Openssl::new(), rsa_2048());
    openssl.take(key);
    openssl.write("message", b"message");
    for (algorithm, hash, padding) in SIGNING {
        let options = format!("-rawin -digest {hash} -in message -pkeyopt {padding}");
        for message in [raw(b"message"), hashed(hash, b"message")] {
            openssl.write("signature", &key.sign(algorithm, &message).unwrap());
            openssl.run(&format!(
                "pkeyutl -verify -pubin -keyform DER -inkey public.der -sigfile signature {options}"
            ));
        }
        let theirs = openssl.run(&format!(
            "pkeyutl -sign -keyform DER -inkey private.der {options}"
        ));
        for message in [raw(b"message"), hashed(hash, b"message")] {
            assert!(key.verify(algorithm, &message, &theirs).unwrap());
        }
    }
}

#[test]
fn a_signature_is_of_one_message_one_algorithm_and_one_key() {
    let (key, other) = (rsa_2048(), Material::generate(KeySpec::Rsa2048).unwrap());
    for (algorithm, hash, _) in SIGNING {
        let signature = key.sign(algorithm, &raw(b"message")).unwrap();
        let holds = |message: &Message, signature: &[u8]| {
            key.verify(algorithm, message, signature).unwrap()
        };
        assert!(holds(&raw(b"message"), &signature));
        assert!(!holds(&raw(b"massage"), &signature));
        assert!(!holds(&hashed(hash, b"massage"), &signature));
        for changed in one_bit_flips(&signature).chain(other_lengths(&signature)) {
            assert!(!holds(&raw(b"message"), &changed));
        }
        assert!(!holds(&raw(b"message"), &[&[0], &signature[..]].concat()));
        assert!(!holds(&raw(b"message"), &[0xff; 256]));
        assert!(
            !other
                .verify(algorithm, &raw(b"message"), &signature)
                .unwrap()
        );
        for (wrong, _, _) in SIGNING
            .into_iter()
            .filter(|(wrong, ..)| *wrong != algorithm)
        {
            assert!(!key.verify(wrong, &raw(b"message"), &signature).unwrap());
        }
    }
}

/// What other programs sign with the same key, and is not what was asked for.
#[test]
fn other_paddings_of_the_same_key_do_not_hold() {
    let (openssl, key) = (Openssl::new(), rsa_2048());
    openssl.take(key);
    let Message::Digest(digest) = hashed("sha256", b"message") else {
        unreachable!()
    };
    openssl.write("digest", &digest);
    let sign = |options: &str| {
        openssl.run(&format!(
            "pkeyutl -sign -keyform DER -inkey private.der -in digest {options}"
        ))
    };
    let pkcs1 = [
        // the digest without its DigestInfo
        sign("-pkeyopt rsa_padding_mode:pkcs1"),
        sign("-pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:x931"),
    ];
    let pss = [
        sign("-pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:0"),
        sign("-pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:20"),
        sign("-pkeyopt digest:sha256 -pkeyopt rsa_padding_mode:pss -pkeyopt rsa_pss_saltlen:max"),
        sign(&format!(
            "-pkeyopt digest:sha256 -pkeyopt {PSS} -pkeyopt rsa_mgf1_md:sha1"
        )),
    ];
    let message = raw(b"message");
    for signature in pkcs1 {
        let algorithm = SigningAlgorithm::RsaPkcs1Sha256;
        assert!(!key.verify(algorithm, &message, &signature).unwrap());
    }
    for signature in pss {
        let algorithm = SigningAlgorithm::RsaPssSha256;
        assert!(!key.verify(algorithm, &message, &signature).unwrap());
    }
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let key = rsa_2048();
    for (algorithm, hash, _) in SIGNING {
        let Message::Digest(digest) = hashed(hash, b"message") else {
            unreachable!()
        };
        for wrong in [&b""[..], &digest[1..], &[&digest[..], &[0]].concat()] {
            let message = Message::Digest(wrong.to_vec());
            let kind = ErrorKind::InvalidParameter("Digest");
            refused(key.sign(algorithm, &message), kind);
            refused(key.verify(algorithm, &message, &[0; 256]), kind);
        }
        for wrong in [&b""[..], &[0; 4097]] {
            let kind = ErrorKind::InvalidParameter("Message");
            refused(key.sign(algorithm, &raw(wrong)), kind);
            refused(key.verify(algorithm, &raw(wrong), &[0; 256]), kind);
        }
        assert!(key.sign(algorithm, &raw(&[0; 4096])).is_ok());
    }
    for wrong in [
        SigningAlgorithm::EcdsaSha256,
        SigningAlgorithm::EcdsaSha384,
        SigningAlgorithm::Sm2Dsa,
    ] {
        refused(key.sign(wrong, &raw(b"message")), ErrorKind::KeyUsage);
        refused(
            key.verify(wrong, &raw(b"message"), &[0; 256]),
            ErrorKind::KeyUsage,
        );
    }
}

#[test]
fn openssl_and_this_service_decrypt_what_the_other_encrypts() {
    let (openssl, key) = (Openssl::new(), rsa_2048());
    openssl.take(key);
    for (algorithm, hash, longest) in OAEP {
        let options = format!("-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash}");
        for len in [1, 32, longest] {
            let plaintext = vec![0x5a; len];
            openssl.write("ciphertext", &key.encrypt(algorithm, &plaintext).unwrap());
            let opened = openssl.run(&format!(
                "pkeyutl -decrypt -keyform DER -inkey private.der -in ciphertext {options}"
            ));
            assert_eq!(opened, plaintext);
            openssl.write("plaintext", &plaintext);
            let theirs = openssl.run(&format!(
                "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in plaintext {options}"
            ));
            assert_eq!(*key.decrypt(algorithm, &theirs).unwrap(), plaintext);
        }
    }
}

#[test]
fn a_ciphertext_is_of_one_algorithm_and_one_key_and_whole() {
    let (key, other) = (rsa_2048(), Material::generate(KeySpec::Rsa2048).unwrap());
    for (algorithm, _, _) in OAEP {
        let ciphertext = key.encrypt(algorithm, b"plaintext").unwrap();
        let invalid = ErrorKind::CiphertextInvalid;
        for changed in one_bit_flips(&ciphertext).chain(other_lengths(&ciphertext)) {
            refused(key.decrypt(algorithm, &changed), invalid);
        }
        refused(key.decrypt(algorithm, &[0; 256]), invalid);
        refused(key.decrypt(algorithm, &[0xff; 256]), invalid);
        refused(other.decrypt(algorithm, &ciphertext), invalid);
        for (wrong, _, _) in OAEP.into_iter().filter(|(wrong, ..)| *wrong != algorithm) {
            refused(key.decrypt(wrong, &ciphertext), invalid);
        }
    }
}

#[test]
fn other_forms_of_oaep_do_not_decrypt() {
    let (openssl, key) = (Openssl::new(), rsa_2048());
    openssl.take(key);
    openssl.write("plaintext", b"plaintext");
    let options = [
        "rsa_padding_mode:pkcs1",
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha1",
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1 -pkeyopt rsa_mgf1_md:sha256",
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_oaep_label:6c6162656c",
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha512",
    ];
    for option in options {
        let ciphertext = openssl.run(&format!(
            "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in plaintext -pkeyopt {option}"
        ));
        for (algorithm, _, _) in OAEP {
            refused(
                key.decrypt(algorithm, &ciphertext),
                ErrorKind::CiphertextInvalid,
            );
        }
    }
}

#[test]
fn what_does_not_fit_the_key_is_refused() {
    for (algorithm, _, longest) in OAEP {
        for len in [0, longest + 1, 4096] {
            refused(
                rsa_2048().encrypt(algorithm, &vec![0; len]),
                ErrorKind::InvalidParameter("Plaintext"),
            );
        }
    }
}

/// The sizes that Alibaba Cloud documents for RSA_3072.
#[test]
fn a_longer_key_takes_more() {
    let key = Material::generate(KeySpec::Rsa3072).unwrap();
    for (algorithm, longest) in [
        (EncryptionAlgorithm::RsaesOaepSha1, 342),
        (EncryptionAlgorithm::RsaesOaepSha256, 318),
    ] {
        let plaintext = vec![1; longest];
        let ciphertext = key.encrypt(algorithm, &plaintext).unwrap();
        assert_eq!(*key.decrypt(algorithm, &ciphertext).unwrap(), plaintext);
        assert!(key.encrypt(algorithm, &vec![1; longest + 1]).is_err());
    }
}

#[test]
fn the_table_names_what_a_key_does() {
    use crate::kms::engine::model::KeyUsage;
    let Algorithms::Signing(all) = algorithms(KeySpec::Rsa2048, KeyUsage::SignVerify) else {
        unreachable!()
    };
    assert_eq!(all, SIGNING.map(|(algorithm, ..)| algorithm));
    for algorithm in all {
        assert!(rsa_2048().sign(*algorithm, &raw(b"message")).is_ok());
    }
}

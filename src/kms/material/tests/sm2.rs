//! SM2: the examples of its standard, and openssl.

use sm3::{Digest as _, Sm3};

use super::*;
use crate::kms::engine::ops::asymmetric::{EncryptionAlgorithm, Message, SigningAlgorithm};

/// Of `PKCS#8` without a public half.
const PKCS8_HEAD: &str = "3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420";

/// GB/T 32918.5-2017, annexes A and C: the private key.
const SCALAR: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";

const PUBLIC_X: &str = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020";
const PUBLIC_Y: &str = "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";

const R: &str = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3";
const S: &str = "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";
/// The digest of signer, public key and message.
const E: &str = "f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640";

const C1: &str = "0404ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73\
                  e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0";
const C2: &str = "21886ca989ca9c7d58087307ca93092d651efa";
const C3: &str = "59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766";

const DSA: SigningAlgorithm = SigningAlgorithm::Sm2Dsa;
const PKE: EncryptionAlgorithm = EncryptionAlgorithm::Sm2Pke;

fn standard_key() -> Material {
    let secret = unhex(&format!("{PKCS8_HEAD}{SCALAR}"));
    Material::from_secret(KeySpec::EcSm2, &secret).unwrap()
}

fn raw(message: &[u8]) -> Message {
    Message::Raw(message.to_vec())
}

fn signature(r: &str, s: &str) -> Vec<u8> {
    unhex(&format!("3046022100{r}022100{s}"))
}

#[test]
fn the_public_key_is_the_standards() {
    let key = standard_key();
    let head = "3059301306072a8648ce3d020106082a811ccf5501822d03420004";
    let expected = unhex(&format!("{head}{PUBLIC_X}{PUBLIC_Y}"));
    assert_eq!(key.public_key_der().unwrap(), expected);
}

#[test]
fn the_signature_of_the_standard_holds() {
    let (key, signature) = (standard_key(), signature(R, S));
    let message = raw(b"message digest");
    assert!(key.verify(DSA, &message, &signature).unwrap());
    let digest = Message::Digest(unhex(E));
    assert!(key.verify(DSA, &digest, &signature).unwrap());
    assert!(
        !key.verify(DSA, &raw(b"massage digest"), &signature)
            .unwrap()
    );
    // SM3 of the message alone is not what is signed
    let alone = Message::Digest(Sm3::digest(b"message digest").to_vec());
    assert!(!key.verify(DSA, &alone, &signature).unwrap());
}

#[test]
fn the_ciphertext_of_the_standard_decrypts() {
    let key = standard_key();
    let plain = unhex(&format!("{C1}{C3}{C2}"));
    assert_eq!(**key.decrypt(PKE, &plain).unwrap(), *b"encryption standard");
    let der = unhex(&format!(
        "307c022004ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73\
         022100e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0\
         0420{C3}0413{C2}"
    ));
    assert_eq!(**key.decrypt(PKE, &der).unwrap(), *b"encryption standard");
    for ciphertext in [plain, der] {
        for changed in one_bit_flips(&ciphertext).chain(other_lengths(&ciphertext)) {
            refused(key.decrypt(PKE, &changed), ErrorKind::CiphertextInvalid);
        }
    }
    // the order of the standard before, C1 ‖ C2 ‖ C3
    let old = unhex(&format!("{C1}{C2}{C3}"));
    refused(key.decrypt(PKE, &old), ErrorKind::CiphertextInvalid);
}

#[test]
fn openssl_and_this_service_verify_what_the_other_signs() {
    let (openssl, key) = (Openssl::new(), Material::generate(KeySpec::EcSm2).unwrap());
    openssl.take(&key);
    openssl.write("message", b"message");
    let options = "-rawin -digest sm3 -pkeyopt distid:1234567812345678 -in message -keyform DER";
    openssl.write("signature", &key.sign(DSA, &raw(b"message")).unwrap());
    let verify = format!("pkeyutl -verify -pubin -inkey public.der -sigfile signature {options}");
    openssl.run(&verify);
    openssl.write("message", b"massage");
    openssl.refuses(&verify);
    let theirs = openssl.run(&format!("pkeyutl -sign -inkey private.der {options}"));
    assert!(key.verify(DSA, &raw(b"massage"), &theirs).unwrap());
    assert!(!key.verify(DSA, &raw(b"message"), &theirs).unwrap());
}

#[test]
fn a_digest_is_signed_as_it_is() {
    let key = standard_key();
    let digest = Message::Digest(unhex(E));
    let made = key.sign(DSA, &digest).unwrap();
    assert!(key.verify(DSA, &digest, &made).unwrap());
    assert!(key.verify(DSA, &raw(b"message digest"), &made).unwrap());
    // each signature has its own secret number
    assert_ne!(made, key.sign(DSA, &digest).unwrap());
}

#[test]
fn a_signature_of_anything_else_does_not_hold() {
    let (key, other) = (standard_key(), Material::generate(KeySpec::EcSm2).unwrap());
    let made = key.sign(DSA, &raw(b"message")).unwrap();
    let holds = |signature: &[u8]| key.verify(DSA, &raw(b"message"), signature).unwrap();
    for changed in one_bit_flips(&made).chain(other_lengths(&made)) {
        assert!(!holds(&changed), "{}", hex(&changed));
    }
    assert!(!other.verify(DSA, &raw(b"message"), &made).unwrap());
    let n = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123";
    let complement = "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54122";
    for fool in [
        unhex("3000"),
        unhex("3006020100020100"),
        unhex("3006020101020101"),
        unhex("30060201ff0201ff"),
        signature(n, n),
        signature(R, n),
        signature(n, S),
        // r + s is the order
        unhex(&format!("3026020101022100{complement}")),
        unhex(&format!("{R}{S}")),
    ] {
        assert!(!holds(&fool), "{}", hex(&fool));
    }
}

#[test]
fn openssl_and_this_service_decrypt_what_the_other_encrypts() {
    let (openssl, key) = (Openssl::new(), Material::generate(KeySpec::EcSm2).unwrap());
    openssl.take(&key);
    for len in [1, 19, 32, 33, 1000, 6047] {
        let plaintext = vec![0xa5; len];
        openssl.write("ciphertext", &key.encrypt(PKE, &plaintext).unwrap());
        let opened = openssl.run("pkeyutl -decrypt -keyform DER -inkey private.der -in ciphertext");
        assert_eq!(opened, plaintext);
        openssl.write("plaintext", &plaintext);
        let theirs =
            openssl.run("pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in plaintext");
        assert_eq!(*key.decrypt(PKE, &theirs).unwrap(), plaintext, "{len}");
    }
}

#[test]
fn what_is_no_ciphertext_of_the_key_is_refused() {
    let (key, other) = (standard_key(), Material::generate(KeySpec::EcSm2).unwrap());
    let ciphertext = other.encrypt(PKE, b"plaintext").unwrap();
    let invalid = ErrorKind::CiphertextInvalid;
    refused(key.decrypt(PKE, &ciphertext), invalid);
    for changed in one_bit_flips(&ciphertext).chain(other_lengths(&ciphertext)) {
        refused(other.decrypt(PKE, &changed), invalid);
    }
    for nothing in [
        unhex(""),
        unhex("00"),
        unhex("04"),
        unhex("30"),
        unhex("3000"),
        // a point and a digest, and no message
        unhex(&format!("{C1}{C3}")),
        // a point that is not on the curve
        unhex(&format!("04{}{C3}{C2}", "01".repeat(64))),
        unhex(&format!("04{}{C3}{C2}", "00".repeat(64))),
        // a compressed point
        unhex(&format!("02{}{C3}{C2}", &C1[2..66])),
        vec![0x30; 7000],
        vec![0x04; 7000],
    ] {
        refused(key.decrypt(PKE, &nothing), invalid);
    }
    for len in [0, 6048] {
        let kind = ErrorKind::InvalidParameter("Plaintext");
        refused(key.encrypt(PKE, &vec![0; len]), kind);
    }
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let key = standard_key();
    for len in [0, 31, 33, 64] {
        let (message, kind) = (
            Message::Digest(vec![1; len]),
            ErrorKind::InvalidParameter("Digest"),
        );
        refused(key.sign(DSA, &message), kind);
        refused(key.verify(DSA, &message, &signature(R, S)), kind);
        refused(key.verify(DSA, &message, b"no signature"), kind);
    }
    for len in [0, 4097] {
        let (message, kind) = (raw(&vec![1; len]), ErrorKind::InvalidParameter("Message"));
        refused(key.sign(DSA, &message), kind);
        refused(key.verify(DSA, &message, &signature(R, S)), kind);
    }
    for wrong in [
        SigningAlgorithm::EcdsaSha256,
        SigningAlgorithm::RsaPkcs1Sha256,
    ] {
        refused(key.sign(wrong, &raw(b"message")), ErrorKind::KeyUsage);
        refused(
            key.verify(wrong, &raw(b"message"), b"x"),
            ErrorKind::KeyUsage,
        );
    }
}

//! ECDSA: vectors, openssl, and signatures that were made to fool.

use aws_lc_rs::digest;

use super::*;
use crate::kms::engine::ops::asymmetric::{Message, SigningAlgorithm};

const CURVES: [(KeySpec, SigningAlgorithm, &str); 3] = [
    (KeySpec::EcP256, SigningAlgorithm::EcdsaSha256, "sha256"),
    (KeySpec::EcP256K, SigningAlgorithm::EcdsaSha256, "sha256"),
    (KeySpec::EcP384, SigningAlgorithm::EcdsaSha384, "sha384"),
];

/// The orders of the groups.
const ORDERS: [&str; 3] = [
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc5\
     2973",
];

fn raw(message: &[u8]) -> Message {
    Message::Raw(message.to_vec())
}

fn hashed(hash: &str, message: &[u8]) -> Message {
    let algorithm = if hash == "sha384" {
        &digest::SHA384
    } else {
        &digest::SHA256
    };
    Message::Digest(digest::digest(algorithm, message).as_ref().to_vec())
}

/// `INTEGER`s in a `SEQUENCE`; all of them are short.
fn sequence(numbers: &[&[u8]]) -> Vec<u8> {
    let integers: Vec<u8> = numbers.iter().flat_map(|number| tlv(2, number)).collect();
    tlv(0x30, &integers)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).unwrap();
    assert!(len < 128);
    [&[tag, len], content].concat()
}

/// The bytes of an `INTEGER` that is not negative.
fn positive(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0);
    let digits = &number[start.unwrap_or(number.len() - 1)..];
    let padding: &[u8] = if digits[0] >= 0x80 { &[0] } else { &[] };
    [padding, digits].concat()
}

/// RFC 6979, A.2.5 and A.2.6, with the message `sample`: private key, r, s.
#[test]
fn the_signatures_of_rfc_6979_hold() {
    let p256 = pkcs8(
        "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420",
        "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
    );
    let p384 = pkcs8(
        "304e020100301006072a8648ce3d020106052b81040022043730350201010430",
        "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea\
         60d2edf5",
    );
    let vectors = [
        (
            KeySpec::EcP256,
            SigningAlgorithm::EcdsaSha256,
            p256,
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        ),
        (
            KeySpec::EcP384,
            SigningAlgorithm::EcdsaSha384,
            p384,
            "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36\
             dd1e80fabe46",
            "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82\
             c71a38628ac8",
        ),
    ];
    for (spec, algorithm, secret, r, s) in vectors {
        let key = Material::from_secret(spec, &secret).unwrap();
        let (r, s) = (positive(&unhex(r)), positive(&unhex(s)));
        let signature = sequence(&[&r, &s]);
        assert!(key.verify(algorithm, &raw(b"sample"), &signature).unwrap());
        assert!(
            !key.verify(algorithm, &raw(b"sample"), &sequence(&[&s, &r]))
                .unwrap()
        );
        assert!(!key.verify(algorithm, &raw(b"test"), &signature).unwrap());
    }
}

/// A key without its public half, which is not needed.
fn pkcs8(head: &str, scalar: &str) -> Vec<u8> {
    unhex(&format!("{head}{scalar}"))
}

#[test]
fn a_private_key_outside_of_the_group_is_refused() {
    let head = "3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420";
    for scalar in [&"00".repeat(32), ORDERS[0], &"ff".repeat(32)] {
        let made = Material::from_secret(KeySpec::EcP256, &pkcs8(head, scalar));
        refused(made, ErrorKind::KeyMaterialInvalid);
    }
}

#[test]
fn openssl_and_this_service_verify_what_the_other_signs() {
    for (spec, algorithm, hash) in CURVES {
        let (openssl, key) = (Openssl::new(), Material::generate(spec).unwrap());
        openssl.take(&key);
        openssl.write("message", b"message");
        let options = format!("-rawin -digest {hash} -in message -keyform DER");
        for message in [raw(b"message"), hashed(hash, b"message")] {
            openssl.write("signature", &key.sign(algorithm, &message).unwrap());
            openssl.run(&format!(
                "pkeyutl -verify -pubin -inkey public.der -sigfile signature {options}"
            ));
        }
        let theirs = openssl.run(&format!("pkeyutl -sign -inkey private.der {options}"));
        assert!(key.verify(algorithm, &raw(b"message"), &theirs).unwrap());
        assert!(
            key.verify(algorithm, &hashed(hash, b"message"), &theirs)
                .unwrap()
        );
    }
}

#[test]
fn a_signature_is_of_one_message_and_one_key() {
    for (spec, algorithm, hash) in CURVES {
        let [key, other] = [(); 2].map(|()| Material::generate(spec).unwrap());
        let signature = key.sign(algorithm, &raw(b"message")).unwrap();
        let holds = |signature: &[u8]| {
            let message = raw(b"message");
            key.verify(algorithm, &message, signature).unwrap()
        };
        assert!(holds(&signature));
        for changed in one_bit_flips(&signature).chain(other_lengths(&signature)) {
            assert!(!holds(&changed), "{spec:?} {}", hex(&changed));
        }
        assert!(
            !other
                .verify(algorithm, &raw(b"message"), &signature)
                .unwrap()
        );
        assert!(!key.verify(algorithm, &raw(b"massage"), &signature).unwrap());
        assert!(
            !key.verify(algorithm, &hashed(hash, b"massage"), &signature)
                .unwrap()
        );
    }
}

/// As Wycheproof has them: numbers outside of the group, and other encodings of the right ones.
#[test]
fn signatures_that_were_made_to_fool_do_not_hold() {
    for ((spec, algorithm, _), order) in CURVES.into_iter().zip(ORDERS) {
        let key = Material::generate(spec).unwrap();
        let signature = key.sign(algorithm, &raw(b"message")).unwrap();
        let (r, s) = split(&signature);
        let n = positive(&unhex(order));
        let mut past_n = n.clone();
        *past_n.last_mut().unwrap() += 1;
        let mut fools = vec![
            vec![],
            vec![0x30, 0],
            vec![0x05, 0],
            sequence(&[&r]),
            sequence(&[&r, &s, &[0]]),
            sequence(&[&[], &[]]),
            // too long a length, and a length that has no end
            [&[0x30, 0x81, signature[1]], &signature[2..]].concat(),
            [&[0x30, 0x80], &signature[2..], &[0, 0]].concat(),
            [&[0x31], &signature[1..]].concat(),
            // numbers with a zero too many, and negative ones
            sequence(&[&[&[0], &r[..]].concat(), &s]),
            sequence(&[&r, &[&[0], &s[..]].concat()]),
            sequence(&[&[0xff], &s]),
            sequence(&[&r, &[0x80]]),
            // the two numbers without DER
            [fixed(&r, n.len() - 1), fixed(&s, n.len() - 1)].concat(),
        ];
        for number in [&[0][..], &[1], &n, &past_n, &[0x7f; 60]] {
            fools.push(sequence(&[number, &s]));
            fools.push(sequence(&[&r, number]));
            fools.push(sequence(&[number, number]));
        }
        for fool in fools {
            let holds = key.verify(algorithm, &raw(b"message"), &fool).unwrap();
            assert!(!holds, "{spec:?} {}", hex(&fool));
        }
    }
}

fn split(signature: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (r_len, rest) = (usize::from(signature[3]), &signature[4..]);
    let (r, rest) = rest.split_at(r_len);
    (r.to_vec(), rest[2..].to_vec())
}

fn fixed(number: &[u8], len: usize) -> Vec<u8> {
    let digits = number.strip_prefix(&[0]).unwrap_or(number);
    [vec![0; len - digits.len()], digits.to_vec()].concat()
}

#[test]
fn what_cannot_be_signed_is_refused() {
    for (spec, algorithm, hash) in CURVES {
        let key = Material::generate(spec).unwrap();
        let Message::Digest(digest) = hashed(hash, b"message") else {
            unreachable!()
        };
        for wrong in [
            &b""[..],
            &digest[1..],
            &[&digest[..], &[0]].concat(),
            &[0; 64],
        ] {
            let message = Message::Digest(wrong.to_vec());
            let kind = ErrorKind::InvalidParameter("Digest");
            refused(key.sign(algorithm, &message), kind);
            refused(key.verify(algorithm, &message, b"signature"), kind);
        }
        for wrong in [&b""[..], &[0; 4097]] {
            let kind = ErrorKind::InvalidParameter("Message");
            refused(key.sign(algorithm, &raw(wrong)), kind);
        }
        let wrong = match algorithm {
            SigningAlgorithm::EcdsaSha256 => SigningAlgorithm::EcdsaSha384,
            _ => SigningAlgorithm::EcdsaSha256,
        };
        for wrong in [
            wrong,
            SigningAlgorithm::Sm2Dsa,
            SigningAlgorithm::RsaPssSha256,
        ] {
            refused(key.sign(wrong, &raw(b"message")), ErrorKind::KeyUsage);
            refused(
                key.verify(wrong, &raw(b"message"), b"x"),
                ErrorKind::KeyUsage,
            );
        }
    }
}

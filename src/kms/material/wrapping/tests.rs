//! Wrapping, with openssl as the other side.

use super::*;
use crate::kms::material::tests::{Openssl, SPECS, one_bit_flips, refused, rsa_2048};

const ALGORITHMS: [ExportAlgorithm; 6] = [
    ExportAlgorithm::RsaAesKeyWrapSha1,
    ExportAlgorithm::RsaAesKeyWrapSha256,
    ExportAlgorithm::RsaesOaepSha1,
    ExportAlgorithm::RsaesOaepSha256,
    ExportAlgorithm::RsaesPkcs1V15,
    ExportAlgorithm::Sm2Pke,
];

const INVALID: ErrorKind = ErrorKind::KeyMaterialInvalid;
const PKCS1: ExportAlgorithm = ExportAlgorithm::RsaesPkcs1V15;

fn sm2() -> Material {
    Material::generate(KeySpec::EcSm2).unwrap()
}

/// A key that goes with the algorithm.
fn wrapping_key(algorithm: ExportAlgorithm) -> Material {
    match algorithm {
        ExportAlgorithm::Sm2Pke => sm2(),
        _ => Material::from_secret(KeySpec::Rsa2048, rsa_2048().secret()).unwrap(),
    }
}

fn wrapped(key: &Material, algorithm: ExportAlgorithm, secret: &[u8]) -> Vec<u8> {
    wrap(algorithm, key.public_key_der().unwrap(), secret).unwrap()
}

#[test]
fn what_is_wrapped_unwraps_to_the_same_key() {
    for algorithm in ALGORITHMS {
        let wrapping = wrapping_key(algorithm);
        for spec in SPECS.into_iter().filter(|spec| secret_len(*spec).is_some()) {
            let key = Material::generate(spec).unwrap();
            let wrapped = wrapped(&wrapping, algorithm, key.secret());
            let back = unwrap(&wrapping, algorithm, &wrapped, spec).unwrap();
            assert!(key.same_secret(&back), "{algorithm:?} {spec:?}");
        }
    }
}

#[test]
fn private_keys_come_in_too() {
    for algorithm in ALGORITHMS
        .into_iter()
        .filter(|algorithm| *algorithm != PKCS1)
    {
        let wrapping = wrapping_key(algorithm);
        for spec in [
            KeySpec::EcP256,
            KeySpec::EcP256K,
            KeySpec::EcSm2,
            KeySpec::Rsa2048,
        ] {
            let key = Material::generate(spec).unwrap();
            let public = wrapping.public_key_der().unwrap();
            let wrapped = match wrap(algorithm, public, key.secret()) {
                Ok(wrapped) => wrapped,
                // an RSA key does not fit RSA
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidParameter("Plaintext"));
                    assert_eq!(spec, KeySpec::Rsa2048);
                    continue;
                }
            };
            let back = unwrap(&wrapping, algorithm, &wrapped, spec).unwrap();
            assert!(key.same_secret(&back), "{algorithm:?} {spec:?}");
            assert_eq!(key.public_key_der(), back.public_key_der());
        }
    }
}

/// As the documentation of both clouds tells a user to wrap with openssl.
#[test]
fn what_openssl_wraps_is_imported() {
    let (openssl, wrapping) = (Openssl::new(), rsa_2048());
    openssl.take(wrapping);
    let encrypt = |options: &str| {
        openssl.run(&format!(
            "pkeyutl -encrypt -pubin -keyform DER -inkey public.der {options}"
        ))
    };
    let key = Material::generate(KeySpec::Aes256).unwrap();
    openssl.write("material", key.secret());
    let ways = [
        (PKCS1, "rsa_padding_mode:pkcs1"),
        (
            ExportAlgorithm::RsaesOaepSha1,
            "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1",
        ),
        (
            ExportAlgorithm::RsaesOaepSha256,
            "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256",
        ),
    ];
    for (algorithm, padding) in ways {
        let theirs = encrypt(&format!("-in material -pkeyopt {padding}"));
        let back = unwrap(wrapping, algorithm, &theirs, KeySpec::Aes256).unwrap();
        assert!(key.same_secret(&back), "{algorithm:?}");
    }
    let pair = openssl.private_key("-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
    openssl.write("material", &pair);
    openssl.write("kek", &[0x42; 32]);
    let body = openssl.run(&format!(
        "enc -id-aes256-wrap-pad -iv A65959A6 -in material -K {}",
        "42".repeat(32)
    ));
    for (algorithm, hash) in [
        (ExportAlgorithm::RsaAesKeyWrapSha1, "sha1"),
        (ExportAlgorithm::RsaAesKeyWrapSha256, "sha256"),
    ] {
        let head = encrypt(&format!(
            "-in kek -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash}"
        ));
        let theirs = [head, body.clone()].concat();
        let back = unwrap(wrapping, algorithm, &theirs, KeySpec::Rsa2048).unwrap();
        assert_eq!(back.secret(), pair);
    }
}

#[test]
fn openssl_unwraps_what_is_wrapped_here() {
    let (openssl, holder) = (Openssl::new(), rsa_2048());
    openssl.take(holder);
    let secret = [0x5a; 45];
    let decrypt = |ciphertext: &[u8], options: &str| {
        openssl.write("ciphertext", ciphertext);
        openssl.run(&format!(
            "pkeyutl -decrypt -keyform DER -inkey private.der -in ciphertext -pkeyopt {options}"
        ))
    };
    let (sha1, sha256) = (
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha1",
        "rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256",
    );
    let pkcs1 = wrapped(holder, PKCS1, &secret);
    assert_eq!(decrypt(&pkcs1, "rsa_padding_mode:pkcs1"), secret);
    let oaep = wrapped(holder, ExportAlgorithm::RsaesOaepSha1, &secret);
    assert_eq!(decrypt(&oaep, sha1), secret);
    let oaep = wrapped(holder, ExportAlgorithm::RsaesOaepSha256, &secret);
    assert_eq!(decrypt(&oaep, sha256), secret);
    for (algorithm, options) in [
        (ExportAlgorithm::RsaAesKeyWrapSha1, sha1),
        (ExportAlgorithm::RsaAesKeyWrapSha256, sha256),
    ] {
        let both = wrapped(holder, algorithm, &secret);
        let kek = decrypt(&both[..256], options);
        openssl.write("body", &both[256..]);
        let kek = data_encoding::HEXLOWER.encode(&kek);
        let opened = openssl.run(&format!(
            "enc -d -id-aes256-wrap-pad -iv A65959A6 -in body -K {kek}"
        ));
        assert_eq!(opened, secret);
    }
    let sm2 = sm2();
    openssl.take(&sm2);
    openssl.write(
        "ciphertext",
        &wrapped(&sm2, ExportAlgorithm::Sm2Pke, &secret),
    );
    let opened = openssl.run("pkeyutl -decrypt -keyform DER -inkey private.der -in ciphertext");
    assert_eq!(opened, secret);
}

#[test]
fn what_was_changed_does_not_unwrap() {
    for algorithm in ALGORITHMS
        .into_iter()
        .filter(|algorithm| *algorithm != PKCS1)
    {
        let wrapping = wrapping_key(algorithm);
        let wrapped = wrapped(&wrapping, algorithm, &[7; 32]);
        let refuse = |changed: &[u8]| {
            let back = unwrap(&wrapping, algorithm, changed, KeySpec::Aes256);
            refused(back, INVALID);
        };
        for changed in one_bit_flips(&wrapped) {
            refuse(&changed);
        }
        for len in [
            0,
            1,
            32,
            255,
            256,
            257,
            wrapped.len() - 8,
            wrapped.len() - 1,
        ] {
            if len < wrapped.len() {
                refuse(&wrapped[..len]);
            }
        }
        refuse(&[&wrapped[..], &[0]].concat());
        refuse(&[&wrapped[..], &[0; 8]].concat());
        refuse(&[0; 256]);
        refuse(&[0; WRAPPED_LEN_MAX + 1]);
    }
}

#[test]
fn what_is_no_key_of_the_spec_is_refused() {
    for algorithm in ALGORITHMS
        .into_iter()
        .filter(|algorithm| *algorithm != PKCS1)
    {
        let wrapping = wrapping_key(algorithm);
        let wrapped = wrapped(&wrapping, algorithm, &[7; 32]);
        for spec in [
            KeySpec::Aes128,
            KeySpec::Sm4,
            KeySpec::Hmac512,
            KeySpec::EcP256,
        ] {
            refused(unwrap(&wrapping, algorithm, &wrapped, spec), INVALID);
        }
    }
}

#[test]
fn another_key_or_algorithm_does_not_unwrap() {
    let other = Material::generate(KeySpec::Rsa2048).unwrap();
    for algorithm in &ALGORITHMS[..4] {
        let wrapped = wrapped(rsa_2048(), *algorithm, &[7; 32]);
        refused(
            unwrap(&other, *algorithm, &wrapped, KeySpec::Aes256),
            INVALID,
        );
        for wrong in ALGORITHMS[..4].iter().filter(|wrong| *wrong != algorithm) {
            refused(
                unwrap(rsa_2048(), *wrong, &wrapped, KeySpec::Aes256),
                INVALID,
            );
        }
    }
    let symmetric = Material::generate(KeySpec::Aes256).unwrap();
    let curve = Material::generate(KeySpec::EcP256).unwrap();
    for algorithm in ALGORITHMS {
        for wrong in [&symmetric, &curve] {
            let back = unwrap(wrong, algorithm, &[7; 256], KeySpec::Aes256);
            refused(back, ErrorKind::KeyUsage);
        }
    }
    let back = unwrap(&sm2(), PKCS1, &[7; 256], KeySpec::Aes256);
    refused(back, ErrorKind::KeyUsage);
    let back = unwrap(
        rsa_2048(),
        ExportAlgorithm::Sm2Pke,
        &[7; 256],
        KeySpec::Aes256,
    );
    refused(back, ErrorKind::KeyUsage);
}

/// The key of one use may only be AES-256, and the material must be wrapped with padding.
#[test]
fn other_forms_of_aes_key_wrap_do_not_unwrap() {
    let openssl = Openssl::new();
    let algorithm = ExportAlgorithm::RsaAesKeyWrapSha256;
    openssl.write("material", &[7; 32]);
    for (cipher, iv, len) in [
        ("aes128-wrap-pad", "A65959A6", 16),
        ("aes192-wrap-pad", "A65959A6", 24),
        ("aes256-wrap", "A6A6A6A6A6A6A6A6", 32),
        ("aes256-wrap-pad", "A65959A7", 32),
    ] {
        let head = wrapped(
            rsa_2048(),
            ExportAlgorithm::RsaesOaepSha256,
            &vec![0x42; len],
        );
        let body = openssl.run(&format!(
            "enc -id-{cipher} -iv {iv} -in material -K {}",
            "42".repeat(len)
        ));
        let both = [head, body].concat();
        let back = unwrap(rsa_2048(), algorithm, &both, KeySpec::Aes256);
        refused(back, INVALID);
    }
}

#[test]
fn public_keys_that_are_none_are_refused() {
    let openssl = Openssl::new();
    let public = |options: &str| {
        openssl.private_key(options);
        openssl.run("pkey -in made.pem -pubout -outform DER")
    };
    let short = public("-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
    let curve = public("-algorithm EC -pkeyopt ec_paramgen_curve:P-256");
    let (rsa, sm2) = (rsa_2048(), sm2());
    let kind = ErrorKind::InvalidParameter("PublicKey");
    for algorithm in ALGORITHMS {
        let (own, foreign) = match algorithm {
            ExportAlgorithm::Sm2Pke => (&sm2, rsa),
            _ => (rsa, &sm2),
        };
        let own = own.public_key_der().unwrap();
        let foreign = foreign.public_key_der().unwrap();
        for wrong in [
            &b""[..],
            b"no key",
            &short,
            &curve,
            foreign,
            &own[..own.len() - 1],
        ] {
            refused(wrap(algorithm, wrong, &[7; 32]), kind);
        }
    }
}

#[test]
fn nothing_and_too_much_is_not_wrapped() {
    let kind = ErrorKind::InvalidParameter("Plaintext");
    for (algorithm, longest) in ALGORITHMS
        .into_iter()
        .zip([6144, 6144, 214, 190, 245, 6047])
    {
        let key = wrapping_key(algorithm);
        let public = key.public_key_der().unwrap();
        assert!(wrap(algorithm, public, &vec![1; longest]).is_ok());
        refused(wrap(algorithm, public, &vec![1; longest + 1]), kind);
        refused(wrap(algorithm, public, b""), kind);
    }
}

// --- PKCS #1 v1.5 tells nothing

fn import(wrapping: &Material, wrapped: &[u8]) -> Material {
    unwrap(wrapping, PKCS1, wrapped, KeySpec::Aes256).unwrap()
}

#[test]
fn a_changed_pkcs1_ciphertext_gives_a_key_that_is_not_the_one_and_always_the_same() {
    let key = Material::generate(KeySpec::Aes256).unwrap();
    let genuine = wrapped(rsa_2048(), PKCS1, key.secret());
    assert!(import(rsa_2048(), &genuine).same_secret(&key));
    let mut seen = vec![key.secret().to_vec()];
    // the modulus begins with a bit of 1, so the highest bits are left as they are
    for changed in one_bit_flips(&genuine).skip(1).step_by(16) {
        let [once, again] = [(); 2].map(|()| import(rsa_2048(), &changed));
        assert!(once.same_secret(&again));
        assert!(!seen.contains(&once.secret().to_vec()));
        seen.push(once.secret().to_vec());
    }
}

#[test]
fn what_stands_in_for_a_message_depends_on_the_wrapping_key() {
    let other = Material::generate(KeySpec::Rsa2048).unwrap();
    let ciphertext = [0x11; 256];
    let [one, two] = [rsa_2048(), &other].map(|key| import(key, &ciphertext));
    assert!(!one.same_secret(&two));
}

/// Blocks as an attacker makes them, each with the 32 bytes of a key at its end.
#[test]
fn every_malformed_pkcs1_block_seems_to_succeed() {
    let openssl = Openssl::new();
    openssl.take(rsa_2048());
    let secret = [0x77; 32];
    let block = |head: &[u8], filler: u8, tail: &[u8]| {
        let filler = vec![filler; 256 - head.len() - tail.len()];
        [head, &filler, tail].concat()
    };
    let with_separator = [&[0][..], &secret].concat();
    let mut zero_in_padding = block(&[0, 2], 0xaa, &with_separator);
    zero_in_padding[5] = 0;
    let malformed = [
        block(&[0, 1], 0xff, &with_separator),
        block(&[0, 0], 0xaa, &with_separator),
        block(&[1, 2], 0xaa, &with_separator),
        block(&[0, 2], 0xaa, &[&[1][..], &secret].concat()),
        block(&[0, 2], 0xaa, &[0]),
        block(&[0, 2], 0xaa, &[&[0][..], &secret[1..]].concat()),
        block(&[0, 2], 0xaa, &[&[0][..], &secret, &[1]].concat()),
        zero_in_padding,
        vec![0; 256],
    ];
    let raw_encrypt = |block: &[u8]| {
        openssl.write("block", block);
        openssl.run(
            "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in block -pkeyopt \
             rsa_padding_mode:none",
        )
    };
    let well_formed = raw_encrypt(&block(&[0, 2], 0xaa, &with_separator));
    assert_eq!(import(rsa_2048(), &well_formed).secret(), secret);
    for block in malformed {
        let made = import(rsa_2048(), &raw_encrypt(&block));
        assert_ne!(made.secret(), secret);
        assert!(made.secret().iter().any(|byte| *byte != made.secret()[0]));
    }
}

/// What can be seen from outside may be refused: a length, and a number that is not below the
/// modulus is as any other that does not decrypt.
#[test]
fn only_the_length_of_a_pkcs1_ciphertext_is_refused() {
    for len in [1, 32, 255, 257, 512] {
        let back = unwrap(rsa_2048(), PKCS1, &vec![1; len], KeySpec::Aes256);
        refused(back, INVALID);
    }
    let made = [[0; 256], [1; 256], [0xff; 256]].map(|wrapped| import(rsa_2048(), &wrapped));
    assert!(!made[0].same_secret(&made[1]) && !made[1].same_secret(&made[2]));
}

#[test]
fn pkcs1_is_for_keys_of_one_length() {
    for spec in SPECS.into_iter().filter(|spec| secret_len(*spec).is_none()) {
        let back = unwrap(rsa_2048(), PKCS1, &[1; 256], spec);
        refused(back, ErrorKind::InvalidParameter("WrappingAlgorithm"));
    }
    for spec in SPECS {
        let Some(len) = secret_len(spec) else {
            continue;
        };
        let made = unwrap(rsa_2048(), PKCS1, &[1; 256], spec).unwrap();
        assert_eq!((made.spec(), made.secret().len()), (spec, len));
    }
}

#[test]
fn a_choice_takes_all_or_nothing() {
    for (choice, expected) in [(0, [1, 2, 3]), (1, [7, 8, 9])] {
        let mut bytes = [1, 2, 3];
        select(&mut bytes, &[7, 8, 9, 10], Choice::from(choice));
        assert_eq!(bytes, expected);
    }
}

//! GCM by vectors, the derivation by openssl's CMAC and by XAES-256-GCM.

use super::*;
use crate::crypto::{SecretKey, XaesKey};
use crate::kms::material::tests::{Openssl, one_bit_flips, unhex};

const PREFIX: &Prefix = b"ABCDEFGHIJKL";
const NONCE: &GcmNonce = b"MNOPQRSTUVWX";

fn keys() -> [BlobKey; 4] {
    [
        BlobKey::aes(&[1; 16]).unwrap(),
        BlobKey::aes(&[2; 24]).unwrap(),
        BlobKey::aes(&[3; 32]).unwrap(),
        BlobKey::sm4(&[4; 16]).unwrap(),
    ]
}

/// The test cases 2, 8 and 14 of the GCM submission (McGrew and Viega).
#[test]
fn gcm_is_gcm_with_keys_of_every_length() {
    let vectors = [
        (
            aes(&AES_128_GCM, &[0; 16]),
            "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            aes(&AES_192_GCM, &[0; 24]),
            "98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb",
        ),
        (
            aes(&AES_256_GCM, &[0; 32]),
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ),
    ];
    for (subkey, sealed) in vectors {
        let mut data = [0; 16];
        let tag = subkey.unwrap().seal(&[0; 12], b"", &mut data).unwrap();
        assert_eq!([data, tag].concat(), unhex(sealed));
    }
}

/// RFC 8998, A.1.
#[test]
fn gcm_over_sm4_is_that_of_rfc_8998() {
    let key = unhex("0123456789abcdeffedcba9876543210");
    let subkey = Subkey::Sm4(Box::new(AesGcm::new_from_slice(&key).unwrap()));
    let nonce = unhex("00001234567800000000abcd").try_into().unwrap();
    let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let plaintext = unhex(
        "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd\
         eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
    );
    let sealed = unhex(
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
         d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d",
    );
    let mut data = plaintext.clone();
    let tag = subkey.seal(&nonce, &aad, &mut data).unwrap();
    assert_eq!(data, sealed);
    assert_eq!(tag[..], unhex("83de3541e4c2b58177e065a9bf7b62ec"));
    subkey.open(&nonce, &aad, &mut data, &tag).unwrap();
    assert_eq!(data, plaintext);
}

/// What openssl's CMAC makes of one block of the derivation.
fn cmac(openssl: &Openssl, cipher: &str, key: &str, number: u8) -> Vec<u8> {
    openssl.write("input", &[&[0, number, b'X', 0], &PREFIX[..]].concat());
    let printed = openssl.run(&format!(
        "mac -macopt cipher:{cipher} -macopt hexkey:{key} -in input CMAC"
    ));
    unhex(String::from_utf8(printed).unwrap().trim())
}

#[test]
fn a_subkey_is_what_openssl_derives() {
    let openssl = Openssl::new();
    let [key_128, key_192, key_256, key_sm4] = keys();
    let derived = |cipher: &str, key: &str, len: usize| {
        let blocks = [1, 2].map(|number| cmac(&openssl, cipher, key, number));
        blocks.concat()[..len].to_vec()
    };
    let BlobKey::Aes128(key) = key_128 else {
        unreachable!()
    };
    let expected = derived("AES-128-CBC", &"01".repeat(16), 16);
    assert_eq!(derive::<_, 16>(&*key, PREFIX)[..], expected);
    let BlobKey::Aes192(key) = key_192 else {
        unreachable!()
    };
    let expected = derived("AES-192-CBC", &"02".repeat(24), 24);
    assert_eq!(derive::<_, 24>(&*key, PREFIX)[..], expected);
    let BlobKey::Aes256(key) = key_256 else {
        unreachable!()
    };
    let expected = derived("AES-256-CBC", &"03".repeat(32), 32);
    assert_eq!(derive::<_, 32>(&*key, PREFIX)[..], expected);
    let BlobKey::Sm4(key) = key_sm4 else {
        unreachable!()
    };
    let expected = derived("SM4-CBC", &"04".repeat(16), 16);
    assert_eq!(derive::<_, 16>(&*key, PREFIX)[..], expected);
}

#[test]
fn aes_256_is_xaes_256_gcm() {
    let [_, _, key, _] = keys();
    let mut data = *b"a data key of some bytes";
    let tag = key.subkey(PREFIX).unwrap().seal(NONCE, b"aad", &mut data);
    let xaes = XaesKey::new(&SecretKey::from_bytes(&[3; 32]).unwrap()).subkey(PREFIX);
    let mut theirs = *b"a data key of some bytes";
    let their_tag = xaes.seal_in_place(NONCE, b"aad", &mut theirs);
    assert_eq!((data, tag.unwrap()), (theirs, their_tag));
}

#[test]
fn what_was_sealed_opens_and_nothing_else_does() {
    for key in keys() {
        let subkey = key.subkey(PREFIX).unwrap();
        let mut sealed = *b"plaintext";
        let tag = subkey.seal(NONCE, b"aad", &mut sealed).unwrap();
        let opens = |nonce: &GcmNonce, aad: &[u8], sealed: &[u8], tag: &[u8; TAG_LEN]| {
            let mut data = sealed.to_vec();
            let opened = subkey.open(nonce, aad, &mut data, tag);
            assert_eq!(opened.is_err(), data.iter().all(|byte| *byte == 0));
            opened.is_ok()
        };
        assert!(opens(NONCE, b"aad", &sealed, &tag));
        for changed in one_bit_flips(&sealed) {
            assert!(!opens(NONCE, b"aad", &changed, &tag));
        }
        for changed in one_bit_flips(&tag) {
            assert!(!opens(NONCE, b"aad", &sealed, &changed.try_into().unwrap()));
        }
        for changed in one_bit_flips(NONCE) {
            assert!(!opens(&changed.try_into().unwrap(), b"aad", &sealed, &tag));
        }
        for aad in [&b""[..], b"aae", b"aad\0"] {
            assert!(!opens(NONCE, aad, &sealed, &tag));
        }
        for changed in one_bit_flips(PREFIX) {
            let other = key.subkey(&changed.try_into().unwrap()).unwrap();
            let opened = other.open(NONCE, b"aad", &mut sealed.clone(), &tag);
            assert_eq!(opened, Err(NotAuthentic));
        }
    }
}

#[test]
fn keys_of_other_lengths_are_none() {
    for len in [0, 1, 15, 17, 23, 25, 31, 33, 64] {
        assert!(BlobKey::aes(&vec![0; len]).is_none(), "{len}");
    }
    for len in [0, 15, 17, 24, 32] {
        assert!(BlobKey::sm4(&vec![0; len]).is_none(), "{len}");
    }
}

#[test]
fn debug_shows_nothing() {
    for key in keys() {
        let shown = format!("{key:?} {:?}", key.subkey(PREFIX).unwrap());
        assert_eq!(shown, "BlobKey(..) Subkey(..)");
    }
}

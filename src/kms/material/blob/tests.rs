//! Blobs: what opens, and above all what does not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::crypto::{SecretKey, XaesKey};
use crate::kms::engine::model::{KeyId, KeySpec, KeyVersionId};
use crate::kms::material::tests::{one_bit_flips, other_lengths, refused};

const SPECS: [KeySpec; 4] = [
    KeySpec::Aes128,
    KeySpec::Aes192,
    KeySpec::Aes256,
    KeySpec::Sm4,
];

const INVALID: ErrorKind = ErrorKind::CiphertextInvalid;

fn address() -> Address {
    let key = KeyId("11111111-2222-4333-8444-555555555555".to_owned());
    let version = KeyVersionId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned());
    Address::new(&key, &version).unwrap()
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let pairs = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    EncryptionContext::new(pairs.collect()).unwrap()
}

/// A key of known bytes.
fn key(spec: KeySpec) -> Material {
    let len = crate::kms::material::secret_len(spec).unwrap();
    Material::from_secret(spec, &vec![7; len]).unwrap()
}

fn opened(
    key: &Material,
    blob: &[u8],
    context: &EncryptionContext,
) -> Result<SecretBytes, KmsError> {
    open(key, &parse(blob)?, context)
}

#[test]
fn what_was_sealed_opens() {
    for spec in SPECS {
        let key = Material::generate(spec).unwrap();
        for pairs in [&[][..], &[("a", "b")], &[("path", "/a b"), ("", "")]] {
            for len in [1, 16, 32, 1024, PLAINTEXT_LEN_MAX] {
                let (context, plaintext) = (context(pairs), vec![0x5a; len]);
                let blob = seal(&key, address(), &context, &plaintext).unwrap();
                assert_eq!(blob.len(), OVERHEAD + len);
                assert_eq!(parse(&blob).unwrap().address(), address());
                assert_eq!(*opened(&key, &blob, &context).unwrap(), plaintext);
            }
        }
    }
}

#[test]
fn no_two_blobs_are_alike_in_nonce_context_tag_or_ciphertext() {
    for spec in SPECS {
        let (key, context) = (key(spec), context(&[("a", "b")]));
        let [one, other] = [(); 2].map(|()| seal(&key, address(), &context, &[7; 32]).unwrap());
        for field in [33..45, 45..57, 57..73, 73..105, 105..121] {
            assert_ne!(
                one[field.clone()],
                other[field.clone()],
                "{spec:?} {field:?}"
            );
        }
    }
}

/// The same blob made by hand, of XAES-256-GCM and of the layout that the documentation has.
#[test]
fn a_blob_of_an_aes_256_key_is_what_is_documented() {
    let context = context(&[("volume", "v1"), ("file", "42")]);
    let (prefix, nonce) = (*b"ABCDEFGHIJKL", *b"MNOPQRSTUVWX");
    let material = key(KeySpec::Aes256);
    let made = seal_with(
        material.blob_key().unwrap(),
        address(),
        &context,
        b"plaintext",
        prefix,
        nonce,
    );

    let subkey = XaesKey::new(&SecretKey::from_bytes(&[7; 32]).unwrap()).subkey(&prefix);
    let canonical = b"\0\0\0\x04file\0\0\0\x0242\0\0\0\x06volume\0\0\0\x02v1";
    let context_nonce = b"\xcdNOPQRSTUVWX";
    let mut by_hand = vec![1];
    by_hand.extend([0x11; 4]);
    by_hand.extend([0x22, 0x22, 0x43, 0x33, 0x84, 0x44]);
    by_hand.extend([0x55; 6]);
    by_hand.extend([0xaa; 4]);
    by_hand.extend([0xbb, 0xbb, 0x4c, 0xcc, 0x8d, 0xdd]);
    by_hand.extend([0xee; 6]);
    by_hand.extend(prefix);
    by_hand.extend(nonce);
    by_hand.extend(subkey.seal_in_place(context_nonce, canonical, &mut []));
    let mut data = *b"plaintext";
    let tag = subkey.seal_in_place(&nonce, &by_hand, &mut data);
    by_hand.extend(data);
    by_hand.extend(tag);
    assert_eq!(made.unwrap(), by_hand);
}

#[test]
fn a_nonce_for_data_is_never_one_for_a_context() {
    for first in 0..=u8::MAX {
        let nonce = joined(first, [9; 11]);
        assert_eq!((nonce[0], &nonce[1..]), (first, &[9; 11][..]));
        assert!(nonce_of_data(nonce)[0] < 0x80);
        assert!(nonce_of_context(nonce)[0] >= 0x80);
        assert_eq!(nonce_of_data(nonce)[1..], nonce[1..]);
        assert_eq!(nonce_of_context(nonce)[1..], nonce[1..]);
    }
}

#[test]
fn a_blob_with_any_byte_changed_is_invalid_whatever_the_context() {
    for spec in SPECS {
        let (key, right, wrong) = (key(spec), context(&[("a", "b")]), context(&[]));
        let blob = seal(&key, address(), &right, b"plaintext").unwrap();
        for changed in one_bit_flips(&blob) {
            refused(opened(&key, &changed, &right), INVALID);
            refused(opened(&key, &changed, &wrong), INVALID);
        }
    }
}

#[test]
fn a_blob_that_is_cut_or_too_long_is_invalid() {
    for spec in SPECS {
        let (key, context) = (key(spec), context(&[]));
        let blob = seal(&key, address(), &context, b"plaintext").unwrap();
        for other in other_lengths(&blob) {
            refused(opened(&key, &other, &context), INVALID);
        }
        refused(
            opened(&key, &[&blob[..], &blob[..]].concat(), &context),
            INVALID,
        );
        refused(opened(&key, &vec![1; LEN_MAX + 1], &context), INVALID);
    }
}

#[test]
fn another_key_opens_nothing() {
    for spec in SPECS {
        let context = context(&[("a", "b")]);
        let blob = seal(&key(spec), address(), &context, b"plaintext").unwrap();
        for other in SPECS {
            let other = Material::generate(other).unwrap();
            refused(opened(&other, &blob, &context), INVALID);
        }
        // the same bytes as a key of another kind
        for other in SPECS.into_iter().filter(|other| *other != spec) {
            refused(opened(&key(other), &blob, &context), INVALID);
        }
    }
}

#[test]
fn a_wrong_context_is_told_apart() {
    for spec in SPECS {
        let key = key(spec);
        let right = context(&[("a", "b"), ("c", "d")]);
        let blob = seal(&key, address(), &right, b"plaintext").unwrap();
        let wrong = [
            context(&[]),
            context(&[("a", "b")]),
            context(&[("c", "d")]),
            context(&[("a", "d"), ("c", "b")]),
            context(&[("b", "a"), ("c", "d")]),
            context(&[("A", "b"), ("c", "d")]),
            context(&[("a", "b "), ("c", "d")]),
            context(&[("a", "b"), ("c", "d"), ("e", "")]),
            context(&[("a", "bcd"), ("", "")]),
        ];
        for wrong in wrong {
            refused(opened(&key, &blob, &wrong), ErrorKind::WrongContext);
        }
        let reversed = context(&[("c", "d"), ("a", "b")]);
        assert_eq!(**opened(&key, &blob, &reversed).unwrap(), *b"plaintext");
    }
}

/// A context that is as long as it may be, with each of its bytes changed.
#[test]
fn every_byte_of_a_context_counts() {
    let key = key(KeySpec::Aes256);
    let text = "x".repeat(EncryptionContext::LEN_MAX / 2);
    let right = context(&[("k", &text), ("l", &text[..4000])]);
    let blob = seal(&key, address(), &right, b"plaintext").unwrap();
    assert!(opened(&key, &blob, &right).is_ok());
    for place in (0..text.len()).step_by(97).chain([text.len() - 1]) {
        let mut changed = text.clone();
        changed.replace_range(place..=place, "y");
        let wrong = context(&[("k", &changed), ("l", &text[..4000])]);
        refused(opened(&key, &blob, &wrong), ErrorKind::WrongContext);
    }
}

/// The context tag of one blob in another: the second blob is invalid, and its context not taken.
#[test]
fn parts_of_two_blobs_make_none() {
    let key = key(KeySpec::Aes256);
    let contexts = [context(&[("a", "b")]), context(&[("c", "d")])];
    let [one, other] = contexts
        .clone()
        .map(|context| seal(&key, address(), &context, b"plaintext").unwrap());
    for cut in [17, 33, 45, 57, 73, 82] {
        let mixed = [&one[..cut], &other[cut..]].concat();
        if mixed == one || mixed == other {
            continue;
        }
        for context in &contexts {
            refused(opened(&key, &mixed, context), INVALID);
        }
    }
}

#[test]
fn a_blob_names_another_key_only_if_it_was_made_so() {
    let (key, context) = (key(KeySpec::Aes128), context(&[]));
    let mut blob = seal(&key, address(), &context, b"plaintext").unwrap();
    blob[1..17].copy_from_slice(&[9; 16]);
    assert_ne!(parse(&blob).unwrap().address(), address());
    refused(opened(&key, &blob, &context), INVALID);
}

#[test]
fn other_formats_and_nonces_are_no_blobs() {
    let blob = seal(&key(KeySpec::Sm4), address(), &context(&[]), b"x").unwrap();
    for format in (0..=u8::MAX).filter(|format| *format != FORMAT) {
        let other = [&[format], &blob[1..]].concat();
        refused(parse(&other), INVALID);
    }
    let mut other = blob;
    other[45] |= 0x80;
    refused(parse(&other), INVALID);
}

#[test]
fn nothing_and_too_much_is_not_sealed() {
    for spec in SPECS {
        for len in [0, PLAINTEXT_LEN_MAX + 1] {
            let sealed = seal(&key(spec), address(), &context(&[]), &vec![0; len]);
            refused(sealed, ErrorKind::InvalidParameter("Plaintext"));
        }
    }
    refused(parse(&[1; OVERHEAD]), INVALID);
}

#[test]
fn keys_of_other_kinds_seal_and_open_nothing() {
    let blob = seal(&key(KeySpec::Aes256), address(), &context(&[]), b"x").unwrap();
    for spec in [KeySpec::Hmac256, KeySpec::EcP256, KeySpec::EcSm2] {
        let other = Material::generate(spec).unwrap();
        let sealed = seal(&other, address(), &context(&[]), b"x");
        refused(sealed, ErrorKind::KeyUsage);
        refused(opened(&other, &blob, &context(&[])), ErrorKind::KeyUsage);
    }
}

#[test]
fn debug_shows_no_bytes() {
    let blob = seal(&key(KeySpec::Aes256), address(), &context(&[]), b"x").unwrap();
    let shown = format!("{:?}", parse(&blob).unwrap());
    assert_eq!(
        shown,
        "Blob { address: Address(11111111-2222-4333-8444-555555555555, \
         aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee), len: 1, .. }"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_blob_of_the_same_bytes_or_none(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        likely: bool,
    ) {
        if let (true, Some(format)) = (likely, bytes.first_mut()) {
            *format = FORMAT;
        }
        if let (true, Some(nonce)) = (likely, bytes.get_mut(45)) {
            *nonce &= 0x7f;
        }
        match parse(&bytes) {
            Ok(blob) => {
                prop_assert_eq!(&blob.to_bytes(), &bytes);
                let opened = open(&key(KeySpec::Aes256), &blob, &context(&[]));
                prop_assert_eq!(opened.unwrap_err().kind(), INVALID);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), INVALID);
                prop_assert!(!likely || bytes.len() <= OVERHEAD);
            }
        }
    }

    #[test]
    fn any_plaintext_opens_under_its_context_alone(
        plaintext in prop::collection::vec(any::<u8>(), 1..200),
        pairs: BTreeMap<String, String>,
        others: BTreeMap<String, String>,
        which in 0..SPECS.len(),
    ) {
        let key = key(SPECS[which]);
        let context = EncryptionContext::new(pairs.clone()).unwrap();
        let blob = seal(&key, address(), &context, &plaintext).unwrap();
        prop_assert_eq!(&*opened(&key, &blob, &context).unwrap(), &plaintext);
        let other = EncryptionContext::new(others.clone()).unwrap();
        match opened(&key, &blob, &other) {
            Ok(_) => prop_assert_eq!(pairs, others),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::WrongContext),
        }
    }
}

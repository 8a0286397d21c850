//! The private key in a token (SoftHSM2), the public key in a file.

use cryptoki::object::ObjectClass;
use data_encoding::BASE64;

use super::*;
use crate::keys::pkcs11::{PIN, SoftHsm, with_token};

const TOKEN: &str = "pkcs11:token=efs%20test;object=kek;type=private";

/// The public half of the token's key in `public.pem`, and a provider whose private key is there.
fn reader(hsm: &SoftHsm, keys: &Keys, parameter: &str) -> RsaProvider {
    use aws_lc_rs::encoding::AsDer;
    let halves = hsm.open(TOKEN.trim_start_matches("pkcs11:"));
    let half = halves.public_halves().unwrap().remove(0);
    let spki = AsDer::as_der(&aws_lc_rs::rsa::PublicKeyComponents {
        n: half.modulus,
        e: half.exponent,
    })
    .unwrap();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64.encode(spki.as_ref())
    );
    std::fs::write(keys.path("public.pem"), pem).unwrap();
    let options = RsaOptions {
        private_keys: vec![PrivateKeySource::Token(TOKEN.to_owned())],
        ..RsaOptions::default()
    };
    let uri = format!("{}{parameter}", keys.uri()).parse().unwrap();
    RsaProvider::open(&uri, &options, &hsm.options(PIN)).unwrap()
}

#[test]
fn a_private_key_in_a_token_passes_the_suite() {
    with_token(|hsm| {
        hsm.add_rsa(&[1]);
        let keys = Keys::new();
        let reader = reader(hsm, &keys, ";oaep=sha1");
        conformance::provider_suite(&reader);
        let health = reader.probe().unwrap();
        assert_eq!(health.mechanism, Some("RSA-OAEP SHA-1"));
    });
}

#[test]
fn a_token_that_cannot_do_the_hash_says_so() {
    with_token(|hsm| {
        hsm.add_rsa(&[1]);
        let keys = Keys::new();
        // SoftHSM 2.6 refuses SHA-256 there.
        let reader = reader(hsm, &keys, "");
        let (_dek, wrapped) = reader.generate(&CONTEXT).unwrap();
        let (why, text) = kind(reader.unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::Config, "{text}");
        assert!(text.contains("cannot do RSA-OAEP SHA-256"), "{text}");
    });
}

#[test]
fn a_private_key_that_was_destroyed_or_is_another_is_not_found() {
    with_token(|hsm| {
        hsm.add_rsa(&[1]);
        let keys = Keys::new();
        let reader = reader(hsm, &keys, ";oaep=sha1");
        let (dek, wrapped) = reader.generate(&CONTEXT).unwrap();
        assert!(reader.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        let destroy =
            |session: &cryptoki::session::Session, key| session.destroy_object(key).unwrap();
        hsm.change(&[1], ObjectClass::PRIVATE_KEY, destroy);
        let (why, text) = kind(reader.unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::NotFound, "{text}");
        // Another key pair under the same name.
        hsm.change(&[1], ObjectClass::PUBLIC_KEY, destroy);
        hsm.add_rsa(&[2]);
        let (why, text) = kind(reader.unwrap(&wrapped, &CONTEXT));
        assert_eq!(why, KeyErrorKind::NotFound, "{text}");
    });
}

#[test]
fn a_uri_that_names_no_rsa_key_is_refused() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let keys = Keys::with_pair();
        let (_dek, wrapped) = keys.open(&[]).generate(&CONTEXT).unwrap();
        for (token, expected) in [
            ("pkcs11:token=efs%20test;object=kek", KeyErrorKind::NotFound),
            (
                "pkcs11:token=efs%20test;object=other",
                KeyErrorKind::NotFound,
            ),
            ("pkcs11:token=other;object=kek", KeyErrorKind::Unavailable),
            ("pkcs11:token=other", KeyErrorKind::Config),
            ("file:///kek", KeyErrorKind::Config),
            ("/private.pem", KeyErrorKind::Config),
        ] {
            let options = RsaOptions {
                private_keys: vec![PrivateKeySource::Token(token.to_owned())],
                ..RsaOptions::default()
            };
            let provider = RsaProvider::open(&keys.uri(), &options, &hsm.options(PIN)).unwrap();
            assert_eq!(
                kind(provider.unwrap(&wrapped, &CONTEXT)).0,
                expected,
                "{token}"
            );
        }
    });
}

//! Keys made in SoftHSM2.

use cryptoki::object::{Attribute, AttributeType, ObjectClass};

use super::*;
use crate::keys::pkcs11::cipher::Mechanism;
use crate::keys::pkcs11::softhsm::{PIN, SoftHsm, TOKEN, with_token};
use crate::keys::pkcs11::tests::kind;

const AES: Kind = Kind::Aes { len: 32 };
const ID: Id = [7; 16];
const OTHER: Id = [8; 16];

fn open(hsm: &SoftHsm) -> Hsm {
    Hsm::new(&hsm.token_uri(PIN), &Pkcs11Options::default()).unwrap()
}

fn sealing(made: &Made) -> Sealing {
    match made {
        Made::Aes(sealing) => *sealing,
        other => panic!("{other:?}"),
    }
}

const SECRET: ObjectClass = ObjectClass::SECRET_KEY;
const PRIVATE: ObjectClass = ObjectClass::PRIVATE_KEY;

/// Every kind of key, where its secret is, and what it may.
fn kinds() -> Vec<(Kind, ObjectClass, AttributeType, &'static [AttributeType])> {
    use AttributeType as A;
    let rsa = |for_use| Kind::Rsa {
        bits: 2048,
        for_use,
    };
    vec![
        (AES, SECRET, A::Value, &[A::Encrypt, A::Decrypt]),
        (
            Kind::Hmac { len: 32 },
            SECRET,
            A::Value,
            &[A::Sign, A::Verify],
        ),
        (rsa(PairUse::Sign), PRIVATE, A::PrivateExponent, &[A::Sign]),
        (
            rsa(PairUse::Decrypt),
            PRIVATE,
            A::PrivateExponent,
            &[A::Decrypt],
        ),
        (Kind::Ec(Curve::P256), PRIVATE, A::Value, &[A::Sign]),
        (Kind::Ec(Curve::P256K), PRIVATE, A::Value, &[A::Sign]),
        (Kind::Ec(Curve::P384), PRIVATE, A::Value, &[A::Sign]),
    ]
}

#[test]
fn what_is_made_is_sensitive_not_extractable_and_for_one_thing() {
    with_token(|token| {
        let hsm = open(token);
        for (number, (kind, class, secret, may)) in (1_u8..).zip(kinds()) {
            let id = [number; 16];
            assert!(!hsm.has(&id).unwrap());
            hsm.generate(&id, "a label", kind).unwrap();
            assert!(hsm.has(&id).unwrap());
            token.change(&id, class, |session, key| {
                let read = |asked| session.get_attributes(key, &[asked]).unwrap();
                for (asked, expected) in [
                    (AttributeType::Sensitive, Attribute::Sensitive(true)),
                    (AttributeType::Extractable, Attribute::Extractable(false)),
                    (
                        AttributeType::AlwaysSensitive,
                        Attribute::AlwaysSensitive(true),
                    ),
                    (
                        AttributeType::NeverExtractable,
                        Attribute::NeverExtractable(true),
                    ),
                    (AttributeType::Local, Attribute::Local(true)),
                    (AttributeType::Label, Attribute::Label(b"a label".to_vec())),
                ] {
                    assert_eq!(read(asked), [expected], "{kind:?}");
                }
                let given = session.get_attributes(key, &[secret]);
                assert!(given.is_err() || given.unwrap().is_empty(), "{kind:?}");
                for (usage, allowed) in [
                    (AttributeType::Encrypt, Attribute::Encrypt(true)),
                    (AttributeType::Decrypt, Attribute::Decrypt(true)),
                    (AttributeType::Sign, Attribute::Sign(true)),
                    (AttributeType::Verify, Attribute::Verify(true)),
                    (AttributeType::Wrap, Attribute::Wrap(true)),
                    (AttributeType::Unwrap, Attribute::Unwrap(true)),
                    (AttributeType::Derive, Attribute::Derive(true)),
                ] {
                    let is_allowed = read(usage).contains(&allowed);
                    assert_eq!(is_allowed, may.contains(&usage), "{kind:?} {usage:?}");
                }
            });
        }
    });
}

#[test]
fn an_aes_key_opens_what_it_sealed_and_nothing_else() {
    with_token(|token| {
        let hsm = open(token);
        for len in [16, 24, 32] {
            let id = [len; 16];
            let sealing = sealing(&hsm.generate(&id, "k", Kind::Aes { len }).unwrap());
            assert!(sealing.counts());
            assert_eq!(Sealing::of_number(sealing.number()), Some(sealing));
            for plaintext in [&b"x"[..], &[5; 6144]] {
                let sealed = hsm.seal(&id, sealing, b"bound", plaintext).unwrap();
                assert_eq!(sealed.len(), 12 + plaintext.len() + 16);
                assert_eq!(
                    *hsm.open(&id, sealing, b"bound", &sealed).unwrap(),
                    plaintext
                );
                for other in [&b""[..], b"bounD", b"bound "] {
                    let refused = kind(hsm.open(&id, sealing, other, &sealed));
                    assert_eq!(refused.0, KeyErrorKind::Corrupt, "{refused:?}");
                }
                for at in [0, 11, 12, sealed.len() - 17, sealed.len() - 1] {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1;
                    let refused = kind(hsm.open(&id, sealing, b"bound", &changed));
                    assert_eq!(refused.0, KeyErrorKind::Corrupt, "{refused:?}");
                }
                for cut in [0, 11, 12, 27, sealed.len() - 1] {
                    let refused = kind(hsm.open(&id, sealing, b"bound", &sealed[..cut]));
                    assert_eq!(refused.0, KeyErrorKind::Corrupt, "{cut}: {refused:?}");
                }
            }
        }
        let made = sealing(&hsm.generate(&OTHER, "k", AES).unwrap());
        let sealed = hsm.seal(&[32; 16], made, b"", b"x").unwrap();
        assert_eq!(
            kind(hsm.open(&OTHER, made, b"", &sealed)).0,
            KeyErrorKind::Corrupt
        );
        assert_eq!(
            kind(hsm.seal(&ID, made, b"", b"x")).0,
            KeyErrorKind::NotFound
        );
        assert_eq!(Sealing::of_number(0), None);
        assert_eq!(Sealing::of_number(Mechanism::OaepSha1.number()), None);
    });
}

/// What tokens without GCM do.
#[test]
fn a_key_that_may_only_wrap_seals_by_a_key_in_between() {
    with_token(|token| {
        let named = make::Named {
            id: &ID,
            label: "k",
        };
        token.as_admin(|session| named.aes_for(session, 32, make::Use::Wrap).unwrap());
        let hsm = open(token);
        for number in [Mechanism::AesKwp.number(), Mechanism::AesKw.number()] {
            let sealing = Sealing::of_number(number).unwrap();
            assert!(!sealing.counts());
            let sealed = hsm.seal(&ID, sealing, b"bound", b"hello").unwrap();
            assert_eq!(sealed.len(), 40 + 24 + 5 + 16);
            assert_eq!(
                *hsm.open(&ID, sealing, b"bound", &sealed).unwrap(),
                b"hello"
            );
            assert_eq!(
                kind(hsm.open(&ID, sealing, b"", &sealed)).0,
                KeyErrorKind::Corrupt
            );
            for at in [0, 39, 40, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                let refused = kind(hsm.open(&ID, sealing, b"bound", &changed));
                assert_eq!(refused.0, KeyErrorKind::Corrupt, "{refused:?}");
            }
        }
    });
}

#[test]
fn only_what_a_key_is_for_is_done_with_it() {
    with_token(|token| {
        let hsm = open(token);
        let made = sealing(&hsm.generate(&ID, "k", AES).unwrap());
        hsm.generate(&OTHER, "k", Kind::Ec(Curve::P256)).unwrap();
        for refused in [
            kind(hsm.sign(&ID, Signing::Ecdsa, &[0; 32])),
            kind(hsm.mac(&ID, Hash::Sha256, b"m")),
        ] {
            assert_eq!(refused.0, KeyErrorKind::Revoked, "{refused:?}");
        }
        // How a module refuses what its keys cannot do is its own affair.
        hsm.sign(&OTHER, Signing::Pkcs1(Hash::Sha256), &[0; 32])
            .unwrap_err();
        hsm.seal(&OTHER, made, b"", b"x").unwrap_err();
        hsm.decrypt(&OTHER, Padding::None, &[1; 256], &[1; 256])
            .unwrap_err();
    });
}

#[test]
fn what_is_destroyed_is_gone_for_every_user_of_the_token() {
    with_token(|token| {
        let (one, two) = (open(token), open(token));
        let made = sealing(&one.generate(&ID, "k", AES).unwrap());
        let pair = Kind::Rsa {
            bits: 2048,
            for_use: PairUse::Sign,
        };
        one.generate(&OTHER, "k", pair).unwrap();
        let sealed = one.seal(&ID, made, b"", b"x").unwrap();
        assert_eq!(*two.open(&ID, made, b"", &sealed).unwrap(), b"x");
        assert!(two.destroy(&ID).unwrap() && two.destroy(&OTHER).unwrap());
        assert!(!two.destroy(&ID).unwrap());
        let refused = kind(one.open(&ID, made, b"", &sealed));
        assert_eq!(refused.0, KeyErrorKind::NotFound, "{refused:?}");
        let left = token.as_admin(|session| session.find_objects(&[]).unwrap());
        assert!(left.is_empty(), "a public key is left");
    });
}

#[test]
fn two_keys_of_one_id_are_not_told_apart() {
    with_token(|token| {
        let hsm = open(token);
        let made = sealing(&hsm.generate(&ID, "k", AES).unwrap());
        token.add_aes(&ID, &[]);
        let hsm = open(token);
        assert_eq!(kind(hsm.seal(&ID, made, b"", b"x")).0, KeyErrorKind::Config);
    });
}

#[test]
fn a_token_that_is_away_is_told_as_such_and_used_again_when_it_is_back() {
    with_token(|token| {
        let hsm = open(token);
        let made = sealing(&hsm.generate(&ID, "k", AES).unwrap());
        let sealed = hsm.seal(&ID, made, b"", b"x").unwrap();
        token.take_out();
        // It looks like an empty one at first.
        assert_eq!(kind(hsm.destroy(&ID)).0, KeyErrorKind::Unavailable);
        assert_eq!(kind(hsm.has(&OTHER)).0, KeyErrorKind::Unavailable);
        for _ in 0..2 {
            let away = kind(hsm.open(&ID, made, b"", &sealed));
            assert_eq!(away.0, KeyErrorKind::Unavailable, "{away:?}");
            assert!(away.1.contains(TOKEN), "{away:?}");
        }
        assert_eq!(kind(hsm.destroy(&ID)).0, KeyErrorKind::Unavailable);
        assert_eq!(
            kind(hsm.generate(&OTHER, "k", AES)).0,
            KeyErrorKind::Unavailable
        );
        token.put_back();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while hsm.probe().is_err() {
            assert!(std::time::Instant::now() < until, "not found again");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(*hsm.open(&ID, made, b"", &sealed).unwrap(), b"x");
        assert!(!hsm.has(&OTHER).unwrap());
    });
}

#[test]
fn a_wrong_pin_is_sent_once() {
    with_token(|token| {
        let wrong = token.token_uri("000000000");
        let hsm = Hsm::new(&wrong, &Pkcs11Options::default()).unwrap();
        for _ in 0..20 {
            assert_eq!(kind(hsm.probe()).0, KeyErrorKind::Denied);
        }
        let refused = hsm.token().unwrap().module().refused_logins();
        assert_eq!(refused, 1);
        // Nor did the token lock itself.
        token.as_admin(|session| session.find_objects(&[]).unwrap());
    });
}

#[test]
fn a_uri_of_a_key_is_none_of_a_token() {
    let options = Pkcs11Options {
        module: Some("/nonexistent/module.so".into()),
        ..Pkcs11Options::default()
    };
    let new = |uri: &str| Hsm::new(&uri.parse().unwrap(), &options);
    for wrong in [
        "pkcs11:token=t;object=k",
        "pkcs11:token=t;id=%01",
        "pkcs11:token=t;type=private",
        "pkcs11:",
        "pkcs11:tokn=t",
        "pkcs11:token=t?pin-value=1234",
        "pkcs11:token=t?module-path=m.so",
        "file:///k",
    ] {
        assert_eq!(kind(new(wrong)).0, KeyErrorKind::Config, "{wrong}");
    }
    let hsm = new("pkcs11:token=t;serial=1?pin-source=/pin").unwrap();
    assert_eq!(hsm.uri().as_str(), "pkcs11:token=t;serial=1");
    assert_eq!(kind(hsm.probe()).0, KeyErrorKind::Config, "no such module");
    let none = Hsm::new(
        &"pkcs11:token=t".parse().unwrap(),
        &Pkcs11Options::default(),
    );
    assert!(kind(none).1.contains("ENVELOPEFS_PKCS11_MODULE"));
}

//! The provider against SoftHSM2.

use std::time::Duration;

use cryptoki::object::{Attribute, ObjectClass};

use super::module::RESTART_EVERY;
use super::softhsm::{PIN, SoftHsm, date, uri, with_token};
use super::*;
use crate::keys::conformance::{self, CONTEXT, assert_hides};
use crate::keys::error::KeyErrorKind;

pub(super) fn kind<T>(result: Result<T, KeyError>) -> (KeyErrorKind, String) {
    match result {
        Ok(_) => panic!("must be refused, and was not"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains(PIN), "{text}");
            (error.kind(), text)
        }
    }
}

fn mechanism(provider: &Pkcs11Provider) -> &'static str {
    provider.probe().unwrap().mechanism.unwrap()
}

#[test]
fn an_aes_key_passes_the_suite_with_gcm() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        assert_eq!(mechanism(&provider), "AES-GCM");
        conformance::provider_suite(&provider);
        let wrapped = provider.generate(&CONTEXT).unwrap().1;
        assert_eq!(
            (wrapped.bytes.len(), wrapped.key_version.as_str()),
            (62, "01")
        );
        assert!(!provider.is_local());
    });
}

#[test]
fn an_aes_key_that_may_only_wrap_passes_the_suite_with_kwp() {
    with_token(|hsm| {
        hsm.add_aes(
            &[1],
            &[Attribute::Encrypt(false), Attribute::Decrypt(false)],
        );
        let provider = hsm.provider();
        assert_eq!(mechanism(&provider), "AES-KWP");
        conformance::provider_suite(&provider);
        assert_eq!(provider.generate(&CONTEXT).unwrap().1.bytes.len(), 114);
    });
}

#[test]
fn an_rsa_key_passes_the_suite_with_oaep_sha_1() {
    with_token(|hsm| {
        hsm.add_rsa(&[1]);
        let provider = hsm.provider();
        // SoftHSM 2.6 refuses SHA-256 there.
        assert_eq!(mechanism(&provider), "RSA-OAEP SHA-1");
        conformance::provider_suite(&provider);
        assert_eq!(provider.generate(&CONTEXT).unwrap().1.bytes.len(), 330);
    });
}

#[test]
fn what_one_mechanism_wrapped_no_other_opens() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        hsm.add_rsa(&[2]);
        let provider = hsm.provider();
        let only_its_own = || {
            let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
            for number in (0..=6).filter(|number| *number != wrapped.bytes[1]) {
                let mut other = wrapped.clone();
                other.bytes[1] = number;
                let (kind, text) = kind(provider.unwrap(&other, &CONTEXT));
                assert_eq!(kind, KeyErrorKind::Corrupt, "{text}");
            }
            wrapped.key_version
        };
        assert_eq!(only_its_own(), "02");
        hsm.change(&[2], ObjectClass::PRIVATE_KEY, |session, key| {
            session.destroy_object(key).unwrap();
        });
        assert_eq!(only_its_own(), "01");
    });
}

#[test]
fn the_newest_key_wraps_and_old_ones_unwrap() {
    with_token(|hsm| {
        hsm.add_aes(&[9], &[]);
        let provider = hsm.provider();
        let (dek, first) = provider.generate(&CONTEXT).unwrap();
        let mut versions = vec![first.clone()];
        // A longer id is a greater number; any date is later than none; leading zeros do not count.
        let added: [(&[u8], &[Attribute]); 4] = [
            (&[1, 0], &[]),
            (&[2], &[date("2024"), Attribute::Private(false)]),
            (&[1], &[date("2025"), Attribute::Private(false)]),
            (&[0, 0, 0, 1], &[date("2023"), Attribute::Private(false)]),
        ];
        for (id, more) in added {
            hsm.add_aes(id, more);
            let health = provider.probe().unwrap();
            let wrapped = provider.rewrap(&first, &CONTEXT).unwrap();
            assert_eq!(wrapped.key_version, health.key_version);
            versions.push(wrapped);
        }
        let used: Vec<_> = versions
            .iter()
            .map(|one| one.key_version.as_str())
            .collect();
        assert_eq!(used, ["09", "0100", "02", "01", "01"]);
        assert_eq!(provider.probe().unwrap().versions, 5);
        for wrapped in &versions {
            assert!(provider.unwrap(wrapped, &CONTEXT).unwrap() == dek);
            assert!(hsm.provider().unwrap(wrapped, &CONTEXT).unwrap() == dek);
        }
        let mut swapped = first;
        swapped.key_version = "02".to_owned();
        assert_eq!(
            kind(provider.unwrap(&swapped, &CONTEXT)).0,
            KeyErrorKind::Corrupt
        );
    });
}

#[test]
fn another_process_s_new_key_is_found_when_a_slot_names_it() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let running = hsm.provider();
        running.generate(&CONTEXT).unwrap();
        hsm.add_aes(&[2], &[]);
        let (dek, wrapped) = hsm.provider().generate(&CONTEXT).unwrap();
        assert_eq!(wrapped.key_version, "02");
        assert!(running.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        let invented = WrappedDek {
            key_version: "07".to_owned(),
            ..wrapped
        };
        for _ in 0..2 {
            let (kind, text) = kind(running.unwrap(&invented, &CONTEXT));
            assert_eq!(kind, KeyErrorKind::NotFound);
            assert!(text.contains("efs test") && text.contains("kek"), "{text}");
        }
        assert!(!running.search_due());
    });
}

#[test]
fn a_destroyed_key_is_not_found() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        hsm.change(&[1], ObjectClass::SECRET_KEY, |session, key| {
            session.destroy_object(key).unwrap();
        });
        for result in [
            provider.unwrap(&wrapped, &CONTEXT).map(drop),
            provider.wrap(&dek, &CONTEXT).map(drop),
            provider.probe().map(drop),
        ] {
            let (kind, text) = kind(result);
            assert_eq!(kind, KeyErrorKind::NotFound, "{text}");
            assert!(text.contains("\"efs test\" has no key \"kek\""), "{text}");
        }
    });
}

#[test]
fn nothing_is_wrapped_by_a_public_key_whose_private_key_is_gone() {
    with_token(|hsm| {
        hsm.add_rsa(&[1]);
        let provider = hsm.provider();
        let (dek, _wrapped) = provider.generate(&CONTEXT).unwrap();
        hsm.change(&[1], ObjectClass::PRIVATE_KEY, |session, key| {
            session.destroy_object(key).unwrap();
        });
        let (kind, text) = kind(provider.wrap(&dek, &CONTEXT));
        assert!(kind != KeyErrorKind::Unavailable, "{text}");
    });
}

#[test]
fn a_key_that_may_not_decrypt_any_more_is_revoked() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        hsm.change(&[1], ObjectClass::SECRET_KEY, |session, key| {
            let not = [Attribute::Decrypt(false), Attribute::Unwrap(false)];
            session.update_attributes(key, &not).unwrap();
        });
        assert_eq!(
            kind(provider.unwrap(&wrapped, &CONTEXT)).0,
            KeyErrorKind::Revoked
        );
        assert_eq!(kind(provider.probe()).0, KeyErrorKind::Revoked);
    });
}

#[test]
fn a_wrong_pin_is_sent_once_whoever_asks() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        // A second initialisation: nobody of this process is logged in.
        let counted = || {
            let module = Module::load(&SoftHsm::module()).unwrap();
            let live = module.live();
            let slots = live.pkcs11.get_slots_with_initialized_token().unwrap();
            let info = live.pkcs11.get_token_info(slots[0]).unwrap();
            (info.user_pin_count_low(), info.user_pin_locked())
        };
        let path = "token=efs%20test;object=kek";
        for _ in 0..20 {
            let provider = Pkcs11Provider::open(&uri(path), &hsm.options("00000")).unwrap();
            for _ in 0..3 {
                let (kind, text) = kind(provider.generate(&CONTEXT));
                assert_eq!(kind, KeyErrorKind::Denied, "{text}");
                assert!(
                    text.contains("efs test") && !text.contains("00000"),
                    "{text}"
                );
            }
        }
        let (low, locked) = counted();
        assert!(!locked, "60 calls have locked the token");
        tracing::debug!(low);
        let module = Module::load(&SoftHsm::module()).unwrap();
        assert_eq!(module.refused_logins(), 1);
    });
}

#[test]
fn a_missing_module_token_or_key_is_named() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let path = "token=efs%20test;object=kek";
        let module = |module: Option<&str>| Pkcs11Options {
            module: module.map(PathBuf::from),
            ..Pkcs11Options::default()
        };
        for (missing, word) in [
            (module(None), "ENVELOPEFS_PKCS11_MODULE"),
            (
                module(Some("/nonexistent/module.so")),
                "/nonexistent/module.so",
            ),
            (module(Some("/etc/hostname")), "/etc/hostname"),
            (module(Some("/lib/x86_64-linux-gnu/libc.so.6")), "libc.so.6"),
        ] {
            let (kind, text) = kind(Pkcs11Provider::open(&uri(path), &missing));
            assert_eq!(kind, KeyErrorKind::Config);
            assert!(text.contains(word), "{text}");
        }
        for (path, expected, word) in [
            (
                "token=other;object=kek",
                KeyErrorKind::Unavailable,
                "\"other\" is not there",
            ),
            (
                "token=efs%20test;serial=1;object=kek",
                KeyErrorKind::Unavailable,
                "efs test",
            ),
            (
                "token=efs%20test;model=x;object=kek",
                KeyErrorKind::Unavailable,
                "efs test",
            ),
            (
                "token=efs%20test;slot-id=77;object=kek",
                KeyErrorKind::Unavailable,
                "efs test",
            ),
            (
                "token=efs%20test;library-version=9.9;object=kek",
                KeyErrorKind::Unavailable,
                "efs",
            ),
            (
                "token=efs%20test;object=other",
                KeyErrorKind::NotFound,
                "\"other\"",
            ),
            (
                "token=efs%20test;object=kek;id=%02",
                KeyErrorKind::NotFound,
                "id 02",
            ),
            (
                "token=efs%20test;object=kek;type=private",
                KeyErrorKind::Config,
                "private",
            ),
        ] {
            let (kind, text) = kind(hsm.open(path).generate(&CONTEXT));
            assert_eq!(kind, expected, "{text}");
            assert!(text.contains(word), "{text}");
        }
        let manufacturer = "manufacturer=SoftHSM%20project;model=SoftHSM%20v2;type=secret-key";
        let whole = format!("token=efs%20test;{manufacturer};object=kek;id=%01");
        assert!(hsm.open(&whole).generate(&CONTEXT).is_ok());
    });
}

#[test]
fn keys_and_tokens_that_cannot_be_told_apart_are_refused() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        hsm.add_rsa(&[1]);
        let (why, text) = kind(hsm.provider().generate(&CONTEXT));
        assert_eq!(
            (why, text.contains("type=")),
            (KeyErrorKind::Config, true),
            "{text}"
        );
        for (class, name) in [("secret-key", "AES-GCM"), ("private", "RSA-OAEP SHA-1")] {
            let path = format!("token=efs%20test;object=kek;type={class}");
            assert_eq!(mechanism(&hsm.open(&path)), name);
        }
        hsm.add_aes(&[], &[]);
        let (why, text) = kind(hsm.provider().generate(&CONTEXT));
        assert_eq!(
            (why, text.contains("CKA_ID")),
            (KeyErrorKind::Config, true),
            "{text}"
        );
    });
}

#[test]
fn an_object_that_is_no_such_key_is_refused() {
    with_token(|hsm| {
        let template = [
            Attribute::Token(true),
            Attribute::Class(ObjectClass::DATA),
            Attribute::Label(b"kek".to_vec()),
            Attribute::Value(vec![7; 32]),
        ];
        hsm.as_admin(|session| session.create_object(&template).unwrap());
        let (kind, text) = kind(hsm.provider().generate(&CONTEXT));
        assert_eq!(kind, KeyErrorKind::Config);
        assert!(
            text.contains("neither a secret AES key nor a private RSA key"),
            "{text}"
        );
    });
}

#[test]
fn a_token_that_was_taken_out_comes_back() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        std::thread::sleep(RESTART_EVERY);
        hsm.take_out();
        for _ in 0..3 {
            let (kind, text) = kind(provider.unwrap(&wrapped, &CONTEXT));
            assert_eq!(kind, KeyErrorKind::Unavailable, "{text}");
        }
        hsm.put_back();
        std::thread::sleep(RESTART_EVERY + Duration::from_millis(100));
        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        assert!(provider.probe().is_ok());
    });
}

#[test]
fn a_module_that_was_initialised_anew_is_logged_in_to_again() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let (provider, other) = (hsm.provider(), hsm.provider());
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        other.probe().unwrap();
        std::thread::sleep(RESTART_EVERY);
        let module = Module::load(&SoftHsm::module()).unwrap();
        module.restart(0).unwrap();
        for provider in [&provider, &other, &provider] {
            assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        }
    });
}

#[test]
fn many_threads_share_few_sessions() {
    const THREADS: usize = 16;
    const EACH: usize = 1000;
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
                        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
                    }
                });
            }
        });
        assert!(provider.token.idle_sessions() <= 8);
    });
}

#[test]
fn debug_and_errors_show_no_pin() {
    with_token(|hsm| {
        hsm.add_aes(&[1], &[]);
        let provider = hsm.provider();
        let (dek, _wrapped) = provider.generate(&CONTEXT).unwrap();
        let text = format!("{provider:?} {}", provider.describe());
        assert!(!text.contains(PIN), "{text}");
        assert_hides(&text, dek.expose());
    });
}

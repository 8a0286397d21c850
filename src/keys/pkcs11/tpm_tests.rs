//! The provider against a TPM, through tpm2-pkcs11.

use super::module::Threads;
use super::softhsm::PIN;
use super::swtpm::{Tpm, with_tpm};
use super::*;
use crate::keys::conformance::{self, CONTEXT};
use crate::keys::error::KeyErrorKind;

fn kind<T>(result: Result<T, KeyError>) -> (KeyErrorKind, String) {
    let error = result.err().expect("must be refused, and was not");
    assert!(!error.to_string().contains(PIN), "{error}");
    (error.kind(), error.to_string())
}

#[test]
fn a_key_in_a_tpm_passes_the_suite_with_oaep_sha_256() {
    with_tpm(|tpm| {
        tpm.add_key("01");
        // Making keys leaves something there.
        let before = tpm.holds();
        let provider = tpm.open(PIN);
        let health = provider.probe().unwrap();
        assert_eq!(health.mechanism, Some("RSA-OAEP SHA-256"));
        conformance::provider_suite(&provider);
        assert_eq!(provider.generate(&CONTEXT).unwrap().1.bytes.len(), 330);
        assert_eq!(tpm.wrong_tries(), 0);
        drop(provider);
        finalize_all();
        assert_eq!(tpm.holds(), before);
    });
}

#[test]
fn a_wrong_pin_reaches_the_tpm_once_whoever_asks() {
    with_tpm(|tpm| {
        tpm.add_key("01");
        let before = tpm.wrong_tries();
        for _ in 0..20 {
            let provider = tpm.open("00000");
            for _ in 0..3 {
                let (kind, text) = kind(provider.generate(&CONTEXT));
                assert_eq!(kind, KeyErrorKind::Denied, "{text}");
                assert!(!text.contains("00000"), "{text}");
            }
        }
        assert_eq!(tpm.wrong_tries(), before + 1);
        let module = Module::load(&Tpm::module()).unwrap();
        assert_eq!(module.refused_logins(), 1);
    });
}

#[test]
fn a_tpm_that_was_gone_comes_back() {
    with_tpm(|tpm| {
        tpm.add_key("01");
        let provider = tpm.open(PIN);
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        tpm.stop();
        for _ in 0..3 {
            let (kind, text) = kind(provider.unwrap(&wrapped, &CONTEXT));
            assert_eq!(kind, KeyErrorKind::Unavailable, "{text}");
        }
        tpm.start();
        // The module is initialised anew every two seconds at most.
        let begun = Instant::now();
        while let Err(error) = provider.unwrap(&wrapped, &CONTEXT) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
        assert!(provider.probe().is_ok());
    });
}

#[test]
fn many_threads_share_a_tpm() {
    with_tpm(|tpm| {
        tpm.add_key("01");
        let provider = tpm.open(PIN);
        let module = Module::load(&Tpm::module()).unwrap();
        assert_eq!(module.threads(), Threads::One);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
                        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
                    }
                });
            }
        });
        assert_eq!(tpm.wrong_tries(), 0);
    });
}

#[test]
fn who_lets_go_of_the_token_logs_nobody_out_who_is_at_work() {
    with_tpm(|tpm| {
        tpm.add_key("01");
        let provider = tpm.open(PIN);
        let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let works = || {
                for _ in 0..25 {
                    assert!(provider.unwrap(&wrapped, &CONTEXT)? == dek);
                }
                Ok::<_, KeyError>(())
            };
            let workers = [scope.spawn(works), scope.spawn(works)];
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::Acquire) {
                    provider.forget();
                }
            });
            let done = workers.map(|worker| worker.join().unwrap());
            ended.store(true, std::sync::atomic::Ordering::Release);
            done.into_iter().for_each(|done| done.unwrap());
        });
        assert_eq!(tpm.wrong_tries(), 0);
    });
}

//! What is kept of keys in the HSM. What they do is tested with the engine, in `engine::tests::hsm`.

use std::sync::mpsc;

use super::record::{Oaep, OaepBy};
use super::*;
use crate::keys::pkcs11::hsm::Sealing;
use crate::kms::engine::model::KeySpec;
use crate::kms::material::{Material, PublicHalf};

#[test]
fn a_record_comes_back_and_a_changed_one_is_none() {
    let rsa = Material::generate(KeySpec::Rsa2048).unwrap();
    let half = || PublicHalf::new(KeySpec::Rsa2048, rsa.public_key_der().unwrap()).unwrap();
    let oaep = Oaep {
        sha1: OaepBy::Hsm,
        sha256: OaepBy::Service,
    };
    let records = [
        (KeySpec::Aes256, Record::Aes(Sealing::of_number(1).unwrap())),
        (KeySpec::Hmac256, Record::Hmac),
        (
            KeySpec::Rsa2048,
            Record::Pair {
                public: half(),
                oaep,
            },
        ),
    ];
    for (spec, record) in records {
        let bytes = record.to_bytes();
        let again = Record::parse(spec, &bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        for cut in 0..bytes.len() {
            assert!(Record::parse(spec, &bytes[..cut]).is_err(), "{cut}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(Record::parse(spec, &longer).is_err());
        for at in [0, 1] {
            let mut other = bytes.clone();
            other[at] = 9;
            assert!(Record::parse(spec, &other).is_err());
        }
    }
    let pair = Record::Pair {
        public: half(),
        oaep,
    };
    assert!(Record::parse(KeySpec::Rsa3072, &pair.to_bytes()).is_err());
    assert!(Record::parse(KeySpec::Aes256, &[1, 1, 4]).is_err(), "OAEP");
    assert!(Record::parse(KeySpec::Rsa2048, &[1, 3, 3, 0]).is_err());
}

#[test]
fn every_kind_of_key_but_sm2_and_sm4_is_asked_for() {
    for spec in KeySpec::ALL {
        let is_sm = matches!(spec, KeySpec::EcSm2 | KeySpec::Sm4);
        assert_eq!(is_for_hsm(*spec), !is_sm, "{spec:?}");
    }
}

#[test]
fn a_version_s_id_is_the_key_s_in_the_hsm() {
    let id = id_of(&KeyVersionId(
        "00010203-0405-0607-0809-0a0b0c0d0e0f".to_owned(),
    ));
    let expected: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap());
    assert_eq!(id.unwrap(), expected);
    assert!(id_of(&KeyVersionId("v1".to_owned())).is_err());
}

/// An HSM that answers when it is told to.
#[test]
fn a_hanging_hsm_keeps_a_bounded_number_of_threads_and_callers_for_a_bounded_time() {
    let options = Pkcs11Options {
        module: Some("/nonexistent/module.so".into()),
        ..Pkcs11Options::default()
    };
    let hsm = Hsm::new(&"pkcs11:token=t".parse().unwrap(), &options).unwrap();
    let hsm = Arc::new(Hsm {
        patience: Duration::from_millis(200),
        ..hsm
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (started, starts) = mpsc::channel();
        let (ends, answers): (Vec<_>, Vec<_>) =
            (0..CALLS_MAX).map(|_| mpsc::channel::<()>()).unzip();
        let asked: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                let (hsm, started) = (Arc::clone(&hsm), started.clone());
                tokio::spawn(async move {
                    hsm.ask(move |_token| {
                        started.send(()).unwrap();
                        // Until the test lets go of its end.
                        let _closed = answer.recv();
                        Ok(())
                    })
                    .await
                })
            })
            .collect();
        for one in asked {
            let error = one.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HsmUnavailable);
            assert!(error.message().contains("does not answer"), "{error}");
        }
        assert_eq!(starts.try_iter().count(), CALLS_MAX);
        // All threads are still kept: nobody else gets one.
        let another = started.clone();
        let asked = hsm.ask(move |_token| {
            another.send(()).unwrap();
            Ok(())
        });
        let error = asked.await.unwrap_err();
        assert!(error.message().contains("busy"), "{error}");
        assert_eq!(starts.try_iter().count(), 0, "a thread more");
        drop(ends);
        while hsm.calls.available_permits() < CALLS_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hsm.ask(|_token| Ok(())).await.unwrap();
    });
}

//! Keys that live in an HSM: SoftHSM2, a token of its own for each test.

use std::time::{Duration, Instant};

use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use jiff::SignedDuration;

use super::*;
use crate::keys::Pkcs11Options;
use crate::keys::pkcs11::softhsm::{PIN, SoftHsm, with_token};
use crate::kms::engine::backup::Backup;
use crate::kms::engine::model::{KeyState, KeyVersionId};
use crate::kms::engine::ops::asymmetric::{
    AsymmetricDecrypt, AsymmetricEncrypt, EncryptionAlgorithm, GenerateMac, GetPublicKey,
    MacAlgorithm, Message, Sign, SigningAlgorithm, Verify, VerifyMac,
};
use crate::kms::engine::ops::data::{GenerateDataKey, ReEncrypt};
use crate::kms::engine::ops::keys::{CancelKeyDeletion, DescribeKey, ScheduleKeyDeletion};
use crate::kms::engine::ops::names::CreateAlias;
use crate::kms::engine::ops::versions::{CreateKeyVersion, RotateKeyOnDemand, UpdateRotation};
use crate::kms::engine::service::now;
use crate::kms::store::hsm_objects::{Claim, HsmObject};

fn on_sqlite(test: impl AsyncFn()) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test());
}

fn hsm(token: &SoftHsm) -> Arc<Hsm> {
    Arc::new(Hsm::new(&token.token_uri(PIN), &Pkcs11Options::default()).unwrap())
}

async fn bench(token: &SoftHsm) -> Bench {
    Bench::with_hsm(Backend::Sqlite, Some(hsm(token))).await
}

fn in_hsm(spec: KeySpec, usage: KeyUsage) -> CreateKey {
    CreateKey {
        protection: ProtectionLevel::Hsm,
        ..of_spec(spec, usage)
    }
}

fn aes() -> CreateKey {
    in_hsm(KeySpec::Aes256, KeyUsage::EncryptDecrypt)
}

fn sign(key: &Key, algorithm: SigningAlgorithm, text: &[u8]) -> Sign {
    Sign {
        key: id(key),
        version: None,
        algorithm,
        message: Message::Raw(text.to_vec()),
        dry_run: false,
    }
}

fn verify(key: &Key, algorithm: SigningAlgorithm, text: &[u8], signature: &[u8]) -> Verify {
    Verify {
        key: id(key),
        version: None,
        algorithm,
        message: Message::Raw(text.to_vec()),
        signature: signature.to_vec(),
        dry_run: false,
    }
}

/// The CKA_ID of a key's primary version.
fn object_id(version: Option<&KeyVersionId>) -> Vec<u8> {
    let digits = version.unwrap().0.replace('-', "");
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

fn objects(token: &SoftHsm) -> usize {
    token.as_admin(|session| session.find_objects(&[]).unwrap().len())
}

#[test]
fn data_is_encrypted_in_the_hsm_under_the_same_context_only() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            for spec in [KeySpec::Aes128, KeySpec::Aes192, KeySpec::Aes256] {
                let key = bench.key(in_hsm(spec, KeyUsage::EncryptDecrypt)).await;
                assert_eq!(key.protection, ProtectionLevel::Hsm);
                let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
                assert_eq!(described.protection, ProtectionLevel::Hsm);
                let made = bench.run(encrypt(id(&key), b"hello")).await.unwrap();
                let opened = bench.run(decrypt(&made.blob)).await.unwrap();
                assert_eq!(
                    (&opened.plaintext[..], &opened.key),
                    (&b"hello"[..], &key.id)
                );
                for other in [&[][..], &[("app", "other")], &[("app", "test"), ("b", "")]] {
                    let wrong = Decrypt {
                        context: context(other),
                        ..decrypt(&made.blob)
                    };
                    assert_eq!(bench.kind_of(wrong).await, Some(ErrorKind::WrongContext));
                }
                let object = object_id(key.primary.as_ref());
                token.change(&object, ObjectClass::SECRET_KEY, |session, object| {
                    let asked = [AttributeType::Extractable, AttributeType::Sensitive];
                    let read = session.get_attributes(object, &asked).unwrap();
                    let kept = [Attribute::Extractable(false), Attribute::Sensitive(true)];
                    assert!(kept.iter().all(|attribute| read.contains(attribute)));
                });
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_changed_blob_opens_nowhere() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench.key(aes()).await;
            let software = bench.key(symmetric()).await;
            let blob = bench.run(encrypt(id(&key), b"hello")).await.unwrap().blob;
            for at in 0..blob.len() {
                let mut changed = blob.clone();
                changed[at] ^= 1;
                let kind = bench.kind_of(decrypt(&changed)).await;
                let expected = [ErrorKind::CiphertextInvalid, ErrorKind::WrongContext];
                assert!(expected.contains(&kind.unwrap()), "{at}: {kind:?}");
                if at > 60 {
                    assert_eq!(kind, Some(ErrorKind::CiphertextInvalid), "{at}");
                }
            }
            for cut in [0, 1, 60, 61, blob.len() - 1] {
                let kind = bench.kind_of(decrypt(&blob[..cut])).await;
                assert_eq!(kind, Some(ErrorKind::CiphertextInvalid), "{cut}");
            }
            // Said to be of a software key, and the other way round.
            let own = bench
                .run(encrypt(id(&software), b"hello"))
                .await
                .unwrap()
                .blob;
            for (one, other) in [(&blob, &own), (&own, &blob)] {
                let mixed = [&one[..1], &other[1..33], &one[33..]].concat();
                let kind = bench.kind_of(decrypt(&mixed)).await;
                assert_eq!(kind, Some(ErrorKind::CiphertextInvalid));
            }
            let named = Decrypt {
                key: Some(id(&software)),
                ..decrypt(&blob)
            };
            assert_eq!(bench.kind_of(named).await, Some(ErrorKind::IncorrectKey));
            for len in [0, 6145] {
                let kind = bench.kind_of(encrypt(id(&key), &vec![0; len])).await;
                assert_eq!(kind, Some(ErrorKind::InvalidParameter("Plaintext")));
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn data_keys_and_blobs_move_between_the_hsm_and_the_store() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let (key, software) = (bench.key(aes()).await, bench.key(symmetric()).await);
            let made = bench
                .run(GenerateDataKey {
                    key: id(&key),
                    len: 32,
                    context: context(&[("app", "test")]),
                    dry_run: false,
                })
                .await
                .unwrap();
            let plain = made.plaintext.unwrap();
            let mut blob = made.encrypted.blob;
            for destination in [&software, &key] {
                let moved = bench
                    .run(ReEncrypt {
                        blob: blob.clone(),
                        source: None,
                        source_version: None,
                        source_algorithm: None,
                        source_context: context(&[("app", "test")]),
                        destination: id(destination),
                        destination_context: context(&[("app", "test")]),
                        dry_run: false,
                    })
                    .await
                    .unwrap();
                blob = moved.encrypted.blob;
                let opened = bench.run(decrypt(&blob)).await.unwrap();
                assert_eq!((&opened.key, &opened.plaintext), (&destination.id, &plain));
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn key_pairs_sign_in_the_hsm_and_are_verified_without_it() {
    use SigningAlgorithm as A;
    const RSA: &[A] = &[
        A::RsaPkcs1Sha256,
        A::RsaPkcs1Sha384,
        A::RsaPkcs1Sha512,
        A::RsaPssSha256,
        A::RsaPssSha384,
        A::RsaPssSha512,
    ];
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            for (spec, algorithms) in [
                (KeySpec::EcP256, &[A::EcdsaSha256][..]),
                (KeySpec::EcP256K, &[A::EcdsaSha256]),
                (KeySpec::EcP384, &[A::EcdsaSha384]),
                (KeySpec::Rsa2048, RSA),
                (KeySpec::Rsa3072, &RSA[..1]),
            ] {
                let key = bench.key(in_hsm(spec, KeyUsage::SignVerify)).await;
                for algorithm in algorithms {
                    let made = bench.run(sign(&key, *algorithm, b"hello")).await;
                    let signature = made.unwrap().bytes;
                    let holds = async |text: &[u8], signature: &[u8]| {
                        let verify = verify(&key, *algorithm, text, signature);
                        bench.run(verify).await.unwrap().valid
                    };
                    assert!(holds(b"hello", &signature).await, "{spec:?} {algorithm:?}");
                    assert!(!holds(b"hallo", &signature).await);
                    let mut changed = signature.clone();
                    changed[10] ^= 1;
                    assert!(!holds(b"hello", &changed).await);
                    let empty = bench.kind_of(sign(&key, *algorithm, b"")).await;
                    assert_eq!(empty, Some(ErrorKind::InvalidParameter("Message")));
                    let sm2 = bench.kind_of(sign(&key, A::Sm2Dsa, b"hello")).await;
                    assert_eq!(sm2, Some(ErrorKind::KeyUsage));
                }
                let usage = bench.kind_of(encrypt(id(&key), b"x")).await;
                assert_eq!(usage, Some(ErrorKind::KeyUsage));
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn what_a_public_half_encrypted_the_hsm_decrypts() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench
                .key(in_hsm(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt))
                .await;
            let public = bench
                .run(GetPublicKey {
                    key: id(&key),
                    version: None,
                    dry_run: false,
                })
                .await
                .unwrap();
            assert_eq!(public.der.len(), 294);
            // SoftHSM has no OAEP with SHA-256: the padding is taken off here.
            for (algorithm, longest) in [
                (EncryptionAlgorithm::RsaesOaepSha1, 214),
                (EncryptionAlgorithm::RsaesOaepSha256, 190),
            ] {
                let encrypt = |len: usize| AsymmetricEncrypt {
                    key: id(&key),
                    version: None,
                    algorithm,
                    plaintext: SecretBytes::new(vec![9; len]),
                    dry_run: false,
                };
                let decrypt = |algorithm, ciphertext: &[u8]| AsymmetricDecrypt {
                    key: id(&key),
                    version: None,
                    algorithm,
                    ciphertext: ciphertext.to_vec(),
                    dry_run: false,
                };
                for len in [1, longest] {
                    let made = bench.run(encrypt(len)).await.unwrap().bytes;
                    let opened = bench.run(decrypt(algorithm, &made)).await.unwrap();
                    assert_eq!(*opened.plaintext, vec![9; len]);
                    let mut changed = made.clone();
                    changed[100] ^= 1;
                    for wrong in [&changed[..], &made[1..], &[0; 256], &[0xFF; 256], b""] {
                        let kind = bench.kind_of(decrypt(algorithm, wrong)).await;
                        assert_eq!(kind, Some(ErrorKind::CiphertextInvalid), "{algorithm:?}");
                    }
                }
                for len in [0, longest + 1] {
                    let kind = bench.kind_of(encrypt(len)).await;
                    assert_eq!(kind, Some(ErrorKind::InvalidParameter("Plaintext")));
                }
            }
            let sm2 = AsymmetricEncrypt {
                key: id(&key),
                version: None,
                algorithm: EncryptionAlgorithm::Sm2Pke,
                plaintext: SecretBytes::new(vec![9]),
                dry_run: false,
            };
            assert_eq!(bench.kind_of(sm2).await, Some(ErrorKind::KeyUsage));
            bench.engine.close().await;
        });
    });
}

#[test]
fn macs_are_made_and_checked_in_the_hsm() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            for (spec, algorithm, len) in [
                (KeySpec::Hmac224, MacAlgorithm::HmacSha224, 28),
                (KeySpec::Hmac256, MacAlgorithm::HmacSha256, 32),
                (KeySpec::Hmac384, MacAlgorithm::HmacSha384, 48),
                (KeySpec::Hmac512, MacAlgorithm::HmacSha512, 64),
            ] {
                let key = bench.key(in_hsm(spec, KeyUsage::GenerateVerifyMac)).await;
                let generate = |algorithm, message: &[u8]| GenerateMac {
                    key: id(&key),
                    algorithm,
                    message: message.to_vec(),
                    dry_run: false,
                };
                let mac = bench
                    .run(generate(algorithm, b"hello"))
                    .await
                    .unwrap()
                    .bytes;
                assert_eq!(mac.len(), len);
                for (message, mac, valid) in [
                    (&b"hello"[..], &mac[..], true),
                    (b"hallo", &mac, false),
                    (b"hello", &mac[1..], false),
                    (b"hello", b"", false),
                ] {
                    let verify = VerifyMac {
                        key: id(&key),
                        algorithm,
                        message: message.to_vec(),
                        mac: mac.to_vec(),
                        dry_run: false,
                    };
                    assert_eq!(bench.run(verify).await.unwrap().valid, valid);
                }
                let other = match algorithm {
                    MacAlgorithm::HmacSha256 => MacAlgorithm::HmacSha512,
                    _ => MacAlgorithm::HmacSha256,
                };
                let kind = bench.kind_of(generate(other, b"hello")).await;
                assert_eq!(kind, Some(ErrorKind::KeyUsage));
                let kind = bench.kind_of(generate(algorithm, b"")).await;
                assert_eq!(kind, Some(ErrorKind::InvalidParameter("Message")));
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn each_version_is_an_object_of_its_own() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench.key(aes()).await;
            let alias_of = CreateAlias {
                name: "alias/h".to_owned(),
                key: id(&key),
            };
            bench.run(alias_of).await.unwrap();
            let old = bench.run(encrypt(alias("alias/h"), b"old")).await.unwrap();
            bench
                .run(RotateKeyOnDemand { key: id(&key) })
                .await
                .unwrap();
            let new = bench.run(encrypt(alias("alias/h"), b"new")).await.unwrap();
            assert_ne!(old.version, new.version);
            assert_eq!(objects(token), 2);
            for (made, text) in [(&old, b"old"), (&new, b"new")] {
                let opened = bench.run(decrypt(&made.blob)).await.unwrap();
                assert_eq!(&opened.plaintext[..], text);
            }
            let period = Some(Duration::from_secs(30 * 86_400));
            let update = UpdateRotation {
                key: id(&key),
                period,
            };
            bench.run(update).await.unwrap();
            let later = now() + SignedDuration::from_hours(24 * 31);
            bench.engine.rotate_in_hsm(later).await;
            assert_eq!(objects(token), 3);

            let pair = bench
                .key(in_hsm(KeySpec::EcP256, KeyUsage::SignVerify))
                .await;
            let second = bench
                .run(CreateKeyVersion { key: id(&pair) })
                .await
                .unwrap();
            assert_eq!(second.number, 2);
            assert_eq!(objects(token), 3 + 4);
            let refused = bench.kind_of(RotateKeyOnDemand { key: id(&pair) }).await;
            assert_eq!(refused, Some(ErrorKind::UnsupportedOperation));
            // Nothing of it is to be destroyed.
            let later = now() + SignedDuration::from_hours(2);
            bench.engine.clear_hsm(later).await;
            assert_eq!(objects(token), 3 + 4);
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_key_s_deletion_destroys_its_objects_and_no_other() {
    with_token(|token| {
        on_both(async |backend| {
            let bench = Bench::with_hsm(backend, Some(hsm(token))).await;
            let before = objects(token);
            let kept = bench.key(aes()).await;
            let key = bench
                .key(in_hsm(KeySpec::EcP256, KeyUsage::SignVerify))
                .await;
            bench.run(CreateKeyVersion { key: id(&key) }).await.unwrap();
            let schedule = async |key: &Key| {
                let schedule = ScheduleKeyDeletion {
                    key: id(key),
                    days: 7,
                };
                bench.run(schedule).await.unwrap();
            };
            schedule(&key).await;
            schedule(&kept).await;
            let cancelled = bench.run(CancelKeyDeletion { key: id(&kept) }).await;
            cancelled.unwrap();
            let week = now() + SignedDuration::from_hours(24 * 8);
            bench.engine.do_what_is_due(now()).await;
            bench.engine.clear_hsm(now()).await;
            assert_eq!(objects(token), before + 1 + 4);

            // The HSM is away when its time comes: the key is gone all the same, its objects are when it is back.
            token.take_out();
            bench.engine.do_what_is_due(week).await;
            bench.engine.clear_hsm(week).await;
            let gone = bench.kind_of(DescribeKey { key: id(&key) }).await;
            assert_eq!(gone, Some(ErrorKind::KeyNotFound));
            token.put_back();
            let until = Instant::now() + Duration::from_secs(60);
            while !bench
                .engine
                .store
                .hsm_objects_due(week)
                .await
                .unwrap()
                .is_empty()
            {
                assert!(Instant::now() < until, "not destroyed");
                bench.engine.clear_hsm(week).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(objects(token), before + 1);
            let made = bench.run(encrypt(id(&kept), b"x")).await.unwrap();
            bench.run(decrypt(&made.blob)).await.unwrap();
            bench.engine.close().await;
            let trail = std::fs::read_to_string(bench.audit_file()).unwrap();
            assert_eq!(trail.matches("DestroyKeyInHsm").count(), 2, "{trail}");
        });
    });
}

#[test]
fn what_was_made_for_a_version_that_never_came_to_be_is_destroyed() {
    with_token(|token| {
        on_both(async |backend| {
            let bench = Bench::with_hsm(backend, Some(hsm(token))).await;
            let before = objects(token);
            let key = bench.key(aes()).await;
            let object = HsmObject {
                version: KeyVersionId(uuid()),
                key: key.id.clone(),
            };
            let store = &bench.engine.store;
            let hour = SignedDuration::from_hours(1);
            store.note_hsm_object(&object, now() + hour).await.unwrap();
            let hsm = bench.engine.hsm.as_ref().unwrap();
            let made = hsm.generate(&key.id, &object.version, KeySpec::Aes256, key.usage);
            made.await.unwrap();
            bench.engine.clear_hsm(now()).await;
            assert_eq!(objects(token), before + 2, "too soon");
            bench.engine.clear_hsm(now() + hour).await;
            assert_eq!(objects(token), before + 1);
            // Nobody keeps it any more.
            let mut write = store.write().await.unwrap();
            write.keep_hsm_object(&object.version).await.unwrap_err();
            drop(write);
            bench.engine.close().await;
        });
    });
}

/// What is to be destroyed is looked at again: a list that was read a moment ago, another server's clock, a row that came
/// back out of a backup may say so of a key that is in use.
#[test]
fn what_a_version_needs_is_not_destroyed_and_what_is_claimed_becomes_no_version() {
    with_token(|token| {
        on_both(async |backend| {
            let bench = Bench::with_hsm(backend, Some(hsm(token))).await;
            let key = bench.key(aes()).await;
            let (store, before) = (&bench.engine.store, objects(token));
            let object = |version: KeyVersionId| HsmObject {
                version,
                key: key.id.clone(),
            };
            let used = object(key.primary.clone().unwrap());
            let begun = now();
            let hour = SignedDuration::from_hours(1);
            store.note_hsm_object(&used, begun).await.unwrap();
            bench.engine.clear_hsm(begun + hour).await;
            assert_eq!(objects(token), before);
            assert_eq!(store.hsm_objects_due(begun + hour).await.unwrap(), []);
            bench.run(encrypt(id(&key), b"x")).await.unwrap();

            // Claimed by a server that was killed then: nobody keeps it, others leave it alone for a while.
            let made = object(KeyVersionId(uuid()));
            store.note_hsm_object(&made, begun).await.unwrap();
            let hsm = bench.engine.hsm.as_ref().unwrap();
            let generated = hsm.generate(&key.id, &made.version, KeySpec::Aes256, key.usage);
            generated.await.unwrap();
            let claim = async |at| {
                let mut write = store.write().await.unwrap();
                let claim = write.claim_hsm_object(&made.version, at).await.unwrap();
                write.commit().await.unwrap();
                claim
            };
            assert_eq!(
                claim(begun - hour).await,
                Claim::No,
                "not due by that clock"
            );
            assert_eq!(claim(begun).await, Claim::First);
            let mut write = store.write().await.unwrap();
            write.keep_hsm_object(&made.version).await.unwrap_err();
            drop(write);
            assert_eq!(claim(begun).await, Claim::No, "another is about to");
            bench.engine.clear_hsm(begun).await;
            assert_eq!(objects(token), before + 1);
            // It destroyed the object before it was killed, and wrote no line.
            assert!(hsm.destroy(&made.version).await.unwrap());
            bench.engine.clear_hsm(begun + hour).await;
            assert_eq!(store.hsm_objects_due(begun + hour).await.unwrap(), []);
            bench.engine.close().await;
            let trail = std::fs::read_to_string(bench.audit_file()).unwrap();
            assert_eq!(trail.matches("DestroyKeyInHsm").count(), 1, "{trail}");
        });
    });
}

#[test]
fn what_is_being_made_is_in_no_backup() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench.key(aes()).await;
            let object = |id: &str| HsmObject {
                version: KeyVersionId(id.to_owned()),
                key: key.id.clone(),
            };
            let store = &bench.engine.store;
            // Due already by this server's clock, which may be ahead.
            store
                .note_hsm_object(&object("being-made"), now())
                .await
                .unwrap();
            let mut write = store.write().await.unwrap();
            write.drop_hsm_object(&object("dropped")).await.unwrap();
            write.commit().await.unwrap();
            let dump = store.dump().await.unwrap();
            assert!(dump.contains("dropped") && !dump.contains("being-made"));
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_token_that_is_away_is_to_be_tried_again_and_stops_no_other_key() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let (key, software) = (bench.key(aes()).await, bench.key(symmetric()).await);
            let pair = bench
                .key(in_hsm(KeySpec::EcP256, KeyUsage::SignVerify))
                .await;
            let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
            let ecdsa = SigningAlgorithm::EcdsaSha256;
            let sign = || sign(&pair, ecdsa, b"m");
            let signature = bench.run(sign()).await.unwrap().bytes;
            token.take_out();
            let away = Some(ErrorKind::HsmUnavailable);
            assert_eq!(bench.kind_of(encrypt(id(&key), b"x")).await, away);
            assert_eq!(bench.kind_of(decrypt(&blob)).await, away);
            assert_eq!(bench.kind_of(sign()).await, away);
            assert_eq!(bench.kind_of(aes()).await, away);
            let rotate = RotateKeyOnDemand { key: id(&key) };
            assert_eq!(bench.kind_of(rotate).await, away);
            // What the store knows is still so, the public half works, and so does every other key.
            let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
            assert_eq!(described.state, KeyState::Enabled);
            let verify = verify(&pair, ecdsa, b"m", &signature);
            assert!(bench.run(verify).await.unwrap().valid);
            let own = bench.run(encrypt(id(&software), b"x")).await.unwrap().blob;
            bench.run(decrypt(&own)).await.unwrap();
            token.put_back();
            let until = Instant::now() + Duration::from_secs(60);
            while bench.kind_of(decrypt(&blob)).await.is_some() {
                assert!(Instant::now() < until, "not found again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bench.run(sign()).await.unwrap();
            bench
                .run(RotateKeyOnDemand { key: id(&key) })
                .await
                .unwrap();
            bench.engine.close().await;
        });
    });
}

#[test]
fn keys_in_the_store_rotate_by_schedule_while_the_hsm_is_away() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let scheduled = |create: CreateKey| CreateKey {
                rotation_period: Some(Duration::from_secs(30 * 86_400)),
                ..create
            };
            // Those in the HSM come first.
            let mut keys = Vec::new();
            for create in [aes(), aes(), symmetric()] {
                keys.push(bench.key(scheduled(create)).await);
            }
            let rotated = async || {
                let mut rotated = Vec::new();
                for key in &keys {
                    let now = bench.run(DescribeKey { key: id(key) }).await.unwrap();
                    rotated.push(now.primary != key.primary);
                }
                rotated
            };
            let later = now() + SignedDuration::from_hours(24 * 31);
            token.take_out();
            bench.engine.rotate_in_hsm(later).await;
            bench.engine.do_what_is_due(later).await;
            assert_eq!(rotated().await, [false, false, true]);
            token.put_back();
            let until = Instant::now() + Duration::from_secs(60);
            while rotated().await != [true; 3] {
                assert!(Instant::now() < until, "not rotated");
                bench.engine.rotate_in_hsm(later).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_key_that_somebody_took_out_of_the_token_is_told_as_not_there_now() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench.key(aes()).await;
            let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
            let (object, class) = (object_id(key.primary.as_ref()), ObjectClass::SECRET_KEY);
            token.change(&object, class, |session, object| {
                session.destroy_object(object).unwrap();
            });
            let kind = bench.kind_of(decrypt(&blob)).await;
            assert_eq!(kind, Some(ErrorKind::HsmUnavailable));
            let looked = bench.engine.look_in_hsm().await.unwrap().unwrap();
            assert_eq!((looked.there, looked.missing.len()), (0, 1));
            bench.engine.close().await;
        });
    });
}

#[test]
fn two_servers_work_with_one_token() {
    with_token(|token| {
        on_both(async |backend| {
            let bench = Bench::with_hsm(backend, Some(hsm(token))).await;
            let other = EngineOptions {
                hsm: Some(hsm(token)),
                ..options(bench.location.clone(), TrailOptions::none())
            };
            let other = Engine::open(other).await.unwrap();
            let key = bench.key(aes()).await;
            let made = other.perform(&bench.admin, encrypt(id(&key), b"x")).await;
            let blob = made.unwrap().blob;
            assert_eq!(
                &bench.run(decrypt(&blob)).await.unwrap().plaintext[..],
                b"x"
            );
            let rotate = RotateKeyOnDemand { key: id(&key) };
            other.perform(&bench.admin, rotate).await.unwrap();
            let made = other.perform(&bench.admin, encrypt(id(&key), b"y")).await;
            let blob = made.unwrap().blob;
            let until = Instant::now() + Duration::from_secs(30);
            while bench.kind_of(decrypt(&blob)).await.is_some() {
                assert!(Instant::now() < until, "a new version is not seen");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Many at once, more than the token has sessions.
            let engines = [&bench.engine, &other];
            let many = (0..64_usize).map(|at| {
                let (engine, admin) = (Arc::clone(engines[at % 2]), bench.admin.clone());
                let key = id(&key);
                tokio::spawn(async move {
                    let text = at.to_be_bytes();
                    let made = engine.perform(&admin, encrypt(key, &text)).await.unwrap();
                    let opened = engine.perform(&admin, decrypt(&made.blob)).await.unwrap();
                    assert_eq!(&opened.plaintext[..], text);
                })
            });
            for one in many.collect::<Vec<_>>() {
                one.await.unwrap();
            }
            other.close().await;
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_server_without_the_hsm_says_so() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let key = bench.key(aes()).await;
            let pair = bench
                .key(in_hsm(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt))
                .await;
            let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
            let without = bench.another().await;
            let kind = async |operation: Decrypt| {
                let refused = without.perform(&bench.admin, operation).await;
                refused.unwrap_err().kind()
            };
            assert_eq!(kind(decrypt(&blob)).await, ErrorKind::HsmUnavailable);
            let create = without.perform(&bench.admin, aes()).await.unwrap_err();
            assert_eq!(create.kind(), ErrorKind::UnsupportedProtection);
            // What it cannot rotate it leaves to those who can, without a line every time.
            let update = UpdateRotation {
                key: id(&key),
                period: Some(Duration::from_secs(30 * 86_400)),
            };
            bench.run(update).await.unwrap();
            let later = now() + SignedDuration::from_hours(24 * 31);
            without.do_what_is_due(later).await;
            let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
            assert_eq!(described.primary, key.primary);
            bench.engine.rotate_in_hsm(later).await;
            let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
            assert_ne!(described.primary, key.primary);
            assert!(!without.has_hsm() && bench.engine.has_hsm());
            let public = GetPublicKey {
                key: id(&pair),
                version: None,
                dry_run: false,
            };
            without.perform(&bench.admin, public).await.unwrap();
            without.close().await;
            bench.engine.close().await;
        });
    });
}

#[test]
fn what_no_hsm_has_is_refused_before_it_is_asked() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            for create in [
                in_hsm(KeySpec::Sm4, KeyUsage::EncryptDecrypt),
                in_hsm(KeySpec::EcSm2, KeyUsage::SignVerify),
                CreateKey {
                    origin: Origin::External,
                    ..aes()
                },
            ] {
                let kind = bench.kind_of(create).await;
                assert_eq!(kind, Some(ErrorKind::UnsupportedProtection));
            }
            assert_eq!(objects(token), 0);
            bench.engine.close().await;
        });
    });
}

#[test]
fn a_backup_has_no_hsm_key_and_a_restored_service_finds_them() {
    with_token(|token| {
        on_both(async |backend| {
            let bench = Bench::with_hsm(backend, Some(hsm(token))).await;
            let key = bench.key(aes()).await;
            let pair = bench
                .key(in_hsm(KeySpec::EcP384, KeyUsage::SignVerify))
                .await;
            let blob = bench.run(encrypt(id(&key), b"hello")).await.unwrap().blob;
            let file = bench.run(Backup).await.unwrap();
            let (location, _folder) = database(Backend::Sqlite).await;
            let with = |hsm| EngineOptions {
                hsm,
                ..options(location.clone(), TrailOptions::none())
            };
            let restored = Engine::restore(with(Some(hsm(token))), &file)
                .await
                .unwrap();
            let looked = restored.look_in_hsm().await.unwrap().unwrap();
            assert_eq!((looked.there, looked.missing.len()), (2, 0));
            let opened = restored
                .perform(&bench.admin, decrypt(&blob))
                .await
                .unwrap();
            assert_eq!(&opened.plaintext[..], b"hello");
            restored.close().await;
            let without = Engine::open(with(None)).await.unwrap();
            let looked = without.look_in_hsm().await.unwrap_err();
            assert_eq!(looked.kind(), ErrorKind::UnsupportedProtection);
            let described = DescribeKey { key: id(&pair) };
            without.perform(&bench.admin, described).await.unwrap();
            without.close().await;
            bench.engine.close().await;
        });
    });
}

#[test]
fn another_public_half_in_the_store_signs_nothing() {
    with_token(|token| {
        on_sqlite(async || {
            let bench = bench(token).await;
            let create = || in_hsm(KeySpec::EcP256, KeyUsage::SignVerify);
            let (one, two) = (bench.key(create()).await, bench.key(create()).await);
            // Who can write to the database exchanges two rows; what they hold is bound to their own.
            let (a, b) = (
                one.primary.clone().unwrap().0,
                two.primary.clone().unwrap().0,
            );
            let pool = &bench.engine.store.pool;
            sqlx::query(
                "UPDATE key_version SET material = (SELECT material FROM key_version WHERE id = $1) WHERE id = $2",
            )
            .bind(&a)
            .bind(&b)
            .execute(pool)
            .await
            .unwrap();
            bench.engine.caches.clear();
            let sign = |key: &Key| sign(key, SigningAlgorithm::EcdsaSha256, b"m");
            assert_eq!(bench.kind_of(sign(&one)).await, None);
            assert_eq!(bench.kind_of(sign(&two)).await, Some(ErrorKind::Internal));
            bench.engine.close().await;
        });
    });
}

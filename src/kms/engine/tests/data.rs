//! Encrypting and decrypting, and all the ways in which that is refused.

use super::*;
use crate::kms::engine::model::KeyVersionId;
use crate::kms::engine::ops::asymmetric::{
    AsymmetricDecrypt, AsymmetricEncrypt, EncryptionAlgorithm, GenerateMac, GetPublicKey,
    MacAlgorithm, Message, Sign, SigningAlgorithm, Verify, VerifyMac,
};
use crate::kms::engine::ops::data::{
    ExportDataKey, GenerateAndExportDataKey, GenerateDataKey, GenerateDataKeyPair,
    GenerateDataKeyWithoutPlaintext, GenerateRandom, ReEncrypt,
};
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::ops::names::CreateAlias;
use crate::kms::engine::ops::versions::CreateKeyVersion;
use crate::kms::material::{Material, wrapping};

fn data_key(key: KeyRef, len: usize) -> GenerateDataKey {
    GenerateDataKey {
        key,
        len,
        context: context(&[("app", "test")]),
        dry_run: false,
    }
}

#[test]
fn what_was_encrypted_comes_back_under_the_same_context_only() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        for spec in [
            KeySpec::Aes128,
            KeySpec::Aes192,
            KeySpec::Aes256,
            KeySpec::Sm4,
        ] {
            let key = bench.key(of_spec(spec, KeyUsage::EncryptDecrypt)).await;
            let made = bench.run(encrypt(id(&key), b"hello")).await.unwrap();
            assert_eq!(
                (&made.key, Some(&made.version)),
                (&key.id, key.primary.as_ref())
            );
            let opened = bench.run(decrypt(&made.blob)).await.unwrap();
            assert_eq!((&opened.plaintext[..], opened.key), (&b"hello"[..], key.id));
            for other in [
                context(&[]),
                context(&[("app", "other")]),
                context(&[("app", "test"), ("b", "")]),
            ] {
                let wrong = Decrypt {
                    context: other,
                    ..decrypt(&made.blob)
                };
                assert_eq!(bench.kind_of(wrong).await, Some(ErrorKind::WrongContext));
            }
        }
        bench.engine.close().await;
    });
}

#[test]
fn a_blob_with_any_byte_changed_or_lost_is_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let blob = bench.run(encrypt(id(&key), b"hello")).await.unwrap().blob;
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1 << (at % 8);
            let kind = bench.kind_of(decrypt(&changed)).await;
            let is_refused = matches!(
                kind,
                Some(ErrorKind::CiphertextInvalid | ErrorKind::WrongContext)
            );
            assert!(is_refused, "byte {at}: {kind:?}");
            let named = Decrypt {
                key: Some(id(&key)),
                ..decrypt(&changed)
            };
            assert!(bench.kind_of(named).await.is_some(), "byte {at}");
        }
        for len in 0..blob.len() {
            let kind = bench.kind_of(decrypt(&blob[..len])).await;
            assert_eq!(kind, Some(ErrorKind::CiphertextInvalid), "{len} bytes");
        }
        let longer = [&blob[..], b"x"].concat();
        assert_eq!(
            bench.kind_of(decrypt(&longer)).await,
            Some(ErrorKind::CiphertextInvalid)
        );
        bench.engine.close().await;
    });
}

#[test]
fn a_ciphertext_is_of_the_key_that_is_named_or_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let [one, other] = [bench.key(symmetric()).await, bench.key(symmetric()).await];
        let create = CreateAlias {
            name: "alias/one".to_owned(),
            key: id(&one),
        };
        bench.run(create).await.unwrap();
        let blob = bench
            .run(encrypt(alias("alias/one"), b"x"))
            .await
            .unwrap()
            .blob;
        for key in [id(&one), alias("alias/one")] {
            let named = Decrypt {
                key: Some(key),
                ..decrypt(&blob)
            };
            assert_eq!(bench.kind_of(named).await, None);
        }
        let wrong = Decrypt {
            key: Some(id(&other)),
            ..decrypt(&blob)
        };
        assert_eq!(bench.kind_of(wrong).await, Some(ErrorKind::IncorrectKey));
        let missing = Decrypt {
            key: Some(alias("alias/two")),
            ..decrypt(&blob)
        };
        assert_eq!(bench.kind_of(missing).await, Some(ErrorKind::AliasNotFound));
        let missing = encrypt(KeyRef::Id(crate::kms::engine::model::KeyId(uuid())), b"x");
        assert_eq!(bench.kind_of(missing).await, Some(ErrorKind::KeyNotFound));
        bench.engine.close().await;
    });
}

#[test]
fn data_keys_are_as_long_as_asked_and_open_again() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        for len in [1, 16, 32, 1024] {
            let made = bench.run(data_key(id(&key), len)).await.unwrap();
            let plaintext = made.plaintext.unwrap();
            assert_eq!(plaintext.len(), len);
            let opened = bench.run(decrypt(&made.encrypted.blob)).await.unwrap();
            assert_eq!(opened.plaintext, plaintext);
        }
        let without = GenerateDataKeyWithoutPlaintext {
            key: id(&key),
            len: 32,
            context: context(&[("app", "test")]),
            dry_run: false,
        };
        let made = bench.run(without).await.unwrap();
        assert!(made.plaintext.is_none());
        assert_eq!(
            bench
                .run(decrypt(&made.encrypted.blob))
                .await
                .unwrap()
                .plaintext
                .len(),
            32
        );
        for len in [0, 1025] {
            let kind = bench.kind_of(data_key(id(&key), len)).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("NumberOfBytes")));
            let kind = bench.kind_of(GenerateRandom { len }).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("NumberOfBytes")));
        }
        let random = bench.run(GenerateRandom { len: 32 }).await.unwrap();
        assert_ne!(random, bench.run(GenerateRandom { len: 32 }).await.unwrap());
        bench.engine.close().await;
    });
}

#[test]
fn a_dry_run_does_nothing_and_says_whether_it_would() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let dry = Encrypt {
            dry_run: true,
            ..encrypt(id(&key), b"x")
        };
        assert_eq!(bench.kind_of(dry.clone()).await, Some(ErrorKind::DryRun));
        let stranger = bench.principal("stranger", NOTHING).await;
        let error = bench.engine.perform(&stranger, dry).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied);
        bench.engine.close().await;
    });
}

#[test]
fn ciphertexts_go_to_another_key_and_context() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let [one, other] = [bench.key(symmetric()).await, bench.key(symmetric()).await];
        let blob = bench.run(encrypt(id(&one), b"hello")).await.unwrap().blob;
        let anew = ReEncrypt {
            blob: blob.clone(),
            source: None,
            source_version: None,
            source_algorithm: None,
            source_context: context(&[("app", "test")]),
            destination: id(&other),
            destination_context: context(&[("new", "1")]),
            dry_run: false,
        };
        let made = bench.run(anew.clone()).await.unwrap();
        assert_eq!((&made.source, &made.encrypted.key), (&one.id, &other.id));
        let open = Decrypt {
            context: context(&[("new", "1")]),
            ..decrypt(&made.encrypted.blob)
        };
        assert_eq!(&bench.run(open).await.unwrap().plaintext[..], b"hello");
        let wrong = ReEncrypt {
            source_context: context(&[]),
            ..anew.clone()
        };
        assert_eq!(bench.kind_of(wrong).await, Some(ErrorKind::WrongContext));

        let rsa = bench
            .key(of_spec(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt))
            .await;
        let algorithm = EncryptionAlgorithm::RsaesOaepSha256;
        let from_rsa = ReEncrypt {
            blob: bench
                .run(asymmetric_encrypt(id(&rsa), algorithm))
                .await
                .unwrap()
                .bytes,
            source: Some(id(&rsa)),
            source_algorithm: Some(algorithm),
            source_context: context(&[]),
            ..anew
        };
        let made = bench.run(from_rsa.clone()).await.unwrap();
        let open = Decrypt {
            context: context(&[("new", "1")]),
            ..decrypt(&made.encrypted.blob)
        };
        assert_eq!(&bench.run(open).await.unwrap().plaintext[..], b"short");
        let unnamed = ReEncrypt {
            source: None,
            ..from_rsa
        };
        assert_eq!(
            bench.kind_of(unnamed).await,
            Some(ErrorKind::MissingParameter("SourceKeyId"))
        );
        bench.engine.close().await;
    });
}

fn asymmetric_encrypt(key: KeyRef, algorithm: EncryptionAlgorithm) -> AsymmetricEncrypt {
    AsymmetricEncrypt {
        key,
        version: None,
        algorithm,
        plaintext: SecretBytes::new(b"short".to_vec()),
        dry_run: false,
    }
}

#[test]
fn key_pairs_encrypt_and_each_live_version_decrypts() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let algorithm = EncryptionAlgorithm::RsaesOaepSha1;
        let key = bench
            .key(of_spec(KeySpec::Rsa2048, KeyUsage::EncryptDecrypt))
            .await;
        let beside = bench.run(CreateKeyVersion { key: id(&key) }).await.unwrap();
        assert_eq!(beside.number, 2);
        let described = bench
            .engine
            .entry(&id(&key), crate::kms::engine::service::now())
            .await;
        assert_eq!(described.unwrap().key.primary, key.primary);
        let of_version = |version| AsymmetricEncrypt {
            version,
            ..asymmetric_encrypt(id(&key), algorithm)
        };
        for version in [None, Some(beside.id.clone())] {
            let made = bench.run(of_version(version)).await.unwrap();
            let open = |version| AsymmetricDecrypt {
                key: id(&key),
                version,
                algorithm,
                ciphertext: made.bytes.clone(),
                dry_run: false,
            };
            let opened = bench.run(open(None)).await.unwrap();
            assert_eq!(
                (&opened.plaintext[..], &opened.version),
                (&b"short"[..], &made.version)
            );
            let other = if made.version == beside.id {
                key.primary.clone()
            } else {
                Some(beside.id.clone())
            };
            assert_eq!(
                bench.kind_of(open(other)).await,
                Some(ErrorKind::CiphertextInvalid)
            );
        }
        let missing = of_version(Some(KeyVersionId(uuid())));
        assert_eq!(
            bench.kind_of(missing).await,
            Some(ErrorKind::KeyVersionNotFound)
        );
        bench.engine.close().await;
    });
}

#[test]
fn key_pairs_sign_and_hmac_keys_authenticate() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        for (spec, algorithm) in [
            (KeySpec::EcP256, SigningAlgorithm::EcdsaSha256),
            (KeySpec::EcSm2, SigningAlgorithm::Sm2Dsa),
            (KeySpec::Rsa2048, SigningAlgorithm::RsaPssSha256),
        ] {
            let key = bench.key(of_spec(spec, KeyUsage::SignVerify)).await;
            let sign = Sign {
                key: id(&key),
                version: None,
                algorithm,
                message: Message::Raw(b"m".to_vec()),
                dry_run: false,
            };
            let signature = bench.run(sign).await.unwrap().bytes;
            for (message, valid) in [(b"m", true), (b"n", false)] {
                let verify = Verify {
                    key: id(&key),
                    version: None,
                    algorithm,
                    message: Message::Raw(message.to_vec()),
                    signature: signature.clone(),
                    dry_run: false,
                };
                assert_eq!(bench.run(verify).await.unwrap().valid, valid);
            }
            let public = GetPublicKey {
                key: id(&key),
                version: None,
                dry_run: false,
            };
            assert!(bench.run(public).await.unwrap().der.len() > 80);
            assert_eq!(
                bench.kind_of(encrypt(id(&key), b"x")).await,
                Some(ErrorKind::KeyUsage)
            );
        }
        let key = bench
            .key(of_spec(KeySpec::Hmac256, KeyUsage::GenerateVerifyMac))
            .await;
        let make = GenerateMac {
            key: id(&key),
            algorithm: MacAlgorithm::HmacSha256,
            message: b"m".to_vec(),
            dry_run: false,
        };
        let mac = bench.run(make).await.unwrap().bytes;
        for (message, valid) in [(b"m", true), (b"n", false)] {
            let verify = VerifyMac {
                key: id(&key),
                algorithm: MacAlgorithm::HmacSha256,
                message: message.to_vec(),
                mac: mac.clone(),
                dry_run: false,
            };
            assert_eq!(bench.run(verify).await.unwrap().valid, valid);
        }
        let public = GetPublicKey {
            key: id(&key),
            version: None,
            dry_run: false,
        };
        assert_eq!(bench.kind_of(public).await, Some(ErrorKind::KeyUsage));
        bench.engine.close().await;
    });
}

#[test]
fn data_keys_leave_under_public_keys() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let owner = Material::generate(KeySpec::Rsa2048).unwrap();
        let algorithm = ExportAlgorithm::RsaesOaepSha256;
        let make = GenerateAndExportDataKey {
            key: id(&key),
            len: 32,
            context: context(&[("app", "test")]),
            public_key: owner.public_key_der().unwrap().to_vec(),
            algorithm,
            dry_run: false,
        };
        let made = bench.run(make).await.unwrap();
        let blob = made.blob.unwrap();
        let opened = bench.run(decrypt(&blob)).await.unwrap().plaintext;
        let export = ExportDataKey {
            blob,
            context: context(&[("app", "test")]),
            data_key: Some,
            public_key: owner.public_key_der().unwrap().to_vec(),
            algorithm,
            dry_run: false,
        };
        let no_key = ExportDataKey {
            data_key: |_decrypted| None,
            ..export.clone()
        };
        assert_eq!(
            bench.kind_of(no_key).await,
            Some(ErrorKind::InvalidParameter("CiphertextBlob"))
        );
        let again = bench.run(export).await.unwrap();
        for exported in [made.exported, again.exported] {
            let own = wrapping::unwrap(&owner, algorithm, &exported, KeySpec::Aes256).unwrap();
            assert_eq!(own.secret(), &opened[..]);
        }
        let pair = GenerateDataKeyPair {
            key: id(&key),
            pair: KeySpec::EcP256,
            context: context(&[("app", "test")]),
            with_private: true,
            dry_run: false,
        };
        let made = bench.run(pair.clone()).await.unwrap();
        let opened = bench.run(decrypt(&made.encrypted.blob)).await.unwrap();
        assert_eq!(Some(opened.plaintext), made.private);
        let hidden = GenerateDataKeyPair {
            with_private: false,
            ..pair
        };
        assert!(bench.run(hidden).await.unwrap().private.is_none());
        bench.engine.close().await;
    });
}

//! Rotation, versions that are disabled, and the census.

use std::time::Duration;

use super::*;
use crate::kms::engine::model::VersionCause;
use crate::kms::engine::ops::admin::GetKeyUse;
use crate::kms::engine::ops::keys::{DescribeKey, ListKeys};
use crate::kms::engine::ops::versions::{
    CreateKeyVersion, DescribeKeyVersion, GetKeyRotationStatus, ListKeyRotations, ListKeyVersions,
    RotateKeyOnDemand, SetKeyVersionEnabled, UpdateRotation,
};

const DAY: u64 = 24 * 60 * 60;

#[test]
fn the_newest_version_encrypts_and_each_live_one_decrypts() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let old = bench.run(encrypt(id(&key), b"old")).await.unwrap();
        bench
            .run(RotateKeyOnDemand { key: id(&key) })
            .await
            .unwrap();
        let new = bench.run(encrypt(id(&key), b"new")).await.unwrap();
        assert_ne!(old.version, new.version);
        for (made, text) in [(&old, b"old"), (&new, b"new")] {
            assert_eq!(
                &bench.run(decrypt(&made.blob)).await.unwrap().plaintext[..],
                text
            );
        }
        let listed = bench
            .run(ListKeyVersions {
                key: id(&key),
                page: ALL,
            })
            .await
            .unwrap();
        let numbers: Vec<_> = listed
            .items
            .iter()
            .map(|version| (version.number, version.cause))
            .collect();
        assert_eq!(
            numbers,
            [(2, VersionCause::OnDemand), (1, VersionCause::Creation)]
        );
        let rotations = bench
            .run(ListKeyRotations {
                key: id(&key),
                page: ALL,
            })
            .await
            .unwrap();
        assert_eq!(rotations.items, listed.items[..1]);
        let one = DescribeKeyVersion {
            key: id(&key),
            version: old.version.clone(),
        };
        assert_eq!(bench.run(one).await.unwrap(), listed.items[1]);

        let set = |version, enabled| SetKeyVersionEnabled {
            key: id(&key),
            version,
            enabled,
        };
        let primary = bench.kind_of(set(new.version.clone(), false)).await;
        assert_eq!(primary, Some(ErrorKind::UnsupportedOperation));
        bench.run(set(old.version.clone(), false)).await.unwrap();
        assert_eq!(
            bench.kind_of(decrypt(&old.blob)).await,
            Some(ErrorKind::KeyVersionDisabled)
        );
        assert_eq!(bench.kind_of(decrypt(&new.blob)).await, None);
        bench.run(set(old.version.clone(), true)).await.unwrap();
        assert_eq!(bench.kind_of(decrypt(&old.blob)).await, None);
        bench.engine.close().await;
    });
}

#[test]
fn the_census_says_what_is_under_each_version() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
        bench
            .run(RotateKeyOnDemand { key: id(&key) })
            .await
            .unwrap();
        for _ in 0..3 {
            bench.run(encrypt(id(&key), b"x")).await.unwrap();
        }
        bench.run(decrypt(&blob)).await.unwrap();
        let uses = bench.run(GetKeyUse { key: id(&key) }).await.unwrap();
        let counts: Vec<_> = uses
            .iter()
            .map(|one| (one.number, one.produced, one.opened))
            .collect();
        assert_eq!(counts, [(2, 3, 0), (1, 1, 1)]);
        assert!(uses.iter().all(|one| one.last_used.is_some()));
        bench.engine.close().await;
    });
}

#[test]
fn what_does_not_rotate_is_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let external = CreateKey {
            origin: Origin::External,
            ..symmetric()
        };
        let rsa = bench
            .key(of_spec(KeySpec::EcP256, KeyUsage::SignVerify))
            .await;
        let hmac = bench
            .key(of_spec(KeySpec::Hmac256, KeyUsage::GenerateVerifyMac))
            .await;
        for key in [&rsa, &hmac] {
            let kind = bench.kind_of(RotateKeyOnDemand { key: id(key) }).await;
            assert_eq!(kind, Some(ErrorKind::UnsupportedOperation));
            let update = UpdateRotation {
                key: id(key),
                period: Some(Duration::from_secs(30 * DAY)),
            };
            assert_eq!(
                bench.kind_of(update).await,
                Some(ErrorKind::UnsupportedOperation)
            );
        }
        let kind = bench.kind_of(CreateKeyVersion { key: id(&hmac) }).await;
        assert_eq!(kind, Some(ErrorKind::UnsupportedOperation));
        let rotating = CreateKey {
            rotation_period: Some(Duration::from_secs(30 * DAY)),
            ..external
        };
        assert_eq!(
            bench.kind_of(rotating).await,
            Some(ErrorKind::UnsupportedOrigin)
        );
        let key = bench.key(symmetric()).await;
        for days in [0, 6, 2561] {
            let update = UpdateRotation {
                key: id(&key),
                period: Some(Duration::from_secs(days * DAY)),
            };
            let kind = bench.kind_of(update).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("RotationInterval")));
        }
        let hsm = CreateKey {
            protection: ProtectionLevel::Hsm,
            ..symmetric()
        };
        assert_eq!(
            bench.kind_of(hsm).await,
            Some(ErrorKind::UnsupportedProtection)
        );
        for (spec, usage) in [
            (KeySpec::Aes256, KeyUsage::SignVerify),
            (KeySpec::EcP256, KeyUsage::EncryptDecrypt),
            (KeySpec::Hmac256, KeyUsage::SignVerify),
            (KeySpec::Rsa2048, KeyUsage::GenerateVerifyMac),
        ] {
            let kind = bench.kind_of(of_spec(spec, usage)).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("KeyUsage")));
        }
        bench.engine.close().await;
    });
}

/// Who may turn it on may not turn it off for that, and the other way round.
#[test]
fn rotation_is_allowed_by_what_is_asked_of_it() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let update = |on: bool| UpdateRotation {
            key: id(&key),
            period: on.then_some(Duration::from_secs(30 * DAY)),
        };
        for (name, action, may_enable, may_disable) in [
            ("on", "EnableKeyRotation", true, false),
            ("off", "DisableKeyRotation", false, true),
            ("both", "UpdateRotationPolicy", true, true),
            ("neither", "RotateKeyOnDemand", false, false),
        ] {
            let policy = format!(
                r#"{{"Statement":[{{"Effect":"Allow","Action":"kms:{action}","Resource":"*"}}]}}"#
            );
            let who = bench.principal(name, &policy).await;
            for (on, may) in [(true, may_enable), (false, may_disable)] {
                let done = bench.engine.perform(&who, update(on)).await;
                let kind = done.err().map(|error| error.kind());
                let wanted = (!may).then_some(ErrorKind::AccessDenied);
                assert_eq!(kind, wanted, "{action}, {on}");
            }
        }
        bench.engine.close().await;
    });
}

#[test]
fn a_schedule_is_told_and_taken_away() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let period = Duration::from_secs(30 * DAY);
        let key = bench
            .key(CreateKey {
                rotation_period: Some(period),
                ..symmetric()
            })
            .await;
        let status = || GetKeyRotationStatus { key: id(&key) };
        let rotation = bench.run(status()).await.unwrap().rotation;
        assert_eq!((rotation.enabled, rotation.period), (true, Some(period)));
        let wait = rotation.next.unwrap().duration_since(key.created);
        assert_eq!(wait.as_hours(), 30 * 24);
        bench
            .run(UpdateRotation {
                key: id(&key),
                period: None,
            })
            .await
            .unwrap();
        let rotation = bench.run(status()).await.unwrap().rotation;
        assert_eq!(
            (rotation.enabled, rotation.period, rotation.next),
            (false, None, None)
        );
        let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
        assert_eq!(described.rotation, rotation);
        bench.engine.close().await;
    });
}

#[test]
fn lists_come_in_pages_and_filtered() {
    use crate::kms::engine::model::{KeyState, PageRequest};
    use crate::kms::engine::ops::keys::{DisableKey, KeyFilter};
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let mut keys = Vec::new();
        for _ in 0..5 {
            keys.push(bench.key(symmetric()).await);
        }
        bench.run(DisableKey { key: id(&keys[1]) }).await.unwrap();
        let list = |filter, offset, limit| ListKeys {
            filter,
            page: PageRequest { offset, limit },
        };
        let mut seen = Vec::new();
        let mut offset = Some(0);
        while let Some(at) = offset {
            let page = bench.run(list(KeyFilter::default(), at, 2)).await.unwrap();
            assert_eq!(page.total, 5);
            offset = page.next_offset();
            seen.extend(page.items.into_iter().map(|key| key.id));
        }
        let mut wanted: Vec<_> = keys
            .iter()
            .map(|key| (key.created, key.id.clone()))
            .collect();
        wanted.sort();
        assert_eq!(
            seen,
            wanted.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        );
        let disabled = KeyFilter {
            states: Some(vec![KeyState::Disabled]),
            specs: Some(vec![KeySpec::Aes256, KeySpec::Sm4]),
            ..KeyFilter::default()
        };
        let page = bench.run(list(disabled, 0, 10)).await.unwrap();
        assert_eq!(
            page.items.iter().map(|key| &key.id).collect::<Vec<_>>(),
            [&keys[1].id]
        );
        let none = KeyFilter {
            specs: Some(Vec::new()),
            ..KeyFilter::default()
        };
        assert_eq!(bench.run(list(none, 0, 10)).await.unwrap().total, 0);
        let hostile = KeyFilter {
            creators: Some(vec!["' OR 1 = 1 --".to_owned()]),
            ..KeyFilter::default()
        };
        assert_eq!(bench.run(list(hostile, 0, 10)).await.unwrap().total, 0);
        for limit in [0, 1001] {
            let kind = bench.kind_of(list(KeyFilter::default(), 0, limit)).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("PageSize")));
        }
        bench.engine.close().await;
    });
}

//! What is done when its time has come.

use std::time::Duration;

use jiff::SignedDuration;

use super::import::{external, import_into};
use super::*;
use crate::kms::engine::model::{KeyState, VersionCause};
use crate::kms::engine::ops::keys::{DescribeKey, DisableKey, ScheduleKeyDeletion};
use crate::kms::engine::ops::names::CreateAlias;
use crate::kms::engine::ops::versions::ListKeyVersions;
use crate::kms::engine::service::now;

fn in_days(days: i64) -> jiff::Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

#[test]
fn keys_rotate_when_their_time_has_come_and_no_sooner() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let period = Some(Duration::from_secs(30 * 24 * 3600));
        let key = bench
            .key(CreateKey {
                rotation_period: period,
                ..symmetric()
            })
            .await;
        let disabled = bench
            .key(CreateKey {
                rotation_period: period,
                ..symmetric()
            })
            .await;
        bench.run(DisableKey { key: id(&disabled) }).await.unwrap();
        let old = bench.run(encrypt(id(&key), b"x")).await.unwrap();
        let versions = async |key: &Key| {
            let list = ListKeyVersions {
                key: id(key),
                page: ALL,
            };
            bench.run(list).await.unwrap().items
        };
        bench.engine.do_what_is_due(in_days(29)).await;
        assert_eq!(versions(&key).await.len(), 1);
        for _ in 0..2 {
            // The second time nothing is due any more.
            bench.engine.do_what_is_due(in_days(31)).await;
            let made = versions(&key).await;
            assert_eq!((made.len(), made[0].cause), (2, VersionCause::Schedule));
        }
        assert_eq!(versions(&disabled).await.len(), 1);
        let new = bench.run(encrypt(id(&key), b"x")).await.unwrap();
        assert_ne!(new.version, old.version);
        assert_eq!(bench.kind_of(decrypt(&old.blob)).await, None);
        let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
        assert!(described.rotation.next.unwrap() > in_days(60));
        bench.engine.close().await;
    });
}

#[test]
fn nothing_is_left_of_a_key_that_was_destroyed() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        bench
            .run(CreateAlias {
                name: "alias/a".to_owned(),
                key: id(&key),
            })
            .await
            .unwrap();
        let blob = bench
            .run(encrypt(alias("alias/a"), b"x"))
            .await
            .unwrap()
            .blob;
        bench
            .run(ScheduleKeyDeletion {
                key: id(&key),
                days: 7,
            })
            .await
            .unwrap();
        bench.engine.do_what_is_due(in_days(6)).await;
        assert_eq!(bench.kind_of(DescribeKey { key: id(&key) }).await, None);
        bench.engine.do_what_is_due(in_days(8)).await;
        assert_eq!(
            bench.kind_of(DescribeKey { key: id(&key) }).await,
            Some(ErrorKind::KeyNotFound)
        );
        assert_eq!(
            bench
                .kind_of(DescribeKey {
                    key: alias("alias/a")
                })
                .await,
            Some(ErrorKind::AliasNotFound)
        );
        assert_eq!(
            bench.kind_of(decrypt(&blob)).await,
            Some(ErrorKind::CiphertextInvalid)
        );
        assert!(
            bench
                .engine
                .store
                .versions(&key.id)
                .await
                .unwrap()
                .is_empty()
        );
        let dump = bench.engine.store.dump().await.unwrap();
        assert!(!dump.contains(&key.id.0), "{dump}");
        bench.engine.close().await;
    });
}

#[test]
fn a_key_whose_time_is_over_is_gone_before_it_was_cleared_away() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        bench
            .run(ScheduleKeyDeletion {
                key: id(&key),
                days: 7,
            })
            .await
            .unwrap();
        let found = bench.engine.entry(&id(&key), in_days(8)).await;
        assert_eq!(found.unwrap_err().kind(), ErrorKind::KeyNotFound);
        bench.engine.close().await;
    });
}

#[test]
fn imported_material_is_forgotten_at_its_time() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(external()).await;
        import_into(&bench, &key, &[7; 32], Some(in_days(1)))
            .await
            .unwrap();
        let entry = bench.engine.entry(&id(&key), now()).await.unwrap();
        assert_eq!(entry.state(now()), KeyState::Enabled);
        assert_eq!(
            entry.state(in_days(2)),
            KeyState::PendingImport,
            "whether or not it was cleared away"
        );
        bench.engine.do_what_is_due(in_days(2)).await;
        let stored = bench.engine.store.versions(&key.id).await.unwrap();
        assert!(stored.iter().all(|version| version.material.is_none()));
        let kind = bench.kind_of(encrypt(id(&key), b"x")).await;
        assert_eq!(kind, Some(ErrorKind::KeyPendingImport));
        import_into(&bench, &key, &[7; 32], None).await.unwrap();
        assert_eq!(bench.kind_of(encrypt(id(&key), b"x")).await, None);
        bench.engine.close().await;
    });
}

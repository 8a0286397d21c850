//! Backup and restore, from either database into either.

use super::*;
use crate::kms::engine::OpenError;
use crate::kms::engine::backup::{Backup, BackupError};
use crate::kms::engine::model::Tag;
use crate::kms::engine::ops::access::CreateGrant;
use crate::kms::engine::ops::names::{CreateAlias, ListResourceTags, TagResource};
use crate::kms::engine::ops::versions::RotateKeyOnDemand;

#[test]
fn a_backup_of_one_database_is_restored_into_the_other() {
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
        let tags = vec![Tag {
            key: "b:t:\n\"".to_owned(),
            value: String::new(),
        }];
        bench
            .run(TagResource {
                key: id(&key),
                tags: tags.clone(),
            })
            .await
            .unwrap();
        let grant = CreateGrant {
            key: id(&key),
            name: None,
            grantee: "app".to_owned(),
            retiring: None,
            operations: vec!["Decrypt".to_owned()],
            constraint: None,
            dry_run: false,
        };
        bench.run(grant).await.unwrap();
        let blob = bench.run(encrypt(id(&key), b"hello")).await.unwrap().blob;
        let file = bench.run(Backup).await.unwrap();
        let secret = bench.access_key.secret.as_bytes();
        assert!(!file.windows(secret.len()).any(|part| part == secret));

        for into in [Backend::Sqlite, Backend::Postgres] {
            let (location, _folder) = database(into).await;
            let options = || options(location.clone(), TrailOptions::none());
            let restored = Engine::restore(options(), &file).await.unwrap();
            let app = caller("app");
            let opened = restored.perform(&app, decrypt(&blob)).await.unwrap();
            assert_eq!(&opened.plaintext[..], b"hello");
            let list = ListResourceTags {
                key: alias("alias/a"),
                page: ALL,
            };
            let listed = restored.perform(&bench.admin, list).await.unwrap();
            assert_eq!(listed.items, tags);
            let credential = restored
                .credential(&bench.access_key.id)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(credential.secret(), secret);
            assert_eq!(restored.service_id(), bench.engine.service_id());
            restored.perform(&bench.admin, symmetric()).await.unwrap();
            let again = Engine::restore(options(), &file).await;
            assert!(matches!(again, Err(OpenError::AlreadyThere)));
            restored.close().await;
        }
        bench.engine.close().await;
    });
}

/// From SQLite to PostgreSQL and back, and the trail goes on in its file all the way.
#[test]
fn a_service_that_moves_to_the_other_database_and_back_is_the_same_and_its_trail_goes_on() {
    on_both(async |backend| {
        let there = match backend {
            Backend::Postgres => Backend::Sqlite,
            Backend::Sqlite => Backend::Postgres,
        };
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let mut blobs = vec![bench.run(encrypt(id(&key), b"0")).await.unwrap().blob];
        let mut file = bench.run(Backup).await.unwrap();
        let root = bench.engine.root.audit().unwrap();
        let service = bench.engine.service_id().to_owned();
        assert!(bench.engine.close().await);
        for (step, into) in (1_u8..).zip([there, backend, there]) {
            let (location, _folder) = database(into).await;
            let trail = TrailOptions {
                file: Some(bench.audit_file()),
                when_full: WhenFull::Fail,
            };
            let engine = Engine::restore(options(location, trail), &file)
                .await
                .unwrap();
            for (at, blob) in (b'0'..).zip(&blobs) {
                let opened = engine.perform(&bench.admin, decrypt(blob)).await.unwrap();
                assert_eq!(&opened.plaintext[..], [at]);
            }
            let rotate = RotateKeyOnDemand { key: id(&key) };
            engine.perform(&bench.admin, rotate).await.unwrap();
            let next = encrypt(id(&key), &[b'0' + step]);
            blobs.push(engine.perform(&bench.admin, next).await.unwrap().blob);
            file = engine.perform(&bench.admin, Backup).await.unwrap();
            assert!(engine.close().await);
        }
        let text = std::fs::read(bench.audit_file()).unwrap();
        let mut verifier = crate::audit::Verifier::new(None).with_seals(root, service);
        verifier.read("audit.log", &text[..]).unwrap();
        let report = verifier.finish();
        assert!(report.intact && report.findings.is_empty(), "{report:?}");
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.matches("session-start").count(), 4);
        assert_eq!(text.matches("\"action\":\"RotateKeyOnDemand\"").count(), 3);
    });
}

#[test]
fn a_backup_that_was_changed_is_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let file = bench.run(Backup).await.unwrap();
        let (location, _folder) = database(Backend::Sqlite).await;
        let restore = async |file: &[u8]| {
            Engine::restore(options(location.clone(), TrailOptions::none()), file).await
        };
        let lines = file.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let header = lines.map(|(at, _)| at).nth(1).unwrap();
        for at in [
            0,
            20,
            30,
            header / 2,
            header,
            file.len() - 1,
            file.len() - 30,
        ] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(restore(&changed).await.is_err(), "byte {at}");
        }
        for len in [0, 10, header, file.len() - 1] {
            assert!(restore(&file[..len]).await.is_err(), "{len} bytes");
        }
        let error = restore(b"something else").await.unwrap_err();
        assert!(matches!(error, OpenError::Backup(BackupError::NoBackup)));
        restore(&file).await.unwrap().close().await;
        bench.engine.close().await;
    });
}

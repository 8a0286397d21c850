//! Backup and restore, from either database into either.

use super::*;
use crate::kms::engine::OpenError;
use crate::kms::engine::backup::{Backup, BackupError};
use crate::kms::engine::model::Tag;
use crate::kms::engine::ops::access::CreateGrant;
use crate::kms::engine::ops::names::{CreateAlias, ListResourceTags, TagResource};

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

//! The store by itself, on both databases.

use jiff::{SignedDuration, Timestamp};

use super::testing::{database, on_both};
use super::{Backend, Change, ChangeKind, Location, Store, StoreError};
use crate::kms::engine::model::{
    Key, KeyId, KeySpec, KeyState, KeyUsage, Origin, ProtectionLevel, Rotation,
};
use crate::kms::store::keys::KeyRecord;

fn record(id: &str) -> KeyRecord {
    let key = Key {
        id: KeyId(id.to_owned()),
        description: "ä'\"; DROP TABLE kms_key; --\n".to_owned(),
        spec: KeySpec::Aes256,
        usage: KeyUsage::EncryptDecrypt,
        origin: Origin::Service,
        protection: ProtectionLevel::Software,
        state: KeyState::Enabled,
        created: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        creator: "alice".to_owned(),
        deletion: None,
        material_expires: None,
        primary: None,
        rotation: Rotation::default(),
        deletion_protection: None,
    };
    KeyRecord {
        key,
        revision: 1,
        policy: "{}".to_owned(),
    }
}

async fn insert(store: &Store, id: &str) -> Result<(), StoreError> {
    let mut write = store.write().await?;
    write.insert_key(&record(id)).await?;
    write.commit().await?;
    Ok(())
}

fn changed(name: &str) -> Change {
    Change {
        kind: ChangeKind::Key,
        name: name.to_owned(),
    }
}

#[test]
fn rows_come_back_as_they_were_written() {
    on_both(async |backend| {
        let (location, _folder) = database(backend).await;
        let store = Store::open(location, true).await.unwrap();
        insert(&store, "a").await.unwrap();
        let id = KeyId("a".to_owned());
        assert_eq!(store.key(&id).await.unwrap(), Some(record("a")));
        assert!(matches!(insert(&store, "a").await, Err(StoreError::Exists)));
        assert_eq!(store.key(&KeyId("b".to_owned())).await.unwrap(), None);
        store.close().await;
    });
}

#[test]
fn what_was_not_committed_never_was() {
    on_both(async |backend| {
        let (location, _folder) = database(backend).await;
        let store = Store::open(location, true).await.unwrap();
        let mut write = store.write().await.unwrap();
        write.insert_key(&record("a")).await.unwrap();
        drop(write);
        assert_eq!(store.key(&KeyId("a".to_owned())).await.unwrap(), None);
        assert_eq!(store.change_number().await.unwrap(), 0);
        insert(&store, "a").await.unwrap();
        assert_eq!(store.change_number().await.unwrap(), 1);
        store.close().await;
    });
}

#[test]
fn an_old_record_is_not_written_over_a_new_one() {
    on_both(async |backend| {
        let (location, _folder) = database(backend).await;
        let store = Store::open(location, true).await.unwrap();
        insert(&store, "a").await.unwrap();
        let old = store.key(&KeyId("a".to_owned())).await.unwrap().unwrap();
        let mut write = store.write().await.unwrap();
        write.update_key(&old).await.unwrap();
        write.commit().await.unwrap();
        let mut write = store.write().await.unwrap();
        assert!(matches!(
            write.update_key(&old).await,
            Err(StoreError::Raced)
        ));
        drop(write);
        store.close().await;
    });
}

#[test]
fn changes_are_told_in_their_order_or_as_too_many() {
    on_both(async |backend| {
        let (location, _folder) = database(backend).await;
        let store = Store::open(location, true).await.unwrap();
        let begin = store.changes_since(0).await.unwrap();
        assert_eq!((begin.seq, begin.list), (0, Some(Vec::new())));
        for name in ["a", "b", "c"] {
            insert(&store, name).await.unwrap();
        }
        let all = store.changes_since(0).await.unwrap();
        assert_eq!(
            all.list,
            Some(vec![changed("a"), changed("b"), changed("c")])
        );
        let last = store.changes_since(2).await.unwrap();
        assert_eq!((last.seq, last.list), (3, Some(vec![changed("c")])));
        store.drop_old_changes(Timestamp::now()).await.unwrap();
        assert!(store.changes_since(0).await.unwrap().list.is_some());
        let later = Timestamp::now() + SignedDuration::from_hours(2);
        store.drop_old_changes(later).await.unwrap();
        assert_eq!(
            store.changes_since(0).await.unwrap().list,
            None,
            "they are gone"
        );
        assert_eq!(
            store.changes_since(9).await.unwrap().list,
            None,
            "the store was put back"
        );
        assert_eq!(store.changes_since(3).await.unwrap().list, Some(Vec::new()));
        store.close().await;
    });
}

#[test]
fn a_store_is_opened_where_it_is_and_made_only_when_asked() {
    on_both(async |backend| {
        if backend == Backend::Postgres {
            let nowhere = Location::Postgres("postgres://x@localhost/x?host=/nowhere".to_owned());
            let error = Store::open(nowhere, true).await.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
            return;
        }
        let (location, _folder) = database(backend).await;
        let error = Store::open(location.clone(), false).await.unwrap_err();
        assert!(error.to_string().contains("init"), "{error}");
        Store::open(location.clone(), true)
            .await
            .unwrap()
            .close()
            .await;
        let Location::Sqlite(path) = &location else {
            unreachable!("asked for SQLite")
        };
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        Store::open(location, false).await.unwrap().close().await;
    });
}

#[test]
fn a_password_is_in_no_debug_text() {
    let location: Location = "postgres://u:secret@h/d".parse().unwrap();
    assert!(!format!("{location:?}").contains("secret"));
    assert_eq!(location.backend(), Backend::Postgres);
    let location: Location = "/var/lib/envelopekms/store.db".parse().unwrap();
    assert_eq!(location.backend(), Backend::Sqlite);
}

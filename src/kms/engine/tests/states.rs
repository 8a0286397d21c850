//! What each state of a key lets be done: the table of "Impact of CMK states on API call" (Alibaba Cloud KMS), row by
//! row, and what that table leaves out as AWS KMS has it ("Key states of AWS KMS keys").

use super::import::{external, import_into};
use super::*;
use crate::kms::engine::model::KeyState::{
    self, Disabled, Enabled, PendingDeletion, PendingImport,
};
use crate::kms::engine::model::{KeyId, Tag};
use crate::kms::engine::ops::access::{CreateGrant, GetKeyPolicy, ListGrants, PutKeyPolicy};
use crate::kms::engine::ops::data::{GenerateDataKey, GenerateDataKeyWithoutPlaintext, ReEncrypt};
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::ops::import::{
    DeleteKeyMaterial, GetParametersForImport, ImportKeyMaterial, WrappingKeySpec,
};
use crate::kms::engine::ops::keys::{
    CancelKeyDeletion, DescribeKey, DisableKey, EnableKey, ScheduleKeyDeletion,
    SetDeletionProtection, UpdateKeyDescription,
};
use crate::kms::engine::ops::names::{
    CreateAlias, DeleteAlias, ListAliases, ListResourceTags, TagResource, UntagResource,
    UpdateAlias,
};
use crate::kms::engine::ops::versions::{GetKeyRotationStatus, ListKeyVersions};
use crate::kms::engine::service::now;

const STATES: [KeyState; 4] = [Enabled, Disabled, PendingDeletion, PendingImport];

/// What comes of a call in each of [`STATES`]; `None` where the state is no reason to refuse it.
type Row = [Option<ErrorKind>; 4];

const ALWAYS: Row = [None; 4];
const USE: Row = [
    None,
    Some(ErrorKind::KeyDisabled),
    Some(ErrorKind::KeyPendingDeletion),
    Some(ErrorKind::KeyPendingImport),
];
const ENABLE: Row = [
    None,
    None,
    Some(ErrorKind::InvalidState),
    Some(ErrorKind::InvalidState),
];
const CHANGE: Row = [None, None, Some(ErrorKind::InvalidState), None];
const CANCEL: Row = [
    Some(ErrorKind::InvalidState),
    Some(ErrorKind::InvalidState),
    None,
    Some(ErrorKind::InvalidState),
];
const TARGET: Row = [None, None, Some(ErrorKind::KeyPendingDeletion), None];

struct Table {
    bench: Bench,
    key: KeyId,
    /// As it was when the material was there.
    material: Option<Vec<u8>>,
}

impl Table {
    /// Puts the key into a state, whatever it was in.
    async fn put(&self, state: KeyState) {
        let engine = &self.bench.engine;
        let mut write = engine.store.write().await.unwrap();
        let mut record = write.key(&self.key).await.unwrap().unwrap();
        let version = write
            .versions(&self.key)
            .await
            .unwrap()
            .remove(0)
            .version
            .id;
        let material = self.material.clone().filter(|_| state != PendingImport);
        write
            .set_material(&self.key, &version, material)
            .await
            .unwrap();
        record.key.state = state;
        record.key.deletion =
            (state == PendingDeletion).then(|| now() + jiff::SignedDuration::from_hours(24));
        record.key.deletion_protection = None;
        write.update_key(&record).await.unwrap();
        engine.commit(write).await.unwrap();
    }

    /// One row. `refused` is what is wrong with the call itself, if something is: it is seen only where the state does
    /// not refuse it first.
    async fn row<O: Operation>(
        &self,
        row: Row,
        refused: Option<ErrorKind>,
        operation: impl Fn() -> O,
    ) {
        for (state, wanted) in STATES.into_iter().zip(row) {
            self.put(state).await;
            let kind = self.bench.kind_of(operation()).await;
            assert_eq!(
                kind,
                wanted.or(refused),
                "{} on a key that is {state:?}",
                O::ACTION
            );
        }
    }
}

#[test]
fn the_whole_table_holds() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(external()).await;
        import_into(&bench, &key, &[7; 32], None).await.unwrap();
        let blob = bench.run(encrypt(id(&key), b"x")).await.unwrap().blob;
        let versions = bench.engine.store.versions(&key.id).await.unwrap();
        let other = bench.key(symmetric()).await;
        let other_blob = bench.run(encrypt(id(&other), b"x")).await.unwrap().blob;
        for name in ["alias/mine", "alias/gone"] {
            let key = if name == "alias/mine" {
                id(&key)
            } else {
                id(&other)
            };
            bench
                .run(CreateAlias {
                    name: name.to_owned(),
                    key,
                })
                .await
                .unwrap();
        }
        let table = Table {
            material: versions[0].material.clone(),
            key: key.id.clone(),
            bench,
        };
        uses(&table, &blob, &other_blob, &other).await;
        changes(&table).await;
        reads(&table).await;
        aliases(&table).await;
        table.bench.engine.close().await;
    });
}

async fn uses(table: &Table, blob: &[u8], other_blob: &[u8], other: &Key) {
    let key = || KeyRef::Id(table.key.clone());
    let with = || context(&[("app", "test")]);
    table.row(USE, None, || encrypt(key(), b"x")).await;
    table
        .row(USE, None, || encrypt(alias("alias/mine"), b"x"))
        .await;
    table.row(USE, None, || decrypt(blob)).await;
    table
        .row(USE, None, || GenerateDataKey {
            key: key(),
            len: 32,
            context: with(),
            dry_run: false,
        })
        .await;
    table
        .row(USE, None, || GenerateDataKeyWithoutPlaintext {
            key: key(),
            len: 32,
            context: with(),
            dry_run: false,
        })
        .await;
    table
        .row(USE, Some(ErrorKind::DryRun), || Encrypt {
            dry_run: true,
            ..encrypt(key(), b"x")
        })
        .await;
    let anew = |blob: &[u8], destination| ReEncrypt {
        blob: blob.to_vec(),
        source: None,
        source_version: None,
        source_algorithm: None,
        source_context: with(),
        destination,
        destination_context: with(),
        dry_run: false,
    };
    table.row(USE, None, || anew(blob, id(other))).await;
    table.row(USE, None, || anew(other_blob, key())).await;
    table
        .row(USE, None, || CreateGrant {
            key: key(),
            name: None,
            grantee: "bob".to_owned(),
            retiring: None,
            operations: vec!["Decrypt".to_owned()],
            constraint: None,
            dry_run: false,
        })
        .await;
}

async fn changes(table: &Table) {
    let key = || KeyRef::Id(table.key.clone());
    table.row(ENABLE, None, || EnableKey { key: key() }).await;
    table.row(ENABLE, None, || DisableKey { key: key() }).await;
    table
        .row(CHANGE, None, || ScheduleKeyDeletion {
            key: key(),
            days: 7,
        })
        .await;
    table
        .row(CANCEL, None, || CancelKeyDeletion { key: key() })
        .await;
    let number = std::cell::Cell::new(0);
    let name = || format!("alias/n{}", number.replace(number.get() + 1));
    table
        .row(CHANGE, None, || CreateAlias {
            name: name(),
            key: key(),
        })
        .await;
    table
        .row(CHANGE, Some(ErrorKind::ImportTokenInvalid), || {
            ImportKeyMaterial {
                key: key(),
                token: vec![1; 64],
                material: vec![1; 256],
                expires: None,
            }
        })
        .await;
    table
        .row(TARGET, None, || UpdateAlias {
            name: "alias/gone".to_owned(),
            key: key(),
        })
        .await;
    table
        .row(CHANGE, None, || UpdateKeyDescription {
            key: key(),
            description: "d".to_owned(),
        })
        .await;
    table
        .row(CHANGE, None, || SetDeletionProtection {
            key: key(),
            protection: None,
        })
        .await;
    let tag = || Tag {
        key: "a".to_owned(),
        value: "b".to_owned(),
    };
    table
        .row(CHANGE, None, || TagResource {
            key: key(),
            tags: vec![tag()],
        })
        .await;
    table
        .row(CHANGE, None, || UntagResource {
            key: key(),
            tag_keys: vec!["a".to_owned()],
        })
        .await;
    table
        .row(ALWAYS, None, || DeleteKeyMaterial { key: key() })
        .await;
}

async fn reads(table: &Table) {
    let key = || KeyRef::Id(table.key.clone());
    let policy = table.bench.run(GetKeyPolicy { key: key() }).await.unwrap();
    table.row(ALWAYS, None, || DescribeKey { key: key() }).await;
    table
        .row(ALWAYS, None, || GetKeyPolicy { key: key() })
        .await;
    table
        .row(ALWAYS, None, || PutKeyPolicy {
            key: key(),
            policy: policy.clone(),
            bypass_lockout_check: false,
        })
        .await;
    table
        .row(ALWAYS, None, || GetKeyRotationStatus { key: key() })
        .await;
    table
        .row(ALWAYS, None, || ListAliases {
            key: Some(key()),
            page: ALL,
        })
        .await;
    table
        .row(ALWAYS, None, || ListResourceTags {
            key: key(),
            page: ALL,
        })
        .await;
    table
        .row(ALWAYS, None, || ListKeyVersions {
            key: key(),
            page: ALL,
        })
        .await;
    table
        .row(ALWAYS, None, || ListGrants {
            key: key(),
            id: None,
            grantee: None,
            page: ALL,
        })
        .await;
    table
        .row(ALWAYS, None, || GetParametersForImport {
            key: key(),
            algorithm: ExportAlgorithm::Sm2Pke,
            spec: WrappingKeySpec::EcSm2,
        })
        .await;
}

/// An alias is taken from a key in whatever state.
async fn aliases(table: &Table) {
    for state in STATES {
        let key = KeyRef::Id(table.key.clone());
        let name = format!("alias/{}", state.name());
        table.put(Enabled).await;
        table
            .bench
            .run(CreateAlias {
                name: name.clone(),
                key,
            })
            .await
            .unwrap();
        table.put(state).await;
        assert_eq!(
            table.bench.kind_of(DeleteAlias { name }).await,
            None,
            "{state:?}"
        );
    }
}

#[test]
fn a_cancelled_deletion_leaves_what_its_dialect_says() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        for (dialect, wanted) in [(Dialect::Alibaba, Enabled), (Dialect::Aws, Disabled)] {
            let key = bench.key(symmetric()).await;
            let deletion = bench
                .run(ScheduleKeyDeletion {
                    key: id(&key),
                    days: 30,
                })
                .await
                .unwrap();
            assert_eq!(deletion.date.duration_since(now()).as_hours(), 29 * 24 + 23);
            let caller = Caller {
                dialect,
                ..bench.admin.clone()
            };
            let cancel = CancelKeyDeletion { key: id(&key) };
            bench.engine.perform(&caller, cancel).await.unwrap();
            let described = bench.run(DescribeKey { key: id(&key) }).await.unwrap();
            assert_eq!((described.state, described.deletion), (wanted, None));
        }
        bench.engine.close().await;
    });
}

#[test]
fn a_protected_key_is_not_scheduled_and_windows_have_bounds() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let protect = |protection| SetDeletionProtection {
            key: id(&key),
            protection,
        };
        bench.run(protect(Some("prod".to_owned()))).await.unwrap();
        let schedule = |days| ScheduleKeyDeletion {
            key: id(&key),
            days,
        };
        assert_eq!(
            bench.kind_of(schedule(7)).await,
            Some(ErrorKind::DeletionProtected)
        );
        bench.run(protect(None)).await.unwrap();
        for days in [0, 6, 367] {
            let kind = bench.kind_of(schedule(days)).await;
            assert_eq!(
                kind,
                Some(ErrorKind::InvalidParameter("PendingWindowInDays"))
            );
        }
        assert_eq!(bench.kind_of(schedule(366)).await, None);
        bench.engine.close().await;
    });
}

#[test]
fn aliases_have_their_bounds() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let rsa = bench
            .key(of_spec(KeySpec::EcP256, KeyUsage::SignVerify))
            .await;
        let create = |name: &str| CreateAlias {
            name: name.to_owned(),
            key: id(&key),
        };
        for name in [
            "",
            "x",
            "alias/",
            "alias/a b",
            "alias/ä",
            "alias/acs/x",
            "alias/aws/x",
            &format!("alias/{}", "a".repeat(250)),
        ] {
            let kind = bench.kind_of(create(name)).await;
            assert_eq!(
                kind,
                Some(ErrorKind::InvalidParameter("AliasName")),
                "{name}"
            );
        }
        bench.run(create("alias/Apollo/WorkKey")).await.unwrap();
        assert_eq!(
            bench.kind_of(create("alias/Apollo/WorkKey")).await,
            Some(ErrorKind::AliasExists)
        );
        let update = |name: &str, key: &Key| UpdateAlias {
            name: name.to_owned(),
            key: id(key),
        };
        assert_eq!(
            bench.kind_of(update("alias/none", &key)).await,
            Some(ErrorKind::AliasNotFound)
        );
        let kind = bench.kind_of(update("alias/Apollo/WorkKey", &rsa)).await;
        assert_eq!(kind, Some(ErrorKind::InvalidParameter("TargetKeyId")));
        let delete = || DeleteAlias {
            name: "alias/Apollo/WorkKey".to_owned(),
        };
        bench.run(delete()).await.unwrap();
        assert_eq!(
            bench.kind_of(delete()).await,
            Some(ErrorKind::AliasNotFound)
        );
        bench.engine.close().await;
    });
}

#[test]
fn tags_have_their_bounds() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let tags = |count: usize| TagResource {
            key: id(&key),
            tags: (0..count)
                .map(|i| Tag {
                    key: format!("k{i}"),
                    value: "v".to_owned(),
                })
                .collect(),
        };
        assert_eq!(
            bench.kind_of(tags(51)).await,
            Some(ErrorKind::LimitExceeded)
        );
        bench.run(tags(50)).await.unwrap();
        let one = |key_text: &str, value: &str| TagResource {
            key: id(&key),
            tags: vec![Tag {
                key: key_text.to_owned(),
                value: value.to_owned(),
            }],
        };
        assert_eq!(
            bench.kind_of(one("more", "v")).await,
            Some(ErrorKind::LimitExceeded)
        );
        assert_eq!(bench.kind_of(one("k0", "again")).await, None);
        for (name, value) in [
            ("", "v"),
            (&*"k".repeat(129), "v"),
            ("k", &*"v".repeat(257)),
        ] {
            assert_eq!(
                bench.kind_of(one(name, value)).await,
                Some(ErrorKind::TagInvalid)
            );
        }
        let listed = bench
            .run(ListResourceTags {
                key: id(&key),
                page: ALL,
            })
            .await
            .unwrap();
        assert_eq!(
            (listed.total, listed.items[0].value.as_str()),
            (50, "again")
        );
        bench.engine.close().await;
    });
}

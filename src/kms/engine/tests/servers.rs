//! Two servers on one store.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::kms::engine::model::KeyState;
use crate::kms::engine::ops::access::CreateGrant;
use crate::kms::engine::ops::admin::SetCredentialEnabled;
use crate::kms::engine::ops::keys::{DescribeKey, DisableKey, EnableKey, UpdateKeyDescription};
use crate::kms::engine::ops::names::{CreateAlias, UpdateAlias};
use crate::kms::engine::ops::versions::{ListKeyVersions, RotateKeyOnDemand};
use crate::kms::engine::service::STALE_AT_MOST;

/// Waits until something is so. The bound is that of a machine under load, not the one that is published.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_so().await {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{what}: not seen in 30 s"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin.elapsed()
}

#[test]
fn one_server_sees_what_the_other_changed() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        let [one, two] = [bench.key(symmetric()).await, bench.key(symmetric()).await];
        bench
            .run(CreateAlias {
                name: "alias/a".to_owned(),
                key: id(&one),
            })
            .await
            .unwrap();
        let kind = async |operation: Encrypt| {
            other
                .perform(&bench.admin, operation)
                .await
                .err()
                .map(|error| error.kind())
        };
        assert_eq!(kind(encrypt(id(&one), b"x")).await, None);
        bench.run(DisableKey { key: id(&one) }).await.unwrap();
        let lag = until("a key is disabled", async || {
            kind(encrypt(id(&one), b"x")).await == Some(ErrorKind::KeyDisabled)
        });
        eprintln!("seen after {:?}", lag.await);
        bench.run(EnableKey { key: id(&one) }).await.unwrap();
        until("it is enabled", async || {
            kind(encrypt(id(&one), b"x")).await.is_none()
        })
        .await;

        let made = other
            .perform(&bench.admin, encrypt(alias("alias/a"), b"x"))
            .await
            .unwrap();
        assert_eq!(made.key, one.id);
        bench
            .run(UpdateAlias {
                name: "alias/a".to_owned(),
                key: id(&two),
            })
            .await
            .unwrap();
        until("an alias goes elsewhere", async || {
            let made = other
                .perform(&bench.admin, encrypt(alias("alias/a"), b"x"))
                .await;
            made.unwrap().key == two.id
        })
        .await;

        let access_key = &bench.access_key.id;
        assert!(other.credential(access_key).await.unwrap().unwrap().enabled);
        bench
            .run(SetCredentialEnabled {
                id: access_key.clone(),
                enabled: false,
            })
            .await
            .unwrap();
        until("an access key is disabled", async || {
            !other.credential(access_key).await.unwrap().unwrap().enabled
        })
        .await;
        other.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn a_grants_token_makes_it_known_at_once() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        let one = bench.key(symmetric()).await;
        let app = bench.principal("app", NOTHING).await;
        assert!(other.perform(&app, encrypt(id(&one), b"x")).await.is_err());
        let grant = CreateGrant {
            key: id(&one),
            name: None,
            grantee: "app".to_owned(),
            retiring: None,
            operations: vec!["Encrypt".to_owned()],
            constraint: None,
            dry_run: false,
        };
        let granted = bench.run(grant).await.unwrap();
        let with_token = Caller {
            grant_tokens: vec![granted.token],
            ..app
        };
        other
            .perform(&with_token, encrypt(id(&one), b"x"))
            .await
            .unwrap();
        other.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn two_servers_that_change_one_key_lose_nothing() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        let key = bench.key(symmetric()).await;
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..20 {
            let engine = if i % 2 == 0 {
                Arc::clone(&bench.engine)
            } else {
                Arc::clone(&other)
            };
            let (admin, key) = (bench.admin.clone(), id(&key));
            tasks.spawn(async move {
                let describe = UpdateKeyDescription {
                    key: key.clone(),
                    description: i.to_string(),
                };
                engine.perform(&admin, describe).await.unwrap();
                engine
                    .perform(&admin, RotateKeyOnDemand { key })
                    .await
                    .unwrap();
            });
        }
        tasks.join_all().await;
        let fresh = bench.another().await;
        let list = ListKeyVersions {
            key: id(&key),
            page: ALL,
        };
        let versions = fresh.perform(&bench.admin, list).await.unwrap().items;
        let numbers: Vec<_> = versions.iter().map(|version| version.number).collect();
        assert_eq!(numbers, (1..=21).rev().collect::<Vec<_>>());
        let described = fresh
            .perform(&bench.admin, DescribeKey { key: id(&key) })
            .await
            .unwrap();
        assert_eq!(described.primary.as_ref(), Some(&versions[0].id));
        let record = fresh.store.key(&key.id).await.unwrap().unwrap();
        assert_eq!(
            record.revision, 41,
            "20 descriptions and 20 rotations after the first"
        );
        for engine in [fresh, other, bench.engine] {
            engine.close().await;
        }
    });
}

/// Changes are asked for twice a second. Each question that waited for a listener would be two seconds late.
#[test]
fn a_listener_that_hangs_keeps_nobody_from_asking() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bench = Bench::new(Backend::Postgres).await;
        let Location::Postgres(url) = &bench.location else {
            panic!("{:?}", bench.location)
        };
        let (url, listeners) = crate::kms::store::testing::without_listeners(url).await;
        let engine = Engine::open(options(Location::Postgres(url), TrailOptions::none()))
            .await
            .unwrap();
        until("a listener hangs", async || *listeners.borrow() > 0).await;
        let begun = Instant::now();
        let mut asked = engine.asked();
        for _ in 0..8 {
            until("it is asked for changes", async || engine.asked() > asked).await;
            asked = engine.asked();
        }
        let took = begun.elapsed();
        eprintln!("asked 8 times in {took:?}");
        assert!(took < Duration::from_secs(12), "{took:?}");
        engine.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn a_server_that_cannot_ask_for_changes_stops() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        bench.run(encrypt(id(&key), b"x")).await.unwrap();
        // Nobody asks any more, as if the store were gone; what is in memory would still do.
        bench.engine.closing.send_replace(true);
        let begin = Instant::now();
        until("it stops", async || {
            bench.kind_of(encrypt(id(&key), b"x")).await == Some(ErrorKind::Unavailable)
        })
        .await;
        assert!(
            begin.elapsed() + Duration::from_secs(1)
                >= STALE_AT_MOST.saturating_sub(Duration::from_secs(2))
        );
        let credential = bench.engine.credential(&bench.access_key.id).await;
        assert_eq!(credential.unwrap_err().kind(), ErrorKind::Unavailable);
        bench.engine.close().await;
    });
}

const CHILD: &str = "kms::engine::tests::servers::the_server_that_is_killed";
const CHILD_STORE: &str = "ENVELOPEKMS_TEST_STORE";

/// Run by the next test in a process of its own: makes keys and rotates them until it is killed, and says which are
/// done.
#[test]
#[ignore = "a part of another test, which runs it"]
fn the_server_that_is_killed() {
    let store = std::env::var(CHILD_STORE).expect("a store to work on");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let location = store.parse().unwrap();
        let engine = Engine::open(options(location, TrailOptions::none()))
            .await
            .unwrap();
        let admin = caller("admin");
        loop {
            let key = engine.perform(&admin, symmetric()).await.unwrap();
            let made = engine
                .perform(&admin, encrypt(id(&key), b"x"))
                .await
                .unwrap();
            engine
                .perform(&admin, RotateKeyOnDemand { key: id(&key) })
                .await
                .unwrap();
            let blob = data_encoding::BASE64.encode(&made.blob);
            writeln!(std::io::stdout(), "done {} {blob}", key.id.0).unwrap();
        }
    });
}

#[test]
fn a_server_that_is_killed_loses_nothing_and_holds_nobody_up() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let store = match &bench.location {
            Location::Postgres(url) => url.clone(),
            Location::Sqlite(path) => path.to_str().unwrap().to_owned(),
        };
        let mut done = Vec::new();
        for round in 1..=3 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([CHILD, "--exact", "--ignored", "--nocapture"])
                .env(CHILD_STORE, &store)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let output = child.stdout.take().unwrap();
            let lines = tokio::task::spawn_blocking(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                let done = lines
                    .filter_map(|line| line.split_once("done ").map(|(_, rest)| rest.to_owned()));
                // In the middle of the next one, wherever that is.
                let seen: Vec<_> = done.take(5 * round).collect();
                child.kill().unwrap();
                child.wait().unwrap();
                seen
            });
            // The other server works on meanwhile, and after.
            for _ in 0..5 {
                bench.key(symmetric()).await;
            }
            let lines = lines.await.unwrap();
            assert_eq!(lines.len(), 5 * round, "the server ended by itself");
            done.extend(lines);
            bench.key(symmetric()).await;
        }
        for line in &done {
            let (_, blob) = line.split_once(' ').unwrap();
            let blob = data_encoding::BASE64.decode(blob.as_bytes()).unwrap();
            assert_eq!(
                &bench.run(decrypt(&blob)).await.unwrap().plaintext[..],
                b"x"
            );
        }
        // Nothing is there by half: each key has its primary version, and that has its material.
        let list = crate::kms::engine::ops::keys::ListKeys {
            filter: Default::default(),
            page: ALL,
        };
        for key in bench.run(list).await.unwrap().items {
            assert_eq!(key.state, KeyState::Enabled);
            let blob = bench.run(encrypt(id(&key), b"y")).await.unwrap().blob;
            assert_eq!(
                &bench.run(decrypt(&blob)).await.unwrap().plaintext[..],
                b"y"
            );
        }
        bench.engine.close().await;
    });
}

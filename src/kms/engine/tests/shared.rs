//! What several servers on one store know of each other: requests that were taken, sessions of the console.

use std::time::Duration;

use jiff::Timestamp;

use super::servers::until;
use super::*;
use crate::kms::auth::AuthError;
use crate::kms::engine::sessions::IDLE_MAX;
use crate::kms::engine::upkeep::ASK;

fn admit(engine: &Engine, nonce: &str) -> Result<(), AuthError> {
    let now = Timestamp::now();
    engine.replays().admit_nonce("EKMSTEST", nonce, now, now)
}

/// Whether it was taken before; if not it is now.
fn knows(engine: &Engine, nonce: &str) -> bool {
    admit(engine, nonce) == Err(AuthError::Replayed)
}

#[test]
fn what_one_server_took_the_other_refuses() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        for engine in [&bench.engine, &other] {
            engine.share_requests().await.unwrap();
        }
        // Every request is asked for once at the other, as a replay would be: the first of them may come too soon.
        let mut lag = None;
        for round in 0..100 {
            let nonce = format!("nonce-{round}");
            let begun = std::time::Instant::now();
            admit(&bench.engine, &nonce).unwrap();
            tokio::time::sleep(Duration::from_millis(50 * round)).await;
            if knows(&other, &nonce) {
                lag = Some(begun.elapsed());
                break;
            }
        }
        eprintln!("known after {lag:?}");
        assert!(lag.is_some(), "what one server took is never known");
        other.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn a_request_that_two_servers_took_is_in_the_trail() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        for engine in [&other, &bench.engine] {
            engine.share_requests().await.unwrap();
        }
        // Between two times that they tell: the one that is taken second is a replay.
        let mut rounds = 0;
        until("two servers took one", async || {
            rounds += 1;
            let nonce = format!("nonce-{rounds}");
            [&bench.engine, &other].map(|engine| admit(engine, &nonce)) == [Ok(()), Ok(())]
        })
        .await;
        until("it is noted", async || {
            let text = std::fs::read_to_string(bench.audit_file()).unwrap();
            text.contains("one of them was a replay")
        })
        .await;
        other.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn a_server_that_begins_knows_what_was_taken_before() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        bench.engine.share_requests().await.unwrap();
        for nonce in ["a", "b"] {
            admit(&bench.engine, nonce).unwrap();
        }
        bench.engine.close().await;
        let next = bench.another().await;
        assert!(!knows(&next, "a"), "a command need not know");
        let server = bench.another().await;
        server.share_requests().await.unwrap();
        assert!(knows(&server, "a") && knows(&server, "b") && !knows(&server, "c"));
        for engine in [next, server] {
            engine.close().await;
        }
    });
}

#[test]
fn what_came_while_the_store_was_away_is_told_when_the_server_ends() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        bench.engine.share_requests().await.unwrap();
        rename_seen(&bench, "seen", "unseen").await;
        admit(&bench.engine, "a").unwrap();
        // By then it was tried to tell of the first.
        tokio::time::sleep(3 * ASK).await;
        admit(&bench.engine, "b").unwrap();
        rename_seen(&bench, "unseen", "seen").await;
        bench.engine.close().await;
        let server = bench.another().await;
        server.share_requests().await.unwrap();
        assert!(knows(&server, "a") && knows(&server, "b"));
        server.close().await;
    });
}

/// While it has another name, nothing is told.
async fn rename_seen(bench: &Bench, from: &str, to: &str) {
    let mut connection = bench.engine.store.pool.acquire().await.unwrap();
    let rename = format!("ALTER TABLE {from} RENAME TO {to}");
    let renamed = sqlx::query(sqlx::AssertSqlSafe(rename));
    renamed.execute(&mut *connection).await.unwrap();
}

#[test]
fn a_server_that_cannot_tell_what_it_took_stops_where_there_may_be_others() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        bench.engine.share_requests().await.unwrap();
        bench.run(encrypt(id(&key), b"x")).await.unwrap();
        rename_seen(&bench, "seen", "unseen").await;
        let stopped =
            async || bench.kind_of(encrypt(id(&key), b"x")).await == Some(ErrorKind::Unavailable);
        if backend == Backend::Postgres {
            until("it stops", stopped).await;
        } else {
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert!(!stopped().await, "a file has one server");
        }
        bench.engine.close().await;
    });
}

#[test]
fn who_is_signed_in_is_so_on_every_server_and_signs_out_of_all() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let other = bench.another().await;
        let (cookie, session) = bench.engine.begin_session(&bench.admin).await.unwrap();
        let found = other.session(&cookie).await.unwrap().unwrap();
        assert_eq!(found.token(), session.token());
        assert_eq!(
            (found.principal(), found.access_key_id()),
            ("admin", "EKMSTEST")
        );
        assert_ne!(cookie, session.token());
        // What the store has is not the cookie, and what was made up is not asked for.
        let text = format!("{:?}", bench.engine.store.dump().await.unwrap());
        assert!(!text.contains(&cookie) && !text.contains(session.token()));
        for wrong in [
            "",
            "x",
            &cookie[1..],
            &cookie.to_lowercase(),
            &"A".repeat(86),
        ] {
            assert!(other.session(wrong).await.unwrap().is_none(), "{wrong}");
        }
        other.end_session(&bench.admin, &found).await.unwrap();
        assert!(bench.engine.session(&cookie).await.unwrap().is_none());
        other.close().await;
        bench.engine.close().await;
    });
}

#[test]
fn sessions_end_in_time_and_are_bounded() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let begin = async |id: &str| {
            let caller = Caller {
                access_key_id: id.to_owned(),
                ..bench.admin.clone()
            };
            bench.engine.begin_session(&caller).await.unwrap().0
        };
        let lives = async |cookie: &str| bench.engine.session(cookie).await.unwrap().is_some();
        let first = begin("other").await;
        let mut cookies = Vec::new();
        for _ in 0..18 {
            cookies.push(begin("k").await);
            // Which of two was used last, milliseconds tell.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(lives(&first).await, "one key does not end those of others");
        let mut left = Vec::new();
        for (at, cookie) in cookies.iter().enumerate() {
            if lives(cookie).await {
                left.push(at);
            }
        }
        assert_eq!(left, (2..18).collect::<Vec<_>>());
        let change = async |column: &str, back: jiff::SignedDuration| {
            let then = (Timestamp::now() - back).as_millisecond();
            let update = format!("UPDATE session SET {column} = {then}");
            sqlx::query(sqlx::AssertSqlSafe(update))
                .execute(&bench.engine.store.pool)
                .await
                .unwrap();
        };
        let minute = jiff::SignedDuration::from_mins(1);
        change("used", IDLE_MAX - minute).await;
        assert!(lives(&first).await);
        assert!(lives(&first).await, "to be used is to live on");
        change("used", IDLE_MAX).await;
        assert!(!lives(&first).await);
        change("used", minute).await;
        change("began", jiff::SignedDuration::from_hours(12)).await;
        assert!(!lives(&first).await);
        bench.engine.close().await;
    });
}

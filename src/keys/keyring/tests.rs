use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::shard::FAILURE_KEPT;
use super::*;
use crate::keys::error::KeyErrorKind;

const LONG: Duration = Duration::from_secs(10);
const EPOCH: EpochId = EpochId(1);

/// A provider that counts, and does what it is told. The key is made of the file id.
#[derive(Default)]
struct Fake {
    calls: AtomicU64,
    running: AtomicU64,
    most_running: AtomicU64,
    delay_ms: AtomicU64,
    fails: Mutex<Option<KeyErrorKind>>,
    panics: AtomicBool,
}

impl Fake {
    fn unwrap(&self, request: &DekRequest) -> Result<SecretKey, KeyError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(self.delay_ms.load(Ordering::SeqCst)));
        self.running.fetch_sub(1, Ordering::SeqCst);
        assert!(!self.panics.load(Ordering::SeqCst), "on purpose");
        match *self.fails.lock() {
            Some(kind) => Err(KeyError::new(kind, "on purpose")),
            None => Ok(key(request.file, request.commitment)),
        }
    }

    fn keyring(self: &Arc<Self>, config: KeyringConfig, local: bool) -> Keyring {
        let fake = Arc::clone(self);
        let unwrap = Arc::new(move |request: &DekRequest| fake.unwrap(request));
        Keyring::new(config, unwrap, Arc::new(move |_request| local))
    }

    fn slow(delay_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            delay_ms: AtomicU64::new(delay_ms),
            ..Self::default()
        })
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn fail(&self, kind: Option<KeyErrorKind>) {
        *self.fails.lock() = kind;
    }
}

fn config(entries: usize, ttl: Duration) -> KeyringConfig {
    KeyringConfig {
        entries,
        ttl,
        workers: 2,
    }
}

fn both_ways() -> [(Arc<Fake>, Keyring); 2] {
    [false, true].map(|local| {
        let fake = Arc::new(Fake::default());
        let keyring = fake.keyring(config(100, LONG), local);
        (fake, keyring)
    })
}

fn file(n: u8) -> FileId {
    FileId([n; 16])
}

fn key(file: FileId, commitment: [u8; 32]) -> SecretKey {
    SecretKey::from_slice(&[file.0, [commitment[0]; 16]].concat()).unwrap()
}

fn request(n: u8) -> DekRequest {
    DekRequest {
        file: file(n),
        volume: None,
        epoch: EPOCH,
        commitment: [0; 32],
        slots: Vec::new(),
    }
}

fn fetch(keyring: &Keyring, n: u8) -> Receiver<DekResult> {
    let (answer, answered) = mpsc::channel();
    keyring.fetch(request(n), move |result| answer.send(result).unwrap());
    answered
}

fn kind(result: &DekResult) -> Option<KeyErrorKind> {
    result.as_ref().err().map(KeyError::kind)
}

fn wait_for(what: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !what() {
        assert!(Instant::now() < end, "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_second_fetch_costs_no_call() {
    for (fake, keyring) in both_ways() {
        for _ in 0..5 {
            assert!(*keyring.fetch_blocking(request(1)).unwrap() == key(file(1), [0; 32]));
        }
        assert_eq!(fake.calls(), 1);
        let expected = KeyringStats {
            hits: 4,
            misses: 1,
            entries: 1,
            evictions: 0,
        };
        assert_eq!(keyring.stats(), expected);
    }
}

#[test]
fn a_hit_is_answered_on_this_thread_before_fetch_returns() {
    let keyring = Fake::slow(30).keyring(config(100, LONG), false);
    keyring.fetch_blocking(request(1)).unwrap();
    let (answer, answered) = mpsc::channel();
    keyring.fetch(request(1), move |_dek| {
        answer.send(thread::current().id()).unwrap();
    });
    assert_eq!(answered.try_recv(), Ok(thread::current().id()));
}

#[test]
fn a_local_miss_is_answered_on_this_thread_a_remote_one_on_a_worker() {
    for local in [true, false] {
        let keyring = Arc::new(Fake::default()).keyring(config(100, LONG), local);
        let (answer, answered) = mpsc::channel();
        keyring.fetch(request(1), move |_dek| {
            answer.send(thread::current().id()).unwrap();
        });
        let here = answered.recv_timeout(LONG) == Ok(thread::current().id());
        assert_eq!(here, local);
    }
}

#[test]
fn a_slow_provider_does_not_hold_up_the_caller() {
    let fake = Fake::slow(1000);
    let keyring = fake.keyring(config(100, LONG), false);
    let start = Instant::now();
    let answered = fetch(&keyring, 1);
    assert!(start.elapsed() < Duration::from_millis(900));
    assert!(answered.recv_timeout(LONG).unwrap().is_ok());
}

#[test]
fn many_threads_and_one_file_cost_one_call() {
    for local in [false, true] {
        let fake = Fake::slow(30);
        let keyring = fake.keyring(config(100, LONG), local);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| keyring.fetch_blocking(request(1)).unwrap());
            }
        });
        assert_eq!(fake.calls(), 1, "local {local}");
        let stats = keyring.stats();
        assert_eq!(stats.hits + stats.misses, 16);
    }
}

#[test]
fn no_more_calls_at_a_time_than_workers() {
    let fake = Fake::slow(30);
    let keyring = fake.keyring(config(100, LONG), false);
    let answers: Vec<_> = (0..10).map(|n| fetch(&keyring, n)).collect();
    for (n, answered) in answers.iter().enumerate() {
        let dek = answered.recv_timeout(LONG).unwrap().unwrap();
        assert!(*dek == key(file(u8::try_from(n).unwrap()), [0; 32]));
    }
    assert_eq!(
        (fake.calls(), fake.most_running.load(Ordering::SeqCst)),
        (10, 2)
    );
}

#[test]
fn after_its_time_a_key_is_asked_for_again() {
    for local in [false, true] {
        let fake = Arc::new(Fake::default());
        let keyring = fake.keyring(config(100, Duration::from_millis(20)), local);
        for _ in 0..3 {
            keyring.fetch_blocking(request(1)).unwrap();
            thread::sleep(Duration::from_millis(30));
            assert!(keyring.cached(&file(1), EPOCH).is_none());
        }
        assert_eq!(fake.calls(), 3);
    }
}

#[test]
fn keys_that_nobody_asks_for_are_dropped_after_their_time() {
    for local in [false, true] {
        let keyring =
            Arc::new(Fake::default()).keyring(config(100, Duration::from_millis(50)), local);
        keyring.insert(
            file(1),
            EPOCH,
            Arc::new(key(file(1), [0; 32])),
            Instant::now(),
        );
        wait_for(|| keyring.stats().entries == 0);
    }
}

#[test]
fn near_the_end_of_its_time_a_key_is_asked_for_in_the_background() {
    let fake = Fake::slow(20);
    let keyring = fake.keyring(config(100, Duration::from_secs(2)), false);
    keyring.fetch_blocking(request(1)).unwrap();
    while fake.calls() == 1 {
        assert!(
            fetch(&keyring, 1).try_recv().unwrap().is_ok(),
            "from memory"
        );
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(keyring.stats().misses, 1, "nobody waited for it");
}

#[test]
fn the_least_recently_used_makes_room() {
    let fake = Arc::new(Fake::default());
    let keyring = fake.keyring(config(3, LONG), true);
    for n in [1, 2, 3, 1, 4] {
        keyring.fetch_blocking(request(n)).unwrap();
    }
    let kept = [1, 2, 3, 4].map(|n| keyring.cached(&file(n), EPOCH).is_some());
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!((keyring.stats().entries, keyring.stats().evictions), (3, 1));
}

#[test]
fn a_large_keyring_is_bounded_too() {
    let keyring = Arc::new(Fake::default()).keyring(config(1000, LONG), true);
    for n in 0..5000_u128 {
        let file =
            FileId((n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_le_bytes());
        keyring.insert(
            file,
            EPOCH,
            Arc::new(SecretKey::random().unwrap()),
            Instant::now(),
        );
    }
    let stats = keyring.stats();
    assert!((900..=1016).contains(&stats.entries), "{stats:?}");
    assert_eq!(stats.entries + stats.evictions, 5000);
}

#[test]
fn files_and_epochs_are_kept_apart() {
    let keyring = Arc::new(Fake::default()).keyring(config(100, LONG), true);
    keyring.insert(
        file(1),
        EpochId(1),
        Arc::new(key(file(1), [1; 32])),
        Instant::now(),
    );
    assert!(keyring.cached(&file(1), EpochId(2)).is_none());
    assert!(keyring.cached(&file(2), EpochId(1)).is_none());
    assert!(keyring.cached(&file(1), EpochId(1)).is_some());
}

#[test]
fn another_commitment_is_another_key() {
    for (fake, keyring) in both_ways() {
        let planted = DekRequest {
            commitment: [9; 32],
            ..request(1)
        };
        keyring.fetch_blocking(request(1)).unwrap();
        let other = keyring.fetch_blocking(planted).unwrap();
        assert!(*other == key(file(1), [9; 32]));
        assert_eq!(fake.calls(), 2);
    }
}

#[test]
fn the_refusal_of_a_planted_header_leaves_the_key_and_its_answers_alone() {
    let fake = Arc::new(Fake::default());
    let keyring = fake.keyring(config(100, LONG), true);
    keyring.fetch_blocking(request(1)).unwrap();
    fake.fail(Some(KeyErrorKind::Denied));
    let planted = DekRequest {
        commitment: [9; 32],
        ..request(1)
    };
    assert!(keyring.fetch_blocking(planted).is_err());
    assert!(keyring.fetch_blocking(request(1)).is_ok());
}

#[test]
fn failures_are_kept_for_a_second() {
    for failure in [
        KeyErrorKind::Corrupt,
        KeyErrorKind::Denied,
        KeyErrorKind::NotFound,
        KeyErrorKind::Revoked,
        KeyErrorKind::Unavailable,
    ] {
        let fake = Arc::new(Fake::default());
        let keyring = fake.keyring(config(100, LONG), false);
        fake.fail(Some(failure));
        for _ in 0..3 {
            assert_eq!(kind(&keyring.fetch_blocking(request(1))), Some(failure));
        }
        assert_eq!(fake.calls(), 1);
        assert_eq!(keyring.stats().entries, 0);
    }
}

#[test]
fn after_a_second_a_failure_is_forgotten() {
    for (fake, keyring) in both_ways() {
        fake.fail(Some(KeyErrorKind::Denied));
        assert!(keyring.fetch_blocking(request(1)).is_err());
        fake.fail(None);
        thread::sleep(FAILURE_KEPT + Duration::from_millis(20));
        assert!(keyring.fetch_blocking(request(1)).is_ok());
        assert_eq!(fake.calls(), 2);
    }
}

#[test]
fn one_file_s_failure_is_not_another_s() {
    for (fake, keyring) in both_ways() {
        fake.fail(Some(KeyErrorKind::Denied));
        assert!(keyring.fetch_blocking(request(1)).is_err());
        fake.fail(None);
        assert!(keyring.fetch_blocking(request(2)).is_ok());
    }
}

#[test]
fn a_crowd_of_broken_files_drives_out_no_key() {
    let fake = Arc::new(Fake::default());
    let keyring = fake.keyring(config(10, LONG), true);
    keyring.fetch_blocking(request(255)).unwrap();
    fake.fail(Some(KeyErrorKind::Corrupt));
    for n in 0..200 {
        assert!(keyring.fetch_blocking(request(n)).is_err());
    }
    assert!(keyring.cached(&file(255), EPOCH).is_some());
}

#[test]
fn workers_come_with_the_work_and_go_without() {
    let fake = Fake::slow(50);
    let far = Arc::new(AtomicBool::new(false));
    let (unwrapping, is_far) = (Arc::clone(&fake), Arc::clone(&far));
    let keyring = Keyring::new(
        KeyringConfig {
            workers: 8,
            ..config(100, LONG)
        },
        Arc::new(move |request| unwrapping.unwrap(request)),
        Arc::new(move |_request| !is_far.load(Ordering::SeqCst)),
    );
    let fetch_all = |from: u8| {
        thread::scope(|scope| {
            for n in from..from + 20 {
                let keyring = &keyring;
                scope.spawn(move || assert!(keyring.fetch_blocking(request(n)).is_ok()));
            }
        });
    };
    fetch_all(0);
    assert_eq!(keyring.shared.queue.workers(), 1, "all was at hand");
    // The keys are others now.
    far.store(true, Ordering::SeqCst);
    let (answer, answered) = mpsc::channel();
    keyring.fetch(request(100), move |result| {
        answer
            .send((result.is_ok(), thread::current().id()))
            .unwrap();
    });
    let (is_ok, by) = answered.recv_timeout(LONG).unwrap();
    assert!(
        is_ok && by != thread::current().id(),
        "whoever asked has waited"
    );
    fetch_all(20);
    let most = keyring.shared.queue.workers();
    assert!((2..=8).contains(&most), "{most} workers");
    let end = Instant::now() + 6 * LONG;
    while keyring.shared.queue.workers() > 1 {
        assert!(Instant::now() < end, "they stay");
        thread::sleep(Duration::from_millis(10));
    }
    far.store(false, Ordering::SeqCst);
    assert!(keyring.fetch_blocking(request(101)).is_ok());
}

#[test]
fn a_panic_answers_all_waiters_and_the_worker_lives() {
    for local in [false, true] {
        let fake = Fake::slow(30);
        fake.panics.store(true, Ordering::SeqCst);
        let keyring = fake.keyring(
            KeyringConfig {
                workers: 1,
                ..config(100, LONG)
            },
            local,
        );
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let answer = keyring.fetch_blocking(request(1));
                    assert_eq!(kind(&answer), Some(KeyErrorKind::Unavailable));
                });
            }
        });
        fake.panics.store(false, Ordering::SeqCst);
        assert!(keyring.fetch_blocking(request(2)).is_ok());
        assert_eq!(fake.calls(), 2);
    }
}

#[test]
fn a_panic_in_one_callback_does_not_take_the_answer_from_the_next() {
    let fake = Fake::slow(30);
    let keyring = fake.keyring(
        KeyringConfig {
            workers: 1,
            ..config(100, LONG)
        },
        false,
    );
    keyring.fetch(request(1), |_dek| panic!("on purpose"));
    assert!(fetch(&keyring, 1).recv_timeout(LONG).unwrap().is_ok());
    assert!(fetch(&keyring, 2).recv_timeout(LONG).unwrap().is_ok());
    assert_eq!(fake.calls(), 2);
}

#[test]
fn a_callback_may_use_the_keyring() {
    for (_fake, keyring) in both_ways() {
        let keyring = Arc::new(keyring);
        let (answer, answered) = mpsc::channel();
        let again = Arc::clone(&keyring);
        keyring.fetch(request(1), move |_dek| {
            let cached = again.cached(&file(1), EPOCH).is_some();
            again.clear();
            again.fetch(request(2), move |dek| {
                answer.send((cached, dek.is_ok())).unwrap();
            });
        });
        assert_eq!(answered.recv_timeout(LONG), Ok((true, true)));
    }
}

#[test]
fn clear_drops_keys_failures_and_what_is_under_way() {
    let fake = Fake::slow(200);
    let keyring = fake.keyring(config(100, LONG), false);
    keyring.fetch_blocking(request(1)).unwrap();
    let under_way = fetch(&keyring, 2);
    wait_for(|| fake.calls() == 2);
    keyring.clear();
    assert!(under_way.recv_timeout(LONG).unwrap().is_ok(), "answered");
    for n in [1, 2] {
        assert!(keyring.cached(&file(n), EPOCH).is_none(), "and not kept");
    }
    fake.fail(Some(KeyErrorKind::Denied));
    assert!(keyring.fetch_blocking(request(3)).is_err());
    keyring.clear();
    fake.fail(None);
    assert!(keyring.fetch_blocking(request(3)).is_ok());
}

#[test]
fn insert_takes_the_place_of_an_older_key_and_evicts_nothing() {
    let keyring = Arc::new(Fake::default()).keyring(config(2, LONG), true);
    for n in [1, 2] {
        keyring.insert(
            file(1),
            EPOCH,
            Arc::new(key(file(1), [n; 32])),
            Instant::now(),
        );
    }
    assert!(*keyring.cached(&file(1), EPOCH).unwrap() == key(file(1), [2; 32]));
    assert_eq!((keyring.stats().entries, keyring.stats().evictions), (1, 0));
}

#[test]
fn an_inserted_key_serves_any_commitment_of_its_file() {
    let fake = Arc::new(Fake::default());
    let keyring = fake.keyring(config(2, LONG), true);
    keyring.insert(
        file(1),
        EPOCH,
        Arc::new(key(file(1), [0; 32])),
        Instant::now(),
    );
    let asked = DekRequest {
        commitment: [7; 32],
        ..request(1)
    };
    keyring.fetch_blocking(asked).unwrap();
    assert_eq!(fake.calls(), 0);
}

#[test]
fn dropping_answers_the_queue_and_joins_the_workers() {
    let fake = Fake::slow(200);
    let keyring = fake.keyring(config(100, LONG), false);
    let answers: Vec<_> = (0..20).map(|n| fetch(&keyring, n)).collect();
    drop(keyring);
    assert_eq!(Arc::strong_count(&fake), 1, "the workers are gone");
    let refused = answers.iter().map(|answered| answered.try_recv().unwrap());
    let refused = refused.filter(|result| kind(result) == Some(KeyErrorKind::Unavailable));
    assert!(refused.count() >= 16);
    assert!(fake.calls() <= 4);
}

#[test]
fn a_worker_that_holds_the_last_reference_does_not_wait_for_itself() {
    let keyring = Arc::new(Fake::slow(30).keyring(config(100, LONG), false));
    let (answer, answered) = mpsc::channel();
    let last = Arc::clone(&keyring);
    keyring.fetch(request(1), move |_dek| {
        thread::sleep(Duration::from_millis(20));
        drop(last);
        answer.send(()).unwrap();
    });
    drop(keyring);
    assert_eq!(answered.recv_timeout(LONG), Ok(()));
}

#[test]
fn a_keyring_without_room_time_or_workers_still_answers() {
    let fake = Arc::new(Fake::default());
    let none = KeyringConfig {
        entries: 0,
        ttl: Duration::ZERO,
        workers: 0,
    };
    let keyring = fake.keyring(none, false);
    for _ in 0..3 {
        assert!(keyring.fetch_blocking(request(1)).is_ok());
    }
    assert_eq!(fake.calls(), 3);
    let for_ever = KeyringConfig {
        ttl: Duration::MAX,
        ..none
    };
    assert!(
        fake.keyring(for_ever, false)
            .fetch_blocking(request(1))
            .is_ok()
    );
}

#[test]
fn debug_shows_no_key() {
    let keyring = Arc::new(Fake::default()).keyring(config(2, LONG), true);
    let dek = Arc::new(SecretKey::random().unwrap());
    keyring.insert(file(1), EPOCH, Arc::clone(&dek), Instant::now());
    crate::keys::conformance::assert_hides(&format!("{keyring:?}"), dek.expose());
}

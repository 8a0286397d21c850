//! The keyring: a hit by one thread and by two at a time, and a miss that several wait for.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use envelopefs::keys::{DekRequest, KeyError, Keyring, KeyringConfig};
use envelopefs::units::FileId;

use common::{EPOCH, FILE_ID, epoch_of, key};

/// As many as a keyring has shards by default, several times over.
const FILES: u64 = 1000;

fn file_id(number: u64) -> FileId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    FileId(id)
}

fn request(file: FileId) -> DekRequest {
    let epoch = epoch_of(&key(7), &FILE_ID, EPOCH);
    DekRequest {
        file,
        volume: None,
        epoch: EPOCH,
        commitment: epoch.commitment,
        slots: epoch.slots,
    }
}

/// A keyring over a provider that answers at once and counts its calls.
fn keyring(local: bool) -> (Keyring, Arc<AtomicU64>) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let unwrap = move |_request: &DekRequest| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, KeyError>(key(7))
    };
    let keyring = Keyring::new(
        KeyringConfig::default(),
        Arc::new(unwrap),
        Arc::new(move |_request| local),
    );
    (keyring, calls)
}

/// Runs `work` `times` over on each of `threads` threads and gives the time until the last ends.
fn on_threads(threads: u64, times: u64, work: impl Fn(u64, u64) + Sync) -> Duration {
    let begin = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || (0..times).for_each(|turn| work(thread, turn)));
        }
    });
    begin.elapsed()
}

fn hits(c: &mut Criterion) {
    let (keyring, _calls) = keyring(true);
    // Each has a key of its own: threads would otherwise contend for one reference count.
    for number in 0..FILES {
        keyring.insert(file_id(number), EPOCH, Arc::new(key(7)), Instant::now());
    }
    let hit = |number| black_box(keyring.cached(&file_id(number), EPOCH)).is_some();
    let mut group = c.benchmark_group("keyring hit");
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(threads));
        group.bench_function(BenchmarkId::new("many files", threads), |b| {
            b.iter_custom(|times| {
                on_threads(threads, times, |thread, turn| {
                    assert!(hit((turn * 7 + thread * 500) % FILES));
                })
            });
        });
        group.bench_function(BenchmarkId::new("one file", threads), |b| {
            b.iter_custom(|times| on_threads(threads, times, |_thread, _turn| assert!(hit(1))));
        });
    }
    group.finish();
}

/// Every turn asks for a key that is not there: of a local provider on the thread that asks, of a
/// slow one on a key worker. Two threads ask for the same key and share one call.
fn misses(c: &mut Criterion) {
    let mut group = c.benchmark_group("keyring miss");
    for (name, local) in [("local", true), ("worker", false)] {
        let (keyring, calls) = keyring(local);
        let next = AtomicU64::new(0);
        group.bench_function(BenchmarkId::new(name, 1), |b| {
            b.iter(|| {
                let file = file_id(next.fetch_add(1, Ordering::Relaxed));
                keyring.fetch_blocking(request(file)).unwrap()
            });
        });
        let asked = next.load(Ordering::Relaxed);
        assert_eq!(calls.load(Ordering::Relaxed), asked, "one call for a miss");
        group.bench_function(BenchmarkId::new(name, 2), |b| {
            b.iter_custom(|times| {
                let first = next.fetch_add(times, Ordering::Relaxed);
                on_threads(2, times, |_thread, turn| {
                    keyring
                        .fetch_blocking(request(file_id(first + turn)))
                        .unwrap();
                })
            });
        });
        let asked = next.load(Ordering::Relaxed);
        assert_eq!(calls.load(Ordering::Relaxed), asked, "two share one call");
    }
    group.finish();
}

criterion_group!(benches, hits, misses);
criterion_main!(benches);

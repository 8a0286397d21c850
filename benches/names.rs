//! Names: sealed at each lookup, opened for each entry of a listing.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use envelopefs::crypto::SivKey;
use envelopefs::format::names::{NameKey, classify, long_name_matches};
use envelopefs::units::DirId;

use common::key;

const DIR: DirId = DirId([1; 16]);
/// 175 bytes are the most that fit a name on disk; 255 take the long form.
const LENGTHS: [usize; 4] = [8, 64, 175, 255];

fn names(c: &mut Criterion) {
    let names = NameKey::new(SivKey::new(key(1), key(2)));
    let mut group = c.benchmark_group("names");
    for len in LENGTHS {
        let plain = vec![b'n'; len];
        group.bench_function(BenchmarkId::new("seal", len), |b| {
            b.iter(|| names.seal(&DIR, black_box(&plain)));
        });
        let sealed = names.seal(&DIR, &plain);
        let full = sealed.long().unwrap_or(sealed.on_disk());
        group.bench_function(BenchmarkId::new("open", len), |b| {
            b.iter(|| names.open(&DIR, black_box(full)).unwrap());
        });
        group.bench_function(BenchmarkId::new("classify", len), |b| {
            b.iter(|| classify(black_box(sealed.on_disk())));
        });
    }
    group.finish();
}

/// What a long name costs a listing beyond its opening: the hash that its sidecar must match.
fn long_names(c: &mut Criterion) {
    let names = NameKey::new(SivKey::new(key(1), key(2)));
    let sealed = names.seal(&DIR, &[b'n'; 255]);
    let full = sealed.long().unwrap();
    c.bench_function("names/match long", |b| {
        b.iter(|| long_name_matches(sealed.on_disk(), black_box(full)));
    });
}

criterion_group!(benches, names, long_names);
criterion_main!(benches);

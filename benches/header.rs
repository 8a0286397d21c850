//! The header of a file: read at each open, written at each commit.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use envelopefs::crypto::MacKey;
use envelopefs::format::file_keys::FileKeys;
use envelopefs::format::header::FileHeader;

use common::{FILE_ID, header, key};

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for epochs in [1, 3] {
        let header = header(epochs);
        let mut bytes = vec![0; header.layout.header_len()];
        group.bench_function(BenchmarkId::new("encode", epochs), |b| {
            b.iter(|| header.encode(black_box(&mut bytes)).unwrap());
        });
        group.bench_function(BenchmarkId::new("decode", epochs), |b| {
            b.iter(|| FileHeader::decode(black_box(&bytes)).unwrap());
        });
    }
    group.finish();
}

fn tags(c: &mut Criterion) {
    let tag_key = MacKey::new(key(1));
    let mut header = header(1);
    header.seal_membership(&tag_key);
    let mut group = c.benchmark_group("header");
    group.bench_function("seal", |b| b.iter(|| header.seal(black_box(&tag_key))));
    header.seal(&tag_key);
    assert!(header.verify(&tag_key));
    group.bench_function("verify", |b| b.iter(|| header.verify(black_box(&tag_key))));
    group.bench_function("verify membership", |b| {
        b.iter(|| header.verify_membership(black_box(&tag_key)));
    });
    group.finish();
}

/// From the data key to what a file is opened with.
fn keys(c: &mut Criterion) {
    let dek = key(7);
    let mut group = c.benchmark_group("file keys");
    group.bench_function("derive", |b| {
        b.iter(|| FileKeys::derive(black_box(&dek), &FILE_ID).unwrap());
    });
    group.finish();
}

criterion_group!(benches, codec, tags, keys);
criterion_main!(benches);

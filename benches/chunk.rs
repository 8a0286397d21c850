//! Chunks: AES-256-GCM alone by backend, whole sealed blocks as they stand on disk, subkeys, nonces.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use envelopefs::crypto::{Backend, XaesKey, xaes_reference};
use envelopefs::format::chunk::{self, Area, ChunkContext, ChunkNonce, WriterNonces};
use envelopefs::format::layout::Layout;
use envelopefs::units::ChunkIndex;

use common::{EPOCH, FILE_ID, key, pattern, size_name};

const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// A chunk that does not share its block with the header.
const INDEX: ChunkIndex = ChunkIndex(1);
const PREFIX: [u8; 12] = [1; 12];
const NONCE: [u8; 12] = [2; 12];
const AAD: [u8; 35] = [3; 35];

fn gcm(c: &mut Criterion) {
    for len in SIZES {
        let mut group = c.benchmark_group(format!("gcm {}", size_name(len)));
        group.throughput(Throughput::Bytes(len as u64));
        for backend in Backend::ALL {
            let subkey = backend.subkey(&key(1), &PREFIX);
            let mut data = pattern(len);
            let mut out = vec![0; len];
            // Each repetition encrypts what the one before left: the bytes do not matter.
            group.bench_function(BenchmarkId::new("seal", backend), |b| {
                b.iter(|| subkey.seal_in_place(&NONCE, &AAD, black_box(&mut data)));
            });
            let tag = subkey.seal_in_place(&NONCE, &AAD, &mut data);
            group.bench_function(BenchmarkId::new("open", backend), |b| {
                b.iter(|| subkey.open_into(&NONCE, &AAD, black_box(&data), &tag, &mut out));
            });
        }
        group.finish();
    }
}

fn block(c: &mut Criterion) {
    for len in SIZES {
        let layout = Layout::new(u32::try_from(len).unwrap(), 1024).unwrap();
        let context = ChunkContext::new(layout, FILE_ID);
        let subkey = XaesKey::new(&key(1)).subkey(&PREFIX);
        let nonce = ChunkNonce([[1; 12], [2; 12]].concat().try_into().unwrap());
        let plain = pattern(usize::try_from(layout.capacity(INDEX)).unwrap());
        let (mut area, mut out) = (vec![0; len], vec![0; plain.len()]);
        let mut seal = |plain: &[u8]| {
            chunk::seal(&context, &subkey, &nonce, EPOCH, INDEX, plain, &mut area);
        };

        let mut group = c.benchmark_group(format!("block {}", size_name(len)));
        group.throughput(Throughput::Bytes(plain.len() as u64));
        group.bench_function("seal", |b| b.iter(|| seal(black_box(&plain))));
        group.bench_function("open", |b| {
            b.iter(|| match chunk::parse(&context, INDEX, black_box(&area)) {
                Ok(Area::Sealed(sealed)) => sealed.open_into(&subkey, &mut out),
                other => panic!("{other:?}"),
            });
        });
        group.bench_function("hole", |b| {
            let hole = vec![0; len];
            b.iter(|| matches!(chunk::parse(&context, INDEX, &hole), Ok(Area::Hole)));
        });
        group.finish();
    }
}

fn subkey(c: &mut Criterion) {
    let mut group = c.benchmark_group("xaes subkey");
    let ours = XaesKey::new(&key(1));
    group.bench_function(Backend::AwsLc.to_string(), |b| {
        b.iter(|| ours.subkey(black_box(&PREFIX)));
    });
    let reference = xaes_reference::XaesKey::new(&key(1));
    group.bench_function(Backend::RustCrypto.to_string(), |b| {
        b.iter(|| reference.subkey(black_box(&PREFIX)));
    });
    group.finish();
}

/// What a request of so many chunks pays for its nonces.
fn nonces(c: &mut Criterion) {
    let mut group = c.benchmark_group("nonces");
    for count in [1, 2, 33, 260] {
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            let mut session = WriterNonces::new();
            b.iter(|| {
                let run = session.take(count).unwrap_or_else(|| {
                    session = WriterNonces::new();
                    session.take(count).unwrap()
                });
                run.for_each(|nonce| {
                    black_box(nonce);
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gcm, block, subkey, nonces);
criterion_main!(benches);

//! The key service: sealing and opening a ciphertext blob of a data key.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use envelopefs::kms::engine::EncryptionContext;
use envelopefs::kms::engine::model::{KeyId, KeySpec, KeyVersionId};
use envelopefs::kms::material::{Address, Material, blob};

const SPECS: [KeySpec; 4] = [
    KeySpec::Aes128,
    KeySpec::Aes192,
    KeySpec::Aes256,
    KeySpec::Sm4,
];

/// A data key.
const PLAINTEXT: [u8; 32] = [7; 32];

fn address() -> Address {
    let key = KeyId("11111111-2222-4333-8444-555555555555".to_owned());
    let version = KeyVersionId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned());
    Address::new(&key, &version).unwrap()
}

/// As envelopefs gives it: volume and file.
fn context() -> EncryptionContext {
    let pairs = [
        ("envelopefs-volume", "0123456789abcdef0123456789abcdef"),
        ("envelopefs-file", "fedcba9876543210fedcba9876543210"),
    ];
    let pairs: BTreeMap<_, _> = pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    EncryptionContext::new(pairs).unwrap()
}

fn blobs(criterion: &mut Criterion) {
    let (address, context) = (address(), context());
    let mut group = criterion.benchmark_group("kms/blob");
    for spec in SPECS {
        let key = Material::generate(spec).unwrap();
        let sealed = blob::seal(&key, address, &context, &PLAINTEXT).unwrap();
        group.bench_function(BenchmarkId::new("seal", format!("{spec:?}")), |bencher| {
            bencher.iter(|| blob::seal(&key, address, &context, black_box(&PLAINTEXT)).unwrap());
        });
        group.bench_function(BenchmarkId::new("open", format!("{spec:?}")), |bencher| {
            bencher.iter(|| {
                let blob = blob::parse(black_box(&sealed)).unwrap();
                blob::open(&key, &blob, &context).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, blobs);
criterion_main!(benches);

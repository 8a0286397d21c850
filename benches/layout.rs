//! The arithmetic between plaintext and ciphertext positions: done for every request.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use envelopefs::format::layout::Layout;
use envelopefs::units::{PlainLen, PlainOffset};

/// Far enough into a file that nothing is special about it.
const FAR: u64 = 5_000_000_001;

fn layout(c: &mut Criterion) {
    let layout = Layout::DEFAULT;
    let mut group = c.benchmark_group("layout");
    group.bench_function("locate", |b| {
        b.iter(|| black_box(layout).locate(black_box(PlainOffset(FAR))));
    });
    group.bench_function("span", |b| {
        b.iter(|| black_box(layout).span(black_box(PlainOffset(FAR)), black_box(1 << 20)));
    });
    group.bench_function("physical_len", |b| {
        b.iter(|| black_box(layout).physical_len(black_box(PlainLen(FAR))));
    });
    let physical = layout.physical_len(PlainLen(FAR));
    group.bench_function("plain_len", |b| {
        b.iter(|| black_box(layout).plain_len(black_box(physical)));
    });
    group.finish();
}

criterion_group!(benches, layout);
criterion_main!(benches);

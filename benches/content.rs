//! Open files without FUSE: what of a request is this program's own, less the kernel's crossing.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

mod common;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use envelopefs::content::OpenFile;
use envelopefs::format::layout::Layout;
use envelopefs::units::{PlainLen, PlainOffset};

use common::{Folder, cname, key, material, pattern, scattered, size_name};

/// Larger than the caches of most machines, small enough for their memory.
const FILE_LEN: usize = 64 << 20;
const PAGE: usize = 4096;
const RANDOM: usize = 4 << 10;
const SEQUENTIAL: [usize; 2] = [128 << 10, 1 << 20];

/// The offsets of a stream that begins again at the end of the file.
fn stream(step: usize) -> impl FnMut() -> u64 {
    let mut offsets = (0..FILE_LEN as u64).step_by(step).cycle();
    move || offsets.next().unwrap_or(0)
}

fn reads(c: &mut Criterion) {
    let folder = Folder::new();
    let file = folder.file_of("read", Layout::DEFAULT, FILE_LEN);
    let mut bench = |name: &str, len: usize, next: &mut dyn FnMut() -> u64| {
        let mut group = c.benchmark_group("content read");
        let mut out = vec![0; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(name, size_name(len)), |b| {
            b.iter(|| file.read(PlainOffset(next()), black_box(&mut out)).unwrap());
        });
        group.finish();
    };
    bench("random", RANDOM, &mut scattered((FILE_LEN - RANDOM) as u64));
    for len in SEQUENTIAL {
        bench("sequential", len, &mut stream(len));
    }
}

/// Over what is there, and past the end as a new file grows.
fn writes(c: &mut Criterion) {
    let folder = Folder::new();
    let file = folder.file_of("write", Layout::DEFAULT, FILE_LEN);
    let mut bench = |name: &str, len: usize, next: &mut dyn FnMut() -> u64| {
        let mut group = c.benchmark_group("content write");
        let data = pattern(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new(name, size_name(len)), |b| {
            b.iter(|| file.write(PlainOffset(next()), black_box(&data)).unwrap());
        });
        group.finish();
    };
    bench("random", RANDOM, &mut scattered((FILE_LEN - RANDOM) as u64));
    for len in SEQUENTIAL {
        bench("sequential", len, &mut stream(len));
        let mut next = stream(len);
        bench("growing", len, &mut || grow(&file, next()));
    }
}

/// Empties the file where the stream begins again, so that every write is past the end.
fn grow(file: &OpenFile, at: u64) -> u64 {
    if at == 0 {
        file.resize(PlainLen(0)).unwrap();
    }
    at
}

/// One thread's memory copies and system calls are the floor: the same bytes without sealing, from
/// and to a buffer that begins on a page, to which some processors copy several times faster.
fn floor(c: &mut Criterion) {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile_in("/dev/shm").or_else(|_error| tempfile::tempfile());
    let file = file.unwrap();
    let mut group = c.benchmark_group("plain file");
    for len in [RANDOM, SEQUENTIAL[0], SEQUENTIAL[1]] {
        let mut buffer = pattern(len + PAGE);
        let start = buffer.as_ptr().align_offset(PAGE);
        let data = &mut buffer[start..start + len];
        for at in (0..FILE_LEN as u64).step_by(len) {
            file.write_all_at(data, at).unwrap();
        }
        let mut next = stream(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("write", size_name(len)), |b| {
            b.iter(|| file.write_all_at(black_box(&*data), next()).unwrap());
        });
        group.bench_function(BenchmarkId::new("read", size_name(len)), |b| {
            b.iter(|| file.read_exact_at(black_box(data), next()).unwrap());
        });
    }
    group.finish();
}

/// A file of 1 KiB from its creation to its removal, and the opening of one.
fn small_files(c: &mut Criterion) {
    let folder = Folder::new();
    let (name, data) = (cname("small"), pattern(1 << 10));
    let create = || {
        let file = folder.create(&name, Layout::DEFAULT, material());
        file.write(PlainOffset(0), &data).unwrap();
        file.close().unwrap();
        file
    };
    let mut group = c.benchmark_group("content 1 KiB file");
    group.bench_function("create and unlink", |b| {
        b.iter(|| {
            create();
            folder.unlink(&name);
        });
    });
    create();
    let dek = Arc::new(key(7));
    group.bench_function("open and read", |b| {
        let mut out = vec![0; data.len()];
        b.iter(|| {
            let file = folder.open(&name, Layout::DEFAULT, &dek);
            file.read(PlainOffset(0), black_box(&mut out)).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, floor, reads, writes, small_files);
criterion_main!(benches);

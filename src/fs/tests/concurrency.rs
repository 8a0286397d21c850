//! Many threads at once, as the kernel's request threads are.

use std::sync::Barrier;
use std::thread;

use super::*;

#[test]
fn threads_in_one_folder_meet_no_errors_but_those_of_absence_and_presence() {
    for names in MODES {
        let bench = Bench::new(names);
        let long = long_name(200, b'l');
        let pool: [&[u8]; 5] = [b"a", b"b", b"c", b"d", &long];
        thread::scope(|scope| {
            for seed in 0..6_usize {
                let (bench, pool) = (&bench, &pool);
                scope.spawn(move || {
                    for round in 0..150_usize {
                        let mixed = (round * 7 + seed * 13) ^ (round >> 2);
                        let (one, other) = (pool[mixed % 5], pool[(mixed / 5) % 5]);
                        step(bench, (seed + round) % 6, one, other);
                    }
                });
            }
        });
        let listed = bench.names_in(ROOT).unwrap();
        for name in &listed {
            let ino = bench.find(ROOT, name).unwrap().ino;
            bench.content(ino).unwrap();
            bench.unlink(ROOT, name).unwrap();
        }
        assert!(
            bench.disk_entries().is_empty(),
            "{:?}",
            bench.disk_entries()
        );
    }
}

fn step(bench: &Bench, kind: usize, one: &[u8], other: &[u8]) {
    match kind {
        0 | 1 => match bench.make(ROOT, one) {
            Ok((ino, fh)) => {
                bench.write(fh, 0, b"x", false).unwrap();
                bench.getattr(ino, None).unwrap();
                bench.release(fh).unwrap();
                bench.forget(ino, 1);
            }
            Err(error) => assert_eq!(error.errno(), libc::EEXIST, "create: {error}"),
        },
        2 => absent_or(bench.mv((ROOT, one), (ROOT, other)), "rename"),
        3 => absent_or(bench.unlink(ROOT, one), "unlink"),
        4 => {
            bench.names_in(ROOT).unwrap();
        }
        _ => match bench.find(ROOT, one) {
            Ok(attr) => {
                // Found, so it stays reachable until it is forgotten, whatever becomes of the name.
                bench.getattr(attr.ino, None).unwrap();
                assert_ne!(bench.content(attr.ino).unwrap().len(), 2);
                bench.forget(attr.ino, 1);
            }
            Err(error) => assert_eq!(error.errno(), libc::ENOENT, "lookup: {error}"),
        },
    }
}

#[track_caller]
fn absent_or(result: Result<(), FsError>, what: &str) {
    if let Err(error) = result {
        assert_eq!(error.errno(), libc::ENOENT, "{what}: {error}");
    }
}

#[test]
fn threads_that_open_one_file_get_one_open_file() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.put(ROOT, b"f", &pattern(5000));
    for _ in 0..10 {
        bench.shut_down();
        let ino = bench.find(ROOT, b"f").unwrap().ino;
        let barrier = Barrier::new(4);
        let handles: Vec<Fh> = thread::scope(|scope| {
            let open = |nth| {
                let (bench, barrier) = (&bench, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    bench.opened(ino, nth % 2 == 0).unwrap()
                })
            };
            let threads: Vec<_> = (0..4).map(open).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let file = |fh: &Fh| Arc::clone(&bench.files.find(*fh).unwrap().file);
        let first = file(&handles[0]);
        assert!(handles.iter().all(|fh| Arc::ptr_eq(&file(fh), &first)));
        for fh in handles {
            bench.release(fh).unwrap();
        }
    }
}

#[test]
fn writers_and_readers_of_one_file_see_whole_writes() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.write(fh, 0, &[1; 6000], false).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for value in 0..100_u8 {
                bench.write(fh, 0, &[value; 6000], false).unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let read = bench.content(ino).unwrap();
                    assert!(read.iter().all(|byte| *byte == read[0]));
                }
            });
        }
    });
    bench.release(fh).unwrap();
}

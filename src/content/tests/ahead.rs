//! Long writes, of which much is sealed before the file is held, and what may come between.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;

use super::reencrypt::{epochs_on_disk, material, reencrypt, reopen, reopen_observed};
use super::*;
use crate::content::ahead::WORTH_IT;
use crate::keys::KeyErrorKind;
use crate::storage::{StorageObserver, StorageOp, Target, Verdict};

const LONG: u64 = WORTH_IT as u64;

/// A file of `len` bytes whose writer has a session.
fn begun(bench: &Bench, len: u64) -> OpenFile {
    let file = bench.create();
    write(&file, 0, &pattern(len, 1));
    file
}

/// Writes `data` at `at`, with `between` done after what is sealed ahead was sealed; says which chunks these were.
fn write_with(
    file: &OpenFile,
    at: u64,
    data: &[u8],
    between: impl FnOnce(),
) -> (Option<Range<u64>>, Result<(), ContentError>) {
    file.with_blocks(PlainOffset(at), data, |write| {
        file.seal_ahead(write);
        let chunks = write.ahead.as_ref().map(|ahead| ahead.chunks.clone());
        between();
        (chunks, file.change(|state| file.write_in(state, write)))
    })
}

fn sealed_ahead(file: &OpenFile, at: u64, len: u64) -> Option<Range<u64>> {
    file.with_blocks(PlainOffset(at), &pattern(len, 2), |write| {
        file.seal_ahead(write);
        write.ahead.as_ref().map(|ahead| ahead.chunks.clone())
    })
}

#[test]
fn long_writes_read_back_wherever_they_begin_and_end() {
    let starts = [
        0,
        1,
        FIRST - 1,
        FIRST,
        FIRST + 7,
        FIRST + 5 * CHUNK,
        60_000,
        700_001,
    ];
    for block_log2 in [12, 16] {
        for (had, start) in [0, 50_000]
            .into_iter()
            .flat_map(|had| starts.map(|start| (had, start)))
        {
            for len in [LONG, 50 * CHUNK] {
                let bench = Bench::with_layout(Layout::new(1 << block_log2, 1024).unwrap());
                let file = begun(&bench, had);
                let mut model = pattern(had, 1);
                let end = (start + len) as usize;
                model.resize(model.len().max(end), 0);
                model[start as usize..end].copy_from_slice(&pattern(len, 2));
                write(&file, start, &pattern(len, 2));
                assert!(read_all(&file).unwrap() == model, "{had} {start} {len}");
                file.close().unwrap();
                let file = bench.reopen().unwrap();
                assert!(read_all(&file).unwrap() == model, "{had} {start} {len}");
                assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
            }
        }
    }
}

#[test]
fn chunks_that_are_written_in_full_are_sealed_ahead_but_for_the_first() {
    let bench = Bench::new();
    let file = begun(&bench, 10);
    let cases = [
        (0, FIRST + 40 * CHUNK, 1..41),
        (0, FIRST + 40 * CHUNK - 1, 1..40),
        (1, FIRST + 40 * CHUNK, 1..41),
        (FIRST - 1, 1 + 40 * CHUNK, 1..41),
        (FIRST, 40 * CHUNK, 1..41),
        (FIRST + 1, 40 * CHUNK, 2..41),
        (FIRST + 7 * CHUNK, 40 * CHUNK + 1, 8..48),
    ];
    for (at, len, chunks) in cases {
        assert_eq!(sealed_ahead(&file, at, len), Some(chunks), "{len} at {at}");
    }
    let large = Bench::with_layout(Layout::new(1 << 20, 1024).unwrap());
    assert_eq!(sealed_ahead(&begun(&large, 10), 2 << 20, 1 << 20), None);
}

#[test]
fn short_writes_too_long_ones_and_those_without_a_session_are_not_sealed_ahead() {
    let bench = Bench::new();
    let mut file = begun(&bench, 10);
    assert_eq!(sealed_ahead(&file, 0, LONG - 1), None);
    let most = bench.layout.max_plain_len().0;
    assert!(sealed_ahead(&file, most - LONG, LONG).is_some());
    for at in [most - LONG + 1, most, u64::MAX - LONG + 1, u64::MAX] {
        assert_eq!(sealed_ahead(&file, at, LONG), None);
        let refused = file.write(PlainOffset(at), &pattern(LONG, 2));
        assert!(matches!(refused, Err(ContentError::TooLarge)), "{at}");
    }
    assert_eq!(read_all(&file).unwrap(), pattern(10, 1));
    file.close().unwrap();
    assert_eq!(sealed_ahead(&bench.reopen().unwrap(), 0, LONG), None);
    file.shared = true;
    assert_eq!(sealed_ahead(&file, 0, LONG), None);
}

#[test]
fn what_was_sealed_ahead_is_what_reaches_the_disk() {
    let bench = Bench::new();
    let file = begun(&bench, 10);
    let (at, data) = (FIRST - 5, pattern(5 + 40 * CHUNK + 9, 2));
    let ahead = file.with_blocks(PlainOffset(at), &data, |write| {
        file.seal_ahead(write);
        let ahead = write.cipher[BLOCK as usize..41 * BLOCK as usize].to_vec();
        file.change(|state| file.write_in(state, write)).unwrap();
        ahead
    });
    assert!(bench.ciphertext()[BLOCK as usize..41 * BLOCK as usize] == ahead);
}

#[test]
fn keys_that_are_taken_away_between_refuse_the_write() {
    let bench = Bench::new();
    let file = begun(&bench, 300_000);
    let (before, why) = (bench.ciphertext(), KeyErrorKind::Revoked);
    let (chunks, refused) = write_with(&file, 0, &pattern(200_000, 2), || {
        file.take_keys(KeyError::new(why, "gone"));
    });
    assert!(chunks.is_some());
    let told = match refused {
        Err(ContentError::KeysGone { why, .. }) => why.kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told, why);
    assert!(bench.ciphertext() == before);
    assert_eq!(sealed_ahead(&file, 0, LONG), None);
    let refused = file.write(PlainOffset(0), &pattern(200_000, 2));
    assert!(matches!(refused, Err(ContentError::KeysGone { .. })));
    file.give_keys(bench.keys(&file.header_known())).unwrap();
    assert_eq!(read_all(&file).unwrap(), pattern(300_000, 1));
}

#[test]
fn keys_that_are_taken_away_and_given_back_between_seal_it_again() {
    let bench = Bench::new();
    let file = begun(&bench, 300_000);
    let data = pattern(300_000, 2);
    let (chunks, written) = write_with(&file, 0, &data, || {
        file.take_keys(KeyError::new(KeyErrorKind::Revoked, "gone"));
        file.give_keys(bench.keys(&file.header_known())).unwrap();
    });
    written.unwrap();
    assert!(chunks.is_some());
    assert!(read_all(&file).unwrap() == data);
}

#[test]
fn keys_are_gone_only_when_nothing_is_sealed_with_them_any_more() {
    let bench = Bench::new();
    let file = begun(&bench, 10);
    let (gone, is_gone) = mpsc::channel();
    std::thread::scope(|scope| {
        let sealing = file.session.read();
        let file = &file;
        scope.spawn(move || {
            file.take_keys(KeyError::new(KeyErrorKind::Revoked, "gone"));
            gone.send(()).unwrap();
        });
        assert!(is_gone.recv_timeout(Duration::from_millis(100)).is_err());
        drop(sealing);
        is_gone.recv().unwrap();
    });
}

#[test]
fn a_key_that_the_file_got_between_seals_it_again() {
    let bench = Bench::new();
    let file = begun(&bench, 300_000);
    let data = pattern(300_000, 2);
    let known = file.header().unwrap().epochs;
    let (chunks, written) = write_with(&file, 0, &data, || {
        assert!(file.add_key(&known, &material(&bench, 2)).unwrap());
    });
    written.unwrap();
    assert!(chunks.is_some());
    assert_eq!(epochs_on_disk(&bench), (vec![2], vec![1, 2]));
    let (_, written) = write_with(&file, 0, &data, || reencrypt(&bench, &file).unwrap());
    written.unwrap();
    assert_eq!(epochs_on_disk(&bench), (vec![2], vec![2]));
    file.close().unwrap();
    assert!(read_all(&reopen(&bench)).unwrap() == data);
}

/// The key of an epoch that came to nothing may be followed by another of the same epoch.
#[test]
fn only_what_the_present_session_sealed_stays_sealed() {
    let bench = Bench::new();
    let file = begun(&bench, 10);
    let ahead = || {
        file.with_blocks(PlainOffset(0), &pattern(LONG, 2), |write| {
            file.seal_ahead(write);
            write.ahead.take()
        })
    };
    let (one, other) = (ahead(), ahead());
    let chunks = 1..32;
    assert_eq!(file.still_sealed(one), chunks);
    let state = file.state.write();
    file.end_session();
    assert!(file.nonces(&state, 1).is_ok());
    drop(state);
    assert_eq!(file.still_sealed(other), 0..0);
    assert_eq!(file.still_sealed(ahead()), chunks);
    assert_eq!(file.still_sealed(None), 0..0);
}

/// Every nonce that went to disk.
#[derive(Debug, Default)]
struct Nonces(Mutex<HashSet<[u8; 24]>>);

impl StorageObserver for Nonces {
    fn before(&self, _target: Target<'_>, _op: &StorageOp<'_>) -> Verdict {
        Verdict::Proceed
    }

    fn after(&self, _target: Target<'_>, op: &StorageOp<'_>) {
        let StorageOp::Write { offset, data, .. } = op else {
            return;
        };
        let layout = Layout::DEFAULT;
        for index in (offset.0 / BLOCK..).map(ChunkIndex) {
            let Some(at) = layout.sealed_start(index).0.checked_sub(offset.0) else {
                continue;
            };
            let Some(nonce) = data.get(at as usize..).and_then(<[u8]>::first_chunk) else {
                return;
            };
            assert!(
                self.0.lock().insert(*nonce),
                "a nonce of chunk {index} again"
            );
        }
    }
}

/// Has writers write at once what `part` says, by writer and round, into a file of `len` bytes.
fn write_at_once(
    len: u64,
    writers: u64,
    rounds: u64,
    part: impl Fn(u64, u64) -> (u64, Vec<u8>) + Sync,
) -> (Bench, OpenFile) {
    let bench = Bench::new();
    begun(&bench, len).sync(SyncKind::All).unwrap();
    let nonces = Arc::new(Nonces::default());
    let observer: Arc<dyn StorageObserver> = Arc::clone(&nonces) as _;
    let file = reopen_observed(&bench, Some(observer)).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (file, part) = (&file, &part);
            scope.spawn(move || {
                for round in 0..rounds {
                    let (at, data) = part(writer, round);
                    write(file, at, &data);
                }
            });
        }
    });
    assert!(nonces.0.lock().len() as u64 >= writers * rounds * (LONG / BLOCK));
    (bench, file)
}

#[test]
fn writers_of_overlapping_ranges_leave_each_chunk_wholly_of_one_of_them() {
    const CHUNKS: u64 = 150;
    const WRITERS: u64 = 6;
    const ROUNDS: u64 = 20;
    let range = |writer: u64, round: u64| {
        let from = 1 + (writer * 31 + round * 17) % (CHUNKS - 70);
        from..from + 40 + (writer + round) % 30
    };
    let fill = |writer, round| (1 + writer * ROUNDS + round) as u8;
    let len = FIRST + CHUNKS * CHUNK;
    let (bench, file) = write_at_once(len, WRITERS, ROUNDS, |writer, round| {
        let chunks = range(writer, round);
        let data = vec![fill(writer, round); ((chunks.end - chunks.start) * CHUNK) as usize];
        (FIRST + (chunks.start - 1) * CHUNK, data)
    });
    assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let bytes = read_all(&bench.reopen().unwrap()).unwrap();
    let before = pattern(len, 1);
    let chunks = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let (first, later) = bytes.split_at(FIRST as usize);
        let later = later.chunks(CHUNK as usize);
        std::iter::once(first)
            .chain(later)
            .map(<[u8]>::to_vec)
            .collect()
    };
    for (index, (chunk, before)) in (0..).zip(chunks(&bytes).iter().zip(chunks(&before))) {
        // A writer's own writes come one after the other.
        let last = |writer| (0..ROUNDS).rfind(|round| range(writer, *round).contains(&index));
        let mut lasts = (0..WRITERS).filter_map(|writer| Some(fill(writer, last(writer)?)));
        match lasts.clone().count() {
            0 => assert!(*chunk == before, "chunk {index}"),
            _ => {
                let of_one = lasts.any(|fill| *chunk == [fill; CHUNK as usize]);
                assert!(of_one, "chunk {index}");
            }
        }
    }
}

#[test]
fn writers_of_neighbouring_ranges_leave_what_each_wrote_last() {
    const WRITERS: u64 = 5;
    const SHARE: u64 = LONG + 1001;
    // The later ones also make the file grow, with gaps at first.
    let (bench, file) = write_at_once(2 * SHARE, WRITERS, 15, |writer, round| {
        let data = pattern(SHARE, (writer * 16 + round) as u8);
        (writer * SHARE, data)
    });
    let expected: Vec<u8> = (0..WRITERS)
        .flat_map(|writer| pattern(SHARE, (writer * 16 + 14) as u8))
        .collect();
    assert!(read_all(&file).unwrap() == expected);
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let file = bench.reopen().unwrap();
    assert!(read_all(&file).unwrap() == expected);
    assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
}

#[test]
fn writers_go_on_while_one_key_follows_another() {
    const SHARE: u64 = LONG + 2000;
    let bench = Bench::new();
    let file = begun(&bench, 3 * SHARE);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (file, done) = (&file, &done);
            scope.spawn(move || {
                let data = pattern(SHARE, writer as u8);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    write(file, writer * SHARE, &data);
                }
            });
        }
        for _ in 0..6 {
            reencrypt(&bench, &file).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(epochs_on_disk(&bench), (vec![7], vec![7]));
    file.sync(SyncKind::All).unwrap();
    let expected: Vec<u8> = (0..3)
        .flat_map(|writer| pattern(SHARE, writer as u8))
        .collect();
    assert!(read_all(&reopen(&bench)).unwrap() == expected);
}

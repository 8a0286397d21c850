//! Several open files of one ciphertext file, each as another mount would have it.

use super::*;
use crate::content::exclude_writers;
use crate::storage::Access;

impl Bench {
    fn shared(&self) -> OpenFile {
        self.shared_file(None).unwrap()
    }

    /// The file as one more mount opens it, whose next operations these faults strike.
    fn shared_file(&self, faults: Option<Arc<FaultQueue>>) -> Result<OpenFile, ContentError> {
        let name = CName::new(b"file").unwrap();
        let file = self
            .root()
            .open_child_file(&name, Access::ReadWrite)
            .unwrap();
        exclude_writers(&file).unwrap();
        let Probe::Sealed(header) = probe(&file, self.layout)? else {
            panic!("no header");
        };
        let keys = self.keys(&header);
        let file = match faults {
            Some(faults) => file.with_faults(faults),
            None => file,
        };
        OpenFile::open_shared(file, header, keys)
    }

    fn new_shared(&self) -> OpenFile {
        let created = self.create();
        created.close().unwrap();
        drop(created);
        self.shared()
    }
}

#[track_caller]
fn holds(file: &OpenFile, expected: &[u8]) {
    let mut out = vec![0xEE; expected.len() + 100];
    let len = file.read(PlainOffset(0), &mut out).unwrap();
    assert!(out[..len] == *expected, "{len} bytes");
    file.refresh_len().unwrap();
    assert_eq!(file.len(), PlainLen(expected.len() as u64));
}

fn bytes(fill: u8, len: u64) -> Vec<u8> {
    vec![fill; len as usize]
}

#[test]
fn each_sees_what_the_other_wrote_without_opening_anew() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    let mut expected = Vec::new();
    for round in 0..20_u8 {
        let (writer, reader) = if round % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let part = bytes(round, 700 + u64::from(round) * 37);
        writer
            .write(PlainOffset(expected.len() as u64), &part)
            .unwrap();
        expected.extend_from_slice(&part);
        if round % 5 == 0 {
            writer.sync(SyncKind::Data).unwrap();
        }
        holds(reader, &expected);
    }
}

#[test]
fn appends_of_both_stand_one_behind_the_other() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    let mut expected = Vec::new();
    for round in 0..40_u8 {
        let part = bytes(round, 331);
        let writer = if round % 3 == 0 { &one } else { &other };
        let at = writer.append(&part).unwrap();
        assert_eq!(at, PlainOffset(expected.len() as u64));
        expected.extend_from_slice(&part);
    }
    holds(&one, &expected);
    holds(&other, &expected);
}

#[test]
fn parts_of_one_chunk_written_at_once_are_all_there() {
    const RECORD: usize = 100;
    const RECORDS: usize = 300;
    let bench = Bench::new();
    let mounts = [bench.new_shared(), bench.shared(), bench.shared()];
    std::thread::scope(|scope| {
        for (nth, mount) in mounts.iter().enumerate() {
            scope.spawn(move || {
                for record in (0..RECORDS).filter(|record| record % 3 == nth) {
                    let fill = [record as u8; RECORD];
                    mount
                        .write(PlainOffset((record * RECORD) as u64), &fill)
                        .unwrap();
                }
            });
        }
    });
    let expected: Vec<u8> = (0..RECORDS * RECORD)
        .map(|at| (at / RECORD) as u8)
        .collect();
    mounts.iter().for_each(|mount| holds(mount, &expected));
    assert_eq!(mounts[0].verify(Extent::All, || ()).unwrap(), []);
}

#[test]
fn a_reader_meets_whole_chunks_however_fast_they_change() {
    let layout = Layout::new(1 << 16, 1024).unwrap();
    let bench = Bench::with_layout(layout);
    let (writer, reader) = (bench.new_shared(), bench.shared());
    writer.write(PlainOffset(0), &bytes(0, 150_000)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for fill in 1..=200_u8 {
                writer.write(PlainOffset(0), &bytes(fill, 150_000)).unwrap();
                let len = PlainLen(100_000 + u64::from(fill) * 250);
                writer.resize(len).unwrap();
            }
        });
        scope.spawn(|| {
            let mut out = vec![0; 200_000];
            for _ in 0..400 {
                let len = reader.read(PlainOffset(0), &mut out).unwrap();
                assert!(len >= 100_000, "{len}");
            }
        });
    });
}

#[test]
fn cuts_and_growth_are_taken_over() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    let sizes = [
        0,
        1,
        FIRST,
        FIRST + 1,
        20_000,
        FIRST + CHUNK,
        3,
        50_000,
        0,
        9,
    ];
    let mut expected: Vec<u8> = Vec::new();
    for (nth, size) in sizes.into_iter().enumerate() {
        one.write(PlainOffset(0), &[nth as u8; 5]).unwrap();
        expected.resize(expected.len().max(5), 0);
        expected[..5].fill(nth as u8);
        if nth % 3 == 0 {
            one.sync(SyncKind::Data).unwrap();
        }
        other.resize(PlainLen(size)).unwrap();
        expected.resize(size as usize, 0);
        holds(&one, &expected);
        holds(&other, &expected);
    }
    other.extend(PlainLen(5)).unwrap();
    holds(&one, &expected);
}

#[test]
fn holes_made_by_another_read_as_zeros() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    let mut expected = bytes(7, 40_000);
    one.write(PlainOffset(0), &expected).unwrap();
    one.sync(SyncKind::Data).unwrap();
    holds(&other, &expected);
    one.punch_hole(PlainOffset(5000), 30_000).unwrap();
    expected[5000..35_000].fill(0);
    holds(&other, &expected);
}

#[test]
fn what_was_cut_and_written_anew_meanwhile_is_not_committed() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    one.write(PlainOffset(0), &bytes(1, 20_000)).unwrap();
    let ticket = one.begin_commit().unwrap();
    other.resize(PlainLen(8000)).unwrap();
    other.write(PlainOffset(8000), &bytes(2, 12_000)).unwrap();
    assert!(!one.finish_commit(ticket).unwrap());
    assert_eq!(
        bench.shared().state.read().header.committed_len,
        PlainLen(0)
    );
    one.sync(SyncKind::Data).unwrap();
    assert_eq!(
        bench.shared().state.read().header.committed_len,
        PlainLen(20_000)
    );
}

#[test]
fn both_may_commit_and_the_longer_stands() {
    let bench = Bench::new();
    let (one, other) = (bench.new_shared(), bench.shared());
    one.write(PlainOffset(0), &bytes(1, 9000)).unwrap();
    let early = one.begin_commit().unwrap();
    other.write(PlainOffset(9000), &bytes(2, 9000)).unwrap();
    other.sync(SyncKind::All).unwrap();
    assert!(one.finish_commit(early).unwrap());
    let committed = |file: &OpenFile| file.state.read().header.committed_len;
    assert_eq!(committed(&bench.shared()), PlainLen(18_000));
}

#[test]
fn an_older_header_put_back_is_damage_to_whoever_knows_the_newer() {
    let bench = Bench::new();
    let file = bench.new_shared();
    file.write(PlainOffset(0), &bytes(1, 20_000)).unwrap();
    let before = std::fs::read(bench.path()).unwrap();
    file.sync(SyncKind::Data).unwrap();
    let mut now = std::fs::read(bench.path()).unwrap();
    now[..1024].copy_from_slice(&before[..1024]);
    std::fs::write(bench.path(), &now).unwrap();
    for result in [file.write(PlainOffset(0), b"x"), file.refresh()] {
        let error = result.unwrap_err();
        let header = Damage::Header;
        assert!(
            matches!(&error, ContentError::Damaged { damage, .. } if *damage == header),
            "{error}"
        );
    }
}

#[test]
fn a_header_of_another_file_or_none_is_damage() {
    let bench = Bench::new();
    let file = bench.new_shared();
    file.write(PlainOffset(0), &bytes(1, 20_000)).unwrap();
    let intact = std::fs::read(bench.path()).unwrap();
    for at in [16, 40, 64, 96] {
        let mut changed = intact.clone();
        changed[at] ^= 1;
        std::fs::write(bench.path(), &changed).unwrap();
        // A byte that the tag does not show to have changed is found by whoever opens the file.
        let opened = bench.shared_file(None);
        assert!(opened.is_err(), "byte {at}");
    }
    std::fs::write(bench.path(), bytes(0, 8192)).unwrap();
    assert!(file.refresh().is_err());
}

#[test]
fn an_empty_file_gets_one_header_whoever_comes_first() {
    let bench = Bench::new();
    let name = CName::new(b"file").unwrap();
    drop(bench.root().create_file(&name, 0o600).unwrap());
    let again = || {
        bench
            .root()
            .open_child_file(&name, Access::ReadWrite)
            .unwrap()
    };
    let mut late = bench.adopt(again());
    late.shared = true;
    let first = bench.adopt(again());
    first.write(PlainOffset(0), b"first").unwrap();
    for result in [late.close(), late.write(PlainOffset(0), b"late")] {
        assert!(matches!(result, Err(ContentError::Overtaken)));
    }
    holds(&bench.shared(), b"first");
}

/// A change that ends at each of its system calls in turn, as it does where the mount is killed; what the others see then.
fn killed_at_each_step(
    prepare: impl Fn(&OpenFile),
    change: impl Fn(&OpenFile) -> Result<(), ContentError>,
    op: FaultOp,
    legal: impl Fn(&[u8]) -> bool,
) {
    for nth in 0.. {
        let bench = Bench::new();
        let survivor = bench.new_shared();
        prepare(&survivor);
        let faults = Arc::new(FaultQueue::new());
        let victim = bench.shared_file(Some(Arc::clone(&faults))).unwrap();
        let fault = Fault {
            op,
            after: nth,
            action: FaultAction::Errno(libc::EIO),
        };
        faults.inject(fault);
        let died = change(&victim).is_err();
        drop(victim);
        let newcomer = bench.shared();
        for mount in [&survivor, &newcomer] {
            let mut out = vec![0; 100_000];
            let len = mount.read(PlainOffset(0), &mut out).unwrap();
            assert!(legal(&out[..len]), "{op:?} {nth}: {len} bytes");
        }
        // They agree on the end, and go on from there.
        survivor.append(b"survivor").unwrap();
        newcomer.append(b"newcomer").unwrap();
        let mut out = vec![0; 100_000];
        let len = survivor.read(PlainOffset(0), &mut out).unwrap();
        assert!(out[..len].ends_with(b"survivornewcomer"), "{op:?} {nth}");
        assert!(legal(&out[..len - 16]), "{op:?} {nth}: {len} bytes after");
        assert_eq!(
            newcomer.verify(Extent::All, || ()).unwrap(),
            [],
            "{op:?} {nth}"
        );
        if !died {
            assert!(nth > 0, "{op:?} never struck");
            return;
        }
    }
}

#[test]
fn a_mount_killed_amid_an_append_leaves_old_or_new() {
    for start in [10, FIRST - 1, FIRST, FIRST + 100, 20_000] {
        for op in [FaultOp::Write, FaultOp::SetLen] {
            killed_at_each_step(
                |file| file.write(PlainOffset(0), &bytes(1, start)).unwrap(),
                |file| file.write(PlainOffset(start), &bytes(2, 9000)),
                op,
                |found| {
                    let (old, new) = found.split_at(found.len().min(start as usize));
                    let whole = new.iter().all(|byte| [0, 2].contains(byte));
                    old.len() as u64 == start && old.iter().all(|byte| *byte == 1) && whole
                },
            );
        }
    }
}

#[test]
fn a_mount_killed_amid_a_cut_leaves_no_short_chunk_amid_the_file() {
    for committed in [false, true] {
        for to in [5, FIRST, FIRST + 5, FIRST + 2 * CHUNK + 9] {
            for op in [FaultOp::Write, FaultOp::SetLen] {
                killed_at_each_step(
                    |file| {
                        file.write(PlainOffset(0), &bytes(1, 30_000)).unwrap();
                        if committed {
                            file.sync(SyncKind::Data).unwrap();
                        }
                    },
                    |file| file.resize(PlainLen(to)),
                    op,
                    |found| found.len() as u64 >= to && found.iter().all(|byte| *byte == 1),
                );
            }
        }
    }
}

#[test]
fn a_mount_killed_amid_growth_leaves_zeros_or_nothing() {
    for op in [FaultOp::Write, FaultOp::SetLen] {
        killed_at_each_step(
            |file| file.write(PlainOffset(0), &bytes(1, 500)).unwrap(),
            |file| file.resize(PlainLen(60_000)),
            op,
            |found| {
                let (old, new) = found.split_at(500);
                old.iter().all(|byte| *byte == 1) && new.iter().all(|byte| *byte == 0)
            },
        );
    }
}

/// Bytes `from` to `to` of the ciphertext never reached the disk.
fn lose(bench: &Bench, from: u64, to: u64) {
    let file = std::fs::File::options()
        .write(true)
        .open(bench.path())
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0; (to - from) as usize], from).unwrap();
}

#[test]
fn what_a_host_lost_before_what_it_kept_ends_the_file_for_all() {
    // Chunks 2 to 9 are written by a mount whose host loses power; chunk 5 never reached the disk.
    for synced in [false, true] {
        let bench = Bench::new();
        let survivor = bench.new_shared();
        let kept = FIRST + CHUNK;
        survivor.write(PlainOffset(0), &bytes(1, kept)).unwrap();
        let victim = bench.shared();
        victim
            .write(PlainOffset(kept), &bytes(2, 8 * CHUNK))
            .unwrap();
        if synced {
            victim.sync(SyncKind::Data).unwrap();
            victim
                .write(PlainOffset(kept), &bytes(2, 8 * CHUNK))
                .unwrap();
            victim.append(&bytes(2, 8 * CHUNK)).unwrap();
        }
        drop(victim);
        let lost = if synced { 13 } else { 5 };
        lose(&bench, lost * BLOCK, (lost + 1) * BLOCK);
        let end = FIRST + (lost - 1) * CHUNK;
        let mut expected = bytes(1, kept);
        expected.resize(end as usize, 2);
        let newcomer = bench.shared();
        assert!(newcomer.is_untidy());
        holds(&newcomer, &expected);
        holds(&survivor, &expected);
        survivor.append(b"survivor").unwrap();
        newcomer.append(b"newcomer").unwrap();
        expected.extend_from_slice(b"survivornewcomer");
        holds(&survivor, &expected);
        holds(&newcomer, &expected);
        assert!(!bench.shared().is_untidy());
        assert_eq!(newcomer.verify(Extent::All, || ()).unwrap(), []);
    }
}

#[test]
fn a_length_that_went_before_its_chunks_ends_where_they_end() {
    let bench = Bench::new();
    let survivor = bench.new_shared();
    survivor.write(PlainOffset(0), &bytes(1, 10_000)).unwrap();
    bench.set_physical_len(40 * BLOCK + 9);
    for mount in [&survivor, &bench.shared()] {
        holds(mount, &bytes(1, 10_000));
    }
    survivor.append(b"on").unwrap();
    let physical = bench.layout.physical_len(PlainLen(10_002));
    assert_eq!(bench.physical_len(), physical.0);
}

#[test]
fn a_tail_that_another_cut_and_wrote_anew_to_the_same_size_is_the_others() {
    let bench = Bench::new();
    let victim = bench.new_shared();
    victim.write(PlainOffset(0), &bytes(1, 20_000)).unwrap();
    drop(victim);
    lose(&bench, 3 * BLOCK, 4 * BLOCK);
    let (one, other) = (bench.shared(), bench.shared());
    let end = FIRST + 2 * CHUNK;
    let size = bench.physical_len();
    one.append(&bytes(2, 20_000 - end)).unwrap();
    assert_eq!(bench.physical_len(), size);
    let mut expected = bytes(1, end);
    expected.resize(20_000, 2);
    holds(&other, &expected);
    other.write(PlainOffset(0), b"other").unwrap();
    expected[..5].copy_from_slice(b"other");
    holds(&one, &expected);
}

#[test]
fn a_search_that_failed_is_made_again() {
    let bench = Bench::new();
    let victim = bench.new_shared();
    victim.write(PlainOffset(0), &bytes(1, 20_000)).unwrap();
    let faults = Arc::new(FaultQueue::new());
    let reader = bench.shared_file(Some(Arc::clone(&faults))).unwrap();
    victim.append(&bytes(1, 20_000)).unwrap();
    drop(victim);
    lose(&bench, 7 * BLOCK, 8 * BLOCK);
    for after in 0..4 {
        faults.inject(Fault {
            op: FaultOp::Read,
            after,
            action: FaultAction::Errno(libc::EIO),
        });
        assert!(reader.refresh().is_err(), "read {after}");
    }
    holds(&reader, &bytes(1, FIRST + 6 * CHUNK));
}

#[test]
fn who_has_not_the_turn_waits_for_it() {
    let bench = Bench::new();
    drop(bench.new_shared());
    let file = bench.shared();
    let held = bench.shared();
    let turn = held.exclude_others(&held.state.read()).unwrap();
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            file.write(PlainOffset(0), b"late").unwrap();
            done.send(()).unwrap();
        });
        let early = finished.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "written while another mount had the turn");
        drop(turn);
        finished.recv().unwrap();
    });
    holds(&held, b"late");
}

//! The open file against a plain buffer, against crashes, and against an attacker with the ciphertext.

mod ahead;
mod reencrypt;
mod shared;
mod slots;

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::crypto::SecretKey;
use crate::format::file_keys;
use crate::format::header::{FIXED_LEN, KeyEpoch, KeySlot};
use crate::storage::faults::{Fault, FaultAction, FaultOp, FaultQueue};
use crate::storage::{CName, Node, StorageFile};
use crate::units::{EpochId, PlainOffset};

const BLOCK: u64 = 4096;
const FIRST: u64 = 3024;
const CHUNK: u64 = 4048;
const EPOCH: EpochId = EpochId(1);

/// One ciphertext file in a folder of its own, with its key at hand.
struct Bench {
    folder: TempDir,
    layout: Layout,
    dek: Arc<SecretKey>,
    file_id: FileId,
}

impl Bench {
    fn new() -> Self {
        Self::with_layout(Layout::DEFAULT)
    }

    fn with_layout(layout: Layout) -> Self {
        let dek = Arc::new(SecretKey::from_bytes(&[7; 32]).unwrap());
        Self {
            folder: TempDir::new().unwrap(),
            layout,
            dek,
            file_id: FileId([9; 16]),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn keys(&self, header: &FileHeader) -> EpochKeys {
        EpochKeys::derive(header, &[Arc::clone(&self.dek)]).unwrap()
    }

    fn root(&self) -> Node {
        Node::open_root(self.folder.path()).unwrap()
    }

    fn create(&self) -> OpenFile {
        let file = self
            .root()
            .create_file(&CName::new(b"file").unwrap(), 0o600)
            .unwrap();
        self.adopt(file)
    }

    fn adopt(&self, file: StorageFile) -> OpenFile {
        let slot = KeySlot {
            key_uri: "file:///k".parse().unwrap(),
            key_version: "1".into(),
            wrapped_dek: vec![0; 72],
        };
        let commitment = file_keys::commitment(&self.dek, &self.file_id);
        let epoch = KeyEpoch {
            epoch: EPOCH,
            commitment,
            slots: vec![slot],
        };
        let new = FileMaterial {
            file_id: self.file_id,
            volume_id: None,
            epoch,
            dek: Arc::clone(&self.dek),
            made: std::time::Instant::now(),
            membership_tag: [0; 32],
        };
        OpenFile::create(file, self.layout, new).unwrap()
    }

    fn storage_file(&self, access: Access) -> StorageFile {
        self.root()
            .open_child_file(&CName::new(b"file").unwrap(), access)
            .unwrap()
    }

    fn reopen(&self) -> Result<OpenFile, ContentError> {
        self.reopen_as(Access::ReadWrite)
    }

    fn reopen_as(&self, access: Access) -> Result<OpenFile, ContentError> {
        let file = self.storage_file(access);
        match probe(&file, self.layout)? {
            Probe::Sealed(header) => {
                let keys = self.keys(&header);
                OpenFile::open(file, header, keys)
            }
            Probe::Empty => panic!("no header"),
        }
    }

    fn physical_len(&self) -> u64 {
        std::fs::metadata(self.path()).unwrap().len()
    }

    fn set_physical_len(&self, len: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(self.path());
        file.unwrap().set_len(len).unwrap();
    }

    fn ciphertext(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    fn put_ciphertext(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }
}

fn pattern(len: u64, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed)
        .collect()
}

fn read_all(file: &OpenFile) -> Result<Vec<u8>, ContentError> {
    let mut bytes = vec![0; usize::try_from(file.len().0).unwrap()];
    let read = file.read(PlainOffset(0), &mut bytes)?;
    assert_eq!(read, bytes.len());
    Ok(bytes)
}

fn write(file: &OpenFile, at: u64, data: &[u8]) {
    file.write(PlainOffset(at), data).unwrap();
}

#[test]
fn what_was_written_is_read_before_and_after_reopening_at_every_boundary() {
    for len in [
        0,
        1,
        FIRST - 1,
        FIRST,
        FIRST + 1,
        FIRST + CHUNK - 1,
        FIRST + CHUNK,
        FIRST + CHUNK + 1,
        100_000,
    ] {
        let bench = Bench::new();
        let file = bench.create();
        let data = pattern(len, 1);
        write(&file, 0, &data);
        file.close().unwrap();
        assert_eq!(read_all(&file).unwrap(), data, "{len} bytes");
        drop(file);
        assert_eq!(
            bench.physical_len(),
            bench.layout.physical_len(PlainLen(len)).0
        );
        assert_eq!(
            read_all(&bench.reopen().unwrap()).unwrap(),
            data,
            "{len} bytes, reopened"
        );
    }
}

#[test]
fn a_small_file_is_one_block_and_commits_with_its_write() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, b"a certificate");
    assert!(!file.needs_commit());
    assert_eq!(bench.physical_len() / BLOCK, 1);
}

#[test]
fn a_larger_file_waits_for_its_commit_and_gets_it_with_a_sync() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(10_000, 0));
    assert!(file.needs_commit());
    file.sync(SyncKind::Data).unwrap();
    assert!(!file.needs_commit());
    drop(file);
    let Probe::Sealed(header) = probe(&bench.storage_file(Access::Read), bench.layout).unwrap()
    else {
        panic!()
    };
    assert_eq!(header.committed_len, PlainLen(10_000));
}

#[test]
fn a_commit_that_a_shrink_overtook_is_not_made() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(50_000, 0));
    let ticket = file.begin_commit().unwrap();
    file.resize(PlainLen(10)).unwrap();
    write(&file, 10, &pattern(60_000, 1));
    file.finish_commit(ticket).unwrap();
    drop(file);
    let Probe::Sealed(header) = probe(&bench.storage_file(Access::Read), bench.layout).unwrap()
    else {
        panic!()
    };
    assert!(header.committed_len <= PlainLen(10));
}

#[test]
fn commits_and_the_header_of_an_empty_file_keep_the_times_that_were_set() {
    let bench = Bench::new();
    let file = bench.create();
    file.set_times(TimeSet::At(1, 2), TimeSet::At(3, 4))
        .unwrap();
    file.close().unwrap();
    let mtime = || {
        let time = file.stat().unwrap().mtime;
        (time.secs, time.nanos)
    };
    assert_eq!(mtime(), (3, 4));
    write(&file, 0, &pattern(10_000, 0));
    file.set_times(TimeSet::Keep, TimeSet::At(5, 6)).unwrap();
    file.sync(SyncKind::All).unwrap();
    assert_eq!(mtime(), (5, 6));
}

fn mtime_of(file: &OpenFile) -> (i64, u32) {
    let time = file.stat().unwrap().mtime;
    (time.secs, time.nanos)
}

#[test]
fn a_write_that_the_kernel_made_no_time_for_keeps_the_one_that_it_has() {
    let bench = Bench::new();
    let file = bench.create();
    file.tell_mtime(Timestamp { secs: 3, nanos: 4 });
    file.settle_mtime().unwrap();
    assert_ne!(mtime_of(&file), (3, 4), "nothing was written");
    write(&file, 0, &pattern(10, 0));
    file.settle_mtime().unwrap();
    assert_eq!(mtime_of(&file), (3, 4));
    file.set_times(TimeSet::Keep, TimeSet::At(5, 6)).unwrap();
    write(&file, 0, &pattern(10_000, 0));
    file.set_times(TimeSet::At(1, 2), TimeSet::Keep).unwrap();
    file.settle_mtime().unwrap();
    assert_eq!(mtime_of(&file), (5, 6));
}

#[test]
fn a_write_past_the_kernels_cache_has_its_own_time() {
    let bench = Bench::new();
    let file = bench.create();
    file.tell_mtime(Timestamp { secs: 3, nanos: 4 });
    file.written_past_cache();
    write(&file, 0, &pattern(10, 0));
    file.settle_mtime().unwrap();
    assert_ne!(mtime_of(&file), (3, 4));
    file.set_times(TimeSet::Keep, TimeSet::Now).unwrap();
    write(&file, 0, &pattern(10, 0));
    file.settle_mtime().unwrap();
    assert_ne!(mtime_of(&file), (3, 4));
}

#[test]
fn where_other_mounts_write_too_no_time_is_put_back() {
    let bench = Bench::new();
    let mut file = bench.create();
    file.shared = true;
    file.tell_mtime(Timestamp { secs: 3, nanos: 4 });
    write(&file, 0, &pattern(10, 0));
    file.settle_mtime().unwrap();
    assert_ne!(mtime_of(&file), (3, 4));
}

#[test]
fn a_read_only_file_refuses_changes() {
    let bench = Bench::new();
    write(&bench.create(), 0, b"x");
    let file = bench.reopen_as(Access::Read).unwrap();
    assert!(file.write(PlainOffset(0), b"y").is_err());
    assert!(file.resize(PlainLen(0)).is_err());
    assert!(file.punch_hole(PlainOffset(0), 1).is_err());
    assert_eq!(read_all(&file).unwrap(), b"x");
}

#[test]
fn beyond_the_largest_file_is_refused_and_nothing_changes() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, b"x");
    let most = bench.layout.max_plain_len().0;
    assert!(matches!(
        file.write(PlainOffset(most), b"y"),
        Err(ContentError::TooLarge)
    ));
    assert!(matches!(
        file.write(PlainOffset(u64::MAX), b"y"),
        Err(ContentError::TooLarge)
    ));
    assert!(matches!(
        file.resize(PlainLen(most + 1)),
        Err(ContentError::TooLarge)
    ));
    assert_eq!(read_all(&file).unwrap(), b"x");
}

#[test]
fn a_gap_reads_as_zeros_takes_no_space_and_is_found_as_a_hole() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, b"begin");
    write(&file, 1 << 30, b"end");
    assert!(file.stat().unwrap().blocks < 100);
    let mut middle = [1; 100];
    file.read(PlainOffset(1 << 20), &mut middle).unwrap();
    assert_eq!(middle, [0; 100]);
    let hole = file.seek(PlainOffset(0), Seek::Hole).unwrap().unwrap();
    assert!(hole.0 >= 5 && hole.0 < 2 * BLOCK, "{hole}");
    let data = file.seek(hole, Seek::Data).unwrap().unwrap();
    assert!(data.0 <= 1 << 30 && data.0 > (1 << 30) - CHUNK, "{data}");
    assert_eq!(
        file.seek(data, Seek::Hole).unwrap(),
        Some(PlainOffset((1 << 30) + 3))
    );
    assert_eq!(
        file.seek(PlainOffset((1 << 30) + 3), Seek::Data).unwrap(),
        None
    );
    file.sync(SyncKind::All).unwrap();
    drop(file);
    assert_eq!(bench.reopen().unwrap().len(), PlainLen((1 << 30) + 3));
}

#[test]
fn growing_by_truncate_authenticates_the_end() {
    let bench = Bench::new();
    let file = bench.create();
    file.resize(PlainLen(1 << 20)).unwrap();
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let len = bench.physical_len();
    bench.set_physical_len(len - BLOCK);
    let file = bench.reopen().unwrap();
    assert_eq!(file.len(), PlainLen(1 << 20));
    assert!(read_all(&file).is_err());
}

#[test]
fn a_punched_hole_frees_space_and_the_first_and_last_chunk_stay_sealed() {
    let bench = Bench::new();
    let file = bench.create();
    let mut model = pattern(400_000, 3);
    write(&file, 0, &model);
    file.sync(SyncKind::All).unwrap();
    let before = file.stat().unwrap().blocks;
    file.punch_hole(PlainOffset(100), 500_000).unwrap();
    model[100..].fill(0);
    assert_eq!(read_all(&file).unwrap(), model);
    assert!(file.stat().unwrap().blocks < before / 10);
    drop(file);
    assert_eq!(read_all(&bench.reopen().unwrap()).unwrap(), model);
}

#[test]
fn space_set_aside_changes_neither_length_nor_content() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, b"abc");
    file.allocate(PlainOffset(0), 1 << 20).unwrap();
    assert_eq!(read_all(&file).unwrap(), b"abc");
    assert!(file.stat().unwrap().blocks * 512 >= 1 << 20);
    file.resize(PlainLen(1 << 20)).unwrap();
    assert_eq!(read_all(&file).unwrap()[3..], vec![0; (1 << 20) - 3]);
}

#[test]
fn a_full_disk_leaves_a_file_that_reads() {
    let bench = Bench::new();
    let faults = Arc::new(FaultQueue::new());
    let file = bench
        .root()
        .create_file(&CName::new(b"file").unwrap(), 0o600)
        .unwrap();
    let file = bench.adopt(file.with_faults(Arc::clone(&faults)));
    let data = pattern(20_000, 5);
    write(&file, 0, &data);
    file.sync(SyncKind::All).unwrap();
    for after in 0..3 {
        faults.inject(Fault {
            op: FaultOp::Write,
            after,
            action: FaultAction::Errno(libc::ENOSPC),
        });
        let failed = file.write(PlainOffset(30_000), &pattern(50_000, 6));
        if let Err(ContentError::Io(error)) = &failed {
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        }
        let read = read_all(&file).unwrap();
        assert_eq!(read[..20_000], data[..], "after {after} writes");
    }
    drop(file);
    assert_eq!(
        read_all(&bench.reopen().unwrap()).unwrap()[..20_000],
        data[..]
    );
}

#[test]
fn a_crash_between_blocks_and_length_loses_nothing_that_reached_the_disk() {
    let bench = Bench::new();
    write(&bench.create(), 0, &pattern(10_000, 1));
    bench.set_physical_len(3 * BLOCK);
    let file = bench.reopen().unwrap();
    assert_eq!(read_all(&file).unwrap(), pattern(10_000, 1));
    write(&file, 10_000, b"more");
    drop(file);
    assert_eq!(bench.reopen().unwrap().len(), PlainLen(10_004));
}

#[test]
fn a_crash_that_kept_a_longer_last_chunk_and_lost_its_length_reads_the_old_length() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(10_000, 1));
    file.sync(SyncKind::All).unwrap();
    let physical = bench.physical_len();
    write(&file, 10_000, b"appended, in the last chunk");
    drop(file);
    bench.set_physical_len(physical);
    let file = bench.reopen().unwrap();
    assert_eq!(read_all(&file).unwrap(), pattern(10_000, 1));
    write(&file, 10_000, b"again");
    drop(file);
    assert_eq!(bench.reopen().unwrap().len(), PlainLen(10_005));
}

#[test]
fn a_crash_that_lost_uncommitted_blocks_keeps_the_committed_ones() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(10_000, 1));
    file.sync(SyncKind::All).unwrap();
    write(&file, 10_000, &pattern(90_000, 2));
    drop(file);
    for lost in [3, 5, 10, 20] {
        let mut bytes = bench.ciphertext();
        bytes[lost * BLOCK as usize..].fill(0);
        bench.put_ciphertext(&bytes);
        let file = bench.reopen().unwrap();
        let read = read_all(&file).unwrap();
        assert!(read.len() >= 10_000);
        assert_eq!(read[..10_000], pattern(10_000, 1));
    }
}

#[test]
fn a_cut_below_the_committed_length_is_an_error_past_the_cut_and_only_there() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(20_000, 1));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    bench.set_physical_len(2 * BLOCK);
    let file = bench.reopen().unwrap();
    assert_eq!(file.len(), PlainLen(20_000));
    let mut head = [0; 1000];
    file.read(PlainOffset(0), &mut head).unwrap();
    assert_eq!(head[..], pattern(1000, 1));
    let cut = file.read(PlainOffset(15_000), &mut head);
    assert!(
        matches!(
            cut,
            Err(ContentError::Damaged {
                damage: Damage::Cut { .. },
                ..
            })
        ),
        "{cut:?}"
    );
}

#[test]
fn every_flipped_byte_of_every_block_is_detected() {
    let bench = Bench::new();
    let data = pattern(9000, 1);
    let file = bench.create();
    write(&file, 0, &data);
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let original = bench.ciphertext();
    let meaningful = 3 * BLOCK as usize;
    let slots = FIXED_LEN..bench.layout.header_len();
    for position in 0..meaningful {
        let mut bytes = original.clone();
        bytes[position] ^= 0x40;
        bench.put_ciphertext(&bytes);
        let read = bench.reopen().and_then(|file| read_all(&file));
        if let Ok(read) = &read {
            // What the slots hold is judged by who unwraps them, and by the commitment.
            assert!(
                slots.contains(&position),
                "a flip at {position} went unseen"
            );
            assert_eq!(read[..], data[..]);
        }
    }
}

/// What an attacker does to whole blocks, by name.
type Attack = fn(&mut Vec<u8>, usize);

#[test]
fn blocks_swapped_dropped_zeroed_or_doubled_are_detected() {
    const B: usize = BLOCK as usize;
    let attacks: [(&str, Attack); 5] = [
        ("swap", |bytes, at| {
            let (low, high) = bytes.split_at_mut((at + 1) * B);
            low[at * B..].swap_with_slice(&mut high[..B]);
        }),
        ("drop", |bytes, at| drop(bytes.drain(at * B..(at + 1) * B))),
        ("zero", |bytes, at| bytes[at * B..(at + 1) * B].fill(0)),
        ("double", |bytes, at| {
            bytes.copy_within(at * B..(at + 1) * B, (at + 1) * B);
        }),
        ("cut", |bytes, at| bytes.truncate(at * B)),
    ];
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(30_000, 1));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let original = bench.ciphertext();
    for (name, attack) in attacks {
        for at in 1..7 {
            let mut bytes = original.clone();
            attack(&mut bytes, at);
            bench.put_ciphertext(&bytes);
            let read = bench.reopen().and_then(|file| read_all(&file));
            assert!(read.is_err(), "{name} of block {at} went unseen");
        }
    }
}

#[test]
fn chunks_of_another_file_are_refused() {
    let (one, mut other) = (Bench::new(), Bench::new());
    other.file_id = FileId([8; 16]);
    for bench in [&one, &other] {
        let file = bench.create();
        write(&file, 0, &pattern(20_000, 1));
        file.sync(SyncKind::All).unwrap();
    }
    let mut mixed = one.ciphertext();
    let b = BLOCK as usize;
    mixed[2 * b..3 * b].copy_from_slice(&other.ciphertext()[2 * b..3 * b]);
    one.put_ciphertext(&mixed);
    assert!(read_all(&one.reopen().unwrap()).is_err());
}

#[test]
fn another_key_opens_nothing() {
    let mut bench = Bench::new();
    write(&bench.create(), 0, b"secret");
    bench.dek = Arc::new(SecretKey::from_bytes(&[8; 32]).unwrap());
    let opened = bench.reopen();
    assert!(matches!(
        opened,
        Err(ContentError::Damaged {
            damage: Damage::Header,
            ..
        })
    ));
}

#[test]
fn verify_names_each_damaged_chunk() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(30_000, 1));
    file.sync(SyncKind::All).unwrap();
    assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
    let mut bytes = bench.ciphertext();
    bytes[3 * BLOCK as usize + 100] ^= 1;
    bytes[5 * BLOCK as usize + 4000] ^= 1;
    bench.put_ciphertext(&bytes);
    let mut seen = 0;
    let damage = bench
        .reopen()
        .unwrap()
        .verify(Extent::All, || seen += 1)
        .unwrap();
    let at = |index| move |lost: &Lost| matches!(lost.damage, Damage::Chunk { index: found, .. } if found.0 == index);
    assert!(
        damage.len() == 2 && at(3)(&damage[0]) && at(5)(&damage[1]),
        "{damage:?}"
    );
    assert_eq!(seen, 8);
}

#[test]
fn a_cut_file_with_holes_refuses_to_grow_over_the_cut_and_may_be_emptied() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(60_000, 1));
    file.punch_hole(PlainOffset(4000), 10_000).unwrap();
    file.sync(SyncKind::All).unwrap();
    drop(file);
    bench.set_physical_len(8 * BLOCK);
    let file = bench.reopen().unwrap();
    let changes: [&dyn Fn() -> Result<(), ContentError>; 5] = [
        &|| file.write(PlainOffset(50_000), b"x"),
        &|| file.write(PlainOffset(0), b"x"),
        &|| file.resize(PlainLen(100_000)),
        &|| file.resize(PlainLen(40_000)),
        &|| file.mend(),
    ];
    for change in changes {
        let refused = change();
        assert!(
            matches!(
                refused,
                Err(ContentError::Damaged {
                    damage: Damage::Cut {
                        index: ChunkIndex(8)
                    },
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    assert_eq!(bench.physical_len(), 8 * BLOCK);
    let mut end = [0; 100];
    assert!(file.read(PlainOffset(45_000), &mut end).is_err());
    file.resize(PlainLen(20_000)).unwrap();
    let mut model = pattern(20_000, 1);
    model[4000..14_000].fill(0);
    assert_eq!(read_all(&file).unwrap(), model);
    file.resize(PlainLen(0)).unwrap();
    drop(file);
    assert_eq!(read_all(&bench.reopen().unwrap()).unwrap(), b"");
}

#[test]
fn mending_does_not_fill_up_what_was_cut() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(60_000, 1));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    bench.set_physical_len(8 * BLOCK);
    assert!(bench.reopen().unwrap().mend().is_err());
    assert_eq!(bench.physical_len(), 8 * BLOCK);
}

#[test]
fn verifying_terabytes_of_holes_and_of_cut_off_chunks_takes_no_time() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, b"begin");
    write(&file, 1 << 42, b"end");
    file.sync(SyncKind::All).unwrap();
    let mut seen = 0;
    assert_eq!(file.verify(Extent::All, || seen += 1).unwrap(), []);
    assert!(seen < 10, "{seen} chunks");
    drop(file);
    bench.set_physical_len(BLOCK);
    for extent in [Extent::All, Extent::First] {
        let lost = bench.reopen().unwrap().verify(extent, || ()).unwrap();
        let [lost] = lost.as_slice() else {
            panic!("{lost:?}")
        };
        let to = PlainOffset((1 << 42) + 3);
        assert_eq!((lost.from, lost.to), (PlainOffset(FIRST), to));
    }
}

#[test]
fn a_disk_that_cannot_read_a_block_is_damage_of_that_block_alone() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(30_000, 1));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let faults = Arc::new(FaultQueue::new());
    let file = bench.storage_file(Access::Read);
    let Probe::Sealed(header) = probe(&file, bench.layout).unwrap() else {
        panic!()
    };
    let keys = bench.keys(&header);
    let file = OpenFile::open(file.with_faults(Arc::clone(&faults)), header, keys).unwrap();
    faults.inject(Fault {
        op: FaultOp::Read,
        after: 3,
        action: FaultAction::Errno(libc::EIO),
    });
    let lost = file.verify(Extent::All, || ()).unwrap();
    let damage = lost.iter().map(|lost| lost.damage.clone());
    let third = Damage::Unreadable {
        index: ChunkIndex(3),
    };
    assert_eq!(damage.collect::<Vec<_>>(), [third]);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Write { at: u64, len: u64, seed: u8 },
    Resize(u64),
    Punch { at: u64, len: u64 },
    Allocate { at: u64, len: u64 },
    Sync,
    Reopen,
}

const SPAN: u64 = 40_000;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..SPAN, 1..9000_u64, any::<u8>()).prop_map(|(at, len, seed)| Step::Write { at, len, seed }),
        2 => (0..SPAN).prop_map(Step::Resize),
        2 => (0..SPAN, 1..20_000_u64).prop_map(|(at, len)| Step::Punch { at, len }),
        1 => (0..SPAN, 1..20_000_u64).prop_map(|(at, len)| Step::Allocate { at, len }),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

fn apply(bench: &Bench, file: &mut OpenFile, model: &mut Vec<u8>, step: &Step) {
    match *step {
        Step::Write { at, len, seed } => {
            let data = pattern(len, seed);
            write(file, at, &data);
            let end = (at + len) as usize;
            model.resize(model.len().max(end), 0);
            model[at as usize..end].copy_from_slice(&data);
        }
        Step::Resize(len) => {
            file.resize(PlainLen(len)).unwrap();
            model.resize(len as usize, 0);
        }
        Step::Punch { at, len } => {
            file.punch_hole(PlainOffset(at), len).unwrap();
            let end = (at + len).min(model.len() as u64);
            if at < end {
                model[at as usize..end as usize].fill(0);
            }
        }
        Step::Allocate { at, len } => file.allocate(PlainOffset(at), len).unwrap(),
        Step::Sync => file.sync(SyncKind::Data).unwrap(),
        Step::Reopen => {
            file.close().unwrap();
            *file = bench.reopen().unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_reads_as_a_plain_buffer_does(
        steps in prop::collection::vec(step(), 1..30),
        block_log2 in 12..15_u32,
    ) {
        let bench = Bench::with_layout(Layout::new(1 << block_log2, 1024).unwrap());
        let mut file = bench.create();
        let mut model = Vec::new();
        for step in &steps {
            apply(&bench, &mut file, &mut model, step);
            prop_assert_eq!(file.len().0, model.len() as u64);
            prop_assert_eq!(&read_all(&file).unwrap(), &model);
        }
        file.close().unwrap();
        prop_assert_eq!(bench.physical_len(), bench.layout.physical_len(file.len()).0);
        prop_assert_eq!(&read_all(&bench.reopen().unwrap()).unwrap(), &model);
        prop_assert_eq!(file.verify(Extent::All, || ()).unwrap(), vec![]);
    }
}

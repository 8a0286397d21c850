//! A file gets a new data key, whatever happens in the middle of it.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::*;
use crate::format::chunk::{self, Area};
use crate::storage::{StorageObserver, StorageOp, Target, Verdict};

const OLD: u8 = 7;

fn dek(number: u32) -> Arc<SecretKey> {
    let byte = if number == 1 { OLD } else { 100 + number as u8 };
    Arc::new(SecretKey::from_bytes(&[byte; 32]).unwrap())
}

pub(super) fn material(bench: &Bench, number: u32) -> FileMaterial {
    let dek = dek(number);
    let slot = KeySlot {
        key_uri: "file:///k".parse().unwrap(),
        key_version: "1".into(),
        wrapped_dek: vec![number as u8; 72],
    };
    FileMaterial {
        file_id: bench.file_id,
        volume_id: None,
        epoch: KeyEpoch {
            epoch: EpochId(number),
            commitment: file_keys::commitment(&dek, &bench.file_id),
            slots: vec![slot],
        },
        dek,
        membership_tag: [0; 32],
        made: std::time::Instant::now(),
    }
}

/// Opens the file with the data keys that its header commits to.
pub(super) fn reopen(bench: &Bench) -> OpenFile {
    reopen_observed(bench, None).unwrap()
}

pub(super) fn reopen_observed(
    bench: &Bench,
    observer: Option<Arc<dyn StorageObserver>>,
) -> Result<OpenFile, ContentError> {
    let file = bench.storage_file(Access::ReadWrite);
    let file = match observer {
        Some(observer) => file.with_observer(observer),
        None => file,
    };
    let Probe::Sealed(header) = probe(&file, bench.layout)? else {
        panic!("no header")
    };
    let deks: Vec<_> = header
        .epochs
        .iter()
        .map(|epoch| dek(epoch.epoch.0))
        .collect();
    for (epoch, dek) in header.epochs.iter().zip(&deks) {
        let commitment = &epoch.commitment;
        assert!(file_keys::commitment_matches(
            dek,
            &bench.file_id,
            commitment
        ));
    }
    let keys = EpochKeys::derive(&header, &deks).unwrap();
    OpenFile::open(file, header, keys)
}

/// Gives the next key, or goes on where that was begun, in steps of two blocks.
pub(super) fn reencrypt(bench: &Bench, file: &OpenFile) -> Result<(), ContentError> {
    let known = file.header().unwrap().epochs;
    if known.len() == 1 {
        let new = material(bench, known[0].epoch.0 + 1);
        if file.exchange_key(&known, &new)? == Some(true) {
            return Ok(());
        }
        assert!(file.add_key(&known, &new)?);
    }
    let mut at = Some(ChunkIndex(0));
    while let Some(from) = at {
        at = file.reseal_older(from, 2)?.next;
    }
    file.drop_older_keys()
}

/// The epochs that chunks on disk are sealed under, and the header's.
pub(super) fn epochs_on_disk(bench: &Bench) -> (Vec<u32>, Vec<u32>) {
    let bytes = bench.ciphertext();
    let header = FileHeader::decode(&bytes).unwrap();
    let context = ChunkContext::new(bench.layout, bench.file_id);
    let block_len = bench.layout.block_len() as usize;
    let mut chunks = Vec::new();
    for (nth, block) in bytes.chunks_exact(block_len).enumerate() {
        let area = if nth == 0 {
            &block[bench.layout.header_len()..]
        } else {
            block
        };
        match chunk::parse(&context, ChunkIndex(nth as u64), area).unwrap() {
            Area::Hole => {}
            Area::Sealed(sealed) => chunks.push(sealed.epoch().0),
        }
    }
    chunks.sort_unstable();
    chunks.dedup();
    let header = header.epochs.iter().map(|epoch| epoch.epoch.0).collect();
    (chunks, header)
}

#[test]
fn content_stays_and_no_chunk_is_left_under_the_old_key_at_every_boundary() {
    let lens = [
        0,
        1,
        FIRST - 1,
        FIRST,
        FIRST + 1,
        FIRST + CHUNK,
        FIRST + CHUNK + 1,
        40_000,
    ];
    for block_log2 in [12, 14] {
        for len in lens {
            let bench = Bench::with_layout(Layout::new(1 << block_log2, 1024).unwrap());
            let file = bench.create();
            write(&file, 0, &pattern(len, 1));
            file.sync(SyncKind::All).unwrap();
            file.set_times(TimeSet::Keep, TimeSet::At(77, 5)).unwrap();
            let physical = bench.physical_len();
            reencrypt(&bench, &file).unwrap();
            assert_eq!(read_all(&file).unwrap(), pattern(len, 1), "{len}");
            assert_eq!(epochs_on_disk(&bench), (vec![2], vec![2]), "{len}");
            assert_eq!(bench.physical_len(), physical);
            assert_eq!(file.stat().unwrap().mtime.secs, 77);
            drop(file);
            let file = reopen(&bench);
            assert_eq!(read_all(&file).unwrap(), pattern(len, 1), "{len}");
            assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
            // And once more, from what is there now.
            reencrypt(&bench, &file).unwrap();
            assert_eq!(epochs_on_disk(&bench), (vec![3], vec![3]), "{len}");
            assert_eq!(read_all(&file).unwrap(), pattern(len, 1), "{len}");
        }
    }
}

#[test]
fn a_new_empty_file_gets_the_key_too() {
    let bench = Bench::new();
    let file = bench.create();
    reencrypt(&bench, &file).unwrap();
    assert_eq!(epochs_on_disk(&bench), (vec![2], vec![2]));
    assert!(reopen(&bench).is_empty());
}

#[test]
fn a_sparse_file_stays_sparse_and_a_hole_of_terabytes_costs_nothing() {
    use std::os::unix::fs::MetadataExt as _;
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(9000, 1));
    write(&file, 1 << 42, b"end");
    file.sync(SyncKind::All).unwrap();
    let blocks = || std::fs::metadata(bench.path()).unwrap().blocks();
    let before = blocks();
    reencrypt(&bench, &file).unwrap();
    assert_eq!(blocks(), before);
    let file = reopen(&bench);
    let mut end = [0; 3];
    file.read(PlainOffset(1 << 42), &mut end).unwrap();
    assert_eq!(&end, b"end");
    assert_eq!(
        file.seek(PlainOffset(20_000), Seek::Data)
            .unwrap()
            .unwrap()
            .0
            >> 30,
        (1 << 12) - 1
    );
    assert_eq!(file.verify(Extent::All, || ()).unwrap(), []);
}

#[test]
fn writers_go_on_between_the_steps() {
    let bench = Bench::new();
    let file = bench.create();
    let mut model = pattern(60_000, 1);
    write(&file, 0, &model);
    let known = file.header().unwrap().epochs;
    assert!(file.add_key(&known, &material(&bench, 2)).unwrap());
    assert!(!file.add_key(&known, &material(&bench, 2)).unwrap());
    let mut at = Some(ChunkIndex(0));
    let mut round: u64 = 0;
    while let Some(from) = at {
        let (place, data) = (round * 7919 % 60_000, pattern(3000, round as u8));
        write(&file, place, &data);
        let end = place as usize + data.len();
        model.resize(model.len().max(end), 0);
        model[place as usize..end].copy_from_slice(&data);
        match round {
            2 => file.resize(PlainLen(90_000)).unwrap(),
            4 => file.resize(PlainLen(50_001)).unwrap(),
            5 => file.punch_hole(PlainOffset(20_000), 9000).unwrap(),
            _ => {}
        }
        match round {
            2 => model.resize(90_000, 0),
            4 => model.resize(50_001, 0),
            5 => model[20_000..29_000].fill(0),
            _ => {}
        }
        assert_eq!(read_all(&file).unwrap(), model);
        at = file.reseal_older(from, 2).unwrap().next;
        round += 1;
    }
    file.drop_older_keys().unwrap();
    write(&file, 10, b"after");
    model[10..15].copy_from_slice(b"after");
    assert_eq!(epochs_on_disk(&bench), (vec![2], vec![2]));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    assert_eq!(read_all(&reopen(&bench)).unwrap(), model);
}

#[test]
fn a_chunk_that_does_not_open_stops_it_and_both_keys_stay() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(40_000, 1));
    file.sync(SyncKind::All).unwrap();
    drop(file);
    let mut bytes = bench.ciphertext();
    bytes[5 * BLOCK as usize + 100] ^= 1;
    bench.put_ciphertext(&bytes);
    let file = reopen(&bench);
    let failed = reencrypt(&bench, &file).unwrap_err();
    let chunk = ChunkIndex(5);
    assert!(
        matches!(failed, ContentError::Damaged { damage: Damage::Chunk { index, .. }, .. } if index == chunk),
        "{failed:?}"
    );
    drop(file);
    let file = reopen(&bench);
    assert_eq!(epochs_on_disk(&bench), (vec![1, 2], vec![1, 2]));
    let mut head = [0; 10_000];
    file.read(PlainOffset(0), &mut head).unwrap();
    assert_eq!(head[..], pattern(10_000, 1));
    let mut tail = [0; 1000];
    file.read(PlainOffset(39_000), &mut tail).unwrap();
    assert_eq!(tail[..], pattern(40_000, 1)[39_000..]);
}

#[test]
fn the_old_key_opens_nothing_afterwards() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(40_000, 1));
    reencrypt(&bench, &file).unwrap();
    drop(file);
    // As if the header still named it: what it sealed is gone.
    let refused = bench.reopen();
    assert!(matches!(
        refused,
        Err(ContentError::Damaged {
            damage: Damage::Header,
            ..
        })
    ));
}

#[test]
fn slots_that_do_not_fit_twice_are_refused_before_anything_is_written() {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(40_000, 1));
    file.sync(SyncKind::All).unwrap();
    let before = bench.ciphertext();
    let mut new = material(&bench, 2);
    new.epoch.slots = vec![new.epoch.slots[0].clone(); 8];
    let known = file.header().unwrap().epochs;
    assert!(file.add_key(&known, &new).is_err());
    assert_eq!(bench.ciphertext(), before);
    write(&file, 0, &pattern(40_000, 2));
    file.sync(SyncKind::All).unwrap();
    assert_eq!(epochs_on_disk(&bench), (vec![1], vec![1]));
    assert_eq!(read_all(&reopen(&bench)).unwrap(), pattern(40_000, 2));
}

#[test]
fn a_file_that_other_mounts_write_is_refused() {
    let bench = Bench::new();
    let file = bench
        .root()
        .create_file(&CName::new(b"file").unwrap(), 0o600);
    let file = OpenFile::create_shared(file.unwrap(), bench.layout, material(&bench, 1)).unwrap();
    write(&file, 0, &pattern(9000, 1));
    let known = file.header().unwrap().epochs;
    let new = material(&bench, 2);
    let refused = [
        file.add_key(&known, &new).map(drop),
        file.exchange_key(&known, &new).map(drop),
        file.reseal_older(ChunkIndex(0), 1).map(drop),
        file.drop_older_keys(),
    ];
    for result in refused {
        let Err(ContentError::Io(error)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
    }
}

/// A write or sync fails: whatever of it reached the disk, the file opens, and the next attempt ends it.
#[test]
fn each_call_that_fails_leaves_a_file_that_opens_and_can_be_gone_on_with() {
    for len in [500, 40_000] {
        for op in [
            FaultOp::Write,
            FaultOp::SyncData,
            FaultOp::SetTimes,
            FaultOp::Read,
        ] {
            for after in 0.. {
                let bench = Bench::new();
                let file = bench.create();
                write(&file, 0, &pattern(len, 1));
                file.sync(SyncKind::All).unwrap();
                drop(file);
                let faults = Arc::new(FaultQueue::new());
                let observer: Arc<dyn StorageObserver> = Arc::clone(&faults) as _;
                let file = reopen_observed(&bench, Some(observer)).unwrap();
                faults.inject(Fault {
                    op,
                    after,
                    action: FaultAction::Errno(libc::EIO),
                });
                let done = reencrypt(&bench, &file);
                if !faults.is_spent() {
                    // A file of one page is not synced by itself.
                    let none = len < FIRST && op == FaultOp::SyncData;
                    assert!(done.is_ok() && (none || after > 0), "{op:?} {after}");
                    break;
                }
                assert_eq!(read_all(&file).unwrap(), pattern(len, 1), "{op:?} {after}");
                drop(file);
                let file = reopen(&bench);
                assert_eq!(read_all(&file).unwrap(), pattern(len, 1), "{op:?} {after}");
                reencrypt(&bench, &file).unwrap();
                let (chunks, header) = epochs_on_disk(&bench);
                assert_eq!((chunks.len(), &chunks), (1, &header), "{op:?} {after}");
                assert_eq!(read_all(&reopen(&bench)).unwrap(), pattern(len, 1));
            }
        }
    }
}

/// What a power cut at each point may leave of one file: its pages as they were last made durable, and any later ones.
#[derive(Debug, Default)]
struct Disk {
    durable: Mutex<Vec<u8>>,
    /// Pages written since, in order.
    pending: Mutex<BTreeMap<usize, Vec<u8>>>,
    states: Mutex<Vec<Vec<u8>>>,
}

const PAGE: usize = 4096;

impl Disk {
    fn of(bytes: Vec<u8>) -> Self {
        Self {
            durable: Mutex::new(bytes),
            ..Self::default()
        }
    }

    fn write(&self, offset: usize, data: &[u8], synced: bool) {
        let mut pending = self.pending.lock();
        let mut durable = self.durable.lock();
        let pages = offset / PAGE..=(offset + data.len() - 1) / PAGE;
        for page in pages.clone() {
            let known = pending
                .get(&page)
                .cloned()
                .unwrap_or_else(|| durable[page * PAGE..(page + 1) * PAGE].to_vec());
            let mut new = known;
            for (at, byte) in data.iter().enumerate() {
                let place = offset + at;
                if place / PAGE == page {
                    new[place % PAGE] = *byte;
                }
            }
            pending.insert(page, new);
        }
        if synced {
            for page in pages {
                let new = pending.remove(&page).unwrap();
                durable[page * PAGE..(page + 1) * PAGE].copy_from_slice(&new);
            }
        }
    }

    fn sync(&self) {
        let mut durable = self.durable.lock();
        for (page, new) in std::mem::take(&mut *self.pending.lock()) {
            durable[page * PAGE..(page + 1) * PAGE].copy_from_slice(&new);
        }
    }

    /// Notes what would be found after a power cut now: every choice of up to six pages, else four choices.
    fn note(&self) {
        let (durable, pending) = (self.durable.lock(), self.pending.lock());
        let choices: Vec<u64> = match pending.len() {
            few @ 0..=6 => (0..1 << few).collect(),
            _ => vec![0, u64::MAX, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA],
        };
        for choice in choices {
            let mut state = durable.clone();
            for (nth, (page, new)) in pending.iter().enumerate() {
                if choice >> (nth % 64) & 1 == 1 {
                    state[page * PAGE..(page + 1) * PAGE].copy_from_slice(new);
                }
            }
            self.states.lock().push(state);
        }
    }
}

impl StorageObserver for Disk {
    fn before(&self, _target: Target<'_>, _op: &StorageOp<'_>) -> Verdict {
        Verdict::Proceed
    }

    fn after(&self, _target: Target<'_>, op: &StorageOp<'_>) {
        match op {
            StorageOp::Write {
                offset,
                data,
                synced,
            } => self.write(offset.0 as usize, data, *synced),
            StorageOp::SyncData | StorageOp::SyncAll => self.sync(),
            StorageOp::SetLen(_) => panic!("lengths do not change"),
            _ => return,
        }
        self.note();
    }
}

#[test]
fn after_a_power_cut_at_any_point_all_is_there_and_the_next_run_ends_it() {
    for len in [500, 20_000, 40_000] {
        let bench = Bench::new();
        let file = bench.create();
        write(&file, 0, &pattern(len, 1));
        file.sync(SyncKind::All).unwrap();
        drop(file);
        let mut bytes = bench.ciphertext();
        let physical = bytes.len();
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        let disk = Arc::new(Disk::of(bytes));
        let observer: Arc<dyn StorageObserver> = Arc::clone(&disk) as _;
        let file = reopen_observed(&bench, Some(observer)).unwrap();
        reencrypt(&bench, &file).unwrap();
        drop(file);
        let states = std::mem::take(&mut *disk.states.lock());
        assert!(states.len() > 1);
        let mut between = 0;
        for mut state in states {
            state.truncate(physical);
            bench.put_ciphertext(&state);
            between += usize::from(FileHeader::decode(&state).unwrap().epochs.len() > 1);
            let file = reopen(&bench);
            assert_eq!(read_all(&file).unwrap(), pattern(len, 1));
            reencrypt(&bench, &file).unwrap();
            assert_eq!(read_all(&reopen(&bench)).unwrap(), pattern(len, 1));
            let (chunks, header) = epochs_on_disk(&bench);
            assert_eq!(chunks, header);
        }
        assert_eq!(between > 10, len > FIRST, "{between} states with two keys");
    }
}

//! A file's key slots are exchanged under it.

use super::*;
use crate::content::exchange_slots;

fn slot(version: &str, len: usize) -> KeySlot {
    KeySlot {
        key_uri: "file:///k".parse().unwrap(),
        key_version: version.into(),
        wrapped_dek: vec![9; len],
    }
}

/// The file's epochs with other slots.
fn other(file: &OpenFile, slots: Vec<KeySlot>) -> (Vec<KeyEpoch>, Vec<KeyEpoch>) {
    let known = file.header().unwrap().epochs;
    let mut new = known.clone();
    new[0].slots = slots;
    (known, new)
}

fn on_disk(bench: &Bench) -> FileHeader {
    FileHeader::decode(&bench.ciphertext()).unwrap()
}

fn written(len: u64) -> (Bench, OpenFile) {
    let bench = Bench::new();
    let file = bench.create();
    write(&file, 0, &pattern(len, 1));
    file.sync(SyncKind::All).unwrap();
    (bench, file)
}

#[test]
fn only_slots_change_and_a_later_commit_keeps_them() {
    for len in [0, 100, 50_000] {
        let (bench, file) = written(len);
        file.close().unwrap();
        file.set_times(TimeSet::Keep, TimeSet::At(55, 0)).unwrap();
        let (before, whole) = (on_disk(&bench), bench.ciphertext());
        let (known, new) = other(&file, vec![slot("2", 72), slot("3", 80)]);
        let writer = Arc::new(bench.storage_file(Access::ReadWrite));
        assert!(file.exchange_slots(&writer, &known, &new).unwrap());
        let expected = FileHeader {
            epochs: new.clone(),
            ..before
        };
        assert_eq!(on_disk(&bench), expected);
        let header_len = bench.layout.header_len();
        assert_eq!(bench.ciphertext()[header_len..], whole[header_len..]);
        assert_eq!(file.stat().unwrap().mtime.secs, 55);
        write(&file, len, b"more");
        file.sync(SyncKind::All).unwrap();
        assert_eq!(on_disk(&bench).epochs, new);
        drop(file);
        assert_eq!(
            read_all(&bench.reopen().unwrap()).unwrap()[..len as usize],
            pattern(len, 1)
        );
    }
}

#[test]
fn a_closed_file_is_changed_in_the_same_way() {
    let (bench, file) = written(9000);
    let (known, new) = other(&file, vec![slot("2", 100)]);
    drop(file);
    let exchange = |known: &[KeyEpoch], new: &[KeyEpoch]| {
        let file = bench.storage_file(Access::ReadWrite);
        exchange_slots(file, bench.layout, known, new, false)
    };
    assert!(exchange(&known, &new).unwrap());
    assert!(!exchange(&known, &new).unwrap());
    assert!(exchange(&new, &known).unwrap());
    assert_eq!(on_disk(&bench).epochs, known);
    bench.put_ciphertext(&[]);
    assert!(!exchange(&known, &new).unwrap());
}

#[test]
fn what_is_not_the_files_or_does_not_fit_changes_nothing() {
    let (bench, file) = written(9000);
    let before = bench.ciphertext();
    let writer = Arc::new(bench.storage_file(Access::ReadWrite));
    let (known, new) = other(&file, vec![slot("2", 72)]);
    // The file's slots are others by now.
    assert!(!file.exchange_slots(&writer, &new, &known).unwrap());
    // Another data key.
    let mut key = new.clone();
    key[0].commitment[0] ^= 1;
    assert!(!file.exchange_slots(&writer, &known, &key).unwrap());
    let mut number = new;
    number[0].epoch = EpochId(2);
    assert!(!file.exchange_slots(&writer, &known, &number).unwrap());
    let (_, long) = other(&file, vec![slot("2", 1000)]);
    assert!(file.exchange_slots(&writer, &known, &long).is_err());
    let (_, none) = other(&file, Vec::new());
    assert!(file.exchange_slots(&writer, &known, &none).is_err());
    assert_eq!(bench.ciphertext(), before);
    write(&file, 0, b"x");
    file.sync(SyncKind::All).unwrap();
    assert_eq!(on_disk(&bench).epochs, known);
}

#[test]
fn a_call_that_fails_leaves_old_or_new_slots_and_the_content() {
    for op in [
        FaultOp::Write,
        FaultOp::Read,
        FaultOp::SetTimes,
        FaultOp::Stat,
    ] {
        let (bench, file) = written(9000);
        let (known, new) = other(&file, vec![slot("2", 72)]);
        let faults = Arc::new(FaultQueue::new());
        let writer = bench.storage_file(Access::ReadWrite);
        let writer = Arc::new(writer.with_faults(Arc::clone(&faults)));
        faults.inject(Fault {
            op,
            after: 0,
            action: FaultAction::Errno(libc::EIO),
        });
        assert!(
            file.exchange_slots(&writer, &known, &new).is_err(),
            "{op:?}"
        );
        assert!(faults.is_spent(), "{op:?}");
        let found = on_disk(&bench).epochs;
        assert!(found == known || found == new, "{op:?}");
        write(&file, 9000, &pattern(100, 2));
        file.sync(SyncKind::All).unwrap();
        drop(file);
        assert_eq!(
            read_all(&bench.reopen().unwrap()).unwrap().len(),
            9100,
            "{op:?}"
        );
    }
}

//! What one mount keeps of times for the next.

use std::fs;

use super::*;
use crate::storage::Timestamp;

fn at(secs: i64) -> Timestamp {
    Timestamp {
        secs,
        nanos: 999_999_999,
    }
}

fn kept(ino: u64) -> KeptCtime {
    KeptCtime {
        ino,
        ciphertext: at(ino as i64),
        told: at(-5),
    }
}

/// A volume that has kept two.
fn bench() -> Bench {
    let bench = Bench::new().made();
    let volume = bench.open().unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), []);
    volume.keep_ctimes(&[kept(1), kept(u64::MAX)]).unwrap();
    bench
}

#[test]
fn what_was_kept_is_there_in_the_same_order_until_other_is_kept() {
    let bench = bench();
    let volume = bench.open().unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), [kept(1), kept(u64::MAX)]);
    volume.keep_ctimes(&[]).unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), []);
}

#[test]
fn what_somebody_else_wrote_counts_for_nothing() {
    let bench = bench();
    let path = bench.meta("ctimes");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 8 + 32 + 2 * 32);
    let volume = bench.open().unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(volume.kept_ctimes().unwrap(), [], "byte {at}");
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(volume.kept_ctimes().unwrap(), [], "{at} bytes");
    }
    fs::write(&path, [&whole[..], &whole[40..72]].concat()).unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), []);
    fs::write(&path, &whole).unwrap();
    assert_eq!(volume.kept_ctimes().unwrap().len(), 2);
    let other = Bench::new().made();
    fs::write(other.meta("ctimes"), &whole).unwrap();
    assert_eq!(other.open().unwrap().kept_ctimes().unwrap(), []);
}

#[test]
fn what_is_too_long_or_no_file_is_an_error_and_not_read() {
    let bench = bench();
    let path = bench.meta("ctimes");
    let volume = bench.open().unwrap();
    fs::write(&path, vec![0; 40 + 32 * KeptCtime::MOST + 1]).unwrap();
    assert!(matches!(volume.kept_ctimes(), Err(VolumeError::Io { .. })));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(volume.kept_ctimes(), Err(VolumeError::Io { .. })));
    // The symlink goes, not what it leads to.
    volume.keep_ctimes(&[kept(1)]).unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), [kept(1)]);
}

#[test]
fn no_more_is_kept_than_is_read_again_and_the_newest_of_it() {
    let bench = Bench::new().made();
    let volume = bench.open().unwrap();
    let many: Vec<_> = (0..=KeptCtime::MOST as u64).map(kept).collect();
    volume.keep_ctimes(&many).unwrap();
    assert_eq!(volume.kept_ctimes().unwrap(), many[1..]);
}

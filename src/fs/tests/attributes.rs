//! setattr and extended attributes.

use super::*;
use crate::fs::inodes::Xattrs;
use crate::storage::{Timestamp, XattrSet};

fn time(secs: i64) -> TimeChange {
    TimeChange::To(Timestamp { secs, nanos: 5 })
}

#[test]
fn mode_owner_and_times_are_set_on_every_kind() {
    for names in MODES {
        let bench = Bench::new(names);
        let file = bench.put(ROOT, b"f", b"x");
        let folder = bench.folder(ROOT, b"d");
        for ino in [file, folder] {
            let change = AttrChange {
                mode: Some(0o741),
                uid: Some(7),
                gid: Some(8),
                atime: Some(time(100)),
                mtime: Some(time(-200)),
                ..AttrChange::default()
            };
            let attr = bench.set(ino, None, change).unwrap();
            assert_eq!((attr.mode, attr.uid, attr.gid), (0o741, 7, 8));
            assert_eq!((attr.atime.secs, attr.mtime.secs), (100, -200));
            assert_eq!(bench.getattr(ino, None).unwrap(), attr);
        }
    }
}

#[test]
fn a_new_length_holds_for_closed_and_open_files() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", &pattern(10_000));
    let bench = bench.reopened();
    assert_eq!(bench.find(ROOT, b"f").unwrap().ino, ino);
    assert_eq!(bench.resize(ino, 5000).unwrap().size, 5000);
    let fh = bench.opened(ino, true).unwrap();
    let change = AttrChange {
        size: Some(20_000),
        ..AttrChange::default()
    };
    assert_eq!(bench.set(ino, Some(fh), change).unwrap().size, 20_000);
    bench.release(fh).unwrap();
    let mut expected = pattern(5000);
    expected.resize(20_000, 0);
    assert_eq!(bench.content(ino).unwrap(), expected);
    refused(bench.resize(ino, u64::MAX), libc::EFBIG);
    assert_eq!(bench.content(ino).unwrap(), expected);
}

#[test]
fn a_new_length_by_other_than_root_takes_set_id_away() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"x");
    let with_mode = |mode| {
        let mode = AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        };
        bench.set(ino, None, mode).unwrap();
    };
    let size = AttrChange {
        size: Some(1),
        ..AttrChange::default()
    };
    for (who, before, after) in [
        (USER, 0o6755, 0o755),
        (USER, 0o6745, 0o745),
        (caller(12_345, 0), 0o6745, 0o2745),
        (SELF, 0o6755, 0o6755),
    ] {
        with_mode(before);
        let attr = bench.set_as(who, ino, None, size).unwrap();
        assert_eq!(attr.mode, after, "{before:o}");
    }
    with_mode(0o4755);
    let fh = bench.opened(ino, true).unwrap();
    bench.write(fh, 0, b"y", false).unwrap();
    assert_eq!(bench.getattr(ino, None).unwrap().mode, 0o4755);
    bench.write(fh, 0, b"y", true).unwrap();
    assert_eq!(bench.getattr(ino, None).unwrap().mode, 0o755);
    bench.release(fh).unwrap();
}

#[test]
fn times_that_were_set_outlive_the_close_and_the_commit() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.write(fh, 0, &pattern(9000), false).unwrap();
    let change = AttrChange {
        mtime: Some(time(1000)),
        ..AttrChange::default()
    };
    bench.set(ino, Some(fh), change).unwrap();
    bench.release(fh).unwrap();
    let bench = bench.reopened();
    assert_eq!(bench.find(ROOT, b"f").unwrap().mtime.secs, 1000);
}

/// As the kernel sends the times that it has made.
fn told(secs: i64) -> AttrChange {
    AttrChange {
        mtime: Some(time(secs)),
        ctime: Some(Timestamp { secs, nanos: 5 }),
        ..AttrChange::default()
    }
}

#[test]
fn the_time_of_the_last_change_is_the_one_that_the_kernel_made_whatever_is_written_for_it() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"open").unwrap();
    bench.write(fh, 0, &pattern(9000), false).unwrap();
    bench.set(ino, None, told(1000)).unwrap();
    let ctime = |bench: &Bench, name| bench.find(ROOT, name).unwrap().ctime.secs;
    assert_eq!(ctime(&bench, b"open"), 1000);
    bench.release(fh).unwrap();
    let open = bench.fs.inode(ino).unwrap().open_file();
    assert!(open.unwrap().needs_commit(), "its header is yet to come");
    let closed = bench.put(ROOT, b"closed", b"small");
    bench.fs.committer.commit_now();
    bench.set(closed, None, told(2000)).unwrap();
    for _ in 0..2 {
        assert_eq!(ctime(&bench, b"open"), 1000);
        assert_eq!(ctime(&bench, b"closed"), 2000);
    }
    let bench = bench.reopened().reopened();
    assert_eq!(ctime(&bench, b"open"), 1000);
    assert_eq!(ctime(&bench, b"closed"), 2000);
}

#[test]
fn a_new_file_keeps_the_time_that_its_maker_was_told() {
    let bench = Bench::new(NameMode::Encrypted);
    let (_, fh) = bench.make(ROOT, b"f").unwrap();
    let made = bench.find(ROOT, b"f").unwrap().ctime;
    std::thread::sleep(Duration::from_millis(20));
    bench.write(fh, 0, &pattern(9000), false).unwrap();
    bench.release(fh).unwrap();
    assert_eq!(bench.find(ROOT, b"f").unwrap().ctime, made);
    let bench = bench.reopened();
    assert_eq!(bench.find(ROOT, b"f").unwrap().ctime, made);
}

#[test]
fn what_changes_without_a_word_of_the_kernel_shows_the_ciphertexts_time() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"x");
    let mode = AttrChange {
        mode: Some(0o600),
        ..AttrChange::default()
    };
    let on_disk = |bench: &Bench| {
        use std::os::unix::fs::MetadataExt as _;
        bench.on_disk(b"f").metadata().unwrap().ctime()
    };
    for is_open in [false, true] {
        let fh = is_open.then(|| bench.opened(ino, true).unwrap());
        bench.set(ino, None, told(1000)).unwrap();
        assert_eq!(bench.getattr(ino, None).unwrap().ctime.secs, 1000);
        bench.set(ino, None, mode).unwrap();
        assert_eq!(
            bench.getattr(ino, None).unwrap().ctime.secs,
            on_disk(&bench)
        );
        fh.into_iter().for_each(|fh| bench.release(fh).unwrap());
        assert_eq!(
            bench.getattr(ino, None).unwrap().ctime.secs,
            on_disk(&bench)
        );
    }
    bench.set(ino, None, told(1000)).unwrap();
    let bench = bench.reopened();
    assert_eq!(bench.find(ROOT, b"f").unwrap().ctime.secs, 1000);
    // As who works in the ciphertext folder does.
    let path = bench.on_disk(b"f");
    let moved = path.with_extension("moved");
    std::fs::rename(&path, &moved).unwrap();
    std::fs::rename(&moved, &path).unwrap();
    assert_eq!(bench.find(ROOT, b"f").unwrap().ctime.secs, on_disk(&bench));
}

#[test]
fn where_other_mounts_write_too_the_ciphertexts_time_shows() {
    let shared = || FsOptions {
        shared: true,
        ..FsOptions::default()
    };
    let bench = Bench::with(NameMode::Encrypted, shared());
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.set(ino, None, told(1000)).unwrap();
    assert_ne!(bench.find(ROOT, b"f").unwrap().ctime.secs, 1000);
    bench.release(fh).unwrap();
    let bench = bench.reopened_with(shared());
    assert_ne!(bench.find(ROOT, b"f").unwrap().ctime.secs, 1000);
}

#[test]
fn what_is_written_past_the_kernels_cache_shows_the_ciphertexts_time() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.set(ino, None, told(1000)).unwrap();
    bench.written_past_cache(fh).unwrap();
    bench.write(fh, 0, b"x", false).unwrap();
    assert_ne!(bench.getattr(ino, Some(fh)).unwrap().ctime.secs, 1000);
    bench.release(fh).unwrap();
    assert_ne!(bench.getattr(ino, None).unwrap().ctime.secs, 1000);
}

#[test]
fn attributes_come_back_and_are_sealed_on_disk() {
    let bench = Bench::new(NameMode::Encrypted);
    for ino in [bench.put(ROOT, b"f", b""), bench.folder(ROOT, b"d"), ROOT] {
        bench
            .setxattr(SELF, ino, b"user.color", b"blue", XattrSet::Create)
            .unwrap();
        assert_eq!(bench.getxattr(ino, b"user.color").unwrap(), b"blue");
        assert_eq!(bench.listxattr(ino).unwrap(), b"user.color\0");
        let node = bench.node(&bench.inode(ino).unwrap()).unwrap();
        let [on_disk] = node.list_xattr().unwrap().try_into().unwrap();
        assert!(!on_disk.to_bytes().ends_with(b"color"));
        let value = node.xattr(&on_disk).unwrap();
        assert!(!value.windows(4).any(|part| part == b"blue"));
        bench.removexattr(ino, b"user.color").unwrap();
        assert!(bench.listxattr(ino).unwrap().is_empty());
    }
}

#[test]
fn attributes_that_are_there_or_not_are_told_apart() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"");
    let set = |set| bench.setxattr(SELF, ino, b"user.a", b"1", set);
    refused(set(XattrSet::Replace), libc::ENODATA);
    set(XattrSet::Create).unwrap();
    refused(set(XattrSet::Create), libc::EEXIST);
    set(XattrSet::Either).unwrap();
    refused(bench.getxattr(ino, b"user.b"), libc::ENODATA);
    refused(bench.removexattr(ino, b"user.b"), libc::ENODATA);
}

#[test]
fn a_file_without_attributes_is_asked_once_until_it_gets_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, other) = (bench.put(ROOT, b"f", b""), bench.put(ROOT, b"g", b""));
    bench
        .setxattr(SELF, other, b"user.own", b"1", XattrSet::Either)
        .unwrap();
    let known = |ino| *bench.inode(ino).unwrap().xattrs().lock();
    assert_eq!((known(ino), known(other)), (Xattrs::Unknown, Xattrs::Some));
    for ino in [ino, other] {
        refused(bench.getxattr(ino, b"user.a"), libc::ENODATA);
    }
    assert_eq!((known(ino), known(other)), (Xattrs::None, Xattrs::Some));
    refused(bench.getxattr(ino, b"security.capability"), libc::ENODATA);
    refused(bench.getxattr(ino, b"system.other"), libc::EOPNOTSUPP);
    assert!(bench.listxattr(ino).unwrap().is_empty());
    bench
        .setxattr(SELF, ino, b"user.a", b"1", XattrSet::Create)
        .unwrap();
    assert_eq!(bench.getxattr(ino, b"user.a").unwrap(), b"1");
    assert_eq!(bench.listxattr(ino).unwrap(), b"user.a\0");
    bench.removexattr(ino, b"user.a").unwrap();
    refused(bench.getxattr(ino, b"user.a"), libc::ENODATA);
}

#[test]
fn namespaces_that_are_not_kept_are_refused() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"");
    for name in [b"system.other".as_slice(), b"other.name", b"user.", b""] {
        let set = bench.setxattr(SELF, ino, name, b"1", XattrSet::Either);
        refused(set, libc::EOPNOTSUPP);
        refused(bench.getxattr(ino, name), libc::EOPNOTSUPP);
        refused(bench.removexattr(ino, name), libc::EOPNOTSUPP);
    }
    let long = [b"user.".as_slice(), &[b'n'; 200]].concat();
    refused(
        bench.setxattr(SELF, ino, &long, b"1", XattrSet::Either),
        libc::ERANGE,
    );
}

#[test]
fn a_damaged_value_is_an_error_and_a_strangers_name_is_not_shown() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"");
    bench
        .setxattr(SELF, ino, b"user.a", b"1", XattrSet::Either)
        .unwrap();
    let node = bench.node(&bench.inode(ino).unwrap()).unwrap();
    let [on_disk] = node.list_xattr().unwrap().try_into().unwrap();
    let mut value = node.xattr(&on_disk).unwrap();
    value[30] ^= 1;
    node.set_xattr(&on_disk, &value, XattrSet::Either).unwrap();
    refused(bench.getxattr(ino, b"user.a"), libc::EIO);
    node.set_xattr(c"user.stranger", b"x", XattrSet::Either)
        .unwrap();
    assert_eq!(bench.listxattr(ino).unwrap(), b"user.a\0");
    refused(bench.getxattr(ino, b"user.stranger"), libc::ENODATA);
}

#[test]
fn a_value_does_not_pass_for_another_attributes() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"");
    for name in [b"user.a", b"user.b"] {
        bench
            .setxattr(SELF, ino, name, name, XattrSet::Either)
            .unwrap();
    }
    let node = bench.node(&bench.inode(ino).unwrap()).unwrap();
    let [one, other] = node.list_xattr().unwrap().try_into().unwrap();
    let moved = node.xattr(&one).unwrap();
    node.set_xattr(&other, &moved, XattrSet::Either).unwrap();
    let failures = [b"user.a", b"user.b"].map(|name| bench.getxattr(ino, name).is_err());
    assert_eq!(failures.iter().filter(|failed| **failed).count(), 1);
}

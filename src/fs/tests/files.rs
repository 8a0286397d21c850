//! Content through handles: what is written is read, by whatever handle, name or none.

use super::*;
use crate::content::{Seek, SyncKind};

#[test]
fn what_is_written_is_read_and_sizes_tell_it() {
    for names in MODES {
        let bench = Bench::new(names);
        for len in [0, 1, 3023, 3024, 3025, 7072, 7073, 50_000] {
            let name = format!("f{len}");
            let ino = bench.put(ROOT, name.as_bytes(), &pattern(len));
            assert_eq!(bench.find(ROOT, name.as_bytes()).unwrap().size, len as u64);
            assert_eq!(bench.getattr(ino, None).unwrap().size, len as u64);
            assert_eq!(bench.content(ino).unwrap(), pattern(len));
        }
        let bench = bench.reopened();
        for len in [0, 1, 3023, 3024, 3025, 7072, 7073, 50_000] {
            let attr = bench.find(ROOT, format!("f{len}").as_bytes()).unwrap();
            assert_eq!(attr.size, len as u64);
            assert_eq!(bench.content(attr.ino).unwrap(), pattern(len));
        }
    }
}

#[test]
fn an_open_file_tells_its_length_to_stat_by_number_and_by_handle() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    assert_eq!(bench.getattr(ino, None).unwrap().size, 0);
    bench.write(fh, 9000, b"end", false).unwrap();
    for handle in [None, Some(fh)] {
        assert_eq!(bench.getattr(ino, handle).unwrap().size, 9003);
    }
    bench.release(fh).unwrap();
}

#[test]
fn all_handles_of_an_inode_share_one_open_file() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, first) = bench.make(ROOT, b"f").unwrap();
    let (second, reader) = (
        bench.opened(ino, true).unwrap(),
        bench.opened(ino, false).unwrap(),
    );
    let file = |fh| Arc::clone(&bench.files.find(fh).unwrap().file);
    assert!(Arc::ptr_eq(&file(first), &file(second)));
    assert!(Arc::ptr_eq(&file(first), &file(reader)));
    bench.write(second, 0, b"shared", false).unwrap();
    assert_eq!(bench.read_all(reader).unwrap(), b"shared");
    assert!(bench.has_writers(ino));
    for fh in [first, second, reader] {
        bench.release(fh).unwrap();
    }
    assert!(!bench.has_writers(ino));
}

#[test]
fn a_readers_file_can_be_written_once_a_writer_opens_it() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.put(ROOT, b"f", b"old");
    let bench = bench.reopened();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    let reader = bench.opened(ino, false).unwrap();
    let writer = bench.opened(ino, true).unwrap();
    bench.write(writer, 0, b"new", false).unwrap();
    assert_eq!(bench.read_all(reader).unwrap(), b"new");
    bench.release(writer).unwrap();
    bench.release(reader).unwrap();
}

#[test]
fn handles_are_closed_once() {
    let bench = Bench::new(NameMode::Encrypted);
    let (_ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.release(fh).unwrap();
    refused(bench.release(fh), libc::EBADF);
    refused(bench.read(fh, 0, &mut [0]), libc::EBADF);
    refused(bench.write(fh, 0, b"x", false), libc::EBADF);
    refused(bench.fsync(fh, SyncKind::All), libc::EBADF);
    refused(bench.flush(fh), libc::EBADF);
    assert_eq!(bench.stats().open_files, 0);
}

#[test]
fn a_file_that_was_deleted_while_open_works_on() {
    for names in MODES {
        let bench = Bench::new(names);
        let (ino, fh) = bench.make(ROOT, b"f").unwrap();
        bench.write(fh, 0, b"before", false).unwrap();
        bench.unlink(ROOT, b"f").unwrap();
        bench.write(fh, 6, b" after", false).unwrap();
        bench.fsync(fh, SyncKind::All).unwrap();
        assert_eq!(bench.read_all(fh).unwrap(), b"before after");
        for handle in [None, Some(fh)] {
            let attr = bench.getattr(ino, handle).unwrap();
            assert_eq!((attr.size, attr.nlink), (12, 0));
        }
        assert_eq!(bench.resize(ino, 6).unwrap().size, 6);
        let mode = AttrChange {
            mode: Some(0o600),
            ..AttrChange::default()
        };
        assert_eq!(bench.set(ino, Some(fh), mode).unwrap().mode, 0o600);
        assert_eq!(
            bench.content(ino).unwrap(),
            b"before",
            "opened again by number"
        );
        refused(bench.find(ROOT, b"f"), libc::ENOENT);
        bench.release(fh).unwrap();
        bench.forget(ino, 1);
        refused(bench.getattr(ino, None), libc::ESTALE);
    }
}

#[test]
fn a_name_made_again_is_another_file_than_the_deleted_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let (old, fh) = bench.make(ROOT, b"f").unwrap();
    bench.write(fh, 0, b"old", false).unwrap();
    bench.unlink(ROOT, b"f").unwrap();
    let new = bench.put(ROOT, b"f", b"new");
    assert_ne!(old, new);
    assert_eq!(bench.read_all(fh).unwrap(), b"old");
    assert_eq!(bench.content(new).unwrap(), b"new");
    bench.release(fh).unwrap();
}

#[test]
fn one_name_of_two_goes_and_the_inode_stays() {
    for names in MODES {
        let bench = Bench::new(names);
        let ino = bench.put(ROOT, b"a", b"content");
        let folder = bench.folder(ROOT, b"d");
        let linked = bench.link(ino, folder, b"b").unwrap().attr;
        assert_eq!((linked.ino, linked.nlink), (ino, 2));
        refused(bench.link(ino, folder, b"b"), libc::EEXIST);
        // The name it was last found by, then the other.
        bench.unlink(folder, b"b").unwrap();
        assert_eq!(bench.getattr(ino, None).unwrap().nlink, 1);
        assert_eq!(bench.content(ino).unwrap(), b"content");
        bench.link(ino, folder, b"b").unwrap();
        bench.unlink(ROOT, b"a").unwrap();
        assert_eq!(bench.content(ino).unwrap(), b"content");
        assert_eq!(bench.find(folder, b"b").unwrap().ino, ino);
    }
}

#[test]
fn a_forgotten_file_that_waits_for_its_commit_is_the_same_when_found_again() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", &pattern(20_000));
    let file = || bench.inode(ino).unwrap().open_file();
    let waiting = file().expect("the committer has it open");
    bench.forget(ino, 1);
    assert_eq!(bench.stats().inodes, 0);
    bench.find(ROOT, b"f").unwrap();
    let fh = bench.opened(ino, true).unwrap();
    assert!(Arc::ptr_eq(&bench.files.find(fh).unwrap().file, &waiting));
    bench.release(fh).unwrap();
}

#[test]
fn a_deleted_file_is_let_go_with_its_last_handle_however_late_that_comes() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.write(fh, 0, &pattern(20_000), false).unwrap();
    bench.unlink(ROOT, b"f").unwrap();
    bench.write(fh, 20_000, &pattern(20_000), false).unwrap();
    let inode = bench.inode(ino).unwrap();
    bench.release(fh).unwrap();
    assert!(inode.open_file().is_none(), "the committer holds its space");
}

/// A punched range gives its space back, a zeroed one keeps it: as on ext4, a later write there finds room.
#[test]
fn a_zeroed_range_keeps_its_space_and_a_hole_in_it_is_filled() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    bench.write(fh, 0, &pattern(1 << 20), false).unwrap();
    bench.fsync(fh, SyncKind::All).unwrap();
    let blocks = || bench.getattr(ino, Some(fh)).unwrap().blocks;
    let full = blocks();
    let zero = libc::FALLOC_FL_ZERO_RANGE;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    for mode in [zero, zero | libc::FALLOC_FL_KEEP_SIZE] {
        bench.fallocate(fh, punch, 100_000, 800_000).unwrap();
        assert!(blocks() < full / 2, "punched: {} of {full}", blocks());
        bench.fallocate(fh, mode, 100_000, 800_000).unwrap();
        assert!(blocks() >= full, "zeroed: {} of {full}", blocks());
    }
    let content = bench.read_all(fh).unwrap();
    assert!(content[100_000..900_000].iter().all(|byte| *byte == 0));
    assert_eq!(content[..100_000], pattern(1 << 20)[..100_000]);
    assert_eq!(content[900_000..], pattern(1 << 20)[900_000..]);
    bench.release(fh).unwrap();
}

#[test]
fn preallocating_punching_and_zeroing_are_as_on_a_plain_file() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = bench.make(ROOT, b"f").unwrap();
    let mut plain = pattern(60_000);
    bench.write(fh, 0, &plain, false).unwrap();
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    bench.fallocate(fh, punch, 5000, 40_000).unwrap();
    plain[5000..45_000].fill(0);
    assert_eq!(bench.read_all(fh).unwrap(), plain);
    let hole = bench.lseek(fh, 6000, Seek::Hole).unwrap();
    let data = bench.lseek(fh, hole, Seek::Data).unwrap();
    assert!((6000..20_000).contains(&hole) && (40_000..=45_000).contains(&data));
    bench
        .fallocate(fh, libc::FALLOC_FL_ZERO_RANGE, 59_000, 3000)
        .unwrap();
    plain[59_000..].fill(0);
    plain.resize(62_000, 0);
    assert_eq!(bench.read_all(fh).unwrap(), plain);
    bench
        .fallocate(fh, libc::FALLOC_FL_KEEP_SIZE, 0, 100_000)
        .unwrap();
    assert_eq!(bench.getattr(ino, None).unwrap().size, 62_000);
    bench.fallocate(fh, 0, 0, 70_000).unwrap();
    assert_eq!(bench.getattr(ino, None).unwrap().size, 70_000);
    refused(bench.fallocate(fh, 0, 0, 0), libc::EINVAL);
    refused(bench.fallocate(fh, 0, u64::MAX, 2), libc::EINVAL);
    refused(bench.fallocate(fh, 0, i64::MAX as u64, 1), libc::EFBIG);
    let other = libc::FALLOC_FL_COLLAPSE_RANGE;
    refused(bench.fallocate(fh, other, 0, 4096), libc::EOPNOTSUPP);
    for what in [Seek::Data, Seek::Hole] {
        refused(bench.lseek(fh, 70_000, what), libc::ENXIO);
    }
    bench.release(fh).unwrap();
}

#[test]
fn copies_between_handles_end_at_the_end_of_the_source() {
    let bench = Bench::new(NameMode::Encrypted);
    let source = bench.put(ROOT, b"a", &pattern(3_000_000));
    let from = bench.opened(source, false).unwrap();
    let (copy, to) = bench.make(ROOT, b"b").unwrap();
    let copied = bench.copy_file_range(from, 100, to, 7, 10_000_000);
    assert_eq!(copied.unwrap(), 2_999_900);
    assert_eq!(bench.getattr(copy, None).unwrap().size, 2_999_907);
    let mut out = vec![0; 1000];
    bench.read(to, 7, &mut out).unwrap();
    assert_eq!(out, pattern(1100)[100..]);
    assert_eq!(bench.copy_file_range(from, 3_000_000, to, 0, 5).unwrap(), 0);
    let largest = i64::MAX as u64;
    refused(bench.copy_file_range(from, 0, to, largest, 5), libc::EFBIG);
}

#[test]
fn an_unmount_commits_all_and_leaves_the_times_alone() {
    let bench = Bench::new(NameMode::Encrypted);
    let inos: Vec<_> = (0..12)
        .map(|nth| bench.put(ROOT, format!("f{nth}").as_bytes(), &pattern(nth * 3000)))
        .collect();
    let open = |ino: &Ino| bench.inode(*ino).unwrap().open_file();
    let files: Vec<_> = inos.iter().filter_map(open).collect();
    assert!(files.iter().any(|file| file.needs_commit()));
    let mtime = |ino: &Ino| bench.getattr(*ino, None).unwrap().mtime;
    let before: Vec<_> = inos.iter().map(mtime).collect();
    bench.shut_down();
    assert!(files.iter().all(|file| !file.needs_commit()));
    assert_eq!(inos.iter().map(mtime).collect::<Vec<_>>(), before);
    bench.shut_down();
}

#[test]
fn an_empty_file_whose_release_the_kernel_never_sent_opens_after_the_mount_has_ended() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.make(ROOT, b"f").unwrap();
    let bench = bench.reopened();
    let ino = bench.find(ROOT, b"f").unwrap().ino;
    assert_eq!(bench.content(ino).unwrap(), b"");
}

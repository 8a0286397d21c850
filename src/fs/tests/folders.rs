//! Folders: made, removed, read piece by piece.

use std::collections::BTreeSet;

use super::*;

#[test]
fn an_empty_folder_goes_and_a_full_one_stays() {
    for names in MODES {
        let bench = Bench::new(names);
        let folder = bench.folder(ROOT, b"d");
        refused(bench.mkdir(SELF, ROOT, b"d", 0o755), libc::EEXIST);
        bench.put(folder, b"f", b"");
        refused(bench.rmdir(ROOT, b"d"), libc::ENOTEMPTY);
        bench.unlink(folder, b"f").unwrap();
        bench.rmdir(ROOT, b"d").unwrap();
        refused(bench.find(ROOT, b"d"), libc::ENOENT);
        assert!(bench.disk_entries().is_empty());
    }
}

#[test]
fn files_are_not_folders_nor_folders_files() {
    for names in MODES {
        let bench = Bench::new(names);
        let file = bench.put(ROOT, b"f", b"");
        bench.folder(ROOT, b"d");
        refused(bench.rmdir(ROOT, b"f"), libc::ENOTDIR);
        refused(bench.unlink(ROOT, b"d"), libc::EISDIR);
        refused(bench.rmdir(ROOT, b"none"), libc::ENOENT);
        refused(bench.unlink(ROOT, b"none"), libc::ENOENT);
        if names == NameMode::Plain {
            refused(bench.make(file, b"x"), libc::ENOTDIR);
        }
        assert_eq!(bench.names_in(ROOT).unwrap(), [b"d", b"f"]);
    }
}

#[test]
fn a_folder_that_holds_only_what_a_crash_left_can_be_removed() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.folder(ROOT, b"d");
    let path = bench.on_disk(b"d");
    let unfinished = path.join(".envelopefs.tmp.0123");
    std::fs::create_dir(&unfinished).unwrap();
    std::os::unix::fs::symlink("00", unfinished.join(".envelopefs.dirid")).unwrap();
    let sidecar = format!("L.{}.n", "A".repeat(43));
    std::os::unix::fs::symlink("x", path.join(sidecar)).unwrap();
    bench.rmdir(ROOT, b"d").unwrap();
    assert!(bench.disk_entries().is_empty());
}

#[test]
fn a_folder_with_a_strangers_entry_stays_whole() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"d");
    std::fs::write(bench.on_disk(b"d").join("stranger"), "x").unwrap();
    refused(bench.rmdir(ROOT, b"d"), libc::ENOTEMPTY);
    assert!(bench.names_in(folder).unwrap().is_empty(), "left out");
    bench.put(folder, b"f", b"");
    assert_eq!(bench.names_in(folder).unwrap(), [b"f"]);
    assert_eq!(bench.stats().foreign_entries, 2);
}

#[test]
fn a_removed_folder_that_is_still_held_is_empty_and_takes_nothing() {
    for names in MODES {
        let bench = Bench::new(names);
        let folder = bench.folder(ROOT, b"d");
        let fh = bench.opendir(folder).unwrap();
        bench.rmdir(ROOT, b"d").unwrap();
        refused(bench.make(folder, b"f"), libc::ENOENT);
        refused(bench.mkdir(SELF, folder, b"e", 0o755), libc::ENOENT);
        assert!(bench.getattr(folder, None).is_ok());
        bench.releasedir(fh).unwrap();
        refused(bench.releasedir(fh), libc::EBADF);
    }
}

#[test]
fn a_folder_without_its_id_is_damage_and_not_absence() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"d");
    bench.folder(folder, b"inside");
    let bench = bench.reopened();
    let id = bench.on_disk(b"d").join(".envelopefs.dirid");
    std::fs::remove_file(&id).unwrap();
    let folder = bench.find(ROOT, b"d").unwrap().ino;
    refused(bench.names_in(folder), libc::EIO);
    refused(bench.find(folder, b"x"), libc::EIO);
    std::os::unix::fs::symlink("no id", &id).unwrap();
    refused(bench.find(folder, b"x"), libc::EIO);
}

#[test]
fn an_empty_folder_that_a_crash_left_without_its_id_gets_a_new_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"d");
    let bench = bench.reopened();
    let id = bench.on_disk(b"d").join(".envelopefs.dirid");
    let before = std::fs::read_link(&id).unwrap();
    std::fs::remove_file(&id).unwrap();
    assert_eq!(bench.find(ROOT, b"d").unwrap().ino, folder);
    assert!(bench.names_in(folder).unwrap().is_empty());
    assert_ne!(std::fs::read_link(&id).unwrap(), before);
    bench.folder(folder, b"inside");
    let bench = bench.reopened();
    let folder = bench.find(ROOT, b"d").unwrap().ino;
    assert!(bench.find(folder, b"inside").is_ok());
}

/// Reads on from where the last sink was full, `most` entries at a time.
fn read_in_pieces(bench: &Bench, fh: Fh, plus: bool, most: usize) -> Vec<(Vec<u8>, Ino)> {
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let mut taken = 0;
        bench
            .readdir(fh, offset, plus, |entry| {
                if taken == most {
                    return false;
                }
                taken += 1;
                offset = entry.next;
                all.push((entry.name.to_vec(), entry.ino));
                assert_eq!(
                    entry.entry.is_some(),
                    plus && !matches!(entry.name, b"." | b"..")
                );
                true
            })
            .unwrap();
        if taken == 0 {
            return all;
        }
    }
}

#[test]
fn small_pieces_lose_and_repeat_nothing() {
    for names in MODES {
        let bench = Bench::new(names);
        let made: BTreeSet<Vec<u8>> = (0..30)
            .map(|nth| {
                let mut name = format!("f{nth}").into_bytes();
                name.resize(name.len() + nth * 8 % 240, b'x');
                name
            })
            .collect();
        for name in &made {
            bench.put(ROOT, name, b"");
        }
        for (plus, most) in [(false, 1), (false, 7), (true, 1), (true, 1000)] {
            let fh = bench.opendir(ROOT).unwrap();
            let all = read_in_pieces(&bench, fh, plus, most);
            assert_eq!((&all[0].0[..], &all[1].0[..]), (&b"."[..], &b".."[..]));
            assert_eq!(all.len(), made.len() + 2);
            let found: BTreeSet<_> = all[2..].iter().map(|(name, _)| name.clone()).collect();
            assert_eq!(found, made);
            for (name, ino) in &all[2..] {
                assert_eq!(bench.find(ROOT, name).unwrap().ino, *ino);
            }
            bench.releasedir(fh).unwrap();
        }
    }
}

#[test]
fn entries_that_vanish_while_they_are_read_are_skipped() {
    let bench = Bench::new(NameMode::Encrypted);
    for nth in 0..10 {
        bench.put(ROOT, format!("f{nth}").as_bytes(), b"");
    }
    let fh = bench.opendir(ROOT).unwrap();
    let mut offset = 0;
    bench
        .readdir(fh, 0, true, |entry| {
            offset = entry.next;
            entry.next < 5
        })
        .unwrap();
    for nth in 0..10 {
        bench.unlink(ROOT, format!("f{nth}").as_bytes()).unwrap();
    }
    let mut seen = 0;
    bench
        .readdir(fh, offset, true, |_entry| {
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 0);
    // From the beginning it is read anew.
    bench.put(ROOT, b"new", b"");
    assert_eq!(read_in_pieces(&bench, fh, false, 9).len(), 3);
    bench.releasedir(fh).unwrap();
}

#[test]
fn references_given_by_readdirplus_are_all_that_must_be_given_back() {
    let bench = Bench::new(NameMode::Encrypted);
    for nth in 0..10 {
        let ino = bench.put(ROOT, format!("f{nth}").as_bytes(), b"");
        bench.forget(ino, 1);
    }
    assert_eq!(bench.stats().inodes, 0);
    let fh = bench.opendir(ROOT).unwrap();
    let all = read_in_pieces(&bench, fh, true, 3);
    bench.releasedir(fh).unwrap();
    assert_eq!(bench.stats().inodes, 10);
    for (_name, ino) in &all[2..] {
        bench.forget(*ino, 1);
    }
    assert_eq!(bench.stats().inodes, 0);
}

#[test]
fn forgetting_counts() {
    let bench = Bench::new(NameMode::Encrypted);
    let ino = bench.put(ROOT, b"f", b"");
    for _ in 0..3 {
        bench.find(ROOT, b"f").unwrap();
    }
    bench.forget(ino, 3);
    assert!(bench.getattr(ino, None).is_ok());
    bench.forget(ino, 1);
    assert_eq!(bench.stats().inodes, 0);
    bench.forget(ino, 1);
    bench.forget(ROOT, 100);
    assert!(bench.getattr(ROOT, None).is_ok());
}

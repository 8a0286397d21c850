//! Names of every length and kind, and what they leave on disk.

use super::*;
use crate::format::symlink::MAX_TARGET_LEN;

#[test]
fn long_names_stand_with_a_sidecar_and_leave_with_it() {
    let bench = Bench::new(NameMode::Encrypted);
    for len in [175, 176, 200, 255] {
        let name = long_name(len, b'n');
        let ino = bench.put(ROOT, &name, b"x");
        assert_eq!(bench.disk_entries().len(), if len > 175 { 2 } else { 1 });
        assert_eq!(bench.names_in(ROOT).unwrap(), std::slice::from_ref(&name));
        assert_eq!(bench.find(ROOT, &name).unwrap().ino, ino);
        bench.unlink(ROOT, &name).unwrap();
        assert!(bench.disk_entries().is_empty(), "{len}");
    }
    refused(bench.make(ROOT, &long_name(256, b'n')), libc::ENAMETOOLONG);
    refused(bench.find(ROOT, &long_name(256, b'n')), libc::ENAMETOOLONG);
}

#[test]
fn every_kind_of_entry_may_have_a_long_name() {
    let bench = Bench::new(NameMode::Encrypted);
    let name = |fill| long_name(230, fill);
    bench.folder(ROOT, &name(b'd'));
    bench.symlink(SELF, ROOT, &name(b'l'), b"target").unwrap();
    wait(|done| bench.mknod(SELF, ROOT, &name(b'p'), libc::S_IFIFO | 0o600, 0, done)).unwrap();
    let file = bench.put(ROOT, &name(b'f'), b"");
    bench.link(file, ROOT, &name(b'h')).unwrap();
    assert_eq!(bench.disk_entries().len(), 10);
    assert_eq!(bench.names_in(ROOT).unwrap().len(), 5);
    bench.rmdir(ROOT, &name(b'd')).unwrap();
    for fill in *b"lpfh" {
        bench.unlink(ROOT, &name(fill)).unwrap();
    }
    assert!(bench.disk_entries().is_empty());
}

#[test]
fn what_cannot_be_made_leaves_no_sidecar_and_takes_none() {
    let bench = Bench::new(NameMode::Encrypted);
    let name = long_name(200, b'n');
    bench.put(ROOT, &name, b"mine");
    refused(bench.make(ROOT, &name), libc::EEXIST);
    refused(bench.mkdir(SELF, ROOT, &name, 0o755), libc::EEXIST);
    refused(bench.symlink(SELF, ROOT, &name, b"t"), libc::EEXIST);
    assert_eq!(bench.disk_entries().len(), 2, "no leftover, nothing lost");
    assert_eq!(bench.names_in(ROOT).unwrap(), [name]);
    let other = long_name(200, b'o');
    refused(bench.mv((ROOT, b"none"), (ROOT, &other)), libc::ENOENT);
    refused(bench.link(Ino(77), ROOT, &other), libc::ESTALE);
    assert_eq!(bench.disk_entries().len(), 2);
}

#[test]
fn names_are_any_bytes_and_cases_differ() {
    for names in MODES {
        let bench = Bench::new(names);
        let all: [&[u8]; 6] = [b"\xff\xfe", b" ", b"a\nb", b"A", b"a", b"...\x01"];
        for name in all {
            bench.put(ROOT, name, name);
        }
        let mut expected = all.map(<[u8]>::to_vec);
        expected.sort();
        assert_eq!(bench.names_in(ROOT).unwrap(), expected);
        for name in all {
            let ino = bench.find(ROOT, name).unwrap().ino;
            assert_eq!(bench.content(ino).unwrap(), name);
        }
    }
}

#[test]
fn sealed_names_tell_nothing_and_differ_in_every_folder() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"folder");
    bench.put(ROOT, b"secret", b"");
    bench.put(folder, b"secret", b"");
    let (one, other) = (
        bench.on_disk(b"secret"),
        bench.on_disk_in(folder, b"secret"),
    );
    assert!(one.exists() && other.exists());
    assert_ne!(one.file_name(), other.file_name());
    assert!(!one.to_string_lossy().ends_with("secret"));
}

#[test]
fn reserved_names_are_hidden_and_refused_where_names_are_plain() {
    let bench = Bench::new(NameMode::Plain);
    for name in [b".envelopefs".as_slice(), b".envelopefs.tmp.x"] {
        refused(bench.find(ROOT, name), libc::ENOENT);
        refused(bench.make(ROOT, name), libc::EPERM);
        refused(bench.mkdir(SELF, ROOT, name, 0o755), libc::EPERM);
        refused(bench.unlink(ROOT, name), libc::EPERM);
        refused(bench.rmdir(ROOT, name), libc::EPERM);
        refused(bench.mv((ROOT, name), (ROOT, b"x")), libc::EPERM);
    }
    assert!(bench.names_in(ROOT).unwrap().is_empty());
    let encrypted = Bench::new(NameMode::Encrypted);
    encrypted.put(ROOT, b".envelopefs", b"mine");
    assert_eq!(encrypted.names_in(ROOT).unwrap(), [b".envelopefs"]);
}

#[test]
fn symlinks_come_back_and_are_sealed_on_disk() {
    for names in MODES {
        let bench = Bench::new(names);
        for len in [1, 2, 3, 50, 3000] {
            let name = format!("l{len}");
            let target = long_name(len, b't');
            let attr = bench.symlink(SELF, ROOT, name.as_bytes(), &target);
            let attr = attr.unwrap().attr;
            assert_eq!((attr.kind, attr.size), (FileKind::Symlink, len as u64));
            assert_eq!(bench.readlink(attr.ino).unwrap(), target);
            let on_disk = std::fs::read_link(bench.on_disk(name.as_bytes())).unwrap();
            assert_eq!(on_disk == bytes_path(&target), names == NameMode::Plain);
        }
        let longest = long_name(4096, b't');
        refused(
            bench.symlink(SELF, ROOT, b"x", &longest),
            libc::ENAMETOOLONG,
        );
        let file = bench.put(ROOT, b"f", b"");
        refused(bench.readlink(file), libc::EINVAL);
    }
    let bench = Bench::new(NameMode::Encrypted);
    let longest = long_name(MAX_TARGET_LEN, b't');
    bench.symlink(SELF, ROOT, b"longest", &longest).unwrap();
    let over = long_name(MAX_TARGET_LEN + 1, b't');
    refused(
        bench.symlink(SELF, ROOT, b"over", &over),
        libc::ENAMETOOLONG,
    );
}

#[test]
fn a_symlink_that_the_volume_did_not_seal_is_damage() {
    let bench = Bench::new(NameMode::Encrypted);
    bench.symlink(SELF, ROOT, b"l", b"target").unwrap();
    let path = bench.on_disk(b"l");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    let ino = bench.find(ROOT, b"l").unwrap().ino;
    refused(bench.readlink(ino), libc::EIO);
}

#[test]
fn new_inodes_are_their_makers() {
    for names in MODES {
        let bench = Bench::new(names);
        let (_file, fh) = bench.make_as(USER, ROOT, b"f", 0o4750).unwrap();
        bench.release(fh).unwrap();
        bench.mkdir(USER, ROOT, b"d", 0o511).unwrap();
        bench.symlink(USER, ROOT, b"l", b"t").unwrap();
        wait(|done| bench.mknod(USER, ROOT, b"p", libc::S_IFIFO | 0o640, 0, done)).unwrap();
        wait(|done| bench.mknod(USER, ROOT, b"r", libc::S_IFREG | 0o604, 0, done)).unwrap();
        let modes = [
            (b"f", 0o4750),
            (b"d", 0o511),
            (b"l", 0o777),
            (b"p", 0o640),
            (b"r", 0o604),
        ];
        for (name, mode) in modes {
            let attr = bench.find(ROOT, name).unwrap();
            assert_eq!(
                (attr.uid, attr.gid),
                (USER.ids.uid, USER.ids.gid),
                "{name:?}"
            );
            assert_eq!(attr.mode, mode, "{name:?}");
        }
        let made = bench.find(ROOT, b"r").unwrap().ino;
        assert_eq!(bench.content(made).unwrap(), b"");
        // Its owner may not write to it; the daemon looks after it all the same.
        let folder = bench.find(ROOT, b"d").unwrap().ino;
        bench.put(folder, b"x", b"");
        bench.unlink(folder, b"x").unwrap();
        bench.rmdir(ROOT, b"d").unwrap();
    }
}

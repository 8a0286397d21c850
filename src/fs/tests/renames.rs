//! rename in all its forms.

use super::*;

const NOREPLACE: RenameFlags = RenameFlags::NOREPLACE;
const EXCHANGE: RenameFlags = RenameFlags::EXCHANGE;

#[test]
fn a_file_moves_with_its_inode_between_folders_and_lengths() {
    for names in MODES {
        let bench = Bench::new(names);
        let folder = bench.folder(ROOT, b"d");
        let ino = bench.put(ROOT, b"a", b"content");
        let long = long_name(200, b'z');
        let steps: [(Ino, &[u8]); 5] = [
            (ROOT, b"b"),
            (folder, b"b"),
            (folder, &long),
            (ROOT, &long),
            (ROOT, b"a"),
        ];
        let mut at: (Ino, &[u8]) = (ROOT, b"a");
        for to in steps {
            bench.mv(at, to).unwrap();
            refused(bench.find(at.0, at.1), libc::ENOENT);
            assert_eq!(bench.getattr(ino, None).unwrap().size, 7);
            assert_eq!(bench.content(ino).unwrap(), b"content");
            assert_eq!(bench.find(to.0, to.1).unwrap().ino, ino);
            at = to;
        }
        assert_eq!(bench.disk_entries().len(), 2, "no sidecar is left");
    }
}

#[test]
fn what_is_replaced_works_on_where_it_is_open() {
    for names in MODES {
        let bench = Bench::new(names);
        bench.put(ROOT, b"new", b"new");
        let (old, fh) = bench.make(ROOT, b"f").unwrap();
        bench.write(fh, 0, b"old", false).unwrap();
        bench.mv((ROOT, b"new"), (ROOT, b"f")).unwrap();
        assert_eq!(bench.read_all(fh).unwrap(), b"old");
        assert_eq!(bench.getattr(old, None).unwrap().nlink, 0);
        let found = bench.find(ROOT, b"f").unwrap().ino;
        assert_eq!(bench.content(found).unwrap(), b"new");
        bench.release(fh).unwrap();
    }
}

#[test]
fn an_empty_folder_is_replaced_and_a_full_one_is_not() {
    for names in MODES {
        let bench = Bench::new(names);
        let source = bench.folder(ROOT, b"source");
        bench.put(source, b"inside", b"x");
        let target = bench.folder(ROOT, b"target");
        bench.put(target, b"kept", b"y");
        refused(
            bench.mv((ROOT, b"source"), (ROOT, b"target")),
            libc::ENOTEMPTY,
        );
        assert_eq!(bench.find(ROOT, b"source").unwrap().ino, source);
        bench.unlink(target, b"kept").unwrap();
        bench.mv((ROOT, b"source"), (ROOT, b"target")).unwrap();
        assert_eq!(bench.find(ROOT, b"target").unwrap().ino, source);
        assert_eq!(bench.names_in(source).unwrap(), [b"inside"]);
        assert_eq!(bench.disk_entries().len(), 1);
        assert!(
            bench.getattr(target, None).is_ok(),
            "held until it is forgotten"
        );
        refused(bench.make(target, b"x"), libc::ENOENT);
    }
}

#[test]
fn a_long_named_folder_is_replaced_by_a_long_named_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let (from, to) = (long_name(200, b'f'), long_name(200, b't'));
    let source = bench.folder(ROOT, &from);
    bench.folder(ROOT, &to);
    bench.mv((ROOT, &from), (ROOT, &to)).unwrap();
    assert_eq!(bench.find(ROOT, &to).unwrap().ino, source);
    assert_eq!(bench.names_in(ROOT).unwrap(), [to]);
    assert_eq!(bench.disk_entries().len(), 2);
}

#[test]
fn files_and_folders_do_not_replace_each_other() {
    for names in MODES {
        let bench = Bench::new(names);
        bench.folder(ROOT, b"d");
        bench.put(ROOT, b"f", b"x");
        refused(bench.mv((ROOT, b"f"), (ROOT, b"d")), libc::EISDIR);
        refused(bench.mv((ROOT, b"d"), (ROOT, b"f")), libc::ENOTDIR);
        refused(bench.mv((ROOT, b"none"), (ROOT, b"f")), libc::ENOENT);
        assert_eq!(bench.names_in(ROOT).unwrap(), [b"d", b"f"]);
    }
}

#[test]
fn noreplace_replaces_nothing() {
    for names in MODES {
        let bench = Bench::new(names);
        let folder = bench.folder(ROOT, b"d");
        bench.folder(ROOT, b"e");
        let ino = bench.put(ROOT, b"f", b"x");
        bench.link(ino, ROOT, b"g").unwrap();
        for (from, to) in [(b"d", b"e"), (b"f", b"d"), (b"f", b"g"), (b"f", b"f")] {
            let moved = bench.mv_with((ROOT, from), (ROOT, to), NOREPLACE);
            refused(moved, libc::EEXIST);
        }
        bench
            .mv_with((ROOT, b"f"), (folder, b"f"), NOREPLACE)
            .unwrap();
        assert_eq!(bench.content(ino).unwrap(), b"x");
    }
}

#[test]
fn two_names_of_one_inode_both_stay() {
    let bench = Bench::new(NameMode::Encrypted);
    let long = long_name(200, b'l');
    let ino = bench.put(ROOT, b"a", b"x");
    bench.link(ino, ROOT, &long).unwrap();
    bench.mv((ROOT, b"a"), (ROOT, &long)).unwrap();
    bench.mv((ROOT, &long), (ROOT, b"a")).unwrap();
    assert_eq!(bench.names_in(ROOT).unwrap(), [b"a".to_vec(), long]);
    assert_eq!(bench.content(ino).unwrap(), b"x");
}

#[test]
fn an_exchange_swaps_whatever_stands_there() {
    for names in MODES {
        let bench = Bench::new(names);
        let folder = bench.folder(ROOT, b"sub");
        let long = long_name(200, b'l');
        let file = bench.put(ROOT, b"f", b"file");
        let dir = bench.folder(folder, &long);
        bench.put(dir, b"inside", b"x");
        bench
            .mv_with((ROOT, b"f"), (folder, &long), EXCHANGE)
            .unwrap();
        assert_eq!(bench.find(ROOT, b"f").unwrap().ino, dir);
        assert_eq!(bench.find(folder, &long).unwrap().ino, file);
        assert_eq!(bench.names_in(folder).unwrap(), std::slice::from_ref(&long));
        assert_eq!(bench.content(file).unwrap(), b"file");
        assert_eq!(bench.names_in(dir).unwrap(), [b"inside"]);
        let absent = long_name(210, b'a');
        let moved = bench.mv_with((ROOT, b"f"), (ROOT, &absent), EXCHANGE);
        refused(moved, libc::ENOENT);
        assert_eq!(
            bench.disk_entries().len(),
            2,
            "no sidecar of the absent name"
        );
    }
}

#[test]
fn what_lies_in_a_moved_folder_is_found_without_its_handle() {
    let options = FsOptions {
        folder_handles: NonZeroUsize::new(1).unwrap(),
        ..FsOptions::default()
    };
    for names in MODES {
        let bench = Bench::with(names, options.clone());
        let folder = bench.folder(ROOT, b"d");
        let inner = bench.folder(folder, b"e");
        let ino = bench.put(inner, b"f", b"x");
        let other = bench.folder(ROOT, b"other");
        // A folder that was forgotten and found again is still the one that its children lie in.
        bench.forget(folder, 1);
        bench.find(ROOT, b"d").unwrap();
        bench.mv((ROOT, b"d"), (other, b"moved")).unwrap();
        bench.names_in(other).unwrap();
        assert_eq!(bench.getattr(ino, None).unwrap().size, 1);
        assert_eq!(bench.content(ino).unwrap(), b"x");
    }
}

#[test]
fn a_folder_does_not_move_into_itself() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"d");
    refused(bench.mv((ROOT, b"d"), (folder, b"e")), libc::EINVAL);
    assert!(bench.names_in(folder).unwrap().is_empty());
}

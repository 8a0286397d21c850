//! Files without a name: what they are until they get one, and when they are gone.

use super::policy::{RULES, policy};
use super::*;
use crate::content::SyncKind;

fn nameless(bench: &Bench, parent: Ino) -> (Ino, Fh) {
    let made = wait(|done| bench.tmpfile(SELF, parent, 0o640, done)).unwrap();
    assert_eq!((made.entry.attr.nlink, made.entry.attr.mode), (0, 0o640));
    (made.entry.attr.ino, made.opened.fh)
}

fn shared() -> FsOptions {
    FsOptions {
        shared: true,
        ..FsOptions::default()
    }
}

#[test]
fn it_is_a_file_as_any_and_nothing_is_left_of_it() {
    for (names, options) in [
        (NameMode::Encrypted, FsOptions::default()),
        (NameMode::Plain, FsOptions::default()),
        (NameMode::Encrypted, shared()),
    ] {
        let bench = Bench::with(names, options);
        let (ino, fh) = nameless(&bench, ROOT);
        bench.write(fh, 0, &pattern(50_000), false).unwrap();
        bench.fsync(fh, SyncKind::All).unwrap();
        bench.resize(ino, 30_000).unwrap();
        let again = bench.opened(ino, true).unwrap();
        assert_eq!(bench.read_all(again).unwrap(), pattern(30_000));
        assert_eq!(bench.getattr(ino, None).unwrap().size, 30_000);
        assert!(bench.names_in(ROOT).unwrap().is_empty());
        assert!(bench.disk_entries().is_empty());
        bench.release(fh).unwrap();
        bench.release(again).unwrap();
        // By a descriptor that is no open file (O_PATH) the kernel may still have it.
        assert_eq!(bench.content(ino).unwrap(), pattern(30_000));
        bench.forget(ino, 1);
        refused(bench.getattr(ino, None), libc::ESTALE);
        assert!(bench.disk_entries().is_empty());
    }
}

#[test]
fn its_space_is_free_when_the_kernel_has_forgotten_it() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = nameless(&bench, ROOT);
    bench.write(fh, 0, &pattern(50_000), false).unwrap();
    let inode = bench.inode(ino).unwrap();
    let file = Arc::downgrade(&inode.open_file().unwrap());
    drop(inode);
    bench.release(fh).unwrap();
    bench.forget(ino, 1);
    assert!(file.upgrade().is_none(), "something keeps it open");
}

#[test]
fn a_name_makes_it_a_file_that_stays() {
    for names in MODES {
        for closed in [false, true] {
            let bench = Bench::new(names);
            let folder = bench.folder(ROOT, b"folder");
            let long = long_name(250, b'n');
            let (ino, fh) = nameless(&bench, ROOT);
            bench.write(fh, 0, &pattern(9000), false).unwrap();
            if closed {
                bench.release(fh).unwrap();
            }
            let entry = bench.link(ino, folder, &long).unwrap();
            assert_eq!((entry.attr.ino, entry.attr.nlink), (ino, 1));
            refused(bench.link(ino, folder, &long), libc::EEXIST);
            if !closed {
                bench.write(fh, 9000, b"more", false).unwrap();
                bench.release(fh).unwrap();
            }
            bench.forget(ino, 2);
            let bench = bench.reopened();
            let folder = bench.find(ROOT, b"folder").unwrap().ino;
            assert_eq!(bench.names_in(folder).unwrap(), std::slice::from_ref(&long));
            let found = bench.find(folder, &long).unwrap().ino;
            let more: &[u8] = if closed { b"" } else { b"more" };
            assert_eq!(
                bench.content(found).unwrap(),
                [&pattern(9000), more].concat()
            );
        }
    }
}

/// Not even an empty one: it would be an error to whoever reads it after a crash.
#[test]
fn no_name_leads_to_a_file_without_its_header() {
    let bench = Bench::new(NameMode::Plain);
    let (ino, fh) = nameless(&bench, ROOT);
    bench.link(ino, ROOT, b"empty").unwrap();
    let len = std::fs::metadata(bench.on_disk(b"empty")).unwrap().len();
    assert!(len > 0, "no header");
    bench.release(fh).unwrap();
    assert_eq!(bench.content(ino).unwrap(), b"");
}

#[test]
fn once_its_name_is_gone_it_gets_no_other() {
    let bench = Bench::new(NameMode::Encrypted);
    let (ino, fh) = nameless(&bench, ROOT);
    bench.link(ino, ROOT, b"f").unwrap();
    bench.unlink(ROOT, b"f").unwrap();
    refused(bench.link(ino, ROOT, b"g"), libc::ENOENT);
    bench.write(fh, 0, b"still open", false).unwrap();
    assert_eq!(bench.read_all(fh).unwrap(), b"still open");
    bench.release(fh).unwrap();
    assert!(bench.disk_entries().is_empty());
}

#[test]
fn names_that_cannot_be_made_leave_it_without_one() {
    let bench = Bench::new(NameMode::Encrypted);
    let folder = bench.folder(ROOT, b"folder");
    bench.put(ROOT, b"taken", b"");
    let (ino, fh) = nameless(&bench, folder);
    let before = bench.disk_entries().len();
    refused(bench.link(ino, ROOT, b"taken"), libc::EEXIST);
    refused(
        bench.link(ino, ROOT, &long_name(256, b'n')),
        libc::ENAMETOOLONG,
    );
    bench.rmdir(ROOT, b"folder").unwrap();
    assert!(
        bench
            .link(ino, folder, b"in a folder that is gone")
            .is_err()
    );
    assert_eq!(bench.disk_entries().len(), before - 1);
    bench.link(ino, ROOT, b"elsewhere").unwrap();
    bench.release(fh).unwrap();
    assert_eq!(bench.content(ino).unwrap(), b"");
    let file = bench.find(ROOT, b"taken").unwrap().ino;
    refused(
        wait(|done| bench.tmpfile(SELF, file, 0o600, done)),
        libc::ENOTDIR,
    );
    assert!(wait(|done| bench.tmpfile(SELF, folder, 0o600, done)).is_err());
}

#[test]
fn the_policy_judges_it_as_a_new_name_of_its_folder_and_then_by_its_name() {
    for names in MODES {
        let bench = Bench::new(names);
        let (certs, docs) = (bench.folder(ROOT, b"certs"), bench.folder(ROOT, b"docs"));
        let of = |parent| nameless(&bench, parent).0;
        let (of_certs, of_docs, of_root) = (of(certs), of(docs), of(ROOT));
        bench.follow_policy(Some(policy(RULES)));
        let (deny, read_only) = (libc::EACCES, libc::EROFS);
        for (ask, expected) in [
            (Ask::Name(certs, NAMELESS), deny),
            (Ask::Name(docs, NAMELESS), read_only),
            (Ask::Name(ROOT, NAMELESS), 0),
            (Ask::Read(of_certs), deny),
            (Ask::Link(of_certs, ROOT, b"out"), deny),
            (Ask::Read(of_docs), 0),
            (Ask::Change(of_docs), read_only),
            (Ask::Link(of_docs, ROOT, b"out"), read_only),
            (Ask::Change(of_root), 0),
            (Ask::Link(of_root, ROOT, b"new"), 0),
            (Ask::Link(of_root, certs, b"in"), deny),
        ] {
            let judged = |caller| {
                let admitted = bench.admit(caller, "test", ask);
                admitted.map_or_else(|error| error.errno(), |()| 0)
            };
            assert_eq!(judged(USER), expected, "{ask:?}");
            assert_eq!(judged(SELF), 0, "{ask:?}, by another user");
        }
        bench.link(of_root, certs, b"in").unwrap();
        let read = bench.admit(USER, "test", Ask::Read(of_root));
        refused(read, deny);
    }
}

#[test]
fn it_belongs_to_its_maker_and_has_the_keys_of_its_folder() {
    let bench = Bench::with_scope(NameMode::Encrypted, KeyScope::File, FsOptions::default());
    let folder = bench.folder(ROOT, b"team");
    let key = bench.give_folder_a_key("/team", "team.key");
    bench.folder(folder, b"below");
    let made = wait(|done| bench.tmpfile(USER, folder, 0o600, done)).unwrap();
    let attr = made.entry.attr;
    assert_eq!((attr.uid, attr.gid), (USER.ids.uid, USER.ids.gid));
    bench.link(attr.ino, folder, b"f").unwrap();
    bench.release(made.opened.fh).unwrap();
    assert_eq!(bench.slot_uris(folder, b"f"), [key]);
}

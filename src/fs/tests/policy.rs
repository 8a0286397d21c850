//! What the policy denies, by path, and by what is known of who asks.

use super::super::policy::executable_below;
use super::*;
use crate::policy::{Accounts, Policy};

struct NoAccounts;

impl Accounts for NoAccounts {
    fn user(&self, _name: &str) -> Option<u32> {
        None
    }

    fn group(&self, _name: &str) -> Option<u32> {
        None
    }
}

pub(super) fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes(), &NoAccounts).unwrap()
}

/// `/certs` may not be touched by the user, `/docs` only read.
pub(super) const RULES: &str = "
    [[rule]]
    path = '/certs/**'
    uid = 12345
    access = 'deny'
    [[rule]]
    path = '/docs/**'
    uid = 12345
    access = 'read-only'
";

struct Tree {
    bench: Bench,
    certs: Ino,
    docs: Ino,
    secret: Ino,
    doc: Ino,
    free: Ino,
}

fn tree(names: NameMode) -> Tree {
    let bench = Bench::new(names);
    let (certs, docs) = (bench.folder(ROOT, b"certs"), bench.folder(ROOT, b"docs"));
    let tree = Tree {
        secret: bench.put(certs, b"a.key", b"secret"),
        doc: bench.put(docs, b"doc", b"doc"),
        free: bench.put(ROOT, b"free", b"free"),
        certs,
        docs,
        bench,
    };
    tree.bench.follow_policy(Some(policy(RULES)));
    tree
}

impl Tree {
    fn ask(&self, caller: Caller, ask: Ask<'_>) -> i32 {
        let admitted = self.bench.admit(caller, "test", ask);
        admitted.map_or_else(|error| error.errno(), |()| 0)
    }
}

#[test]
fn each_kind_of_request_is_judged() {
    for names in MODES {
        let tree = tree(names);
        let (deny, read_only) = (libc::EACCES, libc::EROFS);
        let chmod = AttrChange {
            mode: Some(0o777),
            ..AttrChange::default()
        };
        for (ask, expected) in [
            (Ask::Read(tree.secret), deny),
            (Ask::Change(tree.secret), deny),
            (Ask::SetAttr(tree.secret, None, &chmod), deny),
            (Ask::SetAttr(tree.certs, None, &chmod), deny),
            (Ask::Name(tree.certs, b"new"), deny),
            (Ask::Name(ROOT, b"certs"), deny),
            (Ask::Link(tree.secret, ROOT, b"out"), deny),
            (Ask::Link(tree.free, tree.certs, b"in"), deny),
            (Ask::Rename(tree.certs, b"a.key", ROOT, b"out"), deny),
            (Ask::Rename(ROOT, b"free", tree.certs, b"in"), deny),
            (Ask::Rename(ROOT, b"certs", ROOT, b"other"), deny),
            (Ask::Read(tree.doc), 0),
            (Ask::Change(tree.doc), read_only),
            (Ask::Name(tree.docs, b"new"), read_only),
            (Ask::Link(tree.doc, ROOT, b"out"), read_only),
            (Ask::Rename(tree.docs, b"doc", ROOT, b"out"), read_only),
            (Ask::Rename(ROOT, b"docs", ROOT, b"other"), read_only),
            (Ask::Read(tree.free), 0),
            (Ask::Change(tree.free), 0),
            (Ask::Name(ROOT, b"new"), 0),
            (Ask::Rename(ROOT, b"free", ROOT, b"other"), 0),
        ] {
            assert_eq!(tree.ask(USER, ask), expected, "{ask:?}");
            assert_eq!(tree.ask(SELF, ask), 0, "{ask:?}, by another user");
        }
        assert_eq!(tree.bench.stats().denied, 16);
    }
}

#[test]
fn a_folder_above_what_is_denied_stays_where_it_is() {
    let bench = Bench::new(NameMode::Encrypted);
    let outer = bench.folder(ROOT, b"outer");
    bench.folder(outer, b"certs");
    bench.follow_policy(Some(policy(
        "[[rule]]\npath = '/outer/certs/**'\naccess = 'deny'",
    )));
    let ask = |from: &[u8], to: &[u8]| {
        let ask = Ask::Rename(ROOT, from, ROOT, to);
        bench
            .admit(SELF, "rename", ask)
            .map_err(|error| error.errno())
    };
    assert_eq!(ask(b"outer", b"moved"), Err(libc::EACCES));
    // Nor may another come in its place.
    bench.folder(ROOT, b"other");
    assert_eq!(ask(b"other", b"outer"), Err(libc::EACCES));
    assert_eq!(ask(b"other", b"elsewhere"), Ok(()));
}

#[test]
fn a_path_is_what_it_is_now() {
    let tree = tree(NameMode::Encrypted);
    let bench = &tree.bench;
    bench.mv((tree.certs, b"a.key"), (ROOT, b"out")).unwrap();
    assert_eq!(tree.ask(USER, Ask::Read(tree.secret)), 0);
    bench.mv((ROOT, b"out"), (tree.certs, b"back")).unwrap();
    assert_eq!(tree.ask(USER, Ask::Read(tree.secret)), libc::EACCES);
    let folder = bench.folder(tree.certs, b"deep");
    let long = long_name(250, b'n');
    let deep = bench.put(folder, &long, b"x");
    assert_eq!(tree.ask(USER, Ask::Read(deep)), libc::EACCES);
}

#[test]
fn of_several_names_the_strictest_decides() {
    for names in MODES {
        let tree = tree(names);
        let bench = &tree.bench;
        bench.link(tree.secret, ROOT, b"alias").unwrap();
        bench.find(ROOT, b"alias").unwrap();
        assert_eq!(
            tree.ask(USER, Ask::Read(tree.secret)),
            libc::EACCES,
            "by its other name"
        );
        bench.find(tree.certs, b"a.key").unwrap();
        bench.find(ROOT, b"alias").unwrap();
        bench.unlink(tree.certs, b"a.key").unwrap();
        assert_eq!(
            tree.ask(USER, Ask::Read(tree.secret)),
            0,
            "that name is gone"
        );
    }
}

#[test]
fn more_names_than_are_remembered_count_as_any() {
    let tree = tree(NameMode::Plain);
    let bench = &tree.bench;
    for nth in 0..70 {
        let name = format!("alias-{nth}");
        bench.link(tree.free, ROOT, name.as_bytes()).unwrap();
    }
    assert_eq!(tree.ask(USER, Ask::Read(tree.free)), libc::EACCES);
    for nth in 0..69 {
        bench
            .unlink(ROOT, format!("alias-{nth}").as_bytes())
            .unwrap();
    }
    assert_eq!(tree.ask(USER, Ask::Read(tree.free)), 0);
}

#[test]
fn what_has_no_name_any_more_is_judged_by_every_rule() {
    let tree = tree(NameMode::Encrypted);
    let fh = tree.bench.opened(tree.free, true).unwrap();
    tree.bench.unlink(ROOT, b"free").unwrap();
    assert_eq!(tree.ask(USER, Ask::Read(tree.free)), libc::EACCES);
    assert_eq!(tree.ask(SELF, Ask::Read(tree.free)), 0);
    tree.bench.release(fh).unwrap();
}

#[test]
fn a_handle_keeps_its_right_and_the_kernel_sets_times_of_what_is_written() {
    let tree = tree(NameMode::Encrypted);
    let size = AttrChange {
        size: Some(1),
        ..AttrChange::default()
    };
    let times = AttrChange {
        mtime: Some(TimeChange::Now),
        ..AttrChange::default()
    };
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, None, &times)),
        libc::EACCES
    );
    let fh = tree.bench.opened(tree.secret, true).unwrap();
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, Some(fh), &size)),
        0
    );
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, Some(fh), &times)),
        0
    );
    // Not because somebody else writes.
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, None, &times)),
        libc::EACCES
    );
    // Nor by the handle of another file.
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.free, Some(fh), &times)),
        tree.ask(USER, Ask::SetAttr(tree.free, None, &times))
    );
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, None, &size)),
        libc::EACCES
    );
    tree.bench.release(fh).unwrap();
    let reads = tree.bench.opened(tree.secret, false).unwrap();
    assert_eq!(
        tree.ask(USER, Ask::SetAttr(tree.secret, Some(reads), &size)),
        libc::EACCES
    );
    tree.bench.release(reads).unwrap();
}

#[test]
fn who_is_not_seen_is_denied_what_he_may_be() {
    let tree = tree(NameMode::Encrypted);
    let own = std::env::current_exe().unwrap();
    let seen = Caller {
        pid: std::process::id(),
        ..SELF
    };
    let unseen = SELF;
    let follow = |text: &str| tree.bench.follow_policy(Some(policy(text)));
    follow(&format!(
        "default = 'deny'\n[[rule]]\nexe = {own:?}\naccess = 'allow'"
    ));
    assert_eq!(tree.ask(seen, Ask::Read(tree.free)), 0);
    assert_eq!(tree.ask(unseen, Ask::Read(tree.free)), libc::EACCES);
    follow("[[rule]]\nexe = '/bin/sh'\naccess = 'deny'");
    assert_eq!(tree.ask(seen, Ask::Read(tree.free)), 0);
    assert_eq!(tree.ask(unseen, Ask::Read(tree.free)), libc::EACCES);
    follow("[[rule]]\nunit = 'other.service'\naccess = 'deny'");
    assert_eq!(tree.ask(seen, Ask::Read(tree.free)), 0);
    assert_eq!(tree.ask(unseen, Ask::Read(tree.free)), libc::EACCES);
    // Of another id-mapped mount the kernel tells no ids; /proc does.
    let mapped = Caller {
        ids: crate::storage::Caller {
            uid: u32::MAX,
            gid: u32::MAX,
        },
        ..seen
    };
    follow("default = 'deny'\n[[rule]]\nuid = 0\ngid = 0\naccess = 'allow'");
    assert_eq!(tree.ask(mapped, Ask::Read(tree.free)), 0);
    assert_eq!(
        tree.ask(Caller { pid: 0, ..mapped }, Ask::Read(tree.free)),
        libc::EACCES
    );
}

#[test]
fn without_a_policy_everything_goes() {
    let tree = tree(NameMode::Plain);
    tree.bench.follow_policy(None);
    assert_eq!(tree.ask(USER, Ask::Read(tree.secret)), 0);
    assert_eq!(tree.bench.policy_rules(), None);
}

#[test]
fn an_executable_in_the_mount_is_told_apart() {
    let text = "[[rule]]\nexe = ['/bin/sh', '/mnt/x/tool']\naccess = 'deny'";
    let in_mount = |at: &str| executable_below(&policy(text), Path::new(at));
    assert_eq!(in_mount("/mnt/x"), Some("/mnt/x/tool".into()));
    assert_eq!(in_mount("/mnt/y"), None);
    assert!(
        in_mount("/usr").is_some_and(|exe| exe == Path::new("/bin/sh")),
        "where it really is"
    );
}

#[test]
fn new_files_get_the_keys_of_their_folder_however_they_are_made_and_keep_them_when_moved() {
    for names in MODES {
        let bench = Bench::with_scope(names, KeyScope::File, FsOptions::default());
        let hr = bench.folder(ROOT, b"hr");
        let deep = bench.folder(hr, b"deep");
        let key = bench.give_folder_a_key("/hr", "hr-key");
        bench.put(deep, b"created", b"1");
        let mode = libc::S_IFREG | 0o644;
        wait(|done| bench.fs.mknod(SELF, hr, b"node", mode, 0, done)).unwrap();
        bench.put(ROOT, b"free", b"2");
        // A crash left it without a header: whoever writes to it gives it one.
        let blank = bench.put(hr, b"blank", b"");
        let bench = {
            let path = bench.on_disk_in(hr, b"blank");
            bench.fs.forget(blank, 1);
            let bench = bench.reopened();
            std::fs::write(path, b"").unwrap();
            bench
        };
        let hr = bench.find(ROOT, b"hr").unwrap().ino;
        let deep = bench.find(hr, b"deep").unwrap().ino;
        let blank = bench.find(hr, b"blank").unwrap().ino;
        let fh = bench.opened(blank, true).unwrap();
        bench.fs.write(fh, 0, b"3", false).unwrap();
        bench.fs.release(fh).unwrap();
        bench.mv((deep, b"created"), (ROOT, b"moved")).unwrap();
        bench.mv((ROOT, b"free"), (hr, b"came")).unwrap();
        let own = bench.volume.config().keys[0].to_string();
        for (parent, name) in [(ROOT, &b"moved"[..]), (hr, b"node"), (hr, b"blank")] {
            assert_eq!(
                bench.slot_uris(parent, name),
                std::slice::from_ref(&key),
                "{names:?} {name:?}"
            );
        }
        assert_eq!(bench.slot_uris(hr, b"came"), [own]);
    }
}

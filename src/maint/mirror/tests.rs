use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

/// Two empty folders, the first of which is then filled.
struct Trees {
    _home: tempfile::TempDir,
    from: PathBuf,
    to: PathBuf,
}

impl Trees {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| home.path().join(name));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        Self {
            _home: home,
            from,
            to,
        }
    }

    fn filled() -> Self {
        let trees = Self::new();
        fill(&trees.from);
        trees
    }

    fn copy(&self, trust: Trust) -> Result<(), MirrorError> {
        copy(&open(&self.from), &open(&self.to), trust, &mut |_| {})
    }

    fn differences(&self) -> Vec<String> {
        compare(&open(&self.from), &open(&self.to), &mut |_| {}).unwrap()
    }
}

fn open(path: &Path) -> Node {
    Node::open_root(path).unwrap()
}

fn old(path: &Path, secs: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(secs, 123_456_789);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// One of everything that an ordinary user can make.
fn fill(root: &Path) {
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("folder/file"), vec![7; 3 << 20]).unwrap();
    fs::hard_link(root.join("folder/file"), root.join("again")).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o2751)).unwrap();
    symlink("folder/nowhere", root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 50 << 20).unwrap();
    sparse.set_len(60 << 20).unwrap();
    rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(CWD, root.join("socket"), FileType::Socket, Mode::RUSR, 0).unwrap();
    rustix::fs::setxattr(
        root.join("empty"),
        "user.colour",
        b"red",
        XattrFlags::empty(),
    )
    .unwrap();
    for (name, secs) in [("folder/file", 1), ("empty", 2), ("folder", 4_000_000_000)] {
        old(&root.join(name), secs);
    }
}

#[test]
fn a_copy_is_like_its_original_in_everything() {
    let trees = Trees::filled();
    trees.copy(Trust::Times).unwrap();
    assert_eq!(trees.differences(), Vec::<String>::new());
    let at = |name: &str| fs::symlink_metadata(trees.to.join(name)).unwrap();
    assert_eq!(
        (at("folder/file").mtime(), at("folder/file").mtime_nsec()),
        (1, 123_456_789)
    );
    assert_eq!(at("folder").mtime(), 4_000_000_000);
    assert_eq!(at("again").ino(), at("folder/file").ino());
    assert_eq!(at("empty").mode() & 0o7777, 0o2751);
    assert!(
        at("sparse").blocks() * 512 < 1 << 20,
        "the holes were filled"
    );
    assert_eq!(at("sparse").len(), 60 << 20);
}

#[test]
fn a_second_copy_makes_up_for_whatever_came_in_between() {
    let trees = Trees::filled();
    trees.copy(Trust::Times).unwrap();
    fs::remove_file(trees.from.join("pipe")).unwrap();
    fs::write(trees.from.join("pipe"), "a file now").unwrap();
    fs::remove_file(trees.from.join("again")).unwrap();
    fs::write(trees.from.join("again"), "a file of its own").unwrap();
    fs::remove_file(trees.from.join("link")).unwrap();
    symlink("elsewhere", trees.from.join("link")).unwrap();
    fs::remove_dir_all(trees.from.join("folder")).unwrap();
    fs::write(trees.to.join("stray"), "").unwrap();
    rustix::fs::removexattr(trees.from.join("empty"), "user.colour").unwrap();
    assert_ne!(trees.differences(), Vec::<String>::new());
    trees.copy(Trust::Times).unwrap();
    assert_eq!(trees.differences(), Vec::<String>::new());
}

#[test]
fn contents_that_differ_behind_equal_times_are_found_and_copied_without_trust() {
    let trees = Trees::filled();
    trees.copy(Trust::Times).unwrap();
    fs::write(trees.to.join("folder/file"), vec![8; 3 << 20]).unwrap();
    old(&trees.to.join("folder/file"), 1);
    trees.copy(Trust::Times).unwrap();
    assert_eq!(trees.differences(), ["again: content"]);
    trees.copy(Trust::Nothing).unwrap();
    assert_eq!(trees.differences(), Vec::<String>::new());
}

#[test]
fn every_difference_is_told() {
    let changes: [(&str, fn(&Path)); 9] = [
        ("empty: mode", |to| {
            fs::set_permissions(to.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("empty: time of the last change", |to| {
            old(&to.join("empty"), 3);
        }),
        ("empty: extended attributes or ACL", |to| {
            let set = XattrFlags::empty();
            rustix::fs::setxattr(to.join("empty"), "user.colour", b"blue", set).unwrap();
        }),
        ("again: content", |to| {
            fs::write(to.join("again"), vec![9; 3 << 20]).unwrap();
            old(&to.join("again"), 1);
        }),
        ("again: number of names", |to| {
            fs::hard_link(to.join("again"), to.join("folder/third")).unwrap();
        }),
        ("the folder: names in it", |to| {
            fs::remove_file(to.join("link")).unwrap();
        }),
        ("the folder: names in it", |to| {
            fs::write(to.join("more"), "").unwrap();
        }),
        ("sparse: length", |to| {
            fs::File::options()
                .write(true)
                .open(to.join("sparse"))
                .unwrap()
                .set_len(1)
                .unwrap();
        }),
        ("folder: time of the last change", |to| {
            old(&to.join("folder"), 5);
        }),
    ];
    for (expected, change) in changes {
        let trees = Trees::filled();
        trees.copy(Trust::Times).unwrap();
        change(&trees.to);
        let found = trees.differences();
        assert!(
            found.iter().any(|line| line == expected),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn the_fingerprint_is_another_after_any_change() {
    let changes: [(&str, fn(&Path)); 7] = [
        ("content", |root| {
            fs::write(root.join("empty"), "x").unwrap();
        }),
        ("a name", |root| {
            fs::rename(root.join("empty"), root.join("full")).unwrap();
        }),
        ("a file less", |root| {
            fs::remove_file(root.join("link")).unwrap();
        }),
        ("a file more", |root| {
            fs::write(root.join("folder/new"), "").unwrap();
        }),
        ("a mode", |root| {
            fs::set_permissions(root.join("folder"), fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("a time", |root| old(&root.join("folder/file"), 9)),
        ("an attribute", |root| {
            rustix::fs::setxattr(root.join("empty"), "user.a", b"", XattrFlags::empty()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let trees = Trees::filled();
        let before = survey(&open(&trees.from)).unwrap();
        assert_eq!(survey(&open(&trees.from)).unwrap(), before);
        // The file system's clock must have gone on.
        std::thread::sleep(Duration::from_millis(20));
        change(&trees.from);
        let after = survey(&open(&trees.from)).unwrap();
        assert_ne!(after.fingerprint, before.fingerprint, "{what}");
    }
}

#[test]
fn a_volume_within_is_seen() {
    let trees = Trees::filled();
    assert_eq!(survey(&open(&trees.from)).unwrap().volume, None);
    fs::create_dir(trees.from.join("folder/.envelopefs")).unwrap();
    let seen = survey(&open(&trees.from)).unwrap();
    assert_eq!(seen.volume.as_deref(), Some("folder"));
    assert_eq!((seen.folders, seen.files, seen.others), (3, 4, 3));
}

#[test]
fn what_cannot_be_copied_is_named() {
    let trees = Trees::filled();
    fs::remove_dir_all(&trees.to).unwrap();
    fs::create_dir(&trees.to).unwrap();
    let target = open(&trees.to);
    fs::remove_dir(&trees.to).unwrap();
    let error = copy(&open(&trees.from), &target, Trust::Times, &mut |_| {}).unwrap_err();
    assert_eq!(error.path, "again");
    assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_symlink_in_the_place_of_a_folder_is_replaced_and_not_followed() {
    let trees = Trees::filled();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    symlink(outside.path(), trees.to.join("folder")).unwrap();
    trees.copy(Trust::Times).unwrap();
    assert_eq!(trees.differences(), Vec::<String>::new());
    assert!(outside.path().join("precious").exists());
    assert!(!outside.path().join("file").exists());
}

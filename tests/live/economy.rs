//! What the mount does not do: call key providers, open files, take memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::harness::{Mount, Volume, noise, wait_until};
use crate::tree;

const FEW: usize = 40;
const PAUSE: Duration = Duration::from_millis(200);

fn write_files(mount: &Mount<'_>, count: usize) {
    for number in 0..count {
        fs::write(mount.path(&number.to_string()), noise(number as u64, 5000)).unwrap();
    }
}

fn read_files(mount: &Mount<'_>, count: usize) {
    for number in 0..count {
        let content = fs::read(mount.path(&number.to_string())).unwrap();
        assert!(content == noise(number as u64, 5000), "file {number}");
    }
}

/// Provider calls that happen while `work` is done.
fn calls_during(mount: &Mount<'_>, work: impl FnOnce()) -> u64 {
    let before = mount.status().provider_calls();
    work();
    mount.status().provider_calls() - before
}

#[test]
fn listing_a_tree_calls_no_provider_and_opens_no_file() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    tree::grow(mount.root(), 200);
    let mount = mount.again();

    let before = mount.status();
    for entry in walk(mount.root()) {
        fs::symlink_metadata(entry).unwrap();
    }
    let after = mount.status();
    assert_eq!(after.files_opened(), before.files_opened());
    assert_eq!(after.provider_calls(), before.provider_calls());
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        next += 1;
    }
    found
}

#[test]
fn a_volume_key_is_fetched_once_and_serves_every_file() {
    let volume = Volume::create(&["--key-scope", "volume"]);
    let mount = volume.mount();
    assert_eq!(
        calls_during(&mount, || write_files(&mount, FEW)),
        0,
        "calls to create"
    );
    let mount = mount.again();
    assert_eq!(
        calls_during(&mount, || read_files(&mount, FEW)),
        0,
        "calls to open"
    );
    assert!(
        mount.status().provider_calls() <= 1,
        "calls of a whole mount"
    );
}

#[test]
fn a_file_is_unwrapped_once_and_opens_from_the_keyring_after_that() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    write_files(&mount, FEW);
    assert_eq!(
        calls_during(&mount, || read_files(&mount, FEW)),
        0,
        "files just made"
    );

    let mount = mount.again();
    assert_eq!(
        calls_during(&mount, || read_files(&mount, FEW)),
        FEW as u64,
        "first opens"
    );
    assert_eq!(
        calls_during(&mount, || read_files(&mount, FEW)),
        0,
        "cached opens"
    );
}

#[test]
fn a_create_calls_no_provider() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    wait_for_a_full_pool(&mount);
    let calls = calls_during(&mount, || {
        fs::write(mount.path("new"), "content").unwrap();
        thread::sleep(PAUSE);
    });
    assert_eq!(calls, 0);
}

/// Data keys are made ahead in the background: waits until no more are.
fn wait_for_a_full_pool(mount: &Mount<'_>) {
    fs::write(mount.path("first"), "wakes the pool").unwrap();
    wait_until("the pool of data keys to fill", || {
        calls_during(mount, || thread::sleep(PAUSE)) == 0
    });
}

#[test]
fn memory_stays_flat_while_files_are_opened_read_and_closed() {
    const FILES: usize = 2000;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    write_files(&mount, FILES);
    let mount = mount.again();
    let rounds = |count: usize| (0..count).for_each(|_| read_files(&mount, FILES));

    rounds(5);
    // What answers a question about the mount keeps a little memory, and other tests ask too.
    for _ in 0..40 {
        mount.status();
    }
    let warm = mount.status().resident_kib();
    rounds(25);
    let after = mount.status().resident_kib();
    assert!(
        after < warm + 2048,
        "{warm} KiB resident after 10,000 opens, {after} after 60,000"
    );
}

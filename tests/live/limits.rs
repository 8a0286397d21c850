//! Limits: few descriptors, many entries that come and go, files deleted while they are open.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use crate::harness::{Volume, noise, run};
use crate::model::calls::write_mapped;

/// Descriptors that the daemon may have.
fn limit_descriptors(pid: u32, count: u32) {
    let limit = format!("--nofile={count}:{count}");
    run(Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]));
}

#[test]
fn a_daemon_without_descriptors_says_so_and_works_again() {
    const LIMIT: u32 = 120;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    for number in 0..200 {
        let folder = mount.path(&number.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "content").unwrap();
    }
    let mount = mount.again();
    limit_descriptors(mount.status().pid(), LIMIT);
    // Handles of folders are kept, and would soon take every descriptor: they give way.
    for number in 0..200 {
        let folder = mount.path(&number.to_string());
        assert_eq!(
            fs::read(folder.join("file")).unwrap(),
            b"content",
            "folder {number}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
    let (mut open, mut refused) = (Vec::new(), 0);
    for number in 0..200 {
        match File::options()
            .read(true)
            .write(true)
            .open(mount.path(&number.to_string()).join("file"))
        {
            Ok(file) => open.push(file),
            Err(error) => {
                assert!(
                    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)),
                    "{error}"
                );
                refused += 1;
            }
        }
    }
    assert!(
        open.len() > 40 && refused > 60,
        "{} open, {refused} refused",
        open.len()
    );
    // What is open works on, and can be synced.
    for file in &open {
        file.write_all_at(b"changed", 0).unwrap();
        file.sync_all().unwrap();
    }
    let count = open.len();
    drop(open);
    for number in 0..200 {
        let path = mount.path(&number.to_string()).join("file");
        let expected: &[u8] = if number < count {
            b"changed"
        } else {
            b"content"
        };
        assert_eq!(fs::read(&path).unwrap(), expected, "file {number}");
        fs::rename(&path, path.with_file_name("renamed")).unwrap();
        fs::remove_file(path.with_file_name("renamed")).unwrap();
    }
}

/// Further names of a file cost less than files; ext4 allows 65,000 of each.
fn make_names(folder: &Path, count: usize) {
    for number in 0..count {
        let source = folder.join(format!("one{}", number / 50_000));
        if number % 50_000 == 0 {
            File::create(&source).unwrap();
        }
        fs::hard_link(&source, folder.join(format!("stays{number}"))).unwrap();
    }
}

#[test]
fn a_listing_loses_and_repeats_no_name_while_others_come_and_go() {
    let volume = Volume::create(&["--key-scope", "volume"]);
    let mount = volume.mount();
    let folder = mount.path("folder");
    fs::create_dir(&folder).unwrap();
    make_names(&folder, 10_000);
    list_under_change(&folder, 10_000);
}

#[test]
fn a_listing_of_100000_names_loses_and_repeats_none_while_others_come_and_go() {
    let volume = Volume::create(&["--key-scope", "volume", "--names", "plain"]);
    // Straight into the ciphertext folder: what is shown is the listing, not the making.
    let folder = volume.cipher_dir().join("folder");
    fs::create_dir(&folder).unwrap();
    make_names(&folder, 100_000);
    let mount = volume.mount();
    list_under_change(&mount.path("folder"), 100_000);
}

fn list_under_change(folder: &Path, stay: usize) {
    let done = AtomicBool::new(false);
    let listed = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let (comes, goes) = (
                    folder.join(format!("a{number}")),
                    folder.join(format!("b{number}")),
                );
                File::create(&comes).unwrap();
                fs::rename(&comes, &goes).unwrap();
                fs::remove_file(&goes).unwrap();
            }
        });
        let begun = Instant::now();
        for _ in 0..3 {
            let mut seen = BTreeSet::new();
            for entry in fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(seen.insert(name.clone()), "{} twice", name.display());
            }
            let stayed = seen
                .iter()
                .filter(|name| name.as_encoded_bytes().starts_with(b"stays"));
            assert_eq!(stayed.count(), stay);
        }
        done.store(true, Ordering::Relaxed);
        begun.elapsed() / 3
    });
    eprintln!("{stay} names: listed in {listed:?}");
    assert!(
        listed < Duration::from_secs(10),
        "a listing took {listed:?}"
    );
}

/// gocryptfs answers ENOENT to some of these under stress.
#[test]
fn files_deleted_while_open_are_synced_mapped_and_asked_about_by_many() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 60;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let mount = &mount;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let path = mount.path(&format!("{thread}-{round}"));
                    let file = File::options()
                        .read(true)
                        .write(true)
                        .create_new(true)
                        .open(&path)
                        .unwrap();
                    let mut content = noise(thread * ROUNDS + round, 20_000);
                    file.write_all_at(&content, 0).unwrap();
                    if round % 2 == 0 {
                        fs::remove_file(&path).unwrap();
                    } else {
                        fs::rename(&path, mount.path(&format!("{thread}"))).unwrap();
                        fs::remove_file(mount.path(&format!("{thread}"))).unwrap();
                    }
                    file.sync_all().unwrap();
                    write_mapped(&file, 20_000, 5000, &[7; 9000]).unwrap();
                    content[5000..14_000].fill(7);
                    file.sync_data().unwrap();
                    assert_eq!(
                        (
                            file.metadata().unwrap().nlink(),
                            file.metadata().unwrap().len()
                        ),
                        (0, 20_000)
                    );
                    file.set_len(15_000).unwrap();
                    let mut found = vec![0; 15_000];
                    file.read_exact_at(&mut found, 0).unwrap();
                    assert!(found == content[..15_000], "{thread}-{round}");
                    file.sync_all().unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(mount.root()).unwrap().count(), 0);
}

#[test]
fn preallocated_space_is_taken_and_given_back() {
    const LEN: u64 = 8 << 20;
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let file = File::create(mount.path("file")).unwrap();
    let taken = || fs::metadata(mount.path("file")).unwrap().blocks() * 512;
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, LEN).unwrap();
    file.sync_all().unwrap();
    assert!(taken() >= LEN, "{} bytes are reserved of {LEN}", taken());
    // A write into what is reserved takes no more.
    file.write_all_at(&noise(1, LEN as usize / 2), 0).unwrap();
    file.sync_all().unwrap();
    assert!(
        taken() < LEN + LEN / 16,
        "{} bytes are taken for {LEN}",
        taken()
    );
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 100_000, LEN / 2 - 200_000).unwrap();
    file.sync_all().unwrap();
    // A cut gives back what was reserved behind the end; the same length once more would not.
    file.set_len(LEN / 2 - 1).unwrap();
    file.sync_all().unwrap();
    assert!(taken() < 1 << 20, "{} bytes are left of holes", taken());
}

//! What goes wrong: a clear message that names the file, the right errno, and the mount stays up.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Mount, Volume, errno, noise, refuses, require_root, run, shell, wait_until};

const NOT_A_VOLUME: i32 = 10;
const NEWER_VOLUME: i32 = 11;
const KEY_DENIED: i32 = 12;
const MOUNTPOINT: i32 = 14;
const VOLUME_IN_USE: i32 = 15;
const DAMAGE_FOUND: i32 = 20;

// --- refused mounts -----------------------------------------------------------------------------

#[test]
fn a_key_file_of_another_volume_is_refused() {
    let (volume, other) = (Volume::create(&[]), Volume::create(&[]));
    fs::copy(other.keyring(), volume.keyring()).unwrap();
    volume.refuses_mount(&[], KEY_DENIED, &["key.json"]);
}

#[test]
fn a_missing_key_file_is_named() {
    let volume = Volume::create(&[]);
    fs::remove_file(volume.keyring()).unwrap();
    let output = volume.mount_command(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("key.json"),
        "{said}"
    );
}

#[test]
fn a_wrong_passphrase_is_refused_and_the_right_one_opens() {
    let volume = Volume::unmade();
    let passphrase = |name: &str, text: &str| -> PathBuf {
        let path = volume.home().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let right = passphrase("right", "correct horse battery staple\n");
    let wrong = passphrase("wrong", "correct horse battery stable\n");
    let mut init = volume.envelopefs("init");
    init.args(["--key", "passphrase:", "--passphrase-file"])
        .arg(&right);
    run(init.arg(volume.cipher_dir()));

    let with = |path: &PathBuf| ["--passphrase-file".to_owned(), path.display().to_string()];
    let wrong = with(&wrong);
    volume.refuses_mount(
        &wrong.each_ref().map(String::as_str),
        KEY_DENIED,
        &["passphrase"],
    );
    let mount = volume.mount_with(&with(&right).each_ref().map(String::as_str));
    fs::write(mount.path("file"), "content").unwrap();
}

#[test]
fn a_volume_of_a_newer_version_is_refused() {
    let volume = Volume::create(&[]);
    let path = volume.cipher_dir().join(".envelopefs/volume.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let version = config
        .as_object_mut()
        .unwrap()
        .get_mut("format")
        .expect("a format version");
    *version = Value::from(version.as_u64().unwrap() + 1);
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    volume.refuses_mount(&[], NEWER_VOLUME, &["newer"]);
}

#[test]
fn a_changed_volume_json_is_refused() {
    let volume = Volume::create(&[]);
    let path = volume.cipher_dir().join(".envelopefs/volume.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("encrypted"), "{text}");
    fs::write(&path, text.replace("encrypted", "plain")).unwrap();
    let output = volume.mount_command(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("volume.json"),
        "{said}"
    );
}

#[test]
fn a_folder_without_a_volume_is_refused() {
    let volume = Volume::unmade();
    volume.refuses_mount(&[], NOT_A_VOLUME, &["enc"]);
    fs::create_dir(volume.cipher_dir()).unwrap();
    volume.refuses_mount(&[], NOT_A_VOLUME, &["enc", "envelopefs init"]);
}

#[test]
fn a_mount_point_must_be_an_empty_folder_outside_the_volume() {
    let volume = Volume::create(&[]);
    fs::create_dir(volume.cipher_dir().join("inside")).unwrap();
    fs::write(volume.home().join("file"), "").unwrap();
    let full = volume.home().join("full");
    fs::create_dir_all(full.join("something")).unwrap();
    let points = [
        (volume.cipher_dir().join("inside"), "inside"),
        (volume.cipher_dir(), "enc"),
        (volume.home().to_owned(), "holds the ciphertext folder"),
        (full, "empty"),
        (volume.home().join("file"), "file"),
        (volume.home().join("missing"), "missing"),
    ];
    for (point, word) in points {
        let mut command = volume.envelopefs("mount");
        refuses(
            command.arg(volume.cipher_dir()).arg(&point),
            MOUNTPOINT,
            &[word],
        );
    }
}

#[test]
fn a_second_mount_of_the_same_volume_is_refused_and_the_first_works_on() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let second = volume.home().join("second");
    fs::create_dir(&second).unwrap();
    let mut command = volume.envelopefs("mount");
    refuses(
        command.arg(volume.cipher_dir()).arg(&second),
        VOLUME_IN_USE,
        &["enc", "--shared"],
    );
    fs::write(mount.path("file"), "content").unwrap();
    mount.unmount();
    volume.mount().unmount();
}

#[test]
fn a_mount_waits_for_the_process_of_an_earlier_one_to_let_go() {
    let volume = Volume::create(&[]);
    // As that process does after a plain `umount`.
    let lock = volume.cipher_dir().join(".envelopefs/lock");
    let held = OpenOptions::new().write(true).open(lock).unwrap();
    held.try_lock().unwrap();
    let mut command = volume.mount_command(&["--wait", "10m"]);
    let mut mounting = command.spawn().unwrap();
    let log = || fs::read_to_string(volume.log()).unwrap_or_default();
    wait_until("it says what it waits for", || {
        log().contains("let go of the volume")
    });
    assert!(
        mounting.try_wait().unwrap().is_none(),
        "it does not wait: {}",
        log()
    );
    held.unlock().unwrap();
    assert!(mounting.wait().unwrap().success(), "{}", log());
    volume.unmount();
}

#[test]
fn a_mount_waits_no_longer_than_it_was_told_and_for_no_mount_that_is_there() {
    let volume = Volume::create(&[]);
    let lock = volume.cipher_dir().join(".envelopefs/lock");
    let held = OpenOptions::new().write(true).open(lock).unwrap();
    held.try_lock().unwrap();
    for limit in ["0", "1"] {
        volume.refuses_mount(&["--wait", limit], VOLUME_IN_USE, &["in use"]);
    }
    drop(held);
    let second = volume.home().join("second");
    fs::create_dir(&second).unwrap();
    for options in [&[][..], &["-o", "fsname=by-another-name"]] {
        let mount = volume.mount_with(options);
        let begun = Instant::now();
        let mut command = volume.envelopefs("mount");
        command.args(["--wait", "1h"]).arg(volume.cipher_dir());
        refuses(command.arg(&second), VOLUME_IN_USE, &["in use"]);
        assert!(begun.elapsed() < Duration::from_secs(600));
        mount.unmount();
    }
}

#[test]
fn a_second_init_leaves_the_volume_alone() {
    let volume = Volume::create(&[]);
    let before = fs::read(volume.cipher_dir().join(".envelopefs/volume.json")).unwrap();
    let key = fs::read(volume.keyring()).unwrap();
    let output = volume
        .envelopefs("init")
        .arg(volume.cipher_dir())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(
        fs::read(volume.cipher_dir().join(".envelopefs/volume.json")).unwrap(),
        before
    );
    assert_eq!(fs::read(volume.keyring()).unwrap(), key);
}

// --- damaged files in a good volume ---------------------------------------------------------------

/// A volume with plain names, so that a test finds the ciphertext of a file, with two files in it.
fn volume_with_files() -> Volume {
    let volume = Volume::create(&["--names", "plain", "--foreign-files", "deny"]);
    let mount = volume.mount();
    for name in ["good", "bad"] {
        fs::write(mount.path(name), noise(1, 20_000)).unwrap();
    }
    mount.unmount();
    volume
}

/// The bad file answers EIO and is named in the log; the good one is untouched by it.
fn only_the_bad_file_fails(volume: &Volume) {
    let mount = volume.mount();
    assert_eq!(errno(fs::read(mount.path("bad"))), libc::EIO);
    assert!(fs::read(mount.path("good")).unwrap() == noise(1, 20_000));
    let log = fs::read_to_string(volume.log()).unwrap();
    assert!(log.contains("bad"), "the log does not name the file: {log}");
    fs::write(mount.path("new"), "the mount is up").unwrap();
    mount.unmount();
    let mut check = volume.envelopefs("check");
    let output = check.arg(volume.cipher_dir()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(DAMAGE_FOUND), "{said}");
    assert!(said.contains("bad"), "{said}");
}

fn ciphertext(volume: &Volume, name: &str) -> File {
    let path = volume.cipher_dir().join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

#[test]
fn a_cut_header_is_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    ciphertext(&volume, "bad").set_len(100).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn a_flipped_bit_in_the_header_is_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    let mut byte = [0];
    let file = ciphertext(&volume, "bad");
    file.read_exact_at(&mut byte, 40).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 40).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn a_flipped_bit_in_a_chunk_is_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    let mut byte = [0];
    let file = ciphertext(&volume, "bad");
    file.read_exact_at(&mut byte, 9000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 9000).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn two_exchanged_blocks_are_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    let file = ciphertext(&volume, "bad");
    let (mut one, mut two) = ([0; 4096], [0; 4096]);
    file.read_exact_at(&mut one, 4096).unwrap();
    file.read_exact_at(&mut two, 8192).unwrap();
    file.write_all_at(&two, 4096).unwrap();
    file.write_all_at(&one, 8192).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn a_file_cut_at_a_block_is_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    let file = ciphertext(&volume, "bad");
    file.set_len(3 * 4096).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn a_plaintext_file_dropped_into_the_ciphertext_folder_is_an_io_error_of_this_file_alone() {
    let volume = volume_with_files();
    fs::write(volume.cipher_dir().join("bad"), noise(5, 9000)).unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn a_file_of_another_volume_is_an_io_error_of_this_file_alone() {
    let (volume, other) = (volume_with_files(), volume_with_files());
    fs::copy(
        other.cipher_dir().join("bad"),
        volume.cipher_dir().join("bad"),
    )
    .unwrap();
    only_the_bad_file_fails(&volume);
}

#[test]
fn names_that_are_not_the_volumes_are_not_shown() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("mine"), "content").unwrap();
    mount.unmount();
    shell(
        &volume.cipher_dir(),
        "echo x > README; echo x > AAAAAAAAAAAAAAAAAAAAAAAAAAAA; mkdir folder; ln -s x .envelopefs.tmp.1",
    );
    let mount = volume.mount();
    assert_eq!(shell(mount.root(), "ls -A"), "mine\n");
    assert_eq!(fs::read(mount.path("mine")).unwrap(), b"content");
}

// --- a full disk ------------------------------------------------------------------------------------

/// A volume whose ciphertext folder is a file system of 16 MiB.
fn volume_on_a_small_disk() -> Volume {
    require_root();
    let volume = Volume::unmade();
    fs::create_dir(volume.cipher_dir()).unwrap();
    shell(volume.home(), "mount -t tmpfs -o size=16M none enc");
    volume.init(&[]);
    volume
}

/// Writes and syncs until the disk is full; returns the error.
fn fill(mount: &Mount<'_>) -> i32 {
    let mut file = File::create(mount.path("filling")).unwrap();
    for _ in 0..64 {
        let written = file
            .write_all(&noise(1, 1 << 20))
            .and_then(|()| file.sync_data());
        if written.is_err() {
            return errno(written);
        }
    }
    panic!("64 MiB fit on a disk of 16")
}

fn free_bytes(folder: &Path) -> u64 {
    let stat = rustix::fs::statvfs(folder).unwrap();
    stat.f_bavail * stat.f_frsize
}

#[test]
fn a_full_disk_answers_enospc_loses_nothing_and_works_when_there_is_room_again() {
    let volume = volume_on_a_small_disk();
    let mount = volume.mount();
    fs::write(mount.path("before"), noise(7, 100_000)).unwrap();

    assert_eq!(fill(&mount), libc::ENOSPC);
    assert!(fs::read(mount.path("before")).unwrap() == noise(7, 100_000));
    fs::read(mount.path("filling")).expect("what fitted reads back");
    fs::remove_file(mount.path("filling")).unwrap();
    // The kernel gives a deleted file back to the mount in its own time.
    wait_until("the space of a deleted file", || {
        free_bytes(mount.root()) > 8 << 20
    });
    fs::write(mount.path("after"), noise(8, 100_000)).unwrap();

    let mount = mount.again();
    assert!(fs::read(mount.path("before")).unwrap() == noise(7, 100_000));
    assert!(fs::read(mount.path("after")).unwrap() == noise(8, 100_000));
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

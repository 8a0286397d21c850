//! `envelopefs check`, with and without `--repair` and `--quick`, as a shell sees it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{
    Mount, Volume, clear_mountpoint, is_running, noise, refuses, require_root, run, wait_until,
};

const DAMAGE_FOUND: i32 = 20;
const IN_USE: i32 = 15;
const NOT_A_VOLUME: i32 = 10;
const BLOCK: u64 = 4096;

fn check(volume: &Volume, options: &[&str]) -> Command {
    let mut command = volume.envelopefs("check");
    command.args(options).arg(volume.cipher_dir());
    command
}

/// What it printed, and its exit code.
fn said(command: &mut Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code())
}

/// The ciphertext files, by descending length.
pub(crate) fn ciphertexts(volume: &Volume) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![volume.cipher_dir()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() && path.file_name().unwrap() != ".envelopefs" {
                waiting.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    found
}

fn below(volume: &Volume, path: &Path) -> String {
    let path = path.strip_prefix(volume.cipher_dir()).unwrap();
    path.display().to_string()
}

fn set_len(path: &Path, len: u64) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Every name, target, byte and time of change below the ciphertext folder, in one hash.
fn fingerprint(volume: &Volume) -> String {
    let script = "find . -printf '%P %y %l %s %C@ %T@\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum";
    crate::harness::shell(&volume.cipher_dir(), script)
}

/// A volume with a folder, two files in it and a symlink.
fn with_files() -> Volume {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::create_dir(mount.path("accounts")).unwrap();
    fs::write(mount.path("accounts/ledger"), noise(1, 50_000)).unwrap();
    fs::write(mount.path("accounts/notes"), noise(2, 20_000)).unwrap();
    std::os::unix::fs::symlink("ledger", mount.path("accounts/link")).unwrap();
    mount.unmount();
    volume
}

#[test]
fn damage_is_told_by_the_path_in_the_mount_and_the_range_of_bytes() {
    let volume = with_files();
    let ledger = &ciphertexts(&volume)[0];
    flip(ledger, 3 * BLOCK + 100);
    flip(ledger, 4 * BLOCK + 100);
    let line = format!(
        "DAMAGE  /accounts/ledger  bytes 11120..19216: chunk 3: the chunk fails authentication  [{}]\n",
        below(&volume, ledger)
    );
    for options in [&[][..], &["--repair"], &["--repair", "--no-progress"]] {
        let (text, code) = said(&mut check(&volume, options));
        assert_eq!(code, Some(DAMAGE_FOUND), "{text}");
        assert!(text.starts_with(&line), "{text}");
        assert!(
            text.ends_with("2 files, 1 symlink, 19 chunks read: 1 damaged, 0 notes\n"),
            "{text}"
        );
    }
    let (json, _) = said(&mut check(&volume, &["--json"]));
    let value: Value = serde_json::from_str(&json).unwrap();
    let finding = value.pointer("/findings/0").unwrap();
    assert_eq!(finding["severity"], "damage");
    assert_eq!(finding["path"], "accounts/ledger");
    assert_eq!(
        (&finding["lost"]["from"], &finding["lost"]["to"]),
        (&11_120.into(), &19_216.into())
    );
    let mount = volume.mount();
    let file = File::open(mount.path("accounts/ledger")).unwrap();
    let mut part = [0; 100];
    // The kernel reads whole pages: one that holds a byte of the lost range fails.
    for at in [0, 8192 - 100, 20_480, 49_900] {
        file.read_exact_at(&mut part, at).unwrap();
    }
    for at in [11_120, 19_215] {
        assert!(file.read_at(&mut part[..1], at).is_err(), "{at}");
    }
}

#[test]
fn a_repair_says_what_it_did_and_the_next_finds_nothing_to_do() {
    let volume = with_files();
    let files = ciphertexts(&volume);
    set_len(&files[0], files[0].metadata().unwrap().len() + 3 * BLOCK);
    let unfinished = volume.cipher_dir().join(".envelopefs.tmp.0123456789abcdef");
    fs::create_dir(&unfinished).unwrap();

    let (text, code) = said(&mut check(&volume, &[]));
    assert_eq!(
        (code, text.matches("mendable  /").count()),
        (Some(0), 2),
        "{text}"
    );
    let (text, code) = said(&mut check(&volume, &["--repair"]));
    assert_eq!(
        (code, text.matches("mended  /").count()),
        (Some(0), 2),
        "{text}"
    );
    let told = format!("[{}]", below(&volume, &files[0]));
    let line = text
        .lines()
        .find(|line| line.starts_with("mended  /accounts/ledger  "));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("it ends at byte 50000") && line.ends_with(&told),
        "{line}"
    );
    for options in [&["--repair"][..], &[]] {
        let (text, code) = said(&mut check(&volume, options));
        assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
        assert!(text.contains("0 damaged, 0 notes"), "{text}");
    }
    let mount = volume.mount();
    assert_eq!(
        fs::metadata(mount.path("accounts/ledger")).unwrap().size(),
        50_000
    );
    assert!(fs::read(mount.path("accounts/ledger")).unwrap() == noise(1, 50_000));
}

#[test]
fn without_repair_nothing_is_written_and_a_medium_that_cannot_be_will_do() {
    require_root();
    let volume = with_files();
    let files = ciphertexts(&volume);
    set_len(&files[0], files[0].metadata().unwrap().len() + 1);
    flip(&files[1], 5000);
    fs::create_dir(volume.cipher_dir().join(".envelopefs.tmp.0123456789abcdef")).unwrap();
    fs::write(volume.cipher_dir().join(".envelopefs/in-use"), "").unwrap();
    fs::remove_file(volume.cipher_dir().join(".envelopefs/lock")).unwrap();
    let before = fingerprint(&volume);
    for options in [&[][..], &["--quick"], &["--json"]] {
        let (text, _) = said(&mut check(&volume, options));
        assert!(text.contains("endable"), "{text}");
        assert!(fingerprint(&volume) == before, "{options:?} wrote");
    }

    let read_only = volume.home().join("ro");
    fs::create_dir(&read_only).unwrap();
    let script = "mount --bind enc ro; mount -o remount,bind,ro ro";
    crate::harness::shell(volume.home(), script);
    let (text, code) = said(volume.envelopefs("check").arg(&read_only));
    let repair = said(volume.envelopefs("check").arg("--repair").arg(&read_only));
    crate::harness::shell(volume.home(), "umount ro");
    assert_eq!(code, Some(DAMAGE_FOUND), "{text}");
    assert!(text.contains("mendable  /accounts/ledger"), "{text}");
    assert_eq!(repair.1, Some(1), "{}", repair.0);
    assert!(fingerprint(&volume) == before);
}

#[test]
fn a_mounted_volume_is_neither_repaired_nor_checked() {
    let volume = with_files();
    let mount = volume.mount();
    for options in [&["--repair"][..], &["--repair", "--quick"], &[]] {
        refuses(
            &mut check(&volume, options),
            IN_USE,
            &["cannot check", "it is in use by another mount", "unmount"],
        );
    }
    mount.unmount();
    let mount = volume.mount_with(&["--shared"]);
    run(&mut check(&volume, &[]));
    refuses(
        &mut check(&volume, &["--repair"]),
        IN_USE,
        &["in use", "a repair needs it for itself"],
    );
    mount.unmount();
    run(&mut check(&volume, &["--repair"]));
}

#[test]
fn a_quick_check_reads_headers_and_says_so() {
    let volume = with_files();
    let files = ciphertexts(&volume);
    flip(&files[0], 5 * BLOCK + 100);
    let (text, code) = said(&mut check(&volume, &["--quick"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("2 files, 1 symlink, 2 chunks read, headers only: 0 damaged"),
        "{text}"
    );
    flip(&files[0], 40);
    let (text, code) = said(&mut check(&volume, &["--quick"]));
    assert_eq!(code, Some(DAMAGE_FOUND), "{text}");
    assert!(
        text.contains("DAMAGE  /accounts/ledger  the header is not authentic"),
        "{text}"
    );
}

#[test]
fn a_folder_without_volume_json_is_told_apart_and_left_alone() {
    let volume = with_files();
    fs::remove_file(volume.cipher_dir().join(".envelopefs/volume.json")).unwrap();
    let before = fingerprint(&volume);
    for options in [&[][..], &["--repair"]] {
        refuses(
            &mut check(&volume, options),
            NOT_A_VOLUME,
            &["volume.json", "backup", "init"],
        );
    }
    assert!(fingerprint(&volume) == before);
    let none = volume.home().join("none");
    fs::create_dir(&none).unwrap();
    let mut command = volume.envelopefs("check");
    refuses(
        command.arg(&none),
        NOT_A_VOLUME,
        &["it is not an envelopefs volume", "init"],
    );
}

fn kill(mount: &Mount<'_>) {
    let pid = mount.status().pid();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(raw, Signal::KILL).unwrap();
    wait_until("the daemon to end", || !is_running(pid));
}

#[test]
fn after_a_killed_mount_a_repair_leaves_nothing_for_the_next_mount_to_do() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let mut synced = File::create(mount.path("synced")).unwrap();
    synced.write_all(&noise(1, 50_000)).unwrap();
    synced.sync_all().unwrap();
    synced.write_all(&noise(2, 30_000)).unwrap();
    File::create(mount.path("empty"))
        .unwrap()
        .sync_all()
        .unwrap();
    let open = File::create(mount.path("never closed")).unwrap();
    kill(&mount);
    drop((synced, open));
    clear_mountpoint(mount.root());
    drop(mount);

    let (text, code) = said(&mut check(&volume, &["--repair"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("mended  /  the last mount ended without an unmount"),
        "{text}"
    );
    assert!(text.contains("mended  /never closed  no header"), "{text}");
    let (text, code) = said(&mut check(&volume, &[]));
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    fs::remove_file(volume.log()).unwrap();
    let mount = volume.mount();
    let log = fs::read_to_string(volume.log()).unwrap_or_default();
    assert!(!log.contains("without an unmount"), "{log}");
    let expected = [noise(1, 50_000), noise(2, 30_000)].concat();
    assert!(fs::read(mount.path("synced")).unwrap() == expected);
    assert_eq!(fs::read(mount.path("never closed")).unwrap(), b"");
    mount.unmount();
}

#[test]
fn a_name_that_is_lost_comes_back_as_another_in_the_mount() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let name = "n".repeat(200);
    fs::create_dir(mount.path("dir")).unwrap();
    fs::write(mount.path("dir").join(&name), noise(1, 9000)).unwrap();
    mount.unmount();
    let file = &ciphertexts(&volume)[0];
    fs::remove_file(format!("{}.n", file.display())).unwrap();

    let (text, code) = said(&mut check(&volume, &["--repair"]));
    assert_eq!(code, Some(DAMAGE_FOUND), "{text}");
    assert!(text.contains("DAMAGE  /dir  its name is lost"), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("mended"))
        .unwrap();
    let back = line
        .split("it is /dir/")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    run(&mut check(&volume, &[]));
    let mount = volume.mount();
    let listed: Vec<_> = fs::read_dir(mount.path("dir")).unwrap().collect();
    assert_eq!(listed.len(), 1);
    assert!(fs::read(mount.path("dir").join(back)).unwrap() == noise(1, 9000));
}

//! The configuration file: what a mount takes from it, what outranks it, and SIGHUP.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::{
    Mount, NOBODY, Volume, errno, refuses, require_root, run, set_mode, shell, wait_until,
};

const USAGE: i32 = 2;

fn file_of(volume: &Volume) -> PathBuf {
    volume.home().join("config/envelopefs/config.toml")
}

fn configure(volume: &Volume, text: &str) {
    let file = file_of(volume);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    set_mode(&file, 0o644);
}

fn hang_up(mount: &Mount<'_>) {
    run(Command::new("kill").args(["-HUP", &mount.status().pid().to_string()]));
}

fn log(volume: &Volume) -> String {
    fs::read_to_string(volume.log()).unwrap_or_default()
}

#[test]
fn a_mount_takes_what_the_file_says_of_it() {
    let volume = Volume::create(&[]);
    let (enc, point) = (volume.cipher_dir(), volume.mountpoint());
    configure(
        &volume,
        &format!(
            "[mount]\nfsname = \"for-all\"\natime = \"noatime\"\n[[volume]]\ncipherdir = \"{}\"\nfsname = \"for-one\"\n\
             [[volume]]\nmountpoint = \"/elsewhere\"\nread-only = true\n",
            enc.display()
        ),
    );
    let mount = volume.mount();
    let shown = shell(
        mount.root(),
        "findmnt --noheadings --output SOURCE,OPTIONS --mountpoint \"$PWD\"",
    );
    assert!(
        shown.contains("for-one") && shown.contains("noatime"),
        "{shown}"
    );
    fs::write(mount.path("file"), "not read-only").unwrap();
    let text = run(volume
        .envelopefs("config")
        .args(["show"])
        .arg(&enc)
        .arg(&point));
    let origin = format!("{}:6", file_of(&volume).display());
    let line = text
        .lines()
        .find(|line| line.starts_with("fsname"))
        .unwrap()
        .to_owned();
    assert!(
        line.contains("for-one") && line.ends_with(&origin),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("wait") && line.ends_with("default"))
    );
    mount.unmount();
}

#[test]
fn flags_and_options_outrank_the_file() {
    let volume = Volume::create(&[]);
    configure(
        &volume,
        "[mount]\nread-only = true\nfsname = \"of-file\"\nidle-lock = \"1s\"\nkey = \"passphrase:\"\n",
    );
    let key = volume.key();
    let mount = volume.mount_with(&[
        "--idle-lock",
        "1h",
        "--key",
        &key,
        "-o",
        "rw,fsname=of-option",
    ]);
    let shown = shell(
        mount.root(),
        "findmnt --noheadings --output SOURCE --mountpoint \"$PWD\"",
    );
    assert_eq!(shown.trim(), "of-option");
    fs::write(mount.path("file"), "content").unwrap();
    // An option that stands with its default's value was given all the same.
    let mount = mount.again_with(&["--idle-lock", "0", "-o", &format!("key={key}")]);
    assert_eq!(errno(fs::write(mount.path("file"), "")), libc::EROFS);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(mount.status().text("/locked"), "");
}

#[test]
fn a_file_that_cannot_be_followed_is_named_with_its_line() {
    let volume = Volume::create(&[]);
    configure(&volume, "[mount]\nthreads = 4\nkey-cache-ttl = \"2y\"\n");
    let line = format!("{}:3: key-cache-ttl", file_of(&volume).display());
    volume.refuses_mount(&[], USAGE, &[&line, "config check"]);
    let checked = volume.envelopefs("config").arg("check").output().unwrap();
    assert_eq!(checked.status.code(), Some(USAGE));
    assert!(String::from_utf8_lossy(&checked.stdout).contains(&line));
    // Nothing else is kept from its work by it.
    run(volume.envelopefs("census").arg(volume.cipher_dir()));
}

#[test]
fn a_file_that_another_may_write_is_refused() {
    require_root();
    let volume = Volume::create(&[]);
    configure(
        &volume,
        "[mount]\npassphrase-command = \"touch /tmp/owned\"\n",
    );
    let file = file_of(&volume);
    set_mode(&file, 0o666);
    volume.refuses_mount(&[], USAGE, &["written by others", "config.toml"]);
    set_mode(&file, 0o644);
    std::os::unix::fs::chown(&file, Some(NOBODY), None).unwrap();
    volume.refuses_mount(&[], USAGE, &["belongs to another user"]);
    refuses(
        volume.envelopefs("config").arg("check"),
        USAGE,
        &["1 problem"],
    );
    let mut without = volume.mount_command(&[]);
    volume
        .mount_by(without.env("ENVELOPEFS_CONFIG", ""))
        .unmount();
}

#[test]
fn a_hangup_has_the_file_read_again() {
    let volume = Volume::create(&[]);
    let metrics = volume.home().join("m.prom");
    configure(&volume, "[mount]\nidle-lock = \"1h\"\n");
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    configure(
        &volume,
        &format!(
            "[log]\nlog-level = \"debug\"\n[mount]\nidle-lock = \"1s\"\nacl = true\nprovider-rate = 7\nmetrics = \"{}\"\n",
            metrics.display()
        ),
    );
    hang_up(&mount);
    wait_until("the metrics", || metrics.exists());
    wait_until("the lock", || mount.status().text("/locked") == "idle");
    let text = log(&volume);
    assert!(
        text.contains("another log level") && text.contains("DEBUG"),
        "{text}"
    );
    assert!(
        text.contains("holds from the next mount on name=\"acl\""),
        "{text}"
    );

    run(volume.envelopefs("unlock").arg(mount.root()));
    configure(&volume, "[mount]\nfrob = 1\n");
    hang_up(&mount);
    wait_until("the complaint", || log(&volume).contains("left as it was"));
    assert!(metrics.exists(), "what was wrong has changed something");
    configure(&volume, "");
    hang_up(&mount);
    wait_until("the file's end", || !metrics.exists());
    // It may have been locked for want of use meanwhile.
    run(volume.envelopefs("unlock").arg(mount.root()));
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"content");
}

#[test]
fn a_relative_path_means_where_the_mount_was_begun() {
    let volume = Volume::create(&[]);
    configure(
        &volume,
        &format!(
            "[[volume]]\ncipherdir = \"{}\"\nfsname = \"found\"\n",
            volume.cipher_dir().display()
        ),
    );
    let mut command = volume.envelopefs("mount");
    command
        .args(["--log-file", "log", "enc", "mnt"])
        .current_dir(volume.home());
    let mount = volume.mount_by(&mut command);
    let shown = shell(
        mount.root(),
        "findmnt --noheadings --output SOURCE --mountpoint \"$PWD\"",
    );
    assert_eq!(shown.trim(), "found");
    hang_up(&mount);
    wait_until("the reading", || log(&volume).contains("read again"));
    assert!(!log(&volume).contains("next mount on"), "{}", log(&volume));
}

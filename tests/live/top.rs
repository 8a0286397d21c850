//! `envelopefs top`: one picture, and the live view on a terminal of its own.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Volume, noise, program, refuses, run, shell};

const NOT_MOUNTED: i32 = 18;

#[test]
fn one_picture_shows_who_reads_and_how_much() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", "cache_ttl=0"]);
    fs::write(mount.path("secret-name"), noise(1, 4 << 20)).unwrap();
    // Each reading is of another open file, past the kernel's cache.
    let script = "end=$((SECONDS + 6)); while [ $SECONDS -lt $end ]; do
        dd if=secret-name of=/dev/null bs=1M iflag=direct 2>/dev/null; done";
    let mut reader = Command::new("bash");
    let mut reader = reader
        .args(["-c", script])
        .current_dir(mount.root())
        .spawn()
        .unwrap();
    let text = run(volume
        .envelopefs("top")
        .args(["--once", "--interval", "2s"])
        .arg(mount.root()));
    reader.wait().unwrap();
    for part in [
        mount.root().to_str().unwrap(),
        "read ",
        "MiB/s",
        "requests",
        "file://",
        "who reads",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("secret-name"), "{text}");
    refuses(
        volume.envelopefs("top").args(["--once", "/nonexistent"]),
        NOT_MOUNTED,
        &["status"],
    );
}

#[test]
fn a_process_that_has_a_file_open_is_named_with_its_program() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), noise(1, 1 << 20)).unwrap();
    let mount = mount.again();
    let mut tail = Command::new("tail");
    let mut tail = tail
        .args(["-c", "+1", "-f", "file"])
        .current_dir(mount.root());
    tail = tail.stdout(std::process::Stdio::null());
    let mut tail = tail.spawn().unwrap();
    let pid = tail.id().to_string();
    let once = || run(volume.envelopefs("top").arg("--once").arg(mount.root()));
    let begun = Instant::now();
    let mut text = once();
    while !text
        .lines()
        .any(|line| line.starts_with(&pid) && line.contains("tail"))
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "no {pid} in\n{text}"
        );
        text = once();
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn the_live_view_ends_by_a_key_and_gives_the_terminal_back() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    refuses(volume.envelopefs("top").arg(mount.root()), 2, &["--once"]);
    let command = format!("{} top {}", program().display(), mount.root().display());
    let script = format!(
        "export XDG_RUNTIME_DIR=$PWD/run TERM=xterm; (sleep 2; printf n; sleep 1; printf q) | \
         script -qec \"stty cols 100 rows 40; {command}; stty -a | grep -q ' icanon' && echo GIVEN-BACK\" /dev/null"
    );
    let begun = Instant::now();
    let shown = shell(volume.home(), &script);
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(
        shown.contains("providers") && shown.contains("GIVEN-BACK"),
        "{shown:?}"
    );
    assert!(
        shown.contains("\u{1b}[?1049l"),
        "the other screen stays: {shown:?}"
    );
}

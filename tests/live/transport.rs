//! How requests come from the kernel: by /dev/fuse, or over io_uring where the kernel offers it.
//!
//! `scripts/test.sh io_uring` has the kernel offer it, and runs these tests and others once more.

use std::fs;
use std::process::Command;
use std::thread;

use crate::harness::{Volume, is_running, noise, run, shell, wait_until};

const OFFER: &str = "/sys/module/fuse/parameters/enable_uring";

/// Whether mounts of this machine get requests over io_uring.
fn is_offered() -> bool {
    fs::read_to_string(OFFER).is_ok_and(|text| text.trim() == "Y")
}

fn transport(volume: &Volume) -> String {
    let mut status = volume.envelopefs("status");
    let told = run(status.arg("--json").arg(volume.mountpoint()));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    told["transport"].as_str().unwrap().to_owned()
}

#[test]
fn a_mount_tells_how_requests_come_and_takes_no_other_way_than_it_was_told() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let expected = if is_offered() { "io_uring" } else { "dev" };
    assert_eq!(transport(&volume), expected);
    fs::write(mount.path("f"), "content").unwrap();
    let mount = mount.again_with(&["--transport", "dev"]);
    assert_eq!(transport(&volume), "dev");
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"content");
    drop(mount);
    if is_offered() {
        let mount = volume.mount_with(&["-o", "transport=io_uring"]);
        assert_eq!(transport(&volume), "io_uring");
        assert_eq!(fs::read(mount.path("f")).unwrap(), b"content");
    } else {
        volume.refuses_mount(
            &["--transport", "io_uring"],
            16,
            &["enable_uring", "--transport auto"],
        );
    }
    volume.refuses_mount(&["--transport", "uring"], 2, &["auto, dev or io_uring"]);
}

fn seed(thread: usize, nth: usize) -> u64 {
    u64::try_from(thread * 16 + nth).unwrap()
}

/// Requests and replies of every length, from several threads at once, on whichever processor they run.
#[test]
fn what_many_threads_write_and_read_is_the_same() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let lengths = [
        0,
        1,
        4095,
        4096,
        131_071,
        131_072,
        131_073,
        1 << 20,
        5_000_001,
    ];
    let write = |thread: usize| {
        for (nth, len) in lengths.into_iter().enumerate() {
            let path = mount.path(&format!("{thread}-{nth}"));
            fs::write(&path, noise(seed(thread, nth), len)).unwrap();
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || write(thread));
        }
    });
    let mount = mount.again_with(&[]);
    let read = |thread: usize| {
        for (nth, len) in lengths.into_iter().enumerate() {
            let read = fs::read(mount.path(&format!("{thread}-{nth}"))).unwrap();
            let written = noise(seed(thread, nth), len);
            assert!(read == written, "{thread} {nth}");
        }
    };
    thread::scope(|scope| {
        for thread in 0..6 {
            scope.spawn(move || read(thread));
        }
    });
    // A folder whose listing takes many replies.
    shell(
        mount.root(),
        "mkdir many && cd many && seq 3000 | xargs touch",
    );
    assert_eq!(fs::read_dir(mount.path("many")).unwrap().count(), 3000);
}

/// The threads end with the mount: with `umount`, with a detached mount's last user, with a kernel that is told to abort.
#[test]
fn the_daemon_ends_with_its_mount() {
    let volume = Volume::create(&[]);
    for how in [&["umount"][..], &["umount", "-l"], &["umount", "-f"]] {
        let mount = volume.mount();
        fs::write(mount.path("f"), how.concat()).unwrap();
        let pid = mount.status().pid();
        let mut umount = Command::new(how[0]);
        run(umount.args(&how[1..]).arg(volume.mountpoint()));
        wait_until("the daemon ends", || !is_running(pid));
        drop(mount);
    }
}

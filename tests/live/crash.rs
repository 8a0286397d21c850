//! A daemon that dies, and what is there when its volume is mounted again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{
    Mount, Volume, clear_mountpoint, errno, is_mounted, is_running, mounts_at, noise, refuses, run,
    shell, wait_until,
};

pub(crate) fn kill(mount: &Mount<'_>, signal: Signal) {
    let pid = mount.status().pid();
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(raw, signal).unwrap();
    wait_until("the daemon to end", || !is_running(pid));
}

/// Nobody answers there. A request that was under way when the daemon ended is aborted, a later one finds nobody.
#[track_caller]
fn assert_dead(point: &Path) {
    let dead = [libc::ENOTCONN, libc::ECONNABORTED];
    assert!(dead.contains(&errno(fs::read_dir(point))));
}

#[test]
fn what_was_synced_before_a_kill_is_there_and_the_rest_is_old_or_new() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("closed"), noise(1, 50_000)).unwrap();
    let mut synced = File::create(mount.path("synced")).unwrap();
    synced.write_all(&noise(2, 100_000)).unwrap();
    synced.sync_all().unwrap();
    let mut unsynced = File::create(mount.path("unsynced")).unwrap();
    unsynced.write_all(&noise(3, 100_000)).unwrap();
    kill(&mount, Signal::KILL);
    assert_dead(mount.root());
    drop((synced, unsynced));
    clear_mountpoint(mount.root());
    drop(mount);

    let mount = volume.mount();
    assert!(fs::read(mount.path("synced")).unwrap() == noise(2, 100_000));
    assert!(fs::read(mount.path("closed")).unwrap() == noise(1, 50_000));
    let found = fs::read(mount.path("unsynced")).unwrap();
    let written = noise(3, 100_000);
    let whole = found
        .iter()
        .zip(&written)
        .all(|(found, written)| found == written || *found == 0);
    assert!(whole, "{} bytes that nobody wrote", found.len());
    fs::write(mount.path("after"), "works").unwrap();
    mount.unmount();
    run(volume.envelopefs("check").arg(volume.cipher_dir()));
}

#[test]
fn a_dead_mount_is_cleared_by_umount_and_mounts_again() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    kill(&mount, Signal::KILL);
    run(volume.envelopefs("umount").arg(mount.root()));
    drop(mount);
    assert_eq!(fs::read(volume.mount().path("file")).unwrap(), b"content");
}

#[test]
fn a_mount_takes_the_place_of_a_dead_one() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    for _ in 0..3 {
        // The kernel remembers these, and would answer them for the dead.
        fs::metadata(mount.root()).unwrap();
        fs::metadata(mount.path("file")).unwrap();
        kill(&mount, Signal::KILL);
        run(&mut volume.mount_command(&[]));
        assert_eq!(fs::read(mount.path("file")).unwrap(), b"content");
        assert_eq!(mounts_at(mount.root()), 1, "the dead one is still there");
    }
}

#[test]
fn a_dead_mount_of_another_program_stays() {
    let volume = Volume::create(&[]);
    let point = volume.mountpoint();
    let script = format!(
        "exec 3<>/dev/fuse; mount -i -t fuse.other -o fd=3,rootmode=40000,user_id=0,group_id=0 other {}",
        point.display()
    );
    shell(volume.home(), &script);
    assert_dead(&point);
    refuses(&mut volume.mount_command(&[]), 14, &["not connected"]);
    assert_eq!(mounts_at(&point), 1, "it was taken away");
}

#[test]
fn a_live_mount_is_not_taken_away() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    refuses(
        &mut volume.mount_command(&[]),
        14,
        &["already an envelopefs mount"],
    );
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"content");
}

#[test]
fn a_termination_signal_writes_everything_and_unmounts() {
    let volume = Volume::create(&[]);
    for signal in [Signal::TERM, Signal::INT] {
        let mount = volume.mount();
        fs::write(mount.path("file"), noise(1, 70_000)).unwrap();
        kill(&mount, signal);
        assert!(!is_mounted(mount.root()));
        drop(mount);
        let again = volume.mount();
        assert!(fs::read(again.path("file")).unwrap() == noise(1, 70_000));
        again.unmount();
    }
}

//! Ways to mount, and what a mount says about itself.

use std::fs;

use crate::harness::{Mount, Volume, errno, is_mounted, refuses, run, shell, wait_until};

const NOT_MOUNTED: i32 = 18;

fn options_of(mount: &Mount<'_>) -> String {
    shell(
        mount.root(),
        "findmnt --noheadings --output FSTYPE,SOURCE,OPTIONS --mountpoint \"$PWD\"",
    )
}

#[test]
fn a_read_only_mount_reads_and_changes_nothing() {
    let volume = Volume::create(&[]);
    let mut mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    for options in [["--read-only"].as_slice(), &["-o", "ro"]] {
        mount = mount.again_with(options);
        assert_eq!(fs::read(mount.path("file")).unwrap(), b"content");
        assert_eq!(errno(fs::write(mount.path("file"), "")), libc::EROFS);
        assert_eq!(errno(fs::create_dir(mount.path("new"))), libc::EROFS);
        assert_eq!(errno(fs::remove_file(mount.path("file"))), libc::EROFS);
    }
}

#[test]
fn the_options_of_other_fuse_mounts_are_understood() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&[
        "-o",
        "noatime,default_permissions,fsname=secrets",
        "-o",
        "dev,suid",
    ]);
    let shown = options_of(&mount);
    for word in [
        "fuse.envelopefs",
        "secrets",
        "noatime",
        "default_permissions",
    ] {
        assert!(shown.contains(word), "{word} is not in: {shown}");
    }
    assert!(
        !shown.contains("nodev") && !shown.contains("nosuid"),
        "{shown}"
    );
}

#[test]
fn a_mount_is_nodev_and_nosuid_by_itself() {
    let volume = Volume::create(&[]);
    let shown = options_of(&volume.mount());
    assert!(
        shown.contains("nodev") && shown.contains("nosuid"),
        "{shown}"
    );
}

#[test]
fn a_foreground_mount_serves_until_it_is_told_to_end() {
    let volume = Volume::create(&[]);
    let mut daemon = volume.mount_command(&["-f"]).spawn().unwrap();
    wait_until("the mount", || is_mounted(&volume.mountpoint()));
    fs::write(volume.mountpoint().join("file"), "content").unwrap();
    run(volume.envelopefs("umount").arg(volume.mountpoint()));
    assert!(daemon.wait().unwrap().success());
    assert!(!is_mounted(&volume.mountpoint()));
}

#[test]
fn status_tells_people_and_programs_about_a_mount() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    let cipher_dir = volume.cipher_dir().display().to_string();
    for arguments in [vec![], vec!["--json"]] {
        let said = run(volume
            .envelopefs("status")
            .args(arguments)
            .arg(mount.root()));
        assert!(
            said.contains(&cipher_dir) && said.contains("file://"),
            "{said}"
        );
    }
    let every = run(&mut volume.envelopefs("status"));
    assert!(every.contains(&cipher_dir), "{every}");
}

#[test]
fn status_and_umount_of_what_is_not_mounted_say_so() {
    let volume = Volume::create(&[]);
    for subcommand in ["status", "umount"] {
        let mut command = volume.envelopefs(subcommand);
        refuses(command.arg(volume.mountpoint()), NOT_MOUNTED, &["mnt"]);
    }
}

#[test]
fn two_shared_mounts_see_each_others_closed_files() {
    let volume = Volume::create(&[]);
    let one = volume.mount_with(&["--shared"]);
    let second = volume.home().join("second");
    fs::create_dir(&second).unwrap();
    run(volume
        .envelopefs("mount")
        .arg("--shared")
        .arg(volume.cipher_dir())
        .arg(&second));

    fs::write(one.path("file"), "first").unwrap();
    let read = fs::read(second.join("file")).unwrap();
    fs::write(second.join("file"), "from the second").unwrap();
    let back = fs::read(one.path("file")).unwrap();
    run(volume.envelopefs("umount").arg(&second));
    assert_eq!(
        (read.as_slice(), back.as_slice()),
        (b"first".as_slice(), b"from the second".as_slice())
    );
}

#[test]
fn the_name_mount_envelopefs_takes_a_line_of_fstab() {
    let volume = Volume::create(&[]);
    let helper = volume.home().join("mount.envelopefs");
    std::os::unix::fs::symlink(volume.envelopefs("status").get_program(), &helper).unwrap();
    let mut command = std::process::Command::new(&helper);
    command.env("XDG_RUNTIME_DIR", volume.home().join("run"));
    command.arg(volume.cipher_dir()).arg(volume.mountpoint());
    run(command.args(["-o", "rw,noatime,_netdev,x-systemd.automount"]));
    assert!(is_mounted(&volume.mountpoint()));
    run(volume.envelopefs("umount").arg(volume.mountpoint()));
}

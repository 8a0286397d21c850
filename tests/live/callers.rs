//! Under `allow_other` every caller gets what owner, group and mode say, as on a local disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::thread;

use rustix::process::{Gid, Uid};

use crate::harness::{
    Mount, NOBODY, Volume, install, program, require_root, run, set_mode, shell, shell_as_nobody,
};

/// A mount that every user may write into, as in /tmp.
fn open_to_all(volume: &Volume) -> Mount<'_> {
    require_root();
    let mount = volume.mount_with(&["--allow-other"]);
    set_mode(mount.root(), 0o1777);
    mount
}

#[test]
fn new_files_belong_to_their_caller_with_the_mode_that_umask_leaves() {
    let volume = Volume::create(&[]);
    let mount = open_to_all(&volume);
    let made = "umask 027; echo x > file; mkdir folder; mkfifo pipe; ln -s file link; stat -c '%n %u:%g %a' file folder pipe link";
    let expected = "file 65534:65534 640\nfolder 65534:65534 750\npipe 65534:65534 640\nlink 65534:65534 777\n";
    assert_eq!(shell_as_nobody(mount.root(), made), expected);
    let stored = fs::metadata(mount.again_with(&["--allow-other"]).path("file")).unwrap();
    assert_eq!(
        (stored.uid(), stored.gid(), stored.mode() & 0o7777),
        (NOBODY, NOBODY, 0o640)
    );
}

#[test]
fn modes_keep_other_users_out() {
    let volume = Volume::create(&[]);
    let mount = open_to_all(&volume);
    let prepare = "umask 077; echo secret > private; echo shared > public; chmod 644 public; mkdir closed; echo > closed/file";
    shell(mount.root(), prepare);
    let tried = r#"
        cat public
        ! cat private 2>/dev/null
        ! echo more >> public 2>/dev/null
        ! ls closed 2>/dev/null
        ! rm -f public 2>/dev/null
        ! mv public mine 2>/dev/null
        ! chmod 777 public 2>/dev/null
        ! chown 65534 public 2>/dev/null"#;
    // `!` does not end a shell under -e: each line is checked by itself.
    let strict: String = tried
        .trim()
        .lines()
        .map(|line| format!("if {}; then :; else exit 9; fi\n", line.trim()))
        .collect();
    assert_eq!(shell_as_nobody(mount.root(), &strict), "shared\n");
}

#[test]
fn a_mount_without_allow_other_keeps_even_other_users_of_open_files_out() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    shell(mount.root(), "echo x > file; chmod 666 file");
    let refused = format!(
        "if cat {} 2>/dev/null; then exit 9; fi",
        mount.path("file").display()
    );
    shell_as_nobody(volume.home(), &refused);
}

#[test]
fn folders_with_the_set_gid_bit_hand_down_their_group() {
    let volume = Volume::create(&[]);
    let mount = open_to_all(&volume);
    shell(
        mount.root(),
        "mkdir team; chgrp 12345 team; chmod 2777 team",
    );
    let made =
        "umask 022; echo > team/file; mkdir team/below; stat -c '%g %a' team/file team/below";
    assert_eq!(
        shell_as_nobody(mount.root(), made),
        "12345 644\n12345 2755\n"
    );
}

#[test]
fn a_write_by_another_user_takes_the_set_uid_bit_away() {
    let volume = Volume::create(&[]);
    let mount = open_to_all(&volume);
    shell(mount.root(), "echo > tool; chmod 6777 tool");
    shell_as_nobody(mount.root(), "echo changed >> tool");
    assert_eq!(fs::metadata(mount.path("tool")).unwrap().mode() & 0o6000, 0);
}

#[test]
fn one_callers_rights_never_reach_the_next_callers_request() {
    let volume = Volume::create(&[]);
    let mount = open_to_all(&volume);
    shell(mount.root(), "mkdir mine; chmod 700 mine");
    let roots = "for i in {1..300}; do echo root > mine/$i; cat mine/$i > /dev/null; mv mine/$i mine/file; rm mine/file; done";
    let nobodys = "mkdir own; for i in {1..300}; do echo nobody > own/$i; mv own/$i own/file; rm own/file; if ls mine 2>/dev/null; then exit 9; fi; done";
    thread::scope(|scope| {
        scope.spawn(|| shell(mount.root(), roots));
        scope.spawn(|| shell_as_nobody(mount.root(), nobodys));
    });
}

#[test]
fn a_user_without_rights_makes_mounts_and_unmounts_a_volume_of_his_own() {
    require_root();
    let volume = Volume::unmade();
    let (nobody, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    for folder in [
        volume.home().to_owned(),
        volume.mountpoint(),
        volume.home().join("run"),
    ] {
        rustix::fs::chown(&folder, Some(nobody), Some(group)).unwrap();
    }
    // In a namespace of its own, with a /dev/fuse as udev makes it: open to all.
    let open_fuse = r#"
        mkdir "$HOME/dev"; mount -t tmpfs none "$HOME/dev"
        mknod "$HOME/dev/fuse" c 10 229; chmod 666 "$HOME/dev/fuse"; mount --bind "$HOME/dev/fuse" /dev/fuse
        exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -euc "$AS_NOBODY""#;
    let as_nobody = r#"
        cd "$HOME"
        "$ENVELOPEFS" init enc > init.log
        "$ENVELOPEFS" mount enc mnt
        echo mine > mnt/file; stat -c '%u %a' mnt/file
        "$ENVELOPEFS" umount mnt; "$ENVELOPEFS" mount enc mnt
        cat mnt/file
        "$ENVELOPEFS" umount mnt"#;
    // The build folder may be closed to others.
    let copy = volume.home().join("envelopefs");
    install(&program(), &copy);
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "bash",
        "-euc",
        open_fuse,
    ]);
    command
        .env("HOME", volume.home())
        .env("XDG_RUNTIME_DIR", volume.home().join("run"));
    command
        .env_remove("XDG_CONFIG_HOME")
        .env("ENVELOPEFS", copy)
        .env("AS_NOBODY", as_nobody);
    assert_eq!(run(&mut command), "65534 644\nmine\n");
}

//! mount(8), fstab, findmnt(8) and umount(8), with the program in the places where they look for helpers: in namespaces of
//! their own, which take every mount and process along when a test ends.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::{Volume, program, refuses, require_root, run};

const FAILURE_USAGE: i32 = 2;
const KEY_DENIED: i32 = 12;
const NOT_MOUNTED: i32 = 18;
const BUSY: i32 = 19;

/// A bash script that sees the helpers in /usr/sbin. $ENC, $MNT, $KEY and $TAB are the volume's folders, its key and a file
/// for lines of fstab.
fn with_helpers(volume: &Volume, script: &str) -> Command {
    require_root();
    let helpers = volume.home().join("helpers");
    if !helpers.exists() {
        fs::create_dir(&helpers).unwrap();
        for name in [
            "mount.envelopefs",
            "mount.fuse.envelopefs",
            "umount.fuse.envelopefs",
        ] {
            symlink(program(), helpers.join(name)).unwrap();
        }
    }
    let begin = "mount -t overlay overlay -o \"lowerdir=$HELPERS:/usr/sbin\" /usr/sbin
        gone() { ! pgrep envelopef; }
        not() { if \"$@\"; then return 1; fi; }
        wait_for() { for _ in {1..600}; do ! \"$@\" || return 0; sleep 0.1; done; return 1; }
        mount_it() { mount -t envelopefs \"$ENC\" \"$MNT\" -o \"key=$KEY,allow_other,nofail${1:+,$1}\"; }\n";
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.args([
        "bash",
        "-euo",
        "pipefail",
        "-c",
        &format!("{begin}{script}"),
    ]);
    command
        .current_dir(volume.home())
        .env("LC_ALL", "C")
        .env("HELPERS", helpers)
        .env("ENC", volume.cipher_dir())
        .env("MNT", volume.mountpoint())
        .env("KEY", volume.key())
        .env("TAB", volume.home().join("fstab"))
        .env("XDG_RUNTIME_DIR", volume.home().join("run"));
    command
}

#[test]
fn mount_8_mounts_and_findmnt_shows_what_it_is() {
    let volume = Volume::create(&[]);
    let shown = run(&mut with_helpers(
        &volume,
        "mount_it noatime
        chmod 755 \"$MNT\"; echo secret >\"$MNT/file\"; chmod 644 \"$MNT/file\"
        setpriv --reuid 65534 --regid 65534 --clear-groups cat \"$MNT/file\"
        findmnt --noheadings --raw --output FSTYPE,SOURCE,OPTIONS --mountpoint \"$MNT\"
        findmnt --noheadings --types fuse.envelopefs --output TARGET
        umount \"$MNT\"",
    ));
    let lines: Vec<_> = shown.lines().collect();
    let [content, row, target] = lines[..] else {
        panic!("{shown}");
    };
    assert_eq!(
        (content, target),
        ("secret", volume.mountpoint().to_str().unwrap())
    );
    let fields: Vec<_> = row.split(' ').collect();
    assert_eq!(
        fields[..2],
        ["fuse.envelopefs", volume.cipher_dir().to_str().unwrap()]
    );
    for word in ["rw", "nosuid", "nodev", "noatime", "allow_other"] {
        assert!(
            fields[2].split(',').any(|option| option == word),
            "{word}: {row}"
        );
    }
}

#[test]
fn lines_of_fstab_are_mounted_one_by_one_and_all_together() {
    let volume = Volume::create(&[]);
    run(&mut with_helpers(
        &volume,
        "echo \"$ENC $MNT envelopefs key=$KEY,allow_other,nofail,x-systemd.automount 0 0\" >\"$TAB\"
        mount --fstab \"$TAB\" \"$MNT\"
        echo one >\"$MNT/file\"
        umount \"$MNT\"
        mount --fstab \"$TAB\" --all
        mount --fstab \"$TAB\" --all
        [ \"$(findmnt --noheadings --mountpoint \"$MNT\" | wc -l)\" = 1 ]
        grep -qx one \"$MNT/file\"
        umount \"$MNT\"
        echo \"$ENC $MNT envelopefs ro 0 0\" >\"$TAB\"
        mount --fstab \"$TAB\" \"$MNT\"
        not touch \"$MNT/other\" 2>/dev/null
        umount \"$MNT\"
        echo \"$ENC $MNT envelopefs noauto 0 0\" >\"$TAB\"
        mount --fstab \"$TAB\" --all
        not findmnt --mountpoint \"$MNT\"",
    ));
}

#[test]
fn a_remount_makes_it_read_only_and_writable_again() {
    let volume = Volume::create(&[]);
    run(&mut with_helpers(
        &volume,
        "mount_it
        echo one >\"$MNT/file\"
        mount -o remount,ro \"$MNT\"
        findmnt --noheadings --options ro --mountpoint \"$MNT\"
        not sh -c 'echo two >\"$MNT/file\"' 2>/dev/null
        not rm \"$MNT/file\" 2>/dev/null
        grep -qx one \"$MNT/file\"
        mount -t envelopefs -o remount,rw \"$ENC\" \"$MNT\"
        echo three >\"$MNT/file\"
        umount \"$MNT\"
        mount_it
        grep -qx three \"$MNT/file\"",
    ));
}

#[test]
fn a_remount_waits_for_nobody_who_writes() {
    let volume = Volume::create(&[]);
    let script = "mount_it; exec 3>\"$MNT/file\"; mount -o remount,ro \"$MNT\"";
    refuses(
        &mut with_helpers(&volume, script),
        BUSY,
        &["open for writing", "lsof"],
    );
    run(&mut with_helpers(
        &volume,
        "mount_it; exec 3>\"$MNT/file\"; not mount -o remount,ro \"$MNT\" 2>/dev/null; echo on >&3; exec 3>&-
        grep -qx on \"$MNT/file\"",
    ));
}

#[test]
fn a_remount_of_what_is_not_mounted_is_refused() {
    let volume = Volume::create(&[]);
    let script = "mount -t envelopefs -o remount,ro \"$ENC\" \"$MNT\"";
    let output = with_helpers(&volume, script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("mount"), "{said}");
    let direct = "\"$HELPERS/mount.envelopefs\" \"$ENC\" \"$MNT\" -o remount,ro";
    refuses(
        &mut with_helpers(&volume, direct),
        NOT_MOUNTED,
        &["no envelopefs is mounted"],
    );
}

/// As systemd calls it: without `-c`, umount(8) of util-linux 2.38 asks for the type by statfs(2), which says `fuse`, and
/// looks for no helper of ours.
#[test]
fn umount_8_as_systemd_calls_it_returns_when_the_process_is_gone() {
    let volume = Volume::create(&[]);
    run(&mut with_helpers(
        &volume,
        "mount_it
        head -c 64M /dev/zero | tr '\\0' x >\"$MNT/big\"
        umount -c \"$MNT\"
        gone
        mount_it
        [ \"$(tr -d x <\"$MNT/big\" | wc -c)\" = 0 ] && [ \"$(stat -c %s \"$MNT/big\")\" = 67108864 ]",
    ));
}

#[test]
fn a_mount_right_after_umount_8_has_all_that_was_written() {
    let volume = Volume::create(&[]);
    run(&mut with_helpers(
        &volume,
        "for round in 1 2 3; do
            mount_it
            head -c \"${round}0M\" /dev/zero | tr '\\0' x >\"$MNT/$round\"
            umount \"$MNT\"
        done
        mount_it
        [ \"$(stat -c %s \"$MNT/1\" \"$MNT/2\" \"$MNT/3\" | tr '\\n' ' ')\" = '10485760 20971520 31457280 ' ]
        [ \"$(cat \"$MNT\"/* | tr -d x | wc -c)\" = 0 ]",
    ));
}

#[test]
fn umount_8_leaves_a_mount_that_is_in_use() {
    let volume = Volume::create(&[]);
    let script = "mount_it; cd \"$MNT\"; umount -c \"$MNT\"";
    refuses(
        &mut with_helpers(&volume, script),
        BUSY,
        &["in use", "lsof"],
    );
    run(&mut with_helpers(
        &volume,
        "mount_it; cd \"$MNT\"; not umount \"$MNT\" 2>/dev/null; findmnt --mountpoint \"$MNT\"; touch file",
    ));
}

#[test]
fn a_lazy_umount_lets_who_writes_write_to_the_end() {
    let volume = Volume::create(&[]);
    run(&mut with_helpers(
        &volume,
        "mount_it
        exec 3>\"$MNT/file\"
        echo before >&3
        umount --lazy \"$MNT\"
        not findmnt --mountpoint \"$MNT\"
        [ -z \"$(ls \"$MNT\")\" ]
        head -c 8M /dev/zero | tr '\\0' x >&3
        echo after >&3
        exec 3>&-
        wait_for gone
        mount_it
        [ \"$(head -n 1 \"$MNT/file\")\" = before ] && [ \"$(tail -c 6 \"$MNT/file\")\" = after ]
        [ \"$(stat -c %s \"$MNT/file\")\" = $((7 + 8 * 1024 * 1024 + 6)) ]",
    ));
}

#[test]
fn what_cannot_be_mounted_is_told_by_mount_8() {
    let volume = Volume::create(&[]);
    let mounting = |options: &str| {
        let script = format!("mount -t envelopefs \"$ENC\" \"$MNT\" -o '{options}'");
        with_helpers(&volume, &script)
    };
    refuses(&mut mounting("alow_other"), FAILURE_USAGE, &["alow_other"]);
    refuses(&mut mounting("key=nonsense"), FAILURE_USAGE, &["nonsense"]);
    refuses(
        &mut mounting("key=passphrase:"),
        KEY_DENIED,
        &["passphrase:"],
    );
    run(&mut with_helpers(
        &volume,
        "not findmnt --mountpoint \"$MNT\"; mount_it; umount \"$MNT\"",
    ));
}

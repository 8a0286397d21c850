//! Mounts that nobody uses, `lock --all`, and a passphrase that an agent has.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    Mount, Volume, errno, install, is_mounted, is_running, refuses, require_root, run, shell,
    wait_until,
};

fn locked(mount: &Mount<'_>) -> String {
    mount.status().text("/locked")
}

#[test]
fn an_unused_mount_loses_its_keys_and_stays() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--idle-lock", "1s"]);
    fs::write(mount.path("file"), "content").unwrap();
    wait_until("the lock", || locked(&mount) == "idle");
    assert!(is_mounted(mount.root()));
    assert_eq!(errno(fs::read(mount.path("file"))), libc::ENOKEY);
    let text = run(volume.envelopefs("status").arg(mount.root()));
    assert!(text.contains("LOCKED for want of use"), "{text}");
    run(volume.envelopefs("unlock").arg(mount.root()));
    assert_eq!(fs::read(mount.path("file")).unwrap(), b"content");
    wait_until("the next lock", || locked(&mount) == "idle");
}

#[test]
fn a_mount_in_use_keeps_its_keys() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", "idle_lock=3s,cache_ttl=0"]);
    fs::write(mount.path("file"), "content").unwrap();
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        let asked = Instant::now();
        fs::metadata(mount.path("file")).unwrap();
        thread::sleep(Duration::from_millis(50));
        // A machine that stands still for seconds has made the mount idle.
        if asked.elapsed() < Duration::from_secs(2) {
            assert_eq!(locked(&mount), "");
        }
    }
}

#[test]
fn an_unused_mount_is_unmounted_once_its_files_are_closed() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--idle-unmount", "1s"]);
    let pid = mount.status().pid();
    let file = fs::File::create(mount.path("file")).unwrap();
    thread::sleep(Duration::from_secs(3));
    assert!(is_mounted(mount.root()), "a file was open");
    drop(file);
    wait_until("the unmount", || !is_mounted(mount.root()));
    wait_until("the daemon's end", || !is_running(pid));
    drop(mount);
    let mount = volume.mount();
    assert!(mount.path("file").exists());
}

#[test]
fn who_is_in_a_folder_of_the_mount_keeps_it() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["--idle-unmount", "1s"]);
    let mut inside = Command::new("sleep")
        .arg("60")
        .current_dir(mount.root())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(3));
    let stays = is_mounted(mount.root());
    inside.kill().unwrap();
    inside.wait().unwrap();
    assert!(stays);
    wait_until("the unmount", || !is_mounted(mount.root()));
}

/// Others' mounts on this machine must not be locked by a test: it runs where only its own are to be seen.
#[test]
fn all_mounts_are_locked_at_once() {
    require_root();
    let (one, other) = (Volume::create(&[]), Volume::create(&[]));
    let mounts = [one.mount(), other.mount()];
    for mount in &mounts {
        fs::write(mount.path("file"), "content").unwrap();
    }
    let program = crate::harness::program();
    let mut own = Vec::new();
    for mount in &mounts {
        own.push(mount.root().display().to_string());
    }
    let script =
        "for point in $(awk '$3 == \"fuse.envelopefs\" { print $2 }' /proc/self/mounts); do
            case \" $KEEP \" in *\" $point \"*) ;; *) umount --lazy \"$point\" ;; esac
        done
        exec \"$0\" lock --all";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", script]);
    run(command.arg(program).env("KEEP", own.join(" ")));
    for mount in &mounts {
        assert_eq!(locked(mount), "user");
        assert_eq!(errno(fs::read(mount.path("file"))), libc::ENOKEY);
    }
}

#[test]
fn lock_wants_a_mount_or_all_and_not_both() {
    let volume = Volume::unmade();
    refuses(&mut volume.envelopefs("lock"), 2, &["MOUNT"]);
    refuses(
        volume.envelopefs("lock").args(["--all", "/m"]),
        2,
        &["--all"],
    );
}

fn put_agent(volume: &Volume, answer: &str) -> String {
    let folder = volume.home().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let agent = folder.join("systemd-ask-password");
    let asked = volume.home().join("asked");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\n{answer}\n", asked.display());
    let written = folder.join("written");
    fs::write(&written, script).unwrap();
    install(&written, &agent);
    format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", folder.display())
}

/// Without a terminal, as a service has none.
fn unlock(volume: &Volume, path: &str) -> Command {
    let mut command = Command::new("setsid");
    command.args([
        "--wait",
        crate::harness::program().to_str().unwrap(),
        "unlock",
    ]);
    command.arg(volume.mountpoint()).env("PATH", path);
    command.env("XDG_RUNTIME_DIR", volume.home().join("run"));
    command
}

#[test]
fn an_agent_gives_the_passphrase_where_there_is_no_terminal() {
    let volume = Volume::unmade();
    let script = |word: &str| {
        format!("printf '%s\\n' 'a passphrase' 'a passphrase' | script -qec \"{word}\" /dev/null")
    };
    let words = format!(
        "{} init --key passphrase: {}",
        crate::harness::program().display(),
        volume.cipher_dir().display()
    );
    shell(volume.home(), &script(&words));
    let words = format!(
        "{} mount {} {}",
        crate::harness::program().display(),
        volume.cipher_dir().display(),
        volume.mountpoint().display()
    );
    shell(
        volume.home(),
        &format!("export XDG_RUNTIME_DIR=$PWD/run; {}", script(&words)),
    );
    assert!(is_mounted(&volume.mountpoint()));
    fs::write(volume.mountpoint().join("file"), "content").unwrap();
    run(volume.envelopefs("lock").arg(volume.mountpoint()));

    let gives_up = put_agent(&volume, "exit 1");
    refuses(
        &mut unlock(&volume, &gives_up),
        12,
        &["systemd-ask-password"],
    );
    let wrong = put_agent(&volume, "echo 'another one'");
    refuses(&mut unlock(&volume, &wrong), 12, &["passphrase"]);
    let right = put_agent(&volume, "echo 'a passphrase'");
    run(&mut unlock(&volume, &right));
    assert_eq!(
        fs::read(volume.mountpoint().join("file")).unwrap(),
        b"content"
    );
    let asked = fs::read_to_string(volume.home().join("asked")).unwrap();
    let place = volume.mountpoint().display().to_string();
    assert!(
        asked.contains(&place) && !asked.contains("a passphrase"),
        "{asked}"
    );
    volume.unmount();
}

#[test]
fn the_sleep_hook_is_a_unit_that_systemd_takes() {
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd/envelopefs-lock.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("lock --all") && text.contains("Before=sleep.target"));
    let folder = tempfile::tempdir().unwrap();
    // As it would be on a machine where the program is installed.
    let copy = folder.path().join("envelopefs-lock.service");
    let program = crate::harness::program().display().to_string();
    fs::write(&copy, text.replace("/usr/bin/envelopefs", &program)).unwrap();
    run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(copy));
}

//! Policies through live mounts: who is denied what, by user, executable and unit; and what tampering with them comes to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{
    Mount, NOBODY, Volume, errno, install, refuses, require_root, run, shell, shell_as_nobody,
};

const KEY_DENIED: i32 = 12;

fn write(volume: &Volume, text: &str) -> PathBuf {
    let path = volume.home().join("policy.toml");
    fs::write(&path, text).unwrap();
    path
}

fn set(volume: &Volume, text: &str) -> String {
    let file = write(volume, text);
    let mut set = volume.envelopefs("policy");
    run(set.arg("set").arg(volume.cipher_dir()).arg(file))
}

fn on_volume(volume: &Volume, subcommand: &str) -> Command {
    let mut command = volume.envelopefs("policy");
    command.arg(subcommand).arg(volume.cipher_dir());
    command
}

/// A mount for all users in which `secret/f`, `docs/f` and `free/f` are everybody's by their modes.
fn mounted<'a>(volume: &'a Volume, options: &[&str]) -> Mount<'a> {
    let mount = volume.mount_with(&[&["--allow-other"], options].concat());
    shell(
        mount.root(),
        "chmod 777 .; for d in secret docs free; do mkdir -p $d/e; echo $d > $d/f; ln -s f $d/l; done
         python3 -c 'import os; [os.setxattr(d + \"/f\", \"user.k\", b\"v\") for d in (\"secret\", \"docs\", \"free\")]'
         chmod -R 777 secret docs free",
    );
    mount
}

const TRY_EVERYTHING: &str = r#"python3 - <<'END'
import os, errno, socket
def attempt(call, *arguments):
    try: call(*arguments); return "ok"
    except OSError as e: return errno.errorcode[e.errno]
for d in ("secret", "docs", "free"):
    f, l, new = d + "/f", d + "/l", d + "/new"
    print(d, *[attempt(*call) for call in [
        (os.open, f, os.O_RDONLY), (os.open, f, os.O_WRONLY), (os.open, f, os.O_RDWR), (os.open, f, os.O_WRONLY | os.O_TRUNC),
        (os.truncate, f, 1), (os.utime, f), (os.getxattr, f, "user.k"), (os.setxattr, f, "user.k", b"w"), (os.removexattr, f, "user.k"),
        (os.link, f, "free/link-" + d), (os.rename, f, "free/moved-" + d), (os.rename, "free/moved-" + d, f),
        (os.open, new, os.O_CREAT | os.O_WRONLY), (os.mkfifo, d + "/p"), (os.mkdir, d + "/d"), (os.symlink, "x", d + "/s"), (os.unlink, l), (os.rmdir, d + "/e"),
        (os.rename, d, "free/folder-" + d) if d != "free" else (os.stat, f)]])
    print(d, *[attempt(*call) for call in [(os.stat, f), (os.listdir, d), (os.readlink, l) if d != "free" else (os.stat, f), (os.listxattr, f)]])
END"#;

/// Reading, then 18 ways to change; the rename back of what was not moved finds nothing.
fn answers<'a>(first: &'a str, rest: &'a str) -> Vec<&'a str> {
    let mut all = vec![first];
    all.extend([rest; 5]);
    // The value of an attribute.
    all.push(first);
    all.extend([rest; 4]);
    all.push("ENOENT");
    all.extend([rest; 7]);
    all
}

#[test]
fn every_request_is_denied_that_the_policy_denies() {
    require_root();
    let volume = Volume::create(&[]);
    let audit = volume.home().join("audit");
    let mount = mounted(&volume, &["-o", &format!("audit={}", audit.display())]);
    set(
        &volume,
        &format!(
            "[[rule]]\npath = '/secret/**'\nuid = {NOBODY}\naccess = 'deny'\n[[rule]]\npath = '/docs/**'\nuid = {NOBODY}\naccess = 'read-only'\n"
        ),
    );
    let said = shell_as_nobody(mount.root(), TRY_EVERYTHING);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(lines[0][1..], answers("EACCES", "EACCES"), "{said}");
    assert_eq!(lines[2][1..], answers("ok", "EROFS"), "{said}");
    assert!(lines[4][1..].iter().all(|word| *word == "ok"), "{said}");
    for seen in [1, 3, 5] {
        assert!(lines[seen][1..].iter().all(|word| *word == "ok"), "{said}");
    }
    // Root is another user.
    assert_eq!(fs::read(mount.path("secret/f")).unwrap(), b"secret\n");
    assert!(mount.status().text("/audit/head").len() > 64);
    mount.unmount();
    let mut show = volume.envelopefs("audit");
    let denied = run(show
        .arg("show")
        .arg(&audit)
        .args(["--json", "--event", "access-denied"]));
    let denied: Vec<Value> = denied
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(denied.len() >= 30, "{}", denied.len());
    let open = denied
        .iter()
        .find(|event| event["operation"] == "open")
        .unwrap();
    assert_eq!(
        (&open["path"], &open["uid"], &open["rule"], &open["access"]),
        (
            &"/secret/f".into(),
            &NOBODY.into(),
            &1.into(),
            &"deny".into()
        )
    );
    assert!(open["exe"].as_str().unwrap().contains("python"), "{open}");
    run(volume
        .envelopefs("audit")
        .arg("verify")
        .arg(&audit)
        .arg("--volume")
        .arg(volume.cipher_dir()));
}

/// A folder outside the mount with two programs that print a file.
fn two_programs(volume: &Volume) -> (PathBuf, PathBuf) {
    let (good, other) = (volume.home().join("good"), volume.home().join("other"));
    for program in [&good, &other] {
        install(Path::new("/bin/cat"), program);
    }
    (good, other)
}

#[test]
fn one_executable_reads_and_its_copy_does_not() {
    let volume = Volume::create(&[]);
    let (good, other) = two_programs(&volume);
    set(
        &volume,
        &format!(
            "[[rule]]\npath = '/f'\nexe = '{}'\naccess = 'allow'\n[[rule]]\npath = '/f'\nexe = '/usr/bin/bash'\naccess = 'allow'\n[[rule]]\npath = '/f'\naccess = 'deny'\n",
            good.display()
        ),
    );
    let mount = volume.mount();
    shell(mount.root(), "echo x > f");
    let file = mount.path("f");
    assert_eq!(run(Command::new(&good).arg(&file)), "x\n");
    refuses(Command::new(&other).arg(&file), 1, &["Permission denied"]);
    refuses(Command::new("cat").arg(&file), 1, &["Permission denied"]);
    // The name alone does not do, nor the file under another name.
    let link = volume.home().join("link");
    fs::hard_link(&good, &link).unwrap();
    refuses(Command::new(&link).arg(&file), 1, &["Permission denied"]);
    fs::rename(&other, &good).unwrap();
    assert_eq!(
        run(Command::new(&good).arg(&file)),
        "x\n",
        "what stands there now is what the rule names"
    );
    assert_eq!(
        errno(fs::read(&file)),
        libc::EACCES,
        "this test is another program"
    );
}

#[test]
fn one_unit_reads_and_the_others_do_not() {
    require_root();
    let volume = Volume::create(&[]);
    let unit = format!("envelopefs-test-{}.service", std::process::id());
    set(
        &volume,
        &format!("[[rule]]\npath = '/f'\nunit = '{unit}'\naccess = 'deny'\n"),
    );
    let mount = volume.mount();
    fs::write(mount.path("f"), "x").unwrap();
    let group = ControlGroup::make(&unit);
    let script = format!(
        "echo $$ > {}/cgroup.procs; exec cat f",
        group.path.display()
    );
    let said = crate::harness::shell_command(mount.root(), &script)
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&said.stderr).contains("Permission denied"),
        "{said:?}"
    );
    assert_eq!(shell(mount.root(), "cat f"), "x");
}

/// A control group, in a hierarchy that this mounts for itself: of version 2, or, where that is in use otherwise, the one
/// of version 1 that systemd names processes in.
struct ControlGroup {
    hierarchy: PathBuf,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl ControlGroup {
    fn make(unit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = folder.path().to_owned();
        let v1 = "mount -t cgroup -o none,name=systemd none .";
        shell(
            &hierarchy,
            &format!("{v1} 2> /dev/null || mount -t cgroup2 none ."),
        );
        let path = hierarchy.join(unit);
        let group = Self {
            hierarchy,
            path,
            _folder: folder,
        };
        fs::create_dir(&group.path).expect(
            "control groups must be made for this test: run it as root, outside a container",
        );
        group
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.path));
        run(Command::new("umount").arg(&self.hierarchy));
    }
}

#[test]
fn a_mounted_volume_takes_another_policy_at_once_and_what_is_open_stays_open() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("f"), "x").unwrap();
    let open = fs::File::open(mount.path("f")).unwrap();
    let said = set(&volume, "default = 'deny'\n");
    assert!(said.starts_with("Set: 0 rules"), "{said}");
    assert_eq!(errno(fs::File::open(mount.path("f"))), libc::EACCES);
    assert_eq!(std::io::read_to_string(open).unwrap(), "x");
    assert_eq!(run(&mut on_volume(&volume, "show")), "default = 'deny'\n");
    set(&volume, "default = 'read-only'\n");
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"x");
    assert_eq!(errno(fs::write(mount.path("g"), "x")), libc::EROFS);
    // One that cannot be followed changes nothing.
    let bad = write(&volume, "default = 'nothing'\n");
    refuses(on_volume(&volume, "set").arg(&bad), 2, &["policy"]);
    let folder = write(&volume, "[[folder]]\npath = '/a'\n");
    refuses(
        on_volume(&volume, "set").arg(&folder),
        2,
        &["folder 1: neither keys nor a scope"],
    );
    let inside = write(
        &volume,
        &format!(
            "[[rule]]\nexe = '{}/x'\naccess = 'deny'\n",
            mount.root().display()
        ),
    );
    refuses(
        on_volume(&volume, "set").arg(&inside),
        2,
        &["in the mount itself"],
    );
    assert_eq!(errno(fs::write(mount.path("g"), "x")), libc::EROFS);
    let mount = mount.again();
    assert_eq!(
        errno(fs::write(mount.path("g"), "x")),
        libc::EROFS,
        "after a new mount too"
    );
    run(&mut on_volume(&volume, "remove"));
    fs::write(mount.path("g"), "x").unwrap();
    mount.unmount();
    assert!(run(&mut on_volume(&volume, "show")).contains("no policy"));
    refuses(&mut on_volume(&volume, "reload"), 18, &["not mounted"]);
}

#[test]
fn a_shared_volume_is_followed_by_its_other_mounts() {
    let volume = Volume::create(&[]);
    let one = volume.mount_with(&["--shared"]);
    let other = volume.home().join("other-mnt");
    fs::create_dir(&other).unwrap();
    let mut second = volume.envelopefs("mount");
    run(second
        .arg("--shared")
        .arg("--log-file")
        .arg(volume.log())
        .arg(volume.cipher_dir())
        .arg(&other));
    fs::write(one.path("f"), "x").unwrap();
    set(&volume, "default = 'deny'\n");
    for root in [one.root(), &other] {
        assert_eq!(errno(fs::File::open(root.join("f"))), libc::EACCES);
    }
    run(volume.envelopefs("umount").arg(&other));
}

#[test]
fn a_policy_that_was_tampered_with_keeps_the_volume_from_being_mounted() {
    let volume = Volume::create(&[]);
    set(&volume, "default = 'deny'\n");
    let own = |entry: &str| volume.cipher_dir().join(".envelopefs").join(entry);
    let (policy, config) = (own("policy.toml"), own("volume.json"));
    let (text, json) = (
        fs::read(&policy).unwrap(),
        fs::read_to_string(&config).unwrap(),
    );
    for change in ["default = 'allow'\n", "", "default = 'deny'\n#"] {
        fs::write(&policy, change).unwrap();
        volume.refuses_mount(&[], 21, &["policy.toml is not the policy that was set"]);
    }
    fs::remove_file(&policy).unwrap();
    volume.refuses_mount(&[], 21, &["policy.toml is not the policy that was set"]);
    fs::write(&policy, &text).unwrap();
    let line = json
        .lines()
        .find(|line| line.contains("\"policy\""))
        .unwrap();
    fs::write(&config, json.replace(&format!("{line}\n"), "")).unwrap();
    volume.refuses_mount(&[], 21, &["volume.json"]);
    fs::write(&config, &json).unwrap();
    let mount = volume.mount();
    assert_eq!(errno(fs::write(mount.path("f"), "x")), libc::EACCES);
    // `check` knows the files.
    mount.unmount();
    let said = run(volume.envelopefs("check").arg(volume.cipher_dir()));
    assert!(said.contains("0 damaged, 0 notes"), "{said}");
}

#[test]
fn a_policy_is_explained_without_a_volume() {
    let volume = Volume::unmade();
    let file = write(
        &volume,
        "[[rule]]\npath = '/certs/**'\nuid = 33\naccess = 'read-only'\n[[rule]]\npath = '/certs/**'\naccess = 'deny'\n",
    );
    let check = |arguments: &[&str]| {
        let mut check = volume.envelopefs("policy");
        run(check.arg("check").arg(&file).args(arguments))
    };
    assert_eq!(check(&[]), "It can be followed: 2 rules, default allow\n");
    assert_eq!(
        check(&["--as", "uid=33", "/certs/a"]),
        "/certs/a: read-only, by rule 1, path /certs/**\n"
    );
    assert_eq!(
        check(&["--as", "uid=34", "/certs/a"]),
        "/certs/a: deny, by rule 2, path /certs/**\n"
    );
    assert_eq!(
        check(&["/certs/a"]),
        "/certs/a: deny, by rule 2, path /certs/**\n",
        "who asks is not known"
    );
    assert_eq!(check(&["/other"]), "/other: allow, by the default\n");
    let bad = write(&volume, "[[rule]]\npath = 'certs'\naccess = 'deny'\n");
    let mut check = volume.envelopefs("policy");
    refuses(check.arg("check").arg(bad), 2, &["rule 1", "begins with /"]);
}

#[test]
fn runs_over_all_files_are_not_judged_and_keep_the_policy() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("f"), "x").unwrap();
    let deny = "default = 'deny'\n";
    set(&volume, deny);
    for (command, option) in [("rewrap", "--rotate"), ("reencrypt", "--no-progress")] {
        let mut run_all = volume.envelopefs(command);
        run(run_all.arg(option).arg(mount.root()));
        assert_eq!(run(&mut on_volume(&volume, "show")), deny, "{command}");
        assert_eq!(errno(fs::read(mount.path("f"))), libc::EACCES, "{command}");
    }
    let mount = mount.again();
    assert_eq!(errno(fs::read(mount.path("f"))), libc::EACCES);
    run(&mut on_volume(&volume, "remove"));
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"x");
}

#[test]
fn a_locked_mount_takes_no_policy_and_follows_its_own_when_it_is_unlocked() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    fs::write(mount.path("f"), "x").unwrap();
    set(&volume, "default = 'read-only'\n");
    run(volume.envelopefs("lock").arg(mount.root()));
    let other = write(&volume, "default = 'allow'\n");
    let unlock = format!("envelopefs unlock {}", mount.root().display());
    let words = ["the mount is locked", &unlock];
    for refused in [
        on_volume(&volume, "set").arg(&other),
        &mut on_volume(&volume, "remove"),
        &mut on_volume(&volume, "show"),
    ] {
        refuses(refused, KEY_DENIED, &words);
        let said = refused.output().unwrap().stderr;
        assert!(!String::from_utf8_lossy(&said).contains("policy check"));
    }
    run(volume.envelopefs("unlock").arg(mount.root()));
    assert_eq!(fs::read(mount.path("f")).unwrap(), b"x");
    assert_eq!(errno(fs::write(mount.path("f"), "y")), libc::EROFS);
}

#[test]
fn nobody_sets_times_because_others_write_and_the_kernel_sets_those_of_what_it_writes_back() {
    require_root();
    let volume = Volume::create(&[]);
    let mount = mounted(&volume, &[]);
    shell(mount.root(), "chown 65534 docs/f");
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(mount.path("docs/f"));
    let mut writer = writer.unwrap();
    set(
        &volume,
        "[[rule]]\npath = '/docs/**'\nuid = 65534\naccess = 'read-only'\n
         [[rule]]\npath = '/free/**'\nuid = 0\naccess = 'deny'\n",
    );
    let set_times = r#"python3 -c '
import os
for path, by in (("docs/f", "name"), ("docs/f", "handle")):
    target = path if by == "name" else os.open(path, os.O_RDONLY)
    try: os.utime(target, (1, 1)); print("set")
    except OSError as error: print(error.errno)
'"#;
    let refused = format!("{0}\n{0}\n", libc::EROFS);
    assert_eq!(shell_as_nobody(mount.root(), set_times), refused);
    writer.write_all(b"more").unwrap();
    writer.sync_all().unwrap();
    drop(writer);

    // Root, whose threads write back, is denied this file: its times are set all the same.
    let write = "exec 3>>free/f; echo more >&3; sync free/f; stat -c %Y free/f; date +%s";
    let said = shell_as_nobody(mount.root(), write);
    run(Command::new("sync").arg("-f").arg(mount.root()));
    let [set, now] = [0, 1].map(|line| said.lines().nth(line).unwrap().parse::<i64>().unwrap());
    assert!((0..100).contains(&(now - set)), "{said}");
    let mount = mount.again_with(&["--allow-other"]);
    let kept = fs::symlink_metadata(mount.path("free/f")).unwrap().mtime();
    assert_eq!(kept, set);
}

#[test]
fn who_changed_the_policy_is_told() {
    require_root();
    let volume = Volume::create(&[]);
    let audit = volume.home().join("audit");
    let mount = volume.mount_with(&["-o", &format!("audit={}", audit.display())]);
    set(&volume, "default = 'read-only'\n");
    run(&mut on_volume(&volume, "remove"));
    mount.unmount();
    let told: Vec<Value> = fs::read_to_string(&audit)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["event"] == "policy-changed")
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for line in told {
        assert_eq!(line["uid"], rustix::process::geteuid().as_raw(), "{line}");
    }
}

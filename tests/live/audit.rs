//! What a mount with `--audit` tells, and that its lines are as they were written.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{
    Volume, errno, is_running, refuses, require_root, run, shell, shell_as_nobody, wait_until,
};

fn file(volume: &Volume) -> PathBuf {
    volume.home().join("audit")
}

fn option(volume: &Volume) -> String {
    format!("audit={}", file(volume).display())
}

/// All events of a kind.
fn events(volume: &Volume, kind: &str) -> Vec<Value> {
    let mut show = volume.envelopefs("audit");
    let text = run(show
        .arg("show")
        .arg(file(volume))
        .args(["--json", "--event", kind]));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn verify(volume: &Volume) -> Command {
    let mut verify = volume.envelopefs("audit");
    verify.arg("verify").arg(file(volume));
    verify.arg("--volume").arg(volume.cipher_dir());
    verify
}

#[test]
fn an_unwrap_names_who_asked_and_for_what() {
    require_root();
    let volume = Volume::create(&[]);
    let option = option(&volume);
    let options = ["--allow-other", "-o", &option];
    let mount = volume.mount_with(&options);
    shell(
        mount.root(),
        "mkdir d; echo x > d/f; chmod 755 . d; chmod 644 d/f",
    );
    let mount = mount.again_with(&options);
    shell_as_nobody(mount.root(), "exec cat d/f");
    mount.unmount();

    let unwraps = events(&volume, "unwrap");
    let of_volume: Vec<_> = unwraps
        .iter()
        .filter(|event| event["purpose"] == "volume-key")
        .collect();
    assert_eq!(of_volume.len(), 2, "one at each mount");
    let of_file = unwraps
        .iter()
        .find(|event| event["path"] == "/d/f")
        .unwrap();
    let cat = fs::canonicalize("/bin/cat").unwrap();
    for (field, value) in [
        ("purpose", Value::from("data-key")),
        ("cause", Value::from("open")),
        ("result", Value::from("granted")),
        ("provider", Value::from(volume.key())),
        ("key_version", Value::from("1")),
        ("uid", Value::from(65534)),
        ("gid", Value::from(65534)),
        ("exe", Value::from(cat.to_str().unwrap())),
    ] {
        assert_eq!(of_file[field], value, "{field} of {of_file}");
    }
    assert!(
        of_file["pid"].is_u64() && of_file["file_id"].is_string(),
        "{of_file}"
    );
    assert_eq!(events(&volume, "session-start").len(), 2);
    assert_eq!(events(&volume, "session-end").len(), 2);
    let said = run(&mut verify(&volume));
    assert!(
        said.contains("chain and seals checked") && !said.contains("note"),
        "{said}"
    );
    assert_eq!(
        fs::metadata(file(&volume)).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn keys_are_for_a_volume_whose_seals_are_checked() {
    let volume = Volume::create(&[]);
    volume.mount_with(&["-o", &option(&volume)]).unmount();
    let key = volume.key();
    for options in [["--key", &key], ["--passphrase-file", "/dev/null"]] {
        let mut verify = volume.envelopefs("audit");
        verify.arg("verify").args(options).arg(file(&volume));
        refuses(&mut verify, 2, &["--volume CIPHERDIR"]);
    }
}

#[test]
fn locks_and_runs_over_all_files_are_told() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", &option(&volume)]);
    fs::write(mount.path("f"), "x").unwrap();
    let on_mount = |command: &str, options: &[&str]| {
        let mut command = volume.envelopefs(command);
        run(command.arg(mount.root()).args(options));
    };
    on_mount("lock", &[]);
    on_mount("unlock", &[]);
    on_mount("rewrap", &["--rotate", "--no-progress"]);
    on_mount("rewrap", &["--no-progress"]);
    on_mount("reencrypt", &["--no-progress"]);
    mount.unmount();

    let lock = events(&volume, "lock");
    assert_eq!((lock.len(), &lock[0]["cause"]), (1, &Value::from("user")));
    let unlock = events(&volume, "unlock");
    assert_eq!(
        (unlock.len(), &unlock[0]["result"]),
        (1, &Value::from("granted"))
    );
    let own = Value::from(rustix::process::geteuid().as_raw());
    assert_eq!([&lock[0]["uid"], &unlock[0]["uid"]], [&own, &own]);
    // The second run finds nothing to do.
    let rewraps = events(&volume, "rewrap");
    assert_eq!(rewraps.len(), 2, "{rewraps:?}");
    assert_eq!(rewraps[0]["purpose"], "volume-key");
    assert_eq!(
        (&rewraps[1]["path"], &rewraps[1]["result"]),
        (&Value::from("/f"), &Value::from("granted"))
    );
    let reencrypted = events(&volume, "reencrypt");
    assert_eq!(
        (reencrypted.len(), &reencrypted[0]["path"]),
        (1, &Value::from("/f"))
    );
    run(&mut verify(&volume));
}

#[test]
fn a_key_that_is_refused_and_a_file_that_is_damaged_are_told() {
    let volume = Volume::create(&["--names", "plain"]);
    let mount = volume.mount_with(&["-o", &option(&volume)]);
    let content = vec![7; 10_000];
    fs::write(mount.path("f"), &content).unwrap();
    fs::write(mount.path("g"), &content).unwrap();
    mount.unmount();
    let damaged = volume.cipher_dir().join("f");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[5000] ^= 1;
    fs::write(&damaged, bytes).unwrap();

    let mount = volume.mount_with(&["-o", &option(&volume)]);
    assert_eq!(errno(fs::read(mount.path("f"))), libc::EIO);
    // A slot that holds something else.
    let stored = volume.cipher_dir().join("g");
    let mut bytes = fs::read(&stored).unwrap();
    let at = bytes.windows(5).position(|part| part == b"file:").unwrap() + volume.key().len() + 40;
    bytes[at] ^= 1;
    fs::write(&stored, bytes).unwrap();
    assert_eq!(errno(fs::read(mount.path("g"))), libc::EIO);
    mount.unmount();

    let damage = events(&volume, "integrity-failure");
    let met = damage.iter().find(|event| event["path"] == "/f");
    let met = met.unwrap_or_else(|| panic!("{damage:?}"));
    let own = fs::read_link("/proc/self/exe").unwrap();
    assert_eq!(met["exe"], own.to_str().unwrap(), "{met}");
    assert_eq!(met["uid"], rustix::process::geteuid().as_raw());
    assert!(met["pid"].is_u64() && met["gid"].is_u64(), "{met}");
    let refused = events(&volume, "unwrap");
    let refused = refused
        .iter()
        .find(|event| event["result"] == "failed")
        .unwrap();
    assert_eq!(
        (&refused["path"], &refused["error"]),
        (&"/g".into(), &"corrupt".into())
    );
    run(&mut verify(&volume));
}

#[test]
fn every_edit_of_the_file_is_found() {
    let volume = Volume::create(&[]);
    for _ in 0..2 {
        let mount = volume.mount_with(&["-o", &option(&volume)]);
        fs::write(mount.path("f"), "x").unwrap();
        mount.unmount();
    }
    let whole = fs::read_to_string(file(&volume)).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert!(lines.len() >= 6, "{whole}");
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let mut swapped = lines.clone();
    swapped.swap(1, 2);
    let edits = [
        whole.replacen("volume-key", "volume-kez", 1),
        joined(&[&lines[..2], &lines[3..]].concat()),
        joined(&swapped),
        joined(&[&lines[..2], &lines[1..]].concat()),
        whole.replacen("\"event\":\"unwrap\"", "\"event\":\"unlock\"", 1),
        joined(&lines[2..]),
    ];
    for edit in &edits {
        fs::write(file(&volume), edit).unwrap();
        refuses(&mut verify(&volume), 25, &["not as it was written"]);
    }
    let cut = joined(&lines[..lines.len() - 1]);
    fs::write(file(&volume), cut).unwrap();
    run(&mut verify(&volume));
    let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    let head = format!("{}:{}", last["seq"], last["hash"].as_str().unwrap());
    refuses(
        verify(&volume).args(["--expect", &head]),
        25,
        &["not as it was written"],
    );
    fs::write(file(&volume), whole).unwrap();
    run(verify(&volume).args(["--expect", &head]));
}

#[test]
fn a_mount_that_is_killed_leaves_an_audit_that_goes_on() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", &option(&volume)]);
    fs::write(mount.path("f"), "x").unwrap();
    wait_until("the first lines", || {
        mount.status().text("/audit/head").starts_with('2')
    });
    let daemon = mount.status().pid();
    let pid = i32::try_from(daemon).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    drop(mount);
    wait_until("the end of the daemon", || !is_running(daemon));
    let mut torn = fs::read(file(&volume)).unwrap();
    torn.extend_from_slice(b"{\"seq\":99,\"time\":\"20");
    fs::write(file(&volume), torn).unwrap();
    volume.mount_with(&["-o", &option(&volume)]).unmount();
    let said = run(&mut verify(&volume));
    assert!(said.contains("what a crash left of a line"), "{said}");
    assert!(said.contains("has no end"), "{said}");
}

#[test]
fn logrotate_takes_the_file_away_and_the_chain_goes_on() {
    let volume = Volume::create(&[]);
    let mount = volume.mount_with(&["-o", &option(&volume)]);
    wait_until("the first lines", || {
        mount.status().text("/audit/head").starts_with('2')
    });
    let old = volume.home().join("audit.1");
    fs::rename(file(&volume), &old).unwrap();
    shell(
        volume.home(),
        &format!("kill -HUP {}", mount.status().pid()),
    );
    wait_until("the new file", || file(&volume).exists());
    mount.unmount();
    let mut both = volume.envelopefs("audit");
    both.arg("verify").arg(&old).arg(file(&volume));
    let said = run(both.arg("--volume").arg(volume.cipher_dir()));
    assert!(!said.contains("note"), "{said}");
}

#[test]
fn a_file_that_cannot_be_an_audit_is_refused_before_the_mount() {
    let volume = Volume::create(&[]);
    let inside = format!("audit={}/a", volume.cipher_dir().display());
    volume.refuses_mount(&["-o", &inside], 2, &["lies in the volume itself"]);
    fs::write(file(&volume), "somebody's\n").unwrap();
    volume.refuses_mount(
        &["-o", &option(&volume)],
        1,
        &["something else than audit lines"],
    );
    volume.refuses_mount(&["-o", "audit=/nonexistent/a"], 1, &["/nonexistent"]);
    volume.refuses_mount(&["-o", "audit_full=wait"], 2, &["drop or fail"]);
}

/// A file system of a few pages takes the place of a disk that is full.
#[test]
fn on_a_full_disk_nothing_opens_that_could_not_be_told_and_it_heals() {
    require_root();
    let volume = Volume::create(&["--names", "plain"]);
    let small = SmallDisk::mount(volume.home().join("small"));
    let audit = small.0.join("audit");
    let option = format!("audit={},audit_full=fail", audit.display());
    let mount = volume.mount_with(&["-o", &option]);
    for name in ["damaged", "sound"] {
        fs::write(mount.path(name), [7; 10_000]).unwrap();
    }
    let mount = mount.again_with(&["-o", &option]);
    let stored = volume.cipher_dir().join("damaged");
    let mut bytes = fs::read(&stored).unwrap();
    bytes[5000] ^= 1;
    fs::write(&stored, bytes).unwrap();
    let damaged = fs::File::open(mount.path("damaged")).unwrap();
    fs::write(small.0.join("filler"), [0; 1 << 20]).unwrap_err();

    // Each read is refused at once, whether there is room for its event or not.
    for _ in 0..10_000 {
        assert_eq!(errno(damaged.read_at(&mut [0], 5000)), libc::EIO);
    }
    let status = mount.status();
    assert!(
        status.text("/audit/failure").contains("No space"),
        "{}",
        status.text("/audit/failure")
    );
    assert_eq!(errno(fs::read(mount.path("sound"))), libc::EAGAIN);

    fs::remove_file(small.0.join("filler")).unwrap();
    run(Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&small.0));
    wait_until("room", || fs::read(mount.path("sound")).is_ok());
    drop(damaged);
    mount.unmount();
    let mut check = volume.envelopefs("audit");
    run(check
        .arg("verify")
        .arg(&audit)
        .arg("--volume")
        .arg(volume.cipher_dir()));
    let text = fs::read_to_string(&audit).unwrap();
    assert!(
        text.contains("\"event\":\"dropped\""),
        "what found no room is told"
    );
}

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16k", "none"])
            .arg(&at));
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

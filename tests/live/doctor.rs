//! `envelopefs doctor` where something is broken: in namespaces, under limits, with keys that are gone.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::harness::{NOBODY, Volume, install, program, require_root, run, shell, wait_until};

/// The exit code, and each finding by its check.
fn findings(command: &mut Command) -> (i32, Vec<Value>) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {said}"));
    (output.status.code().unwrap(), found)
}

fn doctor(volume: &Volume, arguments: &[&str]) -> (i32, Vec<Value>) {
    findings(&mut doctor_of(volume, arguments))
}

fn doctor_of(volume: &Volume, arguments: &[&str]) -> Command {
    let mut command = volume.envelopefs("doctor");
    command
        .arg(volume.cipher_dir())
        .arg("--json")
        .args(arguments);
    command
}

/// The same command in a namespace without the mounts of other tests, which doctor looks at too: a daemon that one of them
/// has just killed would decide the exit code.
fn alone(command: &Command) -> Command {
    require_root();
    let script = "umount --all --lazy --internal-only --types fuse.envelopefs && exec \"$@\"";
    let mut alone = Command::new("unshare");
    alone.args(["--mount", "sh", "-c", script, "sh"]);
    alone.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => alone.env(name, value),
            None => alone.env_remove(name),
        };
    }
    alone
}

/// The one finding of this check that speaks of `about`.
#[track_caller]
fn of<'f>(findings: &'f [Value], check: &str, about: &str) -> &'f Value {
    let is_it = |finding: &&Value| {
        finding["check"] == check && finding["said"].as_str().unwrap().contains(about)
    };
    let found = findings.iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {check} about {about:?} in {findings:#?}"))
}

/// What is wrong has a way to mend it.
#[track_caller]
fn is(finding: &Value, level: &str) {
    assert_eq!(finding["level"], level, "{finding:#}");
    let mend = finding["mend"].as_str().unwrap();
    assert_eq!(mend.is_empty(), level == "ok", "{finding:#}");
}

#[test]
fn a_volume_that_is_well_has_nothing_that_fails() {
    let volume = Volume::create(&[]);
    let (_, found) = doctor(&volume, &[]);
    is(of(&found, "key", &volume.key()), "ok");
    for check in [
        "fuse-device",
        "key-memory",
        "dumps",
        "xattrs",
        "rename-flags",
        "holes",
    ] {
        is(of(&found, check, ""), "ok");
    }
    let own = shell(&volume.cipher_dir(), "ls .envelopefs");
    assert!(!own.contains("doctor"), "{own}");
    let text = volume.envelopefs("doctor").output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("fuse-device") && text.contains("open"),
        "{text}"
    );
}

#[test]
fn without_the_device_it_ends_as_a_mount_would() {
    require_root();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /dev && exec \"$0\" doctor --json",
    ]);
    let (code, found) = findings(command.arg(program()));
    let device = of(&found, "fuse-device", "/dev/fuse");
    is(device, "fail");
    assert!(device["mend"].as_str().unwrap().contains("modprobe fuse"));
    assert_eq!(code, 16);
}

/// A copy that `nobody` may run, wherever the build lies.
fn for_nobody(volume: &Volume, limits: &[&str]) -> Command {
    let copy = volume.home().join("envelopefs");
    install(&program(), &copy);
    let nobody = NOBODY.to_string();
    let mut command = Command::new("prlimit");
    command.args(limits);
    command.args([
        "setpriv",
        "--reuid",
        &nobody,
        "--regid",
        &nobody,
        "--clear-groups",
    ]);
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(copy);
    command
        .args(["doctor", "--json"])
        .env_remove("XDG_RUNTIME_DIR");
    command
}

#[test]
fn under_tight_limits_it_says_which_to_raise() {
    require_root();
    let volume = Volume::unmade();
    let (code, found) = findings(&mut for_nobody(
        &volume,
        &["--memlock=0:0", "--nofile=512:512"],
    ));
    let memory = of(&found, "key-memory", "");
    is(memory, "fail");
    assert!(memory["mend"].as_str().unwrap().contains("LimitMEMLOCK"));
    is(of(&found, "memory-limit", "0 KiB"), "warn");
    is(of(&found, "open-files", "512"), "warn");
    assert_eq!(code, 17);
    let (_, found) = findings(&mut for_nobody(&volume, &["--memlock=4194304:4194304"]));
    is(of(&found, "memory-limit", ""), "ok");
    is(of(&found, "key-memory", ""), "ok");
}

#[test]
fn a_key_that_is_gone_fails_and_its_content_is_never_shown() {
    let volume = Volume::create(&[]);
    let keyring = fs::read_to_string(volume.keyring()).unwrap();
    fs::write(volume.keyring(), &keyring[..keyring.len() / 2]).unwrap();
    let (code, found) = findings(&mut alone(&doctor_of(&volume, &[])));
    let key = of(&found, "key", &volume.key());
    is(key, "fail");
    assert_eq!(code, 12);
    let shown = format!("{found:?}");
    let secrets = keyring.split('"').filter(|word| word.len() > 30);
    assert!(
        secrets.clone().count() > 0,
        "the test knows no secret of {keyring}"
    );
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn a_provider_that_never_answers_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let volume = Volume::create(&[]);
    // In the place of the key that it was made with; nobody has authenticated it yet.
    let config = volume.cipher_dir().join(".envelopefs/volume.json");
    let text = fs::read_to_string(&config).unwrap();
    let uri = format!("kmip://127.0.0.1:{port}/k");
    fs::write(&config, text.replace(&volume.key(), &uri)).unwrap();
    let mut command = doctor_of(&volume, &["--time-limit", "1s"]);
    for name in ["CA", "CERT", "KEY"] {
        command.env(format!("ENVELOPEFS_KMIP_{name}_FILE"), "/nonexistent");
    }
    let (code, found) = findings(&mut alone(&command));
    is(of(&found, "key", &uri), "fail");
    assert!([12, 13].contains(&code), "{code}");
}

#[test]
fn a_mount_whose_process_is_gone_is_found() {
    let volume = Volume::create(&[]);
    let mount = volume.mount();
    let point = volume.mountpoint().display().to_string();
    let (_, found) = doctor(&volume, &[]);
    is(of(&found, "mount", &format!("{point} is served")), "ok");
    run(volume.envelopefs("lock").arg(&point));
    is(
        of(
            &doctor(&volume, &[]).1,
            "mount",
            &format!("{point} is locked"),
        ),
        "warn",
    );
    let pid = mount.status().pid();
    run(Command::new("kill").args(["-9", &pid.to_string()]));
    wait_until("the daemon's end", || !crate::harness::is_running(pid));
    let (code, found) = doctor(&volume, &["--time-limit", "5s"]);
    let dead = of(&found, "mount", &point);
    is(dead, "fail");
    assert!(dead["mend"].as_str().unwrap().contains("umount"));
    assert_eq!(code, 23);
}

#[test]
fn a_full_disk_is_told_of() {
    let volume = Volume::create(&[]);
    let script = "mount -t tmpfs -o size=1m none \"$1\" && cp -a \"$2\" \"$1/enc\"
        dd if=/dev/zero of=\"$1/full\" bs=4k 2>/dev/null || true
        exec \"$0\" doctor --json \"$1/enc\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program());
    command.arg(volume.mountpoint()).arg(volume.cipher_dir());
    let (code, found) = findings(&mut alone(&command));
    is(of(&found, "space", "no space"), "fail");
    assert_eq!(code, 1);
}

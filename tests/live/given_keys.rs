//! `--key` of the commands that open a volume, and `key=` of fstab: which keys may be used at all.

use std::fs;
use std::process::Command;

use crate::harness::{Volume, is_mounted, refuses, run};

const KEY_DENIED: i32 = 12;
const USAGE: i32 = 2;

/// A volume, the URI of a key that it does not have, and the key is there.
fn volume_and_other() -> (Volume, String) {
    let volume = Volume::create(&[]);
    let other = format!("file://{}", volume.home().join("other.json").display());
    let mut init = volume.envelopefs("init");
    init.args(["--key", &other])
        .arg(volume.home().join("theirs"));
    run(&mut init);
    (volume, other)
}

#[test]
fn another_volume_in_the_place_of_this_one_is_refused() {
    let (volume, other) = volume_and_other();
    let key = volume.key();
    let mount = volume.mount_with(&["--key", &key]);
    fs::write(mount.path("note"), "mine").unwrap();
    mount.unmount();
    // Somebody who can write where the ciphertext lies puts his own there, of a key that this machine may use.
    fs::rename(volume.cipher_dir(), volume.home().join("kept")).unwrap();
    fs::rename(volume.home().join("theirs"), volume.cipher_dir()).unwrap();
    volume.refuses_mount(
        &["--key", &key],
        KEY_DENIED,
        &["not those that were given", &other, &key],
    );
    volume.refuses_mount(&["-o", &format!("key={key}")], KEY_DENIED, &[&other]);
    // Without the option it is what it was: a volume whose key is here.
    let theirs = volume.mount();
    assert!(fs::read(theirs.path("note")).is_err());
}

#[test]
fn a_mount_that_writes_is_given_every_key_of_the_volume() {
    let (volume, other) = volume_and_other();
    let key = volume.key();
    run(volume
        .envelopefs("slots")
        .arg("add")
        .arg(volume.cipher_dir())
        .arg(&other));
    volume.refuses_mount(&["--key", &key], KEY_DENIED, &[&other, "--read-only"]);
    let mark = volume.cipher_dir().join(".envelopefs/in-use");
    assert!(!mark.exists(), "the next mount looks over what nobody did");
    let options = format!("ro,key={key}");
    volume.mount_with(&["-o", &options]).unmount();
    let mount = volume.mount_with(&["--key", &key, "--key", &other]);
    fs::write(mount.path("note"), "by both").unwrap();
    let mount = mount.again_with(&["--read-only", "--key", &other]);
    assert_eq!(fs::read_to_string(mount.path("note")).unwrap(), "by both");
}

#[test]
fn a_mount_takes_no_key_that_it_was_not_given() {
    let (volume, other) = volume_and_other();
    let mount = volume.mount_with(&["--key", &volume.key()]);
    let mut add = volume.envelopefs("slots");
    add.arg("add").arg(volume.mountpoint()).arg(&other);
    refuses(&mut add, KEY_DENIED, &[&other, "--key"]);
    fs::write(mount.path("note"), "by its own key").unwrap();
    let list = run(volume
        .envelopefs("slots")
        .arg("list")
        .arg(volume.cipher_dir()));
    assert!(!list.contains(&other), "{list}");
}

#[test]
fn every_command_that_opens_a_volume_asks_the_given_keys_alone() {
    let (volume, other) = volume_and_other();
    let key = volume.key();
    let policy = volume.home().join("policy.toml");
    fs::write(&policy, "default = \"allow\"\n").unwrap();
    let (policy, enc) = (
        policy.display().to_string(),
        volume.cipher_dir().display().to_string(),
    );
    let lines: [&[&str]; 5] = [
        &["check", &enc],
        &["rewrap", &enc],
        &["reencrypt", &enc],
        &["policy", "set", &enc, &policy],
        &["policy", "show", &enc],
    ];
    for line in lines {
        let command = |key: &str| {
            let mut command = volume.envelopefs(line[0]);
            command.args(&line[1..]).args(["--key", key]);
            command
        };
        refuses(&mut command(&other), KEY_DENIED, &[&key, &other]);
        run(&mut command(&key));
    }
    // What is added or removed is named on the command line, and counts.
    for action in ["add", "remove"] {
        let mut slots = volume.envelopefs("slots");
        slots.args([action, &enc, &other, "--key", &key]);
        run(&mut slots);
    }
}

#[test]
fn keys_that_cannot_be_followed_mount_nothing() {
    let volume = Volume::create(&[]);
    let key = volume.key();
    for (given, code, words) in [
        ("nokms:x", KEY_DENIED, "unknown kind of key"),
        (
            "pkcs11:object=k?pin-value=648219",
            KEY_DENIED,
            "pin-value is refused",
        ),
        ("kmip://h/k?ca=ca.pem", KEY_DENIED, "ca"),
        ("no-uri", USAGE, "no-uri"),
    ] {
        volume.refuses_mount(&["--key", &key, "--key", given], code, &[words]);
        let option = format!("key={key},key={given}");
        volume.refuses_mount(&["-o", &option], code, &[words]);
    }
    volume.refuses_mount(
        &["--key", &key, "--key", &key],
        KEY_DENIED,
        &["given twice"],
    );
}

#[test]
fn a_line_of_fstab_names_keys_with_commas_too() {
    let volume = Volume::unmade();
    let path = volume.home().join("a,b.json");
    let key = format!("file://{}", path.display());
    let mut init = volume.envelopefs("init");
    run(init.args(["--key", &key]).arg(volume.cipher_dir()));
    let helper = volume.home().join("mount.envelopefs");
    std::os::unix::fs::symlink(volume.envelopefs("status").get_program(), &helper).unwrap();
    let mount = |options: &str| {
        let mut command = Command::new(&helper);
        command.env("XDG_RUNTIME_DIR", volume.home().join("run"));
        command.arg(volume.cipher_dir()).arg(volume.mountpoint());
        command.args(["-o", options]);
        command
    };
    let escaped = key.replace(',', "\\,");
    refuses(&mut mount(&format!("rw,key={key}")), USAGE, &["b.json"]);
    refuses(
        &mut mount(&format!("rw,key={escaped}x")),
        KEY_DENIED,
        &[&key],
    );
    run(&mut mount(&format!("rw,key={escaped},noatime,_netdev")));
    assert!(is_mounted(&volume.mountpoint()));
    volume.unmount();
}

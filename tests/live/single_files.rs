//! One file at a time, without a mount: encrypt, decrypt, inspect, check.

use std::fs;

use serde_json::Value;

use crate::harness::{Volume, noise, refuses, run};

const OUTPUT_EXISTS: i32 = 22;

#[test]
fn an_encrypted_file_opens_in_a_volume_with_plain_names_and_back() {
    let volume = Volume::create(&["--names", "plain"]);
    let (plain, back) = (volume.home().join("plain"), volume.home().join("back"));
    fs::write(&plain, noise(1, 30_000)).unwrap();
    let dropped = volume.cipher_dir().join("dropped");
    run(volume
        .envelopefs("encrypt")
        .arg(&plain)
        .arg(&dropped)
        .args(["--key", &volume.key()]));

    let mount = volume.mount();
    assert!(fs::read(mount.path("dropped")).unwrap() == noise(1, 30_000));
    fs::write(mount.path("made"), noise(2, 40_000)).unwrap();
    mount.unmount();

    run(volume
        .envelopefs("decrypt")
        .arg(volume.cipher_dir().join("made"))
        .arg(&back));
    assert!(fs::read(&back).unwrap() == noise(2, 40_000));
    refuses(
        volume.envelopefs("decrypt").arg(&dropped).arg(&back),
        OUTPUT_EXISTS,
        &["back"],
    );
}

#[test]
fn a_header_shows_its_keys_to_whoever_has_none() {
    let volume = Volume::create(&["--names", "plain"]);
    let mount = volume.mount();
    fs::write(mount.path("file"), "content").unwrap();
    mount.unmount();
    fs::remove_file(volume.keyring()).unwrap();

    let file = volume.cipher_dir().join("file");
    let text = run(volume.envelopefs("inspect").arg(&file));
    assert!(text.contains("key.json"), "{text}");
    let json = run(volume.envelopefs("inspect").arg("--json").arg(&file));
    let value: Value = serde_json::from_str(&json).unwrap();
    assert!(value.is_object() && json.contains("key.json"), "{json}");
}

#[test]
fn a_whole_volume_is_found_whole() {
    for options in [
        ["--names", "encrypted"],
        ["--names", "plain"],
        ["--key-scope", "volume"],
    ] {
        let volume = Volume::create(&options);
        let mount = volume.mount();
        crate::tree::grow(mount.root(), 60);
        mount.unmount();
        run(volume.envelopefs("check").arg(volume.cipher_dir()));
        let json = run(volume
            .envelopefs("check")
            .arg("--json")
            .arg(volume.cipher_dir()));
        assert!(
            serde_json::from_str::<Value>(&json).unwrap().is_object(),
            "{json}"
        );
    }
}

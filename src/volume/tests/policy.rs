//! policy.toml and what `volume.json` says of it.

use super::*;
use crate::policy::Access;

const TEXT: &[u8] = b"[[rule]]\npath = '/a'\naccess = 'deny'\n";
const OTHER: &[u8] = b"default = 'read-only'\n";

fn stored(text: &[u8]) -> StoredPolicy {
    StoredPolicy::parse(text.to_vec()).unwrap()
}

fn with_policy() -> Bench {
    let bench = Bench::new().made();
    bench
        .open()
        .unwrap()
        .set_policy(Some(&stored(TEXT)))
        .unwrap();
    bench
}

#[test]
fn a_policy_is_set_read_changed_and_removed() {
    let bench = with_policy();
    let volume = bench.open().unwrap();
    assert_eq!(volume.policy().unwrap(), Some(stored(TEXT)));
    volume.set_policy(Some(&stored(OTHER))).unwrap();
    assert_eq!(
        volume.policy().unwrap().unwrap().policy.default,
        Access::ReadOnly
    );
    drop(volume);
    let volume = bench.open().unwrap();
    assert_eq!(volume.policy().unwrap(), Some(stored(OTHER)));
    volume.set_policy(None).unwrap();
    assert_eq!(volume.policy().unwrap(), None);
    assert!(!bench.meta("policy.toml").exists() && !bench.meta("policy.toml.new").exists());
}

#[test]
fn a_volume_without_a_policy_has_the_bytes_that_it_always_had() {
    let bench = Bench::new().made();
    let before = std::fs::read(bench.meta("volume.json")).unwrap();
    let volume = bench.open().unwrap();
    volume.set_policy(Some(&stored(TEXT))).unwrap();
    assert_ne!(std::fs::read(bench.meta("volume.json")).unwrap(), before);
    volume.set_policy(None).unwrap();
    assert_eq!(std::fs::read(bench.meta("volume.json")).unwrap(), before);
}

#[test]
fn a_policy_that_was_changed_removed_or_put_back_is_refused() {
    let bench = with_policy();
    let file = bench.meta("policy.toml");
    let volume = bench.open().unwrap();
    let forged = |volume: &Volume| matches!(volume.policy(), Err(VolumeError::PolicyForged));
    for change in [
        &b""[..],
        b"# \n",
        OTHER,
        &[TEXT, b"\n"].concat(),
        &TEXT[1..],
    ] {
        std::fs::write(&file, change).unwrap();
        assert!(forged(&volume));
    }
    std::fs::remove_file(&file).unwrap();
    assert!(forged(&volume));
    volume.set_policy(Some(&stored(OTHER))).unwrap();
    std::fs::write(&file, TEXT).unwrap();
    assert!(forged(&volume), "an older one");
    std::fs::write(&file, OTHER).unwrap();
    assert!(!forged(&volume));
    std::fs::write(&file, vec![b'#'; crate::policy::MAX_LEN + 1]).unwrap();
    assert!(volume.policy().is_err());
}

#[test]
fn a_file_that_nobody_set_is_no_policy() {
    let bench = Bench::new().made();
    std::fs::write(bench.meta("policy.toml"), "default = 'deny'").unwrap();
    assert_eq!(bench.open().unwrap().policy().unwrap(), None);
}

/// What a crash leaves between the three steps.
#[test]
fn a_crash_leaves_the_old_policy_or_the_new_one() {
    let bench = with_policy();
    let volume = bench.open().unwrap();
    let (file, new) = (bench.meta("policy.toml"), bench.meta("policy.toml.new"));
    std::fs::write(&new, OTHER).unwrap();
    assert_eq!(
        volume.policy().unwrap(),
        Some(stored(TEXT)),
        "volume.json names the old one still"
    );
    volume.set_policy(Some(&stored(OTHER))).unwrap();
    std::fs::rename(&file, &new).unwrap();
    std::fs::write(&file, TEXT).unwrap();
    assert_eq!(
        volume.policy().unwrap(),
        Some(stored(OTHER)),
        "it has no name of its own yet"
    );
}

#[test]
fn a_folders_keys_are_the_volumes_and_work() {
    let bench = Bench::with_keys(2, |_| {}).made();
    let volume = bench.open().unwrap();
    let folder = |keys: &[String]| {
        let text = format!("[[folder]]\npath = '/a'\nkeys = {keys:?}\n");
        stored(text.as_bytes())
    };
    let known: Vec<String> = bench.options.keys.iter().map(ToString::to_string).collect();
    volume.set_policy(Some(&folder(&known))).unwrap();
    let before = std::fs::read(bench.meta("volume.json")).unwrap();
    let strange = make_key(&bench.key_path(7)).to_string();
    let refused = volume.set_policy(Some(&folder(std::slice::from_ref(&strange))));
    assert!(matches!(refused, Err(VolumeError::PolicyKey(key)) if key.to_string() == strange));
    drop(volume);
    std::fs::remove_file(bench.key_path(1)).unwrap();
    let volume = bench.open().unwrap();
    assert!(matches!(
        volume.set_policy(Some(&folder(&known[1..]))),
        Err(VolumeError::Key(_))
    ));
    assert_eq!(
        std::fs::read(bench.meta("volume.json")).unwrap(),
        before,
        "nothing was changed"
    );
}

#[test]
fn so_many_keys_that_they_fit_no_header_are_refused() {
    let bench = Bench::with_keys(8, |options| {
        options.layout = Layout::new(4096, 512).unwrap();
    });
    let bench = bench.made();
    let volume = bench.open().unwrap();
    let keys: Vec<String> = bench.options.keys.iter().map(ToString::to_string).collect();
    let text = format!("[[folder]]\npath = '/a'\nkeys = {keys:?}\n");
    let refused = volume.set_policy(Some(&stored(text.as_bytes())));
    assert!(
        matches!(refused, Err(VolumeError::HeaderTooSmall(_))),
        "{refused:?}"
    );
}

#[test]
fn new_files_of_a_folder_are_wrapped_by_its_keys() {
    let bench = Bench::with_keys(2, |_| {}).made();
    let volume = bench.open().unwrap();
    let keys = crate::policy::NewFileKeys {
        scope: KeyScope::File,
        keys: bench.options.keys[1..].to_vec(),
    };
    let (done, made) = std::sync::mpsc::channel();
    volume.new_file_by(Some(&keys), move |material| done.send(material).unwrap());
    let material = made.recv().unwrap().unwrap();
    let uris: Vec<_> = material
        .epoch
        .slots
        .iter()
        .map(|slot| slot.key_uri.clone())
        .collect();
    assert_eq!(uris, keys.keys);
    let header = header(&volume, &material);
    drop(volume);
    let opened = fetch(&bench.open().unwrap(), header);
    assert_eq!(opened.map(|deks| deks.len()).ok(), Some(1));
}

//! policy.toml and what `volume.json` says of it.

use super::*;
use crate::keys::{KeyError, KeyErrorKind};
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

/// A change of keys and one of the policy exclude each other.
fn once_no_run_is_under_way<T>(work: impl Fn() -> Result<T, VolumeError>) -> T {
    loop {
        match work() {
            Err(VolumeError::RunUnderWay) => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}

#[test]
fn keys_and_policy_that_change_at_the_same_time_are_both_kept() {
    let bench = Bench::new().made();
    for round in 0..10 {
        let volume = bench.open().unwrap();
        let key = make_key(&bench.key_path(round + 1));
        let text = format!("# {round}\n");
        let add = KeyChange {
            add: vec![key.clone()],
            remove: Vec::new(),
        };
        let take = KeyChange {
            add: Vec::new(),
            remove: vec![key.clone()],
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5 {
                    once_no_run_is_under_way(|| volume.set_policy(None));
                    let text = stored(text.as_bytes());
                    once_no_run_is_under_way(|| volume.set_policy(Some(&text)));
                }
            });
            let run = once_no_run_is_under_way(|| volume.begin_run());
            assert!(volume.change_keys(&run, &add).unwrap());
        });
        drop(volume);
        let volume = bench.open().unwrap();
        assert!(volume.config().keys.contains(&key), "round {round}");
        assert_eq!(volume.policy().unwrap(), Some(stored(text.as_bytes())));
        let run = volume.begin_run().unwrap();
        assert!(volume.change_keys(&run, &take).unwrap());
        volume.finish_removal(&run, &volume.leaving_keys()).unwrap();
        assert_eq!(volume.policy().unwrap(), Some(stored(text.as_bytes())));
    }
}

#[test]
fn sharers_do_not_lose_each_others_keys_and_policy() {
    let bench = Bench::new().made();
    let (one, other) = (bench.open_shared(), bench.open_shared());
    let (one, other) = (one.unwrap(), other.unwrap());
    let run = one.begin_run().unwrap();
    let refused = other.set_policy(Some(&stored(TEXT)));
    assert!(matches!(refused, Err(VolumeError::RunUnderWay)));
    assert_eq!(one.policy().unwrap(), None);
    drop(run);
    other.set_policy(Some(&stored(TEXT))).unwrap();
    assert_eq!(one.policy().unwrap(), Some(stored(TEXT)));
    let key = make_key(&bench.key_path(1));
    let add = KeyChange {
        add: vec![key.clone()],
        remove: Vec::new(),
    };
    let run = one.begin_run().unwrap();
    assert!(one.change_keys(&run, &add).unwrap());
    drop(run);
    assert_eq!(other.policy().unwrap(), Some(stored(TEXT)));
    other.set_policy(Some(&stored(OTHER))).unwrap();
    drop((one, other));
    let volume = bench.open().unwrap();
    assert!(volume.config().keys.contains(&key));
    assert_eq!(volume.policy().unwrap(), Some(stored(OTHER)));
}

#[test]
fn a_locked_volume_takes_no_policy() {
    let bench = with_policy();
    let volume = bench.open().unwrap();
    let left = KeyError::new(KeyErrorKind::Unavailable, "locked");
    drop(volume.lock(left));
    for refused in [
        volume.set_policy(Some(&stored(OTHER))),
        volume.set_policy(None),
        volume.policy().map(drop),
    ] {
        assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
    }
    assert!(!bench.meta("policy.toml.new").exists());
    drop(volume);
    let volume = bench.open().unwrap();
    assert_eq!(volume.policy().unwrap(), Some(stored(TEXT)));
}

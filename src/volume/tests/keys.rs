//! Data keys of files: how often a provider is asked, and which files belong.

use super::*;
use crate::keys::double::{Double, Script};
use crate::keys::{CallCount, KeyError, KeyErrorKind, KeyProvider as _};

fn of_scope(key_scope: KeyScope) -> Bench {
    Bench::with(|options| options.key_scope = key_scope).made()
}

/// A volume of scope `file` and the header of a file that was made in it by an earlier mount.
fn volume_and_file() -> (Bench, Volume, FileHeader) {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    drop(volume);
    let volume = bench.open().unwrap();
    (bench, volume, header)
}

fn unwraps(volume: &Volume) -> u64 {
    calls(volume).unwrap.calls
}

#[test]
fn opening_costs_one_unwrap_and_files_of_scope_volume_cost_none() {
    let bench = of_scope(KeyScope::Volume);
    let volume = bench.open().unwrap();
    for _ in 0..10 {
        let header = header(&volume, &new_file(&volume));
        volume.files.keyring.clear();
        fetch(&volume, header).unwrap();
    }
    let once = CallCount {
        calls: 1,
        failures: 0,
    };
    let expected = ProviderCalls {
        unwrap: once,
        ..ProviderCalls::default()
    };
    assert_eq!(calls(&volume), expected);
}

/// The refill thread wraps too, so its calls are told apart by what they are: a new file of a warm pool is
/// handed over before `new_file` returns, on this thread.
#[test]
fn a_new_file_comes_from_the_pool_without_waiting() {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    while volume.files.pool(&volume.live.own_keys()).stats().ready == 0 {
        std::thread::yield_now();
    }
    let here = std::thread::current().id();
    let (done, made) = std::sync::mpsc::channel();
    volume.new_file(
        || Some(Vec::new()),
        move |material| {
            done.send((std::thread::current().id(), material.is_ok()))
                .unwrap();
        },
    );
    assert_eq!(made.try_recv(), Ok((here, true)));
}

#[test]
fn a_new_file_of_a_warm_pool_asks_no_provider() {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    let pool = volume.files.pool(&volume.live.own_keys());
    // Full: the refill rests until far more are taken than here.
    while pool.stats().ready < POOL_HIGH {
        std::thread::yield_now();
    }
    let before = calls(&volume);
    for _ in 0..50 {
        new_file(&volume);
    }
    assert_eq!(calls(&volume), before);
    assert_eq!(pool.stats().ready, POOL_HIGH - 50);
}

#[test]
fn nobody_waits_on_his_own_thread_once_the_keys_are_far_away() {
    let bench = of_scope(KeyScope::File);
    let (providers, double) = (Arc::new(providers()), Double::new("double:far"));
    double.script().takes(std::time::Duration::from_millis(20));
    let (near, far) = (bench.options.keys[0].clone(), double.uri().clone());
    providers.put(Box::new(double));
    let volume = open(&bench.path(), &UnlockOptions::default(), providers).unwrap();
    new_file(&volume);
    assert!(volume.keys_are_local());
    let sole = volume.begin_run().unwrap();
    let exchange = |add: &KeyUri, remove: &KeyUri| {
        let change = KeyChange {
            add: vec![add.clone()],
            remove: vec![remove.clone()],
        };
        volume.change_keys(&sole, &change).unwrap();
        assert!(!volume.keys_are_local(), "one of them is far away");
        volume.finish_removal(&sole, &change.remove).unwrap();
    };
    exchange(&far, &near);
    assert!(!volume.keys_are_local());
    let here = std::thread::current().id();
    let (done, made) = std::sync::mpsc::channel();
    volume.new_file(
        || Some(Vec::new()),
        move |new| {
            done.send((std::thread::current().id(), new)).unwrap();
        },
    );
    let (by, new) = made.recv().unwrap();
    assert_ne!(by, here);
    let far_away = header(&volume, &new.unwrap().material);
    assert_eq!(far_away.epochs[0].slots[0].key_uri, far);
    volume.files.keyring.clear();
    let (done, fetched) = std::sync::mpsc::channel();
    volume.fetch_keys(far_away, move |_header, deks| {
        done.send((std::thread::current().id(), deks.is_ok()))
            .unwrap();
    });
    let (by, is_ok) = fetched.recv().unwrap();
    assert!(by != here && is_ok);
    exchange(&near, &far);
    assert!(volume.keys_are_local(), "all are here again");
    let again = header(&volume, &new_file(&volume));
    volume.files.keyring.clear();
    let (done, fetched) = std::sync::mpsc::channel();
    volume.fetch_keys(again, move |_header, deks| {
        done.send((std::thread::current().id(), deks.is_ok()))
            .unwrap();
    });
    assert_eq!(fetched.try_recv(), Ok((here, true)));
}

const POOL_HIGH: usize = pools::LOCAL.1;

#[test]
fn new_files_are_all_different_members_with_their_key_cached() {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    let mut ids = std::collections::HashSet::new();
    let asked = unwraps(&volume);
    for _ in 0..20 {
        let material = new_file(&volume);
        let header = header(&volume, &material);
        assert!(ids.insert(material.file_id));
        assert!(volume.admits(&header).unwrap());
        assert_eq!(*volume.cached_keys(&header).unwrap()[0], *material.dek);
    }
    assert_eq!(unwraps(&volume), asked);
}

#[test]
fn a_files_key_is_unwrapped_once_and_then_cached() {
    let (_bench, volume, header) = volume_and_file();
    let asked = unwraps(&volume);
    assert!(volume.cached_keys(&header).is_none());
    let first = fetch(&volume, header.clone()).unwrap();
    assert_eq!(unwraps(&volume), asked + 1);
    let second = fetch(&volume, header.clone()).unwrap();
    assert_eq!(*first[0], *second[0]);
    assert!(volume.cached_keys(&header).is_some());
    assert_eq!(unwraps(&volume), asked + 1);
    assert_eq!(volume.keyring_stats().entries, 1);
}

#[test]
fn a_cached_key_is_not_given_for_a_header_that_only_borrows_the_file_id() {
    let (_bench, volume, header) = volume_and_file();
    fetch(&volume, header.clone()).unwrap();
    let mut borrowed = header;
    borrowed.epochs[0].commitment[0] ^= 1;
    assert!(volume.cached_keys(&borrowed).is_none());
    let error = fetch(&volume, borrowed).unwrap_err();
    assert!(matches!(error, VolumeError::Key(error) if error.kind() == KeyErrorKind::Corrupt));
}

#[test]
fn a_slot_of_another_file_does_not_open() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let bench = of_scope(scope);
        let volume = bench.open().unwrap();
        let (mut one, other) = (
            header(&volume, &new_file(&volume)),
            header(&volume, &new_file(&volume)),
        );
        one.epochs[0].slots = other.epochs[0].slots.clone();
        volume.files.keyring.clear();
        let error = fetch(&volume, one).unwrap_err();
        assert!(
            matches!(error, VolumeError::Key(error) if error.kind() == KeyErrorKind::Corrupt),
            "{scope:?}"
        );
    }
}

#[test]
fn every_changed_byte_of_a_wrapped_key_is_refused() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let bench = of_scope(scope);
        let volume = bench.open().unwrap();
        let good = header(&volume, &new_file(&volume));
        for at in 0..good.epochs[0].slots[0].wrapped_dek.len() {
            let mut bad = good.clone();
            bad.epochs[0].slots[0].wrapped_dek[at] ^= 1;
            // Another file id: a refusal is kept for a second by file and commitment.
            bad.file_id.0[0] ^= 1 + at as u8;
            volume.files.keyring.clear();
            assert!(fetch(&volume, bad).is_err(), "{scope:?} byte {at}");
        }
    }
}

#[test]
fn a_second_slot_opens_a_file_whose_first_key_is_gone() {
    let bench = Bench::with_keys(2, |options| {
        options.key_scope = KeyScope::File;
        options.layout = Layout::new(4096, 2048).unwrap();
    })
    .made();
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    drop(volume);
    std::fs::remove_file(bench.key_path(0)).unwrap();
    let volume = bench.open().unwrap();
    fetch(&volume, header).unwrap();
}

/// A volume of scope `file` with two keys that doubles hold, and the header of a file of it.
fn of_two_doubles() -> (Bench, Arc<Providers>, [Arc<Script>; 2], Volume, FileHeader) {
    let bench = Bench::with(|options| {
        options.key_scope = KeyScope::File;
        options.layout = Layout::new(4096, 2048).unwrap();
        options.keys = ["double:a", "double:b"]
            .map(|uri| uri.parse().unwrap())
            .into();
    });
    let providers = Arc::new(providers());
    let scripts = ["double:a", "double:b"].map(|uri| {
        let double = Double::new(uri);
        let script = double.script();
        providers.put(Box::new(double));
        script
    });
    create(&bench.path(), &bench.options, &providers).unwrap();
    let options = UnlockOptions::default();
    let volume = open(&bench.path(), &options, Arc::clone(&providers)).unwrap();
    let header = header(&volume, &new_file(&volume));
    // What the pool makes ahead must not count as a call.
    drop(volume);
    let volume = open(&bench.path(), &options, Arc::clone(&providers)).unwrap();
    (bench, providers, scripts, volume, header)
}

fn fetch_anew(volume: &Volume, header: &FileHeader) -> Result<Deks, VolumeError> {
    volume.files.keyring.clear();
    fetch(volume, header.clone())
}

fn kind_of(result: Result<Deks, VolumeError>) -> KeyErrorKind {
    match result {
        Err(VolumeError::Key(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dead_slot_costs_one_attempt_and_then_nothing() {
    let (_bench, _providers, [first, second], volume, header) = of_two_doubles();
    first.fails(Some(KeyError::new(KeyErrorKind::Unavailable, "down")));
    fetch_anew(&volume, &header).unwrap();
    let (dead, alive) = (first.calls(), second.calls());
    for _ in 0..50 {
        fetch_anew(&volume, &header).unwrap();
    }
    assert_eq!(first.calls(), dead, "the one that works is asked first");
    assert_eq!(second.calls(), alive + 50);
}

#[test]
fn a_slot_that_refuses_does_not_stop_the_next() {
    for kind in [
        KeyErrorKind::Config,
        KeyErrorKind::Corrupt,
        KeyErrorKind::Denied,
        KeyErrorKind::NotFound,
        KeyErrorKind::Revoked,
    ] {
        let (_bench, _providers, [first, second], volume, header) = of_two_doubles();
        first.fails(Some(KeyError::new(kind, "on purpose")));
        fetch_anew(&volume, &header).unwrap();
        // And back, where the other fails in its turn.
        first.fails(None);
        second.fails(Some(KeyError::new(kind, "on purpose")));
        fetch_anew(&volume, &header).unwrap();
    }
}

#[test]
fn what_the_slot_says_that_opened_last_is_what_a_failure_means() {
    let (silent, revoked) = (KeyErrorKind::Unavailable, KeyErrorKind::Revoked);
    for (of_last, of_other) in [(silent, revoked), (revoked, silent)] {
        let (_bench, _providers, [first, second], volume, header) = of_two_doubles();
        fetch_anew(&volume, &header).unwrap();
        first.fails(Some(KeyError::new(of_last, "on purpose")));
        second.fails(Some(KeyError::new(of_other, "on purpose")));
        assert_eq!(kind_of(fetch_anew(&volume, &header)), of_last);
    }
}

#[test]
fn a_locked_volume_gives_no_key_until_it_is_unlocked() {
    let (_bench, _providers, [first, second], volume, header) = of_two_doubles();
    let why = KeyError::new(KeyErrorKind::NotFound, "locked");
    let name_key = volume.lock(why.clone());
    assert!(name_key.is_some());
    assert!(volume.lock(why).is_none(), "only once");
    // What the pool had begun before ends, and it begins nothing more.
    let calls = || first.calls() + second.calls();
    let mut asked = u64::MAX;
    while asked != calls() {
        asked = calls();
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    assert_eq!(
        kind_of(fetch(&volume, header.clone())),
        KeyErrorKind::NotFound
    );
    assert_eq!(calls(), asked, "nobody is asked");
    assert!(volume.admits(&header).is_err() && volume.name_key().is_err());
    assert!(volume.locked().is_some());
    volume.unlock().unwrap();
    fetch(&volume, header).unwrap();
    assert!(volume.locked().is_none());
    new_file(&volume);
}

#[test]
fn a_file_without_a_slot_cannot_be_opened() {
    let (_bench, volume, mut header) = volume_and_file();
    header.epochs[0].slots.clear();
    assert!(fetch(&volume, header).is_err());
}

#[test]
fn a_full_keyring_forgets_and_asks_again() {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    drop(volume);
    let options = UnlockOptions {
        key_cache_ttl: std::time::Duration::ZERO,
        ..UnlockOptions::default()
    };
    let volume = bench.open_as(&options).unwrap();
    let asked = unwraps(&volume);
    for _ in 0..3 {
        fetch(&volume, header.clone()).unwrap();
    }
    assert_eq!(unwraps(&volume), asked + 3);
}

#[test]
fn own_files_belong_under_both_policies() {
    for policy in [ForeignFiles::Allow, ForeignFiles::Deny] {
        let bench = Bench::with(|options| options.foreign_files = policy).made();
        let volume = bench.open().unwrap();
        let own = header(&volume, &new_file(&volume));
        assert!(volume.admits(&own).unwrap(), "{policy:?}");
    }
}

#[test]
fn files_made_outside_belong_where_the_policy_allows_them() {
    for policy in [ForeignFiles::Allow, ForeignFiles::Deny] {
        let bench = Bench::with(|options| options.foreign_files = policy).made();
        let volume = bench.open().unwrap();
        let mut foreign = header(&volume, &new_file(&volume));
        foreign.membership_tag = [0; 32];
        assert_eq!(
            volume.admits(&foreign).unwrap(),
            policy == ForeignFiles::Allow
        );
    }
}

#[test]
fn files_of_another_volume_or_with_a_forged_tag_belong_nowhere() {
    for policy in [ForeignFiles::Allow, ForeignFiles::Deny] {
        let bench = Bench::with(|options| options.foreign_files = policy).made();
        let other = Bench::new().made();
        let (volume, other) = (bench.open().unwrap(), other.open().unwrap());
        let material = new_file(&other);
        assert!(
            !volume.admits(&header(&other, &material)).unwrap(),
            "{policy:?}"
        );
        let own = header(&volume, &new_file(&volume));
        for at in 0..32 {
            let mut forged = own.clone();
            forged.membership_tag[at] ^= 1;
            assert!(!volume.admits(&forged).unwrap());
        }
        let mut moved = own.clone();
        moved.file_id.0[0] ^= 1;
        assert!(
            !volume.admits(&moved).unwrap(),
            "the tag is bound to the file"
        );
        let mut rekeyed = own;
        rekeyed.epochs[0].commitment[0] ^= 1;
        assert!(
            !volume.admits(&rekeyed).unwrap(),
            "the tag is bound to the key"
        );
    }
}

#[test]
fn what_a_volume_shows_of_itself_holds_no_key() {
    let bench = of_scope(KeyScope::File);
    let volume = bench.open().unwrap();
    let material = new_file(&volume);
    let shown = format!("{volume:?} {material:?}");
    let secret = format!("{:?}", material.dek.expose());
    assert!(!shown.contains(secret.trim_matches(['[', ']'])));
}

#[test]
fn a_volume_key_opens_the_volume_and_wraps_no_file() {
    let mut bench = Bench::with(|options| options.key_scope = KeyScope::File);
    let opener = make_key(&bench.key_path(1));
    bench.options.volume_keys.push(opener.clone());
    let bench = bench.made();
    let volume = bench.open().unwrap();
    let file = header(&volume, &new_file(&volume));
    let config = volume.config();
    assert_eq!((config.keys.len(), config.slots.len()), (1, 2));
    assert_eq!(config.slots[1].key_uri, opener);
    let slots: Vec<_> = file.epochs[0]
        .slots
        .iter()
        .map(|slot| &slot.key_uri)
        .collect();
    assert_eq!(slots, [&config.keys[0]]);
    drop(volume);

    // Where the files' key is not, the volume opens and its files do not.
    let away = bench.folder.path().join("away");
    std::fs::rename(bench.key_path(0), &away).unwrap();
    let volume = bench.open().unwrap();
    match fetch(&volume, file.clone()) {
        Err(VolumeError::Key(error)) => assert_eq!(error.kind(), KeyErrorKind::NotFound),
        other => panic!("{other:?}"),
    }
    drop(volume);
    // And the other way round: the files' key needs no other.
    std::fs::rename(away, bench.key_path(0)).unwrap();
    std::fs::remove_file(bench.key_path(1)).unwrap();
    let volume = bench.open().unwrap();
    assert!(fetch(&volume, file).is_ok());
}

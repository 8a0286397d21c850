//! Volumes opened by keys that were named, and by no others.

use super::*;
use crate::keys::{KeyError, KeyErrorKind, KeyProvider as _};

fn given(uris: &[&KeyUri]) -> Arc<Providers> {
    let uris: Vec<_> = uris.iter().copied().cloned().collect();
    let mut options = ProviderOptions::default();
    options.restrict_to(&uris).unwrap();
    Arc::new(Providers::new(options))
}

fn opened(bench: &Bench, providers: &Arc<Providers>) -> Result<Volume, VolumeError> {
    open(
        &bench.path(),
        &UnlockOptions::default(),
        Arc::clone(providers),
    )
}

/// A volume of two keys, scope `file`, with a file in it.
fn of_two_keys() -> (Bench, [KeyUri; 2], FileHeader) {
    let bench = Bench::with_keys(2, |options| options.key_scope = KeyScope::File).made();
    let keys = [bench.options.keys[0].clone(), bench.options.keys[1].clone()];
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    drop(volume);
    (bench, keys, header)
}

#[test]
fn a_volume_that_has_none_of_the_keys_is_refused_and_no_key_is_asked() {
    let (bench, keys, _header) = of_two_keys();
    let other = make_key(&bench.folder.path().join("other"));
    for providers in [
        given(&[&other]),
        given(&[&other, &"passphrase:".parse().unwrap()]),
    ] {
        let error = opened(&bench, &providers).unwrap_err();
        assert!(matches!(error, VolumeError::OtherKeys { .. }), "{error}");
        let text = error.to_string();
        for uri in keys.iter().chain([&other]) {
            assert!(text.contains(uri.as_str()), "{text}");
        }
        assert!(providers.opened().is_empty(), "{providers:?}");
    }
    // That was no lock that stays.
    assert!(bench.open().is_ok());
}

#[test]
fn any_of_the_given_keys_opens_and_others_are_not_asked() {
    let (bench, keys, file) = of_two_keys();
    for (nth, uri) in keys.iter().enumerate() {
        let providers = given(&[uri]);
        let volume = opened(&bench, &providers).unwrap();
        fetch(&volume, file.clone()).unwrap();
        let asked: Vec<_> = providers
            .calls()
            .into_iter()
            .map(|(uri, _calls)| uri)
            .collect();
        assert_eq!(asked, std::slice::from_ref(uri));
        drop(volume);
        // Where the given one is gone, the other one does not help.
        let (path, away) = (bench.key_path(nth), bench.folder.path().join("away"));
        std::fs::rename(&path, &away).unwrap();
        assert!(opened(&bench, &given(&[uri])).is_err());
        std::fs::rename(&away, &path).unwrap();
    }
}

#[test]
fn no_file_is_made_that_lacks_a_slot() {
    let (bench, keys, _header) = of_two_keys();
    let volume = opened(&bench, &given(&[&keys[0]])).unwrap();
    let (done, made) = std::sync::mpsc::channel();
    volume.new_file(
        || Some(Vec::new()),
        move |material| done.send(material).unwrap(),
    );
    match made.recv().unwrap() {
        Err(VolumeError::Key(error)) => {
            assert_eq!(error.kind(), KeyErrorKind::Denied);
            assert_eq!(error.uri(), Some(&keys[1]));
        }
        other => panic!("{other:?}"),
    }
    drop(volume);
    let volume = opened(&bench, &given(&[&keys[1], &keys[0]])).unwrap();
    assert_eq!(new_file(&volume).epoch.slots.len(), 2);
}

#[test]
fn a_slot_that_was_planted_in_volume_json_is_not_asked() {
    let (bench, keys, _header) = of_two_keys();
    let planted = make_key(&bench.folder.path().join("planted"));
    let config = std::fs::read_to_string(bench.meta("volume.json")).unwrap();
    let forged = config.replace(keys[1].as_str(), planted.as_str());
    assert_ne!(forged, config);
    std::fs::write(bench.meta("volume.json"), forged).unwrap();
    let providers = given(&[&keys[0]]);
    // The tag is wrong now; that is seen by the key that was given.
    assert!(opened(&bench, &providers).is_err());
    let asked: Vec<_> = providers
        .calls()
        .into_iter()
        .map(|(uri, _calls)| uri)
        .collect();
    assert_eq!(asked, [keys[0].clone()]);
}

#[test]
fn a_file_whose_slots_are_of_other_keys_does_not_open() {
    let (bench, keys, mut file) = of_two_keys();
    for epoch in &mut file.epochs {
        epoch.slots.retain(|slot| slot.key_uri == keys[1]);
    }
    let volume = opened(&bench, &given(&[&keys[0]])).unwrap();
    match fetch(&volume, file) {
        Err(VolumeError::Key(error)) => {
            assert_eq!(error.kind(), KeyErrorKind::Denied);
            assert!(error.message().contains("--key"), "{error}");
        }
        other => panic!("{:?}", other.map(drop)),
    }
}

fn opened_shared(bench: &Bench, providers: &Arc<Providers>) -> Volume {
    let options = UnlockOptions {
        sharing: Sharing::Shared,
        ..UnlockOptions::default()
    };
    open(&bench.path(), &options, Arc::clone(providers)).unwrap()
}

fn change(add: &[&KeyUri], remove: &[&KeyUri]) -> KeyChange {
    let owned = |uris: &[&KeyUri]| uris.iter().copied().cloned().collect();
    KeyChange {
        add: owned(add),
        remove: owned(remove),
    }
}

/// The file's slots as they should be by the keys that the volume has now.
fn renewed(volume: &Volume, header: &FileHeader) -> FileHeader {
    let options = RenewalOptions {
        keys: volume.config().keys.clone(),
        exchange: None,
        verify: true,
        anew: false,
        calls_per_second: 0,
    };
    let renewal = volume.renewal(&options).unwrap();
    let epochs = volume.renew(header, Standing::default(), &renewal);
    FileHeader {
        epochs: epochs.unwrap().expect("something is due"),
        ..header.clone()
    }
}

fn denied(error: &KeyError) {
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(error.message().contains("--key"), "{error}");
    // It counts as a provider's word: keys in use go, and no grace begins.
    assert!(error.kind().is_refusal() && !error.is_of_this_host());
}

#[test]
fn a_given_key_that_the_volume_has_lost_refuses_and_is_no_outage() {
    let (bench, keys, file) = of_two_keys();
    let mount = opened_shared(&bench, &given(&[&keys[1]]));
    fetch(&mount, file.clone()).unwrap();
    mount.confirm_volume_key().unwrap();
    let other = bench.open_shared().unwrap();
    let run = other.begin_run().unwrap();
    other.change_keys(&run, &change(&[], &[&keys[1]])).unwrap();
    let after = renewed(&other, &file);
    assert_eq!(other.finish_removal(&run, &keys[1..]).unwrap(), keys[1..]);
    denied(&mount.confirm_volume_key().unwrap_err());
    let (asked, answer) = std::sync::mpsc::channel();
    mount.confirm_keys(after.clone(), move |_header, deks| {
        asked.send(deks).unwrap();
    });
    for refused in [answer.recv().unwrap(), fetch(&mount, after)] {
        match refused {
            Err(VolumeError::Key(error)) => denied(&error),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}

#[test]
fn a_given_key_that_came_since_opens_where_the_known_ones_may_not_be_used() {
    let (bench, keys, file) = of_two_keys();
    let third = make_key(&bench.key_path(2));
    let mount = opened_shared(&bench, &given(&[&keys[1], &third]));
    let other = bench.open_shared().unwrap();
    let run = other.begin_run().unwrap();
    let change = change(&[&third], &[&keys[1]]);
    other.change_keys(&run, &change).unwrap();
    let after = renewed(&other, &file);
    let uris: Vec<_> = after.epochs[0]
        .slots
        .iter()
        .map(|slot| &slot.key_uri)
        .collect();
    assert_eq!(uris, [&keys[0], &third]);
    assert!(
        mount.config().keys.iter().all(|uri| *uri != third),
        "it knows of no third"
    );
    fetch(&mount, after).unwrap();
    let asked: Vec<_> = mount.providers().calls();
    assert!(asked.iter().all(|(uri, _calls)| *uri != keys[0]));
}

#[test]
fn a_key_that_may_not_be_used_is_waited_for_by_nobody() {
    let bench = Bench::with_keys(1, |options| options.key_scope = KeyScope::File).made();
    let own = bench.options.keys[0].clone();
    let far = crate::keys::double::Double::new("double:far");
    let far_uri = far.uri().clone();
    let slow = Arc::new(providers());
    slow.put(Box::new(far));
    let volume = open(&bench.path(), &UnlockOptions::default(), Arc::clone(&slow)).unwrap();
    let run = volume.begin_run().unwrap();
    volume.change_keys(&run, &change(&[&far_uri], &[])).unwrap();
    assert!(!volume.keys_are_local());
    drop((run, volume));
    let volume = opened(&bench, &given(&[&own])).unwrap();
    assert!(volume.keys_are_local(), "the far one is never asked");
}

//! Volumes opened by keys that were named, and by no others.

use super::*;
use crate::keys::KeyErrorKind;

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

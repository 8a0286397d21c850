//! The keys of a volume change while it is open, and the slots of its files follow.

use super::*;
use crate::format::header::{HeaderError, KeySlot};
use crate::keys::KeyErrorKind;

/// A volume of scope `file` with one key, and a second key file that is not its yet.
fn bench() -> (Bench, KeyUri) {
    let bench = Bench::with(|options| options.key_scope = KeyScope::File).made();
    let other = make_key(&bench.key_path(1));
    (bench, other)
}

fn change(add: &[&KeyUri], remove: &[&KeyUri]) -> KeyChange {
    let owned = |uris: &[&KeyUri]| uris.iter().map(|uri| (*uri).clone()).collect();
    KeyChange {
        add: owned(add),
        remove: owned(remove),
    }
}

fn options(volume: &Volume) -> RenewalOptions {
    RenewalOptions {
        keys: volume.config().keys.clone(),
        exchange: None,
        verify: true,
        anew: false,
        calls_per_second: 0,
    }
}

fn renewal(volume: &Volume) -> Renewal {
    volume.renewal(&options(volume)).unwrap()
}

fn rotate(uri: &KeyUri) -> String {
    FileProvider::open(uri).unwrap().rotate().unwrap()
}

fn names(slots: &[KeySlot]) -> Vec<(KeyUri, String)> {
    let name = |slot: &KeySlot| (slot.key_uri.clone(), slot.key_version.clone());
    slots.iter().map(name).collect()
}

fn hide(bench: &Bench, nth: usize) {
    std::fs::rename(bench.key_path(nth), bench.key_path(nth + 100)).unwrap();
}

fn show(bench: &Bench, nth: usize) {
    std::fs::rename(bench.key_path(nth + 100), bench.key_path(nth)).unwrap();
}

/// Whether the volume opens by the key file `nth` alone, of two.
fn opens_by(bench: &Bench, nth: usize) -> bool {
    hide(bench, 1 - nth);
    let opened = bench.open().is_ok();
    show(bench, 1 - nth);
    opened
}

/// The header with its slots as they should be, which must be others than before.
fn renewed(volume: &Volume, header: &FileHeader) -> FileHeader {
    let epochs = volume
        .renew(header, Standing::default(), &renewal(volume))
        .unwrap()
        .unwrap();
    FileHeader {
        epochs,
        ..header.clone()
    }
}

#[test]
fn a_key_comes_and_another_goes_and_each_step_opens_by_what_it_should() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    assert!(volume.change_keys(&run, &change(&[&second], &[])).unwrap());
    assert!(!volume.change_keys(&run, &change(&[&second], &[])).unwrap());
    drop((run, volume));
    assert!(opens_by(&bench, 0) && opens_by(&bench, 1));

    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    volume.change_keys(&run, &change(&[], &[&first])).unwrap();
    assert_eq!(volume.leaving_keys(), std::slice::from_ref(&first));
    assert_eq!(new_file(&volume).epoch.slots[0].key_uri, second);
    drop((run, volume));
    assert!(opens_by(&bench, 0) && opens_by(&bench, 1));

    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    // Once more, as after a run that was killed.
    assert!(!volume.change_keys(&run, &change(&[], &[&first])).unwrap());
    assert_eq!(
        volume.finish_removal(&run, &volume.leaving_keys()).unwrap(),
        [first]
    );
    assert_eq!(
        volume.finish_removal(&run, &volume.leaving_keys()).unwrap(),
        []
    );
    drop((run, volume));
    assert!(!opens_by(&bench, 0) && opens_by(&bench, 1));
}

/// `init --volume-key`: such a key has a slot of the volume key alone, for good.
#[test]
fn a_key_of_the_volume_alone_stays_whatever_else_changes() {
    let mut bench = Bench::with(|options| options.key_scope = KeyScope::File);
    let alone = make_key(&bench.key_path(1));
    bench.options.volume_keys.push(alone.clone());
    let bench = bench.made();
    let third = make_key(&bench.key_path(2));
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let change = change(&[&third], &[]);
    volume.change_keys(&run, &change).unwrap();
    assert_eq!(volume.finish_removal(&run, &change.remove).unwrap(), []);
    let has_slot = |volume: &Volume| {
        names(&volume.config().slots)
            .iter()
            .any(|(uri, _)| *uri == alone)
    };
    assert!(has_slot(&volume));
    let asked_for = std::slice::from_ref(&alone);
    assert_eq!(volume.finish_removal(&run, asked_for).unwrap(), asked_for);
    assert!(!has_slot(&volume));
}

#[test]
fn a_removal_is_taken_back_by_adding_the_key_again() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let exchange = change(&[&second], &[&first]);
    volume.change_keys(&run, &exchange).unwrap();
    volume.change_keys(&run, &change(&[&first], &[])).unwrap();
    assert_eq!(volume.leaving_keys(), []);
    assert_eq!(
        volume.finish_removal(&run, &volume.leaving_keys()).unwrap(),
        []
    );
    assert_eq!(volume.config().slots.len(), 2);
}

#[test]
fn changes_that_make_no_sense_change_nothing() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let before = std::fs::read(bench.meta("volume.json")).unwrap();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let refused = |change: KeyChange| volume.change_keys(&run, &change).unwrap_err();
    let last = refused(change(&[], &[&first]));
    assert!(matches!(last, VolumeError::LastKey), "{last}");
    let unknown = refused(change(&[], &[&second]));
    assert!(matches!(unknown, VolumeError::NoSuchKey(uri) if uri == second));
    let missing: KeyUri = "file:///nowhere/key".parse().unwrap();
    let missing = refused(change(&[&missing], &[]));
    assert!(matches!(missing, VolumeError::Key(error) if error.kind() == KeyErrorKind::NotFound));
    let many: Vec<_> = (2..12).map(|nth| make_key(&bench.key_path(nth))).collect();
    let too_many = refused(change(&many.iter().collect::<Vec<_>>(), &[]));
    assert!(matches!(too_many, VolumeError::TooManyKeys));
    let too_long = refused(change(&many[..7].iter().collect::<Vec<_>>(), &[]));
    assert!(
        matches!(
            too_long,
            VolumeError::HeaderTooSmall(HeaderError::SlotsTooLong { .. })
        ),
        "{too_long}"
    );
    assert_eq!(std::fs::read(bench.meta("volume.json")).unwrap(), before);
}

#[test]
fn one_run_at_a_time_over_all_mounts() {
    let (bench, _) = bench();
    let one = bench.open_shared().unwrap();
    let other = bench.open_shared().unwrap();
    let run = one.begin_run().unwrap();
    assert!(matches!(other.begin_run(), Err(VolumeError::RunUnderWay)));
    drop(run);
    drop(other.begin_run().unwrap());
}

#[test]
fn after_a_rotation_each_slot_is_brought_to_the_newest_version_and_then_left_alone() {
    let (bench, _) = bench();
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    assert!(
        volume
            .renew(&header, Standing::default(), &renewal(&volume))
            .unwrap()
            .is_none()
    );
    let newest = rotate(&bench.options.keys[0]);
    let renewal = renewal(&volume);
    assert!(
        volume
            .is_due(&header, Standing::default(), &renewal)
            .unwrap()
    );
    let after = renewed(&volume, &header);
    let expected = [(bench.options.keys[0].clone(), newest.clone())];
    assert_eq!(names(&after.epochs[0].slots), expected);
    assert!(
        !volume
            .is_due(&after, Standing::default(), &renewal)
            .unwrap()
    );
    volume.files.keyring.clear();
    fetch(&volume, after).unwrap();
    // The files that come are of the new version at once, whatever was made ahead.
    for _ in 0..300 {
        assert_eq!(new_file(&volume).epoch.slots[0].key_version, newest);
    }
}

#[test]
fn the_volume_keys_own_slot_follows_too() {
    let (bench, _) = bench();
    let newest = rotate(&bench.options.keys[0]);
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let renewal = renewal(&volume);
    assert!(volume.renew_own_slots(&run, &renewal).unwrap());
    assert!(!volume.renew_own_slots(&run, &renewal).unwrap());
    drop((run, volume));
    let volume = bench.open().unwrap();
    assert_eq!(volume.config().slots[0].key_version, newest);
}

#[test]
fn files_of_scope_volume_are_left_alone_whatever_the_keys() {
    let bench = Bench::new().made();
    let other = make_key(&bench.key_path(1));
    let volume = bench.open().unwrap();
    let header = header(&volume, &new_file(&volume));
    let run = volume.begin_run().unwrap();
    let exchange = change(&[&other], &[&bench.options.keys[0]]);
    volume.change_keys(&run, &exchange).unwrap();
    assert!(
        !volume
            .is_due(&header, Standing::default(), &renewal(&volume))
            .unwrap()
    );
    volume.finish_removal(&run, &volume.leaving_keys()).unwrap();
    drop((run, volume));
    assert!(opens_by(&bench, 1) && !opens_by(&bench, 0));
}

#[test]
fn a_file_follows_the_keys_that_come_and_go() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let original = header(&volume, &new_file(&volume));
    let run = volume.begin_run().unwrap();
    volume.change_keys(&run, &change(&[&second], &[])).unwrap();
    let both = renewed(&volume, &original);
    let uris: Vec<_> = both.epochs[0]
        .slots
        .iter()
        .map(|slot| &slot.key_uri)
        .collect();
    assert_eq!(uris, [&first, &second]);
    volume.change_keys(&run, &change(&[], &[&first])).unwrap();
    let alone = renewed(&volume, &both);
    assert_eq!(alone.epochs[0].slots.len(), 1);
    drop((run, volume));
    hide(&bench, 0);
    fetch(&bench.open().unwrap(), alone).unwrap();
}

#[test]
fn no_slot_goes_before_another_was_seen_to_open() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let original = header(&volume, &new_file(&volume));
    volume.change_keys(&run, &change(&[&second], &[])).unwrap();
    let mut both = renewed(&volume, &original);
    volume.change_keys(&run, &change(&[], &[&first])).unwrap();
    // What would be left was altered: it is made anew while the other is still there.
    both.epochs[0].slots[1].wrapped_dek[40] ^= 1;
    volume.files.keyring.clear();
    let mended = renewed(&volume, &both);
    assert_eq!(names(&mended.epochs[0].slots), [(second, "1".to_owned())]);
    volume.files.keyring.clear();
    fetch(&volume, mended).unwrap();
    // And where neither opens, nothing goes.
    both.epochs[0].slots[0].wrapped_dek[40] ^= 1;
    volume.files.keyring.clear();
    let error = volume
        .renew(&both, Standing::default(), &renewal(&volume))
        .unwrap_err();
    assert!(matches!(error, VolumeError::Key(error) if error.kind() == KeyErrorKind::Corrupt));
}

#[test]
fn the_last_slot_that_opens_the_volume_does_not_go() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    volume
        .change_keys(&run, &change(&[&second], &[&first]))
        .unwrap();
    drop((run, volume));
    hide(&bench, 1);
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    assert!(volume.finish_removal(&run, &volume.leaving_keys()).is_err());
    assert_eq!(volume.config().slots.len(), 2);
    assert_eq!(volume.leaving_keys(), [first]);
}

#[test]
fn a_silent_provider_keeps_its_slots_and_all_silent_is_an_error() {
    let (bench, second) = bench();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    volume.change_keys(&run, &change(&[&second], &[])).unwrap();
    let header = header(&volume, &new_file(&volume));
    drop((run, volume));
    let newest = rotate(&bench.options.keys[0]);
    hide(&bench, 1);
    let volume = bench.open().unwrap();
    let renewal = renewal(&volume);
    assert_eq!(renewal.silent().len(), 1);
    let after = volume
        .renew(&header, Standing::default(), &renewal)
        .unwrap()
        .unwrap();
    let expected = [
        (bench.options.keys[0].clone(), newest),
        (second.clone(), "1".to_owned()),
    ];
    assert_eq!(names(&after[0].slots), expected);
    let only = RenewalOptions {
        keys: vec![second],
        ..options(&volume)
    };
    assert!(volume.renewal(&only).is_err());
}

#[test]
fn a_file_made_elsewhere_keeps_its_own_keys_and_gets_newer_versions() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    volume.change_keys(&run, &change(&[&second], &[])).unwrap();
    let mut foreign = header(&volume, &new_file(&volume));
    foreign.membership_tag = [0; 32];
    foreign.epochs[0].slots.truncate(1);
    assert!(
        !volume
            .is_due(&foreign, Standing::default(), &renewal(&volume))
            .unwrap()
    );
    let newest = rotate(&first);
    let after = renewed(&volume, &foreign);
    assert_eq!(names(&after.epochs[0].slots), [(first.clone(), newest)]);
    volume.change_keys(&run, &change(&[], &[&first])).unwrap();
    let stranded = volume.renew(&foreign, Standing::default(), &renewal(&volume));
    assert!(matches!(stranded, Err(VolumeError::Stranded)));
}

#[test]
fn another_mount_makes_and_opens_files_by_the_new_keys() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let (one, other) = (bench.open_shared().unwrap(), bench.open_shared().unwrap());
    // Its pool is full of keys for the old set.
    assert_eq!(new_file(&other).epoch.slots[0].key_uri, first);
    let run = one.begin_run().unwrap();
    one.change_keys(&run, &change(&[&second], &[&first]))
        .unwrap();
    let made = header(&one, &new_file(&one));
    one.finish_removal(&run, &one.leaving_keys()).unwrap();
    fetch(&other, made).unwrap();
    for _ in 0..300 {
        assert_eq!(new_file(&other).epoch.slots[0].key_uri, second);
    }
}

#[test]
fn a_key_that_came_since_opens_where_the_known_ones_fail() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let (one, other) = (bench.open_shared().unwrap(), bench.open_shared().unwrap());
    let file = header(&one, &new_file(&one));
    let run = one.begin_run().unwrap();
    one.change_keys(&run, &change(&[&second], &[])).unwrap();
    let mut after = renewed(&one, &file);
    let slots = &mut after.epochs[0].slots;
    assert_eq!((&slots[0].key_uri, &slots[1].key_uri), (&first, &second));
    slots[0].wrapped_dek[5] ^= 1;
    let asked = |uri: &KeyUri| {
        let calls = other.providers().calls();
        let of = calls.iter().find(|(of, _calls)| of == uri);
        of.map_or(0, |(_uri, calls)| calls.unwrap.calls)
    };
    let before = asked(&first);
    fetch(&other, after.clone()).unwrap();
    assert_eq!(
        (asked(&first) - before, asked(&second)),
        (1, 1),
        "each slot once"
    );
    // A slot that nobody's key is behind changes nothing about the failure.
    after.epochs[0].slots[1].key_uri = make_key(&bench.key_path(7));
    other.files.keyring.clear();
    match fetch(&other, after) {
        Err(VolumeError::Key(error)) => assert_eq!(error.uri(), Some(&first)),
        done => panic!("{:?}", done.map(drop)),
    }
}

#[test]
fn what_a_change_has_replaced_is_not_taken_over_any_more() {
    let (bench, _second) = bench();
    let volume = bench.open_shared().unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::Acquire) {
                    volume.live.refresh();
                }
            });
        }
        for nth in 0..150 {
            let former: KeyUri = format!("file:///former-{nth}").parse().unwrap();
            let now = vec![former];
            volume
                .live
                .change(|config| config.former_keys.clone_from(&now))
                .unwrap();
            if volume.config().former_keys != now {
                ended.store(true, std::sync::atomic::Ordering::Release);
                panic!("change {nth} is gone again");
            }
        }
        ended.store(true, std::sync::atomic::Ordering::Release);
    });
}

#[test]
fn slots_are_renewed_and_removed_beside_keys_that_are_not_known_here_yet() {
    let (bench, second) = bench();
    let first = bench.options.keys[0].clone();
    let (one, other) = (bench.open_shared().unwrap(), bench.open_shared().unwrap());
    let run = one.begin_run().unwrap();
    one.change_keys(&run, &change(&[&second], &[&first]))
        .unwrap();
    let third = make_key(&bench.key_path(2));
    let come = |key: &KeyUri| other.live.change(|config| config.keys.push(key.clone()));
    come(&third).unwrap();
    rotate(&second);
    assert!(one.renew_own_slots(&run, &renewal(&one)).unwrap());
    assert_eq!(one.config().keys, [second.clone(), third.clone()]);
    let fourth = make_key(&bench.key_path(3));
    come(&fourth).unwrap();
    one.finish_removal(&run, &[first]).unwrap();
    assert_eq!(one.config().keys, [second, third, fourth]);
}

#[test]
fn a_forged_configuration_is_not_taken_over() {
    let (bench, second) = bench();
    let (one, other) = (bench.open_shared().unwrap(), bench.open_shared().unwrap());
    let run = one.begin_run().unwrap();
    one.change_keys(&run, &change(&[&second], &[])).unwrap();
    let path = bench.meta("volume.json");
    let json = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, json.replace("\"deny\"", "\"allow\"")).unwrap();
    assert_eq!(new_file(&other).epoch.slots.len(), 1);
    assert_eq!(other.config().keys.len(), 1);
}

fn commitments(count: u8) -> Vec<[u8; 32]> {
    (0..count).map(|byte| [byte + 1; 32]).collect()
}

#[test]
fn a_run_that_goes_on_knows_what_was_done_and_a_new_one_does_not() {
    let (bench, _) = bench();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    assert!(volume.kept_done_list(&run).unwrap().is_none());
    let list = volume.new_done_list(&run, true).unwrap();
    assert!(list.is_empty());
    commitments(5).into_iter().for_each(|done| list.note(done));
    drop((list, run, volume));
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let list = volume.kept_done_list(&run).unwrap().unwrap();
    assert_eq!(list.len(), 5);
    assert!(commitments(5).iter().all(|done| list.has(done)) && !list.has(&[9; 32]));
    list.note([9; 32]);
    assert!(volume.kept_done_list(&run).unwrap().unwrap().has(&[9; 32]));
    // A run over some files keeps no list, and leaves that of another.
    drop(volume.new_done_list(&run, false).unwrap());
    assert_eq!(volume.kept_done_list(&run).unwrap().unwrap().len(), 6);
    assert!(volume.new_done_list(&run, true).unwrap().is_empty());
    assert!(volume.kept_done_list(&run).unwrap().unwrap().is_empty());
    volume.drop_done_list(&run).unwrap();
    volume.drop_done_list(&run).unwrap();
    assert!(volume.kept_done_list(&run).unwrap().is_none());
}

#[test]
fn what_of_the_list_is_not_whole_or_not_authentic_counts_for_nothing() {
    let (bench, _) = bench();
    let volume = bench.open().unwrap();
    let run = volume.begin_run().unwrap();
    let list = volume.new_done_list(&run, true).unwrap();
    commitments(4).into_iter().for_each(|done| list.note(done));
    let path = bench.meta("reencrypt");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let kept = volume.kept_done_list(&run).unwrap();
        let records = cut.checked_sub(56).map(|rest| rest / 48);
        assert_eq!(kept.map(|list| list.len()), records, "cut to {cut}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let kept = volume.kept_done_list(&run).unwrap();
        let records = at.checked_sub(56).map(|rest| rest / 48);
        assert_eq!(kept.map(|list| list.len()), records, "flipped at {at}");
    }
    // Another volume's.
    let other = Bench::new().made();
    std::fs::write(other.meta("reencrypt"), &whole).unwrap();
    let volume = other.open().unwrap();
    let run = volume.begin_run().unwrap();
    assert!(volume.kept_done_list(&run).unwrap().is_none());
}

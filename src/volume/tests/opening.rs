//! Making and opening: what comes back, what is refused, who else may.

use super::*;
use crate::format::volume_config::VolumeConfigError;
use crate::keys::KeyErrorKind;
use crate::storage::Timestamp;

const LAYOUTS: [(u32, u32); 4] = [(4096, 512), (4096, 1024), (4096, 2048), (65_536, 1024)];

#[test]
fn every_kind_of_volume_opens_as_it_was_made() {
    for (block, header) in LAYOUTS {
        for names in [NameMode::Encrypted, NameMode::Plain] {
            for key_scope in [KeyScope::File, KeyScope::Volume] {
                let bench = Bench::with(|options| {
                    options.layout = Layout::new(block, header).unwrap();
                    options.names = names;
                    options.key_scope = key_scope;
                });
                bench.create().unwrap();
                let volume = bench.open().unwrap();
                let (config, options) = (volume.config(), &bench.options);
                assert_eq!(config.volume_id, options.volume_id);
                assert_eq!(volume.layout(), options.layout);
                assert_eq!((config.names, config.key_scope), (names, key_scope));
                assert_eq!(config.keys, options.keys);
                let encrypted = names == NameMode::Encrypted;
                assert_eq!(volume.name_key().unwrap().is_some(), encrypted);
                assert_eq!(volume.symlink_key().unwrap().is_some(), encrypted);
                let has_id = bench.path().join(".envelopefs.dirid").is_symlink();
                assert_eq!(has_id, encrypted);
            }
        }
    }
}

#[test]
fn the_folder_is_made_if_it_is_missing_and_its_metadata_is_the_owners() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new().made();
    let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(bench.path()), 0o700);
    assert_eq!(mode(bench.path().join(".envelopefs")), 0o700);
    assert_eq!(mode(bench.meta("volume.json")), 0o600);
}

#[test]
fn a_folder_that_holds_something_is_no_place_for_a_volume() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    std::fs::write(bench.path().join("mine"), "x").unwrap();
    assert!(matches!(bench.create(), Err(VolumeError::NotEmpty(_))));
    let entries: Vec<_> = std::fs::read_dir(bench.path()).unwrap().collect();
    assert_eq!(entries.len(), 1, "nothing was added");
}

#[test]
fn a_volume_is_not_made_twice() {
    let bench = Bench::new().made();
    let before = std::fs::read(bench.meta("volume.json")).unwrap();
    assert!(matches!(bench.create(), Err(VolumeError::NotEmpty(_))));
    assert_eq!(std::fs::read(bench.meta("volume.json")).unwrap(), before);
}

#[test]
fn slots_that_do_not_fit_the_header_leave_nothing_behind() {
    let bench = Bench::with_keys(8, |options| options.key_scope = KeyScope::File);
    assert!(matches!(
        bench.create(),
        Err(VolumeError::HeaderTooSmall(_))
    ));
    assert!(!bench.path().exists());
}

#[test]
fn a_provider_that_cannot_be_opened_leaves_nothing_behind() {
    let bench = Bench::new();
    std::fs::remove_file(bench.key_path(0)).unwrap();
    let error = bench.create().unwrap_err();
    assert!(matches!(error, VolumeError::Key(error) if error.kind() == KeyErrorKind::NotFound));
    assert!(!bench.path().exists());
}

#[test]
fn a_folder_without_metadata_is_not_a_volume() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    assert!(matches!(bench.open(), Err(VolumeError::NotAVolume(_))));
    std::fs::create_dir(bench.path().join(".envelopefs")).unwrap();
    assert!(matches!(bench.open(), Err(VolumeError::NoConfig(_))));
    let entries = std::fs::read_dir(bench.path().join(".envelopefs")).unwrap();
    assert_eq!(entries.count(), 0, "opening leaves what is no volume alone");
}

#[test]
fn a_volume_that_lost_its_configuration_is_none() {
    let bench = Bench::new().made();
    std::fs::remove_file(bench.meta("volume.json")).unwrap();
    assert!(matches!(bench.open(), Err(VolumeError::NoConfig(_))));
}

#[test]
fn a_copy_without_its_lock_file_opens_for_reading_and_gets_none() {
    let bench = Bench::new().made();
    std::fs::remove_file(bench.meta("lock")).unwrap();
    let options = UnlockOptions {
        read_only: true,
        ..UnlockOptions::default()
    };
    drop(bench.open_as(&options).unwrap());
    assert!(!bench.meta("lock").exists());
    drop(bench.open().unwrap());
    assert!(bench.meta("lock").exists());
}

#[test]
fn a_missing_folder_is_the_kernels_answer() {
    let error = Bench::new().open().unwrap_err();
    assert!(
        matches!(error, VolumeError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn another_key_under_the_same_uri_is_the_wrong_key() {
    let bench = Bench::new().made();
    std::fs::remove_file(bench.key_path(0)).unwrap();
    make_key(&bench.key_path(0));
    assert!(matches!(bench.open(), Err(VolumeError::WrongKey(_))));
}

#[test]
fn a_missing_key_file_is_told_apart_from_a_wrong_one() {
    let bench = Bench::new().made();
    std::fs::remove_file(bench.key_path(0)).unwrap();
    let error = bench.open().unwrap_err();
    assert!(matches!(error, VolumeError::Key(error) if error.kind() == KeyErrorKind::NotFound));
}

#[test]
fn any_one_of_several_keys_opens_the_volume() {
    let bench = Bench::with_keys(3, |_options| {}).made();
    for kept in 0..3 {
        let others: Vec<_> = (0..3).filter(|nth| *nth != kept).collect();
        for &nth in &others {
            std::fs::rename(
                bench.key_path(nth),
                bench.folder.path().join(format!("away-{nth}")),
            )
            .unwrap();
        }
        bench.open().unwrap();
        for &nth in &others {
            std::fs::rename(
                bench.folder.path().join(format!("away-{nth}")),
                bench.key_path(nth),
            )
            .unwrap();
        }
    }
}

#[test]
fn a_wrong_key_among_several_does_not_stop_the_right_one() {
    let bench = Bench::with_keys(2, |_options| {}).made();
    std::fs::remove_file(bench.key_path(0)).unwrap();
    make_key(&bench.key_path(0));
    bench.open().unwrap();
}

#[test]
fn a_changed_byte_anywhere_in_the_configuration_is_refused() {
    let bench = Bench::new().made();
    let good = std::fs::read(bench.meta("volume.json")).unwrap();
    for at in 0..good.len() {
        for flip in [0x01, 0x20] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            std::fs::write(bench.meta("volume.json"), &bad).unwrap();
            assert!(bench.open_shared().is_err(), "byte {at} ^ {flip:#x}");
        }
    }
    std::fs::write(bench.meta("volume.json"), &good).unwrap();
    bench.open().unwrap();
}

#[test]
fn a_configuration_cut_short_or_too_long_is_refused() {
    let bench = Bench::new().made();
    let good = std::fs::read(bench.meta("volume.json")).unwrap();
    for len in [0, 1, good.len() / 2, good.len() - 2] {
        std::fs::write(bench.meta("volume.json"), &good[..len]).unwrap();
        assert!(matches!(bench.open(), Err(VolumeError::Config(_))), "{len}");
    }
    let mut long = good;
    long.resize(100_000, b' ');
    std::fs::write(bench.meta("volume.json"), &long).unwrap();
    assert!(bench.open().is_err());
}

#[test]
fn another_policy_in_the_configuration_is_refused() {
    let bench = Bench::new().made();
    let json = std::fs::read_to_string(bench.meta("volume.json")).unwrap();
    for (from, to) in [
        ("deny", "allow"),
        ("encrypted", "plain"),
        ("\"volume\"", "\"file\""),
    ] {
        assert!(json.contains(from), "{from}");
        std::fs::write(bench.meta("volume.json"), json.replacen(from, to, 1)).unwrap();
        let refused = bench.open();
        assert!(
            matches!(refused, Err(VolumeError::Config(VolumeConfigError::Forged))),
            "{from}: {:?}",
            refused.err()
        );
    }
}

#[test]
fn a_newer_format_is_told_whatever_else_it_holds() {
    let bench = Bench::new().made();
    let newer = br#"{"format": 7, "shape": "unknown"}"#;
    std::fs::write(bench.meta("volume.json"), newer).unwrap();
    assert!(matches!(
        bench.open(),
        Err(VolumeError::Config(VolumeConfigError::NewerVersion(7)))
    ));
}

#[test]
fn the_configuration_of_another_volume_is_refused() {
    let (bench, other) = (Bench::new().made(), Bench::new().made());
    std::fs::copy(other.meta("volume.json"), bench.meta("volume.json")).unwrap();
    std::fs::remove_file(other.key_path(0)).unwrap();
    assert!(bench.open().is_err());
}

#[test]
fn one_exclusive_mount_at_a_time() {
    let bench = Bench::new().made();
    let first = bench.open().unwrap();
    assert!(matches!(bench.open(), Err(VolumeError::InUse(_))));
    assert!(matches!(bench.open_shared(), Err(VolumeError::InUse(_))));
    drop(first);
    bench.open().unwrap();
}

#[test]
fn sharers_share_and_keep_out_who_does_not() {
    let bench = Bench::new().made();
    let first = bench.open_shared().unwrap();
    let second = bench.open_shared().unwrap();
    assert!(matches!(bench.open(), Err(VolumeError::InUse(_))));
    drop(first);
    assert!(matches!(bench.open(), Err(VolumeError::InUse(_))));
    drop(second);
    bench.open().unwrap();
}

#[test]
fn a_failed_open_leaves_no_lock_and_no_mark() {
    let bench = Bench::new().made();
    std::fs::rename(bench.key_path(0), bench.key_path(9)).unwrap();
    bench.open().unwrap_err();
    assert!(!bench.meta("in-use").exists());
    std::fs::rename(bench.key_path(9), bench.key_path(0)).unwrap();
    assert_eq!(bench.open().unwrap().unclean_since(), None);
}

#[test]
fn a_mount_that_ends_clean_leaves_nothing_to_look_over() {
    let bench = Bench::new().made();
    let volume = bench.open().unwrap();
    assert_eq!(volume.unclean_since(), None);
    assert!(bench.meta("in-use").exists());
    volume.mark_clean().unwrap();
    assert!(!bench.meta("in-use").exists());
    volume.mark_clean().unwrap();
    drop(volume);
    assert_eq!(bench.open().unwrap().unclean_since(), None);
}

#[test]
fn mounts_that_end_without_an_unmount_are_known_since_the_first() {
    let bench = Bench::new().made();
    drop(bench.open().unwrap());
    let mark = std::fs::File::open(bench.meta("in-use")).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    mark.set_modified(long_ago).unwrap();
    let since = Some(Timestamp {
        secs: 1_000_000,
        nanos: 0,
    });
    for _ in 0..2 {
        assert_eq!(bench.open().unwrap().unclean_since(), since);
    }
}

#[test]
fn readers_set_no_mark() {
    let bench = Bench::new().made();
    let read_only = UnlockOptions {
        read_only: true,
        ..UnlockOptions::default()
    };
    drop(bench.open_as(&read_only).unwrap());
    assert_eq!(marks(&bench), [] as [String; 0]);
}

/// The marks of mounts.
fn marks(bench: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(bench.meta("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("in-use")).collect()
}

/// Sets every mark back to this time.
fn set_back(bench: &Bench, secs: u64) -> Option<Timestamp> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
    for mark in marks(bench) {
        let mark = std::fs::File::open(bench.meta(&mark)).unwrap();
        mark.set_modified(time).unwrap();
    }
    let secs = secs.cast_signed();
    Some(Timestamp { secs, nanos: 0 })
}

#[test]
fn sharers_that_live_or_end_clean_leave_nothing_to_look_over() {
    let bench = Bench::new().made();
    let first = bench.open_shared().unwrap();
    let second = bench.open_shared().unwrap();
    assert_eq!(
        (first.unclean_since(), second.unclean_since()),
        (None, None)
    );
    assert_eq!(marks(&bench).len(), 2);
    first.mark_clean().unwrap();
    assert_eq!(marks(&bench).len(), 1);
    drop(first);
    assert_eq!(bench.open_shared().unwrap().unclean_since(), None);
    second.mark_clean().unwrap();
}

#[test]
fn a_sharer_that_died_is_known_while_others_live() {
    let bench = Bench::new().made();
    let alive = bench.open_shared().unwrap();
    drop(bench.open_shared().unwrap());
    drop(bench.open_shared().unwrap());
    let since = set_back(&bench, 1_000_000);
    let next = bench.open_shared().unwrap();
    assert_eq!(next.unclean_since(), since);
    // What one looks over is not for the next, unless he dies as well.
    assert_eq!(bench.open_shared().unwrap().unclean_since(), None);
    drop(next);
    let next = bench.open_shared().unwrap();
    assert_eq!(next.unclean_since(), since);
    next.set_looked_over();
    next.mark_clean().unwrap();
    drop(next);
    assert_eq!(marks(&bench).len(), 1);
    let next = bench.open_shared().unwrap();
    assert_eq!(next.unclean_since(), None);
    next.mark_clean().unwrap();
    alive.mark_clean().unwrap();
    assert_eq!(marks(&bench), [] as [String; 0]);
}

#[test]
fn dead_sharers_are_known_to_an_exclusive_mount_and_the_other_way_round() {
    let bench = Bench::new().made();
    let read_only = UnlockOptions {
        read_only: true,
        ..UnlockOptions::default()
    };
    for exclusive_died in [true, false] {
        match exclusive_died {
            true => drop(bench.open().unwrap()),
            false => drop(bench.open_shared().unwrap()),
        }
        let since = set_back(&bench, 1_000_000);
        let reader = bench.open_as(&read_only).unwrap();
        assert_eq!(reader.left_in_use_since().unwrap(), since);
        drop(reader);
        let next = match exclusive_died {
            true => bench.open_shared().unwrap(),
            false => bench.open().unwrap(),
        };
        assert_eq!(next.unclean_since(), since);
        next.set_looked_over();
        next.mark_clean().unwrap();
        assert_eq!(marks(&bench), [] as [String; 0]);
    }
}

#[test]
fn what_was_not_looked_over_stays_for_the_next_mount() {
    for shared in [false, true] {
        let bench = Bench::new().made();
        let open = || match shared {
            true => bench.open_shared().unwrap(),
            false => bench.open().unwrap(),
        };
        drop(open());
        let since = set_back(&bench, 1_000_000);
        for _ in 0..2 {
            let next = open();
            assert_eq!(next.unclean_since(), since);
            next.mark_clean().unwrap();
            assert_eq!(marks(&bench).len(), 1, "shared: {shared}");
        }
        let next = open();
        next.set_looked_over();
        next.mark_clean().unwrap();
        assert_eq!(marks(&bench), [] as [String; 0]);
    }
}

#[test]
fn a_reader_tells_live_sharers_from_dead_ones() {
    let bench = Bench::new().made();
    let sharing = UnlockOptions {
        sharing: Sharing::Shared,
        read_only: true,
        ..UnlockOptions::default()
    };
    let reader = bench.open_as(&sharing).unwrap();
    let alive = bench.open_shared().unwrap();
    assert_eq!(reader.left_in_use_since().unwrap(), None);
    drop(alive);
    let since = set_back(&bench, 1_000_000);
    assert_eq!(reader.left_in_use_since().unwrap(), since);
}

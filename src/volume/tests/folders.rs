//! Keys of folders: what new files get, what opens them, and what a run makes of files that are there.

use super::*;
use crate::crypto::SecretKey;
use crate::format::header::{KeySlot, MAX_SLOTS};
use crate::keys::double::Double;
use crate::keys::{EncryptionContext, KeyError, KeyErrorKind, KeyHealth, KeyProvider, WrappedDek};
use crate::policy::PolicyError;

fn stored(text: &str) -> StoredPolicy {
    StoredPolicy::parse(text.as_bytes().to_vec()).unwrap()
}

fn folder(path: &str, keys: &[&KeyUri]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| format!("{:?}", key.as_str()))
        .collect();
    format!(
        "[[folder]]\npath = \"{path}\"\nkeys = [{}]\n",
        keys.join(", ")
    )
}

/// A volume of this scope with a policy that gives `/hr` a key that is none of the volume's.
struct Hr {
    bench: Bench,
    own: KeyUri,
    hr: KeyUri,
}

impl Hr {
    fn new(scope: KeyScope) -> Self {
        let bench = Bench::with(|options| options.key_scope = scope).made();
        let hr = make_key(&bench.key_path(1));
        let made = Self {
            own: bench.options.keys[0].clone(),
            bench,
            hr,
        };
        let volume = made.open();
        volume
            .set_policy(Some(&stored(&folder("/hr", &[&made.hr]))))
            .unwrap();
        drop(volume);
        made
    }

    fn open(&self) -> Volume {
        self.bench.open().unwrap()
    }

    fn key(&self, nth: usize) -> KeyUri {
        make_key(&self.bench.key_path(nth))
    }

    fn hide(&self, nth: usize) {
        std::fs::rename(self.bench.key_path(nth), self.bench.key_path(nth + 100)).unwrap();
    }
}

fn made_in(volume: &Volume, folder: &[u8]) -> FileHeader {
    let (done, made) = std::sync::mpsc::channel();
    let folder = folder.to_vec();
    volume.new_file(
        move || Some(folder.clone()),
        move |new| done.send(new).unwrap(),
    );
    header(volume, &made.recv().unwrap().unwrap().material)
}

fn uris(header: &FileHeader) -> Vec<String> {
    let slots = header.epochs.iter().flat_map(|epoch| &epoch.slots);
    slots.map(|slot| slot.key_uri.to_string()).collect()
}

fn names(keys: &[&KeyUri]) -> Vec<String> {
    keys.iter().map(|key| key.to_string()).collect()
}

fn renewal(volume: &Volume) -> Renewal {
    exchanging(volume, None)
}

/// As of a run that puts one key in the place of another.
fn exchanging(volume: &Volume, exchange: Option<(&KeyUri, &KeyUri)>) -> Renewal {
    let options = RenewalOptions {
        keys: volume.config().keys.clone(),
        exchange: exchange.map(|(from, to)| (from.clone(), to.clone())),
        verify: true,
        anew: false,
        calls_per_second: 0,
    };
    volume.renewal(&options).unwrap()
}

fn at(folder: &'static [u8]) -> Standing<'static> {
    Standing {
        folder: Some(folder),
        has_more_names: false,
    }
}

fn renewed(volume: &Volume, header: &FileHeader, standing: Standing<'_>) -> FileHeader {
    let renewed = volume.renew(header, standing, &renewal(volume)).unwrap();
    FileHeader {
        epochs: renewed.expect("something is due"),
        ..header.clone()
    }
}

/// Whether the file's key is to be had, with nothing kept from before.
fn opens(volume: &Volume, header: &FileHeader) -> bool {
    volume.files.keyring.clear();
    fetch(volume, header.clone()).is_ok()
}

#[test]
fn a_new_file_gets_the_keys_of_the_nearest_folder_and_else_the_volumes() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let made = Hr::new(scope);
        let volume = made.open();
        let bulk = folder("/hr/bulk", &[]).replace("keys = []", "scope = \"volume\"");
        let back = folder("/hr/own", &[]).replace("keys = []", "scope = \"file\"");
        let text = folder("/hr", &[&made.hr]) + &bulk + &back;
        volume.set_policy(Some(&stored(&text))).unwrap();
        for path in [&b"/hr"[..], b"/hr/x", b"/hr/bulky"] {
            assert_eq!(uris(&made_in(&volume, path)), names(&[&made.hr]));
        }
        assert!(uris(&made_in(&volume, b"/hr/bulk/x"))[0].starts_with("volume:"));
        assert_eq!(uris(&made_in(&volume, b"/hr/own")), names(&[&made.own]));
        for path in [&b""[..], b"/", b"/hrx", b"/x/hr"] {
            let own = uris(&made_in(&volume, path));
            assert_eq!(
                own == names(&[&made.own]),
                scope == KeyScope::File,
                "{own:?}"
            );
            assert_eq!(own.len(), 1);
        }
    }
}

#[test]
fn a_folders_file_opens_by_its_key_alone_and_the_volume_without_it() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let made = Hr::new(scope);
        let volume = made.open();
        let (secret, free) = (made_in(&volume, b"/hr"), made_in(&volume, b""));
        drop(volume);
        let volume = made.open();
        assert!(opens(&volume, &secret) && opens(&volume, &free));
        drop(volume);
        made.hide(1);
        let volume = made.open();
        assert!(!opens(&volume, &secret), "it opened without its key");
        assert!(opens(&volume, &free));
        assert!(volume.policy().unwrap().is_some());
    }
}

#[test]
fn while_the_volume_is_locked_a_folder_gives_no_keys() {
    let made = Hr::new(KeyScope::Volume);
    let volume = made.open();
    let secret = made_in(&volume, b"/hr");
    volume.lock(KeyError::new(KeyErrorKind::NotFound, "locked"));
    assert!(!opens(&volume, &secret));
    let (done, new) = std::sync::mpsc::channel();
    volume.new_file(
        || Some(b"/hr".to_vec()),
        move |new| done.send(new.is_ok()).unwrap(),
    );
    assert!(!new.recv().unwrap());
}

#[test]
fn a_key_that_neither_volume_nor_policy_names_is_not_asked() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let secret = made_in(&volume, b"/hr");
    let stranger = made.key(7);
    let mut moved = secret.clone();
    moved.epochs[0].slots[0].key_uri = stranger.clone();
    // What it is asked would be counted.
    assert!(!opens(&volume, &moved));
    let asked = volume.providers().calls();
    assert!(asked.iter().all(|(uri, _calls)| *uri != stranger));
    // Nor where policy.toml itself was changed to name it.
    drop(volume);
    let forged = folder("/hr", &[&stranger]);
    std::fs::write(made.bench.meta("policy.toml"), forged).unwrap();
    let volume = made.open();
    assert!(matches!(volume.policy(), Err(VolumeError::PolicyForged)));
    assert!(!opens(&volume, &moved) && !opens(&volume, &secret));
    let asked = volume.providers().calls();
    assert!(asked.iter().all(|(uri, _calls)| *uri != stranger));
    // And nobody can say which keys a new file gets, or a run gives.
    let (done, new) = std::sync::mpsc::channel();
    volume.new_file(
        || Some(Vec::new()),
        move |new| done.send(new.is_ok()).unwrap(),
    );
    assert!(!new.recv().unwrap());
    let options = RenewalOptions {
        keys: vec![made.own],
        exchange: None,
        verify: true,
        anew: false,
        calls_per_second: 0,
    };
    assert!(matches!(
        volume.renewal(&options),
        Err(VolumeError::PolicyForged)
    ));
}

#[test]
fn keys_that_do_not_work_do_not_fit_or_tell_of_the_machine_are_refused() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let before = std::fs::read(made.bench.meta("volume.json")).unwrap();
    let missing: KeyUri = "file:///nowhere/key".parse().unwrap();
    let set = |text: &str| volume.set_policy(Some(&stored(text)));
    assert!(matches!(
        set(&folder("/a", &[&missing])),
        Err(VolumeError::FolderKeyFails(_))
    ));
    let unknown: KeyUri = "nokms:x".parse().unwrap();
    for failing in [&missing, &unknown] {
        // The one that fails is named, not the first.
        match set(&folder("/a", &[&made.hr, failing])) {
            Err(VolumeError::FolderKeyFails(error)) => assert_eq!(error.uri(), Some(failing)),
            other => panic!("{other:?}"),
        }
    }
    let many: Vec<_> = (20..20 + MAX_SLOTS).map(|nth| made.key(nth)).collect();
    let too_long = folder("/a", &many.iter().collect::<Vec<_>>());
    assert!(matches!(
        set(&too_long),
        Err(VolumeError::HeaderTooSmall(_))
    ));
    for uri in [
        "pkcs11:token=t;object=k?module-path=/tmp/evil.so",
        "pkcs11:token=t;object=k?pin-source=/etc/shadow",
        "awskms:///alias/k?region=eu-west-1&endpoint=https%3A%2F%2Fevil.example",
        "hashivault://k?address=https%3A%2F%2Fevil.example",
    ] {
        let uri: KeyUri = uri.parse().unwrap();
        let text = folder("/a", &[&uri]).into_bytes();
        let refused = StoredPolicy::parse(text).unwrap_err();
        let named = matches!(refused, VolumeError::FolderKey(..) | VolumeError::Key(_));
        assert!(named, "{uri}: {refused}");
    }
    let nobodys = folder("/a", &[]);
    assert!(StoredPolicy::parse(nobodys.into_bytes()).is_err());
    assert_eq!(
        std::fs::read(made.bench.meta("volume.json")).unwrap(),
        before
    );
}

#[test]
fn a_host_that_may_not_use_a_folders_key_can_change_the_rest_of_the_policy() {
    let made = Hr::new(KeyScope::File);
    made.hide(1);
    let volume = made.open();
    let rest = folder("/hr", &[&made.hr]) + "[[rule]]\npath = '/a'\naccess = 'deny'\n";
    volume.set_policy(Some(&stored(&rest))).unwrap();
    let more = rest + &folder("/b", &[&made.hr, &made.own]);
    assert!(matches!(
        volume.set_policy(Some(&stored(&more))),
        Err(VolumeError::FolderKeyFails(_))
    ));
}

#[test]
fn the_volumes_keys_are_nobodys_where_it_has_none() {
    let mut bench = Bench::with(|options| options.key_scope = KeyScope::Volume);
    bench.options.volume_keys = std::mem::take(&mut bench.options.keys);
    let bench = bench.made();
    let volume = bench.open().unwrap();
    let refused = volume.set_policy(Some(&stored("[[folder]]\npath = '/a'\nscope = 'file'\n")));
    assert!(matches!(refused, Err(VolumeError::FolderWithoutKey(path)) if path == "/a"));
}

#[test]
fn no_policy_is_set_while_a_run_is_under_way() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let run = volume.begin_run().unwrap();
    let other = stored(&folder("/hr", &[&made.own]));
    for policy in [Some(&other), None] {
        assert!(matches!(
            volume.set_policy(policy),
            Err(VolumeError::RunUnderWay)
        ));
    }
    drop(run);
    volume.set_policy(None).unwrap();
}

#[test]
fn a_key_that_no_folder_has_any_more_opens_its_files_until_a_run_is_over() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let secret = made_in(&volume, b"/hr");
    let second = made.key(2);
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&second]))))
        .unwrap();
    assert_eq!(volume.config().former_keys, std::slice::from_ref(&made.hr));
    assert_eq!(uris(&made_in(&volume, b"/hr")), names(&[&second]));
    drop(volume);
    let volume = made.open();
    assert!(opens(&volume, &secret));
    let after = renewed(&volume, &secret, at(b"/hr"));
    assert_eq!(uris(&after), names(&[&second]));
    assert!(opens(&volume, &after));
    // Named again it is nobody's former key.
    volume
        .set_policy(Some(&stored(&folder("/x", &[&made.hr, &second]))))
        .unwrap();
    assert_eq!(volume.config().former_keys, []);
    volume.set_policy(None).unwrap();
    assert_eq!(volume.config().former_keys.len(), 2);
    assert!(opens(&volume, &secret) && opens(&volume, &after));
    let run = volume.begin_run().unwrap();
    let own = renewed(&volume, &secret, at(b"/hr"));
    assert_eq!(uris(&own), names(&[&made.own]));
    assert_eq!(volume.finish_former_keys(&run).unwrap().len(), 2);
    assert_eq!(volume.finish_former_keys(&run).unwrap(), []);
    assert!(!opens(&volume, &secret) && !opens(&volume, &after));
    assert!(opens(&volume, &own));
}

#[test]
fn a_key_of_the_volume_is_never_former() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&made.own, &made.hr]))))
        .unwrap();
    volume.set_policy(None).unwrap();
    assert_eq!(volume.config().former_keys, [made.hr]);
}

#[test]
fn keys_of_too_many_earlier_policies_are_refused() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let policy = |from: usize, count: usize| {
        let folders = (from..from + count).map(|nth| folder(&format!("/{nth}"), &[&made.key(nth)]));
        stored(&folders.collect::<String>())
    };
    volume.set_policy(Some(&policy(10, 15))).unwrap();
    volume.set_policy(Some(&policy(30, 1))).unwrap();
    assert_eq!(volume.config().former_keys.len(), 16);
    let before = std::fs::read(made.bench.meta("volume.json")).unwrap();
    for next in [None, Some(&policy(40, 1))] {
        assert!(matches!(
            volume.set_policy(next),
            Err(VolumeError::TooManyFormerKeys)
        ));
    }
    assert_eq!(
        std::fs::read(made.bench.meta("volume.json")).unwrap(),
        before
    );
}

#[test]
fn a_run_leaves_a_folders_files_under_its_keys_whatever_becomes_of_the_volumes() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let (secret, free) = (made_in(&volume, b"/hr"), made_in(&volume, b""));
    let due =
        |header: &FileHeader, standing| volume.is_due(header, standing, &renewal(&volume)).unwrap();
    assert!(!due(&secret, at(b"/hr/x")) && !due(&free, at(b"")));
    let (run, second) = (volume.begin_run().unwrap(), made.key(2));
    let change = KeyChange {
        add: vec![second.clone()],
        remove: vec![made.own.clone()],
    };
    volume.change_keys(&run, &change).unwrap();
    assert!(!due(&secret, at(b"/hr")), "it would lose its keys");
    assert_eq!(uris(&renewed(&volume, &free, at(b"/b"))), names(&[&second]));
    // A new version of its own key is for it, and for no other.
    FileProvider::open(&made.hr).unwrap().rotate().unwrap();
    let after = renewed(&volume, &secret, at(b"/hr"));
    assert_eq!(uris(&after), names(&[&made.hr]));
    assert_eq!(after.epochs[0].slots[0].key_version, "2");
}

#[test]
fn a_file_that_was_moved_away_keeps_a_folders_keys_and_one_that_came_gets_them() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let (secret, free) = (made_in(&volume, b"/hr"), made_in(&volume, b""));
    let is_due = |header, standing| volume.is_due(header, standing, &renewal(&volume)).unwrap();
    for elsewhere in [&b""[..], b"/public", b"/hrx"] {
        assert!(
            !is_due(&secret, at(elsewhere)),
            "a run would take it from its keys"
        );
    }
    assert_eq!(
        uris(&renewed(&volume, &free, at(b"/hr"))),
        names(&[&made.hr])
    );
    let new = volume
        .new_file_key(&secret, at(b"/public"), &renewal(&volume))
        .unwrap();
    assert_eq!(new.epoch.slots[0].key_uri, made.hr);
    // With a second name, or none that is known, no place decides.
    for folder in [Some(&b"/hr"[..]), None] {
        let standing = Standing {
            folder,
            has_more_names: true,
        };
        assert!(!is_due(&secret, standing) && !is_due(&free, standing));
    }
    assert!(!is_due(&free, Standing::default()));
}

/// A slot that whoever writes the ciphertext made up.
fn planted(uri: &KeyUri) -> KeySlot {
    KeySlot {
        key_uri: uri.clone(),
        key_version: "1".to_owned(),
        wrapped_dek: vec![7; 72],
    }
}

#[test]
fn slots_that_a_stranger_adds_take_no_file_from_a_folders_key() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let made = Hr::new(scope);
        let volume = made.open();
        let secret = made_in(&volume, b"/hr");
        let by_volume: KeyUri = "volume:x".parse().unwrap();
        for added in [&made.own, &by_volume, &made.key(7)] {
            let mut altered = secret.clone();
            altered.epochs[0].slots.insert(0, planted(added));
            for elsewhere in [&b""[..], b"/public", b"/hr"] {
                let standing = Standing {
                    folder: Some(elsewhere),
                    has_more_names: false,
                };
                let after = renewed(&volume, &altered, standing);
                assert_eq!(uris(&after), names(&[&made.hr]), "{added}");
                assert!(opens(&volume, &after));
                let new = volume
                    .new_file_key(&altered, standing, &renewal(&volume))
                    .unwrap();
                assert_eq!(new.epoch.slots.len(), 1);
                assert_eq!(new.epoch.slots[0].key_uri, made.hr);
            }
        }
        // Without any slot that opens no run has the data key, though it may still be in memory.
        let mut emptied = secret.clone();
        emptied.epochs[0].slots = vec![planted(&made.own)];
        assert!(volume.cached_keys(&emptied).is_some());
        FileProvider::open(&made.own).unwrap().rotate().unwrap();
        for elsewhere in [&b""[..], b"/hr"] {
            let standing = Standing {
                folder: Some(elsewhere),
                has_more_names: false,
            };
            let refused = volume.renew(&emptied, standing, &renewal(&volume));
            assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
            let refused = volume.new_file_key(&emptied, standing, &renewal(&volume));
            assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
        }
    }
}

/// What a stranger can do where files from outside are allowed: take the volume's tag off, and add a slot.
#[test]
fn a_folders_file_without_the_volumes_tag_is_wrapped_for_no_other_key() {
    let bench = Bench::with(|options| {
        options.key_scope = KeyScope::File;
        options.foreign_files = ForeignFiles::Allow;
    })
    .made();
    let (own, hr) = (bench.options.keys[0].clone(), make_key(&bench.key_path(1)));
    let volume = bench.open().unwrap();
    let text = stored(&folder("/hr", &[&hr]));
    volume.set_policy(Some(&text)).unwrap();
    let mut foreign = made_in(&volume, b"/hr");
    foreign.membership_tag = [0; 32];
    let new = volume
        .new_file_key(&foreign, at(b"/public"), &renewal(&volume))
        .unwrap();
    assert_eq!(new.epoch.slots[0].key_uri, hr);
    foreign.epochs[0].slots.push(planted(&own));
    FileProvider::open(&own).unwrap().rotate().unwrap();
    let run = renewal(&volume);
    let several = |done: Result<(), VolumeError>| {
        assert!(
            matches!(done, Err(VolumeError::KeysOfSeveralFolders(_))),
            "{done:?}"
        );
    };
    several(volume.renew(&foreign, at(b"/public"), &run).map(drop));
    several(volume.is_due(&foreign, at(b"/public"), &run).map(drop));
    several(volume.new_file_key(&foreign, at(b""), &run).map(drop));
    // Nor is a slot that gives nothing made from another where the folder's own keys are more than one.
    let text = stored(&folder("/hr", &[&hr, &own]));
    volume.set_policy(Some(&text)).unwrap();
    let run = renewal(&volume);
    let refused = volume.renew(&foreign, at(b"/hr"), &run);
    assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
    let refused = volume.new_file_key(&foreign, at(b"/hr"), &run);
    assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
}

#[test]
fn no_run_begins_by_a_policy_that_may_be_old() {
    let made = Hr::new(KeyScope::File);
    let options = UnlockOptions {
        sharing: Sharing::Shared,
        ..UnlockOptions::default()
    };
    let volume = open(&made.bench.path(), &options, Arc::new(providers())).unwrap();
    drop(volume.begin_run().unwrap());
    let (there, away) = (made.bench.meta("volume.json"), made.bench.meta("away"));
    std::fs::rename(&there, &away).unwrap();
    assert!(matches!(volume.begin_run(), Err(VolumeError::Io { .. })));
    std::fs::write(&there, b"{}").unwrap();
    assert!(volume.begin_run().is_err());
    std::fs::rename(&away, &there).unwrap();
    drop(volume.begin_run().unwrap());
}

/// A key of a service that wraps anew whatever any of its keys has wrapped.
#[derive(Debug)]
struct Lax {
    key: Double,
    service: Arc<std::sync::OnceLock<Arc<Providers>>>,
}

impl Lax {
    const URI: &str = "lax:own";
    const OTHER: &str = "double:hr";
}

impl KeyProvider for Lax {
    fn uri(&self) -> &KeyUri {
        self.key.uri()
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let made = self.key.wrap(dek, context)?;
        Ok(WrappedDek {
            key_version: "2".to_owned(),
            ..made
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let first = WrappedDek {
            key_version: "1".to_owned(),
            bytes: wrapped.bytes.clone(),
        };
        self.key.unwrap(&first, context)
    }

    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        let other = self
            .service
            .get()
            .unwrap()
            .open(&Self::OTHER.parse().unwrap())?;
        let dek = other.unwrap(wrapped, context);
        self.wrap(
            &dek.or_else(|_error| self.unwrap(wrapped, context))?,
            context,
        )
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let health = self.key.probe()?;
        Ok(KeyHealth {
            key_version: "2".to_owned(),
            ..health
        })
    }

    fn describe(&self) -> String {
        "a lax double".to_owned()
    }

    fn is_local(&self) -> bool {
        false
    }
}

#[test]
fn what_a_folders_key_wrapped_is_not_wrapped_anew_under_the_name_of_another() {
    let service = Arc::new(std::sync::OnceLock::new());
    let all = Arc::new(providers());
    all.put(Box::new(Lax {
        key: Double::new(Lax::URI),
        service: Arc::clone(&service),
    }));
    all.put(Box::new(Double::new(Lax::OTHER)));
    service.set(Arc::clone(&all)).unwrap();
    let mut bench = Bench::with(|options| options.key_scope = KeyScope::File);
    bench.options.keys = vec![Lax::URI.parse().unwrap()];
    create(&bench.path(), &bench.options, &all).unwrap();
    let volume = open(&bench.path(), &UnlockOptions::default(), all).unwrap();
    let (own, hr): (KeyUri, KeyUri) = (Lax::URI.parse().unwrap(), Lax::OTHER.parse().unwrap());
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&hr]))))
        .unwrap();
    let mut renamed = made_in(&volume, b"/hr");
    assert_eq!(uris(&renamed), names(&[&hr]));
    renamed.epochs[0].slots[0].key_uri = own;
    volume.files.keyring.clear();
    let refused = volume.renew(&renamed, at(b"/public"), &renewal(&volume));
    assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
    let refused = volume.new_file_key(&renamed, at(b"/public"), &renewal(&volume));
    assert!(matches!(refused, Err(VolumeError::Key(_))), "{refused:?}");
}

#[test]
fn a_slot_that_a_stranger_removes_takes_no_file_from_a_folders_keys() {
    let made = Hr::new(KeyScope::File);
    let (volume, second) = (made.open(), made.key(2));
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&made.hr, &second]))))
        .unwrap();
    let secret = made_in(&volume, b"/hr");
    for left in 0..2 {
        let mut altered = secret.clone();
        altered.epochs[0].slots.remove(1 - left);
        let after = renewed(&volume, &altered, at(b"/public"));
        assert_eq!(uris(&after), names(&[&made.hr, &second]));
    }
}

#[test]
fn no_folder_gets_a_file_by_a_slot_of_its_key_that_a_stranger_adds() {
    let made = Hr::new(KeyScope::File);
    let (volume, legal) = (made.open(), made.key(2));
    let text = folder("/hr", &[&made.hr]) + &folder("/legal", &[&legal]);
    volume.set_policy(Some(&stored(&text))).unwrap();
    let mut altered = made_in(&volume, b"/hr");
    altered.epochs[0].slots.push(planted(&legal));
    for folder in [&b"/legal"[..], b"/hr", b""] {
        let standing = Standing {
            folder: Some(folder),
            has_more_names: false,
        };
        let refused = volume.renew(&altered, standing, &renewal(&volume));
        assert!(
            matches!(refused, Err(VolumeError::KeysOfSeveralFolders(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_file_of_a_former_key_follows_the_key_in_its_place_and_not_where_it_was_moved() {
    let made = Hr::new(KeyScope::File);
    let (volume, next) = (made.open(), made.key(2));
    let secret = made_in(&volume, b"/hr");
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&next]))))
        .unwrap();
    let plain = renewal(&volume);
    let of_former = |done: Result<_, VolumeError>| match done {
        Err(VolumeError::KeyOfFormerFolder(key)) => assert_eq!(key, made.hr),
        other => panic!("{:?}", other.map(drop)),
    };
    for elsewhere in [at(b""), at(b"/public"), Standing::default()] {
        of_former(volume.renew(&secret, elsewhere, &plain).map(drop));
        of_former(volume.is_due(&secret, elsewhere, &plain).map(drop));
        of_former(volume.new_file_key(&secret, elsewhere, &plain).map(drop));
    }
    assert_eq!(
        uris(&renewed(&volume, &secret, at(b"/hr/x"))),
        names(&[&next])
    );
    // It is said which key comes in the place of the former one.
    let moved = |exchange, standing| {
        let epochs = volume.renew(&secret, standing, &exchanging(&volume, Some(exchange)));
        let epochs = epochs.unwrap().expect("something is due");
        uris(&FileHeader {
            epochs,
            ..secret.clone()
        })
    };
    for elsewhere in [at(b""), at(b"/public"), at(b"/hr"), Standing::default()] {
        assert_eq!(moved((&made.hr, &next), elsewhere), names(&[&next]));
    }
    assert_eq!(
        moved((&made.hr, &made.own), at(b"/public")),
        names(&[&made.own])
    );
    let nobodys = exchanging(&volume, Some((&made.hr, &made.key(3))));
    of_former(volume.renew(&secret, at(b"/public"), &nobodys).map(drop));
}

#[test]
fn a_new_file_whose_folder_is_not_known_gets_no_keys_where_a_folder_has_some() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let new = |volume: &Volume| {
        let (done, new) = std::sync::mpsc::channel();
        volume.new_file(|| None, move |made| done.send(made).unwrap());
        new.recv().unwrap()
    };
    assert!(matches!(new(&volume), Err(VolumeError::FolderUnknown)));
    volume.set_policy(None).unwrap();
    assert_eq!(
        new(&volume).unwrap().material.epoch.slots[0].key_uri,
        made.own
    );
}

#[test]
fn a_policy_that_comes_while_a_new_files_folder_is_looked_for_counts() {
    let made = Hr::new(KeyScope::File);
    let (volume, next) = (Arc::new(made.open()), made.key(2));
    let (changing, text) = (Arc::clone(&volume), folder("/legal", &[&next]));
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let look = move || {
        if looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            changing.set_policy(Some(&stored(&text))).unwrap();
        }
        Some(b"/legal".to_vec())
    };
    let (done, new) = std::sync::mpsc::channel();
    volume.new_file(look, move |made| done.send(made).unwrap());
    let new = new.recv().unwrap().unwrap();
    assert_eq!(new.material.epoch.slots[0].key_uri, next);
}

#[test]
fn keys_of_the_volume_that_a_folder_had_stay_known_where_files_have_the_volume_key() {
    let made = Hr::new(KeyScope::Volume);
    let volume = made.open();
    let of_volume = |path: &str| folder(path, &[]).replace("keys = []", "scope = \"file\"");
    volume.set_policy(Some(&stored(&of_volume("/x")))).unwrap();
    assert_eq!(volume.config().former_keys, std::slice::from_ref(&made.hr));
    let file = made_in(&volume, b"/x");
    assert_eq!(uris(&file), names(&[&made.own]));
    // Another folder has them as well, without naming them; then none has.
    volume.set_policy(Some(&stored(&of_volume("/y")))).unwrap();
    assert!(!volume.config().former_keys.contains(&made.own));
    volume.set_policy(None).unwrap();
    assert!(volume.config().former_keys.contains(&made.own));
    assert!(!volume.keys_are_local() || opens(&volume, &file));
    let after = renewed(&volume, &file, at(b"/x"));
    assert!(uris(&after)[0].starts_with("volume:"), "{:?}", uris(&after));
}

#[test]
fn files_go_between_keys_of_providers_and_the_volume_key() {
    for scope in [KeyScope::File, KeyScope::Volume] {
        let made = Hr::new(scope);
        let volume = made.open();
        let secret = made_in(&volume, b"/hr");
        let to_volume = "[[folder]]\npath = '/hr'\nscope = 'volume'\n";
        volume.set_policy(Some(&stored(to_volume))).unwrap();
        let bulk = renewed(&volume, &secret, at(b"/hr"));
        assert!(uris(&bulk).iter().all(|uri| uri.starts_with("volume:")));
        assert!(opens(&volume, &bulk));
        let anew = RenewalOptions {
            keys: volume.config().keys.clone(),
            exchange: None,
            verify: true,
            anew: true,
            calls_per_second: 0,
        };
        let anew = volume.renewal(&anew).unwrap();
        assert!(
            !volume.is_due(&bulk, at(b"/hr"), &anew).unwrap(),
            "it has no versions"
        );
        let new = volume
            .new_file_key(&secret, at(b"/hr"), &renewal(&volume))
            .unwrap();
        assert!(new.epoch.slots[0].key_uri.as_str().starts_with("volume:"));
        // A slot of the volume key that was altered is no reason to drop one that opens.
        let mut altered = bulk.clone();
        altered.epochs[0].slots[0].wrapped_dek[5] ^= 1;
        altered.epochs[0]
            .slots
            .push(secret.epochs[0].slots[0].clone());
        let mended = renewed(&volume, &altered, at(b"/hr"));
        assert!(opens(&volume, &mended));
        altered.epochs[0].slots.truncate(1);
        assert!(!opens(&volume, &altered));
        volume
            .set_policy(Some(&stored(&folder("/hr", &[&made.hr]))))
            .unwrap();
        assert!(
            volume
                .renew(&altered, at(b"/hr"), &renewal(&volume))
                .is_err()
        );
        let back = renewed(&volume, &bulk, at(b"/hr/x"));
        assert_eq!(uris(&back), names(&[&made.hr]));
        assert!(opens(&volume, &back));
    }
}

#[test]
fn a_key_is_exchanged_in_the_policy_and_files_follow() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let (secret, next) = (made_in(&volume, b"/hr"), made.key(2));
    let run = volume.begin_run().unwrap();
    assert!(!volume.exchange_folder_key(&run, &made.own, &next).unwrap());
    assert!(volume.exchange_folder_key(&run, &made.hr, &next).unwrap());
    assert!(!volume.exchange_folder_key(&run, &made.hr, &next).unwrap());
    assert_eq!(volume.config().former_keys, std::slice::from_ref(&made.hr));
    assert_eq!(volume.folder_keys().len(), 2);
    assert_eq!(uris(&made_in(&volume, b"/hr")), names(&[&next]));
    assert_eq!(
        uris(&renewed(&volume, &secret, at(b"/hr"))),
        names(&[&next])
    );
    drop(run);
    // What cannot be said by exchanging a word is left to people.
    volume
        .set_policy(Some(&stored(&folder("/hr", &[&made.hr, &next]))))
        .unwrap();
    let run = volume.begin_run().unwrap();
    let refused = volume.exchange_folder_key(&run, &made.hr, &next);
    assert!(matches!(
        refused,
        Err(VolumeError::Policy(PolicyError::Exchange))
    ));
    let missing: KeyUri = "file:///nowhere/key".parse().unwrap();
    assert!(
        volume
            .exchange_folder_key(&run, &made.hr, &missing)
            .is_err()
    );
    assert_eq!(uris(&made_in(&volume, b"/hr")), names(&[&made.hr, &next]));
}

#[test]
fn another_mount_of_a_shared_volume_follows_the_keys_of_folders() {
    let made = Hr::new(KeyScope::File);
    let (one, other) = (
        made.bench.open_shared().unwrap(),
        made.bench.open_shared().unwrap(),
    );
    assert_eq!(uris(&made_in(&other, b"/hr")), names(&[&made.hr]));
    let next = made.key(2);
    one.set_policy(Some(&stored(&folder("/hr", &[&next]))))
        .unwrap();
    let late = made_in(&one, b"/hr");
    assert!(opens(&other, &late), "it does not know the key yet");
    assert_eq!(uris(&made_in(&other, b"/hr")), names(&[&next]));
    one.set_policy(None).unwrap();
    assert_eq!(uris(&made_in(&other, b"/hr")), names(&[&made.own]));
    assert!(opens(&other, &late));
}

#[test]
fn pools_are_few_however_many_folders_there_are() {
    let made = Hr::new(KeyScope::File);
    let volume = made.open();
    let folders = (10..22).map(|nth| folder(&format!("/{nth}"), &[&made.key(nth)]));
    volume
        .set_policy(Some(&stored(&folders.collect::<String>())))
        .unwrap();
    for nth in (10..22).chain(10..12) {
        let made_there = made_in(&volume, format!("/{nth}").as_bytes());
        assert!(uris(&made_there)[0].ends_with(&format!("key-{nth}")));
        assert!(volume.files.pool_count() <= 8);
    }
    // None is left of keys that no folder has.
    volume.set_policy(None).unwrap();
    made_in(&volume, b"/10");
    assert_eq!(volume.files.pool_count(), 1);
}

#[test]
fn a_volume_says_without_a_key_which_folders_have_which() {
    let made = Hr::new(KeyScope::File);
    let (_root, seen) = seen_keys(&made.bench.path()).unwrap();
    assert_eq!(
        (seen.folders.len(), seen.folders[0].path.as_str()),
        (1, "/hr")
    );
    made.open().set_policy(None).unwrap();
    let (_root, seen) = seen_keys(&made.bench.path()).unwrap();
    assert_eq!(
        (seen.folders.len(), seen.former_keys),
        (0, vec![made.hr.clone()])
    );
    // A policy that was put there is not shown for the volume's.
    std::fs::write(made.bench.meta("policy.toml"), folder("/hr", &[&made.hr])).unwrap();
    assert_eq!(seen_keys(&made.bench.path()).unwrap().1.folders.len(), 0);
}

#[test]
fn a_slot_of_a_stranger_does_not_make_a_thread_of_requests_wait() {
    let made = Hr::new(KeyScope::Volume);
    let volume = made.open();
    let secret = made_in(&volume, b"/hr");
    assert!(volume.keys_are_local());
    let far = KeySlot {
        key_uri: "kmip://far.example:5696/k".parse().unwrap(),
        ..secret.epochs[0].slots[0].clone()
    };
    let mut with_far = secret;
    with_far.epochs[0].slots.insert(0, far);
    assert!(
        opens(&volume, &with_far),
        "the stranger's key is passed over"
    );
}

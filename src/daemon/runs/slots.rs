//! The run over key slots.

use super::pass::{Pass, Place, Tally, moved_files, nameless_files, whole};
use super::{Reins, RunFailure, RunReport, SlotsRun};
use crate::audit::{Event, Field, Kind};
use crate::format::volume_config::{ForeignFiles, KeyScope};
use crate::fs::{FileSystem, MoveWatch};
use crate::keys::{FileProvider, file};
use crate::units::KeyUri;
use crate::volume::{KeyChange, Renewal, RenewalOptions, Volume};

/// Files worked on at a time: where a provider is far away, each waits most of the time.
const WORKERS: usize = 16;
/// The same where all keys are on this machine.
const LOCAL_WORKERS: usize = 2;
/// Passes over a shared volume. Other mounts' files come and move unseen, so a pass that changed something is followed by
/// another.
const SHARED_PASSES: usize = 5;

pub(super) fn carry_out(
    fs: &FileSystem,
    run: &SlotsRun,
    reins: &mut Reins<'_>,
) -> Result<RunReport, RunFailure> {
    let change = Change::of(fs.volume(), run);
    if run.dry_run {
        dry_run(fs, run, &change, reins)
    } else {
        real_run(fs, run, &change, reins)
    }
}

/// What becomes of keys.
struct Change {
    /// Of the volume's.
    volume: KeyChange,
    /// Of folders': one that gives its place to another.
    folders: Option<(KeyUri, KeyUri)>,
}

impl Change {
    fn of(volume: &Volume, run: &SlotsRun) -> Self {
        let given = KeyChange {
            add: run.add.clone(),
            remove: run.remove.clone(),
        };
        let (true, [from], [to]) = (run.everywhere, &*run.remove, &*run.add) else {
            return Self {
                volume: given,
                folders: None,
            };
        };
        let config = volume.config();
        let of_volume =
            config.keys.contains(from) || config.slots.iter().any(|slot| slot.key_uri == *from);
        let of_folders = volume.folder_keys().contains(from);
        Self {
            // A key of folders alone leaves the volume's as they are.
            volume: match of_folders && !of_volume {
                true => KeyChange::default(),
                false => given,
            },
            folders: of_folders.then(|| (from.clone(), to.clone())),
        }
    }
}

fn dry_run(
    fs: &FileSystem,
    run: &SlotsRun,
    change: &Change,
    reins: &mut Reins<'_>,
) -> Result<RunReport, RunFailure> {
    let volume = fs.volume();
    let keys = change.volume.applied_to(&volume.config())?;
    let renewal = volume.renewal(&RenewalOptions {
        exchange: change.folders.clone(),
        ..options(run, keys.clone())
    })?;
    let (tally, work) = (Tally::default(), |place: &Place| {
        fs.renew_slots(
            &place.dir,
            &place.cname,
            place.folder.as_deref(),
            &renewal,
            true,
        )
    });
    let pass = pass(fs, &tally, &work);
    let complete = !touches_files(volume) || pass.run(whole(volume), reins);
    let counts = tally.counts();
    Ok(RunReport {
        dry_run: true,
        complete: complete && counts.failed == 0,
        counts,
        volume_key: volume.is_own_due(&renewal),
        keys,
        silent: silent(&renewal),
        ..RunReport::default()
    })
}

fn real_run(
    fs: &FileSystem,
    run: &SlotsRun,
    change: &Change,
    reins: &mut Reins<'_>,
) -> Result<RunReport, RunFailure> {
    let volume = fs.volume();
    let sole = volume.begin_run()?;
    if run.rotate {
        rotate_key_files(volume)?;
    }
    // From before the keys change: what is made under the old ones from here on is noted.
    let watch = fs.watch_moves();
    if let Some((from, to)) = &change.folders
        && volume.exchange_folder_key(&sole, from, to)?
    {
        tracing::info!(%from, %to, "folders have another key");
        let rules = fs.policy_rules().unwrap_or(0);
        volume.note(|| Event::new(Kind::PolicyChanged).with(Field::Rules, rules));
    }
    volume.change_keys(&sole, &change.volume)?;
    let keys = volume.config().keys.clone();
    let renewal = volume.renewal(&RenewalOptions {
        exchange: change.folders.clone(),
        ..options(run, keys.clone())
    })?;
    let volume_key = volume.renew_own_slots(&sole, &renewal)?;
    if volume_key {
        volume.note(|| {
            Event::new(Kind::Rewrap)
                .with(Field::Purpose, "volume-key")
                .with(Field::Result, "granted")
        });
    }
    let tally = Tally::default();
    let work = |place: &Place| {
        let folder = place.folder.as_deref();
        let done = fs.renew_slots(&place.dir, &place.cname, folder, &renewal, false);
        place.tell(volume, Kind::Rewrap, &done);
        done
    };
    let pass = pass(fs, &tally, &work);
    // A key that goes may be the only one of a file that a policy of before gave it.
    let spared = change.volume.remove.is_empty() && !touches_files(volume);
    if !spared {
        nameless_files(fs, &tally, reins.stop, |file| {
            fs.renew_slots_of_nameless(file, &renewal)
        });
    }
    let seen_all = spared || all_files(&pass, &watch, run, reins);
    // Before anything is said to be done: a slot must not go while the headers that need it may come back.
    super::sync(volume)?;
    let mut leaving = volume.leaving_keys();
    leaving.retain(|uri| change.volume.remove.contains(uri));
    add_former(&mut leaving, &volume.config().former_keys, &keys);
    if !leaving.is_empty() {
        tally.fail_deleted(fs.deleted_and_open());
        tally.tell(reins.tell);
    }
    let counts = tally.counts();
    let complete = seen_all && counts.failed == 0;
    let mut removed = Vec::new();
    if complete {
        removed = volume.finish_removal(&sole, &change.volume.remove)?;
        add_former(&mut removed, &volume.finish_former_keys(&sole)?, &keys);
    }
    Ok(RunReport {
        dry_run: false,
        complete,
        counts,
        volume_key,
        keys,
        leaving: match complete {
            true => Vec::new(),
            false => leaving,
        },
        removed,
        silent: silent(&renewal),
    })
}

/// Adds keys that folders once had to those that go with the run. One that the volume has stays: it leaves files alone.
fn add_former(going: &mut Vec<KeyUri>, former: &[KeyUri], keys: &[KeyUri]) {
    for uri in former {
        if !keys.contains(uri) && !going.contains(uri) {
            going.push(uri.clone());
        }
    }
}

/// Every file, and then those that came or moved meanwhile, until none did.
fn all_files(
    pass: &Pass<'_>,
    watch: &MoveWatch<'_>,
    run: &SlotsRun,
    reins: &mut Reins<'_>,
) -> bool {
    let volume = pass.fs.volume();
    for _ in 0..SHARED_PASSES {
        let before = pass.tally.counts().changed;
        if !pass.run(whole(volume), reins) || !moved_files(pass, watch, reins) {
            return false;
        }
        let changed = pass.tally.counts().changed > before;
        if run.anew || !changed || !pass.fs.is_shared() {
            break;
        }
        pass.tally.begin_again();
    }
    true
}

fn pass<'a>(fs: &'a FileSystem, tally: &'a Tally, work: &'a super::pass::Work<'a>) -> Pass<'a> {
    let workers = match fs.volume().keys_are_local() {
        true => LOCAL_WORKERS,
        false => WORKERS,
    };
    Pass {
        fs,
        tally,
        workers,
        work,
    }
}

/// Whether any file may have slots of keys.
fn touches_files(volume: &Volume) -> bool {
    let config = volume.config();
    config.key_scope == KeyScope::File
        || config.foreign_files == ForeignFiles::Allow
        || volume.has_folder_keys()
        || !config.former_keys.is_empty()
}

fn options(run: &SlotsRun, keys: Vec<KeyUri>) -> RenewalOptions {
    RenewalOptions {
        keys,
        exchange: None,
        verify: !run.unverified,
        anew: run.anew,
        calls_per_second: run.calls_per_second,
    }
}

fn silent(renewal: &Renewal) -> Vec<String> {
    renewal.silent().iter().map(ToString::to_string).collect()
}

/// A new version for each key file of the volume and of its folders that this machine may use.
fn rotate_key_files(volume: &Volume) -> Result<(), RunFailure> {
    let mut uris = volume.config().keys.clone();
    uris.extend(volume.folder_keys());
    uris.sort();
    uris.dedup();
    for uri in &uris {
        if uri.scheme() == file::SCHEME && volume.providers().may_use(uri) {
            let version = FileProvider::open(uri)?.rotate()?;
            tracing::info!(key = %uri, version, "a key file has a new version");
        }
    }
    Ok(())
}

//! The run that gives files new data keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pass::{Entry, Pass, Place, Start, Tally, moved_files, nameless_files, whole};
use super::{FailureClass, ReencryptRun, Reins, RunFailure, RunReport};
use crate::audit::Kind;
use crate::fs::FileSystem;
use crate::volume::{DoneList, Renewal, RenewalOptions, Volume};

/// Files worked on at a time: most of the time each waits for the disk, which makes several durable at once.
const WORKERS: usize = 8;
/// What a backing store writes all or not at all.
const ATOMIC_BLOCK: u64 = 4096;

pub(super) fn carry_out(
    fs: &Arc<FileSystem>,
    run: &ReencryptRun,
    reins: &mut Reins<'_>,
) -> Result<RunReport, RunFailure> {
    refuse(fs, run)?;
    let volume = fs.volume();
    let starts = starts(fs, run)?;
    let renewal = volume.renewal(&options(run, volume))?;
    let tally = Tally::default();
    let complete = match run.dry_run {
        true => {
            let work = |place: &Place| {
                let folder = place.folder.as_deref();
                fs.reencrypt(
                    &place.dir,
                    &place.cname,
                    folder,
                    &renewal,
                    None,
                    &mut |_| true,
                )
            };
            pass(fs, &tally, &work).run(starts, reins)
        }
        false => real_run(fs, run, (starts, &renewal), &tally, reins)?,
    };
    let counts = tally.counts();
    Ok(RunReport {
        dry_run: run.dry_run,
        complete: complete && counts.failed == 0,
        counts,
        keys: volume.config().keys.clone(),
        leaving: volume.leaving_keys(),
        ..RunReport::default()
    })
}

fn refuse(fs: &FileSystem, run: &ReencryptRun) -> Result<(), RunFailure> {
    if fs.is_shared() && !run.dry_run {
        let why = "the volume is mounted with --shared: other mounts would not learn of new data keys, and could not read \
                   what is sealed with them";
        return Err(RunFailure::new(FailureClass::Usage, why));
    }
    let block = fs.volume().layout().block_len();
    if block > ATOMIC_BLOCK && !run.allow_tearing && !run.dry_run {
        let why = format!(
            "its blocks have {block} bytes: a power cut while one is written anew may lose it (--allow-tearing takes the risk)"
        );
        return Err(RunFailure::new(FailureClass::Usage, why));
    }
    Ok(())
}

fn real_run(
    fs: &Arc<FileSystem>,
    run: &ReencryptRun,
    (starts, renewal): (Vec<Start>, &Renewal),
    tally: &Tally,
    reins: &mut Reins<'_>,
) -> Result<bool, RunFailure> {
    let volume = fs.volume();
    let sole = volume.begin_run()?;
    let is_whole = run.paths.is_empty();
    let kept = match run.resume {
        true => volume.kept_done_list(&sole)?,
        false => None,
    };
    let done = match kept {
        Some(kept) => kept,
        None if run.resume => {
            let why = "there is no run to go on with: it came to its end, or none was begun";
            return Err(RunFailure::new(FailureClass::Usage, why));
        }
        None => volume.new_done_list(&sole, is_whole)?,
    };
    let watch = fs.watch_moves();
    let stop = reins.stop;
    let work = |place: &Place| one_file(fs, place, (renewal, &done), (tally, stop));
    let pass = pass(fs, tally, &work);
    if is_whole {
        nameless_files(fs, tally, stop, |file| {
            let mut goes_on = |step| written(tally, stop, step);
            fs.reencrypt_nameless(file, renewal, &done, &mut goes_on)
        });
    }
    let seen_all = pass.run(starts, reins) && (!is_whole || moved_files(&pass, &watch, reins));
    // Files of one page were written and not synced yet.
    super::sync(volume)?;
    if seen_all && is_whole && tally.counts().failed == 0 {
        volume.drop_done_list(&sole)?;
    }
    Ok(seen_all)
}

fn one_file(
    fs: &Arc<FileSystem>,
    place: &Place,
    (renewal, done): (&Renewal, &DoneList),
    (tally, stop): (&Tally, &AtomicBool),
) -> Result<crate::fs::Renewed, crate::fs::FsError> {
    let mut goes_on = |step| written(tally, stop, step);
    let (dir, cname, folder) = (&place.dir, &place.cname, place.folder.as_deref());
    let done = fs.reencrypt(dir, cname, folder, renewal, Some(done), &mut goes_on);
    place.tell(fs.volume(), Kind::Reencrypt, &done);
    done
}

/// A part of a file was written anew; says whether to go on.
fn written(tally: &Tally, stop: &AtomicBool, step: crate::fs::Step) -> bool {
    tally.wrote(step.bytes);
    !stop.load(Ordering::Acquire)
}

/// The folders and files that were named, or all.
fn starts(fs: &FileSystem, run: &ReencryptRun) -> Result<Vec<Start>, RunFailure> {
    if run.paths.is_empty() {
        return Ok(whole(fs.volume()));
    }
    let start = |path: &String| {
        let mut names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        let located = fs.locate(path.as_bytes());
        match located.map(|found| found.zip(names.pop())) {
            Ok(Some(((dir, cname), name))) => {
                let folder: Vec<u8> = names
                    .iter()
                    .flat_map(|name| [b"/", name.as_bytes()].concat())
                    .collect();
                let entry = Entry {
                    folder: Some(folder),
                    name: name.as_bytes().to_vec(),
                };
                Ok(Start::Entry(dir, cname, entry))
            }
            Ok(None) => Ok(Start::Root(Arc::clone(fs.volume().root()))),
            Err(error) => {
                let why = format!("/{}: {error}", path.trim_matches('/'));
                Err(RunFailure::new(FailureClass::Usage, why))
            }
        }
    };
    run.paths.iter().map(start).collect()
}

fn pass<'a>(fs: &'a FileSystem, tally: &'a Tally, work: &'a super::pass::Work<'a>) -> Pass<'a> {
    Pass {
        fs,
        tally,
        workers: WORKERS,
        work,
    }
}

fn options(run: &ReencryptRun, volume: &Volume) -> RenewalOptions {
    RenewalOptions {
        keys: volume.config().keys.clone(),
        exchange: None,
        verify: true,
        anew: false,
        calls_per_second: run.calls_per_second,
    }
}

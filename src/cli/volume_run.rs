//! A run over all files of a volume, by the process of its mount or by this one.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::exit::Exit;
use super::failure::{Failure, chain};
use super::output::{self, counted, harmless};
use super::providers::GivenKeys;
use super::walk::{WalkArgs, WalkOptions};
use super::{errors, progress, providers};
use crate::crypto::MemoryPolicy;
use crate::daemon::control::{Client, ControlError};
use crate::daemon::mounts::{self, Mount};
use crate::daemon::runs::{self, Event, Failed, FailureClass, RunFailure, RunReport, RunRequest};
use crate::daemon::status::MountStatus;
use crate::keys::{Confirm, passphrase};
use crate::volume::{self, Sharing, UnlockOptions, Volume, VolumeError};

/// Options of every run over all files.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct RunArgs {
    /// Change nothing; count what would change
    #[arg(long)]
    pub dry_run: bool,

    /// Print a JSON object in place of text
    #[arg(long)]
    pub json: bool,

    /// How it goes through the volume.
    #[command(flatten)]
    pub walk: WalkArgs,
}

/// How a run is shown, and the volume opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Report as JSON.
    pub json: bool,
    /// How it is gone through, and opened.
    pub walk: WalkOptions,
}

impl RunOptions {
    /// The options that these arguments make in a process whose stderr is, or is not, a terminal.
    pub(super) fn of(args: RunArgs, stderr_is_terminal: bool) -> Self {
        Self {
            json: args.json,
            walk: WalkOptions::of(args.walk, stderr_is_terminal),
        }
    }
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    #[serde(flatten)]
    pub(super) report: RunReport,
    /// What was left as it was.
    pub(super) failures: Vec<Failed>,
}

/// Does what is asked for to the volume at `path`, a ciphertext folder or a mount point.
///
/// # Errors
/// It was not done, or not all. A file that failed is no error here: [`finish`] makes one of it.
pub(super) fn carry_out(
    what: &str,
    path: &Path,
    request: &RunRequest,
    given: &GivenKeys,
    options: &RunOptions,
) -> Result<Outcome, Failure> {
    let bar = progress::spinner(options.walk.progress, "{spinner} {msg}, {elapsed}");
    let mut failures = Vec::new();
    let mut tell = |event| show(&bar, &mut failures, event);
    let done = match serving(path) {
        Some(mount) => by_mount(what, &mount, request, &mut tell),
        None => by_this_process(what, path, request, given, options, &mut tell),
    };
    bar.finish_and_clear();
    Ok(Outcome {
        report: done?,
        failures,
    })
}

fn show(bar: &ProgressBar, failures: &mut Vec<Failed>, event: Event) {
    match event {
        Event::Failure(failed) => failures.push(failed),
        Event::Progress(counts) => {
            let mut text = format!(
                "{}, {} changed",
                counted(counts.files, "file"),
                counts.changed
            );
            if counts.failed > 0 {
                text.push_str(&format!(", {} failed", counts.failed));
            }
            bar.set_message(text);
            bar.tick();
        }
    }
}

/// The mount that serves the volume at `path`, if there is one on this machine.
pub(super) fn serving(path: &Path) -> Option<Mount> {
    let all = mounts::read().ok()?;
    if let Some(mount) = mounts::find(&all, path).filter(|mount| mount.is_ours()) {
        return Some(mount.clone());
    }
    let folder = std::fs::canonicalize(path).ok()?;
    let ours = || all.iter().rev().filter(|mount| mount.is_ours());
    let by_source = ours().find(|mount| mount.source == folder);
    // Asking takes its time. It is due where the source is a name that somebody chose.
    let named = || {
        let mut named = ours().filter(|mount| !mount.source.is_dir());
        named.find(|mount| cipherdir_of(mount) == folder)
    };
    by_source.or_else(named).cloned()
}

/// The ciphertext folder that `path` is, or that is mounted there.
pub(super) fn ciphertext_of(path: &Path) -> PathBuf {
    let mounts = mounts::read().unwrap_or_default();
    let mount = mounts::find(&mounts, path).filter(|mount| mount.is_ours());
    mount.map_or_else(|| path.to_owned(), cipherdir_of)
}

/// The ciphertext folder of a mount, as its process says; by the mount's source where that does not answer.
fn cipherdir_of(mount: &Mount) -> PathBuf {
    let status = Client::connect(mount).and_then(Client::status);
    let told = status
        .ok()
        .and_then(|status| serde_json::from_value::<MountStatus>(status).ok());
    told.map_or_else(|| mount.source.clone(), |status| status.cipherdir.into())
}

fn by_mount(
    what: &str,
    mount: &Mount,
    request: &RunRequest,
    tell: &mut dyn FnMut(Event),
) -> Result<RunReport, Failure> {
    let asked = Client::connect(mount).and_then(|client| client.run(request, tell));
    let mountpoint = mount.mountpoint.display();
    match asked {
        Ok(done) => done.map_err(|failure| failed(what, &failure)),
        Err(error @ ControlError::Denied) => Err(Failure::new(Exit::NoAnswer, what, error)
            .advise("run it as root, or as the user who mounted")),
        Err(ControlError::Refused(why)) => Err(Failure::new(Exit::NoAnswer, what, why).advise(
            format!("`envelopefs status {mountpoint}` shows which version serves it"),
        )),
        Err(error) => Err(
            Failure::new(Exit::NoAnswer, what, format!("{mountpoint}: {error}"))
                .advise("what was done so far is kept: run it again to go on"),
        ),
    }
}

fn by_this_process(
    what: &str,
    path: &Path,
    request: &RunRequest,
    given: &GivenKeys,
    options: &RunOptions,
    tell: &mut dyn FnMut(Event),
) -> Result<RunReport, Failure> {
    providers::lock_memory(what, MemoryPolicy::BestEffort)?;
    let opened = open(path, request, given, options);
    let (volume, shared) = opened.map_err(|error| errors::volume(what, &error))?;
    let mut tell = |event| {
        tell(event);
        true
    };
    let done = runs::offline(volume, shared, request, &mut tell);
    done.map_err(|failure| failed(what, &failure))
}

/// The volume, and whether others may have it open. Whoever only counts writes nothing, not even that he is there.
fn open(
    path: &Path,
    request: &RunRequest,
    given: &GivenKeys,
    options: &RunOptions,
) -> Result<(Volume, bool), VolumeError> {
    let open = |sharing| {
        let unlock = UnlockOptions {
            sharing,
            read_only: request.is_dry(),
            ..UnlockOptions::default()
        };
        // Only a passphrase that is new is asked for twice.
        let is_new = given
            .uris
            .iter()
            .any(|uri| uri.scheme() == passphrase::SCHEME);
        let confirm = if is_new { Confirm::Yes } else { Confirm::No };
        let providers = given.providers(&options.walk.passphrase, confirm);
        volume::open(path, &unlock, providers)
    };
    let shared = || open(Sharing::Shared).map(|volume| (volume, true));
    if request.is_dry() {
        return shared();
    }
    match open(Sharing::Exclusive) {
        // Mounts on other machines, or of other users, may share it.
        Err(VolumeError::InUse(path)) if request.may_share() => {
            shared().map_err(|_also| VolumeError::InUse(path))
        }
        opened => opened.map(|volume| (volume, false)),
    }
}

fn failed(what: &str, failure: &RunFailure) -> Failure {
    let (exit, advice) = match failure.class {
        FailureClass::Busy => (Exit::Busy, "wait until it is done, or stop it"),
        FailureClass::KeyDenied => (
            Exit::KeyDenied,
            "see that the key is there and enabled, and that the process that has the volume open may use it: a mount has its own environment",
        ),
        FailureClass::KeyUnavailable => (
            Exit::KeyUnavailable,
            "see that the key provider is reachable",
        ),
        // These say what is wrong by themselves.
        FailureClass::Usage => return Failure::new(Exit::Usage, what, chain(failure)),
        FailureClass::Other => return Failure::new(Exit::Failure, what, chain(failure)),
    };
    Failure::new(exit, what, chain(failure)).advise(advice)
}

/// Prints what a run came to: as JSON, or what was left as it was and then `text`.
///
/// # Errors
/// [`Exit::Incomplete`] where it is not complete.
pub(super) fn finish(
    what: &str,
    options: &RunOptions,
    outcome: &Outcome,
    text: impl FnOnce(&RunReport) -> String,
) -> Result<(), Failure> {
    if options.json {
        output::print_json(outcome)?;
    } else {
        let failure = |failed: &Failed| format!("failed  {}  {}\n", failed.path, failed.why);
        let line = |failed| harmless_line(&failure(failed));
        let mut shown: String = outcome.failures.iter().map(line).collect();
        for silent in &outcome.report.silent {
            shown.push_str(&harmless_line(&format!("no answer  {silent}\n")));
        }
        shown.push_str(&text(&outcome.report));
        output::print(&shown)?;
    }
    let report = &outcome.report;
    if report.complete || report.dry_run && report.counts.failed == 0 {
        return Ok(());
    }
    let why = match report.counts.failed {
        0 => "it was stopped before its end".to_owned(),
        failed => format!("{} left as they were", counted(failed, "file")),
    };
    Err(Failure::new(Exit::Incomplete, what, why)
        .advise("remove the cause, and run it again: what is done stays done"))
}

fn harmless_line(line: &str) -> String {
    format!("{}\n", harmless(line.trim_end_matches('\n')))
}

/// `12 files: 3 changed, 9 as they should be`, with `changed` in words of the run's own.
pub(super) fn counts_line(report: &RunReport, changed: &str) -> String {
    let counts = &report.counts;
    let mut parts = vec![
        format!("{} {changed}", counts.changed),
        format!("{} as they should be", counts.right),
    ];
    for (count, word) in [
        (counts.empty, "without a header"),
        (counts.foreign, "not of this volume"),
        (counts.failed, "failed"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    format!("{}: {}\n", counted(counts.files, "file"), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::runs::Counts;

    fn outcome(complete: bool, dry_run: bool, failed: u64) -> Outcome {
        Outcome {
            report: RunReport {
                complete,
                dry_run,
                counts: Counts {
                    files: 3,
                    changed: 1,
                    right: 1,
                    failed,
                    ..Counts::default()
                },
                ..RunReport::default()
            },
            failures: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_complete_has_a_code_of_its_own() {
        let exit = |outcome: &Outcome| {
            let finished = finish("x", &RunOptions::default(), outcome, |_| String::new());
            finished.err().map(|failure| failure.exit())
        };
        for (complete, dry_run, failed, expected) in [
            (true, false, 0, None),
            (true, true, 0, None),
            (false, true, 0, None),
            (false, false, 0, Some(Exit::Incomplete)),
            (false, false, 2, Some(Exit::Incomplete)),
            (false, true, 2, Some(Exit::Incomplete)),
        ] {
            assert_eq!(exit(&outcome(complete, dry_run, failed)), expected);
        }
    }

    #[test]
    fn counts_are_told_in_words() {
        let line = counts_line(&outcome(false, false, 1).report, "rewrapped");
        assert_eq!(
            line,
            "3 files: 1 rewrapped, 1 as they should be, 1 failed\n"
        );
    }

    #[test]
    fn a_failure_keeps_its_class_as_exit_code() {
        for (class, exit) in [
            (FailureClass::Busy, Exit::Busy),
            (FailureClass::KeyDenied, Exit::KeyDenied),
            (FailureClass::KeyUnavailable, Exit::KeyUnavailable),
            (FailureClass::Usage, Exit::Usage),
            (FailureClass::Other, Exit::Failure),
        ] {
            let why = "why".to_owned();
            assert_eq!(failed("what", &RunFailure { class, why }).exit(), exit);
        }
    }
}

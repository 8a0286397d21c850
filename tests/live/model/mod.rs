//! Random operations of several processes, against a plain tree in memory that says what Linux answers.
//!
//! The same sequences run in a mount and in a plain folder beside it: where the model is wrong about the
//! kernel, the plain folder disagrees with it too. A failing sequence is cut down to few operations, and its
//! seed is kept in `regressions.txt`, which every later run tries first; sequences that found something are
//! kept in plain text in `regressions.rs`.
//!
//! `ENVELOPEFS_MODEL_CASES=5000` runs that many sequences instead of a few.

pub(crate) mod calls;
mod concurrent;
mod crew;
mod op;
mod predict;
mod process;
mod regressions;
mod strategy;
mod tree;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};

use crate::harness::{Mount, Volume, require_root};
use crew::Crew;
use op::{Op, Outcome};
use strategy::{Step, steps, steps_with_remounts};
use tree::{Flaw, Model};

/// Where sequences run.
trait Site {
    /// A folder that is there and open to processes; another for every sequence.
    fn folder(&self) -> PathBuf;
    /// Nothing in it is in use; afterwards nothing of it is in memory.
    fn remount(&mut self);
}

struct Plain(PathBuf);

impl Site for Plain {
    fn folder(&self) -> PathBuf {
        self.0.clone()
    }

    fn remount(&mut self) {}
}

struct Mounted<'a>(Option<Mount<'a>>);

impl Site for Mounted<'_> {
    fn folder(&self) -> PathBuf {
        self.0.as_ref().unwrap().root().to_owned()
    }

    fn remount(&mut self) {
        self.0 = self.0.take().map(Mount::again);
    }
}

struct Bench<S> {
    site: S,
    crew: Crew,
    cases: usize,
    zeroes_ranges: bool,
}

impl<S: Site> Bench<S> {
    fn new(home: &Path, site: S) -> Self {
        require_root();
        let zeroes_ranges = zeroes_ranges(&site.folder());
        Self {
            site,
            crew: Crew::hire(home),
            cases: 0,
            zeroes_ranges,
        }
    }

    fn new_folder(&mut self) -> String {
        self.cases += 1;
        let name = self.cases.to_string();
        fs::create_dir(self.site.folder().join(&name)).unwrap();
        name
    }

    /// Runs one sequence in a folder of its own; says what should not have come of it.
    fn run(&mut self, steps: &[Step], flaw: Option<Flaw>) -> Result<(), String> {
        let name = self.new_folder();
        let mut model = Model::new(self.zeroes_ranges, flaw);
        self.crew.enter(&self.site.folder().join(&name));
        for (number, (process, op)) in steps.iter().enumerate() {
            let stepped = if *op == Op::Remount {
                self.remount(&name);
                model.follow(*process, op, &Outcome::Done)
            } else {
                self.crew.step(&mut model, *process, op)
            };
            stepped.map_err(|why| format!("step {number}: {why}"))?;
        }
        self.crew
            .verify(&mut model)
            .map_err(|why| format!("in the end, {why}"))?;
        self.remount(&name);
        model.follow(0, &Op::Remount, &Outcome::Done)?;
        self.crew
            .verify(&mut model)
            .map_err(|why| format!("after a new mount, {why}"))?;
        self.crew.leave();
        Ok(())
    }

    fn remount(&mut self, name: &str) {
        self.crew.leave();
        self.site.remount();
        self.crew.enter(&self.site.folder().join(name));
    }
}

fn zeroes_ranges(folder: &Path) -> bool {
    let file = tempfile::tempfile_in(folder).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::ZERO_RANGE, 0, 1).is_ok()
}

fn cases(few: u32) -> u32 {
    let given = std::env::var("ENVELOPEFS_MODEL_CASES").ok();
    given.map_or(few, |given| {
        given.parse().expect("ENVELOPEFS_MODEL_CASES is a number")
    })
}

/// Failing sequences are kept in the source tree and tried first ever after.
fn keeping(cases: u32) -> Config {
    let kept = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/live/model/regressions.txt"
    );
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        source_file: Some(file!()),
        max_shrink_iters: 2000,
        ..Config::default()
    }
}

fn forgetting(cases: u32) -> Config {
    Config {
        failure_persistence: None,
        ..keeping(cases)
    }
}

/// Runs random sequences; the error holds the shortest that fails.
fn explore<S: Site>(
    config: Config,
    strategy: &impl Strategy<Value = Vec<Step>>,
    bench: &RefCell<Bench<S>>,
    flaw: Option<Flaw>,
) -> Result<(), (String, Vec<Step>)> {
    let run = |steps: Vec<Step>| {
        bench
            .borrow_mut()
            .run(&steps, flaw)
            .map_err(TestCaseError::fail)
    };
    match TestRunner::new(config).run(strategy, run) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, steps)) => Err((why.message().to_owned(), steps)),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[track_caller]
fn passes(result: Result<(), (String, Vec<Step>)>) {
    if let Err((why, steps)) = result {
        panic!("{why}\nafter {} steps: {steps:#?}", steps.len());
    }
}

/// What a temporary folder is on here: ext4 as a rule.
fn plain() -> (tempfile::TempDir, Bench<Plain>) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("plain");
    fs::create_dir(&folder).unwrap();
    let bench = Bench::new(home.path(), Plain(folder));
    (home, bench)
}

#[track_caller]
fn agrees<S: Site>(few: u32, bench: Bench<S>) -> Bench<S> {
    let bench = RefCell::new(bench);
    let strategy = steps_with_remounts(1..120);
    passes(explore(keeping(cases(few)), &strategy, &bench, None));
    bench.into_inner()
}

#[test]
fn any_history_in_a_plain_folder_is_that_of_the_model() {
    let (_home, bench) = plain();
    let mut bench = agrees(150, bench);
    // The same sequences run in a mount, so every operation must come to something in some of them. Chance may
    // leave one out of a few sequences; of many times as many it does not.
    for _ in 0..20 {
        if bench.crew.never_succeeded().is_empty() {
            return;
        }
        bench = agrees(150, bench);
    }
    let missing = bench.crew.never_succeeded();
    panic!("never done with success: {missing:?}");
}

#[test]
fn any_history_in_a_mount_is_that_of_the_model() {
    let volume = Volume::create(&[]);
    let mounted = Mounted(Some(volume.mount()));
    agrees(25, Bench::new(volume.home(), mounted));
}

#[test]
fn any_history_in_a_mount_of_plain_names_is_that_of_the_model() {
    let volume = Volume::create(&["--names", "plain", "--block-size", "64K"]);
    let mounted = Mounted(Some(volume.mount()));
    agrees(15, Bench::new(volume.home(), mounted));
}

#[test]
fn histories_that_once_found_something_are_those_of_the_model() {
    let volume = Volume::create(&[]);
    let (_home, mut plain) = plain();
    let mut mounted = Bench::new(volume.home(), Mounted(Some(volume.mount())));
    for (name, steps) in regressions::all() {
        for result in [plain.run(&steps, None), mounted.run(&steps, None)] {
            result.unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

/// The test sees what is wrong, and cuts it down: each of these takes three operations or four, where chance
/// helps, and so few that one can read them where it does not.
#[test]
fn a_wrong_model_is_found_out_by_few_operations() {
    const FEW: usize = 10;
    let flaws = [
        Flaw::CutBytesComeBack,
        Flaw::DeletedFilesAreEmpty,
        Flaw::RenamesCopy,
        Flaw::WritesKeepTheTime,
    ];
    for flaw in flaws {
        let (_home, bench) = plain();
        let found = explore(
            forgetting(3000),
            &steps(1..120),
            &RefCell::new(bench),
            Some(flaw),
        );
        let (why, steps) = found.expect_err("a wrong model agreed with the file system");
        assert!(
            steps.len() <= FEW,
            "{flaw:?}: {} steps: {why} {steps:#?}",
            steps.len()
        );
    }
}

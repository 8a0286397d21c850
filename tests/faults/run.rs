//! One case: a scenario with trouble at one call, and what must hold whatever it strikes.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use envelopefs::maint::Severity;
use tempfile::TempDir;

use crate::disk::{Disk, Trouble};
use crate::inprocess::model::{Entry, Tree};
use crate::inprocess::steps::Step;
use crate::inprocess::volume::{self, Mounted, path_in};
use crate::scenarios::Scenario;

/// Cases of a scenario that are run where not all are.
const SAMPLE: u64 = 40;

/// Runs `scenario` with each of `troubles` at each of its calls, or at a part of them.
pub(crate) fn strike_each_call(scenario: Scenario, troubles: &[Trouble]) {
    let (opening, calls) = count_calls(scenario);
    for &trouble in troubles {
        let mut struck = 0;
        for call in chosen(calls, trouble) {
            let call = opening + call;
            struck += u64::from(
                Case {
                    scenario,
                    trouble,
                    call,
                }
                .run(),
            );
        }
        println!(
            "faults: {} of {calls} calls struck in {}: {trouble:?}",
            struck, scenario.name
        );
        assert!(struck > 0, "no call was struck");
    }
}

/// A new volume, unmounted, and what it holds.
fn prepare(scenario: Scenario) -> (TempDir, Tree) {
    let home = volume::make();
    let mut at = Mounted::new(&path_in(&home), Arc::new(Disk::sound()));
    let mut tree = Tree::default();
    for step in scenario.before {
        step.run(&mut at).unwrap();
        step.apply(&mut tree);
    }
    at.unmount();
    (home, tree)
}

/// The calls to open the volume and those of the scenario without trouble, in which every step must be possible
/// and succeed.
fn count_calls(scenario: Scenario) -> (u64, u64) {
    let (home, mut tree) = prepare(scenario);
    let disk = Arc::new(Disk::sound());
    let mut at = Mounted::new(&path_in(&home), Arc::<Disk>::clone(&disk));
    let opening = disk.calls();
    for step in scenario.steps {
        assert!(step.is_possible(&at, &tree), "{step:?} cannot be done");
        step.run(&mut at)
            .unwrap_or_else(|error| panic!("{step:?} without trouble: {error}"));
        step.apply(&mut tree);
    }
    let calls = disk.calls() - opening;
    assert_same(&at.tree().unwrap(), &tree, "the model is wrong");
    at.unmount();
    (opening, calls)
}

/// Which calls are struck: all, or a sample that begins elsewhere with each seed and trouble.
fn chosen(calls: u64, trouble: Trouble) -> Box<dyn Iterator<Item = u64>> {
    if std::env::var("ENVELOPEFS_FAULTS").is_ok_and(|all| all == "all") {
        return Box::new(0..calls);
    }
    let seed: u64 = std::env::var("ENVELOPEFS_FAULTS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let step = calls.div_ceil(SAMPLE).max(1);
    let first = seed.wrapping_mul(7).wrapping_add(trouble.errno() as u64) % step;
    Box::new((first..calls).step_by(step as usize))
}

struct Case {
    scenario: Scenario,
    trouble: Trouble,
    call: u64,
}

impl Case {
    /// Says whether the trouble struck.
    fn run(&self) -> bool {
        let (home, mut tree) = prepare(self.scenario);
        let path = path_in(&home);
        let disk = Arc::new(Disk::troubled(self.trouble, self.call));
        let mut at = Mounted::new(&path, Arc::<Disk>::clone(&disk));
        for step in self.scenario.steps {
            if step.is_possible(&at, &tree) {
                self.step(*step, &mut at, &mut tree);
            }
        }
        disk.heal();
        let struck = disk.has_struck();
        assert_same(&at.tree().unwrap(), &tree, &self.text("while mounted"));
        at.unmount();

        self.after_a_remount(&path, &tree);
        struck
    }

    fn step(&self, step: Step, at: &mut Mounted, tree: &mut Tree) {
        let mut after = tree.clone();
        step.apply(&mut after);
        let Err(error) = step.run(at) else {
            *tree = after;
            return;
        };
        let what = self.text(&format!("{step:?} failed: {error}"));
        assert!(self.trouble.is_visible(), "{what}: it should have gone on");
        assert_eq!(
            error.errno(),
            self.trouble.errno(),
            "{what}: the wrong errno"
        );
        let found = self.look(at, &what);
        assert!(
            found.is_between(tree, &after),
            "{what}: neither old nor new; against the old:\n{}\nagainst the new:\n{}",
            found.difference(tree),
            found.difference(&after)
        );
        *tree = found;
    }

    /// What the volume shows now. A disk that stays full is no obstacle to looking.
    fn look(&self, at: &Mounted, what: &str) -> Tree {
        at.tree()
            .unwrap_or_else(|error| panic!("{what}: and then nothing can be read: {error}"))
    }

    /// All is there, nothing is damaged, and what is deleted takes no space.
    fn after_a_remount(&self, path: &Path, tree: &Tree) {
        let at = Mounted::new(path, Arc::new(Disk::sound()));
        assert_same(
            &self.look(&at, &self.text("after a remount")),
            tree,
            &self.text("after a remount"),
        );
        at.unmount();
        let damaged = damage(path);
        assert!(damaged.is_empty(), "{}: {damaged:?}", self.text("check"));
        let mut at = Mounted::new(path, Arc::new(Disk::sound()));
        for (name, (entry, ..)) in tree.paths().rev() {
            let name: &'static str = name.clone().leak();
            let step = if *entry == Entry::Folder {
                Step::Rmdir(name)
            } else {
                Step::Unlink(name)
            };
            step.run(&mut at)
                .unwrap_or_else(|error| panic!("{}: {error}", self.text("deleting all")));
        }
        at.unmount();
        assert_eq!(
            blocks_on_disk(path),
            0,
            "{}",
            self.text("space that is not released")
        );
    }

    fn text(&self, what: &str) -> String {
        format!(
            "{}, {:?} at call {}: {what}",
            self.scenario.name, self.trouble, self.call
        )
    }
}

#[track_caller]
fn assert_same(found: &Tree, due: &Tree, what: &str) {
    assert!(
        found.shows_the_same_as(due),
        "{what}:\n{}",
        found.difference(due)
    );
}

/// What `envelopefs check` finds damaged.
fn damage(path: &Path) -> Vec<String> {
    let report = volume::check(path, false);
    let damaged = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Damage);
    damaged
        .map(|finding| format!("{}: {}", finding.path, finding.what))
        .collect()
}

/// Blocks that the regular files of a ciphertext folder take on disk, but for the volume's own.
fn blocks_on_disk(folder: &Path) -> u64 {
    let mut blocks = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() && entry.file_name() != ".envelopefs" {
            blocks += blocks_on_disk(&entry.path());
        } else if metadata.is_file() {
            blocks += metadata.blocks();
        }
    }
    blocks
}

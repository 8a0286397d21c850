//! Steps of any kind in any order, by a seed.

use crate::inprocess::model::{Entry, Tree};
use crate::inprocess::steps::Step;
use crate::inprocess::volume::{Mounted, path_in};
use crate::inprocess::{INSIDE, LONG, OTHER};
use crate::run::Scenario;
use crate::state::Random;

const FOLDERS: [&str; 4] = ["d", "e", "d/e", OTHER];
const FILES: [&str; 8] = ["a", "b", "d/a", "d/b", "e/a", "d/e/a", LONG, INSIDE];
const STEPS: usize = 24;

/// Steps that can be done one after the other in the volume of `scenario`.
pub(crate) fn steps(scenario: Scenario<'_>, seed: u64) -> Vec<Step> {
    let home = crate::inprocess::volume::make_with(scenario.names, scenario.scope);
    let path = path_in(&home);
    let root = envelopefs::storage::Node::open_root(&path).unwrap();
    let mut at = Mounted::serve(root, &path, scenario.sharing).unwrap();
    let (mut tree, mut random, mut steps) = (Tree::default(), Random::new(seed), Vec::new());
    while steps.len() < STEPS {
        let step = draw(&mut random);
        if is_sensible(step, &at, &tree) && step.is_possible(&at, &tree) {
            step.run(&mut at)
                .unwrap_or_else(|error| panic!("{step:?}: {error}"));
            step.apply(&mut tree);
            steps.push(step);
        }
    }
    at.unmount();
    steps
}

fn draw(random: &mut Random) -> Step {
    let file = FILES[random.below(FILES.len())];
    let other = FILES[random.below(FILES.len())];
    let folder = FOLDERS[random.below(FOLDERS.len())];
    let (offset, len) = (random.below(30_000) as u64, random.below(12_000) + 1);
    match random.below(24) {
        0..=2 => Step::Create(file),
        3 => Step::Open(file),
        4 => Step::Close(file),
        5..=8 => Step::Write(file, offset, len, random.below(256) as u8),
        9 => Step::Truncate(file, offset),
        10 => Step::TruncateByPath(file, 0),
        11 => Step::Punch(file, offset, len as u64),
        12 | 13 => Step::Sync(file),
        14 | 15 => Step::SyncData(file),
        16 => Step::SyncFolder(if random.below(2) == 0 { "" } else { folder }),
        17 | 18 => Step::Mkdir(folder),
        19 => Step::Rmdir(folder),
        20 => Step::Unlink(file),
        21 => Step::Rename(file, other),
        22 => Step::Rename(folder, FOLDERS[random.below(FOLDERS.len())]),
        _ => Step::Link(file, other),
    }
}

/// Handles are known by path, so paths of open files stay.
fn is_sensible(step: Step, at: &Mounted, tree: &Tree) -> bool {
    let is_file = |path: &str| {
        let found = tree.paths().find(|(found, _)| *found == path);
        found.is_none_or(|(_, inode)| matches!(inode.0, Entry::File(_)))
    };
    let is_open = |path: &str| {
        let below = format!("{path}/");
        at.handles
            .keys()
            .any(|open| open == path || open.starts_with(&below))
    };
    match step {
        Step::Open(path) => !is_open(path),
        Step::TruncateByPath(path, _) => is_file(path) && !is_open(path),
        Step::Rename(from, to) => {
            from != to && !to.starts_with(&format!("{from}/")) && !is_open(from) && !is_open(to)
        }
        Step::Unlink(path) => !is_open(path),
        _ => true,
    }
}

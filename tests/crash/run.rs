//! Records a scenario, and looks at the states that a crash may leave of it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;

use envelopefs::format::volume_config::{KeyScope, NameMode};
use envelopefs::storage::Node;
use envelopefs::volume::Sharing;
use tempfile::TempDir;

use crate::history::{Durable, History};
use crate::image::{Id, Image};
use crate::inprocess::model::Tree;
use crate::inprocess::steps::Step;
use crate::inprocess::volume::{self, Mounted, path_in};
use crate::oracle::{Expectation, Moment, Story};
use crate::record::{Op, Recorder};
use crate::sabotage::Sabotage;
use crate::state::{Model, Pick, Random, Skeleton, StateId};
use crate::verify::{Extras, verify};

/// What a program does in a volume until the power fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'a str,
    pub(crate) names: NameMode,
    pub(crate) scope: KeyScope,
    pub(crate) sharing: Sharing,
    /// Done and unmounted long before.
    pub(crate) before: &'a [Step],
    pub(crate) steps: &'a [Step],
    /// Whether an unmount follows.
    pub(crate) unmounts: bool,
}

/// A scenario as it was done.
pub(crate) struct Recorded {
    /// The key of the volume lies here.
    pub(crate) home: TempDir,
    pub(crate) base: Image,
    pub(crate) ops: Vec<Op>,
    /// So many operations when the mount was there, after each step, and after the unmount.
    done: Vec<usize>,
    story: Story,
    sharing: Sharing,
}

/// How many states are looked at, and which.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Of each model.
    pub(crate) states: usize,
    pub(crate) seed: u64,
    /// Whether the first failure ends the search.
    pub(crate) first_only: bool,
}

impl Budget {
    /// What `ENVELOPEFS_CRASH_STATES` and `ENVELOPEFS_CRASH_SEED` say.
    pub(crate) fn of_environment() -> Self {
        Self {
            states: number("ENVELOPEFS_CRASH_STATES", 400) as usize,
            seed: number("ENVELOPEFS_CRASH_SEED", 1),
            first_only: false,
        }
    }
}

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// The seed of the random steps that are to be replayed.
pub(crate) fn replayed_seed() -> Option<u64> {
    let replay = std::env::var("ENVELOPEFS_CRASH_REPLAY").ok()?;
    let (seed, _state) = replay.strip_prefix("random steps ")?.split_once('/')?;
    seed.parse().ok()
}

/// A state that is not as it must be.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) state: StateId,
    pub(crate) what: String,
}

/// What a look at many states came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) states: BTreeMap<&'static str, usize>,
    pub(crate) failures: Vec<Failure>,
}

/// Checks a scenario: prints how many states were looked at, fails where one is not as it must be.
pub(crate) fn check_scenario(scenario: Scenario<'_>) {
    let replay = std::env::var("ENVELOPEFS_CRASH_REPLAY").ok();
    if let Some(replay) = replay {
        if let Some(state) = replay.strip_prefix(&format!("{}/", scenario.name)) {
            replay_one(scenario, state.parse().unwrap());
        }
        return;
    }
    let recorded = record(scenario);
    let history = History::new(&recorded.base, recorded.ops.clone());
    let outcome = recorded.explore(&history, Budget::of_environment());
    let total: usize = outcome.states.values().sum();
    let by_model: Vec<_> = outcome
        .states
        .iter()
        .map(|(model, states)| format!("{model} {states}"))
        .collect();
    println!(
        "crash: {}: {total} states ({}) of {} operations, {} lost",
        scenario.name,
        by_model.join(", "),
        recorded.ops.len(),
        outcome.failures.len()
    );
    if let Some(Failure { state, what }) = outcome.failures.first() {
        panic!(
            "{what}\n{}\nagain: ENVELOPEFS_CRASH_REPLAY='{}/{state}' cargo test --test crash",
            recorded.story_until(*state),
            scenario.name
        );
    }
    assert!(total > 0, "no state was looked at");
}

/// Does a scenario in a wrong order of writes, and says what was found to be lost. The search ends there.
pub(crate) fn find_damage(scenario: Scenario<'_>, sabotage: Sabotage) -> Option<Failure> {
    let recorded = record(scenario);
    let mut history = History::new(&recorded.base, sabotage.of(&recorded.ops));
    if sabotage == Sabotage::TornPages {
        history.tear();
    }
    let budget = Budget {
        states: 2_000,
        seed: 1,
        first_only: true,
    };
    recorded.explore(&history, budget).failures.pop()
}

fn replay_one(scenario: Scenario<'_>, state: StateId) {
    let recorded = record(scenario);
    let history = History::new(&recorded.base, recorded.ops.clone());
    println!("{}", recorded.story_until(state));
    let durable = history.durable(state.crash);
    let skeleton = Skeleton::new(&history, &durable, (state.model, state.crash, state.cut));
    let image = skeleton.state(state.pick);
    for (id, content) in &image.contents {
        let pages: Vec<_> = content.pages.keys().collect();
        println!("inode {id}: {} bytes, pages {pages:?}", content.len);
    }
    for ((folder, name), id) in &image.tree.entries {
        println!("{folder}/{} -> {id}", String::from_utf8_lossy(name));
    }
    let expectation = recorded
        .story
        .expect(recorded.moment(state.crash), state.model);
    let verified = recorded.verify(&image, &expectation, state);
    assert!(verified.is_ok(), "{}", verified.unwrap_err());
}

/// Does a scenario and writes down what it does to the ciphertext folder.
pub(crate) fn record(scenario: Scenario<'_>) -> Recorded {
    let home = volume::make_with(scenario.names, scenario.scope);
    let path = path_in(&home);
    let mut tree = Tree::default();
    let mut at = Mounted::serve(Node::open_root(&path).unwrap(), &path, scenario.sharing).unwrap();
    for step in scenario.before {
        step.run(&mut at).unwrap();
        step.apply(&mut tree);
    }
    at.unmount();

    let (base, numbers) = Image::read(&path);
    let recorder = Arc::new(Recorder::new(numbers));
    let root = Node::open_root(&path)
        .unwrap()
        .observed(Arc::<Recorder>::clone(&recorder));
    let mut at = Mounted::serve(root, &path, scenario.sharing).unwrap();
    recorder.step_is_done();
    let mut story = Story::new(&tree, &ids_of(&at, &tree, &recorder));
    for step in scenario.steps {
        step.run(&mut at)
            .unwrap_or_else(|error| panic!("{step:?}: {error}"));
        recorder.step_is_done();
        step.apply(&mut tree);
        story.step(*step, &tree, &ids_of(&at, &tree, &recorder));
    }
    if scenario.unmounts {
        at.unmount();
        recorder.step_is_done();
        story.unmounted = true;
    }
    let recording = recorder.finish();
    Recorded {
        home,
        base,
        ops: recording.ops,
        done: recording.done,
        story,
        sharing: scenario.sharing,
    }
}

/// The ciphertext inodes behind the model's numbers.
fn ids_of(at: &Mounted, tree: &Tree, recorder: &Recorder) -> BTreeMap<u64, Id> {
    let id = |path: &str| recorder.id_of(at.find(path).unwrap().0);
    tree.numbers()
        .map(|(path, number)| (number, id(path)))
        .collect()
}

impl Recorded {
    /// Looks at crash states of each model.
    pub(crate) fn explore(&self, history: &History, budget: Budget) -> Outcome {
        let mut outcome = Outcome::default();
        for model in Model::EACH {
            let states = self.explore_model(history, model, budget, &mut outcome.failures);
            outcome.states.insert(model.name(), states);
        }
        outcome
    }

    fn explore_model(
        &self,
        history: &History,
        model: Model,
        budget: Budget,
        failures: &mut Vec<Failure>,
    ) -> usize {
        let mut expectations: HashMap<Moment, Expectation> = HashMap::new();
        let mut seen = HashSet::new();
        for state in Candidates::new(history, model, budget) {
            if seen.len() >= budget.states || (budget.first_only && !failures.is_empty()) {
                break;
            }
            let moment = self.moment(state.id.crash);
            let mut hasher = DefaultHasher::new();
            (moment, &state.image).hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                continue;
            }
            let expectation = expectations
                .entry(moment)
                .or_insert_with(|| self.story.expect(moment, model));
            if let Err(what) = self.verify(&state.image, expectation, state.id) {
                failures.push(Failure {
                    state: state.id,
                    what,
                });
            }
        }
        seen.len()
    }

    fn verify(&self, image: &Image, expectation: &Expectation, id: StateId) -> Result<(), String> {
        let lot: usize = id.to_string().bytes().map(usize::from).sum();
        let extras = Extras {
            unexamined: lot.is_multiple_of(4),
            work: lot % 4 == 1,
            check: lot % 4 == 2,
            repair: lot % 8 == 3,
        };
        verify(image, expectation, (self.scratch(), self.sharing, extras))
    }

    fn scratch(&self) -> &Path {
        self.home.path()
    }

    /// Which steps were over after so many operations.
    fn moment(&self, crash: usize) -> Moment {
        let over = self.done.iter().take_while(|done| **done <= crash).count();
        Moment {
            done: over.saturating_sub(1),
            amid: over > 0 && self.done[over - 1] < crash,
        }
    }

    /// For messages: what was done before the crash of a state.
    fn story_until(&self, state: StateId) -> String {
        let mut text = Vec::new();
        for (at, op) in self.ops[..state.crash].iter().enumerate() {
            if self.done.contains(&at) {
                text.push(format!("-- {:?}", self.moment(at)));
            }
            if at == state.cut {
                text.push("-- metadata from here on did not reach the disk:".into());
            }
            text.push(format!("{at}: {}", op.brief()));
        }
        text.join("\n")
    }
}

/// A state, and what it is called.
struct Candidate {
    id: StateId,
    image: Image,
}

/// States to look at: those at the edges first, then any.
struct Candidates<'a> {
    history: &'a History,
    model: Model,
    durable: Vec<Durable>,
    /// Crash, cut and pick.
    edges: std::vec::IntoIter<(usize, usize, Pick)>,
    random: Random,
    left: usize,
}

impl<'a> Candidates<'a> {
    fn new(history: &'a History, model: Model, budget: Budget) -> Self {
        let durable: Vec<_> = (0..=history.ops.len())
            .map(|crash| history.durable(crash))
            .collect();
        let mut candidates = Self {
            history,
            model,
            durable,
            edges: Vec::new().into_iter(),
            random: Random::new(budget.seed),
            // Most draws of a small scenario have been seen before.
            left: budget.states.saturating_mul(6),
        };
        candidates.edges = candidates.edges(budget).into_iter();
        candidates
    }

    fn skeleton(&self, crash: usize, cut: usize) -> Skeleton {
        Skeleton::new(self.history, &self.durable[crash], (self.model, crash, cut))
    }

    /// Everything at once, nothing, one thing alone, all but one; every combination where there are few. A part of
    /// that, taken evenly, where it is more than half of the budget.
    fn edges(&mut self, budget: Budget) -> Vec<(usize, usize, Pick)> {
        let mut edges = Vec::new();
        for crash in 0..=self.history.ops.len() {
            for cut in self.cuts(crash) {
                edges.push((crash, cut, Pick::Oldest));
                edges.push((crash, cut, Pick::Newest));
                let skeleton = self.skeleton(crash, cut);
                if skeleton.combinations() <= 32 {
                    let all = (0..skeleton.combinations()).map(Pick::Nth);
                    edges.extend(all.map(|pick| (crash, cut, pick)));
                } else {
                    let each = 0..skeleton.choices();
                    let picks = each.flat_map(|nth| [Pick::Only(nth), Pick::Without(nth)]);
                    edges.extend(picks.map(|pick| (crash, cut, pick)));
                }
            }
        }
        shuffle(&mut edges, &mut self.random);
        edges.truncate(budget.states * 2 / 3);
        edges
    }

    /// The cuts at the edges, and some between.
    fn cuts(&mut self, crash: usize) -> BTreeSet<usize> {
        let first = self.model.first_cut(&self.durable[crash]);
        let mut between = || first + self.random.below(crash - first + 1);
        let mut cuts = BTreeSet::from([first, crash, between(), between(), between()]);
        cuts.extend([first + 1, crash.saturating_sub(1)].map(|cut| cut.clamp(first, crash)));
        cuts
    }

    fn any(&mut self) -> (usize, usize, Pick) {
        let crash = self.random.below(self.history.ops.len() + 1);
        let first = self.model.first_cut(&self.durable[crash]);
        let cut = first + self.random.below(crash - first + 1);
        (crash, cut, Pick::Random(self.random.next()))
    }
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

impl Iterator for Candidates<'_> {
    type Item = Candidate;

    fn next(&mut self) -> Option<Candidate> {
        self.left = self.left.checked_sub(1)?;
        let (crash, cut, pick) = self.edges.next().unwrap_or_else(|| self.any());
        let id = StateId {
            model: self.model,
            crash,
            cut,
            pick,
        };
        let image = self.skeleton(crash, cut).state(pick);
        Some(Candidate { id, image })
    }
}

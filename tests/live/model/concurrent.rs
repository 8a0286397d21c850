//! Processes that work at the same time, each in a part of its own: a folder of its own, and stripes of a file
//! that all share. What they must find at the end is known, though nobody knows in which order it came about.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::crew::{Member, READ};
use super::op::{Access, At, How, Op, Outcome, PROCESSES, fill};
use super::process::Order;
use super::strategy::ops;
use super::tree::Model;
use super::{Mounted, Site as _, cases, forgetting, zeroes_ranges};
use crate::harness::Volume;

/// No multiple of a page or a block: neighbours meet in both.
const STRIPE: usize = 10_007;

/// A write to one's own stripe: at, seed, length, whether through a mapping.
type Patch = (usize, u8, usize, bool);

fn patch() -> impl Strategy<Value = Patch> {
    (0..STRIPE, any::<u8>(), 1..3 * STRIPE / 4, any::<bool>())
        .prop_map(|(at, seed, len, mapped)| (at, seed, len.min(STRIPE - at), mapped))
}

/// What each process does in one case: in its folder, and to its stripe.
type Work = Vec<(Vec<Op>, Vec<Patch>)>;

fn work() -> impl Strategy<Value = Work> {
    vec((ops(1..150), vec(patch(), 1..80)), PROCESSES)
}

/// The two processes that do one share of the work, and what they must find.
struct Team {
    number: usize,
    in_folder: Member,
    model: Model,
    on_stripe: Member,
    stripe: Vec<u8>,
}

impl Team {
    fn hire(home: &Path, number: usize) -> Self {
        Self {
            number,
            in_folder: Member::hire(home),
            model: Model::new(true, None),
            on_stripe: Member::hire(home),
            stripe: Vec::new(),
        }
    }

    fn begin(&mut self, folder: &Path) {
        let own = folder.join(self.number.to_string());
        fs::create_dir(&own).unwrap();
        self.in_folder.enter(&own);
        self.model = Model::new(zeroes_ranges(&own), None);
        self.stripe = vec![0; STRIPE];
        self.open_shared(folder);
    }

    /// The shared file has the first of the few names.
    fn open_shared(&mut self, folder: &Path) {
        self.on_stripe.enter(folder);
        let at = At {
            from_root: true,
            names: vec![0],
        };
        let how = How {
            access: Access::Both,
            ..READ
        };
        let opened = self.on_stripe.order(&Order::Do(Op::Open(0, at, how)));
        assert_eq!(opened, Outcome::Done);
    }

    fn begins_at(&self) -> usize {
        self.number * STRIPE
    }

    fn work(&mut self, (ops, patches): &(Vec<Op>, Vec<Patch>)) -> Result<(), String> {
        let begins_at = self.begins_at();
        let (in_folder, model) = (&mut self.in_folder, &mut self.model);
        let (on_stripe, stripe) = (&mut self.on_stripe, &mut self.stripe);
        thread::scope(|scope| {
            let patching = scope.spawn(|| patch_stripe(on_stripe, begins_at, stripe, patches));
            let stepped = ops
                .iter()
                .try_for_each(|op| in_folder.step(model, 0, op).map(drop));
            stepped.and(patching.join().unwrap())
        })
    }

    fn verify(&mut self) -> Result<(), String> {
        self.in_folder.verify(&mut self.model, 0)?;
        let begins_at = self.begins_at();
        expect_stripe(&mut self.on_stripe, begins_at, &self.stripe)
    }

    fn leave(&mut self) {
        self.in_folder.leave();
        self.on_stripe.leave();
    }

    fn enter_again(&mut self, folder: &Path) -> Result<(), String> {
        self.in_folder.enter(&folder.join(self.number.to_string()));
        self.open_shared(folder);
        self.model.follow(0, &Op::Remount, &Outcome::Done)
    }
}

fn patch_stripe(
    member: &mut Member,
    begins_at: usize,
    stripe: &mut [u8],
    patches: &[Patch],
) -> Result<(), String> {
    for (number, (at, seed, len, mapped)) in patches.iter().copied().enumerate() {
        let place = (begins_at + at) as u64;
        let write = if mapped {
            Op::Map(0, place, seed, len)
        } else {
            Op::Pwrite(0, place, seed, len)
        };
        match member.order(&Order::Do(write)) {
            Outcome::Count(written) if written == len as u64 => {}
            other => return Err(format!("{len} bytes to a stripe: {other:?}")),
        }
        stripe[at..at + len].copy_from_slice(&fill(seed, len));
        if number % 8 == 7 {
            expect_stripe(member, begins_at, stripe)?;
        }
        if number % 16 == 15 && member.order(&Order::Do(Op::Fsync(0))) != Outcome::Done {
            return Err("fsync of a shared file".to_owned());
        }
    }
    Ok(())
}

fn expect_stripe(member: &mut Member, begins_at: usize, stripe: &[u8]) -> Result<(), String> {
    let read = Op::Pread(0, begins_at as u64, stripe.len());
    match member.order(&Order::Do(read)) {
        Outcome::Bytes(found) if found == stripe => Ok(()),
        Outcome::Bytes(found) => {
            let differs = found
                .iter()
                .zip(stripe)
                .position(|(found, own)| found != own);
            Err(format!(
                "the stripe at {begins_at} is another's from {differs:?} on"
            ))
        }
        other => Err(format!("the stripe at {begins_at}: {other:?}")),
    }
}

struct Bench<'a> {
    mounted: Mounted<'a>,
    teams: Vec<Team>,
    cases: usize,
}

impl Bench<'_> {
    fn run(&mut self, work: &Work) -> Result<(), String> {
        self.cases += 1;
        let folder = self.mounted.folder().join(self.cases.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a"), vec![0; PROCESSES * STRIPE]).unwrap();
        self.teams.iter_mut().for_each(|team| team.begin(&folder));
        thread::scope(|scope| {
            let shares = self.teams.iter_mut().zip(work);
            let working: Vec<_> = shares
                .map(|(team, share)| scope.spawn(|| team.work(share)))
                .collect();
            let ended = working.into_iter().map(|working| working.join().unwrap());
            ended.collect::<Result<(), String>>()
        })?;
        self.verify()?;
        self.teams.iter_mut().for_each(Team::leave);
        self.mounted.remount();
        self.teams
            .iter_mut()
            .try_for_each(|team| team.enter_again(&folder))?;
        self.verify()
            .map_err(|why| format!("after a new mount, {why}"))?;
        self.teams.iter_mut().for_each(Team::leave);
        Ok(())
    }

    fn verify(&mut self) -> Result<(), String> {
        self.teams.iter_mut().try_for_each(Team::verify)
    }
}

#[test]
fn what_processes_do_at_the_same_time_is_all_there() {
    let volume = Volume::create(&[]);
    let bench = RefCell::new(Bench {
        mounted: Mounted(Some(volume.mount())),
        teams: (0..PROCESSES)
            .map(|number| Team::hire(volume.home(), number))
            .collect(),
        cases: 0,
    });
    // What depends on chance is not cut down: the shorter the work, the less happens at once.
    let mut config = forgetting(cases(8));
    config.max_shrink_iters = 0;
    let run = |work: Work| bench.borrow_mut().run(&work).map_err(TestCaseError::fail);
    if let Err(failure) = TestRunner::new(config).run(&work(), run) {
        panic!("{failure}");
    }
}

//! What a pool has, and who waits for it. Pure state under its owner's lock; calls nobody.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::marks::Marks;
use super::{PoolOptions, PoolStats, Waiter};
use crate::keys::backoff::Backoff;
use crate::keys::error::KeyError;

/// Back-off of the refill after a failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How long a failure answers those who come after it, if the back-off is not over before.
const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// A thread is worth its while for so many items that are made ahead.
const ITEMS_PER_MAKER: usize = 2;

/// Answers to be given once the lock is free.
pub(super) type Answers<T> = Vec<(Waiter<T>, Result<T, KeyError>)>;

/// An item that is being made.
#[derive(Debug)]
pub(super) struct Task {
    begun: Instant,
    /// The pool's generation: what was begun before a `clear` is dropped.
    generation: u64,
}

/// What came of making one.
pub(super) struct Made<T> {
    pub(super) result: Result<T, KeyError>,
    pub(super) task: Task,
}

/// An item that is ready.
struct Ready<T> {
    item: T,
    since: Instant,
}

pub(super) struct State<T> {
    ready: VecDeque<Ready<T>>,
    waiters: VecDeque<Waiter<T>>,
    options: PoolOptions,
    marks: Marks,
    /// Threads, those among them that make an item, and those that rest.
    makers: usize,
    making: usize,
    idle: usize,
    outage: Option<Outage>,
    backoff: Backoff,
    generation: u64,
    closed: bool,
    made: u64,
    failures: u64,
}

/// The last attempt failed.
struct Outage {
    error: KeyError,
    since: Instant,
    /// How long the refill waits. Whoever needs an item may cause an attempt sooner.
    delay: Duration,
}

impl<T> State<T> {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            ready: VecDeque::new(),
            waiters: VecDeque::new(),
            options,
            marks: Marks::new(options),
            makers: 0,
            making: 0,
            idle: 0,
            outage: None,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            generation: 0,
            closed: false,
            made: 0,
            failures: 0,
        }
    }

    /// An item, or a failure that is fresh enough to stand for the next one.
    pub(super) fn take_now(&mut self, now: Instant) -> Option<Result<T, KeyError>> {
        while let Some(ready) = self.ready.pop_front() {
            if now.saturating_duration_since(ready.since) < self.options.max_age {
                return Some(Ok(ready.item));
            }
        }
        let outage = self.outage.as_ref()?;
        outage.is_fresh(now).then(|| Err(outage.error.clone()))
    }

    pub(super) fn wait(&mut self, waiter: Waiter<T>) {
        self.marks.missed(Instant::now());
        self.waiters.push_back(waiter);
    }

    /// How many more threads there is work for.
    pub(super) fn makers_due(&mut self, now: Instant) -> usize {
        let lacking = self.marks.lacking(self.ready.len(), now);
        let ahead = lacking.div_ceil(ITEMS_PER_MAKER);
        let wanted = match &self.outage {
            // One tries whether it is over.
            Some(_) if !self.waiters.is_empty() => 1,
            Some(outage) => usize::from(lacking > 0 && outage.retry_at() <= now),
            None => self.waiters.len().saturating_add(ahead),
        };
        wanted.min(self.options.makers).saturating_sub(self.making)
    }

    /// Begins an item, if one more is needed.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Task> {
        if !self.has_work(now) {
            return None;
        }
        self.making = self.making.saturating_add(1);
        Some(Task {
            begun: now,
            generation: self.generation,
        })
    }

    /// Whether one more item is to be begun now.
    pub(super) fn has_work(&mut self, now: Instant) -> bool {
        let needed = self.marks.lacking(self.ready.len(), now);
        let needed = needed.saturating_add(self.waiters.len());
        self.making < needed && self.makers_due(now) > 0
    }

    /// An attempt is over: an item goes to the first who waits or to the ready ones, a failure to
    /// all who wait.
    pub(super) fn settle(&mut self, made: Made<T>) -> Answers<T> {
        self.making = self.making.saturating_sub(1);
        let Made { result, task } = made;
        match result {
            // Whoever waits is served by the next one.
            _ if task.generation != self.generation => Vec::new(),
            Ok(item) => {
                self.made = self.made.saturating_add(1);
                self.outage = None;
                self.backoff.reset();
                self.hand_over(item, task.begun)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.note_outage(&error, task.begun);
                self.waiters
                    .drain(..)
                    .map(|waiter| (waiter, Err(error.clone())))
                    .collect()
            }
        }
    }

    /// Attempts that were begun before the last one failed belong to the same outage.
    fn note_outage(&mut self, error: &KeyError, begun: Instant) {
        if self
            .outage
            .as_ref()
            .is_some_and(|outage| begun < outage.since)
        {
            return;
        }
        self.outage = Some(Outage {
            error: error.clone(),
            since: Instant::now(),
            delay: self.backoff.next_delay(),
        });
    }

    fn hand_over(&mut self, item: T, since: Instant) -> Answers<T> {
        match self.waiters.pop_front() {
            Some(waiter) => vec![(waiter, Ok(item))],
            None => {
                self.ready.push_back(Ready { item, since });
                Vec::new()
            }
        }
    }

    /// Forgets all items and failures; gives the items to be dropped.
    pub(super) fn clear(&mut self) -> impl Sized + use<T> {
        self.generation = self.generation.wrapping_add(1);
        self.outage = None;
        self.backoff.reset();
        std::mem::take(&mut self.ready)
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.outage.as_ref().map(Outage::retry_at)
    }

    pub(super) fn waiters(&mut self) -> VecDeque<Waiter<T>> {
        std::mem::take(&mut self.waiters)
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn makers(&self) -> usize {
        self.makers
    }

    pub(super) fn maker_began(&mut self) {
        self.makers = self.makers.saturating_add(1);
    }

    pub(super) fn maker_ended(&mut self) {
        self.makers = self.makers.saturating_sub(1);
    }

    /// How many of `wanted` threads may begin: those on their first steps are not begun twice.
    pub(super) fn startable(&self, wanted: usize) -> usize {
        let starting = self
            .makers
            .saturating_sub(self.making.saturating_add(self.idle));
        let room = self.options.makers.saturating_sub(self.makers);
        wanted.saturating_sub(starting).min(room)
    }

    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    pub(super) fn rest(&mut self) {
        self.idle = self.idle.saturating_add(1);
    }

    pub(super) fn wake_up(&mut self) {
        self.idle = self.idle.saturating_sub(1);
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            ready: self.ready.len(),
            waiting: self.waiters.len(),
            made: self.made,
            failures: self.failures,
        }
    }
}

impl Outage {
    fn retry_at(&self) -> Instant {
        let at = self.since.checked_add(self.delay);
        at.unwrap_or(self.since)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.delay.min(FAILURE_KEPT)
    }
}

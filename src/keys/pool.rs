//! Things that take a while to make, made ahead: data keys for files that are yet to be created.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::keys::backoff::Backoff;
use crate::keys::error::KeyError;

/// Back-off of the refill after a failure.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How long a failure answers those who come after it, if the back-off is not over before.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

type Waiter<T> = Box<dyn FnOnce(Result<T, KeyError>) + Send>;
type Make<T> = Arc<dyn Fn() -> Result<T, KeyError> + Send + Sync>;

/// A pool's state and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Items ready now.
    pub ready: usize,
    /// Who waits for an item now.
    pub waiting: usize,
    /// Items made since the start.
    pub made: u64,
    /// Attempts that failed since the start.
    pub failures: u64,
}

/// Items made ahead by a thread of the pool's own. Once fewer than the low mark are ready, it makes
/// items until the high mark is reached; those who find none ready are served in the order of their
/// coming. Dropping the pool ends the thread, once an item being made is done; who still waits
/// is answered `Unavailable`.
pub struct Pool<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    refill: Option<JoinHandle<()>>,
}

struct Shared<T> {
    /// Never held while an item is made or an answer given.
    state: Mutex<State<T>>,
    wake: Condvar,
    make: Make<T>,
}

struct State<T> {
    ready: VecDeque<T>,
    waiters: VecDeque<Waiter<T>>,
    low: usize,
    high: usize,
    /// Below the low mark lately, and not yet at the high one.
    filling: bool,
    outage: Option<Outage>,
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

/// Answers to be given once the lock is free.
type Answers<T> = Vec<(Waiter<T>, Result<T, KeyError>)>;

impl<T: Send + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Pool")
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Pool<T> {
    /// A pool that starts to fill at once. With `low` 0 nothing is made ahead. `high` below `low`
    /// counts as `low`. `make` may block and may fail; if it panics, that is `Unavailable`.
    pub fn new(low: usize, high: usize, make: Make<T>) -> Self {
        let state = State::new(low, high.max(low));
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            make,
        });
        let refilled = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("key-pool".to_owned())
            .spawn(move || refilled.refill());
        let failed = |error| tracing::warn!(%error, "no thread to make data keys ahead");
        Self {
            shared,
            refill: spawned.map_err(failed).ok(),
        }
    }

    /// Hands an item to `done`: at once on this thread where one is ready, else later on the
    /// pool's thread. A failure to make one is handed on; one of the last second (or less,
    /// while the back-off is short) is handed on at once. `done` is called exactly once, with no
    /// lock held.
    pub fn take(&self, done: impl FnOnce(Result<T, KeyError>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        let answer = state.take_now();
        let waits = answer.is_none() && self.refill.is_some();
        if waits {
            state.waiters.push_back(Box::new(done));
            drop(state);
            self.shared.wake.notify_one();
            return;
        }
        let wakes = state.fill_due();
        drop(state);
        if wakes {
            self.shared.wake.notify_one();
        }
        done(answer.unwrap_or_else(|| self.shared.make_one()));
    }

    /// Drops every ready item; the pool fills again.
    pub fn clear(&self) {
        let dropped = std::mem::take(&mut self.shared.state.lock().ready);
        drop(dropped);
        self.shared.wake.notify_one();
    }

    /// How the pool is.
    pub fn stats(&self) -> PoolStats {
        self.shared.state.lock().stats()
    }
}

impl<T: Send + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_all();
        // Not where the pool's own thread held the last reference to it.
        let other = self
            .refill
            .take()
            .filter(|refill| refill.thread().id() != thread::current().id());
        if other.is_some_and(|refill| refill.join().is_err()) {
            tracing::error!("the thread that makes data keys ahead panicked");
        }
        let left = std::mem::take(&mut self.shared.state.lock().waiters);
        for waiter in left {
            answer(
                waiter,
                Err(KeyError::unavailable("the pool of data keys is closing").of_this_host()),
            );
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    /// The life of the thread.
    fn refill(&self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        while self.wait_for_need() {
            let made = self.make_one();
            let answers = self.state.lock().settle(made, &mut backoff);
            for (waiter, result) in answers {
                answer(waiter, result);
            }
        }
    }

    /// Waits until an item is needed; false once the pool is closed.
    fn wait_for_need(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return false;
            }
            if !state.waiters.is_empty() {
                return true;
            }
            match state.outage.as_ref().map(Outage::retry_at) {
                _ if !state.fill_due() => self.wake.wait(&mut state),
                Some(at) if at > Instant::now() => drop(self.wake.wait_until(&mut state, at)),
                _ => return true,
            }
        }
    }

    fn make_one(&self) -> Result<T, KeyError> {
        catch_unwind(AssertUnwindSafe(|| (self.make)())).unwrap_or_else(|_panic| {
            tracing::error!("a panic while a data key was made");
            Err(KeyError::unavailable("the key provider panicked"))
        })
    }
}

impl<T> State<T> {
    fn new(low: usize, high: usize) -> Self {
        Self {
            ready: VecDeque::new(),
            waiters: VecDeque::new(),
            low,
            high,
            filling: false,
            outage: None,
            closed: false,
            made: 0,
            failures: 0,
        }
    }

    /// An item, or a failure that is fresh enough to stand for the next one.
    fn take_now(&mut self) -> Option<Result<T, KeyError>> {
        if let Some(item) = self.ready.pop_front() {
            return Some(Ok(item));
        }
        let outage = self.outage.as_ref()?;
        outage.is_fresh().then(|| Err(outage.error.clone()))
    }

    /// Whether items should be made ahead.
    fn fill_due(&mut self) -> bool {
        let ready = self.ready.len();
        self.filling = ready < self.low || (self.filling && ready < self.high);
        self.filling
    }

    /// An attempt is over: an item goes to the first who waits or to the ready ones, a failure to
    /// all who wait.
    fn settle(&mut self, made: Result<T, KeyError>, backoff: &mut Backoff) -> Answers<T> {
        match made {
            Ok(item) => {
                self.made = self.made.saturating_add(1);
                self.outage = None;
                backoff.reset();
                self.hand_over(item)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let delay = backoff.next_delay();
                self.outage = Some(Outage {
                    error: error.clone(),
                    since: Instant::now(),
                    delay,
                });
                self.waiters
                    .drain(..)
                    .map(|waiter| (waiter, Err(error.clone())))
                    .collect()
            }
        }
    }

    fn hand_over(&mut self, item: T) -> Answers<T> {
        match self.waiters.pop_front() {
            Some(waiter) => vec![(waiter, Ok(item))],
            None => {
                self.ready.push_back(item);
                Vec::new()
            }
        }
    }

    fn stats(&self) -> PoolStats {
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

    fn is_fresh(&self) -> bool {
        self.since.elapsed() < self.delay.min(FAILURE_KEPT)
    }
}

/// Answers one waiter. A panic in one must not take the answer from the next.
fn answer<T>(waiter: Waiter<T>, result: Result<T, KeyError>) {
    if catch_unwind(AssertUnwindSafe(|| waiter(result))).is_err() {
        tracing::error!("a panic in what waited for a data key");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::keys::error::KeyErrorKind;

    const LONG: Duration = Duration::from_secs(10);

    /// Makes 0, 1, 2, … unless told to fail.
    #[derive(Default)]
    struct Source {
        made: AtomicU64,
        attempts: AtomicU64,
        down: AtomicBool,
        slow: AtomicBool,
    }

    impl Source {
        fn make(&self) -> Result<u64, KeyError> {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            if self.slow.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(100));
            }
            if self.down.load(Ordering::SeqCst) {
                return Err(KeyError::unavailable("down"));
            }
            Ok(self.made.fetch_add(1, Ordering::SeqCst))
        }

        fn pool(self: &Arc<Self>, low: usize, high: usize) -> Pool<u64> {
            let source = Arc::clone(self);
            Pool::new(low, high, Arc::new(move || source.make()))
        }
    }

    fn take(pool: &Pool<u64>) -> Receiver<Result<u64, KeyError>> {
        let (answer, answered) = mpsc::channel();
        pool.take(move |result| answer.send(result).unwrap());
        answered
    }

    fn wait_for(what: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !what() {
            assert!(Instant::now() < end, "waited in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_fills_to_the_high_mark_and_rests() {
        let source = Arc::new(Source::default());
        let pool = source.pool(2, 5);
        wait_for(|| pool.stats().ready == 5);
        thread::sleep(Duration::from_millis(20));
        assert_eq!(source.attempts.load(Ordering::SeqCst), 5);
    }

    #[test]
    fn it_refills_below_the_low_mark_only() {
        let source = Arc::new(Source::default());
        let pool = source.pool(2, 5);
        wait_for(|| pool.stats().ready == 5);
        for _ in 0..3 {
            take(&pool).try_recv().unwrap().unwrap();
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(pool.stats().ready, 2);
        take(&pool).try_recv().unwrap().unwrap();
        wait_for(|| pool.stats().ready == 5);
    }

    #[test]
    fn a_ready_item_comes_at_once_on_this_thread() {
        let source = Arc::new(Source::default());
        let pool = source.pool(1, 1);
        wait_for(|| pool.stats().ready == 1);
        let (answer, answered) = mpsc::channel();
        pool.take(move |result| {
            answer
                .send((result.unwrap(), thread::current().id()))
                .unwrap();
        });
        assert_eq!(answered.try_recv(), Ok((0, thread::current().id())));
    }

    #[test]
    fn without_marks_items_are_made_when_asked_for_in_order() {
        let source = Arc::new(Source::default());
        let pool = source.pool(0, 0);
        let taken: Vec<_> = (0..10).map(|_n| take(&pool)).collect();
        for (n, answered) in taken.iter().enumerate() {
            let item = answered.recv_timeout(LONG).unwrap().unwrap();
            assert_eq!(usize::try_from(item).unwrap(), n);
        }
        assert_eq!(pool.stats().ready, 0);
    }

    #[test]
    fn every_waiter_of_many_threads_gets_an_item_of_his_own() {
        let pool = Arc::new(Source::default()).pool(3, 8);
        let mut items: Vec<_> = thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_n| scope.spawn(|| [(); 50].map(|()| take(&pool).recv().unwrap().unwrap())))
                .collect();
            takers
                .into_iter()
                .flat_map(|taker| taker.join().unwrap())
                .collect()
        });
        items.sort_unstable();
        items.dedup();
        assert_eq!(items.len(), 400);
    }

    #[test]
    fn a_failure_answers_all_who_wait() {
        let source = Arc::new(Source::default());
        source.down.store(true, Ordering::SeqCst);
        source.slow.store(true, Ordering::SeqCst);
        let pool = source.pool(0, 0);
        for answered in [(); 5].map(|()| take(&pool)) {
            let error = answered.recv_timeout(LONG).unwrap().unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        }
        assert!(pool.stats().failures <= 5);
    }

    #[test]
    fn a_provider_that_is_down_is_not_hammered() {
        let source = Arc::new(Source::default());
        source.down.store(true, Ordering::SeqCst);
        let pool = source.pool(4, 8);
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            take(&pool).recv_timeout(LONG).unwrap().unwrap_err();
        }
        let attempts = source.attempts.load(Ordering::SeqCst);
        assert!(
            (2..=20).contains(&attempts),
            "{attempts} attempts in half a second"
        );
    }

    #[test]
    fn it_recovers_by_itself() {
        let source = Arc::new(Source::default());
        source.down.store(true, Ordering::SeqCst);
        let pool = source.pool(1, 2);
        wait_for(|| pool.stats().failures >= 2);
        source.down.store(false, Ordering::SeqCst);
        wait_for(|| pool.stats().ready == 2);
        assert!(take(&pool).try_recv().unwrap().is_ok());
    }

    #[test]
    fn a_panic_while_making_is_an_answer_and_not_the_end() {
        let calls = AtomicU64::new(0);
        let make = move || match calls.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("on purpose"),
            n => Ok(n),
        };
        let pool = Pool::new(0, 0, Arc::new(make));
        let error = take(&pool).recv_timeout(LONG).unwrap().unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        wait_for(|| take(&pool).recv_timeout(LONG).unwrap().is_ok());
    }

    #[test]
    fn a_panic_in_a_callback_does_not_end_the_thread() {
        let pool = Arc::new(Source::default()).pool(0, 0);
        pool.take(|_result| panic!("on purpose"));
        assert!(take(&pool).recv_timeout(LONG).unwrap().is_ok());
    }

    #[test]
    fn a_callback_may_take_again() {
        let pool = Arc::new(Arc::new(Source::default()).pool(0, 0));
        let (answer, answered) = mpsc::channel();
        let again = Arc::clone(&pool);
        pool.take(move |_first| again.take(move |second| answer.send(second).unwrap()));
        assert!(answered.recv_timeout(LONG).unwrap().is_ok());
    }

    #[test]
    fn dropping_answers_who_waits_and_ends_the_thread() {
        let source = Arc::new(Source::default());
        source.slow.store(true, Ordering::SeqCst);
        let pool = source.pool(0, 0);
        let taken = [(); 20].map(|()| take(&pool));
        drop(pool);
        let refused = taken
            .iter()
            .filter(|answered| answered.try_recv().unwrap().is_err());
        assert!(refused.count() >= 15);
        assert_eq!(Arc::strong_count(&source), 1, "the thread is gone");
    }

    #[test]
    fn clear_drops_what_was_made_ahead() {
        let source = Arc::new(Source::default());
        let pool = source.pool(2, 2);
        wait_for(|| pool.stats().ready == 2);
        pool.clear();
        wait_for(|| pool.stats().ready == 2);
        assert_eq!(take(&pool).try_recv().unwrap().unwrap(), 2);
    }
}

//! Things that take a while to make, made ahead: data keys for files that are yet to be created.
//!
//! What is made on this host is made by one thread, up to a fixed mark. What a service makes is made
//! by many threads at a time, and the mark grows with the demand: it doubles whenever somebody had to
//! wait, and falls back when that has not happened for a while.

mod marks;
mod state;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::keys::error::KeyError;
use crate::threads;
pub use marks::PoolOptions;
use state::{Answers, Made, State};

/// A thread with nothing to make ends after this time, unless it is the last.
const LINGER: Duration = Duration::from_secs(5);
/// Threads begun by one call, at most: a taker must not wait for more.
const SPAWN_MAX: usize = 8;

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

/// Items made ahead by threads of the pool's own. Once fewer than the low mark are ready, they make
/// items until the high mark is reached; those who find none ready are served in the order of their
/// coming. Dropping the pool ends the threads, once the items being made are done; who still waits
/// is answered `Unavailable`.
pub struct Pool<T: Send + 'static> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Never held while an item is made or an answer given.
    state: Mutex<State<T>>,
    wake: Condvar,
    make: Make<T>,
    /// Those that have ended are taken out when others begin. Lock order: `state` → `threads`.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: Send + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Pool")
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Pool<T> {
    /// A pool that starts to fill at once. `make` may block and may fail; if it panics, that is
    /// `Unavailable`.
    pub fn new(options: PoolOptions, make: Make<T>) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(options)),
            wake: Condvar::new(),
            make,
            threads: Mutex::default(),
        });
        // One there must be, for whoever waits.
        let mut state = shared.state.lock();
        shared.spawn(&mut state, 1);
        shared.set_to_work(&mut state);
        drop(state);
        Self { shared }
    }

    /// Hands an item to `done`: at once on this thread where one is ready, else later on a thread of
    /// the pool. A failure to make one is handed on; one of the last second (or less, while the
    /// back-off is short) is handed on at once. `done` is called exactly once, with no lock held.
    pub fn take(&self, done: impl FnOnce(Result<T, KeyError>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        let answer = state.take_now(Instant::now());
        let waits = answer.is_none() && state.makers() > 0;
        if waits {
            state.wait(Box::new(done));
            self.shared.set_to_work(&mut state);
            return;
        }
        self.shared.set_to_work(&mut state);
        drop(state);
        done(answer.unwrap_or_else(|| self.shared.make_one()));
    }

    /// Drops every ready item, those being made, and what is known of failures; the pool fills again.
    pub fn clear(&self) {
        let mut state = self.shared.state.lock();
        let dropped = state.clear();
        self.shared.set_to_work(&mut state);
        drop(state);
        drop(dropped);
    }

    /// How the pool is.
    pub fn stats(&self) -> PoolStats {
        self.shared.state.lock().stats()
    }
}

impl<T: Send + 'static> Drop for Pool<T> {
    fn drop(&mut self) {
        self.shared.state.lock().close();
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *self.shared.threads.lock());
        // Not for the pool's own thread that held the last reference to it.
        let own = thread::current().id();
        for thread in threads
            .into_iter()
            .filter(|thread| thread.thread().id() != own)
        {
            if thread.join().is_err() {
                tracing::error!("a thread that makes data keys ahead panicked");
            }
        }
        let left = self.shared.state.lock().waiters();
        for waiter in left {
            let closing = KeyError::unavailable("the pool of data keys is closing").of_this_host();
            answer(waiter, Err(closing));
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    /// Wakes or begins as many threads as there is work for.
    fn set_to_work(self: &Arc<Self>, state: &mut State<T>) {
        let due = state.makers_due(Instant::now());
        let woken = due.min(state.idle());
        for _ in 0..woken {
            self.wake.notify_one();
        }
        let lacking = due.saturating_sub(woken).min(SPAWN_MAX);
        self.spawn(state, state.startable(lacking));
    }

    fn spawn(self: &Arc<Self>, state: &mut State<T>, count: usize) {
        if count == 0 {
            return;
        }
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        for _ in 0..count {
            let shared = Arc::clone(self);
            match threads::spawn("key-pool", move || shared.work()) {
                Ok(thread) => {
                    state.maker_began();
                    threads.push(thread);
                }
                Err(error) => {
                    tracing::warn!(%error, "fewer threads that make data keys ahead than asked for");
                    return;
                }
            }
        }
    }

    /// The life of a thread.
    fn work(self: &Arc<Self>) {
        while let Some(task) = self.wait_for_need() {
            let made = Made {
                result: self.make_one(),
                task,
            };
            let mut state = self.state.lock();
            let answers = state.settle(made);
            self.set_to_work(&mut state);
            drop(state);
            give(answers);
        }
    }

    /// Waits until an item is needed; `None` once this thread is not.
    fn wait_for_need(&self) -> Option<state::Task> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.is_closed() {
                state.maker_ended();
                return None;
            }
            if let Some(task) = state.begin(now) {
                return Some(task);
            }
            let retry = state.retry_at().filter(|at| *at > now);
            let is_last = state.makers() == 1;
            let until = retry.or_else(|| now.checked_add(LINGER).filter(|_| !is_last));
            state.rest();
            let timed_out = match until {
                Some(until) => self.wake.wait_until(&mut state, until).timed_out(),
                None => {
                    self.wake.wait(&mut state);
                    false
                }
            };
            state.wake_up();
            if timed_out && state.makers() > 1 && !state.has_work(Instant::now()) {
                state.maker_ended();
                return None;
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

fn give<T>(answers: Answers<T>) {
    for (waiter, result) in answers {
        answer(waiter, result);
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
            Pool::new(
                PoolOptions::fixed(low, high),
                Arc::new(move || source.make()),
            )
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
        let pool = Pool::new(PoolOptions::fixed(0, 0), Arc::new(make));
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

    #[test]
    fn what_a_service_makes_is_made_by_many_and_ahead_once_somebody_waited() {
        let source = Arc::new(Source::default());
        source.slow.store(true, Ordering::SeqCst);
        let made = Arc::clone(&source);
        let pool = Pool::new(PoolOptions::growing(), Arc::new(move || made.make()));
        let begun = Instant::now();
        for _ in 0..500 {
            take(&pool).recv_timeout(LONG).unwrap().unwrap();
        }
        // One after another they would take 50 s.
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
        wait_for(|| pool.stats().ready > 100);
    }

    #[test]
    fn a_service_that_is_down_is_asked_by_one_and_seldom() {
        let source = Arc::new(Source::default());
        source.down.store(true, Ordering::SeqCst);
        let made = Arc::clone(&source);
        let pool = Pool::new(PoolOptions::growing(), Arc::new(move || made.make()));
        wait_for(|| pool.stats().failures > 0);
        let before = source.attempts.load(Ordering::SeqCst);
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            take(&pool).recv_timeout(LONG).unwrap().unwrap_err();
        }
        let attempts = source.attempts.load(Ordering::SeqCst) - before;
        assert!(attempts <= 40, "{attempts} attempts in half a second");
        source.down.store(false, Ordering::SeqCst);
        wait_for(|| take(&pool).recv_timeout(LONG).unwrap().is_ok());
    }

    #[test]
    fn items_that_are_too_old_are_not_given_out() {
        let source = Arc::new(Source::default());
        let made = Arc::clone(&source);
        let options = PoolOptions::fixed(2, 2).max_age(Duration::from_millis(50));
        let pool = Pool::new(options, Arc::new(move || made.make()));
        wait_for(|| pool.stats().ready == 2);
        thread::sleep(Duration::from_millis(60));
        let item = take(&pool).recv_timeout(LONG).unwrap().unwrap();
        assert!(item >= 2, "{item}");
    }

    #[test]
    fn what_is_being_made_when_the_pool_is_cleared_is_not_given_out() {
        let source = Arc::new(Source::default());
        source.slow.store(true, Ordering::SeqCst);
        let pool = source.pool(1, 1);
        wait_for(|| source.attempts.load(Ordering::SeqCst) == 1);
        pool.clear();
        let item = take(&pool).recv_timeout(LONG).unwrap().unwrap();
        assert_eq!(item, 1);
    }
}

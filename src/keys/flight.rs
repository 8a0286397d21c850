//! One attempt for all who ask while it lasts: what comes of it, good or bad, is everyone's.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

/// What the attempt came to; `None` where it ended in a panic.
type Outcome<T> = OnceLock<Option<T>>;

/// At most one attempt at a time.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    under_way: Mutex<Option<Arc<Outcome<T>>>>,
}

/// The right to make the attempt. Once it is dropped, those who wait have what came of it.
struct Pilot<'a, T> {
    flight: &'a Flight<T>,
    outcome: Arc<Outcome<T>>,
}

enum Seat<'a, T> {
    Pilot(Pilot<'a, T>),
    Passenger(Arc<Outcome<T>>),
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
        }
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the attempt that is under way, and has what came of it; makes one by `attempt` where
    /// none is.
    pub(crate) fn join(&self, attempt: impl FnOnce() -> T) -> T {
        loop {
            match self.board() {
                Seat::Pilot(pilot) => return pilot.fly(attempt),
                Seat::Passenger(outcome) => {
                    if let Some(value) = outcome.wait() {
                        return value.clone();
                    }
                }
            }
        }
    }

    /// Makes an attempt; `None` where one is under way, which is not waited for.
    pub(crate) fn begin(&self, attempt: impl FnOnce() -> T) -> Option<T> {
        match self.board() {
            Seat::Pilot(pilot) => Some(pilot.fly(attempt)),
            Seat::Passenger(_) => None,
        }
    }

    /// Those who wait for the attempt that is under way.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        let under_way = self.under_way.lock();
        under_way.as_ref().map_or(0, |outcome| {
            // One is kept here, and one by the pilot.
            Arc::strong_count(outcome) - 2
        })
    }

    fn board(&self) -> Seat<'_, T> {
        let mut under_way = self.under_way.lock();
        match under_way.as_ref() {
            Some(outcome) => Seat::Passenger(Arc::clone(outcome)),
            None => {
                let outcome = Arc::clone(under_way.insert(Arc::default()));
                Seat::Pilot(Pilot {
                    flight: self,
                    outcome,
                })
            }
        }
    }
}

impl<T: Clone> Pilot<'_, T> {
    fn fly(self, attempt: impl FnOnce() -> T) -> T {
        let value = attempt();
        let _first = self.outcome.set(Some(value.clone()));
        value
    }
}

impl<T> Drop for Pilot<'_, T> {
    /// Also where the attempt panicked: whoever waits makes the next one.
    fn drop(&mut self) {
        *self.flight.under_way.lock() = None;
        let _outcome_stays = self.outcome.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Waits until so many wait.
    fn await_waiting<T: Clone>(flight: &Flight<T>, count: usize) {
        while flight.waiting() < count {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn all_who_wait_share_one_attempt_whatever_comes_of_it() {
        for outcome in [Ok(7), Err("down")] {
            let (flight, attempts) = (Flight::default(), AtomicUsize::new(0));
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let value = flight.join(|| {
                            attempts.fetch_add(1, Ordering::SeqCst);
                            await_waiting(&flight, 7);
                            outcome
                        });
                        assert_eq!(value, outcome);
                    });
                }
            });
            assert_eq!(attempts.into_inner(), 1);
        }
    }

    #[test]
    fn who_comes_later_makes_an_attempt_of_his_own() {
        let flight = Flight::default();
        assert_eq!([1, 2].map(|number| flight.join(|| number)), [1, 2]);
        assert_eq!(flight.waiting(), 0);
    }

    #[test]
    fn one_that_is_under_way_is_not_begun_again() {
        let flight = Flight::default();
        let inner = flight.begin(|| flight.begin(|| 2).unwrap_or(1));
        assert_eq!((inner, flight.begin(|| 3)), (Some(1), Some(3)));
    }

    #[test]
    fn a_panic_leaves_the_attempt_to_those_who_wait() {
        let flight = Flight::default();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                while flight.under_way.lock().is_none() {
                    thread::yield_now();
                }
                flight.join(|| 2)
            });
            let broken = panic::catch_unwind(AssertUnwindSafe(|| {
                flight.join(|| {
                    await_waiting(&flight, 1);
                    panic!("it breaks")
                })
            }));
            assert!(broken.is_err());
            assert_eq!(waiter.join().unwrap(), 2);
        });
    }
}

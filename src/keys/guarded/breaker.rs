//! A circuit breaker: a provider that does not answer is left alone for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::keys::backoff::Backoff;
use crate::keys::error::{KeyError, Retry};

/// Failures in a row that open the breaker. One that took its time is enough.
const FAILURES: u32 = 3;
/// How long the breaker stays open, the first time and at most.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// A service that asks for more than this time to itself is asked sooner.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// Closed, and calls go through; or open, and they fail at once, but for one trial when the time
/// is up.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Failures in a row.
    failures: u32,
    rest: Backoff,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    until: Instant,
    /// A trial is under way.
    on_trial: bool,
    error: KeyError,
}

/// That a provider is not asked, since it does not answer.
#[derive(Clone, Debug)]
pub struct Outage {
    /// How long it has not answered.
    pub lasted: Duration,
    /// When it is next asked, at the earliest.
    pub retry_in: Duration,
    /// What came of the last call.
    pub error: KeyError,
}

/// The right to one call. Dropped without a word (as in a panic), it says nothing of the provider.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    trial: bool,
}

/// What a failure did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Now {
    Closed,
    /// Open since this failure, for this time.
    Opened(Duration),
    /// Open as before, or again.
    Open,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            failures: 0,
            rest: Backoff::new(FIRST_REST, LONGEST_REST),
            open: None,
        }))
    }

    /// Lets a call through, or says why not.
    pub(super) fn admit(&self, now: Instant) -> Result<Pass<'_>, Outage> {
        let mut state = self.0.lock();
        let trial = match &mut state.open {
            None => false,
            Some(open) if open.on_trial || now < open.until => return Err(open.outage(now)),
            Some(open) => {
                open.on_trial = true;
                true
            }
        };
        let breaker = self;
        Ok(Pass { breaker, trial })
    }

    /// The outage, while the breaker is open.
    pub(super) fn outage(&self, now: Instant) -> Option<Outage> {
        self.0.lock().open.as_ref().map(|open| open.outage(now))
    }
}

impl Pass<'_> {
    /// The provider answered, whatever it said. Gives the length of the outage that this ends.
    pub(super) fn answered(self, now: Instant) -> Option<Duration> {
        let mut state = self.breaker.0.lock();
        state.failures = 0;
        state.rest.reset();
        let open = state.open.take()?;
        Some(now.saturating_duration_since(open.since))
    }

    /// The provider gave no answer. `slowly`: the caller waited for it.
    pub(super) fn failed(self, error: &KeyError, slowly: bool, now: Instant) -> Now {
        let mut state = self.breaker.0.lock();
        state.failures = state.failures.saturating_add(1);
        let is_open = state.open.is_some();
        if !is_open && !slowly && state.failures < FAILURES {
            return Now::Closed;
        }
        if is_open && !self.trial {
            // A call that began before; only the trial tells how it is now.
            return Now::Open;
        }
        let rest = state.rest_after(error);
        let since = state.open.as_ref().map_or(now, |open| open.since);
        state.open = Some(Open {
            since,
            until: now.checked_add(rest).unwrap_or(now),
            on_trial: false,
            error: error.clone(),
        });
        if is_open {
            Now::Open
        } else {
            Now::Opened(rest)
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trial
            && let Some(open) = &mut self.breaker.0.lock().open
        {
            open.on_trial = false;
        }
    }
}

impl State {
    fn rest_after(&mut self, error: &KeyError) -> Duration {
        let asked_for = match error.retry() {
            Retry::After(time) => time.min(RETRY_AFTER_MAX),
            Retry::Never | Retry::Soon => Duration::ZERO,
        };
        self.rest.next_delay().max(asked_for)
    }
}

impl Open {
    fn outage(&self, now: Instant) -> Outage {
        Outage {
            lasted: now.saturating_duration_since(self.since),
            retry_in: self.until.saturating_duration_since(now),
            error: self.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence() -> KeyError {
        KeyError::unavailable("no answer")
    }

    fn fail(breaker: &Breaker, now: Instant) -> Now {
        breaker.admit(now).unwrap().failed(&silence(), false, now)
    }

    /// A breaker that opened at this moment, and when it lets a trial through.
    fn opened() -> (Breaker, Instant, Instant) {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let opened = breaker.admit(now).unwrap().failed(&silence(), true, now);
        let Now::Opened(rest) = opened else {
            panic!("{opened:?}")
        };
        (breaker, now, now + rest)
    }

    #[test]
    fn quick_failures_open_it_when_they_come_in_a_row() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        for _ in 0..5 {
            assert_eq!(fail(&breaker, now), Now::Closed);
            assert_eq!(fail(&breaker, now), Now::Closed);
            assert_eq!(breaker.admit(now).unwrap().answered(now), None);
        }
        fail(&breaker, now);
        fail(&breaker, now);
        assert!(matches!(fail(&breaker, now), Now::Opened(_)));
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn one_slow_failure_opens_it() {
        let (breaker, now, until) = opened();
        assert!(breaker.admit(now).is_err());
        assert!(breaker.admit(until - Duration::from_millis(1)).is_err());
        assert!(breaker.admit(until).is_ok());
    }

    #[test]
    fn one_trial_goes_through_and_the_others_fail_meanwhile() {
        let (breaker, _now, until) = opened();
        let trial = breaker.admit(until).unwrap();
        assert!(breaker.admit(until).is_err());
        assert!(trial.answered(until).is_some());
        assert!(breaker.admit(until).is_ok());
        assert!(breaker.outage(until).is_none());
    }

    #[test]
    fn a_failed_trial_keeps_it_open_and_the_outage_goes_on() {
        let (breaker, since, until) = opened();
        let trial = breaker.admit(until).unwrap();
        assert_eq!(trial.failed(&silence(), false, until), Now::Open);
        let outage = breaker.admit(until).unwrap_err();
        assert_eq!(outage.lasted, until - since);
        assert!(outage.retry_in > Duration::ZERO);
    }

    #[test]
    fn rests_grow_and_stay_bounded() {
        let (breaker, mut now, mut until) = opened();
        let mut longest = Duration::ZERO;
        for _ in 0..40 {
            longest = longest.max(until - now);
            now = until;
            let trial = breaker.admit(now).unwrap();
            trial.failed(&silence(), true, now);
            until = now + breaker.outage(now).unwrap().retry_in;
        }
        assert!(
            longest > FIRST_REST * 2 && longest <= LONGEST_REST,
            "{longest:?}"
        );
    }

    #[test]
    fn a_trial_that_panics_lets_the_next_one_try() {
        let (breaker, _now, until) = opened();
        drop(breaker.admit(until).unwrap());
        assert!(breaker.admit(until).is_ok());
    }

    #[test]
    fn who_asked_before_it_opened_does_not_lengthen_it_and_an_answer_ends_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        let late = [(); 3].map(|()| breaker.admit(now).unwrap());
        breaker.admit(now).unwrap().failed(&silence(), true, now);
        let until = now + breaker.outage(now).unwrap().retry_in;
        let [first, second, third] = late;
        for pass in [first, second] {
            assert_eq!(pass.failed(&silence(), true, now), Now::Open);
        }
        assert_eq!(now + breaker.outage(now).unwrap().retry_in, until);
        assert!(third.answered(now).is_some());
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn a_service_is_left_alone_for_as_long_as_it_asks_within_reason() {
        for (asked, given) in [(60, 60), (100_000, 120)] {
            let (breaker, now) = (Breaker::new(), Instant::now());
            let error = silence().retry_after(Duration::from_secs(asked));
            breaker.admit(now).unwrap().failed(&error, true, now);
            let rest = breaker.outage(now).unwrap().retry_in;
            assert_eq!(rest, Duration::from_secs(given));
        }
    }
}

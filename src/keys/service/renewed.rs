//! What a service gives for a time to whoever proves who he is: kept, renewed before it ends, and asked
//! for anew once it is refused. All who need it at the same time share one attempt to get it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::keys::error::KeyError;
use crate::keys::flight::Flight;

/// After a refusal nothing new is asked for during this time, and up to the longest one where refusals
/// go on: who is refused all the same would else log in with each call. What is changed on this machine
/// meanwhile, such as a file with credentials, is noticed after the longest one at the latest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A refusal that comes so long after the last pause has begun is not its sequel.
const CALM: Duration = Duration::from_secs(60);

/// What is given.
pub(crate) trait Given: Send + Sync + fmt::Debug {
    /// How long before the end of its lifetime a new one is looked for.
    fn early(lifetime: Duration) -> Duration;

    /// How long a renewal that failed is not tried again, as long as the old one is good.
    fn try_again(lifetime: Duration) -> Duration;

    /// Whether it is that one again.
    fn is_same(&self, other: &Self) -> bool;
}

/// Where it comes from.
pub(crate) trait Source: Send + Sync + fmt::Debug {
    type Given: Given;

    /// A new one; or `last`, which is about to end, prolonged. May block.
    ///
    /// # Errors
    /// Why there is none.
    fn fetch(&self, last: Option<&Leased<Self::Given>>) -> Result<Leased<Self::Given>, KeyError>;
}

/// Something that is good for a time.
#[derive(Debug)]
pub(crate) struct Leased<T> {
    given: T,
    begun: Instant,
    lifetime: Option<Duration>,
}

impl<T> Deref for Leased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.given
    }
}

impl<T> Leased<T> {
    /// From now on; without a lifetime it does not end.
    pub(super) fn from_now(given: T, lifetime: Option<Duration>) -> Self {
        Self {
            given,
            begun: Instant::now(),
            lifetime,
        }
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    pub(super) fn map(self, change: impl FnOnce(T) -> T) -> Self {
        Self {
            given: change(self.given),
            ..self
        }
    }

    fn is_over(&self) -> bool {
        self.lifetime
            .is_some_and(|time| self.begun.elapsed() >= time)
    }
}

impl<T: Given> Leased<T> {
    /// The time until a new one is looked for; `None` where it has no end.
    fn due_in(&self) -> Option<Duration> {
        let lifetime = self.lifetime?;
        let due = lifetime.saturating_sub(T::early(lifetime));
        Some(due.saturating_sub(self.begun.elapsed()))
    }

    fn is_due(&self) -> bool {
        self.due_in().is_some_and(|time| time.is_zero())
    }
}

/// What is in use of what a source gives.
#[derive(Debug)]
pub(crate) struct Renewed<S: Source> {
    source: S,
    fetching: Flight<Attempt<S>>,
    /// Never held while the source is asked.
    state: Mutex<State<S::Given>>,
}

type Attempt<S> = Result<Arc<Leased<<S as Source>::Given>>, KeyError>;

#[derive(Debug)]
struct State<T> {
    lease: Option<Arc<Leased<T>>>,
    /// Changes with [`Renewed::forget`]: what was asked for before it is not kept.
    generation: u64,
    /// No renewal before this.
    renewal: Option<Instant>,
    pauses: Pauses,
    /// Why the source gave none, as long as the pause lasts.
    denied: Option<KeyError>,
}

impl<S: Source> Renewed<S> {
    /// Nothing is fetched yet.
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            fetching: Flight::default(),
            state: Mutex::new(State {
                lease: None,
                generation: 0,
                renewal: None,
                pauses: Pauses::default(),
                denied: None,
            }),
        }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// The one to use now. One that is about to end is renewed by one of its users; where that fails
    /// it stays in use to its end.
    ///
    /// # Errors
    /// Those of the source, where none is in use.
    pub(crate) fn current(&self) -> Attempt<S> {
        self.renew_if_due();
        let good = self.state.lock().good();
        match good {
            Some(lease) => Ok(lease),
            None => self.fetching.join(|| self.fetch(None)),
        }
    }

    /// Does something with the one in use; once more with another one where the service refuses that
    /// one, as `is_refused` sees it, and the source has another.
    ///
    /// # Errors
    /// Those of the source, and of what is done.
    pub(crate) fn with<T, E: From<KeyError>>(
        &self,
        is_refused: impl Fn(&Result<T, E>) -> bool,
        work: impl Fn(&Leased<S::Given>) -> Result<T, E>,
    ) -> Result<T, E> {
        let lease = self.current()?;
        let done = work(&lease);
        if is_refused(&done) {
            let other = self.fetching.join(|| self.fetch(Some(&lease)))?;
            if !other.is_same(&lease) {
                return work(&other);
            }
        }
        done
    }

    /// Renews the one in use if it is about to end and nobody else is at it.
    pub(crate) fn renew_if_due(&self) {
        let lease = self.state.lock().due_for_renewal();
        if let Some(lease) = lease {
            self.fetching.begin(|| self.renew(&lease));
        }
    }

    /// Takes it out of use and out of memory.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.lease = None;
        state.denied = None;
        state.generation = state.generation.wrapping_add(1);
    }

    /// The time until the one in use should be renewed; `None` where there is none, or one without an
    /// end.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        self.state.lock().good()?.due_in()
    }

    /// One that is good, and not the one that was `refused`, unless it is too early to ask for another.
    fn fetch(&self, refused: Option<&Arc<Leased<S::Given>>>) -> Attempt<S> {
        let generation = {
            let state = self.state.lock();
            if let Some(answer) = state.answer(refused, Instant::now()) {
                return answer;
            }
            state.generation
        };
        let fetched = self.source.fetch(None).map(Arc::new);
        let mut state = self.state.lock();
        if state.generation == generation {
            state.put(&fetched, refused.is_some(), Instant::now());
        }
        fetched
    }

    fn renew(&self, lease: &Arc<Leased<S::Given>>) -> Attempt<S> {
        let generation = {
            let state = self.state.lock();
            match state.good() {
                Some(newer) if !Arc::ptr_eq(&newer, lease) => return Ok(newer),
                _ => state.generation,
            }
        };
        let renewed = self.source.fetch(Some(lease)).map(Arc::new);
        let mut state = self.state.lock();
        match renewed {
            Ok(new) => {
                if state.generation == generation {
                    state.lease = Some(Arc::clone(&new));
                }
                Ok(new)
            }
            Err(error) => {
                tracing::warn!(%error, "what this machine shows to the key service could not be renewed yet");
                let wait = S::Given::try_again(lease.lifetime.unwrap_or_default());
                state.renewal = Instant::now().checked_add(wait);
                state.good().ok_or(error)
            }
        }
    }
}

impl<T: Given> State<T> {
    fn good(&self) -> Option<Arc<Leased<T>>> {
        let lease = self.lease.as_ref();
        lease.filter(|lease| !lease.is_over()).map(Arc::clone)
    }

    fn due_for_renewal(&self) -> Option<Arc<Leased<T>>> {
        let is_early = self.renewal.is_some_and(|time| Instant::now() < time);
        self.good().filter(|lease| !is_early && lease.is_due())
    }

    /// What there is to say without asking the source.
    fn answer(
        &self,
        refused: Option<&Arc<Leased<T>>>,
        now: Instant,
    ) -> Option<Result<Arc<Leased<T>>, KeyError>> {
        let paused = self.pauses.is_on(now);
        match (self.good(), &self.denied) {
            (Some(lease), _) => {
                let is_refused = refused.is_some_and(|refused| Arc::ptr_eq(refused, &lease));
                (paused || !is_refused).then_some(Ok(lease))
            }
            (None, Some(error)) if paused => Some(Err(error.clone())),
            (None, _) => None,
        }
    }

    /// Keeps what the source gave. Nothing that was refused stays in use where it gave nothing.
    fn put(
        &mut self,
        fetched: &Result<Arc<Leased<T>>, KeyError>,
        after_refusal: bool,
        now: Instant,
    ) {
        let denied = fetched.as_ref().err();
        self.denied = denied.filter(|error| error.kind().is_refusal()).cloned();
        self.lease = fetched.as_ref().ok().map(Arc::clone);
        if after_refusal || self.denied.is_some() {
            self.pauses.begin(now);
        }
    }
}

/// When nothing is asked for.
#[derive(Debug, Default)]
struct Pauses {
    last: Option<(Instant, Duration)>,
}

impl Pauses {
    fn is_on(&self, now: Instant) -> bool {
        self.last
            .is_some_and(|(begun, pause)| now.saturating_duration_since(begun) < pause)
    }

    fn begin(&mut self, now: Instant) {
        let pause = match self.last {
            Some((begun, pause)) if now.saturating_duration_since(begun) < CALM => {
                pause.saturating_mul(2).min(LONGEST_PAUSE)
            }
            _ => FIRST_PAUSE,
        };
        self.last = Some((now, pause));
    }
}

#[cfg(test)]
impl<S: Source> Renewed<S> {
    /// Makes the one in use, and the last pause, so much older.
    pub(super) fn age(&self, by: Duration) {
        let mut state = self.state.lock();
        if let Some(lease) = state.lease.as_mut() {
            let lease = Arc::get_mut(lease).expect("nobody else has it");
            lease.begun = lease.begun.checked_sub(by).unwrap();
        }
        if let Some((begun, _pause)) = state.pauses.last.as_mut() {
            *begun = begun.checked_sub(by).unwrap();
        }
        if let Some(renewal) = state.renewal.as_mut() {
            *renewal = renewal.checked_sub(by).unwrap();
        }
    }
}

#[cfg(test)]
mod tests;

//! One shard of the keyring: keys, failures and flights of the files that fall to it. Pure state
//! under its owner's lock; calls nobody.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::{DekRequest, DekResult, KeyringStats};
use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::units::{EpochId, FileId};

/// How long a failure is given again without asking.
pub(super) const FAILURE_KEPT: Duration = Duration::from_secs(1);
/// The most failures that a shard keeps. Apart from the keys, so that a folder of broken files
/// does not drive out the keys of sound ones.
const FAILURES_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Who waits for a key.
pub(super) type Waiter = Box<dyn FnOnce(DekResult) + Send>;

type Place = (FileId, EpochId);

/// What a provider is asked: headers of one file id that differ in their commitment (one was
/// planted, or a reencrypt was cut short) are different questions.
type Question = (Place, [u8; 32]);

struct Known {
    dek: Arc<SecretKey>,
    /// `None`: from outside, and believed for any.
    commitment: Option<[u8; 32]>,
    since: Instant,
}

struct Failure {
    error: KeyError,
    since: Instant,
}

/// A call of the provider, under way or in the queue.
struct Flight {
    waiters: Vec<Waiter>,
    /// The shard's generation when it began: what comes of it is not kept after a `clear`.
    generation: u64,
}

/// An answer from memory.
pub(super) struct Found {
    pub(super) result: DekResult,
    /// The key's time is nearly over, and it should be asked for again.
    pub(super) stale: bool,
}

/// What came of asking for what was not in memory.
pub(super) enum Start {
    /// It came into memory just now.
    Answered(Waiter, DekResult),
    /// A call is under way; the waiter waits for it.
    Joined,
    /// The caller has to see to the call.
    Flight,
}

pub(super) struct Shard {
    known: LruCache<Place, Known>,
    failures: LruCache<Question, Failure>,
    flights: HashMap<Question, Flight>,
    ttl: Duration,
    generation: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
}

impl Shard {
    pub(super) fn new(entries: usize, ttl: Duration) -> Self {
        let entries = NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN);
        Self {
            known: LruCache::sparse(entries),
            failures: LruCache::sparse(FAILURES_MAX),
            flights: HashMap::new(),
            ttl,
            generation: 0,
            hits: 0,
            misses: 0,
            evictions: 0,
        }
    }

    pub(super) fn cached(
        &mut self,
        file: FileId,
        epoch: EpochId,
        now: Instant,
    ) -> Option<Arc<SecretKey>> {
        let (dek, _stale) = self.live((file, epoch), None, now)?;
        self.hits = self.hits.saturating_add(1);
        Some(dek)
    }

    pub(super) fn insert(
        &mut self,
        file: FileId,
        epoch: EpochId,
        dek: Arc<SecretKey>,
        now: Instant,
    ) {
        self.keep((file, epoch), dek, None, now);
    }

    /// The answer where memory has one.
    pub(super) fn find(&mut self, request: &DekRequest, now: Instant) -> Option<Found> {
        let found = self.recall(request, now)?;
        self.hits = self.hits.saturating_add(1);
        Some(found)
    }

    /// Waits for the call under way, or begins one. Memory is asked again first: an answer may
    /// have come since `find`.
    pub(super) fn join_or_start(
        &mut self,
        request: &DekRequest,
        waiter: Waiter,
        now: Instant,
    ) -> Start {
        if let Some(found) = self.find(request, now) {
            return Start::Answered(waiter, found.result);
        }
        self.misses = self.misses.saturating_add(1);
        if let Some(flight) = self.flights.get_mut(&question(request)) {
            flight.waiters.push(waiter);
            return Start::Joined;
        }
        self.start(request, vec![waiter]);
        Start::Flight
    }

    /// Waits for the call under way, or begins one whatever memory has; says whether the caller has to see to it.
    pub(super) fn join_or_start_anew(&mut self, request: &DekRequest, waiter: Waiter) -> bool {
        if let Some(flight) = self.flights.get_mut(&question(request)) {
            flight.waiters.push(waiter);
            return false;
        }
        self.start(request, vec![waiter]);
        true
    }

    /// When the key that is kept was asked for.
    pub(super) fn since(&self, file: FileId, epoch: EpochId) -> Option<Instant> {
        self.known.peek(&(file, epoch)).map(|known| known.since)
    }

    /// Begins a call that nobody waits for; false where one is under way.
    pub(super) fn start_refresh(&mut self, request: &DekRequest) -> bool {
        if self.flights.contains_key(&question(request)) {
            return false;
        }
        self.start(request, Vec::new());
        true
    }

    /// A call that began at `asked` is over: keeps what came of it and gives back who waits for it.
    pub(super) fn land(
        &mut self,
        request: &DekRequest,
        result: &DekResult,
        asked: Instant,
    ) -> Vec<Waiter> {
        let Some(flight) = self.flights.remove(&question(request)) else {
            return Vec::new();
        };
        if flight.generation == self.generation {
            self.learn(request, result, asked);
        }
        flight.waiters
    }

    /// Drops what is too old. Keys are zeroed by that.
    pub(super) fn sweep(&mut self, now: Instant) {
        let ttl = self.ttl;
        self.known
            .retain(|_place, known| age(known.since, now) < ttl);
        self.failures
            .retain(|_question, failure| age(failure.since, now) < FAILURE_KEPT);
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.failures.clear();
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn stats(&self) -> KeyringStats {
        KeyringStats {
            hits: self.hits,
            misses: self.misses,
            entries: u64::try_from(self.known.len()).unwrap_or(u64::MAX),
            evictions: self.evictions,
        }
    }

    fn recall(&mut self, request: &DekRequest, now: Instant) -> Option<Found> {
        let place = (request.file, request.epoch);
        if let Some((dek, stale)) = self.live(place, Some(&request.commitment), now) {
            return Some(Found {
                result: Ok(dek),
                stale,
            });
        }
        let failure = self.failures.get(&question(request))?;
        let fresh = age(failure.since, now) < FAILURE_KEPT;
        fresh.then(|| Found {
            result: Err(failure.error.clone()),
            stale: false,
        })
    }

    /// A key that is still believed, and whether that is soon over.
    fn live(
        &mut self,
        place: Place,
        commitment: Option<&[u8; 32]>,
        now: Instant,
    ) -> Option<(Arc<SecretKey>, bool)> {
        let known = self.known.get(&place)?;
        let age = age(known.since, now);
        if age >= self.ttl {
            self.known.pop(&place);
            return None;
        }
        let stale = age >= self.ttl.saturating_sub(self.ttl / 4);
        known
            .is_for(commitment)
            .then(|| (Arc::clone(&known.dek), stale))
    }

    fn start(&mut self, request: &DekRequest, waiters: Vec<Waiter>) {
        let generation = self.generation;
        self.flights.insert(
            question(request),
            Flight {
                waiters,
                generation,
            },
        );
    }

    fn learn(&mut self, request: &DekRequest, result: &DekResult, asked: Instant) {
        let place = (request.file, request.epoch);
        match result {
            Ok(dek) => {
                self.failures.pop(&question(request));
                self.keep(place, Arc::clone(dek), Some(request.commitment), asked);
            }
            Err(error) => {
                if error.kind().is_refusal() {
                    self.revoke(place, &request.commitment);
                }
                let failure = Failure {
                    error: error.clone(),
                    // Counted from its end: a provider that fails slowly is spared all the same.
                    since: asked.max(Instant::now()),
                };
                self.failures.put(question(request), failure);
            }
        }
    }

    fn revoke(&mut self, place: Place, commitment: &[u8; 32]) {
        if self
            .known
            .peek(&place)
            .is_some_and(|known| known.is_for(Some(commitment)))
        {
            self.known.pop(&place);
        }
    }

    fn keep(
        &mut self,
        place: Place,
        dek: Arc<SecretKey>,
        commitment: Option<[u8; 32]>,
        now: Instant,
    ) {
        let known = Known {
            dek,
            commitment,
            since: now,
        };
        let out = self.known.push(place, known);
        // What comes out is the key that stood in this very place, or the one evicted for it.
        if out.is_some_and(|(other, _known)| other != place) {
            self.evictions = self.evictions.saturating_add(1);
        }
    }
}

impl Known {
    /// No secret is compared: commitments are public.
    fn is_for(&self, commitment: Option<&[u8; 32]>) -> bool {
        match (&self.commitment, commitment) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (None, _) | (_, None) => true,
        }
    }
}

/// Zero where the clock of another core is a little behind.
fn age(since: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(since)
}

fn question(request: &DekRequest) -> Question {
    ((request.file, request.epoch), request.commitment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;

    const TTL: Duration = Duration::from_secs(100);

    fn request(commitment: u8) -> DekRequest {
        DekRequest {
            file: FileId([1; 16]),
            volume: None,
            epoch: EpochId(1),
            commitment: [commitment; 32],
            slots: Vec::new(),
        }
    }

    fn dek() -> Arc<SecretKey> {
        Arc::new(SecretKey::random().unwrap())
    }

    fn refusal(kind: KeyErrorKind) -> DekResult {
        Err(KeyError::new(kind, "on purpose"))
    }

    fn waiter() -> Waiter {
        Box::new(|_result| {})
    }

    /// A shard that learned a key at the moment that comes with it.
    fn with_key() -> (Shard, Instant) {
        let (mut shard, now) = (Shard::new(8, TTL), Instant::now());
        assert!(shard.start_refresh(&request(0)));
        shard.land(&request(0), &Ok(dek()), now);
        (shard, now)
    }

    fn stale(shard: &mut Shard, now: Instant) -> Option<bool> {
        shard.find(&request(0), now).map(|found| found.stale)
    }

    #[test]
    fn a_key_is_fresh_then_stale_then_gone() {
        let (mut shard, start) = with_key();
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(stale(&mut shard, start), Some(false));
        assert_eq!(stale(&mut shard, at(74)), Some(false));
        assert_eq!(stale(&mut shard, at(75)), Some(true));
        assert_eq!(stale(&mut shard, at(99)), Some(true));
        assert_eq!(stale(&mut shard, at(100)), None);
        assert_eq!(shard.stats().entries, 0, "and not kept in memory");
    }

    #[test]
    fn use_does_not_lengthen_its_time() {
        let (mut shard, start) = with_key();
        for secs in 0..100 {
            assert!(
                shard
                    .find(&request(0), start + Duration::from_secs(secs))
                    .is_some()
            );
        }
        assert!(shard.find(&request(0), start + TTL).is_none());
    }

    #[test]
    fn a_refresh_lengthens_it() {
        let (mut shard, start) = with_key();
        let later = start + Duration::from_secs(80);
        assert!(shard.start_refresh(&request(0)));
        assert!(!shard.start_refresh(&request(0)), "one is enough");
        shard.land(&request(0), &Ok(dek()), later);
        assert_eq!(stale(&mut shard, start + TTL), Some(false));
    }

    #[test]
    fn a_refused_refresh_evicts_at_once_and_silence_does_not() {
        for (kind, stays) in [
            (KeyErrorKind::Denied, false),
            (KeyErrorKind::NotFound, false),
            (KeyErrorKind::Revoked, false),
            (KeyErrorKind::Unavailable, true),
            (KeyErrorKind::Corrupt, true),
            (KeyErrorKind::Config, true),
        ] {
            let (mut shard, now) = with_key();
            assert!(shard.start_refresh(&request(0)));
            shard.land(&request(0), &refusal(kind), now);
            assert_eq!(
                shard.cached(FileId([1; 16]), EpochId(1), now).is_some(),
                stays,
                "{kind}"
            );
        }
    }

    #[test]
    fn the_refusal_of_another_commitment_evicts_nothing() {
        let (mut shard, now) = with_key();
        assert!(shard.start_refresh(&request(9)));
        shard.land(&request(9), &refusal(KeyErrorKind::Denied), now);
        assert!(
            shard
                .find(&request(0), now)
                .is_some_and(|found| found.result.is_ok())
        );
        assert!(
            shard
                .find(&request(9), now)
                .is_some_and(|found| found.result.is_err())
        );
    }

    #[test]
    fn a_failure_is_kept_for_a_second() {
        let (mut shard, now) = (Shard::new(8, TTL), Instant::now());
        assert!(shard.start_refresh(&request(0)));
        shard.land(&request(0), &refusal(KeyErrorKind::Unavailable), now);
        let now = Instant::now();
        let nearly = now + FAILURE_KEPT - Duration::from_millis(1);
        assert!(shard.find(&request(0), nearly).is_some());
        assert!(shard.find(&request(0), now + FAILURE_KEPT).is_none());
    }

    #[test]
    fn an_answer_that_came_in_between_is_found_before_a_call_begins() {
        let (mut shard, now) = with_key();
        let start = shard.join_or_start(&request(0), waiter(), now);
        assert!(matches!(start, Start::Answered(_, Ok(_))));
        let start = shard.join_or_start(&request(9), waiter(), now);
        assert!(matches!(start, Start::Flight));
        let start = shard.join_or_start(&request(9), waiter(), now);
        assert!(matches!(start, Start::Joined));
        assert_eq!(shard.land(&request(9), &Ok(dek()), now).len(), 2);
    }

    #[test]
    fn what_lands_after_a_clear_is_answered_and_forgotten() {
        for result in [Ok(dek()), refusal(KeyErrorKind::Denied)] {
            let (mut shard, now) = with_key();
            shard.join_or_start(&request(9), waiter(), now);
            shard.clear();
            assert_eq!(shard.land(&request(9), &result, now).len(), 1);
            assert!(shard.find(&request(9), now).is_none());
            assert!(shard.find(&request(0), now).is_none());
        }
    }

    #[test]
    fn what_nobody_asked_for_is_not_learned() {
        let (mut shard, now) = (Shard::new(8, TTL), Instant::now());
        assert!(shard.land(&request(0), &Ok(dek()), now).is_empty());
        assert!(shard.find(&request(0), now).is_none());
    }

    #[test]
    fn a_sweep_drops_what_is_too_old_and_no_more() {
        let (mut shard, start) = with_key();
        let later = start + Duration::from_secs(50);
        shard.insert(FileId([2; 16]), EpochId(1), dek(), later);
        shard.sweep(start + TTL);
        assert_eq!(shard.stats().entries, 1);
        assert!(
            shard
                .cached(FileId([2; 16]), EpochId(1), start + TTL)
                .is_some()
        );
    }
}

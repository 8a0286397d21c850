//! A token bucket: how many calls a second a provider gets from this process.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What may be asked for at once after a rest: as much as this time allows.
const BURST: Duration = Duration::from_secs(1);
/// The longest that a call waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Gives out turns, one each `1/rate` seconds, and after a rest a second's worth of them at once.
/// Kept as the time at which all turns given out so far are used up (GCRA, ITU-T I.371).
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    used_up: Mutex<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.get(),
            used_up: Mutex::new(Instant::now()),
        }
    }

    /// How long to wait for the turn that is herewith taken; `None` where that is too long, and
    /// none is taken.
    pub(super) fn take(&self, now: Instant) -> Option<Duration> {
        let mut used_up = self.used_up.lock();
        let from = (*used_up).max(now);
        let wait = from.saturating_duration_since(now).saturating_sub(BURST);
        if wait > WAIT_MAX {
            return None;
        }
        *used_up = from.checked_add(self.interval)?;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(rate: u32) -> (Bucket, Instant) {
        let bucket = Bucket::new(NonZeroU32::new(rate).unwrap());
        let now = *bucket.used_up.lock();
        (bucket, now)
    }

    #[test]
    fn a_burst_is_free_and_what_follows_is_spread() {
        let (bucket, now) = bucket(100);
        for _ in 0..=100 {
            assert_eq!(bucket.take(now), Some(Duration::ZERO));
        }
        for n in 1..=50 {
            assert_eq!(bucket.take(now), Some(Duration::from_millis(10 * n)));
        }
    }

    #[test]
    fn a_rest_brings_back_one_burst_and_no_more() {
        let (bucket, now) = bucket(10);
        let later = now + Duration::from_secs(1000);
        let free = (0..100).filter(|_| bucket.take(later) == Some(Duration::ZERO));
        assert_eq!(free.count(), 11);
    }

    #[test]
    fn who_would_wait_too_long_is_sent_away_and_takes_no_turn() {
        let (bucket, now) = bucket(1);
        while bucket.take(now).is_some() {}
        let before = *bucket.used_up.lock();
        assert_eq!(bucket.take(now), None);
        assert_eq!(*bucket.used_up.lock(), before);
        let later = now + Duration::from_secs(1);
        assert_eq!(bucket.take(later), Some(WAIT_MAX));
    }

    #[test]
    fn no_turn_waits_for_longer_than_the_bound() {
        let (bucket, now) = bucket(1000);
        let longest = (0..100_000).map_while(|_| bucket.take(now)).max();
        assert!(longest.is_some_and(|longest| longest <= WAIT_MAX));
    }
}

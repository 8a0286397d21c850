//! How long to wait before asking a provider again that has just failed.

use std::time::Duration;

use crate::crypto::random;

/// Exponential back-off with full jitter: the n-th delay is drawn evenly from zero to
/// `first · 2^n`, but never more than `longest`. The jitter keeps many hosts that lost the same
/// provider at the same instant from coming back to it at the same instant.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins at `first`, ends at `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            ceiling: first,
            first,
            longest,
        }
    }

    /// The next delay. At least a tenth of the ceiling, so that it never becomes a busy loop.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling.min(self.longest);
        self.ceiling = ceiling.saturating_mul(2);
        let least = ceiling / 10;
        let span = u64::try_from((ceiling - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(below(span))
    }

    /// The provider answered: the next failure begins at the first delay again.
    pub(crate) fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// A random number from 0 up to and without `bound`. The bias of the remainder is far below what
/// a delay could show.
fn below(bound: u64) -> u64 {
    u64::from_le_bytes(random::array::<8>())
        .checked_rem(bound)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn delays_stay_between_a_tenth_of_the_ceiling_and_the_ceiling() {
        for _ in 0..50 {
            let mut backoff = Backoff::new(FIRST, LONGEST);
            for n in 0..12 {
                let ceiling = FIRST.saturating_mul(1 << n).min(LONGEST);
                let delay = backoff.next_delay();
                assert!(delay >= ceiling / 10 && delay <= ceiling, "{n}: {delay:?}");
            }
        }
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..200 {
            backoff.next_delay();
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }

    #[test]
    fn a_zero_delay_is_not_a_panic() {
        assert_eq!(
            Backoff::new(Duration::ZERO, Duration::ZERO).next_delay(),
            Duration::ZERO
        );
    }
}

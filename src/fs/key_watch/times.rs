//! When a key is to be asked for again, and what an answer means for it.

use std::time::{Duration, Instant};

use crate::crypto::random;
use crate::keys::{KeyError, KeyErrorKind};

/// How soon what was not answered is asked for again, at least and at most.
const AGAIN_LEAST: Duration = Duration::from_millis(50);
const AGAIN_MOST: Duration = Duration::from_secs(30);

/// How long a key is believed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// After its provider was asked.
    pub(super) ttl: Duration,
    /// Beyond that, while it does not answer.
    pub(super) grace: Duration,
}

/// When a key was, and is to be, asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    confirmed: Instant,
    due: Instant,
    pub(super) asking: bool,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No answer for too long.
    Expired,
    Refused,
    /// No answer, and the key may be used for some time yet.
    Silent,
}

impl Times {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.asking && now >= self.due
    }
}

impl Limits {
    /// A key that was asked for at `asked` is due between a half and three quarters of its time.
    pub(super) fn confirmed(&self, asked: Instant) -> Times {
        let share = u32::from_le_bytes(random::array()) % 1024;
        let spread = (self.ttl / 4 / 1024).saturating_mul(share);
        let wait = (self.ttl / 2).saturating_add(spread);
        Times {
            confirmed: asked,
            due: asked.checked_add(wait).unwrap_or(asked),
            asking: false,
        }
    }

    /// Nobody knows when it was asked for, only that this is no longer ago than its time.
    pub(super) fn unknown(&self, now: Instant) -> Times {
        Times {
            confirmed: now.checked_sub(self.ttl).unwrap_or(now),
            due: now,
            asking: false,
        }
    }

    pub(super) fn not_confirmed(&self, times: &mut Times, why: &KeyError, now: Instant) -> Verdict {
        let again = (self.ttl / 16).clamp(AGAIN_LEAST, AGAIN_MOST);
        times.asking = false;
        times.due = now.checked_add(again).unwrap_or(now);
        match why.kind() {
            // What cannot be unwrapped any more has not been confirmed either, and asking again changes nothing.
            KeyErrorKind::Corrupt
            | KeyErrorKind::Denied
            | KeyErrorKind::NotFound
            | KeyErrorKind::Revoked
                if !why.is_of_this_host() =>
            {
                Verdict::Refused
            }
            // The last ones: the mount was locked while the provider was being asked.
            KeyErrorKind::Config
            | KeyErrorKind::Unavailable
            | KeyErrorKind::Corrupt
            | KeyErrorKind::Denied
            | KeyErrorKind::NotFound
            | KeyErrorKind::Revoked => {
                let age = now.saturating_duration_since(times.confirmed);
                match age >= self.ttl.saturating_add(self.grace) {
                    true => Verdict::Expired,
                    false => Verdict::Silent,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        ttl: Duration::from_secs(100),
        grace: Duration::from_secs(1000),
    };

    fn error(kind: KeyErrorKind) -> KeyError {
        KeyError::new(kind, "on purpose")
    }

    #[test]
    fn keys_are_due_at_different_times_well_before_theirs_is_over() {
        let now = Instant::now();
        let due: Vec<_> = (0..200).map(|_| LIMITS.confirmed(now).due - now).collect();
        for due in &due {
            assert!(
                *due >= LIMITS.ttl / 2 && *due <= LIMITS.ttl * 3 / 4,
                "{due:?}"
            );
        }
        let (first, last) = (due.iter().min().unwrap(), due.iter().max().unwrap());
        assert!(*last - *first > LIMITS.ttl / 8, "they are spread");
    }

    #[test]
    fn what_is_being_asked_for_is_not_due() {
        let now = Instant::now();
        let mut times = LIMITS.unknown(now);
        assert!(times.is_due(now));
        times.asking = true;
        assert!(!times.is_due(now));
    }

    #[test]
    fn refusals_count_at_once_and_silence_when_the_grace_is_over() {
        let start = Instant::now();
        let (early, late) = (
            start + Duration::from_secs(1099),
            start + Duration::from_secs(1100),
        );
        for (kind, at_first, later) in [
            (KeyErrorKind::Corrupt, Verdict::Refused, Verdict::Refused),
            (KeyErrorKind::Denied, Verdict::Refused, Verdict::Refused),
            (KeyErrorKind::NotFound, Verdict::Refused, Verdict::Refused),
            (KeyErrorKind::Revoked, Verdict::Refused, Verdict::Refused),
            (KeyErrorKind::Config, Verdict::Silent, Verdict::Expired),
            (KeyErrorKind::Unavailable, Verdict::Silent, Verdict::Expired),
        ] {
            let mut times = LIMITS.confirmed(start);
            let verdict = LIMITS.not_confirmed(&mut times, &error(kind), early);
            assert_eq!(verdict, at_first, "{kind}");
            assert!(!times.is_due(early), "not at once again");
            let verdict = LIMITS.not_confirmed(&mut times, &error(kind), late);
            assert_eq!(verdict, later, "{kind}");
        }
    }

    #[test]
    fn a_lock_that_came_between_is_no_refusal() {
        let now = Instant::now();
        let mut times = LIMITS.confirmed(now);
        let locked = error(KeyErrorKind::NotFound).of_this_host();
        assert_eq!(
            LIMITS.not_confirmed(&mut times, &locked, now),
            Verdict::Silent
        );
    }

    #[test]
    fn the_longest_times_do_no_harm() {
        let limits = Limits {
            ttl: Duration::MAX,
            grace: Duration::MAX,
        };
        let now = Instant::now();
        let mut times = limits.confirmed(now);
        limits.unknown(now);
        let silence = error(KeyErrorKind::Unavailable);
        assert_eq!(
            limits.not_confirmed(&mut times, &silence, now),
            Verdict::Silent
        );
    }
}

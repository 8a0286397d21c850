//! No more than so many calls a second, whoever makes them.

use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A limit on the rate of calls, shared by those who make them. Calls are spread evenly, without bursts.
#[derive(Debug)]
pub struct Pace {
    /// Between one call and the next; `None` where there is no limit.
    gap: Option<Duration>,
    /// When the next call may begin.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// `per_second` calls a second; 0 means as many as there are.
    pub fn new(per_second: u32) -> Self {
        Self {
            gap: Duration::from_secs(1).checked_div(per_second),
            next: Mutex::default(),
        }
    }

    /// Waits until a call may begin.
    pub fn wait(&self) {
        if let Some(due) = self.reserve(Instant::now()) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    /// The moment that is this call's.
    fn reserve(&self, now: Instant) -> Option<Instant> {
        let gap = self.gap?;
        let mut next = self.next.lock();
        let due = next.map_or(now, |next| next.max(now));
        *next = due.checked_add(gap);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_spread_and_a_pause_is_not_saved_up() {
        let pace = Pace::new(10);
        let start = Instant::now();
        let gap = Duration::from_millis(100);
        assert_eq!(pace.reserve(start), Some(start));
        assert_eq!(pace.reserve(start), Some(start + gap));
        assert_eq!(pace.reserve(start), Some(start + 2 * gap));
        let later = start + 50 * gap;
        assert_eq!(pace.reserve(later), Some(later));
        assert_eq!(pace.reserve(later), Some(later + gap));
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(Pace::new(0).reserve(Instant::now()), None);
    }
}

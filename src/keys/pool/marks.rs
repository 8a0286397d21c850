//! How much a pool makes ahead, and how many items at a time.

use std::time::{Duration, Instant};

/// The marks of a pool that grows, at first and at most.
const FIRST_MARK: usize = 32;
const HIGHEST_MARK: usize = 1024;
/// Items that a service makes at a time, at most.
const MAKERS_MAX: usize = 256;
/// A mark that nobody had to wait below for so long falls back to the first one.
const GROWN_FOR: Duration = Duration::from_secs(60);

/// How much is made ahead, and by how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    low: usize,
    high: usize,
    highest: usize,
    pub(super) makers: usize,
    /// Items older than this are not given out.
    pub(super) max_age: Duration,
}

impl PoolOptions {
    /// For what is made on this host: one thread, which refills below `low` up to `high` (or `low`
    /// where that is more). With `low` 0 nothing is made ahead.
    pub fn fixed(low: usize, high: usize) -> Self {
        Self {
            low,
            high: high.max(low),
            highest: high.max(low),
            makers: 1,
            max_age: Duration::MAX,
        }
    }

    /// For what a service makes: as many threads at a time as the demand needs.
    pub fn growing() -> Self {
        Self {
            low: FIRST_MARK / 2,
            high: FIRST_MARK,
            highest: HIGHEST_MARK,
            makers: MAKERS_MAX,
            max_age: Duration::MAX,
        }
    }

    /// A part of these marks, for a pool beside others.
    #[must_use]
    pub fn part_of(self, parts: usize) -> Self {
        let part = |whole: usize| whole.div_ceil(parts.max(1));
        Self {
            low: part(self.low),
            high: part(self.high),
            highest: part(self.highest),
            makers: part(self.makers),
            ..self
        }
    }

    /// The same, of items that are dropped at this age.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { max_age, ..self }
    }
}

/// The marks of this moment.
#[derive(Debug)]
pub(super) struct Marks {
    options: PoolOptions,
    high: usize,
    grown: Option<Instant>,
    /// Below the low mark lately, and not yet at the high one.
    filling: bool,
}

impl Marks {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            options,
            high: options.high,
            grown: None,
            filling: false,
        }
    }

    /// Somebody has to wait.
    pub(super) fn missed(&mut self, now: Instant) {
        self.high = self.high.saturating_mul(2).min(self.options.highest);
        self.grown = Some(now);
    }

    /// How many items should be made ahead beside those that are `ready`.
    pub(super) fn lacking(&mut self, ready: usize, now: Instant) -> usize {
        let rested = |grown: Instant| now.saturating_duration_since(grown) > GROWN_FOR;
        if self.grown.is_some_and(rested) {
            self.high = self.options.high;
            self.grown = None;
        }
        let low = if self.grown.is_some() {
            self.high / 2
        } else {
            self.options.low
        };
        self.filling = ready < low || (self.filling && ready < self.high);
        match self.filling {
            true => self.high.saturating_sub(ready),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_marks_stay() {
        let (mut marks, now) = (Marks::new(PoolOptions::fixed(2, 5)), Instant::now());
        for _ in 0..20 {
            marks.missed(now);
        }
        assert_eq!(marks.lacking(0, now), 5);
        assert_eq!(marks.lacking(4, now), 1);
        assert_eq!(marks.lacking(5, now), 0);
        assert_eq!(marks.lacking(2, now), 0, "not below the low mark");
        assert_eq!(marks.lacking(1, now), 4);
    }

    #[test]
    fn a_part_of_the_marks_is_never_beyond_them_and_makes_something() {
        let part = PoolOptions::growing().part_of(8);
        assert_eq!(
            (part.low, part.high, part.highest, part.makers),
            (2, 4, 128, 32)
        );
        let part = PoolOptions::fixed(64, 256).part_of(8);
        assert_eq!(
            (part.low, part.high, part.highest, part.makers),
            (8, 32, 32, 1)
        );
        assert_eq!(PoolOptions::growing().part_of(0), PoolOptions::growing());
        assert_eq!(
            PoolOptions::fixed(0, 0).part_of(8),
            PoolOptions::fixed(0, 0)
        );
    }

    #[test]
    fn who_waits_lets_it_grow_and_rest_lets_it_shrink() {
        let (mut marks, now) = (Marks::new(PoolOptions::growing()), Instant::now());
        assert_eq!(marks.lacking(0, now), FIRST_MARK);
        marks.missed(now);
        assert_eq!(marks.lacking(0, now), 2 * FIRST_MARK);
        for _ in 0..100 {
            marks.missed(now);
        }
        assert_eq!(marks.lacking(0, now), HIGHEST_MARK);
        let later = now + GROWN_FOR + Duration::from_secs(1);
        assert_eq!(marks.lacking(0, later), FIRST_MARK);
    }

    #[test]
    fn what_makes_nothing_ahead_never_does() {
        let (mut marks, now) = (Marks::new(PoolOptions::fixed(0, 0)), Instant::now());
        marks.missed(now);
        assert_eq!(marks.lacking(0, now), 0);
    }
}

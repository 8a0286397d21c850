//! How often a source may fail to prove who asks.
//!
//! A secret has 240 random bits and is not found by trying; what is held off is the work, and what failures would write
//! into the audit trail: some of each source, and of all sources together, have a line of their own, the rest is counted
//! and told in sum ([`Failures::sum_up`]).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::source::Source;

/// So many at once, and one more after each `one_every`.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    pub at_once: u32,
    pub one_every: Duration,
}

/// Failures of one source.
pub const OF_ONE_SOURCE: Quota = Quota {
    at_once: 10,
    one_every: Duration::from_secs(6),
};
/// Lines of failures of all sources together.
pub const LINES: Quota = Quota {
    at_once: 200,
    one_every: Duration::from_millis(500),
};
/// So many sources are told apart.
pub const SOURCES_MAX: usize = 10_000;
/// How often failures without a line are told in sum.
pub const SUM_EVERY: Duration = Duration::from_secs(60);
/// The most sources that are told one by one then.
pub const SUM_LINES_MAX: usize = 20;

/// What failed, by source.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<Source, Count>,
    lines: Level,
    /// When sources that have all their failures again were last taken out.
    swept: Option<Instant>,
}

#[derive(Debug, Default)]
struct Count {
    failures: Level,
    /// Since the last sum.
    without_line: u64,
}

/// How much of a quota is used up: when all of it will be there again.
#[derive(Debug, Default, Clone, Copy)]
struct Level(Option<Instant>);

impl Level {
    /// `None` where there is room for one; else how long it takes until there is.
    fn wait(self, quota: Quota, now: Instant) -> Option<Duration> {
        let full = self.0?.saturating_duration_since(now);
        let most = quota
            .one_every
            .saturating_mul(quota.at_once.saturating_sub(1));
        full.checked_sub(most).filter(|wait| !wait.is_zero())
    }

    /// Takes one, if there is room for it.
    fn take(&mut self, quota: Quota, now: Instant) -> bool {
        let has_room = self.wait(quota, now).is_none();
        if has_room {
            let full_at = self.0.map_or(now, |at| at.max(now));
            self.0 = full_at.checked_add(quota.one_every);
        }
        has_room
    }

    fn is_used(self, now: Instant) -> bool {
        self.0.is_some_and(|at| at > now)
    }
}

impl Failures {
    /// Whether the address may try; if not, in how many seconds. A try that is held off has failed, without a line.
    ///
    /// # Errors
    ///
    /// The seconds.
    pub fn check(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let mut counts = self.0.lock();
        let source = counts.source(address, now);
        // Else whoever fails from enough addresses shuts everybody out who never failed. No secret is found by trying.
        if source == Source::Others {
            return Ok(());
        }
        let Some(count) = counts.of.get_mut(&source) else {
            return Ok(());
        };
        match count.failures.wait(OF_ONE_SOURCE, now) {
            None => Ok(()),
            Some(wait) => {
                count.without_line = count.without_line.saturating_add(1);
                Err(wait.as_secs().saturating_add(1))
            }
        }
    }

    /// Counts one; says whether it may have a line of its own.
    pub fn note(&self, address: IpAddr, now: Instant) -> bool {
        let mut counts = self.0.lock();
        let source = counts.source(address, now);
        let Counts { of, lines, .. } = &mut *counts;
        let count = of.entry(source).or_default();
        let has_line = count.failures.take(OF_ONE_SOURCE, now) && lines.take(LINES, now);
        if !has_line {
            count.without_line = count.without_line.saturating_add(1);
        }
        has_line
    }

    /// What has no line, since this was last asked: the sources that failed most, and how often, and the others
    /// together.
    pub fn sum_up(&self) -> Vec<(Source, u64)> {
        let mut counts = self.0.lock();
        let taken = counts.of.iter_mut().map(|(source, count)| {
            let without_line = std::mem::take(&mut count.without_line);
            (*source, without_line)
        });
        let mut sums: Vec<_> = taken.filter(|(_, count)| *count > 0).collect();
        drop(counts);
        sums.sort_unstable_by_key(|(source, count)| (std::cmp::Reverse(*count), *source));
        let rest = sums.split_off(sums.len().min(SUM_LINES_MAX));
        let others: u64 = rest.iter().map(|(_, count)| *count).sum();
        if others > 0 {
            sums.push((Source::Others, others));
        }
        sums
    }

    /// Takes a sum back that could not be told.
    pub fn put_back(&self, source: Source, without_line: u64) {
        let mut counts = self.0.lock();
        let count = counts.of.entry(source).or_default();
        count.without_line = count.without_line.saturating_add(without_line);
    }
}

impl Counts {
    /// As what an address counts: where there is no place for it any more, as one with all others.
    fn source(&mut self, address: IpAddr, now: Instant) -> Source {
        let own = Source::of(address);
        if self.of.contains_key(&own) {
            return own;
        }
        if self.of.len() >= SOURCES_MAX {
            self.sweep(now);
        }
        if self.of.len() < SOURCES_MAX {
            own
        } else {
            Source::Others
        }
    }

    /// Looks through all of them: not for every request of many sources.
    fn sweep(&mut self, now: Instant) {
        let age = self.swept.map(|at| now.saturating_duration_since(at));
        if age.is_some_and(|age| age < OF_ONE_SOURCE.one_every) {
            return;
        }
        self.swept = Some(now);
        self.of
            .retain(|_source, count| count.failures.is_used(now) || count.without_line > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const AT_ONCE: u32 = OF_ONE_SOURCE.at_once;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn a_source_has_so_many_failures_at_once_and_then_one_in_a_while() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..AT_ONCE {
            assert_eq!(failures.check(address(1), now), Ok(()));
            assert!(failures.note(address(1), now));
        }
        assert!(failures.check(address(1), now).is_err());
        assert_eq!(failures.check(address(2), now), Ok(()), "another address");
        let later = now + OF_ONE_SOURCE.one_every;
        assert_eq!(failures.check(address(1), later), Ok(()));
        assert!(failures.note(address(1), later));
        assert!(failures.check(address(1), later).is_err());
    }

    #[test]
    fn the_wait_that_is_told_is_enough_however_often_it_failed() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..300 * AT_ONCE {
            failures.note(address(1), now);
        }
        let wait = failures.check(address(1), now).unwrap_err();
        assert!(wait <= OF_ONE_SOURCE.one_every.as_secs() + 1, "{wait}");
        let then = now + Duration::from_secs(wait);
        assert_eq!(failures.check(address(1), then), Ok(()));
    }

    #[test]
    fn what_has_no_line_is_told_in_sum_and_once() {
        let (failures, now) = (Failures::default(), Instant::now());
        let lines = (0..1000).filter(|_| failures.note(address(1), now));
        assert_eq!(lines.count(), 10);
        assert!(failures.check(address(1), now).is_err(), "counted too");
        assert!(failures.note(address(2), now));
        let of_one = Source::of(address(1));
        assert_eq!(failures.sum_up(), [(of_one, 991)]);
        assert_eq!(failures.sum_up(), []);
        failures.put_back(of_one, 7);
        assert_eq!(failures.sum_up(), [(of_one, 7)]);
    }

    #[test]
    fn many_sources_together_have_no_more_lines_than_all_have() {
        let (failures, now) = (Failures::default(), Instant::now());
        let note = |n: u32| failures.note(Ipv4Addr::from_bits(n).into(), now);
        assert_eq!((0..5000).filter(|n| note(*n)).count(), 200);
        let sums = failures.sum_up();
        assert_eq!(sums.len(), SUM_LINES_MAX + 1);
        assert_eq!(sums[SUM_LINES_MAX].0, Source::Others);
        let told: u64 = sums.iter().map(|(_, count)| count).sum();
        assert_eq!(told, 4800);
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let (failures, now) = (Failures::default(), Instant::now());
        for last in 0..u16::try_from(AT_ONCE).unwrap() {
            let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 0, last);
            failures.note(address.into(), now);
        }
        let near = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 9, 9, 9, 9);
        assert!(failures.check(near.into(), now).is_err());
        let far = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 1);
        assert_eq!(failures.check(far.into(), now), Ok(()));
    }

    #[test]
    fn the_memory_is_bounded_and_nobody_answers_for_those_beyond_it() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..30_000_u32 {
            failures.note(Ipv4Addr::from_bits(n).into(), now);
        }
        assert!(failures.0.lock().of.len() <= SOURCES_MAX + 1);
        let unknown = Ipv4Addr::from_bits(40_000).into();
        assert!(!failures.note(unknown, now), "their lines are one source's");
        assert_eq!(failures.check(unknown, now), Ok(()));
        assert_eq!(failures.check(Ipv4Addr::from_bits(1).into(), now), Ok(()));
        // Once the known ones have all their failures again and were told, there is place.
        failures.sum_up();
        let later = now + 20 * OF_ONE_SOURCE.one_every;
        assert_eq!(failures.check(unknown, later), Ok(()));
        failures.note(unknown, later);
        assert_eq!(failures.0.lock().of.len(), 1);
    }
}

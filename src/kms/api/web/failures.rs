//! How often an address may give a wrong access key.
//!
//! A secret has 240 random bits and is not found by trying; what is held off is the work, and what it would write into the
//! audit trail. An address of IPv6 counts by its /64, which is one place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures that an address has at once.
const AT_ONCE: u32 = 10;
/// After which time it has one more.
const ONE_EVERY: Duration = Duration::from_secs(6);
/// For so many addresses it is known how many they had.
const ADDRESSES_MAX: usize = 10_000;

/// When each address will have all its failures again.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Instant>>);

impl Failures {
    /// Whether the address may try; if not, in how many seconds.
    pub(super) fn check(&self, address: IpAddr, now: Instant) -> Result<(), u64> {
        let free_at = self.0.lock().get(&place(address)).copied();
        let full = free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let most = ONE_EVERY.saturating_mul(AT_ONCE - 1);
        match full.checked_sub(most) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait.as_secs().saturating_add(1)),
        }
    }

    /// Counts one.
    pub(super) fn note(&self, address: IpAddr, now: Instant) {
        let mut failures = self.0.lock();
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_address, free_at| *free_at > now);
        }
        // Where even that leaves no place, those who are not known yet share one.
        let known = failures.contains_key(&place(address));
        let key = if known || failures.len() < ADDRESSES_MAX {
            place(address)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let free_at = failures.entry(key).or_insert(now);
        *free_at = (*free_at).max(now) + ONE_EVERY;
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, last).into()
    }

    #[test]
    fn an_address_has_so_many_failures_at_once_and_then_one_in_a_while() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..AT_ONCE {
            assert_eq!(failures.check(address(1), now), Ok(()));
            failures.note(address(1), now);
        }
        assert!(failures.check(address(1), now).is_err());
        assert_eq!(failures.check(address(2), now), Ok(()), "another address");
        let later = now + ONE_EVERY;
        assert_eq!(failures.check(address(1), later), Ok(()));
        failures.note(address(1), later);
        assert!(failures.check(address(1), later).is_err());
    }

    #[test]
    fn the_wait_that_is_told_is_enough() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..3 * AT_ONCE {
            failures.note(address(1), now);
        }
        let wait = failures.check(address(1), now).unwrap_err();
        let then = now + Duration::from_secs(wait);
        assert_eq!(failures.check(address(1), then), Ok(()));
    }

    #[test]
    fn addresses_of_one_network_are_one_place() {
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
    fn the_memory_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for n in 0..30_000_u32 {
            failures.note(Ipv4Addr::from_bits(n).into(), now);
        }
        assert!(failures.0.lock().len() <= ADDRESSES_MAX + 1);
    }
}

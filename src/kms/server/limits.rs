//! How much the server takes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::kms::api::Source;

/// Bounds of everything that a client can make grow.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the request line and the headers. A plaintext of 6 KiB and a context of 8 KiB of Alibaba's
    /// clients are in the request line, with three bytes for each of theirs.
    pub head: usize,
    /// Bytes of the body: 413 beyond it.
    pub body: usize,
    /// Memory of all bodies that are longer than 16 KiB, at once: 503 beyond it.
    pub bodies: usize,
    /// Of those from one source: an address of IPv4, a /64 of IPv6.
    pub bodies_per_source: usize,
    /// Open at once, on both ports together.
    pub connections: usize,
    /// Open at once from one source.
    pub connections_per_source: usize,
    /// Of one access key, with a second's worth at once; `None` for as many as there are.
    pub requests_per_second: Option<u32>,
    /// For TLS to be established.
    pub handshake: Duration,
    /// For a request's head to come, counted from the end of the last one: idle connections end after it.
    pub idle: Duration,
    /// For a request's body to come and its answer to be made.
    pub request: Duration,
    /// For requests to end when the server does.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 128 * 1024,
            body: 1024 * 1024,
            bodies: 256 * 1024 * 1024,
            bodies_per_source: 64 * 1024 * 1024,
            connections: 4096,
            connections_per_source: 1024,
            requests_per_second: Some(20_000),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// Something of which there is so much in total, and so much for one source: connections, memory.
#[derive(Debug)]
pub(super) struct Shares(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    total: usize,
    of: HashMap<Source, usize>,
    max: usize,
    max_per_source: usize,
}

/// So much of it; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    taken: Arc<Mutex<Taken>>,
    source: Source,
    amount: usize,
}

impl Shares {
    pub(super) fn new(max: usize, max_per_source: usize) -> Self {
        Self(Arc::new(Mutex::new(Taken {
            total: 0,
            of: HashMap::new(),
            max,
            max_per_source,
        })))
    }

    /// `None` where that is too much.
    pub(super) fn take(&self, address: IpAddr, amount: usize) -> Option<Share> {
        let source = Source::of(address);
        let is_taken = self.0.lock().take(source, amount);
        is_taken.then(|| Share {
            taken: Arc::clone(&self.0),
            source,
            amount,
        })
    }

    /// How much is taken.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().total
    }
}

impl Taken {
    fn take(&mut self, source: Source, amount: usize) -> bool {
        let of_source = self.of.get(&source).copied().unwrap_or_default();
        let sums = (
            self.total.checked_add(amount),
            of_source.checked_add(amount),
        );
        let (Some(total), Some(of_source)) = sums else {
            return false;
        };
        if total > self.max || of_source > self.max_per_source {
            return false;
        }
        self.total = total;
        self.of.insert(source, of_source);
        true
    }
}

impl Share {
    /// Makes it as large as that, if there is so much; says whether.
    pub(super) fn grow_to(&mut self, amount: usize) -> bool {
        let more = amount.saturating_sub(self.amount);
        let is_taken = self.taken.lock().take(self.source, more);
        if is_taken {
            self.amount += more;
        }
        is_taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.total = taken.total.saturating_sub(self.amount);
        let of_source = taken.of.get(&self.source).copied().unwrap_or_default();
        match of_source.saturating_sub(self.amount) {
            0 => taken.of.remove(&self.source),
            left => taken.of.insert(self.source, left),
        };
    }
}

/// How many requests each access key may send.
#[derive(Debug)]
pub(super) struct Rates {
    per_second: Option<f64>,
    /// Only access keys that signed something are here: as many as an administrator made.
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// Requests that may be sent now; it fills with time.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    pub(super) fn new(per_second: Option<u32>) -> Self {
        Self {
            per_second: per_second.map(f64::from),
            buckets: Mutex::default(),
        }
    }

    /// Whether the access key may send one request more.
    pub(super) fn take(&self, access_key_id: &str, now: Instant) -> bool {
        let Some(per_second) = self.per_second else {
            return true;
        };
        let mut buckets = self.buckets.lock();
        let Some(bucket) = buckets.get_mut(access_key_id) else {
            let left = per_second - 1.0;
            buckets.insert(access_key_id.to_owned(), Bucket { left, at: now });
            return left >= 0.0;
        };
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * per_second;
        bucket.left = (bucket.left + filled).min(per_second);
        bucket.at = now;
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    #[test]
    fn shares_are_bounded_in_total_and_of_one_source() {
        let connections = Shares::new(3, 2);
        let one = connections.take(address(1), 1).unwrap();
        let _two = connections.take(address(1), 1).unwrap();
        assert!(connections.take(address(1), 1).is_none(), "of one address");
        let _three = connections.take(address(2), 1).unwrap();
        assert!(connections.take(address(3), 1).is_none(), "in total");
        drop(one);
        assert_eq!(connections.taken(), 2);
        assert!(connections.take(address(1), 1).is_some());
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_share() {
        let connections = Shares::new(10, 1);
        let _one = connections.take("2001:db8::1".parse().unwrap(), 1).unwrap();
        let near = "2001:db8::ffff:1".parse().unwrap();
        assert!(connections.take(near, 1).is_none());
        assert!(
            connections
                .take("2001:db8:0:1::1".parse().unwrap(), 1)
                .is_some()
        );
    }

    #[test]
    fn a_share_grows_as_far_as_there_is_room_and_goes_back_whole() {
        let memory = Shares::new(100, 60);
        let mut one = memory.take(address(1), 10).unwrap();
        assert!(one.grow_to(60));
        assert!(one.grow_to(20), "it has as much");
        assert!(!one.grow_to(61));
        let mut other = memory.take(address(2), 40).unwrap();
        assert!(!other.grow_to(41), "in total");
        assert!(memory.take(address(3), usize::MAX).is_none());
        assert_eq!(memory.taken(), 100);
        drop(one);
        assert_eq!(memory.taken(), 40);
    }

    #[test]
    fn nothing_is_left_of_shares_that_ended() {
        let connections = Shares::new(10, 10);
        let shares: Vec<_> = (0..9)
            .map(|last| connections.take(address(last), 1))
            .collect();
        drop(shares);
        assert_eq!(connections.taken(), 0);
        assert!(connections.0.lock().of.is_empty());
    }

    #[test]
    fn a_key_sends_so_many_in_a_second_and_not_more() {
        let rates = Rates::new(Some(10));
        let now = Instant::now();
        let taken = |at| (0..100).filter(|_| rates.take("k", at)).count();
        assert_eq!(taken(now), 10);
        assert_eq!(taken(now), 0);
        assert_eq!(taken(now + Duration::from_millis(501)), 5);
        assert_eq!(
            taken(now + Duration::from_secs(60)),
            10,
            "no more than a second's worth"
        );
        assert!(rates.take("other", now), "each key has its own");
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let rates = Rates::new(None);
        let now = Instant::now();
        assert!((0..10_000).all(|_| rates.take("k", now)));
    }
}

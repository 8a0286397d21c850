//! How much the server takes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Bounds of everything that a client can make grow.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the request line and the headers. A plaintext of 6 KiB and a context of 8 KiB of Alibaba's
    /// clients are in the request line, with three bytes for each of theirs.
    pub head: usize,
    /// Bytes of the body: 413 beyond it.
    pub body: usize,
    /// Open at once, on both ports together.
    pub connections: usize,
    /// Open at once from one address.
    pub connections_per_address: usize,
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
            connections: 4096,
            connections_per_address: 1024,
            requests_per_second: Some(20_000),
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Connections {
    open: Arc<Mutex<Open>>,
    max: usize,
    max_per_address: usize,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    of: HashMap<IpAddr, usize>,
}

/// The right to one connection; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    open: Arc<Mutex<Open>>,
    address: IpAddr,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            open: Arc::default(),
            max: limits.connections,
            max_per_address: limits.connections_per_address,
        }
    }

    /// `None` where there are too many.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Slot> {
        let mut open = self.open.lock();
        let of_address = open.of.get(&address).copied().unwrap_or_default();
        if open.total >= self.max || of_address >= self.max_per_address {
            return None;
        }
        open.total += 1;
        open.of.insert(address, of_address + 1);
        Some(Slot {
            open: Arc::clone(&self.open),
            address,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.open.lock().total
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        open.total = open.total.saturating_sub(1);
        let left = open.of.get(&self.address).copied().unwrap_or_default();
        match left {
            0 | 1 => open.of.remove(&self.address),
            more => open.of.insert(self.address, more - 1),
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
    fn connections_are_bounded_in_total_and_of_one_address() {
        let connections = Connections::new(&Limits {
            connections: 3,
            connections_per_address: 2,
            ..Limits::default()
        });
        let one = connections.enter(address(1)).unwrap();
        let _two = connections.enter(address(1)).unwrap();
        assert!(connections.enter(address(1)).is_none(), "of one address");
        let _three = connections.enter(address(2)).unwrap();
        assert!(connections.enter(address(3)).is_none(), "in total");
        drop(one);
        assert_eq!(connections.count(), 2);
        assert!(connections.enter(address(1)).is_some());
    }

    #[test]
    fn nothing_is_left_of_connections_that_ended() {
        let connections = Connections::new(&Limits::default());
        let slots: Vec<_> = (0..9)
            .map(|last| connections.enter(address(last)))
            .collect();
        drop(slots);
        assert_eq!(connections.count(), 0);
        assert!(connections.open.lock().of.is_empty());
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

//! A bounded memory of what the store holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

/// What is known by name. What was not asked for lately gives way when it is full.
#[derive(Debug)]
pub(super) struct Cache<V> {
    map: RwLock<HashMap<String, Slot<V>>>,
    /// Goes up with everything that is forgotten; see [`Cache::ticket`].
    forgotten: AtomicU64,
    capacity: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    /// Asked for since room was last made.
    is_used: AtomicBool,
}

/// Taken before the store is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl<V: Clone> Cache<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            map: RwLock::default(),
            forgotten: AtomicU64::new(0),
            capacity,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<V> {
        let map = self.map.read();
        let slot = map.get(name)?;
        // Written only where it changes something: all readers share the line.
        if !slot.is_used.load(Ordering::Relaxed) {
            slot.is_used.store(true, Ordering::Relaxed);
        }
        Some(slot.value.clone())
    }

    /// To be taken before the store is read: what was read before something was forgotten may be what was to be
    /// forgotten, and is not kept.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.forgotten.load(Ordering::Acquire))
    }

    /// Keeps what was read after the ticket was taken, if nothing was forgotten since.
    pub(super) fn put(&self, ticket: Ticket, name: &str, value: V) {
        let mut map = self.map.write();
        if self.forgotten.load(Ordering::Acquire) != ticket.0 {
            return;
        }
        if map.len() >= self.capacity && !map.contains_key(name) {
            make_room(&mut map);
        }
        let is_used = AtomicBool::new(true);
        map.insert(name.to_owned(), Slot { value, is_used });
    }

    pub(super) fn forget(&self, name: &str) {
        let mut map = self.map.write();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        map.remove(name);
    }

    pub(super) fn clear(&self) {
        let mut map = self.map.write();
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        map.clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.map.read().len()
    }
}

/// Drops a quarter at least: first what was not asked for since the last time.
fn make_room<V>(map: &mut HashMap<String, Slot<V>>) {
    let mut left = map.len() / 4 + 1;
    map.retain(|_, slot| {
        let is_used = std::mem::take(slot.is_used.get_mut());
        left == 0 || is_used || {
            left -= 1;
            false
        }
    });
    map.retain(|_, _| {
        left == 0 || {
            left -= 1;
            false
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_until_it_is_forgotten() {
        let cache = Cache::new(10);
        cache.put(cache.ticket(), "a", 1);
        cache.put(cache.ticket(), "b", 2);
        assert_eq!(
            (cache.get("a"), cache.get("b"), cache.get("c")),
            (Some(1), Some(2), None)
        );
        cache.forget("a");
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(2)));
        cache.clear();
        assert_eq!((cache.get("b"), cache.len()), (None, 0));
    }

    #[test]
    fn what_was_read_before_something_was_forgotten_is_not_kept() {
        let cache = Cache::new(10);
        let ticket = cache.ticket();
        cache.forget("a");
        cache.put(ticket, "a", 1);
        assert_eq!(cache.get("a"), None);
        let ticket = cache.ticket();
        cache.clear();
        cache.put(ticket, "a", 1);
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_in_use() {
        let cache = Cache::new(100);
        for i in 0..100 {
            cache.put(cache.ticket(), &format!("old{i}"), i);
        }
        for i in 0..1000 {
            cache.get("old7");
            cache.put(cache.ticket(), &format!("new{i}"), i);
            assert!(cache.len() <= 100);
        }
        // It is asked for between any two times that room is made.
        assert!(cache.get("new999").is_some());
    }
}

//! Requests that were seen before.
//!
//! A nonce is remembered for as long as its request could come again: while the request's time is
//! within [`WINDOW`]. The memory is bounded and never forgets a nonce that could still come: where one
//! access key sends more than its share of the memory holds, its oldest second is dropped, and from then
//! on requests signed in that second or before are refused. So a key that sends very much has a window
//! narrower than 15 minutes, and a replay passes at no rate.
//!
//! SigV4 has no nonce, and two equal requests of one second have one signature: clients do send these.
//! A signature may come again within [`REPEAT_MAX`] of its first coming, which is as long as a client
//! or a proxy takes to send the same again, and is refused after.
//!
//! The memory is this process's: of several servers on one store, each has its own.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};

use super::window::WINDOW;
use super::{AuthError, Once, Proven};

/// For how long a request of a scheme without nonce may come again.
pub const REPEAT_MAX: SignedDuration = SignedDuration::from_secs(60);

/// How many requests are remembered, of all access keys together: some 40 MB when it is full.
pub const REMEMBERED: usize = 1 << 20;

/// The requests of the last 15 minutes, by access key.
#[derive(Debug)]
pub struct Replays {
    keys: RwLock<HashMap<String, Arc<Mutex<Memory>>>>,
    /// Seeded at random: nobody can choose nonces that collide with another's.
    hasher: RandomState,
    /// How many requests are remembered, of all keys together.
    capacity: usize,
}

impl Default for Replays {
    /// Of [`REMEMBERED`] requests.
    fn default() -> Self {
        Self::new(REMEMBERED)
    }
}

impl Replays {
    /// A memory of at most so many requests, of all access keys together.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            keys: RwLock::default(),
            hasher: RandomState::new(),
            capacity,
        }
    }

    /// Remembers the request.
    ///
    /// # Errors
    /// [`AuthError::Replayed`] where it was here before; [`AuthError::Crowded`] where that is no longer
    /// known.
    pub fn admit(&self, request: &Proven, now: Timestamp) -> Result<(), AuthError> {
        let (id, repeatable) = match &request.once {
            Once::Nonce(nonce) => (self.hasher.hash_one(nonce), false),
            Once::Signature(signature) => (self.hasher.hash_one(signature), true),
        };
        self.remember(&request.access_key_id, id, repeatable, request.time, now)
    }

    /// Remembers the nonce of a request that is proven otherwise, by the time that it says it was made at, which must be
    /// within [`WINDOW`].
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn admit_nonce(
        &self,
        access_key_id: &str,
        nonce: &str,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let id = self.hasher.hash_one(nonce);
        self.remember(access_key_id, id, false, time, now)
    }

    fn remember(
        &self,
        access_key_id: &str,
        id: u64,
        repeatable: bool,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), AuthError> {
        let (memory, keys) = self.of(access_key_id);
        let share = (self.capacity / keys.max(1)).max(1);
        let mut memory = memory.lock();
        memory.forget(now);
        memory.admit(id, repeatable, time.as_second(), now.as_second())?;
        memory.shrink_to(share);
        Ok(())
    }

    /// The memory of an access key, and how many keys there are. Only keys that signed something are
    /// here: as many as an administrator made.
    fn of(&self, access_key_id: &str) -> (Arc<Mutex<Memory>>, usize) {
        let keys = self.keys.read();
        if let Some(memory) = keys.get(access_key_id) {
            return (Arc::clone(memory), keys.len());
        }
        drop(keys);
        let mut keys = self.keys.write();
        let memory = keys.entry(access_key_id.to_owned()).or_default();
        (Arc::clone(memory), keys.len())
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.keys
            .read()
            .values()
            .map(|memory| memory.lock().arrived.len())
            .sum()
    }
}

/// The requests of one access key.
#[derive(Debug)]
struct Memory {
    /// When a request came first, by the hash of its nonce or signature. Seconds since 1970.
    arrived: HashMap<u64, i64>,
    /// The hashes by the second in which their requests were signed.
    by_second: BTreeMap<i64, Vec<u64>>,
    /// Requests signed in this second or before may have been forgotten.
    floor: i64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            arrived: HashMap::new(),
            by_second: BTreeMap::new(),
            floor: i64::MIN,
        }
    }
}

impl Memory {
    fn admit(&mut self, id: u64, repeatable: bool, signed: i64, now: i64) -> Result<(), AuthError> {
        if signed <= self.floor {
            return Err(AuthError::Crowded);
        }
        match self.arrived.get(&id) {
            Some(first) if repeatable && now - first <= REPEAT_MAX.as_secs() => Ok(()),
            Some(_first) => Err(AuthError::Replayed),
            None => {
                self.arrived.insert(id, now);
                self.by_second.entry(signed).or_default().push(id);
                Ok(())
            }
        }
    }

    /// Forgets requests whose time is over.
    fn forget(&mut self, now: Timestamp) {
        let over = now.as_second() - WINDOW.as_secs() - 1;
        while self
            .by_second
            .first_key_value()
            .is_some_and(|(second, _)| *second <= over)
        {
            self.drop_oldest();
        }
        if self.arrived.is_empty() {
            self.arrived.shrink_to_fit();
        }
    }

    /// Forgets the oldest requests, and remembers that it did.
    fn shrink_to(&mut self, share: usize) {
        while self.arrived.len() > share {
            let Some(second) = self.drop_oldest() else {
                return;
            };
            self.floor = self.floor.max(second);
        }
    }

    fn drop_oldest(&mut self) -> Option<i64> {
        let (second, ids) = self.by_second.pop_first()?;
        for id in ids {
            self.arrived.remove(&id);
        }
        Some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Call, Scheme};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn request(key: &str, once: Once, second: i64) -> Proven {
        Proven {
            scheme: Scheme::Acs3,
            access_key_id: key.to_owned(),
            time: at(second),
            once,
            call: Call::Aws {
                target: String::new(),
            },
        }
    }

    fn nonce(key: &str, nonce: &str, second: i64) -> Proven {
        request(key, Once::Nonce(nonce.to_owned()), second)
    }

    #[test]
    fn a_nonce_comes_once_whatever_the_time_that_it_is_signed_with() {
        let replays = Replays::default();
        assert_eq!(replays.admit(&nonce("k", "n", 5000), at(5000)), Ok(()));
        for (signed, now) in [(5000, 5000), (5000, 5899), (5001, 5001), (4800, 5000)] {
            let again = replays.admit(&nonce("k", "n", signed), at(now));
            assert_eq!(again, Err(AuthError::Replayed), "{signed} {now}");
        }
        assert_eq!(replays.admit(&nonce("k", "m", 5000), at(5000)), Ok(()));
    }

    #[test]
    fn access_keys_do_not_share_nonces() {
        let replays = Replays::default();
        for key in ["k", "l"] {
            assert_eq!(replays.admit(&nonce(key, "n", 5000), at(5000)), Ok(()));
        }
    }

    /// A request signed by a clock that is ahead can come for half an hour.
    #[test]
    fn a_nonce_is_remembered_for_as_long_as_its_request_could_come() {
        let replays = Replays::default();
        let ahead = nonce("k", "n", 5900);
        assert_eq!(replays.admit(&ahead, at(5000)), Ok(()));
        assert_eq!(replays.admit(&ahead, at(6800)), Err(AuthError::Replayed));
        assert_eq!(replays.len(), 1);
        assert_eq!(replays.admit(&nonce("k", "m", 6801), at(6802)), Ok(()));
        assert_eq!(replays.len(), 1, "the first is over");
    }

    #[test]
    fn a_full_memory_refuses_what_it_may_have_forgotten() {
        let replays = Replays::new(4);
        for second in 0..6 {
            let request = nonce("k", &second.to_string(), 5000 + second);
            assert_eq!(replays.admit(&request, at(5006)), Ok(()));
            assert!(replays.len() <= 4);
        }
        for second in 0..2 {
            for text in [second.to_string(), "new".to_owned()] {
                let late = replays.admit(&nonce("k", &text, 5000 + second), at(5006));
                assert_eq!(late, Err(AuthError::Crowded));
            }
        }
        let again = replays.admit(&nonce("k", "3", 5003), at(5006));
        assert_eq!(again, Err(AuthError::Replayed));
        let other = replays.admit(&nonce("l", "0", 5000), at(5006));
        assert_eq!(other, Ok(()), "another key's window is its own");
    }

    #[test]
    fn a_signature_without_nonce_may_come_again_at_once_and_not_later() {
        let replays = Replays::default();
        let signature = || request("k", Once::Signature(vec![1; 32]), 5000);
        for now in [5000, 5001, 5060] {
            assert_eq!(replays.admit(&signature(), at(now)), Ok(()));
        }
        for now in [5061, 5900] {
            let again = replays.admit(&signature(), at(now));
            assert_eq!(again, Err(AuthError::Replayed));
        }
    }
}

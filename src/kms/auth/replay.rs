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
//! Servers on one store tell each other what they took: [`Replays::take_fresh`] gives what is new here, and
//! [`Replays::learn`] takes what is new elsewhere. How soon that happens is for who calls them. A request that could not be
//! told, because too many wait for it, is not taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};

use super::seen::{self, Fresh, NO_FLOOR, Seen};
use super::window::WINDOW;
use super::{AuthError, Once, Proven};
use crate::crypto::MacKey;

/// For how long a request of a scheme without nonce may come again.
pub const REPEAT_MAX: SignedDuration = SignedDuration::from_secs(60);

/// How many requests are remembered, of all access keys together: some 40 MB when it is full.
pub const REMEMBERED: usize = 1 << 20;

/// A request that was not here before when it was looked for.
#[derive(Debug)]
#[must_use = "a request that is not remembered may come again"]
pub struct Checked<'a> {
    access_key_id: &'a str,
    seen: Seen,
    now: Timestamp,
}

/// The requests of the last 15 minutes, by access key.
#[derive(Debug)]
pub struct Replays {
    keys: RwLock<HashMap<String, Arc<Mutex<Memory>>>>,
    /// Secret: nobody can choose nonces that collide with another's.
    hash: MacKey,
    /// How many requests are remembered, of all keys together.
    capacity: usize,
}

impl Replays {
    /// A memory of at most so many requests, of all access keys together. Only those that hash by the same key can tell
    /// each other of requests.
    #[must_use]
    pub fn new(capacity: usize, hash: MacKey) -> Self {
        Self {
            keys: RwLock::default(),
            hash,
            capacity,
        }
    }

    /// Whether the request may come, by what is known; it is not remembered before [`Self::admit`].
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn check<'a>(&self, request: &'a Proven, now: Timestamp) -> Result<Checked<'a>, AuthError> {
        let access_key_id = request.access_key_id();
        let seen = self.seen(request, now);
        let (memory, _keys) = self.of(access_key_id);
        memory.lock().check(seen)?;
        Ok(Checked {
            access_key_id,
            seen,
            now,
        })
    }

    /// Remembers the request.
    ///
    /// # Errors
    /// [`AuthError::Replayed`] where it was here before, or came since it was checked; [`AuthError::Crowded`] where that is
    /// no longer known, or could not be told to others.
    pub fn admit(&self, request: &Checked<'_>) -> Result<(), AuthError> {
        self.remember(request.access_key_id, request.seen, request.now)
    }

    fn seen(&self, request: &Proven, now: Timestamp) -> Seen {
        let (id, repeatable) = match &request.once {
            Once::Nonce(nonce) => (self.id(nonce.as_bytes()), false),
            Once::Signature(signature) => (self.id(signature), true),
        };
        Seen {
            id,
            repeatable,
            signed: request.time.as_second(),
            arrived: now.as_second(),
        }
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
        let seen = Seen {
            id: self.id(nonce.as_bytes()),
            repeatable: false,
            signed: time.as_second(),
            arrived: now.as_second(),
        };
        self.remember(access_key_id, seen, now)
    }

    fn id(&self, bytes: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.hash.tag(&[bytes]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn remember(&self, access_key_id: &str, seen: Seen, now: Timestamp) -> Result<(), AuthError> {
        let (memory, keys) = self.of(access_key_id);
        let share = (self.capacity / keys.max(1)).max(1);
        let mut memory = memory.lock();
        memory.forget(now);
        memory.admit(seen, share)?;
        memory.shrink_to(share);
        Ok(())
    }

    /// What was taken here since this was last asked for; `None` for nothing.
    pub fn take_fresh(&self) -> Option<Fresh> {
        let mut fresh = Fresh::default();
        for (access_key_id, memory) in &*self.keys.read() {
            let requests = std::mem::take(&mut memory.lock().fresh);
            if !requests.is_empty() {
                fresh.0.push((access_key_id.clone(), requests));
            }
        }
        (!fresh.0.is_empty()).then_some(fresh)
    }

    /// Remembers what another server took. Gives the access keys of nonces that were taken here, or at a third server,
    /// too: each is a replay that came before one server knew of the other's request.
    ///
    /// Where some of what that server told was `missed`, nothing is taken any more that may be among it.
    ///
    /// # Errors
    /// The bytes are not of [`Fresh::to_bytes`].
    pub fn learn(
        &self,
        bytes: &[u8],
        missed: bool,
        now: Timestamp,
    ) -> Result<Vec<String>, seen::Malformed> {
        let mut twice = Vec::new();
        for told in seen::decode(bytes)? {
            let (memory, keys) = self.of(told.access_key_id);
            let share = (self.capacity / keys.max(1)).max(1);
            let mut memory = memory.lock();
            memory.forget(now);
            if missed {
                memory.floor = memory.floor.max(told.floor);
            }
            let known = told
                .requests
                .into_iter()
                .filter(|request| memory.learn(*request));
            twice.extend(known.map(|_request| told.access_key_id.to_owned()));
            memory.shrink_to(share);
        }
        Ok(twice)
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

#[cfg(test)]
impl Default for Replays {
    fn default() -> Self {
        let key = crate::crypto::SecretKey::from_bytes(&[7; 32]).unwrap();
        Self::new(REMEMBERED, MacKey::new(key))
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
    /// Taken here, and not told to others yet.
    fresh: Vec<Seen>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            arrived: HashMap::new(),
            by_second: BTreeMap::new(),
            floor: NO_FLOOR,
            fresh: Vec::new(),
        }
    }
}

impl Memory {
    /// Takes a request, if no more than so many wait to be told.
    fn admit(&mut self, seen: Seen, share: usize) -> Result<(), AuthError> {
        if !self.check(seen)? {
            return Ok(());
        }
        if self.fresh.len() >= share {
            return Err(AuthError::Crowded);
        }
        self.insert(seen);
        self.fresh.push(seen);
        Ok(())
    }

    /// Says whether it is new here.
    fn check(&self, seen: Seen) -> Result<bool, AuthError> {
        if seen.signed <= self.floor {
            return Err(AuthError::Crowded);
        }
        let since = |first: i64| seen.arrived.saturating_sub(first);
        match self.arrived.get(&seen.id) {
            Some(first) if seen.repeatable && since(*first) <= REPEAT_MAX.as_secs() => Ok(false),
            Some(_first) => Err(AuthError::Replayed),
            None => Ok(true),
        }
    }

    /// Takes what another server saw; says whether it is a nonce that was known here.
    fn learn(&mut self, seen: Seen) -> bool {
        if seen.signed <= self.floor {
            return false;
        }
        match self.arrived.get_mut(&seen.id) {
            None => {
                self.insert(seen);
                false
            }
            Some(first) => {
                // By either server's clock: the earlier one counts.
                *first = seen.arrived.min(*first);
                !seen.repeatable
            }
        }
    }

    fn insert(&mut self, seen: Seen) {
        self.arrived.insert(seen.id, seen.arrived);
        self.by_second.entry(seen.signed).or_default().push(seen.id);
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
    use super::super::seen::Floors;
    use super::super::{Call, Scheme};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn replays(capacity: usize) -> Replays {
        Replays {
            capacity,
            ..Replays::default()
        }
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

    fn take(memory: &Replays, request: &Proven, now: Timestamp) -> Result<(), AuthError> {
        memory.admit(&memory.check(request, now)?)
    }

    fn nonce(key: &str, nonce: &str, second: i64) -> Proven {
        request(key, Once::Nonce(nonce.to_owned()), second)
    }

    #[test]
    fn a_nonce_comes_once_whatever_the_time_that_it_is_signed_with() {
        let memory = replays(REMEMBERED);
        assert_eq!(take(&memory, &nonce("k", "n", 5000), at(5000)), Ok(()));
        for (signed, now) in [(5000, 5000), (5000, 5899), (5001, 5001), (4800, 5000)] {
            let again = take(&memory, &nonce("k", "n", signed), at(now));
            assert_eq!(again, Err(AuthError::Replayed), "{signed} {now}");
        }
        assert_eq!(take(&memory, &nonce("k", "m", 5000), at(5000)), Ok(()));
    }

    #[test]
    fn access_keys_do_not_share_nonces() {
        let memory = replays(REMEMBERED);
        for key in ["k", "l"] {
            assert_eq!(take(&memory, &nonce(key, "n", 5000), at(5000)), Ok(()));
        }
    }

    /// A request signed by a clock that is ahead can come for half an hour.
    #[test]
    fn a_nonce_is_remembered_for_as_long_as_its_request_could_come() {
        let memory = replays(REMEMBERED);
        let ahead = nonce("k", "n", 5900);
        assert_eq!(take(&memory, &ahead, at(5000)), Ok(()));
        assert_eq!(take(&memory, &ahead, at(6800)), Err(AuthError::Replayed));
        assert_eq!(memory.len(), 1);
        assert_eq!(take(&memory, &nonce("k", "m", 6801), at(6802)), Ok(()));
        assert_eq!(memory.len(), 1, "the first is over");
    }

    #[test]
    fn a_full_memory_refuses_what_it_may_have_forgotten() {
        let memory = replays(4);
        for second in 0..6 {
            let request = nonce("k", &second.to_string(), 5000 + second);
            assert_eq!(take(&memory, &request, at(5006)), Ok(()));
            assert!(memory.len() <= 4);
            assert!(memory.take_fresh().is_some());
        }
        for second in 0..2 {
            for text in [second.to_string(), "new".to_owned()] {
                let late = take(&memory, &nonce("k", &text, 5000 + second), at(5006));
                assert_eq!(late, Err(AuthError::Crowded));
            }
        }
        let again = take(&memory, &nonce("k", "3", 5003), at(5006));
        assert_eq!(again, Err(AuthError::Replayed));
        let other = take(&memory, &nonce("l", "0", 5000), at(5006));
        assert_eq!(other, Ok(()), "another key's window is its own");
    }

    #[test]
    fn a_signature_without_nonce_may_come_again_at_once_and_not_later() {
        let memory = replays(REMEMBERED);
        let signature = || request("k", Once::Signature(vec![1; 32]), 5000);
        for now in [5000, 5001, 5060] {
            assert_eq!(take(&memory, &signature(), at(now)), Ok(()));
        }
        for now in [5061, 5900] {
            let again = take(&memory, &signature(), at(now));
            assert_eq!(again, Err(AuthError::Replayed));
        }
    }

    fn fresh(from: &Replays) -> Vec<u8> {
        from.take_fresh().unwrap().to_bytes(&Floors::default())
    }

    fn tell(from: &Replays, to: &Replays, now: i64) -> Vec<String> {
        to.learn(&fresh(from), false, at(now)).unwrap()
    }

    #[test]
    fn what_one_server_took_no_other_takes_once_it_was_told() {
        let [one, two] = [(); 2].map(|()| replays(REMEMBERED));
        for text in ["a", "b"] {
            assert_eq!(take(&one, &nonce("k", text, 5000), at(5001)), Ok(()));
        }
        assert_eq!(tell(&one, &two, 5002), Vec::<String>::new());
        assert_eq!(one.take_fresh(), None, "told once");
        assert_eq!(two.take_fresh(), None, "what was learned is not told on");
        for text in ["a", "b"] {
            let again = take(&two, &nonce("k", text, 5000), at(5002));
            assert_eq!(again, Err(AuthError::Replayed));
        }
        assert_eq!(take(&two, &nonce("l", "a", 5000), at(5002)), Ok(()));
        assert_eq!(two.len(), 3);
        assert_eq!(take(&two, &nonce("k", "c", 6900), at(6900)), Ok(()));
        assert_eq!(two.len(), 2, "what was learned is forgotten in its time");
    }

    #[test]
    fn a_nonce_that_two_servers_took_is_told() {
        let [one, two] = [(); 2].map(|()| replays(REMEMBERED));
        for memory in [&one, &two] {
            assert_eq!(take(memory, &nonce("k", "n", 5000), at(5000)), Ok(()));
        }
        assert_eq!(tell(&one, &two, 5001), ["k"]);
        assert_eq!(tell(&two, &one, 5001), ["k"]);
    }

    #[test]
    fn a_signature_may_come_again_for_a_minute_whichever_server_saw_it_first() {
        let [one, two] = [(); 2].map(|()| replays(REMEMBERED));
        let signature = || request("k", Once::Signature(vec![1; 32]), 5000);
        assert_eq!(take(&one, &signature(), at(5000)), Ok(()));
        assert_eq!(take(&two, &signature(), at(5030)), Ok(()));
        assert_eq!(tell(&one, &two, 5031), Vec::<String>::new());
        assert_eq!(take(&two, &signature(), at(5060)), Ok(()));
        let late = take(&two, &signature(), at(5061));
        assert_eq!(late, Err(AuthError::Replayed), "a minute of the first");
    }

    #[test]
    fn what_others_took_stays_within_the_bound_and_a_forgotten_second_is_not_learned() {
        let [one, two] = [replays(REMEMBERED), replays(4)];
        for second in 0..6 {
            let request = nonce("k", &second.to_string(), 5000 + second);
            assert_eq!(take(&one, &request, at(5006)), Ok(()));
        }
        assert_eq!(tell(&one, &two, 5006), Vec::<String>::new());
        assert_eq!(two.len(), 4);
        let late = take(&two, &nonce("k", "new", 5001), at(5006));
        assert_eq!(late, Err(AuthError::Crowded));
    }

    #[test]
    fn who_tells_nobody_takes_no_more_than_the_bound() {
        let memory = replays(4);
        let request = |second: i64| nonce("k", &second.to_string(), 5000 + second);
        for second in 0..4 {
            assert_eq!(take(&memory, &request(second), at(5010)), Ok(()));
        }
        let more = take(&memory, &request(4), at(5010));
        assert_eq!(more, Err(AuthError::Crowded));
        assert_eq!(memory.take_fresh().unwrap().count(), 4);
        assert_eq!(take(&memory, &request(4), at(5010)), Ok(()));
        assert_eq!(memory.take_fresh().unwrap().count(), 1);
    }

    #[test]
    fn what_is_told_no_more_is_not_taken_by_who_missed_it() {
        let one = replays(REMEMBERED);
        let request = |key: &str, second: i64| nonce(key, &second.to_string(), second);
        assert_eq!(take(&one, &request("k", 5000), at(5001)), Ok(()));
        let told = one.take_fresh().unwrap().newest();
        assert_eq!(take(&one, &request("l", 5001), at(5001)), Ok(()));
        let bytes = one.take_fresh().unwrap().to_bytes(&told);
        let [knows, missed] = [false, true].map(|is_missed| {
            let memory = replays(REMEMBERED);
            memory.learn(&bytes, is_missed, at(5001)).unwrap();
            memory
        });
        assert_eq!(take(&knows, &request("k", 5000), at(5001)), Ok(()));
        let refused = take(&missed, &request("k", 5000), at(5001));
        assert_eq!(refused, Err(AuthError::Crowded));
        assert_eq!(take(&missed, &request("k", 5001), at(5001)), Ok(()));
        assert_eq!(
            take(&missed, &request("l", 5000), at(5001)),
            Ok(()),
            "the other key's is told"
        );
    }

    #[test]
    fn what_is_checked_is_not_remembered() {
        let memory = replays(REMEMBERED);
        let request = nonce("k", "n", 5000);
        for _again in 0..2 {
            assert!(memory.check(&request, at(5000)).is_ok());
        }
        assert_eq!(take(&memory, &request, at(5000)), Ok(()));
        let again = memory.check(&request, at(5000));
        assert_eq!(again.unwrap_err(), AuthError::Replayed);
    }

    #[test]
    fn of_two_that_were_checked_before_either_came_one_is_taken() {
        let (memory, request) = (replays(REMEMBERED), nonce("k", "n", 5000));
        let [one, two] = [(); 2].map(|()| memory.check(&request, at(5000)).unwrap());
        assert_eq!(memory.admit(&one), Ok(()));
        assert_eq!(memory.admit(&two), Err(AuthError::Replayed));
    }

    #[test]
    fn bytes_that_nobody_told_are_refused() {
        let [one, two] = [(); 2].map(|()| replays(REMEMBERED));
        assert_eq!(take(&one, &nonce("k", "n", 5000), at(5000)), Ok(()));
        let bytes = fresh(&one);
        let refused = |bytes: &[u8]| two.learn(bytes, true, at(5000)).is_err();
        for len in 1..bytes.len() {
            assert!(refused(&bytes[..len]), "{len}");
        }
        assert!(refused(&[bytes, vec![1]].concat()));
    }
}

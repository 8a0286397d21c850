//! Requests that were seen, as servers tell each other of them.
//!
//! ```text
//! for each access key    length of its id (1 byte), id, floor (8), count (4)
//!   for each request     id (8), signed in second (8), arrived in second (8), may come again (1)
//! ```
//!
//! Numbers are big-endian, seconds since 1970. Requests signed in the second of the floor or before may have been told once,
//! and are told no more; where there are none, the floor is the least number.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use thiserror::Error;

use super::window::WINDOW;

/// One request of an access key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// The hash of its nonce or signature.
    pub(super) id: u64,
    /// Of a scheme without nonce.
    pub(super) repeatable: bool,
    pub(super) signed: i64,
    pub(super) arrived: i64,
}

/// Requests that are new since they were last asked for, by access key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fresh(pub(super) Vec<(String, Vec<Seen>)>);

impl Fresh {
    /// How many requests.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|(_key, requests)| requests.len()).sum()
    }

    /// In which second the newest of each access key was signed.
    #[must_use]
    pub fn newest(&self) -> Floors {
        let newest = |requests: &[Seen]| requests.iter().map(|request| request.signed).max();
        let newest = self
            .0
            .iter()
            .filter_map(|(key, requests)| Some((key.clone(), newest(requests)?)));
        Floors(newest.collect())
    }

    /// As others read it, with what is told no more.
    #[must_use]
    pub fn to_bytes(&self, floors: &Floors) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut here = HashSet::new();
        for (key, requests) in &self.0 {
            here.insert(key);
            encode(&mut bytes, key, floors.of(key), requests);
        }
        for (key, floor) in floors.0.iter().filter(|(key, _floor)| !here.contains(key)) {
            encode(&mut bytes, key, *floor, &[]);
        }
        bytes
    }
}

/// A second for each access key: what was signed in it or before is told no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floors(HashMap<String, i64>);

impl Floors {
    /// The later second of each key counts.
    pub fn raise(&mut self, others: Self) {
        for (key, second) in others.0 {
            let floor = self.0.entry(key).or_insert(NO_FLOOR);
            *floor = second.max(*floor);
        }
    }

    /// Drops what no request can be under any more.
    pub fn forget(&mut self, now: Timestamp) {
        let over = now.as_second() - WINDOW.as_secs() - 1;
        self.0.retain(|_key, second| *second > over);
    }

    fn of(&self, key: &str) -> i64 {
        self.0.get(key).copied().unwrap_or(NO_FLOOR)
    }
}

/// Before any request.
pub(super) const NO_FLOOR: i64 = i64::MIN;

/// What is told of one access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) access_key_id: &'a str,
    pub(super) floor: i64,
    pub(super) requests: Vec<Seen>,
}

/// Bytes that are none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a list of requests")]
pub struct Malformed;

fn encode(bytes: &mut Vec<u8>, access_key_id: &str, floor: i64, requests: &[Seen]) {
    let (Ok(len), Ok(count)) = (
        u8::try_from(access_key_id.len()),
        u32::try_from(requests.len()),
    ) else {
        return;
    };
    bytes.push(len);
    bytes.extend_from_slice(access_key_id.as_bytes());
    bytes.extend_from_slice(&floor.to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    for request in requests {
        bytes.extend_from_slice(&request.id.to_be_bytes());
        bytes.extend_from_slice(&request.signed.to_be_bytes());
        bytes.extend_from_slice(&request.arrived.to_be_bytes());
        bytes.push(u8::from(request.repeatable));
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Told<'_>>, Malformed> {
    let mut rest = Rest(bytes);
    let mut keys = Vec::new();
    while !rest.0.is_empty() {
        let [len] = rest.array()?;
        let id = rest.take(len.into())?;
        let access_key_id = std::str::from_utf8(id).map_err(|_error| Malformed)?;
        let floor = i64::from_be_bytes(rest.array()?);
        let count = u32::from_be_bytes(rest.array()?);
        let requests: Result<_, _> = (0..count).map(|_nth| rest.request()).collect();
        keys.push(Told {
            access_key_id,
            floor,
            requests: requests?,
        });
    }
    Ok(keys)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_error| Malformed)
    }

    fn request(&mut self) -> Result<Seen, Malformed> {
        Ok(Seen {
            id: u64::from_be_bytes(self.array()?),
            signed: i64::from_be_bytes(self.array()?),
            arrived: i64::from_be_bytes(self.array()?),
            repeatable: match self.array()? {
                [0] => false,
                [1] => true,
                [_other] => return Err(Malformed),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn seen()(id: u64, repeatable: bool, signed: i64, arrived: i64) -> Seen {
            Seen { id, repeatable, signed, arrived }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            keys in prop::collection::hash_map("[A-Z0-9]{1,128}", (any::<i64>(), prop::collection::vec(seen(), 1..9)), 0..9),
            other_floor: i64,
        ) {
            let fresh = Fresh(keys.iter().map(|(id, (_floor, requests))| (id.clone(), requests.clone())).collect());
            let mut floors = Floors(keys.iter().map(|(id, (floor, _requests))| (id.clone(), *floor)).collect());
            floors.raise(Floors([("of nothing new".to_owned(), other_floor)].into()));
            let told = keys.iter().map(|(id, (floor, requests))| Told {
                access_key_id: id,
                floor: *floor,
                requests: requests.clone(),
            });
            let more = Told { access_key_id: "of nothing new", floor: other_floor, requests: Vec::new() };
            let bytes = fresh.to_bytes(&floors);
            let mut decoded = decode(&bytes).unwrap();
            let mut told: Vec<_> = told.chain([more]).collect();
            for list in [&mut decoded, &mut told] {
                list.sort_by_key(|told| told.access_key_id);
            }
            prop_assert_eq!(decoded, told);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _any = decode(&bytes);
        }
    }

    #[test]
    fn a_count_that_lies_is_refused_before_anything_is_kept_for_it() {
        let mut bytes = vec![1, b'k'];
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(decode(&bytes), Err(Malformed));
    }

    #[test]
    fn a_floor_rises_and_is_forgotten_in_its_time() {
        let floors = |list: &[(&str, i64)]| {
            Floors(
                list.iter()
                    .map(|(key, at)| ((*key).to_owned(), *at))
                    .collect(),
            )
        };
        let mut all = floors(&[("a", 5000), ("b", 5000)]);
        all.raise(floors(&[("a", 5100), ("b", 4900), ("c", 5200)]));
        assert_eq!(all, floors(&[("a", 5100), ("b", 5000), ("c", 5200)]));
        all.forget(Timestamp::from_second(5901).unwrap());
        assert_eq!(all, floors(&[("a", 5100), ("c", 5200)]));
        assert_eq!((all.of("a"), all.of("b")), (5100, NO_FLOOR));
    }
}

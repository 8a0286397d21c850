//! The calls of the last hour, counted by the minute, and the last of them one by one: what people look at in the
//! console. Of this server alone and since it began; the trail has all of them, for as long as its file is kept.
//!
//! Refused calls have room of their own: a service that grants thousands in a second shows them still.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::kms::engine::{Caller, Dialect, KmsError};

/// How many calls of either outcome are kept.
const CALLS_MAX: usize = 500;
/// For how many minutes calls are counted.
pub const MINUTES: usize = 60;

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentCall {
    /// When it was over.
    pub at: Timestamp,
    pub action: String,
    pub principal: String,
    pub access_key_id: String,
    pub dialect: Dialect,
    pub address: Option<IpAddr>,
    pub request_id: String,
    /// The id of the first key that it was about.
    pub key: Option<String>,
    /// Why it was refused; `None` for a call that was granted.
    pub refusal: Option<KmsError>,
}

/// How many calls there were in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Minute {
    /// Its number since 1970.
    pub number: i64,
    pub granted: u64,
    pub refused: u64,
}

/// The memory of them.
#[derive(Debug)]
pub struct Recent {
    since: Timestamp,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    granted: VecDeque<RecentCall>,
    refused: VecDeque<RecentCall>,
    /// Oldest first; minutes without calls are not here.
    minutes: VecDeque<Minute>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            since: Timestamp::now(),
            memory: Mutex::default(),
        }
    }
}

/// A call as it is noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noted<'a> {
    pub(super) action: &'a str,
    pub(super) caller: &'a Caller,
    pub(super) key: Option<&'a str>,
    pub(super) refusal: Option<&'a KmsError>,
}

impl Recent {
    /// Since when calls are noted here.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The calls that `wanted` holds of, newest first.
    #[must_use]
    pub fn calls(&self, wanted: impl Fn(&RecentCall) -> bool) -> Vec<RecentCall> {
        let memory = self.memory.lock();
        let both = memory.granted.iter().chain(&memory.refused);
        let mut calls: Vec<_> = both.filter(|call| wanted(call)).cloned().collect();
        drop(memory);
        calls.sort_by_key(|call| Reverse(call.at));
        calls
    }

    /// The last [`MINUTES`] minutes, oldest first, those without calls too.
    #[must_use]
    pub fn minutes(&self, now: Timestamp) -> Vec<Minute> {
        let last = minute_of(now);
        let memory = self.memory.lock();
        let of = |number| {
            let found = memory.minutes.iter().find(|minute| minute.number == number);
            found.copied().unwrap_or(Minute {
                number,
                ..Minute::default()
            })
        };
        let count = i64::try_from(MINUTES).unwrap_or(i64::MAX);
        (last - count + 1..=last).map(of).collect()
    }

    pub(super) fn note(&self, call: Noted<'_>) {
        if is_reading_in_the_console(call) {
            return;
        }
        let now = Timestamp::now();
        let mut memory = self.memory.lock();
        memory.count(minute_of(now), call.refusal.is_some());
        let calls = match call.refusal {
            None => &mut memory.granted,
            Some(_) => &mut memory.refused,
        };
        put(calls, now, call);
    }
}

impl Memory {
    fn count(&mut self, number: i64, is_refused: bool) {
        // A clock that was set back counts on in the minute that it was.
        if self.minutes.back().is_none_or(|last| last.number < number) {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.granted += u64::from(!is_refused);
            minute.refused += u64::from(is_refused);
        }
    }
}

/// The oldest makes place; its room is used again, so that a busy service does not allocate.
fn put(calls: &mut VecDeque<RecentCall>, now: Timestamp, call: Noted<'_>) {
    let Noted {
        action,
        caller,
        key,
        refusal,
    } = call;
    let mut slot = if calls.len() < CALLS_MAX {
        empty(now)
    } else {
        calls.pop_front().unwrap_or_else(|| empty(now))
    };
    slot.at = now;
    action.clone_into(&mut slot.action);
    slot.principal.clone_from(&caller.principal);
    slot.access_key_id.clone_from(&caller.access_key_id);
    slot.dialect = caller.dialect;
    slot.address = caller.address;
    slot.request_id.clone_from(&caller.request_id);
    match (slot.key.as_mut(), key) {
        (Some(slot), Some(key)) => key.clone_into(slot),
        (_, key) => slot.key = key.map(str::to_owned),
    }
    slot.refusal = refusal.cloned();
    calls.push_back(slot);
}

fn empty(at: Timestamp) -> RecentCall {
    RecentCall {
        at,
        action: String::new(),
        principal: String::new(),
        access_key_id: String::new(),
        dialect: Dialect::Service,
        address: None,
        request_id: String::new(),
        key: None,
        refusal: None,
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// Who looks at the console asks many times; shown there, it would hide what others do.
fn is_reading_in_the_console(call: Noted<'_>) -> bool {
    call.caller.dialect == Dialect::Console
        && call.refusal.is_none()
        && ["Describe", "Get", "List"]
            .iter()
            .any(|verb| call.action.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::engine::ErrorKind;

    fn caller(dialect: Dialect, principal: &str) -> Caller {
        Caller {
            dialect,
            principal: principal.to_owned(),
            ..Caller::local("tests")
        }
    }

    fn note(recent: &Recent, action: &str, key: Option<&str>, refusal: Option<&str>) {
        let refusal = refusal.map(refused);
        recent.note(Noted {
            action,
            caller: &caller(Dialect::Aws, "app"),
            key,
            refusal: refusal.as_ref(),
        });
    }

    fn refused(message: &str) -> KmsError {
        KmsError::new(ErrorKind::KeyDisabled, message)
    }

    #[test]
    fn calls_come_newest_first_with_what_was_noted() {
        let recent = Recent::default();
        note(&recent, "Encrypt", Some("k"), None);
        note(&recent, "Decrypt", Some("l"), Some("No."));
        let calls = recent.calls(|_call| true);
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0].action, "Decrypt");
        assert_eq!(calls[0].refusal, Some(refused("No.")));
        assert_eq!(calls[0].principal, "app");
        let of_k = recent.calls(|call| call.key.as_deref() == Some("k"));
        assert_eq!(of_k.len(), 1);
        assert_eq!(of_k[0].refusal, None);
    }

    #[test]
    fn the_memory_is_bounded_and_a_flood_of_granted_calls_leaves_the_refused_ones() {
        let recent = Recent::default();
        note(&recent, "Decrypt", Some("long-enough"), Some("Refused."));
        for _ in 0..3 * CALLS_MAX {
            note(&recent, "Encrypt", None, None);
        }
        let calls = recent.calls(|_call| true);
        assert_eq!(calls.len(), CALLS_MAX + 1);
        assert!(calls.iter().any(|call| call.refusal.is_some()));
    }

    #[test]
    fn a_place_that_is_used_again_keeps_nothing_of_the_call_before() {
        let recent = Recent::default();
        for _ in 0..CALLS_MAX {
            note(&recent, "GenerateDataKey", Some("key"), None);
        }
        for _ in 0..CALLS_MAX {
            note(&recent, "ListKeys", None, None);
        }
        assert!(recent.calls(|call| call.key.is_some()).is_empty());
    }

    #[test]
    fn minutes_are_counted_and_empty_ones_are_there() {
        let recent = Recent::default();
        note(&recent, "Encrypt", None, None);
        note(&recent, "Encrypt", None, None);
        note(&recent, "Encrypt", None, Some("No."));
        let minutes = recent.minutes(Timestamp::now());
        assert_eq!(minutes.len(), MINUTES);
        assert_eq!(minutes.iter().map(|minute| minute.granted).sum::<u64>(), 2);
        assert_eq!(minutes.iter().map(|minute| minute.refused).sum::<u64>(), 1);
        let pairs = minutes.windows(2);
        assert!({ pairs }.all(|pair| pair[1].number == pair[0].number + 1));
    }

    #[test]
    fn minutes_are_bounded_and_a_clock_that_goes_back_makes_none() {
        let mut memory = Memory::default();
        for number in (0..200).chain([50]) {
            memory.count(number, false);
        }
        assert_eq!(memory.minutes.len(), MINUTES);
        assert_eq!(memory.minutes.back().unwrap().granted, 2);
    }

    #[test]
    fn looking_is_not_shown_but_changes_and_refusals_in_the_console_are() {
        let recent = Recent::default();
        let caller = caller(Dialect::Console, "admin");
        for (action, refusal) in [
            ("ListKeys", None),
            ("ListKeys", Some(refused("No."))),
            ("DisableKey", None),
        ] {
            recent.note(Noted {
                action,
                caller: &caller,
                key: None,
                refusal: refusal.as_ref(),
            });
        }
        assert_eq!(recent.calls(|_call| true).len(), 2);
    }
}

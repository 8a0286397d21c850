//! Which key slots there should be, and what is to be done so that there are: a pure plan.

use crate::format::header::KeySlot;
use crate::units::KeyUri;

/// A key that there should be one slot of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) uri: KeyUri,
    /// The version that its slot should have; `None` where the provider did not say: any will do.
    pub(super) newest: Option<String>,
}

/// Whose choice the keys of some slots are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// The volume's: one slot for each of its keys, and no other.
    Volume,
    /// The file's own, as it was made outside the volume: only versions change.
    Own,
}

/// What becomes of one slot of the result, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// It stays as it is.
    Keep(KeySlot),
    /// It is wrapped anew under its key's newest version.
    Rewrap(KeySlot),
    /// The data key is wrapped for this key, which has no slot yet.
    Wrap(KeyUri),
}

/// How slots become what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Slots that go without another of the same key.
    pub(super) drops: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    pub(super) fn is_done(&self) -> bool {
        self.drops == 0 && self.steps.iter().all(|step| matches!(step, Step::Keep(_)))
    }
}

/// The plan for `slots`. With `anew`, slots of the newest version are wrapped anew as well: a service may not tell one
/// version from the next.
pub(super) fn plan(slots: &[KeySlot], targets: &[Target], keys: Keys, anew: bool) -> Plan {
    match keys {
        Keys::Volume => Plan {
            steps: targets
                .iter()
                .map(|target| step_for(target, slots, anew))
                .collect(),
            drops: slots.len().saturating_sub(
                targets
                    .iter()
                    .filter(|target| slots.iter().any(|slot| slot.key_uri == target.uri))
                    .count(),
            ),
        },
        Keys::Own => {
            let step = |slot: &KeySlot| {
                let target = targets.iter().find(|target| target.uri == slot.key_uri);
                target.map_or_else(
                    || Step::Keep(slot.clone()),
                    |target| keep_or_rewrap(target, slot, anew),
                )
            };
            Plan {
                steps: slots.iter().map(step).collect(),
                drops: 0,
            }
        }
    }
}

/// Of several slots of one key, one of the newest version is the one that stays.
fn step_for(target: &Target, slots: &[KeySlot], anew: bool) -> Step {
    let mut own = slots.iter().filter(|slot| slot.key_uri == target.uri);
    let newest = own.clone().find(|slot| is_newest(target, slot));
    match newest.or_else(|| own.next()) {
        None => Step::Wrap(target.uri.clone()),
        Some(slot) => keep_or_rewrap(target, slot, anew),
    }
}

fn keep_or_rewrap(target: &Target, slot: &KeySlot, anew: bool) -> Step {
    // A provider that did not answer cannot wrap anew either.
    if is_newest(target, slot) && (!anew || target.newest.is_none()) {
        Step::Keep(slot.clone())
    } else {
        Step::Rewrap(slot.clone())
    }
}

fn is_newest(target: &Target, slot: &KeySlot) -> bool {
    target
        .newest
        .as_ref()
        .is_none_or(|newest| *newest == slot.key_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(name: &str) -> KeyUri {
        format!("file:///{name}").parse().unwrap()
    }

    fn slot(name: &str, version: &str) -> KeySlot {
        KeySlot {
            key_uri: uri(name),
            key_version: version.into(),
            wrapped_dek: vec![1; 72],
        }
    }

    fn target(name: &str, newest: &str) -> Target {
        Target {
            uri: uri(name),
            newest: Some(newest.into()),
        }
    }

    fn planned(slots: &[KeySlot], targets: &[Target]) -> Plan {
        plan(slots, targets, Keys::Volume, false)
    }

    #[test]
    fn slots_that_are_right_stay_in_any_order() {
        let slots = [slot("b", "7"), slot("a", "1")];
        let found = planned(&slots, &[target("a", "1"), target("b", "7")]);
        assert!(found.is_done());
        assert_eq!(found.steps[0], Step::Keep(slot("a", "1")));
    }

    #[test]
    fn an_older_version_is_rewrapped_a_missing_key_wrapped_for_and_a_stranger_dropped() {
        let slots = [slot("a", "1"), slot("x", "1")];
        let found = planned(&slots, &[target("a", "2"), target("b", "1")]);
        let expected = [Step::Rewrap(slot("a", "1")), Step::Wrap(uri("b"))];
        assert_eq!((found.steps, found.drops), (expected.to_vec(), 1));
    }

    #[test]
    fn of_two_slots_of_one_key_the_newest_stays_alone() {
        let slots = [slot("a", "1"), slot("a", "2")];
        let found = planned(&slots, &[target("a", "2")]);
        assert_eq!(found.steps, [Step::Keep(slot("a", "2"))]);
        assert_eq!(found.drops, 1);
        assert!(!found.is_done());
    }

    #[test]
    fn a_key_whose_provider_is_silent_keeps_its_slot_of_any_version() {
        let silent = Target {
            uri: uri("a"),
            newest: None,
        };
        for anew in [false, true] {
            let targets = std::slice::from_ref(&silent);
            assert!(plan(&[slot("a", "1")], targets, Keys::Volume, anew).is_done());
        }
        let found = planned(&[slot("b", "1")], &[silent]);
        assert_eq!(found.steps, [Step::Wrap(uri("a"))]);
    }

    #[test]
    fn a_file_of_its_own_keys_keeps_them_all_and_gets_none() {
        let slots = [slot("a", "1"), slot("x", "9")];
        let targets = [target("a", "2"), target("b", "1")];
        let found = plan(&slots, &targets, Keys::Own, false);
        let expected = [Step::Rewrap(slot("a", "1")), Step::Keep(slot("x", "9"))];
        assert_eq!((found.steps, found.drops), (expected.to_vec(), 0));
    }

    #[test]
    fn anew_wraps_even_what_is_newest() {
        let found = plan(&[slot("a", "1")], &[target("a", "1")], Keys::Volume, true);
        assert_eq!(found.steps, [Step::Rewrap(slot("a", "1"))]);
    }

    #[test]
    fn with_no_target_nothing_is_left_and_it_is_not_taken_for_done() {
        let found = planned(&[slot("a", "1")], &[]);
        assert!(!found.is_done() && found.steps.is_empty());
    }
}

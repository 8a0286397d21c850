//! The slots of all segments: which are free, and how there come to be more.

use parking_lot::Mutex;
use rustix::io::Errno;

use super::segment::{self, SLOTS, Slot};
use super::{LockedMemoryError, LockedMemoryReport, MemoryKind, MemoryPolicy, fork_watch};

/// Where all keys of the process live. A leaf lock: nothing else is locked under it.
pub(super) static ARENA: Mutex<Arena> = Mutex::new(Arena::new(&ALL_KINDS));

/// The strongest first, as they are tried.
const ALL_KINDS: [MemoryKind; 3] = [MemoryKind::Secret, MemoryKind::Locked, MemoryKind::Unlocked];

/// Slots for keys. It grows and never shrinks: memory that held keys is used again for keys.
pub(super) struct Arena {
    /// What to try, in this order; tests leave out some.
    kinds: &'static [MemoryKind],
    policy: Option<MemoryPolicy>,
    /// All zeros, every one.
    free: Vec<Slot>,
    capacity: usize,
    weakest: Option<MemoryKind>,
    refused: Option<Errno>,
}

impl Arena {
    pub(super) const fn new(kinds: &'static [MemoryKind]) -> Self {
        Self {
            kinds,
            policy: None,
            free: Vec::new(),
            capacity: 0,
            weakest: None,
            refused: None,
        }
    }

    /// Sets the policy, once, and maps the first segment.
    pub(super) fn configure(
        &mut self,
        policy: MemoryPolicy,
    ) -> Result<LockedMemoryReport, LockedMemoryError> {
        if fork_watch::forked() {
            return Err(LockedMemoryError::Forked);
        }
        if self.policy.is_some_and(|already| already != policy) {
            return Err(LockedMemoryError::AlreadyConfigured);
        }
        if policy == MemoryPolicy::Required && self.weakest == Some(MemoryKind::Unlocked) {
            return Err(LockedMemoryError::AlreadyUnlocked);
        }
        self.policy = Some(policy);
        loop {
            if let Some(report) = self.report() {
                return Ok(report);
            }
            self.grow()?;
        }
    }

    /// What is in use, or `None` before the first segment.
    pub(super) fn report(&self) -> Option<LockedMemoryReport> {
        self.weakest.map(|kind| LockedMemoryReport {
            kind,
            refused: self.refused,
            capacity: self.capacity,
            in_use: self.capacity - self.free.len(),
        })
    }

    /// A slot of zeros.
    pub(super) fn take(&mut self) -> Result<Slot, LockedMemoryError> {
        if fork_watch::forked() {
            return Err(LockedMemoryError::Forked);
        }
        loop {
            if let Some(slot) = self.free.pop() {
                return Ok(slot);
            }
            self.grow()?;
        }
    }

    /// Takes back a slot that its owner has wiped.
    pub(super) fn put_back(&mut self, slot: Slot) {
        // Not `debug_assert_eq`, which would print a key.
        debug_assert!(
            *slot.bytes() == [0; segment::SLOT_LEN],
            "a slot comes back wiped"
        );
        self.free.push(slot);
    }

    /// Maps one more segment, of the strongest kind to be had.
    fn grow(&mut self) -> Result<(), LockedMemoryError> {
        fork_watch::arm().map_err(LockedMemoryError::Exhausted)?;
        // Room for every slot there is, so that to put one back never allocates.
        self.free.reserve(self.capacity + SLOTS - self.free.len());
        let mut last = Errno::NOTSUP;
        for &kind in self.kinds {
            if kind == MemoryKind::Unlocked && self.policy == Some(MemoryPolicy::Required) {
                return Err(LockedMemoryError::Refused(last));
            }
            match segment::map(kind) {
                Ok(slots) => {
                    self.add(kind, slots);
                    return Ok(());
                }
                Err(errno) => last = errno,
            }
            self.refused = Some(last);
        }
        Err(LockedMemoryError::Exhausted(last))
    }

    fn add(&mut self, kind: MemoryKind, slots: impl Iterator<Item = Slot>) {
        self.free.extend(slots);
        self.capacity += SLOTS;
        self.weakest = Some(self.weakest.map_or(kind, |weakest| weakest.min(kind)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(slot: &Slot) -> usize {
        slot.bytes().as_ptr().addr()
    }

    #[test]
    fn there_is_nothing_to_report_before_the_first_slot() {
        assert_eq!(Arena::new(&ALL_KINDS).report(), None);
    }

    #[test]
    fn it_grows_by_segments_and_no_two_slots_overlap() {
        let mut arena = Arena::new(&ALL_KINDS);
        let slots: Vec<_> = (0..2 * SLOTS + 1).map(|_| arena.take().unwrap()).collect();
        let mut addresses: Vec<_> = slots.iter().map(address).collect();
        addresses.sort_unstable();
        assert!(
            addresses
                .windows(2)
                .all(|pair| pair[1] - pair[0] >= segment::SLOT_LEN)
        );
        let report = arena.report().unwrap();
        assert_eq!((report.capacity, report.in_use), (3 * SLOTS, 2 * SLOTS + 1));
    }

    #[test]
    fn a_slot_put_back_is_used_again_and_is_zeros() {
        let mut arena = Arena::new(&ALL_KINDS);
        let mut slot = arena.take().unwrap();
        let first = address(&slot);
        slot.bytes_mut().fill(0xaa);
        slot.bytes_mut().fill(0);
        arena.put_back(slot);
        let again = arena.take().unwrap();
        assert_eq!(
            (address(&again), again.bytes()),
            (first, &[0; segment::SLOT_LEN])
        );
        assert_eq!(arena.report().unwrap().in_use, 1);
    }

    #[test]
    #[should_panic(expected = "a slot comes back wiped")]
    fn a_slot_that_is_not_wiped_is_not_taken_back() {
        let mut arena = Arena::new(&ALL_KINDS);
        let mut slot = arena.take().unwrap();
        slot.bytes_mut()[31] = 1;
        arena.put_back(slot);
    }

    #[test]
    fn putting_back_allocates_nothing() {
        let mut arena = Arena::new(&ALL_KINDS);
        let slots: Vec<_> = (0..3 * SLOTS).map(|_| arena.take().unwrap()).collect();
        assert!(arena.free.capacity() >= 3 * SLOTS);
        let before = arena.free.as_ptr();
        slots.into_iter().for_each(|slot| arena.put_back(slot));
        assert_eq!(arena.free.as_ptr(), before);
    }

    #[test]
    fn required_memory_that_cannot_be_locked_is_an_error() {
        let mut arena = Arena::new(&[MemoryKind::Unlocked]);
        let refused = LockedMemoryError::Refused(Errno::NOTSUP);
        assert_eq!(arena.configure(MemoryPolicy::Required), Err(refused));
        assert_eq!(arena.take().err(), Some(refused));
        assert_eq!(arena.report(), None);
    }

    #[test]
    fn best_effort_goes_on_without_a_lock_and_says_so() {
        let mut arena = Arena::new(&[MemoryKind::Unlocked]);
        let report = arena.configure(MemoryPolicy::BestEffort).unwrap();
        assert_eq!(
            (report.kind, report.capacity),
            (MemoryKind::Unlocked, SLOTS)
        );
    }

    #[test]
    fn the_report_tells_of_the_weakest_kind() {
        let mut arena = Arena::new(&[MemoryKind::Unlocked]);
        arena.grow().unwrap();
        arena.kinds = &ALL_KINDS;
        arena.grow().unwrap();
        assert_eq!(arena.report().unwrap().kind, MemoryKind::Unlocked);
        assert!(MemoryKind::Unlocked < MemoryKind::Locked);
        assert!(MemoryKind::Locked < MemoryKind::Secret);
    }

    #[test]
    fn the_policy_is_set_once() {
        let mut arena = Arena::new(&ALL_KINDS);
        let report = arena.configure(MemoryPolicy::BestEffort);
        assert_eq!(arena.configure(MemoryPolicy::BestEffort), report);
        let again = arena.configure(MemoryPolicy::Required);
        assert_eq!(again, Err(LockedMemoryError::AlreadyConfigured));
    }

    #[test]
    fn a_lock_cannot_be_required_once_keys_are_in_unlocked_memory() {
        let mut arena = Arena::new(&[MemoryKind::Unlocked]);
        arena.take().unwrap();
        let configured = arena.configure(MemoryPolicy::Required);
        assert_eq!(configured, Err(LockedMemoryError::AlreadyUnlocked));
    }

    #[test]
    fn no_memory_at_all_is_an_error() {
        let taken = Arena::new(&[]).take();
        assert_eq!(
            taken.err(),
            Some(LockedMemoryError::Exhausted(Errno::NOTSUP))
        );
    }
}

//! Keys in locked memory.
//!
//! Every [`SecretKey`] is a slot of one process-wide arena (`arena`) whose segments (`segment`)
//! never reach swap, a core file or a forked child. What the cipher libraries make of a key (round
//! keys, HMAC states) is ordinary memory of theirs: short-lived or wiped when dropped, and kept out
//! of core files by the process not being dumpable.

mod arena;
mod fork_watch;
mod segment;

use std::fmt;
use std::mem::ManuallyDrop;

use rustix::io::Errno;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::crypto::random;
use arena::ARENA;
use segment::Slot;

/// A key of 32 bytes in locked memory, wiped when dropped.
///
/// Comparison takes the same time for all keys, and [`fmt::Debug`] shows nothing of it. There is no
/// `Clone`: a copy is made on purpose, by [`SecretKey::try_clone`].
pub struct SecretKey {
    slot: ManuallyDrop<Slot>,
}

impl SecretKey {
    /// The length of every key in bytes.
    pub const LEN: usize = segment::SLOT_LEN;

    /// A new random key.
    ///
    /// # Errors
    /// Where no locked memory is left; see [`LockedMemoryError`].
    pub fn random() -> Result<Self, LockedMemoryError> {
        Self::init(|bytes| random::fill(bytes))
    }

    /// A key of these bytes. The caller wipes his own copy.
    ///
    /// # Errors
    /// Where no locked memory is left.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, LockedMemoryError> {
        Self::init(|slot| *slot = *bytes)
    }

    /// A key of these bytes. The caller wipes his own copy.
    ///
    /// # Errors
    /// [`SecretKeyError::Length`] for other than [`SecretKey::LEN`] bytes, else as
    /// [`SecretKey::from_bytes`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SecretKeyError> {
        let Ok(bytes) = <&[u8; Self::LEN]>::try_from(bytes) else {
            return Err(SecretKeyError::Length(bytes.len()));
        };
        Ok(Self::from_bytes(bytes)?)
    }

    /// A key whose bytes `write` puts in place, so that they stand nowhere else. `write` finds
    /// zeros.
    ///
    /// # Errors
    /// Where no locked memory is left.
    pub fn init(write: impl FnOnce(&mut [u8; Self::LEN])) -> Result<Self, LockedMemoryError> {
        Self::try_init(|bytes| {
            write(bytes);
            Ok(())
        })
    }

    /// As [`SecretKey::init`], where `write` may fail; then there is no key.
    ///
    /// # Errors
    /// The error of `write`, or one made of a [`LockedMemoryError`].
    pub fn try_init<E: From<LockedMemoryError>>(
        write: impl FnOnce(&mut [u8; Self::LEN]) -> Result<(), E>,
    ) -> Result<Self, E> {
        // Owned by the key from the start: an error or a panic of `write` frees the slot.
        let mut key = Self {
            slot: ManuallyDrop::new(ARENA.lock().take()?),
        };
        write(key.slot.bytes_mut())?;
        Ok(key)
    }

    /// The bytes of the key. Copy them nowhere that outlives the operation.
    ///
    /// # Panics
    /// In a process forked from the one that made the key: its bytes are not there, and to seal
    /// with the zeros in their place would be to publish the plaintext.
    pub fn expose(&self) -> &[u8; Self::LEN] {
        assert!(
            !fork_watch::forked(),
            "a key is used in a process forked from its owner"
        );
        self.slot.bytes()
    }

    /// A second slot with the same key.
    ///
    /// # Errors
    /// Where no locked memory is left.
    pub fn try_clone(&self) -> Result<Self, LockedMemoryError> {
        Self::from_bytes(self.expose())
    }
}

impl Drop for SecretKey {
    #[expect(
        unsafe_code,
        reason = "the slot moves out of a value that is going away"
    )]
    fn drop(&mut self) {
        if fork_watch::forked() {
            return; // the slot is the parent's, and may not even be mapped here
        }
        // SAFETY: `self` is being dropped, so `self.slot` is neither used nor taken again.
        let mut slot = unsafe { ManuallyDrop::take(&mut self.slot) };
        slot.bytes_mut().zeroize();
        ARENA.lock().put_back(slot);
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl ConstantTimeEq for SecretKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for SecretKey {}

/// What to do where memory cannot be locked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// Keys go into ordinary memory, which may be swapped out.
    #[default]
    BestEffort,
    /// No memory, no key: an error.
    Required,
}

/// What keeps the keys in use from others, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryKind {
    /// Ordinary memory, left out of core files. May be swapped out.
    Unlocked,
    /// Memory under `mlock(2)`, left out of core files.
    Locked,
    /// `memfd_secret(2)`: the kernel itself has no mapping of it, and neither root nor a debugger
    /// reads it from outside. While there is any, the system does not hibernate.
    Secret,
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unlocked => "memory that is not locked",
            Self::Locked => "locked memory (mlock)",
            Self::Secret => "secret memory (memfd_secret)",
        })
    }
}

/// What memory the keys of this process are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedMemoryReport {
    /// The weakest kind in use.
    pub kind: MemoryKind,
    /// Why the last attempt at a stronger kind failed, if one did.
    pub refused: Option<Errno>,
    /// How many keys there is room for before the arena has to grow.
    pub capacity: usize,
    /// How many keys are in memory now.
    pub in_use: usize,
}

/// There is no memory for a key that is as safe as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockedMemoryError {
    /// The policy was set before, to another.
    #[error("the policy for locked memory is already set")]
    AlreadyConfigured,
    /// The policy is [`MemoryPolicy::Required`], and there are keys in unlocked memory already.
    #[error("keys are in memory that is not locked")]
    AlreadyUnlocked,
    /// This process was forked from the one whose arena it has inherited.
    #[error("keys were made before this process was forked")]
    Forked,
    /// The policy is [`MemoryPolicy::Required`], and the system refuses to lock more memory.
    #[error("memory for keys cannot be locked (the limit is `ulimit -l`, LimitMEMLOCK=): {0}")]
    Refused(#[source] Errno),
    /// The system has no memory at all.
    #[error("no memory for keys: {0}")]
    Exhausted(#[source] Errno),
}

/// Bytes that cannot become a [`SecretKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// Of another length than [`SecretKey::LEN`].
    #[error("a key is {len} bytes, not {0}", len = SecretKey::LEN)]
    Length(usize),
    /// No memory for it.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
}

/// Sets the policy for all keys of this process and makes room for the first of them. For the start
/// of a program, after its last `fork`: a child cannot use its parent's keys. Without this call the
/// policy is [`MemoryPolicy::BestEffort`].
///
/// # Errors
/// [`LockedMemoryError::AlreadyConfigured`] after a call with another policy, else where `policy`
/// cannot be kept.
pub fn configure_locked_memory(
    policy: MemoryPolicy,
) -> Result<LockedMemoryReport, LockedMemoryError> {
    ARENA.lock().configure(policy)
}

/// What memory the keys are in, or `None` before the first key.
pub fn locked_memory_report() -> Option<LockedMemoryReport> {
    ARENA.lock().report()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::thread;

    use super::*;

    fn address(key: &SecretKey) -> usize {
        key.slot.bytes().as_ptr().addr()
    }

    #[test]
    fn thousands_of_keys_stand_each_for_itself() {
        let mut keys: HashMap<usize, (SecretKey, [u8; 32])> = HashMap::new();
        for number in 0..10_000_u32 {
            let mut bytes = [7; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            let key = SecretKey::from_bytes(&bytes).unwrap();
            let place = address(&key);
            assert!(
                keys.insert(place, (key, bytes)).is_none(),
                "two keys in one slot"
            );
            if number % 3 == 0 {
                keys.remove(&place);
            }
        }
        assert!(keys.values().all(|(key, bytes)| key.expose() == bytes));
    }

    #[test]
    fn a_new_key_finds_zeros_whatever_the_slot_held() {
        let mut reused = 0;
        for _ in 0..1000 {
            let old = SecretKey::from_bytes(&[0xff; 32]).unwrap();
            let place = address(&old);
            drop(old);
            let mut found = [1; 32];
            let new = SecretKey::init(|slot| found = *slot).unwrap();
            assert_eq!(found, [0; 32]);
            reused += u32::from(address(&new) == place);
        }
        assert!(reused > 0, "not one slot was used again");
    }

    #[test]
    fn threads_do_not_disturb_each_others_keys() {
        thread::scope(|scope| {
            for byte in 1..=4 {
                scope.spawn(move || {
                    for _ in 0..200 {
                        let keys: Vec<_> = (0..50)
                            .map(|_| SecretKey::from_bytes(&[byte; 32]).unwrap())
                            .collect();
                        assert!(keys.iter().all(|key| key.expose() == &[byte; 32]));
                    }
                });
            }
        });
    }

    #[test]
    fn slices_of_other_lengths_are_refused() {
        for len in [0, 1, 16, 24, 31, 33, 64] {
            let refusal = Err(SecretKeyError::Length(len));
            assert_eq!(SecretKey::from_slice(&vec![1; len]), refusal);
        }
        assert_eq!(
            SecretKey::from_slice(&[1; 32]),
            Ok(SecretKey::from_bytes(&[1; 32]).unwrap())
        );
    }

    #[test]
    fn random_keys_differ() {
        assert_ne!(SecretKey::random().unwrap(), SecretKey::random().unwrap());
    }

    #[test]
    fn keys_that_differ_in_one_bit_are_not_equal() {
        let key = SecretKey::from_bytes(&[0x55; 32]).unwrap();
        for changed in crate::crypto::testing::one_bit_flips(key.expose()) {
            assert_ne!(SecretKey::from_slice(&changed).unwrap(), key);
        }
    }

    #[test]
    fn a_clone_is_equal_and_elsewhere() {
        let key = SecretKey::random().unwrap();
        let clone = key.try_clone().unwrap();
        assert_ne!(address(&clone), address(&key));
        let bytes = *key.expose();
        drop(key);
        assert_eq!(clone.expose(), &bytes);
    }

    #[test]
    fn a_write_that_fails_makes_no_key() {
        let failed = SecretKey::try_init(|bytes| {
            bytes.fill(0xff);
            Err(SecretKeyError::Length(3))
        });
        assert_eq!(failed, Err(SecretKeyError::Length(3)));
    }

    #[test]
    fn a_write_that_panics_leaves_the_arena_usable() {
        let panicked = thread::spawn(|| SecretKey::init(|_bytes| panic!("on purpose"))).join();
        assert!(panicked.is_err());
        assert!(SecretKey::random().is_ok());
    }

    #[test]
    fn neither_debug_nor_errors_show_a_key() {
        let key = SecretKey::from_bytes(&[0xab; 32]).unwrap();
        assert_eq!(format!("{key:?} {key:#?}"), "SecretKey(..) SecretKey(..)");
        let error = SecretKey::from_slice(&[0xab; 31]).unwrap_err();
        assert_eq!(error.to_string(), "a key is 32 bytes, not 31");
    }

    #[test]
    fn the_report_counts_the_keys_of_the_process() {
        let _keys: Vec<_> = (0..100).map(|_| SecretKey::random().unwrap()).collect();
        let report = locked_memory_report().unwrap();
        assert!(
            report.in_use >= 100 && report.capacity >= report.in_use,
            "{report:?}"
        );
    }

    #[test]
    fn a_key_may_go_to_another_thread() {
        fn goes<T: Send + Sync>() {}
        goes::<SecretKey>();
    }
}

//! Nonces of chunks: `P (12 random bytes) ‖ counter u32 ‖ 8 random bytes`.
//!
//! `P` is drawn once per writer session of a file and chooses the XAES subkey, so that a chunk
//! costs no key set-up. In a session the counter keeps nonces apart; should two sessions of a
//! file ever draw the same `P`, the random tail still does.

use super::cursor::Writer;
use super::to_usize;
use crate::crypto::random;

/// Nonces whose random tails are drawn by one call.
const BATCH: usize = 64;
/// One more than the last counter.
const COUNTERS: u64 = 1 << 32;

/// The nonce of one sealed chunk.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ChunkNonce(pub [u8; 24]);

impl ChunkNonce {
    /// The first half, `P`: chooses the subkey.
    pub fn prefix(&self) -> &[u8; 12] {
        self.halves()[0]
    }

    /// The second half: the nonce of AES-GCM under the subkey.
    pub fn gcm(&self) -> &[u8; 12] {
        self.halves()[1]
    }

    fn halves(&self) -> [&[u8; 12]; 2] {
        let ([prefix, gcm], []) = self.0.as_chunks() else {
            unreachable!("24 is 2 × 12")
        };
        [prefix, gcm]
    }
}

/// The nonces of one writer session. Neither `Clone` nor `Copy`: two of the same prefix would
/// give the same counters.
#[derive(Debug)]
pub struct WriterNonces {
    prefix: [u8; 12],
    /// The next counter; [`COUNTERS`] when they are exhausted.
    next: u64,
}

/// Some nonces in a row, to be used once each; those not used are lost, which does no harm.
#[derive(Debug)]
pub struct NonceRun {
    prefix: [u8; 12],
    next: u64,
    end: u64,
    tails: [[u8; 8]; BATCH],
    /// How many of `tails` were given out; all at first, so that the first use draws them.
    used: usize,
}

impl WriterNonces {
    /// A session of its own: draws `P`.
    #[expect(clippy::new_without_default, reason = "a default value is not random")]
    pub fn new() -> Self {
        Self::with_prefix(random::array(), 0)
    }

    /// `P`, of which the session's subkey is made.
    pub fn prefix(&self) -> &[u8; 12] {
        &self.prefix
    }

    /// The next `n` nonces, or `None` when fewer counters are left: then a new session is due.
    pub fn take(&mut self, n: u32) -> Option<NonceRun> {
        let end = self.next.saturating_add(u64::from(n));
        if end > COUNTERS {
            return None;
        }
        let start = std::mem::replace(&mut self.next, end);
        let tails = [[0; 8]; BATCH];
        Some(NonceRun {
            prefix: self.prefix,
            next: start,
            end,
            tails,
            used: BATCH,
        })
    }

    fn with_prefix(prefix: [u8; 12], next: u64) -> Self {
        Self { prefix, next }
    }
}

impl NonceRun {
    /// The random tail of the next nonce. As many are drawn at once as the run still needs, up
    /// to a batch: a draw costs more than its bytes.
    fn tail(&mut self) -> Option<[u8; 8]> {
        if self.used == BATCH {
            let needed = to_usize(self.end.saturating_sub(self.next)).min(BATCH);
            random::fill(self.tails.get_mut(..needed)?.as_flattened_mut());
            self.used = 0;
        }
        let tail = self.tails.get(self.used).copied();
        self.used = self.used.saturating_add(1);
        tail
    }
}

impl Iterator for NonceRun {
    type Item = ChunkNonce;

    fn next(&mut self) -> Option<ChunkNonce> {
        if self.next == self.end {
            return None;
        }
        let tail = self.tail()?;
        let counter = u32::try_from(self.next).ok()?;
        self.next = self.next.saturating_add(1);
        let mut nonce = [0; 24];
        let mut writer = Writer::new(&mut nonce);
        writer.put(&self.prefix);
        writer.put(&counter.to_le_bytes());
        writer.put(&tail);
        Some(ChunkNonce(nonce))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = to_usize(self.end.saturating_sub(self.next));
        (left, Some(left))
    }
}

impl ExactSizeIterator for NonceRun {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn counter(nonce: &ChunkNonce) -> u32 {
        u32::from_le_bytes(*nonce.gcm().first_chunk().unwrap())
    }

    #[test]
    fn a_nonce_is_prefix_counter_and_random_tail() {
        let mut nonces = WriterNonces::with_prefix([7; 12], 0x0102_0304);
        let nonce = nonces.take(1).unwrap().next().unwrap();
        assert_eq!(nonce.prefix(), &[7; 12]);
        assert_eq!(nonce.gcm()[..4], [4, 3, 2, 1]);
        assert_ne!(nonce.gcm()[4..], [0; 8]);
    }

    #[test]
    fn runs_of_all_lengths_give_every_counter_once() {
        let mut nonces = WriterNonces::new();
        let mut seen = Vec::new();
        for len in [0, 1, 63, 64, 65, 128, 129, 300] {
            let run = nonces.take(len).unwrap();
            assert_eq!(run.len(), len as usize);
            seen.extend(run);
        }
        let counters: Vec<u32> = seen.iter().map(counter).collect();
        assert_eq!(counters, (0..750).collect::<Vec<u32>>());
        let tails: HashSet<&[u8]> = seen.iter().map(|nonce| &nonce.gcm()[4..]).collect();
        assert_eq!(tails.len(), 750, "a tail was given twice");
    }

    #[test]
    fn nonces_of_a_dropped_run_are_not_given_again() {
        let mut nonces = WriterNonces::new();
        assert_eq!(nonces.take(10).unwrap().len(), 10);
        assert_eq!(
            nonces.take(1).unwrap().next().map(|nonce| counter(&nonce)),
            Some(10)
        );
    }

    #[test]
    fn the_last_counter_is_used_and_none_after_it() {
        let mut nonces = WriterNonces::with_prefix([0; 12], COUNTERS - 3);
        assert!(nonces.take(4).is_none());
        assert!(nonces.take(u32::MAX).is_none());
        let counters: Vec<u32> = nonces
            .take(3)
            .unwrap()
            .map(|nonce| counter(&nonce))
            .collect();
        assert_eq!(counters, [u32::MAX - 2, u32::MAX - 1, u32::MAX]);
        assert!(nonces.take(1).is_none());
        assert_eq!(nonces.take(0).unwrap().next(), None);
    }

    #[test]
    fn two_sessions_have_two_prefixes() {
        assert_ne!(WriterNonces::new().prefix(), WriterNonces::new().prefix());
    }
}

//! How much each version of a key is used: counted in memory, added to the store now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::model::KeyVersionId;
use crate::kms::store::keys::Counts;

/// The uses of one version since they were last added to the store.
#[derive(Debug, Default)]
pub(super) struct Uses {
    produced: AtomicU64,
    opened: AtomicU64,
    /// What it produced in its life, as far as this server knows: its own, and that of others when it last told the store.
    ever: Arc<AtomicU64>,
    /// Milliseconds.
    last: AtomicI64,
}

impl Uses {
    /// Something was made with it.
    pub(super) fn produced(&self, now: Timestamp) {
        self.produced.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.as_millisecond(), Ordering::Relaxed);
    }

    /// How often it produced something in its life, which is this much at least. For who counts on by himself.
    pub(super) fn ever(&self, known: u64) -> Arc<AtomicU64> {
        self.ever.fetch_max(known, Ordering::Relaxed);
        Arc::clone(&self.ever)
    }

    /// Something was opened or checked with it.
    pub(super) fn opened(&self, now: Timestamp) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.last.store(now.as_millisecond(), Ordering::Relaxed);
    }

    fn take(&self) -> Option<Counts> {
        let counts = Counts {
            produced: self.produced.swap(0, Ordering::Relaxed),
            opened: self.opened.swap(0, Ordering::Relaxed),
            last_used: Timestamp::from_millisecond(self.last.load(Ordering::Relaxed)).ok(),
        };
        (counts.produced > 0 || counts.opened > 0).then_some(counts)
    }

    fn put_back(&self, counts: Counts) {
        self.produced.fetch_add(counts.produced, Ordering::Relaxed);
        self.opened.fetch_add(counts.opened, Ordering::Relaxed);
    }
}

/// The uses of all versions that are known.
#[derive(Debug, Default)]
pub(super) struct Census {
    versions: Mutex<HashMap<KeyVersionId, Arc<Uses>>>,
}

impl Census {
    pub(super) fn of(&self, version: &KeyVersionId) -> Arc<Uses> {
        Arc::clone(self.versions.lock().entry(version.clone()).or_default())
    }

    /// Takes what was counted, and forgets versions that nobody holds any more.
    pub(super) fn take(&self) -> Vec<(KeyVersionId, Counts)> {
        let mut taken = Vec::new();
        self.versions.lock().retain(|version, uses| {
            let counts = uses.take();
            taken.extend(counts.map(|counts| (version.clone(), counts)));
            counts.is_some() || Arc::strong_count(uses) > 1
        });
        taken
    }

    /// The store has so many by now, of all servers.
    pub(super) fn note_produced(&self, produced: &[(KeyVersionId, u64)]) {
        let versions = self.versions.lock();
        for (version, count) in produced {
            if let Some(uses) = versions.get(version) {
                uses.ever.fetch_max(*count, Ordering::Relaxed);
            }
        }
    }

    /// What could not be added to the store is to be tried again.
    pub(super) fn put_back(&self, taken: Vec<(KeyVersionId, Counts)>) {
        for (version, counts) in taken {
            self.of(&version).put_back(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_taken_once_and_may_be_put_back() {
        let census = Census::default();
        let (a, b) = (KeyVersionId("a".to_owned()), KeyVersionId("b".to_owned()));
        let now = Timestamp::from_millisecond(5).unwrap();
        let held = census.of(&a);
        held.produced(now);
        held.produced(now);
        census.of(&b).opened(now);
        let mut taken = census.take();
        taken.sort_by(|x, y| x.0.cmp(&y.0));
        let counts = |produced, opened| Counts {
            produced,
            opened,
            last_used: Some(now),
        };
        assert_eq!(taken, [(a.clone(), counts(2, 0)), (b, counts(0, 1))]);
        assert_eq!(census.take(), []);
        census.put_back(vec![(a.clone(), counts(2, 0))]);
        held.opened(now);
        assert_eq!(census.take(), [(a, counts(2, 1))]);
    }

    #[test]
    fn what_others_produced_counts_from_when_the_store_told_it() {
        let census = Census::default();
        let version = KeyVersionId("a".to_owned());
        let ever = census.of(&version).ever(5);
        ever.fetch_add(1, Ordering::Relaxed);
        let told = |count| census.note_produced(&[(version.clone(), count)]);
        told(3);
        assert_eq!(ever.load(Ordering::Relaxed), 6, "it never falls");
        told(40);
        assert_eq!(ever.load(Ordering::Relaxed), 40);
        assert_eq!(census.of(&version).ever(7).load(Ordering::Relaxed), 40);
        census.note_produced(&[(KeyVersionId("other".to_owned()), 1)]);
        assert_eq!(census.versions.lock().len(), 1);
    }

    #[test]
    fn versions_that_nobody_holds_are_forgotten() {
        let census = Census::default();
        let held = census.of(&KeyVersionId("held".to_owned()));
        for i in 0..100 {
            census.of(&KeyVersionId(i.to_string()));
        }
        census.take();
        assert_eq!(census.versions.lock().len(), 1);
        drop(held);
        census.take();
        assert_eq!(census.versions.lock().len(), 0);
    }
}

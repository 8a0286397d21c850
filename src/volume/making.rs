//! New files that nobody finds yet: they have been given keys, and are on their way to their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// How many files are being made, by the generation of the keys that they were given.
#[derive(Debug, Default)]
pub(super) struct Making {
    counts: Mutex<BTreeMap<u64, usize>>,
    fewer: Condvar,
}

/// A moment in the life of a volume: new files get keys by what it says of them then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub(super) u64);

/// A file is being made. Whoever makes it holds this until the file is found by its name.
#[derive(Debug)]
#[must_use = "the file counts as made when this is dropped"]
pub struct BeingMade {
    making: Arc<Making>,
    generation: u64,
}

impl Making {
    /// One more. Only who finds the generation unchanged afterwards may go on: whoever changes it before waits for nobody, and
    /// whoever changes it later waits for this one.
    pub(super) fn begin(self: &Arc<Self>, generation: u64) -> BeingMade {
        *self.counts.lock().entry(generation).or_default() += 1;
        BeingMade {
            making: Arc::clone(self),
            generation,
        }
    }

    /// Waits until none is being made with keys from before this generation.
    pub(super) fn wait_for_older_than(&self, generation: u64) {
        let mut counts = self.counts.lock();
        while counts
            .keys()
            .next()
            .is_some_and(|first| *first < generation)
        {
            self.fewer.wait(&mut counts);
        }
    }
}

#[cfg(test)]
impl Making {
    pub(super) fn is_any(&self) -> bool {
        !self.counts.lock().is_empty()
    }
}

impl BeingMade {
    /// The moment whose keys it was given.
    pub fn moment(&self) -> Moment {
        Moment(self.generation)
    }
}

impl Drop for BeingMade {
    fn drop(&mut self) {
        let mut counts = self.making.counts.lock();
        if let Some(count) = counts.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.generation);
            }
        }
        drop(counts);
        self.making.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn older_ones_are_waited_for_and_newer_ones_are_not() {
        let making = Arc::new(Making::default());
        let newer = making.begin(2);
        making.wait_for_older_than(2);
        let older = [making.begin(1), making.begin(1)];
        let waits = Arc::clone(&making);
        let waiting = thread::spawn(move || waits.wait_for_older_than(2));
        for one in older {
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(one);
        }
        waiting.join().unwrap();
        drop(newer);
        assert!(!making.is_any());
    }
}

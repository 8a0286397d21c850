//! The keyring: data keys that were unwrapped a short while ago.
//!
//! A file that is opened again costs no call of the provider, and however many threads open one
//! file at once, they cost one call (single flight). Calls that may block run on a few key workers,
//! so a slow provider holds up no thread that serves other files. A key is believed for a bounded
//! time (TTL) and asked for anew in the last quarter of it, while it still serves; a refusal evicts
//! it at once. Failures are kept for a second, so that a crowd does not hammer a provider that is
//! down.

mod shard;
mod workers;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::crypto::secret::SecretKey;
use crate::format::header::KeySlot;
use crate::keys::error::KeyError;
use crate::units::{EpochId, FileId, VolumeId};
use shard::{Found, Shard, Start, Waiter};
use workers::{Job, Queue, Urgency, Workers};

/// The most shards; each has its own lock.
const SHARDS_MAX: usize = 16;
/// A keyring smaller than this for each shard has fewer shards: its LRU order matters more.
const SHARD_ENTRIES: usize = 64;

/// How much a keyring keeps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyringConfig {
    /// The most data keys that are kept; at least one is.
    pub entries: usize,
    /// How long a data key is believed without asking its provider again: the bound on how late
    /// a revocation is noticed.
    pub ttl: Duration,
    /// Threads that call the provider, and so the most calls at a time; at least one.
    pub workers: usize,
}

impl Default for KeyringConfig {
    /// 16,384 keys (half a MiB of locked memory), five minutes, four workers.
    fn default() -> Self {
        Self {
            entries: 16_384,
            ttl: Duration::from_secs(300),
            workers: 4,
        }
    }
}

/// What is needed to get at a file's data key.
#[derive(Clone, Debug)]
pub struct DekRequest {
    /// The file.
    pub file: FileId,
    /// The volume that the file was made in; part of the context of its wrapped keys.
    pub volume: Option<VolumeId>,
    /// Which of its data keys.
    pub epoch: EpochId,
    /// The commitment to that key, from the header: a key kept for another one is not given out.
    pub commitment: [u8; 32],
    /// The ways to the key.
    pub slots: Vec<KeySlot>,
}

/// A data key, shared with the keyring, or why there is none.
pub type DekResult = Result<Arc<SecretKey>, KeyError>;

/// Counts since the keyring was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyringStats {
    /// Requests answered from memory, kept failures among them.
    pub hits: u64,
    /// Requests that waited for the provider, whether they began the call or joined it.
    pub misses: u64,
    /// Data keys kept now.
    pub entries: u64,
    /// Data keys that made room for others before their time was over.
    pub evictions: u64,
}

type Unwrap = Arc<dyn Fn(&DekRequest) -> Result<SecretKey, KeyError> + Send + Sync>;
type IsAtHand = Arc<dyn Fn(&DekRequest) -> bool + Send + Sync>;

/// Unwrapped data keys, by file and epoch. See the module's text. Dropping it ends its threads,
/// once calls that have begun are over; who still waits is answered `Unavailable`.
pub struct Keyring {
    shared: Arc<Shared>,
    /// As many as there is work for, and one that drops the keys whose time is over.
    workers: Workers,
    is_at_hand: IsAtHand,
    /// There is not one thread: all is served on that which asks.
    alone: bool,
}

/// What the workers and the callers share. Lock order: a shard, or the queue, never both; neither
/// is held while a provider is called or an answer given.
struct Shared {
    shards: Box<[Mutex<Shard>]>,
    queue: Queue,
    unwrap: Unwrap,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Keyring")
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// An empty keyring. `unwrap` gets at a data key: it may block and may fail; if it panics, that
    /// is `Unavailable`. `is_at_hand` says of a request that this answers from memory in
    /// microseconds: then it runs on the thread that asks.
    pub fn new(config: KeyringConfig, unwrap: Unwrap, is_at_hand: IsAtHand) -> Self {
        let shared = Arc::new(Shared {
            shards: shards(&config),
            queue: Queue::new(config.ttl, config.workers.max(1)),
            unwrap,
        });
        shared.queue.add_worker();
        let workers = Workers::default();
        let first = Arc::clone(&shared);
        let alone = !workers.start(move || first.work());
        Self {
            shared,
            workers,
            is_at_hand,
            alone,
        }
    }

    /// Whether a request is served on the thread that asks.
    fn is_local(&self, request: &DekRequest) -> bool {
        self.alone || (self.is_at_hand)(request)
    }

    /// The data key if it is kept. Takes one short lock; counts as a hit where there is one.
    pub fn cached(&self, file: &FileId, epoch: EpochId) -> Option<Arc<SecretKey>> {
        self.shared
            .shard(file)
            .lock()
            .cached(*file, epoch, Instant::now())
    }

    /// When the provider was asked for the data key that is kept, if one is.
    pub fn confirmed_at(&self, file: &FileId, epoch: EpochId) -> Option<Instant> {
        self.shared.shard(file).lock().since(*file, epoch)
    }

    /// Keeps a data key that was made or unwrapped elsewhere, in the place of any other one for
    /// this file and epoch. `since` is when its provider had a hand in it.
    pub fn insert(&self, file: FileId, epoch: EpochId, dek: Arc<SecretKey>, since: Instant) {
        self.shared
            .shard(&file)
            .lock()
            .insert(file, epoch, dek, since);
    }

    /// Has the provider asked whether the data key may still be used, whatever is kept: a refusal
    /// evicts it at once, an answer lets it serve for another TTL. `done` as with
    /// [`fetch`](Keyring::fetch); nobody who waits for a key is held up by this.
    pub fn confirm(&self, request: DekRequest, done: impl FnOnce(DekResult) + Send + 'static) {
        let begun = self
            .shared
            .shard(&request.file)
            .lock()
            .join_or_start_anew(&request, Box::new(done));
        match begun {
            false => {}
            true if self.is_local(&request) => self.shared.fly(&request),
            true => self.enqueue(request, Urgency::Refresh),
        }
    }

    /// Gets the data key and hands it to `done`: at once on this thread where the keyring has it or
    /// the provider is local, else later on a key worker. `done` is called exactly once, with
    /// no lock held; it must not block, for others wait behind it.
    pub fn fetch(&self, request: DekRequest, done: impl FnOnce(DekResult) + Send + 'static) {
        // The guard is gone before `done` runs.
        let found = self
            .shared
            .shard(&request.file)
            .lock()
            .find(&request, Instant::now());
        match found {
            Some(Found { result, stale }) => {
                if stale {
                    self.refresh(request);
                }
                done(result);
            }
            None => self.fetch_missing(request, Box::new(done)),
        }
    }

    /// As [`fetch`](Keyring::fetch), and waits for the answer. Not for key workers: one that waits
    /// for its own kind may wait for ever.
    ///
    /// # Errors
    /// What the provider said, or what it said less than a second ago.
    pub fn fetch_blocking(&self, request: DekRequest) -> DekResult {
        let (answer, answered) = mpsc::sync_channel(1);
        self.fetch(request, move |result| {
            // The receiver waits below; it cannot be gone.
            let _sent = answer.send(result);
        });
        answered.recv().unwrap_or_else(|_error| Err(closing()))
    }

    /// Drops every key and every kept failure. Calls under way are answered, and not kept.
    pub fn clear(&self) {
        for shard in &self.shared.shards {
            shard.lock().clear();
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> KeyringStats {
        let each = self.shared.shards.iter().map(|shard| shard.lock().stats());
        each.fold(KeyringStats::default(), |sum, one| KeyringStats {
            hits: sum.hits.saturating_add(one.hits),
            misses: sum.misses.saturating_add(one.misses),
            entries: sum.entries.saturating_add(one.entries),
            evictions: sum.evictions.saturating_add(one.evictions),
        })
    }

    fn fetch_missing(&self, request: DekRequest, waiter: Waiter) {
        let start =
            self.shared
                .shard(&request.file)
                .lock()
                .join_or_start(&request, waiter, Instant::now());
        match start {
            Start::Answered(waiter, result) => waiter(result),
            Start::Joined => {}
            Start::Flight if self.is_local(&request) => self.shared.fly(&request),
            Start::Flight => self.enqueue(request, Urgency::Awaited),
        }
    }

    /// Asks again for a key that is still believed, but not for much longer.
    fn refresh(&self, request: DekRequest) {
        if !self.is_local(&request)
            && self
                .shared
                .shard(&request.file)
                .lock()
                .start_refresh(&request)
        {
            self.enqueue(request, Urgency::Refresh);
        }
    }

    fn enqueue(&self, request: DekRequest, urgency: Urgency) {
        match self.shared.queue.push(request, urgency) {
            Ok(false) => {}
            Ok(true) => {
                let shared = Arc::clone(&self.shared);
                if !self.workers.start(move || shared.work()) {
                    self.shared.queue.lose_worker();
                }
            }
            Err(refused) => self.shared.land(&refused, &Err(closing()), Instant::now()),
        }
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        for request in self.shared.queue.close() {
            self.shared.land(&request, &Err(closing()), Instant::now());
        }
        self.workers.join();
    }
}

impl Shared {
    fn shard(&self, file: &FileId) -> &Mutex<Shard> {
        // File ids are random, so any byte spreads them evenly.
        let [byte, ..] = file.0;
        let index = usize::from(byte) % self.shards.len();
        #[expect(clippy::indexing_slicing, reason = "a remainder by the length")]
        &self.shards[index]
    }

    /// The life of a worker.
    fn work(&self) {
        loop {
            match self.queue.next_job() {
                Job::Fly(request) => self.fly(&request),
                Job::Sweep => self.sweep(),
                Job::Stop => return,
            }
        }
    }

    /// Calls the provider and answers all who wait for that.
    fn fly(&self, request: &DekRequest) {
        // A revocation may come while the provider is under way with its answer.
        let asked = Instant::now();
        let unwrapped = catch_unwind(AssertUnwindSafe(|| (self.unwrap)(request)));
        let result = unwrapped.unwrap_or_else(|_panic| {
            tracing::error!(file = %request.file, "a key provider panicked");
            Err(KeyError::unavailable("the key provider panicked"))
        });
        self.land(request, &result.map(Arc::new), asked);
    }

    fn land(&self, request: &DekRequest, result: &DekResult, asked: Instant) {
        let waiters = self
            .shard(&request.file)
            .lock()
            .land(request, result, asked);
        for waiter in waiters {
            answer(waiter, result.clone());
        }
    }

    fn sweep(&self) {
        for shard in &self.shards {
            shard.lock().sweep(Instant::now());
        }
    }
}

fn shards(config: &KeyringConfig) -> Box<[Mutex<Shard>]> {
    let count = config.entries.div_ceil(SHARD_ENTRIES).clamp(1, SHARDS_MAX);
    let entries = config.entries.div_ceil(count);
    (0..count)
        .map(|_n| Mutex::new(Shard::new(entries, config.ttl)))
        .collect()
}

/// Answers one waiter. A panic in one must not take the answer from the next.
fn answer(waiter: Waiter, result: DekResult) {
    if catch_unwind(AssertUnwindSafe(|| waiter(result))).is_err() {
        tracing::error!("a panic in what waited for a key");
    }
}

fn closing() -> KeyError {
    KeyError::unavailable("the keyring is closing").of_this_host()
}

#[cfg(test)]
mod tests;

//! Requests that were taken once are taken nowhere again: servers on one store tell each other of them, and a server that
//! begins learns what was taken before it.
//!
//! Twice a second each server puts what it took into the store and reads what others put there. So a request can be taken
//! by a second server within a second while the store answers, and within [`STALE_AT_MOST`](super::service::STALE_AT_MOST)
//! whatever breaks; that it was is noticed by both, and noted in their trails.
//!
//! The store keeps as many requests of a server as a server remembers. With what it keeps comes up to which second it kept
//! more: who did not read that in time takes no request that may be among it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::time::{sleep, timeout};

use super::caller::{Caller, Dialect};
use super::error::{ErrorKind, KmsError};
use super::ids;
use super::service::{Engine, now};
use super::upkeep::{ASK, PATIENCE, until_closed};
use crate::kms::auth::{Floors, Fresh, REMEMBERED, Replays};
use crate::kms::store::StoreError;
use crate::kms::store::seen::SeenBatch;

/// What this server told, and what it knows of others.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Of this process alone.
    server: String,
    /// So many requests of this server are kept in the store.
    kept: usize,
    /// The number of the last batch.
    number: i64,
    /// Not known to be in the store yet.
    waiting: Option<Waiting>,
    /// What is in the store of this server, oldest first.
    told: VecDeque<Told>,
    /// What was told and is in the store no more.
    floors: Floors,
    /// What was learned of each other server.
    learned: HashMap<String, Learned>,
    /// The access keys of what was taken twice, until that is noted.
    twice: Vec<String>,
}

/// A batch that goes into the store, and up to which number others leave it then.
#[derive(Debug)]
struct Waiting {
    batch: SeenBatch,
    over: i64,
    told: Told,
}

/// What is kept in mind of a batch.
#[derive(Debug)]
struct Told {
    number: i64,
    count: usize,
    newest: Floors,
}

#[derive(Debug, Default)]
struct Learned {
    /// Of the last batch.
    number: i64,
    /// Some batch had left the store before it was read.
    missed: bool,
}

impl Sharing {
    fn new(kept: usize) -> Self {
        Self {
            server: ids::uuid(),
            kept,
            number: 0,
            waiting: None,
            told: VecDeque::new(),
            floors: Floors::default(),
            learned: HashMap::new(),
            twice: Vec::new(),
        }
    }

    /// Has the store keep what was taken here; says whether there was anything. What it may have kept already is put again,
    /// and is there once.
    async fn tell(&mut self, engine: &Engine) -> Result<bool, StoreError> {
        if self.waiting.is_none() {
            let fresh = engine.replays.take_fresh();
            self.waiting = fresh.map(|fresh| self.batch_of(&fresh));
        }
        let Some(Waiting { batch, over, .. }) = &self.waiting else {
            return Ok(false);
        };
        engine.store.put_seen(batch, *over, now()).await?;
        if let Some(waiting) = self.waiting.take() {
            self.note_kept(waiting);
        }
        Ok(true)
    }

    /// The store has a batch, and has let others go for it.
    fn note_kept(&mut self, Waiting { over, told, .. }: Waiting) {
        self.told.retain(|batch| batch.number > over);
        self.told.push_back(told);
    }

    fn batch_of(&mut self, fresh: &Fresh) -> Waiting {
        self.number += 1;
        let count = fresh.count();
        let over = over(&self.told, count, self.kept);
        self.floors.forget(now());
        for told in self.told.iter().filter(|told| told.number <= over) {
            self.floors.raise(told.newest.clone());
        }
        Waiting {
            batch: SeenBatch {
                server: self.server.clone(),
                number: self.number,
                requests: fresh.to_bytes(&self.floors),
            },
            over,
            told: Told {
                number: self.number,
                count,
                newest: fresh.newest(),
            },
        }
    }

    /// Learns what others told since.
    async fn learn(&mut self, engine: &Engine) -> Result<(), StoreError> {
        let last = engine.store.last_seen().await?;
        self.learned
            .retain(|server, _learned| last.iter().any(|(other, _newest)| other == server));
        for (server, newest) in last {
            if server == self.server {
                continue;
            }
            let learned = self.learned.entry(server.clone()).or_default();
            while learned.number < newest {
                let batches = engine.store.seen_after(&server, learned.number).await?;
                if batches.is_empty() {
                    break;
                }
                for batch in batches {
                    let twice = learned.take(&engine.replays, &batch);
                    self.twice.extend(twice?);
                }
            }
        }
        Ok(())
    }
}

impl Learned {
    /// Gives the access keys of what was taken twice. Which batches left the store is told by a later one at the latest, so
    /// from the first that was missed every batch counts for what is told no more.
    fn take(&mut self, replays: &Replays, batch: &SeenBatch) -> Result<Vec<String>, StoreError> {
        self.missed |= batch.number > self.number + 1;
        let twice = replays.learn(&batch.requests, self.missed, now());
        let twice = twice.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        self.number = batch.number;
        Ok(twice)
    }
}

/// The number up to which batches are over, where another with so many requests comes and no more are to be kept than this.
fn over(told: &VecDeque<Told>, count: usize, kept: usize) -> i64 {
    let mut sum = count;
    let newest_over = told.iter().rev().find(|told| {
        sum = sum.saturating_add(told.count);
        sum > kept
    });
    newest_over.map_or(0, |told| told.number)
}

impl Engine {
    /// The requests that were taken, here and by other servers.
    #[must_use]
    pub fn replays(&self) -> &Arc<Replays> {
        &self.replays
    }

    /// Learns which requests were taken lately, and from now on tells others and learns from them. For servers: commands
    /// take no requests.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn share_requests(self: &Arc<Self>) -> Result<(), KmsError> {
        let begun = Instant::now();
        let mut sharing = Sharing::new(REMEMBERED);
        sharing.learn(self).await?;
        // What was taken twice before this was told when it was.
        sharing.twice.clear();
        *self.sharing.lock().await = Some(sharing);
        self.note_shared(begun);
        let sharing = go_on(Arc::downgrade(self));
        tokio::spawn(until_closed(self, sharing));
        Ok(())
    }

    /// Tells and learns once.
    async fn share_once(&self) -> Result<(), StoreError> {
        let mut sharing = self.sharing.lock().await;
        let Some(sharing) = sharing.as_mut() else {
            return Ok(());
        };
        let begun = Instant::now();
        // What cannot be told is no reason not to learn.
        let told = sharing.tell(self).await;
        let learned = sharing.learn(self).await;
        for access_key_id in sharing.twice.drain(..) {
            self.note_taken_twice(access_key_id);
        }
        told.map(drop).and(learned)?;
        self.note_shared(begun);
        Ok(())
    }

    /// The last of it, before the store is closed: what was being told when this began, and what came after that.
    pub(super) async fn tell_the_rest(&self) {
        let mut sharing = self.sharing.lock().await;
        let Some(sharing) = sharing.as_mut() else {
            return;
        };
        loop {
            match sharing.tell(self).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "which requests were taken last was not kept");
                    return;
                }
            }
        }
    }

    fn note_taken_twice(&self, access_key_id: String) {
        let caller = Caller {
            principal: self.known_principal(&access_key_id).unwrap_or_default(),
            access_key_id,
            ..Caller::nobody(Dialect::Service, None)
        };
        let refusal = KmsError::new(
            ErrorKind::SignatureInvalid,
            "Two servers took a request with one nonce before either knew of the other's: one of them was a replay.",
        );
        tracing::warn!(
            access_key = caller.access_key_id,
            "a request was taken by two servers: one of them was a replay"
        );
        if let Err(error) = self.note_refusal(&caller, "Authenticate", &refusal) {
            tracing::error!(%error, "that a request was taken twice was not noted");
        }
    }
}

async fn go_on(engine: Weak<Engine>) {
    while let Some(engine) = engine.upgrade() {
        match timeout(PATIENCE, engine.share_once()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "servers do not share which requests they took");
            }
            Err(_late) => tracing::warn!("the store is late to share which requests were taken"),
        }
        drop(engine);
        sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::crypto::{MacKey, SecretKey};

    fn told(number: i64, count: usize) -> Told {
        Told {
            number,
            count,
            newest: Floors::default(),
        }
    }

    #[test]
    fn no_more_is_kept_than_a_server_remembers() {
        let batches = VecDeque::from([told(1, 8), told(2, 4), told(3, 4)]);
        for (count, expected) in [(0, 0), (1, 1), (8, 1), (9, 2), (16, 3)] {
            assert_eq!(over(&batches, count, 16), expected, "{count}");
        }
        assert_eq!(over(&VecDeque::new(), 16, 16), 0);
    }

    /// Whether a request of this access key that was signed at this second is taken.
    fn take(replays: &Replays, key: &str, second: i64) -> bool {
        let signed = Timestamp::from_second(second).unwrap();
        replays
            .admit_nonce(key, &second.to_string(), signed, now())
            .is_ok()
    }

    #[test]
    fn who_read_a_batch_too_late_takes_nothing_of_it() {
        let replays = || {
            let key = SecretKey::from_bytes(&[7; 32]).unwrap();
            Replays::new(REMEMBERED, MacKey::new(key))
        };
        let (server, mut sharing, mut batches) = (replays(), Sharing::new(2), Vec::new());
        let base = now().as_second();
        let requests = [("a", 1), ("a", 2), ("b", 3), ("b", 4)].map(|(key, at)| (key, base + at));
        for (key, second) in requests {
            assert!(take(&server, key, second));
            let waiting = sharing.batch_of(&server.take_fresh().unwrap());
            batches.push(waiting.batch.clone());
            sharing.note_kept(waiting);
        }
        // The first two have left the store when a server reads that had read so many of them before.
        for read in 0..3 {
            let (other, mut learned) = (replays(), Learned::default());
            for batch in batches[..read].iter().chain(&batches[2..]) {
                learned.take(&other, batch).unwrap();
            }
            for (key, second) in requests {
                assert!(!take(&other, key, second), "{read} {key} {second}");
            }
            assert!(
                take(&other, "a", base + 5) && take(&other, "b", base),
                "{read}"
            );
            let missed_none = read == 2;
            assert_eq!(take(&other, "a", base), missed_none, "{read}");
        }
    }
}

//! Requests that were taken once are taken nowhere again: servers on one store tell each other of them, and a server that
//! begins learns what was taken before it.
//!
//! Twice a second each server puts what it took into the store and reads what others put there. So a request can be taken
//! by a second server within that time, and not after; that it was is noticed by both, and noted in their trails.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::time::{sleep, timeout};

use super::caller::{Caller, Dialect};
use super::error::{ErrorKind, KmsError};
use super::ids;
use super::service::{Engine, now};
use super::upkeep::{ASK, PATIENCE, until_closed};
use crate::kms::auth::{REMEMBERED, Replays};
use crate::kms::store::StoreError;
use crate::kms::store::seen::SeenBatch;

/// What this server told, and what it knows of others.
#[derive(Debug)]
pub(super) struct Sharing {
    /// Of this process alone.
    server: String,
    /// The number of the last batch.
    number: i64,
    /// Not known to be in the store yet.
    waiting: Option<(SeenBatch, usize)>,
    /// What is in the store of this server: number and how many requests, oldest first.
    told: VecDeque<(i64, usize)>,
    /// The last batch of each other server that was learned.
    learned: HashMap<String, i64>,
}

impl Sharing {
    fn new() -> Self {
        Self {
            server: ids::uuid(),
            number: 0,
            waiting: None,
            told: VecDeque::new(),
            learned: HashMap::new(),
        }
    }

    /// Has the store keep what was taken here. What it may have kept already is put again, and is there once.
    async fn tell(&mut self, engine: &Engine) -> Result<(), StoreError> {
        if self.waiting.is_none()
            && let Some((requests, count)) = engine.replays.take_fresh()
        {
            self.number += 1;
            let batch = SeenBatch {
                server: self.server.clone(),
                number: self.number,
                requests,
            };
            self.waiting = Some((batch, count));
        }
        let Some((batch, count)) = &self.waiting else {
            return Ok(());
        };
        let over = over(&self.told, *count);
        engine.store.put_seen(batch, over, now()).await?;
        self.told.retain(|(number, _count)| *number > over);
        self.told.push_back((batch.number, *count));
        self.waiting = None;
        Ok(())
    }

    /// Learns what others told since; gives the access keys of what was taken twice.
    async fn learn(&mut self, engine: &Engine) -> Result<Vec<String>, StoreError> {
        let mut twice = Vec::new();
        let last = engine.store.last_seen().await?;
        for (server, newest) in last {
            if server == self.server {
                continue;
            }
            let known = self.learned.entry(server.clone()).or_default();
            while *known < newest {
                let batches = engine.store.seen_after(&server, *known).await?;
                let Some(last) = batches.last() else { break };
                let last = last.number;
                for batch in batches {
                    let learned = engine.replays.learn(&batch.requests, now());
                    twice.extend(learned.map_err(|error| StoreError::Corrupt(error.to_string()))?);
                }
                *known = last;
            }
        }
        Ok(twice)
    }
}

/// The number up to which batches are over, where another with so many requests comes: no server remembers more.
fn over(told: &VecDeque<(i64, usize)>, count: usize) -> i64 {
    let mut sum = count;
    let newest_over = told.iter().rev().find(|(_number, count)| {
        sum = sum.saturating_add(*count);
        sum > REMEMBERED
    });
    newest_over.map_or(0, |(number, _count)| *number)
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
        let mut sharing = Sharing::new();
        // What was taken twice before this was told when it was.
        sharing.learn(self).await?;
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
        for access_key_id in sharing.learn(self).await? {
            self.note_taken_twice(access_key_id);
        }
        told?;
        self.note_shared(begun);
        Ok(())
    }

    /// The last of it, before the store is closed.
    pub(super) async fn tell_the_rest(&self) {
        let mut sharing = self.sharing.lock().await;
        if let Some(sharing) = sharing.as_mut()
            && let Err(error) = sharing.tell(self).await
        {
            tracing::warn!(%error, "which requests were taken last was not kept");
        }
    }

    fn note_taken_twice(&self, access_key_id: String) {
        let caller = Caller {
            principal: self.known_principal(&access_key_id).unwrap_or_default(),
            access_key_id,
            dialect: Dialect::Service,
            request_id: ids::uuid(),
            address: None,
            grant_tokens: Vec::new(),
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
    use super::*;

    #[test]
    fn no_more_is_kept_than_a_server_remembers() {
        let told = VecDeque::from([
            (1, REMEMBERED / 2),
            (2, REMEMBERED / 4),
            (3, REMEMBERED / 4),
        ]);
        assert_eq!(over(&told, 0), 0);
        assert_eq!(over(&told, 1), 1);
        assert_eq!(over(&told, REMEMBERED / 2), 1);
        assert_eq!(over(&told, REMEMBERED / 2 + 1), 2);
        assert_eq!(over(&told, REMEMBERED), 3);
        assert_eq!(over(&VecDeque::new(), REMEMBERED), 0);
    }
}

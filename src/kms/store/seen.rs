//! Requests that servers took, as they tell each other of them.
//!
//! Each server numbers what it tells, and tells the next only when it knows that the last is kept. So who reads a server's
//! rows after the last that it knows misses none; no server waits for another.

use jiff::{SignedDuration, Timestamp};

use super::connect::{Backend, Store};
use super::error::StoreError;

/// For how long a request could come again: it may be signed a quarter of an hour ahead, and come until a quarter of an
/// hour after; and a minute for clocks that differ.
pub const KEPT: SignedDuration = SignedDuration::from_mins(31);
/// Rows read at once.
const PAGE: i64 = 64;

/// What one server tells at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBatch {
    pub server: String,
    /// From 1.
    pub number: i64,
    pub requests: Vec<u8>,
}

impl Store {
    /// Keeps a batch; one that is there already stays as it is. The server's batches up to `over` need not be kept any more.
    ///
    /// # Errors
    ///
    /// `Unavailable`: whether it is kept is then not known, and it may be put again.
    pub async fn put_seen(
        &self,
        batch: &SeenBatch,
        over: i64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _gate = match self.backend() {
            Backend::Sqlite => Some(self.gate.lock().await),
            Backend::Postgres => None,
        };
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO seen (server, batch, at, requests) VALUES ($1, $2, $3, $4)
             ON CONFLICT (server, batch) DO NOTHING",
        )
        .bind(&batch.server)
        .bind(batch.number)
        .bind(now.as_millisecond())
        .bind(&batch.requests[..])
        .execute(&mut *tx)
        .await?;
        if over > 0 {
            sqlx::query("DELETE FROM seen WHERE server = $1 AND batch <= $2")
                .bind(&batch.server)
                .bind(over)
                .execute(&mut *tx)
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Each server that told something, and the number of its last batch.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn last_seen(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let last = sqlx::query_as("SELECT server, MAX(batch) FROM seen GROUP BY server");
        Ok(last.fetch_all(&self.pool).await?)
    }

    /// A server's batches after this one, in their order; not all at once.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn seen_after(&self, server: &str, batch: i64) -> Result<Vec<SeenBatch>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT batch, requests FROM seen WHERE server = $1 AND batch > $2 ORDER BY batch LIMIT $3",
        )
        .bind(server)
        .bind(batch)
        .bind(PAGE)
        .fetch_all(&self.pool)
        .await?;
        let batch = |(number, requests)| SeenBatch {
            server: server.to_owned(),
            number,
            requests,
        };
        Ok(rows.into_iter().map(batch).collect())
    }

    /// Drops what is older than [`KEPT`].
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn drop_old_seen(&self, now: Timestamp) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query("DELETE FROM seen WHERE at < $1")
            .bind((now - KEPT).as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

//! A transaction that changes something.

use jiff::Timestamp;
use sqlx::{Any, AnyConnection, Transaction};
use tokio::sync::MutexGuard;

use super::changes::{Change, ChangeKind};
use super::connect::{Backend, CHANNEL, Store};
use super::error::StoreError;

/// All or nothing: what was not committed when this is dropped never was.
///
/// There is one at a time, on all servers together: the first thing it does is to take the change counter's row. What
/// it reads is therefore still so when it commits.
#[derive(Debug)]
pub struct Write<'a> {
    tx: Transaction<'static, Any>,
    seq: i64,
    changes: Vec<Change>,
    backend: Backend,
    _gate: MutexGuard<'a, ()>,
}

impl Store {
    /// A transaction that is about to write.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(match self.backend() {
            // The lock is taken at once: one that is taken later can fail in the middle.
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Backend::Postgres => self.pool.begin().await?,
        })
    }

    /// Begins a change. Waits for others that are being made.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn write(&self) -> Result<Write<'_>, StoreError> {
        let gate = self.gate.lock().await;
        let backend = self.backend();
        let mut tx = self.begin().await?;
        let seq = sqlx::query_scalar(
            "UPDATE counter SET value = value + 1 WHERE name = 'change' RETURNING value",
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Write {
            tx,
            seq,
            changes: Vec::new(),
            backend,
            _gate: gate,
        })
    }
}

impl Write<'_> {
    /// What is read and written through is part of this change.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// Other servers must forget what they know of this.
    pub(super) fn changed(&mut self, kind: ChangeKind, name: &str) {
        let change = Change {
            kind,
            name: name.to_owned(),
        };
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    /// Makes it last, and tells the other servers.
    ///
    /// # Errors
    ///
    /// `Unavailable`: whether it lasts is then not known, as with every database.
    pub async fn commit(mut self) -> Result<Vec<Change>, StoreError> {
        let now = Timestamp::now().as_millisecond();
        for (part, change) in (0_i64..).zip(&self.changes) {
            sqlx::query(
                "INSERT INTO change (seq, part, at, kind, name) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(self.seq)
            .bind(part)
            .bind(now)
            .bind(change.kind.name())
            .bind(&change.name)
            .execute(&mut *self.tx)
            .await?;
        }
        if self.backend == Backend::Postgres {
            sqlx::query("SELECT pg_notify($1, '')")
                .bind(CHANNEL)
                .execute(&mut *self.tx)
                .await?;
        }
        self.tx.commit().await?;
        Ok(self.changes)
    }
}

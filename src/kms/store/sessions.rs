//! Who is signed in to the console.

use jiff::Timestamp;

use super::connect::Store;
use super::error::StoreError;
use super::keys::time;

/// One who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Told by who is asked for it, and by nothing else.
    pub name: String,
    pub access_key_id: String,
    pub principal: String,
    pub token: String,
    pub began: Timestamp,
    pub used: Timestamp,
}

/// How many there may be, of one access key and of all, and until when they have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionBounds {
    pub of_key: i64,
    pub of_all: i64,
    /// Those that were not used since then have ended,
    pub idle_since: Timestamp,
    /// and those that began before.
    pub old_since: Timestamp,
}

impl Store {
    /// Keeps a session. Those that have ended go, and where there are too many those that were used longest ago.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn put_session(
        &self,
        session: &SessionRecord,
        bounds: SessionBounds,
    ) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM session WHERE used <= $1 OR began <= $2")
            .bind(bounds.idle_since.as_millisecond())
            .bind(bounds.old_since.as_millisecond())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM session WHERE access_key_id = $1 AND name NOT IN
             (SELECT name FROM session WHERE access_key_id = $1 ORDER BY used DESC, name LIMIT $2)",
        )
        .bind(&session.access_key_id)
        .bind(bounds.of_key - 1)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM session WHERE name NOT IN
             (SELECT name FROM session ORDER BY used DESC, name LIMIT $1)",
        )
        .bind(bounds.of_all - 1)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO session (name, access_key_id, principal, token, began, used)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&session.name)
        .bind(&session.access_key_id)
        .bind(&session.principal)
        .bind(&session.token)
        .bind(session.began.as_millisecond())
        .bind(session.used.as_millisecond())
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn session(&self, name: &str) -> Result<Option<SessionRecord>, StoreError> {
        let row: Option<(String, String, String, i64, i64)> = sqlx::query_as(
            "SELECT access_key_id, principal, token, began, used FROM session WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        let record = |(access_key_id, principal, token, began, used)| {
            Ok(SessionRecord {
                name: name.to_owned(),
                access_key_id,
                principal,
                token,
                began: time(began)?,
                used: time(used)?,
            })
        };
        row.map(record).transpose()
    }

    /// It was used at this time.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn use_session(&self, name: &str, at: Timestamp) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query("UPDATE session SET used = $2 WHERE name = $1 AND used < $2")
            .bind(name)
            .bind(at.as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_session(&self, name: &str) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query("DELETE FROM session WHERE name = $1")
            .bind(name)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

//! Keys in the HSM that are to be destroyed there.
//!
//! An HSM takes part in no transaction. So what is to be made there is noted as to be destroyed first, and struck off in
//! the transaction that has the version of it; what is no longer needed is noted in the transaction that drops it, and
//! destroyed after that, as often as it takes.

use jiff::Timestamp;
use sqlx::FromRow;

use super::connect::Store;
use super::error::StoreError;
use super::write::Write;
use crate::kms::engine::model::{KeyId, KeyVersionId};

/// A key in the HSM that is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HsmObject {
    pub version: KeyVersionId,
    pub key: KeyId,
}

#[derive(FromRow)]
struct Row {
    version: String,
    key_id: String,
}

impl From<Row> for HsmObject {
    fn from(row: Row) -> Self {
        Self {
            version: KeyVersionId(row.version),
            key: KeyId(row.key_id),
        }
    }
}

const INSERT: &str = "INSERT INTO hsm_object (version, key_id, due) VALUES ($1, $2, $3)
     ON CONFLICT (version) DO UPDATE SET due = excluded.due";

impl Store {
    /// Notes what is about to be made, to be destroyed at that time unless it is kept.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn note_hsm_object(
        &self,
        object: &HsmObject,
        due: Timestamp,
    ) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query(INSERT)
            .bind(&object.version.0)
            .bind(&object.key.0)
            .bind(due.as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Some of what is to be destroyed by now, the longest due first.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn hsm_objects_due(&self, now: Timestamp) -> Result<Vec<HsmObject>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, key_id FROM hsm_object WHERE due <= $1 ORDER BY due LIMIT 100",
        )
        .bind(now.as_millisecond())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(HsmObject::from).collect())
    }

    /// Strikes off what was destroyed.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn forget_hsm_object(&self, version: &KeyVersionId) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query("DELETE FROM hsm_object WHERE version = $1")
            .bind(&version.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Every version of a key that lives in the HSM.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn hsm_versions(&self) -> Result<Vec<HsmObject>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT key_version.id AS version, key_version.key_id FROM key_version
             JOIN kms_key ON kms_key.id = key_version.key_id WHERE kms_key.protection = 'HSM'
             ORDER BY key_version.created, key_version.id",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(HsmObject::from).collect())
    }
}

impl Write<'_> {
    /// Has what was noted kept: a version of it is in this change.
    ///
    /// # Errors
    ///
    /// `Raced` where it is noted no more, and may be destroyed; `Unavailable`.
    pub async fn keep_hsm_object(&mut self, version: &KeyVersionId) -> Result<(), StoreError> {
        let kept = sqlx::query("DELETE FROM hsm_object WHERE version = $1")
            .bind(&version.0)
            .execute(self.connection())
            .await?;
        match kept.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::Raced),
        }
    }

    /// Has it destroyed as soon as this change is made.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn drop_hsm_object(
        &mut self,
        object: &HsmObject,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query(INSERT)
            .bind(&object.version.0)
            .bind(&object.key.0)
            .bind(now.as_millisecond())
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

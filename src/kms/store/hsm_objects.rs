//! Keys in the HSM that are to be destroyed there.
//!
//! An HSM takes part in no transaction. So what is to be made there is noted as to be destroyed first, and struck off in
//! the transaction that has the version of it; what is no longer needed is noted in the transaction that drops it, and
//! destroyed after that, as often as it takes.
//!
//! Whoever destroys one claims it first, in a transaction: then no version can be made of it any more. When it is due is
//! the time from which what was never kept may be destroyed; 0 for what is no longer needed; negative once it is claimed: the
//! time of the claim. So what may still be kept is told apart whatever any server's clock says.

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;

use super::connect::Store;
use super::error::StoreError;
use super::write::Write;
use crate::kms::engine::model::{KeyId, KeyVersionId};

/// For so long the server that claimed something is left alone with it, unless it gave it back.
const CLAIMED_FOR: SignedDuration = SignedDuration::from_mins(5);
/// To be destroyed at once.
const NO_LONGER_NEEDED: i64 = 0;
/// Given back, to be claimed at once.
const GIVEN_BACK: i64 = -1;

/// What a claim came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is to be destroyed, and nobody tried to before.
    First,
    /// Somebody tried to before, and may have destroyed it.
    Again,
    /// It is not to be destroyed, or another server is about to.
    No,
}

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

    /// Gives back what was claimed and perhaps not destroyed.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn give_back_hsm_object(&self, version: &KeyVersionId) -> Result<(), StoreError> {
        let _gate = self.gate.lock().await;
        sqlx::query("UPDATE hsm_object SET due = $2 WHERE version = $1 AND due < 0")
            .bind(&version.0)
            .bind(GIVEN_BACK)
            .execute(&self.pool)
            .await?;
        Ok(())
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
    /// Claims what is due, to destroy it once this change is made. What a version needs is struck off instead.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn claim_hsm_object(
        &mut self,
        version: &KeyVersionId,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let due: Option<i64> = sqlx::query_scalar("SELECT due FROM hsm_object WHERE version = $1")
            .bind(&version.0)
            .fetch_optional(self.connection())
            .await?;
        let left_alone = -(now - CLAIMED_FOR).as_millisecond();
        let claim = match due {
            Some(due) if due < left_alone || due > now.as_millisecond() => return Ok(Claim::No),
            Some(due) if due < 0 => Claim::Again,
            Some(_due) => Claim::First,
            None => return Ok(Claim::No),
        };
        let needed: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM key_version WHERE id = $1")
            .bind(&version.0)
            .fetch_one(self.connection())
            .await?;
        if needed > 0 {
            sqlx::query("DELETE FROM hsm_object WHERE version = $1")
                .bind(&version.0)
                .execute(self.connection())
                .await?;
            return Ok(Claim::No);
        }
        sqlx::query("UPDATE hsm_object SET due = $2 WHERE version = $1")
            .bind(&version.0)
            .bind(-now.as_millisecond())
            .execute(self.connection())
            .await?;
        Ok(claim)
    }

    /// Has what was noted kept: a version of it is in this change.
    ///
    /// # Errors
    ///
    /// `Raced` where it is noted no more, or claimed, and may be destroyed; `Unavailable`.
    pub async fn keep_hsm_object(&mut self, version: &KeyVersionId) -> Result<(), StoreError> {
        let kept = sqlx::query("DELETE FROM hsm_object WHERE version = $1 AND due > 0")
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
    pub async fn drop_hsm_object(&mut self, object: &HsmObject) -> Result<(), StoreError> {
        sqlx::query(INSERT)
            .bind(&object.version.0)
            .bind(&object.key.0)
            .bind(NO_LONGER_NEEDED)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}

//! Import tokens: each stands for a private key that was made to unwrap material with.

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;

use super::changes::ChangeKind;
use super::connect::Store;
use super::error::StoreError;
use super::keys::time;
use super::write::Write;
use crate::kms::engine::model::KeyId;

/// How long an expired token is remembered, so that it can be told as expired.
pub const REMEMBERED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Tokens of one key that are kept; the oldest gives way.
pub const PER_KEY: i64 = 10;

/// An import token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportToken {
    /// SHA-256 of the token, in hexadecimal digits.
    pub id: String,
    pub key: KeyId,
    /// The name of an [`ExportAlgorithm`](crate::kms::engine::ops::export::ExportAlgorithm).
    pub algorithm: String,
    /// The name of a [`WrappingKeySpec`](crate::kms::engine::ops::import::WrappingKeySpec).
    pub spec: String,
    /// Wrapped.
    pub private_key: Vec<u8>,
    pub created: Timestamp,
    pub expires: Timestamp,
}

#[derive(FromRow)]
struct TokenRow {
    id: String,
    key_id: String,
    algorithm: String,
    spec: String,
    private_key: Vec<u8>,
    created: i64,
    expires: i64,
}

impl Store {
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn import_token(&self, id: &str) -> Result<Option<ImportToken>, StoreError> {
        let row: Option<TokenRow> = sqlx::query_as("SELECT * FROM import_token WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(ImportToken {
                id: row.id,
                key: KeyId(row.key_id),
                algorithm: row.algorithm,
                spec: row.spec,
                private_key: row.private_key,
                created: time(row.created)?,
                expires: time(row.expires)?,
            })
        })
        .transpose()
    }

    /// Forgets tokens that expired long ago.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn drop_old_import_tokens(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now - REMEMBERED;
        let _gate = self.gate.lock().await;
        sqlx::query("DELETE FROM import_token WHERE expires < $1")
            .bind(before.as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

impl Write<'_> {
    /// Takes a token of a key away; says whether there was one.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_import_token(&mut self, key: &KeyId, id: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM import_token WHERE key_id = $1 AND id = $2")
            .bind(&key.0)
            .bind(id)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(deleted.rows_affected() > 0)
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn insert_import_token(&mut self, token: &ImportToken) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO import_token (id, key_id, algorithm, spec, private_key, created, expires)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&token.id)
        .bind(&token.key.0)
        .bind(&token.algorithm)
        .bind(&token.spec)
        .bind(&token.private_key[..])
        .bind(token.created.as_millisecond())
        .bind(token.expires.as_millisecond())
        .execute(self.connection())
        .await?;
        sqlx::query(
            "DELETE FROM import_token WHERE key_id = $1 AND id NOT IN
             (SELECT id FROM import_token WHERE key_id = $1 ORDER BY created DESC, id LIMIT $2)",
        )
        .bind(&token.key.0)
        .bind(PER_KEY)
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &token.key.0);
        Ok(())
    }
}

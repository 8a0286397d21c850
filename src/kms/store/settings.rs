//! Settings of the service as a whole, and the slots of the root key.

use super::connect::Store;
use super::error::StoreError;
use super::keys::unsigned;
use super::write::Write;

/// The root key under one key-encryption key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RootSlot {
    /// Of the key-encryption key.
    pub uri: String,
    pub key_version: String,
    pub wrapped: Vec<u8>,
}

impl Store {
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        let value = sqlx::query_scalar("SELECT value FROM setting WHERE name = $1").bind(name);
        Ok(value.fetch_optional(&self.pool).await?)
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn root_slots(&self) -> Result<Vec<RootSlot>, StoreError> {
        let slots = sqlx::query_as("SELECT uri, key_version, wrapped FROM root_slot ORDER BY uri");
        Ok(slots.fetch_all(&self.pool).await?)
    }
}

impl Write<'_> {
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn put_setting(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO setting (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn put_root_slot(&mut self, slot: &RootSlot) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO root_slot (uri, key_version, wrapped) VALUES ($1, $2, $3)
             ON CONFLICT (uri) DO UPDATE SET key_version = excluded.key_version, wrapped = excluded.wrapped",
        )
        .bind(&slot.uri)
        .bind(&slot.key_version)
        .bind(&slot.wrapped[..])
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn root_slot_count(&mut self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM root_slot")
            .fetch_one(self.connection())
            .await?;
        unsigned(count)
    }

    /// Says whether there was one.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_root_slot(&mut self, uri: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM root_slot WHERE uri = $1")
            .bind(uri)
            .execute(self.connection())
            .await?;
        Ok(deleted.rows_affected() > 0)
    }
}

//! Aliases and tags.

use jiff::Timestamp;
use sqlx::FromRow;

use super::changes::ChangeKind;
use super::connect::Store;
use super::error::StoreError;
use super::keys::{time, unsigned};
use super::write::Write;
use crate::kms::engine::model::{Alias, KeyId, Page, PageRequest, Tag};

#[derive(FromRow)]
struct AliasRow {
    name: String,
    key_id: String,
    created: i64,
    updated: i64,
}

impl TryFrom<AliasRow> for Alias {
    type Error = StoreError;

    fn try_from(row: AliasRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.name,
            key: KeyId(row.key_id),
            created: time(row.created)?,
            updated: time(row.updated)?,
        })
    }
}

/// A page's bounds as they are bound.
pub(super) fn bounds(page: PageRequest) -> (i64, i64) {
    let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
    (i64::from(page.limit), offset)
}

impl Store {
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn alias(&self, name: &str) -> Result<Option<Alias>, StoreError> {
        let row: Option<AliasRow> = sqlx::query_as("SELECT * FROM alias WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.map(Alias::try_from).transpose()
    }

    /// The aliases of all keys or of one, by name.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn aliases(
        &self,
        key: Option<&KeyId>,
        page: PageRequest,
    ) -> Result<Page<Alias>, StoreError> {
        let key = key.map(|key| key.0.clone());
        let total: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM alias WHERE $1 IS NULL OR key_id = $1")
                .bind(key.clone())
                .fetch_one(&self.pool)
                .await?;
        let (limit, offset) = bounds(page);
        let rows: Vec<AliasRow> = sqlx::query_as(
            "SELECT * FROM alias WHERE $1 IS NULL OR key_id = $1 ORDER BY name LIMIT $2 OFFSET $3",
        )
        .bind(key)
        .bind(limit)
        .bind(offset)
        .fetch_all(&self.pool)
        .await?;
        let items = rows.into_iter().map(Alias::try_from);
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            total: unsigned(total)?,
            request: page,
        })
    }

    /// A key's tags, by their keys: they are few.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn tags(&self, key: &KeyId) -> Result<Vec<Tag>, StoreError> {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, value FROM tag WHERE key_id = $1 ORDER BY name")
                .bind(&key.0)
                .fetch_all(&self.pool)
                .await?;
        let tags = rows.into_iter().map(|(key, value)| Tag { key, value });
        Ok(tags.collect())
    }
}

impl Write<'_> {
    /// # Errors
    ///
    /// `Exists` where the name is taken, `Unavailable`.
    pub async fn insert_alias(
        &mut self,
        name: &str,
        key: &KeyId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO alias (name, key_id, created, updated) VALUES ($1, $2, $3, $3)")
            .bind(name)
            .bind(&key.0)
            .bind(now.as_millisecond())
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Alias, name);
        Ok(())
    }

    /// How many aliases a key has.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn alias_count(&mut self, key: &KeyId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alias WHERE key_id = $1")
            .bind(&key.0)
            .fetch_one(self.connection())
            .await?;
        unsigned(count)
    }

    /// Gives a name to another key; says whether there is such a name.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn update_alias(
        &mut self,
        name: &str,
        key: &KeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let updated = sqlx::query("UPDATE alias SET key_id = $2, updated = $3 WHERE name = $1")
            .bind(name)
            .bind(&key.0)
            .bind(now.as_millisecond())
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Alias, name);
        Ok(updated.rows_affected() > 0)
    }

    /// Says whether there was such a name.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_alias(&mut self, name: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM alias WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Alias, name);
        Ok(deleted.rows_affected() > 0)
    }

    /// Sets a tag.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn put_tag(&mut self, key: &KeyId, tag: &Tag) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO tag (key_id, name, value) VALUES ($1, $2, $3)
             ON CONFLICT (key_id, name) DO UPDATE SET value = excluded.value",
        )
        .bind(&key.0)
        .bind(&tag.key)
        .bind(&tag.value)
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(())
    }

    /// How many tags a key has.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn tag_count(&mut self, key: &KeyId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tag WHERE key_id = $1")
            .bind(&key.0)
            .fetch_one(self.connection())
            .await?;
        unsigned(count)
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_tag(&mut self, key: &KeyId, name: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tag WHERE key_id = $1 AND name = $2")
            .bind(&key.0)
            .bind(name)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(())
    }
}

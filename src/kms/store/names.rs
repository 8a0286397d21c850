//! Aliases and tags.

use jiff::Timestamp;
use sqlx::FromRow;
use sqlx::any::AnyRow;

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
fn bounds(page: PageRequest) -> (i64, i64) {
    let offset = i64::try_from(page.offset).unwrap_or(i64::MAX);
    (i64::from(page.limit), offset)
}

impl Store {
    /// A page of what both queries are about. `of` is their first parameter; limit and offset come after it.
    pub(super) async fn page<R, T>(
        &self,
        count: &'static str,
        rows: &'static str,
        of: Option<&str>,
        request: PageRequest,
    ) -> Result<Page<T>, StoreError>
    where
        R: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
        T: TryFrom<R, Error = StoreError>,
    {
        // Owned, as the driver of any database wants its texts.
        let of = of.map(str::to_owned);
        let total: i64 = sqlx::query_scalar(count)
            .bind(of.clone())
            .fetch_one(&self.pool)
            .await?;
        let (limit, offset) = bounds(request);
        let rows: Vec<R> = sqlx::query_as(rows)
            .bind(of)
            .bind(limit)
            .bind(offset)
            .fetch_all(&self.pool)
            .await?;
        Ok(Page {
            items: rows
                .into_iter()
                .map(T::try_from)
                .collect::<Result<_, _>>()?,
            total: unsigned(total)?,
            request,
        })
    }

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
        self.page::<AliasRow, _>(
            "SELECT COUNT(*) FROM alias WHERE $1 IS NULL OR key_id = $1",
            "SELECT * FROM alias WHERE $1 IS NULL OR key_id = $1 ORDER BY name LIMIT $2 OFFSET $3",
            key.map(|key| key.0.as_str()),
            page,
        )
        .await
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

    /// Gives a name of one key to another; says whether it was the one's.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn update_alias(
        &mut self,
        name: &str,
        from: &KeyId,
        to: &KeyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let updated = sqlx::query(
            "UPDATE alias SET key_id = $3, updated = $4 WHERE name = $1 AND key_id = $2",
        )
        .bind(name)
        .bind(&from.0)
        .bind(&to.0)
        .bind(now.as_millisecond())
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Alias, name);
        Ok(updated.rows_affected() > 0)
    }

    /// Takes a name of a key away; says whether it was that key's.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_alias(&mut self, name: &str, key: &KeyId) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM alias WHERE name = $1 AND key_id = $2")
            .bind(name)
            .bind(&key.0)
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

//! Keys and their versions.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, FromRow};

use super::changes::ChangeKind;
use super::connect::Store;
use super::error::{StoreError, of_name};
use super::write::Write;
use crate::kms::engine::model::{
    Key, KeyId, KeySpec, KeyState, KeyUsage, KeyVersion, KeyVersionId, Origin, Page, PageRequest,
    ProtectionLevel, Rotation, VersionCause,
};
use crate::kms::engine::ops::keys::KeyFilter;

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    pub key: Key,
    /// Goes up with each change of the row.
    pub revision: i64,
    /// JSON.
    pub policy: String,
}

/// A version as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRecord {
    pub version: KeyVersion,
    /// Wrapped; `None` once imported material was forgotten.
    pub material: Option<Vec<u8>>,
    /// Of imported material.
    pub fingerprint: Option<Vec<u8>>,
    pub counts: Counts,
}

/// How often a version was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub produced: u64,
    pub opened: u64,
    pub last_used: Option<Timestamp>,
}

#[derive(FromRow)]
struct KeyRow {
    id: String,
    revision: i64,
    description: String,
    spec: String,
    usage: String,
    origin: String,
    protection: String,
    state: String,
    created: i64,
    creator: String,
    deletion: Option<i64>,
    material_expires: Option<i64>,
    primary_version: Option<String>,
    rotation_period: Option<i64>,
    rotation_last: Option<i64>,
    rotation_next: Option<i64>,
    deletion_protection: Option<String>,
    policy: String,
}

#[derive(FromRow)]
struct VersionRow {
    id: String,
    key_id: String,
    number: i64,
    created: i64,
    enabled: i64,
    cause: String,
    material: Option<Vec<u8>>,
    fingerprint: Option<Vec<u8>>,
    produced: i64,
    opened: i64,
    last_used: Option<i64>,
}

pub(super) fn time(millisecond: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(millisecond)
        .map_err(|_error| StoreError::Corrupt(format!("the impossible time {millisecond}")))
}

fn time_of(millisecond: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    millisecond.map(time).transpose()
}

fn millisecond(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::as_millisecond)
}

pub(super) fn unsigned(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value)
        .map_err(|_error| StoreError::Corrupt(format!("the negative number {value}")))
}

impl TryFrom<KeyRow> for KeyRecord {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let period = row.rotation_period.map(unsigned).transpose()?;
        let key = Key {
            id: KeyId(row.id),
            description: row.description,
            spec: of_name("key spec", &row.spec, KeySpec::of_name)?,
            usage: of_name("key usage", &row.usage, KeyUsage::of_name)?,
            origin: of_name("origin", &row.origin, Origin::of_name)?,
            protection: of_name("protection", &row.protection, ProtectionLevel::of_name)?,
            state: of_name("state", &row.state, KeyState::of_name)?,
            created: time(row.created)?,
            creator: row.creator,
            deletion: time_of(row.deletion)?,
            material_expires: time_of(row.material_expires)?,
            primary: row.primary_version.map(KeyVersionId),
            rotation: Rotation {
                enabled: period.is_some(),
                period: period.map(std::time::Duration::from_secs),
                last: time_of(row.rotation_last)?,
                next: time_of(row.rotation_next)?,
            },
            deletion_protection: row.deletion_protection,
        };
        Ok(Self {
            key,
            revision: row.revision,
            policy: row.policy,
        })
    }
}

impl TryFrom<VersionRow> for VersionRecord {
    type Error = StoreError;

    fn try_from(row: VersionRow) -> Result<Self, StoreError> {
        let number = u32::try_from(row.number)
            .map_err(|_error| StoreError::Corrupt(format!("the version number {}", row.number)))?;
        Ok(Self {
            version: KeyVersion {
                key: KeyId(row.key_id),
                id: KeyVersionId(row.id),
                number,
                created: time(row.created)?,
                enabled: row.enabled != 0,
                cause: of_name("cause", &row.cause, VersionCause::of_name)?,
            },
            material: row.material,
            fingerprint: row.fingerprint,
            counts: Counts {
                produced: unsigned(row.produced)?,
                opened: unsigned(row.opened)?,
                last_used: time_of(row.last_used)?,
            },
        })
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Deletion,
    MaterialExpiry,
    Rotation,
}

impl Store {
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as("SELECT * FROM kms_key WHERE id = $1")
            .bind(&id.0)
            .fetch_optional(&self.pool)
            .await?;
        row.map(KeyRecord::try_from).transpose()
    }

    /// The versions of a key, newest first.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn versions(&self, key: &KeyId) -> Result<Vec<VersionRecord>, StoreError> {
        let rows: Vec<VersionRow> =
            sqlx::query_as("SELECT * FROM key_version WHERE key_id = $1 ORDER BY number DESC")
                .bind(&key.0)
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(VersionRecord::try_from).collect()
    }

    /// The keys that a filter lets through, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn keys(
        &self,
        filter: &KeyFilter,
        page: PageRequest,
    ) -> Result<Page<Key>, StoreError> {
        let (clause, values) = clause_of(filter);
        // Made of column names and placeholders alone: the values are bound.
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM kms_key{clause}"));
        let mut total = sqlx::query_scalar(count);
        for value in &values {
            total = total.bind(value);
        }
        let total: i64 = total.fetch_one(&self.pool).await?;
        let (limit, offset) = (values.len() + 1, values.len() + 2);
        let select = AssertSqlSafe(format!(
            "SELECT * FROM kms_key{clause} ORDER BY created, id LIMIT ${limit} OFFSET ${offset}"
        ));
        let mut rows = sqlx::query_as(select);
        for value in &values {
            rows = rows.bind(value);
        }
        let rows: Vec<KeyRow> = rows
            .bind(i64::from(page.limit))
            .bind(i64::try_from(page.offset).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        let items = rows
            .into_iter()
            .map(|row| KeyRecord::try_from(row).map(|record| record.key));
        Ok(Page {
            items: items.collect::<Result<_, _>>()?,
            total: unsigned(total)?,
            request: page,
        })
    }

    /// Keys for which something is due, the longest due first.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn keys_due(&self, due: Due, now: Timestamp) -> Result<Vec<KeyId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(match due {
            Due::Deletion => {
                "SELECT id FROM kms_key WHERE deletion <= $1 ORDER BY deletion LIMIT 100"
            }
            Due::MaterialExpiry => {
                "SELECT id FROM kms_key WHERE material_expires <= $1 ORDER BY material_expires LIMIT 100"
            }
            Due::Rotation => {
                "SELECT id FROM kms_key WHERE rotation_next <= $1 AND state = 'Enabled'
                 ORDER BY rotation_next LIMIT 100"
            }
        })
        .bind(now.as_millisecond())
        .fetch_all(&self.pool)
        .await?;
        Ok(ids.into_iter().map(KeyId).collect())
    }

    /// Adds to what is known of how often a version was used; gives how often each of them produced something by now. No
    /// server has to forget anything for it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn add_counts(
        &self,
        uses: &[(KeyVersionId, Counts)],
    ) -> Result<Vec<(KeyVersionId, u64)>, StoreError> {
        let _gate = self.gate.lock().await;
        let mut tx = self.pool.begin().await?;
        let mut produced = Vec::with_capacity(uses.len());
        for (version, counts) in uses {
            let now: Option<i64> = sqlx::query_scalar(
                "UPDATE key_version SET produced = produced + $2, opened = opened + $3,
                 last_used = CASE WHEN last_used > $4 THEN last_used ELSE $4 END WHERE id = $1
                 RETURNING produced",
            )
            .bind(&version.0)
            .bind(i64::try_from(counts.produced).unwrap_or(i64::MAX))
            .bind(i64::try_from(counts.opened).unwrap_or(i64::MAX))
            .bind(millisecond(counts.last_used))
            .fetch_optional(&mut *tx)
            .await?;
            produced.extend(now.map(|now| (version.clone(), u64::try_from(now).unwrap_or(0))));
        }
        tx.commit().await?;
        Ok(produced)
    }
}

/// A `WHERE` clause with placeholders, and what is bound to them.
fn clause_of(filter: &KeyFilter) -> (String, Vec<String>) {
    fn names<T: Copy>(list: Option<&Vec<T>>, name: fn(T) -> &'static str) -> Option<Vec<String>> {
        list.map(|list| list.iter().map(|item| name(*item).to_owned()).collect())
    }
    let columns = [
        ("state", names(filter.states.as_ref(), KeyState::name)),
        ("spec", names(filter.specs.as_ref(), KeySpec::name)),
        ("usage", names(filter.usages.as_ref(), KeyUsage::name)),
        (
            "protection",
            names(filter.protections.as_ref(), ProtectionLevel::name),
        ),
        ("creator", filter.creators.clone()),
    ];
    let mut values = Vec::new();
    let mut terms = Vec::new();
    for (column, wanted) in columns {
        let Some(wanted) = wanted else { continue };
        let marks: Vec<_> = (1..=wanted.len())
            .map(|at| format!("${}", values.len() + at))
            .collect();
        values.extend(wanted);
        terms.push(if marks.is_empty() {
            "1 = 0".to_owned()
        } else {
            format!("{column} IN ({})", marks.join(", "))
        });
    }
    let clause = if terms.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", terms.join(" AND "))
    };
    (clause, values)
}

impl Write<'_> {
    /// # Errors
    ///
    /// `Exists`, `Unavailable`.
    pub async fn insert_key(&mut self, record: &KeyRecord) -> Result<(), StoreError> {
        let key = &record.key;
        sqlx::query(
            "INSERT INTO kms_key (id, revision, description, spec, usage, origin, protection, state, created, creator,
             deletion, material_expires, primary_version, rotation_period, rotation_last, rotation_next,
             deletion_protection, policy)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        )
        .bind(&key.id.0)
        .bind(record.revision)
        .bind(&key.description)
        .bind(key.spec.name())
        .bind(key.usage.name())
        .bind(key.origin.name())
        .bind(key.protection.name())
        .bind(key.state.name())
        .bind(key.created.as_millisecond())
        .bind(&key.creator)
        .bind(millisecond(key.deletion))
        .bind(millisecond(key.material_expires))
        .bind(key.primary.as_ref().map(|id| id.0.clone()))
        .bind(period_of(&key.rotation))
        .bind(millisecond(key.rotation.last))
        .bind(millisecond(key.rotation.next))
        .bind(key.deletion_protection.clone())
        .bind(&record.policy)
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &key.id.0);
        Ok(())
    }

    /// The key as it is now, and stays until this change is made.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn key(&mut self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let row: Option<KeyRow> = sqlx::query_as("SELECT * FROM kms_key WHERE id = $1")
            .bind(&id.0)
            .fetch_optional(self.connection())
            .await?;
        row.map(KeyRecord::try_from).transpose()
    }

    /// Writes a record that was read, if nobody else did meanwhile.
    ///
    /// # Errors
    ///
    /// `Raced`, `Unavailable`.
    pub async fn update_key(&mut self, record: &KeyRecord) -> Result<(), StoreError> {
        let key = &record.key;
        let updated = sqlx::query(
            "UPDATE kms_key SET revision = revision + 1, description = $3, state = $4, deletion = $5,
             material_expires = $6, primary_version = $7, rotation_period = $8, rotation_last = $9,
             rotation_next = $10, deletion_protection = $11, policy = $12 WHERE id = $1 AND revision = $2",
        )
        .bind(&key.id.0)
        .bind(record.revision)
        .bind(&key.description)
        .bind(key.state.name())
        .bind(millisecond(key.deletion))
        .bind(millisecond(key.material_expires))
        .bind(key.primary.as_ref().map(|id| id.0.clone()))
        .bind(period_of(&key.rotation))
        .bind(millisecond(key.rotation.last))
        .bind(millisecond(key.rotation.next))
        .bind(key.deletion_protection.clone())
        .bind(&record.policy)
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &key.id.0);
        match updated.rows_affected() {
            1 => Ok(()),
            _ => Err(StoreError::Raced),
        }
    }

    /// Destroys a key: its versions, aliases, tags, grants and import tokens go with it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_key(&mut self, id: &KeyId) -> Result<(), StoreError> {
        let aliases: Vec<String> = sqlx::query_scalar("SELECT name FROM alias WHERE key_id = $1")
            .bind(&id.0)
            .fetch_all(self.connection())
            .await?;
        for alias in aliases {
            self.changed(ChangeKind::Alias, &alias);
        }
        sqlx::query("DELETE FROM kms_key WHERE id = $1")
            .bind(&id.0)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &id.0);
        Ok(())
    }

    /// # Errors
    ///
    /// `Exists`, `Unavailable`.
    pub async fn insert_version(&mut self, record: &VersionRecord) -> Result<(), StoreError> {
        let version = &record.version;
        sqlx::query(
            "INSERT INTO key_version (id, key_id, number, created, enabled, cause, material, fingerprint, produced,
             opened) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)",
        )
        .bind(&version.id.0)
        .bind(&version.key.0)
        .bind(i64::from(version.number))
        .bind(version.created.as_millisecond())
        .bind(i64::from(version.enabled))
        .bind(version.cause.name())
        .bind(record.material.clone())
        .bind(record.fingerprint.clone())
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &version.key.0);
        Ok(())
    }

    /// The versions of a key, newest first.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn versions(&mut self, key: &KeyId) -> Result<Vec<VersionRecord>, StoreError> {
        let rows: Vec<VersionRow> =
            sqlx::query_as("SELECT * FROM key_version WHERE key_id = $1 ORDER BY number DESC")
                .bind(&key.0)
                .fetch_all(self.connection())
                .await?;
        rows.into_iter().map(VersionRecord::try_from).collect()
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn set_version_enabled(
        &mut self,
        key: &KeyId,
        version: &KeyVersionId,
        enabled: bool,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE key_version SET enabled = $3 WHERE key_id = $1 AND id = $2")
            .bind(&key.0)
            .bind(&version.0)
            .bind(i64::from(enabled))
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(())
    }

    /// Gives a version its material again, or takes it.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn set_material(
        &mut self,
        key: &KeyId,
        version: &KeyVersionId,
        material: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE key_version SET material = $3 WHERE key_id = $1 AND id = $2")
            .bind(&key.0)
            .bind(&version.0)
            .bind(material)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(())
    }
}

fn period_of(rotation: &Rotation) -> Option<i64> {
    let period = rotation.period.filter(|_| rotation.enabled)?;
    Some(i64::try_from(period.as_secs()).unwrap_or(i64::MAX))
}

//! Grants, principals and their access keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::changes::ChangeKind;
use super::connect::Store;
use super::error::StoreError;
use super::keys::{time, unsigned};
use super::write::Write;
use crate::kms::engine::model::{Grant, GrantConstraint, KeyId, Page, PageRequest};
use crate::kms::engine::ops::admin::{AccessKey, Principal};

/// A grant as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    pub grant: Grant,
    pub token: String,
}

/// An access key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRecord {
    pub access_key: AccessKey,
    /// Wrapped.
    pub secret: Vec<u8>,
}

#[derive(FromRow)]
struct GrantRow {
    id: String,
    key_id: String,
    token: String,
    name: Option<String>,
    created: i64,
    grantee: String,
    retiring: Option<String>,
    issuer: String,
    operations: String,
    limits: Option<String>,
}

/// A constraint as the column has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Limits {
    Equals(BTreeMap<String, String>),
    Subset(BTreeMap<String, String>),
}

#[derive(FromRow)]
struct PrincipalRow {
    name: String,
    policy: String,
    created: i64,
}

#[derive(FromRow)]
struct CredentialRow {
    id: String,
    principal: String,
    secret: Vec<u8>,
    created: i64,
    enabled: i64,
}

fn corrupt_grant(id: &str) -> StoreError {
    StoreError::Corrupt(format!("the unreadable grant {id}"))
}

impl TryFrom<GrantRow> for GrantRecord {
    type Error = StoreError;

    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        let operations = serde_json::from_str(&row.operations);
        let limits = row.limits.as_deref().map(serde_json::from_str).transpose();
        let grant = Grant {
            operations: operations.map_err(|_error| corrupt_grant(&row.id))?,
            constraint: limits.map_err(|_error| corrupt_grant(&row.id))?.map(
                |limits| match limits {
                    Limits::Equals(pairs) => GrantConstraint::Equals(pairs),
                    Limits::Subset(pairs) => GrantConstraint::Subset(pairs),
                },
            ),
            id: row.id,
            key: KeyId(row.key_id),
            name: row.name,
            created: time(row.created)?,
            grantee: row.grantee,
            retiring: row.retiring,
            issuer: row.issuer,
        };
        Ok(Self {
            grant,
            token: row.token,
        })
    }
}

impl TryFrom<PrincipalRow> for Principal {
    type Error = StoreError;

    fn try_from(row: PrincipalRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: row.name,
            policy: row.policy,
            created: time(row.created)?,
        })
    }
}

impl TryFrom<CredentialRow> for CredentialRecord {
    type Error = StoreError;

    fn try_from(row: CredentialRow) -> Result<Self, StoreError> {
        Ok(Self {
            access_key: AccessKey {
                id: row.id,
                principal: row.principal,
                created: time(row.created)?,
                enabled: row.enabled != 0,
            },
            secret: row.secret,
        })
    }
}

impl Store {
    /// All grants of a key, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn grants(&self, key: &KeyId) -> Result<Vec<GrantRecord>, StoreError> {
        let rows: Vec<GrantRow> =
            sqlx::query_as("SELECT * FROM key_grant WHERE key_id = $1 ORDER BY created, id")
                .bind(&key.0)
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter().map(GrantRecord::try_from).collect()
    }

    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn grant_of_token(&self, token: &str) -> Result<Option<GrantRecord>, StoreError> {
        let row: Option<GrantRow> = sqlx::query_as("SELECT * FROM key_grant WHERE token = $1")
            .bind(token)
            .fetch_optional(&self.pool)
            .await?;
        row.map(GrantRecord::try_from).transpose()
    }

    /// The grants that a principal may retire, oldest first.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn grants_retired_by(
        &self,
        retiring: &str,
        page: PageRequest,
    ) -> Result<Page<Grant>, StoreError> {
        let records: Page<GrantRecord> = self
            .page::<GrantRow, _>(
                "SELECT COUNT(*) FROM key_grant WHERE retiring = $1",
                "SELECT * FROM key_grant WHERE retiring = $1 ORDER BY created, id LIMIT $2 OFFSET $3",
                Some(retiring),
                page,
            )
            .await?;
        Ok(records.map(|record| record.grant))
    }

    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn principal(&self, name: &str) -> Result<Option<Principal>, StoreError> {
        let row: Option<PrincipalRow> = sqlx::query_as("SELECT * FROM principal WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.map(Principal::try_from).transpose()
    }

    /// The principals, by name.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn principals(&self, page: PageRequest) -> Result<Page<Principal>, StoreError> {
        self.page::<PrincipalRow, _>(
            "SELECT COUNT(*) FROM principal WHERE $1 IS NULL OR name = $1",
            "SELECT * FROM principal WHERE $1 IS NULL OR name = $1 ORDER BY name LIMIT $2 OFFSET $3",
            None,
            page,
        )
        .await
    }

    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn credential(&self, id: &str) -> Result<Option<CredentialRecord>, StoreError> {
        let row: Option<CredentialRow> = sqlx::query_as("SELECT * FROM credential WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.map(CredentialRecord::try_from).transpose()
    }

    /// The access keys of all principals or of one.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn credentials(
        &self,
        principal: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<AccessKey>, StoreError> {
        let records: Page<CredentialRecord> = self
            .page::<CredentialRow, _>(
                "SELECT COUNT(*) FROM credential WHERE $1 IS NULL OR principal = $1",
                "SELECT * FROM credential WHERE $1 IS NULL OR principal = $1
                 ORDER BY principal, created, id LIMIT $2 OFFSET $3",
                principal,
                page,
            )
            .await?;
        Ok(records.map(|record| record.access_key))
    }
}

impl Write<'_> {
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn insert_grant(&mut self, record: &GrantRecord) -> Result<(), StoreError> {
        let grant = &record.grant;
        let unwritable = |_error| corrupt_grant(&grant.id);
        let limits = grant.constraint.clone().map(|constraint| match constraint {
            GrantConstraint::Equals(pairs) => Limits::Equals(pairs),
            GrantConstraint::Subset(pairs) => Limits::Subset(pairs),
        });
        let limits = limits.as_ref().map(serde_json::to_string).transpose();
        sqlx::query(
            "INSERT INTO key_grant (id, key_id, token, name, created, grantee, retiring, issuer, operations, limits)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&grant.id)
        .bind(&grant.key.0)
        .bind(&record.token)
        .bind(grant.name.clone())
        .bind(grant.created.as_millisecond())
        .bind(&grant.grantee)
        .bind(grant.retiring.clone())
        .bind(&grant.issuer)
        .bind(serde_json::to_string(&grant.operations).map_err(unwritable)?)
        .bind(limits.map_err(unwritable)?)
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Key, &grant.key.0);
        Ok(())
    }

    /// How many grants a key has.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn grant_count(&mut self, key: &KeyId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM key_grant WHERE key_id = $1")
            .bind(&key.0)
            .fetch_one(self.connection())
            .await?;
        unsigned(count)
    }

    /// Says whether there was one.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_grant(&mut self, key: &KeyId, id: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM key_grant WHERE key_id = $1 AND id = $2")
            .bind(&key.0)
            .bind(id)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Key, &key.0);
        Ok(deleted.rows_affected() > 0)
    }

    /// # Errors
    ///
    /// `Exists`, `Unavailable`.
    pub async fn insert_principal(&mut self, principal: &Principal) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO principal (name, policy, created) VALUES ($1, $2, $3)")
            .bind(&principal.name)
            .bind(&principal.policy)
            .bind(principal.created.as_millisecond())
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Principal, &principal.name);
        Ok(())
    }

    /// Says whether there is such a principal.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn put_principal_policy(
        &mut self,
        name: &str,
        policy: &str,
    ) -> Result<bool, StoreError> {
        let updated = sqlx::query("UPDATE principal SET policy = $2 WHERE name = $1")
            .bind(name)
            .bind(policy)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Principal, name);
        Ok(updated.rows_affected() > 0)
    }

    /// Takes a principal and its access keys away; says whether there was one.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_principal(&mut self, name: &str) -> Result<bool, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM credential WHERE principal = $1")
            .bind(name)
            .fetch_all(self.connection())
            .await?;
        for id in ids {
            self.changed(ChangeKind::Credential, &id);
        }
        self.delete_grants_of(name).await?;
        let deleted = sqlx::query("DELETE FROM principal WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Principal, name);
        Ok(deleted.rows_affected() > 0)
    }

    /// Grants end with who they were for: they must not be the next one's of that name.
    async fn delete_grants_of(&mut self, principal: &str) -> Result<(), StoreError> {
        let keys: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT key_id FROM key_grant WHERE grantee = $1 OR retiring = $1",
        )
        .bind(principal)
        .fetch_all(self.connection())
        .await?;
        for key in keys {
            self.changed(ChangeKind::Key, &key);
        }
        for change in [
            "DELETE FROM key_grant WHERE grantee = $1",
            "UPDATE key_grant SET retiring = NULL WHERE retiring = $1",
        ] {
            sqlx::query(change)
                .bind(principal)
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }

    /// How many access keys a principal has; `None` where there is no such principal.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn credential_count(&mut self, principal: &str) -> Result<Option<u64>, StoreError> {
        let count: Option<i64> = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM credential WHERE principal = $1) FROM principal WHERE name = $1",
        )
        .bind(principal)
        .fetch_optional(self.connection())
        .await?;
        count.map(unsigned).transpose()
    }

    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn insert_credential(&mut self, record: &CredentialRecord) -> Result<(), StoreError> {
        let access_key = &record.access_key;
        sqlx::query(
            "INSERT INTO credential (id, principal, secret, created, enabled) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&access_key.id)
        .bind(&access_key.principal)
        .bind(&record.secret[..])
        .bind(access_key.created.as_millisecond())
        .bind(i64::from(access_key.enabled))
        .execute(self.connection())
        .await?;
        self.changed(ChangeKind::Credential, &access_key.id);
        Ok(())
    }

    /// Says whether there is such an access key.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn set_credential_enabled(
        &mut self,
        id: &str,
        enabled: bool,
    ) -> Result<bool, StoreError> {
        let updated = sqlx::query("UPDATE credential SET enabled = $2 WHERE id = $1")
            .bind(id)
            .bind(i64::from(enabled))
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Credential, id);
        Ok(updated.rows_affected() > 0)
    }

    /// Says whether there was such an access key.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn delete_credential(&mut self, id: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query("DELETE FROM credential WHERE id = $1")
            .bind(id)
            .execute(self.connection())
            .await?;
        self.changed(ChangeKind::Credential, id);
        Ok(deleted.rows_affected() > 0)
    }
}

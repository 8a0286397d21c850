//! Why the store did not do it.

use sqlx::migrate::MigrateError;
use thiserror::Error;

/// What the store met.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database holds something that this program did not write there.
    #[error("the store holds {0}")]
    Corrupt(String),
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// The store's schema is not this program's, and could not be brought to it.
    #[error("the store's tables cannot be brought up to date: {0}")]
    Migrate(#[source] MigrateError),
    /// Somebody else changed the row at the same time; nothing was written.
    #[error("the store was changed at the same time")]
    Raced,
    /// The database does not let this user in, or do this.
    #[error("the database refuses: {0}")]
    Refused(#[source] sqlx::Error),
    /// The database does not answer, or not now.
    #[error("the store does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The place cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Migrate(other),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Exists,
            sqlx::Error::Database(database) if is_refusal(database.code().as_deref()) => {
                Self::Refused(error)
            }
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_) => {
                Self::Corrupt(format!("a row that cannot be read: {error}"))
            }
            _ => Self::Unavailable(error),
        }
    }
}

/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>: a wrong user or password, no such database, no right.
fn is_refusal(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.starts_with("28") || matches!(code, "3D000" | "42501"))
}

/// The value that a text of the store names.
pub(super) fn of_name<T>(
    what: &'static str,
    name: &str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    parse(name).ok_or_else(|| StoreError::Corrupt(format!("the unknown {what} {name:?}")))
}

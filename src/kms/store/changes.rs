//! What was changed, by whom ever: each server asks and forgets what it knew.

use jiff::{SignedDuration, Timestamp};

use super::connect::Store;
use super::error::{StoreError, of_name};

/// How long changes are kept. A server that has not asked for so long forgets everything.
pub const KEPT: SignedDuration = SignedDuration::from_hours(1);
/// Changes read at once; more are a reason to forget everything.
const MANY: i64 = 1000;

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    Alias,
    /// Everything: a restore.
    All,
    Credential,
    Key,
    Principal,
}

impl ChangeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Alias => "alias",
            Self::All => "all",
            Self::Credential => "credential",
            Self::Key => "key",
            Self::Principal => "principal",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [
            Self::Alias,
            Self::All,
            Self::Credential,
            Self::Key,
            Self::Principal,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Change {
    pub kind: ChangeKind,
    pub name: String,
}

/// What happened since a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The number to ask from next time.
    pub seq: i64,
    /// `None`: too many, or some are not kept any more.
    pub list: Option<Vec<Change>>,
}

impl Store {
    /// The number of the last change.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn change_number(&self) -> Result<i64, StoreError> {
        let number = sqlx::query_scalar("SELECT value FROM counter WHERE name = 'change'");
        Ok(number.fetch_one(&self.pool).await?)
    }

    /// What changed after the change with this number.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn changes_since(&self, seq: i64) -> Result<Changes, StoreError> {
        let now = self.change_number().await?;
        if now == seq {
            return Ok(Changes {
                seq,
                list: Some(Vec::new()),
            });
        }
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT seq, kind, name FROM change WHERE seq > $1 AND seq <= $2 ORDER BY seq, part LIMIT $3",
        )
        .bind(seq)
        .bind(now)
        .bind(MANY)
        .fetch_all(&self.pool)
        .await?;
        // Each change has a row at least, so a gap after `seq` means rows that are gone.
        let is_whole = now > seq
            && i64::try_from(rows.len()).is_ok_and(|len| len < MANY)
            && rows.first().is_some_and(|(first, _, _)| *first == seq + 1);
        let list = is_whole.then(|| {
            rows.iter()
                .map(|(_, kind, name)| {
                    Ok(Change {
                        kind: of_name("kind of change", kind, ChangeKind::of_name)?,
                        name: name.clone(),
                    })
                })
                .collect::<Result<Vec<_>, StoreError>>()
        });
        Ok(Changes {
            seq: now,
            list: list.transpose()?,
        })
    }

    /// Drops what is older than [`KEPT`].
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn drop_old_changes(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = now - KEPT;
        let _gate = self.gate.lock().await;
        sqlx::query("DELETE FROM change WHERE at < $1")
            .bind(before.as_millisecond())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

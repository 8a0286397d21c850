//! All that the store keeps as one text, which either database takes back.
//!
//! A line of JSON for each row: the table's name, and the values in the order of `TABLES`; bytes are base64 after
//! `b:`, texts come after `t:`. What is secret in it is wrapped, as it is in the database.

use data_encoding::BASE64;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};

use super::changes::ChangeKind;
use super::connect::Store;
use super::error::StoreError;
use super::write::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bytes,
    Number,
    Text,
}

use Kind::{Bytes, Number, Text};

type Table = (&'static str, &'static [(&'static str, Kind)]);

/// What is being made in the HSM at this moment is another service's to destroy once this is restored elsewhere.
const NOT_BEING_MADE: &str = " WHERE due <= 0";

/// Every table but those that are of one database alone (`counter`, `change`, `seen`, `session`), each after those that it refers to.
const TABLES: &[Table] = &[
    ("setting", &[("name", Text), ("value", Text)]),
    (
        "root_slot",
        &[("uri", Text), ("key_version", Text), ("wrapped", Bytes)],
    ),
    (
        "principal",
        &[("name", Text), ("policy", Text), ("created", Number)],
    ),
    (
        "credential",
        &[
            ("id", Text),
            ("principal", Text),
            ("secret", Bytes),
            ("created", Number),
            ("enabled", Number),
        ],
    ),
    (
        "kms_key",
        &[
            ("id", Text),
            ("revision", Number),
            ("description", Text),
            ("spec", Text),
            ("usage", Text),
            ("origin", Text),
            ("protection", Text),
            ("state", Text),
            ("created", Number),
            ("creator", Text),
            ("deletion", Number),
            ("material_expires", Number),
            ("primary_version", Text),
            ("rotation_period", Number),
            ("rotation_last", Number),
            ("rotation_next", Number),
            ("deletion_protection", Text),
            ("policy", Text),
        ],
    ),
    (
        "key_version",
        &[
            ("id", Text),
            ("key_id", Text),
            ("number", Number),
            ("created", Number),
            ("enabled", Number),
            ("cause", Text),
            ("material", Bytes),
            ("fingerprint", Bytes),
            ("produced", Number),
            ("opened", Number),
            ("last_used", Number),
        ],
    ),
    (
        "alias",
        &[
            ("name", Text),
            ("key_id", Text),
            ("created", Number),
            ("updated", Number),
        ],
    ),
    ("tag", &[("key_id", Text), ("name", Text), ("value", Text)]),
    (
        "key_grant",
        &[
            ("id", Text),
            ("key_id", Text),
            ("token", Text),
            ("name", Text),
            ("created", Number),
            ("grantee", Text),
            ("retiring", Text),
            ("issuer", Text),
            ("operations", Text),
            ("limits", Text),
        ],
    ),
    (
        "import_token",
        &[
            ("id", Text),
            ("key_id", Text),
            ("algorithm", Text),
            ("spec", Text),
            ("private_key", Bytes),
            ("created", Number),
            ("expires", Number),
        ],
    ),
    (
        "hsm_object",
        &[("version", Text), ("key_id", Text), ("due", Number)],
    ),
];

impl Store {
    /// All of it as of one moment: nobody writes meanwhile.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Corrupt`.
    pub async fn dump(&self) -> Result<String, StoreError> {
        // Never committed, so nothing changes; but whoever writes waits.
        let mut write = self.write().await?;
        let mut text = String::new();
        for (table, columns) in TABLES {
            let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
            let only = match *table {
                "hsm_object" => NOT_BEING_MADE,
                _ => "",
            };
            // Made of the table above alone.
            let select = format!("SELECT {} FROM {table}{only}", names.join(", "));
            let select = sqlx::query(AssertSqlSafe(select));
            let rows = select.fetch_all(write.connection()).await?;
            for row in rows {
                let values = columns
                    .iter()
                    .map(|(name, kind)| value_of(&row, name, *kind));
                let mut line = vec![Value::from(*table)];
                line.extend(values.collect::<Result<Vec<_>, _>>()?);
                text.push_str(&Value::from(line).to_string());
                text.push('\n');
            }
        }
        Ok(text)
    }
}

impl Write<'_> {
    /// Whether nothing is kept yet: only then may a service be made here, or restored.
    ///
    /// # Errors
    ///
    /// `Unavailable`.
    pub async fn is_empty(&mut self) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM setting")
            .fetch_one(self.connection())
            .await?;
        Ok(count == 0)
    }

    /// Puts back what [`Store::dump`] wrote. The store must be empty.
    ///
    /// # Errors
    ///
    /// `Corrupt` for a line that is none, `Exists`, `Unavailable`. Nothing is to be committed then.
    pub async fn restore(&mut self, dump: &str) -> Result<(), StoreError> {
        for line in dump.lines() {
            let line: Vec<Value> = serde_json::from_str(line).map_err(|_error| no_line())?;
            let (table, values) = line.split_first().ok_or_else(no_line)?;
            let (table, columns) = TABLES
                .iter()
                .find(|(name, _)| table.as_str() == Some(name))
                .ok_or_else(no_line)?;
            self.restore_row(table, columns, values).await?;
        }
        self.changed(ChangeKind::All, "");
        Ok(())
    }

    async fn restore_row(
        &mut self,
        table: &str,
        columns: &[(&str, Kind)],
        values: &[Value],
    ) -> Result<(), StoreError> {
        if columns.len() != values.len() {
            return Err(no_line());
        }
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        let marks: Vec<_> = (1..=columns.len()).map(|at| format!("${at}")).collect();
        // Made of the table above alone.
        let insert = AssertSqlSafe(format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            names.join(", "),
            marks.join(", ")
        ));
        let mut query = sqlx::query(insert);
        for ((_, kind), value) in columns.iter().zip(values) {
            query = match kind {
                Number if value.is_null() => query.bind(None::<i64>),
                Number => query.bind(value.as_i64().ok_or_else(no_line)?),
                Text => query.bind(text_of(value, "t:")?.map(str::to_owned)),
                Bytes => {
                    let text = text_of(value, "b:")?;
                    let bytes = text.map(|text| BASE64.decode(text.as_bytes())).transpose();
                    query.bind(bytes.map_err(|_error| no_line())?)
                }
            };
        }
        query.execute(self.connection()).await?;
        Ok(())
    }
}

fn no_line() -> StoreError {
    StoreError::Corrupt("a line in the backup that is none".to_owned())
}

fn text_of<'a>(value: &'a Value, prefix: &str) -> Result<Option<&'a str>, StoreError> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.as_str().and_then(|text| text.strip_prefix(prefix));
    text.map(Some).ok_or_else(no_line)
}

fn value_of(row: &sqlx::any::AnyRow, name: &str, kind: Kind) -> Result<Value, StoreError> {
    Ok(match kind {
        Number => Value::from(row.try_get::<Option<i64>, _>(name)?),
        Text => Value::from(
            row.try_get::<Option<String>, _>(name)?
                .map(|text| format!("t:{text}")),
        ),
        Bytes => Value::from(
            row.try_get::<Option<Vec<u8>>, _>(name)?
                .map(|bytes| format!("b:{}", BASE64.encode(&bytes))),
        ),
    })
}

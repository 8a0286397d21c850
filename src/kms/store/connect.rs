//! The two databases.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Once;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgListener;
use sqlx::{AnyPool, AssertSqlSafe, Executor as _, SqlSafeStr as _};
use tokio::sync::Mutex;

use super::error::StoreError;

/// Connections to the database, at most.
const CONNECTIONS: u32 = 8;
/// How long a caller waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// The schema's steps, in their order; a step that was released never changes.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("migrations/0001_first.sql")),
    (2, "servers", include_str!("migrations/0002_servers.sql")),
    (
        3,
        "hsm objects",
        include_str!("migrations/0003_hsm_objects.sql"),
    ),
];
/// The channel on which PostgreSQL tells of changes.
pub(super) const CHANNEL: &str = "envelopekms";

/// A file of SQLite: rows are durable once committed (`FULL`), and what was deleted is overwritten.
const SQLITE_SETUP: &str = "PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
PRAGMA busy_timeout = 5000;";
/// PostgreSQL: nobody waits for ever for a server that went away in the middle of a change.
const POSTGRES_SETUP: &str = "SET synchronous_commit = on;
SET lock_timeout = '5s';
SET statement_timeout = '10s';
SET idle_in_transaction_session_timeout = '10s';";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    Sqlite,
}

/// Where the store is.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// `postgres://…`, perhaps with a password.
    Postgres(String),
    /// A file.
    Sqlite(PathBuf),
}

impl Location {
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self {
            Self::Postgres(_) => Backend::Postgres,
            Self::Sqlite(_) => Backend::Sqlite,
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(url) => url.clone(),
            Self::Sqlite(path) => format!("sqlite://{}", escaped(path)),
        }
    }
}

/// `postgres://…` or `postgresql://…`, else the path of a file.
impl FromStr for Location {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        Ok(if is_url {
            Self::Postgres(text.to_owned())
        } else {
            Self::Sqlite(PathBuf::from(text))
        })
    }
}

/// Without what may be a password.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(_) => f.write_str("Postgres(..)"),
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
        }
    }
}

/// A path as a URL has it.
fn escaped(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut url = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            url.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// The service's database.
#[derive(Debug)]
pub struct Store {
    pub(in crate::kms) pool: AnyPool,
    pub(super) location: Location,
    /// One writer at a time: SQLite has no more, and on PostgreSQL the change counter's row would be waited for.
    pub(super) gate: Mutex<()>,
}

impl Store {
    /// Opens the store and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// `Unusable` for a file that is not there (unless `create`) or cannot be opened, `Unavailable` for a database
    /// that does not answer, `Migrate` for tables of a later program.
    pub async fn open(location: Location, create: bool) -> Result<Self, StoreError> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        if let Location::Sqlite(path) = &location {
            prepare_file(path, create)?;
        }
        let setup = match location.backend() {
            Backend::Postgres => POSTGRES_SETUP,
            Backend::Sqlite => SQLITE_SETUP,
        };
        let options = AnyConnectOptions::from_str(&location.url()).map_err(|_error| {
            StoreError::Unusable(
                "The store's URL cannot be read: expected postgres://USER@HOST/DATABASE".to_owned(),
            )
        })?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .after_connect(move |connection, _metadata| {
                Box::pin(async move { connection.execute(sqlx::raw_sql(setup)).await.map(drop) })
            })
            .connect_with(options)
            .await?;
        let store = Self {
            pool,
            location,
            gate: Mutex::new(()),
        };
        migrator(store.backend()).run(&store.pool).await?;
        Ok(store)
    }

    #[must_use]
    pub fn backend(&self) -> Backend {
        self.location.backend()
    }

    /// Hears of changes at once, where the database can tell of them.
    ///
    /// # Errors
    ///
    /// `Unavailable`: changes are then seen by asking alone.
    pub async fn listener(&self) -> Result<Option<PgListener>, StoreError> {
        let Location::Postgres(url) = &self.location else {
            return Ok(None);
        };
        let mut listener = PgListener::connect(url).await?;
        listener.listen(CHANNEL).await?;
        Ok(Some(listener))
    }

    /// Waits until what is being written is written.
    pub async fn close(&self) {
        let _gate = self.gate.lock().await;
        self.pool.close().await;
    }
}

/// A file that only its owner may read; SQLite gives the files beside it the same rights.
fn prepare_file(path: &Path, create: bool) -> Result<(), StoreError> {
    let flags = if create {
        OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC
    } else {
        OFlags::RDWR | OFlags::CLOEXEC
    };
    match open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) if !create => Err(StoreError::Unusable(format!(
            "There is no store at {}. Make one with `envelopekms init`.",
            path.display()
        ))),
        Err(errno) => Err(StoreError::Unusable(format!(
            "cannot open the store {}: {errno}",
            path.display()
        ))),
    }
}

fn migrator(backend: Backend) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        let sql = match backend {
            Backend::Sqlite => (*sql).to_owned(),
            Backend::Postgres => sql.replace(" BLOB", " BYTEA"),
        };
        // Made of the program's own text alone.
        let sql = AssertSqlSafe(sql).into_sql_str();
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

//! Databases for tests: a file of SQLite, and a PostgreSQL server of the tests' own.

mod cluster;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use self::cluster::Cluster;
use super::connect::{Backend, Location};

/// The server, started when first asked for.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(0))
}

/// A database that nothing is in, and the folder that goes with it.
pub(crate) async fn database(backend: Backend) -> (Location, TempDir) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder = tempfile::tempdir().unwrap();
    if backend == Backend::Sqlite {
        // A name that a URL has to have escaped.
        return (Location::Sqlite(folder.path().join("k m%s?.db")), folder);
    }
    let server = tokio::task::spawn_blocking(cluster).await.unwrap();
    let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = |database: &str| {
        format!(
            "postgres://postgres@localhost/{database}?host={}",
            server.folder
        )
    };
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&url("postgres")).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    connection.execute(sqlx::raw_sql(create)).await.unwrap();
    (Location::Postgres(url(&name)), folder)
}

/// Another way to the database at this URL, on which connections that ask to be told of changes get no answer; and how
/// many those are.
pub(crate) async fn without_listeners(url: &str) -> (String, watch::Receiver<usize>) {
    let (before, folder) = url.split_once("?host=").unwrap();
    let (counts, counted) = watch::channel(0);
    let own = tempfile::tempdir().unwrap();
    let name = ".s.PGSQL.5432";
    let there = std::path::Path::new(folder).join(name);
    let listener = UnixListener::bind(own.path().join(name)).unwrap();
    let url = format!("{before}?host={}", own.path().display());
    tokio::spawn(async move {
        let _own = own;
        while let Ok((client, _address)) = listener.accept().await {
            let server = UnixStream::connect(&there).await.unwrap();
            tokio::spawn(pass(client, server, counts.clone()));
        }
    });
    (url, counted)
}

/// Passes on what either says, until the client asks to be told of changes.
async fn pass(client: UnixStream, server: UnixStream, counts: watch::Sender<usize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let _ended = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
    let mut bytes = [0; 8192];
    while let Ok(len @ 1..) = from_client.read(&mut bytes).await {
        if bytes[..len].windows(7).any(|part| part == b"LISTEN ") {
            counts.send_modify(|count| *count += 1);
            let _hung: () = std::future::pending().await;
        }
        if to_server.write_all(&bytes[..len]).await.is_err() {
            break;
        }
    }
    answers.abort();
}

/// Runs a test on either database.
pub(crate) fn on_both(test: impl AsyncFn(Backend)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        eprintln!("on {backend:?}");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(backend));
    }
}

//! `envelopekms status`: how a service is.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::hand_over::reachable;
use crate::cli::kms::place::{Folder, Settings};
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::kms::engine::model::{KeyState, PageRequest};
use crate::kms::engine::ops::keys::KeyFilter;
use crate::kms::store::{Backend, Store, StoreError};
use crate::units::KeyUri;

/// For the server to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The service's folder, in place of --dir
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// End with code 37 unless the server answers and is ready
    #[arg(long)]
    pub check: bool,

    /// How the result is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// What the store tells without the root key.
struct Kept {
    region: String,
    account: String,
    root_keys: Vec<String>,
    /// By state.
    keys: Vec<(KeyState, u64)>,
    principals: u64,
    access_keys: u64,
}

/// Whether a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// And can do its work.
    Ready,
    NotReady,
    None,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::None => "does not answer",
        }
    }
}

/// Says how it is.
///
/// # Errors
/// There is no service, its store does not answer; [`Exit::NotServing`] if that was to be checked.
pub fn run(place: &PlaceArgs, args: &StatusArgs) -> Result<(), Failure> {
    let folder = Folder::of(place, args.folder.as_deref())?;
    let what = format!("cannot tell the status of {}", folder.0.display());
    let settings = folder.settings()?;
    let kept = with_store(&what, &folder, &settings, kept)?;
    let server = ask(&settings);
    let shown = match args.output.json {
        true => as_json(&folder, &settings, &kept, server),
        false => output::print(&as_text(&folder, &settings, &kept, server)),
    };
    shown?;
    if !args.check || server == Server::Ready {
        return Ok(());
    }
    let why = format!(
        "the server at {} {}",
        reachable(settings.listen),
        match server {
            Server::NotReady => "is not ready",
            Server::Ready | Server::None => "does not answer",
        }
    );
    Err(
        Failure::new(Exit::NotServing, "the key service does not serve", why)
            .advise("see the log of `envelopekms serve`"),
    )
}

/// Reads something of the store, without the root key.
pub(super) fn read_store<T>(
    place: &PlaceArgs,
    what: &str,
    read: impl AsyncFnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, Failure> {
    let folder = Folder::of(place, None)?;
    let settings = folder.settings()?;
    with_store(what, &folder, &settings, read)
}

fn with_store<T>(
    what: &str,
    folder: &Folder,
    settings: &Settings,
    read: impl AsyncFnOnce(&Store) -> Result<T, StoreError>,
) -> Result<T, Failure> {
    let location = folder.location(settings);
    let done = session::runtime(what)?.block_on(async {
        let store = Store::open(location, false).await?;
        let done = read(&store).await;
        store.close().await;
        done
    });
    done.map_err(|error| errors::store(what, &error))
}

async fn kept(store: &Store) -> Result<Kept, StoreError> {
    let setting = async |name| Ok::<_, StoreError>(store.setting(name).await?.unwrap_or_default());
    let page = PageRequest {
        offset: 0,
        limit: 1,
    };
    let mut keys = Vec::new();
    for state in KeyState::ALL {
        let filter = KeyFilter {
            states: Some(vec![*state]),
            ..KeyFilter::default()
        };
        keys.push((*state, store.keys(&filter, page).await?.total));
    }
    let slots = store.root_slots().await?;
    Ok(Kept {
        region: setting("region").await?,
        account: setting("account").await?,
        root_keys: slots.into_iter().map(|slot| slot.uri).collect(),
        keys,
        principals: store.principals(page).await?.total,
        access_keys: store.credentials(None, page).await?.total,
    })
}

/// Asks the server itself, as a client with its certificate does.
fn ask(settings: &Settings) -> Server {
    let answer = || {
        let mut client = reqwest::blocking::Client::builder()
            .timeout(PATIENCE)
            .no_proxy();
        if let Some(ca) = &settings.tls.ca {
            let pem = std::fs::read(ca).ok()?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).ok()?;
            client = client.tls_certs_merge(certificates);
        }
        let url = format!("https://{}/readyz", reachable(settings.listen));
        client.build().ok()?.get(url).send().ok()
    };
    match answer() {
        Some(answer) if answer.status().is_success() => Server::Ready,
        Some(_) => Server::NotReady,
        None => Server::None,
    }
}

fn as_json(
    folder: &Folder,
    settings: &Settings,
    kept: &Kept,
    server: Server,
) -> Result<(), Failure> {
    let keys: serde_json::Map<String, serde_json::Value> = kept
        .keys
        .iter()
        .map(|(state, count)| (state.name().to_owned(), (*count).into()))
        .collect();
    output::print_json(&json!({
        "dir": folder.0,
        "address": reachable(settings.listen),
        "server": server.name(),
        "store": store_name(folder, settings),
        "region": kept.region,
        "account": kept.account,
        "root_keys": kept.root_keys,
        "hsm": settings.hsm.as_ref().map(KeyUri::as_str),
        "keys": keys,
        "principals": kept.principals,
        "access_keys": kept.access_keys,
        "ca": settings.tls.ca,
    }))
}

/// Without what may be a password.
fn store_name(folder: &Folder, settings: &Settings) -> String {
    match folder.location(settings).backend() {
        Backend::Postgres => "postgres".to_owned(),
        Backend::Sqlite => folder.path(&settings.store).display().to_string(),
    }
}

fn as_text(folder: &Folder, settings: &Settings, kept: &Kept, server: Server) -> String {
    let keys: Vec<String> = kept
        .keys
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {}", state.name()))
        .collect();
    let keys = if keys.is_empty() {
        "none".to_owned()
    } else {
        keys.join(", ")
    };
    let lines = [
        ("folder", folder.0.display().to_string()),
        (
            "server",
            format!("https://{} {}", reachable(settings.listen), server.name()),
        ),
        ("store", store_name(folder, settings)),
        (
            "region",
            format!("{}, account {}", kept.region, kept.account),
        ),
        ("root key", kept.root_keys.join(", ")),
        (
            "hsm",
            settings
                .hsm
                .as_ref()
                .map_or_else(|| "none".to_owned(), |uri| uri.as_str().to_owned()),
        ),
        ("keys", keys),
        (
            "access keys",
            format!(
                "{} of {}",
                kept.access_keys,
                output::counted(kept.principals, "principal")
            ),
        ),
    ];
    lines
        .iter()
        .map(|(name, value)| format!("{name:<12} {}\n", output::harmless(value)))
        .collect()
}

//! `envelopekms serve`: the server.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use listenfd::ListenFd;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::errors::key;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, chain};
use crate::cli::kms::args::{JsonArgs, PlaceArgs};
use crate::cli::kms::hand_over::{Shown, exports, reachable};
use crate::cli::kms::place::{Folder, Settings};
use crate::cli::kms::{errors, session};
use crate::cli::output;
use crate::cli::providers::GivenKeys;
use crate::daemon::{harden, notify};
use crate::keys::{Confirm, KeyErrorKind};
use crate::kms::audit::TrailOptions;
use crate::kms::engine::Engine;
use crate::kms::hsm::Hsm;
use crate::kms::server::{Identity, Limits, Server, ServerConfig};

/// Arguments of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// The service's folder, in place of --dir
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,

    /// The address to serve, in place of that in envelopekms.toml; port 0 for any that is free
    ///
    /// Neither counts where systemd hands over a socket (envelopekms.socket).
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,

    /// Serve metrics at this address of this machine, in place of that in envelopekms.toml
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,

    /// How the address is printed.
    #[command(flatten)]
    pub output: JsonArgs,
}

/// Serves until it is told to end.
///
/// # Errors
/// The service cannot be opened, or the address not be served.
pub fn run(place: &PlaceArgs, args: &ServeArgs) -> Result<(), Failure> {
    let folder = Folder::of(place, args.folder.as_deref())?;
    let settings = folder.settings()?;
    let what = format!("cannot serve {}", folder.0.display());
    let socket = handed_over(&what)?;
    harden(&what)?;
    session::lock_keys(&what, place)?;
    let keys = GivenKeys::parse(&what, &settings.root_keys)?;
    let providers = keys.providers(&session::passphrase(place), Confirm::No);
    let hsm = session::hsm(&what, &settings, &keys)?;
    if let Some(hsm) = &hsm {
        look_for(&what, hsm)?;
    }
    let trail = TrailOptions {
        file: Some(folder.audit().join("serve.log")),
        when_full: settings.audit.when_full.into(),
    };
    let options = session::options_with(folder.location(&settings), providers, hsm, trail);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failure, &what, error))?;
    let served = runtime.block_on(async {
        let engine = Engine::open(options).await;
        let engine = engine.map_err(|error| errors::open(&what, &error))?;
        let served = serve(&what, args, &settings, &engine, socket).await;
        if !engine.close().await {
            tracing::error!("the end of the audit trail could not be written");
        }
        served
    });
    runtime.shutdown_background();
    served
}

/// Asks for the PIN while there is somebody to ask. An HSM that is away keeps nobody from using the other keys.
fn look_for(what: &str, hsm: &Hsm) -> Result<(), Failure> {
    match hsm.probe() {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == KeyErrorKind::Unavailable => {
            tracing::warn!(%error, "the HSM is away: its keys cannot be used until it is there");
            Ok(())
        }
        Err(error) => Err(key(what, &error)),
    }
}

fn harden(what: &str) -> Result<(), Failure> {
    let report = harden::harden().map_err(|error| Failure::new(Exit::Failure, what, error))?;
    tracing::debug!(?report, "hardened");
    Ok(())
}

async fn serve(
    what: &str,
    args: &ServeArgs,
    settings: &Settings,
    engine: &Arc<Engine>,
    socket: Option<TcpListener>,
) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::new(Exit::Failure, what, error))?;
    let server = Server::start_on(socket, config(args, settings), Arc::clone(engine)).await;
    let server = server.map_err(|error| errors::server(what, &error))?;
    tell(args, settings, engine, &server)?;
    tracing::info!(address = %server.address(), "serving");
    if let Err(error) = notify::ready() {
        tracing::warn!(%error, "the service manager was not told that the service is ready");
    }
    let heartbeat = notify::watchdog_period().map(|period| tokio::spawn(beat(period)));
    while signals.next().await == Asked::Reload {
        reload(engine, &server);
    }
    if let Some(heartbeat) = heartbeat {
        heartbeat.abort();
    }
    tracing::info!("ending");
    if let Err(error) = notify::stopping() {
        tracing::warn!(%error, "the service manager was not told that the service ends");
    }
    server.shutdown().await;
    Ok(())
}

/// Tells the service manager that the threads that answer clients still get to their tasks.
async fn beat(period: Duration) {
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        if let Err(error) = notify::alive() {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

/// The socket that systemd opened for the service, if it did (sd_listen_fds(3)).
fn handed_over(what: &str) -> Result<Option<TcpListener>, Failure> {
    let wrong = |why: String| {
        Failure::new(Exit::Listen, what, why)
            .advise("the socket unit must have one ListenStream= with an address and a port")
    };
    let mut sockets = ListenFd::from_env();
    match sockets.len() {
        0 => Ok(None),
        1 => sockets.take_tcp_listener(0).map_err(|error| {
            wrong(format!(
                "the socket that was handed over cannot be served: {error}"
            ))
        }),
        count => Err(wrong(format!(
            "{count} sockets were handed over, and one can be served"
        ))),
    }
}

fn config(args: &ServeArgs, settings: &Settings) -> ServerConfig {
    let limits = Limits::default();
    let rate = settings.requests_per_second.map(std::num::NonZeroU32::get);
    ServerConfig {
        listen: args.listen.unwrap_or(settings.listen),
        identity: Identity {
            certificate: settings.tls.certificate.clone(),
            key: settings.tls.key.clone(),
        },
        metrics: args.metrics.or(settings.metrics),
        limits: Limits {
            requests_per_second: rate.or(limits.requests_per_second),
            ..limits
        },
    }
}

fn tell(
    args: &ServeArgs,
    settings: &Settings,
    engine: &Engine,
    server: &Server,
) -> Result<(), Failure> {
    let address = reachable(server.address());
    let names = engine.names();
    let ca = settings.tls.ca.as_deref();
    if args.output.json {
        return output::print_json(&json!({
            "address": address,
            "metrics": server.metrics_address().map(|address| address.to_string()),
            "region": names.region,
            "account": names.account,
            "ca": ca,
        }));
    }
    let own = Shown {
        id: "…",
        secret: "…",
    };
    output::print(&format!(
        "envelopekms serves https://{address}. Clients need, with an access key of their own:\n\n{}\n",
        exports(&address, &names.region, ca, &own)
    ))
}

fn reload(engine: &Engine, server: &Server) {
    engine.trail().reopen();
    match server.reload_certificate() {
        Ok(()) => tracing::info!("the certificate was read again, the audit trail reopened"),
        Err(error) => tracing::error!(
            error = chain(&error),
            "the certificate stays the one it was; the audit trail was reopened"
        ),
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    End,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

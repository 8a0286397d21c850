//! The server: one TLS port for every dialect, and a loopback port for metrics.
//!
//! ```text
//! connection ── TLS ── HTTP/1.1 ── route ── signature, replay, rate ── dialect ── engine
//! ```
//!
//! | Path | Who may | What |
//! |---|---|---|
//! | `/` | who signs | the dialects: AWS by `X-Amz-Target`, Alibaba by `x-acs-action` or `Action` |
//! | `/keys/public`, `/encrypt`, `/decrypt` | who gives an access key | the REST interface |
//! | `/console` | everybody; who signs in | the console: its pages; what they ask |
//! | `/healthz` | everybody | 200: the process serves |
//! | `/readyz` | everybody | 200 or 503: the store answers and the audit trail takes lines |
//! | `/metrics` | who is on this machine | on the loopback port alone: Prometheus cannot sign |
//!
//! Everything is bounded: connections and the memory of bodies (in total and of one source), the head and the body of a
//! request, the time that it takes, the requests of one access key in a second, and what those that prove nothing write
//! into the audit trail.

#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

mod body;
mod certificate;
mod dialects;
mod health;
mod limits;
mod listener;
mod metrics;
mod route;
mod web;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use certificate::{CertificateError, Identity, Issued};
pub use limits::Limits;

use crate::kms::api::failures::SUM_EVERY;
use crate::kms::api::web::AccessCheck;
use crate::kms::api::{Place, PlaceError};
use crate::kms::auth::Replays;
use crate::kms::engine::{Engine, KmsError};
use certificate::Reloading;
use health::Readiness;
use limits::{Rates, Shares};
use listener::Port;
use metrics::Metrics;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to serve; port 0 for any that is free.
    pub listen: SocketAddr,
    /// Its certificate and key; read again when they change.
    pub identity: Identity,
    /// Where `/metrics` is served without TLS and to everybody on this machine; a loopback address.
    pub metrics: Option<SocketAddr>,
    /// Bounds of what clients can make grow.
    pub limits: Limits,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ServerError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    #[error("cannot serve on the socket that was handed over: {0}")]
    Socket(std::io::Error),
    #[error("metrics are served on a loopback address only, and {0} is none")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Store(#[from] KmsError),
}

/// What every request needs.
#[derive(Debug)]
struct Shared {
    engine: Arc<Engine>,
    place: Place,
    limits: Limits,
    /// Memory of long bodies.
    bodies: Shares,
    connections: Shares,
    rates: Rates,
    replays: Arc<Replays>,
    /// Access keys that are given whole: of the REST interface and the console.
    access: AccessCheck,
    metrics: Metrics,
    readiness: Readiness,
}

/// A server that runs. Dropped, it goes on until the process ends; [`Server::shutdown`] ends it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    certificate: Arc<Reloading>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Starts to serve on the current tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`]: nothing was started then.
    pub async fn start(config: ServerConfig, engine: Arc<Engine>) -> Result<Self, ServerError> {
        Self::start_on(None, config, engine).await
    }

    /// The same on a socket that listens already, in place of [`ServerConfig::listen`].
    ///
    /// # Errors
    /// [`ServerError`]: nothing was started then.
    pub async fn start_on(
        socket: Option<std::net::TcpListener>,
        config: ServerConfig,
        engine: Arc<Engine>,
    ) -> Result<Self, ServerError> {
        let certificate = Arc::new(Reloading::read(config.identity)?);
        let tls = certificate.tls()?;
        let listener = match socket {
            Some(socket) => take_over(socket).map_err(ServerError::Socket)?,
            None => listen(config.listen).await?,
        };
        let metrics = match config.metrics {
            None => None,
            Some(address) if address.ip().is_loopback() => Some(listen(address).await?),
            Some(address) => return Err(ServerError::NotLoopback(address)),
        };
        engine.share_requests().await?;
        engine.look_after_keys().await?;
        let shared = Arc::new(Shared::new(engine, config.limits)?);
        let (stop, stopped) = watch::channel(false);
        let mut server = Self {
            address: local(&listener, config.listen),
            metrics_address: metrics
                .as_ref()
                .zip(config.metrics)
                .map(|(listener, asked)| local(listener, asked)),
            certificate: Arc::clone(&certificate),
            shared: Arc::clone(&shared),
            stop,
            tasks: Mutex::default(),
        };
        let watching = certificate::watch(certificate, stopped.clone());
        let tasks = server.tasks.get_mut();
        tasks.push(tokio::spawn(watching));
        let summing = sum_up_failures(Arc::clone(&shared), stopped.clone());
        tasks.push(tokio::spawn(summing));
        let ports = [
            Some((listener, Port::Tls(tls))),
            metrics.map(|l| (l, Port::Metrics)),
        ];
        for (listener, port) in ports.into_iter().flatten() {
            let serving = listener::serve(listener, port, Arc::clone(&shared), stopped.clone());
            tasks.push(tokio::spawn(serving));
        }
        Ok(server)
    }

    /// Where it serves: with the port that was free where none was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Reads the certificate and key again, as it does by itself within 10 seconds of a change; for
    /// SIGHUP. Connections that are open keep theirs.
    ///
    /// # Errors
    /// Where they are no such pair: the server goes on with the one it had.
    pub fn reload_certificate(&self) -> Result<(), CertificateError> {
        self.certificate.reload()
    }

    /// Takes no more connections, lets requests that are being answered end (for
    /// [`Limits::grace`] at most), and returns when nothing is left.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for task in self.tasks.into_inner() {
            // A task that panicked has ended too.
            let _ended = task.await;
        }
        self.shared.access.sum_up(&self.shared.engine);
    }
}

impl Shared {
    fn new(engine: Arc<Engine>, limits: Limits) -> Result<Self, ServerError> {
        let names = engine.names();
        Ok(Self {
            place: Place::new(&names.region, &names.account)?,
            bodies: Shares::new(limits.bodies, limits.bodies_per_source),
            connections: Shares::new(limits.connections, limits.connections_per_source),
            rates: Rates::new(limits.requests_per_second),
            replays: Arc::clone(engine.replays()),
            access: AccessCheck::default(),
            metrics: Metrics::default(),
            readiness: Readiness::default(),
            limits,
            engine,
        })
    }
}

/// Tells the audit trail of requests that proved nothing and have no line of their own, until the server stops.
async fn sum_up_failures(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    while timeout(SUM_EVERY, listener::told(&mut stopped))
        .await
        .is_err()
    {
        shared.access.sum_up(&shared.engine);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ServerError::Listen(address, error))
}

fn take_over(socket: std::net::TcpListener) -> std::io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn local(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

//! Connections: each its own task, bounded in number and in time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::{Shared, route};

/// What is served on a port.
#[derive(Clone)]
pub(super) enum Port {
    Metrics,
    Tls(TlsAcceptor),
}

/// After an error that is the machine's, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the server stops.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    // Where the server is gone without a word, it has stopped too.
    let _told = stopped.wait_for(|stopped| *stopped).await.is_ok();
}

/// Serves until the server stops, and until every connection has ended then.
pub(super) async fn serve(
    listener: TcpListener,
    port: Port,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = told(&mut stopped) => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // An address of IPv4 that came by IPv6's port is what it is.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let Some(slot) = shared.connections.take(address.ip(), 1) else {
            shared.metrics.refuse_connection();
            continue;
        };
        let (port, shared, stopped) = (port.clone(), Arc::clone(&shared), stopped.clone());
        connections.spawn(async move {
            connection(stream, address, port, shared, stopped).await;
            drop(slot);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    port: Port,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    // Answers are one write each: nothing is gained by waiting for more.
    let _ok = stream.set_nodelay(true);
    match port {
        Port::Metrics => http(stream, address, false, shared, stopped).await,
        Port::Tls(tls) => {
            let mut ending = stopped.clone();
            let handshake = timeout(shared.limits.handshake, tls.accept(stream));
            let stream = tokio::select! {
                () = told(&mut ending) => return,
                stream = handshake => stream,
            };
            match stream {
                Ok(Ok(stream)) => http(stream, address, true, shared, stopped).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS"),
                Err(_late) => tracing::debug!(%address, "no TLS in time"),
            }
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let grace = shared.limits.grace;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.idle)
        .max_header_size(shared.limits.head)
        .max_buf_size(shared.limits.head.max(64 * 1024));
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let answer: Response<Full<Bytes>> = if tls {
                route::public(&shared, address, request).await
            } else {
                route::metrics(&shared, &request).await
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            match timeout(grace, connection).await {
                Ok(ended) => ended,
                Err(_late) => return tracing::warn!(%address, "a request did not end in time"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "a connection ended badly");
    }
}

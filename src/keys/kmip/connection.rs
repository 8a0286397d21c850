//! One connection to a KMIP server: TLS over TCP, each exchange within a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use zeroize::Zeroizing;

use super::failure::{self, Failure};
use super::message::tag;
use super::ttlv::{self, HEAD_LEN};
use super::uri::Place;
use crate::keys::error::KeyError;
use crate::keys::service::names;

/// A connection whose TLS handshake is done.
#[derive(Debug)]
pub(super) struct Connection {
    server: String,
    tls: StreamOwned<ClientConnection, Timed>,
}

/// A stream whose reads and writes fail once the time is up, however slowly bytes trickle in.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// `Unavailable` where there is no such host, nobody listens, the time is up, or the server cannot be
    /// trusted; `Denied` where it does not trust this machine.
    pub(super) fn open(
        place: &Place,
        config: Arc<ClientConfig>,
        within: Duration,
    ) -> Result<Self, Failure> {
        let server = place.server();
        let name = ServerName::try_from(place.host.clone())
            .map_err(|error| KeyError::config("no such host name").caused_by(error))?;
        let deadline = deadline(within);
        let failed = |error| failure::of_io(&server, "connecting", error);
        let stream = connect(place, deadline).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let client = ClientConnection::new(config, name).map_err(io::Error::other);
        let tls = StreamOwned::new(client.map_err(failed)?, Timed { stream, deadline });
        let mut connection = Self { server, tls };
        while connection.tls.conn.is_handshaking() {
            let Self { tls, .. } = &mut connection;
            if let Err(error) = tls.conn.complete_io(&mut tls.sock) {
                return Err(connection.failed("the TLS handshake", error));
            }
        }
        Ok(connection)
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// `Closed` where the server had closed the connection and nothing came; `Unavailable` where the time
    /// is up, or what came is no KMIP or is cut.
    pub(super) fn exchange(
        &mut self,
        request: &[u8],
        within: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.tls.sock.deadline = deadline(within);
        let sent = self.tls.write_all(request).and_then(|()| self.tls.flush());
        sent.map_err(|error| self.failed("sending", error))?;
        let mut head = [0; HEAD_LEN];
        let (first, others) = head.split_at_mut(1);
        let begun = self.tls.read_exact(first);
        begun.map_err(|error| self.failed("waiting for an answer", error))?;
        self.tls
            .read_exact(others)
            .map_err(|error| self.cut(error))?;
        let whole = ttlv::message_len(&head, tag::RESPONSE_MESSAGE)
            .map_err(|error| Failure::garbage(&error.to_string()))?;
        let mut response = Zeroizing::new(vec![0; whole]);
        let (place, rest) = response.split_at_mut(HEAD_LEN);
        place.copy_from_slice(&head);
        self.tls.read_exact(rest).map_err(|error| self.cut(error))?;
        Ok(response)
    }

    /// A server that has hung up may have said why, in an alert that is still to be read.
    fn failed(&mut self, what: &str, error: io::Error) -> Failure {
        let failure = failure::of_io(&self.server, what, error);
        if !matches!(failure, Failure::Closed) {
            return failure;
        }
        let Self { tls, server } = self;
        while tls.conn.read_tls(&mut tls.sock).is_ok_and(|len| len > 0) {
            if let Err(alert) = tls.conn.process_new_packets() {
                return failure::of_io(server, what, io::Error::other(alert));
            }
        }
        failure
    }

    fn cut(&self, error: io::Error) -> Failure {
        match failure::of_io(&self.server, "reading an answer", error) {
            Failure::Closed => Failure::garbage("it is cut"),
            other @ (Failure::Known(_) | Failure::Refused(_)) => other,
        }
    }
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        left(self.deadline)
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Tries every address of the host; the error is the last one's.
fn connect(place: &Place, deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in names::addresses(&place.host)? {
        let address = SocketAddr::new(address, place.port);
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn deadline(within: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(within).unwrap_or(now)
}

/// A timeout of zero would mean none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

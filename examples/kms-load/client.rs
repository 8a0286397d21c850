//! HTTP/1.1 over TLS, as much of it as answers of a few hundred bytes need.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS that trusts the certificates of a file.
pub(crate) fn trusting(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A connection that stays open.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    answer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(tls: &TlsConnector, address: &str) -> Self {
        let (host, _port) = address.rsplit_once(':').unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: tls.connect(name, stream).await.unwrap(),
            answer: Vec::with_capacity(4096),
        }
    }

    /// Sends a request and waits for its answer, which must be 200; gives its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.unwrap();
        self.stream.flush().await.unwrap();
        self.answer.clear();
        let (head, len) = loop {
            let read = self.stream.read_buf(&mut self.answer).await.unwrap();
            assert_ne!(read, 0, "the server hung up");
            if let Some(framing) = framing(&self.answer) {
                break framing;
            }
        };
        while self.answer.len() < head + len {
            let read = self.stream.read_buf(&mut self.answer).await.unwrap();
            assert_ne!(read, 0, "the server hung up");
        }
        let text = || String::from_utf8_lossy(&self.answer);
        assert!(self.answer.starts_with(b"HTTP/1.1 200 "), "{}", text());
        &self.answer[head..]
    }
}

/// The lengths of head and body, once the head is there.
fn framing(answer: &[u8]) -> Option<(usize, usize)> {
    let head = answer.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let lines = std::str::from_utf8(&answer[..head]).unwrap().lines();
    let len = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _value)| name.eq_ignore_ascii_case("content-length"));
    let (_name, len) = len.expect("answers of a known length");
    Some((head, len.trim().parse().unwrap()))
}

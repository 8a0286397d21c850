//! A client that signs its requests and sends each over a connection of its own.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::signed::{Signer, written};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that must be good.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    signer: Signer,
    tls: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(address: &str, ca: &Path, id: String, secret: String) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            signer: Signer {
                host: address.to_owned(),
                id,
                secret,
            },
            tls: Arc::new(tls),
        }
    }

    pub(crate) fn aws(&self, operation: &str, body: &Value) -> Answer {
        self.try_aws(operation, body).expect("an answer")
    }

    /// `None` where the server does not answer.
    pub(crate) fn try_aws(&self, operation: &str, body: &Value) -> Option<Answer> {
        let request = self.signer.aws(operation, &body.to_string());
        self.send(&request).ok()
    }

    /// A request to a server of this name.
    pub(crate) fn alibaba_as(&self, host: &str, action: &str, query: &str) -> Vec<u8> {
        let signer = Signer {
            host: host.to_owned(),
            ..self.signer.clone()
        };
        signer.alibaba(action, query)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let request = written(path, &[("host", &self.signer.host)], "");
        let request = String::from_utf8(request).unwrap();
        let request = request.replacen("POST", "GET", 1);
        self.send(request.as_bytes()).expect("an answer")
    }

    pub(crate) fn send(&self, request: &[u8]) -> io::Result<Answer> {
        let (host, _port) = self.signer.host.rsplit_once(':').unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        let tcp = TcpStream::connect(&self.signer.host)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.write_all(request)?;
        read(&mut stream)
    }
}

fn read(stream: &mut impl io::Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let len = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..len]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let told = head.split_once("content-length: ").unwrap().1;
            let told: usize = told.lines().next().unwrap().parse().unwrap();
            if body.len() >= told {
                return Ok(Answer {
                    status: head["http/1.1 ".len()..][..3].parse().unwrap(),
                    // No JSON where there is nothing, and in what is for people.
                    body: serde_json::from_str(body).unwrap_or_default(),
                });
            }
        }
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

//! A server that is not what it seems: TLS as it ought to be, and behind it whatever a test says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::pykmip::Certificates;
use super::ttlv::HEAD_LEN;
use super::{KmipOptions, KmipProvider};
use std::time::Duration;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A port where `serve` gets each connection, in a thread that ends with the process of the tests.
pub(super) struct Double {
    pub(super) certificates: Certificates,
    pub(super) port: u16,
}

impl Double {
    /// Gives each connection to `serve`, before anything is read.
    pub(super) fn raw(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self {
            certificates: Certificates::new(),
            port,
        }
    }

    /// Shakes hands by the certificate `name`, reads a request, and gives it to `answer`.
    pub(super) fn answering(
        name: &str,
        answer: impl Fn(&mut Tls, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        let certificates = Certificates::new();
        certificates.issue("ca", "elsewhere", "elsewhere");
        let config = server_config(&certificates, name);
        let mut double = Self::raw(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            while let Some(request) = request(&mut tls) {
                answer(&mut tls, &request);
            }
        });
        double.certificates = certificates;
        double
    }

    /// A provider whose calls may take two seconds.
    pub(super) fn open(&self) -> KmipProvider {
        let options = KmipOptions {
            files: self.certificates.files("client"),
            within: Duration::from_secs(2),
            ..KmipOptions::default()
        };
        let uri = format!("kmip://127.0.0.1:{}/files", self.port);
        KmipProvider::open(&uri.parse().unwrap(), &options).unwrap()
    }
}

fn server_config(certificates: &Certificates, name: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificate = |name: &str| {
        CertificateDer::from_pem_file(certificates.path(&format!("{name}.pem"))).unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca")).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_file(certificates.path(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate(name)], key);
    Arc::new(config.unwrap())
}

/// A request, or none where the client is gone.
fn request(tls: &mut Tls) -> Option<Vec<u8>> {
    let mut request = vec![0; HEAD_LEN];
    tls.read_exact(&mut request).ok()?;
    let len = u32::from_be_bytes(*request.last_chunk().unwrap());
    request.resize(HEAD_LEN + len as usize, 0);
    tls.read_exact(&mut request[HEAD_LEN..]).ok()?;
    Some(request)
}

/// Sends bytes; the client may have hung up.
pub(super) fn send(tls: &mut Tls, bytes: &[u8]) {
    let _sent = tls.write_all(bytes).and_then(|()| tls.flush());
}

//! What TLS needs of this machine: who may vouch for the server, and this machine's own certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::{self, sign};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use super::uri::{KmipFile, KmipFiles};
use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::pem::{self, Block};

/// TLS 1.2 or 1.3 with both sides' certificates. Read anew for each connection, so that a renewed
/// certificate is used without a new mount.
///
/// # Errors
/// `Config` where a file is not said, cannot be read, may be changed (or, of the key, read) by others, or
/// holds something else; `NotFound` where a certificate's file is not there.
pub(super) fn tls(files: &KmipFiles) -> Result<Arc<ClientConfig>, KeyError> {
    let roots = roots(&files.ca)?;
    let own = SingleCertAndKey::from(certified(files)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| KeyError::config("TLS cannot be set up").caused_by(error))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(own));
    Ok(Arc::new(config))
}

fn roots(file: &Option<KmipFile>) -> Result<RootCertStore, KeyError> {
    const WHAT: &str = "CA file";
    let (path, blocks) = blocks(
        WHAT,
        file,
        "ENVELOPEFS_KMIP_CA_FILE",
        "?ca=",
        Guard::Trusted,
    )?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&blocks) {
        let added = roots.add(certificate);
        added.map_err(|error| refused(WHAT, path, "holds no certificate").caused_by(error))?;
    }
    if roots.is_empty() {
        return Err(refused(WHAT, path, "holds no certificate"));
    }
    Ok(roots)
}

fn certified(files: &KmipFiles) -> Result<CertifiedKey, KeyError> {
    const CERT: &str = "client certificate";
    const KEY: &str = "client key";
    let (cert, certs) = blocks(
        CERT,
        &files.cert,
        "ENVELOPEFS_KMIP_CERT_FILE",
        "?cert=",
        Guard::Trusted,
    )?;
    let chain: Vec<_> = certificates(&certs).collect();
    if chain.is_empty() {
        return Err(refused(CERT, cert, "holds no certificate"));
    }
    let (path, keys) = blocks(
        KEY,
        &files.key,
        "ENVELOPEFS_KMIP_KEY_FILE",
        "?key=",
        Guard::Private,
    )?;
    let key = keys
        .iter()
        .find(|block| block.label.ends_with("PRIVATE KEY"));
    let key = key.ok_or_else(|| refused(KEY, path, "holds no private key"))?;
    let key = signing_key(key).map_err(|why| refused(KEY, path, why))?;
    let certified = CertifiedKey::new(chain, key);
    let matching = certified.keys_match();
    matching.map_err(|error| {
        let why = format!("is not the key of certificate {}", cert.display());
        refused(KEY, path, &why).caused_by(error)
    })?;
    Ok(certified)
}

/// The key is read where it lies: no copy of it stays behind.
fn signing_key(block: &Block) -> Result<Arc<dyn SigningKey>, &'static str> {
    let der = match block.label.as_str() {
        "PRIVATE KEY" => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&block.der[..])),
        "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(&block.der[..])),
        "EC PRIVATE KEY" => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(&block.der[..])),
        _ => {
            return Err(
                "is encrypted: take the passphrase off (openssl pkey -in OLD -out NEW, under umask 077)",
            );
        }
    };
    sign::any_supported_type(&der).map_err(|_error| "is no RSA, ECDSA or Ed25519 key")
}

fn certificates(blocks: &[Block]) -> impl Iterator<Item = CertificateDer<'static>> {
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    certificates.map(|block| CertificateDer::from(block.der.to_vec()))
}

fn blocks<'a>(
    what: &str,
    file: &'a Option<KmipFile>,
    variable: &str,
    query: &str,
    guard: Guard,
) -> Result<(&'a Path, Vec<Block>), KeyError> {
    let (path, guard) = match file {
        Some(KmipFile::Credential(path)) => (path, Guard::Service),
        Some(KmipFile::File(path)) => (path, guard),
        None => {
            return Err(KeyError::config(format!(
                "no {what}: name it by {variable}, or by {query} where the URI is given"
            )));
        }
    };
    let bytes = local_file::read(what, path, guard)?;
    let blocks = pem::blocks(&bytes).map_err(|why| refused(what, path, why))?;
    Ok((path, blocks))
}

fn refused(what: &str, path: &Path, why: &str) -> KeyError {
    KeyError::config(format!("{what} {} {why}", path.display()))
}

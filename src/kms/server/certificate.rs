//! The server's certificate and private key: read from PEM files, made where there are none, and read
//! again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use super::listener;
use crate::crypto::random;

/// How often the files are looked at.
pub(super) const WATCHED_EVERY: Duration = Duration::from_secs(10);

/// For how long a certificate made here is good.
const YEARS: i32 = 10;

/// More than any chain of certificates has.
const LEN_MAX: u64 = 1024 * 1024;

/// Where the certificate and its key are, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The server's certificate, and behind it those that it was issued by.
    pub certificate: PathBuf,
    /// The private key, in any of the forms that OpenSSL writes, without a passphrase.
    pub key: PathBuf,
}

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that is not there or cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// A file without a certificate.
    #[error("{}: no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// A file without a private key.
    #[error("{}: no private key in PEM", .0.display())]
    NoKey(PathBuf),
    /// The certificate is not the key's, or one of them is of a kind that is not supported.
    #[error("{} and {}: {error}", identity.certificate.display(), identity.key.display())]
    Pair {
        /// Which.
        identity: Identity,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// A name that could not stand in a certificate.
    #[error("the certificate cannot be made: {0}")]
    Issue(rcgen::Error),
    /// The library refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// A certificate, its key, and the authority that issued it and nothing else: its own key is gone.
pub struct Issued {
    /// What clients are to trust, in PEM.
    pub authority: String,
    /// In PEM.
    pub certificate: String,
    /// PKCS#8, in PEM.
    pub key: Zeroizing<String>,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

impl Issued {
    /// Made for these host names and addresses, with ECDSA keys.
    ///
    /// # Errors
    /// [`CertificateError::Issue`] where a name could not stand in a certificate.
    pub fn new(names: Vec<String>) -> Result<Self, CertificateError> {
        Self::made(names).map_err(CertificateError::Issue)
    }

    fn made(names: Vec<String>) -> Result<Self, rcgen::Error> {
        let mut parameters = parameters(names, "envelopekms".to_owned())?;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let authority = authority()?;
        let key = KeyPair::generate()?;
        Ok(Self {
            certificate: parameters.signed_by(&key, &authority)?.pem(),
            authority: authority.pem(),
            key: Zeroizing::new(key.serialize_pem()),
        })
    }
}

/// An authority of a name of its own: a client may trust those of several services.
fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let name = HEXLOWER.encode(&random::array::<8>());
    let mut parameters = parameters(Vec::new(), format!("envelopekms authority {name}"))?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
}

fn parameters(names: Vec<String>, subject: String) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = CertificateParams::new(names)?;
    let yesterday = Timestamp::now().saturating_sub(SignedDuration::from_hours(24));
    let from = TimeZone::UTC.to_datetime(yesterday.unwrap_or(Timestamp::UNIX_EPOCH));
    let [month, day] = [from.month(), from.day().min(28)].map(i8::unsigned_abs);
    let year = i32::from(from.year());
    parameters.not_before = rcgen::date_time_ymd(year, month, day);
    parameters.not_after = rcgen::date_time_ymd(year + YEARS, month, day);
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, subject);
    Ok(parameters)
}

/// The certificate that new connections get.
#[derive(Debug)]
pub(super) struct Reloading {
    identity: Identity,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files looked like when they were last read.
    seen: Mutex<Option<Stamp>>,
}

/// What tells a file from what it was before.
type Stamp = [(SystemTime, u64); 2];

impl Reloading {
    pub(super) fn read(identity: Identity) -> Result<Self, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let seen = stamp(&identity);
        let current = read(&identity, &provider)?;
        Ok(Self {
            identity,
            provider,
            current: RwLock::new(Arc::new(current)),
            seen: Mutex::new(seen),
        })
    }

    pub(super) fn reload(&self) -> Result<(), CertificateError> {
        let stamp = stamp(&self.identity);
        *self.seen.lock() = stamp;
        let read = read(&self.identity, &self.provider)?;
        *self.current.write() = Arc::new(read);
        Ok(())
    }

    fn reload_if_changed(&self) {
        if *self.seen.lock() == stamp(&self.identity) {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!("the new certificate is used"),
            Err(error) => tracing::error!(%error, "the certificate stays the one it was"),
        }
    }

    /// TLS 1.2 and 1.3 with this certificate.
    pub(super) fn tls(self: &Arc<Self>) -> Result<TlsAcceptor, CertificateError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

/// Looks at the files until the server stops.
pub(super) async fn watch(certificate: Arc<Reloading>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = listener::told(&mut stopped) => return,
            () = tokio::time::sleep(WATCHED_EVERY) => {}
        }
        let certificate = Arc::clone(&certificate);
        let looked = tokio::task::spawn_blocking(move || certificate.reload_if_changed());
        if looked.await.is_err() {
            tracing::error!("the certificate could not be looked at");
        }
    }
}

fn stamp(identity: &Identity) -> Option<Stamp> {
    let of = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    Some([of(&identity.certificate)?, of(&identity.key)?])
}

fn read(identity: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let no_certificate = || CertificateError::NoCertificate(identity.certificate.clone());
    let pem = contents(&identity.certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|_error| no_certificate())?;
    if chain.is_empty() {
        return Err(no_certificate());
    }
    let pem = contents(&identity.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_error| CertificateError::NoKey(identity.key.clone()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| CertificateError::Pair {
        identity: identity.clone(),
        error,
    })
}

fn contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let failed = |error| CertificateError::File {
        path: path.to_owned(),
        error,
    };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > LEN_MAX {
        return Err(failed(std::io::ErrorKind::InvalidData.into()));
    }
    fs::read(path).map(Zeroizing::new).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, made: &Issued) -> Identity {
        let identity = Identity {
            certificate: folder.join("tls.pem"),
            key: folder.join("tls.key"),
        };
        fs::write(&identity.certificate, &made.certificate).unwrap();
        fs::write(&identity.key, made.key.as_bytes()).unwrap();
        identity
    }

    fn made() -> Issued {
        Issued::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
    }

    #[test]
    fn a_changed_pair_is_used_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let identity = write(folder.path(), &made());
        let reloading = Reloading::read(identity.clone()).unwrap();
        let first = reloading.current.read().cert.clone();
        write(folder.path(), &made());
        reloading.reload().unwrap();
        let second = reloading.current.read().cert.clone();
        assert_ne!(first, second);
        fs::write(&identity.key, "nothing").unwrap();
        let error = reloading.reload().unwrap_err();
        assert!(matches!(error, CertificateError::NoKey(_)), "{error}");
        assert_eq!(reloading.current.read().cert, second);
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (made(), made());
        let identity = write(folder.path(), &one);
        fs::write(&identity.key, other.key.as_bytes()).unwrap();
        let error = Reloading::read(identity.clone()).unwrap_err();
        assert!(matches!(error, CertificateError::Pair { .. }), "{error}");
        fs::write(&identity.certificate, "").unwrap();
        let error = Reloading::read(identity.clone()).unwrap_err();
        assert!(
            matches!(error, CertificateError::NoCertificate(_)),
            "{error}"
        );
        fs::remove_file(&identity.certificate).unwrap();
        let error = Reloading::read(identity).unwrap_err();
        assert!(matches!(error, CertificateError::File { .. }), "{error}");
    }

    /// An authority that vouches for itself, and a certificate that does not.
    #[test]
    fn the_authority_issued_the_certificate_and_is_another() {
        let (one, other) = (made(), made());
        let parsed = |pem: &str| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            der.as_ref().to_vec()
        };
        assert_ne!(parsed(&one.authority), parsed(&one.certificate));
        assert_ne!(parsed(&one.authority), parsed(&other.authority));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("leaf"), &one.certificate).unwrap();
        for (authority, trusted) in [
            (&one.authority, true),
            (&other.authority, false),
            (&one.certificate, false),
        ] {
            fs::write(path("ca"), authority).unwrap();
            let verified = std::process::Command::new("openssl")
                .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
                .args([path("ca"), path("leaf")])
                .output()
                .expect("this test needs openssl: apt-get install openssl");
            assert_eq!(verified.status.success(), trusted, "{verified:?}");
        }
    }

    #[test]
    fn names_that_are_none_are_refused_and_keys_not_shown() {
        assert!(Issued::new(vec!["中".to_owned()]).is_err());
        assert_eq!(format!("{:?}", made()), "Issued { .. }");
    }
}

//! The private keys that this machine has: in PEM files, or in PKCS#11 tokens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::Unwrapped;
use super::public::{self, PublicKey};
use crate::keys::between::does_not_open;
use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::pem;
use crate::keys::pkcs11::{self, Blob, Components, Mechanism, Pkcs11Options, Pkcs11Provider};
use crate::keys::provider::KeyProvider as _;
use crate::units::KeyUri;

/// Sources are looked at for an unknown version at most this often: versions stand in headers, where
/// anyone who can write the ciphertext may invent them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateKeySource {
    /// A PEM file in the folder of a systemd service's credentials.
    Credential(PathBuf),
    /// A PEM file that only its owner may use: this user, or root. It may hold several keys.
    File(PathBuf),
    /// A key in a token: a `pkcs11:` URI, which may have a query.
    Token(String),
}

/// A private key and its public half.
struct PrivateKey {
    public: PublicKey,
    place: Place,
}

enum Place {
    Memory(OaepPrivateDecryptingKey),
    Token(Arc<Pkcs11Provider>),
}

/// The private keys of this machine.
pub(super) struct PrivateKeys {
    sources: Vec<PrivateKeySource>,
    pkcs11: Pkcs11Options,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    keys: Arc<[PrivateKey]>,
    /// Why a source gave none.
    failure: Option<KeyError>,
    looked: Option<Instant>,
}

impl fmt::Debug for PrivateKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKeys").field(&self.sources).finish()
    }
}

impl PrivateKeys {
    /// Nothing is read yet.
    pub(super) fn new(sources: &[PrivateKeySource], pkcs11: &Pkcs11Options) -> Self {
        Self {
            sources: sources.to_vec(),
            pkcs11: pkcs11.clone(),
            found: Mutex::default(),
        }
    }

    /// Takes all of them out of memory; they are looked for again.
    pub(super) fn forget(&self) {
        let found = std::mem::take(&mut *self.found.lock());
        for key in found.keys.iter() {
            if let Place::Token(token) = &key.place {
                token.forget();
            }
        }
    }

    /// Whether this machine was told of none.
    pub(super) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many were found.
    pub(super) fn len(&self) -> usize {
        self.found.lock().keys.len()
    }

    /// Whether the one of this version can be had.
    pub(super) fn has(&self, version: &str) -> bool {
        let keys = self.keys_with(version);
        keys.is_ok_and(|keys| position(&keys, version).is_some())
    }

    /// What the private key of this version makes of a wrapped key; `None` where it is not here.
    ///
    /// # Errors
    /// `Corrupt` where it does not open; what a token answers; why a source gave no key, where the one of
    /// this version was not found.
    pub(super) fn unwrap(
        &self,
        version: &str,
        blob: &Blob<'_>,
    ) -> Result<Option<Unwrapped>, KeyError> {
        let keys = self.keys_with(version)?;
        let key = position(&keys, version).and_then(|at| keys.get(at));
        let Some(PrivateKey { public, place }) = key else {
            return Ok(None);
        };
        let between = match place {
            Place::Memory(key) => decrypt(key, blob)?,
            Place::Token(token) => token.unwrap_outside(public.components(), blob, &|secret| {
                public.encrypt(blob.mechanism, secret)
            })?,
        };
        Ok(Some((*public.fingerprint(), between)))
    }

    /// The keys found so far; looks again for a version that is not among them.
    fn keys_with(&self, version: &str) -> Result<Arc<[PrivateKey]>, KeyError> {
        // Held while looking, on purpose: a token is asked for its PIN once.
        let mut found = self.found.lock();
        let due = found.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if position(&found.keys, version).is_none() && due && !self.is_empty() {
            let looked = self.look();
            // A source that fails at this moment takes nothing away that it gave before.
            if looked.failure.is_some() && position(&looked.keys, version).is_none() {
                (found.failure, found.looked) = (looked.failure, looked.looked);
            } else {
                *found = looked;
            }
        }
        match &found.failure {
            Some(failure) if position(&found.keys, version).is_none() => Err(failure.clone()),
            _ => Ok(Arc::clone(&found.keys)),
        }
    }

    fn look(&self) -> Found {
        let (mut keys, mut failure) = (Vec::new(), None);
        for source in &self.sources {
            match self.read(source) {
                Ok(more) => keys.extend(more),
                Err(error) => {
                    tracing::debug!(%error, "no private key from one source");
                    failure.get_or_insert(error);
                }
            }
        }
        Found {
            keys: keys.into(),
            failure,
            looked: Some(Instant::now()),
        }
    }

    fn read(&self, source: &PrivateKeySource) -> Result<Vec<PrivateKey>, KeyError> {
        match source {
            PrivateKeySource::Credential(path) => of_file(path, Guard::Service),
            PrivateKeySource::File(path) => of_file(path, Guard::Private),
            PrivateKeySource::Token(text) => self.of_token(text),
        }
    }

    fn of_token(&self, text: &str) -> Result<Vec<PrivateKey>, KeyError> {
        let uri: KeyUri = text.parse().map_err(|error| {
            KeyError::config("the private key's URI: expected pkcs11:token=…;object=…")
                .caused_by(error)
        })?;
        if uri.scheme() != pkcs11::SCHEME {
            return Err(KeyError::config(
                "the private key's URI: expected pkcs11:token=…;object=…",
            ));
        }
        let (stored, machine) = pkcs11::given(&uri)?;
        let mut options = self.pkcs11.clone();
        options.of_key.insert(stored.clone(), machine);
        let token = Arc::new(Pkcs11Provider::open(&stored, &options)?);
        let halves = token.public_halves()?;
        let keys: Result<Vec<_>, KeyError> =
            halves.iter().map(|half| of_half(half, &token)).collect();
        let keys = keys.map_err(|error| error.at(&stored))?;
        if keys.is_empty() {
            return Err(KeyError::not_found("it names no RSA private key").at(&stored));
        }
        Ok(keys)
    }
}

fn of_half(half: &Components, token: &Arc<Pkcs11Provider>) -> Result<PrivateKey, KeyError> {
    let public = PublicKey::of_components(half)
        .map_err(|why| KeyError::config(format!("a private key in the token {why}")))?;
    Ok(PrivateKey {
        public,
        place: Place::Token(Arc::clone(token)),
    })
}

fn position(keys: &[PrivateKey], version: &str) -> Option<usize> {
    keys.iter().position(|key| key.public.version() == version)
}

/// The keys of a PEM file; what else it holds is passed over.
fn of_file(path: &Path, guard: Guard) -> Result<Vec<PrivateKey>, KeyError> {
    let refused = |why: &str| KeyError::config(format!("private key {} {why}", path.display()));
    let bytes = local_file::read("private key", path, guard)?;
    let mut keys = Vec::new();
    for block in pem::blocks(&bytes).map_err(|why| refused(&with_advice(why, path)))? {
        match block.label.as_str() {
            "PRIVATE KEY" => keys.push(of_pkcs8(&block.der).map_err(|why| refused(&why))?),
            "ENCRYPTED PRIVATE KEY" => return Err(refused(&with_advice("is encrypted", path))),
            "RSA PRIVATE KEY" => {
                return Err(refused(&format!(
                    "is of the old form; convert it: openssl pkcs8 -topk8 -nocrypt -in {} -out NEW",
                    path.display()
                )));
            }
            label if label.ends_with("PRIVATE KEY") => return Err(refused("is no RSA key")),
            _other => {}
        }
    }
    if keys.is_empty() {
        return Err(refused(
            "holds no private key: expected -----BEGIN PRIVATE KEY-----",
        ));
    }
    Ok(keys)
}

fn with_advice(why: &str, path: &Path) -> String {
    if !why.contains("encrypted") {
        return why.to_owned();
    }
    format!(
        "{why}; take the passphrase off (openssl pkey -in {} -out NEW, under umask 077), and protect it as a systemd credential or in a token instead",
        path.display()
    )
}

fn of_pkcs8(der: &[u8]) -> Result<PrivateKey, String> {
    let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|why| public::rejected(&why))?;
    let public = PublicKey::new(key.public_key())?;
    let key = OaepPrivateDecryptingKey::new(key);
    Ok(PrivateKey {
        public,
        place: Place::Memory(key.map_err(|_unspecified| "is no RSA key".to_owned())?),
    })
}

fn decrypt(
    key: &OaepPrivateDecryptingKey,
    blob: &Blob<'_>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    debug_assert!(matches!(
        blob.mechanism,
        Mechanism::OaepSha1 | Mechanism::OaepSha256
    ));
    let mut plain = Zeroizing::new(vec![0; key.min_output_size()]);
    let algorithm = public::oaep(blob.mechanism);
    let decrypted = key.decrypt(algorithm, blob.by_token, &mut plain, None);
    let len = decrypted.map_err(|_unspecified| does_not_open())?.len();
    plain.truncate(len);
    Ok(plain)
}

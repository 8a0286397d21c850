//! `pkcs11:token=…;object=…` (RFC 7512): a key in an HSM, a smart card or a TPM, through its vendor's
//! PKCS#11 module. The key never leaves the token.
//!
//! A stored URI says which key. Where this machine has the module and the PIN is said on the machine
//! ([`Pkcs11Options`]): a volume that could say it would choose code to be run and files to be read.
//!
//! A label may name several keys: each is a version, called by its CKA_ID in hexadecimal. New wraps use the
//! newest: the latest CKA_START_DATE, and among equals the greatest CKA_ID.

mod blob;
mod cipher;
mod failure;
pub mod hsm;
mod module;
mod object;
mod outside;
mod pin;
mod token;
mod uri;

#[cfg(test)]
mod alone;
#[cfg(test)]
pub(crate) mod softhsm;
#[cfg(test)]
mod swtpm;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tpm_tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::session::Session;
use parking_lot::Mutex;

use crate::crypto::secret::SecretKey;
use crate::keys::between::{self, does_not_open};
use crate::keys::error::KeyError;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;
use failure::Failure;
use module::Module;
use object::{Key, KeySet};
use pin::Pin;
use token::{Access, Epoch, Token};
use uri::KeyPath;

pub(super) use blob::{Blob, MODULUS_MAX, aad};
pub(super) use cipher::Mechanism;
pub(super) use outside::Components;
#[cfg(test)]
pub(super) use softhsm::{PIN, SoftHsm, with_token};

pub use module::finalize_all;
pub use pin::PinSource;
pub use uri::{Machine, given};

/// The scheme of the URIs.
pub const SCHEME: &str = "pkcs11";

/// The token is searched for an unknown version at most this often: versions stand in headers,
/// where anyone who can write the ciphertext may invent them.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// What this machine has for PKCS#11 keys.
#[derive(Clone, Debug, Default)]
pub struct Pkcs11Options {
    /// The module of keys that have none of their own.
    pub module: Option<PathBuf>,
    /// Where the PIN of such keys comes from.
    pub pin: PinSource,
    /// What was said for one key: by the query of the URI that a person gave.
    pub of_key: HashMap<KeyUri, Machine>,
}

impl Pkcs11Options {
    /// The module of a key.
    ///
    /// # Errors
    /// `Config`: none was named.
    pub fn module_of(&self, uri: &KeyUri) -> Result<PathBuf, KeyError> {
        let own = self
            .of_key
            .get(uri)
            .and_then(|machine| machine.module.clone());
        own.or_else(|| self.module.clone()).ok_or_else(|| {
            KeyError::config(
                "no PKCS#11 module: name the vendor's by ENVELOPEFS_PKCS11_MODULE, or by ?module-path= where the URI is given",
            )
        })
    }

    /// The same, with what was said for one URI.
    fn with(&self, uri: &KeyUri, machine: Machine) -> Self {
        let mut options = self.clone();
        options.of_key.insert(uri.clone(), machine);
        options
    }

    /// Where the PIN of a key comes from.
    pub fn pin_of(&self, uri: &KeyUri) -> PinSource {
        let own = self
            .of_key
            .get(uri)
            .and_then(|machine| machine.pin_file.clone());
        own.map_or_else(|| self.pin.clone(), PinSource::File)
    }
}

/// Work with the keys of a token.
type Work<'a, T> = &'a dyn Fn(&Session, &KeySet) -> Result<T, Failure>;

/// A key in a token.
#[derive(Debug)]
pub struct Pkcs11Provider {
    uri: KeyUri,
    wanted: KeyPath,
    token: Token,
    keys: Mutex<Option<Arc<KeySet>>>,
    searched: Mutex<Option<Instant>>,
}

impl Pkcs11Provider {
    /// Loads the module. The token is looked for and logged in to with the first use of the key.
    ///
    /// # Errors
    /// `Config` for a URI that does not name a key by RFC 7512 or has a query, and where there is no
    /// module.
    pub fn open(uri: &KeyUri, options: &Pkcs11Options) -> Result<Self, KeyError> {
        let open = || {
            let wanted = KeyPath::stored(uri)?;
            let module = Module::load(&options.module_of(uri)?)?;
            let pin = Pin::new(options.pin_of(uri));
            Ok(Self {
                uri: uri.clone(),
                wanted: wanted.clone(),
                token: Token::new(module, wanted, pin, Access::Use),
                keys: Mutex::new(None),
                searched: Mutex::new(None),
            })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    /// Does some work with the keys of the token.
    fn with_keys<T>(&self, what: &str, work: Work<'_, T>) -> Result<T, KeyError> {
        self.told(what, self.in_session(work))
    }

    /// As [`with_keys`](Self::with_keys), for what unwraps. Many modules answer "failed" to a wrapped key that was
    /// altered and to their own trouble alike: where `trial` succeeds after that, it was the wrapped key. The trial has a
    /// session of its own, since tpm2-pkcs11 leaves an operation that failed under way.
    fn unwrapping<T>(&self, work: Work<'_, T>, trial: Work<'_, ()>) -> Result<T, KeyError> {
        let unwrapped = match self.in_session(work) {
            Err(failure) if failure.may_be_bad_data() => Err(match self.in_session(trial) {
                Ok(()) => does_not_open().into(),
                Err(trouble) => trouble,
            }),
            unwrapped => unwrapped,
        };
        self.told("unwrapping", unwrapped)
    }

    fn in_session<T>(&self, work: Work<'_, T>) -> Result<T, Failure> {
        self.token
            .with_session(&|session, epoch| work(session, &*self.keys(session, epoch)?))
    }

    /// The failure for whoever asked, who may ask again: a module in trouble is initialised anew.
    fn told<T>(&self, what: &str, done: Result<T, Failure>) -> Result<T, KeyError> {
        done.map_err(|failure| {
            if failure.is_trouble() {
                self.token.start_anew();
            }
            let token = self.wanted.token_in_words();
            let key = self.wanted.key_in_words();
            let what = format!("{what} by key {key} of {token}");
            failure.into_error(&what).at(&self.uri)
        })
    }

    fn keys(&self, session: &Session, epoch: Epoch) -> Result<Arc<KeySet>, Failure> {
        let known = self.keys.lock().clone();
        match known {
            Some(keys) if keys.epoch == epoch => Ok(keys),
            _ => self.search(session, epoch),
        }
    }

    fn search(&self, session: &Session, epoch: Epoch) -> Result<Arc<KeySet>, Failure> {
        let keys = Arc::new(KeySet::find(session, &self.wanted, epoch)?);
        let first = self.keys.lock().replace(Arc::clone(&keys)).is_none();
        let not_kept = keys.not_kept();
        if first && !not_kept.is_empty() {
            tracing::warn!(
                uri = %self.uri,
                versions = not_kept.join(", "),
                "the token may hand this key out: it is extractable, or not sensitive"
            );
        }
        Ok(keys)
    }

    /// Whether the token may be searched for an unknown version now.
    fn search_due(&self) -> bool {
        let mut searched = self.searched.lock();
        let due = searched.is_none_or(|at| at.elapsed() >= SEARCH_EVERY);
        if due {
            *searched = Some(Instant::now());
        }
        due
    }

    fn unwrap_by(
        &self,
        session: &Session,
        keys: &KeySet,
        (id, blob): (&[u8], &Blob<'_>),
        context: &EncryptionContext,
    ) -> Result<SecretKey, Failure> {
        let searched;
        let mut key = keys.by_id(id);
        if key.is_none() && self.search_due() {
            searched = self.search(session, keys.epoch)?;
            key = searched.by_id(id);
        }
        let key = key.ok_or_else(|| {
            let token = self.wanted.token_in_words();
            let message = format!(
                "{token} has no key {} with id {}",
                self.wanted.key_in_words(),
                object::hex(id)
            );
            KeyError::not_found(message)
        })?;
        if blob.mechanism.class() != key.class {
            return Err(does_not_open().into());
        }
        open(
            session,
            key,
            blob,
            &aad(SCHEME, blob.mechanism, id, context),
        )
    }
}

impl KeyProvider for Pkcs11Provider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        self.with_keys("wrapping", &|session, keys| {
            let key = keys.newest().ok_or(Failure::Changed)?;
            let mechanism = cipher::choose(session, key)?;
            let aad = aad(SCHEME, mechanism, &key.id, context);
            Ok(WrappedDek {
                key_version: key.version(),
                bytes: seal(session, key, mechanism, dek, &aad)?,
            })
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let corrupt = |error: KeyError| error.at(&self.uri);
        let id = object::id_of(&wrapped.key_version)
            .ok_or_else(|| corrupt(KeyError::corrupt("no key version of a PKCS#11 key")))?;
        let blob = Blob::parse(&wrapped.bytes).ok_or_else(|| corrupt(does_not_open()))?;
        self.unwrapping(
            &|session, keys| self.unwrap_by(session, keys, (&id, &blob), context),
            &|session, keys| {
                let key = keys.by_id(&id).ok_or(Failure::Changed)?;
                still_unwraps(session, key, blob.mechanism)
            },
        )
    }

    /// Looks the keys up anew, and wraps and unwraps something.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.with_keys("a trial", &|session, keys| {
            let keys = self.search(session, keys.epoch)?;
            let key = keys.newest().ok_or(Failure::Changed)?;
            let mechanism = cipher::choose(session, key)?;
            cipher::check(session, key, mechanism)?;
            Ok(KeyHealth {
                key_version: key.version(),
                versions: keys.len(),
                mechanism: Some(mechanism.name()),
            })
        })
    }

    fn describe(&self) -> String {
        format!(
            "key {} of {}, by {}",
            self.wanted.key_in_words(),
            self.wanted.token_in_words(),
            self.token.module().path().display()
        )
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.token.forget();
    }
}

/// The data key under the token's key: directly where that binds `aad`, else under a fresh key that
/// the token wraps.
fn seal(
    session: &Session,
    key: &Key,
    mechanism: Mechanism,
    dek: &SecretKey,
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let (by_token, sealed) = if mechanism.binds() {
        let by_token = cipher::wrap(session, key, mechanism, dek.expose(), aad)?;
        (by_token, Vec::new())
    } else {
        between::seal(dek, aad, |between| {
            cipher::wrap(session, key, mechanism, between, aad)
        })?
    };
    let blob = Blob {
        mechanism,
        by_token: &by_token,
        sealed: &sealed,
    };
    Ok(blob.encode())
}

fn open(session: &Session, key: &Key, blob: &Blob<'_>, aad: &[u8]) -> Result<SecretKey, Failure> {
    let unwrapped = cipher::unwrap(session, key, blob.mechanism, blob.by_token, aad)?;
    if blob.mechanism.binds() {
        return Ok(between::key(&unwrapped)?);
    }
    Ok(between::open(&unwrapped, aad, blob.sealed)?)
}

/// Whether the key can do at all what it did not do just now.
fn still_unwraps(session: &Session, key: &Key, mechanism: Mechanism) -> Result<(), Failure> {
    match cipher::check(session, key, mechanism) {
        // Nor can the key have wrapped so in this token, where it can do otherwise.
        Err(trouble) if trouble.is_unsuitable() => {
            cipher::choose(session, key).and_then(|own| cipher::check(session, key, own))
        }
        checked => checked,
    }
}

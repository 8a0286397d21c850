//! One provider for each key URI, opened when first asked for.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::crypto::passphrase::Argon2Params;
use crate::keys::error::KeyError;
use crate::keys::file::{self, FileProvider};
use crate::keys::guarded::Guarded;
use crate::keys::metered::{Metered, ProviderCalls};
use crate::keys::passphrase::{self, PassphraseProvider};
use crate::keys::passphrase_source::{Confirm, Passphrase, PassphraseSource};
use crate::keys::pkcs11::{self, Pkcs11Options, Pkcs11Provider};
use crate::keys::provider::KeyProvider;
use crate::units::KeyUri;

/// What providers need besides their URI.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// Where the passphrase of `passphrase:` comes from.
    pub passphrase: PassphraseSource,
    /// Whether a prompt asks twice; [`Confirm::Yes`] where a volume is made.
    pub confirm: Confirm,
    /// The work for a guess at what `passphrase:` wraps from now on.
    pub argon2: Argon2Params,
    /// Where `pkcs11:` finds modules and PINs.
    pub pkcs11: Pkcs11Options,
    /// Calls a second to one provider, at most; `None`: no bound. A local one is not bound.
    pub rate: Option<NonZeroU32>,
}

/// Calls a second to one provider, where nothing else is said: less than the least quota of the
/// large services for a key, and more than a mount needs.
pub const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(2000).unwrap();

impl Default for ProviderOptions {
    /// A prompt without confirmation, Argon2id's default work, no PKCS#11 module.
    fn default() -> Self {
        Self {
            passphrase: PassphraseSource::Prompt,
            confirm: Confirm::No,
            argon2: Argon2Params::default(),
            pkcs11: Pkcs11Options::default(),
            rate: Some(DEFAULT_RATE),
        }
    }
}

type Opener = fn(&Providers, &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError>;

/// The schemes that this program knows. The one table: errors and help are made of it.
const SCHEMES: [(&str, &str, Opener); 3] = [
    (
        file::SCHEME,
        "file:///path/keyring.json",
        Providers::open_file,
    ),
    (
        passphrase::SCHEME,
        "passphrase:",
        Providers::open_passphrase,
    ),
    (
        pkcs11::SCHEME,
        "pkcs11:token=LABEL;object=LABEL",
        Providers::open_pkcs11,
    ),
];

/// One provider of a URI; locked while it is being opened, which may block.
type Place = Arc<Mutex<Option<Arc<Guarded>>>>;

/// The providers of this process: one instance per URI, its calls counted, the passphrase asked
/// for at most once. A failure to open is not kept: the next one who asks tries again.
#[derive(Debug)]
pub struct Providers {
    passphrase: Arc<Passphrase>,
    argon2: Argon2Params,
    pkcs11: Pkcs11Options,
    rate: Option<NonZeroU32>,
    /// Lock order: `places` → nothing; a place is locked after `places` is free again.
    places: Mutex<HashMap<KeyUri, Place>>,
    /// Which URIs opened something last, by a number that counts up.
    successes: Mutex<HashMap<KeyUri, u64>>,
}

impl Providers {
    /// No provider is opened and no passphrase asked for yet.
    pub fn new(options: ProviderOptions) -> Self {
        let ProviderOptions {
            passphrase,
            confirm,
            argon2,
            pkcs11,
            rate,
        } = options;
        Self {
            passphrase: Arc::new(Passphrase::new(passphrase, confirm)),
            argon2,
            pkcs11,
            rate,
            places: Mutex::default(),
            successes: Mutex::default(),
        }
    }

    /// The provider of `uri`; the same one each time.
    ///
    /// # Errors
    /// `Config` for an unknown scheme, with the known ones named; else those of the provider's own
    /// `open`.
    pub fn open(&self, uri: &KeyUri) -> Result<Arc<Guarded>, KeyError> {
        let place = Arc::clone(self.places.lock().entry(uri.clone()).or_default());
        let mut opened = place.lock();
        if let Some(provider) = &*opened {
            return Ok(Arc::clone(provider));
        }
        let provider = Arc::new(Guarded::new(Metered::new(self.open_new(uri)?), self.rate));
        *opened = Some(Arc::clone(&provider));
        Ok(provider)
    }

    /// A key of this URI has opened what it was for.
    pub fn note_success(&self, uri: &KeyUri) {
        let mut successes = self.successes.lock();
        let last = successes.values().max().copied().unwrap_or(0);
        if let Some(known) = successes.get_mut(uri) {
            if *known < last {
                *known = last.saturating_add(1);
            }
            return;
        }
        successes.insert(uri.clone(), last.saturating_add(1));
    }

    /// Greater for what opened something later; 0 for what never did.
    pub fn last_success(&self, uri: &KeyUri) -> u64 {
        self.successes.lock().get(uri).copied().unwrap_or(0)
    }

    /// Drops the secrets that providers keep in memory; they get at them again when next asked.
    pub fn forget(&self) {
        for provider in self.opened() {
            provider.forget();
        }
        self.passphrase.forget();
    }

    /// Whether the providers of all these URIs answer from memory. One that cannot be opened does not: it is waited for.
    pub fn all_local(&self, uris: &[KeyUri]) -> bool {
        uris.iter()
            .all(|uri| self.open(uri).is_ok_and(|provider| provider.is_local()))
    }

    /// The forms of the URIs that this program knows.
    pub fn known() -> impl Iterator<Item = &'static str> {
        SCHEMES.iter().map(|(_scheme, form, _open)| *form)
    }

    /// The passphrase that `passphrase:` uses; to ask for it while there is still a terminal.
    pub fn passphrase(&self) -> &Passphrase {
        &self.passphrase
    }

    /// The calls of every provider opened so far, in no order.
    pub fn calls(&self) -> Vec<(KeyUri, ProviderCalls)> {
        self.opened()
            .iter()
            .map(|provider| (provider.uri().clone(), provider.calls()))
            .collect()
    }

    /// The providers opened so far, in no order.
    pub fn opened(&self) -> Vec<Arc<Guarded>> {
        let places: Vec<_> = self.places.lock().values().map(Arc::clone).collect();
        places
            .iter()
            .filter_map(|place| place.lock().as_ref().map(Arc::clone))
            .collect()
    }

    /// Has `provider` opened by its URI from now on.
    #[cfg(test)]
    pub(crate) fn put(&self, provider: Box<dyn KeyProvider>) {
        let uri = provider.uri().clone();
        let guarded = Guarded::new(Metered::new(provider), self.rate);
        let place = Arc::new(Mutex::new(Some(Arc::new(guarded))));
        self.places.lock().insert(uri, place);
    }

    fn open_new(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        let known = SCHEMES
            .iter()
            .find(|(scheme, _form, _open)| *scheme == uri.scheme());
        let (_scheme, _form, open) = known.ok_or_else(|| {
            let forms: Vec<_> = Self::known().collect();
            let message = format!("unknown kind of key; known are {}", forms.join(", "));
            KeyError::config(message).at(uri)
        })?;
        open(self, uri)
    }

    fn open_file(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(FileProvider::open(uri)?))
    }

    fn open_passphrase(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        let passphrase = Arc::clone(&self.passphrase);
        Ok(Box::new(PassphraseProvider::open(
            uri,
            passphrase,
            self.argon2,
        )?))
    }

    fn open_pkcs11(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(Pkcs11Provider::open(uri, &self.pkcs11)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::conformance::{self, CONTEXT, keyring_in};
    use crate::keys::error::KeyErrorKind;

    fn providers() -> Providers {
        Providers::new(ProviderOptions {
            passphrase: PassphraseSource::Fixed(b"pass".to_vec()),
            argon2: Argon2Params::new(8, 1, 1).unwrap(),
            ..ProviderOptions::default()
        })
    }

    #[test]
    fn what_it_opens_passes_the_suite() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = keyring_in(folder.path()).uri().clone();
        for uri in [keyring, "passphrase:".parse().unwrap()] {
            let provider = providers().open(&uri).unwrap();
            assert_eq!(provider.uri(), &uri);
            conformance::provider_suite(&*provider);
        }
    }

    #[test]
    fn a_uri_has_one_instance_even_for_many_threads() {
        let folder = tempfile::tempdir().unwrap();
        let uri = keyring_in(folder.path()).uri().clone();
        let providers = providers();
        let first = providers.open(&uri).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(Arc::ptr_eq(&first, &providers.open(&uri).unwrap())));
            }
        });
    }

    #[test]
    fn unknown_schemes_are_refused_and_the_known_ones_named() {
        let uri: KeyUri = "awskms:///alias/x".parse().unwrap();
        let error = providers().open(&uri).unwrap_err();
        assert_eq!(
            (error.kind(), error.uri()),
            (KeyErrorKind::Config, Some(&uri))
        );
        for (_scheme, form, _open) in SCHEMES {
            assert!(error.message().contains(form), "{error}");
        }
    }

    #[test]
    fn a_failure_to_open_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring.json");
        let uri = FileProvider::uri_of(&path).unwrap();
        let providers = providers();
        assert_eq!(
            providers.open(&uri).unwrap_err().kind(),
            KeyErrorKind::NotFound
        );
        FileProvider::create(&path).unwrap();
        assert!(providers.open(&uri).is_ok());
    }

    #[test]
    fn calls_and_failures_are_counted_and_errors_named() {
        let folder = tempfile::tempdir().unwrap();
        let uri = keyring_in(folder.path()).uri().clone();
        let providers = providers();
        let provider = providers.open(&uri).unwrap();
        let (dek, mut wrapped) = provider.generate(&CONTEXT).unwrap();
        provider.wrap(&dek, &CONTEXT).unwrap();
        provider.unwrap(&wrapped, &CONTEXT).unwrap();
        provider.rewrap(&wrapped, &CONTEXT).unwrap();
        provider.probe().unwrap();
        wrapped.bytes.pop();
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.uri(), Some(&uri));
        let [(counted, calls)] = &providers.calls()[..] else {
            panic!("one provider")
        };
        let counts = [
            calls.generate,
            calls.wrap,
            calls.unwrap,
            calls.rewrap,
            calls.probe,
        ];
        assert_eq!(counted, &uri);
        assert_eq!(counts.map(|count| count.calls), [1, 1, 2, 1, 1]);
        assert_eq!(counts.map(|count| count.failures), [0, 0, 1, 0, 0]);
    }
}

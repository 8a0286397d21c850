//! One provider for each key URI, opened when first asked for.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::crypto::passphrase::Argon2Params;
use crate::keys::alikms::{self, AliKmsProvider};
use crate::keys::awskms::{self, AwsKmsProvider};
use crate::keys::azurekms::{self, AzurekmsProvider};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::file::{self, FileProvider};
use crate::keys::gcpkms::{self, GcpkmsProvider};
use crate::keys::guarded::Guarded;
use crate::keys::hashivault::{self, HashivaultProvider};
use crate::keys::kmip::{self, KmipOptions, KmipProvider};
use crate::keys::metered::{Metered, ProviderCalls};
use crate::keys::passphrase::{self, PassphraseProvider};
use crate::keys::passphrase_source::{Confirm, Passphrase, PassphraseSource};
use crate::keys::pkcs11::{self, Pkcs11Options, Pkcs11Provider};
use crate::keys::provider::KeyProvider;
use crate::keys::rsa::{self, RsaOptions, RsaProvider};
use crate::keys::service::{Reach, ServiceOptions};
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
    /// How `kmip:` reaches its servers.
    pub kmip: KmipOptions,
    /// The keys that may be used at all; `None`: any.
    pub only: Option<Vec<KeyUri>>,
    /// Where `pkcs11:` finds modules and PINs.
    pub pkcs11: Pkcs11Options,
    /// Calls a second to one provider, at most; `None`: no bound. A local one is not bound.
    pub rate: Option<NonZeroU32>,
    /// Where `rsa:` finds private keys.
    pub rsa: RsaOptions,
    /// How key services are reached, and where their credentials are.
    pub service: ServiceOptions,
}

impl ProviderOptions {
    /// Takes a URI that a person of this machine gave: keeps what it says of the machine, and
    /// returns the URI that is to be stored.
    ///
    /// # Errors
    /// `Config` for a URI that cannot be followed. One of an unknown scheme is refused when it is
    /// [opened](Providers::open).
    pub fn follow(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        scheme_of(uri).map_or_else(|| Ok(uri.clone()), |scheme| (scheme.follow)(self, uri))
    }

    /// Has these keys used and, but for what was named so before, no others. A person of this machine gave
    /// them: what they say of the machine is kept, as by [`follow`](Self::follow).
    ///
    /// # Errors
    /// `Config` for a URI that cannot be followed, is of an unknown scheme, or comes twice.
    pub fn restrict_to(&mut self, uris: &[KeyUri]) -> Result<(), KeyError> {
        let mut only = self.only.take().unwrap_or_default();
        for uri in uris {
            known_scheme_of(uri)?;
            let stored = self.follow(uri)?;
            if only.contains(&stored) {
                return Err(KeyError::config("the key is given twice").at(&stored));
            }
            only.push(stored);
        }
        self.only = Some(only);
        Ok(())
    }

    /// The URI says nothing of the machine.
    fn follow_whole(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(uri.clone())
    }

    fn follow_alikms(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(self.keep_reach(alikms::FORM.given(uri)?))
    }

    fn follow_awskms(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(self.keep_reach(awskms::FORM.given(uri)?))
    }

    fn follow_azurekms(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(self.keep_reach(azurekms::FORM.given(uri)?))
    }

    fn follow_gcpkms(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(self.keep_reach(gcpkms::FORM.given(uri)?))
    }

    fn follow_hashivault(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        Ok(self.keep_reach(hashivault::given(uri)?))
    }

    fn follow_kmip(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        let (stored, files) = kmip::given(uri)?;
        self.kmip.of_key.insert(stored.clone(), files);
        Ok(stored)
    }

    fn follow_pkcs11(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        let (stored, machine) = pkcs11::given(uri)?;
        self.pkcs11.of_key.insert(stored.clone(), machine);
        Ok(stored)
    }

    fn follow_rsa(&mut self, uri: &KeyUri) -> Result<KeyUri, KeyError> {
        let (stored, sources) = rsa::given(uri)?;
        self.rsa.of_key.insert(stored.clone(), sources);
        Ok(stored)
    }

    /// Keeps how the service of a key is reached.
    fn keep_reach(&mut self, (stored, reach): (KeyUri, Reach)) -> KeyUri {
        self.service.of_key.insert(stored.clone(), reach);
        stored
    }
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
            kmip: KmipOptions::default(),
            only: None,
            pkcs11: Pkcs11Options::default(),
            rate: Some(DEFAULT_RATE),
            rsa: RsaOptions::default(),
            service: ServiceOptions::default(),
        }
    }
}

/// A kind of provider.
struct Scheme {
    name: &'static str,
    /// How its URIs look, for messages and help.
    form: &'static str,
    /// [`ProviderOptions::follow`].
    follow: fn(&mut ProviderOptions, &KeyUri) -> Result<KeyUri, KeyError>,
    /// [`Providers::open`].
    open: fn(&Providers, &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError>,
}

/// The schemes that this program knows. The one table: errors and help are made of it.
const SCHEMES: &[Scheme] = &[
    Scheme {
        name: alikms::SCHEME,
        form: alikms::EXAMPLE,
        follow: ProviderOptions::follow_alikms,
        open: Providers::open_alikms,
    },
    Scheme {
        name: awskms::SCHEME,
        form: awskms::EXAMPLE,
        follow: ProviderOptions::follow_awskms,
        open: Providers::open_awskms,
    },
    Scheme {
        name: azurekms::SCHEME,
        form: "azurekms://VAULT/KEY",
        follow: ProviderOptions::follow_azurekms,
        open: Providers::open_azurekms,
    },
    Scheme {
        name: file::SCHEME,
        form: "file:///path/keyring.json",
        follow: ProviderOptions::follow_whole,
        open: Providers::open_file,
    },
    Scheme {
        name: gcpkms::SCHEME,
        form: "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K",
        follow: ProviderOptions::follow_gcpkms,
        open: Providers::open_gcpkms,
    },
    Scheme {
        name: hashivault::SCHEME,
        form: "hashivault://KEY?mount=MOUNT&namespace=NAMESPACE",
        follow: ProviderOptions::follow_hashivault,
        open: Providers::open_hashivault,
    },
    Scheme {
        name: kmip::SCHEME,
        form: "kmip://HOST:PORT/NAME",
        follow: ProviderOptions::follow_kmip,
        open: Providers::open_kmip,
    },
    Scheme {
        name: passphrase::SCHEME,
        form: "passphrase:",
        follow: ProviderOptions::follow_whole,
        open: Providers::open_passphrase,
    },
    Scheme {
        name: pkcs11::SCHEME,
        form: "pkcs11:token=LABEL;object=LABEL",
        follow: ProviderOptions::follow_pkcs11,
        open: Providers::open_pkcs11,
    },
    Scheme {
        name: rsa::SCHEME,
        form: "rsa:/path/public.pem",
        follow: ProviderOptions::follow_rsa,
        open: Providers::open_rsa,
    },
];

fn scheme_of(uri: &KeyUri) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|scheme| scheme.name == uri.scheme())
}

fn known_scheme_of(uri: &KeyUri) -> Result<&'static Scheme, KeyError> {
    scheme_of(uri).ok_or_else(|| {
        let forms: Vec<_> = Providers::known().collect();
        let message = format!("unknown kind of key; known are {}", forms.join(", "));
        KeyError::config(message).at(uri)
    })
}

/// One provider of a URI; locked while it is being opened, which may block.
type Place = Arc<Mutex<Option<Arc<Guarded>>>>;

/// The providers of this process: one instance per URI, its calls counted, the passphrase asked
/// for at most once. A failure to open is not kept: the next one who asks tries again.
#[derive(Debug)]
pub struct Providers {
    passphrase: Arc<Passphrase>,
    argon2: Argon2Params,
    kmip: KmipOptions,
    only: Option<Vec<KeyUri>>,
    pkcs11: Pkcs11Options,
    rate: Mutex<Option<NonZeroU32>>,
    rsa: RsaOptions,
    service: ServiceOptions,
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
            kmip,
            only,
            pkcs11,
            rate,
            rsa,
            service,
        } = options;
        Self {
            passphrase: Arc::new(Passphrase::new(passphrase, confirm)),
            argon2,
            kmip,
            only,
            pkcs11,
            rate: Mutex::new(rate),
            rsa,
            service,
            places: Mutex::default(),
            successes: Mutex::default(),
        }
    }

    /// The provider of `uri`; the same one each time.
    ///
    /// # Errors
    /// `Config` for an unknown scheme, with the known ones named; `Denied` for a key that may not be used;
    /// else those of the provider's own `open`.
    pub fn open(&self, uri: &KeyUri) -> Result<Arc<Guarded>, KeyError> {
        if !self.may_use(uri) {
            let message = "it is not among the keys that were given (--key)";
            return Err(KeyError::new(KeyErrorKind::Denied, message).at(uri));
        }
        let place = Arc::clone(self.places.lock().entry(uri.clone()).or_default());
        let mut opened = place.lock();
        if let Some(provider) = &*opened {
            return Ok(Arc::clone(provider));
        }
        let metered = Metered::new(self.open_new(uri)?);
        let rate = *self.rate.lock();
        let provider = Arc::new(Guarded::new(metered, rate));
        *opened = Some(Arc::clone(&provider));
        Ok(provider)
    }

    /// Whether the key may be used: any may where none was named.
    pub fn may_use(&self, uri: &KeyUri) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(uri))
    }

    /// The keys that may be used; `None`: any.
    pub fn only(&self) -> Option<&[KeyUri]> {
        self.only.as_deref()
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

    /// Has another bound hold on the calls a second to each provider, those that are open among them.
    pub fn set_rate(&self, rate: Option<NonZeroU32>) {
        *self.rate.lock() = rate;
        for provider in self.opened() {
            provider.set_rate(rate);
        }
    }

    /// Whether the providers of all these URIs answer from memory. One that cannot be opened does not: it is waited for. A key
    /// that may not be used is refused without anybody being asked.
    /// Waits for none itself: of a kind that is far away, none is opened.
    pub fn all_local(&self, uris: &[KeyUri]) -> bool {
        let may_be = |uri: &KeyUri| scheme_of(uri).is_none_or(|scheme| scheme.name == file::SCHEME);
        let is_local = |uri: &KeyUri| self.open(uri).is_ok_and(|provider| provider.is_local());
        uris.iter()
            .filter(|uri| self.may_use(uri))
            .all(|uri| may_be(uri) && is_local(uri))
    }

    /// The forms of the URIs that this program knows.
    pub fn known() -> impl Iterator<Item = &'static str> {
        SCHEMES.iter().map(|scheme| scheme.form)
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
        let guarded = Guarded::new(Metered::new(provider), *self.rate.lock());
        let place = Arc::new(Mutex::new(Some(Arc::new(guarded))));
        self.places.lock().insert(uri, place);
    }

    fn open_new(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        (known_scheme_of(uri)?.open)(self, uri)
    }

    fn open_file(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(FileProvider::open(uri)?))
    }

    fn open_kmip(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(KmipProvider::open(uri, &self.kmip)?))
    }

    fn open_passphrase(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        let passphrase = Arc::clone(&self.passphrase);
        Ok(Box::new(PassphraseProvider::open(
            uri,
            passphrase,
            self.argon2,
        )?))
    }

    fn open_hashivault(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(HashivaultProvider::open(uri, &self.service)?))
    }

    fn open_gcpkms(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(GcpkmsProvider::open(uri, &self.service)?))
    }

    fn open_azurekms(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(AzurekmsProvider::open(uri, &self.service)?))
    }

    fn open_pkcs11(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(Pkcs11Provider::open(uri, &self.pkcs11)?))
    }

    fn open_rsa(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        let provider = RsaProvider::open(uri, &self.rsa, &self.pkcs11)?;
        Ok(Box::new(provider))
    }

    fn open_alikms(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(AliKmsProvider::open(uri, &self.service)?))
    }

    fn open_awskms(&self, uri: &KeyUri) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(AwsKmsProvider::open(uri, &self.service)?))
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
        let uri: KeyUri = "nokms:///alias/x".parse().unwrap();
        let error = providers().open(&uri).unwrap_err();
        assert_eq!(
            (error.kind(), error.uri()),
            (KeyErrorKind::Config, Some(&uri))
        );
        for form in Providers::known() {
            assert!(error.message().contains(form), "{error}");
        }
    }

    #[test]
    fn what_was_not_named_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let named = keyring_in(folder.path()).uri().clone();
        let mut options = ProviderOptions::default();
        options.restrict_to(std::slice::from_ref(&named)).unwrap();
        let providers = Providers::new(options);
        assert!(providers.open(&named).is_ok());
        for other in [
            "passphrase:".to_owned(),
            format!("{named}x"),
            format!("{named}/../keyring.json"),
            "kmip://h:5696/k".to_owned(),
        ] {
            let error = providers.open(&other.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Denied);
            assert!(error.message().contains("--key"), "{error}");
        }
        assert_eq!(providers.opened().len(), 1);
    }

    #[test]
    fn what_is_named_may_say_what_is_of_the_machine() {
        let mut options = ProviderOptions::default();
        let named = ["pkcs11:object=k;token=t?module-path=/m.so", "passphrase:"];
        options
            .restrict_to(&named.map(|uri| uri.parse().unwrap()))
            .unwrap();
        let stored: KeyUri = "pkcs11:token=t;object=k".parse().unwrap();
        let machine = options.pkcs11.of_key.get(&stored).unwrap();
        assert_eq!(machine.module, Some("/m.so".into()));
        assert_eq!(
            options.only,
            Some(vec![stored, "passphrase:".parse().unwrap()])
        );
    }

    #[test]
    fn names_that_cannot_be_followed_are_refused() {
        for named in [
            &["nokms:x"][..],
            &["pkcs11:token=t"],
            &["pkcs11:object=k?pin-value=1234"],
            &["awskms:///k?region=r&endpoint=nowhere"],
            &["passphrase:", "passphrase:"],
            // The same key, with the attributes in another order, and from another module.
            &[
                "pkcs11:object=k;token=t",
                "pkcs11:token=t;object=k?module-path=/m.so",
            ],
        ] {
            let uris: Vec<KeyUri> = named.iter().map(|uri| uri.parse().unwrap()).collect();
            let error = ProviderOptions::default().restrict_to(&uris).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config, "{named:?}");
            assert!(!error.to_string().contains("1234"), "{error}");
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

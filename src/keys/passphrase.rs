//! `passphrase:`: a KEK stretched from a passphrase by Argon2id. No service and no file: what one
//! person remembers.
//!
//! Wrapped form, 101 bytes: form 1 ‖ memory in KiB u32 ‖ passes u32 ‖ lanes u32 (little-endian) ‖
//! salt 16 ‖ XAES-256-GCM of the data key under the stretched key. All before the sealed part is
//! bound in its AAD.
//!
//! One stretch costs a good part of a second, so wraps of one volume share a salt: the first
//! wrapped key that opens gives its salt to those made after it.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lru::LruCache;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::crypto::passphrase::{Argon2Params, PassphraseError, stretch};
use crate::crypto::random;
use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::passphrase_source::Passphrase;
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
use crate::units::KeyUri;

/// The scheme of the URI.
pub const SCHEME: &str = "passphrase";

/// The first byte of a wrapped key, and the key version in a slot.
const FORM: u8 = 1;
const KEY_VERSION: &str = "1";
const SEALED_LEN: usize = NONCE_LEN + TAG_LEN + SecretKey::LEN;
/// How many stretched keys are kept. More salts than this in one volume only cost time.
const KEKS_MAX: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What, besides the passphrase, makes a KEK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Recipe {
    params: Argon2Params,
    salt: [u8; 16],
}

/// A stretched key.
struct Kek {
    key: SecretKey,
    /// It has opened something, so the passphrase is right: what does not open now is corrupt.
    proven: AtomicBool,
}

/// A passphrase that wraps keys. Asks for it when first used.
pub struct PassphraseProvider {
    uri: KeyUri,
    passphrase: Arc<Passphrase>,
    params: Argon2Params,
    /// What new wraps use, once known. Lock order: `own` → `stretching` → `keks`.
    own: Mutex<Option<Recipe>>,
    /// One stretch at a time: each takes all its memory, and two of one recipe would be one too many.
    stretching: Mutex<()>,
    keks: Mutex<LruCache<Recipe, Arc<Kek>>>,
}

impl fmt::Debug for PassphraseProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassphraseProvider")
            .field("uri", &self.uri)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

impl PassphraseProvider {
    /// The provider of `passphrase:`, with this work for a guess at new wraps.
    ///
    /// # Errors
    /// `Config` where the URI says more than its scheme, or the parameters are out of bounds.
    pub fn open(
        uri: &KeyUri,
        passphrase: Arc<Passphrase>,
        params: Argon2Params,
    ) -> Result<Self, KeyError> {
        if uri.scheme() != SCHEME || !uri.rest().is_empty() {
            return Err(KeyError::config("expected passphrase: and nothing after it").at(uri));
        }
        params
            .check()
            .map_err(|error| KeyError::config(error.to_string()).at(uri))?;
        Ok(Self {
            uri: uri.clone(),
            passphrase,
            params,
            own: Mutex::new(None),
            stretching: Mutex::new(()),
            keks: Mutex::new(LruCache::new(KEKS_MAX)),
        })
    }

    /// The recipe of new wraps: that of a wrapped key which opened, else one of its own.
    fn own_recipe(&self) -> Recipe {
        let params = self.params;
        *self.own.lock().get_or_insert_with(|| Recipe {
            params,
            salt: random::array(),
        })
    }

    /// Takes over the recipe of a wrapped key that opened, where it is not cheaper to guess at.
    fn adopt(&self, recipe: Recipe) {
        let (theirs, ours) = (recipe.params, self.params);
        let as_strong = theirs.memory_kib >= ours.memory_kib && theirs.passes >= ours.passes;
        if as_strong && theirs.lanes == ours.lanes {
            self.own.lock().get_or_insert(recipe);
        }
    }

    fn kek(&self, recipe: Recipe) -> Result<Arc<Kek>, KeyError> {
        if let Some(kek) = self.kept(recipe) {
            return Ok(kek);
        }
        let _stretching = self.stretching.lock();
        if let Some(kek) = self.kept(recipe) {
            return Ok(kek);
        }
        let passphrase = self.passphrase.reveal()?;
        let key = stretch(&passphrase, &recipe.salt, recipe.params).map_err(stretch_error)?;
        let kek = Arc::new(Kek {
            key,
            proven: AtomicBool::new(false),
        });
        self.keks.lock().put(recipe, Arc::clone(&kek));
        Ok(kek)
    }

    fn kept(&self, recipe: Recipe) -> Option<Arc<Kek>> {
        self.keks.lock().get(&recipe).map(Arc::clone)
    }

    fn open_sealed(
        &self,
        wrapped: &Parsed<'_>,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let kek = self.kek(wrapped.recipe)?;
        let aad = context.aad(SCHEME, &wrapped.recipe.encode());
        let dek = XaesKey::new(&kek.key)
            .open(&aad, wrapped.sealed)
            .map_err(|_error| kek.does_not_open())?;
        let dek = SecretKey::from_slice(&Zeroizing::new(dek))?;
        kek.proven.store(true, Ordering::Relaxed);
        self.adopt(wrapped.recipe);
        Ok(dek)
    }
}

impl KeyProvider for PassphraseProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let recipe = self.own_recipe();
        let kek = self.kek(recipe).map_err(|error| error.at(&self.uri))?;
        let mut bytes = recipe.encode();
        let aad = context.aad(SCHEME, &bytes);
        bytes.extend(XaesKey::new(&kek.key).seal(&aad, dek.expose()));
        Ok(WrappedDek {
            key_version: KEY_VERSION.to_owned(),
            bytes,
        })
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        let parsed = Parsed::parse(wrapped);
        parsed
            .and_then(|parsed| self.open_sealed(&parsed, context))
            .map_err(|error| error.at(&self.uri))
    }

    /// Asks for the passphrase if that has not been done, and says nothing of whether it is right:
    /// only a wrapped key can.
    fn probe(&self) -> Result<KeyHealth, KeyError> {
        self.passphrase.ask().map_err(|error| error.at(&self.uri))?;
        Ok(KeyHealth {
            key_version: KEY_VERSION.to_owned(),
            versions: 1,
            mechanism: None,
        })
    }

    fn describe(&self) -> String {
        let Argon2Params {
            memory_kib,
            passes,
            lanes,
        } = self.params;
        format!("passphrase, Argon2id ({memory_kib} KiB, {passes} passes, {lanes} lanes)")
    }

    fn forget(&self) {
        self.keks.lock().clear();
        self.passphrase.forget();
    }

    /// No: it may have to ask a human, and a stretch takes a good part of a second.
    fn is_local(&self) -> bool {
        false
    }
}

impl Kek {
    fn does_not_open(&self) -> KeyError {
        if self.proven.load(Ordering::Relaxed) {
            KeyError::corrupt("the wrapped key does not open: altered, or made for another file")
        } else {
            let message = "wrong passphrase, or the wrapped key was altered";
            KeyError::new(KeyErrorKind::Denied, message)
        }
    }
}

impl Recipe {
    /// What stands before the sealed part.
    fn encode(&self) -> Vec<u8> {
        let Argon2Params {
            memory_kib,
            passes,
            lanes,
        } = self.params;
        let mut bytes = Vec::with_capacity(128);
        bytes.push(FORM);
        for number in [memory_kib, passes, lanes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.salt);
        bytes
    }
}

/// A wrapped key taken apart, its parameters within bounds.
struct Parsed<'a> {
    recipe: Recipe,
    sealed: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn parse(wrapped: &'a WrappedDek) -> Result<Self, KeyError> {
        if wrapped.key_version != KEY_VERSION {
            return Err(KeyError::corrupt("no key version of a passphrase"));
        }
        Self::split(&wrapped.bytes)
            .ok_or_else(|| KeyError::corrupt("not a key wrapped by a passphrase"))
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        let (memory_kib, rest) = take_u32(rest)?;
        let (passes, rest) = take_u32(rest)?;
        let (lanes, rest) = take_u32(rest)?;
        let (salt, sealed) = rest.split_first_chunk()?;
        let params = Argon2Params::new(memory_kib, passes, lanes).ok()?;
        let whole = *form == FORM && sealed.len() == SEALED_LEN;
        whole.then_some(Self {
            recipe: Recipe {
                params,
                salt: *salt,
            },
            sealed,
        })
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn stretch_error(error: PassphraseError) -> KeyError {
    match error {
        PassphraseError::Empty | PassphraseError::TooLong => KeyError::config(error.to_string()),
        PassphraseError::Params(_) => KeyError::corrupt(error.to_string()),
        PassphraseError::Memory(error) => KeyError::from(error),
        PassphraseError::WorkMemory(_) => {
            KeyError::unavailable("no memory to stretch the passphrase in")
                .of_this_host()
                .caused_by(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::conformance::{self, CONTEXT, passphrase_provider};

    const HEAD_LEN: usize = 29;

    fn salt(wrapped: &WrappedDek) -> &[u8] {
        &wrapped.bytes[13..HEAD_LEN]
    }

    fn unwrap_error(provider: &PassphraseProvider, wrapped: &WrappedDek) -> KeyErrorKind {
        provider.unwrap(wrapped, &CONTEXT).unwrap_err().kind()
    }

    #[test]
    fn it_passes_the_suite() {
        conformance::provider_suite(&passphrase_provider(b"pass"));
    }

    #[test]
    fn the_form_is_as_documented() {
        let (_dek, wrapped) = passphrase_provider(b"pass").generate(&CONTEXT).unwrap();
        assert_eq!(wrapped.bytes.len(), 101);
        assert_eq!(wrapped.bytes[..13], [1, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_later_session_opens_it_and_shares_the_salt() {
        let (dek, first) = passphrase_provider(b"pass").generate(&CONTEXT).unwrap();
        let later = passphrase_provider(b"pass");
        assert!(later.unwrap(&first, &CONTEXT).unwrap() == dek);
        let second = later.wrap(&dek, &CONTEXT).unwrap();
        assert_eq!(salt(&first), salt(&second));
        assert_eq!(later.keks.lock().len(), 1, "one stretch for both");
    }

    #[test]
    fn two_sessions_that_never_met_have_salts_of_their_own() {
        let [(_, a), (_, b)] =
            [(); 2].map(|()| passphrase_provider(b"pass").generate(&CONTEXT).unwrap());
        assert_ne!(salt(&a), salt(&b));
    }

    #[test]
    fn a_cheaper_recipe_opens_but_is_not_taken_over() {
        let (_dek, cheap) = passphrase_provider(b"pass").generate(&CONTEXT).unwrap();
        let passphrase = Arc::clone(&passphrase_provider(b"pass").passphrase);
        let params = Argon2Params::new(16, 1, 1).unwrap();
        let uri = "passphrase:".parse().unwrap();
        let dearer = PassphraseProvider::open(&uri, passphrase, params).unwrap();
        let dear = dearer.rewrap(&cheap, &CONTEXT).unwrap();
        assert_ne!(salt(&cheap), salt(&dear));
        assert_eq!(dear.bytes[1], 16);
    }

    #[test]
    fn the_wrong_passphrase_is_denied() {
        let (_dek, wrapped) = passphrase_provider(b"pass").generate(&CONTEXT).unwrap();
        assert_eq!(
            unwrap_error(&passphrase_provider(b"Pass"), &wrapped),
            KeyErrorKind::Denied
        );
    }

    #[test]
    fn once_the_passphrase_is_proven_what_does_not_open_is_corrupt() {
        let provider = passphrase_provider(b"pass");
        let (_dek, mut wrapped) = provider.generate(&CONTEXT).unwrap();
        provider.unwrap(&wrapped, &CONTEXT).unwrap();
        wrapped.bytes[100] ^= 1;
        assert_eq!(unwrap_error(&provider, &wrapped), KeyErrorKind::Corrupt);
    }

    #[test]
    fn hostile_parameters_cost_nothing() {
        let provider = passphrase_provider(b"pass");
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        for at in [1, 5, 9] {
            for number in [0, u32::MAX] {
                let mut hostile = wrapped.clone();
                hostile.bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
                assert_eq!(unwrap_error(&provider, &hostile), KeyErrorKind::Corrupt);
            }
        }
        assert_eq!(provider.keks.lock().len(), 1, "nothing was stretched");
    }

    #[test]
    fn the_recipe_is_bound_even_where_the_key_is_the_same() {
        let provider = passphrase_provider(b"pass");
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        let parsed = Parsed::parse(&wrapped).unwrap();
        let mut other = parsed.recipe;
        other.salt[0] ^= 1;
        let kek = provider.kek(parsed.recipe).unwrap();
        provider.keks.lock().put(other, kek);
        let moved = Parsed {
            recipe: other,
            sealed: parsed.sealed,
        };
        assert!(provider.open_sealed(&moved, &CONTEXT).is_err());
    }

    #[test]
    fn many_threads_stretch_once() {
        let (_dek, wrapped) = passphrase_provider(b"pass").generate(&CONTEXT).unwrap();
        let provider = passphrase_provider(b"pass");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| provider.unwrap(&wrapped, &CONTEXT).unwrap());
            }
        });
        assert_eq!(provider.keks.lock().len(), 1);
    }

    #[test]
    fn uris_that_say_more_are_refused() {
        let provider = passphrase_provider(b"pass");
        for uri in ["passphrase:hunter2", "passphrase://", "file:"] {
            let opened = PassphraseProvider::open(
                &uri.parse().unwrap(),
                Arc::clone(&provider.passphrase),
                provider.params,
            );
            assert_eq!(opened.unwrap_err().kind(), KeyErrorKind::Config, "{uri}");
        }
    }

    #[test]
    fn debug_shows_neither_key_nor_passphrase() {
        let provider = passphrase_provider(b"hunter2hunter2hunter2hunter2hunt");
        let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
        let kek = provider
            .kek(Parsed::parse(&wrapped).unwrap().recipe)
            .unwrap();
        let text = format!("{provider:?}");
        conformance::assert_hides(&text, kek.key.expose());
        conformance::assert_hides(&text, b"hunter2hunter2hunter2hunter2hunt");
    }
}

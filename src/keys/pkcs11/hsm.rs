//! A token that a key service makes keys in: they are generated there, work there and are destroyed there.
//!
//! An id of 16 bytes, the CKA_ID, names a key or a key pair. What a token makes is sensitive and not extractable, and
//! is used for one thing: a key that the token would hand out is destroyed again.
//!
//! Nothing here knows what the keys are for: plaintexts, digests and messages come, and what the token makes of them
//! goes back.

mod calls;
mod make;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use parking_lot::Mutex;

use super::Pkcs11Options;
use super::failure::Failure;
use super::module::Module;
use super::pin::Pin;
use super::token::{Access, Epoch, SESSIONS_MAX, Token};
use super::uri::{self, KeyPath};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::units::KeyUri;

pub use calls::{Padding, Sealing, Signing};
pub use make::{Curve, Hash, Kind, Made, PairUse};

/// A key's CKA_ID.
pub type Id = [u8; 16];

/// How many calls a token is asked at a time, at most.
pub const CALLS_MAX: usize = SESSIONS_MAX;

/// Handles that are remembered: a search takes longer than most of what keys do.
const HANDLES_MAX: usize = 10_000;

/// Work with one key.
type Work<'a, T> = &'a dyn Fn(&Session, ObjectHandle) -> Result<T, Failure>;

/// A token that keys are made in. Its calls block.
#[derive(Debug)]
pub struct Hsm {
    uri: KeyUri,
    wanted: KeyPath,
    options: Pkcs11Options,
    /// Once the module could be loaded.
    token: Mutex<Option<Arc<Token>>>,
    handles: Mutex<Handles>,
}

/// Secret and private keys that were found; good for one epoch.
#[derive(Debug, Default)]
struct Handles {
    epoch: Option<Epoch>,
    of: HashMap<Id, ObjectHandle>,
}

impl Hsm {
    /// A token by its URI, which names no key; `module-path` and `pin-source` in its query outrank `options`. The token
    /// is looked for with the first call: it may be away.
    ///
    /// # Errors
    /// `Config` for a URI that RFC 7512 does not allow or that names a key, and where there is no module.
    pub fn new(uri: &KeyUri, options: &Pkcs11Options) -> Result<Self, KeyError> {
        let (wanted, uri, machine) = uri::given_token(uri)?;
        let options = options.with(&uri, machine);
        options
            .module_of(&uri)
            .map_err(|error: KeyError| error.at(&uri))?;
        Ok(Self {
            uri,
            wanted,
            options,
            token: Mutex::new(None),
            handles: Mutex::default(),
        })
    }

    /// The token's URI, without what it said of this machine.
    #[must_use]
    pub fn uri(&self) -> &KeyUri {
        &self.uri
    }

    /// Whether the token is there and takes its PIN.
    ///
    /// # Errors
    /// `Unavailable` for a token that is away, `Denied` for a wrong PIN, `Config` for a module that is none.
    pub fn probe(&self) -> Result<(), KeyError> {
        self.in_session("looking", &|_session, _epoch| Ok(()))
    }

    /// Whether the token has a key of this id.
    ///
    /// # Errors
    /// As [`Hsm::probe`].
    pub fn has(&self, id: &Id) -> Result<bool, KeyError> {
        let found = self.in_session("looking for a key", &|session, _epoch| {
            Ok(!find(session, id, SECRET_OR_PRIVATE)?.is_empty())
        });
        self.sure(found)
    }

    /// Destroys whatever has this id, and says whether there was something.
    ///
    /// # Errors
    /// As [`Hsm::probe`], and `Denied` where the token does not let go of it.
    pub fn destroy(&self, id: &Id) -> Result<bool, KeyError> {
        let destroyed = self.in_session("destroying a key", &|session, _epoch| {
            let found = find(session, id, ALL_CLASSES)?;
            for object in &found {
                session.destroy_object(*object)?;
            }
            Ok(!found.is_empty())
        });
        self.handles.lock().of.remove(id);
        self.sure(destroyed)
    }

    fn token(&self) -> Result<Arc<Token>, KeyError> {
        let mut token = self.token.lock();
        if let Some(token) = &*token {
            return Ok(Arc::clone(token));
        }
        let module = Module::load(&self.options.module_of(&self.uri)?)?;
        let pin = Pin::new(self.options.pin_of(&self.uri));
        let wanted = self.wanted.clone();
        let made = Arc::new(Token::new(module, wanted, pin, Access::Change));
        *token = Some(Arc::clone(&made));
        Ok(made)
    }

    fn in_session<T>(
        &self,
        what: &str,
        work: &dyn Fn(&Session, Epoch) -> Result<T, Failure>,
    ) -> Result<T, KeyError> {
        let token = self.token().map_err(|error| error.at(&self.uri))?;
        token.with_session(work).map_err(|failure| {
            if failure.is_trouble() {
                token.start_anew();
            }
            self.told(what, failure)
        })
    }

    /// Does some work with one key.
    fn with_key<T>(&self, what: &str, id: &Id, work: Work<'_, T>) -> Result<T, KeyError> {
        let done = self.in_session(what, &|session, epoch| {
            work(session, self.handle(session, epoch, id)?)
        });
        if done
            .as_ref()
            .is_err_and(|error| error.kind() == KeyErrorKind::NotFound)
        {
            self.sure(Ok(false))?;
        }
        done
    }

    /// That nothing was found counts only while the token is there: SoftHSM shows one that was taken out as an empty one
    /// to whoever has a session.
    fn sure(&self, found: Result<bool, KeyError>) -> Result<bool, KeyError> {
        if found? {
            return Ok(true);
        }
        let token = self.token()?;
        let there = token.check_there().map_err(|failure| {
            token.start_anew();
            self.told("looking", failure)
        });
        there.map(|()| false)
    }

    /// As [`with_key`](Self::with_key), for what may be no ciphertext of the key: many modules have but one answer to
    /// that and to their own trouble. Where `trial` goes well after it, it was the ciphertext.
    fn opening<T>(
        &self,
        what: &str,
        id: &Id,
        work: Work<'_, T>,
        trial: Work<'_, ()>,
    ) -> Result<T, KeyError> {
        let doubtful = Mutex::new(false);
        let opened = self.with_key(what, id, &|session, key| {
            let opened = work(session, key);
            *doubtful.lock() = opened
                .as_ref()
                .is_err_and(|failure| failure.may_be_bad_data());
            opened
        });
        if opened.is_err() && doubtful.into_inner() {
            self.with_key(what, id, trial)?;
            return Err(KeyError::corrupt("it is no ciphertext of this key").at(&self.uri));
        }
        opened
    }

    fn handle(&self, session: &Session, epoch: Epoch, id: &Id) -> Result<ObjectHandle, Failure> {
        if let Some(handle) = self.known(epoch, id) {
            return Ok(handle);
        }
        let found = find(session, id, SECRET_OR_PRIVATE)?;
        match found.as_slice() {
            [handle] => {
                self.remember(epoch, id, *handle);
                Ok(*handle)
            }
            [] => Err(KeyError::not_found(format!(
                "{} has no key with id {}",
                self.wanted.token_in_words(),
                super::object::hex(id)
            ))
            .into()),
            [_, _, ..] => Err(KeyError::config(format!(
                "{} has several keys with id {}",
                self.wanted.token_in_words(),
                super::object::hex(id)
            ))
            .into()),
        }
    }

    fn known(&self, epoch: Epoch, id: &Id) -> Option<ObjectHandle> {
        let handles = self.handles.lock();
        let same = handles.epoch == Some(epoch);
        handles.of.get(id).copied().filter(|_handle| same)
    }

    fn remember(&self, epoch: Epoch, id: &Id, handle: ObjectHandle) {
        let mut handles = self.handles.lock();
        if handles.epoch != Some(epoch) || handles.of.len() >= HANDLES_MAX {
            handles.of.clear();
            handles.epoch = Some(epoch);
        }
        handles.of.insert(*id, handle);
    }

    fn told(&self, what: &str, failure: Failure) -> KeyError {
        let unsupported = failure.is_unsupported();
        let what = format!("{what} in {}", self.wanted.token_in_words());
        let error = failure.into_error(&what);
        match unsupported {
            true => KeyError::new(KeyErrorKind::Config, error.message().to_owned()),
            false => error,
        }
        .at(&self.uri)
    }
}

const SECRET_OR_PRIVATE: &[ObjectClass] = &[ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY];
/// The private half goes before the public one: what is left of a key that was half destroyed is found again.
const ALL_CLASSES: &[ObjectClass] = &[
    ObjectClass::SECRET_KEY,
    ObjectClass::PRIVATE_KEY,
    ObjectClass::PUBLIC_KEY,
];

fn find(session: &Session, id: &Id, classes: &[ObjectClass]) -> Result<Vec<ObjectHandle>, Failure> {
    let mut found = Vec::new();
    for class in classes {
        let template = [
            Attribute::Class(*class),
            Attribute::Token(true),
            Attribute::Id(id.to_vec()),
        ];
        found.append(&mut session.find_objects(&template)?);
    }
    Ok(found)
}

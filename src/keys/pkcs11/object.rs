//! Keys in a token: those that a URI names, the newest last.

use std::sync::OnceLock;

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use data_encoding::HEXLOWER;

use super::cipher::Mechanism;
use super::failure::Failure;
use super::outside::Components;
use super::token::Epoch;
use super::uri::{KeyPath, PRIVATE_KEY, SECRET_KEY};
use crate::keys::error::KeyError;
use crate::keys::rsa::PublicKey;

/// The longest CKA_ID in bytes: it stands in headers, as hexadecimal digits.
const ID_MAX: usize = 64;

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A secret AES key.
    Aes,
    /// An RSA key pair.
    Rsa,
}

/// A key of a token. Its handles are good for one epoch.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) class: Class,
    pub(super) id: Vec<u8>,
    /// CKA_START_DATE as `yyyymmdd`; empty where the key has none.
    start: String,
    /// Wraps: the secret or the public key. None where the public key is not there.
    pub(super) wraps: Option<ObjectHandle>,
    /// Wraps outside of the token: the public half of an RSA key. None where it does not say its half, or one that
    /// is not taken here.
    pub(super) public: Option<PublicKey>,
    /// Unwraps: the secret or the private key.
    pub(super) unwraps: ObjectHandle,
    /// The mechanism of new wraps, found out with the first of them.
    pub(super) mechanism: OnceLock<Mechanism>,
    leaves_token: bool,
}

/// The keys that a URI names, the newest last; never empty.
#[derive(Debug)]
pub(super) struct KeySet {
    pub(super) epoch: Epoch,
    keys: Vec<Key>,
}

impl Key {
    /// A secret AES key that was made just now.
    pub(super) fn of_secret(id: Vec<u8>, handle: ObjectHandle) -> Self {
        Self {
            class: Class::Aes,
            id,
            start: String::new(),
            wraps: Some(handle),
            public: None,
            unwraps: handle,
            mechanism: OnceLock::new(),
            leaves_token: false,
        }
    }

    /// What stands in a slot as the key's version.
    pub(super) fn version(&self) -> String {
        hex(&self.id)
    }

    /// Newer is later: first the start date, none being the earliest, then the id as a number.
    fn age(&self) -> (&str, usize, &[u8]) {
        let zeros = self.id.iter().take_while(|byte| **byte == 0).count();
        let digits = self.id.get(zeros..).unwrap_or_default();
        (&self.start, digits.len(), digits)
    }
}

impl KeySet {
    /// Looks the keys up.
    ///
    /// # Errors
    /// `NotFound` where there is none; `Config` where they cannot be told apart, or the object is no
    /// AES or RSA key.
    pub(super) fn find(session: &Session, wanted: &KeyPath, epoch: Epoch) -> Result<Self, Failure> {
        let mut keys = Vec::new();
        for (name, class) in [(SECRET_KEY, Class::Aes), (PRIVATE_KEY, Class::Rsa)] {
            if wanted.text("type").is_none_or(|kind| kind == name) {
                keys.append(&mut find_class(session, wanted, class)?);
            }
        }
        if keys.is_empty() {
            return Err(Failure::Known(no_key(session, wanted)?));
        }
        check(&keys, wanted)?;
        keys.sort_by(|a, b| a.age().cmp(&b.age()));
        Ok(Self { epoch, keys })
    }

    pub(super) fn newest(&self) -> Option<&Key> {
        self.keys.last()
    }

    pub(super) fn by_id(&self, id: &[u8]) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub(super) fn of_class(&self, class: Class) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.class == class)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The versions whose keys the token would hand out.
    pub(super) fn not_kept(&self) -> Vec<String> {
        let leaving = self.keys.iter().filter(|key| key.leaves_token);
        leaving.map(Key::version).collect()
    }
}

/// The version of a key with this id.
pub(super) fn hex(id: &[u8]) -> String {
    HEXLOWER.encode(id)
}

/// The id of a version; `None` where no key has such a version.
pub(super) fn id_of(version: &str) -> Option<Vec<u8>> {
    let id = HEXLOWER.decode(version.as_bytes()).ok()?;
    (1..=ID_MAX).contains(&id.len()).then_some(id)
}

fn find_class(session: &Session, wanted: &KeyPath, class: Class) -> Result<Vec<Key>, Failure> {
    let (object, key_type) = match class {
        Class::Aes => (ObjectClass::SECRET_KEY, KeyType::AES),
        Class::Rsa => (ObjectClass::PRIVATE_KEY, KeyType::RSA),
    };
    let mut template = named(wanted);
    template.extend([Attribute::Class(object), Attribute::KeyType(key_type)]);
    let handles = session.find_objects(&template)?;
    let read = |handle: &ObjectHandle| read(session, *handle, class);
    handles.iter().map(read).collect()
}

/// What an object must have to be what the URI names.
fn named(wanted: &KeyPath) -> Vec<Attribute> {
    let label = wanted.text("object");
    let label = label.map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = wanted.id().map(|id| Attribute::Id(id.to_vec()));
    [label, id].into_iter().flatten().collect()
}

fn read(session: &Session, handle: ObjectHandle, class: Class) -> Result<Key, Failure> {
    let asked = [
        AttributeType::Id,
        AttributeType::Sensitive,
        AttributeType::Extractable,
    ];
    let mut id = Vec::new();
    let (mut sensitive, mut extractable) = (true, false);
    for attribute in session.get_attributes(handle, &asked)? {
        if let Attribute::Id(value) = attribute {
            id = value;
        } else if let Attribute::Sensitive(value) = attribute {
            sensitive = value;
        } else if let Attribute::Extractable(value) = attribute {
            extractable = value;
        }
    }
    let (wraps, public) = match class {
        Class::Aes => (Some(handle), None),
        Class::Rsa => {
            let wraps = public_half(session, &id)?;
            (wraps, public_key(session, handle, wraps)?)
        }
    };
    Ok(Key {
        class,
        id,
        start: start_date(session, handle)?,
        wraps,
        public,
        unwraps: handle,
        mechanism: OnceLock::new(),
        leaves_token: extractable || !sensitive,
    })
}

fn public_key(
    session: &Session,
    private: ObjectHandle,
    public: Option<ObjectHandle>,
) -> Result<Option<PublicKey>, Failure> {
    match Components::read(session, private, public) {
        Ok(components) => Ok(PublicKey::of_components(&components).ok()),
        Err(failure) if failure.is_unsuitable() => {
            tracing::debug!(?failure, "the token does not give a key's public half");
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// A date that the token cannot give (SoftHSM 2.6: of a private object) counts as none.
fn start_date(session: &Session, handle: ObjectHandle) -> Result<String, Failure> {
    let read = session.get_attributes(handle, &[AttributeType::StartDate]);
    match read.map_err(Failure::from) {
        Ok(attributes) => Ok(attributes.first().map_or_else(String::new, |attribute| {
            if let Attribute::StartDate(date) = attribute {
                digits(&date.to_string())
            } else {
                String::new()
            }
        })),
        Err(failure) if failure.is_unsuitable() => {
            tracing::debug!(?failure, "the token does not give a key's start date");
            Ok(String::new())
        }
        Err(failure) => Err(failure),
    }
}

fn digits(date: &str) -> String {
    date.chars().filter(char::is_ascii_digit).collect()
}

fn public_half(session: &Session, id: &[u8]) -> Result<Option<ObjectHandle>, Error> {
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Id(id.to_vec()),
    ];
    Ok(session.find_objects(&template)?.first().copied())
}

/// A wrapped key names its key by the id, so each must have one of its own.
fn check(keys: &[Key], wanted: &KeyPath) -> Result<(), KeyError> {
    let key = wanted.key_in_words();
    let mut ids: Vec<_> = keys.iter().map(|key| &key.id).collect();
    ids.sort();
    let refused = |message: String| Err(KeyError::config(message));
    if keys.iter().any(|key| key.id.is_empty()) {
        return refused(format!(
            "key {key} has no CKA_ID: give it one, since wrapped keys name it"
        ));
    }
    if keys.iter().any(|key| key.id.len() > ID_MAX) {
        return refused(format!(
            "key {key} has a CKA_ID of more than {ID_MAX} bytes"
        ));
    }
    if ids.windows(2).any(|pair| pair.first() == pair.last()) {
        return refused(format!(
            "several keys are {key} and have the same CKA_ID: add type=secret-key or type=private, or give them other ids"
        ));
    }
    Ok(())
}

fn no_key(session: &Session, wanted: &KeyPath) -> Result<KeyError, Failure> {
    let (token, key) = (wanted.token_in_words(), wanted.key_in_words());
    let mut public = named(wanted);
    public.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
    // A public key outlives its private one: then that is gone.
    let public = session.find_objects(&public)?.len();
    let others = session.find_objects(&named(wanted))?.len();
    Ok(match others.saturating_sub(public) {
        0 => KeyError::not_found(format!("{token} has no key {key}")),
        _ => KeyError::config(format!(
            "object {key} of {token} is neither a secret AES key nor a private RSA key{}",
            wanted
                .text("type")
                .map_or_else(String::new, |kind| format!(" of type {kind}"))
        )),
    })
}

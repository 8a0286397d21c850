//! RSA private keys of a token whose public halves wrap outside of it (`rsa:`).

use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::Pkcs11Provider;
use super::blob::Blob;
use super::cipher;
use super::failure::Failure;
use super::object::{Class, Key, KeySet};
use crate::crypto::random;
use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;

/// The public half of a key: its modulus and its exponent, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::keys) struct Components {
    pub(in crate::keys) modulus: Vec<u8>,
    pub(in crate::keys) exponent: Vec<u8>,
}

impl Components {
    /// Those of a key pair. Not every private key has the exponent: the public one in the token does.
    pub(super) fn read(
        session: &Session,
        private: ObjectHandle,
        public: Option<ObjectHandle>,
    ) -> Result<Self, Failure> {
        let asked = [AttributeType::Modulus, AttributeType::PublicExponent];
        let (mut modulus, mut exponent) = (Vec::new(), Vec::new());
        for object in [Some(private), public].into_iter().flatten() {
            for attribute in session.get_attributes(object, &asked)? {
                if let Attribute::Modulus(value) = attribute {
                    modulus = value;
                } else if let Attribute::PublicExponent(value) = attribute {
                    exponent = value;
                }
            }
        }
        let stripped = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.get(zeros..).unwrap_or_default().to_vec()
        };
        Ok(Self {
            modulus: stripped(&modulus),
            exponent: stripped(&exponent),
        })
    }

    fn of(session: &Session, key: &Key) -> Result<Self, Failure> {
        Self::read(session, key.unwraps, key.wraps)
    }
}

/// Wraps 32 bytes by a public key outside the token.
type Wrap<'a> = &'a dyn Fn(&[u8; SecretKey::LEN]) -> Result<Vec<u8>, KeyError>;

impl Pkcs11Provider {
    /// The public halves of the RSA keys that the URI names.
    ///
    /// # Errors
    /// As [`probe`](crate::keys::KeyProvider::probe).
    pub(in crate::keys) fn public_halves(&self) -> Result<Vec<Components>, KeyError> {
        self.with_keys("looking", &|session, keys| {
            let keys = self.search(session, keys.epoch)?;
            let halves = keys
                .of_class(Class::Rsa)
                .map(|key| Components::of(session, key));
            halves.collect()
        })
    }

    /// Has the private key of this public half unwrap the token's part of a wrapped key; `wrap` wraps by
    /// the public half.
    ///
    /// # Errors
    /// `NotFound` where the token has no such key, `Config` where it cannot do the mechanism, `Corrupt`
    /// for what the public half has not wrapped, and what the token answers.
    pub(in crate::keys) fn unwrap_outside(
        &self,
        half: &Components,
        blob: &Blob<'_>,
        wrap: Wrap<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.unwrapping(
            &|session, keys| {
                let key = of_half(session, keys, half)?;
                cipher::unwrap(session, key, blob.mechanism, blob.by_token, &[])
            },
            &|session, keys| still_unwraps(session, of_half(session, keys, half)?, blob, wrap),
        )
    }
}

fn of_half<'a>(session: &Session, keys: &'a KeySet, half: &Components) -> Result<&'a Key, Failure> {
    for key in keys.of_class(Class::Rsa) {
        if Components::of(session, key)? == *half {
            return Ok(key);
        }
    }
    Err(KeyError::not_found("the token has this private key no more").into())
}

/// As [`super::still_unwraps`], for a key whose public half may not be in the token.
fn still_unwraps(
    session: &Session,
    key: &Key,
    blob: &Blob<'_>,
    wrap: Wrap<'_>,
) -> Result<(), Failure> {
    let secret: Zeroizing<[u8; SecretKey::LEN]> = Zeroizing::new(random::array());
    let wrapped = wrap(&secret)?;
    match cipher::unwrap(session, key, blob.mechanism, &wrapped, &[]) {
        Ok(_secret) => Ok(()),
        Err(trouble) if trouble.is_unsuitable() => {
            let name = blob.mechanism.name();
            let why = trouble.into_error(name);
            let message = format!("the token cannot do {name}: {}", why.message());
            Err(KeyError::config(message).into())
        }
        Err(trouble) => Err(trouble),
    }
}

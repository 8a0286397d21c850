//! The operations that are used, each with what it asks and what it takes out of the answer.

use zeroize::Zeroizing;

use super::blob::{Mechanism, Sealed};
use super::client::Client;
use super::failure::Failure;
use super::message::{Operation, tag};
use super::ttlv::{Item, Value, Writer};
use super::uri::NAME_MAX;
use crate::crypto::random;
use crate::crypto::secret::SecretKey;

const AES: u32 = 3;
const CBC: u32 = 1;
const GCM: u32 = 9;
const PKCS5: u32 = 3;
const SYMMETRIC_KEY: u32 = 2;
const TEXT_NAME: u32 = 1;

/// Keys of one name that are looked at, at most. Servers give the newest first.
const LOCATED_MAX: i32 = 64;

const NAME: &str = "Name";
const OBJECT_TYPE: &str = "Object Type";
const ALGORITHM: &str = "Cryptographic Algorithm";
const INITIAL_DATE: &str = "Initial Date";
const STATE: &str = "State";

/// The state of a key (KMIP 1.4 §3.22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Compromised,
    Deactivated,
    Destroyed,
    PreActive,
}

/// What a server says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyInfo {
    pub(super) id: String,
    pub(super) state: State,
    pub(super) is_aes: bool,
    /// Seconds since 1970; 0 where the server does not say.
    pub(super) made: i64,
}

impl Client {
    /// The unique identifiers of the symmetric keys of this name.
    pub(super) fn locate(&self, name: &str) -> Result<Vec<String>, Failure> {
        let payload = |writer: &mut Writer| {
            writer.integer(tag::MAXIMUM_ITEMS, LOCATED_MAX);
            attribute(writer, NAME, |writer| {
                writer.structure(tag::ATTRIBUTE_VALUE, |writer| {
                    writer.text(tag::NAME_VALUE, name);
                    writer.enumeration(tag::NAME_TYPE, TEXT_NAME);
                });
            });
            attribute(writer, OBJECT_TYPE, |writer| {
                writer.enumeration(tag::ATTRIBUTE_VALUE, SYMMETRIC_KEY);
            });
        };
        self.call(Operation::Locate, &payload, &|payload| {
            let ids = payload.all(tag::UNIQUE_IDENTIFIER).map(|item| {
                if let Value::Text(id) = item.value {
                    is_id(id).then(|| id.to_owned())
                } else {
                    None
                }
            });
            ids.collect()
        })
    }

    /// What the server says of the key with this unique identifier.
    pub(super) fn attributes(&self, id: &str) -> Result<KeyInfo, Failure> {
        let payload = |writer: &mut Writer| {
            writer.text(tag::UNIQUE_IDENTIFIER, id);
            for name in [STATE, ALGORITHM, INITIAL_DATE] {
                writer.text(tag::ATTRIBUTE_NAME, name);
            }
        };
        self.call(Operation::GetAttributes, &payload, &|payload| {
            let made = match value(payload, INITIAL_DATE) {
                Some(Value::DateTime(made)) => *made,
                _ => 0,
            };
            let algorithm = value(payload, ALGORITHM);
            Some(KeyInfo {
                id: id.to_owned(),
                state: state(value(payload, STATE)?)?,
                is_aes: algorithm == Some(&Value::Enumeration(AES)),
                made,
            })
        })
    }

    /// Encrypts 32 bytes. The IV is random; a server that makes its own says so.
    pub(super) fn encrypt(
        &self,
        id: &str,
        mechanism: Mechanism,
        secret: &[u8; SecretKey::LEN],
        aad: &[u8],
    ) -> Result<Sealed, Failure> {
        let iv: [u8; 16] = random::array();
        let iv = iv.get(..mechanism.iv_len()).unwrap_or_default();
        let payload = |writer: &mut Writer| {
            writer.text(tag::UNIQUE_IDENTIFIER, id);
            parameters(writer, mechanism);
            writer.bytes(tag::DATA, secret);
            writer.bytes(tag::IV_COUNTER_NONCE, iv);
            additional_data(writer, mechanism, aad);
        };
        let sealed = self.call(Operation::Encrypt, &payload, &|payload| {
            Some(Sealed {
                iv: payload.bytes(tag::IV_COUNTER_NONCE).unwrap_or(iv).to_vec(),
                data: payload.bytes(tag::DATA)?.to_vec(),
                tag: payload
                    .bytes(tag::AUTHENTICATION_TAG)
                    .unwrap_or_default()
                    .to_vec(),
            })
        })?;
        if sealed.fits(mechanism) {
            Ok(sealed)
        } else {
            Err(Failure::garbage("the ciphertext has another length"))
        }
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made. The bytes may be of any length: what is no key is
    /// refused by the caller.
    pub(super) fn decrypt(
        &self,
        id: &str,
        mechanism: Mechanism,
        sealed: &Sealed,
        aad: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let payload = |writer: &mut Writer| {
            writer.text(tag::UNIQUE_IDENTIFIER, id);
            parameters(writer, mechanism);
            writer.bytes(tag::DATA, &sealed.data);
            writer.bytes(tag::IV_COUNTER_NONCE, &sealed.iv);
            additional_data(writer, mechanism, aad);
            if mechanism == Mechanism::Gcm {
                writer.bytes(tag::AUTHENTICATION_TAG, &sealed.tag);
            }
        };
        self.call(Operation::Decrypt, &payload, &|payload| {
            let plain = payload.bytes(tag::DATA)?;
            Some(Zeroizing::new(plain.to_vec()))
        })
    }
}

/// Whether a text may be a unique identifier: as a key version it stands in headers.
pub(super) fn is_id(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn attribute(writer: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    writer.structure(tag::ATTRIBUTE, |writer| {
        writer.text(tag::ATTRIBUTE_NAME, name);
        value(writer);
    });
}

fn parameters(writer: &mut Writer, mechanism: Mechanism) {
    writer.structure(tag::CRYPTOGRAPHIC_PARAMETERS, |writer| match mechanism {
        Mechanism::Gcm => {
            writer.enumeration(tag::BLOCK_CIPHER_MODE, GCM);
            writer.enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES);
            writer.integer(tag::TAG_LENGTH, 16);
        }
        Mechanism::Cbc => {
            writer.enumeration(tag::BLOCK_CIPHER_MODE, CBC);
            writer.enumeration(tag::PADDING_METHOD, PKCS5);
            writer.enumeration(tag::CRYPTOGRAPHIC_ALGORITHM, AES);
        }
    });
}

fn additional_data(writer: &mut Writer, mechanism: Mechanism, aad: &[u8]) {
    if mechanism.binds() {
        writer.bytes(tag::ADDITIONAL_DATA, aad);
    }
}

/// The value of the attribute of this name.
fn value<'a, 'b>(payload: &'b Item<'a>, name: &str) -> Option<&'b Value<'a>> {
    let mut attributes = payload.all(tag::ATTRIBUTE);
    let named = attributes.find(|item| item.text(tag::ATTRIBUTE_NAME) == Some(name))?;
    named.find(tag::ATTRIBUTE_VALUE).map(|item| &item.value)
}

fn state(value: &Value<'_>) -> Option<State> {
    let number = if let Value::Enumeration(number) = value {
        *number
    } else {
        return None;
    };
    match number {
        1 => Some(State::PreActive),
        2 => Some(State::Active),
        3 => Some(State::Deactivated),
        4 => Some(State::Compromised),
        5 | 6 => Some(State::Destroyed),
        _ => None,
    }
}

//! Which version of which key a ciphertext is under, in bytes.

use std::fmt;

use data_encoding::HEXLOWER;

use crate::kms::engine::KmsError;
use crate::kms::engine::model::{KeyId, KeyVersionId};
use crate::kms::material::errors;

/// The ids of a key and of one of its versions: two UUIDs as their bytes, for blobs and as the key
/// of a cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    key: [u8; Self::ID_LEN],
    version: [u8; Self::ID_LEN],
}

/// The places of the hyphens in a UUID's text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl Address {
    pub(super) const ID_LEN: usize = 16;

    /// Of ids as text.
    ///
    /// # Errors
    /// `Internal` where an id is not a UUID in lower case: this service makes no other.
    pub fn new(key: &KeyId, version: &KeyVersionId) -> Result<Self, KmsError> {
        let bytes = |text: &str| {
            uuid_bytes(text).ok_or_else(|| errors::internal("An id of this service is no UUID."))
        };
        Ok(Self {
            key: bytes(&key.0)?,
            version: bytes(&version.0)?,
        })
    }

    pub(super) fn from_bytes(key: [u8; Self::ID_LEN], version: [u8; Self::ID_LEN]) -> Self {
        Self { key, version }
    }

    /// The key's id, as text.
    #[must_use]
    pub fn key(&self) -> KeyId {
        KeyId(uuid_text(&self.key))
    }

    /// The version's id, as text.
    #[must_use]
    pub fn version(&self) -> KeyVersionId {
        KeyVersionId(uuid_text(&self.version))
    }

    pub(super) fn key_bytes(&self) -> &[u8; Self::ID_LEN] {
        &self.key
    }

    /// The version's id as the bytes of its UUID.
    #[must_use]
    pub fn version_bytes(&self) -> &[u8; Self::ID_LEN] {
        &self.version
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}, {})", self.key().0, self.version().0)
    }
}

/// Bytes of a UUID in lower case with its hyphens (RFC 9562, §4), and of no other text.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let hyphens = HYPHENS.map(|place| text.as_bytes().get(place).copied());
    if text.len() != 36 || hyphens != [Some(b'-'); 4] {
        return None;
    }
    let mut digits = [0; 32];
    let mut rest = digits.iter_mut();
    for (place, byte) in text.bytes().enumerate() {
        if !HYPHENS.contains(&place) {
            *rest.next()? = byte;
        }
    }
    let mut bytes = [0; 16];
    HEXLOWER.decode_mut(&digits, &mut bytes).ok()?;
    Some(bytes)
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = HEXLOWER.encode(bytes);
    for place in HYPHENS {
        text.insert(place, '-');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123abcd-4567-89ef-8000-00ff10203040";

    #[test]
    fn the_text_of_a_uuid_is_its_bytes() {
        let bytes = uuid_bytes(ID).unwrap();
        assert_eq!(
            bytes,
            [
                0x01, 0x23, 0xab, 0xcd, 0x45, 0x67, 0x89, 0xef, 0x80, 0, 0, 0xff, 0x10, 0x20, 0x30,
                0x40
            ]
        );
        assert_eq!(uuid_text(&bytes), ID);
    }

    #[test]
    fn no_other_text_is_an_id() {
        let others = [
            "",
            "0123abcd456789ef800000ff10203040",
            "0123ABCD-4567-89ef-8000-00ff10203040",
            "0123abcd-4567-89ef-8000-00ff1020304",
            "0123abcd-4567-89ef-8000-00ff102030400",
            "0123abcd04567-89ef-8000-00ff10203040",
            "0123abcd-4567-89ef-8000-00ff1020304g",
            "0123abc--4567-89ef-8000-00ff10203040",
            "{123abcd-4567-89ef-8000-00ff1020304}",
            "0123abcd-4567-89ef-8000-00ff1020304\u{e9}",
            "\u{e9}\u{e9}\u{e9}\u{e9}-4567-89ef-8000-00ff10203040",
        ];
        for other in others {
            assert_eq!(uuid_bytes(other), None, "{other}");
        }
    }

    #[test]
    fn an_address_gives_its_ids_back() {
        let key = KeyId(ID.to_owned());
        let version = KeyVersionId(ID.replace('0', "f"));
        let address = Address::new(&key, &version).unwrap();
        assert_eq!((address.key(), address.version()), (key.clone(), version));
        assert!(Address::new(&key, &KeyVersionId("v1".to_owned())).is_err());
    }
}

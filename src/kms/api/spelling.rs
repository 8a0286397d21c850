//! How a dialect spells the values of an enumeration, and what both spell the same.

use crate::kms::engine::model::KeyState;
use crate::kms::engine::ops::asymmetric::MacAlgorithm;
use crate::kms::engine::ops::export::ExportAlgorithm;

/// Each value with its name; of several names the first is the one that is given out.
pub(super) struct Spelling<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Spelling<T> {
    /// The value of this name.
    pub(super) fn value(&self, name: &str) -> Option<T> {
        let found = self.0.iter().find(|(other, _value)| *other == name);
        found.map(|(_name, value)| *value)
    }

    /// The name of a value. Each table has all values that its dialect gives out.
    pub(super) fn name(&self, value: T) -> &'static str {
        let found = self.0.iter().find(|(_name, other)| *other == value);
        found.map_or("", |(name, _value)| name)
    }
}

pub(super) const STATES: Spelling<KeyState> = Spelling(&[
    ("Disabled", KeyState::Disabled),
    ("Enabled", KeyState::Enabled),
    ("PendingDeletion", KeyState::PendingDeletion),
    ("PendingImport", KeyState::PendingImport),
]);

pub(super) const MACS: Spelling<MacAlgorithm> = Spelling(&[
    ("HMAC_SHA_224", MacAlgorithm::HmacSha224),
    ("HMAC_SHA_256", MacAlgorithm::HmacSha256),
    ("HMAC_SHA_384", MacAlgorithm::HmacSha384),
    ("HMAC_SHA_512", MacAlgorithm::HmacSha512),
]);

pub(super) const WRAPPING: Spelling<ExportAlgorithm> = Spelling(&[
    ("RSAES_PKCS1_V1_5", ExportAlgorithm::RsaesPkcs1V15),
    ("RSAES_OAEP_SHA_1", ExportAlgorithm::RsaesOaepSha1),
    ("RSAES_OAEP_SHA_256", ExportAlgorithm::RsaesOaepSha256),
    ("RSA_AES_KEY_WRAP_SHA_1", ExportAlgorithm::RsaAesKeyWrapSha1),
    (
        "RSA_AES_KEY_WRAP_SHA_256",
        ExportAlgorithm::RsaAesKeyWrapSha256,
    ),
    ("SM2PKE", ExportAlgorithm::Sm2Pke),
]);

//! HMAC keys (RFC 2104; SHA-2 of FIPS 180-4).

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA224, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};

use crate::kms::engine::ops::asymmetric::MacAlgorithm;

/// An HMAC key; its inner and outer states are wiped when dropped.
pub(super) struct MacKey(hmac::Key);

impl MacKey {
    pub(super) fn new(algorithm: MacAlgorithm, key: &[u8]) -> Self {
        let algorithm = match algorithm {
            MacAlgorithm::HmacSha224 => HMAC_SHA224,
            MacAlgorithm::HmacSha256 => HMAC_SHA256,
            MacAlgorithm::HmacSha384 => HMAC_SHA384,
            MacAlgorithm::HmacSha512 => HMAC_SHA512,
        };
        Self(hmac::Key::new(algorithm, key))
    }

    pub(super) fn mac(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, message).as_ref().to_vec()
    }

    /// Takes the same time for all MACs of the right length.
    pub(super) fn verify(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

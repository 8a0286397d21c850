//! AES-256 Key Wrap with Padding (RFC 5649, NIST SP 800-38F's KWP) of 32-byte keys, and of nothing
//! else: short inputs are where the mode and its implementations have had their weak spots.

use aes_kw::{KeyInit, KwpAes256};
use zeroize::Zeroizing;

use crate::crypto::secret::{LockedMemoryError, SecretKey};

/// The length of a wrapped key in bytes.
pub const WRAPPED_LEN: usize = SecretKey::LEN + aes_kw::IV_LEN;

/// A wrapped key that does not give a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KwpError {
    /// Not wrapped by this key, or changed since, or not a key of 32 bytes.
    #[error("the wrapped key is not authentic")]
    Integrity,
    /// Of another length than [`WRAPPED_LEN`].
    #[error("a wrapped key is {WRAPPED_LEN} bytes, not {0}")]
    Length(usize),
    /// No memory for the key.
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
}

/// Wraps `key` under `kek`: [`WRAPPED_LEN`] bytes, the same each time.
pub fn wrap(kek: &SecretKey, key: &SecretKey) -> Vec<u8> {
    let mut wrapped = vec![0; WRAPPED_LEN];
    KwpAes256::new(kek.expose().into())
        .wrap_key(key.expose(), &mut wrapped)
        .expect("the output has the length of a wrapped key");
    wrapped
}

/// Unwraps what [`wrap`] made.
///
/// # Errors
/// As [`KwpError`] says.
pub fn unwrap(kek: &SecretKey, wrapped: &[u8]) -> Result<SecretKey, KwpError> {
    if wrapped.len() != WRAPPED_LEN {
        return Err(KwpError::Length(wrapped.len()));
    }
    let mut buffer = Zeroizing::new([0; SecretKey::LEN]);
    let key = KwpAes256::new(kek.expose().into())
        .unwrap_key(wrapped, &mut *buffer)
        .map_err(|_error| KwpError::Integrity)?;
    // A wrapped key of 25 to 31 bytes has the same length; its padding is cut off by now.
    let key = key.try_into().map_err(|_short| KwpError::Integrity)?;
    Ok(SecretKey::from_bytes(key)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::testing::{key_of, key_of_hex, one_bit_flips, unhex};

    /// Wycheproof's AES-KWP, tests 167 to 169, and one made by OpenSSL. RFC 5649's own vectors are
    /// of another length. KEK, key, wrapped.
    const VALID: [(&str, &str, &str); 4] = [
        (
            "38e1b1d075d9d852b9a6c01c8ff6965af01bac457a4e339ae3e1d7b2ffacc0cd",
            "80ad6820f1c90981e2ca42b817a345c1179d0a11d8e23a8adc0505e13d87295a",
            "b63b7e0fec7e315816233db6758fd3e744b9f6a40862bdf866487e53bcb950d8b2649269e51b4475",
        ),
        (
            "c641f1689d81caa8ba37d895272240664054ed974cfffc40e6c5c0cad1b916c7",
            "3fd0ba19955e46749f54d88e99d080b7339d588fe612ec0f4021ca3ca2104270",
            "837cfc316b49299edaf427e0988020ee876204b29d847669daab72c8660b0d860e9de3bd851198ff",
        ),
        (
            "aa0ab9d68ed4a04e723f81b44c0c88d0bcde7a80cfd476eb4b8836d9aa01ec4c",
            "57faa8766f6d6a0aa1cf643f857c150df5b31303b50af480e21c4b5e8c8a15d5",
            "0e9e2e9aa34bbf973d67bc534ac86fc5b5a5f9da5f026866177894ec6077a5c84501510e1bf4afb3",
        ),
        (
            "0707070707070707070707070707070707070707070707070707070707070707",
            "0909090909090909090909090909090909090909090909090909090909090909",
            "ad27ea59d1408cd6c1b681fb09e1868d92357abf73af454797074e25b9b41670b6bfdb346031d531",
        ),
    ];

    /// Of the same, of 40 bytes: changed IVs (tests 218, 219, 225) and padding that is not zeros (235
    /// to 237).
    const INVALID_KEK: &str = "4f710eb6b5e28703becfc3dc52fa8bc1dd44a4a6d38a84b4f94e89ac32d987e7";
    const INVALID: [&str; 6] = [
        "0b0aa97121bb8e367b8e80e6518a786ab686f4d6b8a075c3abe534698ec462e09fba981615d43ebd",
        "aa6eaa5b94f39247b9581c4d3120ed71e6a427eb51b2439f245d1762041dcf50741fc53fa7a95579",
        "b0116ad877c745d609f7df14b9225a2d69ab56f2e74077e34607b4e75a2883442864f17ca19af259",
        "9220a6eb9c77a3d6374647afa7a3effb99be7e1f7bafeca8a1bbd93e8adcca6e570484008ee674ca",
        "94654a58be6bb6b946ef40ac7b8f1d19e2edff7c2c8c54eb7b2cbb3227c4f9df2cb317795beea413",
        "1ae49d65e69886f0f47cbbeb50f07ab5163983916a738a0d8f538c59c8a6e1e9ad229b27418259a7",
    ];

    /// Of the same: padding of more than 7 bytes (test 240).
    const TOO_LONG_KEK: &str = "48a53c11ef2d727db7eb9a834b134ea9602273aca929702eb2c31d96a58c9be2";
    const TOO_LONG: &str =
        "791f088847a76731e0d56b9b2dcb28bf9f091a9725790e0a64fc8e7cb3ad50f380297a98e3b1c33e";

    #[test]
    fn valid_vectors_wrap_and_unwrap() {
        for (kek, key, wrapped) in VALID {
            let (kek, key, wrapped) = (key_of_hex(kek), key_of_hex(key), unhex(wrapped));
            assert_eq!(wrap(&kek, &key), wrapped);
            assert_eq!(unwrap(&kek, &wrapped), Ok(key));
        }
    }

    #[test]
    fn invalid_vectors_are_refused() {
        let vectors = INVALID.map(|wrapped| (INVALID_KEK, wrapped));
        for (kek, wrapped) in vectors.into_iter().chain([(TOO_LONG_KEK, TOO_LONG)]) {
            let unwrapped = unwrap(&key_of_hex(kek), &unhex(wrapped));
            assert_eq!(unwrapped, Err(KwpError::Integrity), "{wrapped}");
        }
    }

    /// RFC 5649 allows them, and 25 to 31 bytes come out as long as 32.
    #[test]
    fn keys_of_other_lengths_are_refused() {
        let kek = KwpAes256::new(&[7; 32].into());
        for len in (1..64).filter(|&len| len != 32) {
            let mut buffer = [0; 80];
            let wrapped = kek.wrap_key(&vec![9; len], &mut buffer).unwrap();
            let refusal = match wrapped.len() {
                WRAPPED_LEN => KwpError::Integrity,
                other => KwpError::Length(other),
            };
            assert_eq!(unwrap(&key_of(7), wrapped), Err(refusal), "{len}");
        }
    }

    #[test]
    fn anything_that_is_not_40_bytes_is_refused() {
        let wrapped = wrap(&key_of(7), &key_of(9));
        for len in (0..WRAPPED_LEN).chain([41, 48, 4096]) {
            let mut bytes = wrapped.clone();
            bytes.resize(len, 0);
            assert_eq!(unwrap(&key_of(7), &bytes), Err(KwpError::Length(len)));
        }
    }

    #[test]
    fn a_change_of_any_byte_is_refused() {
        for changed in one_bit_flips(&wrap(&key_of(7), &key_of(9))) {
            assert_eq!(unwrap(&key_of(7), &changed), Err(KwpError::Integrity));
        }
    }

    #[test]
    fn another_kek_unwraps_nothing() {
        let wrapped = wrap(&key_of(7), &key_of(9));
        assert_eq!(unwrap(&key_of(8), &wrapped), Err(KwpError::Integrity));
    }

    proptest! {
        #[test]
        fn what_is_wrapped_unwraps(kek: [u8; 32], key: [u8; 32]) {
            let kek = SecretKey::from_bytes(&kek).unwrap();
            let key = SecretKey::from_bytes(&key).unwrap();
            let wrapped = wrap(&kek, &key);
            prop_assert_eq!(wrapped.len(), WRAPPED_LEN);
            prop_assert_eq!(unwrap(&kek, &wrapped), Ok(key));
        }
    }
}

//! Either implementation of XAES-256-GCM behind one trait, for `speed`, benches and tests. What
//! seals files calls [`xaes`] by name.

use std::fmt;

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::{self, OpenError, TAG_LEN};
use crate::crypto::xaes_reference;

/// AES-256-GCM under one nonce prefix, by either implementation.
pub trait GcmCipher: fmt::Debug + Send + Sync {
    /// As [`xaes::Subkey::seal_in_place`].
    fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN];

    /// As [`xaes::Subkey::seal_into`].
    fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> [u8; TAG_LEN];

    /// As [`xaes::Subkey::open_into`].
    ///
    /// # Errors
    /// [`OpenError`], and `out` is zeros.
    fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), OpenError>;
}

macro_rules! gcm_cipher {
    ($subkey:ty) => {
        impl GcmCipher for $subkey {
            fn seal_in_place(
                &self,
                nonce: &[u8; 12],
                aad: &[u8],
                data: &mut [u8],
            ) -> [u8; TAG_LEN] {
                <$subkey>::seal_in_place(self, nonce, aad, data)
            }

            fn seal_into(
                &self,
                nonce: &[u8; 12],
                aad: &[u8],
                plaintext: &[u8],
                out: &mut [u8],
            ) -> [u8; TAG_LEN] {
                <$subkey>::seal_into(self, nonce, aad, plaintext, out)
            }

            fn open_into(
                &self,
                nonce: &[u8; 12],
                aad: &[u8],
                ciphertext: &[u8],
                tag: &[u8; TAG_LEN],
                out: &mut [u8],
            ) -> Result<(), OpenError> {
                <$subkey>::open_into(self, nonce, aad, ciphertext, tag, out)
            }
        }
    };
}

gcm_cipher!(xaes::Subkey);
gcm_cipher!(xaes_reference::Subkey);

/// Who computes AES-256-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// aws-lc: [`xaes`], what files are sealed with.
    AwsLc,
    /// RustCrypto: [`xaes_reference`].
    RustCrypto,
}

impl Backend {
    /// Both, the one in use first.
    pub const ALL: [Self; 2] = [Self::AwsLc, Self::RustCrypto];

    /// The subkey of `key` for nonces that begin with `prefix`.
    pub fn subkey(self, key: &SecretKey, prefix: &[u8; 12]) -> Box<dyn GcmCipher> {
        match self {
            Self::AwsLc => Box::new(xaes::XaesKey::new(key).subkey(prefix)),
            Self::RustCrypto => Box::new(xaes_reference::XaesKey::new(key).subkey(prefix)),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AwsLc => "aws-lc-rs",
            Self::RustCrypto => "aes-gcm",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proptest::prelude::*;

    use super::*;
    use crate::crypto::testing::{Shake128, key_of, one_bit_flips, unhex, unhex_array};

    /// XAES-256-GCM with its whole nonce, as C2SP writes it: ciphertext ‖ tag. In place and from one
    /// buffer into another, which must come to the same.
    fn seal(
        backend: Backend,
        key: &SecretKey,
        nonce: &[u8; 24],
        aad: &[u8],
        data: &[u8],
    ) -> Vec<u8> {
        let (prefix, gcm_nonce) = nonce.split_at(12);
        let subkey = backend.subkey(key, prefix.try_into().unwrap());
        let nonce = gcm_nonce.try_into().unwrap();
        let mut sealed = data.to_vec();
        let tag = subkey.seal_in_place(nonce, aad, &mut sealed);
        let mut apart = vec![0xee; data.len()];
        assert_eq!(
            (subkey.seal_into(nonce, aad, data, &mut apart), &apart),
            (tag, &sealed),
            "{backend}"
        );
        sealed.extend_from_slice(&tag);
        sealed
    }

    fn open(
        backend: Backend,
        key: &SecretKey,
        nonce: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let (prefix, gcm_nonce) = nonce.split_at(12);
        let (ciphertext, tag) = sealed.split_last_chunk().unwrap();
        // Not zeros, so that what a failure leaves behind shows.
        let mut out = vec![0xee; ciphertext.len()];
        let subkey = backend.subkey(key, prefix.try_into().unwrap());
        let opened = subkey.open_into(
            gcm_nonce.try_into().unwrap(),
            aad,
            ciphertext,
            tag,
            &mut out,
        );
        if opened.is_err() {
            assert!(
                out.iter().all(|&byte| byte == 0),
                "{backend}: output after a failure"
            );
        }
        opened.map(|()| out)
    }

    const NONCE: &[u8; 24] = b"ABCDEFGHIJKLMNOPQRSTUVWX";

    #[test]
    fn the_vectors_of_c2sp_hold() {
        let vectors = [
            (
                1,
                "",
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                3,
                "c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ];
        for backend in Backend::ALL {
            for (key_byte, aad, sealed) in vectors {
                let key = key_of(key_byte);
                let made = seal(backend, &key, NONCE, aad.as_bytes(), b"XAES-256-GCM");
                assert_eq!(made, unhex(sealed), "{backend}");
                let opened = open(backend, &key, NONCE, aad.as_bytes(), &made);
                assert_eq!(opened.unwrap(), b"XAES-256-GCM", "{backend}");
            }
        }
    }

    /// C2SP's accumulated test: 10,000 random messages, and one hash over all that was sealed.
    fn accumulated(backend: Backend) -> [u8; 32] {
        let (mut random, mut hash) = (Shake128::new(), Shake128::new());
        for _ in 0..10_000 {
            let key = SecretKey::from_bytes(&random.squeeze_array()).unwrap();
            let nonce = random.squeeze_array();
            let [len] = random.squeeze_array();
            let data = random.squeeze_vec(len.into());
            let [len] = random.squeeze_array();
            let aad = random.squeeze_vec(len.into());
            let sealed = seal(backend, &key, &nonce, &aad, &data);
            assert_eq!(open(backend, &key, &nonce, &aad, &sealed).unwrap(), data);
            hash.absorb(&sealed);
        }
        hash.squeeze_array()
    }

    #[test]
    fn the_accumulated_test_of_c2sp_holds() {
        let expected = "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939";
        for backend in Backend::ALL {
            assert_eq!(accumulated(backend), unhex_array(expected), "{backend}");
        }
    }

    #[test]
    fn a_change_of_any_byte_of_anything_is_refused() {
        let (key, aad, data) = (key_of(7), *b"associated", [0x5a; 70]);
        for backend in Backend::ALL {
            let sealed = seal(backend, &key, NONCE, &aad, &data);
            for changed in one_bit_flips(NONCE) {
                assert_eq!(open(backend, &key, &changed, &aad, &sealed), Err(OpenError));
            }
            for changed in one_bit_flips(&aad) {
                assert_eq!(
                    open(backend, &key, NONCE, &changed, &sealed),
                    Err(OpenError)
                );
            }
            for changed in one_bit_flips(&sealed) {
                assert_eq!(open(backend, &key, NONCE, &aad, &changed), Err(OpenError));
            }
            for changed in one_bit_flips(key.expose()) {
                let key = SecretKey::from_slice(&changed).unwrap();
                assert_eq!(open(backend, &key, NONCE, &aad, &sealed), Err(OpenError));
            }
        }
    }

    #[test]
    fn shorter_and_longer_ciphertext_or_associated_data_is_refused() {
        let (key, aad, data) = (key_of(7), *b"associated", [0x5a; 33]);
        for backend in Backend::ALL {
            let sealed = seal(backend, &key, NONCE, &aad, &data);
            let (ciphertext, tag) = sealed.split_at(data.len());
            for cut in 0..data.len() {
                let shorter = [&ciphertext[..cut], tag].concat();
                assert_eq!(open(backend, &key, NONCE, &aad, &shorter), Err(OpenError));
            }
            let longer = [ciphertext, &[0], tag].concat();
            assert_eq!(open(backend, &key, NONCE, &aad, &longer), Err(OpenError));
            for wrong in [&aad[..9], b"", b"associated\0"] {
                assert_eq!(open(backend, &key, NONCE, wrong, &sealed), Err(OpenError));
            }
        }
    }

    #[test]
    fn output_of_another_length_is_refused_and_zeroed() {
        let key = key_of(7);
        for backend in Backend::ALL {
            let subkey = backend.subkey(&key, b"ABCDEFGHIJKL");
            let mut data = [0x5a; 16];
            let tag = subkey.seal_in_place(b"MNOPQRSTUVWX", b"", &mut data);
            for len in [0, 1, 15, 17, 64] {
                let mut out = vec![0xee; len];
                let opened = subkey.open_into(b"MNOPQRSTUVWX", b"", &data, &tag, &mut out);
                assert_eq!(opened, Err(OpenError), "{backend}");
                assert_eq!(out, vec![0; len], "{backend}");
            }
        }
    }

    #[test]
    fn nothing_is_sealed_into_a_buffer_of_another_length() {
        let key = key_of(7);
        for backend in Backend::ALL {
            let subkey = backend.subkey(&key, b"ABCDEFGHIJKL");
            for len in [0, 15, 17] {
                let mut out = vec![0xee; len];
                let seal = AssertUnwindSafe(|| {
                    subkey.seal_into(b"MNOPQRSTUVWX", b"", &[0x5a; 16], &mut out)
                });
                assert!(catch_unwind(seal).is_err(), "{backend}");
                assert_eq!(out, vec![0xee; len], "{backend}");
            }
        }
    }

    #[test]
    fn empty_data_is_authentic_too() {
        for backend in Backend::ALL {
            let sealed = seal(backend, &key_of(7), NONCE, b"aad", b"");
            assert_eq!(sealed.len(), TAG_LEN);
            assert_eq!(
                open(backend, &key_of(7), NONCE, b"aad", &sealed),
                Ok(vec![])
            );
            assert_eq!(
                open(backend, &key_of(7), NONCE, b"aae", &sealed),
                Err(OpenError)
            );
        }
    }

    #[test]
    fn the_names_of_backends_fill_a_column() {
        let names = Backend::ALL.map(|backend| format!("{backend:>10}|"));
        assert_eq!(names, [" aws-lc-rs|", "   aes-gcm|"]);
    }

    proptest! {
        #[test]
        fn both_seal_alike_and_each_opens_the_others(
            key: [u8; 32],
            nonce: [u8; 24],
            aad in prop::collection::vec(any::<u8>(), 0..100),
            data in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            let key = SecretKey::from_bytes(&key).unwrap();
            let [ours, theirs] = Backend::ALL.map(|b| seal(b, &key, &nonce, &aad, &data));
            prop_assert_eq!(&ours, &theirs);
            for backend in Backend::ALL {
                prop_assert_eq!(open(backend, &key, &nonce, &aad, &ours), Ok(data.clone()));
            }
        }

        #[test]
        fn both_refuse_alike(
            key: [u8; 32],
            nonce: [u8; 24],
            sealed in prop::collection::vec(any::<u8>(), 16..200),
        ) {
            let key = SecretKey::from_bytes(&key).unwrap();
            for backend in Backend::ALL {
                prop_assert_eq!(open(backend, &key, &nonce, b"", &sealed), Err(OpenError));
            }
        }
    }
}

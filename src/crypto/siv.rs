//! AES-256-SIV (RFC 5297): the same plaintext gives the same ciphertext, so that a name can be
//! looked up. It tells who reads the folder that two names in it are equal, and nothing more.

use std::fmt;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::OpenError;

/// A key of AES-256-SIV. Its halves stay in locked memory and are set up anew for each message.
pub struct SivKey {
    mac: SecretKey,
    enc: SecretKey,
}

impl SivKey {
    /// The length in bytes by which sealed data is longer: the synthetic IV.
    pub const OVERHEAD: usize = 16;

    /// A key of its two halves: RFC 5297's K1 (S2V) and K2 (CTR).
    pub fn new(mac: SecretKey, enc: SecretKey) -> Self {
        Self { mac, enc }
    }

    /// Seals `plaintext` with one string of associated data: IV 16 ‖ ciphertext.
    pub fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.cipher()
            .encrypt([associated], plaintext)
            .expect("one string of associated data is within AES-SIV's bound")
    }

    /// Opens what [`SivKey::seal`] made.
    ///
    /// # Errors
    /// [`OpenError`] for anything else.
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.cipher()
            .decrypt([associated], sealed)
            .map_err(|_error| OpenError)
    }

    fn cipher(&self) -> Aes256Siv {
        let mut key = Zeroizing::new([0; 2 * SecretKey::LEN]);
        let (mac, enc) = key.split_at_mut(SecretKey::LEN);
        mac.copy_from_slice(self.mac.expose());
        enc.copy_from_slice(self.enc.expose());
        Aes256Siv::new((&*key).into())
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SivKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::testing::{key_of, key_of_hex, one_bit_flips, unhex};

    fn siv_key(hex: &str) -> SivKey {
        let (mac, enc) = hex.split_at(64);
        SivKey::new(key_of_hex(mac), key_of_hex(enc))
    }

    /// 00, 01, … 3f.
    const COUNTING: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\
                            202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

    /// Of Wycheproof's AES-SIV-CMAC with keys of 512 bits (RFC 5297's own vectors are of 256):
    /// test, key, associated data, message, sealed.
    const VALID: [(u32, &str, &str, &str, &str); 11] = [
        (
            297,
            "aff6388fdd2908e0c3b610e3dcd410c8146a268d6befd5c45ffdd23508b5b311\
             cc3a9d8f838f456436b289018682151dd57d8d65d1a823c06eca8ab8ee01da01",
            "d0bb2949a411e22d32964526",
            "",
            "e288d802a0e56ed7544a2e5775459389",
        ),
        (
            302,
            "c25cafc6018b98dfbb79a40ec89c575a4f88c4116489bba27707479800c01302\
             35334a45dbe8d8dae3da8dcb45bbe5dce031b0f68ded544fda7eca30d6749442",
            "deeb0ccf3aef47a296ed1ca8f4ae5907",
            "beec61030fa3d670337196beade6aeaa",
            "5865208eab9163db85cab9f96d846234a2626aae22f5c17c9aad4b501f4416e4",
        ),
        (
            305,
            "e2c5662bb18fbb411d0304e4241db073fe60a4704fee290073513038a22b4cd5\
             42580b2b4edbc37e3de01c0cb61abcad46986cdc491ce9e5ae5af223ff58b953",
            "fab912dec29a34aabfaef176",
            "0d",
            "1c6969ecb15741a9959b7a8492250e391a",
        ),
        (
            319,
            "2a93a0c37797bee0c344b9ceed1a609813d8c5ee686d260f3aa6fc2f66dc59f4\
             00479d1dfe04e89e6df608a3f699ff1cb4e9bf24a78fb2dfddaa0011a2e40208",
            "6ae54f41ac52baf2f89abe8e",
            "3fc3bf53bb485c9edcb1d25adb4ca0",
            "2d344a54038a857f47e0c77eb0834538aaf01e61a8ac82c0012f9dac6f15ef",
        ),
        (
            320,
            "139383f3f82dc78e0b380027f9e5fcd2ed23716404be5c554452e4dc73d23702\
             6594491820c6b8297185cc1fa84f49a5c7d7cd05c5de090ff1c3397bc2740437",
            "d39da73ffc03ad0a9213ffc7",
            "48604944a80fadf50d55b87727934458c8",
            "a9cf73951cb39823777f35c96c845169476e2ec2317cb6b8dd8b6172fdceabff9d",
        ),
        (
            325,
            COUNTING,
            "",
            "8dbfee9580e7e2bc66100a674497f4e1",
            "000000000000000000000000000000007ef8aa7e4dd49d9cfa09e9cb574fd90d",
        ),
        (
            326,
            COUNTING,
            "000102030405060708090a0b0c0d0e0f",
            "bfa1733d07afa03cb3f2eeb81bbde037",
            "000000000000000000000000000000004ce637d6ca9cdf1c2feb0d140865cddb",
        ),
        (
            328,
            COUNTING,
            "000102030405060708090a0b0c0d0e0f",
            "404aa73280eb830afde284ba6b18d48a",
            "ffffffffffffffffffffffffffffffff0fae016c086fc20546b374c24f3ebad0",
        ),
        (
            330,
            COUNTING,
            "000102030405060708090a0b0c0d0e0f",
            "cd53e1763fbb8663afe74dc1bd443e52",
            "ffffffffffffffffffffffff7fffffff82b74728b73fc76c14b6bdb999625008",
        ),
        (
            332,
            COUNTING,
            "000102030405060708090a0b0c0d0e0f",
            "5cabb261dd19c72368c8d40c5aae007d",
            "ffffffffffffffff7fffffffffffffff134f143f559d862cd39924747e886e27",
        ),
        (
            334,
            COUNTING,
            "000102030405060708090a0b0c0d0e0f",
            "23525ec6dfb28c323340d09538b4b015",
            "fffffffffffffffffffffffffffffffe1d9a0bf851a0dca6bd0b74fecebf654a",
        ),
    ];

    /// Of the same: flipped bits in the IV. Test, sealed.
    const INVALID: [(u32, &str); 12] = [
        (335, "6ef5b8ef53fc365606cd3ea047374885"),
        (336, "202e4a8f8b4c66788f3af230fb1c3ada5ead70c7f066d4df"),
        (
            337,
            "05b4e8166f28082987a32cdaf53deb61211dffad7562c4b924bb79fed73d9ce2",
        ),
        (
            338,
            "315d6cf8eeb36a37849710e7d1f72940adfd10a7615d6515b999dbfc5a10f3ae9df5f19a",
        ),
        (343, "eff5b8ef53fc365606cd3ea047374885"),
        (344, "a12e4a8f8b4c66788f3af230fb1c3ada5ead70c7f066d4df"),
        (
            345,
            "84b4e8166f28082987a32cdaf53deb61211dffad7562c4b924bb79fed73d9ce2",
        ),
        (351, "6ff5b86f53fc365606cd3ea047374885"),
        (352, "212e4a0f8b4c66788f3af230fb1c3ada5ead70c7f066d4df"),
        (
            353,
            "04b4e8966f28082987a32cdaf53deb61211dffad7562c4b924bb79fed73d9ce2",
        ),
        (
            354,
            "305d6c78eeb36a37849710e7d1f72940adfd10a7615d6515b999dbfc5a10f3ae9df5f19a",
        ),
        (
            358,
            "305d6cf8efb36a37849710e7d1f72940adfd10a7615d6515b999dbfc5a10f3ae9df5f19a",
        ),
    ];

    #[test]
    fn valid_vectors_of_wycheproof_seal_and_open() {
        for (test, key, associated, message, sealed) in VALID {
            let (key, associated) = (siv_key(key), unhex(associated));
            assert_eq!(
                key.seal(&associated, &unhex(message)),
                unhex(sealed),
                "{test}"
            );
            assert_eq!(
                key.open(&associated, &unhex(sealed)),
                Ok(unhex(message)),
                "{test}"
            );
        }
    }

    #[test]
    fn invalid_vectors_of_wycheproof_are_refused() {
        let key = siv_key(COUNTING);
        for (test, sealed) in INVALID {
            assert_eq!(key.open(b"", &unhex(sealed)), Err(OpenError), "{test}");
        }
    }

    /// Made by OpenSSL.
    #[test]
    fn a_name_in_a_folder_seals_as_elsewhere() {
        let sealed = siv_key(COUNTING).seal(&[9; 16], b"name.txt");
        assert_eq!(
            sealed,
            unhex("14c65e944b061e13fa0c9a41cc9835607a771838dd805297")
        );
    }

    #[test]
    fn a_change_of_any_byte_is_refused() {
        let key = siv_key(COUNTING);
        let sealed = key.seal(&[9; 16], b"a name of more than one block");
        for changed in one_bit_flips(&sealed) {
            assert_eq!(key.open(&[9; 16], &changed), Err(OpenError));
        }
        for changed in one_bit_flips(&[9; 16]) {
            assert_eq!(key.open(&changed, &sealed), Err(OpenError));
        }
    }

    #[test]
    fn any_other_length_is_refused() {
        let key = siv_key(COUNTING);
        let sealed = key.seal(&[9; 16], b"a name of more than one block");
        for len in 0..sealed.len() {
            assert_eq!(key.open(&[9; 16], &sealed[..len]), Err(OpenError), "{len}");
        }
        assert_eq!(
            key.open(&[9; 16], &[sealed, vec![0]].concat()),
            Err(OpenError)
        );
    }

    #[test]
    fn the_halves_of_a_key_are_not_alike() {
        let sealed = SivKey::new(key_of(1), key_of(2)).seal(b"", b"name");
        assert_eq!(
            SivKey::new(key_of(2), key_of(1)).open(b"", &sealed),
            Err(OpenError)
        );
        assert_eq!(
            SivKey::new(key_of(1), key_of(1)).open(b"", &sealed),
            Err(OpenError)
        );
        assert_eq!(
            SivKey::new(key_of(2), key_of(2)).open(b"", &sealed),
            Err(OpenError)
        );
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", SivKey::new(key_of(0xab), key_of(0xcd))),
            "SivKey(..)"
        );
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_is_the_same_each_time(
            associated in prop::collection::vec(any::<u8>(), 0..40),
            message in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let key = siv_key(COUNTING);
            let sealed = key.seal(&associated, &message);
            prop_assert_eq!(sealed.len(), message.len() + SivKey::OVERHEAD);
            prop_assert_eq!(&key.seal(&associated, &message), &sealed);
            prop_assert_eq!(key.open(&associated, &sealed), Ok(message));
        }
    }
}

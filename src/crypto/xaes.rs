//! XAES-256-GCM ([C2SP](https://c2sp.org/XAES-256-GCM)): AES-256-GCM with a nonce of 24 bytes, of
//! which the first 12 choose a subkey. A random nonce never repeats, whatever the number of
//! messages.
//!
//! The subkey is derived here, with two blocks of AES; GCM is aws-lc's.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::random;
use crate::crypto::secret::SecretKey;

/// The length of a tag in bytes.
pub const TAG_LEN: usize = 16;

/// The length of a nonce in bytes: prefix and GCM's own nonce, 12 each.
pub const NONCE_LEN: usize = 24;

/// Sealed bytes that are not what was sealed, or not under this key, nonce and associated data.
/// Which of these it is cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed data is not authentic")]
pub struct OpenError;

/// A key of XAES-256-GCM, as its AES round keys. These are ordinary memory, wiped when dropped.
pub struct XaesKey {
    cipher: Box<Aes256Enc>,
    /// CMAC's first subkey (NIST SP 800-38B), for messages of one whole block.
    k1: Zeroizing<[u8; 16]>,
}

impl XaesKey {
    /// Expands `key`.
    pub fn new(key: &SecretKey) -> Self {
        let cipher = Box::new(Aes256Enc::new(key.expose().into()));
        let mut l = Block::default();
        cipher.encrypt_block(&mut l);
        let k1 = Zeroizing::new(double(&l.into()));
        l.zeroize();
        Self { cipher, k1 }
    }

    /// The AES-256-GCM key of all nonces that begin with `prefix`: CMAC in counter mode (NIST
    /// SP 800-108r1) over the label "X" and the prefix.
    pub fn subkey(&self, prefix: &[u8; 12]) -> Subkey {
        let mut key = Zeroizing::new([0; 32]);
        let (first, second) = key.split_at_mut(16);
        self.derive_block(1, prefix, first);
        self.derive_block(2, prefix, second);
        Subkey::new(&key)
    }

    /// `AES(K, M ⊕ K1)` where `M = counter u16 ‖ "X" ‖ 0 ‖ prefix`, which is `CMAC(K, M)`.
    fn derive_block(&self, counter: u8, prefix: &[u8; 12], out: &mut [u8]) {
        let mut block = Block::default();
        block[..4].copy_from_slice(&[0, counter, b'X', 0]);
        block[4..].copy_from_slice(prefix);
        block
            .iter_mut()
            .zip(self.k1.iter())
            .for_each(|(byte, k1)| *byte ^= k1);
        self.cipher.encrypt_block(&mut block);
        out.copy_from_slice(&block);
        block.zeroize();
    }

    /// Seals a small thing under a random nonce: nonce 24 ‖ tag 16 ‖ ciphertext.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut halves = [[0; 12]; 2];
        random::fill(halves.as_flattened_mut());
        let [prefix, nonce] = halves;
        let mut sealed = Vec::with_capacity(NONCE_LEN + TAG_LEN + plaintext.len());
        sealed.extend_from_slice(&prefix);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&[0; TAG_LEN]);
        sealed.extend_from_slice(plaintext);
        let (head, data) = sealed.split_at_mut(NONCE_LEN + TAG_LEN);
        let tag = self.subkey(&prefix).seal_in_place(&nonce, aad, data);
        head[NONCE_LEN..].copy_from_slice(&tag);
        sealed
    }

    /// Opens what [`XaesKey::seal`] made.
    ///
    /// # Errors
    /// [`OpenError`] for anything else.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (prefix, rest) = sealed.split_first_chunk().ok_or(OpenError)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(OpenError)?;
        let (tag, ciphertext) = rest.split_first_chunk().ok_or(OpenError)?;
        let mut plaintext = vec![0; ciphertext.len()];
        self.subkey(prefix)
            .open_into(nonce, aad, ciphertext, tag, &mut plaintext)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XaesKey(..)")
    }
}

/// The double of a block in GF(2^128) as CMAC has it, without a branch on the secret.
fn double(block: &[u8; 16]) -> [u8; 16] {
    let value = u128::from_be_bytes(*block);
    let carry = (value >> 127) * 0x87;
    ((value << 1) ^ carry).to_be_bytes()
}

/// AES-256-GCM under one nonce prefix, ready for use.
///
/// The round keys are in aws-lc's heap, not in locked memory. They are wiped when this is dropped:
/// aws-lc-rs frees its context with `EVP_AEAD_CTX_free`, AES-GCM keeps its whole state inside that
/// context, and `OPENSSL_free` overwrites (`OPENSSL_cleanse`) every allocation before it frees it.
pub struct Subkey {
    gcm: LessSafeKey,
}

impl Subkey {
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key is 32 bytes");
        Self {
            gcm: LessSafeKey::new(key),
        }
    }

    /// Encrypts `data` in place and gives its tag. A nonce is for one message: it is for the caller
    /// to see that it never comes again under this subkey.
    ///
    /// # Panics
    /// If `data` is longer than GCM's 64 GiB, or there is no memory.
    pub fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut tag = [0; TAG_LEN];
        self.gcm
            .seal_in_place_scatter(nonce, Aad::from(aad), data, &[], &mut tag)
            .expect("the data is within AES-GCM's bound");
        tag
    }

    /// As [`Subkey::seal_in_place`], from `plaintext` into `out`, which has the same length: what is
    /// sealed from one buffer into another need not be copied first.
    ///
    /// # Panics
    /// As [`Subkey::seal_in_place`], or if the lengths differ.
    pub fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        assert_eq!(out.len(), plaintext.len(), "the output's length");
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut tag = [0; TAG_LEN];
        self.gcm
            .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, out, &[], &mut tag)
            .expect("the data is within AES-GCM's bound");
        tag
    }

    /// Decrypts `ciphertext` into `out`, which has the same length.
    ///
    /// # Errors
    /// [`OpenError`] if anything is not as it was sealed, or the lengths differ; `out` is zeros
    /// then.
    pub fn open_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .gcm
            .open_separate_gather(nonce, Aad::from(aad), ciphertext, tag, out);
        opened.map_err(|_unspecified| {
            out.fill(0);
            OpenError
        })
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subkey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{key_of, one_bit_flips, unhex, unhex_array};

    /// The subkey itself, which nothing outside of this module gets to see.
    fn subkey_bytes(key: &XaesKey, prefix: &[u8; 12]) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        let (first, second) = bytes.split_at_mut(16);
        key.derive_block(1, prefix, first);
        key.derive_block(2, prefix, second);
        bytes
    }

    /// C2SP's vectors, where the first bit of L is 0 and where it is 1.
    #[test]
    fn what_stands_between_key_and_subkey_is_as_c2sp_has_it() {
        let vectors = [
            (
                1,
                "e531954aca063d5b8d9c47a47d4cc6f0",
                "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b",
            ),
            (
                3,
                "23810ec50edb99f374409466ed1f4b7b",
                "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8",
            ),
        ];
        for (key_byte, k1, subkey) in vectors {
            let key = XaesKey::new(&key_of(key_byte));
            assert_eq!(*key.k1, unhex_array(k1));
            assert_eq!(subkey_bytes(&key, b"ABCDEFGHIJKL"), unhex(subkey));
        }
    }

    #[test]
    fn a_subkey_is_of_its_prefix_alone() {
        let key = XaesKey::new(&key_of(1));
        let subkey = subkey_bytes(&key, b"ABCDEFGHIJKL");
        for changed in one_bit_flips(b"ABCDEFGHIJKL") {
            assert_ne!(subkey_bytes(&key, &changed.try_into().unwrap()), subkey);
        }
    }

    /// Test case 16 of the GCM submission (McGrew and Viega), as in the tests of most libraries.
    #[test]
    fn gcm_is_gcm() {
        let key = unhex_array("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = unhex_array("cafebabefacedbaddecaf888");
        let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let mut data = unhex(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf\
             0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let tag = Subkey::new(&key).seal_in_place(&nonce, &aad, &mut data);
        let sealed = unhex(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b0\
             8b1056828838c5f61e6393ba7a0abcc9f662",
        );
        assert_eq!(
            (data, tag),
            (sealed, unhex_array("76fc6ece0f4e1768cddf8853bb2d551b"))
        );
    }

    #[test]
    fn a_small_thing_opens_to_what_was_sealed() {
        let key = XaesKey::new(&key_of(1));
        for plaintext in [&b""[..], b"x", b"a name", &[7; 300]] {
            let sealed = key.seal(b"aad", plaintext);
            assert_eq!(sealed.len(), NONCE_LEN + TAG_LEN + plaintext.len());
            assert_eq!(key.open(b"aad", &sealed).as_deref(), Ok(plaintext));
        }
    }

    #[test]
    fn no_two_seals_are_alike() {
        let key = XaesKey::new(&key_of(1));
        assert_ne!(key.seal(b"", b"same"), key.seal(b"", b"same"));
    }

    #[test]
    fn a_small_thing_with_any_byte_changed_is_refused() {
        let key = XaesKey::new(&key_of(1));
        let sealed = key.seal(b"aad", b"a wrapped key");
        for changed in one_bit_flips(&sealed) {
            assert_eq!(key.open(b"aad", &changed), Err(OpenError));
        }
        for changed in one_bit_flips(b"aad") {
            assert_eq!(key.open(&changed, &sealed), Err(OpenError));
        }
    }

    #[test]
    fn a_small_thing_cut_anywhere_is_refused() {
        let key = XaesKey::new(&key_of(1));
        let sealed = key.seal(b"aad", b"a wrapped key");
        for len in 0..sealed.len() {
            assert_eq!(key.open(b"aad", &sealed[..len]), Err(OpenError), "{len}");
        }
        assert_eq!(
            key.open(b"aad", &[sealed, vec![0]].concat()),
            Err(OpenError)
        );
    }

    #[test]
    fn another_key_opens_nothing() {
        let sealed = XaesKey::new(&key_of(1)).seal(b"aad", b"a wrapped key");
        assert_eq!(
            XaesKey::new(&key_of(2)).open(b"aad", &sealed),
            Err(OpenError)
        );
    }

    #[test]
    fn debug_shows_nothing() {
        let key = XaesKey::new(&key_of(0xab));
        assert_eq!(
            format!("{key:?} {:?}", key.subkey(&[0; 12])),
            "XaesKey(..) Subkey(..)"
        );
    }

    #[test]
    fn a_subkey_may_be_used_by_many_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<(XaesKey, Subkey)>();
    }
}

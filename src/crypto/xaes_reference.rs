//! XAES-256-GCM once more, wholly by RustCrypto and straight from the definition: what tests and
//! benches hold [`xaes`](crate::crypto::xaes) against. Nothing that is kept is sealed with it.

use std::fmt;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use cmac::{Cmac, Mac};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::{OpenError, TAG_LEN};

/// A key of XAES-256-GCM. Round keys and CMAC state are ordinary memory, wiped when dropped.
pub struct XaesKey {
    cmac: Box<Cmac<aes::Aes256>>,
}

impl XaesKey {
    /// Expands `key`.
    pub fn new(key: &SecretKey) -> Self {
        Self {
            cmac: Box::new(Cmac::new(key.expose().into())),
        }
    }

    /// The AES-256-GCM key of all nonces that begin with `prefix`.
    pub fn subkey(&self, prefix: &[u8; 12]) -> Subkey {
        let mut key = Zeroizing::new([0; 32]);
        for (counter, half) in (1_u16..).zip(key.chunks_exact_mut(16)) {
            let mut cmac = self.cmac.clone();
            cmac.update(&counter.to_be_bytes());
            cmac.update(b"X\0");
            cmac.update(prefix);
            let mut block = cmac.finalize().into_bytes();
            half.copy_from_slice(&block);
            block.zeroize();
        }
        Subkey {
            gcm: Box::new(Aes256Gcm::new((&*key).into())),
        }
    }
}

impl fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XaesKey(..)")
    }
}

/// AES-256-GCM under one nonce prefix.
pub struct Subkey {
    gcm: Box<Aes256Gcm>,
}

impl Subkey {
    /// As [`xaes::Subkey::seal_in_place`](crate::crypto::xaes::Subkey::seal_in_place).
    ///
    /// # Panics
    /// If `data` is longer than GCM's 64 GiB.
    pub fn seal_in_place(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.gcm
            .encrypt_inout_detached(nonce.into(), aad, data.into())
            .expect("the data is within AES-GCM's bound")
            .into()
    }

    /// As [`xaes::Subkey::seal_into`](crate::crypto::xaes::Subkey::seal_into).
    ///
    /// # Panics
    /// If `plaintext` is longer than GCM's 64 GiB, or the lengths differ.
    pub fn seal_into(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let buffer = InOutBuf::new(plaintext, out).expect("the output's length");
        self.gcm
            .encrypt_inout_detached(nonce.into(), aad, buffer)
            .expect("the data is within AES-GCM's bound")
            .into()
    }

    /// As [`xaes::Subkey::open_into`](crate::crypto::xaes::Subkey::open_into).
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
        let opened = InOutBuf::new(ciphertext, out).is_ok_and(|buffer| {
            self.gcm
                .decrypt_inout_detached(nonce.into(), aad, buffer, tag.into())
                .is_ok()
        });
        if opened {
            Ok(())
        } else {
            out.fill(0);
            Err(OpenError)
        }
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subkey(..)")
    }
}

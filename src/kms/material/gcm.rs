//! The cipher of ciphertext blobs: GCM with a key of its own for each blob.
//!
//! GCM with a random nonce of 96 bits must not be used for more than 2^32 messages under one key
//! (NIST SP 800-38D, §8.3), which a busy key reaches within days. So the key of a version seals
//! nothing itself: it derives a subkey from 12 random bytes, with CMAC in counter mode (NIST
//! SP 800-108r1), and the subkey seals under a nonce of 12 more. For AES-256 this is XAES-256-GCM
//! ([C2SP](https://c2sp.org/XAES-256-GCM), [`crate::crypto::xaes`]); for the other ciphers it is the
//! same with their own block function, of which one block is enough for a key of 128 bits.
//!
//! What holds: two blobs share subkey and nonce with a chance of 2^-32 only after 2^80 of them, and
//! the subkeys are as good as random ones for 2^48 blobs (the difference between a block cipher and a
//! random function shows with a chance of 2^-32 then). 2^48 is ten thousand blobs in each second
//! for nine hundred years; nobody needs to count.

use std::fmt;

use aes::cipher::{Array, KeyInit, consts};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use aes_gcm::{AeadInOut as _, AesGcm};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey,
};
use cmac::{Cmac, Mac};
use sm4::Sm4;
use zeroize::{Zeroize as _, Zeroizing};

use crate::kms::engine::KmsError;
use crate::kms::material::errors;

pub(super) const TAG_LEN: usize = 16;

/// The first half of a nonce: it chooses the subkey.
pub(super) type Prefix = [u8; 12];

/// GCM's own nonce.
pub(super) type GcmNonce = [u8; 12];

/// Expanded keys that subkeys are derived from. Ordinary memory, wiped when dropped.
pub(super) enum BlobKey {
    Aes128(Box<Cmac<Aes128Enc>>),
    Aes192(Box<Cmac<Aes192Enc>>),
    Aes256(Box<Cmac<Aes256Enc>>),
    Sm4(Box<Cmac<Sm4>>),
}

/// GCM under one prefix.
pub(super) enum Subkey {
    /// aws-lc's, which wipes it when it is dropped.
    Aes(LessSafeKey),
    /// SM4-GCM as RFC 8998 has it.
    Sm4(Box<AesGcm<Sm4, consts::U12>>),
}

/// What was sealed was changed, or is under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAuthentic;

impl BlobKey {
    /// An AES key of 16, 24 or 32 bytes; `None` for other lengths.
    pub(super) fn aes(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => expanded(key).map(Self::Aes128),
            24 => expanded(key).map(Self::Aes192),
            32 => expanded(key).map(Self::Aes256),
            _ => None,
        }
    }

    /// An SM4 key of 16 bytes; `None` for other lengths.
    pub(super) fn sm4(key: &[u8]) -> Option<Self> {
        expanded(key).map(Self::Sm4)
    }

    /// The GCM key of all nonces that begin with `prefix`.
    pub(super) fn subkey(&self, prefix: &Prefix) -> Result<Subkey, KmsError> {
        let subkey = match self {
            Self::Aes128(cmac) => aes(&AES_128_GCM, &*derive::<_, 16>(cmac.as_ref(), prefix)),
            Self::Aes192(cmac) => aes(&AES_192_GCM, &*derive::<_, 24>(cmac.as_ref(), prefix)),
            Self::Aes256(cmac) => aes(&AES_256_GCM, &*derive::<_, 32>(cmac.as_ref(), prefix)),
            Self::Sm4(cmac) => AesGcm::new_from_slice(&*derive::<_, 16>(cmac.as_ref(), prefix))
                .ok()
                .map(|gcm| Subkey::Sm4(Box::new(gcm))),
        };
        subkey.ok_or_else(|| errors::internal("A subkey could not be made."))
    }
}

fn expanded<M: Mac + KeyInit>(key: &[u8]) -> Option<Box<M>> {
    <M as KeyInit>::new_from_slice(key).ok().map(Box::new)
}

fn aes(algorithm: &'static Algorithm, key: &[u8]) -> Option<Subkey> {
    let key = UnboundKey::new(algorithm, key).ok()?;
    Some(Subkey::Aes(LessSafeKey::new(key)))
}

/// `LEN` bytes of `CMAC(K, i ‖ "X" ‖ 0 ‖ prefix)`, where `i` counts the blocks from 1, in 16 bits.
fn derive<M: Mac + Clone, const LEN: usize>(cmac: &M, prefix: &Prefix) -> Zeroizing<[u8; LEN]> {
    let mut key = Zeroizing::new([0; LEN]);
    for (number, part) in (1..=u8::MAX).zip(key.chunks_mut(16)) {
        let mut mac = M::clone(cmac);
        mac.update(&[0, number, b'X', 0]);
        mac.update(prefix);
        let mut block = mac.finalize().into_bytes();
        part.iter_mut()
            .zip(block.iter())
            .for_each(|(to, from)| *to = *from);
        block.as_mut_slice().zeroize();
    }
    key
}

impl Subkey {
    /// Encrypts `data` in place and gives its tag.
    pub(super) fn seal(
        &self,
        nonce: &GcmNonce,
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_LEN], KmsError> {
        let mut tag = [0; TAG_LEN];
        let sealed = match self {
            Self::Aes(gcm) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                gcm.seal_in_place_scatter(nonce, Aad::from(aad), data, &[], &mut tag)
                    .ok()
            }
            Self::Sm4(gcm) => gcm
                .encrypt_inout_detached(&Array(*nonce), aad, data.into())
                .ok()
                .map(|made| tag = made.into()),
        };
        sealed.ok_or_else(|| errors::internal("GCM refused to seal."))?;
        Ok(tag)
    }

    /// Decrypts `data` in place; it is zeros after a failure.
    pub(super) fn open(
        &self,
        nonce: &GcmNonce,
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), NotAuthentic> {
        let opened = match self {
            Self::Aes(gcm) => open_aes(gcm, nonce, aad, data, tag),
            Self::Sm4(gcm) => gcm
                .decrypt_inout_detached(&Array(*nonce), aad, (&mut *data).into(), &Array(*tag))
                .map_err(|_error| NotAuthentic),
        };
        opened.inspect_err(|_error| data.zeroize())
    }
}

fn open_aes(
    gcm: &LessSafeKey,
    nonce: &GcmNonce,
    aad: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), NotAuthentic> {
    let nonce = Nonce::assume_unique_for_key(*nonce);
    gcm.open_in_place_separate_tag(nonce, Aad::from(aad), tag, data)
        .map(|_plaintext| ())
        .map_err(|_unspecified| NotAuthentic)
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(..)")
    }
}

impl fmt::Debug for Subkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subkey(..)")
    }
}

#[cfg(test)]
mod tests;

//! Taking off RSAES-OAEP's padding (RFC 8017, §7.1.2, step 3), where an HSM gives the padded message.
//!
//! Nothing here takes another time for another padding, and a wrong one is told in one way: Manger's attack (CRYPTO
//! 2001) lives on the difference. Only the length of a message that is right shows.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::rsa::Padding;
use crate::kms::engine::ops::SecretBytes;

/// The message in `padded`, which is as long as the modulus; `None` where it is not padded so. The label is empty.
pub fn take_off(padding: OaepHash, padded: &[u8]) -> Option<SecretBytes> {
    let hash = padding.hash();
    let (first, rest) = padded.split_first()?;
    let (masked_seed, masked_block) = rest.split_at_checked(hash.output_len())?;
    let seed = masked(hash, masked_block, masked_seed);
    let block = masked(hash, &seed, masked_block);
    let (label, message) = block.split_at_checked(hash.output_len())?;
    let mut right = first.ct_eq(&0) & label.ct_eq(digest(hash, b"").as_ref());

    let mut searching = Choice::from(1);
    let mut start = 0_u32;
    for (at, byte) in (1_u32..).zip(message) {
        let ends = byte.ct_eq(&1) & searching;
        start.conditional_assign(&at, ends);
        right &= !(searching & !ends & !byte.ct_eq(&0));
        searching &= !ends;
    }
    right &= !searching;
    let start = usize::try_from(start).ok()?;
    let message = message.get(start..)?;
    bool::from(right).then(|| Zeroizing::new(message.to_vec()))
}

/// The hash of OAEP, and of its MGF1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OaepHash {
    Sha1,
    Sha256,
}

impl OaepHash {
    pub(super) fn of(padding: Padding) -> Option<Self> {
        match padding {
            Padding::OaepSha1 => Some(Self::Sha1),
            Padding::OaepSha256 => Some(Self::Sha256),
            Padding::Pkcs1V15 => None,
        }
    }

    fn hash(self) -> &'static Algorithm {
        match self {
            Self::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &SHA256,
        }
    }
}

/// `bytes` with MGF1's mask of `seed` on it (RFC 8017, B.2.1).
fn masked(hash: &'static Algorithm, seed: &[u8], bytes: &[u8]) -> SecretBytes {
    let mut out = Zeroizing::new(bytes.to_vec());
    for (counter, part) in (0_u32..).zip(out.chunks_mut(hash.output_len())) {
        let input = Zeroizing::new([seed, &counter.to_be_bytes()].concat());
        let mask = digest(hash, &input);
        part.iter_mut()
            .zip(mask.as_ref())
            .for_each(|(byte, mask)| *byte ^= mask);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8017, §7.1.1, step 2.
    fn padded(hash: OaepHash, len: usize, message: &[u8]) -> Vec<u8> {
        let algorithm = hash.hash();
        let hash_len = algorithm.output_len();
        let mut block = digest(algorithm, b"").as_ref().to_vec();
        block.resize(len - hash_len - 2 - message.len(), 0);
        block.push(1);
        block.extend_from_slice(message);
        let seed = vec![0x5A; hash_len];
        let block = masked(algorithm, &seed, &block);
        let seed = masked(algorithm, &block, &seed);
        [&[0][..], &seed, &block].concat()
    }

    #[test]
    fn what_was_padded_comes_back_and_nothing_else_does() {
        for (hash, longest) in [(OaepHash::Sha1, 214), (OaepHash::Sha256, 190)] {
            for message in [&b""[..], b"\x01", b"hello", &vec![7; longest]] {
                let good = padded(hash, 256, message);
                assert_eq!(good.len(), 256);
                assert_eq!(take_off(hash, &good).as_deref().unwrap(), message);
                for at in 0..256 {
                    let mut changed = good.clone();
                    changed[at] ^= 0x10;
                    assert!(take_off(hash, &changed).is_none(), "{at}");
                }
            }
            assert!(take_off(hash, &[0; 256]).is_none());
            for len in [0, 1, 20, 33, 65] {
                assert!(take_off(hash, &vec![0; len]).is_none());
            }
        }
        let other = padded(OaepHash::Sha1, 256, b"hello");
        assert!(take_off(OaepHash::Sha256, &other).is_none());
    }
}

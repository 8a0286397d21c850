//! Targets of symlinks: sealed with XAES-256-GCM under the volume's symlink key, then base64url,
//! since a symlink's target is text. Not bound to a place: who can write the ciphertext folder
//! can exchange two symlinks of a volume, as he can exchange two files.

use super::base64;
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, XaesKey};

/// The longest target in bytes: sealed and written as text it has 4095, as Linux allows. A
/// backing file system may allow less (XFS: 1023 of text).
pub const MAX_TARGET_LEN: usize = 3031;

const OVERHEAD: usize = NONCE_LEN + TAG_LEN;
const MAX_SEALED_LEN: usize = 4095;

/// A symlink whose target the volume did not write.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymlinkError {
    /// It opens, but to what no symlink may point to.
    #[error("the symlink opens to what is no target")]
    BadTarget,
    /// Not base64url in its one canonical form, or too long.
    #[error("the symlink's target is not a sealed one")]
    Encoding,
    /// The tag is wrong.
    #[error("the symlink's target fails authentication")]
    Forged,
}

/// Seals a target of at most [`MAX_TARGET_LEN`] bytes; a longer one gives what no backing file
/// system takes.
pub fn seal(key: &XaesKey, target: &[u8]) -> Vec<u8> {
    base64::encode(&key.seal(b"", target))
}

/// Opens what [`seal`] made.
///
/// # Errors
///
/// [`SymlinkError`]; an empty target and one with a NUL byte are refused, sealed or not.
pub fn open(key: &XaesKey, sealed: &[u8]) -> Result<Vec<u8>, SymlinkError> {
    if sealed.len() > MAX_SEALED_LEN {
        return Err(SymlinkError::Encoding);
    }
    let sealed = base64::decode(sealed).ok_or(SymlinkError::Encoding)?;
    let target = key
        .open(b"", &sealed)
        .map_err(|_error| SymlinkError::Forged)?;
    if target.is_empty() || target.contains(&0) {
        return Err(SymlinkError::BadTarget);
    }
    Ok(target)
}

/// The target's length from the symlink's own (`st_size`), both in bytes; 0 for what is too
/// short to be sealed.
pub fn plain_len(sealed_len: u64) -> u64 {
    base64::decoded_len(sealed_len).saturating_sub(super::to_u64(OVERHEAD))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::secret::SecretKey;

    fn key(byte: u8) -> XaesKey {
        XaesKey::new(&SecretKey::from_bytes(&[byte; 32]).unwrap())
    }

    #[test]
    fn the_longest_target_still_fits_a_symlink() {
        let longest = vec![b't'; MAX_TARGET_LEN];
        let sealed = seal(&key(1), &longest);
        assert!(sealed.len() <= MAX_SEALED_LEN);
        assert_eq!(open(&key(1), &sealed), Ok(longest));
        assert!(seal(&key(1), &[b't'; MAX_TARGET_LEN + 1]).len() > MAX_SEALED_LEN);
    }

    #[test]
    fn sizes_of_no_sealed_target_are_zero() {
        for len in 0..=54 {
            assert_eq!(plain_len(len), 0, "{len}");
        }
        assert_eq!(plain_len(55), 1);
        assert_eq!(plain_len(u64::MAX), 13_835_058_055_282_163_671);
    }

    #[test]
    fn every_changed_character_is_detected() {
        let good = seal(&key(1), b"/etc/hosts");
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(open(&key(1), &changed).is_err(), "{at}");
        }
    }

    #[test]
    fn what_was_not_sealed_under_the_key_is_refused() {
        let good = seal(&key(1), b"/etc/hosts");
        assert_eq!(open(&key(2), &good), Err(SymlinkError::Forged));
        assert_eq!(
            open(&key(1), &good[..good.len() - 3]),
            Err(SymlinkError::Forged)
        );
        assert_eq!(open(&key(1), b"/etc/hosts"), Err(SymlinkError::Encoding));
        assert_eq!(open(&key(1), b""), Err(SymlinkError::Forged));
        assert_eq!(
            open(&key(1), &[good, b"=".to_vec()].concat()),
            Err(SymlinkError::Encoding)
        );
        assert_eq!(open(&key(1), &[b'A'; 4096]), Err(SymlinkError::Encoding));
    }

    #[test]
    fn what_opens_to_no_target_is_refused() {
        for target in [&b""[..], b"\0", b"a\0b"] {
            assert_eq!(
                open(&key(1), &seal(&key(1), target)),
                Err(SymlinkError::BadTarget)
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(target in vec(1_u8.., 1..600)) {
            let sealed = seal(&key(1), &target);
            prop_assert_eq!(plain_len(sealed.len() as u64), target.len() as u64);
            prop_assert_eq!(open(&key(1), &sealed), Ok(target));
        }

        #[test]
        fn arbitrary_targets_neither_panic_nor_open(text: Vec<u8>) {
            prop_assert!(open(&key(1), &text).is_err());
        }
    }
}

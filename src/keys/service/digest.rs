//! SHA-256 and HMAC-SHA-256, as signatures of requests are made of.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The length of both in bytes.
pub(crate) const LEN: usize = 32;

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// HMAC-SHA-256 (RFC 2104) in hexadecimal: a signature, no secret.
pub(crate) fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    HEXLOWER.encode(&*hmac(key, bytes))
}

/// HMAC-SHA-256 (RFC 2104) that is a key in its turn.
pub(crate) fn hmac(key: &[u8], bytes: &[u8]) -> Zeroizing<[u8; LEN]> {
    // A key of any length is one of HMAC, so there is always a state.
    let state = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
    let mut tag = Zeroizing::new([0; LEN]);
    if let Ok(mut state) = state {
        state.update(bytes);
        tag.copy_from_slice(&state.finalize().into_bytes());
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_the_published_ones() {
        assert_eq!(
            sha256_hex(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        // RFC 4231, test case 2, and 6 with its key of 131 bytes.
        assert_eq!(
            hmac_hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hmac_hex(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            ),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}

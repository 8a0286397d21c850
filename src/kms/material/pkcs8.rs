//! The frame of a private key: PKCS#8 (RFC 5958). What is in it is for the libraries to judge.

use sm2::pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};

/// `rsaEncryption` (RFC 8017, A.1): not a key that is for PSS alone.
pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// `id-ecPublicKey` (RFC 5480, §2.1.1), also of SM2.
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Whether these bytes are one unencrypted private key of this algorithm and nothing after it: the
/// libraries stop reading where the key ends.
pub(super) fn is_one_key(pkcs8: &[u8], algorithm: ObjectIdentifier) -> bool {
    PrivateKeyInfoRef::try_from(pkcs8).is_ok_and(|info| info.algorithm.oid == algorithm)
}

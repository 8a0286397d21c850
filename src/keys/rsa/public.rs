//! The public key: a PEM file that is read again when it has changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey, PublicKeyComponents,
};
use data_encoding::HEXLOWER;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::der;
use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::keys::local_file::{self, Guard};
use crate::keys::pem;
use crate::keys::pkcs11::{Components, MODULUS_MAX, Mechanism};

const LABEL: &str = "PUBLIC KEY";
const WHAT: &str = "public key";
/// The digits of a version: 64 bits of the fingerprint.
const VERSION_LEN: usize = 16;
/// The exponents that FIPS 186-5 allows begin here, and aws-lc's end at 33 bits.
const EXPONENT_MIN: u64 = 65_537;

/// An RSA public key.
#[derive(Debug)]
pub(in crate::keys) struct PublicKey {
    key: OaepPublicEncryptingKey,
    components: Components,
    fingerprint: [u8; 32],
}

impl PublicKey {
    /// The key of a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// In words: no RSA key, or one whose size or exponent is not taken.
    pub(super) fn of_spki(spki: &[u8]) -> Result<Self, String> {
        Self::new(PublicEncryptingKey::from_der(spki).map_err(|why| rejected(&why))?)
    }

    /// The key with this modulus and exponent.
    ///
    /// # Errors
    /// As [`of_spki`](Self::of_spki).
    pub(in crate::keys) fn of_components(components: &Components) -> Result<Self, String> {
        let parts = PublicKeyComponents {
            n: &components.modulus,
            e: &components.exponent,
        };
        let key: Result<PublicEncryptingKey, _> = parts.try_into();
        Self::new(key.map_err(|_unspecified| "is no RSA key of 2048 to 7296 bits".to_owned())?)
    }

    /// # Errors
    /// As [`of_spki`](Self::of_spki).
    pub(super) fn new(key: PublicEncryptingKey) -> Result<Self, String> {
        const UNREADABLE: &str = "is a key that cannot be written as DER";
        let spki = AsDer::as_der(&key).map_err(|_unspecified| UNREADABLE)?;
        let (modulus, exponent) = der::rsa_components(spki.as_ref()).ok_or(UNREADABLE)?;
        if modulus.len() > MODULUS_MAX {
            return Err(wrong_size("too large"));
        }
        let number = exponent.iter().try_fold(0_u64, |number, digit| {
            Some(number.checked_mul(256)? | u64::from(*digit))
        });
        if !number.is_some_and(|number| number >= EXPONENT_MIN && number % 2 == 1) {
            return Err("has a public exponent below 65537, or an even one".to_owned());
        }
        Ok(Self {
            components: Components {
                modulus: modulus.to_vec(),
                exponent: exponent.to_vec(),
            },
            fingerprint: Sha256::digest(spki.as_ref()).into(),
            key: OaepPublicEncryptingKey::new(key).map_err(|_unspecified| UNREADABLE)?,
        })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    pub(super) fn components(&self) -> &Components {
        &self.components
    }

    /// What stands in a slot as the key's version: the first digits of the fingerprint.
    pub(super) fn version(&self) -> String {
        let mut digits = HEXLOWER.encode(&self.fingerprint);
        digits.truncate(VERSION_LEN);
        digits
    }

    /// Encrypts by RSA-OAEP with an empty label; the mechanism says which hash.
    ///
    /// # Errors
    /// `Unavailable`, should aws-lc refuse.
    pub(in crate::keys) fn encrypt(
        &self,
        mechanism: Mechanism,
        secret: &[u8; SecretKey::LEN],
    ) -> Result<Vec<u8>, KeyError> {
        let mut wrapped = vec![0; self.key.ciphertext_size()];
        let encrypted = self
            .key
            .encrypt(oaep(mechanism), secret, &mut wrapped, None);
        match encrypted {
            Ok(_whole) => Ok(wrapped),
            Err(_unspecified) => Err(KeyError::unavailable("the RSA encryption failed")),
        }
    }
}

/// Whether a text may be a version of a public key.
pub(super) fn is_version(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == VERSION_LEN && text.bytes().all(digit)
}

/// The parameters of RSA-OAEP; the hash is that of MGF1 too.
pub(super) fn oaep(mechanism: Mechanism) -> &'static OaepAlgorithm {
    match mechanism {
        Mechanism::OaepSha1 => &OAEP_SHA1_MGF1SHA1,
        Mechanism::OaepSha256 | Mechanism::AesGcm | Mechanism::AesKw | Mechanism::AesKwp => {
            &OAEP_SHA256_MGF1SHA256
        }
    }
}

/// Why aws-lc does not take a key, in words.
pub(super) fn rejected(why: &KeyRejected) -> String {
    match why.to_string().as_str() {
        "TooSmall" => wrong_size("too small"),
        "TooLarge" => wrong_size("too large"),
        _ => "is no RSA key".to_owned(),
    }
}

fn wrong_size(how: &str) -> String {
    let most = MODULUS_MAX.saturating_mul(8);
    format!("is {how}: expected an RSA key of 2048 to {most} bits")
}

/// The file of a public key.
#[derive(Debug)]
pub(super) struct PublicFile {
    path: PathBuf,
    known: Mutex<Option<(Stamp, Arc<PublicKey>)>>,
}

/// Tells one state of a file from the next: device, inode, length, time of change.
type Stamp = (u64, u64, u64, i64, i64);

impl PublicFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            known: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The key that the file holds now.
    ///
    /// # Errors
    /// `NotFound` where there is no file; `Config` where others may change it, or it holds anything but
    /// one public key.
    pub(super) fn current(&self) -> Result<Arc<PublicKey>, KeyError> {
        let stamp = self.stamp()?;
        let mut known = self.known.lock();
        if let Some((seen, key)) = &*known
            && *seen == stamp
        {
            return Ok(Arc::clone(key));
        }
        let bytes = local_file::read(WHAT, &self.path, Guard::Trusted)?;
        let key = Arc::new(self.parse(&bytes)?);
        *known = Some((stamp, Arc::clone(&key)));
        Ok(key)
    }

    fn stamp(&self) -> Result<Stamp, KeyError> {
        let stat = self
            .path
            .metadata()
            .map_err(|error| local_file::unreadable(WHAT, &self.path, Guard::Trusted, error))?;
        let changed = (stat.ctime(), stat.ctime_nsec());
        Ok((stat.dev(), stat.ino(), stat.len(), changed.0, changed.1))
    }

    fn parse(&self, bytes: &[u8]) -> Result<PublicKey, KeyError> {
        let path = self.path.display();
        let refused = |why: &str| KeyError::config(format!("public key {path} {why}"));
        let blocks = pem::blocks(bytes).map_err(refused)?;
        match blocks.as_slice() {
            [key] if key.label == LABEL => {
                PublicKey::of_spki(&key.der).map_err(|why| refused(&why))
            }
            [] => Err(refused(
                "is no PEM file: expected -----BEGIN PUBLIC KEY-----",
            )),
            [_, _, ..] => Err(refused("holds more than the one public key")),
            [other] => Err(refused(&instead(&other.label, &self.path))),
        }
    }
}

/// What to do about a file that holds something else.
fn instead(label: &str, path: &Path) -> String {
    let path = path.display();
    match label {
        "CERTIFICATE" => format!(
            "is a certificate; take the key out of it: openssl x509 -in {path} -noout -pubkey"
        ),
        "RSA PUBLIC KEY" => format!(
            "is of the old form; convert it: openssl rsa -RSAPublicKey_in -in {path} -pubout"
        ),
        _ if label.ends_with("PRIVATE KEY") => format!(
            "is a private key, which a host that only writes must not have; take the public one out of it: openssl pkey -in {path} -pubout"
        ),
        _ => "holds no public key: expected -----BEGIN PUBLIC KEY-----".to_owned(),
    }
}

//! What a token's keys do.

use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism as Call, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

use super::make::Hash;
use super::{Failure, Hsm, Id};
use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::XaesKey;
use crate::keys::between::{self, does_not_open};
use crate::keys::error::KeyError;
use crate::keys::pkcs11::cipher::{self, Mechanism};

/// The length of 32 bytes that AES wrapped (RFC 3394, RFC 5649).
const WRAPPED_LEN: usize = SecretKey::LEN + 8;

/// How an AES key of the token seals.
///
/// * AES-GCM: IV ‖ ciphertext ‖ tag, all of it made in the token
/// * AES-KWP or AES-KW, where the token has no GCM: a fresh key that the token wraps ‖ what XAES-256-GCM seals under it,
///   outside
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealing(pub(super) Mechanism);

impl Sealing {
    /// What stands for it where it is kept.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0.number()
    }

    /// The way of this number; `None` where AES keys have none such.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        let mechanism = Mechanism::of_number(number)?;
        matches!(
            mechanism,
            Mechanism::AesGcm | Mechanism::AesKwp | Mechanism::AesKw
        )
        .then_some(Self(mechanism))
    }

    /// Whether the token chooses, or is given, a random IV of 96 bits for each message: it must not be used for more
    /// than 2^32 of them then (NIST SP 800-38D, §8.3).
    #[must_use]
    pub fn counts(self) -> bool {
        self.0 == Mechanism::AesGcm
    }
}

/// How a key pair signs a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The signature is `r ‖ s`.
    Ecdsa,
    /// RSASSA-PKCS1-v1_5.
    Pkcs1(Hash),
    /// RSASSA-PSS; the salt is as long as the digest.
    Pss(Hash),
}

/// What of RSAES-OAEP is taken off in the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Nothing: it gives the padded message, as long as the modulus.
    None,
    /// With SHA-1, in MGF1 too.
    OaepSha1,
    /// With SHA-256, in MGF1 too.
    OaepSha256,
}

impl Hsm {
    /// Seals a few thousand bytes at most, bound to `aad`.
    ///
    /// # Errors
    /// `NotFound` where the token has no such key, `Unavailable` where it is away, `Config` where it cannot.
    pub fn seal(
        &self,
        id: &Id,
        sealing: Sealing,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        self.with_key("encrypting", id, &|session, key| {
            seal(session, key, sealing, aad, plaintext)
        })
    }

    /// Opens what [`Hsm::seal`] made.
    ///
    /// # Errors
    /// As there, and `Corrupt` where it was changed, or is of another key, or was bound to something else.
    pub fn open(
        &self,
        id: &Id,
        sealing: Sealing,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.opening(
            "decrypting",
            id,
            &|session, key| open(session, key, sealing, aad, sealed),
            &|session, key| {
                let sealed = seal(session, key, sealing, b"trial", b"trial")?;
                open(session, key, sealing, b"trial", &sealed).map(drop)
            },
        )
    }

    /// Signs a digest.
    ///
    /// # Errors
    /// As [`Hsm::seal`].
    pub fn sign(&self, id: &Id, signing: Signing, digest: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.with_key("signing", id, &|session, key| {
            let signed = match signing {
                Signing::Ecdsa => session.sign(&Call::Ecdsa, key, digest),
                Signing::Pkcs1(hash) => {
                    let info = [hash.digest_info(), digest].concat();
                    session.sign(&Call::RsaPkcs, key, &info)
                }
                Signing::Pss(hash) => session.sign(&Call::RsaPkcsPss(hash.pss()), key, digest),
            };
            Ok(signed?)
        })
    }

    /// Decrypts with a private RSA key. `good` is a ciphertext of the key, to tell a wrong one from trouble.
    ///
    /// # Errors
    /// As [`Hsm::seal`], and `Corrupt` for what is no ciphertext of this key.
    pub fn decrypt(
        &self,
        id: &Id,
        padding: Padding,
        ciphertext: &[u8],
        good: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.opening(
            "decrypting",
            id,
            &|session, key| decrypt(session, key, padding, ciphertext),
            &|session, key| decrypt(session, key, padding, good).map(drop),
        )
    }

    /// Authenticates a message by HMAC.
    ///
    /// # Errors
    /// As [`Hsm::seal`].
    pub fn mac(&self, id: &Id, hash: Hash, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let call = match hash {
            Hash::Sha224 => Call::Sha224Hmac,
            Hash::Sha256 => Call::Sha256Hmac,
            Hash::Sha384 => Call::Sha384Hmac,
            Hash::Sha512 => Call::Sha512Hmac,
        };
        self.with_key("authenticating", id, &|session, key| {
            Ok(session.sign(&call, key, message)?)
        })
    }
}

fn seal(
    session: &Session,
    key: ObjectHandle,
    sealing: Sealing,
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, Failure> {
    let Some(call) = wrapping(sealing) else {
        return cipher::gcm_wrap(session, key, plaintext, aad);
    };
    let fresh = SecretKey::random().map_err(KeyError::from)?;
    let mut sealed = cipher::wrap_object(session, &call, key, fresh.expose())?;
    sealed.extend_from_slice(&XaesKey::new(&fresh).seal(aad, plaintext));
    Ok(sealed)
}

fn open(
    session: &Session,
    key: ObjectHandle,
    sealing: Sealing,
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let Some(call) = wrapping(sealing) else {
        return cipher::gcm_unwrap(session, key, sealed, aad).map(Zeroizing::new);
    };
    let (wrapped, sealed) = sealed
        .split_at_checked(WRAPPED_LEN)
        .ok_or_else(does_not_open)?;
    let fresh = Zeroizing::new(cipher::unwrap_object(session, &call, key, wrapped)?);
    let opened = XaesKey::new(&between::key(&fresh)?).open(aad, sealed);
    Ok(Zeroizing::new(opened.map_err(|_error| does_not_open())?))
}

/// The call that wraps a key in between; `None` for GCM, which needs none.
fn wrapping(sealing: Sealing) -> Option<Call<'static>> {
    match sealing.0 {
        Mechanism::AesKw => Some(Call::AesKeyWrap),
        Mechanism::AesKwp => Some(Call::AesKeyWrapPad),
        Mechanism::AesGcm | Mechanism::OaepSha1 | Mechanism::OaepSha256 => None,
    }
}

fn decrypt(
    session: &Session,
    key: ObjectHandle,
    padding: Padding,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let call = match padding {
        Padding::None => Call::RsaX509,
        Padding::OaepSha1 => cipher::oaep_sha1(),
        Padding::OaepSha256 => cipher::oaep_sha256(),
    };
    Ok(Zeroizing::new(session.decrypt(&call, key, ciphertext)?))
}

impl Hash {
    /// What stands before a digest in a DigestInfo (RFC 8017, §9.2, note 1).
    fn digest_info(self) -> &'static [u8] {
        match self {
            Self::Sha224 => &[
                0x30, 0x2d, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4, 5, 0, 4, 28,
            ],
            Self::Sha256 => &[
                0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 32,
            ],
            Self::Sha384 => &[
                0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 48,
            ],
            Self::Sha512 => &[
                0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 64,
            ],
        }
    }

    fn pss(self) -> PkcsPssParams {
        let (hash_alg, mgf, len) = match self {
            Self::Sha224 => (MechanismType::SHA224, PkcsMgfType::MGF1_SHA224, 28_u64),
            Self::Sha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
            Self::Sha384 => (MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
            Self::Sha512 => (MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        };
        PkcsPssParams {
            hash_alg,
            mgf,
            s_len: len.into(),
        }
    }
}

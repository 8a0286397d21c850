//! How a token's key wraps 32 bytes: the mechanisms, and which of them a key can.

use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism as Call, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::failure::Failure;
use super::object::{Class, Key};
use crate::crypto::random;
use crate::crypto::secret::SecretKey;
use crate::keys::error::{KeyError, KeyErrorKind};

const IV_LEN: usize = 12;
const TAG_BITS: u64 = 128;

/// How a token wraps; the number stands in the wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::keys) enum Mechanism {
    /// CKM_AES_GCM by C_Encrypt: binds associated data by itself.
    AesGcm = 1,
    /// CKM_AES_KEY_WRAP_PAD (RFC 5649) by C_WrapKey.
    AesKwp = 2,
    /// CKM_AES_KEY_WRAP (RFC 3394) by C_WrapKey.
    AesKw = 3,
    /// CKM_RSA_PKCS_OAEP with SHA-256 by C_Decrypt.
    OaepSha256 = 4,
    /// CKM_RSA_PKCS_OAEP with SHA-1 by C_Decrypt.
    OaepSha1 = 5,
}

impl Mechanism {
    /// Every mechanism, the better one of a class first.
    const ALL: [Self; 5] = [
        Self::AesGcm,
        Self::AesKwp,
        Self::AesKw,
        Self::OaepSha256,
        Self::OaepSha1,
    ];

    /// The mechanism of this number.
    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }

    /// What stands for it in a wrapped key.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::AesGcm => 1,
            Self::AesKwp => 2,
            Self::AesKw => 3,
            Self::OaepSha256 => 4,
            Self::OaepSha1 => 5,
        }
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "AES-GCM",
            Self::AesKwp => "AES-KWP",
            Self::AesKw => "AES-KW",
            Self::OaepSha256 => "RSA-OAEP SHA-256",
            Self::OaepSha1 => "RSA-OAEP SHA-1",
        }
    }

    /// Whether the token binds associated data.
    pub(super) fn binds(self) -> bool {
        self == Self::AesGcm
    }

    /// The keys that it is for.
    pub(super) fn class(self) -> Class {
        match self {
            Self::AesGcm | Self::AesKwp | Self::AesKw => Class::Aes,
            Self::OaepSha256 | Self::OaepSha1 => Class::Rsa,
        }
    }
}

/// The mechanism of new wraps under `key`: the first that wraps and unwraps. Lists of mechanisms
/// do not tell it: SoftHSM lists RSA-OAEP and refuses SHA-256.
pub(super) fn choose(session: &Session, key: &Key) -> Result<Mechanism, Failure> {
    if let Some(known) = key.mechanism.get() {
        return Ok(*known);
    }
    let mut failures = Vec::new();
    for mechanism in Mechanism::ALL {
        if mechanism.class() != key.class {
            continue;
        }
        match check(session, key, mechanism) {
            Ok(()) => return Ok(*key.mechanism.get_or_init(|| mechanism)),
            Err(failure) if failure.is_unsuitable() => failures.push((mechanism, failure)),
            Err(failure) => return Err(failure),
        }
    }
    if failures
        .iter()
        .all(|(_mechanism, failure)| failure.is_trouble())
        && let Some((_mechanism, failure)) = failures.pop()
    {
        return Err(failure);
    }
    Err(cannot_wrap(key, failures))
}

fn cannot_wrap(key: &Key, failures: Vec<(Mechanism, Failure)>) -> Failure {
    let in_words =
        |(mechanism, failure): (Mechanism, Failure)| failure.into_error(mechanism.name());
    let answers: Vec<_> = failures.into_iter().map(in_words).collect();
    let revoked = |error: &KeyError| error.kind() == KeyErrorKind::Revoked;
    let kind = if answers.iter().all(revoked) {
        KeyErrorKind::Revoked
    } else {
        KeyErrorKind::Config
    };
    let answers: Vec<_> = answers.iter().map(KeyError::message).collect();
    let message = format!(
        "key version {} can neither wrap nor unwrap: {}",
        key.version(),
        answers.join("; ")
    );
    Failure::Known(KeyError::new(kind, message))
}

/// Wraps and unwraps something.
pub(super) fn check(session: &Session, key: &Key, mechanism: Mechanism) -> Result<(), Failure> {
    let secret: Zeroizing<[u8; SecretKey::LEN]> = Zeroizing::new(random::array());
    let wrapped = wrap(session, key, mechanism, &secret, b"check")?;
    let unwrapped = unwrap(session, key, mechanism, &wrapped, b"check")?;
    if bool::from(unwrapped.as_slice().ct_eq(secret.as_slice())) {
        Ok(())
    } else {
        let message = format!(
            "the token does not give back what {} wrapped",
            mechanism.name()
        );
        Err(Failure::Known(KeyError::unavailable(message)))
    }
}

/// Wraps 32 bytes: in the token, or outside of it by a public key. `aad` counts where the mechanism binds it.
pub(super) fn wrap(
    session: &Session,
    key: &Key,
    mechanism: Mechanism,
    secret: &[u8; SecretKey::LEN],
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    if key.class == Class::Rsa {
        // The public key outlives the private one, and nobody could unwrap what it wraps then.
        session.get_attributes(key.unwraps, &[AttributeType::Id])?;
    }
    if let Some(public) = &key.public {
        // A TPM has room for few keys, takes its time, and keeps no secret by this.
        return Ok(public.encrypt(mechanism, secret)?);
    }
    let handle = key.wraps.ok_or_else(|| {
        KeyError::not_found(format!(
            "the token holds no public key with id {}",
            key.version()
        ))
    })?;
    match mechanism {
        Mechanism::AesGcm => gcm_wrap(session, handle, secret, aad),
        Mechanism::AesKwp => wrap_object(session, &Call::AesKeyWrapPad, handle, secret),
        Mechanism::AesKw => wrap_object(session, &Call::AesKeyWrap, handle, secret),
        Mechanism::OaepSha256 => Ok(session.encrypt(&oaep_sha256(), handle, secret)?),
        Mechanism::OaepSha1 => Ok(session.encrypt(&oaep_sha1(), handle, secret)?),
    }
}

/// Unwraps what [`wrap`] made. The bytes may be of any length: what is no key is refused by the caller.
pub(super) fn unwrap(
    session: &Session,
    key: &Key,
    mechanism: Mechanism,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let handle = key.unwraps;
    let secret = match mechanism {
        Mechanism::AesGcm => gcm_unwrap(session, handle, wrapped, aad)?,
        Mechanism::AesKwp => unwrap_object(session, &Call::AesKeyWrapPad, handle, wrapped)?,
        Mechanism::AesKw => unwrap_object(session, &Call::AesKeyWrap, handle, wrapped)?,
        Mechanism::OaepSha256 => session.decrypt(&oaep_sha256(), handle, wrapped)?,
        Mechanism::OaepSha1 => session.decrypt(&oaep_sha1(), handle, wrapped)?,
    };
    Ok(Zeroizing::new(secret))
}

/// IV ‖ ciphertext ‖ tag. The IV is random; a token that makes its own (FIPS 140) puts it in its place.
pub(super) fn gcm_wrap(
    session: &Session,
    key: ObjectHandle,
    secret: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut iv: [u8; IV_LEN] = random::array();
    let params = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
    let sealed = session.encrypt(&Call::AesGcm(params), key, secret)?;
    Ok([&iv[..], &sealed].concat())
}

pub(super) fn gcm_unwrap(
    session: &Session,
    key: ObjectHandle,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let Some((iv, sealed)) = wrapped.split_first_chunk::<IV_LEN>() else {
        return Err(Failure::Known(KeyError::corrupt("the wrapped key is cut")));
    };
    let mut iv = *iv;
    let params = GcmParams::new(&mut iv, aad, TAG_BITS.into())?;
    Ok(session.decrypt(&Call::AesGcm(params), key, sealed)?)
}

/// C_WrapKey wraps objects only, so the bytes become one of this session for the time.
pub(super) fn wrap_object(
    session: &Session,
    call: &Call<'_>,
    key: ObjectHandle,
    secret: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut template = session_secret().to_vec();
    template.push(Attribute::Value(secret.to_vec()));
    let object = session.create_object(&template);
    if let Some(Attribute::Value(copy)) = template.last_mut() {
        copy.zeroize();
    }
    let object = object?;
    let wrapped = session.wrap_key(call, key, object);
    session.destroy_object(object)?;
    Ok(wrapped?)
}

pub(super) fn unwrap_object(
    session: &Session,
    call: &Call<'_>,
    key: ObjectHandle,
    wrapped: &[u8],
) -> Result<Vec<u8>, Failure> {
    let object = session.unwrap_key(call, key, wrapped, &session_secret())?;
    let read = session.get_attributes(object, &[AttributeType::Value]);
    session.destroy_object(object)?;
    match read?.pop() {
        Some(Attribute::Value(secret)) => Ok(secret),
        _ => Err(Failure::Known(KeyError::config(
            "the token does not give out what it has unwrapped",
        ))),
    }
}

fn session_secret() -> [Attribute; 5] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

pub(super) fn oaep_sha256() -> Call<'static> {
    oaep(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256)
}

pub(super) fn oaep_sha1() -> Call<'static> {
    oaep(MechanismType::SHA1, PkcsMgfType::MGF1_SHA1)
}

fn oaep(hash: MechanismType, mgf: PkcsMgfType) -> Call<'static> {
    Call::RsaPkcsOaep(PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty()))
}

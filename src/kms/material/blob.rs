//! The ciphertext blob: what `Encrypt`, `GenerateDataKey` and their kin give out.
//!
//! ```text
//! at  length
//!  0   1   format: 1
//!  1  16   key id (the bytes of its UUID)
//! 17  16   key version id
//! 33  12   prefix: random; chooses the subkey
//! 45  12   nonce: random, its first bit 0
//! 57  16   context tag
//! 73   n   ciphertext, n of 1 to 6144
//!   +16    tag
//! ```
//!
//! All of it is authenticated: the first 73 bytes, the header, are the associated data of the
//! ciphertext.
//!
//! The *context tag* is what binds the encryption context. It is the tag of an empty message under
//! the same subkey, with the canonical context as associated data, and with the nonce whose first
//! bit is 1 instead. Because it stands in the header and not in the associated data itself, opening
//! has two steps and two distinct answers: if the ciphertext's own tag does not hold, the blob was
//! changed or never was one of this key (`CiphertextInvalid`); if it does, and the context given has
//! another tag, the blob is genuine and the context is wrong (`WrongContext`), and the plaintext is
//! wiped.
//!
//! This binds as strongly as associated data: to find a second context for a blob is to forge a GMAC
//! of 128 bits under a key that nobody knows. It tells nothing of the context either: a tag is under
//! a subkey and nonce of its own, so equal contexts have unrelated tags. Whoever can ask for
//! decryption may test guesses of a context, as he may with every service.
//!
//! How many blobs a key may make is in `gcm`: more than anyone can.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::crypto::random;
use crate::kms::engine::error::ErrorKind;
use crate::kms::engine::ops::SecretBytes;
use crate::kms::engine::{EncryptionContext, KmsError};
use crate::kms::material::address::Address;
use crate::kms::material::gcm::{BlobKey, GcmNonce, Prefix, Subkey, TAG_LEN};
use crate::kms::material::token_blob::{self, TokenBlob};
use crate::kms::material::{Material, check_plaintext, errors};

/// Of keys whose material the service holds; those in an HSM have [another](token_blob).
const FORMAT: u8 = 1;

const HEADER_LEN: usize = 1 + 2 * Address::ID_LEN + 12 + 12 + TAG_LEN;

/// The most that a blob holds, in bytes (Alibaba Cloud KMS, `Encrypt`).
pub const PLAINTEXT_LEN_MAX: usize = 6144;

/// By how much a blob is longer than what it holds, in bytes.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// The longest blob there is, in bytes.
pub const LEN_MAX: usize = OVERHEAD + PLAINTEXT_LEN_MAX;

/// A blob that has the form of one; nothing of it is authentic before [`open`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Blob<'a> {
    address: Address,
    header: &'a [u8; HEADER_LEN],
    prefix: Prefix,
    nonce: GcmNonce,
    context_tag: [u8; TAG_LEN],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl Blob<'_> {
    /// Which version of which key it says that it is under.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The blob as it came.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.header[..], self.ciphertext, &self.tag[..]].concat()
    }
}

impl fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("address", &self.address)
            .field("len", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}

/// A blob of either kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyBlob<'a> {
    /// Of a key whose material the service holds.
    Software(Blob<'a>),
    /// Of one in an HSM.
    Token(TokenBlob<'a>),
}

impl AnyBlob<'_> {
    /// Which version of which key it says that it is under.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Software(blob) => blob.address(),
            Self::Token(blob) => blob.address(),
        }
    }
}

/// Takes a blob of either kind of key apart.
///
/// # Errors
/// `CiphertextInvalid` for anything that is none, as far as its form tells.
pub fn parse_any(bytes: &[u8]) -> Result<AnyBlob<'_>, KmsError> {
    match bytes.first() {
        Some(&token_blob::FORMAT) => TokenBlob::split(bytes).map(AnyBlob::Token),
        Some(_) | None => split(bytes).map(AnyBlob::Software),
    }
    .ok_or_else(errors::ciphertext)
}

/// Takes a blob apart.
///
/// # Errors
/// `CiphertextInvalid` for anything that [`seal`] did not make, as far as its form tells.
pub fn parse(bytes: &[u8]) -> Result<Blob<'_>, KmsError> {
    split(bytes).ok_or_else(errors::ciphertext)
}

fn split(bytes: &[u8]) -> Option<Blob<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    if !(1..=PLAINTEXT_LEN_MAX).contains(&ciphertext.len()) {
        return None;
    }
    let (&[format], fields) = header.split_first_chunk()?;
    let (key, fields) = fields.split_first_chunk()?;
    let (version, fields) = fields.split_first_chunk()?;
    let (prefix, fields) = fields.split_first_chunk()?;
    let (nonce, fields) = fields.split_first_chunk()?;
    let blob = Blob {
        address: Address::from_bytes(*key, *version),
        header,
        prefix: *prefix,
        nonce: *nonce,
        context_tag: fields.try_into().ok()?,
        ciphertext,
        tag,
    };
    (format == FORMAT && blob.nonce == nonce_of_data(blob.nonce)).then_some(blob)
}

/// Seals `plaintext` under the key version `material`, whose ids are `address`.
///
/// # Errors
/// * `KeyUsage` for a key that is not symmetric
/// * `InvalidParameter` for no plaintext, or one of more than [`PLAINTEXT_LEN_MAX`] bytes
pub fn seal(
    material: &Material,
    address: Address,
    context: &EncryptionContext,
    plaintext: &[u8],
) -> Result<Vec<u8>, KmsError> {
    let key = material.blob_key()?;
    check_plaintext(plaintext)?;
    let mut halves = [[0; 12]; 2];
    random::fill(halves.as_flattened_mut());
    let [prefix, nonce] = halves;
    seal_with(key, address, context, plaintext, prefix, nonce)
}

fn seal_with(
    key: &BlobKey,
    address: Address,
    context: &EncryptionContext,
    plaintext: &[u8],
    prefix: Prefix,
    nonce: GcmNonce,
) -> Result<Vec<u8>, KmsError> {
    let nonce = nonce_of_data(nonce);
    let subkey = key.subkey(&prefix)?;
    let mut blob = Vec::with_capacity(OVERHEAD + plaintext.len());
    blob.push(FORMAT);
    blob.extend_from_slice(address.key_bytes());
    blob.extend_from_slice(address.version_bytes());
    blob.extend_from_slice(&prefix);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(&context_tag(&subkey, nonce, context)?);
    blob.extend_from_slice(plaintext);
    let (header, data) = blob
        .split_at_mut_checked(HEADER_LEN)
        .ok_or_else(|| errors::internal("A blob is shorter than its header."))?;
    let tag = subkey.seal(&nonce, header, data)?;
    blob.extend_from_slice(&tag);
    Ok(blob)
}

/// Opens a blob with the key version that it names.
///
/// # Errors
/// * `KeyUsage` for a key that is not symmetric
/// * `CiphertextInvalid` where anything of the blob was changed, or it is of another key
/// * `WrongContext` where it is genuine and was made under another context
pub fn open(
    material: &Material,
    blob: &Blob<'_>,
    context: &EncryptionContext,
) -> Result<SecretBytes, KmsError> {
    let subkey = material.blob_key()?.subkey(&blob.prefix)?;
    let mut data = Zeroizing::new(blob.ciphertext.to_vec());
    subkey
        .open(&blob.nonce, blob.header, &mut data, blob.tag)
        .map_err(|_not_authentic| errors::ciphertext())?;
    let given = context_tag(&subkey, blob.nonce, context)?;
    if !bool::from(given.ct_eq(&blob.context_tag)) {
        return Err(KmsError::new(
            ErrorKind::WrongContext,
            "The encryption context is not the one that the ciphertext was made under: give \
             exactly the same pairs.",
        ));
    }
    Ok(data)
}

fn context_tag(
    subkey: &Subkey,
    nonce: GcmNonce,
    context: &EncryptionContext,
) -> Result<[u8; TAG_LEN], KmsError> {
    subkey.seal(&nonce_of_context(nonce), &context.canonical(), &mut [])
}

/// The nonce with its first bit 0.
fn nonce_of_data([first, rest @ ..]: GcmNonce) -> GcmNonce {
    joined(first & 0x7f, rest)
}

/// The nonce with its first bit 1, which no data is sealed under.
fn nonce_of_context([first, rest @ ..]: GcmNonce) -> GcmNonce {
    joined(first | 0x80, rest)
}

fn joined(first: u8, rest: [u8; 11]) -> GcmNonce {
    let mut nonce = [first; 12];
    nonce
        .iter_mut()
        .skip(1)
        .zip(rest)
        .for_each(|(to, from)| *to = from);
    nonce
}

#[cfg(test)]
mod tests;

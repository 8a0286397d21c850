//! What a key provider does, and what a wrapped key is bound to.

use std::fmt;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;
use crate::units::{FileId, KeyUri, VolumeId};

/// What a wrapped key belongs to. Bound into every wrap (as AAD, or as the service's own
/// encryption context), so that a wrapped key moved to another file does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncryptionContext {
    /// The volume.
    pub volume: VolumeId,
    /// The file whose data key this is; `None`: the volume key itself.
    pub file: Option<FileId>,
}

impl EncryptionContext {
    const LABEL: &'static [u8] = b"envelopefs/v1/context";

    /// The canonical bytes: label ‖ kind (0 volume key, 1 data key) ‖ volume id ‖ file id where
    /// there is one. Two contexts never give the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LABEL.len().saturating_add(33));
        bytes.extend_from_slice(Self::LABEL);
        bytes.push(u8::from(self.file.is_some()));
        bytes.extend_from_slice(&self.volume.0);
        if let Some(file) = &self.file {
            bytes.extend_from_slice(&file.0);
        }
        bytes
    }

    /// The AAD of a provider that seals by itself: scheme ‖ 0 ‖ length u32 (big-endian) of what
    /// the provider binds besides (its key version, its parameters) ‖ that ‖ the context. Neither
    /// the version nor the scheme can be swapped, even where two providers hold equal keys.
    pub(crate) fn aad(&self, scheme: &str, bound: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bound.len()).unwrap_or(u32::MAX);
        let mut aad = Vec::with_capacity(128);
        aad.extend_from_slice(scheme.as_bytes());
        aad.push(0);
        aad.extend_from_slice(&len.to_be_bytes());
        aad.extend_from_slice(bound);
        aad.extend_from_slice(&self.encode());
        aad
    }
}

/// An unwrapped data key, and the key service's own name for the request where it gave one, by which the service's logs
/// tell of it.
pub type NamedKey = (SecretKey, Option<String>);

/// A data key under a provider's key: no secret, it stands in the file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedDek {
    /// The version of the provider's key that wrapped it, in the provider's own words.
    pub key_version: String,
    /// What the provider made.
    pub bytes: Vec<u8>,
}

/// What a provider said when asked how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHealth {
    /// The key version that new wraps use.
    pub key_version: String,
    /// How many versions the provider can unwrap with, the newest among them.
    pub versions: usize,
    /// How the key wraps, where one kind of provider has several ways.
    pub mechanism: Option<&'static str>,
}

/// Holds a key-encryption key and wraps data keys under it. The key itself never leaves.
///
/// A call asks once: trying again is for [`Guarded`](crate::keys::Guarded), which stands around
/// each provider.
///
/// Calls may block (network, terminal, Argon2) unless [`is_local`](KeyProvider::is_local) says
/// otherwise, so they belong on key workers. One suite of tests runs against every provider.
pub trait KeyProvider: Send + Sync + fmt::Debug {
    /// Where the key is held; what a slot in a header names.
    fn uri(&self) -> &KeyUri;

    /// A new data key, plain and wrapped.
    ///
    /// # Errors
    /// Those of [`wrap`](KeyProvider::wrap).
    fn generate(&self, context: &EncryptionContext) -> Result<(SecretKey, WrappedDek), KeyError> {
        let dek = SecretKey::random()?;
        let wrapped = self.wrap(&dek, context)?;
        Ok((dek, wrapped))
    }

    /// Wraps a data key under the newest version of the provider's key.
    ///
    /// # Errors
    /// Any [`KeyErrorKind`](crate::keys::KeyErrorKind) but `Corrupt`.
    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not what this provider made for this context and version;
    /// `NotFound` where the version is unknown; any other kind as the provider has it.
    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError>;

    /// As [`unwrap`](KeyProvider::unwrap), with the key service's own name for the request, where it gave one: the
    /// audit has it, so that the service's logs can be asked. (A failure carries its own.)
    ///
    /// # Errors
    /// Those of [`unwrap`](KeyProvider::unwrap).
    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        self.unwrap(wrapped, context).map(|key| (key, None))
    }

    /// The same data key under the newest version. A service that can does this itself, so that
    /// the data key never comes to this host.
    ///
    /// # Errors
    /// Those of [`unwrap`](KeyProvider::unwrap) and [`wrap`](KeyProvider::wrap).
    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        let dek = self.unwrap(wrapped, context)?;
        self.wrap(&dek, context)
    }

    /// Asks whether the key is there and usable, and takes note of new versions of it.
    ///
    /// # Errors
    /// What a wrap would meet.
    fn probe(&self) -> Result<KeyHealth, KeyError>;

    /// One line for people: what kind of provider, and where.
    fn describe(&self) -> String;

    /// Whether it answers from memory in microseconds, so that the calling thread may ask it.
    fn is_local(&self) -> bool;

    /// Drops the secrets that it keeps in memory: keys, passphrases, PINs, tokens. The next call
    /// gets at them again, from where they came from. A provider that keeps none does nothing.
    fn forget(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId([1; 16]);

    #[test]
    fn the_canonical_bytes_are_fixed() {
        let context = EncryptionContext {
            volume: VOLUME,
            file: Some(FileId([2; 16])),
        };
        let expected = [&b"envelopefs/v1/context\x01"[..], &[1; 16], &[2; 16]].concat();
        assert_eq!(context.encode(), expected);
    }

    #[test]
    fn a_volume_key_and_a_file_key_never_share_a_context() {
        let volume_key = EncryptionContext {
            volume: VOLUME,
            file: None,
        };
        for file in [[0; 16], [1; 16]] {
            let data_key = EncryptionContext {
                volume: VOLUME,
                file: Some(FileId(file)),
            };
            assert_ne!(volume_key.encode(), data_key.encode());
        }
    }

    #[test]
    fn what_is_bound_cannot_slide_between_fields() {
        let context = EncryptionContext {
            volume: VOLUME,
            file: None,
        };
        let aads = [
            context.aad("file", b"1"),
            context.aad("file", b"11"),
            context.aad("file1", b""),
            context.aad("file", b""),
            context.aad("passphrase", b"1"),
        ];
        for (i, a) in aads.iter().enumerate() {
            assert!(aads.iter().skip(i + 1).all(|b| a != b));
        }
    }
}

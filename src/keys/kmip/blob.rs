//! The wrapped key as it stands in a slot (docs/FORMAT.md §4.4).

use super::SCHEME;
use crate::crypto::secret::SecretKey;
use crate::keys::between::SEALED_LEN;
use crate::keys::provider::EncryptionContext;

const FORMAT: u8 = 1;
const TAG_LEN: usize = 16;
const BLOCK_LEN: usize = 16;

/// How a server's key encrypts 32 bytes; the number stands in the wrapped key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// AES-GCM with the context as additional data (KMIP 1.4).
    Gcm,
    /// AES-CBC, which authenticates nothing: it encrypts a key in between.
    Cbc,
}

impl Mechanism {
    /// The better one first.
    pub(super) const ALL: [Self; 2] = [Self::Gcm, Self::Cbc];

    fn number(self) -> u8 {
        match self {
            Self::Gcm => 1,
            Self::Cbc => 2,
        }
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gcm => "AES-GCM",
            Self::Cbc => "AES-CBC and a key in between",
        }
    }

    /// Whether the server binds associated data.
    pub(super) fn binds(self) -> bool {
        self == Self::Gcm
    }

    /// The length of the IV.
    pub(super) fn iv_len(self) -> usize {
        match self {
            Self::Gcm => 12,
            Self::Cbc => BLOCK_LEN,
        }
    }

    /// The length of a tag behind the ciphertext.
    pub(super) fn tag_len(self) -> usize {
        match self {
            Self::Gcm => TAG_LEN,
            Self::Cbc => 0,
        }
    }

    /// The length of the ciphertext of 32 bytes; CBC pads.
    pub(super) fn data_len(self) -> usize {
        match self {
            Self::Gcm => SecretKey::LEN,
            Self::Cbc => SecretKey::LEN + BLOCK_LEN,
        }
    }
}

/// What a server made of 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) iv: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// Empty where the mechanism has none.
    pub(super) tag: Vec<u8>,
}

impl Sealed {
    /// Whether the parts have the lengths that the mechanism gives.
    pub(super) fn fits(&self, mechanism: Mechanism) -> bool {
        let lengths = (self.iv.len(), self.data.len(), self.tag.len());
        lengths
            == (
                mechanism.iv_len(),
                mechanism.data_len(),
                mechanism.tag_len(),
            )
    }
}

/// A wrapped key in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) mechanism: Mechanism,
    pub(super) by_server: Sealed,
    /// The data key under the key that the server encrypted; empty where it encrypted the data key itself.
    pub(super) sealed: Vec<u8>,
}

impl Blob {
    /// The parts of a wrapped key; `None` where it has not the length that the mechanism gives.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[format, number], parts) = bytes.split_first_chunk()?;
        let known = |mechanism: &Mechanism| mechanism.number() == number;
        let mechanism = Mechanism::ALL.into_iter().find(known)?;
        let (iv, parts) = parts.split_at_checked(mechanism.iv_len())?;
        let (data, parts) = parts.split_at_checked(mechanism.data_len())?;
        let (tag, sealed) = parts.split_at_checked(mechanism.tag_len())?;
        let rest = if mechanism.binds() { 0 } else { SEALED_LEN };
        (format == FORMAT && sealed.len() == rest).then(|| Self {
            mechanism,
            by_server: Sealed {
                iv: iv.to_vec(),
                data: data.to_vec(),
                tag: tag.to_vec(),
            },
            sealed: sealed.to_vec(),
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let Sealed { iv, data, tag } = &self.by_server;
        let head = [FORMAT, self.mechanism.number()];
        [&head[..], iv, data, tag, &self.sealed].concat()
    }
}

/// What a wrap is bound to: format, mechanism and the key's unique identifier as well as the context.
pub(super) fn aad(mechanism: Mechanism, id: &str, context: &EncryptionContext) -> Vec<u8> {
    let bound = [&[FORMAT, mechanism.number()][..], id.as_bytes()].concat();
    context.aad(SCHEME, &bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mechanism_has_its_length() {
        for (number, fits) in [(1, 62), (2, 138)] {
            let parsed: Vec<_> = (2..300)
                .map(|len| [&[FORMAT, number][..], &vec![7; len - 2]].concat())
                .filter(|bytes| Blob::parse(bytes).is_some_and(|blob| blob.encode() == *bytes))
                .map(|bytes| bytes.len())
                .collect();
            assert_eq!(parsed, [fits]);
        }
    }

    #[test]
    fn other_formats_and_mechanisms_are_refused() {
        for bytes in [&[][..], &[1], &[1, 1]] {
            assert_eq!(Blob::parse(bytes), None);
        }
        for (format, number) in [(0, 1), (2, 1), (255, 1), (1, 0), (1, 3), (1, 255)] {
            for len in [60, 136] {
                let bytes = [&[format, number][..], &vec![7; len]].concat();
                assert_eq!(Blob::parse(&bytes), None, "{format} {number}");
            }
        }
    }
}

//! Newtypes for what would otherwise be a bare number or string. Conversions between plaintext
//! and ciphertext positions are `format::layout`'s alone.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A byte position in the plaintext of a file.
    PlainOffset(u64)
}
number! {
    /// The length of a file's plaintext in bytes.
    PlainLen(u64)
}
number! {
    /// A byte position in a ciphertext file.
    CipherOffset(u64)
}
number! {
    /// The length of a ciphertext file in bytes, as `st_size` has it.
    CipherLen(u64)
}
number! {
    /// The place of a chunk in its file, from 0. Chunk 0 shares block 0 with the header.
    ChunkIndex(u64)
}
number! {
    /// Which of a file's data keys sealed a chunk: 1 for the first, +1 with each `reencrypt`.
    EpochId(u32)
}

/// How long a name that programs read keeps its meaning: of an exit code, an audit event, a metric. It is never used again
/// for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Programs may rely on it in every later version.
    Stable,
    /// What stands under it may change with a version, which the changelog then says.
    Provisional,
}

impl Stability {
    /// The word that stands in the documentation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Provisional => "provisional",
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_error| InvalidId)?;
                bytes.try_into().map(Self).map_err(|_bytes| InvalidId)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Names one ciphertext file for its whole life; random, chosen at creation.
    FileId
}
id! {
    /// Names a volume; random, chosen by `init`.
    VolumeId
}
id! {
    /// Names a folder: the associated data of the names in it.
    DirId
}

impl VolumeId {
    /// Stands for no volume, in the context of a key that was wrapped outside any.
    pub const NONE: Self = Self([0; 16]);
}

/// An id that is not 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hexadecimal digits")]
pub struct InvalidId;

/// Where a key is held: `file:///path`, `passphrase:`, and so on. At most [`KeyUri::MAX_LEN`]
/// bytes of printable ASCII, since it stands in every file's header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyUri(String);

/// A key URI that has no scheme, is too long or holds other than printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key URI {0:?}: expected SCHEME:…, printable ASCII, at most {max} bytes", max = KeyUri::MAX_LEN)]
pub struct InvalidKeyUri(String);

impl KeyUri {
    /// The longest URI in bytes.
    pub const MAX_LEN: usize = 512;

    /// What stands before the first colon, for example `file`.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// What follows the first colon.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, rest)| rest)
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyUri {
    type Err = InvalidKeyUri;

    fn from_str(text: &str) -> Result<Self, InvalidKeyUri> {
        let scheme_ok = text.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_lowercase())
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        if scheme_ok && printable && text.len() <= Self::MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKeyUri(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for KeyUri {
    type Error = InvalidKeyUri;

    fn try_from(text: String) -> Result<Self, InvalidKeyUri> {
        text.parse()
    }
}

impl From<KeyUri> for String {
    fn from(uri: KeyUri) -> Self {
        uri.0
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_wrote() {
        let id = FileId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_of_other_lengths_digits_or_case_are_refused() {
        for text in [
            "",
            "00",
            &"0".repeat(31),
            &"0".repeat(33),
            &"G".repeat(32),
            &"A".repeat(32),
        ] {
            assert_eq!(text.parse::<FileId>(), Err(InvalidId), "{text:?}");
        }
    }

    #[test]
    fn a_key_uri_has_a_scheme_and_a_rest() {
        let uri: KeyUri = "file:///etc/keyring.json".parse().unwrap();
        assert_eq!((uri.scheme(), uri.rest()), ("file", "///etc/keyring.json"));
    }

    #[test]
    fn key_uris_without_a_scheme_or_with_odd_bytes_are_refused() {
        let long = format!("file:{}", "x".repeat(KeyUri::MAX_LEN));
        for text in [
            "", "file", ":x", "File:x", "fi le:x", "file:a b", "file:\n", "1f:x", "file:é", &long,
        ] {
            assert!(text.parse::<KeyUri>().is_err(), "{text:?}");
        }
    }
}

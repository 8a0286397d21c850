//! What the service keeps: keys, versions, aliases, tags, grants.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// A key's id: a UUID in lower case. Ids never come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub String);

/// The id of one version of a key: a UUID in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersionId(pub String);

/// A key as callers name it; a dialect has taken the ARN's frame off already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyRef {
    /// The whole name, with `alias/` before it.
    Alias(String),
    Id(KeyId),
}

/// The kind and size of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySpec {
    Aes128,
    Aes192,
    Aes256,
    EcP256,
    /// secp256k1.
    EcP256K,
    EcP384,
    EcSm2,
    Hmac224,
    Hmac256,
    Hmac384,
    Hmac512,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Sm4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyUsage {
    EncryptDecrypt,
    GenerateVerifyMac,
    SignVerify,
}

/// Where a key's material was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Imported by its owner (BYOK).
    External,
    Service,
}

/// Where a key's material is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProtectionLevel {
    /// In the HSM: the material never leaves it.
    Hsm,
    Software,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyState {
    Disabled,
    Enabled,
    PendingDeletion,
    PendingImport,
}

/// Gives an enum the one text of each of its values: for the store, policies and people.
macro_rules! named {
    ($kind:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl $kind {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name; never another's, and never changed.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The value of this name.
            #[must_use]
            pub fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(super) use named;

named!(KeySpec {
    Aes128 = "AES_128",
    Aes192 = "AES_192",
    Aes256 = "AES_256",
    EcP256 = "EC_P256",
    EcP256K = "EC_P256K",
    EcP384 = "EC_P384",
    EcSm2 = "EC_SM2",
    Hmac224 = "HMAC_224",
    Hmac256 = "HMAC_256",
    Hmac384 = "HMAC_384",
    Hmac512 = "HMAC_512",
    Rsa2048 = "RSA_2048",
    Rsa3072 = "RSA_3072",
    Rsa4096 = "RSA_4096",
    Sm4 = "SM4",
});

named!(KeyUsage {
    EncryptDecrypt = "ENCRYPT_DECRYPT",
    GenerateVerifyMac = "GENERATE_VERIFY_MAC",
    SignVerify = "SIGN_VERIFY",
});

named!(Origin {
    External = "EXTERNAL",
    Service = "SERVICE",
});

named!(ProtectionLevel {
    Hsm = "HSM",
    Software = "SOFTWARE",
});

named!(KeyState {
    Disabled = "Disabled",
    Enabled = "Enabled",
    PendingDeletion = "PendingDeletion",
    PendingImport = "PendingImport",
});

named!(VersionCause {
    Creation = "CREATION",
    Import = "IMPORT",
    OnDemand = "ON_DEMAND",
    Schedule = "SCHEDULE",
});

impl KeySpec {
    /// Encrypts and decrypts with one and the same secret, under an encryption context.
    #[must_use]
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Aes128 | Self::Aes192 | Self::Aes256 | Self::Sm4)
    }

    /// Has a public half.
    #[must_use]
    pub fn is_asymmetric(self) -> bool {
        matches!(
            self,
            Self::EcP256
                | Self::EcP256K
                | Self::EcP384
                | Self::EcSm2
                | Self::Rsa2048
                | Self::Rsa3072
                | Self::Rsa4096
        )
    }

    /// Whether a key of this spec can be for this.
    #[must_use]
    pub fn allows(self, usage: KeyUsage) -> bool {
        match usage {
            KeyUsage::EncryptDecrypt => {
                self.is_symmetric()
                    || matches!(
                        self,
                        Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcSm2
                    )
            }
            KeyUsage::SignVerify => self.is_asymmetric(),
            KeyUsage::GenerateVerifyMac => !self.is_symmetric() && !self.is_asymmetric(),
        }
    }
}

/// A key as its holders see it; no material.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub protection: ProtectionLevel,
    pub state: KeyState,
    pub created: Timestamp,
    /// The principal that made it.
    pub creator: String,
    /// When the material is destroyed (`PendingDeletion`).
    pub deletion: Option<Timestamp>,
    /// When imported material is forgotten.
    pub material_expires: Option<Timestamp>,
    /// The version that encrypts; `None` before material was imported.
    pub primary: Option<KeyVersionId>,
    pub rotation: Rotation,
    /// `Some`, with its owner's description, when the key cannot be scheduled for deletion.
    pub deletion_protection: Option<String>,
}

/// Whether and when a key gets a new version by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    pub enabled: bool,
    /// 7 to 2,560 days.
    pub period: Option<Duration>,
    pub last: Option<Timestamp>,
    pub next: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVersion {
    pub key: KeyId,
    pub id: KeyVersionId,
    /// 1 for the first.
    pub number: u32,
    pub created: Timestamp,
    /// `false` once it was disabled by itself: it neither decrypts nor verifies.
    pub enabled: bool,
    /// How it came to be: at the key's making, by hand, by schedule, or imported.
    pub cause: VersionCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionCause {
    Creation,
    Import,
    OnDemand,
    Schedule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// With `alias/` before it.
    pub name: String,
    pub key: KeyId,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// A permission on one key given to one principal by another (AWS "Grants").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub id: String,
    pub key: KeyId,
    pub name: Option<String>,
    pub created: Timestamp,
    pub grantee: String,
    pub retiring: Option<String>,
    pub issuer: String,
    /// Names of operations as AWS spells them.
    pub operations: Vec<String>,
    pub constraint: Option<GrantConstraint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantConstraint {
    /// The context must be exactly this.
    Equals(BTreeMap<String, String>),
    /// The context must have these pairs.
    Subset(BTreeMap<String, String>),
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// How many entries stand before it.
    pub offset: u64,
    /// 1 to 1,000.
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// All there are, on every page together.
    pub total: u64,
    pub request: PageRequest,
}

impl<T> Page<T> {
    /// Where the next page starts; `None` on the last.
    #[must_use]
    pub fn next_offset(&self) -> Option<u64> {
        let end = self.request.offset + u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        (end < self.total).then_some(end)
    }

    /// The same page of what each entry comes to.
    #[must_use]
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(of).collect(),
            total: self.total,
            request: self.request,
        }
    }
}

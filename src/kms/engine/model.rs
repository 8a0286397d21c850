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
}

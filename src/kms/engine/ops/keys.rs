//! The lives of keys.

use std::time::Duration;

use jiff::Timestamp;

use crate::kms::engine::model::{
    Key, KeyId, KeyRef, KeySpec, KeyState, KeyUsage, Origin, Page, PageRequest, ProtectionLevel,
    Tag,
};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::{Caller, KmsError};

/// Makes a key, with its first version unless its material is to be imported.
#[derive(Debug, Clone)]
pub struct CreateKey {
    pub description: String,
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub protection: ProtectionLevel,
    /// `Some` turns rotation by schedule on.
    pub rotation_period: Option<Duration>,
    pub tags: Vec<Tag>,
    /// `None` for the default: its creator, and who a principal's own policy allows.
    pub policy: Option<String>,
}

impl Operation for CreateKey {
    const ACTION: &'static str = "CreateKey";
    type Answer = Key;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// What there is to know of a key.
#[derive(Debug, Clone)]
pub struct DescribeKey {
    pub key: KeyRef,
}

impl Operation for DescribeKey {
    const ACTION: &'static str = "DescribeKey";
    type Answer = Key;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// What the keys in a list have in common; all that is `Some` must hold.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub states: Option<Vec<KeyState>>,
    pub specs: Option<Vec<KeySpec>>,
    pub usages: Option<Vec<KeyUsage>>,
    pub protections: Option<Vec<ProtectionLevel>>,
    pub creators: Option<Vec<String>>,
}

/// The keys, oldest first.
#[derive(Debug, Clone)]
pub struct ListKeys {
    pub filter: KeyFilter,
    pub page: PageRequest,
}

impl Operation for ListKeys {
    const ACTION: &'static str = "ListKeys";
    type Answer = Page<Key>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Sets the description: at most 8,192 characters.
#[derive(Debug, Clone)]
pub struct UpdateKeyDescription {
    pub key: KeyRef,
    pub description: String,
}

impl Operation for UpdateKeyDescription {
    const ACTION: &'static str = "UpdateKeyDescription";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Lets a key be used (again).
#[derive(Debug, Clone)]
pub struct EnableKey {
    pub key: KeyRef,
}

impl Operation for EnableKey {
    const ACTION: &'static str = "EnableKey";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Lets a key not be used, until it is enabled.
#[derive(Debug, Clone)]
pub struct DisableKey {
    pub key: KeyRef,
}

impl Operation for DisableKey {
    const ACTION: &'static str = "DisableKey";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// When a key's material is destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub key: KeyId,
    pub date: Timestamp,
}

/// Destroys a key's material after so many days, unless cancelled.
#[derive(Debug, Clone)]
pub struct ScheduleKeyDeletion {
    pub key: KeyRef,
    /// 7 to 366; AWS allows up to 30, which its dialect checks.
    pub days: u32,
}

impl Operation for ScheduleKeyDeletion {
    const ACTION: &'static str = "ScheduleKeyDeletion";
    type Answer = Deletion;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Keeps a key that was to be destroyed; it is disabled then (AWS) or enabled (Alibaba), by the caller's dialect.
#[derive(Debug, Clone)]
pub struct CancelKeyDeletion {
    pub key: KeyRef,
}

impl Operation for CancelKeyDeletion {
    const ACTION: &'static str = "CancelKeyDeletion";
    type Answer = KeyId;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Protects a key from being scheduled for deletion, or no longer.
#[derive(Debug, Clone)]
pub struct SetDeletionProtection {
    pub key: KeyRef,
    /// `Some`, with a description, to protect.
    pub protection: Option<String>,
}

impl Operation for SetDeletionProtection {
    const ACTION: &'static str = "SetDeletionProtection";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

//! Versions of keys and their rotation.

use std::time::Duration;

use jiff::Timestamp;

use crate::kms::engine::model::{
    KeyId, KeyRef, KeyVersion, KeyVersionId, Page, PageRequest, Rotation,
};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::{Caller, KmsError};

/// A new version (Alibaba): of an asymmetric key beside the others, of a symmetric one as its primary.
#[derive(Debug, Clone)]
pub struct CreateKeyVersion {
    pub key: KeyRef,
}

impl Operation for CreateKeyVersion {
    const ACTION: &'static str = "CreateKeyVersion";
    type Answer = KeyVersion;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// One version.
#[derive(Debug, Clone)]
pub struct DescribeKeyVersion {
    pub key: KeyRef,
    pub version: KeyVersionId,
}

impl Operation for DescribeKeyVersion {
    const ACTION: &'static str = "DescribeKeyVersion";
    type Answer = KeyVersion;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// The versions, newest first.
#[derive(Debug, Clone)]
pub struct ListKeyVersions {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListKeyVersions {
    const ACTION: &'static str = "ListKeyVersions";
    type Answer = Page<KeyVersion>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Disables one version by itself, not the primary, or enables it.
#[derive(Debug, Clone)]
pub struct SetKeyVersionEnabled {
    pub key: KeyRef,
    pub version: KeyVersionId,
    pub enabled: bool,
}

impl Operation for SetKeyVersionEnabled {
    const ACTION: &'static str = "SetKeyVersionEnabled";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Turns rotation by schedule on or off.
#[derive(Debug, Clone)]
pub struct UpdateRotation {
    pub key: KeyRef,
    /// `Some` turns it on: 7 to 2,560 days.
    pub period: Option<Duration>,
}

impl Operation for UpdateRotation {
    const ACTION: &'static str = "UpdateRotation";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// How a key rotates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    pub key: KeyId,
    pub rotation: Rotation,
    pub on_demand_started: Option<Timestamp>,
}

/// Whether and when a key rotates.
#[derive(Debug, Clone)]
pub struct GetKeyRotationStatus {
    pub key: KeyRef,
}

impl Operation for GetKeyRotationStatus {
    const ACTION: &'static str = "GetKeyRotationStatus";
    type Answer = RotationStatus;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A new primary version at once (AWS).
#[derive(Debug, Clone)]
pub struct RotateKeyOnDemand {
    pub key: KeyRef,
}

impl Operation for RotateKeyOnDemand {
    const ACTION: &'static str = "RotateKeyOnDemand";
    type Answer = KeyId;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// The rotations that were, newest first: versions that were not the first.
#[derive(Debug, Clone)]
pub struct ListKeyRotations {
    pub key: KeyRef,
    pub page: PageRequest,
}

impl Operation for ListKeyRotations {
    const ACTION: &'static str = "ListKeyRotations";
    type Answer = Page<KeyVersion>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

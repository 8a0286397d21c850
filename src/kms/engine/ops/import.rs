//! Key material that its owner brings.

use jiff::Timestamp;

use crate::kms::engine::model::{KeyId, KeyRef};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::ops::export::ExportAlgorithm;
use crate::kms::engine::{Caller, KmsError};

/// What is needed to wrap material for its import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportParameters {
    pub key: KeyId,
    /// To be given back as it is.
    pub token: Vec<u8>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// 24 hours on.
    pub expires: Timestamp,
}

/// The size of the RSA key that material is wrapped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrappingKeySpec {
    EcSm2,
    Rsa2048,
    Rsa3072,
    Rsa4096,
}

/// A public key and a token for one import.
#[derive(Debug, Clone)]
pub struct GetParametersForImport {
    pub key: KeyRef,
    pub algorithm: ExportAlgorithm,
    pub spec: WrappingKeySpec,
}

impl Operation for GetParametersForImport {
    const ACTION: &'static str = "GetParametersForImport";
    type Answer = ImportParameters;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Takes the material; the second time it must be the same.
#[derive(Debug, Clone)]
pub struct ImportKeyMaterial {
    pub key: KeyRef,
    pub token: Vec<u8>,
    pub material: Vec<u8>,
    /// When the material is to be forgotten; `None` for never.
    pub expires: Option<Timestamp>,
}

impl Operation for ImportKeyMaterial {
    const ACTION: &'static str = "ImportKeyMaterial";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Forgets imported material; the key waits for it again.
#[derive(Debug, Clone)]
pub struct DeleteKeyMaterial {
    pub key: KeyRef,
}

impl Operation for DeleteKeyMaterial {
    const ACTION: &'static str = "DeleteKeyMaterial";
    type Answer = KeyId;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

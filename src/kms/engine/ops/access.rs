//! Key policies and grants.

use crate::kms::engine::model::{Grant, GrantConstraint, KeyRef, Page, PageRequest};
use crate::kms::engine::operation::{Engine, Operation};
use crate::kms::engine::{Caller, KmsError};

/// Sets who may do what with a key.
#[derive(Debug, Clone)]
pub struct PutKeyPolicy {
    pub key: KeyRef,
    /// JSON, at most 32,768 bytes. Its name is always `default`.
    pub policy: String,
    /// Whether the caller may lock itself out.
    pub bypass_lockout_check: bool,
}

impl Operation for PutKeyPolicy {
    const ACTION: &'static str = "PutKeyPolicy";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A key's policy.
#[derive(Debug, Clone)]
pub struct GetKeyPolicy {
    pub key: KeyRef,
}

impl Operation for GetKeyPolicy {
    const ACTION: &'static str = "GetKeyPolicy";
    type Answer = String;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// The names of a key's policies: `default`.
#[derive(Debug, Clone)]
pub struct ListKeyPolicies {
    pub key: KeyRef,
}

impl Operation for ListKeyPolicies {
    const ACTION: &'static str = "ListKeyPolicies";
    type Answer = Vec<String>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A grant that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub id: String,
    pub token: String,
}

/// Lets a principal do some things with a key.
#[derive(Debug, Clone)]
pub struct CreateGrant {
    pub key: KeyRef,
    pub name: Option<String>,
    pub grantee: String,
    pub retiring: Option<String>,
    pub operations: Vec<String>,
    pub constraint: Option<GrantConstraint>,
    pub dry_run: bool,
}

impl Operation for CreateGrant {
    const ACTION: &'static str = "CreateGrant";
    type Answer = Granted;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A key's grants.
#[derive(Debug, Clone)]
pub struct ListGrants {
    pub key: KeyRef,
    pub id: Option<String>,
    pub grantee: Option<String>,
    pub page: PageRequest,
}

impl Operation for ListGrants {
    const ACTION: &'static str = "ListGrants";
    type Answer = Page<Grant>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// The grants that a principal may retire.
#[derive(Debug, Clone)]
pub struct ListRetirableGrants {
    pub retiring: String,
    pub page: PageRequest,
}

impl Operation for ListRetirableGrants {
    const ACTION: &'static str = "ListRetirableGrants";
    type Answer = Page<Grant>;

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Ends a grant, by who rules the key.
#[derive(Debug, Clone)]
pub struct RevokeGrant {
    pub key: KeyRef,
    pub id: String,
    pub dry_run: bool,
}

impl Operation for RevokeGrant {
    const ACTION: &'static str = "RevokeGrant";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// Ends a grant, by its retiring principal or grantee.
#[derive(Debug, Clone)]
pub struct RetireGrant {
    /// The grant by its token, or by key and id.
    pub grant: GrantRef,
    pub dry_run: bool,
}

impl Operation for RetireGrant {
    const ACTION: &'static str = "RetireGrant";
    type Answer = ();

    async fn run(self, _engine: &Engine, _caller: &Caller) -> Result<Self::Answer, KmsError> {
        todo!()
    }
}

/// A grant as `RetireGrant` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantRef {
    Of { key: KeyRef, id: String },
    Token(String),
}

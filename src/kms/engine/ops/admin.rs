//! Principals and their access keys; the census of versions.

use std::fmt;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::change::check_page;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::ids;
use crate::kms::engine::model::{KeyRef, KeyVersionId, Page, PageRequest};
use crate::kms::engine::operation::{Call, Needs, Operation, States};
use crate::kms::policy::document::{PRINCIPAL_LEN_MAX, is_principal_name};
use crate::kms::policy::{Policy, PolicyKind};
use crate::kms::root::Thing;
use crate::kms::store::StoreError;
use crate::kms::store::access::CredentialRecord;

/// The most access keys of a principal.
pub const CREDENTIALS_MAX: u64 = 10;

/// Who can be given access keys: a person or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// 1 to 64 of `[A-Za-z0-9._@-]`, not digits alone.
    pub name: String,
    /// JSON: what it may do (statements without `Principal`).
    pub policy: String,
    pub created: Timestamp,
}

/// Makes a principal.
#[derive(Debug, Clone)]
pub struct CreatePrincipal {
    pub name: String,
    /// JSON, at most 32,768 bytes.
    pub policy: String,
}

/// Sets what a principal may do.
#[derive(Debug, Clone)]
pub struct PutPrincipalPolicy {
    pub name: String,
    pub policy: String,
}

/// Takes a principal away, and its access keys.
#[derive(Debug, Clone)]
pub struct DeletePrincipal {
    pub name: String,
}

/// The principals, by name.
#[derive(Debug, Clone)]
pub struct ListPrincipals {
    pub page: PageRequest,
}

/// An access key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    pub id: String,
    pub principal: String,
    pub created: Timestamp,
    pub enabled: bool,
}

/// A new access key. Its secret is told this once.
#[derive(Clone)]
pub struct NewAccessKey {
    pub id: String,
    pub principal: String,
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for NewAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccessKey")
            .field("id", &self.id)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// Makes an access key for a principal: at most 10 each.
#[derive(Debug, Clone)]
pub struct CreateCredential {
    pub principal: String,
}

/// The access keys, by principal.
#[derive(Debug, Clone)]
pub struct ListCredentials {
    /// `Some` for one principal's.
    pub principal: Option<String>,
    pub page: PageRequest,
}

/// Enables or disables an access key.
#[derive(Debug, Clone)]
pub struct SetCredentialEnabled {
    pub id: String,
    pub enabled: bool,
}

/// Takes an access key away for good.
#[derive(Debug, Clone)]
pub struct DeleteCredential {
    pub id: String,
}

/// How much one version was used, on all servers, as of some seconds ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionUse {
    pub version: KeyVersionId,
    pub number: u32,
    /// Encryptions, signatures, MACs.
    pub produced: u64,
    /// Decryptions, verifications.
    pub opened: u64,
    pub last_used: Option<Timestamp>,
}

/// How much each version of a key was used, newest first: what is still under an old one.
#[derive(Debug, Clone)]
pub struct GetKeyUse {
    pub key: KeyRef,
}

impl Operation for CreatePrincipal {
    const ACTION: &'static str = "CreatePrincipal";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_name(&self.name)?;
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        check_policy(&call, &self.policy)?;
        let principal = Principal {
            name: self.name,
            policy: self.policy,
            created: call.now,
        };
        let mut write = call.engine.store.write().await?;
        let inserted = write.insert_principal(&principal).await;
        inserted.map_err(|error| match error {
            StoreError::Exists => {
                let message = format!("There is a principal {} already.", principal.name);
                KmsError::new(ErrorKind::PrincipalExists, message)
            }
            other => other.into(),
        })?;
        call.engine.commit(write).await
    }
}

impl Operation for PutPrincipalPolicy {
    const ACTION: &'static str = "PutPrincipalPolicy";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        check_policy(&call, &self.policy)?;
        let mut write = call.engine.store.write().await?;
        if !write.put_principal_policy(&self.name, &self.policy).await? {
            return Err(no_principal(&self.name));
        }
        call.engine.commit(write).await
    }
}

impl Operation for DeletePrincipal {
    const ACTION: &'static str = "DeletePrincipal";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let mut write = call.engine.store.write().await?;
        if !write.delete_principal(&self.name).await? {
            return Err(no_principal(&self.name));
        }
        call.engine.commit(write).await
    }
}

impl Operation for ListPrincipals {
    const ACTION: &'static str = "ListPrincipals";
    type Answer = Page<Principal>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(call.engine.store.principals(self.page).await?)
    }
}

impl Operation for CreateCredential {
    const ACTION: &'static str = "CreateCredential";
    type Answer = NewAccessKey;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (id, secret) = (ids::access_key_id(), ids::secret());
        let thing = Thing::Credential { id: &id };
        let record = CredentialRecord {
            secret: call.engine.root.wrap(thing, secret.as_bytes()),
            access_key: AccessKey {
                id: id.clone(),
                principal: self.principal.clone(),
                created: call.now,
                enabled: true,
            },
        };
        let mut write = call.engine.store.write().await?;
        let count = write.credential_count(&self.principal).await?;
        if count.ok_or_else(|| no_principal(&self.principal))? >= CREDENTIALS_MAX {
            let message = format!("A principal has at most {CREDENTIALS_MAX} access keys.");
            return Err(KmsError::new(ErrorKind::LimitExceeded, message));
        }
        write.insert_credential(&record).await?;
        call.engine.commit(write).await?;
        Ok(NewAccessKey {
            id,
            principal: self.principal,
            secret,
        })
    }
}

impl Operation for ListCredentials {
    const ACTION: &'static str = "ListCredentials";
    type Answer = Page<AccessKey>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let principal = self.principal.as_deref();
        Ok(call.engine.store.credentials(principal, self.page).await?)
    }
}

impl Operation for SetCredentialEnabled {
    const ACTION: &'static str = "SetCredentialEnabled";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let mut write = call.engine.store.write().await?;
        if !write.set_credential_enabled(&self.id, self.enabled).await? {
            return Err(no_access_key(&self.id));
        }
        call.engine.commit(write).await
    }
}

impl Operation for DeleteCredential {
    const ACTION: &'static str = "DeleteCredential";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let mut write = call.engine.store.write().await?;
        if !write.delete_credential(&self.id).await? {
            return Err(no_access_key(&self.id));
        }
        call.engine.commit(write).await
    }
}

impl Operation for GetKeyUse {
    const ACTION: &'static str = "GetKeyUse";
    type Answer = Vec<VersionUse>;

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.engine.add_census().await;
        let versions = call.engine.store.versions(&call.key()?.key.id).await?;
        let uses = versions.into_iter().map(|record| VersionUse {
            version: record.version.id,
            number: record.version.number,
            produced: record.counts.produced,
            opened: record.counts.opened,
            last_used: record.counts.last_used,
        });
        Ok(uses.collect())
    }
}

fn check_name(name: &str) -> Result<(), KmsError> {
    if is_principal_name(name) {
        return Ok(());
    }
    let message = format!(
        "A principal's name is 1 to {PRINCIPAL_LEN_MAX} letters, digits, dots, hyphens, underscores and at-signs, and not digits alone."
    );
    Err(KmsError::invalid("Name", message))
}

fn check_policy(call: &Call<'_>, policy: &str) -> Result<(), KmsError> {
    let account = &call.engine.names().account;
    Policy::parse_new(policy, PolicyKind::Principal, account)?;
    Ok(())
}

fn no_principal(name: &str) -> KmsError {
    let message = format!("There is no principal {name}.");
    KmsError::new(ErrorKind::PrincipalNotFound, message)
}

fn no_access_key(id: &str) -> KmsError {
    KmsError::new(
        ErrorKind::AccessKeyNotFound,
        format!("There is no access key {id}."),
    )
}

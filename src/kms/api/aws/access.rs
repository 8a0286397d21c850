//! Key policies and grants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::AwsError;
use super::keys::OneKey;
use super::wire::{Epoch, More, Paging, absent, required, text};
use crate::kms::api::Asking;
use crate::kms::engine::model::{Grant, GrantConstraint, Page};
use crate::kms::engine::ops::access as engine;
use crate::kms::engine::ops::access::GrantRef;

/// The one policy of a key.
const POLICY_NAME: &str = "default";
const PRINCIPAL_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutKeyPolicy {
    key_id: Option<String>,
    policy_name: Option<String>,
    policy: Option<String>,
    bypass_policy_lockout_safety_check: Option<bool>,
}

fn default_only(name: Option<&str>) -> Result<(), AwsError> {
    match name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(_other) => Err(AwsError::new(
            "NotFoundException",
            "No such policy exists: a key's policy is named default.",
        )),
    }
}

pub(super) async fn put_key_policy(
    asking: Asking<'_>,
    input: PutKeyPolicy,
) -> Result<(), AwsError> {
    default_only(input.policy_name.as_deref())?;
    let operation = engine::PutKeyPolicy {
        key: asking.aws_key(input.key_id, "keyId")?,
        policy: text(input.policy, "policy", 1, 32_768)?,
        bypass_lockout_check: input.bypass_policy_lockout_safety_check.unwrap_or_default(),
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetKeyPolicy {
    key_id: Option<String>,
    policy_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyPolicy {
    policy: String,
    policy_name: &'static str,
}

pub(super) async fn get_key_policy(
    asking: Asking<'_>,
    input: GetKeyPolicy,
) -> Result<KeyPolicy, AwsError> {
    default_only(input.policy_name.as_deref())?;
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::GetKeyPolicy { key };
    let policy = asking.engine.perform(&asking.caller, operation).await?;
    Ok(KeyPolicy {
        policy,
        policy_name: POLICY_NAME,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PolicyNames {
    policy_names: Vec<String>,
    #[serde(flatten)]
    more: More,
}

pub(super) async fn list_key_policies(
    asking: Asking<'_>,
    input: OneKey,
) -> Result<PolicyNames, AwsError> {
    let key = asking.aws_key(input.key_id, "keyId")?;
    let operation = engine::ListKeyPolicies { key };
    let policy_names = asking.engine.perform(&asking.caller, operation).await?;
    Ok(PolicyNames {
        policy_names,
        more: More::nothing(),
    })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Constraints {
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context_subset: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context_equals: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing)]
    source_arn: Option<String>,
}

impl Constraints {
    fn parse(self) -> Result<Option<GrantConstraint>, AwsError> {
        absent(self.source_arn.as_ref(), "SourceArn")?;
        match (
            self.encryption_context_equals,
            self.encryption_context_subset,
        ) {
            (None, None) => Ok(None),
            (Some(pairs), None) => Ok(Some(GrantConstraint::Equals(pairs))),
            (None, Some(pairs)) => Ok(Some(GrantConstraint::Subset(pairs))),
            (Some(_), Some(_)) => Err(AwsError::validation(
                "A grant has EncryptionContextEquals or EncryptionContextSubset, not both.",
            )),
        }
    }
}

impl From<GrantConstraint> for Constraints {
    fn from(constraint: GrantConstraint) -> Self {
        let (encryption_context_equals, encryption_context_subset) = match constraint {
            GrantConstraint::Equals(pairs) => (Some(pairs), None),
            GrantConstraint::Subset(pairs) => (None, Some(pairs)),
        };
        Self {
            encryption_context_subset,
            encryption_context_equals,
            source_arn: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateGrant {
    key_id: Option<String>,
    grantee_principal: Option<String>,
    retiring_principal: Option<String>,
    operations: Option<Vec<String>>,
    constraints: Option<Constraints>,
    grant_tokens: Option<Vec<String>>,
    name: Option<String>,
    dry_run: Option<bool>,
    grantee_service_principal: Option<String>,
    retiring_service_principal: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Granted {
    grant_token: String,
    grant_id: String,
}

pub(super) async fn create_grant(
    asking: Asking<'_>,
    input: CreateGrant,
) -> Result<Granted, AwsError> {
    absent(
        input.grantee_service_principal.as_ref(),
        "GranteeServicePrincipal",
    )?;
    absent(
        input.retiring_service_principal.as_ref(),
        "RetiringServicePrincipal",
    )?;
    let asking = asking.with_grants(input.grant_tokens)?;
    let constraint = input.constraints.map(Constraints::parse).transpose()?;
    let operation = engine::CreateGrant {
        key: asking.aws_key(input.key_id, "keyId")?,
        name: input.name,
        grantee: text(
            input.grantee_principal,
            "granteePrincipal",
            1,
            PRINCIPAL_MAX,
        )?,
        retiring: input.retiring_principal,
        operations: required(input.operations, "operations")?,
        constraint: constraint.flatten(),
        dry_run: input.dry_run.unwrap_or_default(),
    };
    let granted = asking.engine.perform(&asking.caller, operation).await?;
    Ok(Granted {
        grant_token: granted.token,
        grant_id: granted.id,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListGrants {
    key_id: Option<String>,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
    grantee_service_principal: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Grants {
    grants: Vec<ListedGrant>,
    #[serde(flatten)]
    more: More,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListedGrant {
    key_id: String,
    grant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    creation_date: Epoch,
    grantee_principal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retiring_principal: Option<String>,
    issuing_account: String,
    operations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<Constraints>,
}

impl Asking<'_> {
    fn grants(&self, page: Page<Grant>) -> Grants {
        let more = More::after(&page);
        let listed = |grant: Grant| ListedGrant {
            key_id: self.aws_arn(&grant.key),
            grant_id: grant.id,
            name: grant.name,
            creation_date: Epoch(grant.created),
            grantee_principal: grant.grantee,
            retiring_principal: grant.retiring,
            issuing_account: grant.issuer,
            operations: grant.operations,
            constraints: grant.constraint.map(Constraints::from),
        };
        Grants {
            grants: page.items.into_iter().map(listed).collect(),
            more,
        }
    }
}

pub(super) async fn list_grants(asking: Asking<'_>, input: ListGrants) -> Result<Grants, AwsError> {
    absent(
        input.grantee_service_principal.as_ref(),
        "GranteeServicePrincipal",
    )?;
    let operation = engine::ListGrants {
        key: asking.aws_key(input.key_id, "keyId")?,
        id: input.grant_id,
        grantee: input.grantee_principal,
        page: input.paging.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    Ok(asking.grants(page))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListRetirableGrants {
    retiring_principal: Option<String>,
    retiring_service_principal: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list_retirable_grants(
    asking: Asking<'_>,
    input: ListRetirableGrants,
) -> Result<Grants, AwsError> {
    absent(
        input.retiring_service_principal.as_ref(),
        "RetiringServicePrincipal",
    )?;
    let operation = engine::ListRetirableGrants {
        retiring: text(
            input.retiring_principal,
            "retiringPrincipal",
            1,
            PRINCIPAL_MAX,
        )?,
        page: input.paging.request()?,
    };
    let page = asking.engine.perform(&asking.caller, operation).await?;
    Ok(asking.grants(page))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EndGrant {
    grant_token: Option<String>,
    key_id: Option<String>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

pub(super) async fn revoke_grant(asking: Asking<'_>, input: EndGrant) -> Result<(), AwsError> {
    let operation = engine::RevokeGrant {
        key: asking.aws_key(input.key_id, "keyId")?,
        id: text(input.grant_id, "grantId", 1, 128)?,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

pub(super) async fn retire_grant(asking: Asking<'_>, input: EndGrant) -> Result<(), AwsError> {
    let grant = match (input.grant_token, input.key_id, input.grant_id) {
        (Some(token), None, None) => GrantRef::Token(token),
        (None, key, id) => GrantRef::Of {
            key: asking.aws_key(key, "keyId")?,
            id: text(id, "grantId", 1, 128)?,
        },
        (Some(_), _, _) => {
            return Err(AwsError::validation(
                "A grant is named by its token or by its key and id, not by both.",
            ));
        }
    };
    let operation = engine::RetireGrant {
        grant,
        dry_run: input.dry_run.unwrap_or_default(),
    };
    Ok(asking.engine.perform(&asking.caller, operation).await?)
}

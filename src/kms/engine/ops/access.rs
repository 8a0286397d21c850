//! Key policies and grants.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use super::change::{check_page, random_bytes};
use crate::kms::engine::caller::Dialect;
use crate::kms::engine::entry::Entry;
use crate::kms::engine::error::{ErrorKind, KmsError};
use crate::kms::engine::ids;
use crate::kms::engine::model::{Grant, GrantConstraint, KeyRef, Page, PageRequest};
use crate::kms::engine::operation::{Call, Needs, Operation, States};
use crate::kms::policy::actions::GRANTABLE;
use crate::kms::policy::document::principal_name;
use crate::kms::policy::{Decision, KeyFacts, Policy, PolicyKind, Request, Rules, covers, decide};
use crate::kms::store::access::GrantRecord;

/// The most grants of a key.
pub const GRANTS_MAX: u64 = 5000;
/// The longest name of a grant in bytes.
const NAME_LEN_MAX: usize = 256;
/// The most pairs of a constraint, and characters of a text in it ("GrantConstraints", AWS KMS). A key's grants are in
/// memory with it.
const PAIRS_MAX: usize = 8;
const TEXT_MAX: usize = 384;
/// Random bytes of a grant's token.
const TOKEN_LEN: usize = 48;

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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let policy =
            Policy::parse_new(&self.policy, PolicyKind::Key, &call.engine.names().account)?;
        let entry = call.key()?;
        if !self.bypass_lockout_check {
            call.check_lockout(&entry.facts, &policy).await?;
        }
        call.change_key(States::Any, |record| {
            record.policy = self.policy;
            Ok(())
        })
        .await
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        Ok(call.key()?.policy_text.clone())
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        call.key()?;
        Ok(vec!["default".to_owned()])
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_operations(&self.operations)?;
        check_constraint(self.constraint.as_ref())?;
        if self
            .name
            .as_ref()
            .is_some_and(|name| name.len() > NAME_LEN_MAX)
        {
            let message = format!("A grant's name has at most {NAME_LEN_MAX} characters.");
            return Err(KmsError::invalid("Name", message));
        }
        Ok(Needs::key(&self.key, States::Usable))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let record = self.record(&call)?;
        self.check_given_on(&call).await?;
        if self.dry_run {
            return Err(KmsError::dry_run());
        }
        let (mut write, key) = call.begin_change(States::Usable).await?;
        if write.grant_count(&key.key.id).await? >= GRANTS_MAX {
            let message = format!("A key has at most {GRANTS_MAX} grants.");
            return Err(KmsError::new(ErrorKind::LimitExceeded, message));
        }
        write.insert_grant(&record).await?;
        call.engine.commit(write).await?;
        Ok(Granted {
            id: record.grant.id,
            token: record.token,
        })
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::key(&self.key, States::Any))
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let account = &call.engine.names().account;
        let grantee = self
            .grantee
            .as_deref()
            .map(|name| principal_of(name, account));
        let grants = call.key()?.grants.iter().filter(|grant| {
            self.id.as_ref().is_none_or(|id| grant.id == *id)
                && grantee.as_ref().is_none_or(|name| grant.grantee == *name)
        });
        Ok(page_of(grants.cloned().collect(), self.page))
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        check_page(self.page)?;
        Ok(Needs::service())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let retiring = principal_of(&self.retiring, &call.engine.names().account);
        let store = &call.engine.store;
        Ok(store.grants_retired_by(&retiring, self.page).await?)
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

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        Ok(Needs::key(&self.key, States::Any))
    }

    fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let mut write = call.engine.store.write().await?;
        if !write.delete_grant(&call.key()?.key.id, &self.id).await? {
            return Err(no_grant());
        }
        call.engine.commit(write).await
    }
}

/// Ends a grant, by its retiring principal or grantee. The grant alone allows it; policies can deny it ("Retiring and
/// revoking grants", AWS KMS).
#[derive(Debug, Clone)]
pub struct RetireGrant {
    /// The grant by its token, or by key and id.
    pub grant: GrantRef,
    pub dry_run: bool,
}

impl Operation for RetireGrant {
    const ACTION: &'static str = "RetireGrant";
    type Answer = ();

    fn needs(&self) -> Result<Needs<'_>, KmsError> {
        // Whether the caller may is the grant's own to say, once it is known.
        Ok(Needs::nothing())
    }

    async fn run(self, call: Call<'_>) -> Result<Self::Answer, KmsError> {
        let (entry, grant) = self.find(&call).await?;
        call.is_about(&entry.key.id);
        let caller = &call.caller.principal;
        let is_retiring = grant.retiring.as_ref() == Some(caller);
        let is_grantee = grant.grantee == *caller
            && grant
                .operations
                .iter()
                .any(|operation| operation == "RetireGrant");
        let is_local = call.caller.dialect == Dialect::Local;
        let by_policies = call.by_policies(Self::ACTION, &entry.facts, &entry.policy);
        let is_denied = by_policies.await? == Decision::Denied;
        if is_denied || (!is_retiring && !is_grantee && !is_local) {
            let key = &entry.key.id.0;
            let message = format!("{caller} is not allowed to retire the grant on key {key}.");
            return Err(KmsError::new(ErrorKind::AccessDenied, message));
        }
        if self.dry_run {
            return Err(KmsError::dry_run());
        }
        let mut write = call.engine.store.write().await?;
        if !write.delete_grant(&grant.key, &grant.id).await? {
            return Err(no_grant());
        }
        call.engine.commit(write).await
    }
}

/// A grant as `RetireGrant` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantRef {
    Of { key: KeyRef, id: String },
    Token(String),
}

impl CreateGrant {
    fn record(&self, call: &Call<'_>) -> Result<GrantRecord, KmsError> {
        let entry = call.key()?;
        if self.constraint.is_some() && !entry.key.spec.is_symmetric() {
            return Err(KmsError::invalid(
                "Constraints",
                "A grant on a key without encryption contexts has no constraints.",
            ));
        }
        let account = &call.engine.names().account;
        let name_of = |parameter, text: &str| {
            principal_name(text, account).ok_or_else(|| {
                KmsError::invalid(
                    parameter,
                    format!("{text:?} is no principal of this service."),
                )
            })
        };
        let retiring = self.retiring.as_deref();
        let grant = Grant {
            id: ids::uuid(),
            key: entry.key.id.clone(),
            name: self.name.clone(),
            created: call.now,
            grantee: name_of("GranteePrincipal", &self.grantee)?,
            retiring: retiring
                .map(|text| name_of("RetiringPrincipal", text))
                .transpose()?,
            issuer: call.caller.principal.clone(),
            operations: self.operations.clone(),
            constraint: self.constraint.clone(),
        };
        Ok(GrantRecord {
            grant,
            token: BASE64URL_NOPAD.encode(&random_bytes(TOKEN_LEN)),
        })
    }

    /// Who may make grants by a grant alone gives no more than one of his has.
    async fn check_given_on(&self, call: &Call<'_>) -> Result<(), KmsError> {
        // As it is now: a grant that came with its token is not in the call's own.
        let key = KeyRef::Id(call.key()?.key.id.clone());
        let entry = call.engine.entry(&key, call.now).await?;
        let by_policies = call.by_policies(Self::ACTION, &entry.facts, &entry.policy);
        if by_policies.await? == Decision::Allowed {
            return Ok(());
        }
        let caller = &call.caller.principal;
        let can_give = |grant: &&Grant| {
            grant.grantee == *caller && grant.operations.iter().any(|own| own == Self::ACTION)
        };
        let mut own = entry.grants.iter().filter(can_give);
        if own.any(|grant| covers(grant, &self.operations, self.constraint.as_ref())) {
            return Ok(());
        }
        let message = format!(
            "{caller} may give on what a grant gives: operations of that grant only, under a constraint that is as strict."
        );
        Err(KmsError::new(ErrorKind::AccessDenied, message))
    }
}

impl RetireGrant {
    /// The grant and its key.
    async fn find(&self, call: &Call<'_>) -> Result<(Arc<Entry>, Grant), KmsError> {
        let engine = call.engine;
        match &self.grant {
            GrantRef::Token(token) => {
                let record = engine.store.grant_of_token(token).await?;
                let grant = record.ok_or_else(no_grant)?.grant;
                let key = KeyRef::Id(grant.key.clone());
                Ok((engine.entry(&key, call.now).await?, grant))
            }
            GrantRef::Of { key, id } => {
                let entry = engine.entry(key, call.now).await?;
                call.is_about(&entry.key.id);
                let grant = entry.grants.iter().find(|grant| grant.id == *id).cloned();
                Ok((entry, grant.ok_or_else(no_grant)?))
            }
        }
    }
}

impl Call<'_> {
    /// # Errors
    ///
    /// `PolicyMalformed` where the caller could not set the key's next policy, were `policy` the key's.
    pub(super) async fn check_lockout(
        &self,
        facts: &KeyFacts,
        policy: &Policy,
    ) -> Result<(), KmsError> {
        let again = self.by_policies(PutKeyPolicy::ACTION, facts, policy);
        if again.await? == Decision::Allowed {
            return Ok(());
        }
        Err(KmsError::new(
            ErrorKind::PolicyMalformed,
            "The policy would not let you set the key's next one (kms:PutKeyPolicy).",
        ))
    }

    /// What policies alone say of the caller and a key, were `policy` the key's.
    async fn by_policies(
        &self,
        action: &str,
        facts: &KeyFacts,
        policy: &Policy,
    ) -> Result<Decision, KmsError> {
        if self.caller.dialect == Dialect::Local {
            return Ok(Decision::Allowed);
        }
        let principal = &self.caller.principal;
        let own = self.engine.principal_policy(principal).await?;
        let rules = Rules {
            principal: own.as_deref(),
            key: Some(policy),
            grants: &[],
        };
        let request = Request {
            principal,
            action,
            key: Some(facts),
            context: None,
            address: self.caller.address,
            now: self.now,
        };
        Ok(decide(&rules, &request))
    }
}

fn check_operations(operations: &[String]) -> Result<(), KmsError> {
    if operations.is_empty() || operations.len() > GRANTABLE.len() {
        return Err(KmsError::invalid(
            "Operations",
            "A grant names at least one operation.",
        ));
    }
    let unknown = operations
        .iter()
        .find(|name| !GRANTABLE.contains(&name.as_str()));
    match unknown {
        None => Ok(()),
        Some(name) => {
            let message = format!("A grant cannot be for the operation {name:?}.");
            Err(KmsError::invalid("Operations", message))
        }
    }
}

fn check_constraint(constraint: Option<&GrantConstraint>) -> Result<(), KmsError> {
    let Some(GrantConstraint::Equals(pairs) | GrantConstraint::Subset(pairs)) = constraint else {
        return Ok(());
    };
    let mut texts = pairs.iter().flat_map(|(key, value)| [key, value]);
    if pairs.len() <= PAIRS_MAX && texts.all(|text| text.chars().count() <= TEXT_MAX) {
        return Ok(());
    }
    let message = format!(
        "A grant's constraint has at most {PAIRS_MAX} pairs, and each text in it {TEXT_MAX} characters."
    );
    Err(KmsError::invalid("Constraints", message))
}

/// The name that a principal's frame has; what has none is of nobody.
fn principal_of(text: &str, account: &str) -> String {
    principal_name(text, account).unwrap_or_else(|| text.to_owned())
}

fn no_grant() -> KmsError {
    KmsError::new(
        ErrorKind::GrantNotFound,
        "There is no such grant on the key.",
    )
}

/// A page of a list that is in memory.
pub(super) fn page_of<T>(all: Vec<T>, request: PageRequest) -> Page<T> {
    let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let skip = usize::try_from(request.offset).unwrap_or(usize::MAX);
    let take = usize::try_from(request.limit).unwrap_or(usize::MAX);
    Page {
        items: all.into_iter().skip(skip).take(take).collect(),
        total,
        request,
    }
}

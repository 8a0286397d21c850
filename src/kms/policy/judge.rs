//! One request against all that speaks of it.

use std::net::IpAddr;

use jiff::Timestamp;

use super::actions::any_name;
use super::document::{Effect, Policy, Who};
use crate::kms::engine::EncryptionContext;
use crate::kms::engine::model::{Grant, GrantConstraint, KeySpec, KeyUsage, Origin, Tag};

/// What policies can ask of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its names as resources: of either cloud, and its id alone.
    pub names: [String; 3],
    pub spec: KeySpec,
    pub usage: KeyUsage,
    pub origin: Origin,
    pub tags: Vec<Tag>,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub principal: &'a str,
    /// Without the service before it.
    pub action: &'a str,
    /// `None`: of the service as a whole.
    pub key: Option<&'a KeyFacts>,
    pub context: Option<&'a EncryptionContext>,
    pub address: Option<IpAddr>,
    pub now: Timestamp,
}

impl<'a> Request<'a> {
    /// The names of what is asked for. The service as a whole is meant by `*` alone.
    pub(super) fn resources(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.key
            .into_iter()
            .flat_map(|key| key.names.iter().map(String::as_str))
    }
}

/// All that speaks of a request.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The caller's own policy; `None` where the principal is gone.
    pub principal: Option<&'a Policy>,
    /// The key's; `None` for the service as a whole.
    pub key: Option<&'a Policy>,
    pub grants: &'a [Grant],
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// By a statement that says so.
    Denied,
    /// Nothing allows it.
    NotAllowed,
}

/// Whether a caller may.
///
/// A denial in either policy wins. Else it is allowed by the key's policy that names the caller; by the caller's own
/// policy, if the key's policy leaves it to those (`…:root`); or by a grant. Of the service as a whole the caller's own
/// policy speaks alone.
#[must_use]
pub fn decide(rules: &Rules<'_>, request: &Request<'_>) -> Decision {
    let named = |who: &Who| match who {
        Who::Anyone => true,
        Who::Name(name) => name == request.principal,
        Who::Account | Who::Stranger => false,
    };
    let is_account = |who: &Who| *who == Who::Account;
    let has = |policy: Option<&Policy>, effect, of: &dyn Fn(&Who) -> bool| {
        policy.is_some_and(|policy| policy.has(effect, request, of))
    };
    if has(rules.principal, Effect::Deny, &named)
        || has(rules.key, Effect::Deny, &|who| {
            named(who) || is_account(who)
        })
    {
        return Decision::Denied;
    }
    let own = || has(rules.principal, Effect::Allow, &named);
    let is_allowed = match rules.key {
        None => own(),
        Some(_) => {
            has(rules.key, Effect::Allow, &named)
                || (has(rules.key, Effect::Allow, &is_account) && own())
                || rules
                    .grants
                    .iter()
                    .any(|grant| grant_allows(grant, request))
        }
    };
    if is_allowed {
        Decision::Allowed
    } else {
        Decision::NotAllowed
    }
}

fn grant_allows(grant: &Grant, request: &Request<'_>) -> bool {
    grant.grantee == request.principal
        && any_name(request.action, |name| {
            grant.operations.iter().any(|operation| operation == name)
        })
        && meets(grant.constraint.as_ref(), request.context)
}

/// A constraint speaks of operations with an encryption context; it is on symmetric keys alone.
fn meets(constraint: Option<&GrantConstraint>, context: Option<&EncryptionContext>) -> bool {
    let (Some(constraint), Some(context)) = (constraint, context) else {
        return true;
    };
    match constraint {
        GrantConstraint::Equals(pairs) => context.pairs() == pairs,
        GrantConstraint::Subset(pairs) => pairs
            .iter()
            .all(|(key, value)| context.pairs().get(key) == Some(value)),
    }
}

//! Policies as text.

use serde_json::{Map, Value};
use thiserror::Error;

use super::actions::any_name;
use super::condition::{Condition, Holds};
use super::judge::Request;
use super::strict;
use super::wildcard::{any_case, exact, matches};

/// The longest policy in bytes (both clouds: 32 KiB).
pub const LEN_MAX: usize = 32_768;
/// The most statements.
pub const STATEMENTS_MAX: usize = 100;
/// The longest name of a principal in bytes.
pub const PRINCIPAL_LEN_MAX: usize = 64;

/// What is wrong with a policy, as a sentence without its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("The policy is refused: {0}.")]
pub struct PolicyError(String);

impl PolicyError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Whose a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// A key's: each statement says of whom it speaks.
    Key,
    /// A principal's: it speaks of that one, and no statement has a `Principal`.
    Principal,
}

/// A policy that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) effect: Effect,
    /// Empty in a principal's policy.
    pub(super) principals: Vec<Who>,
    actions: Patterns,
    resources: Patterns,
    conditions: Vec<Condition>,
}

/// Of whom a statement speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// Those whom their own policies allow it (`arn:aws:iam::ACCOUNT:root`).
    Account,
    Anyone,
    Name(String),
    /// What nobody here can be: of another account, of a kind that is not here, or no name of a principal.
    Nobody(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Patterns {
    list: Vec<String>,
    /// `NotAction`, `NotResource`: all but these.
    inverted: bool,
}

impl Policy {
    /// Reads a policy of the account with this id.
    ///
    /// # Errors
    ///
    /// What is too long, no JSON, not of the form or not understood, in words.
    pub fn parse(text: &str, kind: PolicyKind, account: &str) -> Result<Self, PolicyError> {
        if text.len() > LEN_MAX {
            return Err(PolicyError::new(format!(
                "it has {} bytes, and the most is {LEN_MAX}",
                text.len()
            )));
        }
        let document: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| PolicyError::new(format!("it is no JSON object ({error})")))?;
        for (name, value) in &document {
            match name.as_str() {
                "Version" if value == "2012-10-17" || value == "2008-10-17" || value == "1" => {}
                "Version" => {
                    return Err(PolicyError::new("its Version is none of 2012-10-17 and 1"));
                }
                "Id" | "Statement" => {}
                other => return Err(PolicyError::new(format!("{other:?} is not known"))),
            }
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => return Err(PolicyError::new("it has no Statement")),
        };
        if statements.len() > STATEMENTS_MAX {
            return Err(PolicyError::new(format!(
                "it has more than {STATEMENTS_MAX} statements"
            )));
        }
        let statements = statements
            .iter()
            .map(|statement| Statement::parse(statement, kind, account));
        Ok(Self {
            statements: statements.collect::<Result<_, _>>()?,
        })
    }

    /// Reads a policy that is to be set.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`]; what would be taken for more than it is, such as a name that is there twice; and a denial for
    /// somebody who can be nobody here: it would deny nothing, and be taken for one that does. A permission for nobody
    /// allows nothing, which is what it says.
    pub fn parse_new(text: &str, kind: PolicyKind, account: &str) -> Result<Self, PolicyError> {
        let policy = Self::parse(text, kind, account)?;
        strict::check(text)?;
        let denials = policy
            .statements
            .iter()
            .filter(|one| one.effect == Effect::Deny);
        let mut nobodies = denials
            .flat_map(|one| &one.principals)
            .filter_map(|who| match who {
                Who::Nobody(text) => Some(text),
                Who::Account | Who::Anyone | Who::Name(_) => None,
            });
        match nobodies.next() {
            None => Ok(policy),
            Some(nobody) => Err(PolicyError::new(format!(
                "it denies something to {nobody:?}, who is no principal of this service, and so to nobody"
            ))),
        }
    }

    /// The policy of a key whose maker gave none: its creator, and whom their own policies allow it.
    #[must_use]
    pub fn default_of_key(creator: &str, account: &str) -> String {
        let root = format!("arn:aws:iam::{account}:root");
        let allow = |sid: &str, principal: &str| {
            serde_json::json!({"Sid": sid, "Effect": "Allow", "Principal": {"AWS": principal},
                "Action": "kms:*", "Resource": "*"})
        };
        serde_json::json!({"Version": "2012-10-17", "Id": "key-default-1",
            "Statement": [allow("Policies of principals", &root), allow("Creator", creator)]})
        .to_string()
    }

    /// Whether some statement of this effect, about somebody for whom `of` says yes, applies.
    pub(super) fn has(
        &self,
        effect: Effect,
        request: &Request<'_>,
        of: impl Fn(&Who) -> bool,
    ) -> bool {
        self.statements.iter().any(|statement| {
            statement.effect == effect
                && (statement.principals.is_empty() || statement.principals.iter().any(&of))
                && statement.applies(request)
        })
    }
}

impl Statement {
    fn parse(value: &Value, kind: PolicyKind, account: &str) -> Result<Self, PolicyError> {
        let fields = value
            .as_object()
            .ok_or_else(|| PolicyError::new("a statement is no object"))?;
        const KNOWN: &[&str] = &[
            "Sid",
            "Effect",
            "Principal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        if let Some(other) = fields.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(PolicyError::new(format!(
                "{other:?} in a statement is not known"
            )));
        }
        let effect = match fields.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => {
                return Err(PolicyError::new(
                    "a statement's Effect is neither Allow nor Deny",
                ));
            }
        };
        let principals = match (kind, fields.get("Principal")) {
            (PolicyKind::Key, Some(principal)) => principals(principal, account)?,
            (PolicyKind::Key, None) => {
                return Err(PolicyError::new(
                    "a statement of a key's policy has no Principal",
                ));
            }
            (PolicyKind::Principal, None) => Vec::new(),
            (PolicyKind::Principal, Some(_)) => {
                return Err(PolicyError::new(
                    "a statement of a principal's policy has a Principal",
                ));
            }
        };
        let mut actions = Patterns::parse(fields, "Action", "NotAction", None)?;
        actions.list = own_actions(&actions.list)?;
        // A key's policy speaks of its key, whether it says so or not.
        let resource = (kind == PolicyKind::Key).then_some("*");
        Ok(Self {
            effect,
            principals,
            actions,
            resources: Patterns::parse(fields, "Resource", "NotResource", resource)?,
            conditions: conditions(fields.get("Condition"))?,
        })
    }

    /// Whether it speaks of what is asked. What is not known counts against the caller.
    fn applies(&self, request: &Request<'_>) -> bool {
        let names =
            |pattern: &str| any_name(request.action, |name| matches(pattern, name, any_case));
        let resources = |pattern: &str| {
            request
                .resources()
                .any(|name| matches(pattern, name, exact))
        };
        self.actions.have(names)
            && self.resources.have(resources)
            && self
                .conditions
                .iter()
                .all(|condition| match condition.holds(request) {
                    Holds::Yes => true,
                    Holds::No => false,
                    Holds::Unknown => self.effect == Effect::Deny,
                })
    }
}

impl Patterns {
    fn parse(
        fields: &Map<String, Value>,
        name: &str,
        inverted: &str,
        default: Option<&str>,
    ) -> Result<Self, PolicyError> {
        let list = |value| {
            strings(value).ok_or_else(|| {
                PolicyError::new(format!(
                    "a statement's {name} is neither a text nor a list of texts"
                ))
            })
        };
        match (fields.get(name), fields.get(inverted), default) {
            (Some(value), None, _) => Ok(Self {
                list: list(value)?,
                inverted: false,
            }),
            (None, Some(value), _) => Ok(Self {
                list: list(value)?,
                inverted: true,
            }),
            (None, None, Some(default)) => Ok(Self {
                list: vec![default.to_owned()],
                inverted: false,
            }),
            _ => Err(PolicyError::new(format!(
                "a statement has neither {name} nor {inverted}, or both"
            ))),
        }
    }

    fn have(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.list
            .iter()
            .any(|pattern| pattern == "*" || matches(pattern))
            != self.inverted
    }
}

/// The patterns without the service before them; those of other services are left out. One that names no service means
/// nothing, and a denial that means nothing must not be taken for one.
fn own_actions(names: &[String]) -> Result<Vec<String>, PolicyError> {
    let own = names.iter().filter_map(|name| match name.split_once(':') {
        None if name == "*" => Some(Ok(name.clone())),
        None => Some(Err(PolicyError::new(format!(
            "the action {name:?} has no service before it, as in kms:{name}"
        )))),
        Some((service, action)) => service
            .eq_ignore_ascii_case("kms")
            .then(|| Ok(action.to_owned())),
    });
    own.collect()
}

fn strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    }
}

fn conditions(value: Option<&Value>) -> Result<Vec<Condition>, PolicyError> {
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let operators = value
        .as_object()
        .ok_or_else(|| PolicyError::new("a statement's Condition is no object"))?;
    let parsed = operators
        .iter()
        .map(|(operator, keys)| Condition::parse(operator, keys))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(parsed.into_iter().flatten().collect())
}

fn principals(value: &Value, account: &str) -> Result<Vec<Who>, PolicyError> {
    let none =
        || PolicyError::new("a statement's Principal is neither \"*\" nor an object of names");
    if value == "*" {
        return Ok(vec![Who::Anyone]);
    }
    let mut all = Vec::new();
    for (kind, names) in value.as_object().ok_or_else(none)? {
        let names = strings(names).ok_or_else(none)?;
        let is_known = ["AWS", "RAM"].contains(&kind.as_str());
        all.extend(names.iter().map(|name| {
            if is_known {
                Who::parse(name, account)
            } else {
                Who::Nobody(name.clone())
            }
        }));
    }
    if all.is_empty() {
        return Err(none());
    }
    Ok(all)
}

impl Who {
    /// A name as it is, an account, or either in its frame (`arn:aws:iam::ACCOUNT:user/NAME`,
    /// `acs:ram::ACCOUNT:user/NAME`).
    fn parse(text: &str, account: &str) -> Self {
        match text {
            "*" => return Self::Anyone,
            own if own == account => return Self::Account,
            _ => {}
        }
        let framed = text
            .strip_prefix("arn:aws:iam::")
            .or_else(|| text.strip_prefix("acs:ram::"));
        let name = match framed.map(|framed| framed.split_once(':')) {
            None => Some(text),
            Some(Some((of, "root" | "*"))) if of == account => return Self::Account,
            Some(Some((of, name))) if of == account => name
                .strip_prefix("user/")
                .or_else(|| name.strip_prefix("role/")),
            Some(_) => None,
        };
        match name.filter(|name| is_principal_name(name)) {
            Some(name) => Self::Name(name.to_owned()),
            None => Self::Nobody(text.to_owned()),
        }
    }
}

/// Whether a principal can have this name: 1 to 64 of `[A-Za-z0-9._@-]`, and not digits alone, which are an account.
#[must_use]
pub fn is_principal_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    (1..=PRINCIPAL_LEN_MAX).contains(&name.len())
        && name.bytes().all(is_allowed)
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name in a principal's frame, or the text as it is: for grants.
#[must_use]
pub fn principal_name(text: &str, account: &str) -> Option<String> {
    match Who::parse(text, account) {
        Who::Name(name) => Some(name),
        Who::Account | Who::Anyone | Who::Nobody(_) => None,
    }
}

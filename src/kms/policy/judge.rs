//! One request against all that speaks of it.

use std::net::IpAddr;

use jiff::Timestamp;

use super::actions::{allowed_by, any_name};
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
        Who::Account | Who::Nobody(_) => false,
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

/// Whether the holder of a grant for `CreateGrant` may give on so much: no operation that the grant is not for, and a
/// constraint that is as strict at least ("Granting CreateGrant permission", AWS KMS).
#[must_use]
pub fn covers(grant: &Grant, operations: &[String], constraint: Option<&GrantConstraint>) -> bool {
    let has = |name: &str| grant.operations.iter().any(|own| own == name);
    let is_for = |wanted: &String| allowed_by(wanted).all(|action| any_name(action, has));
    operations.iter().all(is_for) && is_as_strict(grant.constraint.as_ref(), constraint)
}

fn is_as_strict(own: Option<&GrantConstraint>, given: Option<&GrantConstraint>) -> bool {
    use GrantConstraint::{Equals, Subset};
    match (own, given) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(Equals(own)), Some(Equals(given))) => own == given,
        (Some(Equals(_)), Some(Subset(_))) => false,
        (Some(Subset(own)), Some(Equals(given) | Subset(given))) => {
            own.iter().all(|(key, value)| given.get(key) == Some(value))
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kms::policy::document::PolicyKind;

    const ACCOUNT: &str = "123456789012";

    fn facts() -> KeyFacts {
        KeyFacts {
            names: [
                format!("arn:aws:kms:local:{ACCOUNT}:key/k1"),
                format!("acs:kms:local:{ACCOUNT}:key/k1"),
                "k1".to_owned(),
            ],
            spec: KeySpec::Aes256,
            usage: KeyUsage::EncryptDecrypt,
            origin: Origin::Service,
            tags: vec![Tag {
                key: "team".to_owned(),
                value: "blue".to_owned(),
            }],
        }
    }

    fn policy(kind: PolicyKind, statements: &Value) -> Policy {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        Policy::parse(&text, kind, ACCOUNT).unwrap()
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        EncryptionContext::new(pairs.collect()).unwrap()
    }

    /// What comes of `alice` asking for `action` on the key, under her policy and the key's.
    fn ask(own: &Value, of_key: &Value, action: &str) -> Decision {
        let facts = facts();
        let own = policy(PolicyKind::Principal, own);
        let of_key = policy(PolicyKind::Key, of_key);
        let rules = Rules {
            principal: Some(&own),
            key: Some(&of_key),
            grants: &[],
        };
        let request = Request {
            principal: "alice",
            action,
            key: Some(&facts),
            context: None,
            address: None,
            now: Timestamp::UNIX_EPOCH,
        };
        decide(&rules, &request)
    }

    fn statement(effect: &str, action: &str) -> Value {
        json!({"Effect": effect, "Action": action, "Resource": "*"})
    }

    fn of(principal: &str, effect: &str, action: &str) -> Value {
        json!({"Effect": effect, "Principal": {"AWS": principal}, "Action": action, "Resource": "*"})
    }

    fn root() -> String {
        format!("arn:aws:iam::{ACCOUNT}:root")
    }

    #[test]
    fn the_table_of_both_policies_holds() {
        use Decision::{Allowed, Denied, NotAllowed};
        let account = root();
        let allow = || json!([statement("Allow", "kms:*")]);
        let deny = || json!([statement("Deny", "kms:Encrypt")]);
        let both = || json!([statement("Allow", "*"), statement("Deny", "kms:Encrypt")]);
        for (own, of_key, wanted) in [
            (json!([]), json!([]), NotAllowed),
            (allow(), json!([]), NotAllowed),
            (allow(), json!([of(&account, "Allow", "kms:*")]), Allowed),
            (
                json!([]),
                json!([of(&account, "Allow", "kms:*")]),
                NotAllowed,
            ),
            (
                allow(),
                json!([of(&account, "Allow", "kms:Decrypt")]),
                NotAllowed,
            ),
            (json!([]), json!([of("alice", "Allow", "kms:*")]), Allowed),
            (json!([]), json!([of("*", "Allow", "kms:*")]), Allowed),
            (json!([]), json!([of("bob", "Allow", "kms:*")]), NotAllowed),
            (deny(), json!([of("alice", "Allow", "kms:*")]), Denied),
            (both(), json!([of(&account, "Allow", "kms:*")]), Denied),
            (
                allow(),
                json!([of("alice", "Allow", "kms:*"), of("*", "Deny", "kms:*")]),
                Denied,
            ),
            (
                allow(),
                json!([of("alice", "Allow", "kms:*"), of(&account, "Deny", "kms:*")]),
                Denied,
            ),
            (
                allow(),
                json!([of("alice", "Allow", "kms:*"), of("bob", "Deny", "kms:*")]),
                Allowed,
            ),
        ] {
            assert_eq!(ask(&own, &of_key, "Encrypt"), wanted, "{own} {of_key}");
        }
    }

    #[test]
    fn principals_are_known_in_every_frame_and_strangers_are_not() {
        for (name, wanted) in [
            ("alice", true),
            ("arn:aws:iam::123456789012:user/alice", true),
            ("arn:aws:iam::123456789012:role/alice", true),
            ("acs:ram::123456789012:user/alice", true),
            ("arn:aws:iam::999999999999:user/alice", false),
            ("arn:aws:iam::123456789012:user/", false),
            ("arn:aws:iam::123456789012:group/alice", false),
            ("Alice", false),
            ("ali*", false),
        ] {
            let decision = ask(&json!([]), &json!([of(name, "Allow", "kms:*")]), "Encrypt");
            assert_eq!(decision == Decision::Allowed, wanted, "{name}");
        }
        let service = json!([{"Effect": "Allow", "Principal": {"Service": "alice"}, "Action": "*", "Resource": "*"}]);
        assert_eq!(ask(&json!([]), &service, "Encrypt"), Decision::NotAllowed);
    }

    #[test]
    fn actions_are_known_by_the_names_of_both_clouds() {
        for (action, asked, wanted) in [
            ("kms:Encrypt", "Encrypt", true),
            ("KMS:encrypt", "Encrypt", true),
            ("kms:*crypt", "Decrypt", true),
            ("kms:AsymmetricSign", "Sign", true),
            ("kms:SetKeyPolicy", "PutKeyPolicy", true),
            ("kms:UpdateRotationPolicy", "EnableKeyRotation", true),
            ("kms:UpdateRotationPolicy", "DisableKeyRotation", true),
            ("kms:EnableKeyRotation", "EnableKeyRotation", true),
            ("kms:EnableKeyRotation", "DisableKeyRotation", false),
            ("kms:DisableKeyRotation", "EnableKeyRotation", false),
            ("kms:ReEncrypt*", "ReEncryptFrom", true),
            ("kms:Encrypt", "EncryptX", false),
            ("kms:Encrypt", "ReEncryptTo", false),
            ("kms:Decrypt", "Encrypt", false),
            ("ecs:*", "Encrypt", false),
        ] {
            let of_key = json!([of("alice", "Allow", action)]);
            let decision = ask(&json!([]), &of_key, asked);
            assert_eq!(decision == Decision::Allowed, wanted, "{action} {asked}");
        }
        let but = json!([{"Effect": "Allow", "Principal": "*", "NotAction": "kms:AsymmetricSign", "Resource": "*"}]);
        assert_eq!(ask(&json!([]), &but, "Sign"), Decision::NotAllowed);
        assert_eq!(ask(&json!([]), &but, "Verify"), Decision::Allowed);
    }

    #[test]
    fn resources_are_keys_and_the_service_is_meant_by_a_star() {
        let account = root();
        for (resource, of_key, of_service) in [
            ("*", true, true),
            ("arn:aws:kms:local:123456789012:key/k1", true, false),
            ("acs:kms:*:*:key/k1", true, false),
            ("arn:aws:kms:*:*:key/*", true, false),
            ("arn:aws:kms:other:123456789012:key/k1", false, false),
            ("arn:aws:kms:local:123456789012:key/k2", false, false),
            ("arn:aws:s3:::bucket", false, false),
        ] {
            let own = json!([{"Effect": "Allow", "Action": "kms:*", "Resource": resource}]);
            let decision = ask(&own, &json!([of(&account, "Allow", "kms:*")]), "Encrypt");
            assert_eq!(decision == Decision::Allowed, of_key, "{resource}");
            let own = policy(PolicyKind::Principal, &own);
            let rules = Rules {
                principal: Some(&own),
                key: None,
                grants: &[],
            };
            let request = Request {
                principal: "alice",
                action: "CreateKey",
                key: None,
                context: None,
                address: None,
                now: Timestamp::UNIX_EPOCH,
            };
            let decision = decide(&rules, &request);
            assert_eq!(decision == Decision::Allowed, of_service, "{resource}");
        }
    }

    /// Whether a condition lets an allowing statement, and a denying one, apply.
    fn applies(condition: &Value) -> (bool, bool) {
        applies_from(condition, [10, 1, 2, 3].into())
    }

    fn applies_from(condition: &Value, address: IpAddr) -> (bool, bool) {
        let facts = facts();
        let context = context(&[("app", "shop"), ("env", "prod")]);
        let decide_by = |statements: Value| {
            let of_key = policy(PolicyKind::Key, &statements);
            let rules = Rules {
                principal: None,
                key: Some(&of_key),
                grants: &[],
            };
            let request = Request {
                principal: "alice",
                action: "Encrypt",
                key: Some(&facts),
                context: Some(&context),
                address: Some(address),
                now: "2026-06-01T00:00:00Z".parse().unwrap(),
            };
            decide(&rules, &request)
        };
        let with = |effect: &str| json!({"Effect": effect, "Principal": "*", "Action": "*", "Resource": "*", "Condition": condition});
        let allowed = decide_by(json!([with("Allow")])) == Decision::Allowed;
        let denied = decide_by(json!([of("*", "Allow", "*"), with("Deny")])) == Decision::Denied;
        (allowed, denied)
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for (condition, wanted) in [
            (
                json!({"StringEquals": {"kms:EncryptionContext:app": "shop"}}),
                true,
            ),
            (
                json!({"StringEquals": {"kms:EncryptionContext:app": ["x", "shop"]}}),
                true,
            ),
            (
                json!({"StringEquals": {"kms:EncryptionContext:app": "Shop"}}),
                false,
            ),
            (
                json!({"StringEqualsIgnoreCase": {"kms:EncryptionContext:app": "Shop"}}),
                true,
            ),
            (
                json!({"StringEquals": {"kms:EncryptionContext:none": "shop"}}),
                false,
            ),
            (
                json!({"StringEqualsIfExists": {"kms:EncryptionContext:none": "shop"}}),
                true,
            ),
            (
                json!({"StringEqualsIfExists": {"kms:EncryptionContext:app": "x"}}),
                false,
            ),
            (
                json!({"StringNotEquals": {"kms:EncryptionContext:app": "shop"}}),
                false,
            ),
            (
                json!({"StringNotEquals": {"kms:EncryptionContext:none": "shop"}}),
                true,
            ),
            (
                json!({"StringLike": {"kms:EncryptionContext:app": "s*p"}}),
                true,
            ),
            (
                json!({"StringNotLike": {"kms:EncryptionContext:app": "s*p"}}),
                false,
            ),
            (
                json!({"StringEquals": {"kms:EncryptionContext:app": "shop", "kms:EncryptionContext:env": "dev"}}),
                false,
            ),
            (
                json!({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": ["env"]}}),
                true,
            ),
            (
                json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["env"]}}),
                false,
            ),
            (
                json!({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["env", "app"]}}),
                true,
            ),
        ] {
            assert_eq!(applies(&condition), (wanted, wanted), "{condition}");
        }
    }

    #[test]
    fn a_star_is_one_in_what_is_like_and_in_what_equals_an_arn() {
        for (operator, wanted) in [
            ("ArnEquals", true),
            ("ArnLike", true),
            ("ArnNotEquals", false),
            ("StringEquals", false),
            ("StringNotEquals", true),
        ] {
            let condition = json!({operator: {"kms:EncryptionContext:app": "s*p"}});
            assert_eq!(applies(&condition), (wanted, wanted), "{operator}");
        }
    }

    /// Of no value "any" never holds, negated or not, and "all" always does.
    #[test]
    fn conditions_on_any_or_all_of_no_value() {
        for (condition, wanted) in [
            (
                json!({"ForAnyValue:StringNotEquals": {"kms:EncryptionContext:none": "shop"}}),
                false,
            ),
            (
                json!({"ForAnyValue:StringEquals": {"kms:EncryptionContext:none": "shop"}}),
                false,
            ),
            (
                json!({"ForAnyValue:StringNotLikeIfExists": {"kms:EncryptionContext:none": "s*"}}),
                true,
            ),
            (
                json!({"ForAllValues:StringEquals": {"kms:EncryptionContext:none": "shop"}}),
                true,
            ),
            (
                json!({"ForAnyValue:StringNotEquals": {"kms:EncryptionContextKeys": ["env"]}}),
                true,
            ),
        ] {
            assert_eq!(applies(&condition), (wanted, wanted), "{condition}");
        }
    }

    #[test]
    fn conditions_on_addresses_times_and_keys_hold_or_do_not() {
        for (condition, wanted) in [
            (
                json!({"Null": {"kms:EncryptionContext:none": "true"}}),
                true,
            ),
            (json!({"Null": {"kms:EncryptionContext:app": true}}), false),
            (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), true),
            (
                json!({"IpAddress": {"acs:SourceIp": ["192.0.2.1", "10.1.2.3"]}}),
                true,
            ),
            (json!({"IpAddress": {"aws:SourceIp": "10.1.2.4/31"}}), false),
            (json!({"IpAddress": {"aws:SourceIp": "::/0"}}), false),
            (json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), true),
            (
                json!({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
                false,
            ),
            (json!({"Bool": {"aws:SecureTransport": "true"}}), true),
            (json!({"Bool": {"aws:SecureTransport": "false"}}), false),
            (json!({"StringEquals": {"kms:KeySpec": "AES_256"}}), true),
            (
                json!({"StringEquals": {"kms:KeyUsage": "SIGN_VERIFY"}}),
                false,
            ),
            (
                json!({"StringEquals": {"aws:ResourceTag/team": "blue"}}),
                true,
            ),
            (
                json!({"StringEquals": {"aws:ResourceTag/team": "red"}}),
                false,
            ),
            (
                json!({"DateLessThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"}}),
                true,
            ),
            (
                json!({"DateGreaterThan": {"aws:CurrentTime": "2027-01-01T00:00:00Z"}}),
                false,
            ),
        ] {
            assert_eq!(applies(&condition), (wanted, wanted), "{condition}");
        }
    }

    #[test]
    fn an_address_of_ipv4_is_one_however_it_is_written() {
        for (network, address, wanted) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:11.1.2.3", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("::ffff:10.1.2.3", "10.1.2.4", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let condition = json!({"IpAddress": {"aws:SourceIp": network}});
            let from = address.parse().unwrap();
            assert_eq!(
                applies_from(&condition, from),
                (wanted, wanted),
                "{address} in {network}"
            );
        }
    }

    #[test]
    fn a_denial_for_who_can_be_nobody_is_no_new_policy() {
        let with = |effect: &str, principal: Value| {
            json!({"Statement": [{"Effect": effect, "Principal": principal, "Action": "kms:*"}]})
                .to_string()
        };
        for nobody in [
            "arn:aws:iam::123456789012:user/*",
            "arn:aws:iam::123456789012:user/division/alice",
            "arn:aws:iam::123456789012:user/",
            "arn:aws:iam::123456789012:group/staff",
            "arn:aws:iam::999999999999:user/alice",
            "arn:aws:iam::999999999999:root",
            "arn:aws:sts::123456789012:assumed-role/app/session",
            "acs:ram::123456789012:role/a/b",
            "999999999999",
            "ali*",
            "local:root",
            "",
        ] {
            let text = with("Deny", json!({"AWS": ["alice", nobody]}));
            let error = Policy::parse_new(&text, PolicyKind::Key, ACCOUNT)
                .unwrap_err()
                .to_string();
            assert!(error.contains(&format!("{nobody:?}")), "{error}");
            // What the store holds is read, and a permission for nobody is one.
            Policy::parse(&text, PolicyKind::Key, ACCOUNT).unwrap();
            let allowing = with("Allow", json!({"AWS": nobody}));
            Policy::parse_new(&allowing, PolicyKind::Key, ACCOUNT).unwrap();
        }
        let service = with("Deny", json!({"Service": "s3.amazonaws.com"}));
        Policy::parse_new(&service, PolicyKind::Key, ACCOUNT).unwrap_err();
        for somebody in [
            json!("*"),
            json!({"AWS": "*"}),
            json!({"AWS": "alice"}),
            json!({"AWS": ACCOUNT}),
            json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")}),
            json!({"RAM": [format!("acs:ram::{ACCOUNT}:user/a.b_c@d-1")]}),
        ] {
            Policy::parse_new(&with("Deny", somebody), PolicyKind::Key, ACCOUNT).unwrap();
        }
    }

    #[test]
    fn what_a_grant_covers_is_no_more_than_it_gives() {
        use GrantConstraint::{Equals, Subset};
        let pairs = |pairs: &[(&str, &str)]| context(pairs).pairs().clone();
        let (ab, ab_cd) = (pairs(&[("a", "b")]), pairs(&[("a", "b"), ("c", "d")]));
        let own = |constraint| Grant {
            id: "g".to_owned(),
            key: crate::kms::engine::model::KeyId("k".to_owned()),
            name: None,
            created: Timestamp::UNIX_EPOCH,
            grantee: "app".to_owned(),
            retiring: None,
            issuer: "admin".to_owned(),
            operations: ["CreateGrant", "Decrypt", "Sign"]
                .map(str::to_owned)
                .to_vec(),
            constraint,
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (wanted, operations) in [
            (true, &["Decrypt"][..]),
            (
                true,
                &["AsymmetricDecrypt", "AsymmetricSign", "CreateGrant"],
            ),
            (false, &["Encrypt"]),
            (false, &["Decrypt", "Encrypt"]),
            (false, &["RetireGrant"]),
        ] {
            assert_eq!(
                covers(&own(None), &names(operations), None),
                wanted,
                "{operations:?}"
            );
        }
        for (wanted, own_constraint, given) in [
            (true, None, Some(Subset(ab.clone()))),
            (false, Some(Subset(ab.clone())), None),
            (false, Some(Equals(ab.clone())), None),
            (true, Some(Subset(ab.clone())), Some(Subset(ab_cd.clone()))),
            (true, Some(Subset(ab.clone())), Some(Equals(ab_cd.clone()))),
            (false, Some(Subset(ab_cd.clone())), Some(Subset(ab.clone()))),
            (false, Some(Subset(ab_cd.clone())), Some(Equals(ab.clone()))),
            (true, Some(Equals(ab.clone())), Some(Equals(ab.clone()))),
            (false, Some(Equals(ab.clone())), Some(Equals(ab_cd))),
            (false, Some(Equals(ab.clone())), Some(Subset(ab))),
        ] {
            let found = covers(
                &own(own_constraint.clone()),
                &names(&["Decrypt"]),
                given.as_ref(),
            );
            assert_eq!(found, wanted, "{own_constraint:?} {given:?}");
        }
    }

    #[test]
    fn what_cannot_be_known_counts_against_the_caller() {
        for condition in [
            json!({"StringEquals": {"kms:ViaService": "s3"}}),
            json!({"StringNotEquals": {"kms:ViaService": "s3"}}),
            json!({"StringEqualsIfExists": {"kms:CallerAccount": "1"}}),
            json!({"Null": {"kms:ViaService": "true"}}),
            // An operator on a key of another kind.
            json!({"StringNotEquals": {"aws:SourceIp": "10.1.2.3"}}),
            json!({"NotIpAddress": {"kms:EncryptionContext:app": "10.0.0.0/8"}}),
        ] {
            assert_eq!(applies(&condition), (false, true), "{condition}");
        }
    }

    #[test]
    fn policies_that_are_not_understood_are_refused() {
        let statement = |extra: &str| {
            format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":"*","Action":"*"{extra}}}]}}"#)
        };
        let many = vec![of("*", "Allow", "*"); 101];
        for text in [
            String::new(),
            "[]".to_owned(),
            "null".to_owned(),
            "{}".to_owned(),
            r#"{"Version":"1999","Statement":[]}"#.to_owned(),
            r#"{"Version":"1","Statement":[],"Extra":1}"#.to_owned(),
            r#"{"Statement":"x"}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Maybe","Principal":"*","Action":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Action":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Principal":{},"Action":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Principal":"bob","Action":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","NotPrincipal":"*","Action":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Principal":"*"}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":[1]}]}"#.to_owned(),
            r#"{"Statement":[{"Effect":"Deny","Principal":"*","Action":"Encrypt"}]}"#.to_owned(),
            statement(r#","NotAction":"*""#),
            statement(r#","Condition":[]"#),
            statement(r#","Condition":{"StringEquals":"x"}"#),
            statement(r#","Condition":{"NumericEquals":{"a":"1"}}"#),
            statement(r#","Condition":{"ForSomeValues:StringEquals":{"a":"1"}}"#),
            statement(r#","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#),
            statement(r#","Condition":{"IpAddress":{"aws:SourceIp":"host"}}"#),
            statement(r#","Condition":{"Bool":{"aws:SecureTransport":"maybe"}}"#),
            statement(r#","Condition":{"DateLessThan":{"aws:CurrentTime":"soon"}}"#),
            statement(r#","Condition":{"StringEquals":{"a":{}}}"#),
            json!({"Statement": many}).to_string(),
            format!(r#"{{"Statement":[],"Id":"{}"}}"#, "x".repeat(40_000)),
        ] {
            let parsed = Policy::parse(&text, PolicyKind::Key, ACCOUNT);
            assert!(parsed.is_err(), "{text:.200}");
        }
        let with_principal = json!({"Statement": [of("*", "Allow", "*")]}).to_string();
        Policy::parse(&with_principal, PolicyKind::Principal, ACCOUNT).unwrap_err();
        Policy::parse(&with_principal, PolicyKind::Key, ACCOUNT).unwrap();
    }

    #[test]
    fn the_default_policy_is_of_its_creator_and_of_whom_their_policies_allow_it() {
        let text = Policy::default_of_key("alice", ACCOUNT);
        let default: Value = serde_json::from_str(&text).unwrap();
        let statements = default["Statement"].clone();
        assert_eq!(ask(&json!([]), &statements, "Encrypt"), Decision::Allowed);
        let facts = facts();
        let of_key = Policy::parse(&text, PolicyKind::Key, ACCOUNT).unwrap();
        let request = Request {
            principal: "bob",
            action: "Encrypt",
            key: Some(&facts),
            context: None,
            address: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let own = policy(
            PolicyKind::Principal,
            &json!([statement("Allow", "kms:Encrypt")]),
        );
        for (own, wanted) in [
            (None, Decision::NotAllowed),
            (Some(&own), Decision::Allowed),
        ] {
            let rules = Rules {
                principal: own,
                key: Some(&of_key),
                grants: &[],
            };
            assert_eq!(decide(&rules, &request), wanted);
        }
    }
}

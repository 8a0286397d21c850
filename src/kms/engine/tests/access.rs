//! Who may do what.

use super::*;
use crate::kms::engine::model::GrantConstraint;
use crate::kms::engine::ops::access::{
    CreateGrant, GetKeyPolicy, GrantRef, ListGrants, ListKeyPolicies, ListRetirableGrants,
    PutKeyPolicy, RetireGrant, RevokeGrant,
};
use crate::kms::engine::ops::admin::{
    CreateCredential, DeleteCredential, DeletePrincipal, ListCredentials, ListPrincipals,
    PutPrincipalPolicy, SetCredentialEnabled,
};
use crate::kms::engine::ops::keys::{DescribeKey, FirstPolicy, KeyFilter, ListKeys};

async fn kind_as<O: Operation>(bench: &Bench, who: &Caller, operation: O) -> Option<ErrorKind> {
    let result = bench.engine.perform(who, operation).await;
    result.err().map(|error| error.kind())
}

fn allow(action: &str, resource: &str) -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}]}}"#
    )
}

const DENIED: Option<ErrorKind> = Some(ErrorKind::AccessDenied);

#[test]
fn nothing_is_allowed_that_no_policy_allows() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let nobody = bench.principal("nobody", NOTHING).await;
        let missing = caller("missing");
        for who in [&nobody, &missing] {
            assert_eq!(kind_as(&bench, who, encrypt(id(&key), b"x")).await, DENIED);
            assert_eq!(
                kind_as(&bench, who, DescribeKey { key: id(&key) }).await,
                DENIED
            );
            assert_eq!(kind_as(&bench, who, symmetric()).await, DENIED);
            let list = ListKeys {
                filter: KeyFilter::default(),
                page: ALL,
            };
            assert_eq!(kind_as(&bench, who, list).await, DENIED);
            let create = CreateCredential {
                principal: "admin".to_owned(),
            };
            assert_eq!(kind_as(&bench, who, create).await, DENIED);
            assert_eq!(
                kind_as(&bench, who, crate::kms::engine::backup::Backup).await,
                DENIED
            );
        }
        bench.engine.close().await;
    });
}

#[test]
fn a_principals_own_policy_allows_what_it_names() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let [one, other] = [bench.key(symmetric()).await, bench.key(symmetric()).await];
        let arn = format!("acs:kms:local:123456789012:key/{}", one.id.0);
        let who = bench.principal("app", &allow("kms:Encrypt", &arn)).await;
        assert_eq!(kind_as(&bench, &who, encrypt(id(&one), b"x")).await, None);
        assert_eq!(
            kind_as(&bench, &who, encrypt(id(&other), b"x")).await,
            DENIED
        );
        let blob = bench.run(encrypt(id(&one), b"x")).await.unwrap().blob;
        assert_eq!(kind_as(&bench, &who, decrypt(&blob)).await, DENIED);

        let policy = allow("kms:Decrypt", &arn);
        let put = PutPrincipalPolicy {
            name: "app".to_owned(),
            policy,
        };
        bench.run(put).await.unwrap();
        assert_eq!(kind_as(&bench, &who, encrypt(id(&one), b"x")).await, DENIED);
        assert_eq!(kind_as(&bench, &who, decrypt(&blob)).await, None);
        bench
            .run(DeletePrincipal {
                name: "app".to_owned(),
            })
            .await
            .unwrap();
        assert_eq!(kind_as(&bench, &who, decrypt(&blob)).await, DENIED);
        bench.engine.close().await;
    });
}

#[test]
fn a_keys_policy_denies_and_takes_the_key_from_administrators() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let alice = bench.principal("alice", NOTHING).await;
        let bob = bench.principal("bob", &allow("kms:*", "*")).await;
        let put = |policy: &str, bypass_lockout_check| PutKeyPolicy {
            key: id(&key),
            policy: policy.to_owned(),
            bypass_lockout_check,
        };
        let denies_bob = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
            {"Effect":"Deny","Principal":{"RAM":"acs:ram::123456789012:user/bob"},"Action":"kms:Encrypt","Resource":"*"}]}"#;
        bench.run(put(denies_bob, false)).await.unwrap();
        assert_eq!(kind_as(&bench, &bob, encrypt(id(&key), b"x")).await, DENIED);
        assert_eq!(bench.kind_of(encrypt(id(&key), b"x")).await, None);
        assert_eq!(
            bench.run(GetKeyPolicy { key: id(&key) }).await.unwrap(),
            denies_bob
        );
        assert_eq!(
            bench.run(ListKeyPolicies { key: id(&key) }).await.unwrap(),
            ["default"]
        );

        let of_alice = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"alice"},"Action":"kms:*","Resource":"*"}]}"#;
        let kind = bench.kind_of(put(of_alice, false)).await;
        assert_eq!(
            kind,
            Some(ErrorKind::PolicyMalformed),
            "it locks its setter out"
        );
        bench.run(put(of_alice, true)).await.unwrap();
        assert_eq!(bench.kind_of(encrypt(id(&key), b"x")).await, DENIED);
        assert_eq!(kind_as(&bench, &bob, encrypt(id(&key), b"x")).await, DENIED);
        assert_eq!(kind_as(&bench, &alice, encrypt(id(&key), b"x")).await, None);
        // The way back in.
        let local = Caller::local("root");
        assert_eq!(kind_as(&bench, &local, put(denies_bob, false)).await, None);
        assert_eq!(bench.kind_of(encrypt(id(&key), b"x")).await, None);
        for bad in ["", "[]", "{}", "{\"Statement\":[{}]}", &" ".repeat(40_000)] {
            assert_eq!(
                bench.kind_of(put(bad, true)).await,
                Some(ErrorKind::PolicyMalformed),
                "{bad:.20}"
            );
        }
        bench.engine.close().await;
    });
}

fn grant(key: &Key, grantee: &str, operations: &[&str]) -> CreateGrant {
    CreateGrant {
        key: id(key),
        name: None,
        grantee: grantee.to_owned(),
        retiring: None,
        operations: operations.iter().map(|name| (*name).to_owned()).collect(),
        constraint: None,
        dry_run: false,
    }
}

/// Who comes after one that went has nothing of it.
#[test]
fn grants_end_with_their_principal() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        bench.principal("app", NOTHING).await;
        bench.run(grant(&key, "app", &["Encrypt"])).await.unwrap();
        let delete = DeletePrincipal {
            name: "app".to_owned(),
        };
        bench.run(delete).await.unwrap();
        let next = bench.principal("app", NOTHING).await;
        assert_eq!(
            kind_as(&bench, &next, encrypt(id(&key), b"x")).await,
            DENIED
        );
        bench.engine.close().await;
    });
}

#[test]
fn who_has_a_grant_for_grants_gives_on_no_more_than_it_gives() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let app = bench.principal("app", NOTHING).await;
        let other = bench.principal("other", NOTHING).await;
        let pairs =
            |pairs: &[(&str, &str)]| Some(GrantConstraint::Subset(context(pairs).pairs().clone()));
        let given = CreateGrant {
            constraint: pairs(&[("app", "test")]),
            ..grant(&key, "app", &["CreateGrant", "Encrypt"])
        };
        // A second grant adds nothing to what the first one lets give on.
        bench.run(grant(&key, "app", &["Decrypt"])).await.unwrap();
        let without = grant(&key, "other", &["Decrypt"]);
        assert_eq!(kind_as(&bench, &app, without.clone()).await, DENIED);
        bench.run(given).await.unwrap();
        let on = |operations, constraint| CreateGrant {
            constraint,
            ..grant(&key, "other", operations)
        };
        for too_much in [
            on(&["Decrypt"], pairs(&[("app", "test")])),
            on(&["Encrypt", "Decrypt"], pairs(&[("app", "test")])),
            on(&["Encrypt"], None),
            on(&["Encrypt"], pairs(&[("app", "prod")])),
            CreateGrant {
                dry_run: true,
                ..on(&["Encrypt"], None)
            },
        ] {
            assert_eq!(
                kind_as(&bench, &app, too_much.clone()).await,
                DENIED,
                "{too_much:?}"
            );
        }
        assert_eq!(
            kind_as(&bench, &other, encrypt(id(&key), b"x")).await,
            DENIED
        );
        let as_much = on(&["Encrypt"], pairs(&[("app", "test")]));
        let dry = CreateGrant {
            dry_run: true,
            ..as_much.clone()
        };
        assert_eq!(kind_as(&bench, &app, dry).await, Some(ErrorKind::DryRun));
        assert_eq!(kind_as(&bench, &app, as_much).await, None);
        assert_eq!(kind_as(&bench, &other, encrypt(id(&key), b"x")).await, None);
        assert_eq!(
            kind_as(&bench, &other, without).await,
            DENIED,
            "it has no such grant"
        );
        bench.engine.close().await;
    });
}

#[test]
fn a_denial_that_would_deny_nobody_is_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let of = |principal: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":[
                {{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::123456789012:root"}},"Action":"kms:*"}},
                {{"Effect":"Deny","Principal":{{"AWS":"{principal}"}},"Action":"kms:Encrypt"}}]}}"#
            )
        };
        let put = |principal: &str| PutKeyPolicy {
            key: id(&key),
            policy: of(principal),
            bypass_lockout_check: true,
        };
        let create = |principal: &str| CreateKey {
            policy: Some(FirstPolicy {
                text: of(principal),
                bypass_lockout_check: true,
            }),
            ..symmetric()
        };
        for nobody in [
            "arn:aws:iam::123456789012:user/*",
            "arn:aws:iam::123456789012:user/team/bob",
            "arn:aws:sts::123456789012:assumed-role/bob/session",
        ] {
            let kind = bench.kind_of(put(nobody)).await;
            assert_eq!(kind, Some(ErrorKind::PolicyMalformed), "{nobody}");
            let kind = bench.kind_of(create(nobody)).await;
            assert_eq!(kind, Some(ErrorKind::PolicyMalformed), "{nobody}");
        }
        bench.run(put("bob")).await.unwrap();
        bench.run(create("bob")).await.unwrap();
        bench.engine.close().await;
    });
}

#[test]
fn a_key_that_its_maker_could_not_rule_is_made_only_where_that_is_said() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let create = |statement: &str, bypass_lockout_check| CreateKey {
            policy: Some(FirstPolicy {
                text: format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#),
                bypass_lockout_check,
            }),
            ..symmetric()
        };
        let of = |who: &str, action: &str| {
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{who}"}},"Action":"{action}"}}"#)
        };
        let all = of("arn:aws:iam::123456789012:root", "kms:*");
        let denied =
            all.clone() + r#",{"Effect":"Deny","Principal":"*","Action":"kms:PutKeyPolicy"}"#;
        for locked_out in [&of("app", "kms:*"), &of("admin", "kms:Encrypt"), &denied] {
            let kind = bench.kind_of(create(locked_out, false)).await;
            assert_eq!(kind, Some(ErrorKind::PolicyMalformed), "{locked_out}");
            bench.run(create(locked_out, true)).await.unwrap();
        }
        for rules in [&of("admin", "kms:PutKeyPolicy"), &all] {
            bench.run(create(rules, false)).await.unwrap();
        }
        let local = Caller::local("tests");
        let by_local = bench
            .engine
            .perform(&local, create(&of("app", "kms:*"), false));
        by_local.await.unwrap();
        bench.engine.close().await;
    });
}

#[test]
fn a_grant_allows_its_operations_within_its_constraint() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let app = bench.principal("app", NOTHING).await;
        let create = CreateGrant {
            constraint: Some(GrantConstraint::Subset(
                context(&[("app", "test")]).pairs().clone(),
            )),
            ..grant(
                &key,
                "arn:aws:iam::123456789012:user/app",
                &["Encrypt", "Decrypt"],
            )
        };
        let granted = bench.run(create).await.unwrap();
        let blob = bench
            .engine
            .perform(&app, encrypt(id(&key), b"x"))
            .await
            .unwrap()
            .blob;
        assert_eq!(kind_as(&bench, &app, decrypt(&blob)).await, None);
        assert_eq!(
            kind_as(&bench, &app, DescribeKey { key: id(&key) }).await,
            DENIED
        );
        let more = Encrypt {
            context: context(&[("app", "test"), ("b", "c")]),
            ..encrypt(id(&key), b"x")
        };
        assert_eq!(kind_as(&bench, &app, more).await, None);
        for other in [context(&[]), context(&[("app", "other")])] {
            let wrong = Encrypt {
                context: other,
                ..encrypt(id(&key), b"x")
            };
            assert_eq!(kind_as(&bench, &app, wrong).await, DENIED);
        }
        let revoke = |id: &str| RevokeGrant {
            key: super::id(&key),
            id: id.to_owned(),
            dry_run: false,
        };
        assert_eq!(kind_as(&bench, &app, revoke(&granted.id)).await, DENIED);
        bench.run(revoke(&granted.id)).await.unwrap();
        assert_eq!(
            bench.kind_of(revoke(&granted.id)).await,
            Some(ErrorKind::GrantNotFound)
        );
        assert_eq!(kind_as(&bench, &app, decrypt(&blob)).await, DENIED);

        let exact = CreateGrant {
            constraint: Some(GrantConstraint::Equals(
                context(&[("app", "test")]).pairs().clone(),
            )),
            ..grant(&key, "app", &["Decrypt"])
        };
        bench.run(exact).await.unwrap();
        assert_eq!(kind_as(&bench, &app, decrypt(&blob)).await, None);
        let more = Decrypt {
            context: context(&[("app", "test"), ("b", "c")]),
            ..decrypt(&blob)
        };
        assert_eq!(kind_as(&bench, &app, more).await, DENIED);
        bench.engine.close().await;
    });
}

#[test]
fn grants_that_cannot_be_are_refused() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let signer = bench
            .key(of_spec(KeySpec::EcP256, KeyUsage::SignVerify))
            .await;
        for operations in [&[][..], &["Nonsense"], &["ScheduleKeyDeletion"]] {
            let kind = bench.kind_of(grant(&key, "app", operations)).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("Operations")));
        }
        for grantee in ["*", "123456789012", "arn:aws:iam::999999999999:user/app"] {
            let kind = bench.kind_of(grant(&key, grantee, &["Decrypt"])).await;
            assert_eq!(
                kind,
                Some(ErrorKind::InvalidParameter("GranteePrincipal")),
                "{grantee}"
            );
        }
        let constrained = CreateGrant {
            constraint: Some(GrantConstraint::Equals(
                context(&[("a", "b")]).pairs().clone(),
            )),
            ..grant(&signer, "app", &["Sign"])
        };
        assert_eq!(
            bench.kind_of(constrained).await,
            Some(ErrorKind::InvalidParameter("Constraints"))
        );
        let pairs = |count: usize, len: usize| {
            let pairs = (0..count).map(|nth| (nth.to_string(), "v".repeat(len)));
            Some(GrantConstraint::Subset(pairs.collect()))
        };
        for (constraint, wanted) in [
            (pairs(8, 384), None),
            (
                pairs(9, 1),
                Some(ErrorKind::InvalidParameter("Constraints")),
            ),
            (
                pairs(1, 385),
                Some(ErrorKind::InvalidParameter("Constraints")),
            ),
        ] {
            let large = CreateGrant {
                constraint,
                ..grant(&key, "app", &["Decrypt"])
            };
            assert_eq!(bench.kind_of(large).await, wanted);
        }
        let long = CreateGrant {
            name: Some("n".repeat(257)),
            ..grant(&key, "app", &["Decrypt"])
        };
        assert_eq!(
            bench.kind_of(long).await,
            Some(ErrorKind::InvalidParameter("Name"))
        );
        bench.engine.close().await;
    });
}

#[test]
fn grants_are_retired_by_those_who_may() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let [app, warden, other] = [
            bench.principal("app", NOTHING).await,
            bench.principal("warden", NOTHING).await,
            bench.principal("other", &allow("kms:*", "*")).await,
        ];
        let create = || CreateGrant {
            retiring: Some("warden".to_owned()),
            ..grant(&key, "app", &["Decrypt"])
        };
        let granted = bench.run(create()).await.unwrap();
        let retirable = ListRetirableGrants {
            retiring: "warden".to_owned(),
            page: ALL,
        };
        let listed = bench.run(retirable).await.unwrap();
        assert_eq!(
            (listed.total, listed.items[0].id.as_str()),
            (1, granted.id.as_str())
        );
        let by_token = |token: &str| RetireGrant {
            grant: GrantRef::Token(token.to_owned()),
            dry_run: false,
        };
        for who in [&app, &other, &bench.admin] {
            assert_eq!(kind_as(&bench, who, by_token(&granted.token)).await, DENIED);
        }
        let dry = RetireGrant {
            dry_run: true,
            ..by_token(&granted.token)
        };
        assert_eq!(kind_as(&bench, &warden, dry).await, Some(ErrorKind::DryRun));
        assert_eq!(
            kind_as(&bench, &warden, by_token(&granted.token)).await,
            None
        );
        let again = kind_as(&bench, &warden, by_token(&granted.token)).await;
        assert_eq!(again, Some(ErrorKind::GrantNotFound));

        let own = bench
            .run(grant(&key, "app", &["Decrypt", "RetireGrant"]))
            .await
            .unwrap();
        let by_id = RetireGrant {
            grant: GrantRef::Of {
                key: id(&key),
                id: own.id,
            },
            dry_run: false,
        };
        assert_eq!(kind_as(&bench, &app, by_id).await, None);
        let list = ListGrants {
            key: id(&key),
            id: None,
            grantee: None,
            page: ALL,
        };
        assert_eq!(bench.run(list).await.unwrap().total, 0);
        bench.engine.close().await;
    });
}

/// The grant allows it, a policy can deny it, and the trail says of which key it was.
#[test]
fn policies_deny_the_retirement_of_a_grant_and_the_trail_names_its_key() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let key = bench.key(symmetric()).await;
        let denied = r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":"kms:RetireGrant","Resource":"*"}]}"#;
        let warden = bench.principal("warden", denied).await;
        let app = bench.principal("app", NOTHING).await;
        let create = CreateGrant {
            retiring: Some("warden".to_owned()),
            ..grant(&key, "app", &["Decrypt", "RetireGrant"])
        };
        let granted = bench.run(create).await.unwrap();
        let by_token = || RetireGrant {
            grant: GrantRef::Token(granted.token.clone()),
            dry_run: false,
        };
        let by_id = || RetireGrant {
            grant: GrantRef::Of {
                key: id(&key),
                id: granted.id.clone(),
            },
            dry_run: false,
        };
        assert_eq!(kind_as(&bench, &warden, by_token()).await, DENIED);
        assert_eq!(kind_as(&bench, &warden, by_id()).await, DENIED);
        let of_key = r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"admin"},"Action":"kms:*"},
            {"Effect":"Deny","Principal":{"AWS":"app"},"Action":"kms:Retire*"}]}"#;
        let put = |policy: &str| PutKeyPolicy {
            key: id(&key),
            policy: policy.to_owned(),
            bypass_lockout_check: false,
        };
        bench.run(put(of_key)).await.unwrap();
        assert_eq!(kind_as(&bench, &app, by_token()).await, DENIED);
        let default = crate::kms::policy::Policy::default_of_key("admin", "123456789012");
        bench.run(put(&default)).await.unwrap();
        assert_eq!(kind_as(&bench, &app, by_token()).await, None);
        assert!(bench.engine.close().await);
        let text = std::fs::read_to_string(bench.audit_file()).unwrap();
        let retired = text
            .lines()
            .filter(|line| line.contains(r#""RetireGrant""#));
        let named = format!(r#""key_id":"{}""#, key.id.0);
        let named: Vec<_> = retired.map(|line| line.contains(&named)).collect();
        assert_eq!(named, [true; 4]);
    });
}

#[test]
fn access_keys_are_disabled_enabled_and_gone_at_once() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        bench.principal("app", NOTHING).await;
        let create = || CreateCredential {
            principal: "app".to_owned(),
        };
        let made = bench.run(create()).await.unwrap();
        let enabled = async || {
            bench
                .engine
                .credential(&made.id)
                .await
                .unwrap()
                .map(|one| one.enabled)
        };
        assert_eq!(enabled().await, Some(true));
        for on in [false, true] {
            bench
                .run(SetCredentialEnabled {
                    id: made.id.clone(),
                    enabled: on,
                })
                .await
                .unwrap();
            assert_eq!(enabled().await, Some(on));
        }
        bench
            .run(DeleteCredential {
                id: made.id.clone(),
            })
            .await
            .unwrap();
        assert_eq!(enabled().await, None);
        let gone = DeleteCredential {
            id: made.id.clone(),
        };
        assert_eq!(
            bench.kind_of(gone).await,
            Some(ErrorKind::AccessKeyNotFound)
        );
        bench.engine.close().await;
    });
}

#[test]
fn a_principal_has_so_many_access_keys_and_they_go_with_it() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        bench.principal("app", NOTHING).await;
        let create = || CreateCredential {
            principal: "app".to_owned(),
        };
        for _ in 0..10 {
            bench.run(create()).await.unwrap();
        }
        assert_eq!(
            bench.kind_of(create()).await,
            Some(ErrorKind::LimitExceeded)
        );
        let list = |principal: Option<&str>| ListCredentials {
            principal: principal.map(str::to_owned),
            page: ALL,
        };
        assert_eq!(bench.run(list(Some("app"))).await.unwrap().total, 10);
        let all = bench.run(list(None)).await.unwrap();
        assert_eq!(all.total, 11);
        let one = all
            .items
            .iter()
            .find(|one| one.principal == "app")
            .unwrap()
            .id
            .clone();
        assert!(bench.engine.credential(&one).await.unwrap().is_some());
        bench
            .run(DeletePrincipal {
                name: "app".to_owned(),
            })
            .await
            .unwrap();
        assert!(
            bench.engine.credential(&one).await.unwrap().is_none(),
            "they go with their principal"
        );
        assert_eq!(
            bench.kind_of(create()).await,
            Some(ErrorKind::PrincipalNotFound)
        );
        assert_eq!(
            bench.run(ListPrincipals { page: ALL }).await.unwrap().total,
            1
        );
        bench.engine.close().await;
    });
}

#[test]
fn principals_have_names_and_policies_that_can_be() {
    on_both(async |backend| {
        let bench = Bench::new(backend).await;
        let create = |name: &str, policy: &str| CreatePrincipal {
            name: name.to_owned(),
            policy: policy.to_owned(),
        };
        // Digits alone are an account in policies.
        let account = "123456789012";
        for name in [
            "",
            "a b",
            "local:root",
            "ä",
            "a/b",
            &"n".repeat(65),
            account,
            "7",
        ] {
            let kind = bench.kind_of(create(name, NOTHING)).await;
            assert_eq!(kind, Some(ErrorKind::InvalidParameter("Name")), "{name}");
        }
        assert_eq!(
            bench.kind_of(create("a", "{}")).await,
            Some(ErrorKind::PolicyMalformed)
        );
        assert_eq!(
            bench.kind_of(create("admin", NOTHING)).await,
            Some(ErrorKind::PrincipalExists)
        );
        let put = PutPrincipalPolicy {
            name: "none".to_owned(),
            policy: NOTHING.to_owned(),
        };
        assert_eq!(bench.kind_of(put).await, Some(ErrorKind::PrincipalNotFound));
        bench.engine.close().await;
    });
}

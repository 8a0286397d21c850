//! Policies of the key service: asked once or twice for each request.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use envelopefs::kms::engine::EncryptionContext;
use envelopefs::kms::engine::model::{
    Grant, GrantConstraint, KeyId, KeySpec, KeyUsage, Origin, Tag,
};
use envelopefs::kms::policy::{Decision, KeyFacts, Policy, PolicyKind, Request, Rules, decide};
use jiff::Timestamp;
use serde_json::{Value, json};

const ACCOUNT: &str = "123456789012";
const KEY: &str = "11111111-2222-4333-8444-555555555555";

fn facts() -> KeyFacts {
    KeyFacts {
        names: [
            format!("arn:aws:kms:local:{ACCOUNT}:key/{KEY}"),
            format!("acs:kms:local:{ACCOUNT}:key/{KEY}"),
            KEY.to_owned(),
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

fn pairs() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "shop".to_owned())])
}

/// What is asked for: as much of a statement that speaks of it as a team writes.
fn statement(effect: &str, actions: &Value, resource: &str) -> Value {
    json!({
        "Effect": effect, "Action": actions, "Resource": resource,
        "Condition": {"StringEquals": {"kms:EncryptionContext:app": "shop"}},
    })
}

/// So many statements, of which the last decides; the others speak of other keys.
fn principal(statements: usize, effect: &str) -> Policy {
    let data = json!(["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*"]);
    let other = |at: usize| {
        let resource = format!("arn:aws:kms:local:{ACCOUNT}:key/{at:08}-*");
        statement("Allow", &data, &resource)
    };
    let mut all: Vec<_> = (1..statements).map(other).collect();
    all.push(statement(effect, &data, "arn:aws:kms:*:*:key/*"));
    let text = json!({"Version": "2012-10-17", "Statement": all}).to_string();
    Policy::parse(&text, PolicyKind::Principal, ACCOUNT).unwrap()
}

/// A key's policy that leaves it to the principals' own, or speaks of somebody else.
fn of_key(principal: &str) -> Policy {
    let statement = json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"});
    let text = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    Policy::parse(&text, PolicyKind::Key, ACCOUNT).unwrap()
}

/// So many grants, of which the last is the caller's.
fn grants(count: usize) -> Vec<Grant> {
    let grant = |at: usize| Grant {
        id: at.to_string(),
        key: KeyId(KEY.to_owned()),
        name: None,
        created: Timestamp::UNIX_EPOCH,
        grantee: if at == count {
            "app".to_owned()
        } else {
            format!("other-{at}")
        },
        retiring: None,
        issuer: "admin".to_owned(),
        operations: vec!["Encrypt".to_owned(), "GenerateDataKey".to_owned()],
        constraint: Some(GrantConstraint::Subset(pairs())),
    };
    (1..=count).map(grant).collect()
}

fn policies(criterion: &mut Criterion) {
    let (facts, context) = (facts(), EncryptionContext::new(pairs()).unwrap());
    let request = Request {
        principal: "app",
        action: "GenerateDataKey",
        key: Some(&facts),
        context: Some(&context),
        address: Some([192, 0, 2, 7].into()),
        now: Timestamp::UNIX_EPOCH,
    };
    let account = of_key(&format!("arn:aws:iam::{ACCOUNT}:root"));
    let mut group = criterion.benchmark_group("kms/policy");
    for (name, effect, wanted) in [
        ("allow", "Allow", Decision::Allowed),
        ("deny", "Deny", Decision::Denied),
    ] {
        for statements in [1, 10, 50] {
            let own = principal(statements, effect);
            let rules = Rules {
                principal: Some(&own),
                key: Some(&account),
                grants: &[],
            };
            assert_eq!(decide(&rules, &request), wanted);
            group.bench_function(BenchmarkId::new(name, statements), |bencher| {
                bencher.iter(|| decide(black_box(&rules), black_box(&request)));
            });
        }
    }
    let stranger = of_key(&format!("arn:aws:iam::{ACCOUNT}:user/admin"));
    for count in [1, 10, 50] {
        let grants = grants(count);
        let rules = Rules {
            principal: None,
            key: Some(&stranger),
            grants: &grants,
        };
        assert_eq!(decide(&rules, &request), Decision::Allowed);
        group.bench_function(BenchmarkId::new("grant", count), |bencher| {
            bencher.iter(|| decide(black_box(&rules), black_box(&request)));
        });
    }
    group.finish();
}

criterion_group!(benches, policies);
criterion_main!(benches);

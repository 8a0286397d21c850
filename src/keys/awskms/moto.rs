//! A provider against moto, a server that does what AWS does: each test has keys of its own in the one
//! server of this process.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::AwsKmsProvider;
use crate::keys::awskms::kms::Service;
use crate::keys::conformance::{CONTEXT, provider_suite};
use crate::keys::error::KeyErrorKind;
use crate::keys::provider::{KeyProvider, WrappedDek};
use crate::keys::registry::{ProviderOptions, Providers};
use crate::keys::service::failures::{Subject, service_failures};
use crate::keys::service::python::Server;
use crate::keys::service::{Endpoint, Environment, Reach, ServiceOptions};

const MOTO: &str = "
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server('127.0.0.1', 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(f'http://127.0.0.1:{server.port}', flush=True)
server.serve_forever()
";

const REGION: &str = "eu-central-1";

pub(super) fn endpoint() -> Endpoint {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(|| Server::start(MOTO));
    Endpoint::parse(&server.first_line).unwrap()
}

fn environment() -> Environment {
    Environment::of(&[
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", REGION),
    ])
}

fn reach(endpoint: Endpoint) -> Reach {
    Reach {
        endpoint: Some(endpoint),
        timeout: Some(Duration::from_secs(60)),
        ..Reach::default()
    }
}

/// Has the server do what an administrator does.
fn admin(operation: &str, request: &Value) -> Value {
    let kms = Service::new(Some(REGION), reach(endpoint()), &environment()).unwrap();
    kms.call(operation, request).unwrap()
}

/// The ARN of a new key.
fn new_key() -> String {
    let made = admin("CreateKey", &json!({}));
    made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
}

fn id_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap()
}

fn alias(name: &str, arn: &str) {
    let request = json!({"AliasName": name, "TargetKeyId": id_of(arn)});
    admin("CreateAlias", &request);
}

fn open(key: &str) -> AwsKmsProvider {
    open_at(key, reach(endpoint()))
}

fn open_at(key: &str, reach: Reach) -> AwsKmsProvider {
    let uri: crate::units::KeyUri = format!("awskms:///{key}").parse().unwrap();
    let options = ServiceOptions {
        environment: environment(),
        of_key: [(uri.clone(), reach)].into(),
    };
    AwsKmsProvider::open(&uri, &options).unwrap()
}

#[test]
fn a_key_by_its_id_passes_the_suite() {
    provider_suite(&open(id_of(&new_key())));
}

#[test]
fn a_key_by_its_arn_passes_the_suite() {
    provider_suite(&open(&new_key()));
}

#[test]
fn a_key_by_an_alias_passes_the_suite() {
    alias("alias/suite", &new_key());
    provider_suite(&open("alias/suite"));
}

#[test]
fn an_alias_that_moves_on_rotates() {
    let (first, second) = (new_key(), new_key());
    alias("alias/rotates", &first);
    let provider = open("alias/rotates");
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(old.key_version, id_of(&first));

    let moved = json!({"AliasName": "alias/rotates", "TargetKeyId": id_of(&second)});
    admin("UpdateAlias", &moved);
    assert_eq!(provider.probe().unwrap().key_version, id_of(&second));
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(new.key_version, id_of(&second));
    assert!(provider.unwrap(&new, &CONTEXT).unwrap() == dek);
    // By the wrong version it does not open, though the alias knows both.
    let swapped = WrappedDek {
        key_version: old.key_version,
        ..new
    };
    assert_eq!(
        provider.unwrap(&swapped, &CONTEXT).unwrap_err().kind(),
        KeyErrorKind::Denied
    );
}

#[test]
fn another_account_s_alias_is_unwrapped_by_that_account_s_key() {
    let arn = new_key();
    alias("alias/by-arn", &arn);
    let alias = format!("{}:alias/by-arn", arn.rsplit_once(':').unwrap().0);
    let provider = open(&alias);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(wrapped.key_version, id_of(&arn));
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
}

#[test]
fn a_key_that_is_not_there_is_not_found() {
    for key in ["00000000-0000-0000-0000-000000000000", "alias/nowhere"] {
        let error = open(key).generate(&CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::NotFound, "{error}");
        assert!(error.message().contains("NotFoundException"), "{error}");
        assert_eq!(
            open(key).probe().unwrap_err().kind(),
            KeyErrorKind::NotFound
        );
    }
}

#[test]
fn a_key_that_is_disabled_or_going_to_be_deleted_is_revoked() {
    for (operation, says) in [
        ("DisableKey", "disabled"),
        ("ScheduleKeyDeletion", "scheduled for deletion"),
    ] {
        let arn = new_key();
        let provider = open(&arn);
        provider.probe().unwrap();
        admin(operation, &json!({"KeyId": id_of(&arn)}));
        let error = provider.probe().unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Revoked, "{error}");
        assert!(error.message().contains(says), "{error}");
    }
}

#[test]
fn a_given_uri_is_followed_and_its_endpoint_not_stored() {
    let mut options = ProviderOptions::default();
    options.service.environment = environment();
    let given = format!(
        "awskms:///{}?region={REGION}&endpoint={}",
        id_of(&new_key()),
        endpoint()
    );
    let stored = options.follow(&given.parse().unwrap()).unwrap();
    let words = stored.as_str();
    assert!(
        !words.contains("endpoint") && words.ends_with("?region=eu-central-1"),
        "{words}"
    );
    let provider = Providers::new(options).open(&stored).unwrap();
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
}

#[test]
fn a_web_identity_becomes_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "header.payload.signature\n").unwrap();
    let address = endpoint().to_string();
    let environment = Environment::of(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/files"),
        ("AWS_ENDPOINT_URL", &address),
    ]);
    let kms = Service::new(Some(REGION), Reach::default(), &environment).unwrap();
    let made: Value = kms.call("CreateKey", &json!({})).unwrap();
    assert!(made["KeyMetadata"]["Arn"].is_string());
}

fn with_subject(check: impl Fn(&Subject<'_>)) {
    let arn = new_key();
    check(&Subject {
        service: endpoint(),
        names_requests: true,
        open: &|reach| Box::new(open_at(&arn, reach.clone())),
    });
}

service_failures!(super::with_subject);

//! A provider against the double of the service.

use std::time::Duration;

use data_encoding::BASE64;
use serde_json::json;

use super::AliKmsProvider;
use super::double::{AliKms, ID, REGION, SECRET, TOKEN};
use crate::crypto::secret::SecretKey;
use crate::keys::conformance::{CONTEXT, assert_hides, provider_suite};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::{KeyProvider, WrappedDek};
use crate::keys::registry::{ProviderOptions, Providers};
use crate::keys::service::double::{Double, answer, json as json_answer};
use crate::keys::service::failures::{Subject, service_failures};
use crate::keys::service::metadata::{Dialect, testing};
use crate::keys::service::pages::Page;
use crate::keys::service::{Endpoint, Environment, Reach, ServiceOptions};
use crate::units::KeyUri;

const STATIC: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_ACCESS_KEY_ID", ID),
    ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET),
    ("ALIBABA_CLOUD_SECURITY_TOKEN", TOKEN),
];

fn open_with(endpoint: Endpoint, key: &str, variables: &[(&str, &str)]) -> AliKmsProvider {
    let uri: KeyUri = format!("alikms://{REGION}/{key}").parse().unwrap();
    let reach = Reach {
        endpoint: Some(endpoint),
        timeout: Some(Duration::from_secs(60)),
        ..Reach::default()
    };
    open_reaching(&uri, reach, variables)
}

fn open_reaching(uri: &KeyUri, reach: Reach, variables: &[(&str, &str)]) -> AliKmsProvider {
    let options = ServiceOptions {
        environment: Environment::of(variables),
        of_key: [(uri.clone(), reach)].into(),
    };
    AliKmsProvider::open(uri, &options).unwrap()
}

fn open(kms: &AliKms, key: &str) -> AliKmsProvider {
    open_with(kms.server.endpoint(), key, &STATIC)
}

/// What the service's double has as the wrapping version of this key.
fn version(kms: &AliKms, key: &str) -> String {
    kms.store.lock().keys[key]
        .versions
        .last()
        .unwrap()
        .0
        .clone()
}

#[test]
fn a_key_by_its_id_passes_the_suite() {
    provider_suite(&open(&AliKms::start(), "key-1"));
}

#[test]
fn a_key_by_an_alias_passes_the_suite() {
    provider_suite(&open(&AliKms::start(), "alias/files"));
}

#[test]
fn a_key_without_a_token_passes_the_suite() {
    let kms = AliKms::start();
    provider_suite(&open_with(kms.server.endpoint(), "key-1", &STATIC[..2]));
}

#[test]
fn a_dedicated_gateway_that_cannot_re_encrypt_passes_the_suite() {
    let kms = AliKms::start();
    kms.store.lock().is_dedicated = true;
    provider_suite(&open(&kms, "key-1"));
    let provider = open(&kms, "key-1");
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    kms.store.lock().asked.clear();
    provider.rewrap(&wrapped, &CONTEXT).unwrap();
    assert_eq!(kms.store.lock().asked, ["ReEncrypt", "Decrypt", "Encrypt"]);
}

#[test]
fn rewrapping_leaves_the_data_key_with_the_service() {
    let kms = AliKms::start();
    let provider = open(&kms, "key-1");
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    kms.store.lock().keys.get_mut("key-1").unwrap().rotate();
    assert_ne!(old.key_version, version(&kms, "key-1"));
    assert_eq!(
        provider.probe().unwrap().key_version,
        version(&kms, "key-1")
    );
    assert!(provider.unwrap(&old, &CONTEXT).unwrap() == dek);
    kms.store.lock().asked.clear();
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(kms.store.lock().asked, ["ReEncrypt"]);
    assert_eq!(new.key_version, version(&kms, "key-1"));
    assert!(provider.unwrap(&new, &CONTEXT).unwrap() == dek);
}

#[test]
fn an_alias_that_moves_on_wraps_by_the_other_key() {
    let kms = AliKms::start();
    let provider = open(&kms, "alias/files");
    let (dek, old) = provider.generate(&CONTEXT).unwrap();
    kms.store
        .lock()
        .aliases
        .insert("alias/files".to_owned(), "key-2".to_owned());
    let new = provider.rewrap(&old, &CONTEXT).unwrap();
    assert_eq!(new.key_version, version(&kms, "key-2"));
    for wrapped in [old, new] {
        assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    }
}

#[test]
fn what_another_key_of_the_account_wrapped_is_refused() {
    let kms = AliKms::start();
    let (_dek, theirs) = open(&kms, "key-2").generate(&CONTEXT).unwrap();
    let error = open(&kms, "key-1").unwrap(&theirs, &CONTEXT).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Corrupt);
    assert!(error.message().contains("another key"), "{error}");
    assert!(open(&kms, "alias/files").unwrap(&theirs, &CONTEXT).is_ok());
}

#[test]
fn states_of_a_key_are_refusals() {
    let kms = AliKms::start();
    let provider = open(&kms, "key-1");
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for (state, says) in [
        ("Disabled", "disabled"),
        ("PendingDeletion", "deletion"),
        ("PendingImport", "key material"),
    ] {
        kms.store.lock().keys.get_mut("key-1").unwrap().state = state;
        for error in [
            provider.generate(&CONTEXT).err().unwrap(),
            provider.wrap(&dek, &CONTEXT).err().unwrap(),
            provider.unwrap(&wrapped, &CONTEXT).err().unwrap(),
            provider.rewrap(&wrapped, &CONTEXT).err().unwrap(),
            provider.probe().err().unwrap(),
        ] {
            assert_eq!(error.kind(), KeyErrorKind::Revoked, "{error}");
            assert!(error.message().contains(says), "{error}");
        }
    }
}

#[test]
fn a_key_and_an_alias_that_are_not_there_are_not_found() {
    let kms = AliKms::start();
    for (key, code) in [
        ("key-3", "Forbidden.KeyNotFound"),
        ("alias/x", "Forbidden.AliasNotFound"),
    ] {
        let error = open(&kms, key).generate(&CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::NotFound);
        for words in ["kms:GenerateDataKey", code, "r-1"] {
            assert!(error.message().contains(words), "{error}");
        }
        assert_eq!(error.request_id(), Some("r-1"));
    }
}

#[test]
fn a_wrong_secret_is_a_refusal() {
    let kms = AliKms::start();
    let variables = [STATIC[0], ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "hunter2")];
    let provider = open_with(kms.server.endpoint(), "key-1", &variables);
    let error = provider.generate(&CONTEXT).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Denied);
    assert!(error.message().contains("the secret is not"), "{error}");
    assert!(!format!("{error:?} {provider:?}").contains("hunter2"));
}

/// What unwrapping fails with where the service answers this.
fn unwrap_of(answer: Vec<u8>) -> KeyError {
    let double = Double::start(move |_request| answer.clone());
    let wrapped = WrappedDek {
        key_version: "v-1".to_owned(),
        bytes: vec![7; 100],
    };
    let provider = open_with(double.endpoint(), "key-1", &STATIC);
    provider.unwrap(&wrapped, &CONTEXT).unwrap_err()
}

#[test]
fn each_refusal_means_what_it_says() {
    use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
    for (status, code, kind) in [
        (400, "InvalidParameter", Corrupt),
        (400, "MissingParameter", Config),
        (400, "Unsupported.Origin", Config),
        (400, "IllegalTimestamp", Unavailable),
        (400, "InvalidTimeStamp.Expired", Unavailable),
        (400, "SignatureNonceUsed", Unavailable),
        (400, "SignatureDoesNotMatch", Denied),
        (400, "InvalidSecurityToken.Expired", Denied),
        (400, "Throttling.User", Unavailable),
        (400, "Rejected.LimitExceeded", Unavailable),
        (403, "Forbidden.NoPermission", Denied),
        (403, "Forbidden.AccessKey", Denied),
        (404, "InvalidAccessKeyId.NotFound", Denied),
        (404, "Forbidden.KeyNotFound", NotFound),
        (404, "Forbidden.KeyVersionNotFound", NotFound),
        (409, "Rejected.Disabled", Revoked),
        (409, "Rejected.StateModifiedFailed", Unavailable),
        (429, "Rejected.Throttling", Unavailable),
        (429, "Forbidden.NoPermission", Unavailable),
        (500, "InternalFailure", Unavailable),
        (503, "ServiceUnavailableTemporary", Unavailable),
        (503, "InvalidParameter", Unavailable),
        (400, "Something.New", Unavailable),
    ] {
        let body = json!({"Code": code, "Message": "said the service", "RequestId": "r-2"});
        let error = unwrap_of(json_answer(status, &body));
        assert_eq!(error.kind(), kind, "{error}");
        for words in ["kms:Decrypt", code, "said the service", "r-2"] {
            assert!(error.message().contains(words), "{words}: {error}");
        }
    }
}

#[test]
fn a_wrong_clock_is_told_and_is_no_refusal() {
    for code in [
        "InvalidTimeStamp.Expired",
        "IllegalTimestamp",
        "SignatureDoesNotMatch",
    ] {
        let body = json!({"Code": code, "Message": "expired"}).to_string();
        let date = [("date", "Sun, 22 Nov 2015 11:00:00 GMT")];
        let error = unwrap_of(answer(400, &date, body.as_bytes()));
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{error}");
        for words in ["clock is", "hours ahead", "NTP"] {
            assert!(error.message().contains(words), "{error}");
        }
    }
}

#[test]
fn answers_that_are_not_of_the_service_are_no_key() {
    let kms = AliKms::start();
    let provider = open(&kms, "key-1");
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    for (says, kind) in [
        (json!({"Plaintext": ""}), KeyErrorKind::Unavailable),
        (
            json!({"Plaintext": BASE64.encode(&[7; 31])}),
            KeyErrorKind::Unavailable,
        ),
        (json!({"Plaintext": 7}), KeyErrorKind::Unavailable),
        (json!({"KeyId": "key-2"}), KeyErrorKind::Corrupt),
        (json!({"KeyVersionId": "another"}), KeyErrorKind::Corrupt),
    ] {
        kms.store.lock().decrypt_says = says.clone();
        let error = provider.unwrap(&wrapped, &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), kind, "{says}: {error}");
        assert_hides(&format!("{error} {error:?}"), dek.expose());
    }
}

#[test]
fn what_no_service_made_is_not_sent() {
    let double = Double::start(|_request| panic!("it was sent"));
    let provider = open_with(double.endpoint(), "key-1", &STATIC);
    for (version, bytes) in [
        ("v", vec![]),
        ("v", vec![0; 6145]),
        ("", vec![7]),
        ("é", vec![7]),
    ] {
        let wrapped = WrappedDek {
            key_version: version.to_owned(),
            bytes,
        };
        for error in [
            provider.unwrap(&wrapped, &CONTEXT).err().unwrap(),
            provider.rewrap(&wrapped, &CONTEXT).err().unwrap(),
        ] {
            assert_eq!(error.kind(), KeyErrorKind::Corrupt, "{error}");
        }
    }
    assert_eq!(double.calls(), 0);
}

/// An instance whose role has, each time that it is asked, the next of these tokens.
fn role_of_tokens(tokens: &'static [&'static str]) -> Double {
    static DIALECT: Dialect = Dialect {
        ttl_header: "x-aliyun-ecs-metadata-token-ttl-seconds",
        token_header: "x-aliyun-ecs-metadata-token",
        roles: ["latest", "meta-data", "ram", "security-credentials"],
    };
    let rest = parking_lot::Mutex::new(tokens.iter());
    testing::instance(&DIALECT, "files", move || {
        let token = rest.lock().next().expect("it was asked too often");
        json!({
            "AccessKeyId": ID, "AccessKeySecret": SECRET, "SecurityToken": token,
            "Expiration": "2040-01-01T00:00:00Z",
        })
    })
}

#[test]
fn expired_credentials_are_fetched_anew_once() {
    let kms = AliKms::start();
    let instance = role_of_tokens(&["old", TOKEN]);
    let address = instance.endpoint().to_string();
    let variables = [("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", address.as_str())];
    let provider = open_with(kms.server.endpoint(), "key-1", &variables);
    let (_dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    provider.unwrap(&wrapped, &CONTEXT).unwrap();
    assert_eq!(kms.server.calls(), 3);

    let instance = role_of_tokens(&["old", "older"]);
    let address = instance.endpoint().to_string();
    let variables = [("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", address.as_str())];
    let provider = open_with(kms.server.endpoint(), "key-1", &variables);
    let error = provider.generate(&CONTEXT).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Denied);
    assert!(error.message().contains("have ended"), "{error}");
}

#[test]
fn a_metadata_service_that_is_gone_is_no_refusal() {
    let kms = AliKms::start();
    let gone = role_of_tokens(&[]);
    let address = gone.endpoint().to_string();
    drop(gone);
    let variables = [("ENVELOPEFS_ALIKMS_METADATA_ENDPOINT", address.as_str())];
    let error = open_with(kms.server.endpoint(), "key-1", &variables)
        .generate(&CONTEXT)
        .unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{error}");
    assert_eq!(kms.server.calls(), 0);
}

#[test]
fn a_given_uri_is_followed_and_its_endpoint_not_stored() {
    let kms = AliKms::start();
    let mut options = ProviderOptions::default();
    options.service.environment = Environment::of(&STATIC);
    let endpoint = kms.server.endpoint();
    let given = format!("alikms://{REGION}/alias/files?endpoint={endpoint}&timeout=60");
    let stored = options.follow(&given.parse().unwrap()).unwrap();
    assert_eq!(stored.as_str(), "alikms://cn-hangzhou/alias/files");
    let provider = Providers::new(options).open(&stored).unwrap();
    let dek = SecretKey::random().unwrap();
    let wrapped = provider.wrap(&dek, &CONTEXT).unwrap();
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);

    for uri in [
        given.as_str(),
        "alikms://evil.example/key-1",
        "alikms:///key-1",
    ] {
        let uri: KeyUri = uri.parse().unwrap();
        let error = AliKmsProvider::open(&uri, &ServiceOptions::default()).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config, "{uri}");
    }
}

#[test]
fn the_page_says_what_the_sources_do() {
    let page = Page {
        text: include_str!("../../../docs/keys/alikms.md"),
        form: &super::FORM,
        sources: &[
            include_str!("kms.rs"),
            include_str!("credentials.rs"),
            include_str!("failure.rs"),
        ],
        prefixes: &["ALIBABA_CLOUD_", "ENVELOPEFS_ALIKMS_"],
    };
    page.check();
}

fn with_subject(check: impl Fn(&Subject<'_>)) {
    let kms = AliKms::start();
    check(&Subject {
        service: kms.server.endpoint(),
        names_requests: true,
        open: &|reach| {
            let uri: KeyUri = format!("alikms://{REGION}/key-1").parse().unwrap();
            Box::new(open_reaching(&uri, reach.clone(), &STATIC))
        },
    });
}

service_failures!(super::with_subject);

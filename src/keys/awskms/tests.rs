//! What the service may answer, by a double of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::AwsKmsProvider;
use crate::keys::conformance::{CONTEXT, assert_hides};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::{KeyProvider, WrappedDek};
use crate::keys::service::double::{self, Double, Received};
use crate::keys::service::pages::Page;
use crate::keys::service::{Environment, Reach, ServiceOptions};
use crate::units::KeyUri;

const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const KEY: [u8; 32] = *b"an example key, thirty-two bytes";

fn provider(double: &Double, key: &str, variables: &[(&str, &str)]) -> AwsKmsProvider {
    let uri: KeyUri = format!("awskms:///{key}").parse().unwrap();
    let mut all = vec![("AWS_REGION", "eu-central-1")];
    all.extend_from_slice(variables);
    let reach = Reach {
        endpoint: Some(double.endpoint()),
        ..Reach::default()
    };
    let options = ServiceOptions {
        environment: Environment::of(&all),
        of_key: [(uri.clone(), reach)].into(),
    };
    AwsKmsProvider::open(&uri, &options).unwrap()
}

const STATIC: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ("AWS_SESSION_TOKEN", "session"),
];

fn wrapped() -> WrappedDek {
    WrappedDek {
        key_version: ID.to_owned(),
        bytes: vec![7; 100],
    }
}

fn refusal(status: u16, code: &str, message: &str) -> Vec<u8> {
    let body = json!({"__type": code, "message": message}).to_string();
    let headers = [
        ("x-amzn-requestid", "req-1"),
        ("content-type", "application/x-amz-json-1.1"),
    ];
    double::answer(status, &headers, body.as_bytes())
}

/// What unwrapping fails with where the service answers this.
fn unwrap_of(answer: Vec<u8>) -> KeyError {
    let double = Double::start(move |_request| answer.clone());
    let error = provider(&double, ARN, &STATIC)
        .unwrap(&wrapped(), &CONTEXT)
        .unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        !text.contains("hunter2") && !text.contains("session\""),
        "{text}"
    );
    error
}

#[test]
fn requests_are_those_of_the_service() {
    let double = Double::start(|request| {
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/")
        );
        assert_eq!(
            request.header("content-type"),
            Some("application/x-amz-json-1.1")
        );
        assert_eq!(request.header("x-amz-security-token"), Some("session"));
        let signed = request.header("authorization").unwrap();
        assert!(
            signed.contains("/eu-central-1/kms/aws4_request"),
            "{signed}"
        );
        let headers = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";
        assert!(signed.contains(headers), "{signed}");
        answer_of(request)
    });
    let provider = provider(&double, ARN, &STATIC);
    let (dek, wrapped) = provider.generate(&CONTEXT).unwrap();
    assert_eq!(dek.expose(), &KEY);
    assert_eq!(provider.wrap(&dek, &CONTEXT).unwrap(), wrapped);
    assert!(provider.unwrap(&wrapped, &CONTEXT).unwrap() == dek);
    assert_eq!(provider.rewrap(&wrapped, &CONTEXT).unwrap(), wrapped);
    assert_eq!(provider.probe().unwrap().key_version, ID);
}

/// The service's part; the fields of each request are those of its API reference.
fn answer_of(request: &Received) -> Vec<u8> {
    let context = json!({
        "envelopefs:volume": "11111111111111111111111111111111",
        "envelopefs:file": "22222222222222222222222222222222",
    });
    let blob = BASE64.encode(b"wrapped");
    let plaintext = BASE64.encode(&KEY);
    let (expected, answer) = match request.header("x-amz-target").unwrap() {
        "TrentService.GenerateDataKey" => (
            json!({"KeyId": ARN, "KeySpec": "AES_256", "EncryptionContext": context}),
            json!({"KeyId": ARN, "Plaintext": plaintext, "CiphertextBlob": blob}),
        ),
        "TrentService.Encrypt" => (
            json!({"KeyId": ARN, "Plaintext": plaintext, "EncryptionContext": context}),
            json!({"KeyId": ARN, "CiphertextBlob": blob}),
        ),
        "TrentService.Decrypt" => (
            json!({"KeyId": ARN, "CiphertextBlob": blob, "EncryptionContext": context}),
            json!({"KeyId": ARN, "Plaintext": plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}),
        ),
        "TrentService.ReEncrypt" => (
            json!({
                "CiphertextBlob": blob, "SourceKeyId": ARN, "DestinationKeyId": ARN,
                "SourceEncryptionContext": context, "DestinationEncryptionContext": context,
            }),
            json!({"KeyId": ARN, "SourceKeyId": ARN, "CiphertextBlob": blob}),
        ),
        "TrentService.DescribeKey" => (json!({"KeyId": ARN}), described("Enabled")),
        other => panic!("{other}"),
    };
    assert_eq!(request.json(), expected);
    double::json(200, &answer)
}

fn described(state: &str) -> Value {
    json!({"KeyMetadata": {"Arn": ARN, "KeyId": ID, "KeyState": state}})
}

#[test]
fn each_refusal_means_what_it_says() {
    use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
    for (status, code, kind, says) in [
        (400, "AccessDeniedException", Denied, "policy"),
        (400, "DisabledException", Revoked, "disabled"),
        (400, "NotFoundException", NotFound, "account and region"),
        (400, "InvalidCiphertextException", Corrupt, "another file"),
        (400, "IncorrectKeyException", Corrupt, "another key"),
        (400, "InvalidKeyUsageException", Config, "symmetric"),
        (400, "ValidationException", Config, "ValidationException"),
        (400, "InvalidSignatureException", Denied, "secret"),
        (400, "UnrecognizedClientException", Denied, "access key ID"),
        (400, "ExpiredTokenException", Denied, "ended"),
        (
            400,
            "ThrottlingException",
            Unavailable,
            "ThrottlingException",
        ),
        (
            400,
            "LimitExceededException",
            Unavailable,
            "LimitExceededException",
        ),
        (
            500,
            "KeyUnavailableException",
            Unavailable,
            "KeyUnavailableException",
        ),
        (
            500,
            "KMSInternalException",
            Unavailable,
            "KMSInternalException",
        ),
        (
            503,
            "DependencyTimeoutException",
            Unavailable,
            "DependencyTimeout",
        ),
        (503, "AccessDeniedException", Unavailable, "HTTP 503"),
        (429, "AccessDeniedException", Unavailable, "HTTP 429"),
        (
            400,
            "SomethingNewException",
            Unavailable,
            "SomethingNewException",
        ),
    ] {
        let error = unwrap_of(refusal(status, code, "said the service"));
        assert_eq!(error.kind(), kind, "{error}");
        for words in ["kms:Decrypt", says, "said the service", "req-1"] {
            assert!(error.message().contains(words), "{words}: {error}");
        }
        assert_eq!(error.request_id(), Some("req-1"));
        assert_eq!(error.uri().unwrap().as_str(), format!("awskms:///{ARN}"));
    }
}

#[test]
fn a_code_is_found_in_each_of_its_forms() {
    let bodies = [
        r#"{"__type":"com.amazonaws.kms#DisabledException","Message":"m"}"#,
        r#"{"__type":"DisabledException:http://internal/"}"#,
    ];
    for body in bodies {
        let error = unwrap_of(double::answer(400, &[], body.as_bytes()));
        assert_eq!(error.kind(), KeyErrorKind::Revoked, "{error}");
    }
    let header = [("x-amzn-errortype", "DisabledException:http://internal/")];
    let error = unwrap_of(double::answer(400, &header, b"{}"));
    assert_eq!(error.kind(), KeyErrorKind::Revoked, "{error}");
}

#[test]
fn a_state_is_asked_for_where_the_answer_says_it_only_in_words() {
    for (state, kind, says) in [
        (
            "PendingDeletion",
            KeyErrorKind::Revoked,
            "scheduled for deletion",
        ),
        ("PendingImport", KeyErrorKind::Revoked, "imported"),
        ("Disabled", KeyErrorKind::Revoked, "disabled"),
        ("Unavailable", KeyErrorKind::Unavailable, "custom key store"),
        ("Creating", KeyErrorKind::Unavailable, "being made"),
        ("Enabled", KeyErrorKind::Unavailable, "enabled by now"),
        ("", KeyErrorKind::Unavailable, "KMSInvalidStateException"),
    ] {
        let double = Double::start(
            move |request| match (request.header("x-amz-target"), state) {
                (Some("TrentService.DescribeKey"), "") => {
                    refusal(400, "AccessDeniedException", "not you")
                }
                (Some("TrentService.DescribeKey"), state) => double::json(200, &described(state)),
                _ => refusal(400, "KMSInvalidStateException", "it is pending something"),
            },
        );
        let error = provider(&double, ARN, &STATIC)
            .unwrap(&wrapped(), &CONTEXT)
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{state}: {error}");
        assert!(error.message().contains(says), "{state}: {error}");
    }
}

#[test]
fn a_wrong_clock_is_told_and_is_no_refusal() {
    for code in [
        "InvalidSignatureException",
        "ExpiredTokenException",
        "RequestExpired",
    ] {
        let body = json!({"__type": code, "message": "Signature expired"}).to_string();
        let date = [("date", "Sun, 22 Nov 2015 11:00:00 GMT")];
        let error = unwrap_of(double::answer(400, &date, body.as_bytes()));
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{error}");
        for words in ["clock is", "hours ahead", "NTP"] {
            assert!(error.message().contains(words), "{error}");
        }
    }
    // A wrong clock does not excuse another refusal.
    let body = json!({"__type": "AccessDeniedException"}).to_string();
    let date = [("date", "Sun, 22 Nov 2015 11:00:00 GMT")];
    let error = unwrap_of(double::answer(400, &date, body.as_bytes()));
    assert_eq!(error.kind(), KeyErrorKind::Denied);
}

#[test]
fn what_a_signature_was_made_of_is_not_repeated() {
    let message = "does not match.\n\nThe Canonical String was 'x-amz-security-token:session'";
    let error = unwrap_of(refusal(403, "InvalidSignatureException", message));
    assert!(!error.to_string().contains("session"), "{error}");
}

#[test]
fn answers_that_are_not_of_the_service_are_no_refusal_and_no_key() {
    let plaintext = BASE64.encode(&KEY);
    let other = ARN.replace("1234abcd", "00000000");
    let bodies = [
        json!({}),
        json!({"KeyId": ARN}),
        json!({"KeyId": ARN, "Plaintext": ""}),
        json!({"KeyId": ARN, "Plaintext": BASE64.encode(&KEY[..31])}),
        json!({"KeyId": ARN, "Plaintext": format!("{plaintext}AAAA")}),
        json!({"KeyId": ARN, "Plaintext": 7}),
        json!({"KeyId": ID, "Plaintext": plaintext}),
        json!({"KeyId": other, "Plaintext": plaintext}),
        json!({"Plaintext": plaintext}),
        json!([plaintext]),
    ];
    for body in bodies {
        let error = unwrap_of(double::json(200, &body));
        assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{body}: {error}");
        assert_hides(&format!("{error} {error:?}"), &KEY);
    }
    for (status, body) in [
        (403, "<html>a proxy</html>"),
        (404, ""),
        (307, "{}"),
        (400, "[]"),
    ] {
        let error = unwrap_of(double::answer(status, &[], body.as_bytes()));
        assert_eq!(
            error.kind(),
            KeyErrorKind::Unavailable,
            "{status} {body}: {error}"
        );
    }
}

#[test]
fn a_data_key_by_another_key_is_refused() {
    let other = ARN.replace("111122223333", "999999999999");
    let double = Double::start(move |_request| {
        double::json(
            200,
            &json!({
                "KeyId": other, "SourceKeyId": other, "Plaintext": BASE64.encode(&KEY),
                "CiphertextBlob": BASE64.encode(b"wrapped"),
            }),
        )
    });
    let provider = provider(&double, ARN, &STATIC);
    for error in [
        provider.generate(&CONTEXT).err().unwrap(),
        provider.unwrap(&wrapped(), &CONTEXT).err().unwrap(),
        provider.rewrap(&wrapped(), &CONTEXT).err().unwrap(),
    ] {
        assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        assert!(error.message().contains("another key"), "{error}");
    }
}

#[test]
fn what_no_service_made_is_not_sent() {
    let double = Double::start(|_request| panic!("it was sent"));
    let provider = provider(&double, ARN, &STATIC);
    for (version, bytes, kind) in [
        (ID, vec![], KeyErrorKind::Corrupt),
        (ID, vec![0; 6145], KeyErrorKind::Corrupt),
        ("alias/other", vec![7], KeyErrorKind::Corrupt),
        ("another-key", vec![7], KeyErrorKind::NotFound),
    ] {
        let wrapped = WrappedDek {
            key_version: version.to_owned(),
            bytes,
        };
        for error in [
            provider.unwrap(&wrapped, &CONTEXT).err().unwrap(),
            provider.rewrap(&wrapped, &CONTEXT).err().unwrap(),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
    assert_eq!(double.calls(), 0);
}

/// A service that knows only `good`, and an instance whose role's access key is `AK-1`, `AK-2`, ….
fn with_role(good: &'static str) -> (Double, Double, Arc<AtomicUsize>) {
    let kms = Double::start(move |request| {
        if request.header("authorization").unwrap().contains(good) {
            double::json(
                200,
                &json!({"KeyId": ARN, "Plaintext": BASE64.encode(&KEY)}),
            )
        } else {
            refusal(400, "ExpiredTokenException", "it has ended")
        }
    });
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let instance = Double::start(move |request| match request.path.as_str() {
        "/latest/api/token" => double::answer(200, &[], b"t"),
        "/latest/meta-data/iam/security-credentials" => double::answer(200, &[], b"role"),
        _ => {
            let nth = count.fetch_add(1, Ordering::SeqCst) + 1;
            double::json(
                200,
                &json!({
                    "AccessKeyId": format!("AK-{nth}"), "SecretAccessKey": "s", "Token": "t",
                    "Expiration": "2040-01-01T00:00:00Z",
                }),
            )
        }
    });
    (kms, instance, fetched)
}

#[test]
fn expired_credentials_are_fetched_anew_once() {
    let (kms, instance, fetched) = with_role("AK-2");
    let address = instance.endpoint().to_string();
    let provider = provider(
        &kms,
        ARN,
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)],
    );
    provider.unwrap(&wrapped(), &CONTEXT).unwrap();
    assert_eq!((kms.calls(), fetched.load(Ordering::SeqCst)), (2, 2));
    provider.unwrap(&wrapped(), &CONTEXT).unwrap();
    assert_eq!((kms.calls(), fetched.load(Ordering::SeqCst)), (3, 2));
}

#[test]
fn credentials_that_stay_expired_are_a_refusal() {
    let (kms, instance, _fetched) = with_role("none of them");
    let address = instance.endpoint().to_string();
    let provider = provider(
        &kms,
        ARN,
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)],
    );
    let error = provider.unwrap(&wrapped(), &CONTEXT).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Denied);
    assert_eq!(kms.calls(), 2);
}

#[test]
fn credentials_that_are_refused_are_not_fetched_with_each_call() {
    let (kms, instance, fetched) = with_role("none of them");
    let address = instance.endpoint().to_string();
    let provider = provider(
        &kms,
        ARN,
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)],
    );
    let begun = Instant::now();
    for _ in 0..30 {
        let error = provider.unwrap(&wrapped(), &CONTEXT).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    }
    let fetched = fetched.load(Ordering::SeqCst);
    let paused = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(fetched <= 2 + paused, "{fetched} in {paused} s");
}

#[test]
fn a_credentials_file_that_is_mended_is_noticed_soon() {
    let (kms, _instance, _fetched) = with_role("AK-NEW");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let write = |id: &str| {
        let text =
            format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = hunter2\n");
        std::fs::write(&file, text).unwrap();
    };
    write("AK-OLD");
    let variables = [("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap())];
    let provider = provider(&kms, ARN, &variables);
    for _ in 0..10 {
        provider.unwrap(&wrapped(), &CONTEXT).unwrap_err();
    }
    write("AK-NEW");
    let begun = Instant::now();
    while let Err(error) = provider.unwrap(&wrapped(), &CONTEXT) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_metadata_service_that_is_gone_is_no_refusal() {
    let (kms, instance, _fetched) = with_role("AK-2");
    let address = instance.endpoint().to_string();
    let provider = provider(
        &kms,
        ARN,
        &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &address)],
    );
    drop(instance);
    let error = provider.unwrap(&wrapped(), &CONTEXT).unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Unavailable, "{error}");
    assert_eq!(kms.calls(), 0);
}

#[test]
fn a_uri_that_says_where_to_send_credentials_is_refused_where_it_is_stored() {
    for uri in [
        "awskms:///alias/x?endpoint=https://evil.example",
        "awskms:///alias/x?region=evil.example%2F",
        "awskms:///arn:aws:kms:evil.example:111122223333:key/x",
        "awskms://evil.example/alias/x?region=eu-central-1",
    ] {
        let uri: KeyUri = uri.parse().unwrap();
        let error = AwsKmsProvider::open(&uri, &ServiceOptions::default()).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Config, "{uri}");
    }
}

#[test]
fn the_page_says_what_the_sources_do() {
    let page = Page {
        text: include_str!("../../../docs/keys/awskms.md"),
        form: &super::FORM,
        sources: &[
            include_str!("kms.rs"),
            include_str!("credentials.rs"),
            include_str!("credentials/metadata.rs"),
            include_str!("credentials/profile.rs"),
            include_str!("credentials/web_identity.rs"),
            include_str!("failure.rs"),
            include_str!("region.rs"),
        ],
        prefixes: &["AWS_"],
    };
    page.check();
}

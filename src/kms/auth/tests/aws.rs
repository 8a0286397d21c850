//! Requests that botocore signed, for boto3's KMS client and by its signer.

use std::sync::LazyLock;

use super::*;
use crate::keys::service::python;

/// Prints the request line and the headers of one request that boto3 would send, and its body's hash.
const BOTO3: &str = "
import boto3, sys, botocore.awsrequest, botocore.auth, datetime
botocore.auth.get_current_datetime = lambda: datetime.datetime(2026, 11, 22, 11, 26, 37)
class Stop(Exception): pass
def before_send(request, **kwargs):
    print('POST / HTTP/1.1')
    print('host: kms.example:8443')
    for name, value in request.headers.items():
        value = value.decode() if isinstance(value, bytes) else value
        print(f'{name}: {value}')
    print('body: ' + request.body.decode())
    raise Stop
client = boto3.client('kms', region_name='eu-central-1', endpoint_url='https://kms.example:8443',
    aws_access_key_id='AKTEST', aws_secret_access_key='SKTEST')
client.meta.events.register('before-send.kms', before_send)
try:
    client.generate_data_key(KeyId='alias/x', KeySpec='AES_256', EncryptionContext={'a': 'b'})
except Stop:
    pass
";

/// One request of boto3, made once for all tests.
static SENT: LazyLock<Sent> = LazyLock::new(|| {
    let mut sent = Sent::of(&python::run(BOTO3, ""));
    sent.body = std::mem::take(sent.header("body")).into_bytes();
    sent.without("body")
});

fn sent() -> Sent {
    SENT.clone()
}

fn verify(sent: &Sent) -> Result<Proven, AuthError> {
    sent.verify(b"SKTEST", at("2026-11-22T11:27:00Z"))
}

#[test]
fn a_request_of_boto3_is_proven() {
    let proven = verify(&sent()).unwrap();
    assert_eq!(
        (proven.scheme(), proven.access_key_id()),
        (Scheme::AwsSigV4, "AKTEST")
    );
    assert_eq!(proven.time(), at("2026-11-22T11:26:37Z"));
    let Call::Aws { target } = proven.into_call() else {
        panic!("another cloud's");
    };
    assert_eq!(target, "TrentService.GenerateDataKey");
}

#[test]
fn another_secret_is_refused() {
    for secret in ["SKTESU", "", "AWS4SKTEST"] {
        let refused = sent().verify(secret.as_bytes(), at("2026-11-22T11:27:00Z"));
        assert_eq!(refused.unwrap_err(), AuthError::Mismatch);
    }
}

#[test]
fn requests_of_another_time_are_refused() {
    for now in ["2026-11-22T11:42:00Z", "2026-11-22T11:11:00Z"] {
        let refused = sent().verify(b"SKTEST", at(now)).unwrap_err();
        assert!(matches!(refused, AuthError::Expired(..)));
    }
}

#[test]
fn another_body_than_the_signed_one_is_refused() {
    let mut changed = sent();
    changed.body.push(b' ');
    assert_eq!(verify(&changed).unwrap_err(), AuthError::Mismatch);
    changed.body.clear();
    assert_eq!(verify(&changed).unwrap_err(), AuthError::Mismatch);
}

/// What S3 clients send for bodies that nothing vouches for.
#[test]
fn a_body_that_is_not_signed_is_refused() {
    for hash in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "",
    ] {
        let sent = sent()
            .with("x-amz-content-sha256", hash)
            .replaced(";x-amz-date", ";x-amz-content-sha256;x-amz-date");
        assert_eq!(verify(&sent).unwrap_err(), AuthError::BodyHash, "{hash}");
    }
}

#[test]
fn a_changed_signed_header_is_refused() {
    for name in ["host", "x-amz-target", "content-type"] {
        let mut sent = sent();
        sent.header(name).push('x');
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch, "{name}");
    }
}

#[test]
fn a_sent_amz_header_that_is_not_signed_is_refused() {
    let added = sent().with("x-amz-extra", "1");
    let expected = AuthError::HeaderNotSigned("x-amz-extra".to_owned());
    assert_eq!(verify(&added).unwrap_err(), expected);
    for (part, name) in [
        ("host;", "host"),
        (";x-amz-target", "x-amz-target"),
        (";x-amz-date", "x-amz-date"),
    ] {
        let expected = AuthError::HeaderNotSigned(name.to_owned());
        assert_eq!(verify(&sent().replaced(part, "")).unwrap_err(), expected);
    }
}

#[test]
fn headers_that_name_the_request_must_be_there_once() {
    for name in ["x-amz-date", "x-amz-target"] {
        let missing = sent().without(name).replaced(&format!(";{name}"), "");
        assert!(
            matches!(verify(&missing), Err(AuthError::Incomplete(_))),
            "{name}"
        );
        let value = sent().header(name).clone();
        let twice = verify(&sent().with(name, &value));
        assert_eq!(twice.unwrap_err(), AuthError::RepeatedHeader(name));
    }
}

#[test]
fn another_method_path_or_query_is_refused() {
    let mut method = sent();
    method.method = "PUT".to_owned();
    assert_eq!(verify(&method).unwrap_err(), AuthError::Mismatch);
    let mut path = sent();
    path.path = "/x".to_owned();
    assert_eq!(verify(&path).unwrap_err(), AuthError::Mismatch);
    let mut query = sent();
    query.query = "a=b".to_owned();
    assert_eq!(verify(&query).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn presigned_urls_are_refused() {
    let mut presigned = sent();
    presigned.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00".to_owned();
    assert_eq!(verify(&presigned).unwrap_err(), AuthError::Scheme);
    let without = presigned.without("authorization");
    assert_eq!(verify(&without).unwrap_err(), AuthError::NotSigned);
}

#[test]
fn the_scope_is_the_request_s_day_and_kms() {
    for (from, to) in [
        ("/20261122/", "/20261121/"),
        ("/kms/", "/s3/"),
        ("/aws4_request", "/aws5_request"),
        ("AKTEST/", "/"),
        ("/eu-central-1/kms", "/kms"),
    ] {
        let sent = sent().replaced(from, to);
        assert!(
            matches!(verify(&sent), Err(AuthError::Incomplete(_))),
            "{to}"
        );
    }
    let other = sent().replaced("/eu-central-1/", "/eu-central-2/");
    assert_eq!(verify(&other).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn another_algorithm_is_refused() {
    let sent = sent().replaced("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Scheme);
}

#[test]
fn security_tokens_are_refused_as_none_was_given_out() {
    let sent = sent()
        .with("x-amz-security-token", "t")
        .replaced(";x-amz-target", ";x-amz-security-token;x-amz-target");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::SecurityToken);
}

#[test]
fn a_time_that_is_none_is_refused() {
    for text in ["2026-11-22T11:26:37Z", "soon", ""] {
        let mut sent = sent();
        *sent.header("x-amz-date") = text.to_owned();
        assert_eq!(verify(&sent).unwrap_err(), AuthError::TimeMalformed);
    }
}

//! Signatures of requests to the key service: read and checked once for each request.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use envelopefs::kms::auth::{Request, SignedRequest};
use jiff::Timestamp;

/// Requests for a data key as the public SDKs sign them, with the access key AKTEST and the secret SKTEST.
const V1_QUERY: &str = "KeyId=alias%2FApollo%2FWorkKey&KeySpec=AES_256&Version=2016-01-20&Action=GenerateDataKey&Format=JSON&RegionId=cn-local&Timestamp=2026-11-22T11%3A26%3A38Z&SignatureMethod=HMAC-SHA1&SignatureType=&SignatureVersion=1.0&SignatureNonce=68b7e3bf1defc45dcd6b84426bc6c5ed&AccessKeyId=AKTEST&Signature=RC8lH%2BeRzeB15sS%2F0WBxLe%2Fus4o%3D";
const ACS3_QUERY: &str = "EncryptionContext=%7B%22path%22%3A%22%2Fa+b%22%2C%22n%22%3A%22%E4%B8%AD%22%7D&KeyId=alias%2FApollo%2FWorkKey&KeySpec=AES_256";
const ACS3: [(&str, &str); 11] = [
    ("host", "127.0.0.1:18081"),
    ("x-acs-version", "2016-01-20"),
    ("x-acs-action", "GenerateDataKey"),
    (
        "user-agent",
        "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.0 TeaDSL/2",
    ),
    ("x-acs-date", "2026-11-22T11:26:37Z"),
    ("x-acs-signature-nonce", "c2c2a9a4181dbd2c3ee2c92ac06c8ea1"),
    ("accept", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    (
        "x-acs-content-sha256",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    ("x-acs-credentials-provider", "static_ak"),
    (
        "authorization",
        "ACS3-HMAC-SHA256 Credential=AKTEST,SignedHeaders=accept;content-type;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=19f98d8447f82a1c1d1b79ef35ff31f044ed7de017d8e52a84ff07c45dd3216c",
    ),
];
const SIGV4_BODY: &[u8] = br#"{"KeyId":"alias/x","KeySpec":"AES_256"}"#;
const SIGV4: [(&str, &str); 5] = [
    ("x-amz-target", "TrentService.GenerateDataKey"),
    ("content-type", "application/x-amz-json-1.1"),
    ("host", "127.0.0.1:8443"),
    ("x-amz-date", "20261122T112637Z"),
    (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AKTEST/20261122/cn-local/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=11ce6420e94ee849116bc39b77ffc282ff5c220e8527c87a37264f38ca0ae0cf",
    ),
];

fn signatures(c: &mut Criterion) {
    let now: Timestamp = "2026-11-22T11:27:00Z".parse().unwrap();
    let mut group = c.benchmark_group("signatures");
    for (name, query, headers, body) in [
        ("alibaba-v1", V1_QUERY, &[][..], &b""[..]),
        ("acs3", ACS3_QUERY, &ACS3[..], b""),
        ("sigv4", "", &SIGV4[..], SIGV4_BODY),
    ] {
        let request = Request {
            method: "POST",
            path: "/",
            query,
            headers,
            body,
        };
        group.bench_function(name, |b| {
            b.iter(|| {
                let signed = SignedRequest::parse(black_box(&request), now).unwrap();
                signed.verify(b"SKTEST").unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, signatures);
criterion_main!(benches);

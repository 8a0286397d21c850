//! Requests that the public SDKs sent to a loopback server, with the access key AKTEST and the secret
//! SKTEST: aliyun-python-sdk-kms, and alibabacloud_kms20160120 with each signature that it has.

use data_encoding::BASE64;

use super::*;
use crate::kms::auth::{Form, form, v1};

const ACS3: &str = r#"POST /?EncryptionContext=%7B%22path%22%3A%22%2Fa+b%22%2C%22n%22%3A%22%E4%B8%AD%22%7D&KeyId=alias%2FApollo%2FWorkKey&KeySpec=AES_256 HTTP/1.1
Accept-Encoding: identity
host: 127.0.0.1:18081
x-acs-version: 2016-01-20
x-acs-action: GenerateDataKey
user-agent: AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.0 TeaDSL/2
x-acs-date: 2026-11-22T11:26:37Z
x-acs-signature-nonce: c2c2a9a4181dbd2c3ee2c92ac06c8ea1
accept: application/json
content-type: application/x-www-form-urlencoded
x-acs-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-acs-credentials-provider: static_ak
Authorization: ACS3-HMAC-SHA256 Credential=AKTEST,SignedHeaders=accept;content-type;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=19f98d8447f82a1c1d1b79ef35ff31f044ed7de017d8e52a84ff07c45dd3216c
Content-Length: 0"#;

const V1_OF_NEW_SDK_STS: &str = r#"POST /?Action=GenerateDataKey&Format=json&Version=2016-01-20&Timestamp=2026-11-22T11%3A26%3A37Z&SignatureNonce=db189466b98aa5c286c16fbfcf68020a&KeyId=alias%2Fx&SecurityToken=STS1&SignatureMethod=HMAC-SHA1&SignatureVersion=1.0&AccessKeyId=AKTEST&Signature=bAf5GCTbi0W2fm0R7evNgV0rHr0%3D HTTP/1.1
Accept-Encoding: identity
host: 127.0.0.1:18081
x-acs-version: 2016-01-20
x-acs-action: GenerateDataKey
user-agent: AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.0 TeaDSL/2
content-type: application/x-www-form-urlencoded
x-acs-credentials-provider: static_sts
Content-Length: 0"#;

const ACS4: &str = r#"POST /?KeyId=alias%2Fx HTTP/1.1
Accept-Encoding: identity
host: 127.0.0.1:18081
x-acs-version: 2016-01-20
user-agent: AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.0 TeaDSL/2
x-acs-date: 2026-11-22T11:26:37Z
x-acs-signature-nonce: 92441ae239b9af896a75c9a4e230fe71
accept: application/json
x-acs-action: GenerateDataKey
content-type: application/x-www-form-urlencoded
x-acs-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-acs-credentials-provider: static_ak
Authorization: ACS4-HMAC-SHA256 Credential=AKTEST/20261122/cn-local/Kms/aliyun_v4_request,SignedHeaders=content-type;host;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=b1cd11b2f951abda084fd456f7360ddedd78850221a01e229f3fefedf11d9a2c
Content-Length: 0"#;

const V1: &str = r#"POST /?KeyId=alias%2FApollo%2FWorkKey&KeySpec=AES_256&Version=2016-01-20&Action=GenerateDataKey&Format=JSON&RegionId=cn-local&Timestamp=2026-11-22T11%3A26%3A38Z&SignatureMethod=HMAC-SHA1&SignatureType=&SignatureVersion=1.0&SignatureNonce=68b7e3bf1defc45dcd6b84426bc6c5ed&AccessKeyId=AKTEST&Signature=RC8lH%2BeRzeB15sS%2F0WBxLe%2Fus4o%3D HTTP/1.1
Host: 127.0.0.1:18082
User-Agent: AlibabaCloud (Linux 6.18.44-fc-v657;x86_64) Python/3.11.7 Core/2.16.1 python-requests/2.18.3
Accept-Encoding: identity
Accept: */*
Connection: keep-alive
x-acs-action: GenerateDataKey
x-acs-version: 2016-01-20
x-sdk-invoke-type: normal
x-sdk-client: python/2.0.0
Content-Length: 0"#;

const V1_ENCRYPT: &str = r#"POST /?KeyId=alias%2Fx&Plaintext=a%2Bb%20~%2A%E4%B8%AD&Version=2016-01-20&Action=Encrypt&Format=JSON&RegionId=cn-local&Timestamp=2026-11-22T11%3A26%3A38Z&SignatureMethod=HMAC-SHA1&SignatureType=&SignatureVersion=1.0&SignatureNonce=3df6a28151222b2fa7d30824d0bd6e5f&AccessKeyId=AKTEST&Signature=bf1FCQ9phca%2BjYucrJPaxy6CO7E%3D HTTP/1.1
Host: 127.0.0.1:18082
User-Agent: AlibabaCloud (Linux 6.18.44-fc-v657;x86_64) Python/3.11.7 Core/2.16.1 python-requests/2.18.3
Accept-Encoding: identity
Accept: */*
Connection: keep-alive
x-acs-action: Encrypt
x-acs-version: 2016-01-20
x-sdk-invoke-type: normal
x-sdk-client: python/2.0.0
Content-Length: 0"#;

fn now() -> Timestamp {
    at("2026-11-22T11:27:00Z")
}

fn verify(sent: &Sent) -> Result<Proven, AuthError> {
    sent.verify(b"SKTEST", now())
}

/// A request of the V1 scheme with these parameters beside those of the signature.
fn v1_request(parameters: &str, method: &str, secret: &[u8]) -> Sent {
    let query = format!(
        "Action=Encrypt&Version=2016-01-20&Timestamp=2026-11-22T11%3A26%3A37Z&SignatureNonce=n1\
         &SignatureMethod={method}&SignatureVersion=1.0&AccessKeyId=AKTEST&{parameters}"
    );
    let hash = match method {
        "HMAC-SHA256" => v1::Hash::Sha256,
        _ => v1::Hash::Sha1,
    };
    let to_sign = v1::to_sign("POST", &Form::parse(&[&query]).unwrap());
    let signature = BASE64.encode(&v1::sign(hash, secret, to_sign.as_bytes()));
    let signature = form::encode(&signature);
    Sent::of(&format!(
        "POST /?{query}&Signature={} HTTP/1.1\nhost: kms",
        *signature
    ))
}

#[test]
fn every_recorded_request_is_proven() {
    for (text, scheme, action) in [
        (ACS3, Scheme::Acs3, "GenerateDataKey"),
        (ACS4, Scheme::Acs4, "GenerateDataKey"),
        (V1, Scheme::AlibabaV1, "GenerateDataKey"),
        (V1_ENCRYPT, Scheme::AlibabaV1, "Encrypt"),
    ] {
        let proven = verify(&Sent::of(text)).unwrap();
        assert_eq!(
            (proven.scheme(), proven.access_key_id()),
            (scheme, "AKTEST")
        );
        let Call::Alibaba {
            action: told,
            version,
            ..
        } = proven.into_call()
        else {
            panic!("another cloud's");
        };
        assert_eq!((told.as_str(), version.as_str()), (action, "2016-01-20"));
    }
}

#[test]
fn parameters_come_out_as_the_client_meant_them() {
    let parameters = |text| match verify(&Sent::of(text)).unwrap().into_call() {
        Call::Alibaba { parameters, .. } => parameters,
        Call::Aws { .. } => panic!("another cloud's"),
    };
    let acs3 = parameters(ACS3);
    assert_eq!(
        acs3.get("EncryptionContext"),
        Some("{\"path\":\"/a b\",\"n\":\"中\"}")
    );
    assert_eq!(parameters(V1_ENCRYPT).get("Plaintext"), Some("a+b ~*中"));
}

/// <https://www.alibabacloud.com/help/en/kms/developer-reference/request-signatures>
#[test]
fn the_documented_signature_is_ours() {
    let query = "Action=CreateKey&SignatureVersion=1.0&Format=json&Version=2016-01-20\
                 &AccessKeyId=testid&SignatureMethod=HMAC-SHA1&Timestamp=2016-03-28T03:13:08Z";
    let form = Form::parse(&[query]).unwrap();
    let signature = v1::sign(
        v1::Hash::Sha1,
        b"testsecret",
        v1::to_sign("GET", &form).as_bytes(),
    );
    assert_eq!(BASE64.encode(&signature), "41wk2SSX1GJh7fwnc5eqOfiJPFg=");
    // The same page has a signature of a text whose ampersands are not encoded.
    let text = "GET&%2F&AccessKeyId%3Dtestid&Action%3DCreateKey&Format%3Djson&SignatureMethod%3DHMAC-SHA1&SignatureVersion%3D1.0&Timestamp%3D2016-03-28T03%253A13%253A08Z&Version%3D2016-01-20";
    let signature = v1::sign(v1::Hash::Sha1, b"testsecret", text.as_bytes());
    assert_eq!(BASE64.encode(&signature), "s/OdVWMTmNGagvWlljdAJ7Itsew=");
}

#[test]
fn another_secret_is_refused() {
    for text in [ACS3, ACS4, V1, V1_ENCRYPT] {
        for secret in ["SKTESU", "", "SKTEST&", "SKTEST "] {
            let refused = Sent::of(text).verify(secret.as_bytes(), now());
            assert_eq!(refused.unwrap_err(), AuthError::Mismatch, "{text}");
        }
    }
}

#[test]
fn requests_of_another_time_are_refused() {
    for text in [ACS3, ACS4, V1] {
        for now in [
            "2026-11-22T11:42:00Z",
            "2026-11-22T11:11:00Z",
            "2027-11-22T11:26:37Z",
        ] {
            let refused = Sent::of(text).verify(b"SKTEST", at(now)).unwrap_err();
            assert!(matches!(refused, AuthError::Expired(..)), "{text}");
        }
    }
}

#[test]
fn a_changed_parameter_is_refused() {
    for text in [ACS3, ACS4, V1, V1_ENCRYPT] {
        let sent = Sent::of(text).replaced("KeyId=alias", "KeyId=aliaz");
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch, "{text}");
    }
}

#[test]
fn an_added_or_dropped_parameter_is_refused() {
    for text in [ACS3, ACS4, V1, V1_ENCRYPT] {
        let mut sent = Sent::of(text);
        sent.query.push_str("&DryRun=");
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
    }
    let sent = Sent::of(V1).replaced("&RegionId=cn-local", "");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
    let sent = Sent::of(V1).replaced("&SignatureType=", "");
    assert_eq!(
        verify(&sent).unwrap_err(),
        AuthError::Mismatch,
        "an empty one is signed too"
    );
}

#[test]
fn a_parameter_that_is_there_twice_is_refused() {
    for text in [ACS3, V1] {
        let mut sent = Sent::of(text);
        sent.query.push_str("&KeyId=other");
        assert!(matches!(verify(&sent), Err(AuthError::Malformed(_))));
    }
}

#[test]
fn the_order_of_parameters_and_the_spelling_of_a_space_do_not_count() {
    let mut sent = Sent::of(ACS3).replaced("a+b", "a%20b");
    let mut parts: Vec<_> = sent.query.split('&').collect();
    parts.reverse();
    sent.query = parts.join("&");
    assert!(verify(&sent).is_ok());
}

#[test]
fn another_method_is_refused() {
    for text in [ACS3, ACS4, V1] {
        let mut sent = Sent::of(text);
        sent.method = "GET".to_owned();
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
    }
}

#[test]
fn a_path_is_refused_as_rpc_has_none() {
    for text in [ACS3, V1] {
        let mut sent = Sent::of(text);
        sent.path = "/x".to_owned();
        assert!(matches!(verify(&sent), Err(AuthError::Incomplete(_))));
    }
}

#[test]
fn a_changed_signed_header_is_refused() {
    for name in [
        "host",
        "x-acs-action",
        "x-acs-version",
        "x-acs-signature-nonce",
        "x-acs-credentials-provider",
        "user-agent",
        "accept",
    ] {
        let mut sent = Sent::of(ACS3);
        sent.header(name).push('x');
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch, "{name}");
    }
}

#[test]
fn a_signed_header_that_was_not_sent_is_refused() {
    for name in ["accept", "user-agent", "content-type"] {
        let sent = Sent::of(ACS3).without(name);
        assert!(
            matches!(verify(&sent), Err(AuthError::Incomplete(_))),
            "{name}"
        );
    }
}

#[test]
fn a_sent_acs_header_that_is_not_signed_is_refused() {
    let sent = Sent::of(ACS3).with("x-acs-extra", "1");
    let expected = AuthError::HeaderNotSigned("x-acs-extra".to_owned());
    assert_eq!(verify(&sent).unwrap_err(), expected);
    for name in ["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date"] {
        let sent = Sent::of(ACS3).replaced(&format!("{name};"), "");
        let expected = AuthError::HeaderNotSigned(name.to_owned());
        assert_eq!(verify(&sent).unwrap_err(), expected);
    }
}

#[test]
fn a_host_that_is_neither_sent_nor_signed_is_refused() {
    let sent = Sent::of(ACS3).without("host").replaced("host;", "");
    let expected = AuthError::HeaderNotSigned("host".to_owned());
    assert_eq!(verify(&sent).unwrap_err(), expected);
}

#[test]
fn headers_that_name_the_request_must_be_there_once() {
    for name in [
        "x-acs-date",
        "x-acs-action",
        "x-acs-version",
        "x-acs-signature-nonce",
        "x-acs-content-sha256",
    ] {
        let missing = Sent::of(ACS3).without(name);
        let refused = verify(&missing.replaced(&format!(";{name}"), ""));
        assert!(matches!(refused, Err(AuthError::Incomplete(_))), "{name}");
        let value = Sent::of(ACS3).header(name).clone();
        let twice = Sent::of(ACS3).with(name, &value);
        assert_eq!(verify(&twice).unwrap_err(), AuthError::RepeatedHeader(name));
    }
    let text = Sent::of(ACS3).header("authorization").clone();
    let twice = Sent::of(ACS3).with("authorization", &text);
    assert_eq!(
        verify(&twice).unwrap_err(),
        AuthError::RepeatedHeader("authorization")
    );
}

#[test]
fn another_body_than_the_signed_one_is_refused() {
    for text in [ACS3, ACS4] {
        let mut sent = Sent::of(text);
        sent.body = b"Recipient=x".to_vec();
        assert_eq!(verify(&sent).unwrap_err(), AuthError::BodyHash);
        let hash = crate::keys::service::digest::sha256_hex(&sent.body);
        *sent.header("x-acs-content-sha256") = hash;
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
    }
}

#[test]
fn a_form_in_the_body_is_signed_by_v1_as_the_query_is() {
    let mut sent = v1_request("KeyId=k&Plaintext=p%20q", "HMAC-SHA1", b"SKTEST");
    sent.query = sent.query.replace("&Plaintext=p%20q", "");
    sent.body = b"Plaintext=p+q".to_vec();
    assert!(
        matches!(verify(&sent), Err(AuthError::Malformed(_))),
        "no form"
    );
    let mut sent = sent.with(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    );
    let Call::Alibaba { parameters, .. } = verify(&sent).unwrap().into_call() else {
        panic!("another cloud's");
    };
    assert_eq!(parameters.get("Plaintext"), Some("p q"));
    sent.body = b"Plaintext=p+r".to_vec();
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn v1_has_hmac_sha1_and_hmac_sha256_and_nothing_else() {
    for method in ["HMAC-SHA1", "HMAC-SHA256"] {
        let sent = v1_request("Plaintext=p", method, b"SKTEST");
        assert!(verify(&sent).is_ok(), "{method}");
        assert_eq!(
            verify(&v1_request("Plaintext=p", method, b"other")).unwrap_err(),
            AuthError::Mismatch
        );
    }
    for method in ["SHA256withRSA", "BEARERTOKEN", "HMAC-MD5", "", "hmac-sha1"] {
        let sent = v1_request("Plaintext=p", method, b"SKTEST");
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Scheme, "{method}");
    }
}

#[test]
fn each_parameter_of_the_v1_signature_is_needed() {
    for (part, without) in [
        ("Action=Encrypt&", ""),
        ("Version=2016-01-20&", ""),
        ("&SignatureNonce=n1", ""),
        ("&SignatureNonce=n1", "&SignatureNonce="),
        ("&SignatureMethod=HMAC-SHA1", ""),
        ("&SignatureVersion=1.0", ""),
        ("&SignatureVersion=1.0", "&SignatureVersion=2.0"),
        ("&AccessKeyId=AKTEST", ""),
        ("&Timestamp=2026-11-22T11%3A26%3A37Z", ""),
    ] {
        let sent = v1_request("Plaintext=p", "HMAC-SHA1", b"SKTEST").replaced(part, without);
        assert!(
            matches!(verify(&sent), Err(AuthError::Incomplete(_))),
            "{part}"
        );
    }
    let sent = v1_request("Plaintext=p", "HMAC-SHA1", b"SKTEST");
    let time = sent.clone().replaced("11%3A26%3A37Z", "soon");
    assert_eq!(verify(&time).unwrap_err(), AuthError::TimeMalformed);
    let base64 = sent.replaced("Signature=", "Signature=*");
    assert!(matches!(verify(&base64), Err(AuthError::Incomplete(_))));
}

#[test]
fn a_request_without_signature_is_refused() {
    for line in [
        "POST / HTTP/1.1",
        "GET /?Action=ListKeys&AccessKeyId=AKTEST HTTP/1.1",
    ] {
        let sent = Sent::of(&format!("{line}\nhost: kms"));
        assert_eq!(verify(&sent).unwrap_err(), AuthError::NotSigned);
    }
}

#[test]
fn other_schemes_are_refused() {
    let headers = "SignedHeaders=accept;content-type;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version";
    for text in [
        "Basic QTpC".to_owned(),
        "Bearer x".to_owned(),
        format!("ACS2-HMAC Credential=A,{headers},Signature=00"),
        format!("ACS3-RSA-SHA256 Credential=A,{headers},Signature=00"),
    ] {
        let mut sent = Sent::of(ACS3);
        sent.header("authorization").clone_from(&text);
        assert_eq!(verify(&sent).unwrap_err(), AuthError::Scheme, "{text}");
    }
}

#[test]
fn security_tokens_are_refused_as_none_was_given_out() {
    let sent = Sent::of(V1_OF_NEW_SDK_STS);
    assert_eq!(verify(&sent).unwrap_err(), AuthError::SecurityToken);
    let sent = Sent::of(ACS3)
        .with("x-acs-security-token", "STS1")
        .replaced("x-acs-date;", "x-acs-date;x-acs-security-token;");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::SecurityToken);
}

#[test]
fn the_scope_of_acs4_is_the_request_s_day_and_kms() {
    for (from, to) in [
        ("/20261122/", "/20261121/"),
        ("/Kms/", "/Ecs/"),
        ("/aliyun_v4_request", "/aliyun_v3_request"),
        ("AKTEST/2026", "/2026"),
        ("/cn-local/Kms", "/Kms"),
        ("/cn-local/Kms", "/a/b/Kms"),
    ] {
        let sent = Sent::of(ACS4).replaced(from, to);
        assert!(
            matches!(verify(&sent), Err(AuthError::Incomplete(_))),
            "{to}"
        );
    }
    let sent = Sent::of(ACS4).replaced("/cn-local/", "/cn-other/");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn one_algorithm_s_signature_is_not_another_s() {
    let sent = Sent::of(ACS3).replaced(
        "ACS3-HMAC-SHA256 Credential=AKTEST",
        "ACS4-HMAC-SHA256 Credential=AKTEST/20261122/cn-local/Kms/aliyun_v4_request",
    );
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn a_shortened_or_changed_signature_is_refused() {
    for text in [ACS3, ACS4] {
        let mut short = Sent::of(text);
        let header = short.header("authorization");
        header.truncate(header.len() - 2);
        assert_eq!(verify(&short).unwrap_err(), AuthError::Mismatch);
        let mut empty = Sent::of(text);
        let header = empty.header("authorization");
        header.truncate(header.find("Signature=").unwrap() + 10);
        assert_eq!(verify(&empty).unwrap_err(), AuthError::Mismatch);
    }
    let sent = Sent::of(V1).replaced("RC8lH%2BeRzeB15sS%2F0WBxLe%2Fus4o%3D", "");
    assert_eq!(verify(&sent).unwrap_err(), AuthError::Mismatch);
}

#[test]
fn the_action_of_v1_is_the_signed_one_whatever_the_header_says() {
    let mut sent = Sent::of(V1);
    *sent.header("x-acs-action") = "ScheduleKeyDeletion".to_owned();
    let Call::Alibaba { action, .. } = verify(&sent).unwrap().into_call() else {
        panic!("another cloud's");
    };
    assert_eq!(action, "GenerateDataKey");
}

//! Alibaba Cloud's request signature, version 3 (ACS3-HMAC-SHA256).
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>
//!
//! Pure functions: the tests hold them against requests that the public SDK sent, and against its signer.

use zeroize::Zeroizing;

use crate::keys::percent;
use crate::keys::service::digest;

/// The algorithm, as requests name it.
pub(super) const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// A `POST` without a body; its parameters are in its query, and each of its headers is signed.
pub(super) struct ToSign<'a> {
    /// As it stands in the URL.
    pub(super) path: &'a str,
    /// By [`query`].
    pub(super) query: &'a str,
    /// By their names in lower case, each once; `host` and each `x-acs-…` among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
}

/// The parameters as the URL and the signature have them: sorted, and encoded by RFC 3986.
pub(super) fn query(parameters: &[(&str, &str)]) -> Zeroizing<String> {
    let mut parameters = parameters.to_vec();
    parameters.sort_unstable();
    let room = parameters
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()));
    let room = room.sum::<usize>().saturating_mul(3).saturating_add(64);
    let mut query = Zeroizing::new(String::with_capacity(room));
    for (nth, (name, value)) in parameters.iter().enumerate() {
        let encode =
            |text: &str| Zeroizing::new(percent::encode(text.as_bytes(), percent::is_unreserved));
        query.push_str(if nth == 0 { "" } else { "&" });
        query.push_str(&encode(name));
        query.push('=');
        query.push_str(&encode(value));
    }
    query
}

/// The `authorization` header.
pub(super) fn authorization(request: &ToSign<'_>, id: &str, secret: &[u8]) -> String {
    let mut headers = request.headers.to_vec();
    headers.sort_unstable();
    let names: Vec<_> = headers.iter().map(|(name, _value)| *name).collect();
    let names = names.join(";");
    let canonical = canonical_request(request, &headers, &names);
    let to_sign = format!("{ALGORITHM}\n{}", digest::sha256_hex(canonical.as_bytes()));
    let signature = digest::hmac_hex(secret, to_sign.as_bytes());
    format!("{ALGORITHM} Credential={id},SignedHeaders={names},Signature={signature}")
}

/// It holds the security token, and for Encrypt the data key.
fn canonical_request(
    request: &ToSign<'_>,
    headers: &[(&str, &str)],
    names: &str,
) -> Zeroizing<String> {
    let len = headers
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()));
    let len = len.sum::<usize>().saturating_add(request.query.len());
    let mut text = Zeroizing::new(String::with_capacity(
        len.saturating_mul(2).saturating_add(512),
    ));
    text.extend(["POST\n", request.path, "\n", request.query, "\n"]);
    for (name, value) in headers {
        text.extend([name, ":", value.trim(), "\n"]);
    }
    text.extend(["\n", names, "\n", &digest::sha256_hex(b"")]);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::service::python;

    /// Recorded from the public SDK (alibabacloud_kms20160120 3.3.1 for Python) with the access key
    /// AKTEST and the secret SKTEST.
    const RECORDED_QUERY: &str = "EncryptionContext=%7B%22path%22%3A%22%2Fa%20b%22%2C%22n%22%3A%22%E4%B8%AD%22%7D&KeyId=alias%2FApollo%2FWorkKey&KeySpec=AES_256";
    const RECORDED_HEADERS: [(&str, &str); 10] = [
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
    ];
    const RECORDED: &str = "ACS3-HMAC-SHA256 Credential=AKTEST,SignedHeaders=accept;content-type;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature=19f98d8447f82a1c1d1b79ef35ff31f044ed7de017d8e52a84ff07c45dd3216c";

    #[test]
    fn a_recorded_request_has_the_sdk_s_signature() {
        let query = query(&[
            ("KeySpec", "AES_256"),
            ("KeyId", "alias/Apollo/WorkKey"),
            ("EncryptionContext", "{\"path\":\"/a b\",\"n\":\"中\"}"),
        ]);
        assert_eq!(*query, RECORDED_QUERY);
        let request = ToSign {
            path: "/",
            query: &query,
            headers: &RECORDED_HEADERS,
        };
        assert_eq!(authorization(&request, "AKTEST", b"SKTEST"), RECORDED);
        assert_ne!(authorization(&request, "AKTEST", b"SKTESU"), RECORDED);
    }

    const SDK: &str = "
import json, sys
from types import SimpleNamespace
from alibabacloud_tea_openapi.utils import Utils
EMPTY = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
for case in json.load(sys.stdin):
    request = SimpleNamespace(method='POST', pathname='/', query=dict(case['query']), headers=dict(case['headers']))
    print(Utils.get_authorization(request, 'ACS3-HMAC-SHA256', EMPTY, case['id'], case['secret']))
";

    type Case = (Vec<(String, String)>, String, String, String);

    fn ours((parameters, token, nonce, secret): &Case) -> (Value, String) {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let headers = [
            ("host", "kms.example:8443"),
            ("x-acs-action", "Decrypt"),
            ("x-acs-security-token", token.as_str()),
            ("x-acs-signature-nonce", nonce),
        ];
        let case = json!({"query": parameters, "headers": headers, "id": "AK", "secret": secret});
        let request = ToSign {
            path: "/",
            query: &query(&parameters),
            headers: &headers,
        };
        (case, authorization(&request, "AK", secret.as_bytes()))
    }

    #[test]
    fn the_sdk_s_own_signer_agrees() {
        let parameters = proptest::collection::btree_map("[A-Z][A-Za-z.]{0,12}", ".{0,40}", 0..6);
        let cases = (parameters, "[!-~]{1,400}", "[0-9a-f]{32}", "[!-~]{1,80}");
        let mut runner = TestRunner::deterministic();
        let (cases, ours): (Vec<_>, Vec<_>) = (0..400)
            .map(|_nth| {
                let (parameters, token, nonce, secret) =
                    cases.new_tree(&mut runner).unwrap().current();
                ours(&(parameters.into_iter().collect(), token, nonce, secret))
            })
            .unzip();
        let theirs = python::run(SDK, &Value::from(cases.clone()).to_string());
        assert_eq!(theirs.lines().count(), ours.len());
        for ((case, ours), theirs) in cases.iter().zip(&ours).zip(theirs.lines()) {
            assert_eq!(ours, theirs, "{case}");
        }
    }
}

//! AWS Signature Version 4, as services other than S3 have it.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Pure functions, and the time is said: the tests hold them against the signer of the public SDK.

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::keys::percent;
use crate::keys::service::{clock, digest};

/// The algorithm, as requests name it.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A `POST` without a query; each of its headers is signed.
pub(super) struct ToSign<'a> {
    /// As it stands in the URL.
    pub(super) path: &'a str,
    /// By their names in lower case, each once; `host` and `x-amz-date` among them.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// Who signs, for what.
pub(crate) struct Signer<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a [u8],
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// The `authorization` header of a request whose `x-amz-date` is `now`.
pub(super) fn authorization(request: &ToSign<'_>, signer: &Signer<'_>, now: Timestamp) -> String {
    let date = clock::basic(now);
    let scope = scope(&date, signer);
    let to_sign = string_to_sign(&canonical_request(request), &date, &scope);
    let key = signing_key(&date, signer);
    format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
        signer.id,
        names(&sorted(request.headers)),
        digest::hmac_hex(&*key, to_sign.as_bytes())
    )
}

/// It holds the session token.
fn canonical_request(request: &ToSign<'_>) -> Zeroizing<String> {
    let headers = sorted(request.headers);
    let path = canonical_path(request.path);
    let len = headers
        .iter()
        .map(|(name, value)| name.len().saturating_add(value.len()));
    let room = len.sum::<usize>().saturating_mul(2).saturating_add(512);
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.extend(["POST\n", path.as_str(), "\n\n"]);
    for (name, value) in &headers {
        text.extend([name, ":"]);
        for (nth, word) in value.split_whitespace().enumerate() {
            text.extend([if nth == 0 { "" } else { " " }, word]);
        }
        text.push('\n');
    }
    text.extend([
        "\n",
        &names(&headers),
        "\n",
        &digest::sha256_hex(request.body),
    ]);
    text
}

/// What is signed with the key of [`signing_key`]: `date` is the request's `x-amz-date`.
pub(crate) fn string_to_sign(canonical: &str, date: &str, scope: &str) -> String {
    let digest = digest::sha256_hex(canonical.as_bytes());
    format!("{ALGORITHM}\n{date}\n{scope}\n{digest}")
}

/// The key of a day, a region and a service.
pub(crate) fn signing_key(date: &str, signer: &Signer<'_>) -> Zeroizing<[u8; digest::LEN]> {
    let mut first = Zeroizing::new(Vec::with_capacity(signer.secret.len().saturating_add(4)));
    first.extend_from_slice(b"AWS4");
    first.extend_from_slice(signer.secret);
    let mut key = digest::hmac(&first, day(date).as_bytes());
    for part in [signer.region, signer.service, "aws4_request"] {
        key = digest::hmac(&*key, part.as_bytes());
    }
    key
}

/// What a signing key is for.
pub(crate) fn scope(date: &str, signer: &Signer<'_>) -> String {
    let (day, region, service) = (day(date), signer.region, signer.service);
    format!("{day}/{region}/{service}/aws4_request")
}

/// `20260131` of `20260131T235959Z`.
pub(crate) fn day(date: &str) -> &str {
    date.split('T').next().unwrap_or_default()
}

/// The path without empty segments, percent-encoded once more than in the URL.
pub(crate) fn canonical_path(path: &str) -> String {
    let segments: Vec<_> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let end = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    percent::encode(format!("/{}{end}", segments.join("/")).as_bytes(), is_plain)
}

fn sorted<'a>(headers: &'a [(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = headers.to_vec();
    headers.sort_unstable();
    headers
}

fn names(headers: &[(&str, &str)]) -> String {
    let names: Vec<_> = headers.iter().map(|(name, _value)| *name).collect();
    names.join(";")
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use serde_json::{Value, json};

    use super::*;
    use crate::keys::service::python;

    /// Signs each request of standard input, and prints one `authorization` a line.
    const BOTOCORE: &str = "
import base64, datetime, json, sys
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
for case in json.load(sys.stdin):
    now = datetime.datetime.strptime(case['date'], '%Y%m%dT%H%M%SZ')
    botocore.auth.get_current_datetime = lambda now=now: now
    headers = {name: value for name, value in case['headers'] if name not in ('x-amz-date', 'x-amz-security-token')}
    body = base64.b64decode(case['body'])
    request = AWSRequest('POST', 'https://kms.example' + case['path'], data=body, headers=headers)
    credentials = Credentials(case['id'], case['secret'], case['token'])
    botocore.auth.SigV4Auth(credentials, case['service'], case['region']).add_auth(request)
    print(request.headers['Authorization'])
";

    #[derive(Debug)]
    struct Case {
        second: i64,
        path: String,
        target: String,
        body: Vec<u8>,
        secret: String,
        token: Option<String>,
        region: String,
    }

    impl Case {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.second).unwrap()
        }

        fn headers(&self) -> Vec<(&str, String)> {
            let mut headers = vec![
                ("host", "kms.example:8443".to_owned()),
                ("x-amz-date", clock::basic(self.now())),
                ("content-type", "application/x-amz-json-1.1".to_owned()),
                ("x-amz-target", self.target.clone()),
            ];
            headers.extend(
                self.token
                    .clone()
                    .map(|token| ("x-amz-security-token", token)),
            );
            headers
        }

        fn ours(&self) -> String {
            let headers = self.headers();
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let request = ToSign {
                path: &self.path,
                headers: &headers,
                body: &self.body,
            };
            let signer = Signer {
                id: "AKIDEXAMPLE",
                secret: self.secret.as_bytes(),
                region: &self.region,
                service: "kms",
            };
            authorization(&request, &signer, self.now())
        }

        fn to_json(&self) -> Value {
            json!({
                "date": clock::basic(self.now()),
                "path": self.path,
                "headers": self.headers(),
                "body": BASE64.encode(&self.body),
                "id": "AKIDEXAMPLE",
                "secret": self.secret,
                "token": self.token,
                "region": self.region,
                "service": "kms",
            })
        }
    }

    fn case() -> impl Strategy<Value = Case> {
        (
            0..4_000_000_000_i64,
            r"/|(/[A-Za-z0-9._~!$&'()*+,;=:@-]{1,5}|/%[0-9A-F]{2}|/){1,4}",
            r"[ -~]{0,30}",
            proptest::collection::vec(any::<u8>(), 0..200),
            r"[A-Za-z0-9/+=]{1,130}",
            proptest::option::of(r"[A-Za-z0-9/+=._-]{1,600}"),
            r"[a-z0-9][a-z0-9-]{0,20}",
        )
            .prop_map(|(second, path, target, body, secret, token, region)| Case {
                second,
                path,
                target,
                body,
                secret,
                token,
                region,
            })
            .prop_filter("a URL resolves these", |case| {
                !case.path.split('/').any(|part| matches!(part, "." | ".."))
            })
    }

    #[test]
    fn the_sdk_s_own_signer_agrees() {
        let mut runner = TestRunner::deterministic();
        let mut cases: Vec<_> = (0..600)
            .map(|_nth| case().new_tree(&mut runner).unwrap().current())
            .collect();
        let plain = |body: Vec<u8>| Case {
            second: 1_800_000_000,
            path: "/".to_owned(),
            target: "TrentService.Decrypt".to_owned(),
            body,
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: None,
            region: "eu-central-1".to_owned(),
        };
        cases.extend([plain(Vec::new()), plain(vec![b'x'; 1 << 20])]);
        let input: Vec<_> = cases.iter().map(Case::to_json).collect();
        let theirs = python::run(BOTOCORE, &Value::from(input).to_string());
        assert_eq!(theirs.lines().count(), cases.len());
        for (case, theirs) in cases.iter().zip(theirs.lines()) {
            assert_eq!(case.ours(), theirs, "{case:?}");
        }
    }

    /// From AWS's documentation of the derivation of a signing key.
    #[test]
    fn the_signing_key_is_the_published_one() {
        let signer = Signer {
            id: "",
            secret: b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
            service: "iam",
        };
        let key = signing_key("20120215T000000Z", &signer);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&*key),
            "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
        );
    }

    #[test]
    fn every_part_of_a_request_is_signed() {
        let mut runner = TestRunner::deterministic();
        let mut case = case().new_tree(&mut runner).unwrap().current();
        case.token = Some("token".to_owned());
        let before = case.ours();
        let changes: [fn(&mut Case); 6] = [
            |case| case.second += 1,
            |case| case.path.push('x'),
            |case| case.target.push('x'),
            |case| case.body.push(0),
            |case| case.secret.push('x'),
            |case| case.token = Some("other".to_owned()),
        ];
        for change in changes {
            change(&mut case);
            assert_ne!(case.ours(), before);
            case = Case { ..case };
        }
    }
}

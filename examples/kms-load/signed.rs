//! Requests to key services, signed as clients of both clouds do: whole, as they go over the wire.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use jiff::Timestamp;

const REGION: &str = "local";

/// An access key, and the server that requests are for.
#[derive(Clone)]
pub(crate) struct Signer {
    /// HOST:PORT.
    pub(crate) host: String,
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    pub(crate) fn aws(&self, operation: &str, body: &str) -> Vec<u8> {
        let date = now("%Y%m%dT%H%M%SZ");
        let day = &date[..8];
        let headers = [
            // In place of a nonce, which SigV4 has none of: two equal requests of one second have one signature.
            ("amz-sdk-invocation-id", &nonce()),
            ("content-type", &"application/x-amz-json-1.1".to_owned()),
            ("host", &self.host),
            ("x-amz-date", &date),
            ("x-amz-target", &format!("TrentService.{operation}")),
        ];
        let (signed, canonical) = canonical("", &headers, body);
        let scope = format!("{day}/{REGION}/kms/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = [day, REGION, "kms", "aws4_request"]
            .iter()
            .fold(first, |key, part| hmac(&key, part));
        let signature = HEXLOWER.encode(&hmac(&key, &to_sign));
        let id = &self.id;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        written("/", &headers, body)
    }

    /// <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>
    pub(crate) fn alibaba(&self, action: &str, query: &str) -> Vec<u8> {
        let headers = [
            ("host", &self.host),
            ("x-acs-action", &action.to_owned()),
            ("x-acs-content-sha256", &sha256("")),
            ("x-acs-date", &now("%Y-%m-%dT%H:%M:%SZ")),
            ("x-acs-signature-nonce", &nonce()),
            ("x-acs-version", &"2016-01-20".to_owned()),
        ];
        let (signed, canonical) = canonical(query, &headers, "");
        let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256(&canonical));
        let signature = HEXLOWER.encode(&hmac(self.secret.as_bytes(), &to_sign));
        let id = &self.id;
        let authorization = format!(
            "ACS3-HMAC-SHA256 Credential={id},SignedHeaders={signed},Signature={signature}"
        );
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        written(&format!("/?{query}"), &headers, "")
    }
}

/// The names of the headers, which come sorted, and the canonical request: both clouds' are alike.
fn canonical(query: &str, headers: &[(&str, &String)], body: &str) -> (String, String) {
    let names: Vec<_> = headers.iter().map(|(name, _value)| *name).collect();
    let signed = names.join(";");
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let hash = sha256(body);
    let canonical = format!("POST\n/\n{query}\n{lines}\n{signed}\n{hash}");
    (signed, canonical)
}

pub(crate) fn written(target: &str, headers: &[(&str, &String)], body: &str) -> Vec<u8> {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let len = body.len();
    format!("POST {target} HTTP/1.1\r\n{lines}content-length: {len}\r\n\r\n{body}").into_bytes()
}

fn now(format: &str) -> String {
    Timestamp::now().strftime(format).to_string()
}

fn nonce() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).unwrap();
    HEXLOWER.encode(&bytes)
}

fn sha256(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let tag = sign(&Key::new(HMAC_SHA256, key), text.as_bytes());
    tag.as_ref().to_vec()
}

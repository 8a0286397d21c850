//! Requests for data keys, and to have them decrypted, in the dialects that are compared: whole, signed, each once.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Arguments;
use super::client::Connection;

/// Ciphertexts that are decrypted in turns.
const CIPHERTEXTS: usize = 64;
const REGION: &str = "local";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// Alibaba Cloud KMS, ACS3-HMAC-SHA256.
    Alibaba,
    /// AWS KMS, SigV4.
    Aws,
    /// OpenBao Transit, whose requests have a token and no signature.
    Bao,
}

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Ring {
    dialect: Dialect,
    host: String,
    key: String,
    access_key: String,
    secret: String,
    ciphertexts: Vec<String>,
}

impl Ring {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            dialect: arguments.dialect,
            host: arguments.address.clone(),
            key: arguments.key.clone(),
            access_key: variable("AWS_ACCESS_KEY_ID"),
            secret: match arguments.dialect {
                Dialect::Bao => variable("BAO_TOKEN"),
                Dialect::Alibaba | Dialect::Aws => variable("AWS_SECRET_ACCESS_KEY"),
            },
            ciphertexts: Vec::new(),
        }
    }

    /// With ciphertexts of the server's own.
    pub(crate) async fn with_ciphertexts(mut self, connection: &mut Connection) -> Self {
        for _ in 0..CIPHERTEXTS {
            let answer = connection.ask(&self.generate()).await;
            let answer: Value = serde_json::from_slice(answer).unwrap();
            let ciphertext = match self.dialect {
                Dialect::Bao => &answer["data"]["ciphertext"],
                Dialect::Alibaba | Dialect::Aws => &answer["CiphertextBlob"],
            };
            self.ciphertexts
                .push(ciphertext.as_str().unwrap().to_owned());
        }
        self
    }

    /// For a data key and to decrypt one, in turns.
    pub(crate) fn requests(&self, count: usize) -> Vec<Vec<u8>> {
        let requests = (0..count).map(|at| match at % 2 {
            0 => self.generate(),
            _ => self.decrypt(&self.ciphertexts[at / 2 % CIPHERTEXTS]),
        });
        requests.collect()
    }

    fn generate(&self) -> Vec<u8> {
        let alias = format!("alias/{}", self.key);
        match self.dialect {
            Dialect::Aws => {
                let body = json!({"KeyId": alias, "KeySpec": "AES_256"});
                self.aws("GenerateDataKey", &body.to_string())
            }
            Dialect::Alibaba => {
                let query = format!("KeyId={}&KeySpec=AES_256", escaped(&alias));
                self.alibaba("GenerateDataKey", &query)
            }
            Dialect::Bao => self.bao("datakey/plaintext", "{}"),
        }
    }

    fn decrypt(&self, ciphertext: &str) -> Vec<u8> {
        match self.dialect {
            Dialect::Aws => {
                let body = json!({"CiphertextBlob": ciphertext});
                self.aws("Decrypt", &body.to_string())
            }
            Dialect::Alibaba => {
                let query = format!("CiphertextBlob={}", escaped(ciphertext));
                self.alibaba("Decrypt", &query)
            }
            Dialect::Bao => {
                let body = json!({"ciphertext": ciphertext});
                self.bao("decrypt", &body.to_string())
            }
        }
    }

    fn bao(&self, operation: &str, body: &str) -> Vec<u8> {
        let headers = [("host", &self.host), ("x-vault-token", &self.secret)];
        let target = format!("/v1/transit/{operation}/{}", self.key);
        written(&target, &headers, body)
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
    fn aws(&self, operation: &str, body: &str) -> Vec<u8> {
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
        let id = &self.access_key;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        written("/", &headers, body)
    }

    /// <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>
    fn alibaba(&self, action: &str, query: &str) -> Vec<u8> {
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
        let id = &self.access_key;
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

fn written(target: &str, headers: &[(&str, &String)], body: &str) -> Vec<u8> {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let len = body.len();
    format!("POST {target} HTTP/1.1\r\n{lines}content-length: {len}\r\n\r\n{body}").into_bytes()
}

fn now(format: &str) -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    now.strftime(format).to_string()
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

/// RFC 3986: all but the unreserved characters.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

//! Requests for data keys, and to have them decrypted, in the dialects that are compared: whole, signed, each once.

use serde_json::{Value, json};

use super::Arguments;
use super::client::Connection;
use super::signed::{Signer, written};

/// Ciphertexts that are decrypted in turns.
const CIPHERTEXTS: usize = 64;

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
    key: String,
    signer: Signer,
    ciphertexts: Vec<String>,
}

impl Ring {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            dialect: arguments.dialect,
            key: arguments.key.clone(),
            signer: Signer {
                host: arguments.address.clone(),
                id: variable("AWS_ACCESS_KEY_ID"),
                secret: match arguments.dialect {
                    Dialect::Bao => variable("BAO_TOKEN"),
                    Dialect::Alibaba | Dialect::Aws => variable("AWS_SECRET_ACCESS_KEY"),
                },
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
                self.signer.aws("GenerateDataKey", &body.to_string())
            }
            Dialect::Alibaba => {
                let query = format!("KeyId={}&KeySpec=AES_256", escaped(&alias));
                self.signer.alibaba("GenerateDataKey", &query)
            }
            Dialect::Bao => self.bao("datakey/plaintext", "{}"),
        }
    }

    fn decrypt(&self, ciphertext: &str) -> Vec<u8> {
        match self.dialect {
            Dialect::Aws => {
                let body = json!({"CiphertextBlob": ciphertext});
                self.signer.aws("Decrypt", &body.to_string())
            }
            Dialect::Alibaba => {
                let query = format!("CiphertextBlob={}", escaped(ciphertext));
                self.signer.alibaba("Decrypt", &query)
            }
            Dialect::Bao => {
                let body = json!({"ciphertext": ciphertext});
                self.bao("decrypt", &body.to_string())
            }
        }
    }

    fn bao(&self, operation: &str, body: &str) -> Vec<u8> {
        let Signer { host, secret, .. } = &self.signer;
        let headers = [("host", host), ("x-vault-token", secret)];
        let target = format!("/v1/transit/{operation}/{}", self.key);
        written(&target, &headers, body)
    }
}

/// As RFC 3986 has it: all but the unreserved characters.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

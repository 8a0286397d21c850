//! A double of Alibaba Cloud KMS: it checks signatures as the service does, and keeps keys with versions,
//! states and aliases. Ciphertexts are bound to their context, which is not stored in them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use data_encoding::BASE64;
use jiff::SignedDuration;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::acs3::{self, ToSign};
use crate::crypto::random;
use crate::crypto::secret::SecretKey;
use crate::crypto::xaes::XaesKey;
use crate::keys::percent;
use crate::keys::service::clock;
use crate::keys::service::double::{self, Double, Received};

pub(super) const REGION: &str = "cn-hangzhou";
pub(super) const ID: &str = "AKTEST";
pub(super) const SECRET: &str = "SKTEST";
pub(super) const TOKEN: &str = "STS1";

/// What is refused: status, code, message.
type Refused = (u16, &'static str, &'static str);

/// The service's keys, and what it does out of the ordinary.
#[derive(Default)]
pub(super) struct Store {
    pub(super) keys: BTreeMap<String, Key>,
    pub(super) aliases: HashMap<String, String>,
    /// The gateway does not know ReEncrypt.
    pub(super) is_dedicated: bool,
    /// What Decrypt answers over its own answer.
    pub(super) decrypt_says: Value,
    /// The operations that were asked for.
    pub(super) asked: Vec<String>,
    nonces: HashSet<String>,
}

pub(super) struct Key {
    pub(super) state: &'static str,
    /// The last one wraps.
    pub(super) versions: Vec<(String, SecretKey)>,
}

impl Key {
    pub(super) fn rotate(&mut self) {
        let nth = self.versions.len() + 1;
        let id = format!(
            "version-{nth:04}-{:016x}",
            u64::from_be_bytes(random::array())
        );
        self.versions.push((id, SecretKey::random().unwrap()));
    }
}

/// The double.
pub(super) struct AliKms {
    pub(super) server: Double,
    pub(super) store: Arc<Mutex<Store>>,
}

impl AliKms {
    /// With the keys `key-1` and `key-2`, and `alias/files` for the first.
    pub(super) fn start() -> Self {
        let mut store = Store::default();
        for name in ["key-1", "key-2"] {
            let mut key = Key {
                state: "Enabled",
                versions: Vec::new(),
            };
            key.rotate();
            store.keys.insert(name.to_owned(), key);
        }
        store
            .aliases
            .insert("alias/files".to_owned(), "key-1".to_owned());
        let store = Arc::new(Mutex::new(store));
        let shared = Arc::clone(&store);
        let server = Double::start(move |request| shared.lock().answer(request));
        Self { server, store }
    }
}

impl Store {
    fn answer(&mut self, request: &Received) -> Vec<u8> {
        match self.checked(request) {
            Ok(mut body) => {
                body["RequestId"] = json!("r-1");
                double::json(200, &body)
            }
            Err((status, code, message)) => {
                let body = json!({
                    "HttpStatus": status, "Code": code, "Message": message, "RequestId": "r-1",
                });
                double::json(status, &body)
            }
        }
    }

    fn checked(&mut self, request: &Received) -> Result<Value, Refused> {
        let query = request
            .path
            .strip_prefix("/?")
            .expect("parameters in the query");
        self.check_signature(request, query)?;
        let operation = request.header("x-acs-action").unwrap().to_owned();
        let parameters = parameters(query);
        let parameter = |name| {
            let found = parameters.get(name).map(String::as_str);
            found.ok_or((400, "MissingParameter", "The parameter is missing"))
        };
        self.asked.push(operation.clone());
        match operation.as_str() {
            "GenerateDataKey" => {
                assert_eq!(parameter("KeySpec")?, "AES_256");
                let dek = BASE64.encode(&random::array::<32>());
                let context = context(parameter("EncryptionContext")?);
                let mut made = self.seal(parameter("KeyId")?, &dek, &context)?;
                made["Plaintext"] = json!(dek);
                Ok(made)
            }
            "Encrypt" => {
                let context = context(parameter("EncryptionContext")?);
                self.seal(parameter("KeyId")?, parameter("Plaintext")?, &context)
            }
            "Decrypt" => {
                let context = context(parameter("EncryptionContext")?);
                let mut opened = self.open(parameter("CiphertextBlob")?, &context)?;
                for (name, value) in self.decrypt_says.as_object().into_iter().flatten() {
                    opened[name] = value.clone();
                }
                Ok(opened)
            }
            "ReEncrypt" if self.is_dedicated => Err((
                400,
                "Rejected.UnsupportedOperation",
                "This operation is unsupported",
            )),
            "ReEncrypt" => {
                let source = context(parameter("SourceEncryptionContext")?);
                let opened = self.open(parameter("CiphertextBlob")?, &source)?;
                let plaintext = opened["Plaintext"].as_str().unwrap();
                let destination = context(parameter("DestinationEncryptionContext")?);
                self.seal(parameter("DestinationKeyId")?, plaintext, &destination)
            }
            "DescribeKey" => {
                let (id, key) = self.find(parameter("KeyId")?)?;
                Ok(json!({"KeyMetadata": {
                    "KeyId": id, "KeyState": key.state, "KeyUsage": "ENCRYPT/DECRYPT",
                    "PrimaryKeyVersion": key.versions.last().unwrap().0,
                }}))
            }
            _ => Err((404, "InvalidAction.NotFound", "Specified api is not found")),
        }
    }

    fn check_signature(&mut self, request: &Received, query: &str) -> Result<(), Refused> {
        let given = request.header("authorization").unwrap();
        let names = given.split_once("SignedHeaders=").unwrap().1;
        let names: Vec<_> = names.split(',').next().unwrap().split(';').collect();
        let must = request.headers().iter().map(|(name, _value)| name.as_str());
        for name in must.filter(|name| *name == "host" || name.starts_with("x-acs-")) {
            assert!(names.contains(&name), "{name} is not signed");
        }
        let headers: Vec<_> = names
            .iter()
            .map(|name| (*name, request.header(name).unwrap()))
            .collect();
        let to_sign = ToSign {
            path: "/",
            query,
            headers: &headers,
        };
        if request
            .header("x-acs-security-token")
            .is_some_and(|token| token != TOKEN)
        {
            return Err((
                400,
                "InvalidSecurityToken.Expired",
                "Specified SecurityToken is expired",
            ));
        }
        if acs3::authorization(&to_sign, ID, SECRET.as_bytes()) != given {
            return Err((400, "SignatureDoesNotMatch", "The signature does not match"));
        }
        let date = clock::parse(request.header("x-acs-date").unwrap()).unwrap();
        if clock::now().duration_since(date).abs() > SignedDuration::from_mins(15) {
            return Err((400, "InvalidTimeStamp.Expired", "The timestamp is expired"));
        }
        if !self
            .nonces
            .insert(request.header("x-acs-signature-nonce").unwrap().to_owned())
        {
            return Err((400, "SignatureNonceUsed", "The nonce was used"));
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<(&str, &Key), Refused> {
        let id = match self.aliases.get(name) {
            Some(id) => id,
            None if name.starts_with("alias/") => {
                return Err((
                    404,
                    "Forbidden.AliasNotFound",
                    "The specified Alias is not found",
                ));
            }
            None => name,
        };
        let found = self.keys.get_key_value(id);
        let (id, key) = found.ok_or((
            404,
            "Forbidden.KeyNotFound",
            "The specified Key is not found",
        ))?;
        Ok((id, key))
    }

    fn usable(&self, name: &str) -> Result<(&str, &Key), Refused> {
        let (id, key) = self.find(name)?;
        match key.state {
            "Enabled" => Ok((id, key)),
            "Disabled" => Err((409, "Rejected.Disabled", "The request was rejected")),
            "PendingDeletion" => Err((409, "Rejected.PendingDeletion", "The request was rejected")),
            _ => Err((409, "Rejected.PendingImport", "The request was rejected")),
        }
    }

    fn seal(&self, name: &str, plaintext: &str, context: &[u8]) -> Result<Value, Refused> {
        let (id, key) = self.usable(name)?;
        let (version, secret) = key.versions.last().unwrap();
        let head = format!("{id}/{version}:");
        let aad = [head.as_bytes(), context].concat();
        let sealed = XaesKey::new(secret).seal(&aad, plaintext.as_bytes());
        Ok(json!({
            "KeyId": id,
            "KeyVersionId": version,
            "CiphertextBlob": BASE64.encode(&[head.as_bytes(), &sealed].concat()),
        }))
    }

    fn open(&self, blob: &str, context: &[u8]) -> Result<Value, Refused> {
        const INVALID: Refused = (
            400,
            "InvalidParameter",
            "The specified parameter is not valid.",
        );
        let blob = BASE64.decode(blob.as_bytes()).map_err(|_error| INVALID)?;
        let at = blob.iter().position(|byte| *byte == b':').ok_or(INVALID)?;
        let (head, sealed) = blob.split_at(at + 1);
        let named = std::str::from_utf8(&head[..at]).map_err(|_error| INVALID)?;
        let (id, version) = named.split_once('/').ok_or(INVALID)?;
        let (id, key) = self.usable(id)?;
        let mut versions = key.versions.iter();
        let (version, secret) = versions
            .find(|(known, _)| known == version)
            .ok_or(INVALID)?;
        let aad = [head, context].concat();
        let opened = XaesKey::new(secret)
            .open(&aad, sealed)
            .map_err(|_error| INVALID)?;
        let plaintext = String::from_utf8(opened).unwrap();
        Ok(json!({"KeyId": id, "KeyVersionId": version, "Plaintext": plaintext}))
    }
}

fn parameters(query: &str) -> HashMap<String, String> {
    let decode = |text: &str| {
        let bytes = percent::decode(text, percent::is_unreserved).expect("RFC 3986");
        String::from_utf8(bytes).unwrap()
    };
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A context in one order, whatever order it came in.
fn context(json: &str) -> Vec<u8> {
    let context: BTreeMap<String, String> = serde_json::from_str(json).unwrap();
    serde_json::to_vec(&context).unwrap()
}

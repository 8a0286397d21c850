//! A double of Azure Key Vault, its token server and its metadata service, made after their public
//! documents. It wraps in earnest, and is strict where they are: fields, API version, tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use aes_kw::{KeyInit, KwAes256};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::crypto::random;
use crate::keys::service::Endpoint;
use crate::keys::service::double::{Double, Received, answer, json as json_answer};

pub(super) const TENANT: &str = "0a1b2c3d-0000-4000-8000-000000000001";
pub(super) const CLIENT: &str = "0a1b2c3d-0000-4000-8000-000000000002";
pub(super) const SECRET: &str = "s3cr3t~Value/with+signs";
pub(super) const FEDERATED: &str = "eyJ.fed.tok";

/// The services.
pub(super) struct Azure {
    double: Double,
    pub(super) state: Arc<State>,
}

/// What an administrator can change.
pub(super) struct State {
    pub(super) key: Mutex<Key>,
    pub(super) tokens: Mutex<Vec<String>>,
    /// Answers instead of the vault, where there is something.
    pub(super) instead: Mutex<Option<Vec<u8>>>,
    /// Changes an answer on its way.
    pub(super) tamper: Mutex<Option<fn(&mut Value)>>,
    /// Whether the metadata service knows an identity.
    pub(super) no_identity: Mutex<bool>,
    domain: &'static str,
}

pub(super) struct Key {
    pub(super) versions: Vec<Version>,
    pub(super) kty: &'static str,
    pub(super) deny: bool,
    pub(super) gone: bool,
}

pub(super) struct Version {
    name: String,
    material: Material,
    pub(super) enabled: bool,
}

enum Material {
    Rsa(OaepPublicEncryptingKey, OaepPrivateDecryptingKey),
    Aes(Box<KwAes256>),
}

impl Version {
    fn new(kty: &str) -> Self {
        let material = if kty == "oct-HSM" {
            Material::Aes(Box::new(KwAes256::new(&random::array::<32>().into())))
        } else {
            let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
            let public = OaepPublicEncryptingKey::new(private.public_key()).unwrap();
            Material::Rsa(public, OaepPrivateDecryptingKey::new(private).unwrap())
        };
        Self {
            name: HEXLOWER.encode(&random::array::<16>()),
            material,
            enabled: true,
        }
    }

    fn alg(&self) -> &'static str {
        match self.material {
            Material::Rsa(..) => "RSA-OAEP-256",
            Material::Aes(_) => "A256KW",
        }
    }

    fn wrap(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.material {
            Material::Rsa(public, _) => {
                let mut out = vec![0; public.ciphertext_size()];
                public
                    .encrypt(&OAEP_SHA256_MGF1SHA256, bytes, &mut out, None)
                    .unwrap()
                    .to_vec()
            }
            Material::Aes(key) => {
                let mut out = vec![0; bytes.len() + 8];
                key.wrap_key(bytes, &mut out).unwrap().to_vec()
            }
        }
    }

    fn unwrap(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        match &self.material {
            Material::Rsa(_, private) => {
                let mut out = vec![0; private.min_output_size()];
                Some(
                    private
                        .decrypt(&OAEP_SHA256_MGF1SHA256, bytes, &mut out, None)
                        .ok()?
                        .to_vec(),
                )
            }
            Material::Aes(key) => {
                let mut out = vec![0; bytes.len()];
                Some(key.unwrap_key(bytes, &mut out).ok()?.to_vec())
            }
        }
    }
}

impl Azure {
    pub(super) fn start(kty: &'static str) -> Self {
        let state = Arc::new(State {
            key: Mutex::new(Key {
                versions: vec![Version::new(kty)],
                kty,
                deny: false,
                gone: false,
            }),
            tokens: Mutex::default(),
            instead: Mutex::default(),
            tamper: Mutex::default(),
            no_identity: Mutex::default(),
            domain: if kty == "oct-HSM" {
                "managedhsm.azure.net"
            } else {
                "vault.azure.net"
            },
        });
        let shared = Arc::clone(&state);
        let double = Double::start(move |request| shared.serve(request));
        Self { double, state }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.double.endpoint()
    }

    pub(super) fn calls(&self) -> usize {
        self.double.calls()
    }

    pub(super) fn rotate(&self) {
        let mut key = self.state.key.lock();
        let version = Version::new(key.kty);
        key.versions.push(version);
    }
}

impl State {
    fn serve(&self, request: &Received) -> Vec<u8> {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let path: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match path.as_slice() {
            [TENANT, "oauth2", "v2.0", "token"] => self.grant(request),
            [_other, "oauth2", "v2.0", "token"] => {
                refusal(400, "invalid_request", "AADSTS90002: Tenant not found.")
            }
            ["metadata", "identity", "oauth2", "token"] => self.metadata(request, query),
            ["keys", rest @ ..] => match &*self.instead.lock() {
                Some(instead) => instead.clone(),
                None => self.keys(request, rest, query),
            },
            _ => answer(404, &[], b""),
        }
    }

    fn new_token(&self) -> String {
        let token = format!("eyJ.{}", BASE64URL_NOPAD.encode(&random::array::<12>()));
        self.tokens.lock().push(token.clone());
        token
    }

    fn grant(&self, request: &Received) -> Vec<u8> {
        let fields: BTreeMap<_, _> = form(&request.body);
        let field = |name: &str| fields.get(name).map(String::as_str);
        let scope = format!("https://{}/.default", self.domain);
        let right = request.header("content-type") == Some("application/x-www-form-urlencoded")
            && field("grant_type") == Some("client_credentials")
            && field("scope") == Some(&scope);
        if !right {
            return refusal(
                400,
                "invalid_request",
                "AADSTS900144: The request body must contain the following parameter: 'grant_type'.",
            );
        }
        let assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        if field("client_id") != Some(CLIENT) {
            return refusal(
                400,
                "unauthorized_client",
                "AADSTS700016: Application was not found in the directory.",
            );
        }
        match (
            field("client_secret"),
            field("client_assertion_type"),
            field("client_assertion"),
        ) {
            (Some(SECRET), None, None) | (None, Some(_), Some(FEDERATED))
                if field("client_assertion_type").is_none_or(|kind| kind == assertion) => {}
            (None, Some(_), Some("ended")) => {
                return refusal(
                    401,
                    "invalid_client",
                    "AADSTS700024: Client assertion is not within its valid time range. Current time: 2026, expiry time of assertion 2025.",
                );
            }
            _ => {
                return refusal(
                    401,
                    "invalid_client",
                    "AADSTS7000215: Invalid client secret provided.",
                );
            }
        }
        json_answer(
            200,
            &json!({
                "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": self.new_token(),
            }),
        )
    }

    fn metadata(&self, request: &Received, query: &str) -> Vec<u8> {
        if request.header("metadata") != Some("true") {
            return refusal(
                400,
                "invalid_request",
                "Required metadata header not specified",
            );
        }
        let fields = form(query.as_bytes());
        if fields.get("api-version").map(String::as_str) != Some("2018-02-01") {
            return refusal(400, "invalid_request", "api-version is missing");
        }
        if *self.no_identity.lock() {
            return refusal(400, "invalid_request", "Identity not found");
        }
        assert_eq!(fields["resource"], format!("https://{}", self.domain));
        json_answer(
            200,
            &json!({
                "access_token": self.new_token(), "client_id": CLIENT, "expires_in": "86399",
                "expires_on": "1795700000", "resource": fields["resource"], "token_type": "Bearer",
            }),
        )
    }

    fn keys(&self, request: &Received, path: &[&str], query: &str) -> Vec<u8> {
        let bearer = request
            .header("authorization")
            .and_then(|text| text.strip_prefix("Bearer "));
        if !bearer.is_some_and(|token| self.tokens.lock().iter().any(|good| good == token)) {
            let message = "AKV10000: Request is missing a Bearer or PoP token.";
            return failure(401, "Unauthorized", message, None);
        }
        if query != "api-version=7.6" {
            return failure(
                400,
                "BadParameter",
                "The api-version is not supported.",
                None,
            );
        }
        let key = self.key.lock();
        if key.deny {
            let message = "Caller is not authorized to perform action on resource.";
            return failure(403, "Forbidden", message, Some("ForbiddenByRbac"));
        }
        if key.gone || path.first() != Some(&"files") {
            let message = "A key with (name/id) files was not found in this key vault.";
            return failure(404, "KeyNotFound", message, None);
        }
        let result = match (request.method.as_str(), path) {
            ("GET", [_name]) => Ok(self.bundle(&key)),
            ("POST", [_name, version, operation]) => {
                self.operate(&key, request, version, operation)
            }
            _ => Err(answer(405, &[], b"")),
        };
        match result {
            Ok(mut body) => {
                if let Some(tamper) = *self.tamper.lock() {
                    tamper(&mut body);
                }
                let body = body.to_string();
                answer(200, &[("x-ms-request-id", "req-2")], body.as_bytes())
            }
            Err(failure) => failure,
        }
    }

    fn kid(&self, version: &Version) -> String {
        format!("https://ada-kv.{}/keys/files/{}", self.domain, version.name)
    }

    fn bundle(&self, key: &Key) -> Value {
        let version = key.versions.last().unwrap();
        json!({
            "key": {"kid": self.kid(version), "kty": key.kty, "key_ops": ["wrapKey", "unwrapKey"]},
            "attributes": {"enabled": version.enabled, "created": 1, "updated": 1, "recoveryLevel": "Recoverable"},
        })
    }

    fn operate(
        &self,
        key: &Key,
        request: &Received,
        version: &str,
        operation: &str,
    ) -> Result<Value, Vec<u8>> {
        let bad = |message: &str| failure(400, "BadParameter", message, None);
        let Some(version) = key.versions.iter().find(|known| known.name == version) else {
            return Err(failure(
                404,
                "KeyNotFound",
                "A key with that version was not found.",
                None,
            ));
        };
        if request.header("content-type") != Some("application/json") {
            return Err(failure(415, "UnsupportedMediaType", "Content-Type", None));
        }
        let body = request.json();
        let fields: Vec<_> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        if fields != ["alg", "value"] {
            return Err(bad("Unknown property"));
        }
        if body["alg"] != version.alg() {
            return Err(bad("Key and signing key algorithm are incompatible."));
        }
        let value = body["value"]
            .as_str()
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let value = value.ok_or_else(|| bad("Content of 'value' is not base64url."))?;
        let result = match operation {
            // As the service does, also where the key is disabled.
            "wrapkey" => version.wrap(&value),
            "unwrapkey" if !version.enabled => {
                let message = "Operation unwrapKey is not allowed on a disabled key.";
                return Err(failure(403, "Forbidden", message, Some("KeyDisabled")));
            }
            "unwrapkey" => version
                .unwrap(&value)
                .ok_or_else(|| bad("Error occurred while decoding OAEP padding."))?,
            _ => return Err(answer(405, &[], b"")),
        };
        Ok(json!({"kid": self.kid(version), "value": BASE64URL_NOPAD.encode(&result)}))
    }
}

fn refusal(status: u16, error: &str, description: &str) -> Vec<u8> {
    json_answer(
        status,
        &json!({"error": error, "error_description": description, "error_codes": [1]}),
    )
}

pub(super) fn failure(status: u16, code: &str, message: &str, inner: Option<&str>) -> Vec<u8> {
    let mut error = json!({"code": code, "message": message});
    if let Some(inner) = inner {
        error["innererror"] = json!({"code": inner});
    }
    let body = json!({ "error": error }).to_string();
    answer(
        status,
        &[("x-ms-request-id", "req-1"), ("retry-after", "3")],
        body.as_bytes(),
    )
}

fn form(text: &[u8]) -> BTreeMap<String, String> {
    let pairs =
        reqwest::Url::parse(&format!("http://x/?{}", std::str::from_utf8(text).unwrap())).unwrap();
    pairs.query_pairs().into_owned().collect()
}

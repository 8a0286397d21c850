//! A double of Google Cloud KMS, its token server and its metadata service, made after their public
//! documents. It encrypts in earnest, and is strict where they are: fields, types, checksums, tokens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::crypto::random;
use crate::keys::service::Endpoint;
use crate::keys::service::double::{Double, Received, answer, json as json_answer};

pub(super) const KEY: &str = "projects/ada-1/locations/europe-west3/keyRings/ring/cryptoKeys/files";
pub(super) const EMAIL: &str = "mounts@ada-1.iam.gserviceaccount.com";
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The services.
pub(super) struct Google {
    double: Double,
    pub(super) state: Arc<State>,
}

/// What an administrator can change.
pub(super) struct State {
    pub(super) key: Mutex<Key>,
    /// The access tokens that are good; each ask gives a new one.
    pub(super) tokens: Mutex<Vec<String>>,
    /// How far the clock of the server is ahead.
    pub(super) clock_ahead: Mutex<Duration>,
    /// Answers instead of the service or of the metadata service, where there is something.
    pub(super) instead: Mutex<Option<Vec<u8>>>,
    /// Changes an answer on its way.
    pub(super) tamper: Mutex<Option<fn(&mut Value)>>,
    account: RsaKeyPair,
}

#[derive(Default)]
pub(super) struct Key {
    pub(super) versions: Vec<Version>,
    pub(super) deny: bool,
    pub(super) gone: bool,
}

pub(super) struct Version {
    key: LessSafeKey,
    pub(super) state: &'static str,
}

impl Version {
    pub(super) fn new() -> Self {
        let key: [u8; 32] = random::array();
        Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap()),
            state: "ENABLED",
        }
    }
}

impl Google {
    pub(super) fn start() -> Self {
        let state = Arc::new(State {
            key: Mutex::new(Key {
                versions: vec![Version::new()],
                ..Key::default()
            }),
            tokens: Mutex::default(),
            clock_ahead: Mutex::default(),
            instead: Mutex::default(),
            tamper: Mutex::default(),
            account: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
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

    /// The key file of the service account.
    pub(super) fn account_file(&self) -> Value {
        let der: Pkcs8V1Der<'_> = self.state.account.as_der().unwrap();
        let lines: Vec<_> = BASE64
            .encode(der.as_ref())
            .as_bytes()
            .chunks(64)
            .map(<[u8]>::to_vec)
            .collect();
        let body = String::from_utf8(lines.join(&b'\n')).unwrap();
        json!({
            "type": "service_account",
            "project_id": "ada-1",
            "private_key_id": "k1",
            "private_key": format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
            "client_email": EMAIL,
            "client_id": "1",
            "token_uri": format!("{}/token", self.endpoint()),
            "universe_domain": "googleapis.com",
        })
    }

    pub(super) fn user_file(&self) -> Value {
        json!({
            "type": "authorized_user",
            "client_id": "id.apps.example",
            "client_secret": "user-secret",
            "refresh_token": "1//refresh",
            "token_uri": format!("{}/token", self.endpoint()),
        })
    }
}

impl State {
    fn serve(&self, request: &Received) -> Vec<u8> {
        let instead = self.instead.lock().clone();
        match request.path.as_str() {
            "/token" => self.grant(request),
            _path if instead.is_some() => instead.unwrap_or_default(),
            "/computeMetadata/v1/instance/service-accounts/default/token" => self.metadata(request),
            path => match path.strip_prefix("/v1/") {
                Some(path) => self.kms(request, path),
                None => answer(404, &[("content-type", "text/html")], b"<!DOCTYPE html>"),
            },
        }
    }

    fn new_token(&self) -> Value {
        let token = format!("ya29.{}", BASE64URL_NOPAD.encode(&random::array::<9>()));
        self.tokens.lock().push(token.clone());
        json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})
    }

    fn metadata(&self, request: &Received) -> Vec<u8> {
        if request.header("metadata-flavor") != Some("Google") {
            return answer(403, &[("metadata-flavor", "Google")], b"<html>");
        }
        let body = self.new_token().to_string();
        answer(200, &[("metadata-flavor", "Google")], body.as_bytes())
    }

    fn grant(&self, request: &Received) -> Vec<u8> {
        let form = request.header("content-type") == Some("application/x-www-form-urlencoded");
        let refuse = |error: &str, description: &str| {
            json_answer(
                400,
                &json!({"error": error, "error_description": description}),
            )
        };
        if !form {
            return refuse(
                "invalid_request",
                "Required parameter is missing: grant_type",
            );
        }
        let fields = fields(&request.body);
        let field = |name: &str| {
            fields
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, v)| v.as_str())
        };
        match field("grant_type") {
            Some(ASSERTION) => match self.check_assertion(field("assertion").unwrap_or_default()) {
                Ok(()) => json_answer(200, &self.new_token()),
                Err(description) => refuse("invalid_grant", description),
            },
            Some("refresh_token") => {
                let given = ["client_id", "client_secret", "refresh_token"].map(field);
                if given
                    == [
                        Some("id.apps.example"),
                        Some("user-secret"),
                        Some("1//refresh"),
                    ]
                {
                    json_answer(200, &self.new_token())
                } else {
                    refuse("invalid_grant", "Bad Request")
                }
            }
            _ => refuse("unsupported_grant_type", "Invalid grant_type"),
        }
    }

    fn check_assertion(&self, assertion: &str) -> Result<(), &'static str> {
        let (signed, signature) = assertion.rsplit_once('.').ok_or("Bad Request")?;
        let (header, claims) = signed.split_once('.').ok_or("Bad Request")?;
        let part = |text: &str| -> Option<Value> {
            serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()
        };
        let (header, claims) = (
            part(header).ok_or("Bad Request")?,
            part(claims).ok_or("Bad Request")?,
        );
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .map_err(|_error| "Bad Request")?;
        let public = UnparsedPublicKey::new(
            &RSA_PKCS1_2048_8192_SHA256,
            self.account.public_key().as_ref(),
        );
        if header != json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
            || public.verify(signed.as_bytes(), &signature).is_err()
        {
            return Err("Invalid JWT Signature.");
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let now = (now + *self.clock_ahead.lock()).as_secs();
        let (iat, exp) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        if exp - iat > 3600 || iat > now + 300 || exp <= now {
            return Err(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.",
            );
        }
        let scope = "https://www.googleapis.com/auth/cloudkms";
        let audience = claims["aud"].as_str().unwrap();
        if claims["iss"] != EMAIL || claims["scope"] != scope || !audience.ends_with("/token") {
            return Err("Invalid JWT");
        }
        Ok(())
    }

    fn kms(&self, request: &Received, path: &str) -> Vec<u8> {
        let bearer = request
            .header("authorization")
            .and_then(|text| text.strip_prefix("Bearer "));
        if !bearer.is_some_and(|token| self.tokens.lock().iter().any(|good| good == token)) {
            let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.";
            return failure(401, "UNAUTHENTICATED", message);
        }
        let Some((name, method)) = path.rsplit_once(':') else {
            return failure(404, "NOT_FOUND", "Method not found.");
        };
        let key = self.key.lock();
        if key.deny || name != KEY {
            let message = format!(
                "Permission 'cloudkms.cryptoKeyVersions.useTo{}' denied on resource '{name}' (or it may not exist).",
                if method == "encrypt" {
                    "Encrypt"
                } else {
                    "Decrypt"
                },
            );
            return failure(403, "PERMISSION_DENIED", &message);
        }
        if key.gone {
            return failure(404, "NOT_FOUND", &format!("CryptoKey {name} not found."));
        }
        if request.method != "POST" || request.header("content-type") != Some("application/json") {
            return failure(400, "INVALID_ARGUMENT", "Invalid JSON payload received.");
        }
        let result = match method {
            "encrypt" => encrypt(&key, &request.json()),
            "decrypt" => decrypt(&key, &request.json()),
            _ => Err(failure(404, "NOT_FOUND", "Method not found.")),
        };
        match result {
            Ok(mut body) => {
                if let Some(tamper) = *self.tamper.lock() {
                    tamper(&mut body);
                }
                json_answer(200, &body)
            }
            Err(failure) => failure,
        }
    }
}

fn encrypt(key: &Key, body: &Value) -> Result<Value, Vec<u8>> {
    let body = only(
        body,
        &[
            "plaintext",
            "plaintextCrc32c",
            "additionalAuthenticatedData",
            "additionalAuthenticatedDataCrc32c",
        ],
    )?;
    let plaintext = checked(body, "plaintext", "plaintextCrc32c")?;
    let aad = checked(
        body,
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    )?;
    let number = key.versions.len();
    let version = &key.versions[number - 1];
    check_state(version, number)?;
    let nonce: [u8; 12] = random::array();
    let mut sealed = plaintext;
    version
        .key
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed,
        )
        .unwrap();
    let ciphertext = [
        &[0x0a, 0x24, u8::try_from(number).unwrap()][..],
        &nonce,
        &sealed,
    ]
    .concat();
    Ok(json!({
        "name": format!("{KEY}/cryptoKeyVersions/{number}"),
        "ciphertext": BASE64.encode(&ciphertext),
        "ciphertextCrc32c": crc32c(&ciphertext).to_string(),
        "verifiedPlaintextCrc32c": true,
        "verifiedAdditionalAuthenticatedDataCrc32c": true,
        "protectionLevel": "SOFTWARE",
    }))
}

fn decrypt(key: &Key, body: &Value) -> Result<Value, Vec<u8>> {
    let body = only(
        body,
        &[
            "ciphertext",
            "ciphertextCrc32c",
            "additionalAuthenticatedData",
            "additionalAuthenticatedDataCrc32c",
        ],
    )?;
    let ciphertext = checked(body, "ciphertext", "ciphertextCrc32c")?;
    let aad = checked(
        body,
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    )?;
    let invalid = || {
        failure(
            400,
            "INVALID_ARGUMENT",
            "Decryption failed: the ciphertext is invalid.",
        )
    };
    let wrong = || {
        let message = "Decryption failed: verify that 'name' refers to the correct CryptoKey.";
        failure(400, "INVALID_ARGUMENT", message)
    };
    let (&[0x0a, 0x24, number], rest) = ciphertext.split_first_chunk().ok_or_else(invalid)? else {
        return Err(invalid());
    };
    let number = usize::from(number);
    let version = number
        .checked_sub(1)
        .and_then(|at| key.versions.get(at))
        .ok_or_else(wrong)?;
    check_state(version, number)?;
    let (nonce, sealed) = rest.split_first_chunk::<12>().ok_or_else(invalid)?;
    let mut opened = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let plaintext = version
        .key
        .open_in_place(nonce, Aad::from(aad), &mut opened)
        .map_err(|_error| invalid())?;
    Ok(json!({
        "plaintext": BASE64.encode(plaintext),
        "plaintextCrc32c": crc32c(plaintext).to_string(),
        "usedPrimary": number == key.versions.len(),
        "protectionLevel": "SOFTWARE",
    }))
}

fn check_state(version: &Version, number: usize) -> Result<(), Vec<u8>> {
    if version.state == "ENABLED" {
        return Ok(());
    }
    let state = version.state;
    let message =
        format!("{KEY}/cryptoKeyVersions/{number} is not enabled, current state is: {state}.");
    Err(failure(400, "FAILED_PRECONDITION", &message))
}

/// The JSON mapping refuses fields that a message does not have.
fn only<'a>(body: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Vec<u8>> {
    let invalid = |message: &str| failure(400, "INVALID_ARGUMENT", message);
    let body = body
        .as_object()
        .ok_or_else(|| invalid("Invalid JSON payload received."))?;
    match body.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(body),
        Some(name) => Err(invalid(&format!(
            "Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."
        ))),
    }
}

/// Bytes and their checksum, which must be text with a number, as the mapping has 64-bit integers.
fn checked(body: &Map<String, Value>, name: &str, crc: &str) -> Result<Vec<u8>, Vec<u8>> {
    let invalid = |message: String| failure(400, "INVALID_ARGUMENT", &message);
    let text = body.get(name).and_then(Value::as_str);
    let text = text.ok_or_else(|| invalid(format!("Invalid value at '{name}'")))?;
    let bytes = BASE64.decode(text.as_bytes());
    let bytes =
        bytes.map_err(|_error| invalid(format!("Invalid value at '{name}' (TYPE_BYTES)")))?;
    if let Some(sum) = body.get(crc) {
        let sum: Option<u32> = sum.as_str().and_then(|text| text.parse().ok());
        if sum != Some(crc32c(&bytes)) {
            let message =
                format!("The checksum in field {crc} did not match the data in field {name}.");
            return Err(invalid(message));
        }
    }
    Ok(bytes)
}

pub(super) fn failure(code: u16, status: &str, message: &str) -> Vec<u8> {
    json_answer(
        code,
        &json!({"error": {"code": code, "message": message, "status": status}}),
    )
}

/// Castagnoli's CRC, bit by bit: not the implementation of the provider.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0x82f6_3b78
        } else {
            crc >> 1
        }
    };
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc))
    });
    !crc
}

pub(super) fn fields(form: &[u8]) -> Vec<(String, String)> {
    let text = std::str::from_utf8(form).unwrap();
    let decode = |text: &str| {
        let bytes = crate::keys::percent::decode(text, |_byte| true).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), decode(value))
    };
    text.split('&').map(pair).collect()
}

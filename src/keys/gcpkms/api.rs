//! The service over HTTP: `cryptoKeys.encrypt` and `cryptoKeys.decrypt` of Cloud KMS v1
//! (<https://docs.cloud.google.com/kms/docs/reference/rest>).

use crc::{CRC_32_ISCSI, Crc};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use crate::crypto::secret::SecretKey;
use crate::keys::between::does_not_open;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::service::{
    Client, Endpoint, Environment, Reach, Request, Response, Tokens, oauth, wire,
};

const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// CRC-32C, which the service calls by the name of its polynomial's author.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What the service makes of 32 bytes is longer than they are, and fits in a slot.
const CIPHERTEXT_MAX: usize = 900;

/// A key of the service.
#[derive(Debug)]
pub(super) struct Kms {
    client: Client,
    endpoint: Endpoint,
    tokens: Tokens<Credentials>,
    name: String,
}

/// What the service encrypted.
#[derive(Debug)]
pub(super) struct Encrypted {
    /// The number of the version that did.
    pub(super) version: String,
    pub(super) ciphertext: Vec<u8>,
    /// Where that version is held.
    pub(super) protection: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptRequest<'a> {
    plaintext: &'a str,
    plaintext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptResponse {
    name: String,
    ciphertext: String,
    ciphertext_crc32c: String,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
    #[serde(default)]
    protection_level: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecryptRequest {
    ciphertext: String,
    ciphertext_crc32c: String,
    additional_authenticated_data: String,
    additional_authenticated_data_crc32c: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecryptResponse {
    plaintext: Zeroizing<String>,
    plaintext_crc32c: String,
}

impl Kms {
    /// # Errors
    /// `Config` for settings that cannot be followed.
    pub(super) fn new(
        name: String,
        reach: &Reach,
        environment: &Environment,
    ) -> Result<Self, KeyError> {
        let machine = environment.text("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS")?;
        let endpoint = match (&reach.endpoint, machine) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, machine) => Endpoint::parse(machine.as_deref().unwrap_or(ENDPOINT))?,
        };
        let reach = &Reach {
            endpoint: Some(endpoint.clone()),
            ..reach.clone()
        };
        Ok(Self {
            client: Client::new(reach)?,
            tokens: Tokens::new(Credentials::find(environment, reach)?),
            endpoint,
            name,
        })
    }

    /// Takes what this machine proves itself with out of memory.
    pub(super) fn forget(&self) {
        self.tokens.forget();
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Encrypts a key under the newest version of the service's.
    ///
    /// # Errors
    /// What the service says; `Unavailable` where anything was changed on the way.
    pub(super) fn encrypt(&self, key: &SecretKey, aad: &[u8]) -> Result<Encrypted, KeyError> {
        let body = wire::body(&EncryptRequest {
            plaintext: &wire::key_to_text(key, &BASE64),
            plaintext_crc32c: crc(key.expose()),
            additional_authenticated_data: BASE64.encode(aad),
            additional_authenticated_data_crc32c: crc(aad),
        })?;
        let response = self.ask("encrypt", &body)?;
        if !response.is_success() {
            return Err(failure(&response, "wrapping", false));
        }
        let answer: EncryptResponse = response.json()?;
        let ciphertext = BASE64
            .decode(answer.ciphertext.as_bytes())
            .unwrap_or_default();
        let whole = answer.verified_plaintext_crc32c
            && answer.verified_additional_authenticated_data_crc32c
            && answer.ciphertext_crc32c == crc(&ciphertext);
        if !whole {
            return Err(changed_on_the_way("wrapping"));
        }
        let lens = SecretKey::LEN.saturating_add(1)..=CIPHERTEXT_MAX;
        let version = self.version_of(&answer.name);
        match version.filter(|_known| lens.contains(&ciphertext.len())) {
            Some(version) => Ok(Encrypted {
                version,
                ciphertext,
                protection: protection(&answer.protection_level),
            }),
            None => Err(wire::stranger(&response, "wrapping")),
        }
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made; the service finds the version in it.
    ///
    /// # Errors
    /// `Corrupt` where it is not authentic; else as [`encrypt`](Self::encrypt).
    pub(super) fn decrypt(&self, ciphertext: &[u8], aad: &[u8]) -> Result<SecretKey, KeyError> {
        let body = wire::body(&DecryptRequest {
            ciphertext: BASE64.encode(ciphertext),
            ciphertext_crc32c: crc(ciphertext),
            additional_authenticated_data: BASE64.encode(aad),
            additional_authenticated_data_crc32c: crc(aad),
        })?;
        let response = self.ask("decrypt", &body)?;
        if !response.is_success() {
            return Err(failure(&response, "unwrapping", true));
        }
        let answer: DecryptResponse = response.json()?;
        let key = wire::key_of_text(&answer.plaintext, &BASE64)?;
        if answer.plaintext_crc32c == crc(key.expose()) {
            Ok(key)
        } else {
            Err(changed_on_the_way("unwrapping"))
        }
    }

    fn ask(&self, method: &str, body: &Zeroizing<Vec<u8>>) -> Result<Response, KeyError> {
        let name = format!("{}:{method}", self.name);
        let url = self
            .endpoint
            .join(["v1"].into_iter().chain(name.split('/')));
        oauth::send(&self.client, &self.tokens, &|| {
            Request::post(url.clone(), body.clone()).header("content-type", "application/json")
        })
    }

    /// The number in the name of a version of this very key.
    fn version_of(&self, name: &str) -> Option<String> {
        let number = name
            .strip_prefix(&self.name)?
            .strip_prefix("/cryptoKeyVersions/")?;
        let fits = (1..=20).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| number.to_owned())
    }
}

fn crc(bytes: &[u8]) -> String {
    CRC32C.checksum(bytes).to_string()
}

fn protection(level: &str) -> Option<&'static str> {
    match level {
        "SOFTWARE" => Some("in software"),
        "HSM" => Some("in an HSM"),
        "HSM_SINGLE_TENANT" => Some("in an HSM of one tenant"),
        "EXTERNAL" | "EXTERNAL_VPC" => Some("in an external key manager"),
        _ => None,
    }
}

fn changed_on_the_way(doing: &str) -> KeyError {
    KeyError::unavailable(format!(
        "{doing}: a checksum says that something was changed on the way to the service or back"
    ))
}

#[derive(Deserialize)]
struct Failure {
    error: Status,
}

/// `google.rpc.Status`, as JSON has it.
#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    message: String,
}

/// The failure that an answer without success stands for.
fn failure(response: &Response, doing: &str, unwrapping: bool) -> KeyError {
    let Ok(Failure { error }) = response.json() else {
        return wire::stranger(response, doing);
    };
    let kind = kind(&error.status, &error.message, unwrapping);
    if kind == KeyErrorKind::Corrupt {
        return does_not_open();
    }
    let words = wire::said(&format!("{}: {}", error.status, error.message));
    // The service gives its requests no name.
    wire::failure(response, kind, &format!("{doing}: {words}"), None)
}

/// What a code of `google.rpc.Code` means.
fn kind(status: &str, message: &str, unwrapping: bool) -> KeyErrorKind {
    let says = |words: &str| message.contains(words);
    match status {
        "PERMISSION_DENIED" | "UNAUTHENTICATED" => KeyErrorKind::Denied,
        "NOT_FOUND" => KeyErrorKind::NotFound,
        // Of a version: disabled, destroyed or about to be. Other preconditions are no refusals.
        "FAILED_PRECONDITION" if says("current state is") => KeyErrorKind::Revoked,
        "INVALID_ARGUMENT" if says("crc32c") || says("checksum") => KeyErrorKind::Unavailable,
        "INVALID_ARGUMENT" if unwrapping => KeyErrorKind::Corrupt,
        "INVALID_ARGUMENT" => KeyErrorKind::Config,
        _ => KeyErrorKind::Unavailable,
    }
}

//! The service over HTTP: `getKey`, `wrapKey` and `unwrapKey` of the Key Vault data plane
//! (<https://learn.microsoft.com/en-us/rest/api/keyvault/keys>).

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::credentials::Credentials;
use super::place::{KeyPlace, is_version};
use crate::crypto::secret::SecretKey;
use crate::keys::between::does_not_open;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::NamedKey;
use crate::keys::service::{
    Client, Endpoint, Environment, Reach, Request, Response, Tokens, oauth, wire,
};

const API_VERSION: &str = "7.6";

/// The header that names a request.
const REQUEST_ID: &str = "x-ms-request-id";

/// What the service makes of 32 bytes: AES-KW, or RSA with a modulus of 2048 to 4096 bits.
const WRAPPED_LENS: std::ops::RangeInclusive<usize> = 40..=512;

/// How a key wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// RSA-OAEP with SHA-256 (RFC 8017): `RSA-OAEP-256`.
    RsaOaep,
    /// AES key wrap with 256 bits (RFC 3394): `A256KW`, of a Managed HSM.
    AesKw,
}

impl Way {
    /// What stands for it in a wrapped key.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::RsaOaep => 1,
            Self::AesKw => 2,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        let all = [Self::RsaOaep, Self::AesKw];
        all.into_iter().find(|way| way.number() == number)
    }

    /// Its name in the service's own words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RsaOaep => "RSA-OAEP-256",
            Self::AesKw => "A256KW",
        }
    }
}

/// The version of a key that new wraps use.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) version: String,
    pub(super) way: Way,
}

/// A vault, and the key in it.
#[derive(Debug)]
pub(super) struct KeyVault {
    client: Client,
    endpoint: Endpoint,
    tokens: Tokens<Credentials>,
    place: KeyPlace,
}

impl fmt::Display for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.place, self.endpoint)
    }
}

#[derive(Deserialize)]
struct KeyBundle {
    key: JsonWebKey,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct JsonWebKey {
    kid: String,
    kty: String,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize)]
struct Operation<'a> {
    alg: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct OperationResult {
    kid: String,
    value: Zeroizing<String>,
}

impl KeyVault {
    /// Takes what this machine proves itself with out of memory.
    pub(super) fn forget(&self) {
        self.tokens.forget();
    }

    /// # Errors
    /// `Config` for settings that cannot be followed.
    pub(super) fn new(
        place: KeyPlace,
        reach: &Reach,
        environment: &Environment,
    ) -> Result<Self, KeyError> {
        let endpoint = match &reach.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::parse(&place.address())?,
        };
        Ok(Self {
            client: Client::new(reach)?,
            tokens: Tokens::new(Credentials::find(environment, reach, place.resource())?),
            endpoint,
            place,
        })
    }

    /// The newest version of the key.
    ///
    /// # Errors
    /// What the service says; `Revoked` where the key is disabled, `Config` where it cannot wrap.
    pub(super) fn newest(&self) -> Result<Newest, KeyError> {
        let url = self.url(&["keys", self.place.key()]);
        let response = oauth::send(&self.client, &self.tokens, &|| {
            Ok(Request::get(url.clone()))
        })?;
        if !response.is_success() {
            return Err(failure(&response, "a look at the key", false));
        }
        let bundle: KeyBundle = response.json()?;
        let version = self.version_of(&bundle.key.kid);
        let version = version.ok_or_else(|| wire::stranger(&response, "a look at the key"))?;
        if !bundle.attributes.enabled {
            return Err(KeyError::new(
                KeyErrorKind::Revoked,
                format!("{}: version {version} is disabled", self.place),
            ));
        }
        let way = match bundle.key.kty.as_str() {
            "RSA" | "RSA-HSM" => Way::RsaOaep,
            "oct" | "oct-HSM" => Way::AesKw,
            other => {
                return Err(KeyError::config(format!(
                    "{} is of type {}, which wraps no keys: make an RSA key",
                    self.place,
                    wire::said(other)
                )));
            }
        };
        Ok(Newest { version, way })
    }

    /// Wraps a key.
    ///
    /// # Errors
    /// What the service says.
    pub(super) fn wrap(&self, newest: &Newest, key: &SecretKey) -> Result<Vec<u8>, KeyError> {
        let value = wire::key_to_text(key, &BASE64URL_NOPAD);
        let (result, _id) = self.operate("wrapkey", &newest.version, newest.way, &value)?;
        let wrapped = BASE64URL_NOPAD
            .decode(result.value.as_bytes())
            .unwrap_or_default();
        if WRAPPED_LENS.contains(&wrapped.len()) {
            Ok(wrapped)
        } else {
            Err(KeyError::unavailable("an answer without a wrapped key"))
        }
    }

    /// Unwraps a key by a version of the service's.
    ///
    /// # Errors
    /// `Corrupt` where it is not one that this version wrapped; else what the service says.
    pub(super) fn unwrap(
        &self,
        version: &str,
        way: Way,
        wrapped: &[u8],
    ) -> Result<NamedKey, KeyError> {
        if !WRAPPED_LENS.contains(&wrapped.len()) {
            return Err(does_not_open());
        }
        let value = BASE64URL_NOPAD.encode(wrapped);
        let (result, id) = self.operate("unwrapkey", version, way, &value)?;
        wire::named(id, wire::key_of_text(&result.value, &BASE64URL_NOPAD))
    }

    fn operate(
        &self,
        operation: &str,
        version: &str,
        way: Way,
        value: &str,
    ) -> Result<(OperationResult, Option<String>), KeyError> {
        let url = self.url(&["keys", self.place.key(), version, operation]);
        let alg = way.name();
        let body = wire::body(&Operation { alg, value })?;
        let response = oauth::send(&self.client, &self.tokens, &|| {
            Request::post(url.clone(), body.clone()).header("content-type", "application/json")
        })?;
        if !response.is_success() {
            return Err(failure(&response, operation, operation == "unwrapkey"));
        }
        let result: OperationResult = response.json()?;
        if self.version_of(&result.kid).as_deref() == Some(version) {
            Ok((result, response.request_id(REQUEST_ID)))
        } else {
            Err(wire::stranger(&response, operation))
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.endpoint.join(path.iter().copied());
        url.query_pairs_mut()
            .append_pair("api-version", API_VERSION);
        url
    }

    /// The version in an identifier of this key: `https://HOST/keys/KEY/VERSION`.
    fn version_of(&self, kid: &str) -> Option<String> {
        let mut parts = kid.rsplit('/');
        let (version, key, keys) = (parts.next()?, parts.next()?, parts.next()?);
        let fits =
            is_version(version) && keys == "keys" && key.eq_ignore_ascii_case(self.place.key());
        fits.then(|| version.to_owned())
    }
}

#[derive(Deserialize)]
struct Failure {
    error: Coded,
}

#[derive(Deserialize)]
struct Coded {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(rename = "innererror", alias = "innerError")]
    inner: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    code: String,
}

/// The failure that an answer without success stands for.
fn failure(response: &Response, doing: &str, unwrapping: bool) -> KeyError {
    let Ok(Failure { error }) = response.json() else {
        return wire::stranger(response, doing);
    };
    let inner = error.inner.map(|inner| inner.code);
    let code = inner.as_deref().unwrap_or(&error.code);
    let kind = kind(response.status(), code, unwrapping);
    let id = response.request_id(REQUEST_ID);
    if kind == KeyErrorKind::Corrupt {
        return does_not_open().of_request(id);
    }
    let words = wire::said(&format!("{code}: {}", error.message));
    wire::failure(response, kind, &format!("{doing}: {words}"), id)
}

/// What a code means; the inner one, where there is one.
fn kind(status: u16, code: &str, unwrapping: bool) -> KeyErrorKind {
    match (status, code) {
        (_, "KeyDisabled" | "KeyExpired" | "KeyNotYetValid" | "ObjectIsDeletedButRecoverable") => {
            KeyErrorKind::Revoked
        }
        (401 | 403, _) => KeyErrorKind::Denied,
        (404, _) => KeyErrorKind::NotFound,
        (400, "BadParameter") if unwrapping => KeyErrorKind::Corrupt,
        (400 | 405 | 409, _) => KeyErrorKind::Config,
        _ => KeyErrorKind::Unavailable,
    }
}

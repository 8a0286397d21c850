//! The plain interface for applications: three paths, JSON, an access key by HTTP Basic (RFC 7617) over TLS.
//!
//! What it makes is an envelope (`envelope`): an AES key for each plaintext, and that key under the public key of an RSA key
//! of the service. Each request has a time, a nonce and a hash (`fresh`), so that it counts once and whole.

mod envelope;
mod fresh;
mod wire;

use data_encoding::{BASE64, HEXLOWER};
use hyper::header;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use self::fresh::Fresh;
pub use self::fresh::WINDOW;
use self::wire::{DecryptAnswer, DecryptMembers, EncryptAnswer, EncryptMembers, PublicKeyAnswer};
use super::answer::Body;
use super::pem::pem;
use super::web::{Door, UNKNOWN, WebAnswer, WebError, WebRequest};
use crate::kms::auth::{Form, Replays};
use crate::kms::engine::ops::asymmetric::{
    AsymmetricDecrypt, AsymmetricEncrypt, EncryptionAlgorithm, GetPublicKey,
};
use crate::kms::engine::{Caller, Operation};

/// The longest plaintext in bytes.
pub const PLAINTEXT_MAX: usize = 768 * 1024;
/// The longest body: such a plaintext in base64, and what is beside it.
pub const BODY_MAX: usize = 1024 * 1024 + 32 * 1024;

const ALGORITHM: EncryptionAlgorithm = EncryptionAlgorithm::RsaesOaepSha256;

/// The interface's paths, each with its method and the label of its metrics.
const PATHS: &[(&str, &str, &str)] = &[
    ("/decrypt", "POST", "Decrypt"),
    ("/encrypt", "POST", "Encrypt"),
    ("/keys/public", "GET", "GetPublicKey"),
];

/// Whether a path is one of the interface's.
#[must_use]
pub fn serves(path: &str) -> bool {
    PATHS.iter().any(|(own, _method, _label)| *own == path)
}

/// A request of somebody who is known.
struct Asking<'a> {
    door: Door<'a>,
    replays: &'a Replays,
    caller: Caller,
}

/// Does what a request asks. `caller` is nobody yet.
pub async fn answer(
    door: Door<'_>,
    replays: &Replays,
    caller: Caller,
    request: WebRequest<'_>,
) -> WebAnswer {
    let request_id = caller.request_id.clone();
    let own = PATHS.iter().find(|(path, ..)| *path == request.path);
    let Some((_path, method, label)) = own else {
        return WebAnswer::refusal(&WebError::no_such_path(), UNKNOWN, request_id);
    };
    if request.method != *method {
        let error = WebError::new(405, "MethodNotAllowed", format!("Only {method}."));
        return WebAnswer::refusal(&error, label, request_id).with(header::ALLOW, method);
    }
    let done = match prove(door, caller, request).await {
        Ok(caller) => {
            let asking = Asking {
                door,
                replays,
                caller,
            };
            asking.dispatch(label, request).await
        }
        Err(error) => Err(error),
    };
    match done {
        Ok(body) => WebAnswer::new(label, request_id, body),
        Err(error) => refusal(&error, label, request_id),
    }
}

fn refusal(error: &WebError, label: &'static str, request_id: String) -> WebAnswer {
    let answer = WebAnswer::refusal(error, label, request_id);
    if error.status == 401 {
        let how = r#"Basic realm="envelopekms", charset="UTF-8""#;
        return answer.with(header::WWW_AUTHENTICATE, how);
    }
    answer
}

async fn prove(
    door: Door<'_>,
    caller: Caller,
    request: WebRequest<'_>,
) -> Result<Caller, WebError> {
    let given = request.header(&header::AUTHORIZATION).and_then(basic);
    let Some((id, secret)) = given else {
        return Err(WebError::new(
            401,
            "AccessKeyMissing",
            "The access key is given by HTTP Basic: its id as the user, its secret as the password.",
        ));
    };
    let engine = door.engine;
    let caller = door.access.prove(engine, caller, &id, &secret).await?;
    door.take(&caller)?;
    Ok(caller)
}

/// The user and the password (RFC 7617, section 2).
fn basic(header: &str) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = BASE64.decode(credentials.trim().as_bytes()).ok()?;
    let pair = Zeroizing::new(pair);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (id, secret) = pair.split_at_checked(colon)?;
    let id = std::str::from_utf8(id).ok()?.to_owned();
    Some((id, Zeroizing::new(secret.get(1..)?.to_vec())))
}

impl Asking<'_> {
    async fn dispatch(self, label: &str, request: WebRequest<'_>) -> Result<Body, WebError> {
        match label {
            "Decrypt" => self.decrypt(request.body).await,
            "Encrypt" => self.encrypt(request.body).await,
            _ => self.public_key(request.query).await,
        }
    }

    async fn public_key(&self, query: &str) -> Result<Body, WebError> {
        let form = Form::parse(&[query]);
        let form = form.map_err(|error| WebError::invalid("query", &error.to_string()))?;
        let operation = GetPublicKey {
            key: self.door.key(form.get("key").unwrap_or_default())?,
            version: None,
            dry_run: false,
        };
        let public = self.perform(operation).await?;
        Ok(Body::json(&PublicKeyAnswer {
            key: &public.key.0,
            version: &public.version.0,
            spec: public.spec.name(),
            public_key: &pem(&public.der),
            algorithms: wire::algorithms(public.spec, public.usage),
        }))
    }

    async fn encrypt(&self, body: &[u8]) -> Result<Body, WebError> {
        let members = EncryptMembers::parse(body)?;
        let plaintext = wire::base64(members.plaintext, "plaintext", PLAINTEXT_MAX)?;
        let key = self.door.key(&members.key)?;
        self.admit(AsymmetricEncrypt::ACTION, &members.fresh, &plaintext)?;
        let data_key = envelope::data_key();
        let wrap = AsymmetricEncrypt {
            key,
            version: None,
            algorithm: ALGORITHM,
            plaintext: Zeroizing::new(data_key.to_vec()),
            dry_run: false,
        };
        let wrapped = self.perform(wrap).await?;
        let (key, version) = (&wrapped.key.0, &wrapped.version.0);
        let ciphertext = envelope::seal(&data_key, key, version, &plaintext)?;
        Ok(Body::json_of(
            &EncryptAnswer {
                key,
                version,
                ciphertext: &BASE64.encode(&ciphertext),
                wrapped_key: &BASE64.encode(&wrapped.bytes),
                sha256: &HEXLOWER.encode(&Sha256::digest(&ciphertext)),
                request_id: &self.caller.request_id,
            },
            ciphertext.len().saturating_mul(2).saturating_add(4096),
        ))
    }

    async fn decrypt(&self, body: &[u8]) -> Result<Body, WebError> {
        let members = DecryptMembers::parse(body)?;
        let most = PLAINTEXT_MAX + envelope::OVERHEAD;
        let ciphertext = wire::base64(members.ciphertext, "ciphertext", most)?;
        let wrapped = wire::base64(members.wrapped_key.into(), "wrapped_key", 1024)?;
        let key = self.door.key(&members.key)?;
        self.admit(AsymmetricDecrypt::ACTION, &members.fresh, &ciphertext)?;
        let unwrap = AsymmetricDecrypt {
            key,
            version: Some(wire::version(&members.version)?),
            algorithm: ALGORITHM,
            ciphertext: wrapped.to_vec(),
            dry_run: false,
        };
        let data_key = self.perform(unwrap).await?;
        let (key, version) = (&data_key.key.0, &data_key.version.0);
        let opened = envelope::open(&data_key.plaintext, key, version, ciphertext);
        let plaintext = opened.map_err(|error| self.noted(AsymmetricDecrypt::ACTION, error))?;
        let encoded = Zeroizing::new(BASE64.encode(&plaintext));
        Ok(Body::json_of(
            &DecryptAnswer {
                plaintext: &encoded,
                sha256: &HEXLOWER.encode(&Sha256::digest(&*plaintext)),
                request_id: &self.caller.request_id,
            },
            encoded.len().saturating_add(4096),
        ))
    }

    async fn perform<O: Operation>(&self, operation: O) -> Result<O::Answer, WebError> {
        let done = self.door.engine.perform(&self.caller, operation).await;
        done.map_err(Into::into)
    }

    /// Whether the request counts: now, whole, for the first time.
    fn admit(&self, action: &str, fresh: &Fresh<'_>, data: &[u8]) -> Result<(), WebError> {
        let admitted = fresh.admit(data, &self.caller.access_key_id, self.replays);
        admitted.map_err(|error| self.noted(action, error))
    }

    /// What the engine does not see belongs into the audit trail too.
    fn noted(&self, action: &str, error: WebError) -> WebError {
        let refusal = error.for_the_trail();
        match self
            .door
            .engine
            .note_refusal(&self.caller, action, &refusal)
        {
            Ok(()) => error,
            Err(unavailable) => unavailable.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, Vec<u8>)> {
        basic(text).map(|(id, secret)| (id, secret.to_vec()))
    }

    #[test]
    fn user_and_password_are_read() {
        let header = format!("Basic {}", BASE64.encode(b"id:se:cret"));
        assert_eq!(of(&header), Some(("id".to_owned(), b"se:cret".to_vec())));
        assert!(of(&header.replace("Basic", "bAsIc")).is_some());
    }

    #[test]
    fn other_headers_are_of_nobody() {
        let no_colon = format!("Basic {}", BASE64.encode(b"id"));
        let no_text = format!("Basic {}", BASE64.encode(b"\xff:x"));
        for header in [
            "",
            "Basic",
            "Basic !",
            "Bearer aWQ6eA==",
            &no_colon,
            &no_text,
        ] {
            assert_eq!(of(header), None, "{header}");
        }
    }
}

//! `hashivault://KEY?mount=transit&namespace=NS`: a key in the Transit engine of HashiCorp Vault or
//! OpenBao. The key never leaves the service.
//!
//! The service makes a fresh key for each wrap (`datakey/plaintext`), and the data key is sealed under
//! that one with the context. So Transit can rewrap by itself: its `rewrap` takes no associated data
//! (docs/adr/0011). The context is sent along as well: keys made with `derived=true` derive by it.
//!
//! Where the service is and who this machine is are said on the machine, by the variables that `bao`
//! and `vault` know.

mod blob;
mod login;
mod machine;
mod path;
mod renewal;
mod vault;

#[cfg(test)]
mod bao;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use data_encoding::BASE64;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::keys::between;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
use crate::keys::service::{Reach, Response, ServiceOptions, Tokens, wire};
use crate::units::KeyUri;
use blob::{Blob, Ciphertext};
use login::Login;
use path::KeyPath;
use renewal::Renewal;
use vault::{Call, Data, Vault};

/// The scheme of the URIs.
pub const SCHEME: &str = "hashivault";

/// The types of keys that wrap data keys of 256 bits with nothing weaker, in the service's words.
const TYPES: [&str; 3] = ["aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];

/// The URI that is to be stored for one that a person gave, and how the service is reached.
///
/// # Errors
/// `Config` for a URI that cannot be followed.
pub(crate) fn given(uri: &KeyUri) -> Result<(KeyUri, Reach), KeyError> {
    path::FORM.given(uri)
}

/// A key in a Transit engine.
#[derive(Debug)]
pub struct HashivaultProvider {
    uri: KeyUri,
    path: KeyPath,
    vault: Arc<Vault>,
    tokens: Arc<Tokens<Login>>,
    renewal: Renewal,
    /// Whether the key was found to be one that wraps as it must.
    suitable: Mutex<bool>,
}

/// What the service says of a key (`GET keys/KEY`).
#[derive(Deserialize)]
struct KeyInfo {
    #[serde(rename = "type")]
    kind: String,
    latest_version: usize,
    min_decryption_version: usize,
    #[serde(default)]
    min_available_version: usize,
    #[serde(default)]
    convergent_encryption: bool,
    #[serde(default)]
    soft_deleted: bool,
}

#[derive(Serialize)]
struct WithContext<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    context: &'a str,
}

#[derive(Deserialize)]
struct DataKey {
    plaintext: Zeroizing<String>,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Rewrapped {
    ciphertext: String,
}

impl HashivaultProvider {
    /// Reads the settings of this machine. The service is asked with the first use of the key.
    ///
    /// # Errors
    /// `Config` for a URI of another form, and where the machine does not say where the service is or
    /// who it is there.
    pub fn open(uri: &KeyUri, options: &ServiceOptions) -> Result<Self, KeyError> {
        let open = || {
            let path = KeyPath::of(&path::FORM.stored(uri)?)?;
            let settings = machine::Settings::new(&options.environment);
            let vault = Arc::new(settings.vault(options.reach(uri), path.namespace())?);
            let login = Login::new(Arc::clone(&vault), settings.identity()?);
            Ok(Self {
                uri: uri.clone(),
                path,
                vault,
                tokens: Arc::new(Tokens::new(login)),
                renewal: Renewal::default(),
                suitable: Mutex::new(false),
            })
        };
        open().map_err(|error: KeyError| error.at(uri))
    }

    /// Asks the engine; a token that has ended is got anew once.
    fn ask(&self, call: &Call<'_>) -> Result<Response, KeyError> {
        let path = self.path.segments(call.operation);
        let answer = self.tokens.with(
            |done| matches!(done, Ok(None)),
            |lease| {
                self.renewal.begin(&self.tokens);
                let response = self.vault.send(&path, call.body.as_ref(), Some(lease))?;
                if response.status() != 403 || vault::words(&response).is_none() {
                    return Ok(Some(response));
                }
                if self.vault.knows(lease)? {
                    return Err(self.forbidden(call));
                }
                Ok(None)
            },
        );
        let response = answer?.ok_or_else(|| self.token_refused())?;
        if response.is_success() {
            Ok(response)
        } else {
            Err(vault::failure(&response, &self.doing(call)))
        }
    }

    fn token_refused(&self) -> KeyError {
        let advice = self.tokens.source().advice();
        KeyError::new(
            KeyErrorKind::Denied,
            format!("the token is refused: it has expired or was revoked; {advice}"),
        )
    }

    fn forbidden(&self, call: &Call<'_>) -> KeyError {
        let capability = if call.body.is_some() {
            "update"
        } else {
            "read"
        };
        let path = self.path.segments(call.operation).join("/");
        KeyError::new(
            KeyErrorKind::Denied,
            format!(
                "{}: permission denied: no policy of the token allows {capability} on {path}",
                self.doing(call)
            ),
        )
    }

    fn doing(&self, call: &Call<'_>) -> String {
        format!("{} by {}", call.doing, self.path)
    }

    /// Asks for the key, and refuses one that must not wrap data keys.
    fn key_info(&self) -> Result<KeyInfo, KeyError> {
        let response = self.ask(&Call::get("a look", &["keys"]))?;
        let Data { data: key, .. } = response.json::<Data<KeyInfo>>()?;
        if key.soft_deleted {
            return Err(KeyError::new(
                KeyErrorKind::Revoked,
                format!("{} is deleted, and can still be restored", self.path),
            ));
        }
        if key.convergent_encryption {
            return Err(KeyError::config(format!(
                "{} has convergent_encryption, which makes equal wraps of equal keys: make one without it",
                self.path
            )));
        }
        if !TYPES.contains(&key.kind.as_str()) {
            return Err(KeyError::config(format!(
                "{} is of type {}: make one of {}",
                self.path,
                wire::said(&key.kind),
                TYPES.join(", ")
            )));
        }
        *self.suitable.lock() = true;
        Ok(key)
    }

    /// Nothing is asked of what may be another kind of engine: a URI of a hostile volume could name
    /// any path, and a key-value engine would store what is posted to it.
    fn check(&self) -> Result<(), KeyError> {
        if *self.suitable.lock() {
            return Ok(());
        }
        self.key_info().map(drop)
    }

    /// Has the engine do something with a ciphertext of its own.
    fn convert(
        &self,
        (doing, operation): (&'static str, &[&'static str]),
        ciphertext: Option<&Ciphertext>,
        context: &EncryptionContext,
    ) -> Result<Response, KeyError> {
        self.check()?;
        let text = ciphertext.map(Ciphertext::to_text);
        let body = WithContext {
            ciphertext: text.as_deref(),
            context: &BASE64.encode(&context.encode()),
        };
        self.ask(&Call::post(doing, operation, wire::body(&body)?))
    }
}

impl KeyProvider for HashivaultProvider {
    fn uri(&self) -> &KeyUri {
        &self.uri
    }

    fn wrap(&self, dek: &SecretKey, context: &EncryptionContext) -> Result<WrappedDek, KeyError> {
        let wrapping = ("wrapping", &["datakey", "plaintext"][..]);
        let response = self.convert(wrapping, None, context)?;
        let Data { data: made, .. } = response.json::<Data<DataKey>>()?;
        let between = wire::key_of_text(&made.plaintext, &BASE64)?;
        let ciphertext = Ciphertext::of_text(&made.ciphertext)?;
        let aad = blob::aad(context);
        let sealed = between::seal_under(&between, dek, &aad);
        Ok(Blob::new(&aad, &sealed, &ciphertext).into_wrapped(&ciphertext))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<SecretKey, KeyError> {
        self.unwrap_named(wrapped, context).map(|(key, _id)| key)
    }

    fn unwrap_named(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<NamedKey, KeyError> {
        let aad = blob::aad(context);
        let (blob, ciphertext) = Blob::of_wrapped(wrapped, &aad)?;
        let unwrapping = ("unwrapping", &["decrypt"][..]);
        let response = self.convert(unwrapping, Some(&ciphertext), context)?;
        let Data { data, request_id } = response.json::<Data<Decrypted>>()?;
        let dek = wire::key_of_text(&data.plaintext, &BASE64)
            .and_then(|between| between::open_under(&between, &aad, blob.sealed()));
        wire::named(wire::request_id(&request_id), dek)
    }

    /// The service makes the new wrap, and the data key does not come to this host.
    fn rewrap(
        &self,
        wrapped: &WrappedDek,
        context: &EncryptionContext,
    ) -> Result<WrappedDek, KeyError> {
        let aad = blob::aad(context);
        let (blob, ciphertext) = Blob::of_wrapped(wrapped, &aad)?;
        let rewrapping = ("rewrapping", &["rewrap"][..]);
        let response = self.convert(rewrapping, Some(&ciphertext), context)?;
        let Data {
            data: rewrapped, ..
        } = response.json::<Data<Rewrapped>>()?;
        let ciphertext = Ciphertext::of_text(&rewrapped.ciphertext)?;
        Ok(Blob::new(&aad, blob.sealed(), &ciphertext).into_wrapped(&ciphertext))
    }

    fn probe(&self) -> Result<KeyHealth, KeyError> {
        let key = self.key_info()?;
        let oldest = key
            .min_decryption_version
            .max(key.min_available_version)
            .max(1);
        Ok(KeyHealth {
            key_version: key.latest_version.to_string(),
            versions: key.latest_version.saturating_sub(oldest).saturating_add(1),
            mechanism: TYPES.into_iter().find(|known| *known == key.kind),
        })
    }

    fn describe(&self) -> String {
        format!("{} at {}", self.path, self.vault.endpoint())
    }

    fn is_local(&self) -> bool {
        false
    }

    fn forget(&self) {
        self.tokens.forget();
    }
}

//! Logging in, and prolonging what was got.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::vault::{self, Data, LOOKUP, Vault};
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::local_file::{self, Guard};
use crate::keys::passphrase_source::Locked;
use crate::keys::service::renewed::Source;
use crate::keys::service::{Lease, Response, Token, wire};

/// A secret of this machine. One in a file is read anew each time: agents write new ones there.
#[derive(Debug)]
pub(super) enum Secret {
    /// From a variable, in locked memory.
    Kept {
        /// The variable.
        name: String,
        text: Locked,
    },
    File(PathBuf),
}

impl Secret {
    /// # Errors
    /// `Config` for what no header may have.
    pub(super) fn kept(name: &str, text: &str) -> Result<Self, KeyError> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::config(format!(
                "{name}: expected text without spaces"
            )));
        }
        Ok(Self::Kept {
            name: name.to_owned(),
            text: Locked::new(text.as_bytes())?,
        })
    }

    fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        match self {
            Self::Kept { text, .. } => {
                let text = text.reveal();
                Ok(Zeroizing::new(String::from_utf8_lossy(&text).into_owned()))
            }
            Self::File(path) => local_file::read_line("Vault credential", path, Guard::Given),
        }
    }
}

/// Who this machine is at the service.
#[derive(Debug)]
pub(super) enum Identity {
    /// Whoever has this token.
    Token(Secret),
    AppRole {
        mount: String,
        role_id: Secret,
        /// Not there for roles that need none.
        secret_id: Option<Secret>,
    },
    Kubernetes {
        mount: String,
        role: String,
        /// The file with the token of the pod's service account.
        jwt: PathBuf,
    },
}

/// Gets tokens for an identity.
#[derive(Debug)]
pub(super) struct Login {
    vault: Arc<Vault>,
    identity: Identity,
}

#[derive(Serialize)]
struct AppRoleLogin<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Serialize)]
struct KubernetesLogin<'a> {
    role: &'a str,
    jwt: &'a str,
}

/// What logins and renewals answer.
#[derive(Deserialize)]
struct Authenticated {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Zeroizing<String>,
    /// In seconds; 0 of a token without an end.
    lease_duration: u64,
    renewable: bool,
}

/// What a token is told of itself.
#[derive(Deserialize)]
struct Lookup {
    /// In seconds.
    ttl: u64,
    /// None of a token without an end.
    expire_time: Option<String>,
    #[serde(default)]
    renewable: bool,
}

impl Login {
    pub(super) fn new(vault: Arc<Vault>, identity: Identity) -> Self {
        Self { vault, identity }
    }

    /// What to do about a token that the service refuses.
    pub(super) fn advice(&self) -> String {
        match &self.identity {
            Identity::Token(Secret::Kept { name, .. }) => {
                format!("set {name} to a new one and start again")
            }
            Identity::Token(Secret::File(path)) => {
                format!("put a new one into {}", path.display())
            }
            Identity::AppRole { .. } | Identity::Kubernetes { .. } => {
                "so is one of a new login".to_owned()
            }
        }
    }

    fn log_in(&self) -> Result<Lease, KeyError> {
        match &self.identity {
            Identity::Token(secret) => self.look_up(&secret.read()?),
            Identity::AppRole {
                mount,
                role_id,
                secret_id,
            } => {
                let secret_id = secret_id.as_ref().map(Secret::read).transpose()?;
                let body = AppRoleLogin {
                    role_id: &role_id.read()?,
                    secret_id: secret_id.as_ref().map(|text| text.as_str()),
                };
                self.log_in_at(mount, "AppRole", &wire::body(&body)?)
            }
            Identity::Kubernetes { mount, role, jwt } => {
                let jwt = local_file::read_line("service account token", jwt, Guard::Given)?;
                let body = KubernetesLogin { role, jwt: &jwt };
                self.log_in_at(mount, "Kubernetes", &wire::body(&body)?)
            }
        }
    }

    fn log_in_at(
        &self,
        mount: &str,
        method: &str,
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<Lease, KeyError> {
        let path: Vec<_> = ["auth"]
            .into_iter()
            .chain(mount.split('/').filter(|part| !part.is_empty()))
            .chain(["login"])
            .collect();
        let response = self.vault.log_in(&path, body)?;
        if response.is_success() {
            return lease(&response);
        }
        let what = format!("{method} login at {}", path.join("/"));
        let refused = matches!(response.status(), 400 | 403).then(|| vault::words(&response));
        match refused.flatten() {
            Some(words) => Err(KeyError::new(
                KeyErrorKind::Denied,
                format!("{what} is refused: {words}"),
            )),
            None => Err(vault::failure(&response, &what)),
        }
    }

    /// How long a given token is good for. One that may not ask is taken as it is: the first use
    /// tells whether it is any good.
    fn look_up(&self, token: &str) -> Result<Lease, KeyError> {
        let lease = Lease::new(token, None)?;
        let response = self.vault.send(&LOOKUP, None, Some(&lease))?;
        match response.status() {
            200 => {
                let Data { data, .. } = response.json::<Data<Lookup>>()?;
                // A token in its last second has a lifetime of 0, and yet an end.
                let lifetime = data
                    .expire_time
                    .map(|_at| Duration::from_secs(data.ttl.max(1)));
                Ok(Lease::new(token, lifetime)?.renewable(data.renewable))
            }
            403 if vault::words(&response).is_some() => Ok(lease),
            _ => Err(vault::failure(&response, "a look at the token")),
        }
    }

    fn renew(&self, last: &Lease) -> Result<Lease, KeyError> {
        let path = ["auth", "token", "renew-self"];
        let response = self
            .vault
            .send(&path, Some(&wire::body(&NoFields {})?), Some(last))?;
        if response.is_success() {
            lease(&response)
        } else {
            Err(vault::failure(&response, "renewing the token"))
        }
    }

    /// A token that cannot be renewed, and no way to get another: it has to be said in time.
    fn look_for_another(&self, last: &Lease) -> Result<Lease, KeyError> {
        let lease = self.log_in()?;
        let same = *lease.reveal() == *last.reveal();
        if same && matches!(self.identity, Identity::Token(_)) {
            let seconds = lease.lifetime().unwrap_or_default().as_secs();
            return Err(KeyError::unavailable(format!(
                "the token ends in {seconds} s and cannot be renewed; {}",
                self.advice()
            )));
        }
        Ok(lease)
    }
}

#[derive(Serialize)]
struct NoFields {}

impl Source for Login {
    type Given = Token;

    fn fetch(&self, last: Option<&Lease>) -> Result<Lease, KeyError> {
        let Some(last) = last else {
            return self.log_in();
        };
        if last.is_renewable() {
            match self.renew(last) {
                Ok(renewed) if !is_near_the_end(&renewed, last) => return Ok(renewed),
                Err(error) if error.kind() == KeyErrorKind::Unavailable => return Err(error),
                Ok(renewed) => {
                    return self.look_for_another(last).or_else(|error| {
                        tracing::warn!(%error, "the token nears the end of the longest life it may have");
                        Ok(renewed)
                    });
                }
                Err(_refused) => {}
            }
        }
        self.look_for_another(last)
    }
}

/// Whether a renewal gave so little that the token must be near the longest life it may have.
fn is_near_the_end(renewed: &Lease, last: &Lease) -> bool {
    match (renewed.lifetime(), last.lifetime()) {
        (Some(renewed), Some(last)) => renewed < last / 2,
        _ => false,
    }
}

fn lease(response: &Response) -> Result<Lease, KeyError> {
    let Authenticated { auth } = response.json()?;
    let lifetime = (auth.lease_duration > 0).then(|| Duration::from_secs(auth.lease_duration));
    Ok(Lease::new(&auth.client_token, lifetime)?.renewable(auth.renewable))
}

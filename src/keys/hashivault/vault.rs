//! The service over HTTP: what is sent, what it says, and what that means.

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::keys::between::does_not_open;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::service::{Client, Endpoint, Lease, Request, Response, wire};

/// One request to the engine.
pub(super) struct Call<'a> {
    /// For messages.
    pub(super) doing: &'static str,
    /// What stands between mount and key in the path.
    pub(super) operation: &'a [&'static str],
    /// With a body it is a `POST`.
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Call<'a> {
    pub(super) fn get(doing: &'static str, operation: &'a [&'static str]) -> Self {
        Self {
            doing,
            operation,
            body: None,
        }
    }

    pub(super) fn post(
        doing: &'static str,
        operation: &'a [&'static str],
        body: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self {
            body: Some(body),
            ..Self::get(doing, operation)
        }
    }
}

/// What engines answer.
#[derive(Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
    #[serde(default)]
    pub(super) request_id: String,
}

/// A Vault or OpenBao server, and the namespace that is asked in it.
#[derive(Debug)]
pub(super) struct Vault {
    client: Client,
    endpoint: Endpoint,
    namespace: Option<String>,
    /// Where this machine logs in. A key's URI does not say it: it may be somebody's who put it there, and he would be
    /// sent what the machine logs in with.
    login_namespace: Option<String>,
}

impl Vault {
    pub(super) fn new(
        client: Client,
        endpoint: Endpoint,
        namespace: Option<String>,
        login_namespace: Option<String>,
    ) -> Self {
        Self {
            client,
            endpoint,
            namespace,
            login_namespace,
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request to a path below `/v1` and reads the answer, whatever its status.
    ///
    /// # Errors
    /// `Unavailable` where no answer came.
    pub(super) fn send(
        &self,
        path: &[&str],
        body: Option<&Zeroizing<Vec<u8>>>,
        lease: Option<&Lease>,
    ) -> Result<Response, KeyError> {
        self.send_in(self.namespace.as_deref(), path, body, lease)
    }

    /// Sends what this machine logs in with.
    ///
    /// # Errors
    /// As [`Vault::send`].
    pub(super) fn log_in(
        &self,
        path: &[&str],
        body: &Zeroizing<Vec<u8>>,
    ) -> Result<Response, KeyError> {
        self.send_in(self.login_namespace.as_deref(), path, Some(body), None)
    }

    fn send_in(
        &self,
        namespace: Option<&str>,
        path: &[&str],
        body: Option<&Zeroizing<Vec<u8>>>,
        lease: Option<&Lease>,
    ) -> Result<Response, KeyError> {
        let url = self
            .endpoint
            .join(["v1"].into_iter().chain(path.iter().copied()));
        let mut request = match body {
            Some(body) => Request::post(url, body.clone()),
            None => Request::get(url),
        };
        // Asked for by agents and proxies that are set up to keep browsers out.
        request = request.header("x-vault-request", "true")?;
        if let Some(namespace) = namespace {
            request = request.header("x-vault-namespace", namespace)?;
        }
        if let Some(lease) = lease {
            request = request.header("x-vault-token", &lease.reveal())?;
        }
        self.client.send(request)
    }

    /// Whether the service knows the token. One that it knows was refused by a policy.
    ///
    /// # Errors
    /// `Unavailable` where it does not say.
    pub(super) fn knows(&self, lease: &Lease) -> Result<bool, KeyError> {
        let response = self.send(&LOOKUP, None, Some(lease))?;
        match response.status() {
            200 => Ok(true),
            403 => Ok(false),
            _ => Err(failure(&response, "a look at the token")),
        }
    }
}

/// Where a token asks after itself.
pub(super) const LOOKUP: [&str; 3] = ["auth", "token", "lookup-self"];

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
    /// Servers leave it out of failures, and what stands before them may put it in.
    #[serde(default)]
    request_id: String,
}

/// What the service says of a failure, in one line; `None` where the answer is not the service's.
pub(super) fn words(response: &Response) -> Option<String> {
    let Errors { errors, .. } = response.json().ok()?;
    Some(wire::said(&errors.join("; ")))
}

/// The service's name for a request that failed.
fn request_id(response: &Response) -> Option<String> {
    let Errors { request_id, .. } = response.json().ok()?;
    wire::request_id(&request_id)
}

/// The failure that an answer without success stands for.
pub(super) fn failure(response: &Response, doing: &str) -> KeyError {
    let status = response.status();
    if (300..400).contains(&status) {
        return KeyError::unavailable(format!(
            "{doing}: a standby server (HTTP {status}) that sends callers elsewhere: give the address of the active one, or of a load balancer"
        ));
    }
    let Some(words) = words(response) else {
        return wire::stranger(response, doing);
    };
    let (kind, meaning) = meaning(status, &words);
    let id = request_id(response);
    if kind == KeyErrorKind::Corrupt {
        return does_not_open().of_request(id);
    }
    let said = if words.is_empty() {
        String::new()
    } else {
        format!(" ({words})")
    };
    wire::failure(response, kind, &format!("{doing}: {meaning}{said}"), id)
}

/// The service has no codes besides HTTP's, so its words decide.
fn meaning(status: u16, words: &str) -> (KeyErrorKind, &'static str) {
    use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
    let says = |text: &str| words.contains(text);
    match status {
        400 if says("encryption key not found") => (NotFound, "there is no such key"),
        400 if says("version is too new") => (NotFound, "the key has no such version"),
        400 if says("too old") => (
            Revoked,
            "this version of the key is retired: it is older than min_decryption_version",
        ),
        400 if says("soft-deleted") => (Revoked, "the key is deleted, and can still be restored"),
        400 if says("message authentication failed") || says("invalid ciphertext") => {
            (Corrupt, "it does not open")
        }
        403 => (Denied, "permission denied"),
        404 if says("no handler for route") => (NotFound, "no engine is mounted there"),
        404 if says("namespace") => (NotFound, "there is no such namespace"),
        404 => (NotFound, "there is no such key"),
        412 => (Unavailable, "a server that is behind the others"),
        429 => (Unavailable, "too many requests"),
        503 if says("sealed") => (Unavailable, "the service is sealed: unseal it"),
        400..500 => (Config, "the service refuses the request"),
        _ => (Unavailable, "the service is in trouble"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::service::Reach;
    use crate::keys::service::double::{self, Double};
    use serde_json::{Value, json};

    /// The failure that this answer stands for.
    fn failure_of(status: u16, body: Value) -> KeyError {
        let server = Double::start(move |_request| double::json(status, &body));
        let client = Client::new(&Reach::default()).unwrap();
        let request = Request::get(server.endpoint().join([]));
        failure(&client.send(request).unwrap(), "unwrapping")
    }

    #[test]
    fn a_failure_has_the_name_of_its_request_where_the_answer_has_one() {
        for (status, words) in [(503, "Vault is sealed"), (400, "invalid ciphertext")] {
            let error = failure_of(status, json!({"errors": [words], "request_id": "r-1"}));
            assert_eq!(error.request_id(), Some("r-1"), "{error}");
            let error = failure_of(status, json!({"errors": [words]}));
            assert_eq!(error.request_id(), None, "{error}");
        }
        let hostile = json!({"errors": ["no"], "request_id": "\u{1b}]0;x\u{7}".repeat(900)});
        let error = failure_of(503, hostile);
        let id = error.request_id().unwrap();
        assert!(id.len() < 200 && !id.contains('\u{1b}'), "{id:?}");
        assert!(error.message().len() < 1000 && !error.message().contains('\u{1b}'));
    }

    #[test]
    fn words_decide_what_an_answer_means() {
        use KeyErrorKind::{Config, Corrupt, Denied, NotFound, Revoked, Unavailable};
        for (status, words, kind) in [
            (400, "encryption key not found", NotFound),
            (400, "invalid ciphertext: version is too new", NotFound),
            (
                400,
                "ciphertext or signature version is disallowed by policy (too old)",
                Revoked,
            ),
            (400, "refusing to use soft-deleted key", Revoked),
            (400, "cipher: message authentication failed", Corrupt),
            (
                400,
                "chacha20poly1305: message authentication failed",
                Corrupt,
            ),
            (400, "invalid ciphertext: could not decode base64", Corrupt),
            (400, "something else", Config),
            (403, "permission denied", Denied),
            (404, "", NotFound),
            (
                404,
                "no handler for route \"x/keys/k\". route entry not found.",
                NotFound,
            ),
            (404, "namespace not found", NotFound),
            (405, "unsupported operation", Config),
            (412, "required index state not present", Unavailable),
            (429, "request path exceeded quota", Unavailable),
            (500, "internal error", Unavailable),
            (502, "", Unavailable),
            (503, "Vault is sealed", Unavailable),
        ] {
            assert_eq!(meaning(status, words).0, kind, "{status} {words}");
        }
    }
}

//! The metadata service of a cloud's instances, which gives the key of the instance's role to whoever
//! asks from the instance: by a session (version 2), so that no forged request of a web server does.

use std::time::Duration;

use zeroize::Zeroizing;

use super::client::{Client, Request, Response};
use super::endpoint::Endpoint;
use crate::keys::error::KeyError;

/// How long the host may take: it is one hop away.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// How a cloud calls the parts of the service.
pub(crate) struct Dialect {
    /// The header with the session's life in seconds.
    pub(crate) ttl_header: &'static str,
    /// The header with the session's token.
    pub(crate) token_header: &'static str,
    /// Where the names of roles, and below them their keys, are.
    pub(crate) roles: [&'static str; 4],
}

/// The answer with the credentials of the instance's role: of this one, or of the one that it has.
///
/// # Errors
/// `Config` where the instance has no role, `Unavailable` where the service does not answer so.
pub(crate) fn role_s_key(
    endpoint: &Endpoint,
    dialect: &Dialect,
    role: Option<&str>,
) -> Result<Response, KeyError> {
    let client = Client::direct(TIMEOUT)?;
    let token = session(&client, endpoint, dialect)?;
    let get = |path: &[&str]| {
        let request = Request::get(endpoint.join(path.iter().copied()));
        client.send(request.header(dialect.token_header, &token)?)
    };
    let role = match role {
        Some(role) => role.to_owned(),
        None => only_role(&get(&dialect.roles)?)?,
    };
    let [a, b, c, d] = dialect.roles;
    let answer = get(&[a, b, c, d, &role])?;
    check("the role's credentials", &answer)?;
    Ok(answer)
}

fn session(
    client: &Client,
    endpoint: &Endpoint,
    dialect: &Dialect,
) -> Result<Zeroizing<String>, KeyError> {
    let url = endpoint.join(["latest", "api", "token"]);
    let request = Request::put(url, Zeroizing::default()).header(dialect.ttl_header, "300")?;
    let answer = client.send(request)?;
    check("a session", &answer)?;
    let token = std::str::from_utf8(answer.body()).unwrap_or_default();
    Ok(Zeroizing::new(token.trim().to_owned()))
}

fn only_role(answer: &Response) -> Result<String, KeyError> {
    let role = std::str::from_utf8(answer.body()).unwrap_or_default();
    let role = role.lines().next().unwrap_or_default().trim();
    if answer.status() == 404 || role.is_empty() {
        return Err(KeyError::config("the instance has no role"));
    }
    check("the role", answer)?;
    Ok(role.to_owned())
}

/// # Errors
/// `Unavailable` for an answer that is no success.
pub(crate) fn check(what: &str, answer: &Response) -> Result<(), KeyError> {
    if answer.is_success() {
        return Ok(());
    }
    let status = answer.status();
    Err(KeyError::unavailable(format!(
        "asked for {what}, it answered HTTP {status}"
    )))
}

#[cfg(test)]
pub(crate) mod testing {
    use super::super::double::{Double, Received, answer, json};
    use super::Dialect;

    /// A metadata service of an instance with this role, whose key this is.
    pub(crate) fn instance(
        dialect: &'static Dialect,
        role: &'static str,
        key: impl Fn() -> serde_json::Value + Send + Sync + 'static,
    ) -> Double {
        let roles = format!("/{}", dialect.roles.join("/"));
        Double::start(move |request: &Received| {
            let known = request.header(dialect.token_header) == Some("session");
            let below = request.path.strip_prefix(&roles);
            match (request.method.as_str(), request.path.as_str(), below) {
                ("PUT", "/latest/api/token", _) => {
                    assert_eq!(request.header(dialect.ttl_header), Some("300"));
                    answer(200, &[], b"session")
                }
                ("GET", ..) if !known => answer(401, &[], b""),
                ("GET", _, Some("")) if role.is_empty() => answer(404, &[], b""),
                ("GET", _, Some("")) => answer(200, &[], role.as_bytes()),
                ("GET", _, Some(name)) if name.trim_start_matches('/') == role => json(200, &key()),
                _ => answer(404, &[], b""),
            }
        })
    }
}

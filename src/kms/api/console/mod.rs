//! The console: pages for a browser, and what their scripts ask.
//!
//! | Path | What |
//! |---|---|
//! | `GET /console`, `GET /console/…` | pages, styles and scripts, all out of the program |
//! | `POST /console/api/SignIn` | an access key for a session |
//! | `POST /console/api/…` | everything else: who has a session's cookie and its token may ask |
//!
//! The scripts ask for what the engine has, as the caller whose access key signed in: policies, refusals and the audit trail
//! are the same as for every other client.

mod access;
mod assets;
mod calls;
mod keys;
mod operations;
mod people;
mod session;
mod views;

use hyper::header::{self, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::answer::Body;
use super::web::{Door, UNKNOWN, WebAnswer, WebError, WebRequest, members};
use crate::kms::engine::sessions::{IDLE_MAX, Session};
use crate::kms::engine::{Caller, Operation};
use session::COOKIE;

/// The longest body: a policy in JSON, and what is beside it.
pub const BODY_MAX: usize = 128 * 1024;

const ROOT: &str = "/console";
const API: &str = "/console/api/";

/// Whether a path is the console's.
#[must_use]
pub fn serves(path: &str) -> bool {
    path.strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A request of somebody who is signed in.
struct Asking<'a> {
    door: Door<'a>,
    caller: Caller,
}

type Done = Result<Body, WebError>;

/// Does what a request asks. `caller` is nobody yet.
pub async fn answer(door: Door<'_>, caller: Caller, request: WebRequest<'_>) -> WebAnswer {
    let Some(name) = request.path.strip_prefix(API) else {
        return assets::answer(caller.request_id, request);
    };
    let answer = api(door, caller, name, request).await;
    answer.with(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

async fn api(door: Door<'_>, caller: Caller, name: &str, request: WebRequest<'_>) -> WebAnswer {
    let request_id = caller.request_id.clone();
    if let Err(error) = check_origin(&request) {
        return WebAnswer::refusal(&error, UNKNOWN, request_id);
    }
    match name {
        "SignIn" => sign_in(door, caller, request).await,
        "SignOut" => sign_out(door, caller, request).await,
        _ => match resume(door, caller, name, request).await {
            Err(error) => WebAnswer::refusal(&error, UNKNOWN, request_id),
            Ok((asking, session)) if name == "Session" => {
                WebAnswer::new("Session", request_id, welcome(&asking, &session))
            }
            Ok((asking, _session)) => {
                let (operation, done) = operations::dispatch(name, asking, request.body).await;
                match done {
                    Ok(body) => WebAnswer::new(operation, request_id, body),
                    Err(error) => WebAnswer::refusal(&error, operation, request_id),
                }
            }
        },
    }
}

async fn sign_in(door: Door<'_>, caller: Caller, request: WebRequest<'_>) -> WebAnswer {
    let request_id = caller.request_id.clone();
    let begun = async {
        let given: SignIn = members(request.body)?;
        let secret = Zeroizing::new(given.secret);
        let (engine, id) = (door.engine, given.id.trim());
        let caller = door
            .access
            .prove(engine, caller, id, secret.as_bytes())
            .await?;
        door.take(&caller)?;
        let (cookie, session) = engine.begin_session(&caller).await?;
        Ok::<_, WebError>((caller, cookie, session))
    };
    match begun.await {
        Err(error) => WebAnswer::refusal(&error, "SignIn", request_id),
        Ok((caller, cookie, session)) => {
            let asking = Asking { door, caller };
            let mut answer = WebAnswer::new("SignIn", request_id, welcome(&asking, &session));
            set_cookie(&mut answer, &cookie, IDLE_MAX.as_secs());
            answer
        }
    }
}

/// Ends the session, if the request is of one.
async fn sign_out(door: Door<'_>, caller: Caller, request: WebRequest<'_>) -> WebAnswer {
    let request_id = caller.request_id.clone();
    let ended = match session::find(door.engine, &request).await {
        Ok(session) => {
            let caller = session.caller(caller);
            let ended = door.engine.end_session(&caller, &session).await;
            ended.map_err(Into::into)
        }
        Err(error) if error.status == 401 => Ok(()),
        Err(error) => Err(error),
    };
    let mut answer = match ended {
        Ok(()) => WebAnswer::new("SignOut", request_id, Body::json(&())),
        // The cookie goes; who else has it still has a session, which the answer does not hide.
        Err(error) => WebAnswer::refusal(&error, "SignOut", request_id),
    };
    set_cookie(&mut answer, "", 0);
    answer
}

/// Goes on with a session whose access key still is what it was.
async fn resume<'a>(
    door: Door<'a>,
    caller: Caller,
    name: &str,
    request: WebRequest<'_>,
) -> Result<(Asking<'a>, Session), WebError> {
    let session = session::find(door.engine, &request).await?;
    // Who comes back to an open page has its cookie alone, and is told the token.
    if name != "Session" {
        session::check_token(session.token(), &request)?;
    }
    let credential = door.engine.credential(session.access_key_id()).await?;
    let is_good = credential.is_some_and(|credential| {
        credential.enabled && credential.principal == session.principal()
    });
    let caller = session.caller(caller);
    if !is_good {
        door.engine.end_session(&caller, &session).await?;
        return Err(session::ended());
    }
    door.take(&caller)?;
    Ok((Asking { door, caller }, session))
}

/// The members of `SignIn`.
#[derive(serde::Deserialize)]
struct SignIn {
    id: String,
    secret: String,
}

#[derive(Serialize)]
struct Welcome<'a> {
    principal: &'a str,
    access_key_id: &'a str,
    region: &'a str,
    account: &'a str,
    /// Whether keys can be made in an HSM.
    hsm: bool,
    /// To be given with every request.
    token: &'a str,
    idle_minutes: i64,
}

fn welcome(asking: &Asking<'_>, session: &Session) -> Body {
    Body::json(&Welcome {
        principal: &asking.caller.principal,
        access_key_id: &asking.caller.access_key_id,
        region: asking.door.place.region(),
        account: asking.door.place.account(),
        hsm: asking.door.engine.has_hsm(),
        token: session.token(),
        idle_minutes: IDLE_MAX.as_mins(),
    })
}

/// The prefix has browsers hold that it is of this host alone and came over TLS.
fn set_cookie(answer: &mut WebAnswer, value: &str, seconds: i64) {
    let cookie =
        format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::try_from(cookie) {
        answer.set(header::SET_COOKIE, value);
    }
}

/// Asked by POST, in JSON, by a page of this host: forms and pages of others cannot do that.
fn check_origin(request: &WebRequest<'_>) -> Result<(), WebError> {
    if request.method != "POST" {
        return Err(WebError::new(405, "MethodNotAllowed", "Only POST."));
    }
    let is_json = request
        .header(&header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next() == Some("application/json"));
    if !is_json {
        return Err(WebError::new(
            415,
            "NotJson",
            "The body's type is application/json.",
        ));
    }
    let host = request.header(&header::HOST);
    let origin = request.headers.get(header::ORIGIN);
    let own = origin.is_none_or(|origin| {
        let origin = origin.to_str().ok();
        host.is_some() && origin.and_then(|origin| origin.strip_prefix("https://")) == host
    });
    let site = request.headers.get("sec-fetch-site");
    if own && site.is_none_or(|site| site == "same-origin") {
        return Ok(());
    }
    Err(WebError::new(
        403,
        "OtherOrigin",
        "The request comes from a page of another site.",
    ))
}

impl Asking<'_> {
    async fn perform<O: Operation>(&self, operation: O) -> Result<O::Answer, WebError> {
        let done = self.door.engine.perform(&self.caller, operation).await;
        done.map_err(Into::into)
    }
}

/// Reads the members, does it, writes the answer.
async fn run<'a, I, O, F>(asking: Asking<'a>, body: &[u8], done: fn(Asking<'a>, I) -> F) -> Done
where
    I: DeserializeOwned,
    O: Serialize,
    F: Future<Output = Result<O, WebError>>,
{
    Ok(Body::json(&done(asking, members(body)?).await?))
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn checked(method: &str, headers: &[(&'static str, &'static str)]) -> &'static str {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        let request = WebRequest {
            method,
            path: "/console/api/SignIn",
            query: "",
            headers: &headers,
            body: b"",
        };
        check_origin(&request).map_or_else(|error| error.code, |()| "")
    }

    const JSON: (&str, &str) = ("content-type", "application/json");
    const HOST: (&str, &str) = ("host", "kms.example:8443");

    #[test]
    fn only_pages_of_this_host_may_ask() {
        assert_eq!(checked("POST", &[JSON, HOST]), "");
        let own = ("origin", "https://kms.example:8443");
        let same = ("sec-fetch-site", "same-origin");
        assert_eq!(checked("POST", &[JSON, HOST, own, same]), "");
        for origin in [
            "https://kms.example",
            "http://kms.example:8443",
            "https://evil.example",
            "null",
            "",
        ] {
            let headers = [JSON, HOST, ("origin", origin)];
            assert_eq!(checked("POST", &headers), "OtherOrigin", "{origin}");
        }
        for site in ["cross-site", "same-site", "none"] {
            let headers = [JSON, HOST, own, ("sec-fetch-site", site)];
            assert_eq!(checked("POST", &headers), "OtherOrigin", "{site}");
        }
    }

    #[test]
    fn what_a_form_could_send_is_refused() {
        assert_eq!(checked("GET", &[JSON, HOST]), "MethodNotAllowed");
        assert_eq!(checked("POST", &[HOST]), "NotJson");
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            let headers = [HOST, ("content-type", kind)];
            assert_eq!(checked("POST", &headers), "NotJson", "{kind}");
        }
    }

    #[test]
    fn the_console_serves_its_own_paths() {
        for path in ["/console", "/console/", "/console/app.js", "/console/api/x"] {
            assert!(serves(path), "{path}");
        }
        for path in ["/", "/consoles", "/consol", "//console", "/keys/public"] {
            assert!(!serves(path), "{path}");
        }
    }
}

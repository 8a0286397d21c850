//! Access tokens by OAuth 2.0 (RFC 6749), and calls that carry them.

use std::time::Duration;

use jiff::SignedDuration;
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::client::{Client, Request, Response};
use super::clock;
use super::renewed::Source;
use super::token::{Lease, Token, Tokens};
use super::wire;
use crate::keys::error::{KeyError, KeyErrorKind};
use crate::keys::percent;

#[derive(Deserialize)]
struct Granted {
    access_token: Zeroizing<String>,
    expires_in: Seconds,
}

/// A number, which some metadata services write as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// Asks an authorization server for an access token; `who` stands in messages.
///
/// # Errors
/// `Denied` where it refuses; `Config` where this machine's settings are to blame, and `Unavailable` where
/// its clock is.
pub(crate) fn ask(
    client: &Client,
    url: Url,
    who: &str,
    fields: &[(&str, &str)],
) -> Result<Lease, KeyError> {
    let request = Request::post(url, form(fields));
    let request = request.header("content-type", "application/x-www-form-urlencoded")?;
    granted(&client.send(request)?, who)
}

/// The access token of an answer.
///
/// # Errors
/// Those of [`ask`].
pub(crate) fn granted(response: &Response, who: &str) -> Result<Lease, KeyError> {
    if !response.is_success() {
        return Err(refused(response, &format!("an access token for {who}")));
    }
    let granted: Granted = response.json()?;
    let seconds = match granted.expires_in {
        Seconds::Number(seconds) => Some(seconds),
        Seconds::Text(text) => text.parse().ok(),
    };
    let seconds = seconds.ok_or_else(|| wire::stranger(response, "an access token"))?;
    Lease::new(&granted.access_token, Some(Duration::from_secs(seconds)))
}

/// Sends a request with the access token; once more with a new one where the service says that it
/// is not good (401).
///
/// # Errors
/// Those of the token source; `Unavailable` where no answer came.
pub(crate) fn send<S: Source<Given = Token>>(
    client: &Client,
    tokens: &Tokens<S>,
    request: &dyn Fn() -> Result<Request, KeyError>,
) -> Result<Response, KeyError> {
    tokens.with(
        |done: &Result<Response, KeyError>| {
            done.as_ref().is_ok_and(|response| response.status() == 401)
        },
        |lease| {
            let bearer = Zeroizing::new(format!("Bearer {}", *lease.reveal()));
            client.send(request()?.header("authorization", &bearer)?)
        },
    )
}

/// `application/x-www-form-urlencoded`, in room that it does not outgrow, so that no copies stay behind.
pub(crate) fn form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let room = fields.iter().fold(0_usize, |room, (name, value)| {
        let encoded = value.len().saturating_mul(3);
        room.saturating_add(name.len())
            .saturating_add(encoded)
            .saturating_add(2)
    });
    let mut form = Zeroizing::new(Vec::with_capacity(room));
    for (name, value) in fields {
        if !form.is_empty() {
            form.push(b'&');
        }
        let value = Zeroizing::new(percent::encode(value.as_bytes(), percent::is_unreserved));
        for part in [*name, "=", &value] {
            form.extend_from_slice(part.as_bytes());
        }
    }
    form
}

fn refused(response: &Response, doing: &str) -> KeyError {
    let Ok(Refused {
        error,
        error_description,
    }) = response.json()
    else {
        return wire::stranger(response, doing);
    };
    let words = wire::said(&format!("{error}: {error_description}"));
    if CLOCK.iter().any(|clock| error_description.contains(clock)) {
        let skew = clock::skew(response, clock::now(), TOLERATED);
        let skew = skew
            .as_deref()
            .unwrap_or("is the clock of this machine right?");
        return KeyError::unavailable(format!("{doing}: {words}; {skew}"));
    }
    let kind = kind(response.status(), &error);
    wire::failure(response, kind, &format!("{doing}: {words}"), None)
}

/// By how much clocks may differ, for the services.
const TOLERATED: SignedDuration = SignedDuration::from_mins(5);

/// Words that say that a time in the request was not now.
const CLOCK: [&str; 3] = [
    "iat and exp",
    "AADSTS700024",
    "not within its valid time range",
];

fn kind(status: u16, error: &str) -> KeyErrorKind {
    match error {
        "invalid_grant" | "invalid_client" | "unauthorized_client" | "access_denied" => {
            KeyErrorKind::Denied
        }
        "temporarily_unavailable" | "server_error" | "slow_down" => KeyErrorKind::Unavailable,
        _ if (400..500).contains(&status) && status != 429 => KeyErrorKind::Config,
        _ => KeyErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::double::{self, Double};
    use super::super::reach::Reach;
    use super::*;

    fn ask_one(answer: Vec<u8>) -> Result<Lease, KeyError> {
        let double = Double::start(move |_request| answer.clone());
        let client = Client::new(&Reach::default()).unwrap();
        ask(&client, double.endpoint().join(["token"]), "ada", &[])
    }

    #[test]
    fn a_form_keeps_what_its_fields_hold() {
        let fields = [("a", "x y+z&=%"), ("b", "s~e-c.r_et/é")];
        assert_eq!(
            *form(&fields),
            b"a=x%20y%2Bz%26%3D%25&b=s~e-c.r_et%2F%C3%A9".to_vec()
        );
    }

    #[test]
    fn a_token_lasts_as_long_as_was_said() {
        for seconds in [json!(3599), json!("3599")] {
            let body = json!({"access_token": "t", "expires_in": seconds, "token_type": "Bearer"});
            let lease = ask_one(double::json(200, &body)).unwrap();
            assert_eq!(lease.reveal().as_str(), "t");
            assert_eq!(lease.lifetime(), Some(Duration::from_secs(3599)));
        }
        for body in [
            json!({"access_token": "t"}),
            json!({"access_token": "t", "expires_in": "x"}),
        ] {
            let error = ask_one(double::json(200, &body)).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        }
    }

    #[test]
    fn refusals_trouble_and_clocks_are_told_apart() {
        use KeyErrorKind::{Config, Denied, Unavailable};
        let google = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
        for (status, error, description, kind, says) in [
            (
                400,
                "invalid_grant",
                "Invalid JWT Signature.",
                Denied,
                "Signature",
            ),
            (
                401,
                "invalid_client",
                "AADSTS7000215: Invalid client secret",
                Denied,
                "AADSTS7000215",
            ),
            (400, "invalid_grant", google, Unavailable, "clock"),
            (
                401,
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
                Unavailable,
                "clock",
            ),
            (
                400,
                "invalid_request",
                "AADSTS90002: Tenant not found",
                Config,
                "Tenant",
            ),
            (
                503,
                "temporarily_unavailable",
                "",
                Unavailable,
                "temporarily",
            ),
            (429, "rate", "", Unavailable, "rate"),
        ] {
            let body = json!({"error": error, "error_description": description});
            let error = ask_one(double::json(status, &body)).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("ada"), "{error}");
        }
        let error = ask_one(double::answer(401, &[], b"<html>")).unwrap_err();
        assert_eq!(error.kind(), Unavailable);
    }
}

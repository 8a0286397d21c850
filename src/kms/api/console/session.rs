//! Sessions as a browser has them: a cookie, and the token of the page.

use hyper::header::{self, HeaderName};
use subtle::ConstantTimeEq as _;

use crate::kms::api::web::{WebError, WebRequest};
use crate::kms::engine::Engine;
use crate::kms::engine::sessions::Session;

pub(super) const COOKIE: &str = "__Host-envelopekms";
/// The header of the token.
pub(super) const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-console-token");

/// The session of the request's cookie.
pub(super) async fn find(engine: &Engine, request: &WebRequest<'_>) -> Result<Session, WebError> {
    let cookie = request.header(&header::COOKIE).and_then(cookie);
    let session = engine.session(cookie.ok_or_else(ended)?).await?;
    session.ok_or_else(ended)
}

/// A page of another site can have the cookie sent, but does not know the token.
pub(super) fn check_token(token: &str, request: &WebRequest<'_>) -> Result<(), WebError> {
    let given = request.header(&TOKEN_HEADER).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Ok(());
    }
    Err(WebError::new(
        403,
        "TokenWrong",
        "The request does not have the session's token. Load the page again.",
    ))
}

/// No session, or one that is over.
pub(super) fn ended() -> WebError {
    WebError::new(401, "SessionEnded", "You are not signed in any more.")
}

/// The cookie's value; a name that is there twice is no cookie of a browser.
fn cookie(header: &str) -> Option<&str> {
    let values = header.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    });
    let mut values = values.filter(|value| !value.is_empty());
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_never_one_of_two() {
        for (header, found) in [
            ("__Host-envelopekms=x", Some("x")),
            ("a=b; __Host-envelopekms=x; c=d", Some("x")),
            ("a=b;__Host-envelopekms=x=y", Some("x=y")),
            ("__Host-envelopekms=", None),
            ("__Host-envelopekms=x; __Host-envelopekms=y", None),
            ("envelopekms=x", None),
            ("__Host-envelopekms", None),
            ("", None),
        ] {
            assert_eq!(cookie(header), found, "{header}");
        }
    }

    #[test]
    fn a_request_without_the_token_is_refused() {
        let check = |headers: &[&str]| {
            let headers: HeaderMap = headers
                .iter()
                .map(|value| (TOKEN_HEADER, value.parse().unwrap()))
                .collect();
            let request = WebRequest {
                method: "POST",
                path: "/console/api/ListKeys",
                query: "",
                headers: &headers,
                body: b"",
            };
            check_token("right", &request)
        };
        assert_eq!(check(&["right"]), Ok(()));
        for headers in [&[][..], &[""], &["wrong"], &["righ"], &["right", "right"]] {
            assert_eq!(check(headers).unwrap_err().code, "TokenWrong");
        }
    }
}

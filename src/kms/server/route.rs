//! Which part of the service a request is for.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::body::{self, BodyError};
use super::{Shared, dialects, web};
use crate::kms::api::Answer;
use crate::kms::api::web::WebAnswer;

pub(super) type Reply = Response<Full<Bytes>>;

/// The port that everybody can reach. No path but those of health does anything for who does not sign.
pub(super) async fn public(
    shared: &Shared,
    address: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    if !names_its_host(&request) {
        return plain(StatusCode::BAD_REQUEST, "The request names two hosts.\n");
    }
    match request.uri().path() {
        "/healthz" => health(&request),
        "/readyz" => ready(shared, &request).await,
        "/" => dialect(shared, address, request).await,
        path => match web::dialect(path) {
            Some(dialect) => within(shared, web::answer(shared, dialect, address, request)).await,
            None => plain(StatusCode::NOT_FOUND, "There is nothing of this name.\n"),
        },
    }
}

/// The port of this machine.
pub(super) async fn metrics(shared: &Shared, request: &Request<Incoming>) -> Reply {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let text = shared.metrics.text(shared.connections.taken());
            let mut reply = plain(StatusCode::OK, text);
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
        }
        (_, "/healthz") => health(request),
        (_, "/readyz") => ready(shared, request).await,
        _ => plain(StatusCode::NOT_FOUND, "There is nothing of this name.\n"),
    }
}

/// A target that has a host in it (`POST https://kms/ HTTP/1.1`) has the one of the `host` header:
/// that is the one that is signed.
fn names_its_host(request: &Request<Incoming>) -> bool {
    let Some(authority) = request.uri().authority() else {
        return true;
    };
    let host = request.headers().get(header::HOST);
    host.is_some_and(|host| host.as_bytes() == authority.as_str().as_bytes())
}

fn health(request: &Request<Incoming>) -> Reply {
    match *request.method() {
        Method::GET | Method::HEAD => plain(StatusCode::OK, "ok\n"),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n"),
    }
}

async fn ready(shared: &Shared, request: &Request<Incoming>) -> Reply {
    if health(request).status() != StatusCode::OK {
        return health(request);
    }
    if shared.readiness.is_ready(&shared.engine).await {
        plain(StatusCode::OK, "ready\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// A request to a dialect, within its time.
async fn dialect(shared: &Shared, address: SocketAddr, request: Request<Incoming>) -> Reply {
    within(shared, async {
        let (parts, incoming) = request.into_parts();
        let (most, source) = (shared.limits.body, address.ip());
        let body = match body::read(incoming, most, &shared.bodies, source).await {
            Ok(body) => body,
            Err(BodyError::TooLong) => {
                return close(plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "The body is too long.\n",
                ));
            }
            Err(BodyError::Broken) => return broken(),
            Err(BodyError::Crowded) => return crowded(),
        };
        match dialects::answer(shared, address, &parts, &body).await {
            Some(answer) => reply(answer),
            None => plain(StatusCode::NOT_FOUND, "There is nothing of this name.\n"),
        }
    })
    .await
}

/// An answer, if it is made in time.
async fn within(shared: &Shared, answering: impl Future<Output = Reply>) -> Reply {
    let _in_flight = shared.metrics.enter();
    match timeout(shared.limits.request, answering).await {
        Ok(reply) => reply,
        Err(_late) => close(plain(
            StatusCode::REQUEST_TIMEOUT,
            "The request took too long.\n",
        )),
    }
}

fn reply(answer: Answer) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_owner(answer.body.0)));
    *reply.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    let kind = HeaderValue::from_static(answer.content_type);
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(answer.request_id) {
        headers.insert(HeaderName::from_static(answer.request_id_header), id);
    }
    reply
}

pub(super) fn web_reply(answer: WebAnswer) -> Reply {
    let mut reply = reply(answer.answer);
    let headers = reply.headers_mut();
    for (name, value) in answer.headers {
        headers.append(name, value);
    }
    reply
}

/// The client stopped sending.
pub(super) fn broken() -> Reply {
    close(plain(StatusCode::BAD_REQUEST, "The body broke off.\n"))
}

/// More is sent than there is memory for.
pub(super) fn crowded() -> Reply {
    let text = "Too many long bodies are sent at once.\n";
    let mut reply = plain(StatusCode::SERVICE_UNAVAILABLE, text);
    let headers = reply.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    close(reply)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

/// The connection cannot be used any more: what the client still sends is no request.
pub(super) fn close(mut reply: Reply) -> Reply {
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(header::CONNECTION, close);
    reply
}

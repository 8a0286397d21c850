//! The REST interface and the console on the server's port.

use std::net::SocketAddr;
use std::time::Instant;

use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::body::{self, BodyError};
use super::{Shared, route};
use crate::kms::api::web::{Door, WebAnswer, WebError, WebRequest};
use crate::kms::api::{console, rest};
use crate::kms::engine::{Caller, Dialect};

/// The part of the service that a path is of; `None` for paths of neither.
pub(super) fn dialect(path: &str) -> Option<Dialect> {
    if rest::serves(path) {
        Some(Dialect::Rest)
    } else if console::serves(path) {
        Some(Dialect::Console)
    } else {
        None
    }
}

pub(super) async fn answer(
    shared: &Shared,
    dialect: Dialect,
    address: SocketAddr,
    request: Request<Incoming>,
) -> route::Reply {
    let since = Instant::now();
    let caller = Caller::nobody(dialect, Some(address.ip()));
    let (parts, incoming) = request.into_parts();
    let most = if dialect == Dialect::Rest {
        rest::BODY_MAX
    } else {
        console::BODY_MAX
    };
    let answer = match body::read(incoming, most, &shared.bodies, address.ip()).await {
        Ok(body) => ask(shared, caller, &parts, &body).await,
        Err(BodyError::TooLong) => {
            let answer = WebAnswer::refusal(&WebError::too_long(), "unknown", caller.request_id);
            return route::close(route::web_reply(answer));
        }
        Err(BodyError::Broken) => return route::broken(),
        Err(BodyError::Crowded) => return route::crowded(),
    };
    let (operation, error) = (answer.answer.operation, answer.answer.error);
    shared
        .metrics
        .count(dialect, operation, error, since.elapsed());
    tracing::debug!(
        request = answer.answer.request_id,
        %address,
        operation,
        status = answer.answer.status,
        error,
        "answered"
    );
    route::web_reply(answer)
}

async fn ask(shared: &Shared, caller: Caller, parts: &Parts, body: &[u8]) -> WebAnswer {
    let door = Door {
        engine: &shared.engine,
        place: &shared.place,
        access: &shared.access,
        may_come: &|access_key_id| shared.rates.take(access_key_id, Instant::now()),
    };
    let request = WebRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    };
    if caller.dialect == Dialect::Rest {
        rest::answer(door, &shared.replays, caller, request).await
    } else {
        console::answer(door, caller, request).await
    }
}

//! From a request to a dialect's answer: who signed it, may it come (again, and so often), what does it ask.

use std::net::SocketAddr;
use std::time::Instant;

use hyper::http::request::Parts;
use jiff::Timestamp;

use super::Shared;
use crate::kms::api::alibaba::{self, AlibabaError, Asked};
use crate::kms::api::aws::{self, AwsError};
use crate::kms::api::web::said;
use crate::kms::api::{Answer, Asking};
use crate::kms::auth::{AuthError, Call, Proven, Request, Scheme, SignedRequest};
use crate::kms::engine::{Caller, Dialect, ErrorKind, KmsError};

/// Why a request does not come to its dialect.
enum Refused {
    Auth(AuthError),
    DisabledKey,
    Engine(KmsError),
    /// RPC has GET and POST, AWS has POST.
    Method,
    Throttled,
    UnknownKey,
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        Self::Auth(error)
    }
}

impl From<KmsError> for Refused {
    fn from(error: KmsError) -> Self {
        Self::Engine(error)
    }
}

/// The dialect's answer; `None` for a request of neither.
pub(super) async fn answer(
    shared: &Shared,
    address: SocketAddr,
    parts: &Parts,
    body: &[u8],
) -> Option<Answer> {
    let since = Instant::now();
    let headers = headers(parts);
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: headers.as_deref().unwrap_or_default(),
        body,
    };
    let dialect = dialect(&request, parts)?;
    let caller = Caller::nobody(dialect, Some(address.ip()));
    let request_id = caller.request_id.clone();
    let proven = match headers {
        Some(_) => prove(shared, caller, &request).await,
        None => Err(AuthError::Incomplete("a header is not UTF-8").into()),
    };
    let answer = match proven {
        Ok((caller, proven)) => ask(shared, caller, proven, body).await,
        Err(refused) => refuse(dialect, &refused, request_id),
    };
    let took = since.elapsed();
    shared
        .metrics
        .count(dialect, answer.operation, answer.error, took);
    tracing::debug!(
        request = answer.request_id,
        %address,
        operation = answer.operation,
        status = answer.status,
        error = answer.error,
        "answered"
    );
    Some(answer)
}

/// `None` where a value is no text.
fn headers(parts: &Parts) -> Option<Vec<(&str, &str)>> {
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        headers.push((name.as_str(), std::str::from_utf8(value.as_bytes()).ok()?));
    }
    Some(headers)
}

/// By what the request looks like; the signature has to fit.
fn dialect(request: &Request<'_>, parts: &Parts) -> Option<Dialect> {
    let header = |name: &str| parts.headers.get(name);
    let signed_by_aws =
        header("authorization").is_some_and(|value| value.as_bytes().starts_with(b"AWS4"));
    if header("x-amz-target").is_some() || signed_by_aws {
        return Some(Dialect::Aws);
    }
    let form = |text: &str| text.contains("Action=") || text.contains("Signature=");
    let in_body = std::str::from_utf8(request.body).is_ok_and(form);
    let rpc = header("x-acs-action").is_some() || form(request.query) || in_body;
    rpc.then_some(Dialect::Alibaba)
}

/// Holds that the request is signed by an access key of this service, for the first time, and not too often. A replay
/// counts for nobody, and what comes too often is not remembered.
async fn prove(
    shared: &Shared,
    mut caller: Caller,
    request: &Request<'_>,
) -> Result<(Caller, Proven), Refused> {
    check_method(caller.dialect, request.method)?;
    let now = Timestamp::now();
    let signed = SignedRequest::parse(request, now)?;
    let credential = shared.engine.credential(signed.access_key_id()).await?;
    let Some(credential) = credential else {
        caller.access_key_id = said(signed.access_key_id());
        let why = "The access key is not one of this service's.";
        return Err(noted(shared, &caller, Refused::UnknownKey, why));
    };
    caller.access_key_id.clone_from(&credential.access_key_id);
    caller.principal.clone_from(&credential.principal);
    let unproven = |error: AuthError| {
        let why = error.to_string();
        noted(shared, &caller, error.into(), &why)
    };
    let proven = signed.verify(credential.secret()).map_err(unproven)?;
    let checked = shared.replays.check(&proven, now).map_err(unproven)?;
    if !shared.rates.take(&credential.access_key_id, Instant::now()) {
        return Err(Refused::Throttled);
    }
    // Only who has the secret learns that the key is disabled.
    if !credential.enabled {
        let why = "The access key is disabled.";
        return Err(noted(shared, &caller, Refused::DisabledKey, why));
    }
    shared.replays.admit(&checked).map_err(unproven)?;
    Ok((caller, proven))
}

fn check_method(dialect: Dialect, method: &str) -> Result<(), Refused> {
    match (dialect, method) {
        (_, "POST") | (Dialect::Alibaba, "GET") => Ok(()),
        _ => Err(Refused::Method),
    }
}

/// A request that is not from who it says, or from whom nothing may come, belongs into the audit trail.
fn noted(shared: &Shared, caller: &Caller, refused: Refused, why: &str) -> Refused {
    let refusal = KmsError::new(ErrorKind::AccessDenied, why);
    let noted = shared
        .access
        .note_unproven(&shared.engine, caller, &refusal);
    noted.map_or_else(Refused::Engine, |()| refused)
}

async fn ask(shared: &Shared, caller: Caller, proven: Proven, body: &[u8]) -> Answer {
    let json_by_default = proven.scheme() != Scheme::AlibabaV1;
    let (dialect, request_id) = (caller.dialect, caller.request_id.clone());
    let asking = Asking {
        engine: &shared.engine,
        caller,
        place: &shared.place,
    };
    match (dialect, proven.into_call()) {
        (Dialect::Aws, Call::Aws { target }) => aws::answer(asking, &target, body).await,
        (
            Dialect::Alibaba,
            Call::Alibaba {
                action,
                version,
                parameters,
            },
        ) => {
            let asked = Asked {
                action: &action,
                version: &version,
                parameters: &parameters,
                json_by_default,
            };
            alibaba::answer(asking, asked).await
        }
        // Signed in one cloud's way, and otherwise a request of the other's.
        (dialect, _) => refuse(dialect, &AuthError::Scheme.into(), request_id),
    }
}

fn refuse(dialect: Dialect, refused: &Refused, request_id: String) -> Answer {
    if dialect == Dialect::Aws {
        aws::refusal(&of_aws(refused), aws::UNKNOWN, request_id)
    } else {
        alibaba::refusal(&of_alibaba(refused), alibaba::UNKNOWN, request_id)
    }
}

fn of_aws(refused: &Refused) -> AwsError {
    match refused {
        Refused::Auth(error) => error.clone().into(),
        Refused::DisabledKey | Refused::UnknownKey => AwsError::unknown_access_key(),
        Refused::Engine(error) => error.clone().into(),
        Refused::Method => AwsError::method(),
        Refused::Throttled => AwsError::throttled(),
    }
}

fn of_alibaba(refused: &Refused) -> AlibabaError {
    match refused {
        Refused::Auth(error) => error.clone().into(),
        Refused::DisabledKey => AlibabaError::disabled_access_key(),
        Refused::Engine(error) => error.clone().into(),
        Refused::Method => AlibabaError::method(),
        Refused::Throttled => AlibabaError::throttled(),
        Refused::UnknownKey => AlibabaError::unknown_access_key(),
    }
}

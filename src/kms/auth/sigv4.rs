//! AWS Signature Version 4 of the service `kms`, in the `authorization` header.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! The region is the client's to choose, as it is part of what is signed. Presigned URLs and bodies
//! that are not signed (`UNSIGNED-PAYLOAD`, `STREAMING-…`) are refused: KMS has neither.

use zeroize::Zeroizing;

use super::authorization::{self, Authorization};
use super::{AuthError, Call, KeyOf, Once, Proof, Request, Scheme, SignedRequest, window};
use crate::keys::awskms::sigv4;
use crate::keys::service::digest;

/// What the key of a signature is for.
pub(super) struct Scope {
    date: String,
    region: String,
}

impl Scope {
    fn signer<'a>(&'a self, id: &'a str, secret: &'a [u8]) -> sigv4::Signer<'a> {
        sigv4::Signer {
            id,
            secret,
            region: &self.region,
            service: "kms",
        }
    }
}

/// Reads a request with this `authorization`.
pub(super) fn parse(request: &Request<'_>, text: &str) -> Result<SignedRequest, AuthError> {
    let parts = authorization::parse(text)?;
    if parts.algorithm != sigv4::ALGORITHM {
        return Err(AuthError::Scheme);
    }
    request.must_be_signed(&parts.signed_headers, "x-amz-")?;
    let date = request.required("x-amz-date", "no x-amz-date")?;
    let time = window::basic(date)?;
    let (id, scope) = scope(parts.credential, date)?;
    if request.header("x-amz-security-token")?.is_some() {
        return Err(AuthError::SecurityToken);
    }
    let target = request.required("x-amz-target", "no x-amz-target")?;
    let canonical = canonical_request(request, &parts)?;
    let of = sigv4::scope(date, &scope.signer("", b""));
    let to_sign = sigv4::string_to_sign(&canonical, date, &of);
    Ok(SignedRequest {
        scheme: Scheme::AwsSigV4,
        access_key_id: id,
        time,
        once: Once::Signature(parts.signature.clone()),
        proof: Proof {
            key: KeyOf::SigV4(scope),
            to_sign: Zeroizing::new(to_sign),
            signature: parts.signature,
        },
        call: Call::Aws {
            target: target.to_owned(),
        },
    })
}

/// `AKID/20260131/eu-central-1/kms/aws4_request`, of the day of `date`.
fn scope(credential: &str, date: &str) -> Result<(String, Scope), AuthError> {
    let parts: Vec<_> = credential.split('/').collect();
    let [id, day, region, service, "aws4_request"] = *parts.as_slice() else {
        return Err(AuthError::Incomplete("Credential has not its five parts"));
    };
    if id.is_empty() || day != sigv4::day(date) || service != "kms" {
        return Err(AuthError::Incomplete(
            "Credential is not of the request's day and of kms",
        ));
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
    };
    Ok((id.to_owned(), scope))
}

fn canonical_request(
    request: &Request<'_>,
    parts: &Authorization<'_>,
) -> Result<Zeroizing<String>, AuthError> {
    let hash = body_hash(request)?;
    let headers = request.canonical_headers(&parts.signed_headers, words)?;
    let (path, query) = (
        sigv4::canonical_path(request.path),
        canonical_query(request.query)?,
    );
    let room = path.len() + query.len() + headers.len() + parts.signed_headers_text.len() + 128;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.extend([request.method, "\n", &path, "\n", &query, "\n"]);
    text.extend([&headers, "\n", parts.signed_headers_text, "\n", &hash]);
    Ok(text)
}

/// The hash of the body as it is here; a header that names another is refused.
fn body_hash(request: &Request<'_>) -> Result<String, AuthError> {
    let hash = digest::sha256_hex(request.body);
    match request.header("x-amz-content-sha256")? {
        Some(sent) if sent != hash => Err(AuthError::BodyHash),
        Some(_) | None => Ok(hash),
    }
}

/// A header's value with one space between its words.
fn words(text: &mut String, value: &str) {
    for (nth, word) in value.split_whitespace().enumerate() {
        text.extend([if nth == 0 { "" } else { " " }, word]);
    }
}

/// The query's pairs, sorted, encoded as they came.
fn canonical_query(query: &str) -> Result<Zeroizing<String>, AuthError> {
    let mut pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    if pairs
        .iter()
        .any(|(name, _value)| name.starts_with("X-Amz-"))
    {
        return Err(AuthError::Scheme);
    }
    pairs.sort_unstable();
    let mut text = Zeroizing::new(String::with_capacity(query.len() + pairs.len()));
    for (nth, (name, value)) in pairs.into_iter().enumerate() {
        text.push_str(if nth == 0 { "" } else { "&" });
        text.extend([name, "=", value]);
    }
    Ok(text)
}

/// The signature.
pub(super) fn sign(scope: &Scope, secret: &[u8], to_sign: &[u8]) -> Vec<u8> {
    let key = sigv4::signing_key(&scope.date, &scope.signer("", secret));
    digest::hmac(&*key, to_sign).to_vec()
}

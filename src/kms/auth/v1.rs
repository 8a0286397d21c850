//! Alibaba Cloud's first signature of RPC requests: a parameter among the parameters.
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism>
//!
//! It signs the method and the parameters of query and form together, and no header: the headers
//! `x-acs-…` that old clients send beside them are not looked at.

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::form::{Form, encode};
use super::{AuthError, Call, KeyOf, Once, Proof, Request, Scheme, SignedRequest, window};

/// The hash of the HMAC, by `SignatureMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

/// Reads a request without `authorization` header.
pub(super) fn parse(request: &Request<'_>) -> Result<SignedRequest, AuthError> {
    let is_signature = |pair: &str| pair.starts_with("Signature=");
    let parameters = match parameters(request) {
        Err(AuthError::Malformed(_)) if !request.query.split('&').any(is_signature) => {
            return Err(AuthError::NotSigned);
        }
        other => other?,
    };
    let signature = parameters.get("Signature").ok_or(AuthError::NotSigned)?;
    let required = |name: &str, missing: &'static str| {
        let value = parameters.get(name).filter(|value| !value.is_empty());
        value.ok_or(AuthError::Incomplete(missing))
    };
    let hash = hash(&parameters)?;
    let signature = BASE64
        .decode(signature.as_bytes())
        .map_err(|_text| AuthError::Incomplete("Signature is not base64"))?;
    if parameters
        .get("SecurityToken")
        .is_some_and(|token| !token.is_empty())
    {
        return Err(AuthError::SecurityToken);
    }
    Ok(SignedRequest {
        scheme: Scheme::AlibabaV1,
        access_key_id: required("AccessKeyId", "no AccessKeyId")?.to_owned(),
        time: window::extended(required("Timestamp", "no Timestamp")?)?,
        once: Once::Nonce(required("SignatureNonce", "no SignatureNonce")?.to_owned()),
        proof: Proof {
            key: KeyOf::V1(hash),
            to_sign: to_sign(request.method, &parameters),
            signature,
        },
        call: Call::Alibaba {
            action: required("Action", "no Action")?.to_owned(),
            version: required("Version", "no Version")?.to_owned(),
            parameters,
        },
    })
}

/// The parameters of the query and of the body, which is a form or empty: nothing else is signed.
pub(super) fn parameters(request: &Request<'_>) -> Result<Form, AuthError> {
    if request.path != "/" {
        return Err(AuthError::Incomplete("the path is not /"));
    }
    if request.body.is_empty() {
        return Form::parse(&[request.query]);
    }
    let kind = request.header("content-type")?.unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(AuthError::Malformed("the body is not a form"));
    }
    let body = std::str::from_utf8(request.body)
        .map_err(|_bytes| AuthError::Malformed("the body is not UTF-8"))?;
    Form::parse(&[request.query, body])
}

fn hash(parameters: &Form) -> Result<Hash, AuthError> {
    if parameters.get("SignatureVersion") != Some("1.0") {
        return Err(AuthError::Incomplete("SignatureVersion is not 1.0"));
    }
    if parameters
        .get("SignatureType")
        .is_some_and(|kind| !kind.is_empty())
    {
        return Err(AuthError::Scheme);
    }
    match parameters.get("SignatureMethod") {
        Some("HMAC-SHA1") => Ok(Hash::Sha1),
        Some("HMAC-SHA256") => Ok(Hash::Sha256),
        Some(_other) => Err(AuthError::Scheme),
        None => Err(AuthError::Incomplete("no SignatureMethod")),
    }
}

/// The text that is signed.
pub(super) fn to_sign(method: &str, parameters: &Form) -> Zeroizing<String> {
    let parameters = encode(&parameters.canonical("Signature"));
    let mut text = Zeroizing::new(String::with_capacity(parameters.len() + 16));
    text.extend([method, "&%2F&", &parameters]);
    text
}

/// The signature: HMAC with the secret and an ampersand as key.
pub(super) fn sign(hash: Hash, secret: &[u8], to_sign: &[u8]) -> Vec<u8> {
    let mut key = Zeroizing::new(Vec::with_capacity(secret.len() + 1));
    key.extend_from_slice(secret);
    key.push(b'&');
    let algorithm = match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(&hmac::Key::new(algorithm, &key), to_sign);
    tag.as_ref().to_vec()
}

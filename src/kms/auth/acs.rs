//! Alibaba Cloud's signatures in the `authorization` header: ACS3-HMAC-SHA256, and ACS4-HMAC-SHA256,
//! whose key is one of a day, a region and a service.
//! <https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature>

use zeroize::Zeroizing;

use super::authorization::{self, Authorization};
use super::{AuthError, Call, KeyOf, Once, Proof, Request, Scheme, SignedRequest, v1, window};
use crate::keys::service::digest;

const ACS3: &str = "ACS3-HMAC-SHA256";
const ACS4: &str = "ACS4-HMAC-SHA256";

/// What the key of an ACS4 signature is for.
pub(super) struct Scope {
    day: String,
    region: String,
    service: String,
}

impl Scope {
    pub(super) fn key(&self, secret: &[u8]) -> Zeroizing<[u8; digest::LEN]> {
        let mut first = Zeroizing::new(Vec::with_capacity(secret.len() + 16));
        first.extend_from_slice(b"aliyun_v4");
        first.extend_from_slice(secret);
        let mut key = digest::hmac(&first, self.day.as_bytes());
        for part in [&self.region, &self.service, "aliyun_v4_request"] {
            key = digest::hmac(&*key, part.as_bytes());
        }
        key
    }
}

/// Reads a request with this `authorization`.
pub(super) fn parse(request: &Request<'_>, text: &str) -> Result<SignedRequest, AuthError> {
    let parts = authorization::parse(text)?;
    request.must_be_signed(&parts.signed_headers, "x-acs-")?;
    let date = request.required("x-acs-date", "no x-acs-date")?;
    let (scheme, access_key_id, key) = credential(&parts, date)?;
    if request.header("x-acs-security-token")?.is_some() {
        return Err(AuthError::SecurityToken);
    }
    check_body(request)?;
    let parameters = v1::parameters(request)?;
    let to_sign = to_sign(request, &parts)?;
    let nonce = request.required("x-acs-signature-nonce", "no x-acs-signature-nonce")?;
    Ok(SignedRequest {
        scheme,
        access_key_id,
        time: window::extended(date)?,
        once: Once::Nonce(nonce.to_owned()),
        proof: Proof {
            key,
            to_sign,
            signature: parts.signature,
        },
        call: Call::Alibaba {
            action: request
                .required("x-acs-action", "no x-acs-action")?
                .to_owned(),
            version: request
                .required("x-acs-version", "no x-acs-version")?
                .to_owned(),
            parameters,
        },
    })
}

/// The scheme, whose request it is, and how it is signed.
fn credential(parts: &Authorization<'_>, date: &str) -> Result<(Scheme, String, KeyOf), AuthError> {
    match parts.algorithm {
        ACS3 if parts.credential.is_empty() => Err(AuthError::Incomplete("Credential is empty")),
        ACS3 => Ok((Scheme::Acs3, parts.credential.to_owned(), KeyOf::Acs3)),
        ACS4 => {
            let (id, scope) = scope(parts.credential, date)?;
            Ok((Scheme::Acs4, id, KeyOf::Acs4(scope)))
        }
        _ => Err(AuthError::Scheme),
    }
}

/// `AK/20260131/cn-local/Kms/aliyun_v4_request`, of the day of `date`.
fn scope(credential: &str, date: &str) -> Result<(String, Scope), AuthError> {
    let parts: Vec<_> = credential.split('/').collect();
    let [id, day, region, service, "aliyun_v4_request"] = *parts.as_slice() else {
        return Err(AuthError::Incomplete("Credential has not its five parts"));
    };
    let of_date: String = date.chars().take(10).filter(|c| *c != '-').collect();
    if id.is_empty() || day != of_date || !service.eq_ignore_ascii_case("kms") {
        return Err(AuthError::Incomplete(
            "Credential is not of the request's day and of kms",
        ));
    }
    let scope = Scope {
        day: day.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Ok((id.to_owned(), scope))
}

fn check_body(request: &Request<'_>) -> Result<(), AuthError> {
    let sent = request.required("x-acs-content-sha256", "no x-acs-content-sha256")?;
    if sent == digest::sha256_hex(request.body) {
        Ok(())
    } else {
        Err(AuthError::BodyHash)
    }
}

/// The algorithm and the hash of the canonical request. Parameters of a form in the body are signed
/// by the body's hash.
fn to_sign(
    request: &Request<'_>,
    parts: &Authorization<'_>,
) -> Result<Zeroizing<String>, AuthError> {
    let query = super::Form::parse(&[request.query])?.canonical("");
    let trimmed = |text: &mut String, value: &str| text.push_str(value.trim());
    let headers = request.canonical_headers(&parts.signed_headers, trimmed)?;
    let room = query.len() + headers.len() + parts.signed_headers_text.len() + 128;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.extend([request.method, "\n", request.path, "\n", &query, "\n"]);
    text.extend([&headers, "\n", parts.signed_headers_text, "\n"]);
    text.push_str(&digest::sha256_hex(request.body));
    let hash = digest::sha256_hex(text.as_bytes());
    Ok(Zeroizing::new(format!("{}\n{hash}", parts.algorithm)))
}

/// The signature with a secret (ACS3) or a key made of one (ACS4).
pub(super) fn sign(key: &[u8], to_sign: &[u8]) -> Vec<u8> {
    digest::hmac(key, to_sign).to_vec()
}

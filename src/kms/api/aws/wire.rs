//! Members of requests and answers: blobs in base64, times in seconds, pages by markers.

use std::collections::BTreeMap;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use jiff::{SignedDuration, Timestamp};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::error::AwsError;
use crate::kms::api::Asking;
use crate::kms::api::place::Cloud;
use crate::kms::api::spelling::Spelling;
use crate::kms::engine::EncryptionContext;
use crate::kms::engine::model::{KeyId, KeyRef, Page, PageRequest};
use crate::kms::engine::ops::SecretBytes;

/// Bytes, which JSON has in base64; they may be a secret.
pub(super) struct Blob(pub(super) SecretBytes);

impl Blob {
    /// Bytes that are no secret.
    pub(super) fn open(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
                let bytes = BASE64
                    .decode(text.as_bytes())
                    .map_err(|_text| E::custom("a blob is not base64"))?;
                Ok(Blob::open(bytes))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// Seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Epoch(pub(super) Timestamp);

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0.as_second())
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let since = SignedDuration::try_from_secs_f64(seconds).map_err(D::Error::custom)?;
        Timestamp::from_duration(since)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// A member that must be there.
pub(super) fn required<T>(value: Option<T>, member: &str) -> Result<T, AwsError> {
    value.ok_or_else(|| {
        AwsError::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// Bytes of a length that the member may have.
pub(super) fn blob(value: Option<Blob>, member: &str, max: usize) -> Result<SecretBytes, AwsError> {
    let Blob(bytes) = required(value, member)?;
    length(bytes.len(), member, 1, max)?;
    Ok(bytes)
}

/// Text of a length that the member may have.
pub(super) fn text(
    value: Option<String>,
    member: &str,
    min: usize,
    max: usize,
) -> Result<String, AwsError> {
    let text = required(value, member)?;
    length(text.chars().count(), member, min, max)?;
    Ok(text)
}

fn length(len: usize, member: &str, min: usize, max: usize) -> Result<(), AwsError> {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    Err(AwsError::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length between {min} and {max}"
    )))
}

/// A number that the member may have.
pub(super) fn within(value: u32, member: &str, min: u32, max: u32) -> Result<u32, AwsError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(AwsError::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must have value between {min} and {max}"
    )))
}

/// A value of an enumeration.
pub(super) fn one_of<T: Copy + PartialEq>(
    spelling: &Spelling<T>,
    name: &str,
    member: &str,
) -> Result<T, AwsError> {
    spelling.value(name).ok_or_else(|| {
        let names: Vec<_> = spelling.0.iter().map(|(name, _value)| *name).collect();
        AwsError::validation(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            names.join(", ")
        ))
    })
}

/// Refuses what AWS has and this service has not, where it is asked for.
pub(super) fn absent<T>(value: Option<&T>, member: &str) -> Result<(), AwsError> {
    match value {
        None => Ok(()),
        Some(_value) => Err(AwsError::unsupported(format!(
            "This service does not have {member}."
        ))),
    }
}

/// The pairs that a ciphertext is bound to.
pub(super) fn context(
    pairs: Option<BTreeMap<String, String>>,
) -> Result<EncryptionContext, AwsError> {
    Ok(EncryptionContext::new(pairs.unwrap_or_default())?)
}

impl Asking<'_> {
    /// The key that a member names.
    pub(super) fn aws_key(&self, value: Option<String>, member: &str) -> Result<KeyRef, AwsError> {
        let name = text(value, member, 1, 2048)?;
        Ok(self.place.key(Cloud::Aws, &name)?)
    }

    pub(super) fn aws_arn(&self, key: &KeyId) -> String {
        self.place.key_arn(Cloud::Aws, key)
    }

    /// With tokens of grants that the caller has.
    pub(super) fn with_grants(mut self, tokens: Option<Vec<String>>) -> Result<Self, AwsError> {
        let tokens = tokens.unwrap_or_default();
        length(tokens.len(), "grantTokens", 0, 10)?;
        self.caller.grant_tokens = tokens;
        Ok(self)
    }
}

/// Which part of a list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paging {
    limit: Option<u32>,
    marker: Option<String>,
}

/// The most entries of one page, and how many where nobody says.
const LIMIT_MAX: u32 = 1000;
const LIMIT: u32 = 100;

impl Paging {
    pub(super) fn request(&self) -> Result<PageRequest, AwsError> {
        let limit = within(self.limit.unwrap_or(LIMIT), "limit", 1, LIMIT_MAX)?;
        let offset = match &self.marker {
            None => 0,
            Some(marker) => offset(marker).ok_or_else(|| {
                AwsError::new("InvalidMarkerException", "The marker is not one of a list.")
            })?,
        };
        Ok(PageRequest { offset, limit })
    }
}

fn offset(marker: &str) -> Option<u64> {
    let bytes = BASE64URL_NOPAD.decode(marker.as_bytes()).ok()?;
    std::str::from_utf8(&bytes)
        .ok()?
        .strip_prefix("from ")?
        .parse()
        .ok()
}

/// What follows a list.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl More {
    pub(super) fn after<T>(page: &Page<T>) -> Self {
        let next = page.next_offset();
        Self {
            truncated: next.is_some(),
            next_marker: next
                .map(|offset| BASE64URL_NOPAD.encode(format!("from {offset}").as_bytes())),
        }
    }

    /// The whole list.
    pub(super) fn nothing() -> Self {
        Self {
            next_marker: None,
            truncated: false,
        }
    }
}

//! Parameters, and what they are written as: text, base64, JSON, times, pages.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::error::AlibabaError;
use crate::kms::api::Asking;
use crate::kms::api::place::Cloud;
use crate::kms::api::spelling::Spelling;
use crate::kms::auth::Form;
use crate::kms::engine::EncryptionContext;
use crate::kms::engine::model::{KeyId, KeyRef, KeyVersionId, Page, PageRequest};
use crate::kms::engine::ops::SecretBytes;

/// A parameter that may be left out; one that is empty counts as left out.
pub(super) fn optional<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.get(name).filter(|value| !value.is_empty())
}

/// A parameter that must be there.
pub(super) fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, AlibabaError> {
    optional(form, name).ok_or_else(|| AlibabaError::missing(name))
}

/// Bytes, which are written in base64.
pub(super) fn bytes(form: &Form, name: &str) -> Result<SecretBytes, AlibabaError> {
    let text = required(form, name)?;
    let bytes = BASE64.decode(text.as_bytes());
    let bytes = bytes.map_err(|_text| AlibabaError::invalid(name))?;
    Ok(Zeroizing::new(bytes))
}

/// `true` or `false`.
pub(super) fn flag(form: &Form, name: &str) -> Result<bool, AlibabaError> {
    match optional(form, name) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_other) => Err(AlibabaError::invalid(name)),
    }
}

/// A whole number of a range.
pub(super) fn number(
    form: &Form,
    name: &str,
    min: u32,
    max: u32,
) -> Result<Option<u32>, AlibabaError> {
    let Some(text) = optional(form, name) else {
        return Ok(None);
    };
    let number = text
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number));
    number.map(Some).ok_or_else(|| AlibabaError::invalid(name))
}

/// A value of an enumeration.
pub(super) fn one_of<T: Copy + PartialEq>(
    form: &Form,
    name: &str,
    spelling: &Spelling<T>,
) -> Result<Option<T>, AlibabaError> {
    let value = |text| {
        spelling
            .value(text)
            .ok_or_else(|| AlibabaError::invalid(name))
    };
    optional(form, name).map(value).transpose()
}

/// The same, where it must be there.
pub(super) fn required_of<T: Copy + PartialEq>(
    form: &Form,
    name: &str,
    spelling: &Spelling<T>,
) -> Result<T, AlibabaError> {
    one_of(form, name, spelling)?.ok_or_else(|| AlibabaError::missing(name))
}

/// The pairs that a ciphertext is bound to: a JSON object of texts.
pub(super) fn context(form: &Form, name: &str) -> Result<EncryptionContext, AlibabaError> {
    let flat = flat_context(form, name);
    let pairs: BTreeMap<String, String> = match optional(form, name) {
        None => flat,
        // Which of the two counts is nobody's to guess.
        Some(_) if !flat.is_empty() => return Err(AlibabaError::invalid(name)),
        Some(json) => serde_json::from_str(json).map_err(|_error| AlibabaError::invalid(name))?,
    };
    Ok(EncryptionContext::new(pairs)?)
}

/// A context whose pairs are parameters of their own, `EncryptionContext.KEY=VALUE`: so the SDK of Node.js sends it.
/// Left unread, what it protects would open under any context.
fn flat_context(form: &Form, name: &str) -> BTreeMap<String, String> {
    let pairs = form.names().filter_map(|parameter| {
        let key = parameter.strip_prefix(name)?.strip_prefix('.')?;
        Some((key.to_owned(), form.get(parameter)?.to_owned()))
    });
    pairs.collect()
}

/// Which page of a list: pages of 10 where nobody says, and of 100 at most.
pub(super) fn page(form: &Form) -> Result<PageRequest, AlibabaError> {
    let number = number(form, "PageNumber", 1, u32::MAX)?.unwrap_or(1);
    let limit = self::number(form, "PageSize", 1, 100)?.unwrap_or(10);
    let offset = u64::from(number - 1) * u64::from(limit);
    Ok(PageRequest { offset, limit })
}

/// What every list says of its pages.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Paged {
    page_number: u64,
    page_size: u32,
    total_count: u64,
}

impl Paged {
    pub(super) fn of<T>(page: &Page<T>) -> Self {
        let PageRequest { offset, limit } = page.request;
        Self {
            page_number: offset / u64::from(limit.max(1)) + 1,
            page_size: limit,
            total_count: page.total,
        }
    }
}

/// `2026-01-31T23:59:59Z`; a time that is none is empty.
pub(super) struct Time(pub(super) Option<Timestamp>);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(Some(time))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_str(""),
            Some(time) => serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ")),
        }
    }
}

/// Bytes in base64.
pub(super) struct Base64(pub(super) SecretBytes);

impl Base64 {
    /// Bytes that are no secret.
    pub(super) fn open(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64.encode(&self.0)))
    }
}

impl Asking<'_> {
    /// The key that a parameter names.
    pub(super) fn alibaba_key(&self, form: &Form, name: &str) -> Result<KeyRef, AlibabaError> {
        let text = required(form, name)?;
        if text.len() > 1024 {
            return Err(AlibabaError::invalid(name));
        }
        Ok(self.place.key(Cloud::Alibaba, text)?)
    }

    pub(super) fn alibaba_arn(&self, key: &KeyId) -> String {
        self.place.key_arn(Cloud::Alibaba, key)
    }
}

/// The version of the key that a parameter names.
pub(super) fn version(form: &Form) -> Result<KeyVersionId, AlibabaError> {
    required(form, "KeyVersionId").map(|id| KeyVersionId(id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(&[text]).unwrap()
    }

    #[test]
    fn a_context_counts_in_either_form_and_never_in_both() {
        let name = "EncryptionContext";
        let of = |text: &str| context(&form(text), name);
        let whole = of("EncryptionContext=%7B%22a.b%22%3A%22c%22%7D").unwrap();
        assert_eq!(of("EncryptionContext.a.b=c").unwrap(), whole);
        assert_ne!(of("EncryptionContext.a.b=d").unwrap(), whole);
        assert!(of("EncryptionContextual.a=b").unwrap().is_empty());
        for wrong in [
            "EncryptionContext=%7B%7D&EncryptionContext.a=b",
            "EncryptionContext=%7B%22a%22%3A1%7D",
            "EncryptionContext=a",
        ] {
            assert_eq!(of(wrong).unwrap_err().code, "InvalidParameter", "{wrong}");
        }
    }

    #[test]
    fn pages_are_numbered_from_one() {
        let request = |text| page(&form(text)).map(|page| (page.offset, page.limit));
        assert_eq!(request(""), Ok((0, 10)));
        assert_eq!(request("PageNumber=3&PageSize=100"), Ok((200, 100)));
        for text in [
            "PageNumber=0",
            "PageSize=0",
            "PageSize=101",
            "PageNumber=x",
            "PageNumber=-1",
        ] {
            assert_eq!(
                request(text).unwrap_err().code,
                "InvalidParameter",
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_wrong() {
        let empty = form("a=");
        assert_eq!(required(&empty, "a").unwrap_err().code, "MissingParameter");
        assert_eq!(bytes(&empty, "b").unwrap_err().code, "MissingParameter");
        assert_eq!(
            bytes(&form("b=*"), "b").unwrap_err().code,
            "InvalidParameter"
        );
        assert_eq!(
            flag(&form("f=yes"), "f").unwrap_err().code,
            "InvalidParameter"
        );
        assert_eq!(flag(&form("f=True"), "f"), Ok(true), "as Python writes it");
        assert_eq!(flag(&empty, "f"), Ok(false));
    }

    #[test]
    fn a_context_is_an_object_of_texts() {
        let of = |json: &str| {
            let text = format!("c={}", json.replace('"', "%22"));
            context(&form(&text), "c")
        };
        assert_eq!(of(r#"{"b":"1","a":"2"}"#).unwrap().pairs().len(), 2);
        assert_eq!(of(r#"{"b":"1","a":"2"}"#), of(r#"{"a":"2","b":"1"}"#));
        assert!(of("").unwrap().is_empty());
        for json in ["[]", "1", r#"{"a":1}"#, r#"{"a":{}}"#, r#"{"a":"1""#] {
            assert_eq!(of(json).unwrap_err().code, "InvalidParameter", "{json}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(8192));
        assert_eq!(of(&long).unwrap_err().code, "InvalidParameter");
    }
}

//! Names of keys: ids, aliases, and ARNs, which name the account too.

use crate::keys::error::KeyError;
use crate::keys::service::region;

/// The longest key id, alias and version in bytes.
const NAME_MAX: usize = 256;

/// The key that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyName {
    region: String,
    text: String,
    /// `None` for an alias.
    id: Option<String>,
}

impl KeyName {
    /// Reads the target of a URI, `REGION/ID`, `REGION/ARN` or `REGION/alias/NAME`.
    ///
    /// # Errors
    /// `Config` for what is none of these, and where ARN and region contradict each other.
    pub(super) fn parse(target: &str) -> Result<Self, KeyError> {
        let form = || KeyError::config(format!("expected {}", super::FORM.example));
        let (region, text) = target.split_once('/').ok_or_else(form)?;
        region::check(region)?;
        let resource = match text.strip_prefix("acs:kms:") {
            Some(rest) => resource_of_arn(rest, region).ok_or_else(form)?,
            None => text,
        };
        let id = match resource.strip_prefix("alias/") {
            Some(name) if is_name(name, b"/_-") => None,
            None if is_name(resource, b"-") => Some(resource.to_owned()),
            _ => return Err(form()),
        };
        Ok(Self {
            region: region.to_owned(),
            text: text.to_owned(),
            id,
        })
    }

    /// As requests name it.
    pub(super) fn as_text(&self) -> &str {
        &self.text
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Whether the URI names the key with this id. An alias may stand for any key of its account.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.as_deref().is_none_or(|own| own == id)
    }
}

/// `KEY` or `alias/NAME` of what follows `acs:kms:` in `acs:kms:REGION:ACCOUNT:key/KEY`.
fn resource_of_arn<'a>(rest: &'a str, region: &str) -> Option<&'a str> {
    let (own_region, rest) = rest.split_once(':')?;
    let (account, resource) = rest.split_once(':')?;
    let is_account = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
    if own_region != region || !is_account {
        return None;
    }
    let is_alias = resource.starts_with("alias/");
    if is_alias {
        Some(resource)
    } else {
        resource.strip_prefix("key/")
    }
}

/// Whether this may be the version of a key.
///
/// # Errors
/// `Corrupt` for other characters and lengths.
pub(super) fn check_version(version: &str) -> Result<(), KeyError> {
    if is_name(version, b"-_.") {
        Ok(())
    } else {
        Err(KeyError::corrupt("no key version of Alibaba Cloud KMS"))
    }
}

fn is_name(text: &str, besides: &[u8]) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || besides.contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;

    #[test]
    fn ids_aliases_and_arns_are_told_apart() {
        let id = KeyName::parse("cn-hangzhou/key-hzz1").unwrap();
        assert_eq!((id.region(), id.as_text()), ("cn-hangzhou", "key-hzz1"));
        assert!(id.is("key-hzz1") && !id.is("key-hzz2"));
        let alias = KeyName::parse("cn-hangzhou/alias/a/b_c").unwrap();
        assert_eq!(alias.as_text(), "alias/a/b_c");
        assert!(alias.is("key-hzz1") && alias.is("key-hzz2"));
        let arn = KeyName::parse("cn-hangzhou/acs:kms:cn-hangzhou:1234:key/key-hzz1").unwrap();
        assert_eq!(arn.as_text(), "acs:kms:cn-hangzhou:1234:key/key-hzz1");
        assert!(arn.is("key-hzz1") && !arn.is("key-hzz2"));
        assert!(
            KeyName::parse("cn-hangzhou/acs:kms:cn-hangzhou:1234:alias/x")
                .unwrap()
                .is("k")
        );
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for target in [
            "cn-hangzhou",
            "cn-hangzhou/",
            "/key-1",
            "evil.example/key-1",
            "CN/key-1",
            "cn-hangzhou/alias/",
            "cn-hangzhou/alias/a:b",
            "cn-hangzhou/a/b",
            "cn-hangzhou/a.b",
            "cn-hangzhou/acs:kms:cn-beijing:1234:key/k",
            "cn-hangzhou/acs:kms:cn-hangzhou::key/k",
            "cn-hangzhou/acs:kms:cn-hangzhou:x:key/k",
            "cn-hangzhou/acs:kms:cn-hangzhou:1:secret/k",
            "cn-hangzhou/acs:ram:cn-hangzhou:1:key/k",
        ] {
            let error = KeyName::parse(target).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config, "{target}");
        }
    }

    #[test]
    fn versions_have_their_form() {
        assert!(check_version("2ab1a983-7072-4bbc-a582-584b5bd8aaaa").is_ok());
        let long = "a".repeat(NAME_MAX + 1);
        for version in ["", "é", "a b", "a/b", &long] {
            let error = check_version(version).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Corrupt, "{version}");
        }
    }
}

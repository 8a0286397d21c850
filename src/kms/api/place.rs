//! Where the service is, as names of keys say it: a region and an account.

use crate::kms::engine::model::{KeyId, KeyRef};

/// Whose way to name things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    Alibaba,
    Aws,
}

impl Cloud {
    fn prefix(self) -> &'static str {
        match self {
            Self::Alibaba => "acs:kms:",
            Self::Aws => "arn:aws:kms:",
        }
    }
}

/// The region and the account that this service's ARNs have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    region: String,
    account: String,
}

/// Why something is no place, or no name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PlaceError {
    #[error("An account is 1 to 20 digits.")]
    Account,
    /// An ARN of another region or account than this service's.
    #[error("The ARN is of another region or account than this service's.")]
    Elsewhere,
    #[error("The ARN is not one of a key or an alias.")]
    Malformed,
    #[error("A region is 1 to 32 lower-case letters, digits and hyphens.")]
    Region,
}

impl Place {
    /// # Errors
    /// Where one of them could not stand in an ARN.
    pub fn new(region: &str, account: &str) -> Result<Self, PlaceError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || region.len() > 32 || !region.bytes().all(plain) {
            return Err(PlaceError::Region);
        }
        let digits = account.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !(1..=20).contains(&account.len()) {
            return Err(PlaceError::Account);
        }
        Ok(Self {
            region: region.to_owned(),
            account: account.to_owned(),
        })
    }

    /// Such as `eu-central-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// `arn:aws:kms:eu-central-1:123456789012:key/…`
    pub(super) fn key_arn(&self, cloud: Cloud, id: &KeyId) -> String {
        self.arn(cloud, &["key/", &id.0])
    }

    /// `alias` has its `alias/`.
    pub(super) fn alias_arn(&self, cloud: Cloud, alias: &str) -> String {
        self.arn(cloud, &[alias])
    }

    fn arn(&self, cloud: Cloud, name: &[&str]) -> String {
        let mut arn = String::with_capacity(128);
        arn.extend([cloud.prefix(), &self.region, ":", &self.account, ":"]);
        arn.extend(name.iter().copied());
        arn
    }

    /// A key by its id, its alias, or the ARN of one of them.
    ///
    /// # Errors
    /// [`PlaceError::Malformed`] or [`PlaceError::Elsewhere`] for an ARN that is not one of this place's.
    pub(super) fn key(&self, cloud: Cloud, text: &str) -> Result<KeyRef, PlaceError> {
        let Some(arn) = text.strip_prefix(cloud.prefix()) else {
            if text.starts_with("arn:") || text.starts_with("acs:") {
                return Err(PlaceError::Malformed);
            }
            return Ok(by_name(text));
        };
        let mut parts = arn.splitn(3, ':');
        let (Some(region), Some(account), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(PlaceError::Malformed);
        };
        if region != self.region || account != self.account {
            return Err(PlaceError::Elsewhere);
        }
        match name.strip_prefix("key/") {
            Some(id) if !id.is_empty() => Ok(KeyRef::Id(KeyId(id.to_owned()))),
            None if name.starts_with("alias/") => Ok(by_name(name)),
            Some(_) | None => Err(PlaceError::Malformed),
        }
    }
}

fn by_name(text: &str) -> KeyRef {
    if text.starts_with("alias/") {
        KeyRef::Alias(text.to_owned())
    } else {
        KeyRef::Id(KeyId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::new("eu-central-1", "123456789012").unwrap()
    }

    fn id(text: &str) -> KeyRef {
        KeyRef::Id(KeyId(text.to_owned()))
    }

    #[test]
    fn arns_that_were_given_out_come_back() {
        let key = KeyId("0b1c".to_owned());
        for cloud in [Cloud::Alibaba, Cloud::Aws] {
            let arn = place().key_arn(cloud, &key);
            assert_eq!(place().key(cloud, &arn), Ok(id("0b1c")));
            let arn = place().alias_arn(cloud, "alias/a/b");
            let alias = KeyRef::Alias("alias/a/b".to_owned());
            assert_eq!(place().key(cloud, &arn), Ok(alias));
        }
        assert_eq!(
            place().key_arn(Cloud::Aws, &key),
            "arn:aws:kms:eu-central-1:123456789012:key/0b1c"
        );
        assert_eq!(
            place().alias_arn(Cloud::Alibaba, "alias/a"),
            "acs:kms:eu-central-1:123456789012:alias/a"
        );
    }

    #[test]
    fn ids_and_aliases_are_told_apart() {
        let key = |text| place().key(Cloud::Aws, text).unwrap();
        assert_eq!(key("0b1c"), id("0b1c"));
        assert_eq!(key("alias/x"), KeyRef::Alias("alias/x".to_owned()));
        assert_eq!(key("aliases"), id("aliases"));
    }

    #[test]
    fn arns_of_elsewhere_and_of_no_key_are_refused() {
        for arn in [
            "arn:aws:kms:eu-central-2:123456789012:key/0b1c",
            "arn:aws:kms:eu-central-1:123456789013:key/0b1c",
            "arn:aws:kms:::key/0b1c",
        ] {
            assert_eq!(
                place().key(Cloud::Aws, arn),
                Err(PlaceError::Elsewhere),
                "{arn}"
            );
        }
        for arn in [
            "arn:aws:kms:eu-central-1:123456789012:key/",
            "arn:aws:kms:eu-central-1:123456789012:grant/0b1c",
            "arn:aws:kms:eu-central-1:123456789012",
            "arn:aws:s3:eu-central-1:123456789012:key/0b1c",
            "acs:kms:eu-central-1:123456789012:key/0b1c",
        ] {
            assert_eq!(
                place().key(Cloud::Aws, arn),
                Err(PlaceError::Malformed),
                "{arn}"
            );
        }
    }

    #[test]
    fn a_place_could_stand_in_an_arn() {
        for region in ["", "a:b", "EU", &"a".repeat(33)] {
            assert_eq!(Place::new(region, "123456789012"), Err(PlaceError::Region));
        }
        for account in ["", "12345678901a", "-1", &"1".repeat(21)] {
            assert_eq!(Place::new("a", account), Err(PlaceError::Account));
        }
    }
}

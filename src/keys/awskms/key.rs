//! Names of KMS keys: ids, aliases, and ARNs, which name account and region too.

use std::fmt;

use crate::keys::error::KeyError;
use crate::keys::service::region;

/// The longest key id and the longest alias in bytes.
const NAME_MAX: usize = 256;

/// Where a key is, as an ARN says it: `arn:PARTITION:kms:REGION:ACCOUNT:…`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    partition: String,
    region: String,
    account: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    Alias(String),
    Key(String),
}

/// The key that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyName {
    text: String,
    place: Option<Place>,
    region: Option<String>,
    resource: Resource,
}

/// One KMS key: what an alias stood for when it wrapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Version<'a> {
    place: Option<&'a Place>,
    id: &'a str,
}

impl KeyName {
    /// Reads the target of a URI, `/ID`, `/ARN` or `/alias/NAME`, with the region beside it.
    ///
    /// # Errors
    /// `Config` for what is none of these, and where ARN and region contradict each other.
    pub(super) fn parse(target: &str, region: Option<&str>) -> Result<Self, KeyError> {
        let form = || KeyError::config(format!("expected {}", super::FORM.example));
        let text = target.strip_prefix('/').ok_or_else(form)?;
        let (place, resource) = if text.starts_with("arn:") {
            let (place, resource) = parse_arn(text).ok_or_else(form)?;
            (Some(place), resource)
        } else {
            (None, resource_of(text, "").ok_or_else(form)?)
        };
        let in_arn = place.as_ref().map(|place| place.region.as_str());
        if in_arn.is_some_and(|in_arn| region.is_some_and(|region| region != in_arn)) {
            return Err(KeyError::config("region: the key's ARN has another"));
        }
        let region = in_arn.or(region);
        region.map_or(Ok(()), region::check)?;
        Ok(Self {
            region: region.map(str::to_owned),
            text: text.to_owned(),
            place,
            resource,
        })
    }

    /// As requests name it.
    pub(super) fn as_text(&self) -> &str {
        &self.text
    }

    /// The region that the URI says.
    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The key that wrapped, by the version that stands with the wrapped key. Whoever may write to
    /// the ciphertext folder may have written it: it can name no key of another account or region.
    ///
    /// # Errors
    /// `Corrupt` for what is no key id, `NotFound` for another key than the URI names.
    pub(super) fn of_version<'a>(&'a self, version: &'a str) -> Result<Version<'a>, KeyError> {
        if !is_key_id(version) {
            return Err(KeyError::corrupt("the key version is no id of a KMS key"));
        }
        match &self.resource {
            Resource::Key(id) if id != version => Err(KeyError::not_found(format!(
                "it was wrapped by key {version}, and the URI names another"
            ))),
            Resource::Key(_) | Resource::Alias(_) => Ok(Version {
                place: self.place.as_ref(),
                id: version,
            }),
        }
    }

    /// The id of the key that answered, by its ARN.
    ///
    /// # Errors
    /// `Unavailable` where that is another key than the URI names: something else than the service
    /// answered.
    pub(super) fn check(&self, arn: &str) -> Result<String, KeyError> {
        let id = match &self.resource {
            Resource::Alias(_) => None,
            Resource::Key(id) => Some(id.as_str()),
        };
        checked(self.place.as_ref(), id, arn)
    }
}

impl Version<'_> {
    /// As requests name it.
    pub(super) fn as_text(&self) -> String {
        match self.place {
            Some(place) => format!("{place}:key/{}", self.id),
            None => self.id.to_owned(),
        }
    }

    /// # Errors
    /// As [`KeyName::check`].
    pub(super) fn check(&self, arn: &str) -> Result<(), KeyError> {
        checked(self.place, Some(self.id), arn).map(drop)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            region,
            account,
        } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}")
    }
}

fn checked(place: Option<&Place>, id: Option<&str>, arn: &str) -> Result<String, KeyError> {
    match parse_arn(arn) {
        Some((its_place, Resource::Key(its_id)))
            if place.is_none_or(|place| *place == its_place)
                && id.is_none_or(|id| id == its_id) =>
        {
            Ok(its_id)
        }
        _ => Err(KeyError::unavailable(
            "the answer is by another key than was asked for, or names none",
        )),
    }
}

fn parse_arn(text: &str) -> Option<(Place, Resource)> {
    let mut parts = text.splitn(6, ':');
    let mut part = || parts.next();
    let (arn, partition, service) = (part()?, part()?, part()?);
    let (region, account, resource) = (part()?, part()?, part()?);
    let is_word = |text: &str| {
        let is_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !text.is_empty() && text.bytes().all(is_char)
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let fits = arn == "arn" && is_word(partition) && service == "kms" && is_word(region);
    let place = Place {
        partition: partition.to_owned(),
        region: region.to_owned(),
        account: account.to_owned(),
    };
    (fits && is_account).then_some((place, resource_of(resource, "key/")?))
}

/// `alias/NAME`, or a key id after `prefix`.
fn resource_of(text: &str, prefix: &str) -> Option<Resource> {
    if let Some(name) = text.strip_prefix("alias/") {
        let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
        let fits = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_char);
        return fits.then(|| Resource::Alias(name.to_owned()));
    }
    let id = text.strip_prefix(prefix)?;
    is_key_id(id).then(|| Resource::Key(id.to_owned()))
}

/// A UUID, `mrk-…`, or what services that speak this protocol have in their place.
fn is_key_id(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::error::KeyErrorKind;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const ARN: &str =
        "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const ALIAS_ARN: &str = "arn:aws-cn:kms:cn-north-1:111122223333:alias/a/b";

    fn name(target: &str) -> KeyName {
        KeyName::parse(target, None).unwrap()
    }

    #[test]
    fn ids_aliases_and_arns_are_told_apart() {
        let id = name(&format!("/{ID}"));
        assert_eq!((id.as_text(), id.region()), (ID, None));
        assert_eq!(name("/alias/a/b_c-d").as_text(), "alias/a/b_c-d");
        assert_eq!(name(&format!("/{ARN}")).region(), Some("eu-central-1"));
        assert_eq!(name(&format!("/{ALIAS_ARN}")).region(), Some("cn-north-1"));
        let with_region = KeyName::parse("/mrk-1", Some("eu-west-1")).unwrap();
        assert_eq!(with_region.region(), Some("eu-west-1"));
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for target in [
            ID,
            "/",
            "//x",
            "/alias/",
            "/alias/a.b",
            "/alias/a:b",
            "/key/x",
            "/a.b",
            "/a/b",
            "host/x",
            "/arn:aws:kms:eu-central-1:111122223333",
            "/arn:aws:kms:eu-central-1:111122223333:x",
            "/arn:aws:kms:eu-central-1:111122223333:key/",
            "/arn:aws:kms:eu-central-1:1111:key/x",
            "/arn:aws:kms::111122223333:key/x",
            "/arn:aws:s3:eu-central-1:111122223333:key/x",
            "/arn:aws:kms:evil.example/:111122223333:key/x",
            "/arn:aws:kms:eu-central-1:111122223333:key/x:y",
        ] {
            let error = KeyName::parse(target, None).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Config, "{target}");
        }
        let long = format!("/{}", "a".repeat(NAME_MAX + 1));
        assert!(KeyName::parse(&long, None).is_err());
    }

    #[test]
    fn an_arn_and_another_region_contradict_each_other() {
        let target = format!("/{ARN}");
        assert!(KeyName::parse(&target, Some("eu-central-1")).is_ok());
        assert!(KeyName::parse(&target, Some("eu-west-1")).is_err());
        for region in ["", "evil.example", "a/b", "eu west", "EU", "-a", "a@b"] {
            assert!(KeyName::parse("/x", Some(region)).is_err(), "{region}");
        }
    }

    #[test]
    fn a_version_is_a_key_in_the_place_of_the_uri() {
        let arn = name(&format!("/{ALIAS_ARN}"));
        let version = arn.of_version(ID).unwrap();
        let expected = format!("arn:aws-cn:kms:cn-north-1:111122223333:key/{ID}");
        assert_eq!(version.as_text(), expected);
        assert_eq!(name("/alias/x").of_version(ID).unwrap().as_text(), ID);
        assert_eq!(
            name(&format!("/{ARN}")).of_version(ID).unwrap().as_text(),
            ARN
        );
    }

    #[test]
    fn versions_that_a_stranger_wrote_are_refused() {
        let alias = name("/alias/x");
        for version in ["", "alias/y", ARN, "é", "a b", "../x"] {
            let error = alias.of_version(version).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Corrupt, "{version}");
        }
        let error = name("/other").of_version(ID).unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::NotFound);
    }

    #[test]
    fn an_answer_by_another_key_is_refused() {
        let other_account = ARN.replace("111122223333", "999999999999");
        let other_region = ARN.replace("central", "west");
        let other_key = ARN.replace("1234abcd", "00000000");
        let by_arn = name(&format!("/{ARN}"));
        let by_id = name(&format!("/{ID}"));
        let by_alias = name("/alias/x");
        for name in [&by_arn, &by_id, &by_alias] {
            assert_eq!(name.check(ARN).unwrap(), ID);
            for none in ["", ID, ALIAS_ARN, "arn:aws:kms"] {
                assert!(name.check(none).is_err(), "{none}");
            }
        }
        for other in [&other_account, &other_region, &other_key] {
            let error = by_arn.check(other).unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Unavailable);
        }
        assert!(by_id.check(&other_key).is_err());
        assert!(by_id.check(&other_account).is_ok());
        assert!(by_alias.of_version(ID).unwrap().check(&other_key).is_err());
        assert!(by_alias.of_version(ID).unwrap().check(ARN).is_ok());
    }
}

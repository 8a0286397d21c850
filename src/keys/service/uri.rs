//! Key URIs of services: `SCHEME://TARGET?NAME=VALUE&…`, parted into what a volume stores and what
//! is of this machine.

use std::collections::BTreeMap;

use super::reach::{self, Reach};
use crate::keys::error::KeyError;
use crate::keys::percent;
use crate::units::KeyUri;

/// The form of one service's URIs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UriForm {
    /// What stands before the colon.
    pub(crate) scheme: &'static str,
    /// For messages: how such a URI looks.
    pub(crate) example: &'static str,
    /// The attributes that a volume stores, in the order of a stored URI. They must not say where
    /// the service is reached.
    pub(crate) stored: &'static [&'static str],
}

/// Which key of which service: a stored URI, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceUri {
    target: String,
    attributes: BTreeMap<&'static str, String>,
}

impl ServiceUri {
    /// What stands between `//` and `?`; never empty.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// A stored attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

impl UriForm {
    /// The URI as it stands in a volume.
    ///
    /// # Errors
    /// `Config` for what has not this form, and for an attribute that is of the machine: a volume
    /// may not say where this machine sends its credentials.
    pub(crate) fn stored(&self, uri: &KeyUri) -> Result<ServiceUri, KeyError> {
        let (parsed, machine) = self.parse(uri)?;
        match machine.first() {
            None => Ok(parsed),
            Some((name, _value)) => Err(KeyError::config(format!(
                "a stored key URI must not say {name}: that is said on this machine"
            ))),
        }
    }

    /// A URI that a person of this machine gave: the URI to be stored, and how the service is
    /// reached.
    ///
    /// # Errors
    /// `Config` for what has not this form, and for attributes that cannot be followed.
    pub(crate) fn given(&self, uri: &KeyUri) -> Result<(KeyUri, Reach), KeyError> {
        let given = || {
            let (parsed, machine) = self.parse(uri)?;
            Ok((self.canonical(&parsed)?, Reach::of_attributes(&machine)?))
        };
        given().map_err(|error: KeyError| error.at(&without_query(uri)))
    }

    /// The URI without what is of the machine, its attributes in their order.
    fn canonical(&self, uri: &ServiceUri) -> Result<KeyUri, KeyError> {
        let of = |name: &&'static str| {
            let value = uri.attribute(name)?;
            let value = percent::encode(value.as_bytes(), is_query_char);
            Some(format!("{name}={value}"))
        };
        let attributes: Vec<_> = self.stored.iter().filter_map(of).collect();
        let mut text = format!("{}://{}", self.scheme, uri.target);
        if !attributes.is_empty() {
            text.push('?');
            text.push_str(&attributes.join("&"));
        }
        text.parse()
            .map_err(|error| KeyError::config("the key URI is too long").caused_by(error))
    }

    /// The stored part and the attributes of the machine.
    fn parse(&self, uri: &KeyUri) -> Result<(ServiceUri, Vec<(&'static str, String)>), KeyError> {
        let rest = uri.rest().strip_prefix("//").unwrap_or_default();
        let (target, query) = rest.split_once('?').unwrap_or((rest, ""));
        if target.is_empty() || !target.bytes().all(is_target_char) {
            return Err(KeyError::config(format!("expected {}", self.example)));
        }
        let mut attributes = BTreeMap::new();
        let mut machine = BTreeMap::new();
        for attribute in query.split('&').filter(|attribute| !attribute.is_empty()) {
            let (name, value) = split(attribute)?;
            let first = if let Some(name) = find(self.stored, name) {
                attributes.insert(name, value)
            } else if let Some(name) = find(reach::ATTRIBUTES, name) {
                machine.insert(name, value)
            } else {
                return Err(self.unknown(name));
            };
            if first.is_some() {
                return Err(KeyError::config(format!(
                    "attribute {name:?} is given twice"
                )));
            }
        }
        let target = target.to_owned();
        Ok((
            ServiceUri { target, attributes },
            machine.into_iter().collect(),
        ))
    }

    fn unknown(&self, name: &str) -> KeyError {
        let known: Vec<_> = self
            .stored
            .iter()
            .chain(reach::ATTRIBUTES)
            .copied()
            .collect();
        let known = known.join(", ");
        KeyError::config(format!("unknown attribute {name:?}; known are {known}"))
    }
}

/// A URI that messages may show: somebody may have put a secret into the query.
fn without_query(uri: &KeyUri) -> KeyUri {
    let path = uri.as_str().split('?').next().unwrap_or_default();
    path.parse().unwrap_or_else(|_error| uri.clone())
}

fn find(names: &[&'static str], name: &str) -> Option<&'static str> {
    names.iter().find(|known| **known == name).copied()
}

/// The value is not quoted in messages: it may be a secret that stands in the wrong place.
fn split(attribute: &str) -> Result<(&str, String), KeyError> {
    let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
    let name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(name_char) {
        return Err(KeyError::config("expected ?NAME=VALUE&NAME=VALUE…"));
    }
    let bytes = percent::decode(value, is_query_char);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        Some(text) if !text.is_empty() && !text.contains('\0') => Ok((name, text)),
        _ => Err(KeyError::config(format!(
            "{name}: expected text, with what is no letter, digit or one of -._~:/@,+ percent-encoded"
        ))),
    }
}

/// What key ids, aliases, ARNs and resource names consist of.
fn is_target_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/@+".contains(&byte)
}

fn is_query_char(byte: u8) -> bool {
    is_target_char(byte) || b",[]".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: UriForm = UriForm {
        scheme: "kms",
        example: "kms://KEY?region=REGION",
        stored: &["region", "mount"],
    };

    fn uri(text: &str) -> KeyUri {
        text.parse().unwrap()
    }

    #[test]
    fn a_given_uri_is_parted_from_what_is_of_the_machine() {
        let given = uri(
            "kms:///alias/x?mount=a%20b&endpoint=https://kms.example:1&region=r&ca=/ca.pem&timeout=3",
        );
        let (stored, reach) = FORM.given(&given).unwrap();
        assert_eq!(stored.as_str(), "kms:///alias/x?region=r&mount=a%20b");
        assert_eq!(reach.endpoint.unwrap().to_string(), "https://kms.example:1");
        assert_eq!(reach.ca, Some("/ca.pem".into()));
        let stored = FORM.stored(&stored).unwrap();
        assert_eq!(stored.target(), "/alias/x");
        assert_eq!(stored.attribute("region"), Some("r"));
        assert_eq!(stored.attribute("mount"), Some("a b"));
        assert_eq!(stored.attribute("endpoint"), None);
    }

    #[test]
    fn a_volume_cannot_say_where_the_service_is() {
        for machine in ["endpoint=https://e", "ca=/x", "client-cert=/x", "timeout=1"] {
            let error = FORM
                .stored(&uri(&format!("kms://k?{machine}")))
                .unwrap_err();
            assert!(error.to_string().contains("on this machine"), "{error}");
        }
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for text in [
            "kms:k",
            "kms:/k",
            "kms://",
            "kms://?region=r",
            "kms://k%20",
            "kms://k#f",
            "kms://k?region",
            "kms://k?region=",
            "kms://k?=r",
            "kms://k?region=r&region=r",
            "kms://k?region=%zz",
            "kms://k?region=%00",
            "kms://k?region=%ff",
            "kms://k?other=1",
            "kms://k?endpoint=nowhere",
            "kms://k?ca=relative.pem",
            "kms://k?timeout=0",
            "kms://k?timeout=x",
        ] {
            assert!(FORM.given(&uri(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for text in ["kms://k?token=hunter2", "kms://k?region=hunter2%"] {
            let error = FORM.given(&uri(text)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}

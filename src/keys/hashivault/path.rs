//! Which key: engine, namespace and name.

use std::fmt;

use crate::keys::error::KeyError;
use crate::keys::service::{ServiceUri, UriForm};

pub(super) const FORM: UriForm = UriForm {
    scheme: super::SCHEME,
    example: "hashivault://KEY?mount=transit&namespace=NAMESPACE",
    stored: &["mount", "namespace"],
};

/// Where engines are mounted if nobody says otherwise.
const MOUNT: &str = "transit";

/// The key that a stored URI names. Its parts stand in the path of each request, so that none may
/// lead elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPath {
    mount: Vec<String>,
    namespace: Option<String>,
    key: String,
}

impl KeyPath {
    /// # Errors
    /// `Config` for what no engine, namespace or key can be called.
    pub(super) fn of(uri: &ServiceUri) -> Result<Self, KeyError> {
        let key = uri.target();
        if !is_name(key) {
            return Err(KeyError::config(format!("expected {}", FORM.example)));
        }
        let namespace = uri.attribute("namespace");
        Ok(Self {
            mount: names("mount", uri.attribute("mount").unwrap_or(MOUNT))?,
            namespace: namespace
                .map(|path| Ok::<_, KeyError>(names("namespace", path)?.join("/")))
                .transpose()?,
            key: key.to_owned(),
        })
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The path of an operation on the key, below `/v1`.
    pub(super) fn segments<'a>(&'a self, operation: &[&'a str]) -> Vec<&'a str> {
        let mount = self.mount.iter().map(String::as_str);
        let operation = operation.iter().copied();
        mount.chain(operation).chain([self.key.as_str()]).collect()
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of {}", self.key, self.mount.join("/"))?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

fn names(what: &str, path: &str) -> Result<Vec<String>, KeyError> {
    let names: Vec<_> = path.trim_end_matches('/').split('/').collect();
    if names.iter().all(|name| is_name(name)) {
        Ok(names.into_iter().map(str::to_owned).collect())
    } else {
        Err(KeyError::config(format!(
            "{what}: expected names of letters, digits, - _ and . with / between them"
        )))
    }
}

/// What the services' own patterns allow; so neither `.` nor `..`.
fn is_name(text: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let inner = |byte: u8| word(&byte) || matches!(byte, b'-' | b'.');
    let ends =
        text.as_bytes().first().is_some_and(word) && text.as_bytes().last().is_some_and(word);
    ends && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(uri: &str) -> Result<KeyPath, KeyError> {
        KeyPath::of(&FORM.stored(&uri.parse().unwrap())?)
    }

    #[test]
    fn a_uri_names_a_key_of_an_engine() {
        let plain = path("hashivault://files").unwrap();
        assert_eq!(
            plain.segments(&["decrypt"]),
            ["transit", "decrypt", "files"]
        );
        assert_eq!(plain.namespace(), None);
        let full = path("hashivault://a.b-c_1?mount=eu/kms/&namespace=team/x").unwrap();
        let operation = ["datakey", "plaintext"];
        let segments = ["eu", "kms", "datakey", "plaintext", "a.b-c_1"];
        assert_eq!(full.segments(&operation), segments);
        assert_eq!(full.namespace(), Some("team/x"));
        assert_eq!(
            full.to_string(),
            "key a.b-c_1 of eu/kms in namespace team/x"
        );
    }

    #[test]
    fn no_uri_leads_elsewhere() {
        for uri in [
            "hashivault://a/b",
            "hashivault://..",
            "hashivault://.",
            "hashivault://-a",
            "hashivault://a.",
            "hashivault://a@b",
            "hashivault://a:8200",
            "hashivault://a?mount=..",
            "hashivault://a?mount=x/../sys",
            "hashivault://a?mount=/x",
            "hashivault://a?mount=x//y",
            "hashivault://a?mount=/",
            "hashivault://a?mount=x%3Fy",
            "hashivault://a?mount=x%23y",
            "hashivault://a?mount=%C3%A9",
            "hashivault://a?namespace=x%0Ay",
            "hashivault://a?namespace=..",
            "hashivault://a?address=https://evil.example",
        ] {
            assert!(path(uri).is_err(), "{uri}");
        }
    }
}

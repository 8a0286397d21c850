//! `rsa:` URIs: where the public key is, and apart from that where this machine has private keys.
//!
//! `rsa:/path/public.pem`, with `;oaep=sha1` behind it for tokens that know no other hash. What is in the
//! query, `?private-key=…`, is of this machine.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::SCHEME;
use super::private::PrivateKeySource;
use crate::keys::error::KeyError;
use crate::keys::percent;
use crate::keys::pkcs11::{self, Mechanism};
use crate::keys::query;
use crate::units::KeyUri;

const FORM: &str = "expected rsa:/absolute/path/public.pem";
const SHA1: &str = "oaep=sha1";
const SHA256: &str = "oaep=sha256";

/// What a URI says without its query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) public: PathBuf,
    pub(super) mechanism: Mechanism,
}

impl Place {
    /// What a URI says as it stands in a volume.
    ///
    /// # Errors
    /// `Config` for one without an absolute path, or with a query: a volume may not say which of this
    /// machine's files are private keys.
    pub(super) fn stored(uri: &KeyUri) -> Result<Self, KeyError> {
        Self::parse(query::stored(uri, "its private key")?)
    }

    fn parse(rest: &str) -> Result<Self, KeyError> {
        let (path, parameter) = match rest.split_once(';') {
            Some((path, parameter)) => (path, parameter),
            None => (rest, SHA256),
        };
        let mechanism = match parameter {
            SHA1 => Mechanism::OaepSha1,
            SHA256 => Mechanism::OaepSha256,
            _ => {
                let message = format!("behind the path: expected {SHA256} or {SHA1}");
                return Err(KeyError::config(message));
            }
        };
        // `rsa:///path`, as `file:` has it, is the same.
        let path = path.strip_prefix("//").unwrap_or(path);
        let public = absolute(path).filter(|_path| !path.starts_with("//"));
        let public = public.ok_or_else(|| KeyError::config(FORM))?;
        Ok(Self { public, mechanism })
    }

    /// The URI to be stored.
    fn canonical(&self) -> Result<KeyUri, KeyError> {
        let path = percent::encode(self.public.as_os_str().as_bytes(), is_plain);
        let parameter = if self.mechanism == Mechanism::OaepSha1 {
            ";oaep=sha1"
        } else {
            ""
        };
        let text = format!("{SCHEME}:{path}{parameter}");
        text.parse()
            .map_err(|error| KeyError::config("the key URI is too long").caused_by(error))
    }
}

/// A URI that a person of this machine gave: the URI to be stored, and the private keys that it names.
///
/// # Errors
/// `Config` for what is no such URI.
pub fn given(uri: &KeyUri) -> Result<(KeyUri, Vec<PrivateKeySource>), KeyError> {
    let parsed = || {
        let (path, query) = query::split(uri);
        let sources: Result<Vec<_>, _> = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .map(source)
            .collect();
        Ok((Place::parse(path)?.canonical()?, sources?))
    };
    parsed().map_err(|error: KeyError| error.at(uri))
}

fn source(attribute: &str) -> Result<PrivateKeySource, KeyError> {
    const EXPECTED: &str =
        "behind ?: expected private-key=/absolute/path, or private-key=pkcs11:… (with %26 for &)";
    let value = attribute.strip_prefix("private-key=");
    let value = value.and_then(|value| percent::decode(value, |_byte| true));
    let value = value.ok_or_else(|| KeyError::config(EXPECTED))?;
    let token = std::str::from_utf8(&value).ok();
    if let Some(token) = token.filter(|text| is_token(text)) {
        return Ok(PrivateKeySource::Token(token.to_owned()));
    }
    let path = PathBuf::from(OsStr::from_bytes(&value));
    if path.is_absolute() && !value.contains(&0) {
        Ok(PrivateKeySource::File(path))
    } else {
        Err(KeyError::config(EXPECTED))
    }
}

fn is_token(text: &str) -> bool {
    let scheme = text.strip_prefix(pkcs11::SCHEME);
    scheme.is_some_and(|rest| rest.starts_with(':'))
}

fn absolute(path: &str) -> Option<PathBuf> {
    let bytes = percent::decode(path, |_byte| true)?;
    let fits = bytes.starts_with(b"/") && bytes != b"/" && !bytes.contains(&0);
    fits.then(|| PathBuf::from(OsString::from_vec(bytes)))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~+@,=:".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(String, Vec<PrivateKeySource>), String> {
        let given = given(&text.parse().unwrap());
        given
            .map(|(uri, sources)| (uri.as_str().to_owned(), sources))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_path_has_one_form() {
        for (text, stored) in [
            ("rsa:/etc/k/public.pem", "rsa:/etc/k/public.pem"),
            ("rsa:///etc/k/public.pem", "rsa:/etc/k/public.pem"),
            ("rsa:/a%20b%3Bc?private-key=/k", "rsa:/a%20b%3Bc"),
            ("rsa:/p;oaep=sha256", "rsa:/p"),
            ("rsa:/p;oaep=sha1", "rsa:/p;oaep=sha1"),
        ] {
            let (uri, _sources) = of(text).unwrap();
            assert_eq!(uri, stored);
            assert_eq!(of(&uri).unwrap(), (stored.to_owned(), vec![]));
        }
        let place = Place::stored(&"rsa:/a%20b%3Bc;oaep=sha1".parse().unwrap()).unwrap();
        let expected = Place {
            public: "/a b;c".into(),
            mechanism: Mechanism::OaepSha1,
        };
        assert_eq!(place, expected);
    }

    #[test]
    fn private_keys_are_parted_from_what_is_stored() {
        let text = "rsa:/p?private-key=/a&private-key=/b%26c&private-key=pkcs11:token=t;object=o%3Fmodule-path=/m";
        let (uri, sources) = of(text).unwrap();
        assert_eq!(uri, "rsa:/p");
        let expected = [
            PrivateKeySource::File("/a".into()),
            PrivateKeySource::File("/b&c".into()),
            PrivateKeySource::Token("pkcs11:token=t;object=o?module-path=/m".into()),
        ];
        assert_eq!(sources, expected);
        let stored = Place::stored(&"rsa:/p?private-key=/a".parse().unwrap());
        assert!(stored.unwrap_err().message().contains("must not say"));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "rsa:",
            "rsa:public.pem",
            "rsa://host/p",
            "rsa:////p",
            "rsa:/",
            "rsa:/p%",
            "rsa:/p%00",
            "rsa:/p;",
            "rsa:/p;oaep=md5",
            "rsa:/p;oaep=sha1;oaep=sha1",
            "rsa:/p?",
            "rsa:/p?private-key=",
            "rsa:/p?private-key=k.pem",
            "rsa:/p?private-key=/k%00",
            "rsa:/p?private-key=/k&",
            "rsa:/p?pin-source=/k",
            "rsa:/p?private-key=file:/k",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}

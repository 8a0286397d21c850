//! PKCS #11 URIs (RFC 7512): which token and which key, and apart from that where this machine has
//! the module and the PIN.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SCHEME;
use crate::keys::error::KeyError;
use crate::keys::percent;
use crate::keys::query;
use crate::units::KeyUri;

/// What the value of a path attribute may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bytes,
    KeyType,
    Number,
    Text,
    Version,
}

/// The path attributes of RFC 7512, in the order of a canonical URI.
const PATH: [(&str, Kind); 13] = [
    ("token", Kind::Text),
    ("serial", Kind::Text),
    ("manufacturer", Kind::Text),
    ("model", Kind::Text),
    ("slot-id", Kind::Number),
    ("slot-description", Kind::Text),
    ("slot-manufacturer", Kind::Text),
    ("library-description", Kind::Text),
    ("library-manufacturer", Kind::Text),
    ("library-version", Kind::Version),
    ("object", Kind::Text),
    ("id", Kind::Bytes),
    ("type", Kind::KeyType),
];

/// The kinds of object that can wrap a data key, as `type` names them.
pub(super) const SECRET_KEY: &str = "secret-key";
pub(super) const PRIVATE_KEY: &str = "private";

/// Which token and which key: the path of a URI, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPath {
    values: BTreeMap<&'static str, Vec<u8>>,
}

/// What a URI says of this machine: its query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `module-path`: the PKCS#11 module of the token's vendor.
    pub module: Option<PathBuf>,
    /// `pin-source`: the file that holds the user's PIN.
    pub pin_file: Option<PathBuf>,
}

impl KeyPath {
    /// The path of a URI as it stands in a volume.
    ///
    /// # Errors
    /// `Config` for what is no such URI, or has a query: a volume may not say which program code
    /// this machine loads and which of its files are secrets.
    pub(super) fn stored(uri: &KeyUri) -> Result<Self, KeyError> {
        Self::parse(query::stored(uri, "its module or its PIN")?)
    }

    /// The URI without its query, its attributes in the order of [`PATH`].
    pub(super) fn canonical(&self) -> Result<KeyUri, KeyError> {
        let of = |(name, _kind): &(&'static str, Kind)| {
            let value = self.values.get(name)?;
            Some(format!("{name}={}", percent::encode(value, is_path_char)))
        };
        let attributes: Vec<_> = PATH.iter().filter_map(of).collect();
        let text = format!("{SCHEME}:{}", attributes.join(";"));
        text.parse()
            .map_err(|error| KeyError::config("the key URI is too long").caused_by(error))
    }

    /// The value of a text attribute.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.values.get(name)?).ok()
    }

    /// `id`: the key's CKA_ID.
    pub(super) fn id(&self) -> Option<&[u8]> {
        self.values.get("id").map(Vec::as_slice)
    }

    /// `slot-id`.
    pub(super) fn slot_id(&self) -> Option<u64> {
        self.text("slot-id")?.parse().ok()
    }

    /// `library-version`: major and minor.
    pub(super) fn library_version(&self) -> Option<(u8, u8)> {
        parse_version(self.text("library-version")?)
    }

    /// The token in words, for messages.
    pub(super) fn token_in_words(&self) -> String {
        let by = |name: &str| Some(format!("{name} {:?}", self.text(name)?));
        let known = by("token").or_else(|| by("serial"));
        known
            .or_else(|| by("slot-id"))
            .unwrap_or_else(|| "token".to_owned())
    }

    /// The key in words, for messages.
    pub(super) fn key_in_words(&self) -> String {
        let label = self.text("object").map(|label| format!("{label:?}"));
        let id = self
            .id()
            .map(|id| format!("with id {}", super::object::hex(id)));
        let words: Vec<_> = [label, id].into_iter().flatten().collect();
        words.join(" ")
    }

    fn parse(path: &str) -> Result<Self, KeyError> {
        let path = Self::attributes(path)?;
        if path.text("object").is_none_or(str::is_empty) && path.id().is_none_or(<[u8]>::is_empty) {
            return Err(KeyError::config(
                "it names no key: expected object=LABEL or id=BYTES",
            ));
        }
        Ok(path)
    }

    /// The path of a URI that names a token, and no key of it.
    fn token(path: &str) -> Result<Self, KeyError> {
        let path = Self::attributes(path)?;
        match ["object", "id", "type"]
            .into_iter()
            .find(|name| path.values.contains_key(name))
        {
            None => Ok(path),
            Some(name) => Err(KeyError::config(format!(
                "it names a key: expected a token alone, without {name}="
            ))),
        }
    }

    fn attributes(path: &str) -> Result<Self, KeyError> {
        let mut values = BTreeMap::new();
        for attribute in path.split(';') {
            let (name, value) = split(attribute)?;
            let Some((name, kind)) = PATH.iter().find(|(known, _kind)| *known == name) else {
                let known: Vec<_> = PATH.iter().map(|(known, _kind)| *known).collect();
                let message = format!("unknown attribute {name:?}; known are {}", known.join(", "));
                return Err(KeyError::config(message));
            };
            let value = decode(name, value, is_path_char)?;
            check(name, *kind, &value)?;
            if values.insert(*name, value).is_some() {
                return Err(twice(name));
            }
        }
        Ok(Self { values })
    }
}

/// A URI that a person of this machine gave: the URI to be stored, and what it said of the machine.
///
/// # Errors
/// `Config` for what RFC 7512 does not allow, for attributes that cannot be followed, and for a
/// `pin-value`: others could read it off the command line.
pub fn given(uri: &KeyUri) -> Result<(KeyUri, Machine), KeyError> {
    let parsed = || {
        let (path, query) = query::split(uri);
        let machine = query.map_or_else(|| Ok(Machine::default()), parse_query)?;
        Ok((KeyPath::parse(path)?.canonical()?, machine))
    };
    parsed().map_err(|error: KeyError| error.at(&without_query(uri)))
}

/// A URI of a token that a person of this machine gave: which token, its URI without a query, and what the query said.
///
/// # Errors
/// As [`given`], and where it names a key.
pub(super) fn given_token(uri: &KeyUri) -> Result<(KeyPath, KeyUri, Machine), KeyError> {
    let parsed = || {
        if uri.scheme() != SCHEME {
            return Err(KeyError::config("expected pkcs11:token=LABEL"));
        }
        let (path, query) = query::split(uri);
        let machine = query.map_or_else(|| Ok(Machine::default()), parse_query)?;
        let path = KeyPath::token(path)?;
        let canonical = path.canonical()?;
        Ok((path, canonical, machine))
    };
    parsed().map_err(|error: KeyError| error.at(&without_query(uri)))
}

/// A URI that messages may show: a query may hold a PIN.
fn without_query(uri: &KeyUri) -> KeyUri {
    let path = uri.as_str().split('?').next().unwrap_or_default();
    path.parse().unwrap_or_else(|_error| uri.clone())
}

/// Attributes of other names are a vendor's: they are passed over, as RFC 7512 has it.
fn parse_query(query: &str) -> Result<Machine, KeyError> {
    let mut machine = Machine::default();
    for attribute in query.split('&') {
        let (name, value) = split(attribute)?;
        match name {
            "module-path" => {
                let path = absolute(name, &decode(name, value, is_query_char)?)?;
                set(name, &mut machine.module, path)?;
            }
            "pin-source" => {
                let value = decode(name, value, is_query_char)?;
                let path = absolute(name, pin_path(&value).unwrap_or_default())?;
                set(name, &mut machine.pin_file, path)?;
            }
            "pin-value" => {
                return Err(KeyError::config(
                    "pin-value is refused, since other users can read a command line: put the PIN into a file, and name it by pin-source",
                ));
            }
            "module-name" => {
                return Err(KeyError::config(
                    "name the module by module-path, not by module-name",
                ));
            }
            _vendor => {
                decode(name, value, is_query_char)?;
            }
        }
    }
    Ok(machine)
}

/// `pin-source` is a path, or a `file:` URI with one and no host.
fn pin_path(value: &[u8]) -> Option<&[u8]> {
    let Some(path) = value.strip_prefix(b"file:") else {
        return Some(value);
    };
    let path = path.strip_prefix(b"//").unwrap_or(path);
    (!path.starts_with(b"//")).then_some(path)
}

fn absolute(name: &str, path: &[u8]) -> Result<PathBuf, KeyError> {
    let path = PathBuf::from(OsStr::from_bytes(path));
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(KeyError::config(format!(
            "{name}: expected an absolute path"
        )))
    }
}

fn set(name: &str, place: &mut Option<PathBuf>, path: PathBuf) -> Result<(), KeyError> {
    match place.replace(path) {
        None => Ok(()),
        Some(_first) => Err(twice(name)),
    }
}

fn twice(name: &str) -> KeyError {
    KeyError::config(format!("attribute {name:?} is given twice"))
}

fn split(attribute: &str) -> Result<(&str, &str), KeyError> {
    let name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match attribute.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.chars().all(name_char) => Ok((name, value)),
        _ => {
            let message = "expected pkcs11:NAME=VALUE;…?NAME=VALUE&… (RFC 7512)";
            Err(KeyError::config(message))
        }
    }
}

/// The value is not quoted: it may be a PIN that stands in the wrong place.
fn decode(name: &str, value: &str, allowed: fn(u8) -> bool) -> Result<Vec<u8>, KeyError> {
    let decoded = percent::decode(value, allowed).ok_or_else(|| {
        KeyError::config(format!(
            "{name}: a character must be percent-encoded, or is wrongly so"
        ))
    })?;
    if name != "id" && decoded.contains(&0) {
        return Err(KeyError::config(format!("{name}: holds a zero byte")));
    }
    Ok(decoded)
}

fn check(name: &str, kind: Kind, value: &[u8]) -> Result<(), KeyError> {
    let text = std::str::from_utf8(value);
    let (fits, expected) = match kind {
        Kind::Bytes => (true, "bytes"),
        Kind::KeyType => (
            text.is_ok_and(|text| [SECRET_KEY, PRIVATE_KEY].contains(&text)),
            "secret-key (AES) or private (RSA): others cannot unwrap a data key",
        ),
        Kind::Number => (
            text.is_ok_and(|text| is_digits(text) && text.parse::<u64>().is_ok()),
            "a number",
        ),
        Kind::Text => (text.is_ok(), "UTF-8"),
        Kind::Version => (
            text.is_ok_and(|text| parse_version(text).is_some()),
            "MAJOR or MAJOR.MINOR",
        ),
    };
    if fits {
        Ok(())
    } else {
        Err(KeyError::config(format!("{name}: expected {expected}")))
    }
}

fn parse_version(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let number = |text: &str| is_digits(text).then(|| text.parse().ok())?;
    Some((number(major)?, number(minor)?))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 7512's `pk11-pchar`, percent-encoding aside.
fn is_path_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&byte)
}

/// RFC 7512's `pk11-qchar`, percent-encoding aside.
fn is_query_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=/?|".contains(&byte)
}

#[cfg(test)]
mod tests;

//! `kmip://host:port/key`: which server and which key, and apart from that where this machine has its
//! certificates.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::SCHEME;
use crate::keys::error::KeyError;
use crate::keys::percent;
use crate::keys::query;
use crate::units::KeyUri;

const FORM: &str = "expected kmip://host[:port]/name or unique identifier of a key";
const QUERY: &str = "behind ?: expected ca=/path, cert=/path and key=/path";
/// KMIP's port (IANA).
const PORT: u16 = 5696;
/// The longest name or unique identifier: as key version it stands in headers.
pub(super) const NAME_MAX: usize = 256;

/// Which key of which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// The key's name, or its unique identifier.
    pub(super) key: String,
}

/// Where a file of this machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmipFile {
    /// In the folder of a systemd service's credentials.
    Credential(PathBuf),
    /// A file that its owner alone may change: this user, or root.
    File(PathBuf),
}

/// What this machine has for a KMIP server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmipFiles {
    /// The certificates, PEM, of who may vouch for the server.
    pub ca: Option<KmipFile>,
    /// This machine's certificate, PEM, and what stands between it and the server's authority.
    pub cert: Option<KmipFile>,
    /// Its private key, PEM.
    pub key: Option<KmipFile>,
}

impl KmipFiles {
    /// These, and `others` where there is none.
    pub(super) fn or(&self, others: &Self) -> Self {
        let either = |own: &Option<KmipFile>, other: &Option<KmipFile>| {
            own.clone().or_else(|| other.clone())
        };
        Self {
            ca: either(&self.ca, &others.ca),
            cert: either(&self.cert, &others.cert),
            key: either(&self.key, &others.key),
        }
    }
}

impl Place {
    /// What a URI says as it stands in a volume.
    ///
    /// # Errors
    /// `Config` for what is no such URI, or has a query: a volume may not say which of this machine's
    /// files are its credentials.
    pub(super) fn stored(uri: &KeyUri) -> Result<Self, KeyError> {
        Self::parse(query::stored(uri, "its certificates")?)
    }

    fn parse(rest: &str) -> Result<Self, KeyError> {
        let form = || KeyError::config(FORM);
        let rest = rest.strip_prefix("//").ok_or_else(form)?;
        let (authority, key) = rest.split_once('/').ok_or_else(form)?;
        let (host, port) = split_port(authority).ok_or_else(form)?;
        let key = percent::decode(key, is_key_char).and_then(|key| String::from_utf8(key).ok());
        let key = key.filter(|key| !key.is_empty() && key.len() <= NAME_MAX);
        Ok(Self {
            host,
            port,
            key: key.ok_or_else(form)?,
        })
    }

    /// The URI to be stored: host in lower case, the port said.
    fn canonical(&self) -> Result<KeyUri, KeyError> {
        let key = percent::encode(self.key.as_bytes(), is_plain);
        format!("{SCHEME}://{}/{key}", self.server())
            .parse()
            .map_err(|error| KeyError::config("the key URI is too long").caused_by(error))
    }

    /// `host:port`.
    pub(super) fn server(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// A URI that a person of this machine gave: the URI to be stored, and the files that it names.
///
/// # Errors
/// `Config` for what is no such URI.
pub fn given(uri: &KeyUri) -> Result<(KeyUri, KmipFiles), KeyError> {
    let parsed = || {
        let (rest, query) = query::split(uri);
        let files = query.map_or_else(|| Ok(KmipFiles::default()), parse_query)?;
        Ok((Place::parse(rest)?.canonical()?, files))
    };
    parsed().map_err(|error: KeyError| error.at(uri))
}

fn parse_query(query: &str) -> Result<KmipFiles, KeyError> {
    let mut files = HashMap::new();
    for attribute in query.split('&') {
        let (name, path) = attribute
            .split_once('=')
            .filter(|(name, _path)| ["ca", "cert", "key"].contains(name))
            .ok_or_else(|| KeyError::config(QUERY))?;
        let bytes = percent::decode(path, |_byte| true).filter(|bytes| !bytes.contains(&0));
        let bytes = bytes.ok_or_else(|| KeyError::config(QUERY))?;
        let path = PathBuf::from(OsStr::from_bytes(&bytes));
        if !path.is_absolute() {
            return Err(KeyError::config(format!(
                "{name}: expected an absolute path"
            )));
        }
        if files.insert(name, KmipFile::File(path)).is_some() {
            return Err(KeyError::config(format!("{name} is given twice")));
        }
    }
    Ok(KmipFiles {
        ca: files.remove("ca"),
        cert: files.remove("cert"),
        key: files.remove("key"),
    })
}

fn split_port(authority: &str) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (
                address.to_string(),
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (name(host)?, Some(port)),
            None => (name(authority)?, Some("")),
        },
    };
    let port = match port? {
        "" if !authority.ends_with(':') => PORT,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    (port != 0).then_some((host, port))
}

/// A DNS name or an IPv4 address; nobody with a password.
fn name(host: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (!host.is_empty() && host.bytes().all(fits)).then(|| host.to_ascii_lowercase())
}

fn is_key_char(byte: u8) -> bool {
    is_plain(byte) || b"!$'()*".contains(&byte)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:@/+,=&".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(String, KmipFiles), String> {
        let given = given(&text.parse().unwrap());
        given
            .map(|(uri, files)| (uri.as_str().to_owned(), files))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_uri_has_one_form() {
        for (text, stored) in [
            (
                "kmip://kms.example:5696/files",
                "kmip://kms.example:5696/files",
            ),
            ("kmip://KMS.example/files", "kmip://kms.example:5696/files"),
            ("kmip://10.0.0.1:1/1", "kmip://10.0.0.1:1/1"),
            ("kmip://[::1]/1", "kmip://[::1]:5696/1"),
            ("kmip://[0:0::1]:7/1", "kmip://[::1]:7/1"),
            ("kmip://h/a%20b%3Fc", "kmip://h:5696/a%20b%3Fc"),
            ("kmip://h/a/b", "kmip://h:5696/a/b"),
            ("kmip://h/%C3%A9", "kmip://h:5696/%C3%A9"),
        ] {
            assert_eq!(of(text).unwrap().0, stored);
            assert_eq!(of(stored).unwrap().0, stored);
        }
        let place = Place::stored(&"kmip://[::1]:7/a%20b".parse().unwrap()).unwrap();
        assert_eq!((place.host.as_str(), place.key.as_str()), ("::1", "a b"));
        assert_eq!(place.server(), "[::1]:7");
    }

    #[test]
    fn files_are_parted_from_what_is_stored() {
        let (uri, files) = of("kmip://h/k?ca=/ca.pem&cert=/c%26.pem").unwrap();
        assert_eq!(uri, "kmip://h:5696/k");
        let file = |path: &str| Some(KmipFile::File(path.into()));
        assert_eq!(
            (&files.ca, &files.cert),
            (&file("/ca.pem"), &file("/c&.pem"))
        );
        let others = KmipFiles {
            ca: file("/other"),
            key: file("/key"),
            ..KmipFiles::default()
        };
        let all = files.or(&others);
        assert_eq!((all.ca, all.key), (files.ca, others.key));
        let stored = Place::stored(&"kmip://h/k?ca=/ca.pem".parse().unwrap());
        assert!(stored.unwrap_err().message().contains("must not say"));
    }

    #[test]
    fn other_forms_are_refused() {
        let long = format!("kmip://h/{}", "k".repeat(NAME_MAX + 1));
        for text in [
            "kmip:",
            "kmip://",
            "kmip://h",
            "kmip://h/",
            "kmip:///k",
            "kmip:/h/k",
            "kmip://h:/k",
            "kmip://h:0/k",
            "kmip://h:65536/k",
            "kmip://h:+1/k",
            "kmip://h:1:2/k",
            "kmip://user@h/k",
            "kmip://[::1/k",
            "kmip://[::1]x/k",
            "kmip://[::1]:/k",
            "kmip://[h]/k",
            "kmip://h/%",
            "kmip://h/%FF",
            "kmip://h/a;b",
            "kmip://h/k?",
            "kmip://h/k?ca",
            "kmip://h/k?ca=ca.pem",
            "kmip://h/k?ca=/a&ca=/b",
            "kmip://h/k?password=/x",
            "kmip://h/k?ca=/a%00",
            &long,
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}

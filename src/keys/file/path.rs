//! `file:` URIs (RFC 8089) and paths.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::keys::error::KeyError;
use crate::keys::percent;
use crate::units::{InvalidKeyUri, KeyUri};

/// The path in a `file:///path` URI, percent-encoded bytes decoded.
pub(super) fn of_uri(uri: &KeyUri) -> Result<PathBuf, KeyError> {
    let path = uri
        .rest()
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| KeyError::config("expected file:///absolute/path"))?;
    let bytes = percent::decode(path, |_byte| true)
        .ok_or_else(|| KeyError::config("a % in a file: URI is followed by two hex digits"))?;
    if bytes.contains(&0) {
        return Err(KeyError::config("a NUL byte in a path"));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// The `file:///path` URI of an absolute path.
pub(super) fn to_uri(path: &Path) -> Result<KeyUri, KeyError> {
    if !path.is_absolute() {
        let message = format!("keyring {}: expected an absolute path", path.display());
        return Err(KeyError::config(message));
    }
    let encoded = percent::encode(path.as_os_str().as_bytes(), is_plain);
    let text = format!("file://{encoded}");
    text.parse().map_err(|error: InvalidKeyUri| {
        KeyError::config("a path too long for a key URI").caused_by(error)
    })
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~+@,=:".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(uri: &str) -> Result<PathBuf, KeyError> {
        of_uri(&uri.parse().unwrap())
    }

    #[test]
    fn paths_come_back_whatever_their_bytes() {
        for bytes in [&b"/a/keyring.json"[..], b"/a b/%41/\xff\xe9\n#?", b"/"] {
            let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
            assert_eq!(of_uri(&to_uri(path).unwrap()).unwrap(), path);
        }
    }

    #[test]
    fn percent_encoded_bytes_are_decoded() {
        assert_eq!(path("file:///a%20b%2fc").unwrap(), Path::new("/a b/c"));
    }

    #[test]
    fn other_forms_are_refused() {
        for uri in [
            "file:",
            "file:a",
            "file:/a",
            "file://",
            "file://host/a",
            "file:///%",
            "file:///%4",
            "file:///%zz",
            "file:///a%00b",
        ] {
            assert!(path(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn relative_and_endless_paths_are_refused() {
        assert!(to_uri(Path::new("keyring.json")).is_err());
        assert!(to_uri(Path::new(&format!("/{}", "x".repeat(600)))).is_err());
    }
}

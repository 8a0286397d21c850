//! What stands in a keyring file, and what it is in memory.
//!
//! ```json
//! {"format": 1, "primary": 2, "keys": [
//!   {"version": 1, "created": 1790000000, "key": "<32 bytes, base64>"},
//!   {"version": 2, "created": 1800000000, "key": "…"}]}
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::secret::SecretKey;
use crate::keys::error::KeyError;

/// The form of the file that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// The most versions of a key in one file.
const VERSIONS_MAX: usize = 256;
/// The longest file in bytes.
pub(super) const FILE_MAX: usize = 64 * 1024;
/// A key in base64 decodes into this many bytes at most.
const DECODED_MAX: usize = 33;

/// Whether these bytes are a keyring file, as far as can be said without taking a key out of it.
pub(super) fn is_keyring(json: &[u8]) -> bool {
    let known = parse::<Format>(json).is_ok_and(|Format { format }| format == FORMAT);
    known && parse::<Document<'_>>(json).is_ok_and(|document| !document.keys.is_empty())
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    format: u32,
    primary: u32,
    #[serde(borrow)]
    keys: Vec<Entry<'a>>,
}

/// `key` is borrowed from the wiped buffer of the whole file: no copy of it is made.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    version: u32,
    created: u64,
    key: &'a str,
}

struct Kek {
    created: u64,
    key: SecretKey,
}

/// The versions of a KEK, by number; the primary one is always among them.
pub(super) struct KekSet {
    primary: u32,
    keks: BTreeMap<u32, Kek>,
}

impl fmt::Debug for KekSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions: Vec<_> = self.keks.keys().collect();
        f.debug_struct("KekSet")
            .field("primary", &self.primary)
            .field("versions", &versions)
            .finish()
    }
}

impl KekSet {
    /// One fresh key, version 1.
    pub(super) fn generate() -> Result<Self, KeyError> {
        let keks = BTreeMap::from([(1, Kek::generate()?)]);
        Ok(Self { primary: 1, keks })
    }

    /// Adds a fresh key as the primary one.
    pub(super) fn rotate(&mut self) -> Result<u32, KeyError> {
        let newest = self.keks.keys().next_back().copied().unwrap_or(0);
        let version = newest
            .checked_add(1)
            .filter(|_version| self.keks.len() < VERSIONS_MAX)
            .ok_or_else(|| invalid("no room for another key version"))?;
        self.keks.insert(version, Kek::generate()?);
        self.primary = version;
        Ok(version)
    }

    /// The version that new wraps use, and its key.
    pub(super) fn primary(&self) -> (u32, &SecretKey) {
        // The primary version is among the keys: decode() and rotate() see to it.
        let kek = self.keks.get(&self.primary);
        #[expect(clippy::expect_used, reason = "held by every way to make a KekSet")]
        let kek = kek.expect("the primary version is among the keys");
        (self.primary, &kek.key)
    }

    /// The key of one version.
    pub(super) fn version(&self, version: u32) -> Option<&SecretKey> {
        self.keks.get(&version).map(|kek| &kek.key)
    }

    /// How many versions there are.
    pub(super) fn len(&self) -> usize {
        self.keks.len()
    }

    /// Reads a keyring file. Errors tell of the place, not of the text: the text holds keys.
    pub(super) fn decode(json: &[u8]) -> Result<Self, KeyError> {
        let Format { format } = parse(json)?;
        if format > FORMAT {
            return Err(invalid(&format!(
                "format {format} is newer than this program"
            )));
        }
        let document: Document<'_> = parse(json)?;
        if format != FORMAT || document.keys.len() > VERSIONS_MAX {
            return Err(invalid("unknown format or too many keys"));
        }
        let mut keks = BTreeMap::new();
        for entry in &document.keys {
            let kek = Kek {
                created: entry.created,
                key: decode_key(entry.key)?,
            };
            if entry.version == 0 || keks.insert(entry.version, kek).is_some() {
                return Err(invalid("key version 0 or one that stands there twice"));
            }
        }
        if !keks.contains_key(&document.primary) {
            return Err(invalid("the primary version is not among the keys"));
        }
        Ok(Self {
            primary: document.primary,
            keks,
        })
    }

    /// The file. Written into a buffer of full size, so that growing leaves no copies behind.
    pub(super) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let texts: Vec<_> = self.keks.values().map(Kek::to_base64).collect();
        let keys = self.keks.iter().zip(&texts);
        let keys = keys.map(|((&version, kek), key)| Entry {
            version,
            created: kek.created,
            key,
        });
        let document = Document {
            format: FORMAT,
            primary: self.primary,
            keys: keys.collect(),
        };
        let mut json = Zeroizing::new(vec![0; FILE_MAX]);
        let mut unwritten = json.as_mut_slice();
        serde_json::to_writer_pretty(&mut unwritten, &document)
            .map_err(|_error| invalid("too many keys for one file"))?;
        let unwritten = unwritten.len();
        json.truncate(FILE_MAX.saturating_sub(unwritten));
        json.push(b'\n');
        Ok(json)
    }
}

impl Kek {
    fn generate() -> Result<Self, KeyError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = now.map_or(0, |since| since.as_secs());
        Ok(Self {
            created,
            key: SecretKey::random()?,
        })
    }

    fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.key.expose()))
    }
}

/// A version as it stands in a slot: decimal, from 1, no leading zero, so that each has one form.
pub(super) fn parse_version(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_version| digits)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, KeyError> {
    // The message of serde_json may quote what it met, which may be a key.
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(&format!("unexpected JSON at line {line}, column {column}"))
    })
}

fn decode_key(text: &str) -> Result<SecretKey, KeyError> {
    let wrong = || invalid("a key is not 32 bytes in base64");
    let mut buffer = Zeroizing::new([0; DECODED_MAX]);
    let room = BASE64
        .decode_len(text.len())
        .ok()
        .and_then(|len| buffer.get_mut(..len))
        .ok_or_else(wrong)?;
    let len = BASE64
        .decode_mut(text.as_bytes(), room)
        .map_err(|_error| wrong())?;
    let bytes = buffer
        .get(..len)
        .filter(|bytes| bytes.len() == SecretKey::LEN);
    Ok(SecretKey::from_slice(bytes.ok_or_else(wrong)?)?)
}

fn invalid(what: &str) -> KeyError {
    KeyError::config(format!("not a keyring file: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn json(format: &str, primary: &str, keys: &[(&str, &str)]) -> String {
        let keys: Vec<_> = keys
            .iter()
            .map(|(version, key)| format!(r#"{{"version":{version},"created":7,"key":"{key}"}}"#))
            .collect();
        format!(
            r#"{{"format":{format},"primary":{primary},"keys":[{}]}}"#,
            keys.join(",")
        )
    }

    fn error(json: &str) -> String {
        KekSet::decode(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn it_reads_what_it_wrote() {
        let mut keks = KekSet::generate().unwrap();
        keks.rotate().unwrap();
        let back = KekSet::decode(&keks.encode().unwrap()).unwrap();
        assert_eq!((back.primary().0, back.len()), (2, 2));
        for version in [1, 2] {
            assert!(back.version(version) == keks.version(version), "{version}");
        }
    }

    #[test]
    fn the_documented_form_is_read() {
        let text = json("1", "3", &[("1", KEY), ("3", KEY)]);
        let keks = KekSet::decode(text.as_bytes()).unwrap();
        let (version, key) = keks.primary();
        assert_eq!((version, key.expose()[31], keks.len()), (3, 31, 2));
        assert!(keks.version(2).is_none());
    }

    #[test]
    fn a_full_keyring_still_fits_its_file_and_takes_no_more() {
        let mut keks = KekSet::generate().unwrap();
        while keks.len() < VERSIONS_MAX {
            keks.rotate().unwrap();
        }
        assert_eq!(
            KekSet::decode(&keks.encode().unwrap()).unwrap().len(),
            VERSIONS_MAX
        );
        assert!(keks.rotate().is_err());
    }

    #[test]
    fn a_newer_format_is_named_whatever_else_it_holds() {
        assert!(error(r#"{"format":2,"sealed":true}"#).contains("newer"));
    }

    #[test]
    fn broken_keyrings_are_refused() {
        for (what, text) in [
            ("empty", String::new()),
            ("not JSON", "keyring".to_owned()),
            ("cut", json("1", "1", &[("1", KEY)])[..40].to_owned()),
            ("format 0", json("0", "1", &[("1", KEY)])),
            ("negative format", json("-1", "1", &[("1", KEY)])),
            ("no keys", json("1", "1", &[])),
            ("no primary", json("1", "2", &[("1", KEY)])),
            ("version 0", json("1", "0", &[("0", KEY)])),
            ("a version twice", json("1", "1", &[("1", KEY), ("1", KEY)])),
            (
                "a version too large",
                json("1", "1", &[("4294967296", KEY)]),
            ),
            ("an unknown field", json("1,\"x\":1", "1", &[("1", KEY)])),
            ("no base64", json("1", "1", &[("1", "!!!!")])),
            ("a short key", json("1", "1", &[("1", "AAEC")])),
            (
                "a long key",
                json("1", "1", &[("1", &format!("AAAA{KEY}"))]),
            ),
            ("33 bytes", json("1", "1", &[("1", &"A".repeat(44))])),
            ("an empty key", json("1", "1", &[("1", "")])),
        ] {
            assert!(KekSet::decode(text.as_bytes()).is_err(), "{what}");
        }
    }

    #[test]
    fn errors_do_not_quote_the_file() {
        let misplaced = json("1", &format!("\"{KEY}\""), &[("1", KEY)]);
        assert!(!error(&misplaced).contains(KEY));
    }

    #[test]
    fn versions_have_one_spelling() {
        assert_eq!(parse_version("1"), Some(1));
        assert_eq!(parse_version("4294967295"), Some(u32::MAX));
        for text in ["", "0", "01", "+1", "1 ", "4294967296", "¹"] {
            assert_eq!(parse_version(text), None, "{text:?}");
        }
    }
}

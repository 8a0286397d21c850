//! The shape of the files in tests/vectors: what every case gives, and how bytes stand in JSON.

use std::fs;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One file of vectors.
#[derive(Serialize, Deserialize)]
pub(crate) struct Vectors<Pass, Fail> {
    pub(crate) description: String,
    pub(crate) must_pass: Vec<Pass>,
    pub(crate) must_fail: Vec<Fail>,
}

/// Bytes as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Hex {
    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        self.0
            .as_slice()
            .try_into()
            .expect("a field of this length")
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        HEXLOWER
            .decode(text.as_bytes())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

/// Many bytes: 64 in a line, the zeros at the end left out.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    len: usize,
    hex: Vec<Hex>,
}

impl Image {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let end = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let hex = bytes[..end]
            .chunks(64)
            .map(|line| Hex(line.to_vec()))
            .collect();
        Self {
            len: bytes.len(),
            hex,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.hex.iter().flat_map(|line| line.0.clone()).collect();
        bytes.resize(self.len, 0);
        bytes
    }
}

/// A must-fail case that is a change to the bytes of the must-pass case `of`: copies of bytes as
/// they were, then zeros, then edits, then the cut.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) of: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copies: Vec<Copied>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) zeros: Vec<Zeros>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) edits: Vec<Edit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) truncate_to: Option<usize>,
    /// The data key that the slots open to, where it is not the must-pass case's (header.json).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest_dek: Option<Hex>,
}

/// `len` bytes that stand at `from`, copied to `at`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Copied {
    pub(crate) from: usize,
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// `len` bytes from `at` on, which become zeros.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Zeros {
    pub(crate) at: usize,
    pub(crate) len: usize,
}

/// Bytes that replace others, from `at` on.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) at: usize,
    pub(crate) hex: Hex,
}

impl Change {
    pub(crate) fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let before = bytes.clone();
        for Copied { from, at, len } in &self.copies {
            bytes[*at..*at + len].copy_from_slice(&before[*from..*from + len]);
        }
        for Zeros { at, len } in &self.zeros {
            bytes[*at..*at + len].fill(0);
        }
        for Edit { at, hex } in &self.edits {
            bytes[*at..*at + hex.0.len()].copy_from_slice(&hex.0);
        }
        bytes.truncate(self.truncate_to.unwrap_or(bytes.len()));
        bytes
    }
}

/// keys.json: what is derived of a data key or a volume key.
#[derive(Serialize, Deserialize)]
pub(crate) struct DerivedCase {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) ikm: Hex,
    pub(crate) salt: Hex,
    pub(crate) derived: Hex,
}

/// keys.json: a key that does not have the commitment.
#[derive(Serialize, Deserialize)]
pub(crate) struct CommitmentCase {
    pub(crate) name: String,
    pub(crate) dek: Hex,
    pub(crate) file_id: Hex,
    pub(crate) commitment: Hex,
}

/// header.json: the fields, the keys and the bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct HeaderCase {
    pub(crate) name: String,
    pub(crate) newest_dek: Hex,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) membership: String,
    pub(crate) block_len: u32,
    pub(crate) header_len: u32,
    pub(crate) file_id: Hex,
    /// The volume id that the header has: `volume_id`, or zeros.
    pub(crate) made_in: Hex,
    pub(crate) committed_len: u64,
    pub(crate) generation: u64,
    pub(crate) sparse: bool,
    pub(crate) epochs: Vec<EpochCase>,
    pub(crate) header_tag: Hex,
    pub(crate) membership_tag: Hex,
    pub(crate) bytes: Image,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EpochCase {
    pub(crate) epoch: u32,
    pub(crate) commitment: Hex,
    pub(crate) slots: Vec<SlotCase>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SlotCase {
    pub(crate) key_uri: String,
    pub(crate) key_version: String,
    pub(crate) wrapped_dek: Hex,
}

/// one-chunk.json, multi-chunk.json: a whole ciphertext file and what it opens to.
#[derive(Serialize, Deserialize)]
pub(crate) struct FileCase {
    pub(crate) name: String,
    /// The data key of epoch 1, then that of epoch 2, …
    pub(crate) deks: Vec<Hex>,
    pub(crate) plaintext: Image,
    pub(crate) file: Image,
}

/// names.json: a name in a folder.
#[derive(Serialize, Deserialize)]
pub(crate) struct NameCase {
    pub(crate) name: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) dir_id: Hex,
    pub(crate) plain: Hex,
    pub(crate) on_disk: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sidecar: Option<Sidecar>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) name: String,
    pub(crate) target: String,
}

/// names.json: an entry that is not shown.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BadName {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) dir_id: Hex,
    pub(crate) on_disk: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sidecar: Option<Sidecar>,
}

/// dir-id.json: a folder id and the target of its symlink.
#[derive(Serialize, Deserialize)]
pub(crate) struct DirIdCase {
    pub(crate) name: String,
    pub(crate) id: Hex,
    pub(crate) target: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BadDirId {
    pub(crate) name: String,
    pub(crate) target: String,
}

/// symlink.json: a target and its sealed text.
#[derive(Serialize, Deserialize)]
pub(crate) struct SymlinkCase {
    pub(crate) name: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) target: Hex,
    pub(crate) sealed: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BadSymlink {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) sealed: String,
}

/// xattr.json: an attribute and what is stored for it.
#[derive(Serialize, Deserialize)]
pub(crate) struct XattrCase {
    pub(crate) name: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) plain_name: String,
    pub(crate) plain_value: Hex,
    pub(crate) stored_name: String,
    pub(crate) stored_value: Hex,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct BadXattr {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_id: Hex,
    pub(crate) stored_name: String,
    pub(crate) stored_value: Hex,
}

/// volume-config.json: the text of a volume.json.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigCase {
    pub(crate) name: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_json: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct BadConfig {
    pub(crate) name: String,
    pub(crate) error: String,
    pub(crate) volume_key: Hex,
    pub(crate) volume_json: String,
}

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", file]
        .iter()
        .collect()
}

/// The vectors of one file.
pub(crate) fn load<T: DeserializeOwned>(file: &str) -> T {
    let json = fs::read(path(file)).expect("a file of vectors");
    serde_json::from_slice(&json).expect("vectors of this shape")
}

/// Holds the committed file to what the generator makes; with `ENVELOPEFS_WRITE_VECTORS` in the
/// environment writes it instead.
pub(crate) fn compare_or_write<T: Serialize>(file: &str, vectors: &T) {
    let mut made = serde_json::to_string_pretty(vectors).expect("vectors serialise");
    made.push('\n');
    if std::env::var_os("ENVELOPEFS_WRITE_VECTORS").is_some() {
        fs::write(path(file), &made).expect("tests/vectors can be written");
    }
    let committed = fs::read_to_string(path(file)).expect("a file of vectors");
    assert!(committed == made, "{file} is not what the generator makes");
}

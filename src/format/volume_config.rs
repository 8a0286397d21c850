//! `volume.json`: what a volume is and which keys open it.
//!
//! JSON, so that an administrator can read it; authenticated under the volume key by its `tag`,
//! HMAC-SHA-256 over the canonical encoding: the same object without its tag, its fields in the
//! order below, without white space. White space and order in the file itself mean nothing.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use super::epochs::{self, KeySlot, MAX_SLOTS, at_most};
use super::layout::Layout;
use crate::crypto::derive::{self, MacKey};
use crate::crypto::secret::SecretKey;
use crate::units::{KeyUri, VolumeId};

/// The version that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u64 = 1;
/// The longest `volume.json` in bytes: eight slots of the largest size leave room.
pub const MAX_LEN: usize = 64 * 1024;
/// The most key URIs for new files.
pub const MAX_KEYS: usize = 8;
/// The most keys that folders once had and files may still be under.
pub const MAX_FORMER: usize = 16;

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeConfig {
    /// The volume.
    pub volume_id: VolumeId,
    /// Block and header size of its files.
    pub layout: Layout,
    /// How its names stand on disk.
    pub names: NameMode,
    /// What wraps the data keys of its files.
    pub key_scope: KeyScope,
    /// Whether files that were made outside the volume open.
    pub foreign_files: ForeignFiles,
    /// The keys that wrap new files' data keys, at most [`MAX_KEYS`].
    pub keys: Vec<KeyUri>,
    /// The volume key's commitment ([`commitment`]).
    pub commitment: [u8; 32],
    /// The ways to the volume key, 1 to [`MAX_SLOTS`]: any one is enough.
    pub slots: Vec<KeySlot>,
    /// SHA-256 of the volume's policy.toml, where it has a policy.
    pub policy: Option<[u8; 32]>,
    /// Keys that folders of an earlier policy had, at most [`MAX_FORMER`]: files may still be under them, and no new one is.
    pub former_keys: Vec<KeyUri>,
    /// SHA-256 of the manifest that the volume was sealed with, where it is sealed: nothing of it changes any more.
    pub seal: Option<[u8; 32]>,
}

/// How names stand on disk.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameMode {
    /// Sealed under the volume key.
    Encrypted,
    /// As they are.
    Plain,
}

/// What wraps the data keys of files.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// The key provider, each by itself.
    File,
    /// The volume key: one call of the provider for a mount.
    Volume,
}

/// What becomes of files without the volume's membership tag.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForeignFiles {
    /// They open if their key does.
    Allow,
    /// They do not open.
    Deny,
}

/// A configuration whose tag was not verified yet: it gives what unlocking needs and no more.
#[derive(Clone, Debug)]
pub struct UnverifiedConfig {
    config: VolumeConfig,
    tag: [u8; 32],
}

/// Bytes that are no `volume.json` of this version and volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeConfigError {
    /// The tag is wrong: the file was changed, or is another volume's.
    #[error("volume.json fails authentication")]
    Forged,
    /// Not JSON, or fields missing, unknown or out of bounds.
    #[error("volume.json: {0}")]
    Malformed(String),
    /// A version that a later release writes.
    #[error("format version {0} is newer than this program")]
    NewerVersion(u64),
    /// More than [`MAX_LEN`] bytes.
    #[error("volume.json is over {MAX_LEN} bytes long")]
    TooLong,
}

/// The public value that binds `volume_key` to the volume: no second key has the same.
pub fn commitment(volume_key: &SecretKey, volume_id: &VolumeId) -> [u8; 32] {
    derive::derive_commitment(volume_key, &volume_id.0)
}

impl VolumeConfig {
    /// Whether `volume_key` is the key that the volume committed to, in constant time.
    pub fn commitment_matches(&self, volume_key: &SecretKey) -> bool {
        commitment(volume_key, &self.volume_id)
            .ct_eq(&self.commitment)
            .into()
    }

    /// The file's contents, with the tag that `key`, the volume's configuration key, gives. Out
    /// of bounds values are written as they are, and refused by [`VolumeConfig::decode`].
    pub fn encode(&self, key: &MacKey) -> Vec<u8> {
        let mut document = Document::of(self);
        document.tag = Some(Hex(key.tag(&[&document.canonical()])));
        let mut json = document.pretty();
        json.push(b'\n');
        json
    }

    /// Reads the file's contents, whose tag is still to be verified.
    ///
    /// # Errors
    ///
    /// [`VolumeConfigError`], all but `Forged`. A newer version is told as such, whatever else
    /// the object holds.
    pub fn decode(json: &[u8]) -> Result<UnverifiedConfig, VolumeConfigError> {
        if json.len() > MAX_LEN {
            return Err(VolumeConfigError::TooLong);
        }
        let Version { format } = parse(json)?;
        match format {
            FORMAT_VERSION => parse::<Document>(json)?.into_config(),
            0 => Err(malformed("format 0")),
            newer => Err(VolumeConfigError::NewerVersion(newer)),
        }
    }
}

impl UnverifiedConfig {
    /// The volume that it says it is: context of its slots.
    pub fn volume_id(&self) -> VolumeId {
        self.config.volume_id
    }

    /// The slots to unwrap the volume key from.
    pub fn slots(&self) -> &[KeySlot] {
        &self.config.slots
    }

    /// The keys that it says new files have.
    pub fn keys(&self) -> &[KeyUri] {
        &self.config.keys
    }

    /// The keys that it says folders once had.
    pub fn former_keys(&self) -> &[KeyUri] {
        &self.config.former_keys
    }

    /// What it says is the SHA-256 of the policy.
    pub fn policy(&self) -> Option<[u8; 32]> {
        self.config.policy
    }

    /// Whether it says that the volume is sealed.
    pub fn says_sealed(&self) -> bool {
        self.config.seal.is_some()
    }

    /// What it says wraps files' data keys.
    pub fn key_scope(&self) -> KeyScope {
        self.config.key_scope
    }

    /// What the volume key must have as its commitment.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.config.commitment
    }

    /// Whether `volume_key` is the key that it committed to, in constant time. Due before
    /// anything is derived from a key that a slot unwrapped to.
    pub fn commitment_matches(&self, volume_key: &SecretKey) -> bool {
        self.config.commitment_matches(volume_key)
    }

    /// The configuration, once `key`, the volume's configuration key, has proved it.
    ///
    /// # Errors
    ///
    /// `Forged` if the tag is another.
    pub fn verify(self, key: &MacKey) -> Result<VolumeConfig, VolumeConfigError> {
        if key.verify(&[&Document::of(&self.config).canonical()], &self.tag) {
            Ok(self.config)
        } else {
            Err(VolumeConfigError::Forged)
        }
    }
}

/// The one field that every version has.
#[derive(Deserialize)]
struct Version {
    format: u64,
}

/// The object as it stands in the file; the order of the fields is the canonical one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u64,
    volume_id: VolumeId,
    block_len: u32,
    header_len: u32,
    names: NameMode,
    key_scope: KeyScope,
    foreign_files: ForeignFiles,
    #[serde(deserialize_with = "at_most::<_, _, MAX_KEYS>")]
    keys: Vec<KeyUri>,
    commitment: Hex,
    #[serde(deserialize_with = "at_most::<_, _, MAX_SLOTS>")]
    slots: Vec<KeySlot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<Hex>,
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "at_most::<_, _, MAX_FORMER>"
    )]
    former_keys: Vec<KeyUri>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Hex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<Hex>,
}

impl Document {
    /// The object without its tag.
    fn of(config: &VolumeConfig) -> Self {
        Self {
            format: FORMAT_VERSION,
            volume_id: config.volume_id,
            block_len: u32::try_from(config.layout.block_len()).unwrap_or(u32::MAX),
            header_len: u32::try_from(config.layout.header_len()).unwrap_or(u32::MAX),
            names: config.names,
            key_scope: config.key_scope,
            foreign_files: config.foreign_files,
            keys: config.keys.clone(),
            commitment: Hex(config.commitment),
            slots: config.slots.clone(),
            policy: config.policy.map(Hex),
            former_keys: config.former_keys.clone(),
            seal: config.seal.map(Hex),
            tag: None,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "text, numbers and lists of them always serialise"
    )]
    fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a document serialises")
    }

    #[expect(
        clippy::expect_used,
        reason = "text, numbers and lists of them always serialise"
    )]
    fn pretty(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a document serialises")
    }

    fn into_config(self) -> Result<UnverifiedConfig, VolumeConfigError> {
        let Hex(tag) = self.tag.ok_or_else(|| malformed("no tag"))?;
        let layout = Layout::new(self.block_len, self.header_len)
            .map_err(|error| malformed(&error.to_string()))?;
        epochs::check_slots(&self.slots).map_err(malformed)?;
        if self.keys.is_empty() && self.key_scope == KeyScope::File {
            return Err(malformed("no key for new files"));
        }
        let config = VolumeConfig {
            volume_id: self.volume_id,
            layout,
            names: self.names,
            key_scope: self.key_scope,
            foreign_files: self.foreign_files,
            keys: self.keys,
            commitment: self.commitment.0,
            slots: self.slots,
            policy: self.policy.map(|Hex(hash)| hash),
            former_keys: self.former_keys,
            seal: self.seal.map(|Hex(hash)| hash),
        };
        Ok(UnverifiedConfig { config, tag })
    }
}

fn malformed(why: &str) -> VolumeConfigError {
    VolumeConfigError::Malformed(why.to_owned())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, VolumeConfigError> {
    serde_json::from_slice(json).map_err(|error| malformed(&error.to_string()))
}

/// 32 bytes as lower-case hexadecimal digits.
struct Hex([u8; 32]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        let wrong = || serde::de::Error::custom("expected 64 lower-case hexadecimal digits");
        bytes.map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::epochs::tests::{slot, slots};
    use super::*;

    fn mac(byte: u8) -> MacKey {
        MacKey::new(SecretKey::from_bytes(&[byte; 32]).unwrap())
    }

    fn config() -> VolumeConfig {
        VolumeConfig {
            volume_id: VolumeId([0xAB; 16]),
            layout: Layout::DEFAULT,
            names: NameMode::Encrypted,
            key_scope: KeyScope::File,
            foreign_files: ForeignFiles::Deny,
            keys: vec!["file:///etc/keyring.json".parse().unwrap()],
            commitment: [0xC0; 32],
            slots: vec![slot(72)],
            policy: None,
            former_keys: Vec::new(),
            seal: None,
        }
    }

    fn reread(json: &[u8], key: u8) -> Result<VolumeConfig, VolumeConfigError> {
        VolumeConfig::decode(json)?.verify(&mac(key))
    }

    /// The file with one of its fields replaced, or removed where `value` is null.
    fn with(pointer: &str, value: Value) -> Vec<u8> {
        let mut document: Value = serde_json::from_slice(&config().encode(&mac(1))).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let object = document
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        match value {
            Value::Null => object.remove(field),
            value => object.insert(field.to_owned(), value),
        };
        serde_json::to_vec(&document).unwrap()
    }

    #[test]
    fn the_file_reads_back_under_its_key_only() {
        let json = config().encode(&mac(1));
        assert_eq!(reread(&json, 1), Ok(config()));
        assert_eq!(reread(&json, 2), Err(VolumeConfigError::Forged));
    }

    #[test]
    fn the_canonical_encoding_is_that_of_the_specification() {
        let mut config = config();
        config.slots[0].wrapped_dek = vec![0xFF; 24];
        let canonical = String::from_utf8(Document::of(&config).canonical()).unwrap();
        let expected = concat!(
            r#"{"format":1,"volume_id":"abababababababababababababababab","block_len":4096,"#,
            r#""header_len":1024,"names":"encrypted","key_scope":"file","foreign_files":"deny","#,
            r#""keys":["file:///etc/keyring.json"],"commitment":"#,
            r#""c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","#,
            r#""slots":[{"key_uri":"file:///etc/envelopefs/keyring.json","key_version":"1","#,
            r#""wrapped_dek":"________________________________"}]}"#,
        );
        assert_eq!(canonical, expected);
    }

    #[test]
    fn a_policy_stands_behind_the_slots_and_its_removal_is_forged() {
        let with_policy = VolumeConfig {
            policy: Some([0xAB; 32]),
            ..config()
        };
        let canonical = String::from_utf8(Document::of(&with_policy).canonical()).unwrap();
        let end = format!(r#"}}],"policy":"{}"}}"#, "ab".repeat(32));
        assert!(canonical.ends_with(&end), "{canonical}");
        let json = with_policy.encode(&mac(1));
        assert_eq!(reread(&json, 1), Ok(with_policy));
        let mut document: Value = serde_json::from_slice(&json).unwrap();
        document.as_object_mut().unwrap().remove("policy");
        let removed = serde_json::to_vec(&document).unwrap();
        assert_eq!(reread(&removed, 1), Err(VolumeConfigError::Forged));
    }

    #[test]
    fn a_seal_stands_behind_all_else_and_its_removal_is_forged() {
        let sealed = VolumeConfig {
            seal: Some([0xAB; 32]),
            ..config()
        };
        let canonical = String::from_utf8(Document::of(&sealed).canonical()).unwrap();
        let end = format!(r#"}}],"seal":"{}"}}"#, "ab".repeat(32));
        assert!(canonical.ends_with(&end), "{canonical}");
        let json = sealed.encode(&mac(1));
        assert_eq!(reread(&json, 1), Ok(sealed));
        let mut document: Value = serde_json::from_slice(&json).unwrap();
        for forged in [None, Some(json!("cd".repeat(32)))] {
            let object = document.as_object_mut().unwrap();
            object.remove("seal");
            object.extend(forged.map(|hash| ("seal".to_owned(), hash)));
            let json = serde_json::to_vec(&document).unwrap();
            assert_eq!(reread(&json, 1), Err(VolumeConfigError::Forged));
        }
    }

    #[test]
    fn former_keys_stand_last_and_are_proven_too() {
        let former: Vec<KeyUri> = vec!["file:///old".parse().unwrap()];
        let with_former = VolumeConfig {
            former_keys: former,
            ..config()
        };
        let canonical = String::from_utf8(Document::of(&with_former).canonical()).unwrap();
        assert!(
            canonical.ends_with(r#"}],"former_keys":["file:///old"]}"#),
            "{canonical}"
        );
        let json = with_former.encode(&mac(1));
        assert_eq!(reread(&json, 1), Ok(with_former));
        for key in [json!([]), json!(["file:///other"])] {
            let mut document: Value = serde_json::from_slice(&json).unwrap();
            document["former_keys"] = key;
            let changed = serde_json::to_vec(&document).unwrap();
            assert_eq!(reread(&changed, 1), Err(VolumeConfigError::Forged));
        }
    }

    #[test]
    fn white_space_and_order_mean_nothing() {
        let json = config().encode(&mac(1));
        let sorted = serde_json::to_vec(&serde_json::from_slice::<Value>(&json).unwrap()).unwrap();
        assert_ne!(json, sorted);
        assert_eq!(reread(&sorted, 1), Ok(config()));
    }

    #[test]
    fn unlocking_sees_what_it_needs() {
        let unverified = VolumeConfig::decode(&config().encode(&mac(1))).unwrap();
        assert_eq!(unverified.volume_id(), config().volume_id);
        assert_eq!(unverified.slots(), config().slots);
        assert_eq!(unverified.commitment(), &[0xC0; 32]);
    }

    #[test]
    fn only_the_committed_key_matches() {
        let key = |byte| SecretKey::from_bytes(&[byte; 32]).unwrap();
        let config = VolumeConfig {
            commitment: commitment(&key(5), &config().volume_id),
            ..config()
        };
        let unverified = VolumeConfig::decode(&config.encode(&mac(1))).unwrap();
        assert!(unverified.commitment_matches(&key(5)));
        assert!(!unverified.commitment_matches(&key(6)));
    }

    #[test]
    fn every_changed_field_is_forged() {
        for (pointer, value) in [
            ("/volume_id", json!("00000000000000000000000000000000")),
            ("/block_len", json!(8192)),
            ("/header_len", json!(2048)),
            ("/names", json!("plain")),
            ("/key_scope", json!("volume")),
            ("/foreign_files", json!("allow")),
            ("/keys", json!(["file:///tmp/mine.json"])),
            ("/commitment", json!("00".repeat(32))),
            ("/policy", json!("00".repeat(32))),
            ("/former_keys", json!(["file:///tmp/mine.json"])),
            (
                "/slots",
                serde_json::to_value([slot(72), slot(72)]).unwrap(),
            ),
            ("/tag", json!("00".repeat(32))),
        ] {
            assert_eq!(
                reread(&with(pointer, value), 1),
                Err(VolumeConfigError::Forged),
                "{pointer}"
            );
        }
    }

    #[test]
    fn fields_missing_unknown_or_out_of_bounds_are_malformed() {
        let uri = json!("file:///k");
        for (pointer, value) in [
            ("/format", json!(0)),
            ("/format", json!("1")),
            ("/format", json!(-1)),
            ("/format", Value::Null),
            ("/volume_id", Value::Null),
            ("/volume_id", json!("AB")),
            ("/block_len", json!(4097)),
            ("/block_len", json!(4_294_971_392_u64)),
            ("/header_len", json!(4096)),
            ("/names", json!("Plain")),
            ("/key_scope", json!("folder")),
            ("/foreign_files", Value::Null),
            ("/keys", json!([])),
            ("/keys", json!(["not a uri"])),
            ("/keys", json!(vec![uri; 9])),
            ("/commitment", json!("C0".repeat(32))),
            ("/commitment", json!("c0".repeat(31))),
            ("/slots", json!([])),
            ("/slots", serde_json::to_value(vec![slot(40); 9]).unwrap()),
            ("/slots", serde_json::to_value([slot(23)]).unwrap()),
            ("/slots/0/more", json!(1)),
            ("/policy", json!("C0".repeat(32))),
            ("/policy", json!("")),
            ("/policy", json!(["00"])),
            ("/former_keys", json!(["no uri"])),
            ("/former_keys", json!("file:///a")),
            ("/former_keys", json!(vec!["file:///a"; MAX_FORMER + 1])),
            ("/tag", Value::Null),
            ("/tag", json!("")),
            ("/more", json!(1)),
        ] {
            let decoded = VolumeConfig::decode(&with(pointer, value.clone()));
            let malformed = matches!(decoded, Err(VolumeConfigError::Malformed(_)));
            assert!(malformed, "{pointer} = {value}: {decoded:?}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_malformed() {
        let json = String::from_utf8(config().encode(&mac(1))).unwrap();
        for field in [r#""format": 1,"#, r#""names": "encrypted","#] {
            let twice = json.replacen(field, &field.repeat(2), 1);
            assert!(matches!(
                reread(twice.as_bytes(), 1),
                Err(VolumeConfigError::Malformed(_))
            ));
        }
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        let deep = "[".repeat(10_000);
        for json in [
            "",
            "null",
            "[]",
            "{}",
            "{",
            "1",
            "\u{feff}{}",
            &deep,
            r#"{"format": 1}"#,
        ] {
            let decoded = VolumeConfig::decode(json.as_bytes());
            assert!(
                matches!(decoded, Err(VolumeConfigError::Malformed(_))),
                "{json:.20}"
            );
        }
    }

    #[test]
    fn a_newer_version_is_told_whatever_else_it_holds() {
        let newer = Err(VolumeConfigError::NewerVersion(2));
        for json in [
            br#"{"format": 2}"#.as_slice(),
            br#"{"cipher": {"x": [1, null]}, "format": 2, "names": 7}"#,
            &with("/format", json!(2)),
        ] {
            assert_eq!(VolumeConfig::decode(json).map(|_| ()), newer);
        }
    }

    #[test]
    fn more_than_the_longest_is_refused_unread() {
        let decoded = VolumeConfig::decode(&vec![b' '; MAX_LEN + 1]);
        assert!(matches!(decoded, Err(VolumeConfigError::TooLong)));
    }

    #[test]
    fn the_longest_configuration_is_within_the_bound() {
        let uri: KeyUri = format!("file:{}", "\"".repeat(507)).parse().unwrap();
        let slot = KeySlot {
            key_uri: uri.clone(),
            key_version: "\\".repeat(256),
            ..slot(1024)
        };
        let config = VolumeConfig {
            keys: vec![uri; 8],
            slots: vec![slot; 8],
            ..config()
        };
        assert_eq!(reread(&config.encode(&mac(1)), 1), Ok(config));
    }

    prop_compose! {
        fn configs()(
            volume_id: [u8; 16],
            log2 in 12_u32..=20,
            header in 0_u32..3,
            plain: bool,
            volume_scope: bool,
            allow: bool,
            commitment: [u8; 32],
            policy: Option<[u8; 32]>,
            former: bool,
            slots in vec(slots(), 1..=8),
        ) -> VolumeConfig {
            VolumeConfig {
                volume_id: VolumeId(volume_id),
                layout: Layout::new(1 << log2, 512 << header).unwrap(),
                names: if plain { NameMode::Plain } else { NameMode::Encrypted },
                key_scope: if volume_scope { KeyScope::Volume } else { KeyScope::File },
                foreign_files: if allow { ForeignFiles::Allow } else { ForeignFiles::Deny },
                keys: slots.iter().map(|slot| slot.key_uri.clone()).collect(),
                commitment,
                former_keys: slots.iter().filter(|_| former).map(|slot| slot.key_uri.clone()).collect(),
                seal: former.then_some([0x5E; 32]),
                slots,
                policy,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(config in configs()) {
            let json = config.encode(&mac(1));
            let reread = reread(&json, 1);
            prop_assert_eq!(reread.as_ref(), Ok(&config));
            prop_assert_eq!(reread.unwrap().encode(&mac(1)), json);
        }

        #[test]
        fn a_changed_byte_is_refused_or_means_nothing(at: prop::sample::Index, byte: u8) {
            let mut json = config().encode(&mac(1));
            let at = at.index(json.len());
            json[at] = byte;
            if let Ok(reread) = reread(&json, 1) {
                prop_assert_eq!(reread, config());
            }
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_open(json: Vec<u8>) {
            prop_assert!(reread(&json, 1).is_err());
        }
    }
}

//! The key epochs of a header: each data key's commitment and the slots that hold it wrapped.
//!
//! Encoded with bincode 2 (little-endian, fixed-size integers): every count and length is a u64
//! and is checked against its bound before anything is allocated for it.

use std::fmt;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::base64;
use crate::units::{EpochId, KeyUri};

/// The most key epochs of a file: one, two while `reencrypt` is under way, room for two more.
pub const MAX_EPOCHS: usize = 4;
/// The most slots of one data key.
pub const MAX_SLOTS: usize = 8;
/// The longest key version in bytes.
pub const MAX_KEY_VERSION_LEN: usize = 256;
/// The shortest wrapped key in bytes; AES-KW's smallest output.
pub const MIN_WRAPPED_LEN: usize = 24;
/// The longest wrapped key in bytes.
pub const MAX_WRAPPED_LEN: usize = 1024;

/// No header has more room than this; bincode refuses to read or claim more.
const ENCODED_LIMIT: usize = 2048;
const CONFIG: Configuration<LittleEndian, Fixint, Limit<ENCODED_LIMIT>> =
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<ENCODED_LIMIT>();

/// One way to a data key: which key of which provider wrapped it, and the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySlot {
    /// The wrapping key.
    pub key_uri: KeyUri,
    /// Its version, as the provider calls it: printable ASCII, at most [`MAX_KEY_VERSION_LEN`]
    /// bytes, empty where the provider has none.
    pub key_version: String,
    /// What the provider made of the data key: [`MIN_WRAPPED_LEN`] to [`MAX_WRAPPED_LEN`] bytes.
    #[serde(with = "wrapped_bytes")]
    pub wrapped_dek: Vec<u8>,
}

/// One data key of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEpoch {
    /// Its number, which the chunks that it sealed carry; at least 1.
    #[serde(with = "epoch_number")]
    pub epoch: EpochId,
    /// The commitment: no other data key has it, whatever a slot unwraps to.
    pub commitment: [u8; 32],
    /// The ways to it, 1 to [`MAX_SLOTS`]: any one is enough.
    #[serde(deserialize_with = "at_most::<_, _, MAX_SLOTS>")]
    pub slots: Vec<KeySlot>,
}

#[derive(Serialize)]
struct EpochsRef<'a>(&'a [KeyEpoch]);

#[derive(Deserialize)]
struct Epochs(#[serde(deserialize_with = "at_most::<_, _, MAX_EPOCHS>")] Vec<KeyEpoch>);

/// What is wrong with a list of epochs or slots.
pub(super) type Fault = &'static str;

impl KeySlot {
    /// Refuses what is out of bounds.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let version = self.key_version.as_bytes();
        if version.len() > MAX_KEY_VERSION_LEN || !version.iter().all(u8::is_ascii_graphic) {
            return Err("key version");
        }
        match self.wrapped_dek.len() {
            MIN_WRAPPED_LEN..=MAX_WRAPPED_LEN => Ok(()),
            _ => Err("length of a wrapped key"),
        }
    }

    /// Bytes that it takes in a header: three lengths and what they count.
    fn encoded_len(&self) -> usize {
        [
            self.key_uri.as_str().len(),
            self.key_version.len(),
            self.wrapped_dek.len(),
        ]
        .iter()
        .fold(3 * 8, |sum, len| sum.saturating_add(*len))
    }
}

impl KeyEpoch {
    fn check(&self) -> Result<(), Fault> {
        if self.epoch.0 == 0 {
            return Err("key epoch 0");
        }
        check_slots(&self.slots)
    }

    /// Number, commitment, count of slots, slots.
    fn encoded_len(&self) -> usize {
        self.slots.iter().fold(4 + 32 + 8, |sum, slot| {
            sum.saturating_add(slot.encoded_len())
        })
    }
}

/// Refuses no slots, too many, and any slot that is out of bounds.
pub(super) fn check_slots(slots: &[KeySlot]) -> Result<(), Fault> {
    if slots.is_empty() || slots.len() > MAX_SLOTS {
        return Err("number of key slots");
    }
    slots.iter().try_for_each(KeySlot::check)
}

/// Bytes that `epochs` take in a header behind its [`FIXED_LEN`](super::header::FIXED_LEN).
pub fn encoded_len(epochs: &[KeyEpoch]) -> usize {
    epochs
        .iter()
        .fold(8, |sum, epoch| sum.saturating_add(epoch.encoded_len()))
}

/// Refuses what no header may hold: no epochs, too many, not ascending, or slots out of bounds.
pub(super) fn check(epochs: &[KeyEpoch]) -> Result<(), Fault> {
    if epochs.is_empty() || epochs.len() > MAX_EPOCHS {
        return Err("number of key epochs");
    }
    if !epochs.is_sorted_by(|a, b| a.epoch < b.epoch) {
        return Err("key epochs out of order");
    }
    epochs.iter().try_for_each(KeyEpoch::check)
}

/// Writes checked `epochs` to the front of `out` and says how many bytes they took; `None` where
/// they do not fit.
pub(super) fn encode(epochs: &[KeyEpoch], out: &mut [u8]) -> Option<usize> {
    bincode::serde::encode_into_slice(EpochsRef(epochs), out, CONFIG).ok()
}

/// The epochs that `bytes` hold, which must be all of them to the last byte.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<KeyEpoch>, Fault> {
    let (Epochs(epochs), read) = bincode::serde::decode_from_slice::<Epochs, _>(bytes, CONFIG)
        .map_err(|_error| "key epochs")?;
    if read != bytes.len() {
        return Err("length of the key epochs");
    }
    check(&epochs)?;
    Ok(epochs)
}

/// Reads a list and stops at the first sign of more than `MAX` elements: at its count where the
/// encoding has one, else at the element too many.
pub(super) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(AtMost::<T, MAX>(std::marker::PhantomData))
}

struct AtMost<T, const MAX: usize>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        if seq.size_hint().is_some_and(|count| count > MAX) {
            return Err(A::Error::custom("a list is too long"));
        }
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            if elements.len() == MAX {
                return Err(A::Error::custom("a list is too long"));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}

/// A key epoch as its number.
mod epoch_number {
    use super::{Deserialize, Deserializer, EpochId, Serializer};

    pub(super) fn serialize<S: Serializer>(epoch: &EpochId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(epoch.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EpochId, D::Error> {
        u32::deserialize(from).map(EpochId)
    }
}

/// A wrapped key: bytes in a header, base64url in JSON.
mod wrapped_bytes {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, MAX_WRAPPED_LEN, Serializer, at_most, base64};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(&String::from_utf8_lossy(&base64::encode(bytes)))
        } else {
            to.serialize_bytes(bytes)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            base64::decode(text.as_bytes()).ok_or_else(|| D::Error::custom("not base64url"))
        } else {
            at_most::<_, _, MAX_WRAPPED_LEN>(from)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    pub(in crate::format) fn slot(wrapped_len: usize) -> KeySlot {
        KeySlot {
            key_uri: "file:///etc/envelopefs/keyring.json".parse().unwrap(),
            key_version: "1".to_owned(),
            wrapped_dek: vec![0xA5; wrapped_len],
        }
    }

    pub(in crate::format) fn epoch(number: u32) -> KeyEpoch {
        KeyEpoch {
            epoch: EpochId(number),
            commitment: [number as u8; 32],
            slots: vec![slot(72)],
        }
    }

    pub(in crate::format) fn slots() -> impl Strategy<Value = KeySlot> {
        (
            "[a-z][a-z0-9]{0,8}:[!-~]{0,40}",
            "[!-~]{0,20}",
            vec(any::<u8>(), 24..100),
        )
            .prop_map(|(uri, key_version, wrapped_dek)| KeySlot {
                key_uri: uri.parse().unwrap(),
                key_version,
                wrapped_dek,
            })
    }

    /// One to `MAX_EPOCHS` epochs in order.
    pub(in crate::format) fn epoch_lists() -> impl Strategy<Value = Vec<KeyEpoch>> {
        let epoch = (1_u32..1000, any::<[u8; 32]>(), vec(slots(), 1..=2));
        vec(epoch, 1..=MAX_EPOCHS).prop_map(|drawn| {
            let mut number = 0;
            let mut epochs = Vec::new();
            for (step, commitment, slots) in drawn {
                number += step;
                epochs.push(KeyEpoch {
                    epoch: EpochId(number),
                    commitment,
                    slots,
                });
            }
            epochs
        })
    }

    fn encoded(epochs: &[KeyEpoch]) -> Vec<u8> {
        let mut out = vec![0; ENCODED_LIMIT];
        let len = encode(epochs, &mut out).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let bytes = encoded(&[KeyEpoch {
            epoch: EpochId(7),
            commitment: [0xC0; 32],
            slots: vec![KeySlot {
                key_uri: "file:/k".parse().unwrap(),
                key_version: "v2".to_owned(),
                wrapped_dek: vec![0xEE; 24],
            }],
        }]);
        let mut expected = vec![1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        expected.extend([0xC0; 32]);
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"file:/k");
        expected.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"v2");
        expected.extend([24, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0xEE; 24]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn lists_out_of_bounds_are_refused() {
        let with = |change: fn(&mut Vec<KeyEpoch>)| {
            let mut epochs = vec![epoch(1), epoch(2)];
            change(&mut epochs);
            check(&epochs)
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert_eq!(with(Vec::clear), Err("number of key epochs"));
        assert_eq!(
            with(|e| e.extend([3, 4, 5].map(epoch))),
            Err("number of key epochs")
        );
        assert_eq!(with(|e| e.reverse()), Err("key epochs out of order"));
        assert_eq!(with(|e| e[1] = epoch(1)), Err("key epochs out of order"));
        assert_eq!(with(|e| e[0].epoch = EpochId(0)), Err("key epoch 0"));
        assert_eq!(with(|e| e[1].slots.clear()), Err("number of key slots"));
        assert_eq!(
            with(|e| e[1].slots = vec![slot(24); 9]),
            Err("number of key slots")
        );
        assert_eq!(
            with(|e| e[0].slots[0] = slot(23)),
            Err("length of a wrapped key")
        );
        assert_eq!(
            with(|e| e[0].slots[0] = slot(1025)),
            Err("length of a wrapped key")
        );
        let version = |text: &str| {
            KeySlot {
                key_version: text.to_owned(),
                ..slot(40)
            }
            .check()
        };
        assert_eq!(version(&"9".repeat(256)), Ok(()));
        assert_eq!(version(""), Ok(()));
        for text in ["a b", "a\n", "\u{1b}[2J", "é", &"9".repeat(257)] {
            assert_eq!(version(text), Err("key version"), "{text:?}");
        }
    }

    #[test]
    fn a_huge_count_is_refused_before_memory_is_asked_for() {
        for count in [MAX_EPOCHS as u64 + 1, 1 << 32, u64::MAX] {
            let mut bytes = encoded(&[epoch(1)]);
            bytes[..8].copy_from_slice(&count.to_le_bytes());
            assert_eq!(decode(&bytes), Err("key epochs"), "{count}");
        }
        for at in [44, 52] {
            let mut bytes = encoded(&[epoch(1)]);
            bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert_eq!(decode(&bytes), Err("key epochs"), "{at}");
        }
    }

    #[test]
    fn bytes_too_few_or_too_many_are_refused() {
        let mut bytes = encoded(&[epoch(1), epoch(2)]);
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Err("key epochs"), "{len}");
        }
        bytes.push(0);
        assert_eq!(decode(&bytes), Err("length of the key epochs"));
    }

    #[test]
    fn what_does_not_fit_is_not_encoded() {
        let epochs = [epoch(1)];
        let mut out = vec![0; encoded_len(&epochs) - 1];
        assert_eq!(encode(&epochs, &mut out), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(epochs in epoch_lists()) {
            let bytes = encoded(&epochs);
            prop_assert_eq!(bytes.len(), encoded_len(&epochs));
            prop_assert_eq!(decode(&bytes), Ok(epochs));
        }

        #[test]
        fn what_decodes_is_encoded_so(epochs in epoch_lists(), at: prop::sample::Index, byte: u8) {
            let mut bytes = encoded(&epochs);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(decoded) = decode(&bytes) {
                prop_assert_eq!(encoded(&decoded), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            drop(decode(&bytes));
        }
    }
}

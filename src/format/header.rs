//! The header of a ciphertext file: what the file is, which keys open it, how much of it is
//! known to be durable.
//!
//! ```text
//!   0  magic 8 | version u16 | suite u16 | log2 B u8 | H/512 u8 | zeros 2
//!  16  file id 16 | committed length u64 | generation u64 | flags u32 | newest key epoch u32
//!  56  length of the key epochs u32 | zeros 4
//!  64  header tag 32 | membership tag 32
//! 128  volume id 16
//! 144  key epochs | zeros to H
//! ```
//!
//! The header tag covers bytes 0..56, the membership tag, the volume id, and the number and
//! commitment of every key epoch. It leaves out the slots and their length, so that a host that never sees the data
//! key can have a slot wrapped anew; a slot is bound to its file by the commitment.

use super::cursor::{Reader, Writer};
pub use super::epochs::{
    KeyEpoch, KeySlot, MAX_EPOCHS, MAX_KEY_VERSION_LEN, MAX_SLOTS, MAX_WRAPPED_LEN,
    MIN_WRAPPED_LEN, encoded_len as epochs_len,
};
use super::layout::Layout;
use super::{all_zeros, epochs};
use crate::crypto::derive::MacKey;
use crate::units::{EpochId, FileId, PlainLen, VolumeId};

/// Bytes before the key epochs.
pub const FIXED_LEN: usize = 144;
/// The version that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;
/// The suite XAES-256-GCM with HKDF-SHA-256, the only one yet.
pub const SUITE: u16 = 1;
/// The first bytes of every ciphertext file.
pub const MAGIC: [u8; 8] = *b"ENVLPFS\0";

/// Bytes that a header of this layout has for its key epochs.
pub fn epochs_room(layout: Layout) -> usize {
    layout.header_len().saturating_sub(FIXED_LEN)
}

/// Bytes before the length of the key epochs: those under the header tag.
const PREFIX_LEN: usize = 56;
const SPARSE: u32 = 1;
const FOREIGN: [u8; 32] = [0; 32];

/// Stands for the newest epoch of a header that was built without any: no key has an
/// all-zero commitment, so it opens nothing.
static NO_EPOCH: KeyEpoch = KeyEpoch {
    epoch: EpochId(0),
    commitment: [0; 32],
    slots: Vec::new(),
};

/// A file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Block and header size; also of the bytes that it is encoded to.
    pub layout: Layout,
    /// The file.
    pub file_id: FileId,
    /// The volume that the file was made in, part of the context that its data keys are wrapped
    /// in; `None`, sixteen zeros on disk, for a file made outside any.
    pub volume_id: Option<VolumeId>,
    /// Plaintext bytes that are known to be durable: a shorter file was cut.
    pub committed_len: PlainLen,
    /// +1 with each commit.
    pub generation: u64,
    /// What a reader must know beforehand.
    pub flags: HeaderFlags,
    /// The data keys, ascending, 1 to [`MAX_EPOCHS`]; new chunks are sealed with the last.
    pub epochs: Vec<KeyEpoch>,
    /// HMAC-SHA-256 under the newest data key's header key; see [`FileHeader::seal`].
    pub header_tag: [u8; 32],
    /// HMAC-SHA-256 under the volume's membership key; zeros: made outside a volume.
    pub membership_tag: [u8; 32],
}

/// The flags of a header.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderFlags {
    /// Blocks of zeros before the committed length are holes. Without it they are forgeries.
    pub sparse: bool,
}

/// What a header's membership tag says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// No tag: the file was made outside a volume.
    Foreign,
    /// A tag that is not this volume's for this file and key.
    Invalid,
    /// The volume's tag.
    Valid,
}

/// Bytes that are no header of this version, or a header that has no encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A field has a value that no writer gives it.
    #[error("malformed header: {0}")]
    Malformed(&'static str),
    /// A version that a later release writes.
    #[error("format version {0} is newer than this program")]
    NewerVersion(u16),
    /// The magic is not there: not a ciphertext file.
    #[error("not an envelopefs file")]
    NotOurs,
    /// The key epochs do not fit the header (encoding only).
    #[error("the key slots need {needed} bytes of a header that has room for {room}")]
    SlotsTooLong {
        /// Bytes that they take.
        needed: usize,
        /// Bytes that the header has for them.
        room: usize,
    },
    /// Fewer bytes than the header has.
    #[error("the header is cut short")]
    Truncated,
    /// Flags whose meaning this program does not know.
    #[error("unknown header flags {0:#x}")]
    UnknownFlags(u32),
    /// A suite whose algorithms this program does not know.
    #[error("unknown cipher suite {0}")]
    UnknownSuite(u16),
}

impl FileHeader {
    /// The tag of the header that these bytes begin with. It is another whenever the header is, but for its key slots.
    pub fn tag_in(block0: &[u8]) -> Option<[u8; 32]> {
        block0.get(64..96)?.try_into().ok()
    }

    /// The header at the front of a file's block 0, of which at least the whole header must be
    /// there. Checks its structure only: neither tag, nor that any slot holds the right key.
    ///
    /// # Errors
    ///
    /// [`HeaderError`], all but `SlotsTooLong`. Anything that [`FileHeader::encode`] would not
    /// write is refused, so that one header has one encoding.
    pub fn decode(block0: &[u8]) -> Result<Self, HeaderError> {
        if block0.first_chunk().is_some_and(|magic| *magic != MAGIC) {
            return Err(HeaderError::NotOurs);
        }
        if block0.len() < FIXED_LEN {
            return Err(HeaderError::Truncated);
        }
        let mut reader = Reader::new(block0);
        check_identity(&mut reader)?;
        let layout = read_layout(&mut reader)?;
        let header = block0
            .get(..layout.header_len())
            .ok_or(HeaderError::Truncated)?;
        read_fields(layout, &mut reader, header).ok_or(HeaderError::Truncated)?
    }

    /// Writes the header to `out`, zeros behind the key epochs included.
    ///
    /// # Errors
    ///
    /// `Malformed` if `out` is not `H` bytes long or a field is out of bounds, `SlotsTooLong` if
    /// the key epochs do not fit; `out` is then unspecified.
    pub fn encode(&self, out: &mut [u8]) -> Result<(), HeaderError> {
        if out.len() != self.layout.header_len() {
            return Err(HeaderError::Malformed("length of the buffer"));
        }
        self.check()?;
        let needed = epochs::encoded_len(&self.epochs);
        let room = out.len().saturating_sub(FIXED_LEN);
        let too_long = HeaderError::SlotsTooLong { needed, room };
        let mut writer = Writer::new(out);
        writer.put(&self.prefix());
        writer.put(
            &u32::try_from(needed)
                .map_err(|_error| too_long.clone())?
                .to_le_bytes(),
        );
        writer.put(&[0; 4]);
        writer.put(&self.header_tag);
        writer.put(&self.membership_tag);
        writer.put(&self.volume_id_bytes());
        let rest = writer.rest();
        let written = epochs::encode(&self.epochs, rest).ok_or(too_long)?;
        rest.iter_mut().skip(written).for_each(|byte| *byte = 0);
        Ok(())
    }

    /// The epoch whose data key seals new chunks and tags the header.
    pub fn newest(&self) -> &KeyEpoch {
        self.epochs.last().unwrap_or(&NO_EPOCH)
    }

    /// The epoch of that number, if the header has it.
    pub fn epoch(&self, epoch: EpochId) -> Option<&KeyEpoch> {
        self.epochs
            .iter()
            .find(|candidate| candidate.epoch == epoch)
    }

    /// Sets the header tag; the last step before [`FileHeader::encode`], after
    /// [`FileHeader::seal_membership`]. `key` is the header key of the newest epoch.
    pub fn seal(&mut self, key: &MacKey) {
        self.header_tag = key.tag(&self.tagged_parts().each_ref().map(Vec::as_slice));
    }

    /// Whether the header tag is the one that `key`, the header key of the newest epoch, gives.
    pub fn verify(&self, key: &MacKey) -> bool {
        key.verify(
            &self.tagged_parts().each_ref().map(Vec::as_slice),
            &self.header_tag,
        )
    }

    /// All that the header tag covers, in order.
    fn tagged_parts(&self) -> [Vec<u8>; 4] {
        [
            self.prefix().to_vec(),
            self.membership_tag.to_vec(),
            self.volume_id_bytes().to_vec(),
            self.key_bindings(),
        ]
    }

    fn volume_id_bytes(&self) -> [u8; 16] {
        self.volume_id.unwrap_or(VolumeId::NONE).0
    }

    /// Makes the file the volume's: sets the membership tag. Due again with a new key epoch.
    pub fn seal_membership(&mut self, volume_key: &MacKey) {
        self.membership_tag = volume_key.tag(&self.membership_input());
    }

    /// Whether the file is the volume's, by the volume's membership key.
    pub fn verify_membership(&self, volume_key: &MacKey) -> Membership {
        if self.membership_tag == FOREIGN {
            Membership::Foreign
        } else if volume_key.verify(&self.membership_input(), &self.membership_tag) {
            Membership::Valid
        } else {
            Membership::Invalid
        }
    }

    fn membership_input(&self) -> [&[u8]; 2] {
        [&self.file_id.0, &self.newest().commitment]
    }

    /// Number and commitment of every epoch: without them under the tag, who may call the
    /// service's Encrypt could add an epoch of his own and chunks that it opens.
    fn key_bindings(&self) -> Vec<u8> {
        let binding =
            |epoch: &KeyEpoch| [&epoch.epoch.0.to_le_bytes()[..], &epoch.commitment].concat();
        self.epochs.iter().flat_map(binding).collect()
    }

    /// Bytes 0..56, as encoded.
    fn prefix(&self) -> [u8; PREFIX_LEN] {
        let mut bytes = [0; PREFIX_LEN];
        let mut writer = Writer::new(&mut bytes);
        writer.put(&MAGIC);
        writer.put(&FORMAT_VERSION.to_le_bytes());
        writer.put(&SUITE.to_le_bytes());
        writer.put(&[self.layout.log2_block(), self.layout.header_units(), 0, 0]);
        writer.put(&self.file_id.0);
        writer.put(&self.committed_len.0.to_le_bytes());
        writer.put(&self.generation.to_le_bytes());
        writer.put(&self.flags.bits().to_le_bytes());
        writer.put(&self.newest().epoch.0.to_le_bytes());
        bytes
    }

    /// What `decode` refuses, `encode` does not write.
    fn check(&self) -> Result<(), HeaderError> {
        if self.volume_id == Some(VolumeId::NONE) {
            return Err(HeaderError::Malformed("volume id"));
        }
        if self.committed_len > self.layout.max_plain_len() {
            return Err(HeaderError::Malformed("committed length"));
        }
        epochs::check(&self.epochs).map_err(HeaderError::Malformed)
    }
}

impl HeaderFlags {
    fn bits(self) -> u32 {
        if self.sparse { SPARSE } else { 0 }
    }

    fn from_bits(bits: u32) -> Result<Self, HeaderError> {
        match bits {
            0 => Ok(Self { sparse: false }),
            SPARSE => Ok(Self { sparse: true }),
            _ => Err(HeaderError::UnknownFlags(bits)),
        }
    }
}

/// Magic, version, suite: in this order, since a newer version may change all that follows it.
fn check_identity(reader: &mut Reader<'_>) -> Result<(), HeaderError> {
    if reader.array() != Some(MAGIC) {
        return Err(HeaderError::NotOurs);
    }
    match reader.u16().ok_or(HeaderError::Truncated)? {
        0 => return Err(HeaderError::Malformed("format version")),
        FORMAT_VERSION => {}
        newer => return Err(HeaderError::NewerVersion(newer)),
    }
    match reader.u16().ok_or(HeaderError::Truncated)? {
        SUITE => Ok(()),
        suite => Err(HeaderError::UnknownSuite(suite)),
    }
}

fn read_layout(reader: &mut Reader<'_>) -> Result<Layout, HeaderError> {
    let (Some(log2_block), Some(units)) = (reader.u8(), reader.u8()) else {
        return Err(HeaderError::Truncated);
    };
    if reader.array() != Some([0; 2]) {
        return Err(HeaderError::Malformed("reserved bytes"));
    }
    Layout::from_header(log2_block, units).ok_or(HeaderError::Malformed("block or header size"))
}

/// The fields from the file id on, and what stands behind them in the whole `header`; `None`
/// where bytes are missing.
fn read_fields(
    layout: Layout,
    reader: &mut Reader<'_>,
    header: &[u8],
) -> Option<Result<FileHeader, HeaderError>> {
    let file_id = FileId(reader.array()?);
    let committed_len = PlainLen(reader.u64()?);
    let generation = reader.u64()?;
    let flags = reader.u32()?;
    let newest = EpochId(reader.u32()?);
    let epochs_len = reader.u32()?;
    let reserved = reader.u32()?;
    let (header_tag, membership_tag) = (reader.array()?, reader.array()?);
    let volume_id = Some(VolumeId(reader.array()?)).filter(|id| *id != VolumeId::NONE);
    Some(HeaderFlags::from_bits(flags).and_then(|flags| {
        let epochs = read_epochs(header, epochs_len)?;
        let header = FileHeader {
            layout,
            file_id,
            volume_id,
            committed_len,
            generation,
            flags,
            epochs,
            header_tag,
            membership_tag,
        };
        header.check()?;
        match (header.newest().epoch == newest, reserved) {
            (true, 0) => Ok(header),
            (false, _) => Err(HeaderError::Malformed("newest key epoch")),
            (true, _) => Err(HeaderError::Malformed("reserved bytes")),
        }
    }))
}

/// The key epochs, whose length the header says, with nothing but zeros behind them.
fn read_epochs(header: &[u8], epochs_len: u32) -> Result<Vec<KeyEpoch>, HeaderError> {
    let split = usize::try_from(epochs_len)
        .ok()
        .and_then(|len| header.get(FIXED_LEN..)?.split_at_checked(len));
    let Some((encoded, padding)) = split else {
        return Err(HeaderError::Malformed("length of the key epochs"));
    };
    if !all_zeros(padding) {
        return Err(HeaderError::Malformed("bytes behind the key epochs"));
    }
    epochs::decode(encoded).map_err(HeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::epochs::tests::{epoch, epoch_lists, slot};
    use super::*;
    use crate::crypto::secret::SecretKey;

    fn mac(byte: u8) -> MacKey {
        MacKey::new(SecretKey::from_bytes(&[byte; 32]).unwrap())
    }

    fn header() -> FileHeader {
        let mut header = FileHeader {
            layout: Layout::DEFAULT,
            file_id: FileId(*b"0123456789abcdef"),
            volume_id: Some(VolumeId(*b"fedcba9876543210")),
            committed_len: PlainLen(5_000_000),
            generation: 42,
            flags: HeaderFlags { sparse: true },
            epochs: vec![epoch(1), epoch(2)],
            header_tag: [0; 32],
            membership_tag: [0; 32],
        };
        header.seal_membership(&mac(1));
        header.seal(&mac(2));
        header
    }

    fn encoded(header: &FileHeader) -> Vec<u8> {
        let mut bytes = vec![0xFF; header.layout.header_len()];
        header.encode(&mut bytes).unwrap();
        bytes
    }

    fn decode_with(at: usize, field: &[u8]) -> Result<FileHeader, HeaderError> {
        let mut bytes = encoded(&header());
        bytes[at..at + field.len()].copy_from_slice(field);
        FileHeader::decode(&bytes)
    }

    #[test]
    fn every_field_stands_where_the_specification_has_it() {
        let bytes = encoded(&header());
        assert_eq!(&bytes[..16], b"ENVLPFS\0\x01\0\x01\0\x0C\x02\0\0");
        assert_eq!(&bytes[16..32], b"0123456789abcdef");
        assert_eq!(&bytes[32..40], 5_000_000_u64.to_le_bytes());
        assert_eq!(&bytes[40..48], 42_u64.to_le_bytes());
        assert_eq!(&bytes[48..56], [1, 0, 0, 0, 2, 0, 0, 0]);
        let len = epochs_len(&header().epochs);
        assert_eq!(&bytes[56..60], (len as u32).to_le_bytes());
        assert_eq!(&bytes[60..64], [0; 4]);
        assert_eq!(&bytes[64..96], header().header_tag);
        assert_eq!(&bytes[96..128], header().membership_tag);
        assert_eq!(&bytes[128..144], b"fedcba9876543210");
        assert!(all_zeros(&bytes[144 + len..]));
    }

    #[test]
    fn a_header_decodes_from_a_whole_block_too() {
        let mut block = encoded(&header());
        block.resize(4096, 0xEE);
        assert_eq!(FileHeader::decode(&block), Ok(header()));
    }

    #[test]
    fn what_is_not_ours_or_newer_is_told_apart() {
        assert_eq!(FileHeader::decode(&[0; 4096]), Err(HeaderError::NotOurs));
        assert_eq!(decode_with(0, b"e"), Err(HeaderError::NotOurs));
        assert_eq!(decode_with(7, b"1"), Err(HeaderError::NotOurs));
        assert_eq!(decode_with(8, &[2, 0]), Err(HeaderError::NewerVersion(2)));
        assert_eq!(
            decode_with(8, &[1, 1]),
            Err(HeaderError::NewerVersion(0x101))
        );
        assert_eq!(
            decode_with(8, &[0, 0]),
            Err(HeaderError::Malformed("format version"))
        );
        assert_eq!(decode_with(10, &[2, 0]), Err(HeaderError::UnknownSuite(2)));
        assert_eq!(decode_with(10, &[0, 0]), Err(HeaderError::UnknownSuite(0)));
        assert_eq!(decode_with(48, &[3]), Err(HeaderError::UnknownFlags(3)));
        assert_eq!(
            decode_with(51, &[0x80]),
            Err(HeaderError::UnknownFlags(0x8000_0001))
        );
    }

    #[test]
    fn fields_that_no_writer_writes_are_malformed() {
        let max = Layout::DEFAULT.max_plain_len().0;
        let cases: [(usize, &[u8], &str); 14] = [
            (12, &[11], "block or header size"),
            (12, &[21], "block or header size"),
            (12, &[255], "block or header size"),
            (13, &[0], "block or header size"),
            (13, &[3], "block or header size"),
            (14, &[1], "reserved bytes"),
            (15, &[1], "reserved bytes"),
            (32, &(max + 1).to_le_bytes(), "committed length"),
            (52, &[1], "newest key epoch"),
            (52, &[3], "newest key epoch"),
            (56, &[0xFF, 0xFF, 0xFF, 0xFF], "length of the key epochs"),
            (56, &881_u32.to_le_bytes(), "length of the key epochs"),
            (63, &[1], "reserved bytes"),
            (1023, &[1], "bytes behind the key epochs"),
        ];
        for (at, field, fault) in cases {
            assert_eq!(
                decode_with(at, field),
                Err(HeaderError::Malformed(fault)),
                "{at}"
            );
        }
    }

    #[test]
    fn a_length_that_is_not_the_epochs_is_malformed() {
        let len = epochs_len(&header().epochs) as u32;
        for wrong in [0, 1, len - 1, len + 1, 880] {
            let decoded = decode_with(56, &wrong.to_le_bytes());
            assert!(
                matches!(decoded, Err(HeaderError::Malformed(_))),
                "{wrong}: {decoded:?}"
            );
        }
    }

    #[test]
    fn a_short_file_of_another_kind_is_not_ours() {
        let decoded = FileHeader::decode(b"a text of a line\n");
        assert_eq!(decoded, Err(HeaderError::NotOurs));
    }

    #[test]
    fn a_cut_header_is_truncated() {
        let bytes = encoded(&header());
        for len in [0, 1, 8, 128, 143, 144, 512, 1023] {
            assert_eq!(
                FileHeader::decode(&bytes[..len]),
                Err(HeaderError::Truncated),
                "{len}"
            );
        }
    }

    #[test]
    fn headers_that_have_no_encoding_are_refused() {
        let encode = |change: fn(&mut FileHeader)| {
            let mut header = header();
            change(&mut header);
            header.encode(&mut vec![0; header.layout.header_len()])
        };
        assert_eq!(encode(|_| {}), Ok(()));
        let full = HeaderError::SlotsTooLong {
            needed: 1220,
            room: 880,
        };
        assert_eq!(
            encode(|h| h.epochs[0].slots = vec![slot(72), slot(800)]),
            Err(full)
        );
        assert!(encode(|h| h.epochs.clear()).is_err());
        assert!(encode(|h| h.epochs.reverse()).is_err());
        assert!(encode(|h| h.committed_len = PlainLen(u64::MAX)).is_err());
        assert_eq!(
            encode(|h| h.volume_id = Some(VolumeId::NONE)),
            Err(HeaderError::Malformed("volume id"))
        );
        for len in [0, 144, 1023, 1025, 4096] {
            assert!(header().encode(&mut vec![0; len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_header_without_epochs_has_a_newest_that_opens_nothing() {
        let header = FileHeader {
            epochs: Vec::new(),
            ..header()
        };
        assert_eq!(header.newest(), &NO_EPOCH);
    }

    #[test]
    fn the_tags_hold_under_their_keys_only() {
        assert!(header().verify(&mac(2)));
        assert!(!header().verify(&mac(1)));
        assert_eq!(header().verify_membership(&mac(1)), Membership::Valid);
        assert_eq!(header().verify_membership(&mac(2)), Membership::Invalid);
        let foreign = FileHeader {
            membership_tag: [0; 32],
            ..header()
        };
        assert_eq!(foreign.verify_membership(&mac(1)), Membership::Foreign);
    }

    #[test]
    fn each_change_breaks_the_header_tag() {
        let changes: [fn(&mut FileHeader); 14] = [
            |h| h.layout = Layout::new(8192, 1024).unwrap(),
            |h| h.layout = Layout::new(4096, 2048).unwrap(),
            |h| h.file_id.0[0] ^= 1,
            |h| h.volume_id = Some(VolumeId(*b"Fedcba9876543210")),
            |h| h.volume_id = None,
            |h| h.committed_len.0 -= 1,
            |h| h.generation += 1,
            |h| h.flags.sparse = false,
            |h| h.membership_tag = [0; 32],
            |h| h.header_tag[31] ^= 1,
            |h| h.epochs[0].commitment[0] ^= 1,
            |h| h.epochs[0].epoch = EpochId(9),
            |h| h.epochs.push(epoch(3)),
            |h| drop(h.epochs.remove(0)),
        ];
        for (case, change) in changes.iter().enumerate() {
            let mut changed = header();
            change(&mut changed);
            assert!(!changed.verify(&mac(2)), "case {case}");
        }
    }

    #[test]
    fn a_file_made_outside_a_volume_has_zeros_for_its_id() {
        let mut foreign = FileHeader {
            volume_id: None,
            membership_tag: [0; 32],
            ..header()
        };
        foreign.seal(&mac(2));
        let mut bytes = encoded(&foreign);
        assert_eq!(&bytes[128..144], [0; 16]);
        assert_eq!(FileHeader::decode(&bytes), Ok(foreign));
        bytes[143] = 1;
        let decoded = FileHeader::decode(&bytes).unwrap();
        assert_eq!(decoded.volume_id, Some(VolumeId(1_u128.to_be_bytes())));
        assert!(!decoded.verify(&mac(2)));
    }

    #[test]
    fn a_slot_may_be_wrapped_anew_under_the_same_tag() {
        let mut rewrapped = header();
        rewrapped.epochs[1].slots = vec![slot(184), slot(40)];
        let decoded = FileHeader::decode(&encoded(&rewrapped)).unwrap();
        assert!(decoded.verify(&mac(2)));
    }

    #[test]
    fn another_file_or_key_is_not_the_volumes() {
        let mut planted = header();
        planted.file_id.0[0] ^= 1;
        assert_eq!(planted.verify_membership(&mac(1)), Membership::Invalid);
        let mut planted = header();
        planted.epochs[1].commitment[0] ^= 1;
        assert_eq!(planted.verify_membership(&mac(1)), Membership::Invalid);
    }

    #[test]
    fn an_epoch_is_found_by_its_number() {
        let header = header();
        assert_eq!(header.epoch(EpochId(1)), header.epochs.first());
        assert_eq!(header.newest().epoch, EpochId(2));
        assert_eq!(header.epoch(EpochId(0)), None);
        assert_eq!(header.epoch(EpochId(3)), None);
    }

    prop_compose! {
        fn headers()(
            log2 in 12_u32..=20,
            file_id: [u8; 16],
            volume_id in prop::option::of(prop::array::uniform16(1_u8..)),
            committed in 0_u64..1 << 60,
            generation: u64,
            sparse: bool,
            epochs in epoch_lists(),
            header_tag: [u8; 32],
            membership_tag: [u8; 32],
        ) -> FileHeader {
            FileHeader {
                layout: Layout::new(1 << log2, 2048).unwrap(),
                file_id: FileId(file_id),
                volume_id: volume_id.map(VolumeId),
                committed_len: PlainLen(committed),
                generation,
                flags: HeaderFlags { sparse },
                epochs,
                header_tag,
                membership_tag,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(header in headers()) {
            prop_assert_eq!(FileHeader::decode(&encoded(&header)), Ok(header));
        }

        #[test]
        fn what_decodes_is_encoded_so(header in headers(), at in 0_usize..2048, byte: u8) {
            let mut bytes = encoded(&header);
            bytes[at] = byte;
            if let Ok(decoded) = FileHeader::decode(&bytes) {
                prop_assert_eq!(encoded(&decoded), bytes[..decoded.layout.header_len()].to_vec());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            drop(FileHeader::decode(&bytes));
            let mut ours = encoded(&header());
            for (place, byte) in ours.iter_mut().skip(16).zip(bytes) {
                *place = byte;
            }
            drop(FileHeader::decode(&ours));
        }
    }
}

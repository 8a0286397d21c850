//! A sealed chunk: one aligned block of the file, complete in itself.
//!
//! ```text
//! nonce 24 | tag 16 | length u32 | key epoch u32 | ciphertext (length bytes) | zeros to the end
//! ```
//!
//! The associated data holds each chunk to its place: `suite u16 ‖ file id 16 ‖ chunk index u64 ‖
//! length u32 ‖ key epoch u32 ‖ log2 B u8`, little-endian. A block of nothing but zeros is a
//! hole; whether a hole is legal there is the reader's question, by the header's SPARSE flag.

use super::cursor::{Reader, Writer};
use super::header::SUITE;
use super::layout::Layout;
pub use super::nonces::{ChunkNonce, NonceRun, WriterNonces};
use super::{all_zeros, to_u64};
use crate::crypto::xaes::Subkey;
use crate::units::{ChunkIndex, EpochId, FileId};

/// Bytes of a sealed chunk before its ciphertext.
pub const OVERHEAD: usize = 48;

const AAD_LEN: usize = 35;

/// The tag that stands in a chunk's area, zeros in a hole; `None` where the area is cut short.
pub fn tag_of(area: &[u8]) -> Option<&[u8; 16]> {
    area.get(24..40)?.try_into().ok()
}

/// What all chunks of a file share: where they may stand and what they are bound to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ChunkContext {
    layout: Layout,
    file_id: FileId,
}

/// What stands in a chunk's place.
#[derive(Copy, Clone, Debug)]
pub enum Area<'a> {
    /// Zeros: a chunk of zeros at full capacity, if the file may have holes there.
    Hole,
    /// A chunk, not opened yet.
    Sealed(SealedChunk<'a>),
}

/// A chunk whose structure is sound and whose authenticity is unknown.
#[derive(Copy, Clone, Debug)]
pub struct SealedChunk<'a> {
    context: ChunkContext,
    index: ChunkIndex,
    nonce: ChunkNonce,
    tag: [u8; 16],
    length: u32,
    epoch: EpochId,
    ciphertext: &'a [u8],
}

/// Bytes that are no chunk of this file and place.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The tag is wrong: changed bytes, another place, file, epoch or key.
    #[error("the chunk fails authentication")]
    Forged,
    /// Bytes behind the ciphertext.
    #[error("bytes behind the chunk's data")]
    Padding,
    /// A length beyond the block.
    #[error("the chunk's length {0} is more than its block holds")]
    TooLong(u32),
    /// Fewer or more bytes than the chunk's area has.
    #[error("{actual} bytes of a chunk's area of {expected}")]
    WrongArea {
        /// The area's length in bytes.
        expected: usize,
        /// What there was.
        actual: usize,
    },
}

impl ChunkContext {
    /// The chunks of the file `file_id`.
    pub fn new(layout: Layout, file_id: FileId) -> Self {
        Self { layout, file_id }
    }

    /// The file's layout.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The file.
    pub fn file_id(&self) -> FileId {
        self.file_id
    }

    fn aad(&self, index: ChunkIndex, length: u32, epoch: EpochId) -> [u8; AAD_LEN] {
        let mut bytes = [0; AAD_LEN];
        let mut writer = Writer::new(&mut bytes);
        writer.put(&SUITE.to_le_bytes());
        writer.put(&self.file_id.0);
        writer.put(&index.0.to_le_bytes());
        writer.put(&length.to_le_bytes());
        writer.put(&epoch.0.to_le_bytes());
        writer.put(&[self.layout.log2_block()]);
        bytes
    }
}

/// Seals `plaintext` as chunk `index` into `area`, all of which is written: `B` bytes, or `B − H`
/// for chunk 0. `key` is the subkey of the nonce's prefix under the epoch's content key, and the
/// nonce was never used with it before.
///
/// # Panics
///
/// If `area` has another length or `plaintext` is longer than the chunk's capacity: both are the
/// caller's arithmetic, never the file's bytes.
pub fn seal(
    context: &ChunkContext,
    key: &Subkey,
    nonce: &ChunkNonce,
    epoch: EpochId,
    index: ChunkIndex,
    plaintext: &[u8],
    area: &mut [u8],
) {
    assert_eq!(
        area.len(),
        context.layout.area_len(index),
        "the area of chunk {index}"
    );
    let length = plaintext.len();
    assert!(
        to_u64(length) <= context.layout.capacity(index),
        "{length} bytes in chunk {index}"
    );
    let length = u32::try_from(length).unwrap_or(u32::MAX);

    let (head, body) = area.split_at_mut(OVERHEAD);
    let (data, padding) = body.split_at_mut(plaintext.len());
    padding.fill(0);
    let aad = context.aad(index, length, epoch);
    let tag = key.seal_into(nonce.gcm(), &aad, plaintext, data);

    let mut writer = Writer::new(head);
    writer.put(&nonce.0);
    writer.put(&tag);
    writer.put(&length.to_le_bytes());
    writer.put(&epoch.0.to_le_bytes());
}

/// What stands in `area`, the whole area of chunk `index`. Structure only: a chunk proves itself
/// when it is opened, a hole by the header.
///
/// # Errors
///
/// [`ChunkError`], all but `Forged`.
pub fn parse<'a>(
    context: &ChunkContext,
    index: ChunkIndex,
    area: &'a [u8],
) -> Result<Area<'a>, ChunkError> {
    let (expected, actual) = (context.layout.area_len(index), area.len());
    if actual != expected {
        return Err(ChunkError::WrongArea { expected, actual });
    }
    if is_hole(area) {
        return Ok(Area::Hole);
    }
    let wrong_area = ChunkError::WrongArea {
        expected: OVERHEAD,
        actual,
    };
    let chunk = read_fields(*context, index, area).ok_or(wrong_area)?;
    check_body(chunk).map(Area::Sealed)
}

/// A chunk begins with random bytes: a look at the first tells it from a hole.
fn is_hole(area: &[u8]) -> bool {
    area.first_chunk() == Some(&[0; 16]) && all_zeros(area)
}

/// The fields as they stand; the ciphertext is all that follows them.
fn read_fields(context: ChunkContext, index: ChunkIndex, area: &[u8]) -> Option<SealedChunk<'_>> {
    let mut reader = Reader::new(area);
    let (nonce, tag) = (ChunkNonce(reader.array()?), reader.array()?);
    let (length, epoch) = (reader.u32()?, EpochId(reader.u32()?));
    Some(SealedChunk {
        context,
        index,
        nonce,
        tag,
        length,
        epoch,
        ciphertext: reader.rest(),
    })
}

/// Parts the ciphertext from the zeros behind it.
fn check_body(chunk: SealedChunk<'_>) -> Result<SealedChunk<'_>, ChunkError> {
    let split = usize::try_from(chunk.length)
        .ok()
        .and_then(|length| chunk.ciphertext.split_at_checked(length));
    match split {
        None => Err(ChunkError::TooLong(chunk.length)),
        Some((_, padding)) if !all_zeros(padding) => Err(ChunkError::Padding),
        Some((ciphertext, _)) => Ok(SealedChunk {
            ciphertext,
            ..chunk
        }),
    }
}

impl SealedChunk<'_> {
    /// The length of its plaintext in bytes; at most the chunk's capacity, true once it opens.
    pub fn len(&self) -> usize {
        self.ciphertext.len()
    }

    /// Whether it holds no plaintext: the only chunk of an empty file.
    pub fn is_empty(&self) -> bool {
        self.ciphertext.is_empty()
    }

    /// Its nonce; the prefix says which subkey opens it.
    pub fn nonce(&self) -> ChunkNonce {
        self.nonce
    }

    /// Which of the file's data keys opens it.
    pub fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// Opens it into `out`, which is as long as [`SealedChunk::len`] says.
    ///
    /// # Errors
    ///
    /// `Forged`; `out` is then zeros.
    ///
    /// # Panics
    ///
    /// If `out` has another length.
    pub fn open_into(&self, key: &Subkey, out: &mut [u8]) -> Result<(), ChunkError> {
        assert_eq!(out.len(), self.len(), "the output of chunk {}", self.index);
        let aad = self.context.aad(self.index, self.length, self.epoch);
        key.open_into(self.nonce.gcm(), &aad, self.ciphertext, &self.tag, out)
            .map_err(|_error| ChunkError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::secret::SecretKey;
    use crate::crypto::xaes::XaesKey;

    const NONCE: ChunkNonce = ChunkNonce(*b"prefix.pfx..0001randomra");
    const EPOCH: EpochId = EpochId(3);
    const FIRST: ChunkIndex = ChunkIndex(0);
    const LATER: ChunkIndex = ChunkIndex(5);

    fn context() -> ChunkContext {
        ChunkContext::new(Layout::DEFAULT, FileId([9; 16]))
    }

    fn subkey(key: u8, nonce: &ChunkNonce) -> Subkey {
        let key = SecretKey::from_bytes(&[key; 32]).unwrap();
        XaesKey::new(&key).subkey(nonce.prefix())
    }

    fn sealed(index: ChunkIndex, plaintext: &[u8]) -> Vec<u8> {
        let mut area = vec![0xFF; context().layout().area_len(index)];
        seal(
            &context(),
            &subkey(1, &NONCE),
            &NONCE,
            EPOCH,
            index,
            plaintext,
            &mut area,
        );
        area
    }

    /// What `area` opens to under the context and place given.
    fn open(
        context: &ChunkContext,
        index: ChunkIndex,
        area: &[u8],
        key: u8,
    ) -> Result<Vec<u8>, ChunkError> {
        match parse(context, index, area)? {
            Area::Hole => panic!("a hole"),
            Area::Sealed(chunk) => {
                let mut out = vec![0xAA; chunk.len()];
                let opened = chunk.open_into(&subkey(key, &chunk.nonce()), &mut out);
                assert!(opened.is_ok() || all_zeros(&out), "bytes of a forged chunk");
                opened.map(|()| out)
            }
        }
    }

    #[test]
    fn chunks_of_every_border_length_open_to_what_was_sealed() {
        for index in [FIRST, LATER] {
            let capacity = context().layout().capacity(index) as usize;
            for len in [0, 1, 15, 16, 17, capacity - 1, capacity] {
                let plaintext: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let area = sealed(index, &plaintext);
                assert_eq!(open(&context(), index, &area, 1), Ok(plaintext));
            }
        }
    }

    #[test]
    fn the_fields_stand_where_the_specification_has_them() {
        let area = sealed(LATER, b"hello");
        assert_eq!(area[..24], NONCE.0);
        assert_eq!(area[40..48], [5, 0, 0, 0, 3, 0, 0, 0]);
        assert_ne!(&area[48..53], b"hello");
        assert!(all_zeros(&area[53..]));
    }

    #[test]
    fn zeros_are_a_hole_and_one_bit_is_not() {
        for index in [FIRST, LATER] {
            let mut area = vec![0; context().layout().area_len(index)];
            assert!(matches!(parse(&context(), index, &area), Ok(Area::Hole)));
            for at in [0, 15, 16, 24, 47] {
                area[at] = 1;
                assert!(
                    !matches!(parse(&context(), index, &area), Ok(Area::Hole)),
                    "{at}"
                );
                area[at] = 0;
            }
            *area.last_mut().unwrap() = 1;
            assert!(matches!(
                parse(&context(), index, &area),
                Err(ChunkError::Padding)
            ));
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let area = sealed(LATER, b"some bytes of a file");
        for bit in 0..area.len() * 8 {
            let mut changed = area.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&context(), LATER, &changed, 1).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_chunk_opens_in_its_place_only() {
        let area = sealed(LATER, b"data");
        assert_eq!(
            open(&context(), ChunkIndex(6), &area, 1),
            Err(ChunkError::Forged)
        );
        assert_eq!(open(&context(), LATER, &area, 2), Err(ChunkError::Forged));
        let other_file = ChunkContext::new(Layout::DEFAULT, FileId([8; 16]));
        assert_eq!(open(&other_file, LATER, &area, 1), Err(ChunkError::Forged));
    }

    #[test]
    fn a_chunk_of_another_block_size_is_forged() {
        let mut area = sealed(LATER, b"data");
        area.resize(8192, 0);
        let larger = ChunkContext::new(Layout::new(8192, 1024).unwrap(), FileId([9; 16]));
        assert_eq!(open(&larger, LATER, &area, 1), Err(ChunkError::Forged));
    }

    #[test]
    fn an_area_of_another_length_is_refused() {
        let area = sealed(LATER, b"data");
        for len in [0, 1, 47, 48, 3072, 4095] {
            let error = ChunkError::WrongArea {
                expected: 4096,
                actual: len,
            };
            assert_eq!(open(&context(), LATER, &area[..len], 1), Err(error));
        }
        let error = ChunkError::WrongArea {
            expected: 3072,
            actual: 4096,
        };
        assert_eq!(open(&context(), FIRST, &area, 1), Err(error));
    }

    #[test]
    fn a_length_beyond_the_capacity_is_refused() {
        for (index, capacity) in [(FIRST, 3024), (LATER, 4048)] {
            for length in [capacity + 1, 4096, u32::MAX] {
                let mut area = sealed(index, b"data");
                area[40..44].copy_from_slice(&length.to_le_bytes());
                assert_eq!(
                    open(&context(), index, &area, 1),
                    Err(ChunkError::TooLong(length))
                );
            }
        }
    }

    #[test]
    fn another_length_within_the_zeros_is_forged() {
        let mut area = sealed(LATER, b"data");
        area[40] = 5;
        assert_eq!(open(&context(), LATER, &area, 1), Err(ChunkError::Forged));
        area[40] = 3;
        assert_eq!(open(&context(), LATER, &area, 1), Err(ChunkError::Padding));
    }

    #[test]
    #[should_panic(expected = "4049 bytes in chunk 5")]
    fn more_than_the_capacity_is_never_sealed() {
        sealed(LATER, &[0; 4049]);
    }

    #[test]
    #[should_panic(expected = "the output of chunk 5")]
    fn an_output_of_another_length_is_never_filled() {
        let area = sealed(LATER, b"data");
        if let Ok(Area::Sealed(chunk)) = parse(&context(), LATER, &area) {
            let _ = chunk.open_into(&subkey(1, &NONCE), &mut [0; 5]);
        }
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        (12_u32..=16, 0_u32..3).prop_map(|(log2, h)| Layout::new(1 << log2, 512 << h).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            layout in layouts(),
            index in prop_oneof![Just(0), any::<u64>()],
            epoch: u32,
            nonce: [u8; 24],
            data in vec(any::<u8>(), 0..70_000),
        ) {
            let (context, index) = (ChunkContext::new(layout, FileId([1; 16])), ChunkIndex(index));
            let plaintext = &data[..data.len().min(layout.capacity(index) as usize)];
            let nonce = ChunkNonce(nonce);
            let mut area = vec![0xFF; layout.area_len(index)];
            seal(&context, &subkey(1, &nonce), &nonce, EpochId(epoch), index, plaintext, &mut area);
            let Ok(Area::Sealed(chunk)) = parse(&context, index, &area) else { panic!("no chunk") };
            prop_assert_eq!((chunk.epoch(), chunk.nonce()), (EpochId(epoch), nonce));
            prop_assert_eq!(chunk.is_empty(), plaintext.is_empty());
            let opened = open(&context, index, &area, 1);
            prop_assert_eq!(opened.as_deref(), Ok(plaintext));
        }

        #[test]
        fn arbitrary_bytes_neither_panic_nor_open(
            mut area in vec(any::<u8>(), 4096),
            length in 0_u32..5000,
        ) {
            area[40..44].copy_from_slice(&length.to_le_bytes());
            prop_assert!(open(&context(), LATER, &area, 1).is_err());
            let end = OVERHEAD + length as usize;
            if let Some(padding) = area.get_mut(end..) {
                padding.fill(0);
                prop_assert_eq!(open(&context(), LATER, &area, 1), Err(ChunkError::Forged));
            }
        }
    }
}

//! Where each byte of the plaintext stands in the ciphertext file, and what the file's physical
//! size says. Pure arithmetic: every conversion between the two sides is made here.
//!
//! ```text
//! block 0:  header (H bytes) | sealed chunk 0 (capacity C0 = B − H − 48)
//! block i:  sealed chunk i (capacity C = B − 48)
//! ```
//!
//! No function panics or wraps: beyond [`Layout::max_plain_len`] results saturate at `u64::MAX`,
//! which no file can reach.

use super::chunk::OVERHEAD;
use super::{to_u64, to_usize};
use crate::units::{ChunkIndex, CipherLen, CipherOffset, PlainLen, PlainOffset};

/// Bytes of a sealed chunk that are not its data.
const CHUNK_OVERHEAD: u64 = to_u64(OVERHEAD);
/// The largest `st_size` that a file can have (`off_t`).
const MAX_PHYSICAL_LEN: u64 = i64::MAX.unsigned_abs();

/// Block size `B` and header size `H` of a volume: constant in it, written in every header.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// log2 of `B`, 12..=20.
    log2_block: u8,
    /// `H` in bytes.
    header_len: u16,
}

/// A block or header size that the format does not have.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// `B` is not a power of two from 4 KiB to 1 MiB; the value is in bytes, or what stood for it.
    #[error("block size {0}: expected a power of two from 4096 to 1048576")]
    BlockLen(u32),
    /// `H` is none of the three sizes; the value is in bytes.
    #[error("header size {0}: expected 512, 1024 or 2048")]
    HeaderLen(u32),
}

/// The chunks that a range of plaintext touches.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Span {
    /// The chunk that holds the first byte.
    pub first: ChunkIndex,
    /// The chunk that holds the last byte.
    pub last: ChunkIndex,
    /// Bytes of the first chunk that stand before the range.
    pub skip: u64,
}

impl Layout {
    /// 4 KiB blocks with headers of 1 KiB.
    pub const DEFAULT: Self = Self {
        log2_block: 12,
        header_len: 1024,
    };

    /// The layout of `block_len` (`B`) and `header_len` (`H`), both in bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] unless `B` is a power of two from 4 KiB to 1 MiB and `H` is 512, 1024 or
    /// 2048.
    pub fn new(block_len: u32, header_len: u32) -> Result<Self, LayoutError> {
        let log2_block = match block_len.checked_ilog2() {
            Some(log2 @ 12..=20) if block_len.is_power_of_two() => log2,
            _ => return Err(LayoutError::BlockLen(block_len)),
        };
        match (u8::try_from(log2_block), u16::try_from(header_len)) {
            (Ok(log2_block), Ok(header_len @ (512 | 1024 | 2048))) => Ok(Self {
                log2_block,
                header_len,
            }),
            _ => Err(LayoutError::HeaderLen(header_len)),
        }
    }

    /// `B` in bytes.
    pub fn block_len(self) -> u64 {
        1_u64.wrapping_shl(u32::from(self.log2_block))
    }

    /// log2 of `B`, as headers and associated data have it.
    pub const fn log2_block(self) -> u8 {
        self.log2_block
    }

    /// `H / 512`, as headers have it.
    pub(super) fn header_units(self) -> u8 {
        match self.header_len {
            2048 => 4,
            1024 => 2,
            _ => 1,
        }
    }

    /// The layout that a header's two bytes mean: log2 of `B`, and `H / 512`.
    pub(super) fn from_header(log2_block: u8, header_units: u8) -> Option<Self> {
        let block_len = 1_u32.checked_shl(u32::from(log2_block))?;
        let header_len = u32::from(header_units).checked_mul(512)?;
        Self::new(block_len, header_len).ok()
    }

    /// `H` in bytes.
    pub fn header_len(self) -> usize {
        usize::from(self.header_len)
    }

    /// Bytes of the block that the sealed chunk may fill: `B`, or `B − H` for chunk 0.
    pub fn area_len(self, index: ChunkIndex) -> usize {
        to_usize(self.block_len().saturating_sub(self.header_share(index)))
    }

    /// The most plaintext bytes that a chunk holds: `C0` for chunk 0, `C` for the others.
    pub fn capacity(self, index: ChunkIndex) -> u64 {
        to_u64(self.area_len(index)).saturating_sub(CHUNK_OVERHEAD)
    }

    /// The chunk that holds the byte at `offset`, and the byte's place inside that chunk.
    pub fn locate(self, offset: PlainOffset) -> (ChunkIndex, u64) {
        let Some(beyond) = offset.0.checked_sub(self.first_capacity()) else {
            return (ChunkIndex(0), offset.0);
        };
        let (chunks, inside) = div_rem(beyond, self.later_capacity());
        (ChunkIndex(chunks.saturating_add(1)), inside)
    }

    /// Where the chunk's plaintext begins in the file.
    pub fn chunk_start(self, index: ChunkIndex) -> PlainOffset {
        PlainOffset(match index.0.checked_sub(1) {
            None => 0,
            Some(later) => later
                .saturating_mul(self.later_capacity())
                .saturating_add(self.first_capacity()),
        })
    }

    /// Where the chunk's block begins in the ciphertext file.
    pub fn block_start(self, index: ChunkIndex) -> CipherOffset {
        CipherOffset(index.0.saturating_mul(self.block_len()))
    }

    /// Where the sealed chunk begins in the ciphertext file: with its block, but for chunk 0,
    /// which follows the header.
    pub fn sealed_start(self, index: ChunkIndex) -> CipherOffset {
        CipherOffset(
            self.block_start(index)
                .0
                .saturating_add(self.header_share(index)),
        )
    }

    /// How many chunks a plaintext of `len` has, its last included however short: an empty file
    /// has one, which is empty.
    pub fn chunk_count(self, len: PlainLen) -> u64 {
        let beyond = len.0.saturating_sub(self.first_capacity());
        beyond.div_ceil(self.later_capacity()).saturating_add(1)
    }

    /// `t`: the length of the last chunk, in bytes.
    pub fn tail_len(self, len: PlainLen) -> u64 {
        let last = ChunkIndex(self.chunk_count(len).saturating_sub(1));
        len.0.saturating_sub(self.chunk_start(last).0)
    }

    /// The size to give the ciphertext file: `n·B + t`.
    pub fn physical_len(self, len: PlainLen) -> CipherLen {
        let blocks = self.chunk_count(len).saturating_mul(self.block_len());
        CipherLen(blocks.saturating_add(self.tail_len(len)))
    }

    /// What `st_size` says of the plaintext's length: 0 below one block, and never more than the
    /// blocks can hold. A hint where the file was not closed in order: the truth is in its last
    /// chunk.
    pub fn plain_len(self, physical: CipherLen) -> PlainLen {
        let (blocks, tail) = div_rem(physical.0, self.block_len());
        let Some(last) = blocks.checked_sub(1).map(ChunkIndex) else {
            return PlainLen(0);
        };
        let tail = tail.min(self.capacity(last));
        PlainLen(self.chunk_start(last).0.saturating_add(tail))
    }

    /// The longest plaintext whose physical size fits `off_t`.
    pub fn max_plain_len(self) -> PlainLen {
        // The remainder, B − 1, is more than a chunk holds: the last chunk may be full.
        self.plain_len(CipherLen(MAX_PHYSICAL_LEN))
    }

    /// The chunks that the `len` bytes from `offset` touch. `len` is at least 1; 0 is taken as 1.
    pub fn span(self, offset: PlainOffset, len: u64) -> Span {
        let (first, skip) = self.locate(offset);
        let last_byte = offset.0.saturating_add(len.max(1).saturating_sub(1));
        let (last, _) = self.locate(PlainOffset(last_byte));
        Span { first, last, skip }
    }

    /// Bytes of the chunk's block that the header takes.
    fn header_share(self, index: ChunkIndex) -> u64 {
        if index.0 == 0 {
            u64::from(self.header_len)
        } else {
            0
        }
    }

    /// `C0`.
    fn first_capacity(self) -> u64 {
        self.capacity(ChunkIndex(0))
    }

    /// `C`.
    fn later_capacity(self) -> u64 {
        self.block_len().saturating_sub(CHUNK_OVERHEAD)
    }
}

impl Span {
    /// How many chunks it counts.
    pub fn chunk_count(self) -> u64 {
        self.last.0.saturating_sub(self.first.0).saturating_add(1)
    }
}

/// Quotient and remainder; no divisor of this module is 0, and one would give (0, 0).
fn div_rem(value: u64, divisor: u64) -> (u64, u64) {
    let quotient = value.checked_div(divisor).unwrap_or(0);
    let remainder = value.checked_rem(divisor).unwrap_or(0);
    (quotient, remainder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADERS: [u32; 3] = [512, 1024, 2048];

    fn every_layout() -> impl Iterator<Item = Layout> {
        (12..=20).flat_map(|log2| HEADERS.map(|header| Layout::new(1 << log2, header).unwrap()))
    }

    fn layouts() -> impl Strategy<Value = Layout> {
        (12_u32..=20, 0..HEADERS.len())
            .prop_map(|(log2, header)| Layout::new(1 << log2, HEADERS[header]).unwrap())
    }

    /// Lengths around every border that a layout has, near 0 and near the largest.
    fn border_lengths(layout: Layout) -> Vec<u64> {
        let (first, later) = (layout.first_capacity(), layout.later_capacity());
        let max = layout.max_plain_len().0;
        let mut borders = vec![0, first, first + later, first + 2 * later, max - later, max];
        borders.push(layout.block_len());
        let mut lengths = Vec::new();
        for border in borders {
            lengths.extend((0..=2).map(|back| border.saturating_sub(back)));
            lengths.extend((1..=2).map(|on| (border + on).min(max)));
        }
        lengths
    }

    /// What must hold of any length up to the largest.
    fn check_length(layout: Layout, len: u64) {
        let (count, tail) = (
            layout.chunk_count(PlainLen(len)),
            layout.tail_len(PlainLen(len)),
        );
        let last = ChunkIndex(count - 1);
        assert!(
            count >= 1 && tail <= layout.capacity(last),
            "{layout:?} {len}"
        );
        assert!(
            tail > 0 || len == 0,
            "only an empty file has an empty last chunk: {len}"
        );
        assert_eq!(layout.chunk_start(last).0 + tail, len, "{layout:?}");

        let physical = layout.physical_len(PlainLen(len));
        assert_eq!(
            physical.0,
            count * layout.block_len() + tail,
            "{layout:?} {len}"
        );
        assert!(i64::try_from(physical.0).is_ok(), "{layout:?} {len}");
        assert_eq!(layout.plain_len(physical), PlainLen(len), "{layout:?}");
    }

    /// What must hold of any position.
    fn check_position(layout: Layout, offset: u64) {
        let (index, inside) = layout.locate(PlainOffset(offset));
        assert!(inside < layout.capacity(index), "{layout:?} {offset}");
        assert_eq!(layout.chunk_start(index).0 + inside, offset, "{layout:?}");
    }

    #[test]
    fn the_worked_sizes_of_the_specification_hold() {
        let layout = Layout::DEFAULT;
        for (len, count, tail, physical) in [
            (0, 1, 0, 4096),
            (1, 1, 1, 4097),
            (3024, 1, 3024, 7120),
            (3025, 2, 1, 8193),
            (7072, 2, 4048, 12240),
            (7073, 3, 1, 12289),
            (5_000_000, 1236, 1744, 5_064_400),
        ] {
            let len = PlainLen(len);
            assert_eq!(layout.chunk_count(len), count, "{len}");
            assert_eq!(layout.tail_len(len), tail, "{len}");
            assert_eq!(layout.physical_len(len), CipherLen(physical), "{len}");
        }
    }

    #[test]
    fn every_layout_holds_at_every_border() {
        for layout in every_layout() {
            for len in border_lengths(layout) {
                check_length(layout, len);
                check_position(layout, len);
            }
        }
    }

    #[test]
    fn a_longer_file_than_the_longest_has_no_size() {
        for layout in every_layout() {
            let next = PlainLen(layout.max_plain_len().0 + 1);
            assert!(
                i64::try_from(layout.physical_len(next).0).is_err(),
                "{layout:?}"
            );
        }
    }

    #[test]
    fn nothing_overflows_at_the_end_of_the_numbers() {
        for layout in every_layout() {
            for value in [i64::MAX as u64, u64::MAX - 1, u64::MAX] {
                layout.locate(PlainOffset(value));
                layout.chunk_start(ChunkIndex(value));
                layout.sealed_start(ChunkIndex(value));
                layout.physical_len(PlainLen(value));
                layout.plain_len(CipherLen(value));
                layout.span(PlainOffset(value), value);
            }
        }
    }

    #[test]
    fn chunk_zero_stands_behind_the_header_and_the_others_at_their_block() {
        let layout = Layout::DEFAULT;
        assert_eq!(layout.block_start(ChunkIndex(0)), CipherOffset(0));
        assert_eq!(layout.sealed_start(ChunkIndex(0)), CipherOffset(1024));
        assert_eq!(layout.sealed_start(ChunkIndex(3)), CipherOffset(3 * 4096));
        assert_eq!(
            (
                layout.area_len(ChunkIndex(0)),
                layout.area_len(ChunkIndex(1))
            ),
            (3072, 4096)
        );
    }

    #[test]
    fn sizes_that_no_writer_makes_give_a_length_within_the_blocks() {
        let layout = Layout::DEFAULT;
        for (physical, plain) in [
            (0, 0),
            (1, 0),
            (4095, 0),
            (4096, 0),
            (4096 + 3025, 3024),
            (8191, 3024),
            (8192, 3024),
            (8192 + 4048, 7072),
            (8192 + 4095, 7072),
        ] {
            assert_eq!(
                layout.plain_len(CipherLen(physical)),
                PlainLen(plain),
                "{physical}"
            );
        }
    }

    #[test]
    fn other_block_sizes_are_refused() {
        for len in [
            0,
            1,
            512,
            2048,
            4095,
            4097,
            12288,
            1 << 21,
            1 << 31,
            u32::MAX,
        ] {
            assert_eq!(Layout::new(len, 1024), Err(LayoutError::BlockLen(len)));
        }
    }

    #[test]
    fn other_header_sizes_are_refused() {
        for len in [0, 1, 256, 511, 513, 1536, 4096, 512 + 65536, u32::MAX] {
            assert_eq!(Layout::new(4096, len), Err(LayoutError::HeaderLen(len)));
        }
    }

    #[test]
    fn a_header_names_every_layout_by_its_two_bytes() {
        for layout in every_layout() {
            let read = Layout::from_header(layout.log2_block(), layout.header_units());
            assert_eq!(read, Some(layout));
        }
        for (log2, units) in [
            (0, 2),
            (11, 2),
            (21, 2),
            (32, 2),
            (255, 2),
            (12, 0),
            (12, 3),
            (12, 8),
            (12, 255),
        ] {
            assert_eq!(Layout::from_header(log2, units), None, "{log2} {units}");
        }
    }

    #[test]
    fn the_default_is_a_layout() {
        assert_eq!(Layout::new(4096, 1024), Ok(Layout::DEFAULT));
        assert_eq!(
            (Layout::DEFAULT.block_len(), Layout::DEFAULT.log2_block()),
            (4096, 12)
        );
    }

    proptest! {
        #[test]
        fn lengths_survive_the_way_through_the_physical_size(layout in layouts(), seed: u64) {
            check_length(layout, seed % (layout.max_plain_len().0 + 1));
            check_length(layout, seed % (1 << 22));
        }

        #[test]
        fn positions_and_chunks_are_inverse(layout in layouts(), seed: u64) {
            check_position(layout, seed % (layout.max_plain_len().0 + 1));
            check_position(layout, seed % (1 << 22));
        }

        #[test]
        fn a_longer_file_is_physically_longer(
            layout in layouts(),
            len in 0_u64..1 << 40,
            by in 1_u64..1 << 22,
        ) {
            let (short, long) = (PlainLen(len), PlainLen(len + by));
            prop_assert!(layout.physical_len(short) < layout.physical_len(long));
        }

        #[test]
        fn a_larger_size_never_means_a_shorter_file(
            layout in layouts(),
            size in 0_u64..1 << 40,
            by in 0_u64..1 << 22,
        ) {
            let (small, large) = (CipherLen(size), CipherLen(size + by));
            prop_assert!(layout.plain_len(small) <= layout.plain_len(large));
        }

        #[test]
        fn a_span_covers_its_range_and_no_chunk_more(
            layout in layouts(),
            start in 0_u64..1 << 40,
            len in 1_u64..1 << 24,
        ) {
            let span = layout.span(PlainOffset(start), len);
            prop_assert_eq!(layout.chunk_start(span.first).0 + span.skip, start);
            prop_assert!(span.skip < layout.capacity(span.first));
            let last_start = layout.chunk_start(span.last).0;
            prop_assert!(last_start < start + len);
            prop_assert!(start + len <= last_start + layout.capacity(span.last));
            prop_assert_eq!(span.chunk_count(), span.last.0 - span.first.0 + 1);
        }

        #[test]
        fn blocks_follow_one_another_without_gap(layout in layouts(), index in 0_u64..1 << 40) {
            let (this, next) = (ChunkIndex(index), ChunkIndex(index + 1));
            let end = layout.sealed_start(this).0 + layout.area_len(this) as u64;
            prop_assert_eq!(end, layout.sealed_start(next).0);
            let end = layout.chunk_start(this).0 + layout.capacity(this);
            prop_assert_eq!(end, layout.chunk_start(next).0);
        }
    }
}

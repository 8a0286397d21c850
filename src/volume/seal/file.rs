//! What binds a regular file's ciphertext: its header and the tag of each of its chunks.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::format::chunk::{OVERHEAD, tag_of};
use crate::format::header::FileHeader;
use crate::format::layout::Layout;
use crate::storage::StorageFile;
use crate::units::CipherOffset;

/// The tag of a chunk as its block has it; zeros for a hole.
pub type ChunkTag = [u8; 16];

/// Blocks read at a time.
const BATCH: usize = 64;

/// A ciphertext file, read once.
#[derive(Debug)]
pub struct SealedFile {
    digest: [u8; 32],
    header: Vec<u8>,
    tags: Vec<ChunkTag>,
}

impl SealedFile {
    /// Reads the whole file; of the chunks only what stands before their ciphertext counts.
    pub(super) fn read(file: &StorageFile, layout: Layout) -> io::Result<Self> {
        let block_len = usize::try_from(layout.block_len()).unwrap_or(usize::MAX);
        let header_len = layout.header_len();
        let mut buffer = vec![0; block_len * BATCH];
        let (mut hash, mut header, mut tags) = (Sha256::new(), Vec::new(), Vec::new());
        let mut at = CipherOffset(0);
        loop {
            let count = file.read_at(&mut buffer, at)?;
            for block in buffer[..count].chunks(block_len) {
                let first = tags.is_empty();
                let start = if first {
                    header_len.min(block.len())
                } else {
                    0
                };
                let (head, area) = block.split_at(start);
                if first {
                    header = head.to_vec();
                    hash.update(head);
                }
                // What is no whole block is no chunk, and all of it counts.
                let bound = match block.len() == block_len {
                    true => &area[..OVERHEAD.min(area.len())],
                    false => area,
                };
                hash.update((bound.len() as u64).to_le_bytes());
                hash.update(bound);
                tags.push(tag_of(area).copied().unwrap_or_default());
            }
            if count < buffer.len() {
                break;
            }
            at.0 += count as u64;
        }
        hash.update((tags.len() as u64).to_le_bytes());
        Ok(Self {
            digest: hash.finalize().into(),
            header,
            tags,
        })
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Whether this is the header that was read with it.
    pub fn has_header(&self, header: &FileHeader) -> bool {
        FileHeader::decode(&self.header).is_ok_and(|own| own == *header)
    }

    /// The chunks' tags, in order.
    pub fn into_tags(self) -> Box<[ChunkTag]> {
        self.tags.into()
    }
}

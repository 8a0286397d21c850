//! The smallest reader of a ciphertext file that checks all that a reader must, and the names
//! that the vectors give to what it refuses.

use envelopefs::format::chunk::{self, Area, ChunkContext, SealedChunk};
use envelopefs::format::file_keys::{FileKeys, commitment_matches};
use envelopefs::format::header::{FileHeader, HeaderError};
use envelopefs::format::names::NameError;
use envelopefs::format::symlink::SymlinkError;
use envelopefs::format::volume_config::VolumeConfigError;
use envelopefs::units::{ChunkIndex, EpochId};

use crate::derive::secret;
use crate::schema::Hex;

/// A file that is open: its header and the keys of its epochs.
struct OpenFile {
    header: FileHeader,
    context: ChunkContext,
    keys: Vec<(EpochId, FileKeys)>,
}

/// The plaintext of `file`, or why there is none.
pub(crate) fn read_file(file: &[u8], deks: &[Hex]) -> Result<Vec<u8>, &'static str> {
    let header = FileHeader::decode(file).map_err(|error| header_error(&error))?;
    let open = OpenFile::new(header, deks)?;
    let block_len = open.header.layout.block_len() as usize;
    let count = file.len() / block_len;
    let mut plaintext = Vec::new();
    for index in 0..count {
        let index = ChunkIndex(index as u64);
        let start = open.header.layout.sealed_start(index).0 as usize;
        let area = &file[start..start + open.header.layout.area_len(index)];
        let last = index.0 + 1 == count as u64;
        plaintext.extend(open.read_chunk(index, area, last)?);
    }
    if (plaintext.len() as u64) < open.header.committed_len.0 {
        return Err("cut");
    }
    // The size agrees with the committed length: what the last chunk holds beyond it was never synced.
    let committed = open.header.committed_len;
    if open.header.layout.physical_len(committed).0 == file.len() as u64 {
        plaintext.truncate(committed.0 as usize);
    }
    Ok(plaintext)
}

impl OpenFile {
    fn new(header: FileHeader, deks: &[Hex]) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        for epoch in &header.epochs {
            let dek = deks.get(epoch.epoch.0 as usize - 1).ok_or("no-key")?;
            let dek = secret(dek);
            if !commitment_matches(&dek, &header.file_id, &epoch.commitment) {
                return Err("commitment");
            }
            keys.push((
                epoch.epoch,
                FileKeys::derive(&dek, &header.file_id).expect("memory"),
            ));
        }
        let (_, newest) = keys.last().ok_or("no-key")?;
        if !header.verify(newest.header()) {
            return Err("header-tag");
        }
        let context = ChunkContext::new(header.layout, header.file_id);
        Ok(Self {
            header,
            context,
            keys,
        })
    }

    fn read_chunk(
        &self,
        index: ChunkIndex,
        area: &[u8],
        last: bool,
    ) -> Result<Vec<u8>, &'static str> {
        let capacity = self.header.layout.capacity(index) as usize;
        match chunk::parse(&self.context, index, area).map_err(|_error| "malformed-chunk")? {
            Area::Hole if last => Err("hole-at-end"),
            Area::Hole if self.may_be_hole(index) => Ok(vec![0; capacity]),
            Area::Hole => Err("hole"),
            Area::Sealed(chunk) if !last && chunk.len() < capacity => Err("short-chunk"),
            Area::Sealed(chunk) => self.open_chunk(&chunk),
        }
    }

    fn may_be_hole(&self, index: ChunkIndex) -> bool {
        let start = self.header.layout.chunk_start(index).0;
        self.header.flags.sparse || start >= self.header.committed_len.0
    }

    fn open_chunk(&self, chunk: &SealedChunk<'_>) -> Result<Vec<u8>, &'static str> {
        let keys = self.keys.iter().find(|(epoch, _)| *epoch == chunk.epoch());
        let (_, keys) = keys.ok_or("unknown-epoch")?;
        let subkey = keys.content().subkey(chunk.nonce().prefix());
        let mut plaintext = vec![0; chunk.len()];
        chunk
            .open_into(&subkey, &mut plaintext)
            .map_err(|_error| "forged-chunk")?;
        Ok(plaintext)
    }
}

pub(crate) fn header_error(error: &HeaderError) -> &'static str {
    match error {
        HeaderError::Malformed(_) => "malformed",
        HeaderError::NewerVersion(_) => "newer-version",
        HeaderError::NotOurs => "not-ours",
        HeaderError::Truncated => "truncated",
        HeaderError::UnknownFlags(_) => "unknown-flags",
        HeaderError::UnknownSuite(_) => "unknown-suite",
        _ => "other",
    }
}

pub(crate) fn name_error(error: NameError) -> &'static str {
    match error {
        NameError::BadPlainName => "bad-plain-name",
        NameError::Encoding => "encoding",
        NameError::Forged => "forged",
        _ => "other",
    }
}

pub(crate) fn symlink_error(error: SymlinkError) -> &'static str {
    match error {
        SymlinkError::BadTarget => "bad-target",
        SymlinkError::Encoding => "encoding",
        SymlinkError::Forged => "forged",
        _ => "other",
    }
}

pub(crate) fn config_error(error: &VolumeConfigError) -> &'static str {
    match error {
        VolumeConfigError::Forged => "forged",
        VolumeConfigError::Malformed(_) => "malformed",
        VolumeConfigError::NewerVersion(_) => "newer-version",
        VolumeConfigError::TooLong => "too-long",
        _ => "other",
    }
}

//! The first look at a ciphertext file: what its header says, before any key is at hand.

use crate::format::all_zeros;
use crate::format::header::{FileHeader, HeaderError};
use crate::format::layout::Layout;
use crate::storage::StorageFile;
use crate::units::CipherOffset;

use super::buffers::with_buffer;
use super::error::ContentError;

/// What is read: more than the longest header, and the smallest block whole.
const PROBE_LEN: usize = 4096;

/// What a ciphertext file begins with.
#[derive(Debug)]
pub enum Probe {
    /// Nothing, or a block of zeros: what a crash before any sync leaves of a new file.
    Empty,
    /// A header. Nothing in it is authenticated yet.
    Sealed(FileHeader),
}

/// Reads the header of a file of a volume laid out as `layout`.
///
/// # Errors
/// [`ContentError::NotReadable`] where it is none of this volume's, [`ContentError::Io`].
pub fn probe(file: &StorageFile, layout: Layout) -> Result<Probe, ContentError> {
    let probed = probe_any_layout(file)?;
    match &probed {
        Probe::Sealed(header) if header.layout != layout => {
            Err(HeaderError::Malformed("block or header size differs from the volume's").into())
        }
        _ => Ok(probed),
    }
}

/// Reads the header of a file by itself, whatever volume it is from.
///
/// # Errors
/// As [`probe`].
pub fn probe_any_layout(file: &StorageFile) -> Result<Probe, ContentError> {
    with_buffer(PROBE_LEN, |buffer| {
        let len = file.read_at(buffer, CipherOffset(0))?;
        let bytes = &buffer[..len];
        if all_zeros(bytes) {
            return Ok(Probe::Empty);
        }
        Ok(Probe::Sealed(FileHeader::decode(bytes)?))
    })
}

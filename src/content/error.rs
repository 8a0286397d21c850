//! What can go wrong in a file's content.

use std::io;

use thiserror::Error;

use crate::crypto::LockedMemoryError;
use crate::format::chunk::ChunkError;
use crate::format::header::HeaderError;
use crate::keys::KeyError;
use crate::units::{ChunkIndex, FileId};

/// Why an operation on a file's content failed.
#[derive(Debug, Error)]
pub enum ContentError {
    /// The ciphertext is not what was written.
    #[error("file {file_id}: {damage}")]
    Damaged {
        /// The file, as its header names it.
        file_id: FileId,
        /// What was found.
        damage: Damage,
    },
    /// The ciphertext folder answered with an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file's keys were taken away while it was open.
    #[error("file {file_id}: {why}")]
    KeysGone {
        /// The file, as its header names it.
        file_id: FileId,
        /// Why.
        why: KeyError,
    },
    /// No key memory could be locked.
    #[error(transparent)]
    LockedMemory(#[from] LockedMemoryError),
    /// The header cannot be read as one of this program's.
    #[error(transparent)]
    NotReadable(#[from] HeaderError),
    /// Another mount has made the empty file its own: it must be opened anew.
    #[error("another mount was first to write the file")]
    Overtaken,
    /// The position asked for lies beyond the largest file that the format allows.
    #[error("beyond the largest file size")]
    TooLarge,
}

/// What is not authentic, or missing, in a ciphertext file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Damage {
    /// The header's tag does not match.
    #[error("the header is not authentic")]
    Header,
    /// A chunk could not be opened.
    #[error("chunk {index}: {source}")]
    Chunk {
        /// Which one.
        index: ChunkIndex,
        /// Why.
        source: ChunkError,
    },
    /// A chunk is authentic but shorter or longer than its place in the file asks for.
    #[error("chunk {index} has {found} bytes where {expected} belong")]
    ChunkLength {
        /// Which one.
        index: ChunkIndex,
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A block of zeros stands where the file has no hole.
    #[error("chunk {index} was zeroed")]
    Zeroed {
        /// Which one.
        index: ChunkIndex,
    },
    /// The ciphertext file ends before this chunk, below its committed length.
    #[error("chunk {index} is cut off")]
    Cut {
        /// The first chunk that is missing.
        index: ChunkIndex,
    },
    /// The disk does not give the chunk's block.
    #[error("chunk {index}: the disk cannot read it")]
    Unreadable {
        /// Which one.
        index: ChunkIndex,
    },
    /// The volume is sealed, and the chunk is not the one that was there then.
    #[error("chunk {index} is not the one that the volume was sealed with")]
    NotAsSealed {
        /// Which one.
        index: ChunkIndex,
    },
    /// A chunk was sealed under a key epoch that the header does not have.
    #[error("chunk {index} names an unknown key epoch")]
    UnknownEpoch {
        /// Which one.
        index: ChunkIndex,
    },
}

impl ContentError {
    pub(super) fn damaged(file_id: FileId, damage: Damage) -> Self {
        Self::Damaged { file_id, damage }
    }
}

//! Bytes to structs and back, without I/O: the on-disk format, docs/FORMAT.md.
//!
//! Everything that enters here may come from an attacker who can write the ciphertext folder: a
//! function in this room answers an error to any bytes, never a panic. What is *checked* at
//! which point:
//!
//! * `decode` and `parse` check structure: lengths, bounds, reserved bytes, padding.
//! * `verify`, `open` and `open_into` check authenticity. Nothing decoded may be acted upon
//!   before them, but for what they themselves need: ids, slots, epochs.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

mod base64;
pub mod chunk;
mod cursor;
mod epochs;
pub mod file_keys;
pub mod header;
pub mod layout;
pub mod names;
mod nonces;
pub mod symlink;
pub mod volume_config;
pub mod xattrs;
mod zeros;

pub use zeros::all_zeros;

// Lengths in memory are `usize`, lengths in files `u64`; the two helpers below rest on this.
const _: () = assert!(usize::BITS == 64, "envelopefs needs a 64-bit machine");

/// A length in memory as a length in a file.
#[expect(clippy::as_conversions, reason = "the same width, asserted above")]
const fn to_u64(len: usize) -> u64 {
    len as u64
}

/// A length in a file as a length in memory.
#[expect(clippy::as_conversions, reason = "the same width, asserted above")]
const fn to_usize(len: u64) -> usize {
    len as usize
}

//! envelopefs: files encrypted at rest under keys that an HSM or a key service holds.
//!
//! The rooms, from the top down; each uses only what stands below it
//! (`tests/architecture.rs` holds them to it):
//!
//! ```text
//! cli → daemon → fuse → fs → content → volume → { keys, policy, storage } → { audit, format } → crypto → units
//!                 maint beside fs, on content
//! cli → kms → { keys, policy, storage } → …
//! ```

pub mod audit;
pub mod cli;
pub mod content;
pub mod crypto;
pub mod daemon;
pub mod format;
pub mod fs;
pub mod fuse;
#[cfg(all(any(test, fuzzing), feature = "kms"))]
pub mod fuzz;
pub mod keys;
#[cfg(feature = "kms")]
pub mod kms;
pub mod lookups;
pub mod maint;
pub mod policy;
pub mod storage;
pub mod threads;
pub mod units;
pub mod volume;

//! The operations by family; each is a struct of its parameters.

pub mod access;
pub mod admin;
pub mod asymmetric;
pub mod calls;
pub(super) mod change;
pub mod data;
pub mod export;
pub mod import;
pub mod keys;
pub mod names;
pub mod versions;

/// Bytes that are wiped when they go.
pub type SecretBytes = zeroize::Zeroizing<Vec<u8>>;

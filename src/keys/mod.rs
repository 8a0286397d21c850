//! Key providers, the keyring of unwrapped data keys, and the pool of data keys made ahead.
//!
//! A [`KeyProvider`] holds a key-encryption key (KEK) and wraps data keys (DEKs) under it. The
//! [`Providers`] registry opens one per [`KeyUri`](crate::units::KeyUri) and counts its calls
//! ([`Metered`]). The [`Keyring`] keeps unwrapped DEKs for a while, so that a file opened twice
//! costs one call; the [`Pool`] makes DEKs ahead, so that a create waits for nobody.
//!
//! Nothing here knows of files or of FUSE: a request is a file id, an epoch and key slots.

#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::wildcard_enum_match_arm
    )
)]

pub mod error;
pub mod file;
pub mod keyring;
pub mod metered;
pub mod passphrase;
pub mod passphrase_source;
pub mod pkcs11;
pub mod pool;
pub mod provider;
pub mod registry;
pub mod service;

mod alikms;
mod awskms;
mod backoff;
#[cfg(test)]
mod conformance;
mod percent;

pub use error::{KeyError, KeyErrorKind};
pub use file::FileProvider;
pub use keyring::{DekRequest, DekResult, Keyring, KeyringConfig, KeyringStats};
pub use metered::{CallCount, Metered, ProviderCalls};
pub use passphrase::PassphraseProvider;
pub use passphrase_source::{Confirm, Passphrase, PassphraseSource};
pub use pkcs11::{Machine, PinSource, Pkcs11Options, Pkcs11Provider};
pub use pool::{Pool, PoolStats};
pub use provider::{EncryptionContext, KeyHealth, KeyProvider, WrappedDek};
pub use registry::{ProviderOptions, Providers};
pub use service::{Environment, Reach, ServiceOptions};

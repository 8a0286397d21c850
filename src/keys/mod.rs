//! Key providers, the keyring of unwrapped data keys, and the pool of data keys made ahead.
//!
//! A [`KeyProvider`] holds a key-encryption key (KEK) and wraps data keys (DEKs) under it. The
//! [`Providers`] registry opens one per [`KeyUri`](crate::units::KeyUri) counts its calls
//! ([`Metered`]) and asks it with manners ([`Guarded`]). The [`Keyring`] keeps unwrapped DEKs for a while, so that a file opened twice
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

pub mod azurekms;
pub mod error;
pub mod file;
pub mod gcpkms;
pub mod guarded;
pub mod hashivault;
pub mod keyring;
pub mod kmip;
pub mod metered;
pub mod pace;
pub mod passphrase;
pub mod passphrase_source;
pub mod pkcs11;
pub mod pool;
pub mod provider;
pub mod registry;
pub mod rsa;
pub mod service;

mod alikms;
pub(crate) mod awskms;
mod backoff;
mod between;
#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod double;
mod flight;
pub mod local_file;
mod pem;
pub(crate) mod percent;
mod query;

pub use azurekms::AzurekmsProvider;
pub use error::{KeyError, KeyErrorKind};
pub use file::FileProvider;
pub use gcpkms::GcpkmsProvider;
pub use guarded::{Guarded, Outage};
pub use hashivault::HashivaultProvider;
pub use keyring::{DekRequest, DekResult, Keyring, KeyringConfig, KeyringStats};
pub use kmip::{KmipFile, KmipFiles, KmipOptions, KmipProvider};
pub use metered::{CallCount, LATENCY_BOUNDS, LatencyReport, Metered, ProviderCalls};
pub use pace::Pace;
pub use passphrase::PassphraseProvider;
pub use passphrase_source::{Confirm, Passphrase, PassphraseSource};
pub use pkcs11::hsm::Hsm;
pub use pkcs11::{Machine, PinSource, Pkcs11Options, Pkcs11Provider};
pub use pool::{Pool, PoolOptions, PoolStats};
pub use provider::{EncryptionContext, KeyHealth, KeyProvider, NamedKey, WrappedDek};
pub use registry::{DEFAULT_RATE, ProviderOptions, Providers};
pub use rsa::{PrivateKeySource, RsaOptions, RsaProvider};
pub use service::{Environment, Reach, ServiceOptions};

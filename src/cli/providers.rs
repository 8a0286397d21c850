//! The key providers of a command, by what its options say.

use std::sync::Arc;

use super::args::PassphraseFrom;
use super::errors;
use super::failure::Failure;
use crate::crypto::{MemoryPolicy, configure_locked_memory};
use crate::keys::{Confirm, PassphraseSource, ProviderOptions, Providers};

/// Providers that take a passphrase from where the options say; asked twice where it is new.
pub(super) fn providers(passphrase: &PassphraseFrom, confirm: Confirm) -> Arc<Providers> {
    let passphrase = match passphrase {
        PassphraseFrom::Command(command) => PassphraseSource::Command(command.clone()),
        PassphraseFrom::File(path) => PassphraseSource::File(path.clone()),
        PassphraseFrom::Prompt => PassphraseSource::Prompt,
    };
    Arc::new(Providers::new(ProviderOptions {
        passphrase,
        confirm,
        ..ProviderOptions::default()
    }))
}

/// Decides, before the first key, whether keys may lie in memory that is not locked.
pub(super) fn lock_memory(what: &str, policy: MemoryPolicy) -> Result<(), Failure> {
    configure_locked_memory(policy)
        .map(drop)
        .map_err(|error| errors::locked_memory(what, &error))
}

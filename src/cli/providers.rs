//! The key providers of a command, by what its options and the environment say.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::PassphraseFrom;
use super::errors;
use super::failure::Failure;
use crate::crypto::{MemoryPolicy, configure_locked_memory};
use crate::keys::{
    Confirm, DEFAULT_RATE, Machine, PassphraseSource, PinSource, Pkcs11Options, ProviderOptions,
    Providers, pkcs11,
};
use crate::units::KeyUri;

/// The name of the systemd credential that holds the PIN of a PKCS#11 token.
const PIN_CREDENTIAL: &str = "envelopefs.pkcs11-pin";

/// Keys that a person named: their URIs as they are to be stored, and what the URIs said of this
/// machine.
#[derive(Debug, Default)]
pub(super) struct GivenKeys {
    pub(super) uris: Vec<KeyUri>,
    of_machine: HashMap<KeyUri, Machine>,
}

/// Parts what is to be stored from what is of this machine.
///
/// # Errors
/// A `pkcs11:` URI that cannot be followed.
pub(super) fn given_keys(what: &str, uris: &[KeyUri]) -> Result<GivenKeys, Failure> {
    let mut keys = GivenKeys::default();
    for uri in uris {
        if uri.scheme() != pkcs11::SCHEME {
            keys.uris.push(uri.clone());
            continue;
        }
        let (stored, machine) = pkcs11::given(uri).map_err(|error| errors::key(what, &error))?;
        keys.of_machine.insert(stored.clone(), machine);
        keys.uris.push(stored);
    }
    Ok(keys)
}

/// Providers that take a passphrase from where the options say; asked twice where it is new.
pub(super) fn providers(
    passphrase: &PassphraseFrom,
    confirm: Confirm,
    keys: &GivenKeys,
) -> Arc<Providers> {
    limited_providers(passphrase, confirm, keys, Some(DEFAULT_RATE))
}

/// The same, with a bound of one's own on the calls a second.
pub(super) fn limited_providers(
    passphrase: &PassphraseFrom,
    confirm: Confirm,
    keys: &GivenKeys,
    rate: Option<NonZeroU32>,
) -> Arc<Providers> {
    let path = |name: &str| {
        std::env::var_os(name)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    Arc::new(Providers::new(ProviderOptions {
        passphrase: passphrase_source(passphrase),
        confirm,
        rate,
        pkcs11: Pkcs11Options {
            module: path("ENVELOPEFS_PKCS11_MODULE"),
            pin: pin_source(
                path("ENVELOPEFS_PKCS11_PIN_FILE"),
                path("CREDENTIALS_DIRECTORY"),
            ),
            of_key: keys.of_machine.clone(),
        },
        ..ProviderOptions::default()
    }))
}

/// Where the options say that a passphrase comes from.
pub(super) fn passphrase_source(passphrase: &PassphraseFrom) -> PassphraseSource {
    match passphrase {
        PassphraseFrom::Command(command) => PassphraseSource::Command(command.clone()),
        PassphraseFrom::File(path) => PassphraseSource::File(path.clone()),
        PassphraseFrom::Prompt => PassphraseSource::Prompt,
    }
}

fn pin_source(file: Option<PathBuf>, credentials: Option<PathBuf>) -> PinSource {
    let credential = credentials.map(|folder| folder.join(PIN_CREDENTIAL));
    match (file, credential.filter(|path| path.exists())) {
        (Some(file), _) => PinSource::File(file),
        (None, Some(credential)) => PinSource::Credential(credential),
        (None, None) => PinSource::Prompt,
    }
}

/// Decides, before the first key, whether keys may lie in memory that is not locked.
pub(super) fn lock_memory(what: &str, policy: MemoryPolicy) -> Result<(), Failure> {
    configure_locked_memory(policy)
        .map(drop)
        .map_err(|error| errors::locked_memory(what, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_file_outranks_a_credential_and_that_the_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Some(folder.path().to_owned());
        assert_eq!(pin_source(None, credentials.clone()), PinSource::Prompt);
        let credential = folder.path().join(PIN_CREDENTIAL);
        std::fs::write(&credential, "1234").unwrap();
        assert_eq!(
            pin_source(None, credentials.clone()),
            PinSource::Credential(credential)
        );
        let file = PathBuf::from("/pin");
        assert_eq!(
            pin_source(Some(file.clone()), credentials),
            PinSource::File(file)
        );
    }

    #[test]
    fn a_query_is_parted_from_what_is_stored() {
        let uris = ["passphrase:", "pkcs11:object=k;token=t?module-path=/m.so"];
        let uris = uris.map(|uri| uri.parse().unwrap());
        let keys = given_keys("x", &uris).unwrap();
        let stored: Vec<_> = keys.uris.iter().map(KeyUri::as_str).collect();
        assert_eq!(stored, ["passphrase:", "pkcs11:token=t;object=k"]);
        let machine = keys.of_machine.get(&keys.uris[1]).unwrap();
        assert_eq!(machine.module, Some("/m.so".into()));
        assert!(given_keys("x", &["pkcs11:token=t".parse().unwrap()]).is_err());
    }
}

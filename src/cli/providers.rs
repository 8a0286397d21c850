//! The key providers of a command, by what its options and the environment say.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::args::PassphraseFrom;
use super::errors;
use super::failure::Failure;
use crate::crypto::{MemoryPolicy, configure_locked_memory};
use crate::keys::{
    Confirm, Environment, PassphraseSource, PinSource, Pkcs11Options, ProviderOptions, Providers,
    ServiceOptions,
};
use crate::units::KeyUri;

/// The name of the systemd credential that holds the PIN of a PKCS#11 token.
const PIN_CREDENTIAL: &str = "envelopefs.pkcs11-pin";

/// Keys that a person named: their URIs as they are to be stored, and what this machine has for
/// them.
#[derive(Debug)]
pub(super) struct GivenKeys {
    pub(super) uris: Vec<KeyUri>,
    options: ProviderOptions,
}

impl GivenKeys {
    /// No key was named; the volume or the file names its own.
    pub(super) fn none() -> Self {
        Self {
            uris: Vec::new(),
            options: of_this_machine(),
        }
    }

    /// Parts what is to be stored from what is of this machine.
    ///
    /// # Errors
    /// A URI that cannot be followed.
    pub(super) fn parse(what: &str, uris: &[KeyUri]) -> Result<Self, Failure> {
        let mut keys = Self::none();
        for uri in uris {
            let stored = keys.options.follow(uri);
            keys.uris
                .push(stored.map_err(|error| errors::key(what, &error))?);
        }
        Ok(keys)
    }

    /// Providers that take a passphrase from where the options say; asked twice where it is new.
    pub(super) fn providers(
        &self,
        passphrase: &PassphraseFrom,
        confirm: Confirm,
    ) -> Arc<Providers> {
        let passphrase = match passphrase {
            PassphraseFrom::Command(command) => PassphraseSource::Command(command.clone()),
            PassphraseFrom::File(path) => PassphraseSource::File(path.clone()),
            PassphraseFrom::Prompt => PassphraseSource::Prompt,
        };
        Arc::new(Providers::new(ProviderOptions {
            passphrase,
            confirm,
            ..self.options.clone()
        }))
    }
}

/// What the environment of this process says.
fn of_this_machine() -> ProviderOptions {
    let path = |name: &str| {
        std::env::var_os(name)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    };
    ProviderOptions {
        pkcs11: Pkcs11Options {
            module: path("ENVELOPEFS_PKCS11_MODULE"),
            pin: pin_source(
                path("ENVELOPEFS_PKCS11_PIN_FILE"),
                path("CREDENTIALS_DIRECTORY"),
            ),
            of_key: HashMap::new(),
        },
        service: ServiceOptions {
            environment: Environment::of_process(),
            of_key: HashMap::new(),
        },
        ..ProviderOptions::default()
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
        let keys = GivenKeys::parse("x", &uris).unwrap();
        let stored: Vec<_> = keys.uris.iter().map(KeyUri::as_str).collect();
        assert_eq!(stored, ["passphrase:", "pkcs11:token=t;object=k"]);
        let machine = keys.options.pkcs11.of_key.get(&keys.uris[1]).unwrap();
        assert_eq!(machine.module, Some("/m.so".into()));
        assert!(GivenKeys::parse("x", &["pkcs11:token=t".parse().unwrap()]).is_err());
    }
}

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
    Confirm, Environment, KmipFile, KmipFiles, KmipOptions, PassphraseSource, PinSource,
    Pkcs11Options, PrivateKeySource, ProviderOptions, Providers, RsaOptions, ServiceOptions,
};
use crate::units::KeyUri;

/// The name of the systemd credential that holds the PIN of a PKCS#11 token.
const PIN_CREDENTIAL: &str = "envelopefs.pkcs11-pin";
/// The name of the systemd credential that holds private keys of `rsa:`.
const RSA_CREDENTIAL: &str = "envelopefs.rsa-private-key";

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

    /// No key is to be stored; those of `only` may be used, and no others. Where it is empty, any may.
    ///
    /// # Errors
    /// A URI that cannot be followed.
    pub(super) fn only(what: &str, only: &[KeyUri]) -> Result<Self, Failure> {
        Self::none().restricted_to(what, only, &[])
    }

    /// The same, where `only` is empty. Else those of `only` may be used, those that are to be stored, and `also`.
    ///
    /// # Errors
    /// A URI that cannot be followed.
    pub(super) fn restricted_to(
        mut self,
        what: &str,
        only: &[KeyUri],
        also: &[KeyUri],
    ) -> Result<Self, Failure> {
        if only.is_empty() {
            return Ok(self);
        }
        let restricted = self.options.restrict_to(only);
        restricted.map_err(|error| errors::key(what, &error))?;
        let allowed = self.options.only.get_or_insert_default();
        allowed.extend(self.uris.iter().chain(also).cloned());
        Ok(self)
    }

    /// The same, with a bound of one's own on the calls a second to one provider.
    pub(super) fn limited_to(mut self, rate: Option<NonZeroU32>) -> Self {
        self.options.rate = rate;
        self
    }

    /// What this machine has for PKCS#11 tokens.
    pub(super) fn pkcs11(&self) -> &Pkcs11Options {
        &self.options.pkcs11
    }

    /// Providers that take a passphrase from where the options say; asked twice where it is new.
    pub(super) fn providers(
        &self,
        passphrase: &PassphraseFrom,
        confirm: Confirm,
    ) -> Arc<Providers> {
        Arc::new(Providers::new(ProviderOptions {
            passphrase: passphrase_source(passphrase),
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
        kmip: KmipOptions {
            files: kmip_files(&path),
            ..KmipOptions::default()
        },
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
        rsa: RsaOptions {
            private_keys: private_keys(
                path("ENVELOPEFS_RSA_PRIVATE_KEY_FILE"),
                path("ENVELOPEFS_RSA_PRIVATE_KEY"),
                path("CREDENTIALS_DIRECTORY"),
            ),
            of_key: HashMap::new(),
        },
        ..ProviderOptions::default()
    }
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

/// A file that is named by the environment, else the systemd credential.
fn kmip_files(path: &dyn Fn(&str) -> Option<PathBuf>) -> KmipFiles {
    let file = |variable: &str, credential: &str| {
        let credential = path("CREDENTIALS_DIRECTORY").map(|folder| folder.join(credential));
        let credential = credential.filter(|path| path.exists());
        path(variable)
            .map(KmipFile::File)
            .or(credential.map(KmipFile::Credential))
    };
    KmipFiles {
        ca: file("ENVELOPEFS_KMIP_CA_FILE", "envelopefs.kmip-ca"),
        cert: file("ENVELOPEFS_KMIP_CERT_FILE", "envelopefs.kmip-cert"),
        key: file("ENVELOPEFS_KMIP_KEY_FILE", "envelopefs.kmip-key"),
    }
}

/// All that there are: a host may have several private keys, as after a rotation.
fn private_keys(
    file: Option<PathBuf>,
    token: Option<PathBuf>,
    credentials: Option<PathBuf>,
) -> Vec<PrivateKeySource> {
    let file = file.map(PrivateKeySource::File);
    let token = token.map(|uri| PrivateKeySource::Token(uri.to_string_lossy().into_owned()));
    let credential = credentials
        .map(|folder| folder.join(RSA_CREDENTIAL))
        .filter(|path| path.exists())
        .map(PrivateKeySource::Credential);
    [file, token, credential].into_iter().flatten().collect()
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
        for wrong in ["pkcs11:token=t", "rsa:public.pem", "rsa:/p?private-key=k"] {
            assert!(
                GivenKeys::parse("x", &[wrong.parse().unwrap()]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn keys_that_may_be_used_are_those_given_added_and_removed() {
        let uris = |texts: &[&str]| -> Vec<KeyUri> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let added = uris(&["passphrase:"]);
        let restricted = |only: &[&str]| {
            let keys = GivenKeys::parse("x", &added).unwrap();
            let removed = uris(&["file:///old"]);
            keys.restricted_to("x", &uris(only), &removed).unwrap()
        };
        assert_eq!(restricted(&[]).options.only, None);
        let keys = restricted(&["pkcs11:object=k?module-path=/m.so"]);
        let expected = uris(&["pkcs11:object=k", "passphrase:", "file:///old"]);
        assert_eq!((keys.options.only, keys.uris), (Some(expected), added));
        for wrong in ["nokms:x", "pkcs11:token=t", "kmip://h/k?ca=ca.pem"] {
            let failure = GivenKeys::only("x", &uris(&[wrong])).unwrap_err();
            assert_eq!(failure.exit(), crate::cli::exit::Exit::KeyDenied, "{wrong}");
        }
    }

    #[test]
    fn certificates_come_from_the_environment_and_else_from_credentials() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("envelopefs.kmip-ca"), "ca").unwrap();
        std::fs::write(folder.path().join("envelopefs.kmip-key"), "key").unwrap();
        let files = kmip_files(&|name| match name {
            "CREDENTIALS_DIRECTORY" => Some(folder.path().to_owned()),
            "ENVELOPEFS_KMIP_KEY_FILE" => Some("/key.pem".into()),
            _ => None,
        });
        let ca = KmipFile::Credential(folder.path().join("envelopefs.kmip-ca"));
        assert_eq!((files.ca, files.cert), (Some(ca), None));
        assert_eq!(files.key, Some(KmipFile::File("/key.pem".into())));
        let given = GivenKeys::parse("x", &["kmip://H/k?ca=/ca.pem".parse().unwrap()]).unwrap();
        assert_eq!(given.uris, ["kmip://h:5696/k".parse().unwrap()]);
        assert!(
            given
                .options
                .kmip
                .of_key
                .get(&given.uris[0])
                .unwrap()
                .ca
                .is_some()
        );
    }

    #[test]
    fn a_private_key_is_no_part_of_what_is_stored() {
        let uri = "rsa:///p.pem?private-key=/k.pem".parse().unwrap();
        let keys = GivenKeys::parse("x", &[uri]).unwrap();
        assert_eq!(keys.uris, ["rsa:/p.pem".parse().unwrap()]);
        let sources = keys.options.rsa.of_key.get(&keys.uris[0]).unwrap();
        assert_eq!(sources, &[PrivateKeySource::File("/k.pem".into())]);
    }

    #[test]
    fn private_keys_of_every_place_count() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Some(folder.path().to_owned());
        assert_eq!(private_keys(None, None, credentials.clone()), []);
        let credential = folder.path().join(RSA_CREDENTIAL);
        std::fs::write(&credential, "key").unwrap();
        let found = private_keys(Some("/k".into()), Some("pkcs11:x".into()), credentials);
        let expected = [
            PrivateKeySource::File("/k".into()),
            PrivateKeySource::Token("pkcs11:x".to_owned()),
            PrivateKeySource::Credential(credential),
        ];
        assert_eq!(found, expected);
    }
}

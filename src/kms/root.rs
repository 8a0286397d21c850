//! The root key: the one that wraps all others at rest.
//!
//! It is 32 random bytes, and is itself kept under key-encryption keys of [`crate::keys`]: a slot each, any of which
//! opens it. So it can be unsealed by whatever that room knows: a passphrase (Argon2id), a PKCS#11 token, a key file,
//! another key service. `credential:NAME` is a key file that systemd hands to the service
//! (`LoadCredentialEncrypted=NAME`).

use std::fmt;
use std::path::PathBuf;

use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::crypto::{LockedMemoryError, MacKey, OpenError, SecretKey, XaesKey};
use crate::keys::{EncryptionContext, KeyError, KeyProvider as _, Providers, WrappedDek};
use crate::kms::store::settings::RootSlot;
use crate::units::{InvalidKeyUri, KeyUri, VolumeId};

/// The scheme of a key file among systemd's credentials.
const CREDENTIAL: &str = "credential";

/// Why there is no root key.
#[derive(Debug, Error)]
pub enum RootError {
    /// `credential:` outside of a service that has credentials.
    #[error(
        "{0}: there is no credential of that name: is the service run by systemd with LoadCredential=?"
    )]
    Credential(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Memory(#[from] LockedMemoryError),
    /// The store has no slot.
    #[error("the store has no root key: it was not made by `envelopekms init`")]
    NoSlot,
    #[error(transparent)]
    Uri(#[from] InvalidKeyUri),
}

/// What is wrapped, so that one wrapped thing cannot stand for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing<'a> {
    /// The secret of an access key.
    Credential { id: &'a str },
    /// What is known of one version of a key that lives in the HSM.
    HsmKey { key: &'a str, version: &'a str },
    /// The private key of an import token.
    ImportKey { token: &'a str },
    /// The material of one version of a key.
    Material { key: &'a str, version: &'a str },
}

impl Thing<'_> {
    /// Kind, and each name after its length: no two things have the same bytes.
    fn aad(self) -> Vec<u8> {
        let (kind, names) = match self {
            Self::Material { key, version } => ("material", [key, version]),
            Self::HsmKey { key, version } => ("hsm-key", [key, version]),
            Self::Credential { id } => ("credential", [id, ""]),
            Self::ImportKey { token } => ("import-key", [token, ""]),
        };
        let mut aad = b"envelopekms/v1/".to_vec();
        for text in [kind, names[0], names[1]] {
            aad.extend_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            aad.extend_from_slice(text.as_bytes());
        }
        aad
    }
}

/// The root key, unsealed: each use has a key of its own that is derived from it.
pub struct Root {
    key: SecretKey,
    wrapping: XaesKey,
    backup: XaesKey,
    fingerprint: MacKey,
    check: MacKey,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Root(..)")
    }
}

impl Root {
    /// A new root key.
    ///
    /// # Errors
    ///
    /// No locked memory is left.
    pub fn generate() -> Result<Self, LockedMemoryError> {
        Self::of(SecretKey::random()?)
    }

    fn of(key: SecretKey) -> Result<Self, LockedMemoryError> {
        Ok(Self {
            wrapping: XaesKey::new(&derive(&key, "wrap")?),
            backup: XaesKey::new(&derive(&key, "backup")?),
            fingerprint: MacKey::new(derive(&key, "fingerprint")?),
            check: MacKey::new(derive(&key, "context")?),
            key,
        })
    }

    /// A slot that opens with the key-encryption key of this URI. Blocks.
    ///
    /// # Errors
    ///
    /// The key provider's.
    pub fn seal(
        &self,
        providers: &Providers,
        uri: &KeyUri,
        service: [u8; 16],
    ) -> Result<RootSlot, RootError> {
        let provider = providers.open(&resolve(uri)?)?;
        let wrapped = provider.wrap(&self.key, &context(service))?;
        Ok(RootSlot {
            uri: uri.as_str().to_owned(),
            key_version: wrapped.key_version,
            wrapped: wrapped.bytes,
        })
    }

    /// The root key out of the first slot that opens. Blocks, on a passphrase or a token perhaps.
    ///
    /// # Errors
    ///
    /// That of the last slot, if none opens.
    pub fn unseal(
        providers: &Providers,
        slots: &[RootSlot],
        service: [u8; 16],
    ) -> Result<Self, RootError> {
        let mut last = RootError::NoSlot;
        for slot in slots {
            match unseal_one(providers, slot, service) {
                Ok(key) => return Ok(Self::of(key)?),
                Err(error) => {
                    tracing::warn!(uri = slot.uri, %error, "a slot of the root key does not open");
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Wraps a secret for the store.
    #[must_use]
    pub fn wrap(&self, thing: Thing<'_>, secret: &[u8]) -> Vec<u8> {
        self.wrapping.seal(&thing.aad(), secret)
    }

    /// # Errors
    ///
    /// What is in the store was not wrapped by this root key as this thing.
    pub fn unwrap(
        &self,
        thing: Thing<'_>,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.wrapping
            .open(&thing.aad(), wrapped)
            .map(Zeroizing::new)
    }

    /// Seals a backup.
    #[must_use]
    pub fn seal_backup(&self, header: &[u8], dump: &[u8]) -> Vec<u8> {
        self.backup.seal(header, dump)
    }

    /// # Errors
    ///
    /// It is no backup under this root key with this header, or was changed.
    pub fn open_backup(
        &self,
        header: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.backup.open(header, sealed).map(Zeroizing::new)
    }

    /// Tells whether material that comes again is the same, and nothing else of it.
    #[must_use]
    pub fn fingerprint(&self, key: &str, material: &[u8]) -> [u8; 32] {
        self.fingerprint.tag(&[key.as_bytes(), b"\0", material])
    }

    /// Tells whether an encryption context is the one of a blob of the HSM's; see
    /// [`token_blob`](crate::kms::material::token_blob).
    #[must_use]
    pub fn check(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.check.tag(parts)
    }

    /// Of which the keys of the audit trail's lines come.
    ///
    /// # Errors
    ///
    /// No locked memory is left.
    pub fn audit(&self) -> Result<SecretKey, LockedMemoryError> {
        derive(&self.key, "audit")
    }

    /// Of the cookies of the console.
    ///
    /// # Errors
    ///
    /// No locked memory is left.
    pub fn sessions(&self) -> Result<MacKey, LockedMemoryError> {
        derive(&self.key, "sessions").map(MacKey::new)
    }

    /// With which the requests that were seen are told apart: the same on every server.
    ///
    /// # Errors
    ///
    /// No locked memory is left.
    pub fn requests(&self) -> Result<MacKey, LockedMemoryError> {
        derive(&self.key, "requests").map(MacKey::new)
    }
}

fn unseal_one(
    providers: &Providers,
    slot: &RootSlot,
    service: [u8; 16],
) -> Result<SecretKey, RootError> {
    let provider = providers.open(&resolve(&slot.uri.parse()?)?)?;
    let wrapped = WrappedDek {
        key_version: slot.key_version.clone(),
        bytes: slot.wrapped.clone(),
    };
    Ok(provider.unwrap(&wrapped, &context(service))?)
}

fn context(service: [u8; 16]) -> EncryptionContext {
    EncryptionContext {
        volume: VolumeId(service),
        file: None,
    }
}

/// `credential:NAME` as the key file that it is.
fn resolve(uri: &KeyUri) -> Result<KeyUri, RootError> {
    if uri.scheme() != CREDENTIAL {
        return Ok(uri.clone());
    }
    let none = || RootError::Credential(uri.as_str().to_owned());
    let name = uri.rest();
    if name.is_empty() || name.contains('/') {
        return Err(none());
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(none)?;
    let path = PathBuf::from(folder).join(name);
    let path = path.to_str().ok_or_else(none)?;
    Ok(format!("file://{path}").parse()?)
}

fn derive(root: &SecretKey, what: &str) -> Result<SecretKey, LockedMemoryError> {
    let info = [b"envelopekms/v1/root/", what.as_bytes()].concat();
    SecretKey::init(|key| {
        Hkdf::<Sha256>::new(None, root.expose())
            .expand(&info, key)
            .expect("HKDF gives 32 bytes");
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{FileProvider, ProviderOptions};

    const SERVICE: [u8; 16] = [7; 16];

    fn providers() -> Providers {
        Providers::new(ProviderOptions::default())
    }

    #[test]
    fn it_comes_back_out_of_its_slot_and_of_no_other_service() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileProvider::create(&folder.path().join("root.json")).unwrap();
        let uri = file.uri().clone();
        let root = Root::generate().unwrap();
        let slot = root.seal(&providers(), &uri, SERVICE).unwrap();
        let wrapped = root.wrap(Thing::Credential { id: "a" }, b"secret");

        let again = Root::unseal(&providers(), std::slice::from_ref(&slot), SERVICE).unwrap();
        let secret = again
            .unwrap(Thing::Credential { id: "a" }, &wrapped)
            .unwrap();
        assert_eq!(&secret[..], b"secret");

        Root::unseal(&providers(), std::slice::from_ref(&slot), [8; 16]).unwrap_err();
        let mut changed = slot;
        changed.wrapped[40] ^= 1;
        Root::unseal(&providers(), &[changed], SERVICE).unwrap_err();
        assert!(matches!(
            Root::unseal(&providers(), &[], SERVICE),
            Err(RootError::NoSlot)
        ));
    }

    #[test]
    fn a_second_slot_opens_where_the_first_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let slots = ["a.json", "b.json"].map(|name| {
            let file = FileProvider::create(&folder.path().join(name)).unwrap();
            (folder.path().join(name), file.uri().clone())
        });
        let root = Root::generate().unwrap();
        let sealed: Vec<_> = slots
            .iter()
            .map(|(_, uri)| root.seal(&providers(), uri, SERVICE).unwrap())
            .collect();
        std::fs::remove_file(&slots[0].0).unwrap();
        Root::unseal(&providers(), &sealed, SERVICE).unwrap();
        std::fs::remove_file(&slots[1].0).unwrap();
        Root::unseal(&providers(), &sealed, SERVICE).unwrap_err();
    }

    #[test]
    fn one_wrapped_thing_does_not_stand_for_another() {
        let root = Root::generate().unwrap();
        let things = [
            Thing::Material {
                key: "k",
                version: "v",
            },
            Thing::Material {
                key: "kv",
                version: "",
            },
            Thing::Material {
                key: "v",
                version: "k",
            },
            Thing::HsmKey {
                key: "k",
                version: "v",
            },
            Thing::Credential { id: "k" },
            Thing::ImportKey { token: "k" },
        ];
        for thing in things {
            let wrapped = root.wrap(thing, b"secret");
            for other in things {
                assert_eq!(root.unwrap(other, &wrapped).is_ok(), thing == other);
            }
            for at in 0..wrapped.len() {
                let mut changed = wrapped.clone();
                changed[at] ^= 1;
                root.unwrap(thing, &changed).unwrap_err();
            }
            Root::generate()
                .unwrap()
                .unwrap(thing, &wrapped)
                .unwrap_err();
        }
    }

    #[test]
    fn a_backup_is_bound_to_its_header() {
        let root = Root::generate().unwrap();
        let sealed = root.seal_backup(b"header", b"dump");
        assert_eq!(&root.open_backup(b"header", &sealed).unwrap()[..], b"dump");
        root.open_backup(b"another", &sealed).unwrap_err();
    }

    #[test]
    fn fingerprints_tell_keys_and_materials_apart() {
        let root = Root::generate().unwrap();
        let of = |key, material: &[u8]| root.fingerprint(key, material);
        assert_eq!(of("a", b"m"), of("a", b"m"));
        assert_ne!(of("a", b"m"), of("b", b"m"));
        assert_ne!(of("a", b"m"), of("a", b"n"));
        assert_ne!(
            of("a", b"m"),
            Root::generate().unwrap().fingerprint("a", b"m")
        );
    }

    #[test]
    fn a_credential_that_is_not_there_is_told_as_such() {
        for uri in [
            "credential:",
            "credential:../root",
            "credential:no-such-one",
        ] {
            let error = resolve(&uri.parse().unwrap());
            // Where the tests themselves are run as a service, the name resolves and the file is missing.
            if let Err(error) = error {
                assert!(error.to_string().contains("LoadCredential"), "{error}");
            }
        }
    }
}

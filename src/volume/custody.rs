//! Whether the volume key may still be used: locked, unlocked, and asked about again.

use std::path::Path;

use crate::crypto::SecretKey;
use crate::format::names::NameKey;
use crate::format::volume_config::UnverifiedConfig;
use crate::keys::{KeyError, KeyErrorKind};

use super::Volume;
use super::error::VolumeError;
use super::secrets::VolumeSecrets;
use super::unlock::{read_config, unwrap_volume_key};
use super::vault::Held;

impl Volume {
    /// Drops the keys derived from the volume key and all data keys, those made ahead too. Whatever needs one fails
    /// from now on, for the reason `why`. Gives the key of names, for what callers have to forget by name.
    pub fn lock(&self, why: KeyError) -> Option<Held<NameKey>> {
        let secrets = self.vault.shut(why);
        self.files.clear();
        secrets
            .filter(|_| self.seals_names())
            .map(|secrets| Held::new(secrets, |secrets| &secrets.names))
    }

    /// Drops what key providers keep in memory as well: they have to get at it again.
    pub fn forget_providers(&self) {
        self.providers.forget();
    }

    /// Why the volume is locked, if it is.
    pub fn locked(&self) -> Option<KeyError> {
        self.vault.secrets().err()
    }

    /// Has a provider unwrap the volume key once more, and works with it again.
    ///
    /// # Errors
    /// As opening the volume; it then stays locked.
    pub fn unlock(&self) -> Result<(), VolumeError> {
        let key = self.ask_for_volume_key()?;
        let secrets = VolumeSecrets::derive(&key, &self.config().volume_id)?;
        self.vault.open(secrets);
        // What failed for want of keys must not be told to anybody any more.
        self.files.clear();
        Ok(())
    }

    /// Asks whether the volume key may still be used. It waits for the provider.
    ///
    /// # Errors
    /// What the providers say; [`VolumeError::Key`] `Unavailable` where none answers.
    pub fn confirm_volume_key(&self) -> Result<(), KeyError> {
        self.ask_for_volume_key()
            .map(drop)
            .map_err(|error| match error {
                VolumeError::Key(error) | VolumeError::WrongKey(error) => error,
                error => {
                    let message = "the volume key could not be asked for again";
                    KeyError::new(KeyErrorKind::Unavailable, message).caused_by(error)
                }
            })
    }

    fn ask_for_volume_key(&self) -> Result<SecretKey, VolumeError> {
        let config = self.config_now()?;
        unwrap_volume_key(&config, &self.providers, "refresh", |event| {
            self.note(|| event);
        })
    }

    /// `volume.json` as it is now: the volume key may have been wrapped anew since the mount.
    fn config_now(&self) -> Result<UnverifiedConfig, VolumeError> {
        let config = read_config(Path::new("the volume"), &self.folder)?;
        let known = self.config();
        let is_ours =
            config.volume_id() == known.volume_id && config.commitment() == &known.commitment;
        if is_ours {
            Ok(config)
        } else {
            let message = "volume.json is another volume's by now";
            Err(KeyError::new(KeyErrorKind::Corrupt, message).into())
        }
    }

    /// Whether a prompt is needed before the volume can be unlocked: a passphrase that was asked for at the terminal
    /// of the mount, which is gone.
    pub fn needs_passphrase(&self) -> bool {
        let by_passphrase = |slot: &crate::format::header::KeySlot| {
            slot.key_uri.scheme() == crate::keys::passphrase::SCHEME
        };
        self.providers.passphrase().is_wanted() && self.config().slots.iter().any(by_passphrase)
    }
}

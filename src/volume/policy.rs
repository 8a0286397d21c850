//! A volume's policy: `.envelopefs/policy.toml`, whose SHA-256 stands in `volume.json` under its tag, so that the file
//! cannot be changed, removed or put back by itself.
//!
//! Two files cannot be replaced at once. A new policy is first written beside the old one; `volume.json` then names it,
//! and that moment decides; at last it takes the old one's name. A crash in between leaves the one that `volume.json`
//! names under either name.

use std::io;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::format::volume_config::VolumeConfig;
use crate::keys::EncryptionContext;
use crate::policy::{self, NewFileKeys, Policy};
use crate::storage::{Node, RenameFlags, accounts};

use super::Volume;
use super::error::VolumeError;
use super::meta::{self, name};

/// Names of users and groups as this machine has them.
#[derive(Debug)]
pub struct Machine;

impl policy::Accounts for Machine {
    fn user(&self, name: &str) -> Option<u32> {
        accounts::user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        accounts::group(name)
    }
}

/// A policy with the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// policy.toml.
    pub text: Vec<u8>,
    /// What it says.
    pub policy: Policy,
}

impl StoredPolicy {
    /// Reads a policy's text.
    ///
    /// # Errors
    /// [`VolumeError::Policy`].
    pub fn parse(text: Vec<u8>) -> Result<Self, VolumeError> {
        let policy = Policy::parse(&text, &Machine)?;
        Ok(Self { text, policy })
    }

    /// Its SHA-256.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }
}

impl Volume {
    /// The policy that `volume.json` names, as both stand on disk now.
    ///
    /// # Errors
    /// [`VolumeError::PolicyForged`] where policy.toml is not the one that was set; [`VolumeError::Policy`] where it
    /// cannot be followed here; [`VolumeError::PolicyKey`].
    pub fn policy(&self) -> Result<Option<StoredPolicy>, VolumeError> {
        let config = self.config_on_disk()?;
        let Some(wanted) = config.policy else {
            return Ok(None);
        };
        let is_wanted = |text: &Vec<u8>| Sha256::digest(text).as_slice() == wanted;
        let text = read(&self.folder, meta::POLICY)?.filter(is_wanted);
        let text = match text {
            Some(text) => Some(text),
            None => read(&self.folder, meta::NEW_POLICY)?.filter(is_wanted),
        };
        let stored = StoredPolicy::parse(text.ok_or(VolumeError::PolicyForged)?)?;
        self.check_policy_keys(&stored.policy)?;
        Ok(Some(stored))
    }

    /// Gives the volume another policy, or none. The keys of folders must be the volume's and must work. Not for two
    /// processes at once: for whoever has the volume for himself, or for the mount that has it.
    ///
    /// # Errors
    /// [`VolumeError::PolicyKey`], what a key provider answers, what the ciphertext folder answers.
    pub fn set_policy(&self, stored: Option<&StoredPolicy>) -> Result<(), VolumeError> {
        let failed = |what: &'static str| VolumeError::io(what);
        if let Some(stored) = stored {
            self.check_policy_keys(&stored.policy)?;
            for folder in &stored.policy.folders {
                self.try_keys(&folder.keys)?;
            }
            self.folder
                .replace_file(&name(meta::NEW_POLICY), 0o600, &stored.text)
                .map_err(failed("writing the policy"))?;
        }
        self.rewrite_config(|config| config.policy = stored.map(StoredPolicy::sha256))?;
        let settled = match stored {
            Some(_) => self.folder.rename(
                &name(meta::NEW_POLICY),
                &self.folder,
                &name(meta::POLICY),
                RenameFlags::empty(),
            ),
            None => remove(&self.folder, meta::POLICY)
                .and_then(|()| remove(&self.folder, meta::NEW_POLICY)),
        };
        let settled = settled.and_then(|()| self.folder.sync_dir());
        if let Err(error) = settled {
            tracing::warn!(%error, "the policy is set; its file keeps a temporary name");
        }
        self.files.forget_folders();
        Ok(())
    }

    /// Changes `volume.json`, as it stands on disk, in one step.
    fn rewrite_config(&self, change: impl FnOnce(&mut VolumeConfig)) -> Result<(), VolumeError> {
        let _one_at_a_time = self.config_writes.lock();
        let mut config = self.config_on_disk()?;
        change(&mut config);
        self.folder
            .replace_file(
                &name(meta::CONFIG),
                0o600,
                &config.encode(&self.secrets.config),
            )
            .map_err(VolumeError::io("writing volume.json"))
    }

    fn config_on_disk(&self) -> Result<VolumeConfig, VolumeError> {
        let config = super::unlock::read_config(&PathBuf::from("the volume"), &self.folder)?;
        Ok(config.verify(&self.secrets.config)?)
    }

    /// Slots stand under no tag: a file opens by keys that `volume.json` names, and by no other.
    fn check_policy_keys(&self, policy: &Policy) -> Result<(), VolumeError> {
        let known = self.files.known();
        match policy.keys().find(|key| !known.contains(key)) {
            Some(key) => Err(VolumeError::PolicyKey(key.clone())),
            None if self.files.waits_for_nobody()
                && !self
                    .providers
                    .all_local(&policy.keys().cloned().collect::<Vec<_>>()) =>
            {
                Err(VolumeError::PolicyNeedsMount)
            }
            None => Ok(()),
        }
    }

    /// Wraps something, so that the first new file does not find out that a key does not work, or that the slots of
    /// two data keys do not fit a header.
    fn try_keys(&self, keys: &NewFileKeys) -> Result<(), VolumeError> {
        let context = EncryptionContext {
            volume: self.config.volume_id,
            file: None,
        };
        let slots = self.files.try_wrap(keys, &context)?;
        super::create::check_slots_fit(self.config.layout, self.config.volume_id, &slots)
    }
}

fn read(folder: &Node, entry: &[u8]) -> Result<Option<Vec<u8>>, VolumeError> {
    match folder.read_file(&name(entry), policy::MAX_LEN) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(VolumeError::io("reading policy.toml")(error)),
    }
}

fn remove(folder: &Node, entry: &[u8]) -> io::Result<()> {
    match folder.unlink(&name(entry)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

//! A volume's policy: `.envelopefs/policy.toml`, whose SHA-256 stands in `volume.json` under its tag, so that the file
//! cannot be changed, removed or put back by itself.
//!
//! Two files cannot be replaced at once. A new policy is first written beside the old one; `volume.json` then names it,
//! and that moment decides; at last it takes the old one's name. A crash in between leaves the one that `volume.json`
//! names under either name.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::keys::ProviderOptions;
use crate::policy::{self, Policy, folders};
use crate::storage::{Node, RenameFlags, accounts};
use crate::units::KeyUri;

use super::Volume;
use super::error::VolumeError;
use super::key_set::SoleRun;
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
    /// [`VolumeError::Policy`]; [`VolumeError::FolderKey`] for a key URI that says something of the machine.
    pub fn parse(text: Vec<u8>) -> Result<Self, VolumeError> {
        let policy = Policy::parse(&text, &Machine)?;
        for key in folders::keys_of(&policy.folders) {
            let stored = ProviderOptions::default().follow(key)?;
            if stored != *key {
                return Err(VolumeError::FolderKey(key.clone(), stored));
            }
        }
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
    /// cannot be followed here; [`VolumeError::Key`] while the volume is locked.
    pub fn policy(&self) -> Result<Option<StoredPolicy>, VolumeError> {
        let Some(wanted) = self.live.on_disk()?.policy else {
            return Ok(None);
        };
        StoredPolicy::parse(text_named(&self.folder, &wanted)?).map(Some)
    }

    /// Gives the volume another policy, or none. Not for two processes at once: for whoever has the volume for himself, or
    /// for the mount that has it; among sharers one does it at a time, and none while a run over all files is under way.
    ///
    /// # Errors
    /// [`VolumeError::Key`] while the volume is locked, [`VolumeError::FolderKeyFails`]; [`VolumeError::RunUnderWay`];
    /// [`VolumeError::HeaderTooSmall`]; [`VolumeError::TooManyFormerKeys`]; what the ciphertext folder answers.
    pub fn set_policy(&self, stored: Option<&StoredPolicy>) -> Result<(), VolumeError> {
        let _sole = self.begin_run()?;
        self.replace_policy(stored)
    }

    /// Puts one key in the place of another wherever the policy names it; says whether it does.
    ///
    /// # Errors
    /// As [`Volume::set_policy`], and [`VolumeError::Policy`] where its text does not let that be done.
    pub fn exchange_folder_key(
        &self,
        _run: &SoleRun,
        from: &KeyUri,
        to: &KeyUri,
    ) -> Result<bool, VolumeError> {
        let Some(stored) = self.policy()? else {
            return Ok(false);
        };
        if folders::keys_of(&stored.policy.folders).all(|key| key != from) {
            return Ok(false);
        }
        let text = Policy::with_key_exchanged(&stored.text, from, to)?;
        self.replace_policy(Some(&StoredPolicy::parse(text)?))?;
        Ok(true)
    }

    fn replace_policy(&self, stored: Option<&StoredPolicy>) -> Result<(), VolumeError> {
        let _one_at_a_time = self.setting_policy.lock();
        // Where the keys are gone, nothing is begun.
        drop(self.vault.secrets()?);
        let folders = stored.map_or(&[][..], |stored| &stored.policy.folders);
        self.try_folder_keys(folders)?;
        self.settle_earlier_policy()?;
        let former = self.former_keys_under(&self.live.on_disk()?, folders)?;
        if let Some(stored) = stored {
            let written = meta::as_owner(&self.folder, || {
                self.folder
                    .replace_file(&name(meta::NEW_POLICY), 0o600, &stored.text)
            });
            written.map_err(VolumeError::io("writing the policy"))?;
        }
        self.live.change(|config| {
            config.policy = stored.map(StoredPolicy::sha256);
            config.former_keys = former;
        })?;
        self.files.outdate();
        if let Err(error) = self.settle_policy(stored.is_some()) {
            tracing::warn!(%error, "the policy is set; its file keeps a temporary name");
        }
        Ok(())
    }

    /// The policy in force may have kept the temporary name, after a crash: the next one must not take its place there.
    fn settle_earlier_policy(&self) -> Result<(), VolumeError> {
        let Some(wanted) = self.live.on_disk()?.policy else {
            return Ok(());
        };
        let settled = policy_in(&self.folder, meta::POLICY, &wanted)?;
        if settled.is_none() && policy_in(&self.folder, meta::NEW_POLICY, &wanted)?.is_some() {
            let settled = self.settle_policy(true);
            settled.map_err(VolumeError::io("settling the policy in force"))?;
        }
        Ok(())
    }

    /// Files get the names that `volume.json` has decided on.
    fn settle_policy(&self, is_set: bool) -> io::Result<()> {
        let (new, settled) = (name(meta::NEW_POLICY), name(meta::POLICY));
        if is_set {
            let none = RenameFlags::empty();
            self.folder.rename(&new, &self.folder, &settled, none)?;
        } else {
            remove(&self.folder, meta::POLICY)?;
            remove(&self.folder, meta::NEW_POLICY)?;
        }
        self.folder.sync_dir()
    }
}

/// The policy of this hash, under whichever of its names. It may take the other one at this moment.
pub(super) fn text_named(folder: &Node, sha256: &[u8; 32]) -> Result<Vec<u8>, VolumeError> {
    for file in [meta::POLICY, meta::NEW_POLICY, meta::POLICY] {
        if let Some(text) = policy_in(folder, file, sha256)? {
            return Ok(text);
        }
    }
    Err(VolumeError::PolicyForged)
}

/// What this file holds, if that has this hash.
fn policy_in(
    folder: &Node,
    file: &[u8],
    sha256: &[u8; 32],
) -> Result<Option<Vec<u8>>, VolumeError> {
    let text = read(folder, file)?;
    Ok(text.filter(|text| Sha256::digest(text).as_slice() == sha256))
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

//! The policy of a running mount: shown, changed and read again by the control socket, without a new mount.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;

use crate::audit::{Event, Field, Kind};
use crate::fs::{FileSystem, executable_below};
use crate::volume::{StoredPolicy, VolumeError};

use super::control::{PolicyCall, PolicyRefusal};

/// Why a policy cannot be followed by a mount, beyond what the volume itself says.
///
/// # Errors
/// A sentence that names the executable.
pub fn check(stored: &StoredPolicy, mountpoint: &Path) -> Result<(), String> {
    match executable_below(&stored.policy, mountpoint) {
        Some(exe) => Err(format!(
            "the policy names the executable {}, which lies in the mount itself",
            exe.display()
        )),
        None => Ok(()),
    }
}

/// What the control socket does with the policy of a mount.
#[derive(Debug)]
pub(super) struct PolicyHost {
    fs: Arc<FileSystem>,
    mountpoint: PathBuf,
    read_only: bool,
    /// One call at a time: what is in force is what stands in the volume.
    in_turn: parking_lot::Mutex<()>,
}

impl PolicyHost {
    pub(super) fn new(fs: Arc<FileSystem>, mountpoint: PathBuf, read_only: bool) -> Self {
        Self {
            fs,
            mountpoint,
            read_only,
            in_turn: parking_lot::Mutex::default(),
        }
    }

    /// Does what the user `uid` asks, and gives the policy that is in force then.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub(super) fn answer(
        &self,
        call: PolicyCall,
        uid: u32,
    ) -> Result<Option<String>, PolicyRefusal> {
        let _turn = self.in_turn.lock();
        if self.read_only && matches!(call, PolicyCall::Set(_) | PolicyCall::Remove) {
            let why = "the mount is read-only, and changes nothing in the volume";
            return Err(PolicyRefusal::Other(why.to_owned()));
        }
        answer(&self.fs, &self.mountpoint, call, uid)
    }
}

impl From<VolumeError> for PolicyRefusal {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Key(error) => Self::NoKeys(error.message().to_owned()),
            error => Self::Other(error.to_string()),
        }
    }
}

fn answer(
    fs: &FileSystem,
    mountpoint: &Path,
    call: PolicyCall,
    uid: u32,
) -> Result<Option<String>, PolicyRefusal> {
    let volume = fs.volume();
    match call {
        PolicyCall::Get => return Ok(volume.policy()?.as_ref().map(text)),
        PolicyCall::Reload => {}
        PolicyCall::Remove => volume.set_policy(None)?,
        PolicyCall::Set(text) => {
            let stored = StoredPolicy::parse(text.into_bytes())?;
            check(&stored, mountpoint).map_err(PolicyRefusal::Other)?;
            volume.set_policy(Some(&stored))?;
        }
    }
    let stored = volume.policy()?;
    if let Some(stored) = &stored {
        check(stored, mountpoint).map_err(PolicyRefusal::Other)?;
    }
    fs.follow_policy(stored.as_ref().map(|stored| stored.policy.clone()));
    tell(fs, stored.as_ref(), uid);
    Ok(stored.as_ref().map(text))
}

fn text(stored: &StoredPolicy) -> String {
    String::from_utf8_lossy(&stored.text).into_owned()
}

fn tell(fs: &FileSystem, stored: Option<&StoredPolicy>, uid: u32) {
    let rules = fs.policy_rules().unwrap_or(0);
    tracing::info!(rules, uid, "another policy is in force");
    fs.volume().note(|| {
        Event::new(Kind::PolicyChanged)
            .with_some(
                Field::Policy,
                stored.map(|stored| HEXLOWER.encode(&stored.sha256())),
            )
            .with(Field::Rules, rules)
            .with(Field::Uid, uid)
    });
}

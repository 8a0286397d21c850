//! The policy of a running mount: shown, changed and read again by the control socket, without a new mount.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;

use crate::audit::{Event, Field, Kind};
use crate::fs::{FileSystem, executable_below};
use crate::volume::StoredPolicy;

use super::control::PolicyCall;

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

    /// Does what is asked, and gives the policy that is in force then.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub(super) fn answer(&self, call: PolicyCall) -> Result<Option<String>, String> {
        let _turn = self.in_turn.lock();
        if self.read_only && matches!(call, PolicyCall::Set(_) | PolicyCall::Remove) {
            return Err("the mount is read-only, and changes nothing in the volume".to_owned());
        }
        answer(&self.fs, &self.mountpoint, call)
    }
}

fn answer(fs: &FileSystem, mountpoint: &Path, call: PolicyCall) -> Result<Option<String>, String> {
    let said = |error: crate::volume::VolumeError| error.to_string();
    let volume = fs.volume();
    match call {
        PolicyCall::Get => return Ok(volume.policy().map_err(said)?.as_ref().map(text)),
        PolicyCall::Reload => {}
        PolicyCall::Remove => volume.set_policy(None).map_err(said)?,
        PolicyCall::Set(text) => {
            let stored = StoredPolicy::parse(text.into_bytes()).map_err(said)?;
            check(&stored, mountpoint)?;
            volume.set_policy(Some(&stored)).map_err(said)?;
        }
    }
    let stored = volume.policy().map_err(said)?;
    if let Some(stored) = &stored {
        check(stored, mountpoint)?;
    }
    fs.follow_policy(stored.as_ref().map(|stored| stored.policy.clone()));
    tell(fs, stored.as_ref());
    Ok(stored.as_ref().map(text))
}

fn text(stored: &StoredPolicy) -> String {
    String::from_utf8_lossy(&stored.text).into_owned()
}

fn tell(fs: &FileSystem, stored: Option<&StoredPolicy>) {
    let rules = fs.policy_rules().unwrap_or(0);
    tracing::info!(rules, "another policy is in force");
    fs.volume().note(|| {
        Event::new(Kind::PolicyChanged)
            .with_some(
                Field::Policy,
                stored.map(|stored| HEXLOWER.encode(&stored.sha256())),
            )
            .with(Field::Rules, rules)
    });
}

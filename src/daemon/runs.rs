//! Runs over all files of a volume: their key slots are renewed, or they get new data keys.
//!
//! One run works the same in a mount's own process, asked over the control socket, and in a command that has the volume
//! to itself. It goes by what the volume says and what it finds in headers, so that after a kill at any point it is
//! gone on with by running it again.

mod host;
mod pass;
mod reencrypt;
mod slots;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::fs::FileSystem;
use crate::keys::{KeyError, KeyErrorKind};
use crate::units::KeyUri;
use crate::volume::{Volume, VolumeError};

pub use host::{RunHost, offline};

/// What is to be done to all files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "run")]
pub enum RunRequest {
    /// Their key slots become what they should be.
    Slots(SlotsRun),
    /// They get new data keys.
    Reencrypt(ReencryptRun),
}

/// A run over key slots: the keys of the volume change first where they are to, then every file follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotsRun {
    /// Keys that are to open the volume.
    pub add: Vec<KeyUri>,
    /// Keys that are not to open it any more.
    pub remove: Vec<KeyUri>,
    /// The one key that goes gives its place to the one that comes wherever it stands, in the keys of folders too.
    pub everywhere: bool,
    /// Each key file gets a new version first.
    pub rotate: bool,
    /// Slots of the newest version are wrapped anew too.
    pub anew: bool,
    /// New slots are not unwrapped to see that they open.
    pub unverified: bool,
    /// Nothing is changed, but counted.
    pub dry_run: bool,
    /// Calls of key providers a second, at most; 0 for no limit.
    pub calls_per_second: u32,
}

/// A run that gives files new data keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReencryptRun {
    /// Files and folders, as paths from the mount's root on; none for all.
    pub paths: Vec<String>,
    /// Files that a run has done which was cut short are left as they are.
    pub resume: bool,
    /// Also where blocks are so large that a power cut may tear one.
    pub allow_tearing: bool,
    /// Nothing is changed, but counted.
    pub dry_run: bool,
    /// Calls of key providers a second, at most; 0 for no limit.
    pub calls_per_second: u32,
}

impl RunRequest {
    /// Whether it may be done while other mounts of the volume run.
    pub fn may_share(&self) -> bool {
        match self {
            Self::Slots(_) => true,
            Self::Reencrypt(_) => false,
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_dry(&self) -> bool {
        match self {
            Self::Slots(run) => run.dry_run,
            Self::Reencrypt(run) => run.dry_run,
        }
    }
}

/// What a run says while it is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// How far it is.
    Progress(Counts),
    /// Something was left as it was.
    Failure(Failed),
}

/// Something that was left as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Its path in the mount; the ciphertext name where that does not open.
    pub path: String,
    /// Why.
    pub why: String,
}

/// What became of the files so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Files looked at.
    pub files: u64,
    /// Of them changed, or, in a dry run, to be changed.
    pub changed: u64,
    /// That were as they should be.
    pub right: u64,
    /// That have no header.
    pub empty: u64,
    /// That the volume does not take.
    pub foreign: u64,
    /// That were left as they were, though they should not be.
    pub failed: u64,
    /// Bytes of ciphertext that were written anew, headers aside.
    pub bytes: u64,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// It came to its end: no file was left out, nothing failed, and all that follows was done.
    pub complete: bool,
    /// The files.
    #[serde(flatten)]
    pub counts: Counts,
    /// The volume key's own slots were renewed, or would be.
    pub volume_key: bool,
    /// The volume's keys now, or after the change that was tried.
    pub keys: Vec<KeyUri>,
    /// Keys that are gone now.
    pub removed: Vec<KeyUri>,
    /// Keys whose slots stay until the run is complete.
    pub leaving: Vec<KeyUri>,
    /// Providers that did not answer: slots of theirs stayed as they were.
    pub silent: Vec<String>,
}

/// Why a run did not begin, or ended before its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{why}")]
pub struct RunFailure {
    /// What a program does about it.
    pub class: FailureClass,
    /// The reason in words.
    pub why: String,
}

/// Kinds of failure that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// Another run is under way.
    Busy,
    /// A key provider refused.
    KeyDenied,
    /// A key provider cannot be reached.
    KeyUnavailable,
    /// What was asked for makes no sense for this volume.
    Usage,
    /// Anything else.
    #[serde(other)]
    Other,
}

impl RunFailure {
    fn new(class: FailureClass, why: impl Into<String>) -> Self {
        Self {
            class,
            why: why.into(),
        }
    }
}

impl From<VolumeError> for RunFailure {
    fn from(error: VolumeError) -> Self {
        let class = match &error {
            VolumeError::RunUnderWay => FailureClass::Busy,
            VolumeError::LastKey
            | VolumeError::NoSuchKey(_)
            | VolumeError::TooManyKeys
            | VolumeError::Policy(_)
            | VolumeError::TooManyFormerKeys
            | VolumeError::HeaderTooSmall(_) => FailureClass::Usage,
            VolumeError::Key(error) | VolumeError::WrongKey(error) => class_of(error),
            _ => FailureClass::Other,
        };
        Self::new(class, error.to_string())
    }
}

impl From<KeyError> for RunFailure {
    fn from(error: KeyError) -> Self {
        Self::new(class_of(&error), error.to_string())
    }
}

fn class_of(error: &KeyError) -> FailureClass {
    match error.kind() {
        KeyErrorKind::Config
        | KeyErrorKind::Corrupt
        | KeyErrorKind::Denied
        | KeyErrorKind::NotFound
        | KeyErrorKind::Revoked => FailureClass::KeyDenied,
        KeyErrorKind::Unavailable => FailureClass::KeyUnavailable,
    }
}

/// Makes all that a run did durable.
fn sync(volume: &Volume) -> Result<(), RunFailure> {
    volume.root().sync_fs().map_err(|error| {
        let why = format!("syncing the ciphertext folder: {error}");
        RunFailure::new(FailureClass::Other, why)
    })
}

/// Where a run hears that it is to stop, and says what it does. Who is told answers whether he still listens.
pub(super) struct Reins<'a> {
    pub(super) stop: &'a AtomicBool,
    pub(super) tell: &'a mut dyn FnMut(Event) -> bool,
}

/// Does what was asked for, on a volume that is served or was opened for it.
fn carry_out(
    fs: &Arc<FileSystem>,
    request: &RunRequest,
    reins: &mut Reins<'_>,
) -> Result<RunReport, RunFailure> {
    match request {
        RunRequest::Slots(run) => slots::carry_out(fs, run, reins),
        RunRequest::Reencrypt(run) => reencrypt::carry_out(fs, run, reins),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<RunRequest, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn requests_read_back_and_what_is_none_is_refused() {
        let slots = RunRequest::Slots(SlotsRun {
            add: vec!["passphrase:".parse().unwrap()],
            rotate: true,
            ..SlotsRun::default()
        });
        let reencrypt = RunRequest::Reencrypt(ReencryptRun {
            paths: vec!["a/b".into()],
            ..ReencryptRun::default()
        });
        for request in [slots, reencrypt] {
            let json = serde_json::to_value(&request).unwrap();
            assert_eq!(read(json.clone()).unwrap(), request);
            let mut other = json;
            other["from_the_future"] = json!(1);
            // Not passed over: what is not understood is not done.
            assert!(read(other).is_err());
        }
        for wrong in [
            json!({}),
            json!({ "run": "wipe" }),
            json!({ "run": "slots", "add": ["x"] }),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_of_another_version_reads_as_far_as_it_is_known() {
        let report: RunReport =
            serde_json::from_value(json!({ "files": 7, "complete": true, "new": [] })).unwrap();
        assert_eq!((report.counts.files, report.complete), (7, true));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
        let failure: RunFailure =
            serde_json::from_value(json!({ "class": "melted", "why": "x" })).unwrap();
        assert_eq!(failure.class, FailureClass::Other);
    }
}

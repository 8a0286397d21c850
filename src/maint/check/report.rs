//! What a check found, in words and in numbers.

use serde::Serialize;

use crate::content::{ContentError, Lost};
use crate::keys::KeyErrorKind;
use crate::volume::VolumeError;

use crate::maint::error::MaintError;

/// What a finding means to whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Harmless, and to be left alone: mostly what is none of the volume's.
    Note,
    /// A crash left it, and this run mended it.
    Mended,
    /// A crash left it; everything synced is there. `--repair` mends it, unless it says why it could not.
    Mendable,
    /// It could not be looked at: the operating system refused.
    NoAccess,
    /// It could not be looked at: the key provider refused.
    KeyDenied,
    /// It could not be looked at: the key provider did not answer.
    KeyUnavailable,
    /// Something that was written cannot be read as it was: only a backup brings it back.
    Damage,
}

/// A range of a file's plaintext that only a backup brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LostRange {
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// Where, as the mount shows it; without a name of its own, the folder's.
    pub path: String,
    /// Where, below the ciphertext folder.
    pub ciphertext: String,
    /// What it is, and what was done about it.
    pub what: String,
    /// The bytes of the file that it is about, where it is about some of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostRange>,
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
    /// Only headers were read, and no chunk but the first of each file.
    pub quick: bool,
    /// Folders read.
    pub folders: u64,
    /// Files read.
    pub files: u64,
    /// Symlinks read.
    pub symlinks: u64,
    /// Chunks opened.
    pub chunks: u64,
    /// What was found, in the order of the walk.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of_it).count()
    }

    /// The gravest severity found.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// What a finding says, before it is known where.
pub(super) type Problem = (Severity, String);

pub(super) fn damage(error: &dyn std::fmt::Display) -> Problem {
    (Severity::Damage, error.to_string())
}

/// What a file that does not open means.
pub(super) fn unopened(error: &MaintError) -> Problem {
    match error {
        MaintError::Volume(VolumeError::Key(error)) | MaintError::Key(error) => {
            (of_key(error.kind()), error.to_string())
        }
        MaintError::LockedMemory(_) | MaintError::Volume(VolumeError::LockedMemory(_)) => {
            (Severity::NoAccess, error.to_string())
        }
        MaintError::Io { source, .. } => of_io(source),
        MaintError::Content { source, .. } => of_content(source),
        error => damage(error),
    }
}

pub(super) fn of_content(error: &ContentError) -> Problem {
    match error {
        ContentError::Damaged { damage: found, .. } => damage(found),
        ContentError::Io(error) => of_io(error),
        ContentError::KeysGone { why, .. } => (of_key(why.kind()), error.to_string()),
        ContentError::LockedMemory(_) => (Severity::NoAccess, error.to_string()),
        ContentError::NotReadable(_) | ContentError::Overtaken | ContentError::TooLarge => {
            damage(error)
        }
    }
}

pub(super) fn of_io(error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => (Severity::NoAccess, error.to_string()),
        _ => damage(error),
    }
}

fn of_key(kind: KeyErrorKind) -> Severity {
    match kind {
        KeyErrorKind::Corrupt => Severity::Damage,
        KeyErrorKind::Unavailable => Severity::KeyUnavailable,
        KeyErrorKind::Config
        | KeyErrorKind::Denied
        | KeyErrorKind::NotFound
        | KeyErrorKind::Revoked => Severity::KeyDenied,
    }
}

/// A lost range in words.
pub(super) fn in_words(lost: &Lost) -> String {
    format!("bytes {}..{}: {}", lost.from, lost.to, lost.damage)
}

impl From<&Lost> for LostRange {
    fn from(lost: &Lost) -> Self {
        Self {
            from: lost.from.0,
            to: lost.to.0,
        }
    }
}

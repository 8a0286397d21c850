//! `check`: every name, every header, every chunk of a volume.

use serde::Serialize;

use crate::content::{EpochKeys, OpenFile, Probe, probe};
use crate::format::names::{self, EntryKind};
use crate::format::symlink;
use crate::storage::{Access, CName, DirEntry, FileKind};
use crate::volume::{Listed, Volume};

use super::error::MaintError;
use super::walk::{Folder, join, walk};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Harmless: what a crash left, or what is none of the volume's.
    Note,
    /// Something that was written cannot be read as it was.
    Damage,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where, as the mount shows it; without a name of its own, the folder's.
    pub path: String,
    /// Where, below the ciphertext folder.
    pub ciphertext: String,
    /// What it is.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
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
    /// Whether anything that was written cannot be read.
    pub fn is_damaged(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Damage)
    }
}

/// Reads the whole volume. `progress` hears of each file and each chunk: (files, chunks) so far.
///
/// # Errors
/// Where the ciphertext folder itself cannot be read. What is wrong in it is in the report.
pub fn check(
    volume: &Volume,
    mut progress: impl FnMut(u64, u64),
) -> Result<CheckReport, MaintError> {
    let mut report = CheckReport::default();
    let mut plain_paths = std::collections::HashMap::from([(String::new(), String::new())]);
    walk(volume, |folder| {
        let plain = plain_paths
            .remove(&folder.path)
            .unwrap_or_else(|| folder.path.clone());
        let mut checker = Checker {
            volume,
            folder,
            plain,
            report: &mut report,
            progress: &mut progress,
        };
        for (cipher, plain) in checker.folder() {
            plain_paths.insert(cipher, plain);
        }
        Ok::<_, std::io::Error>(())
    })
    .map_err(|source| MaintError::Io {
        path: ".".into(),
        source,
    })?;
    Ok(report)
}

/// The check of one folder.
struct Checker<'a> {
    volume: &'a Volume,
    folder: &'a Folder,
    /// The folder's path in the mount.
    plain: String,
    report: &'a mut CheckReport,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// Why an entry cannot be read.
type Problem = (Severity, String);

impl Checker<'_> {
    /// Checks every entry, and says where its folders stand in the mount: ciphertext path and plaintext path.
    fn folder(&mut self) -> Vec<(String, String)> {
        self.report.folders += 1;
        let dir_id = match self.volume.dir_id(&self.folder.node) {
            Ok(id) => id,
            Err(error) => {
                self.find(None, None, (Severity::Damage, error.to_string()));
                None
            }
        };
        let folder = self.folder;
        let mut below = Vec::new();
        for entry in &folder.entries {
            let listed = self
                .volume
                .open_name(&folder.node, dir_id.as_ref(), &entry.name);
            if let Listed::Name(name) = self.entry(entry, listed)
                && entry.kind == FileKind::Directory
            {
                below.push((join(&folder.path, &entry.name), self.plain_path(&name)));
            }
        }
        below
    }

    fn entry(&mut self, entry: &DirEntry, listed: Listed) -> Listed {
        let (name, problem) = match &listed {
            Listed::Own(kind) => (None, self.own(&entry.name, *kind)),
            Listed::Foreign(error) => {
                let severity = match names::classify(entry.name.as_bytes()) {
                    EntryKind::LongName => Severity::Damage,
                    _ => Severity::Note,
                };
                (
                    None,
                    Err((severity, format!("not a name of this volume: {error}"))),
                )
            }
            Listed::Name(name) => (Some(name.as_slice()), Ok(())),
        };
        let content = match entry.kind {
            FileKind::Regular if !matches!(listed, Listed::Own(_)) => self.file(&entry.name),
            FileKind::Symlink if name.is_some() => self.symlink(&entry.name),
            _ => Vec::new(),
        };
        for problem in problem.err().into_iter().chain(content) {
            self.find(Some(&entry.name), name, problem);
        }
        listed
    }

    /// The volume's own entries: what a crash left is noted.
    fn own(&self, cname: &CName, kind: EntryKind) -> Result<(), Problem> {
        let note = |what: &str| Err((Severity::Note, what.to_owned()));
        let bytes = cname.as_bytes();
        match kind {
            EntryKind::Sidecar if self.long_name_is_gone(bytes) => {
                note("the full form of a long name that is gone")
            }
            EntryKind::Reserved if bytes.starts_with(names::TEMP_PREFIX) => {
                note("a folder whose making or removal a crash cut short")
            }
            _ => Ok(()),
        }
    }

    fn long_name_is_gone(&self, sidecar: &[u8]) -> bool {
        let is_its = |entry: &DirEntry| {
            names::sidecar_name(entry.name.as_bytes()).as_deref() == Some(sidecar)
        };
        !self.folder.entries.iter().any(is_its)
    }

    fn symlink(&mut self, cname: &CName) -> Vec<Problem> {
        self.report.symlinks += 1;
        let target = match self.folder.node.read_link_child(cname) {
            Ok(target) => target,
            Err(error) => return vec![(Severity::Damage, error.to_string())],
        };
        let opened = self
            .volume
            .symlink_key()
            .map(|key| symlink::open(key, &target).map(drop));
        opened
            .and_then(Result::err)
            .map(|error| (Severity::Damage, error.to_string()))
            .into_iter()
            .collect()
    }

    fn file(&mut self, cname: &CName) -> Vec<Problem> {
        self.report.files += 1;
        let problems = match self.open(cname) {
            Err(problem) => vec![problem],
            Ok(open) => self.chunks(&open),
        };
        (self.progress)(self.report.files, self.report.chunks);
        problems
    }

    fn open(&self, cname: &CName) -> Result<OpenFile, Problem> {
        let damage = |error: &dyn std::fmt::Display| (Severity::Damage, error.to_string());
        let file = self
            .folder
            .node
            .open_child_file(cname, Access::Read)
            .map_err(|error| damage(&error))?;
        let header = match probe(&file, self.volume.layout()) {
            Ok(Probe::Sealed(header)) => header,
            Ok(Probe::Empty) => {
                return Err((
                    Severity::Note,
                    "no header: a crash came before its first sync".into(),
                ));
            }
            Err(error) => return Err(damage(&error)),
        };
        if !self.volume.admits(&header) {
            return Err((Severity::Damage, "not made in this volume".into()));
        }
        let (header, deks) = self
            .volume
            .fetch_keys_blocking(header)
            .map_err(|error| damage(&error))?;
        let keys = EpochKeys::derive(&header, &deks).map_err(|error| damage(&error))?;
        OpenFile::open(file, header, keys).map_err(|error| damage(&error))
    }

    fn chunks(&mut self, open: &OpenFile) -> Vec<Problem> {
        let (files, report) = (self.report.files, &mut self.report.chunks);
        let progress = &mut self.progress;
        let verified = open.verify(|| {
            *report += 1;
            progress(files, *report);
        });
        let mut problems = match verified {
            Ok(damage) => damage
                .iter()
                .map(|damage| (Severity::Damage, damage.to_string()))
                .collect(),
            Err(error) => vec![(Severity::Damage, error.to_string())],
        };
        if open.is_untidy() {
            problems.push((
                Severity::Note,
                "its length was not set: a crash; the next mount mends it".into(),
            ));
        }
        problems
    }

    fn find(&mut self, cname: Option<&CName>, name: Option<&[u8]>, (severity, what): Problem) {
        let ciphertext = cname.map_or_else(
            || self.folder.path.clone(),
            |cname| join(&self.folder.path, cname),
        );
        let path = name.map_or_else(|| self.plain.clone(), |name| self.plain_path(name));
        self.report.findings.push(Finding {
            severity,
            path,
            ciphertext,
            what,
        });
    }

    fn plain_path(&self, name: &[u8]) -> String {
        let name = String::from_utf8_lossy(name);
        if self.plain.is_empty() {
            name.into_owned()
        } else {
            format!("{}/{name}", self.plain)
        }
    }
}

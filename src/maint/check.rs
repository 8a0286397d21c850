//! `check`: every name, every header, every chunk of a volume; and its repair.
//!
//! Repair puts right what a crash left: lengths, tails that were never synced, what is left of folders that were
//! being made or removed. It takes nothing away that opens: what has lost its name gets a new one, beginning
//! with `recovered-`, and what lacks a key, a header or a folder's id stays where it is, for a backup to complete.

mod content;
mod folder;
mod mend;
mod report;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::content::Extent;
use crate::format::names;
use crate::storage::{DirEntry, FileKind};
use crate::volume::Volume;

use super::error::MaintError;
use super::walk::{Unread, entries, join, walk};

pub use report::{CheckReport, Finding, LostRange, Severity};

use folder::Checker;
use report::of_io;

/// What a check is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// How much of each file is read.
    pub extent: Extent,
    /// Mend what can be mended. The volume must have been opened exclusively, and not read-only. Without it
    /// nothing is written.
    pub repair: bool,
}

/// The run over a volume: what every folder's check shares.
struct Run<'a> {
    volume: &'a Volume,
    options: CheckOptions,
    report: CheckReport,
    progress: &'a mut dyn FnMut(u64, u64),
}

/// Reads the whole volume. `progress` hears of each file and each chunk: (files, chunks) so far.
///
/// # Errors
/// Where the ciphertext folder itself cannot be read. What is wrong in it is in the report.
pub fn check(
    volume: &Volume,
    options: CheckOptions,
    mut progress: impl FnMut(u64, u64),
) -> Result<CheckReport, MaintError> {
    let report = CheckReport {
        quick: options.extent == Extent::First,
        ..CheckReport::default()
    };
    let mut run = Run {
        volume,
        options,
        report,
        progress: &mut progress,
    };
    let unclean = volume.left_in_use_since()?.is_some();
    run.own_folder()?;
    let mut plain_paths = HashMap::from([(String::new(), String::new())]);
    walk(volume.root(), |folder| {
        let folder = match folder {
            Ok(folder) => folder,
            Err(unread) => return run.unread(unread, &mut plain_paths),
        };
        let plain = plain_paths
            .remove(&folder.path)
            .unwrap_or_else(|| folder.path.clone());
        plain_paths.extend(Checker::new(&mut run, folder, plain).folder());
        Ok(())
    })?;
    run.mark(unclean)?;
    Ok(run.report)
}

impl Run<'_> {
    /// What lies beside `volume.json`: temporary files of a replacement that a crash cut short.
    fn own_folder(&mut self) -> Result<(), MaintError> {
        let folder = self.volume.own_folder();
        let path = String::from_utf8_lossy(Volume::OWN_FOLDER).into_owned();
        let found = entries(folder).map_err(|source| MaintError::Io {
            path: path.clone().into(),
            source,
        })?;
        let is_strange = |entry: &&DirEntry| !Volume::is_own_entry(&entry.name);
        for entry in found.iter().filter(is_strange) {
            let is_temporary = entry.name.as_bytes().starts_with(names::TEMP_PREFIX)
                && entry.kind == FileKind::Regular;
            let ciphertext = join(&path, &entry.name);
            let spot = (String::new(), ciphertext);
            if is_temporary {
                let what = "the rest of a replacement that a crash cut short";
                self.mend(spot, what, || {
                    folder.unlink(&entry.name)?;
                    Ok("removed".into())
                });
            } else {
                let what = "none of the volume's".into();
                self.find(spot, (Severity::Note, what), None);
            }
        }
        Ok(())
    }

    fn unread(
        &mut self,
        unread: Unread,
        plain_paths: &mut HashMap<String, String>,
    ) -> Result<(), MaintError> {
        let Unread { path, error } = unread;
        if path.is_empty() {
            return Err(MaintError::Io {
                path: "the ciphertext folder".into(),
                source: error,
            });
        }
        let plain = plain_paths.remove(&path).unwrap_or_else(|| path.clone());
        let (severity, why) = of_io(&error);
        let what = format!("the folder cannot be read: {why}");
        self.find((plain, path), (severity, what), None);
        Ok(())
    }

    /// The mark of a mount that ended without an unmount goes when nothing is left for the next mount to look over.
    fn mark(&mut self, unclean: bool) -> Result<(), MaintError> {
        let left = |finding: &Finding| {
            !matches!(
                finding.severity,
                Severity::Note | Severity::Mended | Severity::Damage
            )
        };
        let all_seen = !self.report.findings.iter().any(left);
        if self.options.repair {
            if all_seen {
                self.volume.set_looked_over();
            }
            self.volume.mark_clean()?;
        }
        if !unclean {
            return Ok(());
        }
        let path = String::from_utf8_lossy(Volume::OWN_FOLDER) + "/in-use";
        let spot = (String::new(), path.into_owned());
        let what = "the last mount ended without an unmount";
        self.mend(spot, what, || match all_seen {
            true => Ok("every file was looked over, and its mark removed".into()),
            false => Err(std::io::Error::other(
                "its mark stays, for not every file could be looked over",
            )),
        });
        Ok(())
    }

    /// Mends a problem with `work`, which says what it did; without repair, says only that it can be.
    fn mend(
        &mut self,
        spot: (String, String),
        problem: &str,
        work: impl FnOnce() -> std::io::Result<String>,
    ) -> bool {
        let (severity, what) = if !self.options.repair {
            (Severity::Mendable, problem.to_owned())
        } else {
            match work() {
                Ok(done) => (Severity::Mended, format!("{problem}: {done}")),
                Err(error) => (
                    Severity::Mendable,
                    format!("{problem}: not mended: {error}"),
                ),
            }
        };
        self.find(spot, (severity, what), None);
        severity == Severity::Mended
    }

    fn find(
        &mut self,
        (path, ciphertext): (String, String),
        (severity, what): report::Problem,
        lost: Option<LostRange>,
    ) {
        self.report.findings.push(Finding {
            severity,
            path,
            ciphertext,
            what,
            lost,
        });
    }
}

//! Checks the volume.

use indicatif::{ProgressBar, ProgressStyle};

use super::CheckRequest;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, providers};
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::maint::{self, CheckReport, Finding, Severity};
use crate::volume::{self, Sharing, UnlockOptions};

/// Reads every chunk of a volume and prints what is not as it should be.
///
/// # Errors
/// The volume cannot be opened; [`Exit::DamageFound`] where something that was written cannot be read.
pub fn run(request: &CheckRequest) -> Result<(), Failure> {
    let what = format!("cannot check {}", request.cipherdir.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let providers = providers::providers(&request.passphrase, Confirm::No, &GivenKeys::default());
    let options = UnlockOptions {
        sharing: Sharing::Shared,
        read_only: true,
        ..UnlockOptions::default()
    };
    let volume = volume::open(&request.cipherdir, &options, providers);
    let volume = volume.map_err(|error| errors::volume(&what, &error))?;
    let bar = progress_bar(request.progress);
    let report = maint::check(&volume, |files, chunks| {
        bar.set_position(chunks);
        bar.set_message(format!("{files} files"));
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| errors::maint(&what, &error))?;
    if request.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    if report.is_damaged() {
        Err(damage_found(request, &report))
    } else {
        Ok(())
    }
}

fn damage_found(request: &CheckRequest, report: &CheckReport) -> Failure {
    let count = count(report, Severity::Damage);
    Failure::new(
        Exit::DamageFound,
        format!("{} is damaged", request.cipherdir.display()),
        format!("{count} findings"),
    )
    .advise("restore the ciphertext files named above from a backup")
}

fn count(report: &CheckReport, severity: Severity) -> usize {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
}

fn progress_bar(wanted: bool) -> ProgressBar {
    if !wanted {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {msg}, {pos} chunks, {elapsed}, {per_sec}")
    {
        bar.set_style(style);
    }
    bar
}

fn text(report: &CheckReport) -> String {
    let line = |finding: &Finding| {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Damage => "DAMAGE",
        };
        format!(
            "{severity}: /{} ({}): {}\n",
            finding.path, finding.ciphertext, finding.what
        )
    };
    let mut text: String = report.findings.iter().map(line).collect();
    text.push_str(&format!(
        "{} folders, {} files, {} symlinks, {} chunks read: {} damaged, {} notes\n",
        report.folders,
        report.files,
        report.symlinks,
        report.chunks,
        count(report, Severity::Damage),
        count(report, Severity::Note),
    ));
    text
}

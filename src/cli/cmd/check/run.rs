//! Checks the volume.

use super::CheckRequest;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{counted, harmless};
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, progress, providers};
use crate::content::Extent;
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::maint::{self, CheckOptions, CheckReport, Finding, Severity};
use crate::volume::{self, Sharing, UnlockOptions};

/// Reads a volume, mends what it may, and prints what is not, or was not, as it should be.
///
/// # Errors
/// The volume cannot be opened; [`Exit::DamageFound`] where something that was written cannot be read; the key
/// provider's code where a key could not be had, [`Exit::Failure`] where something could not be read or mended.
pub fn run(request: &CheckRequest) -> Result<(), Failure> {
    let what = format!("cannot check {}", request.cipherdir.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let keys = GivenKeys::only(&what, &request.walk.keys)?;
    let providers = keys.providers(&request.walk.passphrase, Confirm::No);
    let volume = volume::open(&request.cipherdir, &unlock(request), providers);
    let volume = volume.map_err(|error| not_opened(request, errors::volume(&what, &error)))?;
    let options = CheckOptions {
        extent: if request.quick {
            Extent::First
        } else {
            Extent::All
        },
        repair: request.repair,
    };
    let bar = progress::spinner(
        request.walk.progress,
        "{spinner} {msg}, {pos} chunks, {elapsed}, {per_sec}",
    );
    let report = maint::check(&volume, options, |files, chunks| {
        bar.set_position(chunks);
        bar.set_message(counted(files, "file"));
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| errors::maint(&what, &error))?;
    if request.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    verdict(request, &report)
}

/// Whoever repairs must be alone; whoever only reads writes nothing, not even that he is there.
fn unlock(request: &CheckRequest) -> UnlockOptions {
    UnlockOptions {
        sharing: if request.repair {
            Sharing::Exclusive
        } else {
            Sharing::Shared
        },
        read_only: !request.repair,
        ..UnlockOptions::default()
    }
}

/// A repair does not share, whatever the mount would.
fn not_opened(request: &CheckRequest, failure: Failure) -> Failure {
    if request.repair && failure.exit() == Exit::VolumeInUse {
        failure
            .advise("unmount it (`envelopefs status` lists mounts): a repair needs it for itself")
    } else {
        failure
    }
}

fn verdict(request: &CheckRequest, report: &CheckReport) -> Result<(), Failure> {
    let folder = request.cipherdir.display();
    let found = |severity| counted(report.count(severity) as u64, "finding");
    let (exit, what, severity, advice) = match report.worst() {
        Some(worst @ Severity::Damage) => (
            Exit::DamageFound,
            format!("{folder} is damaged"),
            worst,
            "restore what is named above from a backup, the files in the mount or their ciphertext",
        ),
        Some(worst @ Severity::KeyUnavailable) => (
            Exit::KeyUnavailable,
            format!("cannot check all of {folder}, for want of keys"),
            worst,
            "see that the key provider is reachable",
        ),
        Some(worst @ Severity::KeyDenied) => (
            Exit::KeyDenied,
            format!("cannot check all of {folder}, for want of keys"),
            worst,
            "see that the keys are still there, enabled, and allowed to whoever checks",
        ),
        Some(worst @ Severity::NoAccess) => (
            Exit::Failure,
            format!("cannot check all of {folder}"),
            worst,
            "run it as root, or as the user who mounts the volume",
        ),
        Some(worst @ Severity::Mendable) if request.repair => (
            Exit::Failure,
            format!("cannot mend all of {folder}"),
            worst,
            "remove the cause that is named above, and run it again",
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(exit, what, found(severity)).advise(advice))
}

fn text(report: &CheckReport) -> String {
    let mut text: String = report.findings.iter().map(line).collect();
    text.push_str(&summary(report));
    text
}

fn line(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Mended => "mended",
        Severity::Mendable => "mendable",
        Severity::NoAccess => "no access",
        Severity::KeyDenied => "key denied",
        Severity::KeyUnavailable => "no key",
        Severity::Damage => "DAMAGE",
        _ => "note",
    };
    // With plain names both are the same.
    let ciphertext = match finding.ciphertext != finding.path && !finding.ciphertext.is_empty() {
        true => format!("  [{}]", finding.ciphertext),
        false => String::new(),
    };
    let line = format!("{word}  /{}  {}{ciphertext}", finding.path, finding.what);
    format!("{}\n", harmless(&line))
}

fn summary(report: &CheckReport) -> String {
    let read = if report.quick {
        "read, headers only"
    } else {
        "read"
    };
    let count = |severity| report.count(severity) as u64;
    let unread = [
        Severity::NoAccess,
        Severity::KeyDenied,
        Severity::KeyUnavailable,
    ];
    let mut parts = vec![format!("{} damaged", count(Severity::Damage))];
    for (count, word) in [
        (unread.map(count).iter().sum(), "not read"),
        (count(Severity::Mended), "mended"),
        (count(Severity::Mendable), "mendable"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.push(counted(count(Severity::Note), "note"));
    format!(
        "{}, {}, {}, {} {read}: {}\n",
        counted(report.folders, "folder"),
        counted(report.files, "file"),
        counted(report.symlinks, "symlink"),
        counted(report.chunks, "chunk"),
        parts.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::walk::WalkOptions;

    fn finding(severity: Severity, path: &str, ciphertext: &str) -> Finding {
        Finding {
            severity,
            path: path.into(),
            ciphertext: ciphertext.into(),
            what: "what".into(),
            lost: None,
        }
    }

    fn exit(repair: bool, severities: &[Severity]) -> Option<Exit> {
        let request = CheckRequest {
            cipherdir: "d".into(),
            repair,
            quick: false,
            json: false,
            walk: WalkOptions::default(),
        };
        let findings = severities.iter().map(|severity| finding(*severity, "", ""));
        let report = CheckReport {
            findings: findings.collect(),
            ..CheckReport::default()
        };
        verdict(&request, &report)
            .err()
            .map(|failure| failure.exit())
    }

    #[test]
    fn a_line_names_both_paths_but_never_one_twice_and_nothing_of_it_reaches_the_terminal() {
        let said = |path, ciphertext| line(&finding(Severity::Mended, path, ciphertext));
        assert_eq!(said("a/b", "x/y"), "mended  /a/b  what  [x/y]\n");
        assert_eq!(said("a/b", "a/b"), "mended  /a/b  what\n");
        assert_eq!(said("", ""), "mended  /  what\n");
        assert_eq!(
            said("a\x1b\nb", "a\x1b\nb"),
            "mended  /a\\u{1b}\\nb  what\n"
        );
    }

    #[test]
    fn the_summary_counts_in_singular_and_plural() {
        let mut report = CheckReport {
            folders: 2,
            files: 1,
            chunks: 1,
            ..CheckReport::default()
        };
        assert_eq!(
            summary(&report),
            "2 folders, 1 file, 0 symlinks, 1 chunk read: 0 damaged, 0 notes\n"
        );
        report.quick = true;
        report.findings = vec![
            finding(Severity::Damage, "", ""),
            finding(Severity::KeyDenied, "", ""),
            finding(Severity::NoAccess, "", ""),
            finding(Severity::Mended, "", ""),
            finding(Severity::Note, "", ""),
        ];
        assert_eq!(
            summary(&report),
            "2 folders, 1 file, 0 symlinks, 1 chunk read, headers only: 1 damaged, 2 not read, 1 mended, 1 note\n"
        );
    }

    #[test]
    fn the_gravest_finding_decides_the_exit_code() {
        use Severity::{Damage, KeyDenied, KeyUnavailable, Mendable, Mended, NoAccess, Note};
        for (repair, severities, expected) in [
            (false, &[][..], None),
            (false, &[Note, Mendable], None),
            (true, &[Note, Mended], None),
            (true, &[Mended, Mendable], Some(Exit::Failure)),
            (false, &[NoAccess, Note], Some(Exit::Failure)),
            (false, &[NoAccess, KeyDenied], Some(Exit::KeyDenied)),
            (
                true,
                &[KeyUnavailable, KeyDenied],
                Some(Exit::KeyUnavailable),
            ),
            (
                true,
                &[KeyUnavailable, Damage, Mended],
                Some(Exit::DamageFound),
            ),
        ] {
            assert_eq!(
                exit(repair, severities),
                expected,
                "{repair} {severities:?}"
            );
        }
    }
}

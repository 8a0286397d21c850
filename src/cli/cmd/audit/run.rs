//! Verifies and shows audit lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{AuditRequest, ShowRequest, VerifyRequest};
use crate::audit::chain::{Line, MAX_LINE};
use crate::audit::{Finding, Report, Verifier};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{counted, harmless};
use crate::cli::providers::GivenKeys;
use crate::cli::{errors, output, providers};
use crate::crypto::MemoryPolicy;
use crate::keys::Confirm;
use crate::volume::{self, Sharing, UnlockOptions};

/// Does what is asked with audit lines.
///
/// # Errors
/// A file cannot be read, the volume not be unlocked; [`Exit::AuditBroken`] where lines are not as they were written.
pub fn run(request: &AuditRequest) -> Result<(), Failure> {
    match request {
        AuditRequest::Verify(request) => verify(request),
        AuditRequest::Show(request) => show(request),
    }
}

fn verify(request: &VerifyRequest) -> Result<(), Failure> {
    let what = "cannot verify the audit";
    let mut verifier = Verifier::new(request.expect);
    if request.journal {
        verifier = verifier.of_journal();
    }
    match &request.volume {
        Some(cipherdir) => verifier = with_seals(verifier, cipherdir, request)?,
        None if request.names_keys() => {
            return Err(
                Failure::new(Exit::Usage, what, "keys open a volume, and none is given")
                    .advise("say by --volume CIPHERDIR whose seals are to be checked"),
            );
        }
        None => {}
    }
    let report = report_on(what, verifier, &request.files)?;
    verdict(&[report], request.json)
}

/// Reads the files of one chain, the oldest first.
///
/// # Errors
/// A file cannot be read.
pub(in crate::cli) fn report_on(
    what: &str,
    mut verifier: Verifier,
    files: &[PathBuf],
) -> Result<Report, Failure> {
    for path in files {
        let read = open(path).and_then(|lines| verifier.read(&path.to_string_lossy(), lines));
        read.map_err(|error| unreadable(what, path, &error))?;
    }
    Ok(verifier.finish())
}

/// Prints what came out of each chain, one object where there is one.
///
/// # Errors
/// [`Exit::AuditBroken`] where lines are not as they were written.
pub(in crate::cli) fn verdict(reports: &[Report], json: bool) -> Result<(), Failure> {
    match reports {
        [report] if json => output::print_json(report)?,
        reports if json => output::print_json(&reports)?,
        reports => output::print(&reports.iter().map(text).collect::<String>())?,
    }
    let findings = |report: &Report| report.findings.len() as u64 + report.more_findings;
    let findings = reports.iter().map(findings).sum();
    if reports.iter().all(|report| report.intact) {
        return Ok(());
    }
    let count = counted(findings, "finding");
    Err(Failure::new(
        Exit::AuditBroken,
        "the audit is not as it was written",
        count,
    )
    .advise(
        "compare it with a copy that was kept elsewhere; give rotated files with the oldest first",
    ))
}

fn with_seals(
    verifier: Verifier,
    cipherdir: &Path,
    request: &VerifyRequest,
) -> Result<Verifier, Failure> {
    let what = format!("cannot unlock {}", cipherdir.display());
    providers::lock_memory(&what, MemoryPolicy::BestEffort)?;
    let keys = GivenKeys::only(&what, &request.keys)?;
    let providers = keys.providers(&request.passphrase, Confirm::No);
    let unlock = UnlockOptions {
        sharing: Sharing::Shared,
        read_only: true,
        ..UnlockOptions::default()
    };
    let volume = volume::open(cipherdir, &unlock, providers);
    let volume = volume.map_err(|error| errors::volume(&what, &error))?;
    let id = volume.config().volume_id.to_string();
    Ok(match volume.audit_key() {
        Some(key) => verifier.with_seals(key, id),
        None => verifier,
    })
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

fn unreadable(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, what, format!("{}: {error}", path.display()))
}

fn text(report: &Report) -> String {
    let line = |word: &str, finding: &Finding| {
        let place = match finding.line {
            0 => finding.file.clone(),
            line => format!("{}:{line}", finding.file),
        };
        format!(
            "{word}  {}\n",
            harmless(&format!("{place}  {}", finding.what))
        )
    };
    let mut text: String = report
        .findings
        .iter()
        .map(|found| line("BROKEN", found))
        .collect();
    let more = |word: &str, count: u64| match count {
        0 => String::new(),
        count => format!("{word}  and {count} more\n"),
    };
    text += &more("BROKEN", report.more_findings);
    text.extend(report.notes.iter().map(|note| line("note", note)));
    text += &more("note", report.more_notes);
    let checked = if report.seals_checked {
        "chain and seals checked"
    } else {
        "only the chain checked, which shows accidents and clumsy edits: the seals need --volume"
    };
    let (lines, sessions) = (
        counted(report.lines, "line"),
        counted(report.sessions, "session"),
    );
    text + &format!(
        "{lines}, {sessions}: {checked}\nlast line {}\n",
        report.head
    )
}

fn show(request: &ShowRequest) -> Result<(), Failure> {
    for path in &request.files {
        let shown = open(path)
            .map_err(|error| unreadable("cannot show the audit", path, &error))
            .and_then(|lines| show_file(request, path, lines));
        shown?;
    }
    Ok(())
}

fn show_file(request: &ShowRequest, path: &Path, mut lines: impl BufRead) -> Result<(), Failure> {
    let mut raw = Vec::new();
    loop {
        raw.clear();
        let read = lines
            .by_ref()
            .take(MAX_LINE as u64)
            .read_until(b'\n', &mut raw);
        let read = read.map_err(|error| unreadable("cannot show the audit", path, &error))?;
        if read == 0 {
            return Ok(());
        }
        let text = raw.strip_suffix(b"\n").unwrap_or(&raw);
        match Line::parse(text) {
            Ok(line) if !is_wanted(request, &line) => {}
            Ok(_) if request.json => output::print(&String::from_utf8_lossy(&raw))?,
            Ok(line) => output::print(&render(&line))?,
            Err(_) if request.json => {}
            Err(error) => output::print(&format!("?  {error}\n"))?,
        }
    }
}

fn is_wanted(request: &ShowRequest, line: &Line) -> bool {
    request.events.is_empty() || request.events.iter().any(|kind| kind.name() == line.event)
}

/// Number, time, event, and what is known of it.
fn render(line: &Line) -> String {
    let own = ["seq", "time", "event", "prev"];
    let shown = |value: &Value| match value {
        Value::String(text) if !text.contains([' ', '"', '=']) && !text.is_empty() => text.clone(),
        other => other.to_string(),
    };
    let fields: Vec<_> = line
        .fields
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", shown(value)))
        .collect();
    let time = line
        .fields
        .get("time")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = format!("{}  {time}  {}  {}", line.seq, line.event, fields.join(" "));
    harmless(text.trim_end()) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_with_what_is_known_and_cannot_speak_to_the_terminal() {
        let hash = "0".repeat(64);
        let line = format!(
            r#"{{"seq":3,"time":"T","event":"unwrap","path":"/a b","uid":7,"unit":"x\u001b[2J","prev":"{hash}","hash":"{hash}","seal":"{hash}"}}"#
        );
        let shown = render(&Line::parse(line.as_bytes()).unwrap());
        assert_eq!(
            shown,
            "3  T  unwrap  path=\"/a b\" uid=7 unit=x\\u{1b}[2J\n"
        );
    }

    #[test]
    fn the_verdict_says_what_was_not_checked() {
        let mut report = Report::default();
        assert!(text(&report).contains("--volume"));
        report.seals_checked = true;
        report.findings.push(Finding {
            file: "f".into(),
            line: 4,
            what: "was changed".into(),
        });
        assert!(
            text(&report).starts_with("BROKEN  f:4  was changed\n"),
            "{}",
            text(&report)
        );
        (report.more_findings, report.more_notes) = (7, 8);
        let said = text(&report);
        assert!(
            said.contains("BROKEN  and 7 more\nnote  and 8 more\n"),
            "{said}"
        );
    }
}

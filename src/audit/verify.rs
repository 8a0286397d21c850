//! Reads lines again, and says what is not as it was written.
//!
//! Without the volume's key only the chain can be checked: that shows accidents, and edits by who did not make the
//! hashes anew. With it the seals are checked too, which nobody makes who was not the mount at that time.

use std::io::{self, BufRead, Read as _};

use serde::Serialize;

use super::chain::{Head, Line, MAX_LINE, NoLine, SealKey, SessionId};
use super::event::{Field, Kind};
use super::file::Torn;
use crate::crypto::{LockedMemoryError, SecretKey};

/// How many lines keys are taken over besides those that are read, in all: over lines that are missing or in another
/// file, and again over those of a session whose lines go back. Each step takes some microseconds; a file that was made
/// to take for ever gets no more than these.
const MAX_STEPS: u64 = 1 << 22;
/// Findings, and notes, that are told one by one.
const MAX_TOLD: usize = 1000;
/// The most that is kept of what is no line.
const MAX_TORN: usize = 2 << 20;

/// A line that must be there: what somebody noted elsewhere.
pub type Expected = Head;

/// Something that is not as it was written, or is worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line in that file, from 1; 0 for the file as a whole.
    pub line: u64,
    /// In words.
    pub what: String,
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether nothing was found that is not as it was written.
    pub intact: bool,
    /// Whether the seals were checked.
    pub seals_checked: bool,
    /// Lines read.
    pub lines: u64,
    /// Sessions that begin in them.
    pub sessions: u64,
    /// The last line, `SEQ:HASH`; empty where there is none.
    pub head: String,
    /// What is not as it was written.
    pub findings: Vec<Finding>,
    /// What may have an honest cause.
    pub notes: Vec<Finding>,
    /// Findings that are not told one by one, for they are too many.
    pub more_findings: u64,
    /// The same of notes.
    pub more_notes: u64,
}

/// The seal of the session that is being read.
struct Seals {
    session: SessionId,
    /// The number of the session's first line.
    first: u64,
    /// The number of the line that `key` is for.
    at: u64,
    key: SealKey,
}

/// Reads files in their order.
pub struct Verifier {
    /// The volume's key for audit lines, and its id.
    root: Option<(SecretKey, String)>,
    /// Each session begins a chain of its own, as in the journal.
    apart: bool,
    expected: Option<Expected>,
    expected_seen: bool,
    before: Option<Head>,
    seals: Option<Seals>,
    /// Steps that are left of [`MAX_STEPS`].
    steps: u64,
    /// A session that has begun and not ended.
    open_session: bool,
    /// What is no line, since the last one that is.
    torn: Vec<u8>,
    torn_at: u64,
    file: String,
    line: u64,
    report: Report,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that checks the chain.
    pub fn new(expected: Option<Expected>) -> Self {
        Self {
            root: None,
            apart: false,
            expected,
            expected_seen: false,
            before: None,
            seals: None,
            steps: MAX_STEPS,
            open_session: false,
            torn: Vec::new(),
            torn_at: 0,
            file: String::new(),
            line: 0,
            report: Report::default(),
        }
    }

    /// Checks the seals too, by the key of this volume.
    #[must_use]
    pub fn with_seals(mut self, root: SecretKey, volume: String) -> Self {
        self.root = Some((root, volume));
        self.report.seals_checked = true;
        self
    }

    /// Takes each session for a chain of its own.
    #[must_use]
    pub fn of_journal(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Reads one file more.
    ///
    /// # Errors
    /// It cannot be read; no locked memory is left.
    pub fn read(&mut self, name: &str, mut lines: impl BufRead) -> io::Result<()> {
        self.file = name.to_owned();
        self.line = 0;
        let mut raw = Vec::new();
        loop {
            raw.clear();
            // Longer ones are no lines, and are read in pieces.
            let limit = MAX_LINE as u64 + 1;
            if lines.by_ref().take(limit).read_until(b'\n', &mut raw)? == 0 {
                return Ok(());
            }
            self.line += 1;
            self.take(&raw).map_err(io::Error::other)?;
        }
    }

    fn take(&mut self, raw: &[u8]) -> Result<(), LockedMemoryError> {
        let line = raw.strip_suffix(b"\n").ok_or(NoLine).and_then(Line::parse);
        let Ok(line) = line else {
            if self.torn.is_empty() {
                self.torn_at = self.line;
            }
            self.torn.extend_from_slice(raw);
            if self.torn.len() > MAX_TORN {
                self.torn.truncate(MAX_TORN);
            }
            return Ok(());
        };
        self.report.lines += 1;
        self.settle_torn(Some(&line));
        if !line.hash_matches {
            self.found("the line was changed: its hash is another");
        }
        let begins = line.is(Kind::SessionStart);
        self.check_order(&line, begins);
        if begins {
            self.begin_session(&line)?;
        } else if line.is(Kind::Continued) && self.seals.is_none() {
            self.resume_session(&line)?;
        }
        self.check_seal(&line)?;
        if line.is(Kind::SessionEnd) {
            self.open_session = false;
        }
        if self
            .expected
            .is_some_and(|expected| expected == line.head())
        {
            self.expected_seen = true;
        }
        self.before = Some(line.head());
        Ok(())
    }

    /// What is no line is in order only where the next line begins a session and tells of it.
    fn settle_torn(&mut self, next: Option<&Line>) {
        if self.torn.is_empty() {
            return;
        }
        let torn = std::mem::take(&mut self.torn);
        let bytes = torn.strip_suffix(b"\n").unwrap_or(&torn);
        let told = next
            .is_some_and(|line| line.is(Kind::SessionStart) && Torn::of(bytes).is_told_by(line));
        // Its line end may be the torn part's own.
        let told = told
            || next.is_some_and(|line| {
                line.is(Kind::SessionStart) && Torn::of(&torn).is_told_by(line)
            });
        let cut = next.is_none() && !torn.ends_with(b"\n");
        let at = Finding {
            file: self.file.clone(),
            line: self.torn_at,
            what: String::new(),
        };
        if told {
            let what = "what a crash left of a line, as the next session says".to_owned();
            self.report.note(Finding { what, ..at });
        } else if cut {
            let what = "the last line is not whole: it was being written, or a crash left it so"
                .to_owned();
            self.report.note(Finding { what, ..at });
        } else {
            let what = "this is no audit line: one was changed, or something was put in".to_owned();
            self.report.find(Finding { what, ..at });
        }
    }

    fn check_order(&mut self, line: &Line, begins: bool) {
        let fresh = line.seq == 1 && line.prev == [0; 32];
        match self.before {
            None if fresh => {}
            None => self.noted(format!(
                "begins at line {} of the chain: what comes before is in another file",
                line.seq
            )),
            Some(before) if before.is_before(line) => {}
            Some(_) if self.apart && begins && fresh => {}
            Some(before) if line.seq <= before.seq => self.found(&format!(
                "line {} of the chain comes after line {}: it was repeated, moved or put in",
                line.seq, before.seq
            )),
            Some(before) if line.seq > before.seq + 1 => self.found(&format!(
                "lines {} to {} of the chain are missing",
                before.seq + 1,
                line.seq - 1
            )),
            Some(_) => self.found("it does not go on from the line before: that one was exchanged"),
        }
    }

    fn begin_session(&mut self, line: &Line) -> Result<(), LockedMemoryError> {
        self.report.sessions += 1;
        if std::mem::replace(&mut self.open_session, true) {
            self.noted(
                "the session before has no end: a crash, or its last lines were cut off".to_owned(),
            );
        }
        self.seals = self.seals_from(line, line.seq)?;
        Ok(())
    }

    /// A file that begins within a session says which.
    fn resume_session(&mut self, line: &Line) -> Result<(), LockedMemoryError> {
        let made = line.number(Field::Line).unwrap_or(u64::MAX);
        self.open_session = true;
        self.seals = match line.seq.checked_sub(made) {
            Some(first) => self.seals_from(line, first)?,
            None => None,
        };
        Ok(())
    }

    fn seals_from(&mut self, line: &Line, first: u64) -> Result<Option<Seals>, LockedMemoryError> {
        let Some((root, volume)) = &self.root else {
            return Ok(None);
        };
        let Some(session) = line.text(Field::Session).and_then(SessionId::parse) else {
            self.found("the session has no id");
            return Ok(None);
        };
        if line
            .text(Field::Volume)
            .is_some_and(|other| other != volume)
        {
            self.found("the session is another volume's");
            return Ok(None);
        }
        Ok(Some(Seals {
            session,
            first,
            at: first,
            key: SealKey::first(root, session)?,
        }))
    }

    fn check_seal(&mut self, line: &Line) -> Result<(), LockedMemoryError> {
        let Some((root, _)) = &self.root else {
            return Ok(());
        };
        let Some(seals) = &mut self.seals else {
            self.found("its seal cannot be checked: no line says which session it is of");
            return Ok(());
        };
        match seals.reach(root, line.seq, &mut self.steps)? {
            Reached::TooFar => self.found(&format!(
                "its seal was not checked: over more than {MAX_STEPS} lines in all that are missing, in another file or out of order, the keys of seals are not followed"
            )),
            Reached::Key if seals.key.sealed(line)? => {}
            Reached::Key | Reached::NoSuchLine => self.found(
                "the seal is not one of this session: the line was changed, or made by somebody else",
            ),
        }
        Ok(())
    }

    /// The end of what is read.
    pub fn finish(mut self) -> Report {
        self.settle_torn(None);
        if self.open_session {
            self.noted("the last session has no end: it goes on, it crashed, or its last lines were cut off".to_owned());
        }
        self.line = 0;
        if let Some(expected) = self.expected.filter(|_| !self.expected_seen) {
            self.found(&format!(
                "line {} with the hash that was noted is not there: the end was cut off, or it was changed",
                expected.seq
            ));
        }
        if self.report.lines == 0 {
            self.found("there is no audit line");
        }
        self.report.head = self.before.map(|head| head.show()).unwrap_or_default();
        self.report.intact = self.report.findings.is_empty();
        self.report
    }

    fn at(&self, what: String) -> Finding {
        Finding {
            file: self.file.clone(),
            line: self.line,
            what,
        }
    }

    fn found(&mut self, what: &str) {
        let finding = self.at(what.to_owned());
        self.report.find(finding);
    }

    fn noted(&mut self, what: String) {
        let note = self.at(what);
        self.report.note(note);
    }
}

impl Seals {
    /// Takes the key to that of line `seq`. The step from one line to the next is free; others come out of `steps`.
    fn reach(
        &mut self,
        root: &SecretKey,
        seq: u64,
        steps: &mut u64,
    ) -> Result<Reached, LockedMemoryError> {
        if seq < self.first {
            return Ok(Reached::NoSuchLine);
        }
        let goes_back = seq < self.at;
        let from = if goes_back { self.first } else { self.at };
        let Some(left) = steps.checked_sub((seq - from).saturating_sub(1)) else {
            return Ok(Reached::TooFar);
        };
        *steps = left;
        if goes_back {
            self.key = SealKey::first(root, self.session)?;
            self.at = self.first;
        }
        while self.at < seq {
            self.key = self.key.next()?;
            self.at += 1;
        }
        Ok(Reached::Key)
    }
}

/// Whether the key of a line was got at.
enum Reached {
    Key,
    /// The session has no such line.
    NoSuchLine,
    /// By more steps than there are left.
    TooFar,
}

impl Report {
    fn find(&mut self, finding: Finding) {
        match self.findings.len() < MAX_TOLD {
            true => self.findings.push(finding),
            false => self.more_findings += 1,
        }
    }

    fn note(&mut self, note: Finding) {
        match self.notes.len() < MAX_TOLD {
            true => self.notes.push(note),
            false => self.more_notes += 1,
        }
    }
}

#[cfg(test)]
mod tests;

//! The thread that makes lines of events and writes them, however long that takes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::super::chain::{Chain, Head};
use super::super::event::Event;
use super::super::file::AuditFile;
use super::super::journal::Journal;
use super::{AuditError, Shared, Target};

/// How long the end of a mount waits for lines that cannot be written.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Where lines go.
#[derive(Debug)]
pub(super) enum Output {
    File(AuditFile),
    Journal(Journal),
}

/// Opens the target, and says what the first line goes on from.
pub(super) fn open(
    target: &Target,
    socket: &Path,
    start: Event,
) -> Result<(Output, Head, Event), AuditError> {
    match target {
        Target::Journal => {
            let journal = Journal::connect(socket).map_err(AuditError::Journal)?;
            Ok((Output::Journal(journal), Head::default(), start))
        }
        Target::File(path) => {
            let opened = AuditFile::open(path);
            let (file, earlier) = opened.map_err(|source| AuditError::File {
                path: path.clone(),
                source,
            })?;
            let start = match &earlier.torn {
                Some(torn) => torn.told_by(start),
                None => start,
            };
            Ok((Output::File(file), earlier.head, start))
        }
    }
}

/// Lines are written together up to so many bytes.
const TOGETHER: usize = 64 << 10;

/// Lines on their way out.
#[derive(Debug, Default)]
pub(super) struct Pending {
    text: String,
    lines: usize,
    /// Bytes.
    written: usize,
}

/// The thread that makes lines and writes them.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) output: Output,
    pub(super) chain: Chain,
    pub(super) pending: Pending,
}

impl Writer {
    /// The life of the thread.
    pub(super) fn run(&mut self) {
        while let Some(work) = self.shared.next_work() {
            if work.reopen {
                self.reopen();
            }
            if !self.write_all(&work.events) {
                return;
            }
            self.sync();
        }
    }

    /// Writes all of them, however long it takes; false where the session ends without that.
    fn write_all(&mut self, events: &[(SystemTime, Event)]) -> bool {
        for (nth, (time, event)) in events.iter().enumerate() {
            if !self.until_done(|writer| writer.make(*time, event)) {
                return false;
            }
            let is_last = nth + 1 == events.len();
            let is_enough = match self.output {
                Output::File(_) => self.pending.text.len() >= TOGETHER,
                // An entry for each line.
                Output::Journal(_) => true,
            };
            if (is_last || is_enough) && !self.send(event.kind().name()) {
                return false;
            }
        }
        true
    }

    fn make(&mut self, time: SystemTime, event: &Event) -> Result<(), String> {
        let made = self.chain.line(&mut self.pending.text, time, event);
        made.map_err(|error| error.to_string())?;
        self.pending.lines += 1;
        Ok(())
    }

    /// Writes what is pending, however long it takes; false where the session ends without it.
    fn send(&mut self, event: &str) -> bool {
        if !self.until_done(|writer| writer.try_send(event).map_err(|error| error.to_string())) {
            return false;
        }
        self.shared.wrote(self.pending.lines, self.chain.head());
        self.pending.text.clear();
        self.pending.lines = 0;
        self.pending.written = 0;
        true
    }

    /// Tries until it goes well; false where the session ends before.
    fn until_done(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<(), String>) -> bool {
        let mut given_up = None;
        loop {
            let Err(why) = attempt(self) else { return true };
            if self.shared.failed(&why) {
                let end = *given_up.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                if Instant::now() >= end {
                    tracing::error!(why, "audit lines are lost");
                    return false;
                }
            }
        }
    }

    /// Goes on with what is pending where it stopped.
    fn try_send(&mut self, event: &str) -> io::Result<()> {
        let Pending { text, written, .. } = &mut self.pending;
        match &mut self.output {
            Output::Journal(journal) => journal.send(text, event),
            Output::File(file) => {
                while let Some(rest) = text
                    .as_bytes()
                    .get(*written..)
                    .filter(|rest| !rest.is_empty())
                {
                    match file.write(rest) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                        result => *written += result?,
                    }
                }
                Ok(())
            }
        }
    }

    fn sync(&self) {
        if let Output::File(file) = &self.output
            && let Err(error) = file.sync()
        {
            tracing::error!(%error, "audit lines may not be durable");
        }
    }

    /// A further file begins with a line that says what it goes on from.
    fn reopen(&mut self) {
        let Output::File(file) = &self.output else {
            return;
        };
        match file.reopened() {
            Ok(None) => {}
            Ok(Some(other)) => {
                self.sync();
                self.output = Output::File(other);
                let continued = self.chain.continued();
                self.shared.takes_one_more();
                self.write_all(&[(SystemTime::now(), continued)]);
            }
            Err(error) => tracing::error!(%error, "the audit goes on in the file that it has"),
        }
    }
}

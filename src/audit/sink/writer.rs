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

/// A line on its way out.
#[derive(Debug, Default)]
pub(super) struct Pending {
    line: String,
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
            for (time, event) in work.events {
                if !self.write(time, &event) {
                    return;
                }
                self.shared.wrote_one(self.chain.head());
            }
            self.sync();
        }
    }

    /// Writes one line, however long it takes; false where the session ends without it.
    fn write(&mut self, time: SystemTime, event: &Event) -> bool {
        let mut given_up = None;
        loop {
            let made = if self.pending.line.is_empty() {
                let made = self.chain.line(time, event);
                made.map(|line| self.pending = Pending { line, written: 0 })
            } else {
                Ok(())
            };
            let why = match made {
                Err(error) => error.to_string(),
                Ok(()) => match self.send(event.kind().name()) {
                    Ok(()) => {
                        self.pending = Pending::default();
                        return true;
                    }
                    Err(error) => error.to_string(),
                },
            };
            if self.shared.failed(&why) {
                let end = *given_up.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                if Instant::now() >= end {
                    tracing::error!(why, "audit lines are lost");
                    return false;
                }
            }
        }
    }

    /// Goes on with the pending line where it stopped.
    fn send(&mut self, event: &str) -> io::Result<()> {
        let Pending { line, written } = &mut self.pending;
        match &mut self.output {
            Output::Journal(journal) => journal.send(line, event),
            Output::File(file) => {
                while let Some(rest) = line
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
                self.write(SystemTime::now(), &continued);
            }
            Err(error) => tracing::error!(%error, "the audit goes on in the file that it has"),
        }
    }
}

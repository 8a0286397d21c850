//! The queue of events, and the one thread that makes lines of them and writes them. Whoever tells of something never
//! waits for a disk. Where the queue is full the event is dropped and counted, or ([`WhenFull::Fail`]) what would have
//! needed one is not done at all.

mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use super::chain::{Chain, Head, SealKey, SessionId};
use super::event::{Event, Field, Kind};
use super::journal;
use crate::crypto::{LockedMemoryError, SecretKey, random};
use crate::threads;
use writer::{Pending, Writer, open};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Appended to this file.
    File(PathBuf),
    /// To journald.
    Journal,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Journal => f.write_str("journald"),
        }
    }
}

/// What becomes of an event that finds no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is lost, and counted.
    #[default]
    Drop,
    /// What would have needed it is refused.
    Fail,
}

/// Events that wait for the writer, at most.
pub const QUEUE: usize = 8192;
/// What one permit sets aside: the attempts of one open, each slot of each epoch an event.
const PER_PERMIT: usize = 16;
/// How long the writer waits before it tries again where a line could not be written.
const PAUSE: Duration = Duration::from_millis(500);

/// What a session is about.
#[derive(Debug)]
pub struct Session<'a> {
    /// The volume's key for audit lines; good for the first line's key only, and not needed any more then.
    pub root: &'a SecretKey,
    /// The first event, of kind [`Kind::SessionStart`]; the session's id is added to it.
    pub start: Event,
}

/// Why there is no audit.
#[derive(Debug, Error)]
pub enum AuditError {
    /// The file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// journald cannot be reached.
    #[error("journald: {0}")]
    Journal(#[source] io::Error),
    /// No memory for the key of the seals.
    #[error(transparent)]
    LockedMemory(#[from] LockedMemoryError),
    /// No thread.
    #[error("no thread to write audit lines: {0}")]
    Thread(#[source] io::Error),
}

/// There is no room for an event, and what would need one is not to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue of audit events is full")]
pub struct QueueFull;

/// How the audit is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// The last line that was written.
    pub head: Head,
    /// Events that wait.
    pub waiting: usize,
    /// Events that were lost.
    pub dropped: u64,
    /// Why lines cannot be written just now.
    pub failure: Option<String>,
}

/// Takes events, from any thread.
#[derive(Debug)]
pub struct Audit {
    shared: Arc<Shared>,
    target: Target,
    when_full: WhenFull,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Room for the events of one thing that is about to be done.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    left: usize,
}

struct Shared {
    /// Never held while a line is written.
    state: Mutex<State>,
    wake: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    queue: VecDeque<(SystemTime, Event)>,
    /// Taken from the queue, and not written yet.
    in_flight: usize,
    /// Set aside by permits.
    reserved: usize,
    /// Lost since the last line that says so.
    dropped: u64,
    reopen: bool,
    closed: bool,
    report: AuditReport,
}

impl State {
    fn room(&self) -> usize {
        QUEUE.saturating_sub(self.queue.len() + self.in_flight + self.reserved)
    }

    /// Queues the event where there is room, else counts it.
    fn take(&mut self, event: Event) {
        if self.room() == 0 {
            self.dropped += 1;
            self.report.dropped += 1;
        } else {
            self.queue.push_back((SystemTime::now(), event));
        }
    }
}

impl Audit {
    /// Begins a session.
    ///
    /// # Errors
    /// The target cannot be used.
    pub fn start(
        target: &Target,
        when_full: WhenFull,
        session: Session<'_>,
    ) -> Result<Self, AuditError> {
        Self::start_with(target, Path::new(journal::SOCKET), when_full, session)
    }

    fn start_with(
        target: &Target,
        socket: &Path,
        when_full: WhenFull,
        session: Session<'_>,
    ) -> Result<Self, AuditError> {
        let id = SessionId(random::array());
        let (output, head, start) = open(target, socket, session.start)?;
        let chain = Chain::new(head, id, SealKey::first(session.root, id)?);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
        });
        shared.state.lock().report.head = head;
        let audit = Self {
            shared: Arc::clone(&shared),
            target: target.clone(),
            when_full,
            writer: Mutex::default(),
        };
        let start = start.with(Field::Session, id.show());
        audit.shared.put(start);
        let mut writer = Writer {
            shared,
            output,
            chain,
            pending: Pending::default(),
        };
        let thread = threads::spawn("audit", move || writer.run());
        *audit.writer.lock() = Some(thread.map_err(AuditError::Thread)?);
        Ok(audit)
    }

    /// Takes an event. Never waits; one that finds no room is lost and counted.
    pub fn note(&self, event: Event) {
        let mut state = self.shared.state.lock();
        state.take(event);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Sets room aside for what is about to be done. Where a full queue only loses events, there is always room.
    ///
    /// # Errors
    /// There is none, so it must not be done.
    pub fn permit(&self) -> Result<Permit, QueueFull> {
        self.permit_for(PER_PERMIT)
    }

    /// As [`Audit::permit`], for so many events.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn permit_for(&self, events: usize) -> Result<Permit, QueueFull> {
        let mut state = self.shared.state.lock();
        let left = match self.when_full {
            WhenFull::Drop => events.min(state.room()),
            WhenFull::Fail if state.room() < events => return Err(QueueFull),
            WhenFull::Fail => events,
        };
        state.reserved += left;
        drop(state);
        Ok(Permit {
            shared: Arc::clone(&self.shared),
            left,
        })
    }

    /// Whether lines are being written: where there is no room, there will be some soon.
    pub fn is_writing(&self) -> bool {
        self.shared.state.lock().report.failure.is_none()
    }

    /// Where lines go.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What becomes of an event that finds no room.
    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// The file may have been moved away: goes on in the one that has its name now.
    pub fn reopen(&self) {
        self.shared.state.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// How it is.
    pub fn report(&self) -> AuditReport {
        let state = self.shared.state.lock();
        AuditReport {
            waiting: state.queue.len() + state.in_flight,
            ..state.report.clone()
        }
    }

    /// Ends the session: writes what waits, and then that it ended. Says whether all was written.
    pub fn finish(&self, clean: bool) -> bool {
        self.shared
            .put(Event::new(Kind::SessionEnd).with(Field::Clean, clean));
        self.close();
        let state = self.shared.state.lock();
        state.queue.is_empty() && state.in_flight == 0
    }

    fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes audit lines panicked");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.close();
    }
}

impl Permit {
    /// Takes an event, into the room that was set aside.
    pub fn note(&mut self, event: Event) {
        let mut state = self.shared.state.lock();
        if self.left > 0 {
            self.left -= 1;
            state.reserved -= 1;
        }
        state.take(event);
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.state.lock().reserved -= self.left;
    }
}

impl Shared {
    /// Takes an event for which there is always room.
    fn put(&self, event: Event) {
        let mut state = self.state.lock();
        state.queue.push_back((SystemTime::now(), event));
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for work. `None` once all is written and nothing more comes.
    fn next_work(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            let reopen = std::mem::take(&mut state.reopen);
            let dropped = std::mem::take(&mut state.dropped);
            if reopen || dropped > 0 || !state.queue.is_empty() {
                // All that waits: the more it is, the less of the time goes into telling the disk to keep it.
                let mut events: Vec<_> = state.queue.drain(..).collect();
                if dropped > 0 {
                    let lost = Event::new(Kind::Dropped).with(Field::Count, dropped);
                    events.push((SystemTime::now(), lost));
                }
                state.in_flight = events.len();
                return Some(Work { events, reopen });
            }
            if state.closed {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }

    /// A line that was not in the queue is to be written.
    fn takes_one_more(&self) {
        self.state.lock().in_flight += 1;
    }

    fn wrote(&self, lines: usize, head: Head) {
        let mut state = self.state.lock();
        state.in_flight = state.in_flight.saturating_sub(lines);
        state.report.head = head;
        state.report.failure = None;
    }

    /// Notes why a line could not be written, and waits a little; says whether the session is ending.
    fn failed(&self, why: &str) -> bool {
        let mut state = self.state.lock();
        if state.report.failure.as_deref() != Some(why) {
            tracing::error!(why, "audit lines cannot be written; trying on");
            state.report.failure = Some(why.to_owned());
        }
        let until = Instant::now() + PAUSE;
        // New events wake too, and are no reason to try sooner.
        while !state.closed && !self.wake.wait_until(&mut state, until).timed_out() {}
        let closed = state.closed;
        drop(state);
        if closed {
            thread::sleep(PAUSE / 10);
        }
        closed
    }
}

/// What the writer is to do next.
struct Work {
    events: Vec<(SystemTime, Event)>,
    reopen: bool,
}

#[cfg(test)]
mod tests;

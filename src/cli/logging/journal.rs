//! An event as journald takes it with its fields: systemd's "Native Journal Protocol", a datagram of `NAME=value` lines.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::sink::severity;
use crate::cli::output::harmless;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// What the names of an event's own fields begin with, so that none is taken for one of journald's.
const PREFIX: &str = "ENVELOPEFS_";

/// A connection to journald. What finds its buffer full is lost, and nobody waits.
#[derive(Debug)]
pub(super) struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journald {
    /// None where it does not listen.
    pub(super) fn connect() -> Option<Self> {
        Self::connect_to(Path::new(SOCKET))
    }

    fn connect_to(path: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(path).ok()?;
        Some(Self {
            socket,
            path: path.to_owned(),
        })
    }

    /// Sends what [`entry`] made.
    pub(super) fn send(&self, entry: &[u8]) -> io::Result<()> {
        match self.socket.send(entry) {
            // It was started anew, and listens on a new socket.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.socket.connect(&self.path)?;
                self.socket.send(entry).map(drop)
            }
            sent => sent.map(drop),
        }
    }
}

/// The entry of an event. `message`: the whole line, as elsewhere.
pub(super) fn entry(event: &Event<'_>, message: &str) -> String {
    let metadata = event.metadata();
    let mut entry = Entry(String::new());
    entry.add("MESSAGE", message);
    entry.add("PRIORITY", &priority(*metadata.level()));
    entry.add("SYSLOG_IDENTIFIER", "envelopefs");
    entry.add("TARGET", metadata.target());
    event.record(&mut entry);
    entry.0
}

fn priority(level: Level) -> String {
    severity(level).to_string()
}

struct Entry(String);

impl Entry {
    /// Control characters are written out: a value is one line, and can begin no other field.
    fn add(&mut self, name: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name}={}", harmless(value));
    }

    fn add_field(&mut self, field: &Field, value: &str) {
        if field.name() != "message" {
            self.add(&format!("{PREFIX}{}", upper(field.name())), value);
        }
    }
}

/// Letters, digits and underscores are all that journald takes.
fn upper(name: &str) -> String {
    let letter = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(letter).collect()
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_field(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_begins_no_field_of_its_own() {
        let mut entry = Entry(String::new());
        entry.add("MESSAGE", "a\nPRIORITY=0\u{1b}");
        assert_eq!(entry.0, "MESSAGE=a\\nPRIORITY=0\\u{1b}\n");
        assert_eq!(upper("log.file-é"), "LOG_FILE__");
    }

    /// Makes an entry of each event.
    struct Entries(std::sync::Arc<parking_lot::Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Entries {
        fn on_event(&self, event: &Event<'_>, _context: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().push(entry(event, "the line"));
        }
    }

    #[test]
    fn an_entry_has_the_event_s_fields() {
        use tracing_subscriber::layer::SubscriberExt as _;
        let seen = std::sync::Arc::default();
        let subscriber = tracing_subscriber::registry().with(Entries(std::sync::Arc::clone(&seen)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(chunk = 7, file = "a\nb", "torn");
        });
        let entries = seen.lock().clone();
        let lines: Vec<&str> = entries[0].lines().collect();
        for line in [
            "MESSAGE=the line",
            "PRIORITY=4",
            "SYSLOG_IDENTIFIER=envelopefs",
            "ENVELOPEFS_CHUNK=7",
            "ENVELOPEFS_FILE=a\\nb",
        ] {
            assert!(lines.contains(&line), "{line} in {lines:?}");
        }
        assert_eq!(lines.len(), 6, "{lines:?}");
    }

    #[test]
    fn what_is_sent_arrives_also_at_a_journald_that_was_started_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(Journald::connect_to(&path).is_none());
        let first = UnixDatagram::bind(&path).unwrap();
        let journald = Journald::connect_to(&path).unwrap();
        journald.send(b"A=1\n").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(first.recv(&mut buffer).unwrap(), 4);
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        journald.send(b"B=2\n").unwrap();
        let len = second.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"B=2\n");
    }
}

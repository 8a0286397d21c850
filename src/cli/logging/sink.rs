//! Where lines end up. One sink serves the whole process and can be redirected while it runs.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use super::journal::Journald;
use parking_lot::Mutex;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// What a line may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Begin with the time; not where the receiver notes it anyway.
    pub(super) time: bool,
    /// Colour the level.
    pub(super) colours: bool,
    /// No line, but an entry of fields.
    pub(super) entry: bool,
}

/// What receives lines.
#[derive(Debug)]
pub(super) enum Target {
    /// A file, appended to.
    File(File),
    /// journald, with fields.
    Journald(Journald),
    /// Nothing does.
    Nowhere,
    /// The process's stderr.
    Stderr(Stderr),
    /// `/dev/log`.
    Syslog(Syslog),
}

impl Target {
    /// A person watches.
    pub(super) fn is_attended(&self) -> bool {
        matches!(
            self,
            Self::Stderr(Stderr {
                kind: StderrKind::Terminal { .. }
            })
        )
    }

    fn style(&self) -> Style {
        match self {
            Self::File(_) => Style {
                time: true,
                colours: false,
                entry: false,
            },
            Self::Journald(_) => Style {
                time: false,
                colours: false,
                entry: true,
            },
            Self::Stderr(Stderr {
                kind: StderrKind::Terminal { colours },
            }) => Style {
                time: true,
                colours: *colours,
                entry: false,
            },
            Self::Nowhere | Self::Stderr(_) | Self::Syslog(_) => Style {
                time: false,
                colours: false,
                entry: false,
            },
        }
    }

    /// Writes one line, newline included. A line that cannot be written is lost: the file system
    /// must not stop because its log does.
    fn write_line(&mut self, level: Level, line: &[u8]) {
        let written = match self {
            Self::File(file) => file.write_all(line),
            Self::Journald(journald) => journald.send(line),
            Self::Nowhere => Ok(()),
            Self::Stderr(stderr) => stderr.write_line(level, line, &mut io::stderr()),
            Self::Syslog(syslog) => syslog.write_line(level, line),
        };
        drop(written);
    }
}

/// What is behind stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StderrKind {
    /// journald, which reads a `<N>` level in front of a line (sd-daemon(3)).
    Journal,
    /// A pipe or a file.
    Plain,
    Terminal {
        colours: bool,
    },
}

/// The process's stderr and what is known of who reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr {
    kind: StderrKind,
}

impl Stderr {
    /// Whether journald reads it.
    pub(super) fn is_journal(self) -> bool {
        matches!(self.kind, StderrKind::Journal)
    }

    pub(super) fn of_this_process() -> Self {
        let kind = if goes_to_journal() {
            StderrKind::Journal
        } else if io::stderr().is_terminal() {
            StderrKind::Terminal {
                colours: std::env::var_os("NO_COLOR").is_none(),
            }
        } else {
            StderrKind::Plain
        };
        Self { kind }
    }

    /// One write for the whole line, so that lines of several processes do not mix.
    fn write_line(self, level: Level, line: &[u8], out: &mut impl Write) -> io::Result<()> {
        match self.kind {
            StderrKind::Journal => {
                let mut prefixed = format!("<{}>", severity(level)).into_bytes();
                prefixed.extend_from_slice(line);
                out.write_all(&prefixed)
            }
            StderrKind::Plain | StderrKind::Terminal { .. } => out.write_all(line),
        }
    }
}

/// `JOURNAL_STREAM` names the device and inode of the socket that systemd gave a service as
/// stderr (systemd.exec(5)); it is inherited by children whose stderr may be another.
fn goes_to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    match stderr_identity() {
        Ok(identity) => names_this(&stream, identity),
        Err(_) => false,
    }
}

fn stderr_identity() -> io::Result<(u64, u64)> {
    let stat = std::fs::metadata("/proc/self/fd/2")?;
    Ok((stat.dev(), stat.ino()))
}

fn names_this(stream: &str, (dev, ino): (u64, u64)) -> bool {
    stream
        .split_once(':')
        .is_some_and(|(d, i)| d.parse() == Ok(dev) && i.parse() == Ok(ino))
}

/// The system's log socket. Messages go without waiting: where the receiver is slow they are lost.
#[derive(Debug)]
pub(super) struct Syslog {
    socket: UnixDatagram,
    path: &'static str,
}

/// LOG_DAEMON of syslog(3).
const FACILITY_DAEMON: u8 = 3;
/// Longer messages are cut: what a datagram socket and syslog daemons take in any case.
const MAX_MESSAGE: usize = 8192;

impl Syslog {
    /// Connects to `/dev/log`; none where there is no such socket or nobody listens.
    pub(super) fn connect() -> Option<Self> {
        Self::connect_to("/dev/log")
    }

    fn connect_to(path: &'static str) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(path).ok()?;
        Some(Self { socket, path })
    }

    /// No time in front: the daemon notes it itself, in its own zone.
    fn write_line(&self, level: Level, line: &[u8]) -> io::Result<()> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let priority = (FACILITY_DAEMON << 3) | severity(level);
        let mut message = format!("<{priority}>envelopefs[{}]: ", std::process::id()).into_bytes();
        message.extend_from_slice(line);
        message.truncate(MAX_MESSAGE);
        match self.socket.send(&message) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.resend(&message),
            sent => sent.map(drop),
        }
    }

    /// The daemon was started anew and listens on a new socket.
    fn resend(&self, message: &[u8]) -> io::Result<()> {
        self.socket.connect(self.path)?;
        self.socket.send(message).map(drop)
    }
}

/// The levels of syslog(3).
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A target that all writers share.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Mutex<Target>>);

impl Sink {
    pub(super) fn new(target: Target) -> Self {
        Self(Arc::new(Mutex::new(target)))
    }

    pub(super) fn redirect(&self, target: Target) {
        *self.0.lock() = target;
    }

    pub(super) fn style(&self) -> Style {
        self.0.lock().style()
    }
}

impl MakeWriter<'_> for Sink {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter {
            sink: self.clone(),
            level: Level::INFO,
        }
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> LineWriter {
        LineWriter {
            sink: self.clone(),
            level: *metadata.level(),
        }
    }
}

/// Takes the one write of one event.
#[derive(Debug)]
pub(super) struct LineWriter {
    sink: Sink,
    level: Level,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.0.lock().write_line(self.level, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journald_gets_a_level_in_front_and_others_do_not() {
        let written = |kind| {
            let mut out = Vec::new();
            Stderr { kind }
                .write_line(Level::WARN, b"torn\n", &mut out)
                .unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(StderrKind::Journal), "<4>torn\n");
        assert_eq!(written(StderrKind::Plain), "torn\n");
        assert_eq!(written(StderrKind::Terminal { colours: true }), "torn\n");
    }

    #[test]
    fn only_the_journal_s_own_socket_counts() {
        assert!(names_this("8:17", (8, 17)));
        for stream in ["8:18", "9:17", "8", "", ":", "8:17:1", "8: 17"] {
            assert!(!names_this(stream, (8, 17)), "{stream:?}");
        }
    }

    #[test]
    fn time_and_colours_are_for_terminals_and_time_for_files() {
        let terminal = Target::Stderr(Stderr {
            kind: StderrKind::Terminal { colours: true },
        });
        assert_eq!(
            terminal.style(),
            Style {
                time: true,
                colours: true,
                entry: false,
            }
        );
        assert!(terminal.is_attended());
        let plain = Target::Stderr(Stderr {
            kind: StderrKind::Plain,
        });
        assert_eq!(
            plain.style(),
            Style {
                time: false,
                colours: false,
                entry: false,
            }
        );
        assert!(!plain.is_attended());
    }

    fn syslog_pair() -> (Syslog, UnixDatagram, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path: &'static str = dir.path().join("log").to_str().unwrap().to_owned().leak();
        let daemon = UnixDatagram::bind(path).unwrap();
        (Syslog::connect_to(path).unwrap(), daemon, dir)
    }

    fn received(daemon: &UnixDatagram) -> String {
        let mut buf = vec![0; 2 * MAX_MESSAGE];
        let len = daemon.recv(&mut buf).unwrap();
        String::from_utf8(buf[..len].to_vec()).unwrap()
    }

    #[test]
    fn syslog_gets_priority_tag_and_pid() {
        let (syslog, daemon, _dir) = syslog_pair();
        syslog.write_line(Level::ERROR, b"torn\n").unwrap();
        let pid = std::process::id();
        assert_eq!(received(&daemon), format!("<27>envelopefs[{pid}]: torn"));
    }

    #[test]
    fn a_long_message_is_cut() {
        let (syslog, daemon, _dir) = syslog_pair();
        syslog
            .write_line(Level::INFO, &[b'x'; MAX_MESSAGE * 2])
            .unwrap();
        assert_eq!(received(&daemon).len(), MAX_MESSAGE);
    }

    #[test]
    fn a_restarted_syslog_daemon_is_found_again() {
        let (syslog, daemon, dir) = syslog_pair();
        drop(daemon);
        std::fs::remove_file(dir.path().join("log")).unwrap();
        assert!(syslog.write_line(Level::INFO, b"lost").is_err());
        let daemon = UnixDatagram::bind(dir.path().join("log")).unwrap();
        syslog.write_line(Level::INFO, b"back").unwrap();
        assert!(received(&daemon).ends_with("back"));
    }

    #[test]
    fn a_full_syslog_loses_lines_and_never_waits() {
        let (syslog, _daemon, _dir) = syslog_pair();
        let outcomes: Vec<_> = (0..10_000)
            .map(|_| syslog.write_line(Level::INFO, b"x").is_ok())
            .collect();
        assert!(outcomes.contains(&false));
    }

    #[test]
    fn there_is_no_syslog_where_nobody_listens() {
        assert!(Syslog::connect_to("/nonexistent/log").is_none());
    }
}

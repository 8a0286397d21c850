//! Where events go and how they look: people on a terminal, journald, syslog, a file, or JSON.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog as _, LogTracer};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

use super::failure::Failure;
use super::values::ValueError;
use human::HumanFormat;
use journal::Journald;
use sink::{Sink, Stderr, Syslog, Target};

mod human;
mod journal;
mod sink;

/// The variable whose filter directives replace `-v` and `-q`.
pub const FILTER_VARIABLE: &str = "ENVELOPEFS_LOG";

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(ValueError::Malformed {
                text: text.chars().take(80).collect(),
                expected: "human or json",
            }),
        }
    }
}

/// What the user asked of the logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// How an event is written.
    pub format: LogFormat,
    /// A file to append to, instead of stderr and syslog.
    pub file: Option<PathBuf>,
    /// The filter's directives where neither `-v` nor `-q` says otherwise: `log-level` of the configuration file.
    pub level: Option<String>,
    /// Errors only.
    pub quiet: bool,
    /// How many times `-v` was given.
    pub verbose: u8,
}

impl LogRequest {
    /// The filter's directives. `attended`: a person watches a terminal, so progress that a log
    /// should hold is left out.
    fn directives(&self, attended: bool) -> &str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) if self.level.is_some() => self.level.as_deref().unwrap_or_default(),
            (false, 0) if attended => "warn",
            (false, 0 | 1) => "warn,envelopefs=info",
            (false, 2) => "info,envelopefs=debug",
            (false, _) => "trace",
        }
    }
}

/// Where events go once nobody watches stderr any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The file of `--log-file`.
    File,
    /// journald, with fields.
    Journald,
    /// There is no syslog here and no file was named.
    Nowhere,
    /// `/dev/log`.
    Syslog,
}

/// Whether this is a level, or directives as [`FILTER_VARIABLE`] has them.
pub fn is_filter(text: &str) -> bool {
    !text.trim().is_empty() && EnvFilter::try_new(text).is_ok()
}

/// The running logs; moves them elsewhere when the process goes to the background.
#[derive(Clone, Debug)]
pub struct Logs {
    sink: Sink,
    filter: reload::Handle<EnvFilter, Registry>,
    request: LogRequest,
    /// A filter came from the environment; nothing else changes it.
    fixed_filter: bool,
}

/// Starts logging for the process. Starts no thread.
///
/// # Errors
/// The log file cannot be opened, or the filter of [`FILTER_VARIABLE`] is malformed.
pub fn start(request: LogRequest) -> Result<Logs, Failure> {
    let target = initial_target(&request)?;
    let directives = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty());
    let (logs, subscriber) = build(request, target, directives.as_deref())?;
    // Both fail only where a subscriber is set already, as a test harness may do.
    let _ = LogTracer::init();
    let _ = tracing::subscriber::set_global_default(subscriber);
    logs.limit_log_records();
    Ok(logs)
}

fn build(
    request: LogRequest,
    target: Target,
    directives: Option<&str>,
) -> Result<(Logs, impl tracing::Subscriber + Send + Sync + use<>), Failure> {
    let filter = match directives {
        Some(text) => EnvFilter::try_new(text).map_err(|error| bad_filter(&error))?,
        None => EnvFilter::new(request.directives(target.is_attended())),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let sink = Sink::new(target);
    let lines = match request.format {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .event_format(HumanFormat::new(sink.clone()))
            .with_ansi(false)
            .with_writer(sink.clone())
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .fmt_fields(JsonFields::new())
            .with_writer(sink.clone())
            .boxed(),
    };
    let fixed_filter = directives.is_some();
    let logs = Logs {
        sink,
        filter: handle,
        request,
        fixed_filter,
    };
    Ok((logs, Registry::default().with(filter).with(lines)))
}

fn bad_filter(error: &dyn fmt::Display) -> Failure {
    Failure::usage(format!("cannot follow {FILTER_VARIABLE}"), error).advise(format!(
        "give a level, as in {FILTER_VARIABLE}=debug, or unset it"
    ))
}

fn initial_target(request: &LogRequest) -> Result<Target, Failure> {
    match &request.file {
        Some(path) => open_file(path).map(Target::File).map_err(|error| {
            Failure::usage(
                format!("cannot open the log file {}", path.display()),
                error,
            )
            .advise("name a file in a folder that is there and may be written")
        }),
        None => {
            let stderr = Stderr::of_this_process();
            // Lines of JSON hold their fields themselves.
            let with_fields = stderr.is_journal() && request.format == LogFormat::Human;
            let journald = with_fields.then(Journald::connect).flatten();
            Ok(journald.map_or(Target::Stderr(stderr), Target::Journald))
        }
    }
}

/// Logs name files and people: not for others to read.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

impl Logs {
    /// Nobody watches stderr from here on: to syslog, unless a file was named, and with what a
    /// log should hold though a terminal need not show it.
    pub fn leave_terminal(&self) -> Destination {
        let with_fields = self.request.file.is_none() && self.request.format == LogFormat::Human;
        if let Some(journald) = with_fields.then(Journald::connect).flatten() {
            self.sink.redirect(Target::Journald(journald));
            self.widen();
            return Destination::Journald;
        }
        let destination = match (&self.request.file, Syslog::connect()) {
            (Some(_), _) => Destination::File,
            (None, Some(syslog)) => {
                self.sink.redirect(Target::Syslog(syslog));
                Destination::Syslog
            }
            (None, None) => {
                self.sink.redirect(Target::Nowhere);
                Destination::Nowhere
            }
        };
        self.widen();
        destination
    }

    /// Takes the level that is asked for now, of a process in the background or of a service. Says whether that differs.
    pub fn follow_level(&mut self, request: &LogRequest) -> bool {
        let asked = |request: &LogRequest| request.directives(false).to_owned();
        let changed = asked(&self.request) != asked(request) && !self.fixed_filter;
        if changed {
            self.request.level.clone_from(&request.level);
            self.widen();
        }
        changed
    }

    fn widen(&self) {
        if !self.fixed_filter {
            // Fails only where the subscriber is gone, and its logs with it.
            let _ = self
                .filter
                .reload(EnvFilter::new(self.request.directives(false)));
            self.limit_log_records();
        }
    }

    /// Lets `log` drop records early: a FUSE library logs each request, and asking the filter
    /// about every one of them costs more than a cached read.
    fn limit_log_records(&self) {
        let level = self.filter.with_current(|filter| filter.max_level_hint());
        let level = level.ok().flatten().unwrap_or(LevelFilter::TRACE);
        tracing_log::log::set_max_level(level.as_log());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(request: &LogRequest, directives: Option<&str>, log: impl FnOnce(&Logs)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let request = LogRequest {
            file: Some(path.clone()),
            ..request.clone()
        };
        let target = initial_target(&request).unwrap();
        let (logs, subscriber) = build(request, target, directives).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&logs));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_human_line_has_time_level_message_and_fields() {
        let text = in_file(&LogRequest::default(), None, |_| {
            tracing::warn!(chunk = 7, "torn");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{text}");
        assert_eq!(rest, " WARN torn chunk=7\n");
    }

    #[test]
    fn a_json_line_is_one_object() {
        let request = LogRequest {
            format: LogFormat::Json,
            ..LogRequest::default()
        };
        let text = in_file(&request, None, |_| tracing::error!(chunk = 7, "torn"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["fields"]["message"], "torn");
        assert_eq!(line["fields"]["chunk"], 7);
        assert_eq!(line["level"], "ERROR");
    }

    #[test]
    fn a_name_with_a_newline_cannot_forge_a_line() {
        let name = "a\n2026-01-01T00:00:00Z ERROR forged\x1b[2J";
        let text = in_file(
            &LogRequest::default(),
            None,
            |_| tracing::warn!(%name, "odd"),
        );
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn quiet_keeps_errors_alone() {
        let request = LogRequest {
            quiet: true,
            ..LogRequest::default()
        };
        let text = in_file(&request, None, |_| {
            tracing::warn!("less");
            tracing::error!("more");
        });
        assert!(text.contains("more") && !text.contains("less"));
    }

    #[test]
    fn the_environment_outranks_the_flags() {
        let text = in_file(&LogRequest::default(), Some("trace"), |logs| {
            logs.leave_terminal();
            tracing::trace!("fine");
        });
        assert!(text.contains("fine"));
    }

    #[test]
    fn a_malformed_filter_is_a_usage_error() {
        let result = build(
            LogRequest::default(),
            Target::Nowhere,
            Some("envelopefs=lots"),
        );
        assert_eq!(
            result.err().unwrap().exit(),
            super::super::exit::Exit::Usage
        );
    }

    #[test]
    fn a_log_file_in_a_missing_folder_is_a_usage_error() {
        let request = LogRequest {
            file: Some("/nonexistent/x".into()),
            ..LogRequest::default()
        };
        let failure = initial_target(&request).err().unwrap();
        assert!(failure.to_string().contains("/nonexistent/x"));
    }

    #[test]
    fn a_log_file_is_not_for_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = open_file(&dir.path().join("log")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0);
    }

    #[test]
    fn each_v_says_more() {
        let request = |verbose| LogRequest {
            verbose,
            ..LogRequest::default()
        };
        assert_eq!(request(0).directives(true), "warn");
        assert_eq!(request(0).directives(false), request(1).directives(true));
        assert_eq!(request(2).directives(true), "info,envelopefs=debug");
        assert_eq!(request(9).directives(true), "trace");
    }

    #[test]
    fn formats_read_back_and_others_are_refused() {
        for format in [LogFormat::Human, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for text in ["", "JSON", "xml"] {
            assert!(text.parse::<LogFormat>().is_err());
        }
    }
}

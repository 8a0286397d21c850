//! One configuration file: TOML to settings, and each thing that is wrong with its line.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Origin, Problems, Setting, Settings};
use crate::cli::logging::{self, LogFormat};
use crate::cli::options::{self, MountOption};

/// How a value looks in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `true` or `false`. What each means: options that are names alone.
    Flag(&'static str, Option<&'static str>),
    /// A word that stands for an option by itself.
    Word(&'static [&'static str]),
    /// Text, or a number, as behind the `=` of an option.
    Value,
    /// Text, or an array of it: the option comes several times.
    Values,
}

/// Every name, as the flags have it, and its form.
const NAMES: &[(&str, Form)] = &[
    ("accept-empty", Form::Flag("accept_empty", None)),
    ("acl", Form::Flag("acl", None)),
    ("allow-other", Form::Flag("allow_other", None)),
    (
        "allow-unlocked-memory",
        Form::Flag("allow_unlocked_memory", None),
    ),
    ("atime", Form::Word(&["strictatime", "relatime", "noatime"])),
    ("audit", Form::Value),
    ("audit-full", Form::Value),
    ("cache-ttl", Form::Value),
    (
        "default-permissions",
        Form::Flag("default_permissions", None),
    ),
    ("dev", Form::Flag("dev", Some("nodev"))),
    ("exec", Form::Flag("exec", Some("noexec"))),
    ("export", Form::Flag("export", None)),
    ("fsname", Form::Value),
    ("idle-lock", Form::Value),
    ("idle-unmount", Form::Value),
    ("key", Form::Values),
    ("key-cache-entries", Form::Value),
    ("key-cache-ttl", Form::Value),
    ("metrics", Form::Value),
    ("nonempty", Form::Flag("nonempty", None)),
    ("offline-grace", Form::Value),
    ("passphrase-command", Form::Value),
    ("passphrase-file", Form::Value),
    ("provider-rate", Form::Value),
    ("read-only", Form::Flag("ro", Some("rw"))),
    ("require-seal", Form::Value),
    ("sandbox", Form::Value),
    ("shared", Form::Flag("shared", None)),
    ("suid", Form::Flag("suid", Some("nosuid"))),
    ("threads", Form::Value),
    ("transport", Form::Value),
    ("wait", Form::Value),
];

/// The names of all settings of a mount.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; line 0: the file itself.
    pub origin: Origin,
    /// What.
    pub what: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin.line {
            0 => write!(f, "{}: {}", self.origin.file.display(), self.what),
            _ => write!(f, "{}: {}", self.origin, self.what),
        }
    }
}

/// What is said of the logs of mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// `log-level`
    pub level: Option<(String, Origin)>,
    /// `log-format`
    pub format: Option<(LogFormat, Origin)>,
    /// `log-file`
    pub file: Option<(PathBuf, Origin)>,
}

impl LogSettings {
    /// With what another says where it says something.
    pub(super) fn overlaid(self, other: Self) -> Self {
        Self {
            level: other.level.or(self.level),
            format: other.format.or(self.format),
            file: other.file.or(self.file),
        }
    }
}

/// What is said of one volume.
#[derive(Clone, Debug, Default)]
pub(super) struct OfVolume {
    pub(super) cipherdir: Option<PathBuf>,
    pub(super) mountpoint: Option<PathBuf>,
    pub(super) settings: Settings,
}

/// What one file says.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Document {
    pub(super) mount: Settings,
    pub(super) volumes: Vec<OfVolume>,
    pub(super) logs: LogSettings,
}

impl Document {
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let mut reader = Reader {
            file,
            text,
            problems: Vec::new(),
        };
        let mut document = Self::default();
        match DeTable::parse(text) {
            Err(error) => {
                let span = error.span().unwrap_or_default();
                reader.wrong(
                    span,
                    error.message().to_owned(),
                    "write it as TOML: name = \"value\"",
                );
            }
            Ok(table) => reader.document(table.get_ref(), &mut document),
        }
        match reader.problems.is_empty() {
            true => Ok(document),
            false => Err(Problems(reader.problems)),
        }
    }
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

type Value<'v> = Spanned<DeValue<'v>>;

impl Reader<'_> {
    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        Origin {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
        }
    }

    fn wrong(&mut self, span: Range<usize>, what: String, mend: impl Into<String>) {
        let problem = Problem {
            origin: self.origin(&span),
            what,
            mend: mend.into(),
        };
        self.problems.push(problem);
    }

    fn document(&mut self, table: &DeTable<'_>, into: &mut Document) {
        for (name, value) in table {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("log", DeValue::Table(table)) => self.logs(table, &mut into.logs),
                ("mount", DeValue::Table(table)) => into.mount = self.settings(table, &[]),
                ("volume", DeValue::Array(list)) => {
                    let volumes = list.iter().map(|value| self.volume(value));
                    into.volumes = volumes.collect();
                }
                (section @ ("log" | "mount"), _) => {
                    self.wrong(
                        name.span(),
                        format!("{section} is a section"),
                        format!("write [{section}], and below it the names"),
                    );
                }
                ("volume", _) => {
                    self.wrong(
                        name.span(),
                        "volume is a list of sections".to_owned(),
                        "write [[volume]], with two brackets",
                    );
                }
                (other, _) => {
                    let mend = match names().any(|name| name == other) {
                        true => "put it below [mount] or [[volume]]".to_owned(),
                        false => "there are [log], [mount] and [[volume]]".to_owned(),
                    };
                    self.wrong(name.span(), format!("{other:?} is unknown here"), mend);
                }
            }
        }
    }

    fn volume(&mut self, value: &Value<'_>) -> OfVolume {
        const WHICH: [&str; 2] = ["cipherdir", "mountpoint"];
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(
                value.span(),
                "a volume is a section".to_owned(),
                "write [[volume]], and below it the names",
            );
            return OfVolume::default();
        };
        let [cipherdir, mountpoint] = WHICH.map(|name| self.path(table, name));
        if cipherdir.is_none() && mountpoint.is_none() {
            self.wrong(
                value.span(),
                "no word on which volume is meant".to_owned(),
                "name it: cipherdir = \"/…\", or mountpoint = \"/…\"",
            );
        }
        OfVolume {
            cipherdir,
            mountpoint,
            settings: self.settings(table, &WHICH),
        }
    }

    fn path(&mut self, table: &DeTable<'_>, name: &str) -> Option<PathBuf> {
        let value = table.get(name)?;
        let path = value
            .get_ref()
            .as_str()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        if path.is_none() {
            self.wrong(
                value.span(),
                format!("{name}: a whole path is due"),
                format!("write {name} = \"/…\""),
            );
        }
        path
    }

    fn logs(&mut self, table: &DeTable<'_>, into: &mut LogSettings) {
        for (name, value) in table {
            let Some(text) = value.get_ref().as_str() else {
                self.wrong(
                    value.span(),
                    format!("{}: text is due", name.get_ref()),
                    "put it in quotes",
                );
                continue;
            };
            let origin = self.origin(&name.span());
            match name.get_ref().as_ref() {
                "log-file" => into.file = Some((text.into(), origin)),
                "log-format" => match text.parse() {
                    Ok(format) => into.format = Some((format, origin)),
                    Err(error) => self.wrong(value.span(), error.to_string(), "write \"human\" or \"json\""),
                },
                "log-level" if logging::is_filter(text) => into.level = Some((text.to_owned(), origin)),
                "log-level" => self.wrong(
                    value.span(),
                    format!("log-level: {text:?} is none"),
                    "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or parts, as in \"warn,envelopefs::keys=debug\"",
                ),
                other => self.wrong(name.span(), format!("{other:?} is unknown in [log]"), "there are log-file, log-format and log-level"),
            }
        }
    }

    fn settings(&mut self, table: &DeTable<'_>, but: &[&str]) -> Settings {
        let mut settings = Settings::new();
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            if but.contains(&key) {
                continue;
            }
            let Some((known, form)) = NAMES.iter().find(|(known, _)| *known == key) else {
                self.wrong(
                    name.span(),
                    format!("{key:?} is unknown"),
                    unknown_mend(key),
                );
                continue;
            };
            match options_of(known, *form, value.get_ref()) {
                Err((what, mend)) => self.wrong(value.span(), format!("{known}: {what}"), mend),
                Ok(options) => {
                    let setting = Setting {
                        options,
                        text: self.text.get(value.span()).unwrap_or_default().to_owned(),
                        origin: self.origin(&name.span()),
                    };
                    settings.insert(known, setting);
                }
            }
        }
        settings
    }
}

/// The name that was meant, where one is near.
fn unknown_mend(name: &str) -> String {
    let dashed = name.replace('_', "-");
    let near =
        names().find(|known| *known == dashed || known.replace('-', "") == dashed.replace('-', ""));
    match near {
        Some(known) => format!("{known} may be meant"),
        None => "`envelopefs config show` lists the names".to_owned(),
    }
}

type Wrong = (String, String);

fn options_of(name: &str, form: Form, value: &DeValue<'_>) -> Result<Vec<MountOption>, Wrong> {
    match (form, value) {
        (Form::Flag(on, off), DeValue::Boolean(wanted)) => {
            let word = if *wanted { Some(on) } else { off };
            word.map(parse).into_iter().collect()
        }
        (Form::Flag(..), _) => Err(due("true or false")),
        (Form::Word(words), DeValue::String(word)) if words.contains(&word.as_ref()) => {
            Ok(vec![parse(word)?])
        }
        (Form::Word(words), _) => Err(due(&format!("one of {}", words.join(", ")))),
        (Form::Value, value) => Ok(vec![valued(name, value)?]),
        (Form::Values, DeValue::Array(list)) => list
            .iter()
            .map(|value| valued(name, value.get_ref()))
            .collect(),
        (Form::Values, value) => Ok(vec![valued(name, value)?]),
    }
}

fn valued(name: &str, value: &DeValue<'_>) -> Result<MountOption, Wrong> {
    let text = match value {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(number) => number.as_str(),
        _ => return Err(due("text or a whole number")),
    };
    parse(&format!("{}={text}", name.replace('-', "_")))
}

fn due(what: &str) -> Wrong {
    (format!("{what} is due"), format!("write {what}"))
}

fn parse(item: &str) -> Result<MountOption, Wrong> {
    options::parse_item(item).map_err(|error| {
        let why = match &error {
            options::OptionError::Value { error, .. } => error.to_string(),
            other => other.to_string(),
        };
        (
            why,
            "`envelopefs mount --help` says what it may be".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parsed(text: &str) -> Result<Document, Vec<(usize, String, String)>> {
        Document::parse(Path::new("c"), text).map_err(|Problems(problems)| {
            let plain = |problem: Problem| (problem.origin.line, problem.what, problem.mend);
            problems.into_iter().map(plain).collect()
        })
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let document = parsed(
            "[log]\nlog-level = \"debug\"\nlog-format = \"json\"\nlog-file = \"/l\"\n\
             [mount]\nacl = true\nshared = false\ndev = false\natime = \"noatime\"\nthreads = 4\nidle-lock = \"5m\"\nwait = 7\n\
             key = [\"file:///a\", \"passphrase:\"]\n",
        )
        .unwrap();
        let options = |name: &str| document.mount[name].options.clone();
        assert_eq!(options("acl"), [MountOption::Acl]);
        assert_eq!(options("shared"), []);
        assert_eq!(options("dev"), [MountOption::Dev(false)]);
        assert_eq!(options("threads"), [MountOption::Threads(4)]);
        assert_eq!(
            options("idle-lock"),
            [MountOption::IdleLock(Duration::from_mins(5))]
        );
        assert_eq!(options("wait"), [MountOption::Wait(Duration::from_secs(7))]);
        assert_eq!(options("key").len(), 2);
        assert_eq!(document.mount["wait"].origin.line, 12);
        assert_eq!(document.logs.level.unwrap().0, "debug");
    }

    #[test]
    fn each_thing_that_is_wrong_is_told_with_its_line() {
        let problems = parsed(
            "wait = 3\n[mount]\nkey_cache_ttl = \"5m\"\nfrob = 1\nacl = \"yes\"\nthreads = 0\nidle-lock = 1.5\natime = \"never\"\n\
             [log]\nlog-level = \"a=b=c\"\nx = \"y\"\n[[volume]]\nwait = 3\n[[volume]]\nmountpoint = \"m\"\n",
        )
        .unwrap_err();
        let told = |line: usize, what: &str, mend: &str| {
            let is_it = problems
                .iter()
                .any(|(at, said, how)| *at == line && said.contains(what) && how.contains(mend));
            assert!(is_it, "{line} {what} {mend} in {problems:#?}");
        };
        told(1, "wait", "[mount]");
        told(3, "key_cache_ttl", "key-cache-ttl may be meant");
        told(4, "frob", "config show");
        told(5, "true or false", "true or false");
        told(6, "outside 1..256", "--help");
        told(7, "text or a whole number", "");
        told(8, "noatime", "");
        told(10, "log-level", "\"debug\"");
        told(11, "unknown in [log]", "log-file");
        told(12, "which volume", "cipherdir");
        told(15, "whole path", "mountpoint");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let problems = parsed("[mount]\nwait = \n").unwrap_err();
        assert_eq!(problems.first().unwrap().0, 2, "{problems:?}");
        for text in [
            "mount = 3",
            "volume = 3",
            "[volume]\nwait = 3",
            "[[mount]]",
            "volume = [3]",
        ] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    /// So that no flag of `mount` is forgotten here.
    #[test]
    fn every_mount_option_has_a_name_here() {
        let known: Vec<String> = NAMES
            .iter()
            .flat_map(|(name, form)| match form {
                Form::Flag(on, off) => std::iter::once(*on)
                    .chain(*off)
                    .map(str::to_owned)
                    .collect(),
                Form::Word(words) => words.iter().map(|word| (*word).to_owned()).collect(),
                Form::Value | Form::Values => vec![name.replace('-', "_")],
            })
            .collect();
        let elsewhere = ["atime", "read_only", "log_file", "log_format"];
        for option in options::names()
            .into_iter()
            .filter(|name| !elsewhere.contains(name))
        {
            assert!(known.iter().any(|name| name == option), "{option}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        for text in [
            "",
            "=",
            "[",
            "\u{0}",
            "[[volume]]\n[[volume]]",
            "a.b.c = 1",
            "mount.wait = 5",
            "é = 1",
        ] {
            drop(parsed(text));
        }
        assert!(parsed("mount.wait = 5").is_ok());
    }
}

//! The configuration file: what `mount` takes where neither its options nor `-o` say otherwise.
//!
//! `/etc/envelopefs/config.toml`, then `envelopefs/config.toml` in `XDG_CONFIG_HOME` (`~/.config`): the second outranks the first,
//! and what is said of one volume outranks what is said of all. A file that somebody else may write is refused, for it may name a
//! command to run.

mod document;
mod file;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::cmd::mount::LogOptions;
use super::failure::Failure;
use super::logging::LogRequest;
use super::options::MountOption;

pub use document::{LogSettings, Problem, names};

use document::Document;

/// In place of the usual files; empty: no file at all.
pub const VARIABLE: &str = "ENVELOPEFS_CONFIG";
const OF_MACHINE: &str = "/etc/envelopefs/config.toml";
const OF_USER: &str = "envelopefs/config.toml";

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it comes to; empty for a flag that is off. Several for `key`.
    pub options: Vec<MountOption>,
    /// As TOML.
    pub text: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Values by the names of the flags.
pub type Settings = BTreeMap<&'static str, Setting>;

/// What the files say, the weakest first.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    documents: Vec<Document>,
}

/// The files that count, there or not.
pub fn files() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(named))
            .filter(|path| !path.as_os_str().is_empty())
            .into_iter()
            .collect();
    }
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let own = given("XDG_CONFIG_HOME").map(PathBuf::from);
    let own = own.or_else(|| Some(PathBuf::from(given("HOME")?).join(".config")));
    let own = own.filter(|folder| folder.is_absolute());
    let own = own.map(|folder| folder.join(OF_USER));
    std::iter::once(PathBuf::from(OF_MACHINE))
        .chain(own)
        .collect()
}

impl Configuration {
    /// Reads the files that are there.
    ///
    /// # Errors
    /// One is not to be trusted, or says what cannot be followed.
    pub fn load() -> Result<Self, Failure> {
        start();
        let documents = files()
            .into_iter()
            .filter_map(|path| read(&path).transpose());
        let documents = documents
            .collect::<Result<_, _>>()
            .map_err(|problems: Problems| {
                let first = problems
                    .0
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                Failure::usage("cannot follow the configuration file", first)
                    .advise("`envelopefs config check` says all that is wrong with it")
            })?;
        Ok(Self { documents })
    }

    /// What is said of a mount of `cipherdir` at `mountpoint`.
    pub fn settings(&self, cipherdir: &Path, mountpoint: &Path) -> Settings {
        let place = Place {
            cipherdir: real(cipherdir),
            mountpoint: real(mountpoint),
        };
        let of_all = self.documents.iter().map(|document| &document.mount);
        let of_one = self.documents.iter().flat_map(|document| {
            document.volumes.iter().filter(|volume| {
                let is = |said: &Option<PathBuf>, own: &Path| {
                    said.as_ref().is_none_or(|said| real(said) == own)
                };
                is(&volume.cipherdir, &place.cipherdir) && is(&volume.mountpoint, &place.mountpoint)
            })
        });
        let layers = of_all.chain(of_one.map(|volume| &volume.settings));
        let mut settings = Settings::new();
        for layer in layers {
            settings.extend(layer.iter().map(|(name, setting)| (*name, setting.clone())));
        }
        settings
    }

    /// Puts what is said of the logs of a mount under what its options (`-o`) and its flags, in `logs`, say of them.
    /// `format_given`: the format there is from a flag, and no default.
    pub fn lay_under(&self, options: LogOptions, logs: &mut LogRequest, format_given: bool) {
        let said = self.logs();
        let file = options.file.or(logs.file.take());
        logs.file = file.or(said.file.map(|(file, _)| file));
        let format = said.format.filter(|_| !format_given);
        let format = options.format.or(format.map(|(format, _)| format));
        logs.format = format.unwrap_or(logs.format);
        logs.level = said.level.map(|(level, _)| level);
    }

    /// What is said of the logs of a mount.
    pub fn logs(&self) -> LogSettings {
        let layers = self.documents.iter().map(|document| document.logs.clone());
        layers.fold(LogSettings::default(), LogSettings::overlaid)
    }
}

struct Place {
    cipherdir: PathBuf,
    mountpoint: PathBuf,
}

/// All that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// What a file says; None where there is none.
///
/// # Errors
/// All that is wrong with it.
pub(in crate::cli) fn read(path: &Path) -> Result<Option<Document>, Problems> {
    let text = file::read(path).map_err(|why| {
        Problems(vec![Problem {
            origin: Origin {
                file: path.to_owned(),
                line: 0,
            },
            what: why.what,
            mend: why.mend,
        }])
    })?;
    text.map(|text| Document::parse(path, &text)).transpose()
}

/// Where this process was begun: in the background it works in another folder, and reads its files again at SIGHUP.
fn start() -> &'static Path {
    static START: OnceLock<PathBuf> = OnceLock::new();
    START.get_or_init(|| std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")))
}

/// A path that was given where this process was begun.
pub fn from_start(path: &Path) -> PathBuf {
    start().join(path)
}

/// The path without links and dots but in its last part, which is not asked: there may be a mount, even this one.
fn real(path: &Path) -> PathBuf {
    let whole = start().join(path);
    let parts = whole.parent().zip(whole.file_name().map(OsStr::to_owned));
    let Some((parent, name)) = parts else {
        return whole;
    };
    std::fs::canonicalize(parent).map_or_else(|_| whole.clone(), |parent| parent.join(name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(texts: &[(&str, &str)]) -> Configuration {
        let documents = texts
            .iter()
            .map(|(name, text)| Document::parse(Path::new(name), text).unwrap());
        Configuration {
            documents: documents.collect(),
        }
    }

    fn wait_of(
        configuration: &Configuration,
        cipherdir: &str,
        mountpoint: &str,
    ) -> Option<(Duration, String)> {
        let settings = configuration.settings(Path::new(cipherdir), Path::new(mountpoint));
        let setting = settings.get("wait")?;
        match setting.options.as_slice() {
            [MountOption::Wait(time)] => Some((*time, setting.origin.to_string())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearer_word_counts() {
        let machine =
            "[mount]\nwait = \"1s\"\n[[volume]]\ncipherdir = \"/srv/a.enc\"\nwait = \"2s\"\n";
        let user = "[mount]\nwait = \"3s\"\n[[volume]]\nmountpoint = \"/m\"\nwait = \"4s\"\n";
        let both = of(&[("/etc/c", machine), ("/home/c", user)]);
        let secs = |secs, origin: &str| Some((Duration::from_secs(secs), origin.to_owned()));
        assert_eq!(wait_of(&both, "/x", "/y"), secs(3, "/home/c:2"));
        assert_eq!(wait_of(&both, "/srv/a.enc", "/y"), secs(2, "/etc/c:5"));
        assert_eq!(wait_of(&both, "/srv/a.enc", "/m"), secs(4, "/home/c:5"));
        assert_eq!(wait_of(&of(&[]), "/x", "/y"), None);
    }

    #[test]
    fn a_volume_may_be_named_by_both_of_its_folders() {
        let one = of(&[(
            "c",
            "[[volume]]\ncipherdir = \"/srv/a\"\nmountpoint = \"/m\"\nwait = \"2s\"",
        )]);
        assert!(wait_of(&one, "/srv/a", "/m").is_some());
        assert!(wait_of(&one, "/srv/a", "/n").is_none());
        assert!(wait_of(&one, "/srv/b", "/m").is_none());
    }

    #[test]
    fn a_path_is_known_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let place = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(place.join("real")).unwrap();
        std::os::unix::fs::symlink("real", place.join("link")).unwrap();
        assert_eq!(real(&place.join("link/vol")), place.join("real/vol"));
        assert_eq!(real(Path::new("/")), Path::new("/"));
    }
}

//! The folder of a service, and the settings in it.
//!
//! ```text
//! envelopekms.toml     the settings below
//! store.db             the store, unless it is a PostgreSQL database
//! tls/server.pem, tls/server.key, tls/ca.pem
//! audit/serve.log, audit/commands-UID.log
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::PlaceArgs;
use crate::audit::WhenFull;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::kms::store::Location;
use crate::units::KeyUri;

/// Of the settings.
const SETTINGS: &str = "envelopekms.toml";

/// A service's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder(pub(super) PathBuf);

/// What a service is started with; relative paths are below its folder.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// A path, or `postgres://…`.
    pub(super) store: String,
    pub(super) listen: SocketAddr,
    /// Where metrics are served, on this machine alone.
    pub(super) metrics: Option<SocketAddr>,
    /// Of one access key.
    pub(super) requests_per_second: Option<NonZeroU32>,
    /// The PKCS#11 token that keys may live in, with what this machine has for it.
    pub(super) hsm: Option<KeyUri>,
    /// What this machine has for the keys that open the root key, where that is more than the environment says.
    #[serde(default)]
    pub(super) root_keys: Vec<KeyUri>,
    pub(super) tls: TlsFiles,
    #[serde(default)]
    pub(super) audit: AuditSettings,
}

/// PEM files.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// What clients are to trust; none where they do already.
    pub(super) ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditSettings {
    #[serde(default)]
    pub(super) when_full: WhenFullSetting,
}

/// What becomes of calls while the audit trail cannot be written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhenFullSetting {
    /// They go on; what could not be noted is counted.
    #[default]
    Drop,
    /// They are refused.
    Refuse,
}

impl From<WhenFullSetting> for WhenFull {
    fn from(setting: WhenFullSetting) -> Self {
        match setting {
            WhenFullSetting::Drop => Self::Drop,
            WhenFullSetting::Refuse => Self::Fail,
        }
    }
}

impl Folder {
    /// The folder that was named, else the default one.
    ///
    /// # Errors
    /// None was named and there is no home, or what was named is no path.
    pub(super) fn of(place: &PlaceArgs, positional: Option<&Path>) -> Result<Self, Failure> {
        let named = positional.or(place.dir.as_deref()).map(Path::to_owned);
        let root = rustix::process::geteuid().is_root();
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let default = || default_folder(root, variable("XDG_DATA_HOME"), variable("HOME"));
        let what = "cannot tell the service's folder";
        let folder = named.or_else(default).ok_or_else(|| {
            Failure::usage(what, "there is no home folder").advise("name it: --dir DIR")
        })?;
        // What is printed of it is for other programs, which are somewhere else.
        let absolute = std::path::absolute(&folder);
        absolute
            .map(Self)
            .map_err(|error| Failure::usage(what, format!("{}: {error}", folder.display())))
    }

    /// A file of the folder.
    pub(super) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.join(below)
    }

    /// Where the audit trail lies.
    pub(super) fn audit(&self) -> PathBuf {
        self.path("audit")
    }

    /// The settings.
    ///
    /// # Errors
    /// There are none, or they cannot be followed.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let path = self.path(SETTINGS);
        let what = format!("cannot open the service in {}", self.0.display());
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::new(Exit::NoService, what.clone(), "there is no key service")
                    .advise("make one with `envelopekms init`, or name another folder with --dir")
            }
            _ => Failure::new(
                Exit::Failure,
                what.clone(),
                format!("{}: {error}", path.display()),
            ),
        })?;
        let mut settings: Settings = toml::from_str(&text).map_err(|error| {
            let why = format!("{}: {}", path.display(), error.message());
            Failure::usage(what, why).advise("mend that line; docs/kms/CLI.md has all settings")
        })?;
        for file in [&mut settings.tls.certificate, &mut settings.tls.key] {
            *file = self.0.join(&*file);
        }
        settings.tls.ca = settings.tls.ca.map(|ca| self.0.join(ca));
        Ok(settings)
    }

    /// Where the store is.
    pub(super) fn location(&self, settings: &Settings) -> Location {
        let is_url = settings.store.contains("://");
        // An invalid URL is told by the store.
        let text = match is_url {
            true => settings.store.clone(),
            false => self.0.join(&settings.store).to_string_lossy().into_owned(),
        };
        match text.parse() {
            Ok(location) => location,
            Err(never) => match never {},
        }
    }

    /// Writes the settings: the last thing that makes a folder a service.
    pub(super) fn write_settings(&self, text: &str) -> std::io::Result<()> {
        let path = self.path(SETTINGS);
        write_new(&path, 0o600, text.as_bytes())
    }

    /// Makes the folder where it is not there; says whether it was made.
    ///
    /// # Errors
    /// It is not empty, or cannot be made.
    pub(super) fn make(&self, what: &str) -> Result<bool, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Exit::Failure,
                what,
                format!("{}: {error}", self.0.display()),
            )
            .advise("name a folder that may be written: --dir DIR")
        };
        let made = !self.0.exists();
        make_folder(&self.0, 0o711).map_err(failed)?;
        if self.path(SETTINGS).exists() {
            return Err(
                Failure::new(Exit::ServiceExists, what, "there is a key service already")
                    .advise("serve it with `envelopekms serve`, or name another folder"),
            );
        }
        if fs::read_dir(&self.0).map_err(failed)?.next().is_some() {
            return Err(Failure::new(Exit::Failure, what, "the folder is not empty")
                .advise("name an empty folder, or one that is not there yet"));
        }
        Ok(made)
    }

    /// Takes back what was made in a folder that was empty.
    pub(super) fn take_back(&self, folder_too: bool) {
        let below = ["store.db", "store.db-wal", "store.db-shm"].map(|name| self.path(name));
        let files = below.iter().map(fs::remove_file);
        let removed = files.filter(Result::is_ok).count();
        let folders = ["tls", "audit"].map(|name| fs::remove_dir_all(self.path(name)));
        let folder = folder_too.then(|| fs::remove_dir(&self.0));
        tracing::debug!(removed, ?folders, ?folder, "what was made is taken back");
    }

    /// Waits until no other command works on this service, and keeps others waiting: the audit trail has one writer.
    pub(super) fn lock(&self) -> std::io::Result<File> {
        let file = File::open(self.path(SETTINGS))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// XDG Base Directory Specification: relative paths are to be ignored.
fn default_folder(root: bool, data: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/envelopekms"));
    }
    let data = data.filter(|path| path.is_absolute());
    let home = home.filter(|path| path.is_absolute());
    let data = data.or_else(|| home.map(|home| home.join(".local/share")))?;
    Some(data.join("envelopekms"))
}

/// A folder of this mode, and those above it.
pub(super) fn make_folder(path: &Path, mode: u32) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// A file that was not there before.
pub(super) fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Text as TOML has it between quotes.
pub(super) fn quoted(text: &str) -> String {
    // Every JSON string is a TOML string, but for DEL.
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "store = \"store.db\"\nlisten = \"127.0.0.1:8443\"\n[tls]\ncertificate = \"tls/server.pem\"\nkey = \"/k\"\n";

    fn read(text: &str) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(SETTINGS), text).unwrap();
        let mut settings = Folder(folder.path().to_owned()).settings()?;
        let below = settings.tls.certificate.strip_prefix(folder.path());
        settings.tls.certificate = below.unwrap().to_owned();
        Ok(settings)
    }

    #[test]
    fn settings_are_read_and_paths_are_below_the_folder() {
        let settings = read(GOOD).unwrap();
        assert_eq!(settings.tls.certificate, Path::new("tls/server.pem"));
        assert_eq!(settings.tls.key, Path::new("/k"));
        assert_eq!(settings.audit.when_full, WhenFullSetting::Drop);
        let folder = Folder("/f".into());
        assert_eq!(
            folder.location(&settings),
            Location::Sqlite("/f/store.db".into())
        );
        let settings = read(&GOOD.replace("store.db", "postgres://h/d")).unwrap();
        assert!(matches!(folder.location(&settings), Location::Postgres(_)));
    }

    #[test]
    fn settings_that_cannot_be_followed_are_usage_errors() {
        for wrong in [
            "",
            "store = 1",
            &GOOD.replace("127.0.0.1:8443", "here"),
            &GOOD.replace("listen", "listne"),
            &format!("{GOOD}[audit]\nwhen_full = \"perhaps\"\n"),
            &format!("requests_per_second = 0\n{GOOD}"),
        ] {
            assert_eq!(read(wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let missing = Folder(folder.path().to_owned()).settings().unwrap_err();
        assert_eq!(missing.exit(), Exit::NoService);
    }

    #[test]
    fn a_folder_with_something_in_it_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let place = Folder(folder.path().to_owned());
        assert!(!place.make("x").unwrap());
        assert!(Folder(folder.path().join("a/b")).make("x").unwrap());
        assert_eq!(place.make("x").unwrap_err().exit(), Exit::Failure);
        place.write_settings(GOOD).unwrap();
        assert_eq!(place.make("x").unwrap_err().exit(), Exit::ServiceExists);
        assert!(place.write_settings(GOOD).is_err(), "never replaced");
    }

    #[test]
    fn the_default_folder_is_root_s_or_the_user_s() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            default_folder(true, None, None),
            path("/var/lib/envelopekms")
        );
        let of = |data, home| default_folder(false, data, home);
        assert_eq!(of(path("/d"), path("/h")), path("/d/envelopekms"));
        assert_eq!(
            of(path("d"), path("/h")),
            path("/h/.local/share/envelopekms")
        );
        assert_eq!(of(None, path("h")), None);
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn any_text_is_the_same_after_quoting() {
        for text in ["a", "a\"b\\c", "\n\u{7f}\u{1}", "中"] {
            let table: toml::Table = toml::from_str(&format!("a = {}", quoted(text))).unwrap();
            assert_eq!(table["a"].as_str(), Some(text));
        }
    }
}

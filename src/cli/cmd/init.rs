//! `envelopefs init`: its arguments and the request they make.

mod run;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::cli::args::{PassphraseArgs, PassphraseFrom};
use crate::cli::failure::Failure;
use crate::cli::values::{self, ValueError};
use crate::format::layout::{Layout, LayoutError};
use crate::format::volume_config::{ForeignFiles, KeyScope, MAX_KEYS, NameMode};
use crate::units::{KeyUri, VolumeId};

pub(super) use run::make;
pub use run::run;

const AFTER: &str = "\
KEYS:
  file:///PATH   a key file; made where it is missing. Back it up: without it nothing opens.
  kmip://HOST:PORT/NAME   a key of a KMIP server; docs/keys/kmip.md has the steps
  passphrase:    a passphrase, stretched by Argon2id
  pkcs11:token=LABEL;object=LABEL   a key in an HSM (RFC 7512); docs/KEYS.md has the steps
  rsa:/PATH.pem  an RSA public key: who has its private key reads; docs/keys/rsa.md has the steps

EXAMPLES:
  envelopefs init ~/secrets.enc
  envelopefs init ~/secrets.enc --key passphrase:
  envelopefs init /srv/a.enc --key file:///etc/envelopefs/keys/a.json --key-scope volume
  envelopefs init /srv/backup.enc --names plain --block-size 64K";

/// Arguments of `init`.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER)]
pub struct InitArgs {
    /// The ciphertext folder: empty, or not there yet
    #[arg(value_name = "CIPHERDIR")]
    pub cipherdir: PathBuf,

    /// What the volume is to be.
    #[command(flatten)]
    pub volume: NewVolumeArgs,
}

/// What a new volume is to be; also arguments of `import`.
#[derive(Args, Clone, Debug)]
pub struct NewVolumeArgs {
    /// The key that opens the volume; may be given several times, and any one of them opens it
    ///
    /// Default: a new key file, mode 0600, in $XDG_CONFIG_HOME/envelopefs/keys/ (~/.config if
    /// unset; root: /etc/envelopefs/keys/), named after the volume. Its place is printed.
    #[arg(long = "key", value_name = "URI", help_heading = "Keys")]
    pub keys: Vec<KeyUri>,

    /// A key that opens the volume, and none of its files; may be given several times
    ///
    /// With it a host sees names and makes files that it cannot read, if it has no --key: for
    /// `--key rsa:…` where only others have the private key. docs/keys/rsa.md has the steps.
    #[arg(
        long = "volume-key",
        value_name = "URI",
        requires = "keys",
        help_heading = "Keys"
    )]
    pub volume_keys: Vec<KeyUri>,

    /// What the key wraps: each file's data key (file), or one volume key over them all (volume)
    ///
    /// `file` lets a ciphertext file be moved, backed up and opened alone, and the provider decide
    /// and log for each file. `volume` asks the provider once for each mount: for trees of many
    /// files.
    #[arg(
        long,
        value_enum,
        value_name = "SCOPE",
        default_value_t,
        help_heading = "Keys"
    )]
    pub key_scope: ScopeChoice,

    /// Whether names in CIPHERDIR are encrypted or as they are
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value_t,
        help_heading = "Format"
    )]
    pub names: NamesChoice,

    /// Bytes of a block, 4K to 1M, a power of two
    ///
    /// 4K survives a power cut at any point. Larger blocks save a little space and are for
    /// archives that are written once.
    #[arg(long, value_name = "SIZE", value_parser = parse_block, default_value = "4K", help_heading = "Format")]
    pub block_size: u32,

    /// Bytes of a file's header, 512, 1024 or 2048: room for the wrapped data keys
    #[arg(long, value_name = "SIZE", value_parser = parse_header, default_value = "1024", help_heading = "Format")]
    pub header_size: u32,

    /// Whether files that this volume did not make may be read
    ///
    /// Default: deny with encrypted names; allow with plain names, where `envelopefs encrypt` may
    /// put files.
    #[arg(long, value_enum, value_name = "RULE", help_heading = "Format")]
    pub foreign_files: Option<ForeignChoice>,

    /// Where a passphrase comes from.
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
}

/// `--key-scope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ScopeChoice {
    /// The provider wraps each file's data key
    #[default]
    File,
    /// The provider wraps one volume key, which wraps the files' data keys
    Volume,
}

/// `--names`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamesChoice {
    /// Names are encrypted
    #[default]
    Encrypted,
    /// Names are as they are
    Plain,
}

/// `--foreign-files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ForeignChoice {
    /// They are read
    Allow,
    /// They are refused
    Deny,
}

impl From<ScopeChoice> for KeyScope {
    fn from(choice: ScopeChoice) -> Self {
        match choice {
            ScopeChoice::File => Self::File,
            ScopeChoice::Volume => Self::Volume,
        }
    }
}

impl From<NamesChoice> for NameMode {
    fn from(choice: NamesChoice) -> Self {
        match choice {
            NamesChoice::Encrypted => Self::Encrypted,
            NamesChoice::Plain => Self::Plain,
        }
    }
}

impl From<ForeignChoice> for ForeignFiles {
    fn from(choice: ForeignChoice) -> Self {
        match choice {
            ForeignChoice::Allow => Self::Allow,
            ForeignChoice::Deny => Self::Deny,
        }
    }
}

/// A block size from text.
///
/// # Errors
/// Not a size, or none that the format has.
pub(super) fn parse_block(text: &str) -> Result<u32, SizeError> {
    let size = parse_u32(text)?;
    Layout::new(size, 1024)?;
    Ok(size)
}

/// A header size from text.
///
/// # Errors
/// Not a size, or none that the format has.
pub(super) fn parse_header(text: &str) -> Result<u32, SizeError> {
    let size = parse_u32(text)?;
    Layout::new(4096, size)?;
    Ok(size)
}

fn parse_u32(text: &str) -> Result<u32, ValueError> {
    u32::try_from(values::parse_size(text)?).map_err(|_error| ValueError::OutOfRange {
        text: text.chars().take(80).collect(),
        range: "0..4G".to_owned(),
    })
}

/// Text that is no block or header size.
#[derive(Debug, thiserror::Error)]
pub enum SizeError {
    /// The format has no such size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is no size at all.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// The layout of two sizes that were parsed alone.
///
/// # Errors
/// The format does not have them.
pub(super) fn layout(block_size: u32, header_size: u32) -> Result<Layout, Failure> {
    Layout::new(block_size, header_size).map_err(|error| Failure::usage("no such layout", error))
}

/// Refuses more keys than a volume or a header may name.
///
/// # Errors
/// Too many, or one of them twice.
pub(super) fn check_keys(keys: &[KeyUri]) -> Result<(), Failure> {
    let cannot = |why: String| Failure::usage("cannot use these keys", why);
    if keys.len() > MAX_KEYS {
        return Err(cannot(format!(
            "there are {}; {MAX_KEYS} are the most",
            keys.len()
        )));
    }
    let mut rest = keys;
    while let Some((first, others)) = rest.split_first() {
        if others.contains(first) {
            return Err(cannot(format!("{first} is given twice")));
        }
        rest = others;
    }
    Ok(())
}

/// The keys that `init` was told to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChoice {
    /// These, in order; not empty.
    Given(Vec<KeyUri>),
    /// None given: a new key file in [`default_key_folder`].
    NewKeyFile,
}

/// A volume that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitRequest {
    /// The ciphertext folder as given.
    pub cipherdir: PathBuf,
    /// The keys.
    pub keys: KeyChoice,
    /// Keys that open the volume alone.
    pub volume_keys: Vec<KeyUri>,
    /// What they wrap.
    pub key_scope: KeyScope,
    /// Whether names are encrypted.
    pub names: NameMode,
    /// Block and header size.
    pub layout: Layout,
    /// Whether foreign files are read; what `names` suggests unless said.
    pub foreign_files: ForeignFiles,
    /// Where a passphrase comes from.
    pub passphrase: PassphraseFrom,
}

impl TryFrom<InitArgs> for InitRequest {
    type Error = Failure;

    fn try_from(args: InitArgs) -> Result<Self, Failure> {
        Self::new(args.cipherdir, args.volume)
    }
}

impl InitRequest {
    /// A volume in `cipherdir`.
    ///
    /// # Errors
    /// Arguments that do not go together.
    pub fn new(cipherdir: PathBuf, args: NewVolumeArgs) -> Result<Self, Failure> {
        let by_names = match args.names {
            NamesChoice::Encrypted => ForeignChoice::Deny,
            NamesChoice::Plain => ForeignChoice::Allow,
        };
        check_keys(&[args.keys.clone(), args.volume_keys.clone()].concat())?;
        if !args.volume_keys.is_empty() && args.key_scope == ScopeChoice::Volume {
            return Err(Failure::usage(
                "cannot use these keys",
                "with --key-scope volume, whoever opens the volume opens its files: --volume-key would be a --key",
            ));
        }
        Ok(Self {
            cipherdir,
            volume_keys: args.volume_keys,
            keys: match args.keys {
                keys if keys.is_empty() => KeyChoice::NewKeyFile,
                keys => KeyChoice::Given(keys),
            },
            key_scope: args.key_scope.into(),
            names: args.names.into(),
            layout: layout(args.block_size, args.header_size)?,
            foreign_files: args.foreign_files.unwrap_or(by_names).into(),
            passphrase: args.passphrase.into(),
        })
    }
}

/// What decides where a new key file lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    /// The process runs as root.
    pub root: bool,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl KeyPlaces {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        Self {
            root: rustix::process::geteuid().is_root(),
            config_home: std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }
}

/// The folder of new key files: `/etc/envelopefs/keys` for root, else `envelopefs/keys` in the
/// user's configuration folder. None where neither `XDG_CONFIG_HOME` nor `HOME` is an absolute
/// path (XDG Base Directory Specification: relative ones are to be ignored).
pub fn default_key_folder(places: &KeyPlaces) -> Option<PathBuf> {
    if places.root {
        return Some(PathBuf::from("/etc/envelopefs/keys"));
    }
    let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    let config = absolute(&places.config_home)
        .or_else(|| absolute(&places.home).map(|home| home.join(".config")))?;
    Some(config.join("envelopefs/keys"))
}

/// The new key file of a volume.
pub fn key_file_path(folder: &Path, volume: &VolumeId) -> PathBuf {
    folder.join(format!("{volume}.json"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn request(line: &str) -> Result<InitRequest, String> {
        let line = format!("envelopefs init {line}");
        let cli = Cli::try_parse_from(line.split_whitespace());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Init(args) => args
                .try_into()
                .map_err(|failure: Failure| failure.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_a_new_key_file_encrypted_names_and_4_kib_blocks() {
        let expected = InitRequest {
            cipherdir: "d".into(),
            keys: KeyChoice::NewKeyFile,
            volume_keys: Vec::new(),
            key_scope: KeyScope::File,
            names: NameMode::Encrypted,
            layout: Layout::DEFAULT,
            foreign_files: ForeignFiles::Deny,
            passphrase: PassphraseFrom::Prompt,
        };
        assert_eq!(request("d").unwrap(), expected);
    }

    #[test]
    fn everything_can_be_chosen() {
        let line = "d --key file:///k --key passphrase: --names plain --key-scope volume \
                    --block-size 1M --header-size 2048 --foreign-files deny --passphrase-command c";
        let request = request(line).unwrap();
        let keys = ["file:///k", "passphrase:"]
            .map(|uri| uri.parse().unwrap())
            .to_vec();
        assert_eq!(request.keys, KeyChoice::Given(keys));
        assert_eq!(
            (request.names, request.key_scope),
            (NameMode::Plain, KeyScope::Volume)
        );
        assert_eq!(request.layout, Layout::new(1 << 20, 2048).unwrap());
        assert_eq!(request.foreign_files, ForeignFiles::Deny);
        assert_eq!(request.passphrase, PassphraseFrom::Command("c".into()));
    }

    #[test]
    fn plain_names_let_foreign_files_in() {
        assert_eq!(
            request("d --names plain").unwrap().foreign_files,
            ForeignFiles::Allow
        );
    }

    #[test]
    fn too_many_keys_or_one_of_them_twice_are_refused() {
        let keys = |count: usize| {
            let keys: Vec<_> = (0..count).map(|n| format!("--key file:///{n}")).collect();
            format!("d {}", keys.join(" "))
        };
        assert!(request(&keys(MAX_KEYS)).is_ok());
        assert!(
            request(&keys(MAX_KEYS + 1))
                .unwrap_err()
                .contains("the most")
        );
        let twice = request("d --key passphrase: --key file:///k --key passphrase:");
        assert!(twice.unwrap_err().contains("passphrase: is given twice"));
        let twice = request("d --key passphrase: --volume-key passphrase:");
        assert!(twice.unwrap_err().contains("passphrase: is given twice"));
        let many = format!("{} --volume-key passphrase:", keys(MAX_KEYS));
        assert!(request(&many).unwrap_err().contains("the most"));
    }

    #[test]
    fn a_volume_key_opens_no_file() {
        let both = "d --key rsa:/p --volume-key file:///w";
        let volume_keys = request(both).unwrap().volume_keys;
        assert_eq!(volume_keys, ["file:///w".parse().unwrap()]);
        let scope = request(&format!("{both} --key-scope volume")).unwrap_err();
        assert!(scope.contains("opens its files"), "{scope}");
        assert!(request("d --volume-key file:///w").is_err());
    }

    #[test]
    fn wrong_values_are_refused() {
        for option in [
            "--block-size 2K",
            "--block-size 2M",
            "--block-size 5000",
            "--block-size 4097",
            "--block-size 4294971392",
            "--header-size 256",
            "--header-size 1000",
            "--header-size 4096",
            "--key nokey",
            "--key",
            "--names both",
            "--key-scope none",
            "--foreign-files maybe",
            "extra",
        ] {
            assert!(request(&format!("d {option}")).is_err(), "{option}");
        }
    }

    #[test]
    fn a_new_key_file_lies_where_configuration_does() {
        let user = KeyPlaces {
            root: false,
            config_home: None,
            home: Some("/home/u".into()),
        };
        let folder = |places: &KeyPlaces| default_key_folder(places);
        assert_eq!(
            folder(&user),
            Some("/home/u/.config/envelopefs/keys".into())
        );
        let xdg = KeyPlaces {
            config_home: Some("/c".into()),
            ..user
        };
        assert_eq!(folder(&xdg), Some("/c/envelopefs/keys".into()));
        let root = KeyPlaces { root: true, ..xdg };
        assert_eq!(folder(&root), Some("/etc/envelopefs/keys".into()));
        let path = key_file_path(Path::new("/k"), &VolumeId([0xab; 16]));
        assert_eq!(path, Path::new("/k/abababababababababababababababab.json"));
    }

    #[test]
    fn relative_or_missing_places_are_none() {
        assert_eq!(default_key_folder(&KeyPlaces::default()), None);
        let relative = KeyPlaces {
            root: false,
            config_home: Some("c".into()),
            home: Some("h".into()),
        };
        assert_eq!(default_key_folder(&relative), None);
    }
}

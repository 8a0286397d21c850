//! The text behind `-o`: comma-separated options as mount(8), fstab and other FUSE mounts have
//! them, to a list of typed ones and back.
//!
//! A backslash makes the next character ordinary, so a value may hold a comma.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::cmd::mount::{AuditTo, RequireSeal, parse_full, show_full};
use super::logging::LogFormat;
use super::values::{self, ValueError};
use crate::audit::WhenFull;
use crate::daemon::sandbox::Sandbox;
use crate::fuse::Transport;
use crate::units::KeyUri;

/// Access times in the plaintext.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atime {
    /// At every read.
    Strict,
    /// Only where the old one precedes the last change, or is a day old: the kernel's default.
    #[default]
    Relative,
    /// Never.
    Never,
}

/// The most data keys that the keyring may be told to hold.
pub const KEY_CACHE_ENTRIES: std::ops::RangeInclusive<u32> = 1..=1_048_576;
/// How long a data key may be used before its provider is asked again.
pub const KEY_CACHE_TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// How long keys in use may be used beyond that while no provider answers.
pub const OFFLINE_GRACE: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_hours(7 * 24);
/// Calls a second to one provider; 0: no bound.
pub const PROVIDER_RATE: std::ops::RangeInclusive<u32> = 0..=1_000_000;
/// Threads that serve requests.
pub const THREADS: std::ops::RangeInclusive<u32> = 1..=256;
/// How long a mount waits for another one to let go of the volume.
pub const WAIT: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// How long a mount may be unused; 0: for ever.
pub const IDLE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(30 * 24);
/// How long the kernel may keep names and attributes.
pub const CACHE_TTL: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

/// One option of `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOption {
    /// `accept_empty`
    AcceptEmpty,
    /// `acl`
    Acl,
    /// `allow_other`
    AllowOther,
    /// `allow_unlocked_memory`
    AllowUnlockedMemory,
    /// `audit=FILE`, `audit=journald`, `audit=-`
    Audit(AuditTo),
    /// `audit_full=drop|fail`
    AuditFull(WhenFull),
    /// `atime` (strict), `relatime`, `noatime`
    Atime(Atime),
    /// `cache_ttl=DURATION`
    CacheTtl(Duration),
    /// `default_permissions`
    DefaultPermissions,
    /// `dev`, `nodev`
    Dev(bool),
    /// `export`
    Export,
    /// `exec`, `noexec`
    Exec(bool),
    /// `fsname=TEXT`
    FsName(String),
    /// `idle_lock=DURATION`
    IdleLock(Duration),
    /// `idle_unmount=DURATION`
    IdleUnmount(Duration),
    /// `key=URI`
    Key(KeyUri),
    /// `key_cache_entries=N`
    KeyCacheEntries(u32),
    /// `key_cache_ttl=DURATION`
    KeyCacheTtl(Duration),
    /// `log_file=FILE`
    LogFile(PathBuf),
    /// `log_format=human|json`
    LogFormat(LogFormat),
    /// `metrics=FILE`
    Metrics(PathBuf),
    /// `nonempty`
    NonEmpty,
    /// `offline_grace=DURATION`
    OfflineGrace(Duration),
    /// `passphrase_command=COMMAND`
    PassphraseCommand(String),
    /// `passphrase_file=FILE`
    PassphraseFile(PathBuf),
    /// `provider_rate=N`
    ProviderRate(u32),
    /// `ro`, `rw`
    ReadOnly(bool),
    /// `require_seal=any`, `require_seal=SHA256`
    RequireSeal(RequireSeal),
    /// `sandbox=full`, `off`
    Sandbox(Sandbox),
    /// `shared`
    Shared,
    /// `suid`, `nosuid`
    Suid(bool),
    /// `threads=N`
    Threads(u32),
    /// `transport=auto`, `dev`, `io_uring`
    Transport(Transport),
    /// `wait=DURATION`
    Wait(Duration),
}

/// An option that cannot be followed; every variant names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such option.
    #[error("unknown mount option {0:?}")]
    Unknown(String),
    /// `name` where `name=VALUE` is due.
    #[error("mount option {0:?} needs a value: {0}=…")]
    NeedsValue(String),
    /// `name=value` where only `name` makes sense.
    #[error("mount option {0:?} takes no value")]
    TakesNoValue(String),
    /// The value is not one of its kind.
    #[error("mount option {name:?}: {error}")]
    Value {
        /// The option's name.
        name: String,
        /// What is wrong with the value.
        #[source]
        error: ValueError,
    },
}

/// What to do with an option that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownOption {
    /// An error: a misspelt option must not be lost.
    Refuse,
    /// Passed over: `mount -s` (sloppy) asks for that.
    Skip,
}

/// Options for mount(8), systemd and fstab themselves: no business of a mount helper.
const NOT_OURS: &[&str] = &[
    "", "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner",
    "group", "nogroup", "_netdev", "nofail", "async", "sloppy",
];
const NOT_OURS_PREFIXES: &[&str] = &["comment=", "user=", "x-", "X-"];

/// Reads the text behind one `-o`.
///
/// # Errors
/// An option that is unknown (unless skipped), or whose value is missing, superfluous or wrong.
pub fn parse(text: &str, unknown: UnknownOption) -> Result<Vec<MountOption>, OptionError> {
    let mut options = Vec::new();
    for item in split(text) {
        if is_not_ours(&item) {
            continue;
        }
        match parse_one(&item) {
            Err(OptionError::Unknown(_)) if unknown == UnknownOption::Skip => {}
            parsed => options.push(parsed?),
        }
    }
    Ok(options)
}

/// Takes an option that is a name alone out of the text behind one `-o`; None if it is not there.
pub fn without(text: &str, name: &str) -> Option<String> {
    let mut items = split(text);
    let before = items.len();
    items.retain(|item| item != name);
    let rest: Vec<String> = items.iter().map(|item| escape(item)).collect();
    (items.len() < before).then(|| rest.join(","))
}

fn is_not_ours(item: &str) -> bool {
    NOT_OURS.contains(&item)
        || NOT_OURS_PREFIXES
            .iter()
            .any(|prefix| item.starts_with(prefix))
}

/// Splits at commas that no backslash precedes, and takes the backslashes away.
fn split(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        if next == ',' {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            // A backslash at the very end stands for itself.
            item.push(if next == '\\' {
                chars.next().unwrap_or('\\')
            } else {
                next
            });
        }
    }
    items
}

/// Reads one option, in which a comma and a backslash stand for themselves.
///
/// # Errors
/// As [`parse`].
pub fn parse_item(item: &str) -> Result<MountOption, OptionError> {
    parse_one(item)
}

fn parse_one(item: &str) -> Result<MountOption, OptionError> {
    let (name, value) = match item.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (item, None),
    };
    if let Some(option) = flag(name) {
        return match value {
            None => Ok(option),
            Some(_) => Err(OptionError::TakesNoValue(name.to_owned())),
        };
    }
    match value {
        _ if !VALUED.contains(&name) => Err(OptionError::Unknown(name.to_owned())),
        Some(value) if !value.is_empty() => valued(name, value),
        Some(_) | None => Err(OptionError::NeedsValue(name.to_owned())),
    }
}

/// Options that are a name alone.
const FLAGS: &[(&str, MountOption)] = &[
    ("accept_empty", MountOption::AcceptEmpty),
    ("acl", MountOption::Acl),
    ("allow_other", MountOption::AllowOther),
    ("allow_unlocked_memory", MountOption::AllowUnlockedMemory),
    ("atime", MountOption::Atime(Atime::Strict)),
    ("default_permissions", MountOption::DefaultPermissions),
    ("dev", MountOption::Dev(true)),
    ("exec", MountOption::Exec(true)),
    ("export", MountOption::Export),
    ("noatime", MountOption::Atime(Atime::Never)),
    ("nodev", MountOption::Dev(false)),
    ("noexec", MountOption::Exec(false)),
    ("nonempty", MountOption::NonEmpty),
    ("nosuid", MountOption::Suid(false)),
    ("read_only", MountOption::ReadOnly(true)),
    ("relatime", MountOption::Atime(Atime::Relative)),
    ("ro", MountOption::ReadOnly(true)),
    ("rw", MountOption::ReadOnly(false)),
    ("shared", MountOption::Shared),
    ("strictatime", MountOption::Atime(Atime::Strict)),
    ("suid", MountOption::Suid(true)),
];

fn flag(name: &str) -> Option<MountOption> {
    FLAGS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, option)| option.clone())
}

/// The name of every option.
pub fn names() -> Vec<&'static str> {
    FLAGS
        .iter()
        .map(|(name, _)| *name)
        .chain(VALUED.iter().copied())
        .collect()
}

const VALUED: &[&str] = &[
    "audit",
    "audit_full",
    "cache_ttl",
    "fsname",
    "idle_lock",
    "idle_unmount",
    "key",
    "key_cache_entries",
    "key_cache_ttl",
    "log_file",
    "log_format",
    "metrics",
    "offline_grace",
    "passphrase_command",
    "passphrase_file",
    "provider_rate",
    "require_seal",
    "sandbox",
    "threads",
    "transport",
    "wait",
];

/// The sandbox that a user asks for, by its name.
///
/// # Errors
/// It is neither.
pub fn parse_sandbox(text: &str) -> Result<Sandbox, ValueError> {
    Sandbox::of_name(text).ok_or_else(|| values::malformed(text, "full or off"))
}

/// How requests come from the kernel, by its name.
///
/// # Errors
/// It is none of the three.
pub fn parse_transport(text: &str) -> Result<Transport, ValueError> {
    Transport::of_name(text).ok_or_else(|| values::malformed(text, "auto, dev or io_uring"))
}

/// Options that are a name and a value.
fn valued(name: &str, value: &str) -> Result<MountOption, OptionError> {
    let wrong = |error| OptionError::Value {
        name: name.to_owned(),
        error,
    };
    let duration = |range| values::parse_duration_in(value, range).map_err(wrong);
    let count = |range| values::parse_count_in(value, range).map_err(wrong);
    Ok(match name {
        "audit" => MountOption::Audit(value.parse().map_err(wrong)?),
        "audit_full" => MountOption::AuditFull(parse_full(value).map_err(wrong)?),
        "cache_ttl" => MountOption::CacheTtl(duration(CACHE_TTL)?),
        "fsname" => MountOption::FsName(value.to_owned()),
        "idle_lock" => MountOption::IdleLock(duration(IDLE)?),
        "idle_unmount" => MountOption::IdleUnmount(duration(IDLE)?),
        "key" => MountOption::Key(values::parse_key(value).map_err(wrong)?),
        "key_cache_entries" => MountOption::KeyCacheEntries(count(KEY_CACHE_ENTRIES)?),
        "key_cache_ttl" => MountOption::KeyCacheTtl(duration(KEY_CACHE_TTL)?),
        "log_file" => MountOption::LogFile(value.into()),
        "log_format" => MountOption::LogFormat(value.parse().map_err(wrong)?),
        "metrics" => MountOption::Metrics(value.into()),
        "offline_grace" => MountOption::OfflineGrace(duration(OFFLINE_GRACE)?),
        "passphrase_command" => MountOption::PassphraseCommand(value.to_owned()),
        "passphrase_file" => MountOption::PassphraseFile(value.into()),
        "provider_rate" => MountOption::ProviderRate(count(PROVIDER_RATE)?),
        "require_seal" => MountOption::RequireSeal(value.parse().map_err(wrong)?),
        "sandbox" => MountOption::Sandbox(parse_sandbox(value).map_err(wrong)?),
        "threads" => MountOption::Threads(count(THREADS)?),
        "transport" => MountOption::Transport(parse_transport(value).map_err(wrong)?),
        "wait" => MountOption::Wait(duration(WAIT)?),
        _ => return Err(OptionError::Unknown(name.to_owned())),
    })
}

/// The text that [`parse`] reads as these options.
pub fn show(options: &[MountOption]) -> String {
    let items: Vec<String> = options
        .iter()
        .map(|option| escape(&option.to_string()))
        .collect();
    items.join(",")
}

fn escape(item: &str) -> String {
    item.replace('\\', "\\\\").replace(',', "\\,")
}

impl fmt::Display for MountOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let either = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
        match self {
            Self::AcceptEmpty => f.write_str("accept_empty"),
            Self::Acl => f.write_str("acl"),
            Self::AllowOther => f.write_str("allow_other"),
            Self::AllowUnlockedMemory => f.write_str("allow_unlocked_memory"),
            Self::Audit(target) => write!(f, "audit={target}"),
            Self::AuditFull(full) => write!(f, "audit_full={}", show_full(*full)),
            Self::Atime(Atime::Strict) => f.write_str("atime"),
            Self::Atime(Atime::Relative) => f.write_str("relatime"),
            Self::Atime(Atime::Never) => f.write_str("noatime"),
            Self::CacheTtl(ttl) => write!(f, "cache_ttl={}", values::show_duration(*ttl)),
            Self::DefaultPermissions => f.write_str("default_permissions"),
            Self::Dev(on) => f.write_str(either(*on, "dev", "nodev")),
            Self::Export => f.write_str("export"),
            Self::Exec(on) => f.write_str(either(*on, "exec", "noexec")),
            Self::FsName(name) => write!(f, "fsname={name}"),
            Self::IdleLock(time) => write!(f, "idle_lock={}", values::show_duration(*time)),
            Self::IdleUnmount(time) => write!(f, "idle_unmount={}", values::show_duration(*time)),
            Self::Key(uri) => write!(f, "key={uri}"),
            Self::KeyCacheEntries(count) => write!(f, "key_cache_entries={count}"),
            Self::KeyCacheTtl(ttl) => write!(f, "key_cache_ttl={}", values::show_duration(*ttl)),
            Self::LogFile(path) => write!(f, "log_file={}", path.display()),
            Self::LogFormat(format) => write!(f, "log_format={format}"),
            Self::Metrics(path) => write!(f, "metrics={}", path.display()),
            Self::NonEmpty => f.write_str("nonempty"),
            Self::OfflineGrace(grace) => {
                write!(f, "offline_grace={}", values::show_duration(*grace))
            }
            Self::PassphraseCommand(command) => write!(f, "passphrase_command={command}"),
            Self::PassphraseFile(path) => write!(f, "passphrase_file={}", path.display()),
            Self::ProviderRate(rate) => write!(f, "provider_rate={rate}"),
            Self::ReadOnly(on) => f.write_str(either(*on, "ro", "rw")),
            Self::RequireSeal(required) => write!(f, "require_seal={required}"),
            Self::Sandbox(sandbox) => write!(f, "sandbox={}", sandbox.name()),
            Self::Shared => f.write_str("shared"),
            Self::Suid(on) => f.write_str(either(*on, "suid", "nosuid")),
            Self::Threads(count) => write!(f, "threads={count}"),
            Self::Transport(transport) => write!(f, "transport={}", transport.name()),
            Self::Wait(limit) => write!(f, "wait={}", values::show_duration(*limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<MountOption>, OptionError> {
        parse(text, UnknownOption::Refuse)
    }

    #[test]
    fn reads_what_other_fuse_mounts_take() {
        assert_eq!(
            parsed("ro,allow_other,default_permissions,dev,nosuid,noatime,fsname=secrets"),
            Ok(vec![
                MountOption::ReadOnly(true),
                MountOption::AllowOther,
                MountOption::DefaultPermissions,
                MountOption::Dev(true),
                MountOption::Suid(false),
                MountOption::Atime(Atime::Never),
                MountOption::FsName("secrets".into()),
            ])
        );
    }

    #[test]
    fn reads_the_long_options_by_name() {
        assert_eq!(
            parsed("key_cache_ttl=5m,passphrase_file=/run/pw,threads=4,log_format=json"),
            Ok(vec![
                MountOption::KeyCacheTtl(Duration::from_mins(5)),
                MountOption::PassphraseFile("/run/pw".into()),
                MountOption::Threads(4),
                MountOption::LogFormat(LogFormat::Json),
            ])
        );
    }

    #[test]
    fn passes_over_what_is_for_mount_and_systemd() {
        let text = "defaults,noauto,user,users,owner,group,_netdev,nofail,comment=a b,\
                    x-systemd.automount,x-systemd.requires=a=b,X-mount.mkdir,user=eve,,";
        assert_eq!(parsed(text), Ok(vec![]));
        assert_eq!(parsed(""), Ok(vec![]));
    }

    #[test]
    fn an_option_is_taken_out_and_the_others_stay_as_they_are() {
        assert_eq!(without("rw,remount,ro", "remount"), Some("rw,ro".into()));
        assert_eq!(without("remount", "remount"), Some(String::new()));
        assert_eq!(
            without(r"remount,key=a\,remount", "remount"),
            Some(r"key=a\,remount".into())
        );
        for text in ["", "ro", "remount=1", r"x\,remount", "x-remount"] {
            assert_eq!(without(text, "remount"), None, "{text}");
        }
    }

    #[test]
    fn an_unknown_option_is_named() {
        for (text, name) in [
            ("rw,alow_other", "alow_other"),
            ("key-cache-ttl=5m", "key-cache-ttl"),
            ("=x", ""),
            (" ro", " ro"),
            ("RO", "RO"),
        ] {
            assert_eq!(
                parsed(text),
                Err(OptionError::Unknown(name.to_owned())),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_sloppy_mount_passes_over_unknown_options_but_not_over_wrong_values() {
        assert_eq!(
            parse("zap,zip=1,ro", UnknownOption::Skip),
            Ok(vec![MountOption::ReadOnly(true)])
        );
        assert!(parse("threads=0", UnknownOption::Skip).is_err());
    }

    #[test]
    fn a_missing_or_empty_value_is_named() {
        for name in VALUED {
            let expected = Err(OptionError::NeedsValue((*name).to_owned()));
            assert_eq!(parsed(name), expected);
            assert_eq!(parsed(&format!("{name}=")), expected);
        }
    }

    #[test]
    fn a_superfluous_value_is_named() {
        for text in ["ro=1", "allow_other=", "shared=yes"] {
            let name = text.split('=').next().unwrap().to_owned();
            assert_eq!(parsed(text), Err(OptionError::TakesNoValue(name)));
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for text in [
            "threads=0",
            "threads=x",
            "threads=257",
            "transport=IO_URING",
            "key_cache_ttl=0",
            "key_cache_ttl=2d",
            "cache_ttl=5x",
            "key_cache_entries=-1",
            "log_format=xml",
            "idle_lock=31d",
            "idle_unmount=x",
            "audit_full=wait",
            "require_seal=yes",
            "require_seal=ABAB",
            "key=no-uri",
            "key=:x",
            "key=Pkcs11:x",
            "key=file:///a b",
        ] {
            assert!(
                matches!(parsed(text), Err(OptionError::Value { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_backslash_keeps_a_comma_in_a_value() {
        assert_eq!(
            parsed(r"fsname=a\,b\\c"),
            Ok(vec![MountOption::FsName(r"a,b\c".into())])
        );
        assert_eq!(
            parsed(r"fsname=a\"),
            Ok(vec![MountOption::FsName(r"a\".into())])
        );
    }

    #[test]
    fn a_wrong_key_is_named_without_its_query() {
        let error = parsed("key=pkcs11:object=a b?pin-value=1234").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("object=a b") && !text.contains("1234"),
            "{text}"
        );
    }

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        assert_eq!(
            parsed("fsname=a=b"),
            Ok(vec![MountOption::FsName("a=b".into())])
        );
    }

    fn any_option() -> impl Strategy<Value = MountOption> {
        let secs = |range: std::ops::RangeInclusive<u64>| range.prop_map(Duration::from_secs);
        prop_oneof![
            Just(MountOption::AcceptEmpty),
            Just(MountOption::Acl),
            Just(MountOption::AllowOther),
            Just(MountOption::Export),
            Just(MountOption::AllowUnlockedMemory),
            prop_oneof![
                Just(Atime::Strict),
                Just(Atime::Relative),
                Just(Atime::Never)
            ]
            .prop_map(MountOption::Atime),
            secs(0..=86_400).prop_map(MountOption::CacheTtl),
            Just(MountOption::DefaultPermissions),
            any::<bool>().prop_map(MountOption::Dev),
            "/.*".prop_map(|path| MountOption::Audit(AuditTo::File(path.into()))),
            Just(MountOption::Audit(AuditTo::Journal)),
            Just(MountOption::AuditFull(WhenFull::Fail)),
            any::<bool>().prop_map(MountOption::Exec),
            ".+".prop_map(MountOption::FsName),
            "[a-z][a-z0-9]{0,9}:[!-~]{0,60}".prop_map(|uri| MountOption::Key(uri.parse().unwrap())),
            KEY_CACHE_ENTRIES.prop_map(MountOption::KeyCacheEntries),
            secs(1..=86_400).prop_map(MountOption::KeyCacheTtl),
            ".+".prop_map(|path| MountOption::LogFile(path.into())),
            Just(MountOption::LogFormat(LogFormat::Json)),
            Just(MountOption::NonEmpty),
            ".+".prop_map(|path| MountOption::Metrics(path.into())),
            secs(0..=86_400).prop_map(MountOption::IdleLock),
            secs(0..=86_400).prop_map(MountOption::IdleUnmount),
            ".+".prop_map(MountOption::PassphraseCommand),
            ".+".prop_map(|path| MountOption::PassphraseFile(path.into())),
            any::<bool>().prop_map(MountOption::ReadOnly),
            Just(MountOption::RequireSeal(RequireSeal::Any)),
            any::<[u8; 32]>().prop_map(|hash| MountOption::RequireSeal(RequireSeal::This(hash))),
            prop::sample::select(vec![Sandbox::Full, Sandbox::Off]).prop_map(MountOption::Sandbox),
            Just(MountOption::Shared),
            any::<bool>().prop_map(MountOption::Suid),
            THREADS.prop_map(MountOption::Threads),
            prop::sample::select(vec![Transport::Auto, Transport::Dev, Transport::IoUring])
                .prop_map(MountOption::Transport),
        ]
    }

    proptest! {
        #[test]
        fn shown_options_read_back(options in proptest::collection::vec(any_option(), 0..12)) {
            prop_assert_eq!(parsed(&show(&options)), Ok(options));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            drop(parsed(&text));
            drop(parse(&text, UnknownOption::Skip));
        }

        #[test]
        fn what_is_read_is_shown_and_read_again_alike(text in "[a-z_=,\\\\0-9]{0,60}") {
            if let Ok(options) = parse(&text, UnknownOption::Skip) {
                prop_assert_eq!(parsed(&show(&options)), Ok(options));
            }
        }
    }
}
